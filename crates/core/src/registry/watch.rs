//! Watching names, groups and registries: the next changes beyond a token, at once or when there are some.
//!
//! What changed since a token is what anti-entropy would send to a server with the token's vector,
//! turned into events; so a watch that goes on at another server misses nothing, and may be told
//! something twice. Nothing is kept for a watcher but one parked question with a bound in time: a slow
//! one costs no memory, it asks later. Who he is and what he may see is decided anew for each batch.
//! Only fields named here are ever shown: a field that is not known here may be a secret.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Cell, CellKey, Changes, Course, ErrorKind, Field, Happened, Incarnation, Refusal, RegistryName,
    Reply, Request, Resolution, ResumeToken, Since, SpaceId, Speaker, VersionVector, WatchEvent,
    WatchTarget,
};

use crate::codec::{self, Identity, Listed};
use crate::registry::database::Database;
use crate::registry::directory::Memo;
use crate::registry::request::{Job, Outcome, ReplyTo, Stop};
use crate::server::{Server, Timer};

/// Watches that wait for a change at one time, in all: each is a few hundred octets.
const MOST_WAITING: usize = 4_096;
/// Of one speaker: a program that watches more than so many things watches their registry.
const MOST_OF_ONE: usize = 256;
/// An own client's watch waits at most so long: whoever has gone away is forgotten after it, and
/// what he may see is looked at again.
const MOST_WAIT_MS: u64 = 20_000;
/// Octets of cells in a batch, or looked at in one step.
const BATCH_BYTES: usize = 256 * 1024;
/// Steps of looking before an answer says "more" though it holds no event: bounds one turn of the core.
const MOST_STEPS: usize = 4;
/// Entries touched in one turn that are told apart; beyond them all watches of the registry look.
const MOST_TOUCHED: usize = 1_000;

/// The watches that wait.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    waiting: BTreeMap<u64, Waiting>,
    by_registry: BTreeMap<RegistryName, BTreeSet<u64>>,
    by_speaker: BTreeMap<Speaker, usize>,
    touched: BTreeMap<RegistryName, Touched>,
}

#[derive(Debug)]
struct Waiting {
    to: ReplyTo,
    speaker: Speaker,
    target: WatchTarget,
    token: ResumeToken,
    until_ms: u64,
}

/// What has changed in a registry that somebody watches.
#[derive(Debug)]
enum Touched {
    Entries(BTreeSet<Incarnation>),
    All,
}

impl Watches {
    /// A cell of a registry was merged.
    pub(crate) fn touch(&mut self, registry: &RegistryName, item: Incarnation) {
        if !self.by_registry.contains_key(registry) {
            return;
        }
        let touched = self
            .touched
            .entry(registry.clone())
            .or_insert_with(|| Touched::Entries(BTreeSet::new()));
        if let Touched::Entries(entries) = touched {
            entries.insert(item);
            if entries.len() > MOST_TOUCHED {
                *touched = Touched::All;
            }
        }
    }

    /// Much may have changed in a registry: a session has ended, or it is no longer here.
    pub(crate) fn touch_all(&mut self, registry: &RegistryName) {
        if self.by_registry.contains_key(registry) {
            self.touched.insert(registry.clone(), Touched::All);
        }
    }

    /// Who may do what has changed.
    pub(crate) fn touch_everything(&mut self) {
        for registry in self.by_registry.keys() {
            self.touched.insert(registry.clone(), Touched::All);
        }
    }

    fn add(&mut self, id: u64, waiting: Waiting) {
        *self.by_speaker.entry(waiting.speaker.clone()).or_default() += 1;
        self.by_registry
            .entry(waiting.target.registry().clone())
            .or_default()
            .insert(id);
        self.waiting.insert(id, waiting);
    }

    fn remove(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        let registry = waiting.target.registry();
        if let Some(ids) = self.by_registry.get_mut(registry) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_registry.remove(registry);
            }
        }
        if let Some(count) = self.by_speaker.get_mut(&waiting.speaker) {
            *count -= 1;
            if *count == 0 {
                self.by_speaker.remove(&waiting.speaker);
            }
        }
        Some(waiting)
    }

    /// Room for one more?
    fn room(&self, speaker: &Speaker) -> Result<(), Refusal> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(Refusal::unavailable(format!(
                "{MOST_WAITING} watches wait here already: try another server"
            )));
        }
        let own = self.by_speaker.get(speaker).copied().unwrap_or(0);
        if own >= MOST_OF_ONE {
            return Err(Refusal::new(
                ErrorKind::TooLarge,
                format!("at most {MOST_OF_ONE} watches at one time: watch the registry instead"),
            ));
        }
        Ok(())
    }

    /// Those whom what was touched may concern.
    fn concerned(&mut self) -> Option<Vec<u64>> {
        let (registry, touched) = self.touched.pop_first()?;
        let ids = self.by_registry.get(&registry).into_iter().flatten();
        let concerned = |id: &&u64| match (&touched, self.waiting.get(id)) {
            (Touched::All, _) => true,
            (Touched::Entries(entries), Some(waiting)) => waiting
                .token
                .entry
                .is_none_or(|entry| entries.contains(&entry)),
            (Touched::Entries(_), None) => false,
        };
        Some(ids.filter(concerned).copied().collect())
    }
}

impl Server {
    /// Evaluates a watch of a registry held here.
    pub(crate) fn watch(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        speaker: &Speaker,
        (target, since, wait_ms): (&WatchTarget, &Since, u32),
    ) -> Result<Outcome, Stop> {
        if let Err(refusal) = self.may_watch(memo, speaker, target)? {
            return Ok(Err(refusal).into());
        }
        let (mut token, course) = match self.watched_from(target, since) {
            Ok(begun) => begun,
            Err(refusal) => return Ok(Err(refusal).into()),
        };
        let (events, more) = if token.cursor.is_some() {
            match self.what_is_there(target, &mut token) {
                Ok(page) => page,
                Err(refusal) => return Ok(Err(refusal).into()),
            }
        } else {
            self.what_changed(target, &mut token)?
        };
        let says_something =
            !events.is_empty() || more || *since == Since::Now || course != Course::Continues;
        if says_something {
            return Ok(changes(course, events, &token, more).into());
        }
        if let WatchTarget::Entry(name) = target
            && self.entry(name).is_none()
        {
            return Ok(Err(Refusal::not_found(name)).into());
        }
        let most_ms = match to {
            ReplyTo::Client(_) => MOST_WAIT_MS,
            // The server that passed it on asks another holder after twice as long.
            ReplyTo::Peer(..) => self.config.times.ask_ms,
        };
        let wait_ms = u64::from(wait_ms).min(most_ms);
        if wait_ms == 0 {
            return Ok(changes(course, events, &token, more).into());
        }
        if let Err(refusal) = self.watches.room(speaker) {
            return Ok(Err(refusal).into());
        }
        let id = self.next_id();
        let until_ms = self.now.mono_ms.saturating_add(wait_ms);
        self.timer_at(until_ms, Timer::Watch(id));
        self.watches.add(
            id,
            Waiting {
                to: to.clone(),
                speaker: speaker.clone(),
                target: target.clone(),
                token,
                until_ms,
            },
        );
        Ok(Outcome::Later)
    }

    /// Lets those look again whom something touched may concern; whether there was anything touched.
    pub(crate) fn wake_watches(&mut self) -> bool {
        let Some(concerned) = self.watches.concerned() else {
            return false;
        };
        for id in concerned {
            self.look_again(id);
        }
        true
    }

    /// A watch looks again: something was touched, or its time is over.
    pub(crate) fn look_again(&mut self, id: u64) {
        let Some(waiting) = self.watches.remove(id) else {
            return;
        };
        self.forget_timer(waiting.until_ms, Timer::Watch(id));
        let left_ms = waiting.until_ms.saturating_sub(self.now.mono_ms);
        let request = Request::Watch {
            target: waiting.target,
            since: Since::Token(waiting.token.to_string()),
            wait_ms: u32::try_from(left_ms).unwrap_or(u32::MAX),
        };
        let job = Job::Request {
            to: waiting.to,
            speaker: waiting.speaker,
            request,
        };
        self.runnable.push_back((job, Memo::new()));
    }

    /// Whether somebody may watch: an entry, whoever is logged in; a registry, its registrars.
    fn may_watch(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        target: &WatchTarget,
    ) -> Result<Result<(), Refusal>, Stop> {
        match speaker {
            Speaker::Anonymous => {
                return Ok(Err(Refusal::new(
                    ErrorKind::NotAuthenticated,
                    "log in first",
                )));
            }
            // A stream may outlive its speaker.
            Speaker::Individual { name, incarnation } => match self.resolve(memo, name)? {
                Resolution::Individual {
                    incarnation: is, ..
                } if is == *incarnation => {}
                Resolution::Individual { .. } | Resolution::Group { .. } | Resolution::NoSuch => {
                    return Ok(Err(Refusal::new(
                        ErrorKind::NotAuthenticated,
                        format!("{name} is no longer who it was: log in again"),
                    )));
                }
            },
            Speaker::Operator | Speaker::Server(_) => {}
        }
        Ok(match target {
            WatchTarget::Entry(_) => Ok(()),
            WatchTarget::Registry(registry) if self.is_registrar(memo, speaker, registry)? => {
                Ok(())
            }
            WatchTarget::Registry(registry) => Err(Refusal::not_allowed(format!(
                "only a registrar of {registry} may watch all of it; watch one name"
            ))),
        })
    }

    /// Where a watch begins, and how it follows on what its client knows.
    fn watched_from(
        &self,
        target: &WatchTarget,
        since: &Since,
    ) -> Result<(ResumeToken, Course), Refusal> {
        let registry = target.registry();
        let here = SpaceId::Registry(registry.clone());
        let (Some(life), Some(space)) = (self.entry(&registry.group()), self.spaces.get(&here))
        else {
            return Err(Refusal::unavailable(format!(
                "{registry} is not complete at this server"
            )));
        };
        let entry = match target {
            WatchTarget::Registry(_) => None,
            WatchTarget::Entry(name) => Some(self.entry(name).map(|entry| entry.incarnation)),
        };
        let fresh = |cursor| -> Result<ResumeToken, Refusal> {
            let entry = match (entry, target) {
                (Some(None), WatchTarget::Entry(name)) => return Err(Refusal::not_found(name)),
                (Some(is), _) => is,
                (None, _) => None,
            };
            Ok(ResumeToken {
                life: life.incarnation,
                entry,
                vector: space.row.vector.clone(),
                cursor,
            })
        };
        let over = |why: &str| {
            let why = why.to_owned();
            Ok((fresh(Some(Vec::new()))?, Course::StartsOver { why }))
        };
        let text = match since {
            Since::Now => return Ok((fresh(None)?, Course::Continues)),
            Since::Beginning => return over("from the beginning, as asked"),
            Since::Token(text) => text,
        };
        let token: ResumeToken = text
            .parse()
            .map_err(|why: grapevine_model::ResumeTokenError| Refusal::invalid(why.to_string()))?;
        if token.life != life.incarnation {
            return over("the token is of another registry, or of one that was deleted since");
        }
        match (entry, token.entry) {
            (None, None) => {}
            (None, Some(_)) | (Some(_), None) => {
                return Err(Refusal::invalid(
                    "the token is of a watch of something else",
                ));
            }
            (Some(Some(is)), Some(was)) if is != was => {
                return over("the name means another entry now");
            }
            (Some(_), Some(_)) => {}
        }
        Ok((token, Course::Continues))
    }

    /// The next page of all that is there. The vector was taken when it began, so what changes
    /// meanwhile comes after it.
    fn what_is_there(
        &self,
        target: &WatchTarget,
        token: &mut ResumeToken,
    ) -> Result<(Vec<WatchEvent>, bool), Refusal> {
        let registry = target.registry();
        let space = SpaceId::Registry(registry.clone());
        let (Some(database), Some(state)) = (self.database(registry), self.spaces.get(&space))
        else {
            return Err(Refusal::unavailable(format!("{registry} is not here")));
        };
        // Begun at a server that knew more: what it had and this one lacks comes as a change later.
        if !state.row.vector.covers_all(&token.vector) {
            token.vector = both_have(&token.vector, &state.row.vector);
        }
        let after = match token.cursor.take().filter(|cursor| !cursor.is_empty()) {
            None => None,
            Some(cursor) => {
                let key = codec::read_cell_key(&cursor)
                    .map_err(|_| Refusal::invalid("the token is of no watch"))?;
                Some(key)
            }
        };
        let (mut events, mut bytes) = (Vec::new(), 0);
        for (key, cell) in database.cells_after(token.entry, after.as_ref()) {
            bytes += weight(key, cell);
            if cell.value.is_some() {
                events.extend(event_of(database, key, cell));
            }
            if bytes >= BATCH_BYTES {
                token.cursor = Some(codec::bare_cell_key(key));
                return Ok((events, true));
            }
        }
        // What changed since it began comes with the next batch.
        let more = !token.vector.covers_all(&state.row.vector);
        Ok((events, more))
    }

    /// What changed since the token's vector, which is raised by it.
    fn what_changed(
        &self,
        target: &WatchTarget,
        token: &mut ResumeToken,
    ) -> Result<(Vec<WatchEvent>, bool), Stop> {
        let registry = target.registry();
        let space = SpaceId::Registry(registry.clone());
        let Some(database) = self.database(registry) else {
            return Ok((Vec::new(), false));
        };
        let mut events = Vec::new();
        for _ in 0..MOST_STEPS {
            let (updates, progress, complete) = self.missing(&space, &token.vector, BATCH_BYTES)?;
            token.vector = progress;
            let shown = updates
                .iter()
                .filter(|update| token.entry.is_none_or(|entry| entry.0 == update.key.item))
                .filter_map(|update| event_of(database, &update.key, &update.cell));
            events.extend(shown);
            events.sort_by_key(|event| event.stamp);
            if complete {
                return Ok((events, false));
            }
            if !events.is_empty() {
                break;
            }
        }
        Ok((events, true))
    }
}

fn changes(
    course: Course,
    events: Vec<WatchEvent>,
    token: &ResumeToken,
    more: bool,
) -> Result<Reply, Refusal> {
    Ok(Reply::Changes(Changes {
        course,
        events,
        token: token.to_string(),
        more,
    }))
}

/// The writes that both vectors cover.
fn both_have(one: &VersionVector, other: &VersionVector) -> VersionVector {
    one.iter()
        .map(|(origin, time)| (origin, time.min(other.get(origin))))
        .collect()
}

fn weight(key: &CellKey, cell: &Cell) -> usize {
    80 + key.element.len() + cell.value.as_ref().map_or(0, Vec::len)
}

/// How a field is shown.
enum Shape {
    /// One text.
    Text(&'static str),
    /// A list whose items are the elements.
    Elements(&'static str),
    /// A list of members.
    Members(&'static str),
}

/// What of a cell's field may be seen by whoever may see its entry.
fn shape(field: u16) -> Option<Shape> {
    let shown = [
        (Field::Remark, Shape::Text("remark")),
        (Field::InboxSite, Shape::Elements("sites")),
        (Field::Alias, Shape::Elements("aliases")),
        (Field::Forward, Shape::Elements("forward")),
        (Field::ConnectSite, Shape::Elements("connect-sites")),
        (Field::Member, Shape::Members("members")),
        (Field::Owner, Shape::Members("owners")),
        (Field::Friend, Shape::Members("friends")),
    ];
    shown
        .into_iter()
        .find(|(known, _)| known.number() == field)
        .map(|(_, shape)| shape)
}

/// A cell as an event; none for what is not shown.
fn event_of(database: &Database, key: &CellKey, cell: &Cell) -> Option<WatchEvent> {
    let incarnation = Incarnation(key.item);
    let entry = database.entry(incarnation);
    let event = |name, what| WatchEvent {
        name,
        incarnation,
        stamp: cell.stamp,
        what,
    };
    if key.field == Field::Identity.number() {
        return Some(match &cell.value {
            None => event(database.former_name(incarnation), Happened::Deleted),
            Some(value) => {
                let kind = codec::decode::<Identity>(value).ok()?.kind;
                event(entry?.name(), Happened::Created { kind })
            }
        });
    }
    // What was said of an entry that is gone is no news.
    let name = entry?.name();
    let what = match (shape(key.field)?, &cell.value) {
        (Shape::Text(field), Some(value)) => Happened::Set {
            field: field.to_owned(),
            value: String::from_utf8(value.clone()).ok()?,
        },
        (Shape::Text(field), None) => Happened::Cleared {
            field: field.to_owned(),
        },
        (Shape::Elements(list) | Shape::Members(list), None) => Happened::Removed {
            list: list.to_owned(),
            item: String::from_utf8(key.element.clone()).ok()?,
        },
        (Shape::Elements(list), Some(_)) => Happened::Added {
            list: list.to_owned(),
            item: String::from_utf8(key.element.clone()).ok()?,
        },
        (Shape::Members(list), Some(value)) => Happened::Added {
            list: list.to_owned(),
            item: codec::decode::<Listed>(value).ok()?.spelling,
        },
    };
    Some(event(name, what))
}
