//! Numbers of mails (UIDs) mean one mail for ever, and no new one appears below those that a mail program has seen.

use std::collections::BTreeSet;

use grapevine_model::MailboxView;

/// What it is called.
pub const NAME: &str = "a number is one mail, and never late";

/// What a mail program has been shown of a folder.
#[derive(Debug, Default)]
pub struct Shown {
    ever: BTreeSet<u32>,
    /// The greatest UIDNEXT.
    next: u32,
}

impl Shown {
    /// It is shown a folder.
    pub fn learn(&mut self, view: &MailboxView) {
        self.ever.extend(view.rows.iter().map(|row| row.uid));
        self.next = self.next.max(view.uid_next);
    }
}

/// Whether a number is new to it, and below what it was told to expect next.
pub fn is_late(shown: &Shown, uid: u32) -> bool {
    uid < shown.next && !shown.ever.contains(&uid)
}
