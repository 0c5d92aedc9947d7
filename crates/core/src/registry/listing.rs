//! The entries of a registry, page by page, in order of their names: what exports and directory clients read.
//!
//! Must never hold the server up: a page is bounded in entries and in octets, and costs the same for groups of any size. Seen by
//! whoever may see an entry: anyone who is logged in, nobody else. An entry that stands aside in a conflict is in no page, as
//! it answers to no name.

use grapevine_model::{EntryView, ErrorKind, Member, Refusal, RegistryName, Reply, Speaker};

use crate::server::Server;

/// Most entries in one page: some milliseconds of the server's time.
const MOST_ENTRIES: usize = 500;
/// Most octets in one page, roughly: an answer between servers has at most 4 MiB, and an entry with everything at its limit
/// has about 70 KiB.
const MOST_BYTES: usize = 512 * 1024;

impl Server {
    /// The next page of a registry that is held here.
    pub(crate) fn entries_page(
        &self,
        speaker: &Speaker,
        registry: &RegistryName,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Reply, Refusal> {
        may_read(speaker)?;
        let Some(database) = self.database(registry) else {
            return Err(Refusal::unavailable(format!(
                "this server does not hold {registry}"
            )));
        };
        let limit = usize::try_from(limit)
            .unwrap_or(MOST_ENTRIES)
            .clamp(1, MOST_ENTRIES);
        let after = after.map(str::to_lowercase);
        let mut rest = database.entries_after(after.as_deref()).peekable();
        let mut entries: Vec<EntryView> = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        while entries.len() < limit && bytes < MOST_BYTES {
            let Some(entry) = rest.next() else { break };
            last = Some(entry.folded());
            // An entry that a newer release named as this one can't is passed over, not the page ended.
            let Some(view) = self.view(&entry) else {
                continue;
            };
            bytes += weight(&view);
            entries.push(view);
        }
        let next = rest
            .peek()
            .is_some()
            .then_some(last)
            .flatten()
            .map(str::to_owned);
        Ok(Reply::Entries { entries, next })
    }

    /// The entry of a registry that is held here which has a number for POSIX systems.
    pub(crate) fn entry_of_number(
        &self,
        speaker: &Speaker,
        registry: &RegistryName,
        number: u32,
    ) -> Result<Reply, Refusal> {
        may_read(speaker)?;
        self.database(registry)
            .and_then(|database| {
                let entry = database.entry_of_number(number)?;
                self.view(&entry)
            })
            .map(|view| Reply::Entry(Box::new(view)))
            .ok_or_else(|| Refusal::not_found(format!("number {number} in {registry}")))
    }
}

/// Whether somebody may see entries.
pub(super) fn may_read(speaker: &Speaker) -> Result<(), Refusal> {
    match speaker {
        Speaker::Individual { .. } | Speaker::Operator | Speaker::Server(_) => Ok(()),
        Speaker::Anonymous | Speaker::Neighbour => {
            Err(Refusal::new(ErrorKind::NotAuthenticated, "log in first"))
        }
    }
}

/// About how many octets an entry takes on the wire.
fn weight(view: &EntryView) -> usize {
    let members = |list: &[Member]| list.iter().map(|member| member.key().len()).sum::<usize>();
    let names = view.forward.iter().chain(&view.aliases);
    let sites: usize = view.connect_sites.iter().map(String::len).sum();
    100 + view.remark.len()
        + names.map(|name| name.key().len()).sum::<usize>()
        + sites
        + members(&view.owners)
        + members(&view.friends)
}
