//! Clients that read inboxes, by POP3 and by GrapevineUser, and delete some of what they have read.

use std::io;

use grapevine_model::{ErrorKind, MessageId};
use grapevine_user::GrapevineUser;

use crate::dice::Dice;
use crate::figures::Came;
use crate::machine::Place;
use crate::oracle::{Found, Yes};
use crate::wire::{Login, Pop};
use crate::world::{World, name, password_of};

/// So many of those that are read are deleted, in a hundred.
const DELETED_PERCENT: u64 = 70;
/// A reader does not hold up a pause for long.
const READ_AT_ONCE: usize = 60;

/// A client that reads.
pub(crate) struct Reader<'a> {
    world: &'a World,
    client: usize,
    dice: Dice,
    machine: usize,
}

impl<'a> Reader<'a> {
    /// One with a number of its own.
    pub(crate) fn new(world: &'a World, client: usize, dice: Dice) -> Self {
        Self {
            world,
            client,
            dice,
            machine: client % world.places.count().max(1),
        }
    }

    fn came(&self, verb: &'static str, came: Came) {
        self.world.figures().came(self.client, verb, came);
    }

    /// One inbox, at one server, by POP3.
    pub(crate) fn reads_by_pop3(&mut self) {
        const VERB: &str = "read by POP3";
        self.world.figures().wishes(self.client, VERB);
        let owner = self
            .dice
            .pick(&self.world.people)
            .cloned()
            .unwrap_or_default();
        let Some(place) = self.world.places.get(self.machine) else {
            return;
        };
        match self.session(&place, &owner) {
            Ok(()) => self.came(VERB, Came::Done),
            Err(_) => {
                self.came(VERB, Came::Unavailable);
                self.machine = (self.machine + 1) % self.world.places.count().max(1);
            }
        }
    }

    fn session(&mut self, place: &Place, owner: &str) -> io::Result<()> {
        let mut pop = Pop::open(&place.pop3s, &place.tls)?;
        match pop.log_in(owner, &password_of(owner))? {
            Login::Yes => {}
            Login::No(text) => {
                let what = format!(
                    "{}: {owner}'s right password is refused: {text}",
                    place.server
                );
                self.world.oracle().violation(what);
                return Err(io::Error::other("refused"));
            }
            Login::NotNow(text) => return Err(io::Error::other(text)),
        }
        let mut marked = Vec::new();
        for (number, id) in pop.listing()?.into_iter().take(READ_AT_ONCE) {
            let known = self.world.oracle().found(
                owner,
                &Found {
                    id: &id,
                    bytes: None,
                },
            );
            let token = match known {
                Some(token) => Some(token),
                None => match pop.retrieve(number)? {
                    Some(bytes) => {
                        let found = Found {
                            id: &id,
                            bytes: Some(&bytes),
                        };
                        self.world.oracle().found(owner, &found)
                    }
                    None => None,
                },
            };
            if let Some(token) = token
                && self.dice.chance(DELETED_PERCENT)
                && pop.command(&format!("DELE {number}"))?.starts_with("+OK")
            {
                marked.push(token);
            }
        }
        let lost_before = self.deletes(owner, &marked);
        match pop.command("QUIT")?.starts_with("+OK") {
            true => {
                let yes = Yes {
                    copies: None,
                    lost_before,
                };
                self.world.oracle().deleted(owner, &marked, yes);
                Ok(())
            }
            false => Err(io::Error::other("not all was deleted")),
        }
    }

    fn deletes(&self, owner: &str, tokens: &[String]) -> u32 {
        let mut oracle = self.world.oracle();
        oracle.deletes(owner, tokens);
        oracle.lost
    }

    /// One's own inbox, by GrapevineUser.
    pub(crate) fn reads_by_rpc(&mut self, user: &GrapevineUser, owner: &str) {
        const VERB: &str = "read by GrapevineUser";
        self.world.figures().wishes(self.client, VERB);
        let Ok(inbox) = name(owner) else {
            return;
        };
        let listing = match self.world.runtime.block_on(user.inbox(&inbox)) {
            Ok(listing) => listing,
            Err(refusal) => return self.refused(VERB, owner, refusal.kind),
        };
        let mut good: Vec<(MessageId, String)> = Vec::new();
        for listed in listing.messages.iter().take(READ_AT_ONCE) {
            let id = listed.message.to_string();
            let known = self.world.oracle().found(
                owner,
                &Found {
                    id: &id,
                    bytes: None,
                },
            );
            if let Some(token) = known {
                good.push((listed.message, token));
                continue;
            }
            let mut bytes = Vec::new();
            let read = user.read_body(&inbox, listed.message, &mut bytes);
            // Somebody else may have deleted it, or its site may be away.
            if self.world.runtime.block_on(read).is_ok() {
                let found = Found {
                    id: &id,
                    bytes: Some(&bytes),
                };
                let token = self.world.oracle().found(owner, &found);
                good.extend(token.map(|token| (listed.message, token)));
            }
        }
        self.came(VERB, Came::Done);
        good.retain(|_| self.dice.chance(DELETED_PERCENT));
        if good.is_empty() {
            return;
        }
        const DELETE: &str = "delete by GrapevineUser";
        self.world.figures().wishes(self.client, DELETE);
        let (ids, tokens): (Vec<MessageId>, Vec<String>) = good.into_iter().unzip();
        let lost_before = self.deletes(owner, &tokens);
        match self.world.runtime.block_on(user.delete(&inbox, &ids)) {
            Ok(written) => {
                let yes = Yes {
                    copies: Some(written.copies),
                    lost_before,
                };
                self.world.oracle().deleted(owner, &tokens, yes);
                self.came(DELETE, Came::Done);
            }
            Err(refusal) => self.refused(DELETE, owner, refusal.kind),
        }
    }

    fn refused(&self, verb: &'static str, owner: &str, kind: ErrorKind) {
        let came = match kind {
            ErrorKind::Unavailable => Came::Unavailable,
            ErrorKind::Unknown | ErrorKind::Internal => Came::Unknown,
            ErrorKind::Invalid
            | ErrorKind::NotAuthenticated
            | ErrorKind::NotAllowed
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::TooLarge => {
                let what = format!("{verb}: {owner} is refused what is his: {kind:?}");
                self.world.oracle().violation(what);
                Came::Denied
            }
        };
        self.came(verb, came);
    }
}
