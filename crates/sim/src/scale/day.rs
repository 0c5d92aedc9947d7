//! The load of Grapevine's own year 1983, or a multiple of it, over some virtual hours.
//!
//! 17 servers, 4,400 people, 1,500 groups, 8,500 messages a day. How mail is spread over a day, over recipients and over groups is
//! that of public list archives (docs/scale.md). People fetch their mail and remove it, so that mailboxes do not grow for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grapevine_model::{Incarnation, Name, Reply, Request, Speaker};

use crate::cluster::Verbosity;
use crate::event::{Ask, Outcome};
use crate::meter::ServerCost;
use crate::scale::model::{Deed, Ends, Model, Size};
use crate::scale::resources::{Spent, resident_bytes};
use crate::world::{SetupFailed, name};

/// How much of a day's mail is sent in each of its hours, in thousandths.
const HOURS: [u64; 24] = [
    8, 6, 5, 5, 6, 10, 16, 34, 68, 84, 88, 78, 62, 76, 86, 88, 78, 58, 38, 28, 26, 22, 18, 12,
];
/// So many in a thousand messages go to a group, the others to people.
const TO_GROUPS_PERMILLE: u64 = 400;
/// So many in a thousand go to the group of nearly a third of all.
const TO_ALL_PERMILLE: u64 = 1;
/// How often a day somebody fetches his mail.
const FETCHES_A_DAY: u64 = 8;
/// Work is planned for so long at a time.
const SLICE_US: u64 = 60_000_000;
/// Shows under way at one time.
const SHOWN_AT_ONCE: usize = 200;
/// Until the last message must have come.
const REST_US: u64 = 30_000_000;

/// How large, and for how long.
#[derive(Debug, Clone)]
pub struct DaySettings {
    /// Servers.
    pub servers: usize,
    /// People.
    pub people: u64,
    /// Groups.
    pub groups: u64,
    /// Messages a day.
    pub messages_a_day: u64,
    /// At which hour it begins.
    pub from_hour: u64,
    /// Virtual minutes.
    pub minutes: u64,
    /// All chance comes from it.
    pub seed: u64,
}

impl DaySettings {
    /// The year itself, so many times, for a whole day.
    pub fn year_1983(times: u64) -> Self {
        Self {
            servers: 17,
            people: 4_400,
            groups: 1_500,
            messages_a_day: 8_500 * times,
            from_hour: 0,
            minutes: 24 * 60,
            seed: 1,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Day {
    /// What was played.
    pub settings: DaySettings,
    /// Messages handed in.
    pub messages: u64,
    /// Copies that were to come into mailboxes, two for each recipient.
    pub copies: u64,
    /// Messages of which not all copies came.
    pub missing: u64,
    /// Messages of which more copies came than were to come.
    pub doubled: u64,
    /// How what was asked ended.
    pub ends: Ends,
    /// By server.
    pub servers: Vec<ServerCost>,
    /// Processor time of all cores.
    pub processor: Duration,
    /// Memory of the process at the end.
    pub memory: u64,
    /// Virtual microseconds.
    pub virtual_us: u64,
    /// Events.
    pub events: u64,
    /// Until each message's first copy was durable, in order.
    pub first_us: Vec<u64>,
    /// Until its last copy was.
    pub last_us: Vec<u64>,
    /// What must not be, and was.
    pub violations: Vec<String>,
}

struct Town {
    model: Model,
    settings: DaySettings,
    groups: Vec<(Name, BTreeSet<u64>)>,
    everybody: (Name, BTreeSet<u64>),
    incarnations: BTreeMap<u64, Incarnation>,
}

/// Plays it.
pub fn day(settings: &DaySettings) -> Result<Day, SetupFailed> {
    let mut town = Town::new(settings)?;
    let begun_us = town.model.cluster.now_us();
    let mut ends = Ends::default();
    town.model.measure();
    let spent = Spent::from_now();
    let (mut messages, mut copies, mut missing, mut doubled) = (0, 0, 0, 0);
    let (mut first_us, mut last_us) = (Vec::new(), Vec::new());
    let until_us = begun_us + settings.minutes * 60_000_000;
    while town.model.cluster.now_us() < until_us {
        let slice_us = SLICE_US.min(until_us - town.model.cluster.now_us());
        let deeds = town.slice(begun_us, slice_us);
        for (_, expected) in deeds.iter().filter_map(|deed| deed.follow) {
            messages += 1;
            copies += expected;
        }
        let next_us = town.model.cluster.now_us() + slice_us;
        town.fetch(slice_us);
        town.model.play(deeds, next_us, &mut ends);
        // What has arrived needs no more following.
        if let Some(meter) = &mut town.model.cluster.meter {
            meter.journeys.retain(|_, journey| {
                if journey.copies < journey.expected {
                    return true;
                }
                doubled += u64::from(journey.copies > journey.expected);
                first_us.extend(journey.first_us.map(|at_us| at_us - journey.submitted_us));
                last_us.push(journey.last_us - journey.submitted_us);
                false
            });
        }
    }
    let rest_us = town.model.cluster.now_us() + REST_US;
    town.model.pass_until(rest_us, &mut ends);
    let meter = town.model.cluster.meter.get_or_insert_default();
    for journey in meter.journeys.values() {
        missing += u64::from(journey.lacks());
        doubled += u64::from(journey.copies > journey.expected);
        first_us.extend(journey.first_us.map(|at_us| at_us - journey.submitted_us));
        last_us.push(journey.last_us - journey.submitted_us);
    }
    first_us.sort_unstable();
    last_us.sort_unstable();
    let processor = meter.sum().core.mul_f64(spent.share());
    let servers = meter.servers.values().cloned().collect();
    let violations = town.model.cluster.violations.iter();
    let violations = violations.map(|v| format!("{}: {}", v.invariant, v.what));
    Ok(Day {
        settings: settings.clone(),
        messages,
        copies,
        missing,
        doubled,
        ends,
        servers,
        processor,
        memory: resident_bytes(),
        virtual_us: town.model.cluster.now_us() - begun_us,
        events: town.model.cluster.events,
        violations: violations.collect(),
        first_us,
        last_us,
    })
}

impl Town {
    fn new(settings: &DaySettings) -> Result<Self, SetupFailed> {
        let size = Size {
            servers: settings.servers,
            names: settings.people,
            registries: settings.servers,
            holders: 3,
            filled: settings.servers,
            seed: settings.seed,
            verbose: Verbosity::Silent,
        };
        let mut model = Model::new(size)?;
        model.populate()?;
        let mut town = Self {
            groups: Vec::new(),
            everybody: (name("all^@r0"), BTreeSet::new()),
            incarnations: BTreeMap::new(),
            settings: settings.clone(),
            model,
        };
        town.gather()?;
        town.meet()?;
        town.model.cluster.run_for(10_000);
        Ok(town)
    }

    /// The groups: half of them have up to four members, a tenth more than eight, one in a hundred more than thirty.
    fn gather(&mut self) -> Result<(), SetupFailed> {
        let people = self.model.size.present();
        for number in 0..self.settings.groups {
            let dice = &mut self.model.dice;
            let many = match dice.below(100) {
                0..50 => dice.between(2, 4),
                50..90 => dice.between(4, 8),
                90..99 => dice.between(9, 30),
                _ => dice.between(31, 127),
            };
            let members: BTreeSet<u64> = (0..many).map(|_| dice.below(people)).collect();
            let registry = number as usize % self.model.size.registries;
            let group = name(&format!("g{number}^@r{registry}"));
            let list: Vec<u64> = members.iter().copied().collect();
            self.model.group(&group, &list)?;
            self.groups.push((group, members));
        }
        let everybody: Vec<u64> = (0..people).filter(|who| who % 10 < 3).collect();
        let (group, members) = &mut self.everybody;
        members.extend(everybody.iter().copied());
        let group = group.clone();
        self.model.group(&group, &everybody)
    }

    /// Who they are: whoever fetches mail has said who he is.
    fn meet(&mut self) -> Result<(), SetupFailed> {
        let all: Vec<u64> = (0..self.model.size.present()).collect();
        for some in all.chunks(SHOWN_AT_ONCE) {
            let show = |who: &u64| {
                let name = self.model.person(*who);
                (0, Speaker::Operator, Request::Show { name })
            };
            let asks = some.iter().map(show).collect();
            for (who, outcome) in some.iter().zip(self.model.cluster.ask_all(asks)) {
                match outcome {
                    Outcome::Done(Reply::Entry(entry)) => {
                        self.incarnations.insert(*who, entry.incarnation);
                    }
                    other => return Err(SetupFailed(format!("{who} is shown as {other:?}"))),
                }
            }
        }
        Ok(())
    }

    /// The messages of the next minute.
    fn slice(&mut self, begun_us: u64, slice_us: u64) -> Vec<Deed> {
        let now_us = self.model.cluster.now_us();
        let hour = (self.settings.from_hour + (now_us - begun_us) / 3_600_000_000) % 24;
        let weight = HOURS.get(hour as usize).copied().unwrap_or(0);
        let all: u64 = HOURS.iter().sum();
        let most = self.settings.messages_a_day * weight * slice_us;
        let hour_us = all * 3_600_000_000;
        // What is over after whole messages is left to chance, so that quiet hours have some too.
        let over = most % hour_us;
        let count = most / hour_us + u64::from(self.model.dice.below(hour_us) < over);
        let mut times: Vec<u64> = (0..count)
            .map(|_| now_us + self.model.dice.below(slice_us))
            .collect();
        times.sort_unstable();
        times.into_iter().map(|at_us| self.message(at_us)).collect()
    }

    fn message(&mut self, at_us: u64) -> Deed {
        let chance = self.model.dice.below(1_000);
        let (to, reached) = if chance < TO_ALL_PERMILLE {
            (vec![self.everybody.0.clone()], self.everybody.1.len())
        } else if chance < TO_ALL_PERMILLE + TO_GROUPS_PERMILLE {
            match self.model.dice.pick(&self.groups) {
                Some((group, members)) => (vec![group.clone()], members.len()),
                None => (vec![self.everybody.0.clone()], self.everybody.1.len()),
            }
        } else {
            let many = self.model.dice.between(1, 4);
            let people: BTreeSet<u64> = (0..many).map(|_| self.model.anybody()).collect();
            let names: Vec<Name> = people.iter().map(|who| self.model.person(*who)).collect();
            (names, people.len())
        };
        let copies = reached as u64 * 2.min(self.settings.servers as u64);
        let (id, submission) = self.model.letter(at_us, to);
        Deed {
            at_us,
            node: self.model.anywhere(),
            speaker: Speaker::Operator,
            ask: Ask::Submit(Box::new(submission)),
            follow: Some((id, copies)),
        }
    }

    /// Some fetch their mail.
    fn fetch(&mut self, slice_us: u64) {
        let day_us = 24 * 3_600_000_000;
        let most = self.settings.people * FETCHES_A_DAY * slice_us;
        let over = most % day_us;
        let count = most / day_us + u64::from(self.model.dice.below(day_us) < over);
        for _ in 0..count {
            let who = self.model.anybody();
            let Some(incarnation) = self.incarnations.get(&who).copied() else {
                continue;
            };
            let name = self.model.person(who);
            let speaker = Speaker::Individual {
                name: name.clone(),
                incarnation,
            };
            let node = self.model.anywhere();
            self.model.read_mail(node, speaker, name);
        }
    }
}
