//! What the clients know: the truth that the cluster is held against.
//!
//! A request that was not answered is unknown, never done and never undone. Must learn nothing but
//! what clients were told, and which disks were lost.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    BodyInfo, InboxListing, Incarnation, MessageId, Name, OriginId, RegistryName, Reply, Stamp,
};

use crate::cluster::{Cluster, Violation};
use crate::event::{NodeIndex, Outcome};
use crate::invariants;
use crate::invariants::leases::Registration;
use crate::invariants::removed_stays_removed::IN;
use crate::world::World;

/// A message that somebody has submitted.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its body.
    pub body: BodyInfo,
    /// Where reports go.
    pub from: Name,
    /// As the envelope names them.
    pub recipients: Vec<Name>,
    /// The individuals who must get it.
    pub must: BTreeSet<Name>,
    /// Those who may get it.
    pub may: BTreeSet<Name>,
    /// Those in other mail systems who must get it, or whose sender must have a report.
    pub outside: BTreeSet<Name>,
    /// Recipients that never exist: reported, if it is accepted.
    pub never: BTreeSet<Name>,
    /// The individuals who must get it, or whose sender must have a report: by a name that they have
    /// at times, or into a mailbox that may be full.
    pub either: BTreeSet<Name>,
    /// The moderated lists that it is for.
    pub forums: BTreeSet<Name>,
    /// Whether one of the recipients comes and goes.
    pub passing: bool,
    /// The yes, if there was one.
    pub accepted: Option<Accepted>,
}

/// A yes to a submission.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    /// When it was heard.
    pub at_us: u64,
    /// Who said it.
    pub node: NodeIndex,
    /// On how many disks it was said to be.
    pub copies: u8,
    /// How many disks had been lost, anywhere, when it was asked for.
    pub disks_lost: u32,
}

/// What a person has seen of its mailbox.
#[derive(Debug, Clone, Default)]
pub struct Mailbox {
    /// Every message that was ever listed.
    pub seen: BTreeSet<MessageId>,
    /// Deleted, with a yes: where, and on how many disks.
    pub deleted: BTreeMap<MessageId, Deletion>,
    /// Perhaps deleted.
    pub perhaps_deleted: BTreeSet<MessageId>,
    /// How often somebody has asked for other sites.
    pub moves: u32,
}

/// An acknowledged deletion.
#[derive(Debug, Clone, Copy)]
pub struct Deletion {
    /// When the yes was heard.
    pub at_us: u64,
    /// Whose yes.
    pub node: NodeIndex,
    /// Whether it was a site of the mailbox then: another one passes it on.
    pub is_site: bool,
    /// How often the mailbox had been moved, or perhaps had.
    pub moves: u32,
    /// On how many disks.
    pub copies: u8,
    /// How many disks had been lost, anywhere, when it was asked for: whoever was asked may have
    /// passed it on.
    pub disks_lost: u32,
}

/// What is written under a stamp.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Is this one a member of that group?
    Member {
        /// The group.
        group: Name,
        /// The member.
        who: Name,
    },
    /// The password of an individual.
    Password(Name),
}

/// One attempt to change something.
#[derive(Debug, Clone)]
pub struct Write {
    /// The new value: `in`, `out`, or a password.
    pub value: String,
    /// When it was asked for.
    pub asked_us: u64,
    /// Of whom.
    pub node: NodeIndex,
    /// How many disks had been lost by then, anywhere.
    pub disks_lost: u32,
    /// What became of it.
    pub fate: WriteFate,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFate {
    /// Nobody knows, or not yet.
    Unknown,
    /// Surely not done.
    Refused,
    /// It was so already.
    Nothing,
    /// Done.
    Done {
        /// Decides between writes.
        stamp: Stamp,
        /// On how many disks.
        copies: u8,
        /// When the yes was heard.
        at_us: u64,
    },
}

impl WriteFate {
    /// What an answer says of it.
    pub(crate) fn of(outcome: &Outcome, at_us: u64) -> Self {
        match outcome {
            Outcome::Done(Reply::Written(written)) => match written.stamp {
                Some(stamp) => Self::Done {
                    stamp,
                    copies: written.copies,
                    at_us,
                },
                None => Self::Nothing,
            },
            other if other.is_surely_not_done() => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

/// Whether holders may be away for longer than the retention in a run: then an addition that the
/// others have never heard of stands against a removal that they have forgotten (docs/reaping.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absences {
    /// Never.
    Short,
    /// Perhaps.
    Long,
}

impl Absences {
    /// Whether an addition may stand against a removal with the greater stamp: one of another server,
    /// as a server has seen what it wrote itself, or one of which nobody knows whose it is.
    pub fn excuse(self, addition: &Write, removal: Stamp) -> bool {
        let elsewhere = match addition.fate {
            WriteFate::Done { stamp, .. } => stamp.origin != removal.origin,
            WriteFate::Unknown | WriteFate::Nothing => true,
            WriteFate::Refused => false,
        };
        self == Self::Long && addition.value == IN && elsewhere
    }
}

/// Names a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteId(Key, usize);

impl WriteId {
    /// What it writes.
    pub fn key(&self) -> &Key {
        &self.0
    }
}

/// An entry of a registry that comes and goes.
#[derive(Debug, Clone)]
pub struct Entered {
    /// Never used again.
    pub name: Name,
    /// The registry that it was made in, if that is known.
    pub of: Option<Incarnation>,
    /// How many disks had been lost when it was asked for.
    pub disks_lost: u32,
    /// What became of it.
    pub fate: WriteFate,
}

/// What is known of a registry that comes and goes.
#[derive(Debug, Default)]
pub struct Founded {
    /// Acknowledged creations: on how many disks, and how many had been lost by then.
    pub creations: Vec<(u8, u32)>,
    /// Deletions that may have been done.
    pub deletions: u32,
    /// Its entries.
    pub entries: Vec<Entered>,
}

/// What owners have said of a post to a moderated list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// Somebody said yes, or may have.
    pub perhaps_yes: bool,
    /// Somebody said no, or may have.
    pub perhaps_no: bool,
    /// A yes was acknowledged.
    pub surely_yes: bool,
}

/// The loss of all sites of some mailboxes at one moment, when all was at rest.
#[derive(Debug, Clone)]
pub struct SitesLost {
    /// When.
    pub at_us: u64,
    /// Whose mailboxes.
    pub owners: BTreeSet<Name>,
    /// Messages of which other servers have kept a copy after delivery, and for whom each was.
    pub kept: BTreeSet<(MessageId, Name)>,
}

/// The oracle.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Messages by id.
    pub sent: BTreeMap<MessageId, Sent>,
    /// Mailboxes by owner.
    pub mailboxes: BTreeMap<Name, Mailbox>,
    /// Writes by what they write.
    pub writes: BTreeMap<Key, Vec<Write>>,
    /// What each instance has said of its places, in order.
    pub registrations: BTreeMap<Name, Vec<Registration>>,
    /// Registries that come and go.
    pub founded: BTreeMap<RegistryName, Founded>,
    /// Late names whose creation was acknowledged on two disks.
    pub created: BTreeSet<Name>,
    /// For each origin, when which greatest stamp was heard.
    stamps: BTreeMap<OriginId, Vec<(u64, Stamp)>>,
    /// The individuals in each list that never changes: a report about a list explains them all.
    pub closures: BTreeMap<Name, BTreeSet<Name>>,
    /// The first names of those who have others at times, by these.
    pub other_names: BTreeMap<Name, Name>,
    /// Moderated lists: their members, and who may post unasked.
    pub forums: BTreeMap<Name, (BTreeSet<Name>, Name)>,
    /// What was said of posts to them.
    pub judged: BTreeMap<MessageId, Judged>,
    /// Mailboxes that lost all their sites, if any did.
    pub sites_lost: Option<SitesLost>,
    /// Whether messages were submitted without an id, so that unknown ids may turn up.
    pub nameless: bool,
    /// What was found.
    pub violations: Vec<Violation>,
}

impl Oracle {
    /// An oracle that knows what never changes.
    pub fn new(world: &World) -> Self {
        let forums = world.forums();
        let lists = forums.iter();
        let lists = lists.map(|(forum, (members, _))| (forum.clone(), members.clone()));
        Self {
            closures: world.closures.clone().into_iter().chain(lists).collect(),
            other_names: world.other_names(),
            forums,
            ..Self::default()
        }
    }

    /// A steward is about to say this of a post.
    pub fn judges(&mut self, message: MessageId, yes: bool) {
        let judged = self.judged.entry(message).or_default();
        judged.perhaps_yes |= yes;
        judged.perhaps_no |= !yes;
    }

    /// A steward was heard.
    pub fn judged(&mut self, message: MessageId, yes: bool) {
        self.judged.entry(message).or_default().surely_yes |= yes;
    }

    /// Whether a member of a moderated list may have got this by it.
    pub(crate) fn is_let_in(&self, sent: &Sent, message: MessageId, member: &Name) -> bool {
        let judged = self.judged.get(&message).copied().unwrap_or_default();
        let mut lists = sent
            .forums
            .iter()
            .filter_map(|forum| self.forums.get(forum));
        lists.any(|(members, owner)| {
            members.contains(member) && (judged.perhaps_yes || sent.from == *owner)
        })
    }

    /// Notes a violation.
    pub fn violation(&mut self, at_us: u64, invariant: &'static str, what: String) {
        self.violations.push(Violation {
            at_us,
            invariant,
            what,
        });
    }

    /// A message is about to be submitted.
    pub fn sends(&mut self, id: MessageId, sent: Sent) {
        self.sent.entry(id).or_insert(sent);
    }

    /// A message was accepted.
    pub fn accepted(&mut self, id: MessageId, accepted: Accepted) {
        if let Some(sent) = self.sent.get_mut(&id) {
            // The better of two yeses counts.
            if sent
                .accepted
                .is_none_or(|before| before.copies < accepted.copies)
            {
                sent.accepted = Some(accepted);
            }
        }
    }

    /// A listing was asked for then and has come.
    pub fn listed(
        &mut self,
        asked_us: u64,
        node: NodeIndex,
        owner: &Name,
        listing: &InboxListing,
        cluster: &Cluster,
    ) {
        let now_us = cluster.now_us();
        let mailbox = self.mailboxes.entry(owner.clone()).or_default();
        let found = invariants::one_copy::listing(mailbox, asked_us, node, listing, cluster)
            .into_iter()
            .map(|what| (invariants::one_copy::NAME, what));
        let found: Vec<_> = found.collect();
        mailbox
            .seen
            .extend(listing.messages.iter().map(|listed| listed.message));
        let strangers = listing.messages.iter().filter_map(|listed| {
            invariants::nobody_else::listed(self, owner, listed)
                .map(|what| (invariants::nobody_else::NAME, what))
        });
        let counted = invariants::quotas::listed(listing);
        let counted = counted.map(|what| (invariants::quotas::NAME, what));
        let found: Vec<_> = found.into_iter().chain(strangers).chain(counted).collect();
        for (invariant, what) in found {
            self.violation(now_us, invariant, format!("{owner}: {what}"));
        }
    }

    /// Messages are about to be deleted.
    pub fn deletes(&mut self, owner: &Name, messages: &[MessageId]) {
        let mailbox = self.mailboxes.entry(owner.clone()).or_default();
        mailbox.perhaps_deleted.extend(messages);
    }

    /// Somebody asks for other sites of a mailbox.
    pub fn moves(&mut self, owner: &Name) {
        let mailbox = self.mailboxes.entry(owner.clone()).or_default();
        mailbox.moves += 1;
    }

    /// Messages were deleted.
    pub fn deleted(&mut self, owner: &Name, messages: &[MessageId], mut deletion: Deletion) {
        let mailbox = self.mailboxes.entry(owner.clone()).or_default();
        deletion.moves = mailbox.moves;
        for message in messages {
            mailbox.deleted.entry(*message).or_insert(deletion);
        }
    }

    /// Something is about to be written.
    pub fn writes(
        &mut self,
        cluster: &Cluster,
        key: Key,
        value: String,
        node: NodeIndex,
    ) -> WriteId {
        let writes = self.writes.entry(key.clone()).or_default();
        writes.push(Write {
            value,
            asked_us: cluster.now_us(),
            node,
            disks_lost: cluster.disks_lost(),
            fate: WriteFate::Unknown,
        });
        WriteId(key, writes.len() - 1)
    }

    /// What became of it.
    pub fn written(&mut self, cluster: &Cluster, id: &WriteId, outcome: &Outcome) {
        let now_us = cluster.now_us();
        let Some(write) = self
            .writes
            .get_mut(&id.0)
            .and_then(|writes| writes.get_mut(id.1))
        else {
            return;
        };
        write.fate = WriteFate::of(outcome, now_us);
        if let WriteFate::Done { stamp, at_us, .. } = write.fate {
            let known = self.stamps.entry(stamp.origin).or_default();
            let found = invariants::stamps_rise::written(known, write.asked_us, stamp);
            let greatest = known.last().map_or(stamp, |(_, last)| (*last).max(stamp));
            known.push((at_us, greatest));
            if let Some(what) = found {
                self.violation(now_us, invariants::stamps_rise::NAME, what);
            }
        }
    }
}

impl Write {
    /// Whether its yes stands for two disks, or for one that was not lost since.
    pub fn must_survive(&self, cluster: &Cluster) -> bool {
        match self.fate {
            WriteFate::Done { copies, .. } => {
                copies >= 2 || cluster.disks_lost() == self.disks_lost
            }
            WriteFate::Unknown | WriteFate::Refused | WriteFate::Nothing => false,
        }
    }
}
