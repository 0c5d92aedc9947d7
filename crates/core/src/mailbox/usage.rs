//! How much each mailbox here holds, and whether another message fits into it.
//!
//! Counted with each change, and stored in the commit of that change: a deposit never walks a mailbox.
//! Must never refuse what is there already, nor what another site has taken: a quota is looked at
//! where a message first comes in. Each site counts for itself, so both sides of a partition may fill
//! a mailbox once; it never holds more than its quota times its sites (docs/storage.md).

use grapevine_model::{
    BodyInfo, Cell, EntryKind, Field, Incarnation, Name, OverQuotaPolicy, Quota, RegistryName,
    SpaceId, Usage,
};

use crate::codec;
use crate::replication::space::Space;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Why a message does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Full {
    /// For a person: nothing about how much is there, since strangers read it.
    pub(crate) why: String,
    /// Whether it is worth another try.
    pub(crate) policy: OverQuotaPolicy,
}

/// What a cell of a mailbox adds to its usage.
fn weight(field: u16, cell: Option<&Cell>) -> Option<Result<Usage, Damaged>> {
    let value = cell.filter(|_| field == Field::Message.number())?;
    // What follows the body in it weighs nothing.
    let body = codec::decode::<BodyInfo>(value.value.as_ref()?);
    Some(body.map(|body| Usage::of(body.len)))
}

impl Server {
    /// A cell of a mailbox is about to be replaced: its usage follows.
    pub(super) fn usage_changes(
        &mut self,
        inbox: Incarnation,
        field: u16,
        (old, new): (Option<&Cell>, &Cell),
    ) {
        let space = Self::mailbox_space(inbox);
        let (less, more) = (weight(field, old), weight(field, Some(new)));
        if less.is_none() && more.is_none() {
            return;
        }
        let Some(usage) = self.spaces.get_mut(&space).map(|s| &mut s.row.usage) else {
            return;
        };
        *usage = match (*usage, less.transpose(), more.transpose()) {
            (Some(usage), Ok(less), Ok(more)) => Some(
                usage
                    .minus(less.unwrap_or_default())
                    .plus(more.unwrap_or_default()),
            ),
            // Counted anew when it is needed.
            (None, _, _) | (_, Err(_), _) | (_, _, Err(_)) => None,
        };
        self.save_space(&space);
    }

    /// The count can't be trusted any more.
    pub(crate) fn usage_is_unknown(&mut self, space: &SpaceId) {
        if let Some(state) = self.spaces.get_mut(space)
            && state.row.usage.take().is_some()
        {
            self.save_space(space);
        }
    }

    /// What a mailbox here holds; walks it once where there is no count.
    pub(crate) fn usage_of(&mut self, space: &SpaceId) -> Result<Usage, Damaged> {
        match self.spaces.get(space).map(|state| state.row.usage) {
            None => return Ok(Usage::default()),
            Some(Some(usage)) => return Ok(usage),
            Some(None) => {}
        }
        let prefix = codec::space_prefix(space);
        let mut usage = Usage::default();
        for (key, value) in self.all_rows(Table::Cells, &prefix, &codec::after_prefix(&prefix))? {
            let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
            // What can't be read is counted when a partner gives it back.
            if let Ok(cell) = codec::decode::<Cell>(&value)
                && let Some(Ok(more)) = weight(key.field, Some(&cell))
            {
                usage = usage.plus(more);
            }
        }
        if let Some(state) = self.spaces.get_mut(space) {
            state.row.usage = Some(usage);
        }
        self.save_space(space);
        Ok(usage)
    }

    /// A mailbox's usage, owner or row may have changed: its registry's sum follows.
    pub(crate) fn count_usage(&mut self, space: &SpaceId) {
        let Some(state) = self.spaces.get_mut(space) else {
            return;
        };
        let counted = match (space, &state.row.owner, state.row.usage) {
            (SpaceId::Mailbox(_), Some(owner), Some(usage)) => Some((owner.registry(), usage)),
            (SpaceId::Mailbox(_) | SpaceId::Registry(_), _, _) => None,
        };
        if counted == state.usage_counted.as_ref().map(|(r, usage)| (r, *usage)) {
            return;
        }
        let counted = counted.map(|(registry, usage)| (registry.clone(), usage));
        let before = std::mem::replace(&mut state.usage_counted, counted.clone());
        self.uncount_usage(before);
        if let Some((registry, usage)) = counted {
            let sum = self.registry_usage.entry(registry).or_default();
            *sum = sum.plus(usage);
        }
    }

    /// A mailbox is no longer counted.
    pub(crate) fn uncount_usage(&mut self, counted: Option<(RegistryName, Usage)>) {
        if let Some((registry, usage)) = counted
            && let Some(sum) = self.registry_usage.get_mut(&registry)
        {
            *sum = sum.minus(usage);
            if *sum == Usage::default() {
                self.registry_usage.remove(&registry);
            }
        }
    }

    /// How much a mailbox may hold: from the registry where it is held here, else as a holder last said.
    pub(crate) fn quota_of(&self, inbox: Incarnation, registry: &RegistryName) -> Quota {
        match self.database(registry) {
            Some(database) => database
                .entry(inbox)
                .filter(|entry| entry.kind() == EntryKind::Individual)
                .map(|entry| entry.quota())
                .unwrap_or_default(),
            None => self
                .spaces
                .get(&Self::mailbox_space(inbox))
                .map(|state| state.row.quota)
                .unwrap_or_default(),
        }
    }

    /// Whether so many more octets do not fit into a mailbox of this site.
    pub(crate) fn lacks_room(
        &mut self,
        inbox: Incarnation,
        owner: &Name,
        more: Usage,
    ) -> Result<Option<Full>, Damaged> {
        let registry = owner.registry();
        let quota = self.quota_of(inbox, registry);
        let policy = self.policy(registry).over_quota;
        if quota != Quota::default() {
            let usage = self.usage_of(&Self::mailbox_space(inbox))?;
            if !quota.allows(usage.plus(more)) {
                return Ok(Some(Full {
                    why: format!("the inbox of {} is full", owner.without_detail()),
                    policy,
                }));
            }
        }
        let quota = self.policy(registry).quota;
        let usage = self.registry_usage.get(registry).copied();
        if quota.allows(usage.unwrap_or_default().plus(more)) {
            return Ok(None);
        }
        Ok(Some(Full {
            why: format!("the inboxes of {registry} together are full"),
            policy,
        }))
    }

    /// Whether a mailbox has no room for anything.
    pub(super) fn has_no_room(&self, space: &SpaceId, state: &Space) -> bool {
        let (SpaceId::Mailbox(inbox), Some(owner)) = (space, &state.row.owner) else {
            return false;
        };
        let quota = self.quota_of(*inbox, owner.registry());
        quota.is_used_up(state.row.usage.unwrap_or_default())
    }
}
