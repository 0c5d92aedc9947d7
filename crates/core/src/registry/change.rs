//! Changes of entries: created, deleted, changed, and shown.
//!
//! A change is a few cells, whatever the size of the entry. The registry is held
//! here when these run.

use grapevine_model::{
    EntryChange, EntryKind, EntryView, ErrorKind, Field, GroupList, Hlc, Incarnation, Member,
    MemberKind, Name, PostingRule, Refusal, Reply, Request, Resolution, Seen, ServerName, SpaceId,
    Speaker, Stamp, Written,
};

use crate::codec::{self, Identity, Listed};
use crate::delivery::suspend::forget_failures;
use crate::registry::database::{element, list_field, single};
use crate::registry::directory::{Eval, Memo, Need};
use crate::registry::listing::may_read;
use crate::registry::rename::deletion;
use crate::registry::request::{Outcome, ReplyTo, Stop};
use crate::replication::push::Change;
use crate::replication::waiters::Then;
use crate::server::Server;
use crate::tables::Damaged;

/// Longest remark in octets.
pub(super) const MAX_REMARK_BYTES: usize = 1_024;
/// Most inbox sites, aliases and forwarding addresses of one individual.
pub(super) const MAX_PLACES: usize = 32;
/// Most members in one answer.
const MAX_PAGE: usize = 1_000;
/// An individual has two inbox sites unless it is said otherwise.
const DEFAULT_SITES: usize = 2;

pub(crate) type Checked<T> = Eval<Result<T, Refusal>>;

impl Server {
    /// Creates, deletes or changes an entry.
    pub(crate) fn change(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        speaker: &Speaker,
        request: &Request,
    ) -> Result<Outcome, Stop> {
        let prepared = match request {
            Request::IndividualCreate {
                name,
                password,
                sites,
            } => self.prepare_individual(
                memo,
                speaker,
                name,
                password.as_ref().map(|p| p.0.as_str()),
                sites,
            )?,
            Request::GroupCreate {
                name,
                remark,
                owners,
            } => self.prepare_group(memo, speaker, name, remark, owners)?,
            Request::Delete { name } => self.prepare_delete(memo, speaker, name)?,
            Request::Change { name, change } => {
                match self.may_change(memo, speaker, name, change)? {
                    Ok(()) => self.prepare_change(memo, speaker, name, change)?,
                    Err(refusal) => Err(refusal),
                }
            }
            Request::Aside {
                name,
                incarnation,
                change,
            } => self.prepare_aside(memo, speaker, name, *incarnation, change)?,
            Request::DanglingRemove {
                registry,
                after,
                limit,
            } => {
                self.prepare_dangling_remove(memo, speaker, registry, (after.as_deref(), *limit))?
            }
            _ => Err(Refusal::new(
                ErrorKind::Internal,
                "not a change of an entry",
            )),
        };
        let registry = match request {
            Request::IndividualCreate { name, .. }
            | Request::GroupCreate { name, .. }
            | Request::Delete { name }
            | Request::Aside { name, .. }
            | Request::Change { name, .. } => name.registry(),
            Request::DanglingRemove { registry, .. } => registry,
            _ => {
                return Ok(Err(Refusal::new(
                    ErrorKind::Internal,
                    "not a change of an entry",
                ))
                .into());
            }
        };
        match prepared {
            Err(refusal) => Ok(Err(refusal).into()),
            Ok(changes) => {
                let outcome =
                    self.write_and_reply(to, SpaceId::Registry(registry.clone()), changes)?;
                if let Request::IndividualCreate { name, .. } = request {
                    self.bind_registrar(name)?;
                }
                Ok(outcome)
            }
        }
    }

    /// Writes, and replies when a second disk has it.
    pub(crate) fn write_and_reply(
        &mut self,
        to: &ReplyTo,
        space: SpaceId,
        changes: Vec<Change>,
    ) -> Result<Outcome, Damaged> {
        let to_reply = to.clone();
        self.write_then(space, changes, move |written| {
            Then::Written(to_reply, written)
        })
    }

    /// Writes, and goes on when a second disk has it.
    pub(crate) fn write_then(
        &mut self,
        space: SpaceId,
        changes: Vec<Change>,
        then: impl FnOnce(Written) -> Then,
    ) -> Result<Outcome, Damaged> {
        let partners = self.partners(&space);
        let alone = !partners.is_empty() && !partners.iter().any(|p| self.is_up(p));
        // A change of `gv` is how a lost second server is struck off and another one let in.
        let cure = matches!(&space, SpaceId::Registry(r) if r.as_str() == "gv");
        let policy = match &space {
            SpaceId::Registry(registry) => self.alone_for(registry),
            SpaceId::Mailbox(_) => self.config.alone,
        };
        if alone && !cure && policy == crate::config::Alone::Refuse {
            let why = "no second server can be reached, and this one does not accept changes alone; try again later";
            return Ok(Err(Refusal::unavailable(why)).into());
        }
        if self.disk_nearly_full {
            return Ok(Err(Refusal::unavailable(
                "the disk of this server is nearly full; use another server",
            ))
            .into());
        }
        match self.write(&space, changes)? {
            Some(dot) => {
                let seen = match &space {
                    SpaceId::Registry(registry) => vec![Seen {
                        registry: registry.clone(),
                        stamp: dot,
                    }],
                    SpaceId::Mailbox(_) => Vec::new(),
                };
                let written = Written {
                    stamp: Some(dot),
                    copies: 1,
                    seen,
                };
                self.when_copied(space.clone(), dot, then(written));
                self.space_changed(&space);
                Ok(Outcome::Later)
            }
            None => {
                // It is so already, perhaps by a write whose second copy is still on its way: the
                // answer waits for this server's last write. One of another origin is on two disks.
                let origin = self.clock.origin();
                let last = self.spaces.get(&space).map(|s| s.row.vector.get(origin));
                let seen = match &space {
                    SpaceId::Registry(registry) => self.seen_of(registry),
                    SpaceId::Mailbox(_) => Vec::new(),
                };
                let written = Written {
                    stamp: None,
                    copies: 2,
                    seen,
                };
                match last.filter(|time| *time > Hlc(0)) {
                    Some(time) => self.when_copied(space, Stamp { time, origin }, then(written)),
                    None => self.copied(then(written), 2),
                }
                Ok(Outcome::Later)
            }
        }
    }

    pub(super) fn new_entry(&mut self, name: &Name, kind: EntryKind) -> (Incarnation, Vec<Change>) {
        let incarnation = Incarnation(self.random_u128());
        let created = Stamp {
            time: self.tick(Hlc(0)),
            origin: self.clock.origin(),
        };
        let identity = Identity {
            kind,
            simple: name.simple().to_owned(),
            created,
            named: created,
        };
        let mut changes = self.take_over_name(name);
        changes.push(Change::put(
            single(incarnation, Field::Identity),
            codec::encode(&identity),
        ));
        (incarnation, changes)
    }

    /// Whether the name may be given to a new entry: a former name may, it is nobody's any more.
    pub(super) fn name_is_free(&self, name: &Name) -> Result<(), Refusal> {
        self.may_get_name(name, None)
    }

    /// Whether an entry may be called so, or a new one where there is none yet.
    pub(crate) fn may_get_name(
        &self,
        name: &Name,
        who: Option<Incarnation>,
    ) -> Result<(), Refusal> {
        if !name.may_be_created() {
            return Err(Refusal::invalid(format!(
                "{name}: `+` begins a detail and `owners-` a list's owners, so no entry may be called so"
            )));
        }
        if name.registry().is_system() {
            return Err(Refusal::not_allowed(format!(
                "{} is the system's own: use the registry and server commands",
                name.registry()
            )));
        }
        let has = self
            .database(name.registry())
            .and_then(|database| database.find_present(name.folded()));
        match has {
            Some(entry) if Some(entry.incarnation) != who => {
                Err(Refusal::conflict(format!("{name} exists already")))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn prepare_individual(
        &mut self,
        memo: &Memo,
        speaker: &Speaker,
        name: &Name,
        hash: Option<&str>,
        sites: &[ServerName],
    ) -> Checked<Vec<Change>> {
        let unbound = self.unbound_registrar(name);
        let registrar = self.is_registrar(memo, speaker, name.registry())?
            || (unbound && self.is_founder(memo, speaker)?);
        if !registrar {
            return Ok(Err(Refusal::not_allowed(format!(
                "only a registrar of {} may create names in it",
                name.registry()
            ))));
        }
        if let Err(refusal) = self.name_is_free(name) {
            return Ok(Err(refusal));
        }
        let sites = if sites.is_empty() {
            self.choose_sites(name)
        } else {
            sites.to_vec()
        };
        if let Some(unknown) = sites.iter().find(|s| !self.servers.contains_key(*s)) {
            return Ok(Err(Refusal::not_found(format!("{unknown}@gv"))));
        }
        let (incarnation, mut changes) = self.new_entry(name, EntryKind::Individual);
        changes.extend(hash.map(|hash| {
            Change::put(
                single(incarnation, Field::Password),
                hash.as_bytes().to_vec(),
            )
        }));
        changes.extend(site_changes(incarnation, &sites));
        Ok(Ok(changes))
    }

    /// Two sites for a new mailbox: spread by name over the servers that hold its registry first.
    pub(super) fn choose_sites(&self, name: &Name) -> Vec<ServerName> {
        let usable = |s: &&ServerName| {
            self.servers
                .get(*s)
                .is_some_and(|i| i.role == grapevine_model::ServerRole::Full)
        };
        let holders = self.holders(name.registry());
        let mut candidates: Vec<ServerName> = holders.iter().filter(usable).cloned().collect();
        if candidates.len() < DEFAULT_SITES {
            candidates.extend(
                self.servers
                    .keys()
                    .filter(usable)
                    .filter(|s| !holders.contains(s))
                    .cloned(),
            );
        }
        if !candidates.is_empty() {
            let hash = blake3::hash(name.key().as_bytes());
            let turn =
                usize::from(hash.as_bytes().first().copied().unwrap_or(0)) % candidates.len();
            candidates.rotate_left(turn);
        }
        candidates.truncate(DEFAULT_SITES);
        candidates
    }

    fn prepare_group(
        &mut self,
        memo: &Memo,
        speaker: &Speaker,
        name: &Name,
        remark: &str,
        owners: &[Member],
    ) -> Checked<Vec<Change>> {
        if !self.is_registrar(memo, speaker, name.registry())? {
            return Ok(Err(Refusal::not_allowed(format!(
                "only a registrar of {} may create names in it",
                name.registry()
            ))));
        }
        if let Err(refusal) = self.name_is_free(name) {
            return Ok(Err(refusal));
        }
        if remark.len() > MAX_REMARK_BYTES {
            return Ok(Err(Refusal::new(
                ErrorKind::TooLarge,
                format!("a remark has at most {MAX_REMARK_BYTES} octets"),
            )));
        }
        let mut listed = Vec::new();
        for owner in owners {
            listed.push((owner, self.listed(memo, owner)?));
        }
        let (incarnation, mut changes) = self.new_entry(name, EntryKind::Group);
        changes.push(Change::put(
            single(incarnation, Field::Remark),
            remark.as_bytes().to_vec(),
        ));
        for (owner, listed) in listed {
            changes.push(Change::put(
                element(incarnation, Field::Owner, owner.key()),
                codec::encode(&listed),
            ));
        }
        Ok(Ok(changes))
    }

    fn prepare_delete(
        &mut self,
        memo: &Memo,
        speaker: &Speaker,
        name: &Name,
    ) -> Checked<Vec<Change>> {
        if name.registry().is_system() {
            return Ok(Err(Refusal::not_allowed(
                "entries of the system's own registries go by `registry delete` and `retire`",
            )));
        }
        if !self.is_registrar(memo, speaker, name.registry())? {
            return Ok(Err(Refusal::not_allowed(format!(
                "only a registrar of {} may delete names in it",
                name.registry()
            ))));
        }
        let Some(entry) = self.entry(name) else {
            return Ok(Err(Refusal::not_found(name)));
        };
        if entry.folded() != name.folded() {
            return Ok(Err(Refusal::conflict(format!(
                "{name} is another name of {}: remove it there, or delete that name",
                entry.identity.simple()
            ))));
        }
        let incarnation = entry.incarnation;
        let mut changes = deletion(incarnation);
        let app_passwords = entry.list(Field::AppPassword, None).map(|(id, _)| id);
        changes.extend(
            app_passwords.map(|id| Change::delete(element(incarnation, Field::AppPassword, id))),
        );
        if let Err(refusal) = self.is_settled(name) {
            return Ok(Err(refusal));
        }
        Ok(Ok(changes))
    }

    /// What a member means now.
    pub(crate) fn listed(&self, memo: &Memo, member: &Member) -> Eval<Listed> {
        let (incarnation, group) = match member {
            Member::Anyone | Member::AnyoneIn(_) => (None, false),
            Member::Name(name) => match self.resolve(memo, name)? {
                Resolution::Individual { incarnation, .. } => (Some(incarnation), false),
                Resolution::Group { incarnation, .. } => (Some(incarnation), true),
                Resolution::NoSuch => (None, false),
            },
        };
        Ok(Listed {
            spelling: member.to_string(),
            incarnation,
            group,
        })
    }

    fn prepare_change(
        &mut self,
        memo: &Memo,
        speaker: &Speaker,
        name: &Name,
        change: &EntryChange,
    ) -> Checked<Vec<Change>> {
        let Some(entry) = self.entry(name) else {
            return Ok(Err(Refusal::not_found(name)));
        };
        let incarnation = entry.incarnation;
        let kind_needed = match change {
            EntryChange::Remark(_) | EntryChange::Rename(_) | EntryChange::FormerRemove(_) => None,
            EntryChange::Quota(_)
            | EntryChange::Password(_)
            | EntryChange::AppPasswordAdd(_)
            | EntryChange::AppPasswordRemove(_)
            | EntryChange::Sites(_)
            | EntryChange::Forward(_)
            | EntryChange::ConnectSites { .. }
            | EntryChange::AliasAdd(_)
            | EntryChange::AliasRemove(_) => Some(EntryKind::Individual),
            EntryChange::Posting(_)
            | EntryChange::Judge { .. }
            | EntryChange::Unsubscribe(_)
            | EntryChange::Resume(_)
            | EntryChange::ListAdd(..)
            | EntryChange::ListRemove(..)
            | EntryChange::Join
            | EntryChange::Leave => Some(EntryKind::Group),
        };
        if kind_needed.is_some_and(|kind| kind != entry.kind()) {
            let is = if entry.kind() == EntryKind::Group {
                "a group"
            } else {
                "an individual"
            };
            return Ok(Err(Refusal::invalid(format!("{name} is {is}"))));
        }
        let changes = match change {
            EntryChange::Password(hash) => {
                self.password_changes(incarnation, name.registry(), hash)
            }
            EntryChange::AppPasswordAdd(app) => match self.app_password_changes(&entry, app) {
                Ok(changes) => changes,
                Err(refusal) => return Ok(Err(refusal)),
            },
            EntryChange::AppPasswordRemove(id) => vec![Change::delete(element(
                incarnation,
                Field::AppPassword,
                id.as_bytes(),
            ))],
            EntryChange::Remark(remark) if remark.len() > MAX_REMARK_BYTES => {
                return Ok(Err(Refusal::new(
                    ErrorKind::TooLarge,
                    format!("a remark has at most {MAX_REMARK_BYTES} octets"),
                )));
            }
            EntryChange::Remark(remark) => vec![Change::put(
                single(incarnation, Field::Remark),
                remark.as_bytes().to_vec(),
            )],
            EntryChange::Sites(sites) => {
                if sites.len() > MAX_PLACES || sites.is_empty() {
                    return Ok(Err(Refusal::invalid(format!(
                        "an individual has 1 to {MAX_PLACES} inbox sites"
                    ))));
                }
                if let Some(unknown) = sites.iter().find(|s| !self.servers.contains_key(*s)) {
                    return Ok(Err(Refusal::not_found(format!("{unknown}@gv"))));
                }
                let gone = entry.sites().into_iter().filter(|s| !sites.contains(s));
                let gone: Vec<Change> = gone
                    .map(|s| Change::delete(element(incarnation, Field::InboxSite, s.as_str())))
                    .collect();
                site_changes(incarnation, sites).chain(gone).collect()
            }
            EntryChange::Forward(names) => {
                if names.len() > MAX_PLACES {
                    return Ok(Err(Refusal::new(
                        ErrorKind::TooLarge,
                        format!("at most {MAX_PLACES} forwarding addresses"),
                    )));
                }
                let gone = entry.forward().into_iter().filter(|n| !names.contains(n));
                let gone: Vec<Change> = gone
                    .map(|n| Change::delete(element(incarnation, Field::Forward, n.key())))
                    .collect();
                names
                    .iter()
                    .map(|n| {
                        Change::put(
                            element(incarnation, Field::Forward, n.key()),
                            n.to_string().into_bytes(),
                        )
                    })
                    .chain(gone)
                    .collect()
            }
            EntryChange::ConnectSites {
                door,
                sites,
                lease_ms,
            } => {
                if name.registry().is_system() {
                    return Ok(Err(Refusal::not_allowed(
                        "a server's connect sites follow its configuration",
                    )));
                }
                match self.connect_changes(&entry, door, sites, *lease_ms) {
                    Ok(changes) => changes,
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
            EntryChange::AliasAdd(alias) => {
                if alias.registry() != name.registry() {
                    return Ok(Err(Refusal::invalid(
                        "an alias is a name of the same registry",
                    )));
                }
                if entry.aliases().len() >= MAX_PLACES {
                    return Ok(Err(Refusal::new(
                        ErrorKind::TooLarge,
                        format!("at most {MAX_PLACES} aliases"),
                    )));
                }
                if let Err(refusal) = self.name_is_free(alias) {
                    return Ok(Err(refusal));
                }
                let mut changes = self.take_over_name(alias);
                changes.push(Change::put(
                    element(incarnation, Field::Alias, alias.folded()),
                    alias.simple().as_bytes().to_vec(),
                ));
                changes
            }
            EntryChange::AliasRemove(alias) => vec![Change::delete(element(
                incarnation,
                Field::Alias,
                alias.folded(),
            ))],
            EntryChange::Rename(to) => match self.prepare_rename(name, to) {
                Ok(changes) => changes,
                Err(refusal) => return Ok(Err(refusal)),
            },
            EntryChange::FormerRemove(former) if former.registry() != name.registry() => {
                return Ok(Err(Refusal::not_found(former)));
            }
            EntryChange::FormerRemove(former) => vec![Change::delete(element(
                incarnation,
                Field::FormerName,
                former.folded(),
            ))],
            EntryChange::Quota(quota) => vec![Change::put(
                single(incarnation, Field::Quota),
                codec::encode(quota),
            )],
            EntryChange::Posting(rule) => {
                let mut meant = None;
                if let PostingRule::Group(group) = rule {
                    match self.resolve(memo, group)? {
                        Resolution::Group { incarnation, .. } => meant = Some(incarnation),
                        Resolution::Individual { .. } => {
                            return Ok(Err(Refusal::invalid(format!("{group} is an individual"))));
                        }
                        Resolution::NoSuch => return Ok(Err(Refusal::not_found(group))),
                    }
                }
                // What is meant stands behind the rule, where an older release does not look.
                let value = match meant {
                    Some(_) => codec::encode(&(rule, meant)),
                    None => codec::encode(rule),
                };
                vec![Change::put(single(incarnation, Field::Posting), value)]
            }
            EntryChange::Judge { message, verdict } => {
                match self.judge_changes(&entry, *message, verdict) {
                    Ok(changes) => changes,
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
            EntryChange::Unsubscribe(token) => {
                match self.unsubscribe_changes(&entry, name.registry(), token) {
                    Ok(changes) => changes,
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
            EntryChange::Resume(member) => forget_failures(&entry, &member.key()),
            EntryChange::ListAdd(list, member) => {
                let listed = self.listed(memo, member)?;
                let known = match member {
                    Member::Name(n) => {
                        listed.incarnation.is_some()
                            || self.held(n.registry()) == crate::registry::directory::Held::Unknown
                    }
                    Member::Anyone | Member::AnyoneIn(_) => true,
                };
                if !known {
                    return Ok(Err(Refusal::not_found(member)));
                }
                self.enlist(memo, (name, *list), &member.key(), &listed)?
            }
            EntryChange::ListRemove(list, member) => {
                let there = entry.listed(*list, &member.key()).is_some();
                let meant = match self.listed(memo, member) {
                    Ok(listed) => listed.incarnation,
                    // What is listed as it was said goes, whoever can be asked what it means.
                    Err(Need::Unavailable(_)) if there => None,
                    Err(need) => return Err(need),
                };
                let gone = match list {
                    // Who comes again begins anew.
                    GroupList::Members => forget_failures(&entry, &member.key()),
                    GroupList::Owners | GroupList::Friends => Vec::new(),
                };
                self.elements_for(name, *list, member, meant)
                    .into_iter()
                    .map(|key| Change::delete(element(incarnation, list_field(*list), key)))
                    .chain(gone)
                    .collect()
            }
            EntryChange::Join | EntryChange::Leave => {
                let Speaker::Individual {
                    name: who,
                    incarnation: is,
                } = speaker
                else {
                    return Ok(Err(Refusal::new(
                        ErrorKind::NotAuthenticated,
                        "log in first",
                    )));
                };
                if *change == EntryChange::Join {
                    let listed = Listed {
                        spelling: who.to_string(),
                        incarnation: Some(*is),
                        group: false,
                    };
                    self.enlist(memo, (name, GroupList::Members), &who.key(), &listed)?
                } else {
                    let who = Member::Name(who.clone());
                    self.elements_for(name, GroupList::Members, &who, Some(*is))
                        .into_iter()
                        .map(|key| Change::delete(element(incarnation, Field::Member, key)))
                        .collect()
                }
            }
        };
        Ok(Ok(self.only_real(name, changes)))
    }

    /// Deleting what is not there changes nothing and is not written.
    pub(super) fn only_real(&self, name: &Name, changes: Vec<Change>) -> Vec<Change> {
        let database = self.database(name.registry());
        let there = |c: &Change| {
            database
                .and_then(|db| db.cell(&c.key))
                .is_some_and(|cell| cell.value.is_some())
        };
        changes
            .into_iter()
            .filter(|c| c.value.is_some() || there(c))
            .collect()
    }

    /// An entry, for those who may see it: anyone who is logged in.
    pub(crate) fn show(&mut self, memo: &Memo, speaker: &Speaker, name: &Name) -> Checked<Reply> {
        if speaker.is_nobody() {
            return Ok(Err(Refusal::new(
                ErrorKind::NotAuthenticated,
                "log in first",
            )));
        }
        let Some(entry) = self.entry(name) else {
            return Ok(Err(Refusal::not_found(name)));
        };
        let usage = self.shown_usage(memo, speaker, &entry)?;
        let suspended = self.shown_suspended(memo, speaker, &entry)?;
        Ok(self
            .view(&entry)
            .map(|view| {
                let view = EntryView {
                    usage,
                    suspended,
                    ..view
                };
                Reply::Entry(Box::new(view))
            })
            .ok_or_else(|| Refusal::not_found(name)))
    }

    /// A page of a list of a group, for those who may see entries.
    pub(crate) fn members(
        &self,
        speaker: &Speaker,
        group: &Name,
        (list, after, limit): (GroupList, Option<&str>, u32),
    ) -> Result<Reply, Refusal> {
        may_read(speaker)?;
        let Some(entry) = self.entry(group) else {
            return Err(Refusal::not_found(group));
        };
        if entry.kind() != EntryKind::Group {
            return Err(Refusal::invalid(format!("{group} is an individual")));
        }
        let limit = usize::try_from(limit)
            .unwrap_or(MAX_PAGE)
            .clamp(1, MAX_PAGE);
        let mut members: Vec<(Member, Listed)> =
            entry.members(list, after).take(limit + 1).collect();
        let more = members.len() > limit;
        members.truncate(limit);
        // Pages are in the order in which members are listed, whatever they are called now.
        let last = members.last().map(|(member, _)| member.key());
        let kinds = members.iter().map(|(_, listed)| kind(listed)).collect();
        Ok(Reply::Members {
            kinds,
            members: members
                .into_iter()
                .map(|(member, listed)| self.shown(member, listed.incarnation))
                .collect(),
            next: last.filter(|_| more),
        })
    }
}

pub(super) fn site_changes(
    incarnation: Incarnation,
    sites: &[ServerName],
) -> impl Iterator<Item = Change> {
    sites.iter().enumerate().map(move |(order, site)| {
        let order = u32::try_from(order).unwrap_or(u32::MAX);
        Change::put(
            element(incarnation, Field::InboxSite, site.as_str()),
            codec::encode(&order),
        )
    })
}

/// What a member was when it was listed.
fn kind(listed: &Listed) -> MemberKind {
    match (listed.group, listed.incarnation) {
        (true, _) => MemberKind::Group,
        (false, Some(_)) => MemberKind::Individual,
        (false, None) => MemberKind::Outside,
    }
}
