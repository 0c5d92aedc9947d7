//! The rules of numbers searched exhaustively at small sizes, with the code that is in earnest: two sites, some mails,
//! what each wrote coming to the other write by write or never, a cut, a disk lost and begun anew, two mail programs.
//!
//! It must be able to fail: with each known mistake it finds a counterexample.

#![expect(
    clippy::disallowed_types,
    reason = "some hundred thousand states are only asked for, never walked"
)]

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use super::*;

const SITES: usize = 2;
/// Writes at most: mails, blocks and numbers, with those given anew.
const WRITES: usize = 11;
/// The same where a disk is lost: seconds instead of minutes. What is begun is ended beyond it.
const FEWER_WRITES: usize = 5;

/// A mistake to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// A server goes on in a block of another life of its disk.
    BlockReused,
    /// A life opens the lowest block that it may.
    NoSkip,
    /// No number is ever void.
    LateKept,
    /// A block is opened wherever there is one, whatever slot.
    NoSlots,
    /// That a number was given out is said before the number.
    BlockFirst,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum What {
    Mail(u8),
    Block(u32, u8, u32, Option<(u32, u32)>, Vec<(u32, u32)>),
    Uid(u8, u32),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Write {
    life: u8,
    what: What,
}

/// A mail program, which looks at one site's door.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Program {
    ever: BTreeSet<u32>,
    /// The numbers that it surely remembers, with the write that gave each.
    seen: BTreeMap<u32, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// In the order of their stamps.
    log: Vec<Write>,
    /// Of each site: how much of each life's writes it has.
    known: [BTreeMap<u8, usize>; SITES],
    life: [u8; SITES],
    whole: [bool; SITES],
    cut: bool,
    mails: u8,
    cuts: u8,
    losses: u8,
    programs: [Program; SITES],
    /// Which mail was ever shown to anybody under a number.
    shown: BTreeMap<u32, u8>,
}

fn site_name(site: usize) -> ServerName {
    ["a", "b"][site].parse().unwrap()
}

fn life_of(life: u8) -> OriginId {
    OriginId(u64::from(life))
}

/// Which site a life is of: each begins with its own number, a later one adds two.
fn site_of(life: u8) -> usize {
    usize::from(life) % SITES
}

/// What a site knows.
#[derive(Default)]
struct Held {
    blocks: Blocks,
    mails: BTreeSet<u8>,
    uids: BTreeMap<u8, (u32, usize)>,
}

impl State {
    fn writes_of(&self, life: u8) -> impl Iterator<Item = (usize, &Write)> {
        let all = self.log.iter().enumerate();
        all.filter(move |(_, write)| write.life == life)
    }

    fn has(&self, site: usize, at: usize) -> bool {
        let life = self.log[at].life;
        let before = self
            .writes_of(life)
            .take_while(|(other, _)| *other < at)
            .count();
        self.known[site].get(&life).copied().unwrap_or(0) > before
    }

    fn held(&self, site: usize, mistake: Mistake) -> Held {
        let mut held = Held::default();
        if mistake == Mistake::LateKept {
            held.blocks.keep_late();
        }
        for (at, write) in self.log.iter().enumerate() {
            if !self.has(site, at) {
                continue;
            }
            match &write.what {
                What::Mail(mail) => {
                    held.mails.insert(*mail);
                }
                What::Uid(mail, uid) => {
                    held.uids.insert(*mail, (*uid, at));
                }
                What::Block(block, life, next, prev, less) => {
                    let row = BlockRow {
                        owner: life_of(*life),
                        server: site_name(site_of(*life)),
                        next: *next,
                        prev: *prev,
                        less: less.clone(),
                    };
                    held.blocks.learn(*block, row);
                }
            }
        }
        held
    }

    fn write(&mut self, site: usize, what: What) {
        let life = self.life[site];
        self.log.push(Write { life, what });
        *self.known[site].entry(life).or_default() += 1;
    }

    /// The numberer, as a site sees it; none where it must not show anything.
    fn numberer(&self, site: usize, mistake: Mistake) -> Option<usize> {
        let other = 1 - site;
        if !self.whole[site] {
            return (!self.cut && self.whole[other]).then_some(other);
        }
        let held = self.held(site, mistake);
        let sites = [site_name(0), site_name(1)];
        let heard = |server: &ServerName| *server == sites[site] || !self.cut;
        let numberer = held.blocks.numberer(&sites, heard)?;
        let numberer = usize::from(*numberer == sites[1]);
        // One that is not whole passes back.
        Some(if self.whole[numberer] { numberer } else { site })
    }

    /// A mail program looks at a site; what is wrong with what it sees.
    fn look(&mut self, at: usize, mistake: Mistake) -> Result<(), String> {
        let Some(by) = self.numberer(at, mistake) else {
            return Ok(());
        };
        let mut held = self.held(by, mistake);
        let unnumbered: Vec<u8> = held
            .mails
            .iter()
            .filter(|mail| {
                let uid = held.uids.get(mail).map(|(uid, _)| *uid);
                !uid.is_some_and(|uid| held.blocks.counts(uid))
            })
            .copied()
            .collect();
        for mail in unnumbered {
            let life = self.life[by];
            let floor = held
                .uids
                .values()
                .map(|(uid, _)| uid + 1)
                .max()
                .unwrap_or(0);
            let own = match mistake {
                Mistake::BlockReused => held.blocks.own_of(&site_name(by)),
                _ => held.blocks.own(life_of(life)),
            };
            let own = own.filter(|(block, next)| block * NUMBERS_A_BLOCK + next >= floor);
            let (block, row) = match own {
                Some((block, _)) => (block, held.blocks.row(block).unwrap().clone()),
                None => {
                    let slot = match mistake {
                        Mistake::NoSlots => 0,
                        _ => by as u32,
                    };
                    // Each life skips a number of rounds of its own: chance, where it is kind.
                    let skip = match mistake {
                        Mistake::NoSkip | Mistake::NoSlots => 0,
                        _ => u32::from(life),
                    };
                    let known = |block| held.blocks.next_in(block);
                    let me = (life_of(life), &site_name(by), slot);
                    held.blocks.open(me, floor, known, |_| skip).unwrap()
                }
            };
            let uid = block * NUMBERS_A_BLOCK + row.next;
            let row = BlockRow {
                next: row.next + 1,
                ..row
            };
            held.blocks.learn(block, row.clone());
            held.uids.insert(mail, (uid, 0));
            let word = What::Block(block, life, row.next, row.prev, row.less);
            let number = What::Uid(mail, uid);
            let (first, second) = match mistake {
                Mistake::BlockFirst => (word, number),
                _ => (number, word),
            };
            self.write(by, first);
            self.write(by, second);
        }
        let held = self.held(by, mistake);
        for (mail, (uid, write)) in &held.uids {
            if !held.mails.contains(mail) || !held.blocks.counts(*uid) {
                continue;
            }
            if let Some(other) = self.shown.insert(*uid, *mail)
                && other != *mail
            {
                return Err(format!("{uid} is {mail} and was {other}"));
            }
            self.programs[at].ever.insert(*uid);
            self.programs[at].seen.insert(*uid, *write);
        }
        Ok(())
    }

    /// One more write of a life comes to a site, if there is one.
    fn comes(&mut self, to: usize, life: u8) -> bool {
        let has = |site: usize| self.known[site].get(&life).copied().unwrap_or(0);
        let more = !self.cut && has(to) < has(1 - to);
        if more {
            *self.known[to].entry(life).or_default() += 1;
        }
        more
    }

    fn sync(&mut self) {
        for to in 0..SITES {
            for life in 0..6 {
                while self.comes(to, life) {}
            }
            self.whole[to] = true;
        }
    }

    fn lose_disk(&mut self, site: usize) {
        let other = 1 - site;
        for program in &mut self.programs {
            let log = &self.log;
            let known = &self.known[other];
            // What only that disk had is forgotten by all but the program, which then knows too much.
            program.seen.retain(|_, at| {
                let life = log[*at].life;
                let before = log[..*at].iter().filter(|write| write.life == life).count();
                // A number and its block's word are one write, torn only where a session breaks off between them.
                known.get(&life).copied().unwrap_or(0) > before + 1
            });
        }
        self.known[site].clear();
        self.life[site] += SITES as u8;
        self.whole[site] = false;
        self.losses -= 1;
    }

    /// When all is healed: everybody sees one mailbox, each mail once, none late.
    fn at_rest(&self, mistake: Mistake) -> Result<(), String> {
        let mut end = self.clone();
        end.cut = false;
        let before: Vec<Program> = end.programs.to_vec();
        for _ in 0..3 {
            end.sync();
            for at in 0..SITES {
                end.look(at, mistake)?;
            }
        }
        end.sync();
        let (one, two) = (end.held(0, mistake), end.held(1, mistake));
        if one.uids.keys().collect::<Vec<_>>() != two.uids.keys().collect::<Vec<_>>() {
            return Err("the sites differ".into());
        }
        let mut used = BTreeSet::new();
        for mail in &one.mails {
            let uid = one.uids.get(mail).map(|(uid, _)| *uid);
            let uid = uid.filter(|uid| one.blocks.counts(*uid));
            let Some(uid) = uid else {
                return Err(format!("{mail} has no number in the end"));
            };
            if !used.insert(uid) {
                return Err(format!("{uid} is two mails"));
            }
            for program in &before {
                let last = program.seen.keys().next_back();
                if last.is_some_and(|last| uid < *last) && !program.ever.contains(&uid) {
                    return Err(format!("{uid} is late"));
                }
            }
        }
        Ok(())
    }

    fn next(&self, writes: usize, mistake: Mistake) -> Vec<Result<Self, String>> {
        let mut all = Vec::new();
        let mut go = |step: &dyn Fn(&mut Self) -> Result<bool, String>| {
            let mut next = self.clone();
            match step(&mut next) {
                Ok(true) => all.push(Ok(next)),
                Ok(false) => {}
                Err(wrong) => all.push(Err(wrong)),
            }
        };
        for site in 0..SITES {
            let room = self.log.len() < writes;
            go(&|next| {
                let may = room && next.mails > 0 && next.whole[site];
                if may {
                    next.mails -= 1;
                    next.write(site, What::Mail(next.mails));
                }
                Ok(may)
            });
            go(&|next| next.look(site, mistake).map(|()| room));
            go(&|next| {
                let may = next.losses > 0 && next.whole.iter().all(|whole| *whole);
                if may {
                    next.lose_disk(site);
                }
                Ok(may)
            });
            for life in 0..6 {
                go(&|next| Ok(next.comes(site, life)));
            }
            go(&|next| {
                // A new disk has fetched all that the other had.
                let behind = (0..6).any(|life| {
                    let has = |site: usize| next.known[site].get(&life).copied().unwrap_or(0);
                    has(site) < has(1 - site)
                });
                let may = !next.whole[site] && !behind && !next.cut;
                next.whole[site] |= may;
                Ok(may)
            });
        }
        go(&|next| {
            let may = next.cuts > 0 && !next.cut;
            if may {
                next.cut = true;
                next.cuts -= 1;
            }
            Ok(may)
        });
        go(&|next| Ok(std::mem::take(&mut next.cut)));
        all
    }
}

/// Searches breadth first; how many states there were, or what is wrong.
fn search(
    (mails, cuts, losses): (u8, u8, u8),
    writes: usize,
    mistake: Mistake,
) -> Result<usize, String> {
    let first = State {
        log: Vec::new(),
        known: [BTreeMap::new(), BTreeMap::new()],
        life: [0, 1],
        whole: [true, true],
        cut: false,
        mails,
        cuts,
        losses,
        programs: [Program::default(), Program::default()],
        shown: BTreeMap::new(),
    };
    let mut seen = HashSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    while let Some(state) = queue.pop_front() {
        let wrong = |why: String| format!("{why} after {state:?}");
        state.at_rest(mistake).map_err(wrong)?;
        for next in state.next(writes, mistake) {
            let next = next.map_err(wrong)?;
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn no_number_is_two_mails_or_late_through_a_cut() {
    let states = search((2, 1, 0), WRITES, Mistake::None);
    assert!(
        states.as_ref().is_ok_and(|states| *states > 1_000),
        "{states:?}"
    );
}

#[test]
fn no_number_is_two_mails_when_a_disk_is_lost_in_a_cut() {
    let states = search((2, 1, 1), FEWER_WRITES, Mistake::None);
    assert!(
        states.as_ref().is_ok_and(|states| *states > 1_000),
        "{states:?}"
    );
}

#[test]
fn each_mistake_is_found() {
    for (sizes, mistake) in [
        ((2, 1, 1), Mistake::BlockReused),
        ((2, 1, 1), Mistake::NoSkip),
        ((2, 1, 0), Mistake::LateKept),
        ((2, 1, 0), Mistake::NoSlots),
        ((2, 1, 1), Mistake::BlockFirst),
    ] {
        assert!(
            search(sizes, WRITES, mistake).is_err(),
            "{mistake:?} is not found"
        );
    }
}
