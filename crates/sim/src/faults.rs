//! Which faults a run has, and when: drawn from the seed before the run begins.
//!
//! Each run has some kinds of faults and not others, so that every pair of kinds meets in some
//! run. Must stay within the failure model: at most one disk is lost before its content has been
//! copied again.

use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::disk::DiskSpeed;
use crate::event::NodeIndex;
use crate::network::{Cut, Weather};
use crate::node::{Doom, Fate, Moment, Step};

/// Something that goes wrong, or is mended.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A machine's power goes.
    Crash(NodeIndex),
    /// Everybody's power goes.
    Blackout,
    /// Something waits for its moment.
    Doom(NodeIndex, Doom),
    /// A disk is lost for good.
    Destroy(NodeIndex),
    /// Links are cut.
    Cut {
        /// Between these,
        these: Vec<NodeIndex>,
        /// and those,
        those: Vec<NodeIndex>,
        /// one way or both.
        way: Cut,
    },
    /// All links are mended.
    Mend,
    /// The network's weather changes.
    Weather(Weather),
    /// A disk becomes slow or usual.
    Speed(NodeIndex, DiskSpeed),
    /// A disk is nearly full, or no longer.
    Full(NodeIndex, bool),
    /// A clock jumps.
    Jump(NodeIndex, i64),
    /// So many in a thousand answers to clients are lost.
    ClientLoss(u64),
    /// An operator retires a server that is well.
    Retire(NodeIndex),
    /// A new server is let in.
    Grow,
}

/// The faults of a run, in order.
pub(crate) type Plan = Vec<(u64, Fault)>;

/// Draws the faults of a run of `length_us` from `start_us` on.
pub(crate) fn plan(dice: &mut Dice, nodes: usize, start_us: u64, length_us: u64) -> Plan {
    let mut plan = Plan::new();
    let at = |dice: &mut Dice| start_us + dice.below(length_us);
    let node = |dice: &mut Dice| dice.index(nodes);
    if dice.chance(500) {
        for _ in 0..dice.between(1, 4) {
            plan.push((at(dice), Fault::Crash(node(dice))));
        }
    }
    if dice.chance(400) {
        for _ in 0..dice.between(1, 3) {
            let doom = Doom {
                after: any_moment(dice),
                fate: if dice.chance(500) {
                    Fate::Crash
                } else {
                    Fate::Blackout
                },
            };
            plan.push((at(dice), Fault::Doom(node(dice), doom)));
        }
    }
    if dice.chance(200) {
        plan.push((at(dice), Fault::Blackout));
    }
    if dice.chance(600) {
        for _ in 0..dice.between(1, 3) {
            let begins_us = at(dice);
            plan.push((begins_us, cut(dice, nodes)));
            plan.push((begins_us + dice.between(1_000_000, 40_000_000), Fault::Mend));
        }
    }
    // Last among those that can meet it: a lost disk is worst while something else is wrong.
    if nodes > 1 && dice.chance(400) {
        let lost = if dice.chance(400) {
            Fault::Destroy(node(dice))
        } else {
            let doom = Doom {
                after: match dice.below(10) {
                    0..4 => Moment::Accepted,
                    4..6 => Moment::Written,
                    _ => any_step(dice),
                },
                fate: Fate::Destroy,
            };
            Fault::Doom(node(dice), doom)
        };
        plan.push((at(dice), lost));
    } else if nodes > 2 && dice.chance(150) {
        plan.push((at(dice), Fault::Retire(node(dice))));
    } else if dice.chance(150) {
        plan.push((at(dice), Fault::Grow));
    }
    if dice.chance(500) {
        let weather = Weather {
            least_us: 200,
            most_us: dice.between(2_000, 200_000),
            tail_permille: dice.below(50),
            loss_permille: dice.below(150),
            double_permille: dice.below(150),
        };
        plan.push((start_us, Fault::Weather(weather)));
    }
    if dice.chance(300) {
        let (slow, begins_us) = (node(dice), at(dice));
        plan.push((begins_us, Fault::Speed(slow, DiskSpeed::Slow)));
        let ends_us = begins_us + dice.between(1_000_000, 30_000_000);
        plan.push((ends_us, Fault::Speed(slow, DiskSpeed::Usual)));
    }
    if dice.chance(200) {
        let (full, begins_us) = (node(dice), at(dice));
        plan.push((begins_us, Fault::Full(full, true)));
        let ends_us = begins_us + dice.between(1_000_000, 30_000_000);
        plan.push((ends_us, Fault::Full(full, false)));
    }
    if dice.chance(500) {
        for _ in 0..dice.between(1, 4) {
            let by_ms = dice.below(3_600_000) as i64 - 1_800_000;
            plan.push((at(dice), Fault::Jump(node(dice), by_ms)));
        }
    }
    if dice.chance(500) {
        plan.push((start_us, Fault::ClientLoss(dice.below(150))));
    }
    plan.sort_by_key(|(at_us, _)| *at_us);
    plan
}

fn any_moment(dice: &mut Dice) -> Moment {
    match dice.below(8) {
        0 => Moment::Accepted,
        1 => Moment::Written,
        2 => Moment::Sent,
        3 => Moment::Commit,
        _ => any_step(dice),
    }
}

fn any_step(dice: &mut Dice) -> Moment {
    Moment::Step(Step::ALL[dice.index(Step::ALL.len())])
}

fn cut(dice: &mut Dice, nodes: usize) -> Fault {
    let mut all: Vec<NodeIndex> = (0..nodes).collect();
    dice.shuffle(&mut all);
    let those = all.split_off(dice.between(1, (nodes as u64 / 2).max(1)) as usize);
    Fault::Cut {
        these: all,
        those,
        way: if dice.chance(700) {
            Cut::BothWays
        } else {
            Cut::OneWay
        },
    }
}

/// Lets a fault happen. What needs an operator is left to the keeper, and named.
pub(crate) fn strike(cluster: &mut Cluster, fault: &Fault) -> Option<Job> {
    cluster.say(|| format!("FAULT {fault:?}"));
    let usable = |node: &NodeIndex| !cluster.nodes()[*node].gone;
    match fault {
        Fault::Crash(node) => cluster.crash(*node),
        Fault::Blackout => cluster.blackout(),
        Fault::Doom(node, doom) if usable(node) => cluster.doom(*node, Some(*doom)),
        Fault::Destroy(node) if usable(node) => cluster.destroy(*node),
        Fault::Doom(..) | Fault::Destroy(_) => {}
        Fault::Cut { these, those, way } => cluster.network.cut(these, those, *way),
        Fault::Mend => cluster.network.heal(),
        Fault::Weather(weather) => cluster.network.set_weather(*weather),
        Fault::Speed(node, speed) => cluster.node_mut(*node).disk.set_speed(*speed),
        Fault::Full(node, full) => cluster.disk_nearly_full(*node, *full),
        Fault::Jump(node, by_ms) => cluster.jump(*node, *by_ms),
        Fault::ClientLoss(permille) => cluster.set_client_loss(*permille),
        Fault::Retire(node) if usable(node) => return Some(Job::Retire(*node)),
        Fault::Retire(_) => {}
        Fault::Grow => return Some(Job::Grow),
    }
    None
}

/// What an operator has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Relieve a server of all it has.
    Retire(NodeIndex),
    /// Let a new server in.
    Grow,
}

/// Everything is mended; nothing more goes wrong.
pub(crate) fn heal(cluster: &mut Cluster) {
    cluster.network.heal();
    cluster.network.set_weather(Weather::FAIR);
    cluster.set_client_loss(0);
    for node in 0..cluster.nodes().len() {
        cluster.doom(node, None);
        cluster.node_mut(node).disk.set_speed(DiskSpeed::Usual);
        cluster.disk_nearly_full(node, false);
    }
}
