//! The model of docs/reaping.md, searched exhaustively at small sizes: two or three holders of one
//! space, writes and deletions, pushes that are lost, late or doubled, sessions, a holder cut off
//! and declared absent, a disk lost and begun anew.
//!
//! It must be able to fail: with each known mistake it finds a counterexample.

#![expect(
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a million states are only asked for, never walked; how many there were is the result"
)]

use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};

const HOLDERS: usize = 3;
const KEYS: usize = 2;
/// Lives of disks at most: three holders and one new disk.
const ORIGINS: usize = 4;
/// Writes at most, with those that holders write again; more would be a storm.
const WRITES: usize = 9;
/// Rounds of sessions, each with each, in which all must be settled.
const ROUNDS: usize = 8;

type Vector = [u8; ORIGINS];

/// A mistake to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// A tombstone goes at any time.
    ReapByTimer,
    /// A tombstone goes when one other holder has it.
    ReapBeforeAll,
    /// A copy that lacks forgotten deletions goes on by ordinary sessions.
    NoRefresh,
    /// A refreshed copy keeps what is newer in it, though the other one has had it and ended it.
    RefreshKeepsNewer,
    /// A push is taken in though what its writer had seen is not here.
    ContextIgnored,
    /// What has gone is not recognised by the vector.
    OldNotRecognised,
    /// A tombstone that beats a write unknown so far is not written again.
    LoserNotAnswered,
    /// A write that may be older than what was forgotten is not written again.
    LateNotRepeated,
}

#[derive(Debug, Clone, Copy)]
struct Model {
    holders: usize,
    keys: usize,
    writes: u8,
    cuts: u8,
    losses: u8,
    mistake: Mistake,
}

/// A write; its number is, with its origin, its dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Write {
    origin: usize,
    key: usize,
    /// What decides merges: its number, or that of the write which it is again.
    stamp: u8,
    /// Otherwise it is a deletion.
    value: bool,
    /// The writes of the key that its writer had seen, by stamp.
    saw: u16,
    /// What its writer had.
    context: Vector,
    /// To whom it was pushed: that may come at any time, twice, or never.
    pushed: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Holder {
    origin: usize,
    /// The write that stands under each key; 0 for none.
    cells: [u8; KEYS],
    vector: Vector,
    floor: Vector,
    /// It begins anew and has not fetched the space.
    fresh: bool,
    /// What the others said that they have.
    have: [Vector; HOLDERS],
    /// The others that are not waited for any more.
    absent: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    holders: [Holder; HOLDERS],
    /// By number; number 0 is no write.
    writes: [Write; WRITES],
    written: u8,
    /// Holders that nobody reaches.
    cut: u8,
    writes_left: u8,
    cuts_left: u8,
    losses_left: u8,
}

fn covers(vector: &Vector, other: &Vector) -> bool {
    vector.iter().zip(other).all(|(a, b)| a >= b)
}

fn join(vector: &mut Vector, other: &Vector) {
    for (a, b) in vector.iter_mut().zip(other) {
        *a = (*a).max(*b);
    }
}

fn bit(number: usize) -> u8 {
    1 << number
}

impl State {
    fn first(model: &Model) -> Self {
        let mut holders = [Holder::default(); HOLDERS];
        for (origin, holder) in holders.iter_mut().enumerate() {
            holder.origin = origin;
        }
        Self {
            holders,
            writes: [Write::default(); WRITES],
            written: 0,
            cut: 0,
            writes_left: model.writes,
            cuts_left: model.cuts,
            losses_left: model.losses,
        }
    }

    fn of(&self, number: u8) -> &Write {
        &self.writes[usize::from(number)]
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        a != b && self.cut & (bit(a) | bit(b)) == 0
    }

    /// Takes a write in; the vector is the caller's.
    fn merge(&mut self, model: &Model, at: usize, number: u8) {
        let Write {
            origin,
            key,
            stamp,
            value,
            ..
        } = *self.of(number);
        let holder = &self.holders[at];
        let known = holder.vector[origin] >= number;
        let present = holder.cells[key];
        let has_forgotten = holder.floor != [0; ORIGINS];
        if has_forgotten && known && model.mistake != Mistake::OldNotRecognised {
            return;
        }
        let latest = holder.floor.iter().copied().max().unwrap_or(0);
        if stamp > self.of(present).stamp {
            self.holders[at].cells[key] = number;
            let late = has_forgotten && value && stamp <= latest;
            if late && model.mistake != Mistake::LateNotRepeated {
                self.write_again(model, at, number);
            }
        } else if value
            && !known
            && stamp < self.of(present).stamp
            && !self.of(present).value
            && model.mistake != Mistake::LoserNotAnswered
        {
            self.write_again(model, at, present);
        }
    }

    /// The same stamp and value under a dot of its own, which travels as any other.
    fn write_again(&mut self, model: &Model, at: usize, number: u8) {
        self.add(model, at, *self.of(number));
    }

    fn add(&mut self, model: &Model, at: usize, write: Write) {
        self.written += 1;
        let number = self.written;
        assert!(usize::from(number) < WRITES, "writes without end: {self:?}");
        let origin = self.holders[at].origin;
        let others = (0..model.holders).filter(|to| self.reaches(at, *to));
        let pushed = others.fold(0, |all, to| all | bit(to));
        let holder = &mut self.holders[at];
        self.writes[usize::from(number)] = Write {
            origin,
            context: holder.vector,
            pushed,
            ..write
        };
        holder.cells[write.key] = number;
        holder.vector[origin] = number;
    }

    fn write(&mut self, model: &Model, at: usize, key: usize, value: bool) {
        let over = self.of(self.holders[at].cells[key]);
        let saw = over.saw | 1 << over.stamp;
        let write = Write {
            key,
            stamp: self.written + 1,
            value,
            saw,
            ..Write::default()
        };
        self.add(model, at, write);
        self.writes_left -= 1;
    }

    /// A push arrives; what does not follow is not taken in.
    fn deliver(&mut self, model: &Model, to: usize, number: u8) {
        let Write {
            origin, context, ..
        } = *self.of(number);
        let mine = &self.holders[to].vector;
        let follows = match model.mistake {
            Mistake::ContextIgnored => mine[origin] >= context[origin],
            _ => covers(mine, &context),
        };
        if follows {
            self.merge(model, to, number);
            let vector = &mut self.holders[to].vector;
            vector[origin] = vector[origin].max(number);
        }
    }

    /// `to` fetches from `from` what it lacks; both learn what the other has.
    fn session(&mut self, model: &Model, from: usize, to: usize) {
        let theirs = self.holders[from];
        let before = self.holders[to].vector;
        if theirs.fresh {
            return;
        }
        let refresh = !covers(&before, &theirs.floor) && model.mistake != Mistake::NoRefresh;
        let whole = self.holders[to].fresh || refresh;
        for key in 0..model.keys {
            let (number, mine) = (theirs.cells[key], self.holders[to].cells[key]);
            let has_had_mine = theirs.vector[self.of(mine).origin] >= mine;
            if refresh && has_had_mine && model.mistake != Mistake::RefreshKeepsNewer {
                // What each has had and ended stands at neither.
                let same = self.of(number).stamp == self.of(mine).stamp;
                let had = !same && before[self.of(number).origin] >= number;
                self.holders[to].cells[key] = if had { 0 } else { number };
            } else if refresh && has_had_mine && number == 0 {
                self.holders[to].cells[key] = 0;
            } else if number > 0 && (whole || before[self.of(number).origin] < number) {
                self.merge(model, to, number);
            } else if refresh
                && number == 0
                && self.of(mine).value
                && model.mistake != Mistake::LateNotRepeated
            {
                self.write_again(model, to, mine);
            }
        }
        let holder = &mut self.holders[to];
        if whole {
            join(&mut holder.floor, &theirs.floor);
        }
        join(&mut holder.vector, &theirs.vector);
        holder.fresh = false;
        holder.have[from] = theirs.vector;
        let vector = holder.vector;
        self.holders[from].have[to] = vector;
    }

    fn may_reap(&self, model: &Model, at: usize, key: usize) -> bool {
        let holder = &self.holders[at];
        let number = holder.cells[key];
        if holder.fresh || number == 0 || self.of(number).value {
            return false;
        }
        let origin = self.of(number).origin;
        let mut others =
            (0..model.holders).filter(|other| *other != at && holder.absent & bit(*other) == 0);
        let stable = |other: usize| {
            holder.have[other][origin] >= number && covers(&holder.vector, &holder.have[other])
        };
        match model.mistake {
            Mistake::ReapByTimer => true,
            Mistake::ReapBeforeAll => others.any(stable),
            Mistake::None
            | Mistake::NoRefresh
            | Mistake::RefreshKeepsNewer
            | Mistake::ContextIgnored
            | Mistake::OldNotRecognised
            | Mistake::LoserNotAnswered
            | Mistake::LateNotRepeated => others.all(stable),
        }
    }

    fn reap(&mut self, model: &Model, at: usize, key: usize) {
        let number = self.holders[at].cells[key];
        let origin = self.of(number).origin;
        let holder = &mut self.holders[at];
        holder.cells[key] = 0;
        if model.mistake != Mistake::ReapByTimer && model.mistake != Mistake::ReapBeforeAll {
            holder.floor[origin] = holder.floor[origin].max(number);
        }
    }

    fn lose_disk(&mut self, model: &Model, at: usize) {
        self.losses_left -= 1;
        self.holders[at] = Holder {
            origin: model.holders,
            fresh: true,
            ..Holder::default()
        };
    }

    fn next(&self, model: &Model, mut found: impl FnMut(Self)) {
        let mut go = |change: &dyn Fn(&mut Self)| {
            let mut next = *self;
            change(&mut next);
            if next != *self {
                found(next);
            }
        };
        for at in 0..model.holders {
            let holder = &self.holders[at];
            for key in 0..model.keys {
                // Holders and keys are alike until one is written: the first write is given.
                let first = self.written > 0 || (at == 0 && key == 0);
                if self.writes_left > 0 && !holder.fresh && first {
                    go(&|next| next.write(model, at, key, true));
                    if self.of(holder.cells[key]).value {
                        go(&|next| next.write(model, at, key, false));
                    }
                }
                if self.may_reap(model, at, key) {
                    go(&|next| next.reap(model, at, key));
                }
            }
            for other in (0..model.holders).filter(|other| *other != at) {
                if self.reaches(at, other) {
                    go(&|next| next.session(model, at, other));
                    let has = self.holders[other].vector;
                    if holder.have[other] != has {
                        go(&|next| next.holders[at].have[other] = has);
                    }
                } else if holder.absent & bit(other) == 0 {
                    go(&|next| next.holders[at].absent |= bit(other));
                }
            }
            if self.cut & bit(at) != 0 {
                go(&|next| {
                    next.cut &= !bit(at);
                    next.heard(model);
                });
            } else if self.cuts_left > 0 && self.cut == 0 {
                go(&|next| {
                    next.cut |= bit(at);
                    next.cuts_left -= 1;
                });
            }
            if self.losses_left > 0 && !holder.fresh {
                go(&|next| next.lose_disk(model, at));
            }
        }
        for number in 1..=self.written {
            for to in (0..model.holders).filter(|to| self.of(number).pushed & bit(*to) != 0) {
                go(&|next| next.deliver(model, to, number));
            }
        }
    }

    /// Who can be heard is waited for again.
    fn heard(&mut self, model: &Model) {
        for at in 0..model.holders {
            for other in 0..model.holders {
                if self.reaches(at, other) {
                    self.holders[at].absent &= !bit(other);
                }
            }
        }
    }

    /// What must not be, in any state: who knows of a deletion shows a value that it had ended.
    fn resurrected(&self, model: &Model) -> Option<String> {
        for (at, holder) in self.holders.iter().take(model.holders).enumerate() {
            for number in holder.cells.iter().copied().filter(|number| *number > 0) {
                let stamp = self.of(number).stamp;
                let ended = (1..=self.written).find(|deletion| {
                    let write = self.of(*deletion);
                    !write.value
                        && write.saw & (1 << stamp) != 0
                        && holder.vector[write.origin] >= *deletion
                });
                if let Some(ended) = ended {
                    return Some(format!("{at} shows {number}, which {ended} had ended"));
                }
            }
        }
        None
    }

    /// The same cells, but everybody can talk, and nothing is under way or remembered of others.
    fn quiet(&self, model: &Model) -> Self {
        let mut quiet = Self {
            cut: 0,
            writes_left: 0,
            cuts_left: 0,
            losses_left: 0,
            ..*self
        };
        quiet.heard(model);
        for holder in &mut quiet.holders {
            holder.have = [Vector::default(); HOLDERS];
        }
        for write in &mut quiet.writes {
            write.pushed = 0;
        }
        quiet
    }

    /// What must be when a quiet state has settled.
    fn settled_wrongly(&self, model: &Model) -> Option<String> {
        let mut state = *self;
        let mut before = None;
        for _ in 0..ROUNDS {
            before = Some(state);
            for from in 0..model.holders {
                for to in (0..model.holders).filter(|to| *to != from) {
                    state.session(model, from, to);
                }
            }
            if before == Some(state) {
                break;
            }
        }
        if before != Some(state) {
            return Some("it does not settle".to_owned());
        }
        if let Some(wrong) = state.resurrected(model) {
            return Some(format!("in the end {wrong}"));
        }
        for key in 0..model.keys {
            let shown = |holder: &Holder| {
                let write = state.of(holder.cells[key]);
                write.value.then_some(write.stamp)
            };
            let first = shown(&state.holders[0]);
            let mut others = state.holders.iter().take(model.holders);
            if others.any(|holder| shown(holder) != first) {
                return Some(format!("key {key} differs in the end: {:?}", state.holders));
            }
            // Of what a living disk has had, what no other such write has seen.
            let kept = |number: u8| {
                let mut holders = self.holders.iter().take(model.holders);
                holders.any(|holder| holder.vector[self.of(number).origin] >= number)
            };
            let kept = (1..=self.written).filter(|number| kept(*number));
            let kept = kept.map(|number| self.of(number));
            let kept = kept.filter(|write| write.key == key);
            let seen = kept.clone().fold(0, |seen, write| seen | write.saw);
            let open = kept.filter(|write| seen & (1 << write.stamp) == 0);
            let last = open.clone().max_by_key(|write| write.stamp);
            let right = match first {
                Some(stamp) => open.clone().any(|write| write.stamp == stamp),
                None => last.is_none_or(|last| !last.value),
            };
            if !right {
                let open: Vec<&Write> = open.collect();
                return Some(format!("key {key} shows {first:?} in the end, of {open:?}"));
            }
        }
        None
    }
}

/// 128 bits of a state, of which a few million are told apart.
struct Print(u64, u64);

impl Print {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        self.1 = (self.1.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Print {
    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.mix(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn print(state: &State) -> (u64, u64) {
    let mut print = Print(1, 2);
    state.hash(&mut print);
    (print.0, print.1)
}

/// Searches all states, the nearest first; gives their number, or what is wrong with one.
fn search(model: &Model) -> Result<usize, String> {
    let first = State::first(model);
    let mut seen = HashSet::from([print(&first)]);
    let mut settled = HashSet::new();
    let mut open = VecDeque::from([first]);
    while let Some(state) = open.pop_front() {
        let quiet = state.quiet(model);
        if settled.insert(print(&quiet)) {
            let wrong = state.resurrected(model);
            if let Some(wrong) = wrong.or_else(|| quiet.settled_wrongly(model)) {
                return Err(format!("{wrong}\n{state:?}"));
            }
        }
        state.next(model, |next| {
            if seen.insert(print(&next)) {
                open.push_back(next);
            }
        });
    }
    Ok(seen.len())
}

const TWO: Model = Model {
    holders: 2,
    keys: 1,
    writes: 3,
    cuts: 1,
    losses: 1,
    mistake: Mistake::None,
};

const THREE: Model = Model {
    holders: 3,
    writes: 2,
    losses: 0,
    ..TWO
};

fn is_right(model: &Model) {
    match search(model) {
        Ok(states) => {
            println!("{states} states");
            assert!(states > 1_000, "only {states} states");
        }
        Err(wrong) => panic!("{}", wrong.replace("Write { origin: 0, key: 0, stamp: 0, value: false, saw: 0, context: [0, 0, 0, 0], pushed: 0 }, ", "")),
    }
}

fn is_found(model: Model, mistake: Mistake) {
    let found = search(&Model { mistake, ..model });
    assert!(found.is_err(), "{mistake:?} was not found: {found:?}");
}

#[test]
fn nothing_deleted_comes_back_and_nothing_is_lost_with_two_holders_of_one_key() {
    is_right(&TWO);
}

#[test]
fn nothing_deleted_comes_back_and_nothing_is_lost_with_two_holders_of_two_keys() {
    is_right(&Model {
        keys: 2,
        losses: 0,
        ..TWO
    });
}

#[test]
fn nothing_deleted_comes_back_and_nothing_is_lost_with_three_holders() {
    is_right(&THREE);
}

#[test]
fn reaping_by_a_timer_is_found() {
    is_found(TWO, Mistake::ReapByTimer);
}

#[test]
fn reaping_before_all_have_it_is_found() {
    is_found(THREE, Mistake::ReapBeforeAll);
}

#[test]
fn a_return_without_a_refresh_is_found() {
    is_found(TWO, Mistake::NoRefresh);
}

#[test]
fn a_refresh_that_keeps_what_is_newer_is_found() {
    is_found(TWO, Mistake::RefreshKeepsNewer);
}

#[test]
fn a_push_taken_in_before_what_its_writer_had_seen_is_found() {
    is_found(THREE, Mistake::ContextIgnored);
}

#[test]
fn an_old_push_that_is_not_recognised_is_found() {
    is_found(TWO, Mistake::OldNotRecognised);
}

#[test]
fn a_deletion_that_does_not_answer_what_it_beats_is_found() {
    is_found(TWO, Mistake::LoserNotAnswered);
}

#[test]
fn a_late_write_that_is_not_repeated_is_found() {
    is_found(TWO, Mistake::LateNotRepeated);
}
