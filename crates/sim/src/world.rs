//! Who lives in a simulated Grapevine: three registries held by different servers, people, lists
//! nested over them; and how it is all set up, before any fault.
//!
//! What is called *stable* here is never changed afterwards: about it every answer is known.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    EntryChange, GroupList, Incarnation, Name, PostingRule, RegistryName, Reply, Request, Secret,
    ServerName, Speaker, Welcome,
};

use crate::clock::EPOCH_MS;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::effects::hash;
use crate::event::{NodeIndex, Outcome};
use crate::{services, stewards};

/// The registries of every run besides `gv` and `ms`.
const REGISTRIES: [&str; 3] = ["pa", "es", "sf"];
/// Ordinary individuals in each registry.
const PEOPLE_A_REGISTRY: usize = 3;
/// Messages that the smallest mailboxes have room for at first.
const SMALL_MESSAGES: u64 = 4;
/// A request of the setup is tried so often, a second apart.
const SETUP_TRIES: usize = 40;
/// Tokens of the setup hold this long.
const TOKEN_MS: u64 = 30 * 24 * 3_600_000;

/// An individual.
#[derive(Debug, Clone)]
pub struct Person {
    /// Its name.
    pub name: Name,
    /// What the name means.
    pub incarnation: Incarnation,
    /// The password that it was created with.
    pub password: String,
}

impl Person {
    /// It, as the shell has authenticated it.
    pub fn speaker(&self) -> Speaker {
        Speaker::Individual {
            name: self.name.clone(),
            incarnation: self.incarnation,
        }
    }
}

/// A registry with those who run it.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Its name.
    pub name: RegistryName,
    /// Its holders at the beginning.
    pub holders: Vec<ServerName>,
    /// Who administers it.
    pub registrar: Person,
    /// An individual that is created at some time, and stays.
    pub late: Name,
    /// One that is created and deleted again and again.
    pub passing: Name,
    /// Groups that are created, renamed into one another and deleted, on all sides of a partition.
    pub twins: [Name; 2],
    /// A list that never changes.
    pub team: Name,
    /// A list whose members come and go.
    pub club: Name,
    /// The owners of the club.
    pub club_owners: Vec<Person>,
    /// One of its people, who is renamed to and fro; his first name always leads to him.
    pub wanderer: Person,
    /// How else he is called at times.
    pub wanders: [Name; 2],
    /// An alias that he has at times.
    pub nick: Name,
    /// A moderated list of all its people, whose only owner is the registrar.
    pub forum: Name,
    /// Somebody whose mailbox has room for a few messages only.
    pub small: Person,
}

/// A service of a registry: an instance whose leases come and go, and one that is there for good.
#[derive(Debug, Clone)]
pub struct Service {
    /// The pool that both are in, and perhaps another pool.
    pub pool: Name,
    /// Registers itself.
    pub instance: Person,
    /// Has one place without a lease, which never changes.
    pub printer: Name,
}

/// The inhabitants.
#[derive(Debug, Clone)]
pub struct World {
    /// The registries.
    pub registries: Vec<Registry>,
    /// All ordinary individuals.
    pub people: Vec<Person>,
    /// The services, one of each registry.
    pub services: Vec<Service>,
    /// The individuals in each pool, by closure.
    pub pools: BTreeMap<Name, BTreeSet<Name>>,
    /// An individual without any right.
    pub mallory: Person,
    /// The individuals in each stable list, by closure.
    pub closures: BTreeMap<Name, BTreeSet<Name>>,
    /// The members that stand in each stable list itself.
    pub direct: BTreeMap<Name, BTreeSet<Name>>,
    /// Whether registries get other holders while the run lasts.
    pub holders_move: bool,
}

impl World {
    /// The person of a name.
    pub fn person(&self, name: &Name) -> Option<&Person> {
        let all = self.everybody();
        all.into_iter().find(|person| person.name == *name)
    }

    /// Everybody who has a mailbox and keeps it.
    pub fn everybody(&self) -> Vec<&Person> {
        let all = self.people.iter().chain([&self.mallory]);
        let registries = self.registries.iter();
        all.chain(registries.flat_map(|registry| [&registry.registrar, &registry.small]))
            .collect()
    }

    /// Whether somebody's mailbox may be full.
    pub fn is_small(&self, name: &Name) -> bool {
        let mut all = self.registries.iter();
        all.any(|registry| registry.small.name == *name)
    }

    /// The first name of somebody who may be called so at times.
    pub fn first_name(&self, name: &Name) -> Option<&Name> {
        let mut all = self.registries.iter();
        let at_times =
            |registry: &&Registry| registry.wanders.contains(name) || registry.nick == *name;
        all.find(at_times).map(|registry| &registry.wanderer.name)
    }

    /// The first names of those who have others at times, by these.
    pub fn other_names(&self) -> BTreeMap<Name, Name> {
        let of = |registry: &Registry| {
            let first = registry.wanderer.name.clone();
            let others = registry.wanders.iter().chain([&registry.nick]).cloned();
            others
                .map(move |other| (other, first.clone()))
                .collect::<Vec<_>>()
        };
        self.registries.iter().flat_map(of).collect()
    }

    /// The members of each moderated list, and who may post to it unasked.
    pub fn forums(&self) -> BTreeMap<Name, (BTreeSet<Name>, Name)> {
        let of = |registry: &Registry| {
            let own = self.people.iter().map(|person| person.name.clone());
            let own = own.filter(|name| name.registry() == &registry.name);
            let owner = registry.registrar.name.clone();
            (registry.forum.clone(), (own.collect(), owner))
        };
        self.registries.iter().map(of).collect()
    }

    /// Everybody who is in a pool.
    pub(crate) fn members_of(&self, pool: &Name) -> BTreeSet<Name> {
        self.pools.get(pool).cloned().unwrap_or_default()
    }

    /// The registry of a name.
    pub fn registry(&self, name: &RegistryName) -> Option<&Registry> {
        self.registries
            .iter()
            .find(|registry| registry.name == *name)
    }
}

/// A name that is known to be one.
#[expect(clippy::expect_used, reason = "the simulator's own names are literals")]
pub fn name(text: &str) -> Name {
    text.parse().expect("a name of the simulator")
}

/// A server's name that is known to be one.
#[expect(clippy::expect_used, reason = "the simulator's own names are literals")]
pub fn server_name(number: usize) -> ServerName {
    format!("s{number}").parse().expect("a server's name")
}

/// A registry's name that is known to be one.
#[expect(clippy::expect_used, reason = "the simulator's own names are literals")]
pub fn registry_name(text: &str) -> RegistryName {
    text.parse().expect("a registry of the simulator")
}

/// Something of the setup did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupFailed(pub String);

/// Asks until it is done; setup happens in fair weather, so it must be.
pub fn insist(
    cluster: &mut Cluster,
    node: NodeIndex,
    speaker: &Speaker,
    request: &Request,
) -> Result<Reply, SetupFailed> {
    let mut last = Outcome::NotSent;
    for _ in 0..SETUP_TRIES {
        last = cluster.ask(node, speaker.clone(), request.clone());
        if let Outcome::Done(reply) = last {
            return Ok(reply);
        }
        cluster.run_for(1_000);
    }
    Err(SetupFailed(format!("{request:?}: {last:?}")))
}

/// Lets a machine in, through a server that runs.
pub fn admit(
    cluster: &mut Cluster,
    through: NodeIndex,
    machine: NodeIndex,
    dice: &mut Dice,
) -> Result<(), SetupFailed> {
    let digest = dice.bytes32().to_vec();
    let expires_ms = EPOCH_MS + TOKEN_MS;
    let token = Request::TokenCreate {
        digest: digest.clone(),
        expires_ms,
    };
    insist(cluster, through, &Speaker::Operator, &token)?;
    let server = cluster.nodes()[machine].info.clone();
    let join = Request::Join { digest, server };
    match insist(cluster, through, &Speaker::Anonymous, &join)? {
        Reply::Welcome(welcome) => {
            let welcome: Welcome = welcome;
            cluster.join(machine, welcome);
            Ok(())
        }
        other => Err(SetupFailed(format!("a join is answered {other:?}"))),
    }
}

/// Founds a Grapevine of so many servers and lets the others in.
pub fn found(cluster: &mut Cluster, servers: usize, dice: &mut Dice) -> Result<(), SetupFailed> {
    for number in 1..=servers {
        cluster.add_machine(server_name(number));
    }
    cluster.found(0, vec![name("reg@pa")]);
    for machine in 1..servers {
        admit(cluster, 0, machine, dice)?;
        cluster.run_for(1_500);
    }
    cluster.run_for(5_000);
    Ok(())
}

/// Creates registries, people and lists.
pub fn populate(cluster: &mut Cluster, dice: &mut Dice) -> Result<World, SetupFailed> {
    let servers: Vec<ServerName> = cluster.nodes().iter().map(|n| n.name.clone()).collect();
    let mut registries = Vec::new();
    for text in REGISTRIES {
        let mut holders = servers.clone();
        dice.shuffle(&mut holders);
        let most = servers.len() as u64;
        let wanted = dice.between(
            2.min(most),
            3.min(most.saturating_sub(1).max(1)).max(2.min(most)),
        );
        holders.truncate(wanted as usize);
        registries.push(registry(cluster, text, holders, &servers, dice)?);
    }
    let mut people = Vec::new();
    for registry in &registries {
        for number in 0..PEOPLE_A_REGISTRY {
            let name = name(&format!("u{number}@{}", registry.name));
            people.push(person(cluster, name, sites(&servers, dice))?);
        }
    }
    let mallory = person(cluster, name("mallory@sf"), sites(&servers, dice))?;
    for registry in &mut registries {
        let own = |person: &&Person| person.name.registry() == &registry.name;
        if let Some(last) = people.iter().rfind(own) {
            registry.wanderer = last.clone();
        }
        forum(cluster, registry, &people)?;
    }
    let nested = lists(cluster, &mut registries, &people, dice)?;
    let (services, pools) = services(cluster, &registries, &servers, dice)?;
    cluster.run_for(10_000);
    Ok(World {
        registries,
        people,
        services,
        pools: pools
            .keys()
            .map(|pool| (pool.clone(), closure(pool, &pools)))
            .collect(),
        mallory,
        closures: nested
            .keys()
            .map(|group| (group.clone(), closure(group, &nested)))
            .collect(),
        direct: nested
            .into_iter()
            .map(|(group, members)| (group, members.into_iter().collect()))
            .collect(),
        holders_move: false,
    })
}

/// Two inbox sites that need not be holders; or the servers' own choice.
fn sites(servers: &[ServerName], dice: &mut Dice) -> Vec<ServerName> {
    if dice.chance(400) {
        return Vec::new();
    }
    let mut sites = servers.to_vec();
    dice.shuffle(&mut sites);
    sites.truncate(2);
    sites
}

fn registry(
    cluster: &mut Cluster,
    text: &str,
    holders: Vec<ServerName>,
    servers: &[ServerName],
    dice: &mut Dice,
) -> Result<Registry, SetupFailed> {
    let registrar_name = name(&format!("reg@{text}"));
    let create = Request::RegistryCreate {
        registry: registry_name(text),
        holders: holders.clone(),
        registrars: vec![registrar_name.clone()],
    };
    insist(cluster, 0, &Speaker::Operator, &create)?;
    cluster.run_for(4_000);
    let registrar = person(cluster, registrar_name, sites(servers, dice))?;
    let small = person(
        cluster,
        name(&format!("small@{text}")),
        sites(servers, dice),
    )?;
    let little = stewards::quota(&small.name, SMALL_MESSAGES);
    insist(cluster, 0, &Speaker::Operator, &little)?;
    Ok(Registry {
        // One of its people, once there are any.
        wanderer: small.clone(),
        wanders: [
            name(&format!("roams@{text}")),
            name(&format!("strays@{text}")),
        ],
        nick: name(&format!("nick@{text}")),
        forum: name(&format!("forum^@{text}")),
        small,
        name: registry_name(text),
        holders,
        registrar,
        late: name(&format!("late@{text}")),
        passing: name(&format!("passing@{text}")),
        twins: [
            name(&format!("twin^@{text}")),
            name(&format!("other^@{text}")),
        ],
        team: name(&format!("team^@{text}")),
        club: name(&format!("Club^@{text}")),
        club_owners: Vec::new(),
    })
}

/// A moderated list of a registry's people.
fn forum(cluster: &mut Cluster, registry: &Registry, people: &[Person]) -> Result<(), SetupFailed> {
    let create = Request::GroupCreate {
        name: registry.forum.clone(),
        remark: String::new(),
        owners: vec![registry.registrar.name.clone().into()],
    };
    insist(cluster, 0, &Speaker::Operator, &create)?;
    let own = |person: &&Person| person.name.registry() == &registry.name;
    let members: Vec<Name> = people.iter().filter(own).map(|p| p.name.clone()).collect();
    fill(
        cluster,
        &BTreeMap::from([(registry.forum.clone(), members)]),
    )?;
    let moderated = Request::Change {
        name: registry.forum.clone(),
        change: EntryChange::Posting(PostingRule::Moderated),
    };
    insist(cluster, 0, &Speaker::Operator, &moderated).map(|_| ())
}

/// Somebody whose mailbox mail programs look at, and nobody else writes to.
pub(crate) fn reader(cluster: &mut Cluster, dice: &mut Dice) -> Result<Person, SetupFailed> {
    let servers: Vec<ServerName> = cluster.nodes().iter().map(|n| n.name.clone()).collect();
    let found = person(cluster, name("reader@pa"), sites(&servers, dice))?;
    cluster.run_for(3_000);
    Ok(found)
}

fn person(
    cluster: &mut Cluster,
    name: Name,
    sites: Vec<ServerName>,
) -> Result<Person, SetupFailed> {
    let password = format!("first-of-{name}");
    let create = Request::IndividualCreate {
        name: name.clone(),
        password: Some(hash(&password)),
        sites,
    };
    insist(cluster, 0, &Speaker::Operator, &create)?;
    let authenticate = Request::Authenticate {
        name: name.clone(),
        password: Secret(password.clone()),
        source: grapevine_model::Source::Local,
    };
    match insist(cluster, 0, &Speaker::Anonymous, &authenticate)? {
        Reply::Authenticated(authenticated) => Ok(Person {
            name,
            incarnation: authenticated.incarnation,
            password,
        }),
        other => Err(SetupFailed(format!("{name} logs in: {other:?}"))),
    }
}

/// team@pa: its people, sometimes team@sf too, which closes a cycle; team@es: two people and
/// team@pa; team@sf: its people and team@es. The clubs are owned by their registrar and by
/// somebody of another registry.
fn lists(
    cluster: &mut Cluster,
    registries: &mut [Registry],
    people: &[Person],
    dice: &mut Dice,
) -> Result<BTreeMap<Name, Vec<Name>>, SetupFailed> {
    let cycle = dice.chance(400);
    let mut nested: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
    for (number, registry) in registries.iter_mut().enumerate() {
        let own = |person: &&Person| person.name.registry() == &registry.name;
        let mut members: Vec<Name> = people
            .iter()
            .filter(own)
            .map(|person| person.name.clone())
            .collect();
        match number {
            0 if cycle => members.push(name("team^@sf")),
            0 => {}
            1 => {
                members.truncate(2);
                members.push(name("team^@pa"));
            }
            _ => members.push(name("team^@es")),
        }
        nested.insert(registry.team.clone(), members);
        let other = &people[(number + 1) * PEOPLE_A_REGISTRY % people.len() + 1];
        registry.club_owners = vec![registry.registrar.clone(), other.clone()];
        for group in [&registry.team, &registry.club] {
            // The team's registrar comes first; the club has somebody of another registry too.
            let count = if group == &registry.club { 2 } else { 1 };
            let owners = registry.club_owners.iter().take(count);
            let create = Request::GroupCreate {
                name: group.clone(),
                remark: String::new(),
                owners: owners.map(|owner| owner.name.clone().into()).collect(),
            };
            insist(cluster, 0, &Speaker::Operator, &create)?;
        }
    }
    fill(cluster, &nested)?;
    Ok(nested)
}

fn fill(cluster: &mut Cluster, nested: &BTreeMap<Name, Vec<Name>>) -> Result<(), SetupFailed> {
    for (group, members) in nested {
        for member in members {
            let change = EntryChange::ListAdd(GroupList::Members, member.clone().into());
            let add = Request::Change {
                name: group.clone(),
                change,
            };
            insist(cluster, 0, &Speaker::Operator, &add)?;
        }
    }
    Ok(())
}

/// What the pools' groups have as members.
type Pools = BTreeMap<Name, Vec<Name>>;

/// Each registry has a pool with its instance and its printer; that of es has that of pa in it, and
/// that of sf that of es.
fn services(
    cluster: &mut Cluster,
    registries: &[Registry],
    servers: &[ServerName],
    dice: &mut Dice,
) -> Result<(Vec<Service>, Pools), SetupFailed> {
    let mut services: Vec<Service> = Vec::new();
    let mut nested = BTreeMap::new();
    for registry in registries {
        let at = &registry.name;
        let instance = person(cluster, name(&format!("svc@{at}")), sites(servers, dice))?;
        let printer = person(
            cluster,
            name(&format!("printer@{at}")),
            sites(servers, dice),
        )?;
        let place = services::offer(services::place(&printer, 631));
        let lasting = services::sites(&printer.name, vec![place], None);
        insist(cluster, 0, &registry.registrar.speaker(), &lasting)?;
        let pool = name(&format!("pool^@{at}"));
        let create = Request::GroupCreate {
            name: pool.clone(),
            remark: String::new(),
            owners: vec![registry.registrar.name.clone().into()],
        };
        insist(cluster, 0, &Speaker::Operator, &create)?;
        let mut members = vec![instance.name.clone(), printer.name.clone()];
        members.extend(services.last().map(|inner| inner.pool.clone()));
        nested.insert(pool.clone(), members);
        services.push(Service {
            pool,
            instance,
            printer: printer.name,
        });
    }
    fill(cluster, &nested)?;
    Ok((services, nested))
}

fn closure(group: &Name, nested: &BTreeMap<Name, Vec<Name>>) -> BTreeSet<Name> {
    let (mut people, mut seen, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![group]);
    while let Some(group) = open.pop() {
        if !seen.insert(group) {
            continue;
        }
        for member in nested.get(group).into_iter().flatten() {
            if nested.contains_key(member) {
                open.push(member);
            } else {
                people.insert(member.clone());
            }
        }
    }
    people
}
