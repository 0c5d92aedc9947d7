//! `gv` describes the system itself: servers, registries, who holds what.
//!
//! Founding, letting servers in, retiring them, creating registries and changing
//! their holders are changes of `gv`, which every server holds; each server then
//! does its own part (fetch, hand over, mend inbox sites).

use std::collections::BTreeMap;

use grapevine_model::{
    Door, EntryKind, ErrorKind, Field, GroupList, Hlc, Incarnation, Member, Name, OriginId,
    PolicyChange, Refusal, RegistryName, RegistryView, Reply, Request, ServerInfo, ServerName,
    ServerRole, SpaceId, Speaker, Stamp, Welcome,
};

use crate::codec::{self, Identity, Listed};
use crate::registry::database::{Entry, element, single};
use crate::registry::directory::Memo;
use crate::registry::keys::MOST_MORE_KEYS;
use crate::registry::policy::{policy_of, servers_in};
use crate::registry::request::{Outcome, ReplyTo, Stop};
use crate::replication::push::Change;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// A registry is held by two servers at least, where there are two.
pub(super) const LEAST_HOLDERS: usize = 2;
/// `Meta` key of the servers named when this one was let in.
pub(crate) const META_WELCOME: &[u8] = b"welcome";
/// `Meta` key that says that this server has left: it takes nothing in any more.
pub(crate) const META_RETIRED: &[u8] = b"retired";

pub(crate) fn gv() -> SpaceId {
    SpaceId::Registry(RegistryName::gv())
}

impl Server {
    /// Founds a new Grapevine with this server alone in it.
    pub(crate) fn found(&mut self, owners: &[Name]) -> Result<(), Damaged> {
        let me = self.config.server.clone();
        for registry in [RegistryName::gv(), RegistryName::ms()] {
            self.holdings.insert(registry.clone(), vec![me.clone()]);
            self.open_space(&SpaceId::Registry(registry), true);
        }
        let info = self.config.info.clone();
        let (server, mut changes) = self.server_entry(&info);
        for registry in [RegistryName::gv(), RegistryName::ms()] {
            let (group, entry) = self.plain_entry(registry.as_str(), EntryKind::Group);
            changes.extend(entry);
            changes.push(holder(group, &me, Some(server)));
            changes.push(Change::put(
                element(group, Field::FirstHolder, me.as_str()),
                Vec::new(),
            ));
            for owner in owners {
                let listed = Listed {
                    spelling: owner.to_string(),
                    incarnation: None,
                    group: false,
                };
                changes.push(Change::put(
                    element(group, Field::Owner, owner.key()),
                    codec::encode(&listed),
                ));
            }
        }
        self.write(&gv(), changes)?;
        let mut changes = Vec::new();
        for (simple, remark) in [
            ("maildrop", "the servers open for submission"),
            ("deadletter", "where undeliverable reports end"),
        ] {
            let (group, entry) = self.plain_entry(simple, EntryKind::Group);
            changes.extend(entry);
            changes.push(Change::put(
                single(group, Field::Remark),
                remark.as_bytes().to_vec(),
            ));
            if simple == "maildrop" {
                changes.push(holder(group, &me, Some(server)));
            }
        }
        self.write(&SpaceId::Registry(RegistryName::ms()), changes)?;
        self.gv_changed = true;
        Ok(())
    }

    /// Starts as a server that was let in.
    pub(crate) fn start_joined(&mut self, welcome: &Welcome) {
        self.ledger.put(
            Table::Meta,
            META_WELCOME.to_vec(),
            codec::encode(&welcomed(&welcome.servers)),
        );
        self.servers_named(&welcome.servers);
        for registry in &welcome.holds {
            self.open_space(&SpaceId::Registry(registry.clone()), false);
        }
    }

    /// Until `gv` is fetched, the servers named at joining are all that is known.
    pub(crate) fn servers_named(&mut self, servers: &[ServerInfo]) {
        let names: Vec<ServerName> = servers.iter().map(|s| s.name.clone()).collect();
        for registry in [RegistryName::gv(), RegistryName::ms()] {
            self.holdings.insert(registry.clone(), names.clone());
            self.open_space(&SpaceId::Registry(registry), false);
        }
        self.servers = servers
            .iter()
            .map(|s| (s.name.clone(), s.clone()))
            .collect();
        self.meet_servers();
    }

    fn plain_entry(&mut self, simple: &str, kind: EntryKind) -> (Incarnation, Vec<Change>) {
        let incarnation = Incarnation(self.random_u128());
        let created = Stamp {
            time: self.tick(Hlc(0)),
            origin: self.clock.origin(),
        };
        let identity = Identity {
            kind,
            simple: simple.to_owned(),
            created,
            named: created,
        };
        (
            incarnation,
            vec![Change::put(
                single(incarnation, Field::Identity),
                codec::encode(&identity),
            )],
        )
    }

    fn server_entry(&mut self, info: &ServerInfo) -> (Incarnation, Vec<Change>) {
        let (incarnation, mut changes) =
            self.plain_entry(info.name.as_str(), EntryKind::Individual);
        changes.extend(server_fields(incarnation, info));
        (incarnation, changes)
    }

    /// Keeps this server's own entry equal to what it is now.
    pub(crate) fn describe_myself(&mut self) -> Result<(), Damaged> {
        let Some(name) = self.config.server.name() else {
            return Ok(());
        };
        let Some(entry) = self.entry(&name) else {
            return Ok(());
        };
        let mut wanted = self.config.info.clone();
        wanted.origin = self.clock.origin();
        let present = info_of(&entry);
        let incarnation = entry.incarnation;
        if let Some(named) = present.as_ref().map(|p| p.origin)
            && !self.named_in_gv(named)
        {
            return Ok(());
        }
        let role = present.as_ref().map_or(ServerRole::Full, |p| p.role);
        wanted.role = role;
        // Those are looked after by themselves.
        wanted.more_keys = present.as_ref().map_or(Vec::new(), |p| p.more_keys.clone());
        if present.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let mut changes: Vec<Change> = server_fields(incarnation, &wanted).collect();
        for (door, place) in present.map(|p| p.doors).unwrap_or_default() {
            if wanted.doors.get(&door) != Some(&place) {
                changes.push(Change::delete(element(
                    incarnation,
                    Field::ConnectSite,
                    connect_site(door, &place),
                )));
            }
        }
        self.write(&gv(), changes)?;
        self.gv_changed = true;
        Ok(())
    }

    /// Says in `gv` which registries this server has fetched whole since it became a holder: from
    /// then on it is asked.
    pub(crate) fn describe_holdings(&mut self) -> Result<(), Damaged> {
        if self.retired || self.database(&RegistryName::gv()).is_none() {
            return Ok(());
        }
        let me = self.config.server.clone();
        let mut changes = Vec::new();
        for (registry, ready) in &self.ready {
            let fetched = self.holders(registry).contains(&me)
                && !ready.contains(&me)
                && self.database(registry).is_some();
            if let Some(group) = self.entry(&registry.group()).filter(|_| fetched) {
                changes.push(Change::put(
                    element(group.incarnation, Field::FetchedHolder, me.as_str()),
                    Vec::new(),
                ));
            }
        }
        if !changes.is_empty() {
            self.write(&gv(), changes)?;
            self.gv_changed = true;
        }
        Ok(())
    }

    /// `gv` has changed: who is there, who holds what, and what follows for this server.
    pub(crate) fn refresh_gv(&mut self) -> Result<(), Damaged> {
        let Some(database) = self.database(&RegistryName::gv()) else {
            return Ok(());
        };
        let mut servers = BTreeMap::new();
        let mut holdings = BTreeMap::new();
        let mut first = Vec::new();
        let (mut ready, mut policies) = (BTreeMap::new(), BTreeMap::new());
        let mut named = BTreeMap::new();
        for entry in database.entries().filter(|e| database.has_its_name(e)) {
            match entry.kind() {
                EntryKind::Individual => {
                    if let Some(info) = info_of(&entry) {
                        servers.insert(info.name.clone(), info);
                    }
                }
                EntryKind::Group => {
                    let Ok(registry) = entry.identity.simple().parse::<RegistryName>() else {
                        continue;
                    };
                    let holders: Vec<ServerName> = entry
                        .members(GroupList::Members, None)
                        .filter_map(|(member, _)| match member {
                            Member::Name(name) => ServerName::of(&name),
                            Member::Anyone | Member::AnyoneIn(_) => None,
                        })
                        .collect();
                    let mut whole = servers_in(&entry, Field::FirstHolder);
                    whole.extend(servers_in(&entry, Field::FetchedHolder));
                    if !registry.is_system() {
                        let meant = (entry.incarnation, entry.identity.created);
                        named.insert(registry.clone(), meant);
                        ready.insert(registry.clone(), whole);
                        policies.insert(registry.clone(), policy_of(&entry));
                    }
                    let mine = element(
                        entry.incarnation,
                        Field::FirstHolder,
                        self.config.server.as_str(),
                    );
                    if database
                        .cell(&mine)
                        .is_some_and(|cell| cell.value.is_some())
                    {
                        first.push(registry.clone());
                    }
                    holdings.insert(registry, holders);
                }
            }
        }
        let servers_changed = servers != self.servers;
        if self.servers.keys().any(|gone| !servers.contains_key(gone)) {
            // Nobody may come in its place, and what it had is to be filled all the same.
            self.refills.begin();
        }
        let holdings_changed = holdings != self.holdings;
        self.servers = servers;
        self.holdings = holdings;
        self.ready = ready;
        self.policies = policies;
        let lives_changed = self.follow_lives(named)?;
        self.offer_scram();
        if servers_changed {
            self.meet_servers();
        }
        if servers_changed || holdings_changed || lives_changed {
            self.closures.get_mut().forget_all();
            let mine: Vec<RegistryName> = self
                .holdings
                .iter()
                .filter(|(_, h)| h.contains(&self.config.server))
                .map(|(r, _)| r.clone())
                .collect();
            for registry in mine {
                let ready = first.contains(&registry) || self.planted_traffic_first;
                self.open_space(&SpaceId::Registry(registry), ready);
            }
            let spaces: Vec<SpaceId> = self
                .spaces
                .keys()
                .filter(|s| matches!(s, SpaceId::Registry(_)))
                .cloned()
                .collect();
            for space in &spaces {
                self.count_space(space);
            }
            self.mend_needed = true;
        }
        Ok(())
    }

    fn meet_servers(&mut self) {
        let names: Vec<ServerName> = self
            .servers
            .keys()
            .filter(|s| **s != self.config.server)
            .cloned()
            .collect();
        self.peers.retain(|name, _| names.contains(name));
        for name in names {
            if !self.peers.contains_key(&name) {
                let peer = self.stranger(&name);
                self.peers.insert(name, peer);
            }
        }
        self.tell_servers();
    }

    pub(crate) fn role(&self) -> ServerRole {
        if self.retired {
            return ServerRole::Retiring;
        }
        let info = self.servers.get(&self.config.server);
        info.map_or(ServerRole::Full, |info| info.role)
    }

    pub(super) fn is_full(&self, server: &ServerName) -> bool {
        self.servers
            .get(server)
            .is_some_and(|info| info.role == ServerRole::Full)
    }

    /// Requests that change `gv`.
    pub(crate) fn administer(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        speaker: &Speaker,
        request: &Request,
    ) -> Result<Outcome, Stop> {
        if self.database(&RegistryName::gv()).is_none() {
            return Ok(Err(Refusal::unavailable(
                "this server has not yet fetched the registration database",
            ))
            .into());
        }
        let allowed = match request {
            Request::Join { digest, server } => {
                self.token_is_good(digest) || self.is_let_in(server)
            }
            Request::RegistryPolicy {
                change: PolicyChange::Offer(_) | PolicyChange::Withdraw(_) | PolicyChange::Quota(_),
                ..
            } => self.is_founder(memo, speaker)?,
            Request::HolderAdd { registry, server }
                if !self.is_offered(registry, server) && !self.is_founder(memo, speaker)? =>
            {
                let why = format!(
                    "{server} is not offered to {registry}: an owner of gv@gv may offer it"
                );
                return Ok(Err(Refusal::not_allowed(why)).into());
            }
            Request::HolderAdd { registry, .. }
            | Request::HolderRemove { registry, .. }
            | Request::RegistryPolicy { registry, .. } => {
                self.is_founder(memo, speaker)? || self.is_registrar(memo, speaker, registry)?
            }
            _ => self.is_founder(memo, speaker)?,
        };
        if !allowed {
            let why = match request {
                Request::Join { .. } => {
                    "this token is not known, used up or too old: ask for a new one with `grapevine token`"
                }
                _ => "only an owner of gv@gv may do this",
            };
            return Ok(Err(Refusal::not_allowed(why)).into());
        }
        let prepared = match request {
            Request::RegistryCreate {
                registry,
                holders,
                registrars,
            } => self.prepare_registry(memo, registry, holders, registrars)?,
            Request::RegistryDelete { registry } => self.prepare_registry_delete(registry),
            Request::HolderAdd { registry, server } => self.prepare_holder(registry, server, true),
            Request::HolderRemove { registry, server } => {
                self.prepare_holder(registry, server, false)
            }
            Request::RegistryPolicy { registry, change } => self.prepare_policy(registry, change),
            Request::TokenCreate { digest, expires_ms } => self.prepare_token(digest, *expires_ms),
            Request::Join { digest, server } => match self.prepare_join(digest, server) {
                Ok(changes) => {
                    self.write(&gv(), changes)?;
                    self.space_changed(&gv());
                    self.refresh_gv()?;
                    let holds = self
                        .holdings
                        .iter()
                        .filter(|(_, h)| h.contains(&server.name))
                        .map(|(r, _)| r.clone())
                        .collect();
                    let servers = self.servers.values().cloned().collect();
                    return Ok(Ok(Reply::Welcome(Welcome { servers, holds })).into());
                }
                Err(refusal) => Err(refusal),
            },
            Request::Retire { server } => self.prepare_retire(server),
            _ => Err(Refusal::new(ErrorKind::Internal, "not a change of gv")),
        };
        match prepared {
            Ok(changes) => {
                let outcome = self.write_and_reply(to, gv(), changes)?;
                self.refresh_gv()?;
                Ok(outcome)
            }
            Err(refusal) => Ok(Err(refusal).into()),
        }
    }

    pub(super) fn group_of(&self, registry: &RegistryName) -> Result<Entry<'_>, Refusal> {
        self.entry(&registry.group()).ok_or_else(|| {
            Refusal::new(ErrorKind::NotFound, format!("no such registry: {registry}"))
        })
    }

    pub(super) fn server_incarnation(&self, server: &ServerName) -> Result<Incarnation, Refusal> {
        let entry = server
            .name()
            .and_then(|name| self.entry(&name))
            .map(|e| e.incarnation);
        entry
            .filter(|_| self.servers.contains_key(server))
            .ok_or_else(|| Refusal::not_found(format!("{server}@gv")))
    }

    fn prepare_registry(
        &mut self,
        memo: &Memo,
        registry: &RegistryName,
        holders: &[ServerName],
        registrars: &[Name],
    ) -> Result<Result<Vec<Change>, Refusal>, Stop> {
        if self.entry(&registry.group()).is_some() {
            return Ok(Err(Refusal::conflict(format!(
                "{registry} exists already (as a registry or a server of that name)"
            ))));
        }
        let holders: Vec<ServerName> = if holders.is_empty() {
            self.servers
                .keys()
                .filter(|s| self.is_full(s))
                .cloned()
                .collect()
        } else {
            holders.to_vec()
        };
        let mut members = Vec::new();
        for server in &holders {
            match self.server_incarnation(server) {
                Ok(incarnation) => members.push((server.clone(), incarnation)),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        let mut owners = Vec::new();
        for registrar in registrars {
            let listed = self.listed(memo, &Member::Name(registrar.clone()))?;
            // A registrar in the new registry itself is bound when it is created.
            if listed.incarnation.is_none() && registrar.registry() != registry {
                return Ok(Err(Refusal::not_found(registrar)));
            }
            owners.push((registrar, listed));
        }
        let (group, mut changes) = self.plain_entry(registry.as_str(), EntryKind::Group);
        for (server, incarnation) in members {
            changes.push(holder(group, &server, Some(incarnation)));
            changes.push(Change::put(
                element(group, Field::FirstHolder, server.as_str()),
                Vec::new(),
            ));
        }
        for (registrar, listed) in owners {
            changes.push(Change::put(
                element(group, Field::Owner, registrar.key()),
                codec::encode(&listed),
            ));
        }
        Ok(Ok(changes))
    }

    fn prepare_registry_delete(&self, registry: &RegistryName) -> Result<Vec<Change>, Refusal> {
        if registry.is_system() {
            return Err(Refusal::not_allowed(format!(
                "{registry} is the system's own"
            )));
        }
        let group = self.group_of(registry)?.incarnation;
        // One that stands aside would have the name without anybody having chosen it.
        self.is_settled(&registry.group())?;
        Ok(vec![Change::delete(single(group, Field::Identity))])
    }

    fn prepare_holder(
        &self,
        registry: &RegistryName,
        server: &ServerName,
        add: bool,
    ) -> Result<Vec<Change>, Refusal> {
        if registry.is_system() {
            return Err(Refusal::not_allowed(format!(
                "every server holds {registry}"
            )));
        }
        let group = self.group_of(registry)?.incarnation;
        let incarnation = self.server_incarnation(server)?;
        let present = self.holders(registry);
        if add {
            return Ok(if present.contains(server) {
                Vec::new()
            } else {
                vec![holder(group, server, Some(incarnation))]
            });
        }
        if present.len() == 1 && present.contains(server) {
            return Err(Refusal::conflict(format!(
                "{server} is the last holder of {registry}: add another one first"
            )));
        }
        // Data first, then traffic: what is being fetched is not yet a copy.
        let mut whole = self.ready_holders(registry);
        whole.retain(|holder| holder != server);
        if whole.is_empty() && !self.planted_traffic_first && present.contains(server) {
            return Err(Refusal::conflict(format!(
                "{server} is the only holder that has all of {registry}: the others are still fetching it; try again when `registry show` calls one of them ready"
            )));
        }
        Ok(if present.contains(server) {
            no_holder(group, server)
        } else {
            Vec::new()
        })
    }

    fn prepare_token(&self, digest: &[u8], expires_ms: u64) -> Result<Vec<Change>, Refusal> {
        if digest.len() != 32 {
            return Err(Refusal::invalid("a token's digest has 32 octets"));
        }
        let group = self.group_of(&RegistryName::gv())?.incarnation;
        Ok(vec![Change::put(
            element(group, Field::JoinToken, token_key(digest)),
            codec::encode(&expires_ms),
        )])
    }

    /// It was let in, and the answer was lost: its token is used up, its key proves it.
    fn is_let_in(&self, server: &ServerInfo) -> bool {
        let known = self.servers.get(&server.name);
        known.is_some_and(|known| known.has_key(&server.public_key))
    }

    fn token_is_good(&self, digest: &[u8]) -> bool {
        let Ok(group) = self.group_of(&RegistryName::gv()) else {
            return false;
        };
        let Some(database) = self.database(&RegistryName::gv()) else {
            return false;
        };
        database
            .cell(&element(
                group.incarnation,
                Field::JoinToken,
                token_key(digest),
            ))
            .and_then(|cell| codec::decode::<u64>(cell.value.as_ref()?).ok())
            .is_some_and(|expires_ms| self.now.wall_ms < expires_ms)
    }

    fn prepare_join(&mut self, digest: &[u8], server: &ServerInfo) -> Result<Vec<Change>, Refusal> {
        if self.is_let_in(server) {
            return Ok(Vec::new());
        }
        if server
            .name
            .name()
            .is_some_and(|name| self.entry(&name).is_some())
        {
            return Err(Refusal::conflict(format!(
                "there is a {}@gv already: give the new server another name, or retire that one first",
                server.name
            )));
        }
        if self.servers.values().any(|s| s.has_key(&server.public_key)) {
            return Err(Refusal::conflict(
                "another server has this very key: found the new one on a folder of its own",
            ));
        }
        let token = self.group_of(&RegistryName::gv())?.incarnation;
        let mut fresh = server.clone();
        fresh.role = ServerRole::Full;
        let (incarnation, mut changes) = self.server_entry(&fresh);
        for (registry, holders) in self.holdings.clone() {
            let full = holders.iter().filter(|s| self.is_full(s)).count();
            if registry.is_system() || full < LEAST_HOLDERS {
                changes.push(holder(
                    self.group_of(&registry)?.incarnation,
                    &server.name,
                    Some(incarnation),
                ));
            }
        }
        changes.push(Change::delete(element(
            token,
            Field::JoinToken,
            token_key(digest),
        )));
        Ok(changes)
    }

    /// Whether a name is a registrar of its own registry, named before it existed.
    pub(crate) fn unbound_registrar(&self, name: &Name) -> bool {
        self.unbound_groups(name).next().is_some()
    }

    fn unbound_groups(&self, name: &Name) -> impl Iterator<Item = Incarnation> {
        let key = name.key();
        let groups = [
            name.registry().group(),
            RegistryName::gv().group(),
            RegistryName::ms().group(),
        ];
        groups.into_iter().filter_map(move |group| {
            let entry = self.entry(&group)?;
            let listed = entry.listed(GroupList::Owners, &key)?;
            listed.incarnation.is_none().then_some(entry.incarnation)
        })
    }

    /// A registrar that was named before it existed exists now.
    pub(crate) fn bind_registrar(&mut self, name: &Name) -> Result<(), Damaged> {
        let Some(incarnation) = self.entry(name).map(|e| e.incarnation) else {
            return Ok(());
        };
        let listed = Listed {
            spelling: name.to_string(),
            incarnation: Some(incarnation),
            group: false,
        };
        let changes: Vec<Change> = self
            .unbound_groups(name)
            .map(|group| {
                Change::put(
                    element(group, Field::Owner, name.key()),
                    codec::encode(&listed),
                )
            })
            .collect();
        if !changes.is_empty() {
            self.write(&gv(), changes)?;
        }
        Ok(())
    }

    pub(crate) fn show_registry(&self, registry: &RegistryName) -> Result<Reply, Refusal> {
        let group = self.group_of(registry)?;
        Ok(Reply::Registry(RegistryView {
            registry: registry.clone(),
            holders: self.holders(registry),
            registrars: group
                .members(GroupList::Owners, None)
                .take(100)
                .map(|(member, _)| member)
                .collect(),
            entries: self.database(registry).map(|db| db.living()),
            ready: self.ready_holders(registry),
            policy: self.policy(registry).clone(),
        }))
    }
}

/// Where a token stands in `gv`: by the digest of what its bearer presents, so that a server that
/// can read `gv` can't present it.
fn token_key(presented: &[u8]) -> Vec<u8> {
    blake3::hash(presented).as_bytes().to_vec()
}

fn connect_site(door: Door, place: &str) -> String {
    format!("{} {place}", door.as_str())
}

fn server_fields(incarnation: Incarnation, info: &ServerInfo) -> impl Iterator<Item = Change> {
    let doors = info.doors.iter().map(move |(door, place)| {
        Change::put(
            element(incarnation, Field::ConnectSite, connect_site(*door, place)),
            Vec::new(),
        )
    });
    [
        Change::put(
            single(incarnation, Field::PublicKey),
            info.public_key.clone(),
        ),
        Change::put(
            single(incarnation, Field::Origin),
            codec::encode(&info.origin),
        ),
    ]
    .into_iter()
    .chain(doors)
}

/// A server as its entry describes it.
fn info_of(entry: &Entry<'_>) -> Option<ServerInfo> {
    let doors = entry
        .list(Field::ConnectSite, None)
        .filter_map(|(site, _)| {
            let (door, place) = std::str::from_utf8(site).ok()?.split_once(' ')?;
            Some((Door::from_name(door)?, place.to_owned()))
        });
    let public_key = entry.single(Field::PublicKey)?.to_vec();
    let more_keys = entry
        .list(Field::ServerKey, None)
        .map(|(key, _)| key.to_vec())
        .filter(|key| *key != public_key)
        .take(MOST_MORE_KEYS);
    Some(ServerInfo {
        name: entry.identity.simple().parse().ok()?,
        more_keys: more_keys.collect(),
        public_key,
        origin: entry
            .single(Field::Origin)
            .and_then(|o| codec::decode::<OriginId>(o).ok())?,
        role: if entry.single(Field::Retiring).is_some() {
            ServerRole::Retiring
        } else {
            ServerRole::Full
        },
        doors: doors.collect(),
    })
}

pub(super) fn holder(
    group: Incarnation,
    server: &ServerName,
    incarnation: Option<Incarnation>,
) -> Change {
    let listed = Listed {
        spelling: format!("{server}@gv"),
        incarnation,
        group: false,
    };
    Change::put(
        element(group, Field::Member, format!("{server}@gv")),
        codec::encode(&listed),
    )
}

pub(super) fn no_holder(group: Incarnation, server: &ServerName) -> Vec<Change> {
    vec![
        Change::delete(element(group, Field::Member, format!("{server}@gv"))),
        Change::delete(element(group, Field::FirstHolder, server.as_str())),
        Change::delete(element(group, Field::FetchedHolder, server.as_str())),
    ]
}

/// A server named at joining, as it is kept: the layout never changes.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Welcomed {
    name: ServerName,
    public_key: Vec<u8>,
    origin: OriginId,
    role: ServerRole,
    doors: BTreeMap<Door, String>,
}

fn welcomed(servers: &[ServerInfo]) -> Vec<Welcomed> {
    let kept = servers.iter().map(|server| Welcomed {
        name: server.name.clone(),
        public_key: server.public_key.clone(),
        origin: server.origin,
        role: server.role,
        doors: server.doors.clone(),
    });
    kept.collect()
}

impl From<Welcomed> for ServerInfo {
    fn from(kept: Welcomed) -> Self {
        Self {
            name: kept.name,
            public_key: kept.public_key,
            // `gv`, which is fetched first of all, says which others there are.
            more_keys: Vec::new(),
            origin: kept.origin,
            role: kept.role,
            doors: kept.doors,
        }
    }
}
