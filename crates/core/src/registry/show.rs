//! An entry as it is shown: everything but its secrets.

use grapevine_model::{
    EntryView, Field, GroupList, Incarnation, Member, PostingRule, Quota, Speaker, Suspended, Usage,
};

use crate::codec;
use crate::registry::database::{Entry, list_field};
use crate::registry::directory::{Eval, Memo, Need};
use crate::server::Server;

/// Owners and friends shown with an entry.
const MAX_SHOWN: usize = 100;

impl Server {
    pub(crate) fn view(&self, entry: &Entry<'_>) -> Option<EntryView> {
        let name = entry.name()?;
        let database = self.database(name.registry())?;
        // Most entries have few of these, and each look for one that is not there costs as much as for one that is.
        let fields = entry.fields();
        let list = |list| -> Vec<Member> {
            if !fields.has(list_field(list)) {
                return Vec::new();
            }
            entry
                .members(list, None)
                .take(MAX_SHOWN)
                .map(|(member, listed)| self.shown(member, listed.incarnation))
                .collect()
        };
        let sites = fields.has(Field::InboxSite).then(|| entry.sites());
        let forward = fields.has(Field::Forward).then(|| entry.forward());
        let aliases = fields.has(Field::Alias).then(|| entry.aliases());
        let connect = (fields.has(Field::ConnectSite)).then(|| self.shown_sites(entry));
        let former = fields.has(Field::FormerName).then(|| entry.former());
        let quota = fields.has(Field::Quota).then(|| entry.quota());
        let aside = database.aside(name.folded());
        Some(EntryView {
            kind: entry.kind(),
            incarnation: entry.incarnation,
            created_ms: entry.identity.created.time.wall_ms(),
            number: entry.posix_number(),
            remark: entry
                .single(Field::Remark)
                .map(|r| String::from_utf8_lossy(r).into_owned())
                .unwrap_or_default(),
            sites: sites.unwrap_or_default(),
            forward: forward.unwrap_or_default(),
            aliases: aliases.unwrap_or_default(),
            connect_sites: connect.unwrap_or_default(),
            members: entry.member_count(),
            owners: list(GroupList::Owners),
            friends: list(GroupList::Friends),
            conflict: !database.has_its_name(entry),
            former: former.unwrap_or_default(),
            quota: quota.unwrap_or_default(),
            usage: None,
            posting: entry.posting(),
            suspended: Vec::new(),
            aside: u32::try_from(aside.len()).unwrap_or(u32::MAX),
            name,
        })
    }

    /// The outside members of a group to whom nothing is sent, for who may change it.
    pub(super) fn shown_suspended(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        entry: &Entry<'_>,
    ) -> Eval<Vec<Suspended>> {
        let (Some(name), Some(_)) = (entry.name(), entry.suspended().next()) else {
            return Ok(Vec::new());
        };
        match self.is_owner(memo, speaker, &name) {
            Ok(true) => Ok(entry.suspended().take(MAX_SHOWN).collect()),
            Ok(false) | Err(Need::Unavailable(_)) => Ok(Vec::new()),
            Err(need) => Err(need),
        }
    }

    /// What somebody's inbox holds, for himself and his registrars, where it is here.
    pub(super) fn shown_usage(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        entry: &Entry<'_>,
    ) -> Eval<Option<Usage>> {
        let space = Self::mailbox_space(entry.incarnation);
        let here = entry.sites().contains(&self.config.server);
        let (true, Some(name)) = (here, entry.name()) else {
            return Ok(None);
        };
        let usage = match self.spaces.get(&space) {
            Some(state) => state.row.usage,
            None => Some(Usage::default()),
        };
        if usage.is_none() || self.is_self(speaker, entry.incarnation) {
            return Ok(usage);
        }
        match self.is_registrar(memo, speaker, name.registry()) {
            Ok(true) => Ok(usage),
            Ok(false) | Err(Need::Unavailable(_)) => Ok(None),
            Err(need) => Err(need),
        }
    }
}

/// Cells of one field that are passed one by one, before the rest of them is leapt over.
const PASSED_BY_STEP: usize = 4;

/// The fields, of those below 64, that an entry has cells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Fields(u64);

impl Fields {
    fn has(self, field: Field) -> bool {
        1_u64
            .checked_shl(u32::from(field.number()))
            .is_some_and(|bit| self.0 & bit != 0)
    }
}

impl Entry<'_> {
    /// Which fields there are: costs as much as there are, and no more for those with many cells.
    fn fields(&self) -> Fields {
        let mut fields = 0;
        let mut from = 0;
        'leaps: loop {
            let mut passed = 0;
            for field in self.fields_from(from) {
                let Some(bit) = 1_u64.checked_shl(u32::from(field)) else {
                    break 'leaps;
                };
                passed = if fields & bit == 0 { 0 } else { passed + 1 };
                fields |= bit;
                if passed >= PASSED_BY_STEP {
                    from = field.saturating_add(1);
                    continue 'leaps;
                }
            }
            break;
        }
        Fields(fields)
    }

    /// How much its inbox may hold.
    pub(crate) fn quota(&self) -> Quota {
        self.single(Field::Quota)
            .and_then(|value| codec::decode(value).ok())
            .unwrap_or_default()
    }

    /// Which entry the rule of posting means, where it names a group: a name that is used again is another one's.
    pub(crate) fn posting_meant(&self) -> Option<Incarnation> {
        let value = self.single(Field::Posting)?;
        let (_, meant): (PostingRule, Option<Incarnation>) = codec::decode(value).ok()?;
        meant
    }

    /// Who may post to it. A rule that this release can't read is not taken for "anyone".
    pub(crate) fn posting(&self) -> PostingRule {
        match self.single(Field::Posting) {
            Some(value) => codec::decode(value).unwrap_or(PostingRule::Owners),
            None => PostingRule::Anyone,
        }
    }
}

#[cfg(test)]
mod tests {
    use grapevine_model::{Cell, CellKey, Hlc, OriginId, Stamp};
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Identity;
    use crate::registry::database::Database;

    proptest! {
        #[test]
        fn the_fields_of_an_entry_are_those_of_its_cells(
            cells in prop::collection::btree_set((2u16..90, 0u8..12), 0..80),
            neighbours in prop::collection::btree_set(2u16..90, 0..5),
        ) {
            let stamp = Stamp { time: Hlc(1), origin: OriginId(1) };
            let mut database = Database::new("pa".parse().unwrap());
            let mut put = |item, field, element: Vec<u8>, value| {
                let cell = Cell { stamp, dot: stamp, value: Some(value) };
                database.merge(&CellKey { item, field, element }, &cell);
            };
            for (item, simple) in [(7, "a"), (8, "b")] {
                let identity = Identity {
                    kind: grapevine_model::EntryKind::Group,
                    simple: simple.into(),
                    created: stamp,
                    named: stamp,
                };
                put(item, 1, Vec::new(), codec::encode(&identity));
            }
            for (field, element) in &cells {
                put(7, *field, vec![*element], vec![1]);
            }
            for field in neighbours {
                put(8, field, vec![0], vec![1]);
            }
            let fields = database.entry(Incarnation(7)).unwrap().fields();
            let below = cells.iter().map(|(field, _)| *field).filter(|field| *field < 64);
            let expected = below.fold(2, |all, field| all | 1u64 << field);
            prop_assert_eq!(fields, Fields(expected));
        }
    }
}
