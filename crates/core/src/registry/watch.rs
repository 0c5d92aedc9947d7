//! Watching names, groups and registries: the next changes beyond a token, at once or when there are some.
//!
//! What changed since a token is what anti-entropy would send to a server with the token's vector,
//! turned into events; so a watch that goes on at another server misses nothing, and may be told
//! something twice. Nothing is kept for a watcher but one parked question with a bound in time: a slow
//! one costs no memory, it asks later. Who he is and what he may see is decided anew for each batch.
//! What no vector says (a deletion that is forgotten, a copy that was mended) has him start over.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Cell, CellKey, Changes, Course, ErrorKind, Hlc, Incarnation, Refusal, RegistryName, Reply,
    Request, Resolution, ResumeToken, Since, SpaceId, Speaker, Update, VersionVector, WatchEvent,
    WatchTarget,
};

use crate::codec;
use crate::registry::directory::Memo;
use crate::registry::request::{Job, Outcome, ReplyTo, Stop};
use crate::registry::watch_events::{event_of, told_too_early};
use crate::server::{Server, Timer};
use crate::tables::{Damaged, Table};

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
/// Servers that a token remembers to have been told by: it is a line of text in the end.
const MOST_TOLD_BY: usize = 32;
/// `Meta` key prefix of when the copy of a registry was mended.
const META_MENDED: &[u8] = b"mended/";
/// Entries touched in one turn that are told apart; beyond them all watches of the registry look.
const MOST_TOUCHED: usize = 1_000;

/// The watches that wait.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    waiting: BTreeMap<u64, Waiting>,
    by_registry: BTreeMap<RegistryName, BTreeSet<u64>>,
    by_speaker: BTreeMap<Speaker, usize>,
    touched: BTreeMap<RegistryName, Touched>,
    /// When the copy here was last mended, if it ever was; on disk too.
    mended: BTreeMap<RegistryName, u64>,
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
    /// At the start: which copies were mended, and when.
    pub(crate) fn load_mended(&mut self) -> Result<(), Damaged> {
        let until = codec::after_prefix(META_MENDED);
        for (key, value) in self.all_rows(Table::Meta, META_MENDED, &until)? {
            let name = key.get(META_MENDED.len()..).unwrap_or_default().to_vec();
            let name = String::from_utf8(name).ok().and_then(|n| n.parse().ok());
            if let Some(registry) = name {
                let at = codec::decode(&value)?;
                self.watches.mended.insert(registry, at);
            }
        }
        Ok(())
    }

    /// Cells were lacking here that the vector covers, and are here now, or the other way round:
    /// nobody who watched here was told, and no vector will tell it. So he starts over.
    pub(crate) fn copy_was_mended(&mut self, registry: &RegistryName) {
        let at = self.tick(Hlc(0)).0;
        let key = [META_MENDED, registry.as_str().as_bytes()].concat();
        self.ledger.put(Table::Meta, key, codec::encode(&at));
        self.watches.mended.insert(registry.clone(), at);
        self.watches.touch_all(registry);
    }

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
        let (mut token, mut course) = match self.watched_from(target, since) {
            Ok(begun) => begun,
            Err(refusal) => return Ok(Err(refusal).into()),
        };
        let mut changed = None;
        if token.cursor.is_none() {
            changed = self.what_changed(target, &mut token)?;
            if changed.is_none() {
                let why = "something came back that is older than a forgotten deletion";
                (token, course) = match self.starts_over(target, why) {
                    Ok(begun) => begun,
                    Err(refusal) => return Ok(Err(refusal).into()),
                };
            }
        }
        let (events, more) = match changed {
            Some(page) => page,
            None => match self.what_is_there(target, &mut token) {
                Ok(page) => page,
                Err(refusal) => return Ok(Err(refusal).into()),
            },
        };
        self.told_by_this_server(target.registry(), &mut token);
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
            ReplyTo::Peer(..) | ReplyTo::Filter(..) => self.config.times.ask_ms,
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
            Speaker::Anonymous | Speaker::Neighbour => {
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

    /// When the copy here was last mended.
    fn mended(&self, registry: &RegistryName) -> u64 {
        self.watches.mended.get(registry).copied().unwrap_or(0)
    }

    fn told_by_this_server(&self, registry: &RegistryName, token: &mut ResumeToken) {
        let here = self.clock.origin();
        token.mended.insert(here, self.mended(registry));
        if token.mended.len() > MOST_TOLD_BY {
            let other = token.mended.keys().copied().find(|origin| *origin != here);
            other.and_then(|origin| token.mended.remove(&origin));
        }
    }

    /// A token of somebody who knows nothing, at what is here now.
    fn begun_now(
        &self,
        target: &WatchTarget,
        cursor: Option<Vec<u8>>,
    ) -> Result<ResumeToken, Refusal> {
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
            WatchTarget::Entry(name) => {
                let entry = self.entry(name).ok_or_else(|| Refusal::not_found(name))?;
                Some(entry.incarnation)
            }
        };
        Ok(ResumeToken {
            life: life.incarnation,
            entry,
            vector: space.row.vector.clone(),
            cursor,
            mended: BTreeMap::new(),
            ahead: VersionVector::default(),
        })
    }

    fn starts_over(
        &self,
        target: &WatchTarget,
        why: &str,
    ) -> Result<(ResumeToken, Course), Refusal> {
        let why = why.to_owned();
        let token = self.begun_now(target, Some(Vec::new()))?;
        Ok((token, Course::StartsOver { why }))
    }

    /// Where a watch begins, and how it follows on what its client knows.
    fn watched_from(
        &self,
        target: &WatchTarget,
        since: &Since,
    ) -> Result<(ResumeToken, Course), Refusal> {
        let text = match since {
            Since::Now => return Ok((self.begun_now(target, None)?, Course::Continues)),
            Since::Beginning => return self.starts_over(target, "from the beginning, as asked"),
            Since::Token(text) => text,
        };
        let mut token: ResumeToken = text
            .parse()
            .map_err(|why: grapevine_model::ResumeTokenError| Refusal::invalid(why.to_string()))?;
        let registry = target.registry();
        let here = SpaceId::Registry(registry.clone());
        let (Some(life), Some(space)) = (self.entry(&registry.group()), self.spaces.get(&here))
        else {
            return Err(Refusal::unavailable(format!(
                "{registry} is not complete at this server"
            )));
        };
        if token.life != life.incarnation {
            let why = "the token is of another registry, or of one that was deleted since";
            return self.starts_over(target, why);
        }
        let told_by_here = token.mended.get(&self.clock.origin());
        if told_by_here.is_some_and(|then| *then != self.mended(registry)) {
            let why = "this server's copy lacked something, and has it now";
            return self.starts_over(target, why);
        }
        // What was deleted and is forgotten is in no batch any more. What this server itself has not
        // reached yet it will look at again when it has.
        let forgotten = both_have(&space.floor, &space.row.vector);
        if !token.vector.covers_all(&forgotten) {
            let why = "deletions were forgotten since that it did not hear of";
            return self.starts_over(target, why);
        }
        let entry = match target {
            WatchTarget::Registry(_) => None,
            WatchTarget::Entry(name) => Some(self.entry(name).map(|entry| entry.incarnation)),
        };
        match (entry, token.entry) {
            (None, None) => {}
            (None, Some(_)) | (Some(_), None) => {
                return Err(Refusal::invalid(
                    "the token is of a watch of something else",
                ));
            }
            (Some(Some(is)), Some(was)) if is != was => {
                return self.starts_over(target, "the name means another entry now");
            }
            (Some(_), Some(_)) => {}
        }
        // Told by a server that knew more. What this one tells may be overcome by what it lacks, so that
        // is told again when it is here too.
        if !self.planted_watch_by_time {
            let here = &space.row.vector;
            token.ahead.join(&token.vector);
            token.ahead = (token.ahead.iter())
                .filter(|(origin, told)| *told > here.get(*origin))
                .collect();
            // What its bearer was told of was lost with its server, and may have ended something that stands again.
            if token.ahead.iter().any(|(o, _)| !self.is_of_a_server(o)) {
                let why = "a server that knew more was lost, and what it alone knew with it";
                return self.starts_over(target, why);
            }
            token.vector = both_have(&token.vector, here);
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

    /// The planted mistake: all that is older than the latest write told counts as told.
    fn go_on_by_time(&self, space: &SpaceId, token: &mut ResumeToken) {
        let latest = token.vector.iter().map(|(_, time)| time).max();
        let here = self.spaces.get(space).map(|state| &state.row.vector);
        if let (Some(latest), Some(here)) = (latest, here) {
            for (origin, time) in here.iter() {
                token.vector.raise(origin, time.min(latest));
            }
        }
    }

    /// What changed since the token's vector, which is raised by it. None where it can't be told as
    /// a change, and all has to be told anew.
    fn what_changed(
        &self,
        target: &WatchTarget,
        token: &mut ResumeToken,
    ) -> Result<Option<(Vec<WatchEvent>, bool)>, Stop> {
        let registry = target.registry();
        let space = SpaceId::Registry(registry.clone());
        let Some(database) = self.database(registry) else {
            return Ok(Some((Vec::new(), false)));
        };
        if self.planted_watch_by_time {
            self.go_on_by_time(&space, token);
        }
        let mut events = Vec::new();
        for _ in 0..MOST_STEPS {
            let (updates, progress, complete) = self.missing(&space, &token.vector, BATCH_BYTES)?;
            let told = std::mem::replace(&mut token.vector, progress);
            let concerns =
                |update: &&Update| token.entry.is_none_or(|entry| entry.0 == update.key.item);
            for update in updates.iter().filter(concerns) {
                if self.may_be_older_than_told(&space, update) {
                    return Ok(None);
                }
                events.extend(event_of(database, &update.key, &update.cell));
                events.extend(told_too_early(database, update, &told));
            }
            events.sort_by_key(|event| event.stamp);
            if complete {
                return Ok(Some((events, false)));
            }
            if !events.is_empty() {
                break;
            }
        }
        Ok(Some((events, true)))
    }

    /// A value that came from a holder away for too long stands against a deletion that the others
    /// have forgotten (docs/reaping.md), though the deletion has the greater stamp: whoever was told of
    /// the deletion would not believe it. Such a value was written again, under a dot of its own.
    fn may_be_older_than_told(&self, space: &SpaceId, update: &Update) -> bool {
        update.cell.dot != update.cell.stamp && self.is_late(space, &update.cell)
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
