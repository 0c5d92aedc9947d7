//! What clients want: chosen by chance, within what their person has the right to do; and what
//! mallory wants, who has no right at all.

use std::collections::BTreeSet;

use grapevine_model::{
    BodyInfo, EntryChange, GroupList, Incarnation, MessageId, Name, PostingRule, Request, Speaker,
};

use crate::clock::EPOCH_MS;
use crate::dice::Dice;
use crate::effects::hash;
use crate::oracle::Sent;
use crate::outside::DOMAINS;
use crate::view::EVIL_NAMES;
use crate::world::{Person, Registry, World, name, server_name};

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Send a message.
    Submit(Letter),
    /// Look into the own mailbox.
    List,
    /// Edit a club's members.
    Edit {
        /// The club.
        group: Name,
        /// The member.
        who: Name,
        /// Which way.
        add: Edit,
    },
    /// A new password of one's own.
    Password(String),
    /// Log in.
    Login(Login),
    /// Is somebody in a list that never changes?
    CheckStable {
        /// The list.
        group: Name,
        /// Who.
        who: Name,
    },
    /// Is somebody in a club?
    CheckClub {
        /// The club.
        group: Name,
        /// Who.
        who: Name,
    },
    /// Would mail be taken for somebody who is there?
    CheckRecipient(Name),
    /// Page through a list that never changes.
    Members(Name),
    /// Create the individual that then stays.
    CreateLate(Name),
    /// Create the one that comes and goes.
    CreatePassing(Name),
    /// Delete it.
    DeletePassing(Name),
    /// Create, rename or delete one of the twins, or look after the registry's lists.
    Twins(Request),
    /// Ask for what one has no right to.
    Hostile(Speaker, Request),
    /// Send as somebody else.
    Spoof(Name),
}

/// Which way a list is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    /// One more.
    Add,
    /// One fewer.
    Remove,
}

/// With which password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    /// The first one.
    Right,
    /// One that never was anybody's.
    Wrong,
}

/// A message to be sent.
#[derive(Debug)]
pub(crate) struct Letter {
    /// For whom.
    pub(crate) recipients: Vec<Name>,
    /// Whether the server is to number it.
    pub(crate) nameless: bool,
}

impl Letter {
    /// A message with an id of its own.
    pub(crate) fn to(recipients: Vec<Name>) -> Self {
        Self {
            recipients,
            nameless: false,
        }
    }

    /// What the oracle makes of it.
    pub(crate) fn sent(&self, body: BodyInfo, from: &Name, world: &World) -> Sent {
        let mut sent = Sent {
            body,
            from: from.clone(),
            recipients: self.recipients.clone(),
            must: BTreeSet::new(),
            may: BTreeSet::new(),
            outside: BTreeSet::new(),
            never: BTreeSet::new(),
            passing: false,
            either: BTreeSet::new(),
            forums: BTreeSet::new(),
            accepted: None,
        };
        for recipient in &self.recipients {
            let plain = recipient.without_detail();
            if world.is_small(&plain) {
                sent.either.insert(plain);
            } else if let Some(first) = world.first_name(&plain) {
                sent.either.insert(first.clone());
            } else if let Some(person) = world.person(&plain) {
                sent.must.insert(person.name.clone());
            } else if let Some(all) = world.closures.get(recipient) {
                sent.must.extend(all.iter().cloned());
            } else if let Some(registry) = world.registry(recipient.registry()) {
                if *recipient == registry.club {
                    sent.may
                        .extend(world.people.iter().map(|person| person.name.clone()));
                } else if *recipient == registry.forum {
                    sent.forums.insert(recipient.clone());
                } else if *recipient == registry.late || *recipient == registry.passing {
                    sent.may.insert(recipient.clone());
                    sent.passing = true;
                } else {
                    sent.never.insert(recipient.clone());
                }
            } else {
                sent.outside.insert(recipient.clone());
            }
        }
        sent.may.extend(sent.must.iter().cloned());
        sent.may.extend(sent.either.iter().cloned());
        sent
    }
}

/// What a person does next.
pub(crate) fn choose(person: &Person, world: &World, dice: &mut Dice) -> Errand {
    if person.name == world.mallory.name && dice.chance(600) {
        return hostile(world, dice);
    }
    // It sends nothing: there might be no room for what comes back.
    if world.is_small(&person.name) {
        return Errand::List;
    }
    let own: Vec<&Registry> = world
        .registries
        .iter()
        .filter(|registry| registry.registrar.name == person.name)
        .collect();
    let clubs: Vec<&Registry> = world
        .registries
        .iter()
        .filter(|registry| {
            registry
                .club_owners
                .iter()
                .any(|owner| owner.name == person.name)
        })
        .collect();
    let who = |dice: &mut Dice| somebody(world, dice).name.clone();
    let registry = dice.pick(&world.registries).unwrap_or(&world.registries[0]);
    match dice.below(100) {
        0..30 => Errand::Submit(letter(world, dice)),
        30..45 => Errand::List,
        45..53 => Errand::CheckStable {
            group: registry.team.clone(),
            who: any_of(world, dice),
        },
        53..58 => Errand::CheckClub {
            group: registry.club.clone(),
            who: who(dice),
        },
        58..61 => Errand::CheckRecipient(any_of(world, dice)),
        61..63 => Errand::Members(registry.team.clone()),
        63..66 => Errand::Login(Login::Right),
        66..67 => Errand::Login(Login::Wrong),
        // One in two keeps its first password, so that there is somebody of whom it is known.
        67..70 if person.incarnation.0.is_multiple_of(2) => {
            Errand::Password(format!("pw{}", dice.next()))
        }
        70..76 => match dice.pick(&own) {
            Some(own) => match dice.below(10) {
                4.. => Errand::Twins(twins(own, dice)),
                0 => Errand::CreateLate(own.late.clone()),
                1 | 2 => Errand::CreatePassing(own.passing.clone()),
                _ => Errand::DeletePassing(own.passing.clone()),
            },
            None => Errand::List,
        },
        _ => match dice.pick(&clubs) {
            Some(registry) => Errand::Edit {
                group: registry.club.clone(),
                who: who(dice),
                add: if dice.chance(500) {
                    Edit::Add
                } else {
                    Edit::Remove
                },
            },
            None => Errand::Submit(letter(world, dice)),
        },
    }
}

/// What a registrar does with names that change hands. Everything that is written of a twin at its
/// creation has one mark, and is never changed.
fn twins(own: &Registry, dice: &mut Dice) -> Request {
    let at = dice.index(2);
    let (one, other) = (own.twins[at].clone(), own.twins[1 - at].clone());
    let change = |name: &Name, change| Request::Change {
        name: name.clone(),
        change,
    };
    let (registry, after, limit) = (own.name.clone(), None, 100);
    match dice.below(10) {
        0..5 => {
            let mark = format!("m{}", dice.next());
            Request::GroupCreate {
                name: one,
                remark: mark.clone(),
                owners: vec![name(&format!("{mark}@{registry}")).into()],
            }
        }
        5..7 => change(&one, EntryChange::Rename(other)),
        7 => Request::Delete { name: one },
        // Nobody is gone whom the stable lists have, and everybody who sends has logged in.
        8 => Request::DanglingRemove {
            registry,
            after,
            limit,
        },
        _ => change(&own.team, EntryChange::Posting(PostingRule::Authenticated)),
    }
}

fn somebody<'a>(world: &'a World, dice: &mut Dice) -> &'a Person {
    dice.pick(&world.people).unwrap_or(&world.mallory)
}

/// Somebody, or mallory, who is in no list.
fn any_of(world: &World, dice: &mut Dice) -> Name {
    if dice.chance(200) {
        world.mallory.name.clone()
    } else {
        somebody(world, dice).name.clone()
    }
}

fn letter(world: &World, dice: &mut Dice) -> Letter {
    let count = dice.between(1, 3);
    let mut recipients: Vec<Name> = Vec::new();
    for _ in 0..count {
        let registry = dice.pick(&world.registries).unwrap_or(&world.registries[0]);
        let recipient = match dice.below(100) {
            0..38 => somebody(world, dice).name.clone(),
            38..43 => registry.small.name.clone(),
            43..48 => match dice.below(3) {
                0 => registry.nick.clone(),
                other => registry.wanders[other as usize - 1].clone(),
            },
            48..52 => registry.forum.clone(),
            52..60 => outside(dice),
            60..65 => name(&somebody(world, dice).name.to_string().to_uppercase()),
            65..68 => {
                let person = somebody(world, dice).name.clone();
                name(&format!("{}+x@{}", person.simple(), person.registry()))
            }
            68..83 => registry.team.clone(),
            83..90 => registry.club.clone(),
            90..95 => registry.late.clone(),
            95..98 => registry.passing.clone(),
            _ => name(&format!("nobody@{}", registry.name)),
        };
        if !recipients.contains(&recipient) {
            recipients.push(recipient);
        }
    }
    Letter {
        recipients,
        nameless: dice.chance(100),
    }
}

/// Somebody in another mail system.
fn outside(dice: &mut Dice) -> Name {
    let who = ["ann", "ann+x", "bob", "nobody"][dice.index(4)];
    let domain = DOMAINS[dice.index(DOMAINS.len())];
    name(&format!("{who}@{domain}"))
}

fn hostile(world: &World, dice: &mut Dice) -> Errand {
    let me = world.mallory.name.clone();
    let registry = dice.pick(&world.registries).unwrap_or(&world.registries[0]);
    let victim = world
        .people
        .iter()
        .find(|p| p.name.registry() == &registry.name);
    let victim = victim.unwrap_or(&world.people[0]);
    let change = |name: &Name, change| Request::Change {
        name: name.clone(),
        change,
    };
    let evil: Vec<Name> = EVIL_NAMES.iter().map(|evil| name(evil)).collect();
    let request = match dice.below(15) {
        0 => change(
            &registry.club,
            EntryChange::ListAdd(GroupList::Members, me.into()),
        ),
        1 => change(
            &registry.club,
            EntryChange::ListAdd(GroupList::Owners, me.into()),
        ),
        2 => change(&registry.club, EntryChange::Join),
        3 => change(&victim.name, EntryChange::Password(hash("stolen"))),
        4 => change(&victim.name, EntryChange::Forward(vec![me])),
        5 => change(&victim.name, EntryChange::Sites(vec![server_name(1)])),
        6 => Request::IndividualCreate {
            name: evil[dice.index(2)].clone(),
            password: Some(hash("evil")),
            sites: Vec::new(),
        },
        7 => Request::GroupCreate {
            name: evil[2 + dice.index(2)].clone(),
            remark: String::new(),
            owners: vec![me.into()],
        },
        8 => Request::Delete {
            name: if dice.chance(500) {
                victim.name.clone()
            } else {
                registry.team.clone()
            },
        },
        9 => Request::InboxList {
            name: victim.name.clone(),
        },
        10 => Request::InboxDelete {
            name: victim.name.clone(),
            messages: vec![MessageId::from_u128(u128::from(dice.next()))],
        },
        11 => Request::HolderRemove {
            registry: registry.name.clone(),
            server: server_name(1),
        },
        12 => Request::Retire {
            server: server_name(1),
        },
        13 => Request::TokenCreate {
            digest: dice.bytes32().to_vec(),
            expires_ms: EPOCH_MS + 1_000_000_000,
        },
        _ => return Errand::Spoof(victim.name.clone()),
    };
    let speaker = match dice.below(10) {
        0 => Speaker::Anonymous,
        // The name of somebody who has the right, but not what the name means.
        1 => Speaker::Individual {
            name: registry.registrar.name.clone(),
            incarnation: Incarnation(u128::from(dice.next())),
        },
        _ => world.mallory.speaker(),
    };
    Errand::Hostile(speaker, request)
}
