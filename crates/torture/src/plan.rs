//! Which faults a round has, and when: drawn from the seed before the round begins.
//!
//! Must stay within the failure model: a disk is lost for good only when everything has settled, and never two at once; and it
//! depends on nothing but seed, round and the run's shape, so that the same seed has the same faults.

use std::fmt;

use crate::dice::Dice;
use crate::disk::Full;

/// A machine gets this long to be well again before it is struck again: a server under a debugger's build starts in 2 s.
const BREATH_MS: u64 = 6_000;
/// Two servers' clocks stay closer than the two hours after which one would not take the other's changes.
const CLOCK_OFF_MS: i64 = 40 * 60 * 1_000;
/// A server looks at its disk every 5 s.
const DISK_NOTICED_MS: u64 = 8_000;
/// A deputy takes over after 15 s of silence: some silences are longer.
const LONGEST_SILENCE_MS: u64 = 20_000;

/// Data that does not get through: from one machine to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    /// From this machine
    pub(crate) from: usize,
    /// to that one.
    pub(crate) to: usize,
}

/// Something that goes wrong, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and started again.
    Kill { machine: usize, down_ms: u64 },
    /// SIGSTOP, and SIGCONT.
    Stop { machine: usize, for_ms: u64 },
    /// SIGTERM, and started again.
    Terminate { machine: usize, down_ms: u64 },
    /// SIGTERM, and started again with a clock that is off by so much from then on.
    Clock {
        machine: usize,
        down_ms: u64,
        off_ms: i64,
    },
    /// What goes these ways is swallowed.
    Cut { ways: Vec<Way>, for_ms: u64 },
    /// All connections of a machine with the others break off.
    Sever { machine: usize },
    /// A machine's disk gets full, and is freed again.
    Disk {
        machine: usize,
        for_ms: u64,
        full: Full,
    },
    /// All machines' power goes at once.
    Blackout { down_ms: u64 },
}

impl Fault {
    /// What it is called in the report.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "killed (SIGKILL)",
            Self::Stop { .. } => "stopped (SIGSTOP)",
            Self::Terminate { .. } => "ended (SIGTERM)",
            Self::Clock { .. } => "clock moved",
            Self::Cut { ways, .. } => match ways.len() {
                1 => "cut one way",
                2 => "cut between two",
                _ => "cut off",
            },
            Self::Sever { .. } => "connections broken",
            Self::Disk {
                full: Full::Reserve,
                ..
            } => "disk nearly full",
            Self::Disk {
                full: Full::Whole, ..
            } => "disk full",
            Self::Blackout { .. } => "blackout (SIGKILL to all)",
        }
    }

    /// How long it lasts.
    pub(crate) fn lasts_ms(&self) -> u64 {
        match self {
            Self::Kill { down_ms, .. }
            | Self::Terminate { down_ms, .. }
            | Self::Clock { down_ms, .. }
            | Self::Blackout { down_ms } => *down_ms,
            Self::Stop { for_ms, .. } | Self::Cut { for_ms, .. } | Self::Disk { for_ms, .. } => {
                *for_ms
            }
            Self::Sever { .. } => 0,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        let ms = self.lasts_ms();
        match self {
            Self::Kill { machine, .. }
            | Self::Stop { machine, .. }
            | Self::Terminate { machine, .. }
            | Self::Disk { machine, .. }
            | Self::Sever { machine } => write!(f, "machine {}: {kind}, {ms} ms", machine + 1),
            Self::Clock {
                machine, off_ms, ..
            } => {
                write!(f, "machine {}: {kind} to {off_ms} ms", machine + 1)
            }
            Self::Cut { ways, .. } => {
                write!(f, "{kind}, {ms} ms:")?;
                for way in ways {
                    write!(f, " {}>{}", way.from + 1, way.to + 1)?;
                }
                Ok(())
            }
            Self::Blackout { .. } => write!(f, "{kind}, {ms} ms"),
        }
    }
}

/// A fault and its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Strike {
    /// Milliseconds after the round's begin.
    pub(crate) at_ms: u64,
    /// What.
    pub(crate) fault: Fault,
}

/// How a machine whose disk is lost is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Successor {
    /// First a server of another name joins, then the lost one is retired.
    NewName,
    /// The lost one is retired, then a server of its name joins.
    OldName,
}

/// A machine and all that is on it, lost for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Which machine.
    pub(crate) machine: usize,
    /// Milliseconds after the clients went on.
    pub(crate) at_ms: u64,
    /// Before that it is cut off from the others for so long, and goes on serving its clients; 0: it is not.
    pub(crate) cut_off_ms: u64,
    /// Milliseconds until somebody rebuilds it.
    pub(crate) unnoticed_ms: u64,
    /// How.
    pub(crate) successor: Successor,
}

/// What operators do, or have to do, when all that a round broke is well again; clients go on meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum After {
    /// A machine is lost, and rebuilt.
    Loss(Loss),
    /// Each server's program is replaced, one after the other: in this order, with pauses.
    Roll { order: Vec<usize>, pause_ms: u64 },
    /// A server comes, gets its share, and is retired again.
    Newcomer { by: usize, stays_ms: u64 },
}

/// A round: faults, then all heal and everything is checked; then something greater, and everything is checked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    /// In order.
    pub(crate) strikes: Vec<Strike>,
    /// After the first check.
    pub(crate) after: After,
}

/// Draws a round: nothing but these four decides it.
pub(crate) fn round(seed: u64, round: u64, machines: usize, length_ms: u64) -> Round {
    let mut dice = Dice::new(seed, 1_000 + round);
    let mut strikes = Vec::new();
    let mut busy_until_ms = vec![0; machines];
    let mut at_ms = 1_000;
    while at_ms + 2_000 < length_ms {
        if let Some(fault) = fault(&mut dice, &mut busy_until_ms, at_ms, length_ms - at_ms) {
            strikes.push(Strike { at_ms, fault });
        }
        at_ms += dice.between(800, 5_000);
    }
    // Every other round a loss, whatever the seed is: a short run has one. Of two machines none may be lost for good.
    let after = match round % 4 {
        0 | 2 if machines > 2 => After::Loss(loss(&mut dice, machines)),
        0 | 1 => {
            let first = dice.index(machines);
            After::Roll {
                order: (0..machines).map(|n| (first + n) % machines).collect(),
                pause_ms: dice.between(0, 3_000),
            }
        }
        _ => After::Newcomer {
            by: dice.index(machines),
            stays_ms: dice.between(2_000, 8_000),
        },
    };
    Round { strikes, after }
}

fn loss(dice: &mut Dice, machines: usize) -> Loss {
    Loss {
        machine: dice.index(machines),
        at_ms: dice.between(1_500, 5_000),
        unnoticed_ms: dice.between(4_500, 9_000),
        successor: match dice.chance(50) {
            true => Successor::NewName,
            false => Successor::OldName,
        },
        cut_off_ms: match dice.chance(50) {
            true => dice.between(1_000, 12_000),
            false => 0,
        },
    }
}

/// Both ways between two machines.
pub(crate) fn between(one: usize, other: usize) -> [Way; 2] {
    let (from, to) = (one, other);
    [Way { from, to }, Way { from: to, to: from }]
}

/// One fault at this moment, if one can be that leaves somebody alone.
fn fault(dice: &mut Dice, busy_until_ms: &mut [u64], at_ms: u64, left_ms: u64) -> Option<Fault> {
    let machines = busy_until_ms.len();
    let lasts_ms = match dice.chance(20) {
        true => dice.between(5_000, LONGEST_SILENCE_MS),
        false => dice.between(200, 6_000),
    }
    .min(left_ms);
    let kind = dice.below(100);
    let machine = dice.index(machines);
    let other = (machine + 1 + dice.index(machines.saturating_sub(1))) % machines.max(1);
    let off_ms = CLOCK_OFF_MS - dice.below(2 * CLOCK_OFF_MS as u64) as i64;
    let is_free = |machine: usize| {
        busy_until_ms
            .get(machine)
            .is_some_and(|until| *until <= at_ms)
    };
    let free = (0..machines).filter(|machine| is_free(*machine)).count();
    if kind < 4 {
        // Only when nothing else is wrong.
        if free < machines {
            return None;
        }
        busy_until_ms.fill(at_ms + lasts_ms + BREATH_MS);
        return Some(Fault::Blackout { down_ms: lasts_ms });
    }
    // Somebody is left alone, so that there is always service to be had.
    if free < 2 || !is_free(machine) {
        return None;
    }
    let fault = match kind {
        4..30 => Fault::Kill {
            machine,
            down_ms: lasts_ms,
        },
        30..48 => Fault::Stop {
            machine,
            for_ms: lasts_ms,
        },
        48..58 => Fault::Terminate {
            machine,
            down_ms: lasts_ms,
        },
        58..63 => Fault::Clock {
            machine,
            down_ms: lasts_ms.min(3_000),
            off_ms,
        },
        63..75 => {
            let others = (0..machines).filter(|other| *other != machine);
            let ways = others.flat_map(|other| between(machine, other));
            Fault::Cut {
                ways: ways.collect(),
                for_ms: lasts_ms,
            }
        }
        75..84 => Fault::Cut {
            ways: between(machine, other).to_vec(),
            for_ms: lasts_ms,
        },
        84..88 => Fault::Disk {
            machine,
            // It looks every five seconds.
            for_ms: lasts_ms.max(DISK_NOTICED_MS).min(left_ms),
            full: match dice.chance(50) {
                true => Full::Reserve,
                false => Full::Whole,
            },
        },
        88..92 => Fault::Cut {
            ways: vec![Way {
                from: machine,
                to: other,
            }],
            for_ms: lasts_ms,
        },
        _ => Fault::Sever { machine },
    };
    let until_ms = at_ms
        + match fault {
            Fault::Sever { .. } => 0,
            _ => fault.lasts_ms() + BREATH_MS,
        };
    if let Some(busy) = busy_until_ms.get_mut(machine) {
        *busy = until_ms;
    }
    Some(fault)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_has_the_same_faults_and_another_has_others() {
        assert_eq!(round(7, 3, 3, 60_000), round(7, 3, 3, 60_000));
        assert_ne!(round(7, 3, 3, 60_000), round(8, 3, 3, 60_000));
        assert_ne!(round(7, 3, 3, 60_000), round(7, 4, 3, 60_000));
    }

    #[test]
    fn every_kind_of_fault_comes_and_somebody_is_always_left_alone() {
        let mut kinds = BTreeSet::new();
        for seed in 0..100 {
            let round = round(seed, 0, 3, 60_000);
            assert!(round.strikes.len() > 3, "seed {seed}: {round:?}");
            assert!(matches!(round.after, After::Loss(_)));
            for strike in &round.strikes {
                kinds.insert(strike.fault.kind());
                assert!(strike.at_ms + strike.fault.lasts_ms() <= 60_000);
            }
        }
        assert_eq!(kinds.len(), 11, "{kinds:?}");
    }
}
