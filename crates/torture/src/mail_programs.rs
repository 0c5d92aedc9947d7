//! Mail programs that speak IMAP: they put mails into a mailbox of their own, flag, move and expunge them, and look at all.

use std::io;

use crate::dice::Dice;
use crate::figures::Came;
use crate::folders::{BOX, Deed, INBOX, Sure};
use crate::machine::Place;
use crate::oracle::Yes;
use crate::wire::Login;
use crate::wire_imap::{Answer, Imap, Shown};
use crate::world::{World, password_of};

/// The field that names a mail, first in its header.
pub(crate) const FIELD: &str = "X-Torture";
/// A mailbox has about so many mails: each look reads them all.
const MAILS: usize = 25;
/// Deeds of one session.
const A_SESSION: u64 = 5;
/// Keywords that a mail gets in its life: a server takes a hundred.
const KEYWORDS: usize = 6;

/// A mail program.
pub(crate) struct Program<'a> {
    world: &'a World,
    client: usize,
    dice: Dice,
    done: u64,
    machine: usize,
}

impl<'a> Program<'a> {
    /// One with a number of its own.
    pub(crate) fn new(world: &'a World, client: usize, dice: Dice) -> Self {
        Self {
            world,
            client,
            dice,
            done: 0,
            machine: client % world.places.count().max(1),
        }
    }

    fn came(&self, verb: &'static str, came: Came) {
        self.world.figures().came(self.client, verb, came);
    }

    /// A session: a look at everything, and some deeds. Turns to the next server when one does not serve.
    pub(crate) fn works(&mut self, owner: &str) {
        const VERB: &str = "look by IMAP";
        self.world.figures().wishes(self.client, VERB);
        let Some(place) = self.world.places.get(self.machine) else {
            return;
        };
        let looked = log_in(self.world, &place, owner).and_then(|mut imap| {
            let inbox = look(self.world, &mut imap, owner, INBOX)?;
            Ok((imap, inbox))
        });
        let worked = match looked {
            Ok((imap, inbox)) => {
                self.came(VERB, Came::Done);
                self.session(imap, owner, inbox)
            }
            Err(error) => {
                self.came(VERB, Came::Unavailable);
                Err(error)
            }
        };
        if worked.is_err() {
            self.machine = (self.machine + 1) % self.world.places.count().max(1);
        }
    }

    fn session(&mut self, mut imap: Imap, owner: &str, mut inbox: Vec<Shown>) -> io::Result<()> {
        if !self.world.oracle().folders.is_made(owner) {
            self.makes_a_folder(&mut imap, owner)?;
        }
        for _ in 0..A_SESSION {
            if inbox.len() < MAILS && self.dice.chance(40) {
                self.appends(&mut imap, owner)?;
                continue;
            }
            let Some(mail) = self.dice.pick(&inbox).cloned() else {
                continue;
            };
            if self.deed(&mut imap, owner, &mail)? {
                inbox.retain(|other| other.uid != mail.uid);
            }
        }
        if self.dice.chance(30) && self.world.oracle().folders.is_made(owner) {
            let moved = look(self.world, &mut imap, owner, BOX)?;
            let mail = self.dice.pick(&moved).cloned();
            if let Some(mail) = mail.filter(|_| moved.len() > MAILS) {
                self.expunges(&mut imap, owner, &mail)?;
            }
        }
        // Whether its end was heard is nothing to us.
        let _ = imap.command("LOGOUT");
        Ok(())
    }

    /// Says whether the mail is gone from its folder, or may be.
    fn deed(&mut self, imap: &mut Imap, owner: &str, mail: &Shown) -> io::Result<bool> {
        match self.dice.below(100) {
            0..50 => {
                let mine = mail.flags.iter().filter(|flag| flag.starts_with('$'));
                if mine.count() < KEYWORDS {
                    self.done += 1;
                    let keyword = format!("$k{}", self.done);
                    self.flags(imap, owner, mail, Deed::Set(keyword))?;
                }
                Ok(false)
            }
            50..70 => {
                let seen = mail.flags.iter().find(|flag| {
                    let deed = Deed::Clear(String::clone(flag));
                    let oracle = self.world.oracle();
                    flag.starts_with('$') && !oracle.folders.was_tried(owner, &mail.token, &deed)
                });
                if let Some(keyword) = seen.cloned() {
                    self.flags(imap, owner, mail, Deed::Clear(keyword))?;
                }
                Ok(false)
            }
            70..85 => {
                let oracle = self.world.oracle();
                let moved = oracle.folders.was_tried(owner, &mail.token, &Deed::Move);
                let may = oracle.folders.is_made(owner) && !moved;
                drop(oracle);
                if may {
                    self.moves(imap, owner, mail)?;
                }
                Ok(may)
            }
            _ => {
                self.expunges(imap, owner, mail)?;
                Ok(true)
            }
        }
    }

    fn notes(&self, owner: &str, token: &str, deed: &Deed, sure: Sure) -> u32 {
        let mut oracle = self.world.oracle();
        oracle.folders.notes(owner, token, deed, sure);
        oracle.lost
    }

    /// A deed whose answer must show that it was done: a number that means nothing any more is passed over in silence.
    fn does(
        &self,
        imap: &mut Imap,
        (owner, token, verb): (&str, &str, &'static str),
        deed: &Deed,
        commands: &[String],
        shows: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        self.world.figures().wishes(self.client, verb);
        let lost_before = self.notes(owner, token, deed, Sure::Perhaps);
        let mut shown = false;
        for command in commands {
            match imap.command(command) {
                Ok(Answer::Ok(text, said)) => {
                    shown = shows(&text) || said.iter().any(|said| shows(said));
                }
                Ok(Answer::No(text)) => {
                    self.came(verb, Came::Unavailable);
                    return Err(io::Error::other(text));
                }
                Err(error) => {
                    self.came(verb, Came::Unknown);
                    return Err(error);
                }
            }
        }
        if shown {
            let yes = Yes {
                copies: None,
                lost_before,
            };
            self.notes(owner, token, deed, Sure::Yes(yes));
        }
        self.came(verb, if shown { Came::Done } else { Came::Unknown });
        Ok(())
    }

    fn makes_a_folder(&self, imap: &mut Imap, owner: &str) -> io::Result<()> {
        let lost_before = {
            let mut oracle = self.world.oracle();
            oracle.folders.makes(owner, Sure::Perhaps);
            oracle.lost
        };
        let made = imap.command(&format!("CREATE {BOX}"))?;
        let done = match made {
            Answer::Ok(..) => true,
            Answer::No(text) => text.contains("[ALREADYEXISTS]"),
        };
        if done {
            let yes = Sure::Yes(Yes {
                copies: None,
                lost_before,
            });
            self.world.oracle().folders.makes(owner, yes);
        }
        Ok(())
    }

    fn appends(&mut self, imap: &mut Imap, owner: &str) -> io::Result<()> {
        const VERB: &str = "append by IMAP";
        self.done += 1;
        let token = format!("i{}-{}", self.client, self.done);
        let mut mail = format!("{FIELD}: {token}\r\nSubject: {token}\r\n\r\n").into_bytes();
        for _ in 0..self.dice.below(40) {
            mail.extend_from_slice(format!("{:x}\r\n", self.dice.below(1 << 40)).as_bytes());
        }
        self.world.figures().wishes(self.client, VERB);
        let lost_before = self.notes(owner, &token, &Deed::Append, Sure::Perhaps);
        let appended = imap
            .append(INBOX, &mail)
            .inspect_err(|_| self.came(VERB, Came::Unavailable))?;
        match appended {
            Ok(Answer::Ok(..)) => {
                let yes = Sure::Yes(Yes {
                    copies: None,
                    lost_before,
                });
                self.notes(owner, &token, &Deed::Append, yes);
                self.came(VERB, Came::Done);
                Ok(())
            }
            Ok(Answer::No(text)) => {
                self.came(VERB, Came::Unavailable);
                Err(io::Error::other(text))
            }
            Err(error) => {
                self.came(VERB, Came::Unknown);
                Err(error)
            }
        }
    }

    fn flags(&self, imap: &mut Imap, owner: &str, mail: &Shown, deed: Deed) -> io::Result<()> {
        const VERB: &str = "flag by IMAP";
        let (uid, token) = (mail.uid, &mail.token);
        let (how, keyword) = match &deed {
            Deed::Set(keyword) => ('+', keyword.clone()),
            Deed::Clear(keyword) => ('-', keyword.clone()),
            Deed::Append | Deed::Move | Deed::Expunge => return Ok(()),
        };
        let store = format!("UID STORE {uid} {how}FLAGS ({keyword})");
        let told = format!("UID {uid}");
        let shows = |said: &str| {
            let mut words = said.split([' ', '(', ')']);
            let has = words.any(|word| word == keyword);
            said.contains(" FETCH ") && said.contains(&told) && has == (how == '+')
        };
        self.does(imap, (owner, token, VERB), &deed, &[store], shows)
    }

    fn moves(&self, imap: &mut Imap, owner: &str, mail: &Shown) -> io::Result<()> {
        const VERB: &str = "move by IMAP";
        let commands = [format!("UID MOVE {} {BOX}", mail.uid)];
        let shows = |said: &str| said.contains("[COPYUID ");
        let (of, deed) = ((owner, mail.token.as_str(), VERB), Deed::Move);
        self.does(imap, of, &deed, &commands, shows)
    }

    fn expunges(&self, imap: &mut Imap, owner: &str, mail: &Shown) -> io::Result<()> {
        const VERB: &str = "expunge by IMAP";
        let commands = [
            format!("UID STORE {} +FLAGS (\\Deleted)", mail.uid),
            format!("UID EXPUNGE {}", mail.uid),
        ];
        let shows = |said: &str| said.starts_with("* ") && said.ends_with(" EXPUNGE");
        let (of, deed) = ((owner, mail.token.as_str(), VERB), Deed::Expunge);
        self.does(imap, of, &deed, &commands, shows)
    }
}

/// A session of somebody at a server's door.
///
/// # Errors
/// There is none to be had now.
pub(crate) fn log_in(world: &World, place: &Place, owner: &str) -> io::Result<Imap> {
    let mut imap = Imap::open(&place.imaps, &place.tls)?;
    match imap.log_in(owner, &password_of(owner))? {
        Login::Yes => Ok(imap),
        Login::No(text) => {
            let server = &place.server;
            let what = format!("{server}: {owner}'s right password is refused by IMAP: {text}");
            world.oracle().violation(what);
            Err(io::Error::other("refused"))
        }
        Login::NotNow(text) => Err(io::Error::other(text)),
    }
}

/// A folder and all that is in it, held against what was known.
///
/// # Errors
/// It is not to be had now.
pub(crate) fn look(
    world: &World,
    imap: &mut Imap,
    owner: &str,
    folder: &str,
) -> io::Result<Vec<Shown>> {
    let (shown, life) = seen(imap, folder)?;
    let mut oracle = world.oracle();
    let wrong = oracle.folders.sees(owner, &life, &shown);
    wrong.into_iter().for_each(|what| oracle.violation(what));
    Ok(shown)
}

/// A folder, and in which of its lives it is.
///
/// # Errors
/// It is not to be had now.
pub(crate) fn seen(imap: &mut Imap, folder: &str) -> io::Result<(Vec<Shown>, (String, u32))> {
    let none = || io::Error::other(format!("no {folder} now"));
    let (mails, validity) = imap.select(folder)?.ok_or_else(none)?;
    let shown = match mails {
        0 => Vec::new(),
        _ => imap.shown(FIELD)?.ok_or_else(none)?,
    };
    Ok((shown, (folder.to_owned(), validity)))
}
