//! Clients that hand mail in: by SMTP as its users' programs and as other systems do, and by GrapevineUser.
//!
//! One that gets no yes turns to the next server, with a new message: its old one is unknown, and must not be there twice.

use std::time::Instant;

use grapevine_model::{Envelope, ErrorKind, Name, ReturnContent};
use grapevine_user::{BodySource, GrapevineUser, SubmitError, new_message_id};

use crate::dice::Dice;
use crate::figures::Came;
use crate::machine::Place;
use crate::oracle::{Fate, Message, TOKEN_FIELD, Yes};
use crate::wire::{Handed, Smtp};
use crate::world::{GHOSTS, LIST, MOVED, World, password_of};

/// Messages handed in over one connection.
const A_SESSION: u64 = 5;
/// Most messages are small; some do not fit into a batch of the store's.
const SMALL_BYTES: u64 = 4_000;
const LARGE_BYTES: u64 = 400_000;

/// A client that hands mail in.
pub(crate) struct Sender<'a> {
    world: &'a World,
    client: usize,
    dice: Dice,
    handed_in: u64,
    /// The machine that is asked next.
    machine: usize,
}

/// A message that is about to be handed in.
pub(crate) struct Letter {
    /// What it is called.
    pub(crate) token: String,
    from: String,
    /// To whom.
    pub(crate) to: Vec<String>,
    /// All of it.
    pub(crate) bytes: Vec<u8>,
}

impl<'a> Sender<'a> {
    /// One with a number of its own.
    pub(crate) fn new(world: &'a World, client: usize, dice: Dice) -> Self {
        Self {
            world,
            client,
            dice,
            handed_in: 0,
            machine: client % world.places.count().max(1),
        }
    }

    fn letter(&mut self, from: String, to: Vec<String>) -> Letter {
        self.handed_in += 1;
        let token = format!("c{}-{}", self.client, self.handed_in);
        let length = match self.dice.chance(4) {
            true => self.dice.between(SMALL_BYTES, LARGE_BYTES),
            false => self.dice.between(0, SMALL_BYTES),
        };
        let mut bytes = format!(
            "{TOKEN_FIELD}{token}\r\nFrom: <{from}>\r\nTo: <{}>\r\nSubject: {token}\r\n\r\n",
            to.join(">,\r\n <")
        )
        .into_bytes();
        while (bytes.len() as u64) < length {
            // Dots and eight bits are what goes wrong.
            match self.dice.below(12) {
                0 => bytes.push(b'.'),
                1 => bytes.extend_from_slice(b".."),
                2 => bytes.extend_from_slice("grüße ".as_bytes()),
                _ => {}
            }
            let words = self.dice.below(12);
            for _ in 0..words {
                bytes.extend_from_slice(format!("{:x} ", self.dice.below(1 << 20)).as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
        }
        Letter {
            token,
            from,
            to,
            bytes,
        }
    }

    /// Some recipients: people, lists, one that has moved, one that does not exist.
    fn recipients(&mut self) -> Vec<String> {
        let mut to: Vec<String> = Vec::new();
        for _ in 0..self.dice.between(1, 3) {
            to.extend(self.dice.pick(&self.world.people).cloned());
        }
        if self.dice.chance(50) {
            to.extend(self.dice.pick(&self.world.crowd).cloned());
        }
        match self.dice.below(100) {
            0..8 => to.push(LIST.to_owned()),
            8..12 => to = vec![LIST.to_owned()],
            12..18 => to.push(MOVED.to_owned()),
            18..21 => to.extend(self.dice.pick(&GHOSTS).map(|ghost| (*ghost).to_owned())),
            _ => {}
        }
        to.sort();
        to.dedup();
        to
    }

    fn begins(&self, letter: &Letter) -> u32 {
        let (must, ghosts) = self.world.reached(&letter.to);
        let mut oracle = self.world.oracle();
        oracle.sends(
            &letter.token,
            Message {
                from: letter.from.clone(),
                must,
                ghosts,
                digest: *blake3::hash(&letter.bytes).as_bytes(),
                fate: Fate::Unknown,
                asked: Instant::now(),
            },
        );
        oracle.lost
    }

    fn came(&self, verb: &'static str, came: Came) {
        self.world.figures().came(self.client, verb, came);
    }

    /// By SMTP, as a user's program does.
    pub(crate) fn submits_by_smtp(&mut self) {
        const VERB: &str = "submit by SMTP";
        self.world.figures().wishes(self.client, VERB);
        let opened = self.world.places.get(self.machine).ok_or(());
        let from = self
            .dice
            .pick(&self.world.people)
            .cloned()
            .unwrap_or_default();
        let opened = opened.and_then(|place| logged_in(&place, &from).map_err(drop));
        let Ok(mut smtp) = opened else {
            self.came(VERB, Came::Unavailable);
            return self.next_machine();
        };
        for _ in 0..A_SESSION {
            self.world.figures().wishes(self.client, VERB);
            let to = self.recipients();
            let letter = self.letter(from.clone(), to);
            if !self.hands_in(&mut smtp, &letter, VERB) {
                return self.next_machine();
            }
        }
        // Whether its end was heard is nothing to us.
        let _ = smtp.command("QUIT");
    }

    /// One message to many, by SMTP; says whether it was taken.
    pub(crate) fn fills(&mut self, to: Vec<String>) -> bool {
        const VERB: &str = "fill inboxes by SMTP";
        self.world.figures().wishes(self.client, VERB);
        self.next_machine();
        let from = self.world.people.first().cloned().unwrap_or_default();
        let place = self.world.places.get(self.machine);
        let Some(mut smtp) = place.and_then(|place| logged_in(&place, &from).ok()) else {
            return false;
        };
        let letter = self.letter(from, to);
        self.hands_in(&mut smtp, &letter, VERB)
    }

    /// By SMTP, as another system's server does.
    pub(crate) fn arrives_by_smtp(&mut self) {
        const VERB: &str = "receive by SMTP";
        self.world.figures().wishes(self.client, VERB);
        let place = self.world.places.get(self.machine);
        let smtp = place.and_then(|place| Smtp::open(&place.smtp, None).ok());
        let Some(mut smtp) = smtp else {
            self.came(VERB, Came::Unavailable);
            return self.next_machine();
        };
        let mut to = self.recipients();
        // Reports would go to a system that is not there.
        to.retain(|name| !GHOSTS.contains(&name.as_str()));
        let letter = self.letter("somebody@elsewhere.example".to_owned(), to);
        if !self.hands_in(&mut smtp, &letter, VERB) {
            return self.next_machine();
        }
        let _ = smtp.command("QUIT");
    }

    /// By LMTP, as a mail server beside this one does: each recipient has an answer of his own.
    pub(crate) fn hands_over_by_lmtp(&mut self) {
        const VERB: &str = "hand over by LMTP";
        self.world.figures().wishes(self.client, VERB);
        let place = self.world.places.get(self.machine);
        let lmtp = place.and_then(|place| Smtp::open_lmtp(&place.lmtp).ok());
        let Some(mut lmtp) = lmtp else {
            self.came(VERB, Came::Unavailable);
            return self.next_machine();
        };
        let mut to = self.recipients();
        to.retain(|name| !GHOSTS.contains(&name.as_str()));
        let letter = self.letter("somebody@elsewhere.example".to_owned(), to);
        let lost_before = self.begins(&letter);
        let (answers, of_all) = lmtp.hands_over(&letter.from, &letter.to, &letter.bytes);
        let mut taken = Vec::new();
        let mut copies = 2;
        let mut unknown = false;
        for (name, answer) in answers {
            match answer {
                Handed::Yes(text) => {
                    copies = if text.contains("one copy") { 1 } else { copies };
                    taken.push(name);
                }
                // It may have been accepted meanwhile: the server did not wait for the answer.
                Handed::Unknown(_) | Handed::Refused(400..500, _) => unknown = true,
                Handed::Not(_) => {}
                Handed::Refused(code, text) => {
                    let what = format!("{}: {name} is refused: {code} {text}", letter.token);
                    self.world.oracle().violation(what);
                }
            }
        }
        if let Some(Handed::Refused(code @ 500.., text)) = &of_all {
            let what = format!("{}: LMTP refuses all: {code} {text}", letter.token);
            self.world.oracle().violation(what);
        }
        let (fate, came, only) = match (taken.is_empty(), unknown) {
            (false, false) => {
                let yes = Yes {
                    copies: Some(copies),
                    lost_before,
                };
                (
                    Fate::Accepted(yes),
                    Came::Done,
                    Some(self.world.reached(&taken)),
                )
            }
            (true, false) => (Fate::Refused, Came::Unavailable, None),
            // Who had no answer may have it all the same: nothing can be asked for by this message.
            (_, true) => (Fate::Unknown, Came::Unknown, None),
        };
        self.world.oracle().sent(&letter.token, fate, only);
        self.came(VERB, came);
        match came {
            Came::Done => drop(lmtp.command("QUIT")),
            Came::Denied | Came::Unavailable | Came::Unknown => self.next_machine(),
        }
    }

    /// A message that somebody else hands in, to people who exist; how many machines had been lost by then.
    pub(crate) fn writes_to_people(&mut self, from: &str) -> (Letter, u32) {
        let mut to = self.recipients();
        to.retain(|name| !GHOSTS.contains(&name.as_str()));
        let letter = self.letter(from.to_owned(), to);
        let lost_before = self.begins(&letter);
        (letter, lost_before)
    }

    /// One message over a session; says whether the session goes on.
    fn hands_in(&mut self, smtp: &mut Smtp, letter: &Letter, verb: &'static str) -> bool {
        let lost_before = self.begins(letter);
        let (sent, taken) = smtp.send(&letter.from, &letter.to, &letter.bytes);
        let all_are_ghosts = self.world.reached(&letter.to).0.is_empty();
        let (fate, came) = match &sent {
            Handed::Yes(text) => {
                // The answer says so where there is only one.
                let copies = if text.contains("one copy") { 1 } else { 2 };
                let yes = Yes {
                    copies: Some(copies),
                    lost_before,
                };
                (Fate::Accepted(yes), Came::Done)
            }
            Handed::Refused(550, _) if all_are_ghosts => (Fate::Refused, Came::Denied),
            // It may have been accepted meanwhile: the server did not wait for the answer.
            Handed::Refused(400..500, _) if !taken.is_empty() => (Fate::Unknown, Came::Unavailable),
            Handed::Refused(400..500, _) | Handed::Not(_) => (Fate::Refused, Came::Unavailable),
            Handed::Refused(code, text) => {
                let what = format!(
                    "{}: {:?} is refused: {code} {text}",
                    letter.token, letter.to
                );
                self.world.oracle().violation(what);
                (Fate::Refused, Came::Denied)
            }
            Handed::Unknown(_) => (Fate::Unknown, Came::Unknown),
        };
        let only = self.world.reached(&taken);
        self.world.oracle().sent(&letter.token, fate, Some(only));
        self.came(verb, came);
        matches!(sent, Handed::Yes(_) | Handed::Refused(550, _))
    }

    fn next_machine(&mut self) {
        self.machine = (self.machine + 1) % self.world.places.count().max(1);
    }

    /// By GrapevineUser, which tries all servers under one id.
    pub(crate) fn submits_by_rpc(&mut self, user: &GrapevineUser, from: &str) {
        const VERB: &str = "submit by GrapevineUser";
        self.world.figures().wishes(self.client, VERB);
        let mut to = self.recipients();
        if to.len() > 1 {
            // One bad recipient has the whole message refused: that is tried by itself.
            to.retain(|name| !GHOSTS.contains(&name.as_str()));
        }
        let letter = self.letter(from.to_owned(), to);
        let lost_before = self.begins(&letter);
        let answer = self.rpc(user, &letter, from);
        let all_are_ghosts = self.world.reached(&letter.to).0.is_empty();
        let (fate, came) = match answer {
            Ok(copies) => {
                let yes = Yes {
                    copies: Some(copies),
                    lost_before,
                };
                (Fate::Accepted(yes), Came::Done)
            }
            Err(ErrorKind::Unknown | ErrorKind::Internal) => (Fate::Unknown, Came::Unknown),
            Err(ErrorKind::Unavailable) => (Fate::Refused, Came::Unavailable),
            Err(ErrorKind::NotFound) if all_are_ghosts => (Fate::Refused, Came::Denied),
            Err(kind) => {
                let what = format!("{}: {:?} is refused: {kind:?}", letter.token, letter.to);
                self.world.oracle().violation(what);
                (Fate::Refused, Came::Denied)
            }
        };
        self.world.oracle().sent(&letter.token, fate, None);
        self.came(VERB, came);
    }

    /// In another's name: must be refused, and be nowhere.
    pub(crate) fn forges(&mut self, user: &GrapevineUser, in_the_name_of: &str) {
        const VERB: &str = "forge a sender";
        let to = self.recipients();
        let letter = self.letter(in_the_name_of.to_owned(), to);
        let _ = self.begins(&letter);
        let came = match self.rpc(user, &letter, in_the_name_of) {
            Err(ErrorKind::NotAllowed) => Came::Denied,
            Err(ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Internal) => {
                Came::Unavailable
            }
            // A recipient that is not there may be seen first.
            Err(_) => Came::Denied,
            Ok(_) => {
                let what = format!(
                    "{}: sent in {in_the_name_of}'s name by another",
                    letter.token
                );
                self.world.oracle().violation(what);
                Came::Done
            }
        };
        // Whatever was answered: it must be nowhere.
        self.world.oracle().sent(&letter.token, Fate::Refused, None);
        self.came(VERB, came);
    }

    fn rpc(&self, user: &GrapevineUser, letter: &Letter, from: &str) -> Result<u8, ErrorKind> {
        let id = new_message_id().map_err(|_| ErrorKind::Internal)?;
        let named: Result<Vec<Name>, _> = letter.to.iter().map(|name| name.parse()).collect();
        let envelope = Envelope {
            return_path: Some(from.parse().map_err(|_| ErrorKind::Invalid)?),
            recipients: named
                .map_err(|_| ErrorKind::Invalid)?
                .into_iter()
                .map(Into::into)
                .collect(),
            content: ReturnContent::Headers,
            envelope_id: None,
        };
        let body = BodySource::bytes(letter.bytes.clone());
        match self
            .world
            .runtime
            .block_on(user.submit(id, &envelope, &body))
        {
            Ok(accepted) => Ok(accepted.copies),
            Err(SubmitError::Refused(refusal)) => Err(refusal.kind),
            Err(SubmitError::Body(_)) => Err(ErrorKind::Internal),
        }
    }
}

/// A session of somebody at a submission door.
pub(crate) fn logged_in(place: &Place, who: &str) -> std::io::Result<Smtp> {
    let mut smtp = Smtp::open(&place.submissions, Some(&place.tls))?;
    match smtp.log_in(who, &password_of(who))? {
        (235, _) => Ok(smtp),
        (code, text) => Err(std::io::Error::other(format!("AUTH: {code} {text}"))),
    }
}
