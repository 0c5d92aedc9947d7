//! Programs of other people: they change, ask and send by the HTTP API, and look people up by LDAP.
//!
//! Who has been let in and is then removed must not be let in by any server that is handed what its client has seen (P5).

use std::collections::BTreeSet;

use grapevine_model::Stamp;
use grapevine_user::new_message_id;

use crate::dice::Dice;
use crate::figures::Came;
use crate::machine::Place;
use crate::oracle::{Fate, Key, WriteFate, Yes};
use crate::senders::Sender;
use crate::wire_http::{self, Ask, Came as Said};
use crate::wire_ldap::Ldap;
use crate::world::{GHOSTS, WEB, World, password_of};

/// Result codes of LDAP: RFC 4511, appendix A.
const SUCCESS: u8 = 0;
const WRONG_PASSWORD: u8 = 49;

/// A program that asks.
pub(crate) struct Asker<'a> {
    world: &'a World,
    client: usize,
    dice: Dice,
    machine: usize,
    /// What the API said that has been seen.
    seen: Option<String>,
    /// How many machines had been lost then: what was seen may have been lost with one.
    lost: u32,
    /// Whose membership was changed under what is seen.
    covered: BTreeSet<String>,
    /// How many have been let in and shut out.
    guests: u64,
    /// Whether the present one is in.
    is_in: bool,
}

impl<'a> Asker<'a> {
    /// One with a number of its own.
    pub(crate) fn new(world: &'a World, client: usize, dice: Dice) -> Self {
        Self {
            world,
            client,
            dice,
            machine: client % world.places.count().max(1),
            seen: None,
            lost: 0,
            covered: BTreeSet::new(),
            guests: 0,
            is_in: false,
        }
    }

    fn came(&self, verb: &'static str, came: Came) {
        self.world.figures().came(self.client, verb, came);
    }

    fn next_machine(&mut self) {
        self.machine = (self.machine + 1) % self.world.places.count().max(1);
    }

    fn violation(&self, what: String) {
        self.world.oracle().violation(what);
    }

    /// Lets somebody in, or shuts him out for good, then asks whether he is in: at any server, with what was seen.
    pub(crate) fn lets_in_and_shuts_out(&mut self) {
        let (group, owner) = WEB;
        let member = format!("w{}c{}@outside.example", self.guests, self.client);
        let key = Key::Member(group.to_owned(), member.clone());
        let (value, how, verb) = match self.is_in {
            false => ("in", "PUT", "add a member by HTTP"),
            true => ("out", "DELETE", "remove a member by HTTP"),
        };
        let Some(place) = self.world.places.get(self.machine) else {
            return;
        };
        self.world.figures().wishes(self.client, verb);
        let (attempt, lost_before) = {
            let mut oracle = self.world.oracle();
            (oracle.writes(&key, value), oracle.lost)
        };
        if lost_before != self.lost {
            self.lost = lost_before;
            self.seen = None;
            self.covered.clear();
        }
        let path = format!("/api/v1/groups/{group}/lists/members/{member}");
        let said = self.http(&place, how, &path, Some(owner));
        let (fate, came) = match &said {
            Said::Answer(answer) if answer.status == 200 => {
                let copies = answer.field("copies").and_then(|text| text.parse().ok());
                let stamp: Option<Stamp> = answer.field("stamp").and_then(|text| text.parse().ok());
                let yes = Yes {
                    copies,
                    lost_before,
                };
                (WriteFate::Done(stamp, yes), Came::Done)
            }
            Said::Answer(answer) => match answer.status {
                503 => (WriteFate::Refused, Came::Unavailable),
                500 | 504 => (WriteFate::Unknown, Came::Unknown),
                _ => {
                    self.violation(format!("{verb}: {member} is refused: {answer:?}"));
                    (WriteFate::Refused, Came::Denied)
                }
            },
            Said::Not => (WriteFate::Refused, Came::Unavailable),
            Said::Unknown => (WriteFate::Unknown, Came::Unknown),
        };
        self.world.oracle().written(&key, attempt, fate);
        self.came(verb, came);
        match came {
            Came::Done => {
                self.covered.insert(member.clone());
                self.guests += u64::from(self.is_in);
                self.is_in = !self.is_in;
            }
            Came::Denied | Came::Unavailable | Came::Unknown => self.next_machine(),
        }
        self.asks(&key, &member);
    }

    fn asks(&mut self, key: &Key, member: &str) {
        const VERB: &str = "ask for a membership by HTTP";
        let machine = self.dice.index(self.world.places.count());
        let Some(place) = self.world.places.get(machine) else {
            return;
        };
        self.world.figures().wishes(self.client, VERB);
        let (group, owner) = WEB;
        let path = format!("/api/v1/groups/{group}/check?who={member}");
        match self.http(&place, "GET", &path, Some(owner)) {
            Said::Answer(answer) if answer.status == 200 => {
                let value = match answer.field("answer") {
                    Some("true") => "in",
                    _ => "out",
                };
                let server = format!("{} (by HTTP, with what was seen)", place.server);
                if self.covered.contains(member) {
                    self.world.oracle().stands(&server, key, value);
                }
                self.came(VERB, Came::Done);
            }
            Said::Answer(answer) if answer.status == 503 => self.came(VERB, Came::Unavailable),
            Said::Answer(answer) => {
                self.violation(format!("{VERB}: {member}: {answer:?}"));
                self.came(VERB, Came::Unknown);
            }
            Said::Not | Said::Unknown => self.came(VERB, Came::Unavailable),
        }
    }

    fn http(&mut self, place: &Place, verb: &str, path: &str, who: Option<&str>) -> Said {
        let password = who.map(password_of).unwrap_or_default();
        let said = wire_http::ask(
            &place.https,
            &place.tls,
            &Ask {
                verb,
                path,
                who: who.map(|who| (who, password.as_str())),
                seen: self.seen.as_deref(),
                body: None,
            },
        );
        if let Said::Answer(answer) = &said
            && let Some(seen) = &answer.seen
        {
            // Each change is of one registry, and a later answer covers an earlier one.
            self.seen = Some(seen.clone());
        }
        said
    }

    /// A message by the API: under one id at one server after the other, as its documentation says.
    pub(crate) fn sends(&mut self, sender: &mut Sender<'_>, from: &str) {
        const VERB: &str = "send by HTTP";
        self.world.figures().wishes(self.client, VERB);
        let (letter, lost_before) = sender.writes_to_people(from);
        let Ok(id) = new_message_id() else { return };
        let to = letter.to.join(",").replace('^', "%5E");
        let path = format!("/api/v1/messages?to={to}&from={from}&id={id}");
        let password = password_of(from);
        let mut fate = Fate::Refused;
        let mut came = Came::Unavailable;
        for _ in 0..self.world.places.count() {
            let Some(place) = self.world.places.get(self.machine) else {
                break;
            };
            let ask = Ask {
                verb: "POST",
                path: &path,
                who: Some((from, &password)),
                seen: None,
                body: Some(("message/rfc822", &letter.bytes)),
            };
            match wire_http::ask(&place.https, &place.tls, &ask) {
                Said::Answer(answer) if answer.status == 200 => {
                    let copies = answer.field("copies").and_then(|text| text.parse().ok());
                    fate = Fate::Accepted(Yes {
                        copies,
                        lost_before,
                    });
                    came = Came::Done;
                    break;
                }
                // 503 says that nothing was changed.
                Said::Answer(answer) if answer.status == 503 => {}
                Said::Answer(answer) if matches!(answer.status, 500 | 504) => {
                    (fate, came) = (Fate::Unknown, Came::Unknown);
                }
                Said::Answer(answer) => {
                    let token = &letter.token;
                    self.violation(format!("{VERB}: {token} is refused: {answer:?}"));
                    came = Came::Denied;
                    break;
                }
                Said::Not => {}
                Said::Unknown => (fate, came) = (Fate::Unknown, Came::Unknown),
            }
            self.next_machine();
        }
        self.world.oracle().sent(&letter.token, fate, None);
        self.came(VERB, came);
    }

    /// Somebody who is logged in, and may not, adds himself.
    pub(crate) fn intrudes(&mut self, who: &str) {
        const VERB: &str = "change another's group by HTTP";
        let Some(place) = self.world.places.get(self.machine) else {
            return;
        };
        self.next_machine();
        let (group, _) = WEB;
        let key = Key::Member(group.to_owned(), who.to_owned());
        let attempt = self.world.oracle().writes(&key, "in");
        let path = format!("/api/v1/groups/{group}/lists/members/{who}");
        let came = match self.http(&place, "PUT", &path, Some(who)) {
            Said::Answer(answer) if answer.status == 403 => Came::Denied,
            Said::Answer(answer) if answer.status == 200 => {
                self.violation(format!("{VERB}: {who} has added himself"));
                Came::Done
            }
            Said::Answer(_) | Said::Not | Said::Unknown => Came::Unavailable,
        };
        // Whatever was answered: it must have no effect.
        self.world
            .oracle()
            .written(&key, attempt, WriteFate::Refused);
        self.came(VERB, came);
    }

    /// A directory client: without a login it learns nothing, with one it finds who is there, and nobody else.
    pub(crate) fn looks_up(&mut self, who: &str) {
        const VERB: &str = "look up by LDAP";
        self.world.figures().wishes(self.client, VERB);
        let Some(place) = self.world.places.get(self.machine) else {
            return;
        };
        match self.ldap(&place, who) {
            Ok(Some(())) => self.came(VERB, Came::Done),
            Ok(None) | Err(_) => {
                self.came(VERB, Came::Unavailable);
                self.next_machine();
            }
        }
    }

    fn ldap(&mut self, place: &Place, who: &str) -> std::io::Result<Option<()>> {
        let server = &place.server;
        let mut ldap = Ldap::open(&place.ldaps, &place.tls)?;
        let ghost = GHOSTS.first().copied().unwrap_or_default();
        let is_there = self.dice.chance(70);
        let asked = if is_there { who } else { ghost };
        let (simple, registry) = asked.split_once('@').unwrap_or((asked, ""));
        let base = format!("dc={}", registry.replace('.', ",dc="));
        if self.dice.chance(20) {
            let nobody = ldap.search(&base, ("uid", simple))?;
            if !nobody.entries.is_empty() {
                self.violation(format!("{server}: LDAP shows {asked} to nobody"));
            }
        }
        let (mine, my_registry) = who.split_once('@').unwrap_or((who, ""));
        let me = format!("uid={mine},dc={}", my_registry.replace('.', ",dc="));
        match ldap.bind(&me, &password_of(who))? {
            SUCCESS => {}
            WRONG_PASSWORD => {
                self.violation(format!(
                    "{server}: {who}'s right password is refused by LDAP"
                ));
                return Ok(None);
            }
            _ => return Ok(None),
        }
        let answer = ldap.search(&base, ("uid", simple))?;
        if answer.code != SUCCESS {
            return Ok(None);
        }
        let has = |entry: &Vec<u8>| {
            let mut at = entry.windows(asked.len());
            at.any(|at| at == asked.as_bytes())
        };
        match (is_there, answer.entries.as_slice()) {
            (true, [entry]) if has(entry) => {}
            (false, []) => {}
            (_, entries) => {
                let found = entries.len();
                self.violation(format!("{server}: LDAP finds {found} entries of {asked}"));
            }
        }
        Ok(Some(()))
    }
}
