//! What mail programs know of their folders: which mails there are, where, with which flags, under which numbers.
//!
//! Each mailbox has one client, each keyword of a mail is set once and cleared once at most, and only by somebody who sees it: so what
//! must stand in the end follows from the answers alone, whatever the servers' clocks are. Must learn nothing but these answers.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::Yes;
use crate::wire_imap::Shown;

/// Where mail comes in.
pub(crate) const INBOX: &str = "INBOX";
/// Where it is moved to.
pub(crate) const BOX: &str = "Box";

/// Whether something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sure {
    /// It was never tried.
    #[default]
    Never,
    /// It was tried, and there is no yes.
    Perhaps,
    /// It was acknowledged.
    Yes(Yes),
}

impl Sure {
    fn must(self, lost: u32) -> bool {
        matches!(self, Self::Yes(yes) if yes.must_survive(lost))
    }

    /// What had to be there was; what may have been lost may be there or not, from now on.
    fn hardens(&mut self, lost: u32) {
        *self = match *self {
            Self::Yes(yes) if yes.must_survive(lost) => Self::Yes(Yes {
                copies: Some(2),
                ..yes
            }),
            Self::Yes(_) | Self::Perhaps => Self::Perhaps,
            Self::Never => Self::Never,
        };
    }
}

/// What a mail program does to a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It is put into the inbox.
    Append,
    /// It is moved to the other folder.
    Move,
    /// It is expunged.
    Expunge,
    /// It gets a keyword.
    Set(String),
    /// It loses one.
    Clear(String),
}

#[derive(Debug, Default)]
struct Mail {
    appended: Sure,
    moved: Sure,
    expunged: Sure,
    set: BTreeMap<String, Sure>,
    cleared: BTreeMap<String, Sure>,
}

/// A folder in one of its lives.
type Life = (String, u32);

#[derive(Debug, Default)]
struct Mailbox {
    mails: BTreeMap<String, Mail>,
    /// Which mail a number has meant.
    numbers: BTreeMap<(Life, u32), String>,
    /// The numbers that were seen while all was calm.
    calm: BTreeMap<Life, BTreeSet<u32>>,
    made: Sure,
}

/// All mailboxes of mail programs.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    mailboxes: BTreeMap<String, Mailbox>,
}

impl Folders {
    /// Something is tried, or was acknowledged.
    pub(crate) fn notes(&mut self, owner: &str, token: &str, deed: &Deed, sure: Sure) {
        let mailbox = self.mailboxes.entry(owner.to_owned()).or_default();
        let mail = mailbox.mails.entry(token.to_owned()).or_default();
        let place = match deed {
            Deed::Append => &mut mail.appended,
            Deed::Move => &mut mail.moved,
            Deed::Expunge => &mut mail.expunged,
            Deed::Set(keyword) => mail.set.entry(keyword.clone()).or_default(),
            Deed::Clear(keyword) => mail.cleared.entry(keyword.clone()).or_default(),
        };
        // A yes stands, whatever a repetition comes to.
        if !matches!((*place, sure), (Sure::Yes(_), Sure::Perhaps)) {
            *place = sure;
        }
    }

    /// Whether something was tried already.
    pub(crate) fn was_tried(&self, owner: &str, token: &str, deed: &Deed) -> bool {
        let mail = self.mailboxes.get(owner).and_then(|of| of.mails.get(token));
        mail.is_some_and(|mail| {
            let sure = match deed {
                Deed::Append => mail.appended,
                Deed::Move => mail.moved,
                Deed::Expunge => mail.expunged,
                Deed::Set(keyword) => mail.set.get(keyword).copied().unwrap_or_default(),
                Deed::Clear(keyword) => mail.cleared.get(keyword).copied().unwrap_or_default(),
            };
            sure != Sure::Never
        })
    }

    /// The second folder is made, or was.
    pub(crate) fn makes(&mut self, owner: &str, sure: Sure) {
        let mailbox = self.mailboxes.entry(owner.to_owned()).or_default();
        if !matches!(mailbox.made, Sure::Yes(_)) {
            mailbox.made = sure;
        }
    }

    /// Whether the second folder was acknowledged.
    pub(crate) fn is_made(&self, owner: &str) -> bool {
        let mailbox = self.mailboxes.get(owner);
        mailbox.is_some_and(|mailbox| matches!(mailbox.made, Sure::Yes(_)))
    }

    /// A folder as somebody sees it, at any time. Says what is wrong with it.
    pub(crate) fn sees(&mut self, owner: &str, life: &Life, shown: &[Shown]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mailbox = self.mailboxes.entry(owner.to_owned()).or_default();
        let folder = &life.0;
        for mail in shown {
            let (uid, token) = (mail.uid, &mail.token);
            if !mailbox.mails.contains_key(token) {
                wrong.push(format!(
                    "{owner}: {folder} has {token:?} as {uid}, which nobody put there"
                ));
            }
            let number = (life.clone(), uid);
            match mailbox.numbers.get(&number) {
                Some(before) if before != token => wrong.push(format!(
                    "{owner}: the number {uid} of {folder} meant {before}, and means {token}"
                )),
                Some(_) => {}
                None => {
                    mailbox.numbers.insert(number, token.clone());
                }
            }
        }
        wrong
    }

    /// The same while all is calm, and every server hears every other: a number that is new is above all that were seen then.
    pub(crate) fn sees_calm(&mut self, owner: &str, life: &Life, shown: &[Shown]) -> Vec<String> {
        let mut wrong = self.sees(owner, life, shown);
        let mailbox = self.mailboxes.entry(owner.to_owned()).or_default();
        let seen = mailbox.calm.entry(life.clone()).or_default();
        let highest = seen.last().copied().unwrap_or(0);
        for mail in shown {
            if mail.uid < highest && !seen.contains(&mail.uid) {
                wrong.push(format!(
                    "{owner}: {} shows {} as {} late: {highest} was seen before",
                    life.0, mail.token, mail.uid
                ));
            }
        }
        seen.extend(shown.iter().map(|mail| mail.uid));
        wrong
    }

    /// Everything that one server shows of a mailbox, after everything has healed. Says what is wrong.
    pub(crate) fn settled(
        &self,
        server: &str,
        owner: &str,
        lost: u32,
        folders: &BTreeSet<String>,
        shown: &BTreeMap<String, Vec<Shown>>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some(mailbox) = self.mailboxes.get(owner) else {
            return wrong;
        };
        if mailbox.made.must(lost) && !folders.contains(BOX) {
            wrong.push(format!("{server}: {owner} lacks the folder {BOX}"));
        }
        let mut found: BTreeMap<&str, Vec<(&str, &Shown)>> = BTreeMap::new();
        for (folder, mails) in shown {
            for mail in mails {
                let places = found.entry(mail.token.as_str()).or_default();
                places.push((folder.as_str(), mail));
            }
        }
        for (token, mail) in &mailbox.mails {
            let mut say =
                |what: String| wrong.push(format!("{server}: {owner}'s mail {token} {what}"));
            let places = found.get(token.as_str()).map(Vec::as_slice);
            match places.unwrap_or_default() {
                [] => {
                    if mail.appended.must(lost) && mail.expunged == Sure::Never {
                        say(format!("is not there: {mail:?}"));
                    }
                }
                [(folder, seen)] => {
                    if mail.expunged.must(lost) {
                        say(format!("is there again, in {folder}, and was expunged"));
                    }
                    let may_be_moved = mail.moved != Sure::Never;
                    let right = match *folder {
                        INBOX => !mail.moved.must(lost),
                        _ => may_be_moved,
                    };
                    if !right {
                        say(format!("is in {folder}: {:?}", mail.moved));
                    }
                    mail.flags(lost, seen, &mut say);
                }
                several => say(format!("is there {} times", several.len())),
            }
        }
        wrong
    }

    /// Each of its sites has shown all of it that must be there: from now on that stands on two disks.
    pub(crate) fn hardens(&mut self, owner: &str, lost: u32) {
        let Some(mailbox) = self.mailboxes.get_mut(owner) else {
            return;
        };
        mailbox.made.hardens(lost);
        for mail in mailbox.mails.values_mut() {
            mail.appended.hardens(lost);
            mail.moved.hardens(lost);
            mail.expunged.hardens(lost);
            mail.set.values_mut().for_each(|sure| sure.hardens(lost));
            mail.cleared
                .values_mut()
                .for_each(|sure| sure.hardens(lost));
        }
    }

    /// Deeds that were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        let mails = self.mailboxes.values().flat_map(|of| of.mails.values());
        mails
            .flat_map(|mail| {
                let singles = [&mail.appended, &mail.moved, &mail.expunged];
                let flags = mail.set.values().chain(mail.cleared.values());
                singles.into_iter().chain(flags)
            })
            .filter(|sure| matches!(sure, Sure::Yes(_)))
            .count()
    }
}

impl Mail {
    fn flags(&self, lost: u32, seen: &Shown, say: &mut impl FnMut(String)) {
        for (keyword, set) in &self.set {
            let cleared = self.cleared.get(keyword).copied().unwrap_or_default();
            let is_there = seen.flags.contains(keyword);
            if !is_there && set.must(lost) && cleared == Sure::Never {
                say(format!(
                    "lacks {keyword}, which was acknowledged: {:?}",
                    seen.flags
                ));
            }
            if is_there && cleared.must(lost) {
                say(format!("has {keyword} again, which was cleared"));
            }
        }
        for keyword in &seen.flags {
            if keyword.starts_with('$') && !self.set.contains_key(keyword) {
                say(format!("has {keyword}, which nobody set"));
            }
        }
    }
}

#[cfg(test)]
#[path = "folders_test.rs"]
mod tests;
