//! What an entry may carry besides its lists, and what is said about entries as a
//! whole: quotas, posting rules, conflicts of names, members that point at nobody.

use serde::{Deserialize, Serialize};

use crate::field::EntryKind;
use crate::id::Incarnation;
use crate::name::{Member, Name};
use crate::request::GroupList;

/// How much an individual's inbox may hold. None is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quota {
    /// Octets of all messages together.
    pub octets: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

/// What is held: of one inbox, or of all inboxes of a registry at one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Octets of all messages together.
    pub octets: u64,
    /// Messages.
    pub messages: u64,
}

impl Usage {
    /// Of one message.
    pub fn of(octets: u64) -> Self {
        Self {
            octets,
            messages: 1,
        }
    }

    /// With this too.
    pub fn plus(self, more: Self) -> Self {
        Self {
            octets: self.octets.saturating_add(more.octets),
            messages: self.messages.saturating_add(more.messages),
        }
    }

    /// Without this.
    pub fn minus(self, less: Self) -> Self {
        Self {
            octets: self.octets.saturating_sub(less.octets),
            messages: self.messages.saturating_sub(less.messages),
        }
    }
}

/// So much, as a limit.
impl From<Usage> for Quota {
    fn from(usage: Usage) -> Self {
        Self {
            octets: Some(usage.octets),
            messages: Some(usage.messages),
        }
    }
}

impl Quota {
    /// Whether so much may be held.
    pub fn allows(&self, usage: Usage) -> bool {
        self.octets.is_none_or(|most| usage.octets <= most)
            && self.messages.is_none_or(|most| usage.messages <= most)
    }

    /// Whether nothing more fits, however small.
    pub fn is_used_up(&self, usage: Usage) -> bool {
        !self.allows(usage.plus(Usage::of(1)))
    }
}

/// Who may post to a group. Its owners always may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PostingRule {
    /// Anybody, strangers included.
    #[default]
    Anyone,
    /// Whoever has logged in.
    Authenticated,
    /// The members, by closure.
    Members,
    /// The owners only.
    Owners,
    /// Anybody, but what is not an owner's waits for the word of one.
    Moderated,
    /// The members of this group, by closure.
    Group(Name),
}

/// How far a question about memberships goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Lists that have the name themselves.
    Direct,
    /// These, and the groups that they are in, and so on.
    Nested,
}

/// What a registrar does with an entry that stands aside because another has its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AsideChange {
    /// It is no more.
    Delete,
    /// It gets a name of its own.
    Rename(Name),
}

/// An entry that stands aside: an earlier one has its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The name.
    pub name: Name,
    /// Who has it.
    pub holder: Incarnation,
    /// Who stands aside and answers nothing.
    pub aside: Incarnation,
    /// What the one that stands aside is.
    pub kind: EntryKind,
    /// Its remark.
    pub remark: String,
}

/// Why a member points at nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dangle {
    /// The entry is no more, and nobody has its name.
    Gone,
    /// The entry is no more, and its name is another one's now.
    Another,
    /// A holder of its registry can't be asked, or has not heard of it: nothing is known.
    Unknown,
}

/// A member, owner or friend that points at nobody, or of which that can't be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dangling {
    /// Of which group.
    pub group: Name,
    /// In which of its lists.
    pub list: GroupList,
    /// As it is listed.
    pub member: Member,
    /// Why.
    pub why: Dangle,
}

/// What became of an incarnation, as a holder of its registry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It lives and has this name.
    Lives(Name),
    /// It lives and stands aside: it answers nothing.
    Aside,
    /// It has been deleted.
    Gone,
    /// No holder has it, and all of them agree.
    Absent,
    /// This holder has not heard of it; another one may have.
    Unheard,
}
