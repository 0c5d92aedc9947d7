//! An entry as it is shown: everything but its secrets.

use grapevine_model::{
    EntryView, Field, GroupList, Incarnation, Member, PostingRule, Quota, Speaker, Usage,
};

use crate::codec;
use crate::registry::database::Entry;
use crate::registry::directory::{Eval, Memo, Need};
use crate::server::Server;

/// Owners and friends shown with an entry.
const MAX_SHOWN: usize = 100;

impl Server {
    pub(crate) fn view(&self, entry: &Entry<'_>) -> Option<EntryView> {
        let name = entry.name()?;
        let database = self.database(name.registry())?;
        let list = |list| -> Vec<Member> {
            entry
                .members(list, None)
                .take(MAX_SHOWN)
                .map(|(member, listed)| self.shown(member, listed.incarnation))
                .collect()
        };
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
            sites: entry.sites(),
            forward: entry.forward(),
            aliases: entry.aliases(),
            connect_sites: self.shown_sites(entry),
            members: entry.member_count(),
            owners: list(GroupList::Owners),
            friends: list(GroupList::Friends),
            conflict: !database.has_its_name(entry),
            former: entry.former(),
            quota: entry.quota(),
            usage: None,
            posting: entry.posting(),
            aside: u32::try_from(aside.len()).unwrap_or(u32::MAX),
            name,
        })
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

impl Entry<'_> {
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
