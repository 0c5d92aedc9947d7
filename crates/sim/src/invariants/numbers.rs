//! Numbers of mails (UIDs) mean one mail for ever, and no new one appears below those that a mail program has seen.

use std::collections::BTreeSet;

use grapevine_model::{MailboxReply, MailboxView};

/// What it is called.
pub const NAME: &str = "a number is one mail, and never late";

/// What a mail program has been shown of a folder.
#[derive(Debug, Default)]
pub struct Shown {
    ever: BTreeSet<u32>,
    /// The greatest UIDNEXT.
    next: u32,
    /// The same without what a site has shown that heard no other: that may be lost with its disk.
    surely_next: u32,
}

impl Shown {
    /// Whether it was shown this number.
    #[must_use]
    pub fn has_shown(&self, uid: u32) -> bool {
        self.ever.contains(&uid)
    }

    /// It is shown a folder.
    pub fn learn(&mut self, reply: &MailboxReply, view: &MailboxView) {
        self.ever.extend(view.rows.iter().map(|row| row.uid));
        self.next = self.next.max(view.uid_next);
        if !reply.partial && reply.copies != 1 {
            self.surely_next = self.surely_next.max(view.uid_next);
        }
    }
}

/// Whether a number is new to it, and below what it was told to expect next.
pub fn is_late(shown: &Shown, uid: u32, disks_lost: u32) -> bool {
    let next = match disks_lost {
        0 => shown.next,
        _ => shown.surely_next,
    };
    uid < next && !shown.ever.contains(&uid)
}
