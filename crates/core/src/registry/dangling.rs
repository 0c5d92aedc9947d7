//! Members, owners and friends that point at nobody: listed, and on demand removed.
//!
//! It must never take "not heard of" for "gone" (P7): an entry is gone when a
//! holder of its registry has its tombstone, or when all holders agree that there
//! is none and the membership is older than any update can be on its way. Nothing
//! is removed unasked.

use std::collections::BTreeMap;

use grapevine_model::{
    Answer, CellKey, Dangle, Dangling, ErrorKind, Incarnation, Life, Member, Name, Question,
    Refusal, RegistryName, Reply, Resolution, SpaceId, Speaker,
};

use crate::codec;
use crate::registry::change::Checked;
use crate::registry::database::{list_of, listed_cell};
use crate::registry::directory::{Eval, Held, MOST_QUESTIONS, Memo, Need};
use crate::registry::rename::not_a_registrar;
use crate::replication::push::Change;
use crate::server::Server;

/// Members looked at in one page at most: a question to each registry asks about so many.
const MAX_PAGE: usize = 500;
/// Cells walked over in one page at most, whatever they are: bounds a page over a registry with
/// few groups.
const MOST_WALKED: usize = 50_000;
/// A membership this young may be newer here than its member's creation is at a holder asked.
const SETTLED_MS: u64 = 10 * 60_000;

/// A page, with the cells that could be deleted.
pub(crate) struct Page {
    dangling: Vec<(CellKey, Dangling)>,
    seen: u32,
    next: Option<String>,
}

/// A member under examination.
struct Suspect {
    key: CellKey,
    group: Name,
    member: Name,
    meant: Incarnation,
    settled: bool,
}

impl Server {
    /// A page of what points at nobody, for the registrars.
    pub(crate) fn dangling(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        registry: &RegistryName,
        page: (Option<&str>, u32),
    ) -> Checked<Reply> {
        Ok(self
            .dangling_page(memo, speaker, registry, page)?
            .map(|page| Reply::Dangling {
                dangling: page.dangling.into_iter().map(|(_, what)| what).collect(),
                seen: page.seen,
                next: page.next,
            }))
    }

    /// What removes those of a page that surely point at nobody.
    pub(crate) fn prepare_dangling_remove(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        registry: &RegistryName,
        page: (Option<&str>, u32),
    ) -> Checked<Vec<Change>> {
        if registry.is_system() {
            return Ok(Err(Refusal::not_allowed(format!(
                "{registry} is the system's own: use the registry and server commands"
            ))));
        }
        Ok(self
            .dangling_page(memo, speaker, registry, page)?
            .map(|page| {
                let sure = page.dangling.into_iter().filter(|(_, d)| match d.why {
                    Dangle::Gone | Dangle::Another => true,
                    Dangle::Unknown => false,
                });
                sure.map(|(key, _)| Change::delete(key)).collect()
            }))
    }

    fn dangling_page(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        registry: &RegistryName,
        (after, limit): (Option<&str>, u32),
    ) -> Checked<Page> {
        if !self.is_registrar(memo, speaker, registry)? {
            return Ok(Err(not_a_registrar(registry)));
        }
        let after = match after.map(read_cursor).transpose() {
            Ok(after) => after,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let limit = usize::try_from(limit)
            .unwrap_or(MAX_PAGE)
            .clamp(1, MAX_PAGE);
        let (suspects, next) = match self.suspects(registry, after.as_ref(), limit) {
            Some(found) => found,
            None => return Ok(Err(Refusal::not_found(registry.group()))),
        };
        let lives = self.lives(memo, &suspects)?;
        let mut dangling = Vec::new();
        for suspect in &suspects {
            let life = lives.get(&suspect.meant);
            if let Some(why) = self.judge(memo, suspect, life)?
                && let Some(list) = list_of(suspect.key.field)
            {
                let what = Dangling {
                    group: suspect.group.clone(),
                    list,
                    member: Member::Name(suspect.member.clone()),
                    why,
                };
                dangling.push((suspect.key.clone(), what));
            }
        }
        Ok(Ok(Page {
            dangling,
            seen: u32::try_from(suspects.len()).unwrap_or(u32::MAX),
            next: next.map(|key| cursor(&key)),
        }))
    }

    /// The next members of a registry's groups that point at an entry, and where they end.
    fn suspects(
        &self,
        registry: &RegistryName,
        after: Option<&CellKey>,
        limit: usize,
    ) -> Option<(Vec<Suspect>, Option<CellKey>)> {
        let database = self.database(registry)?;
        let settled_before_ms = self.now.wall_ms.saturating_sub(SETTLED_MS);
        let mut suspects = Vec::new();
        let mut last = None;
        for (walked, (key, cell)) in database.cells_after(None, after).enumerate() {
            if suspects.len() >= limit || walked >= MOST_WALKED {
                return Some((suspects, last));
            }
            last = Some(key.clone());
            let Some(listed) = listed_cell(key, cell) else {
                continue;
            };
            let (Some(meant), Ok(Member::Name(member))) =
                (listed.incarnation, listed.spelling.parse())
            else {
                continue;
            };
            let group = database.entry(Incarnation(key.item));
            if let Some(group) = group.and_then(|entry| entry.name()) {
                suspects.push(Suspect {
                    key: key.clone(),
                    group,
                    member,
                    meant,
                    settled: cell.stamp.time.wall_ms() < settled_before_ms,
                });
            }
        }
        Some((suspects, None))
    }

    /// What became of them: one question to each other registry.
    fn lives(&self, memo: &Memo, suspects: &[Suspect]) -> Eval<BTreeMap<Incarnation, Life>> {
        let mut by_registry: BTreeMap<&RegistryName, Vec<Incarnation>> = BTreeMap::new();
        for suspect in suspects {
            let asked = by_registry.entry(suspect.member.registry()).or_default();
            asked.push(suspect.meant);
        }
        let mut lives = BTreeMap::new();
        for (registry, mut incarnations) in by_registry {
            incarnations.sort();
            incarnations.dedup();
            let answer = match self.held(registry) {
                Held::Here => self.lives_here(registry, &incarnations),
                // The registry is no more, if the holders of `gv` agree on that.
                Held::Unknown => {
                    let gone = match self.all_agree(&RegistryName::gv()) {
                        true => Life::Absent,
                        false => Life::Unheard,
                    };
                    Answer::Lives(vec![gone; incarnations.len()])
                }
                Held::Elsewhere => {
                    let question = Question::Living {
                        registry: registry.clone(),
                        incarnations: incarnations.clone(),
                    };
                    match memo.get(&question) {
                        Some(answer) => answer.clone(),
                        None if memo.len() >= MOST_QUESTIONS => Answer::Unavailable,
                        None => return Err(Need::Ask(Box::new(question))),
                    }
                }
            };
            if let Answer::Lives(told) = answer {
                lives.extend(incarnations.into_iter().zip(told));
            }
        }
        Ok(lives)
    }

    /// Why a member dangles; none if it does not.
    fn judge(&self, memo: &Memo, suspect: &Suspect, life: Option<&Life>) -> Eval<Option<Dangle>> {
        match life {
            Some(Life::Lives(_) | Life::Aside) => return Ok(None),
            Some(Life::Gone) => {}
            Some(Life::Absent) if suspect.settled => {}
            Some(Life::Absent | Life::Unheard) | None => return Ok(Some(Dangle::Unknown)),
        }
        Ok(Some(match self.resolve(memo, &suspect.member) {
            Ok(Resolution::NoSuch) => Dangle::Gone,
            Ok(Resolution::Individual { .. } | Resolution::Group { .. }) => Dangle::Another,
            Err(Need::Ask(question)) if memo.len() < MOST_QUESTIONS => {
                return Err(Need::Ask(question));
            }
            Err(news @ Need::News(_)) => return Err(news),
            // That it is gone is sure; only who has the name now is not.
            Err(Need::Ask(_) | Need::Unavailable(_)) => Dangle::Gone,
        }))
    }

    /// What became of entries of a registry held here.
    pub(crate) fn lives_here(
        &self,
        registry: &RegistryName,
        incarnations: &[Incarnation],
    ) -> Answer {
        let Some(database) = self.database(registry) else {
            return Answer::Unavailable;
        };
        if incarnations.len() > MAX_PAGE {
            return Answer::Unavailable;
        }
        let all_agree = self.all_agree(registry);
        let life = |is: &Incarnation| match database.entry(*is) {
            Some(entry) => match entry.name().filter(|_| database.has_its_name(&entry)) {
                Some(name) => Life::Lives(name),
                None => Life::Aside,
            },
            None if database.is_deleted(*is) => Life::Gone,
            None if all_agree => Life::Absent,
            None => Life::Unheard,
        };
        Answer::Lives(incarnations.iter().map(life).collect())
    }

    /// Whether all holders of a registry are heard and had the same at the last comparison.
    fn all_agree(&self, registry: &RegistryName) -> bool {
        let partners = self.partners(&SpaceId::Registry(registry.clone()));
        partners.iter().all(|partner| {
            self.is_up(partner) && self.peers.get(partner).is_some_and(|p| p.behind == 0)
        })
    }
}

/// Where a page ended, for the client to hand in again.
fn cursor(key: &CellKey) -> String {
    let bytes = codec::bare_cell_key(key);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_cursor(text: &str) -> Result<CellKey, Refusal> {
    let bad = || Refusal::new(ErrorKind::Invalid, "this is not where a page has ended");
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(bad());
    }
    let bytes: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect();
    codec::read_cell_key(&bytes.ok_or_else(bad)?).map_err(|_| bad())
}
