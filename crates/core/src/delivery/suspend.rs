//! Outside members of lists whose addresses are dead: days on which copies for them failed are counted, and
//! then nothing more is sent to them until an owner says so. Nobody is removed by a machine.
//!
//! The numbers are those of Mailman (`bounce_score_threshold` 5, one bounce counted a day,
//! `bounce_info_stale_after` 7 days). A day is an element of its own: two holders that count apart have
//! counted both after the merge, and one day once. The suspension is one cell a member; the later word of
//! "suspended" and "resumed" wins.

use std::collections::BTreeSet;

use grapevine_model::{Field, GroupList, Member, MessageId, Name, SpaceId, Suspended};

use crate::codec;
use crate::delivery::custody::OfList;
use crate::registry::database::{Entry, element};
use crate::registry::directory::Held;
use crate::replication::push::Change;
use crate::server::Server;
use crate::tables::Damaged;

/// Days on which copies failed, before no more is sent (Mailman: `bounce_score_threshold`).
pub const SUSPEND_AFTER_DAYS: usize = 5;
/// Without a failure for longer than this, those before count no more (Mailman: `bounce_info_stale_after`).
pub const FAILURES_STALE_DAYS: u64 = 7;
const DAY_MS: u64 = 24 * 3_600_000;
/// The longest reason kept: a reply line of SMTP has 512 octets.
const MOST_REASON_CHARS: usize = 300;

impl Server {
    /// A copy of a list for an outside member failed for good.
    pub(crate) fn count_failure(
        &mut self,
        message: MessageId,
        key: &str,
        status: &str,
        why: &str,
    ) -> Result<(), Damaged> {
        let custody = self.custodies.get(&message);
        let pending = custody.and_then(|custody| custody.row.pending.get(key));
        let Some((of, member)) = pending.and_then(|p| Some((p.list.clone()?, p.name.clone())))
        else {
            return Ok(());
        };
        if !speaks_of_the_address(status) || self.held(member.registry()) != Held::Unknown {
            return Ok(());
        }
        let changes = self.failure_changes(&of, &member, why);
        let suspended = (changes.iter())
            .any(|change| change.key.field == Field::Suspended.number() && change.value.is_some());
        if changes.is_empty() {
            return Ok(());
        }
        let space = SpaceId::Registry(of.list.registry().clone());
        self.write(&space, changes)?;
        self.space_changed(&space);
        if suspended {
            let text = format!("{member} gets no more copies of {}: {why}", of.list);
            self.note_info(text, Some(message));
            // Its owners hear of it with this failure, whatever the sender wanted to hear.
            let custody = self.custodies.get_mut(&message);
            if let Some(pending) = custody.and_then(|c| c.row.pending.get_mut(key)) {
                pending.notify.failure = true;
            }
        }
        Ok(())
    }

    /// What a report to a list's owners adds about a member who is suspended by now.
    pub(super) fn suspension_note(&self, of: Option<&OfList>, member: &Name) -> Option<String> {
        let of = of?;
        let entry = (self.database(of.list.registry())?).entry(of.incarnation)?;
        entry.is_suspended(&member.key()).then(|| {
            format!(
                "copies failed on {SUSPEND_AFTER_DAYS} days: no more are sent to {member} until \
                 `grapevine group resume {} {member}`",
                of.list
            )
        })
    }

    fn failure_changes(&self, of: &OfList, member: &Name, why: &str) -> Vec<Change> {
        let key = Member::Name(member.clone()).key();
        let database = self.database(of.list.registry());
        let Some(entry) = database.and_then(|database| database.entry(of.incarnation)) else {
            return Vec::new();
        };
        let listed = entry.listed(GroupList::Members, &key);
        let outside = listed.is_some_and(|listed| listed.incarnation.is_none());
        let today = self.now.wall_ms / DAY_MS;
        let days = entry.failed_days(&key);
        if !outside || entry.is_suspended(&key) || days.contains(&today) {
            return Vec::new();
        }
        let mut counted: BTreeSet<u64> = [today].into();
        let mut next = today;
        for day in days.iter().rev().filter(|day| **day < today) {
            if next - day > FAILURES_STALE_DAYS {
                break;
            }
            counted.insert(*day);
            next = *day;
        }
        let why: String = why.chars().take(MOST_REASON_CHARS).collect();
        let of_day =
            |day: &u64| element(entry.incarnation, Field::FailedDay, day_element(&key, *day));
        if counted.len() >= SUSPEND_AFTER_DAYS {
            let value = codec::encode(&(member.to_string(), self.now.wall_ms, why));
            let suspended = element(entry.incarnation, Field::Suspended, key.as_str());
            let gone = days.iter().map(|day| Change::delete(of_day(day)));
            return gone.chain([Change::put(suspended, value)]).collect();
        }
        let stale = days.iter().filter(|day| !counted.contains(day));
        let gone = stale.map(|day| Change::delete(of_day(day)));
        gone.chain([Change::put(of_day(&today), codec::encode(&why))])
            .collect()
    }
}

impl Entry<'_> {
    /// Whether nothing is sent to an outside member.
    pub(crate) fn is_suspended(&self, member: &str) -> bool {
        self.cell(Field::Suspended, member.as_bytes())
            .is_some_and(|cell| cell.value.is_some())
    }

    /// The outside members to whom nothing is sent.
    pub(crate) fn suspended(&self) -> impl Iterator<Item = Suspended> {
        self.list(Field::Suspended, None).filter_map(|(_, value)| {
            let (member, since_ms, reason): (String, u64, String) = codec::decode(value).ok()?;
            Some(Suspended {
                member: member.parse().ok()?,
                since_ms,
                reason,
            })
        })
    }

    /// The days on which copies for a member failed.
    fn failed_days(&self, member: &str) -> BTreeSet<u64> {
        let before = day_prefix(member);
        let days = self.list(Field::FailedDay, Some(&before));
        days.take_while(|(element, _)| element.starts_with(&before))
            .filter_map(|(element, _)| {
                let day = element.get(before.len()..)?;
                Some(u64::from_be_bytes(day.try_into().ok()?))
            })
            .collect()
    }
}

/// Nothing that failed counts any more, and copies are sent again.
pub(crate) fn forget_failures(entry: &Entry<'_>, member: &str) -> Vec<Change> {
    let days = entry.failed_days(member);
    let days = days.iter().map(|day| {
        let key = day_element(member, *day);
        Change::delete(element(entry.incarnation, Field::FailedDay, key))
    });
    let suspended = element(entry.incarnation, Field::Suspended, member);
    let changes = days.chain(
        entry
            .is_suspended(member)
            .then(|| Change::delete(suspended)),
    );
    changes.collect()
}

fn day_prefix(member: &str) -> Vec<u8> {
    // No name holds a NUL: no member's key begins with another's and one.
    let mut prefix = member.as_bytes().to_vec();
    prefix.push(0);
    prefix
}

fn day_element(member: &str, day: u64) -> Vec<u8> {
    let mut element = day_prefix(member);
    element.extend_from_slice(&day.to_be_bytes());
    element
}

/// Whether a failure is the address's (RFC 3463 section 3) and not the message's: its size (5.2.3, 5.3),
/// its content (5.6), what somebody thinks of it (5.7).
fn speaks_of_the_address(status: &str) -> bool {
    let about_the_message = ["5.3.", "5.6.", "5.7."]
        .iter()
        .any(|of| status.starts_with(of));
    !about_the_message && status != "5.2.3"
}
