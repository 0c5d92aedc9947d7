//! Where a service is: the live sites of an individual, or of the members of a group, over nested
//! groups and registries.
//!
//! Guards P7: a pool of which a part can't be asked is answered as partial; if nothing else is
//! known it is unavailable, never empty. Expired leases and members whose name has come to mean
//! somebody else are not given.

use std::collections::BTreeSet;

use grapevine_model::{
    Answer, EntryKind, ErrorKind, FoundSite, GroupList, Incarnation, Located, MAX_FOUND_SITES,
    Member, Name, Question, Refusal, RegistryName, Reply, SiteDoor,
};

use crate::registry::directory::{Eval, Held, MOST_QUESTIONS, Memo, Need};
use crate::server::Server;

/// Members that one look at a pool may visit at one server: a pool is no mailing list.
const MOST_POOL_MEMBERS: usize = 10_000;

/// A member, and what its name meant.
type Pooled = (Name, Option<Incarnation>);

/// What one server finds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) sites: Vec<FoundSite>,
    /// Members of registries outside the reach of the walk.
    pub(crate) elsewhere: BTreeSet<(Name, Incarnation)>,
    /// More members than a pool may have.
    pub(crate) too_many: bool,
}

impl Server {
    /// The live sites of a name held here, within one registry or all that are held.
    pub(crate) fn sites_here(&self, from: Pooled, within: Option<&RegistryName>) -> Found {
        let mut found = Found::default();
        let mut visited = BTreeSet::new();
        let mut frontier = vec![from];
        while let Some((name, meant)) = frontier.pop() {
            if !visited.insert(name.clone()) {
                continue;
            }
            if visited.len() > MOST_POOL_MEMBERS {
                found.too_many = true;
                return found;
            }
            let here = within.is_none_or(|within| within == name.registry());
            // One that may not be read now, being cut off, is asked elsewhere.
            let readable = || self.may_read(name.registry()).is_ok();
            match self.held(name.registry()) {
                Held::Here if here && readable() => {}
                Held::Here | Held::Elsewhere => {
                    found
                        .elsewhere
                        .extend(meant.map(|meant| (name.clone(), meant)));
                    continue;
                }
                Held::Unknown => continue,
            }
            let Some(entry) = self.entry(&name).filter(|e| Self::is_meant(e, meant)) else {
                continue;
            };
            match entry.kind() {
                EntryKind::Individual => {
                    let Some(spelled) = entry.name() else {
                        continue;
                    };
                    let now_ms = self.fastest_clock_ms();
                    let sites = self.live_sites(&entry).into_iter().map(|site| FoundSite {
                        name: spelled.clone(),
                        door: site.door,
                        offer: site.offer,
                        lease_ms: site.until_ms.map(|until| until.saturating_sub(now_ms)),
                    });
                    found.sites.extend(sites);
                }
                EntryKind::Group => {
                    let room = MOST_POOL_MEMBERS.saturating_sub(visited.len());
                    let members = entry.members(GroupList::Members, None);
                    let mut counted = 0;
                    // A wildcard names nobody in particular, an outside address no entry.
                    for (member, listed) in members.take(room + 1) {
                        counted += 1;
                        if let (Member::Name(member), Some(meant)) = (member, listed.incarnation) {
                            frontier.push((member, Some(meant)));
                        }
                    }
                    if counted > room {
                        found.too_many = true;
                        return found;
                    }
                }
            }
        }
        found
    }

    /// Answers another server: what one registry held here has of a pool.
    pub(crate) fn sites_of_member(&self, name: &Name, incarnation: Incarnation) -> Answer {
        let found = self.sites_here((name.clone(), Some(incarnation)), Some(name.registry()));
        if found.too_many {
            return Answer::Unavailable;
        }
        Answer::Sites {
            found: found.sites,
            elsewhere: found.elsewhere.into_iter().collect(),
        }
    }

    /// Where is a service now? Its registry is held here.
    pub(crate) fn find(
        &self,
        memo: &Memo,
        name: &Name,
        door: Option<&SiteDoor>,
        known: Option<u64>,
    ) -> Eval<Result<Reply, Refusal>> {
        if self.entry(name).is_none() {
            return Ok(Err(Refusal::not_found(name)));
        }
        let too_many = || {
            Ok(Err(Refusal::new(
                ErrorKind::TooLarge,
                format!(
                    "{name} is no pool: at most {MOST_POOL_MEMBERS} members and {MAX_FOUND_SITES} sites"
                ),
            )))
        };
        let first = self.sites_here((name.clone(), None), None);
        if first.too_many {
            return too_many();
        }
        let mut sites = first.sites;
        let mut asked = BTreeSet::new();
        let mut frontier: Vec<(Name, Incarnation)> = first.elsewhere.into_iter().collect();
        let mut partial = None;
        while let Some((member, incarnation)) = frontier.pop() {
            if !asked.insert((member.clone(), incarnation)) {
                continue;
            }
            let registry = member.registry();
            if self.held(registry) == Held::Here && self.may_read(registry).is_ok() {
                let more = self.sites_here((member, Some(incarnation)), None);
                if more.too_many {
                    return too_many();
                }
                sites.extend(more.sites);
                frontier.extend(more.elsewhere);
                continue;
            }
            let question = Question::Sites {
                name: member.clone(),
                incarnation,
            };
            match memo.get(&question) {
                Some(Answer::Sites { found, elsewhere }) => {
                    // A holder is believed about its own registry only.
                    let its_own = |site: &&FoundSite| site.name.registry() == member.registry();
                    sites.extend(found.iter().filter(its_own).cloned());
                    frontier.extend(elsewhere.iter().cloned());
                }
                None if memo.len() < MOST_QUESTIONS => return Err(Need::Ask(Box::new(question))),
                Some(_) | None => partial = Some(member),
            }
        }
        if let Some(door) = door {
            sites.retain(|site| site.door.serves(door.as_str()));
        }
        sites.sort_by(|a, b| rank(a).cmp(&rank(b)));
        sites.dedup_by(|a, b| rank(a) == rank(b));
        if sites.len() > MAX_FOUND_SITES {
            return too_many();
        }
        match partial {
            Some(member) if sites.is_empty() => Err(Need::Unavailable(format!(
                "no holder of {} can be asked about {member}",
                member.registry()
            ))),
            partial => {
                let version = version_of(&sites, partial.is_some());
                if known == Some(version) {
                    return Ok(Ok(Reply::Unchanged));
                }
                Ok(Ok(Reply::Located(Located {
                    sites,
                    partial: partial.is_some(),
                    version,
                })))
            }
        }
    }
}

/// The order of an answer: by priority, the same at every server.
fn rank(site: &FoundSite) -> (u16, &Name, &SiteDoor, &grapevine_model::Place) {
    (
        site.offer.priority,
        &site.name,
        &site.door,
        &site.offer.place,
    )
}

/// Equal when the sites are, whatever is left of their leases.
fn version_of(sites: &[FoundSite], partial: bool) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[u8::from(partial)]);
    for site in sites {
        let text = format!(
            "{} {} {} {} {} {}\n",
            site.name.key(),
            site.door,
            site.offer.place,
            site.offer.priority,
            site.offer.weight,
            site.offer.note
        );
        hasher.update(text.as_bytes());
    }
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_be_bytes(first)
}
