//! Clients that change registries and ask them, and one that may not.

use grapevine_model::{
    Check, EntryChange, ErrorKind, GroupList, Member, Refusal, Reply, Request, Secret,
};
use grapevine_user::GrapevineUser;

use crate::dice::Dice;
use crate::figures::Came;
use crate::folders::INBOX;
use crate::oracle::{Key, WriteFate, Yes};
use crate::wire::{Login, Pop, Smtp};
use crate::wire_http::{self, Ask};
use crate::wire_imap::Imap;
use crate::wire_ldap::Ldap;
use crate::world::{CLUBS, GHOSTS, LIST, VICTIM, World, name};

/// Wrong passwords from one address that are taken for guessing are a hundred in an hour: then nobody new could log in from here.
const MOST_GUESSES: u32 = 40;
/// Members that are added, removed and added again.
const MEMBERS: u64 = 60;

/// A client of registries.
pub(crate) struct Changer<'a> {
    world: &'a World,
    client: usize,
    dice: Dice,
    done: u64,
    guesses: u32,
}

impl<'a> Changer<'a> {
    /// One with a number of its own.
    pub(crate) fn new(world: &'a World, client: usize, dice: Dice) -> Self {
        Self {
            world,
            client,
            dice,
            done: 0,
            guesses: 0,
        }
    }

    fn came(&self, verb: &'static str, came: Came) {
        self.world.figures().came(self.client, verb, came);
    }

    /// Something is written, and its fate noted.
    fn writes(
        &mut self,
        user: &GrapevineUser,
        verb: &'static str,
        key: &Key,
        value: &str,
        request: Request,
    ) {
        self.world.figures().wishes(self.client, verb);
        let (attempt, lost_before) = {
            let mut oracle = self.world.oracle();
            (oracle.writes(key, value), oracle.lost)
        };
        let (fate, came) = match self.world.call(user, request) {
            Ok(Reply::Written(written)) => {
                let yes = Yes {
                    copies: Some(written.copies),
                    lost_before,
                };
                (WriteFate::Done(written.stamp, yes), Came::Done)
            }
            Ok(reply) => {
                self.world
                    .oracle()
                    .violation(format!("{verb}: answered with {reply:?}"));
                (WriteFate::Unknown, Came::Unknown)
            }
            Err(refusal) => match refusal.kind {
                ErrorKind::Unknown | ErrorKind::Internal => (WriteFate::Unknown, Came::Unknown),
                ErrorKind::Unavailable => (WriteFate::Refused, Came::Unavailable),
                ErrorKind::Invalid
                | ErrorKind::NotAuthenticated
                | ErrorKind::NotAllowed
                | ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::TooLarge => {
                    let what = format!("{verb}: {key:?} is refused: {refusal:?}");
                    self.world.oracle().violation(what);
                    (WriteFate::Refused, Came::Denied)
                }
            },
        };
        self.world.oracle().written(key, attempt, fate);
        self.came(verb, came);
    }

    /// A registrar gives somebody a new password.
    pub(crate) fn changes_a_password(&mut self, registrar: &GrapevineUser) {
        self.done += 1;
        let who = self
            .dice
            .pick(&self.world.changers)
            .cloned()
            .unwrap_or_default();
        let password = format!("password {} of {}", self.done, self.client);
        let Ok(whose) = name(&who) else {
            return;
        };
        let change = EntryChange::Password(Secret(password.clone()));
        let request = Request::Change {
            name: whose,
            change,
        };
        self.writes(
            registrar,
            "change a password",
            &Key::Password(who),
            &password,
            request,
        );
    }

    /// The owner of a group adds or removes a member.
    pub(crate) fn changes_a_member(&mut self, owner: &GrapevineUser, group: &str) {
        // Each client has members of its own, so that its own order is the order of the stamps.
        let member = format!(
            "m{}c{}@outside.example",
            self.dice.below(MEMBERS),
            self.client
        );
        let (Ok(list), Ok(who)) = (name(group), name(&member)) else {
            return;
        };
        let (value, verb, change) = match self.dice.chance(60) {
            true => ("in", "add a member", EntryChange::ListAdd as fn(_, _) -> _),
            false => (
                "out",
                "remove a member",
                EntryChange::ListRemove as fn(_, _) -> _,
            ),
        };
        let request = Request::Change {
            name: list,
            change: change(GroupList::Members, Member::Name(who)),
        };
        let key = Key::Member(group.to_owned(), member);
        self.writes(owner, verb, &key, value, request);
    }

    /// Somebody asks who is in a list that never changes.
    pub(crate) fn asks(&mut self, user: &GrapevineUser) {
        const VERB: &str = "ask for a membership";
        self.world.figures().wishes(self.client, VERB);
        let (who, right) = match self.dice.chance(70) {
            true => ("e0@es.example", Check::Yes),
            false => (GHOSTS[0], Check::No),
        };
        let (Ok(group), Ok(who)) = (name(LIST), name(who)) else {
            return;
        };
        let request = Request::Check {
            group,
            list: GroupList::Members,
            who: who.clone(),
        };
        match self.world.call(user, request) {
            Ok(Reply::Check(answer)) => {
                if answer != right {
                    let what = format!("{who} in {LIST}: {answer:?}, and {right:?} is right");
                    self.world.oracle().violation(what);
                }
                self.came(VERB, Came::Done);
            }
            Err(Refusal {
                kind: ErrorKind::Unavailable,
                ..
            }) => self.came(VERB, Came::Unavailable),
            answer => {
                self.world
                    .oracle()
                    .violation(format!("{who} in {LIST}: {answer:?}"));
                self.came(VERB, Came::Unknown);
            }
        }
    }

    /// Somebody who may not changes a group, and another's password.
    pub(crate) fn intrudes(&mut self, user: &GrapevineUser) {
        self.done += 1;
        let group = CLUBS
            .get(self.dice.index(CLUBS.len()))
            .map_or(LIST, |(club, _)| club);
        let member = format!("intruder{}@outside.example", self.done);
        let (Ok(list), Ok(who), Ok(victim)) = (name(group), name(&member), name(VICTIM)) else {
            return;
        };
        let add = Request::Change {
            name: list,
            change: EntryChange::ListAdd(GroupList::Members, Member::Name(who)),
        };
        let key = Key::Member(group.to_owned(), member);
        self.denied(user, "change another's group", &key, "in", add);
        let password = format!("stolen {}", self.done);
        let change = Request::Change {
            name: victim,
            change: EntryChange::Password(Secret(password.clone())),
        };
        let key = Key::Password(VICTIM.to_owned());
        self.denied(user, "change another's password", &key, &password, change);
    }

    fn denied(
        &mut self,
        user: &GrapevineUser,
        verb: &'static str,
        key: &Key,
        value: &str,
        request: Request,
    ) {
        let attempt = self.world.oracle().writes(key, value);
        let came = match self.world.call(user, request) {
            Err(refusal) => match refusal.kind {
                ErrorKind::NotAllowed => Came::Denied,
                _ => Came::Unavailable,
            },
            Ok(reply) => {
                self.world
                    .oracle()
                    .violation(format!("{verb}: {reply:?}, and it is not allowed"));
                Came::Done
            }
        };
        // Whatever was answered: it must have no effect.
        self.world
            .oracle()
            .written(key, attempt, WriteFate::Refused);
        self.came(verb, came);
    }

    /// Somebody guesses a password at a server's doors.
    pub(crate) fn guesses(&mut self) {
        const VERB: &str = "log in by a wrong password";
        let machine = self.dice.index(self.world.places.count());
        let Some(place) = self.world.places.get(machine) else {
            return;
        };
        if self.guesses >= MOST_GUESSES {
            return;
        }
        self.guesses += 1;
        let guess = format!("guess {}", self.guesses);
        let right = match self.guesses % 5 {
            0 => Pop::open(&place.pop3s, &place.tls)
                .and_then(|mut pop| pop.log_in(VICTIM, &guess))
                .map(|login| login == Login::Yes),
            1 => Imap::open(&place.imaps, &place.tls).and_then(|mut imap| {
                let login = imap.log_in(VICTIM, &guess)?;
                // And without a login nothing is shown.
                Ok(login == Login::Yes || imap.select(INBOX)?.is_some())
            }),
            2 => Ldap::open(&place.ldaps, &place.tls).and_then(|mut ldap| {
                let bound = ldap.bind("uid=victim,dc=pa,dc=example", &guess)?;
                let found = ldap.search("dc=pa,dc=example", ("uid", "victim"))?;
                Ok(bound == 0 || !found.entries.is_empty())
            }),
            3 => {
                let ask = Ask {
                    verb: "GET",
                    path: &format!("/api/v1/inboxes/{VICTIM}"),
                    who: Some((VICTIM, &guess)),
                    seen: None,
                    body: None,
                };
                match wire_http::ask(&place.https, &place.tls, &ask) {
                    wire_http::Came::Answer(answer) if answer.status < 500 => {
                        Ok(answer.status == 200)
                    }
                    said => Err(std::io::Error::other(format!("{said:?}"))),
                }
            }
            _ => Smtp::open(&place.submissions, Some(&place.tls)).and_then(|mut smtp| {
                let (code, _) = smtp.log_in(VICTIM, &guess)?;
                // And without a login nothing is taken.
                let (mail, _) = smtp.command(&format!("MAIL FROM:<{VICTIM}>"))?;
                Ok(code == 235 || mail == 250)
            }),
        };
        match right {
            Ok(false) => self.came(VERB, Came::Denied),
            Ok(true) => {
                self.came(VERB, Came::Done);
                let what = format!("{}: {VICTIM} came in by {guess:?}", place.server);
                self.world.oracle().violation(what);
            }
            Err(_) => self.came(VERB, Came::Unavailable),
        }
    }
}
