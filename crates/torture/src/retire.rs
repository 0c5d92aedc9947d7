//! A server that is full of mail is retired while mail arrives and people read: nothing may be lost, and it is to say when it may be
//! switched off.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use grapevine_model::{EntryChange, EntryKind, ImportedEntry, Reply, Request, ServerName};
use grapevine_user::GrapevineUser;

use crate::check;
use crate::dice::Dice;
use crate::machine::{FIRST_REGISTRY, Machines};
use crate::pause;
use crate::senders::Sender;
use crate::world::{PROGRAMS, World, name};

/// Entries of an import: well below what one request may hold.
const AT_ONCE: usize = 250;
/// Recipients of one of the messages that fill the inboxes.
const TOGETHER: usize = 100;
/// Everything is handed over within this, on a busy machine and by a program that was built for debugging.
const HANDED_OVER: Duration = Duration::from_secs(900);
/// Clients go on for so long before, to be seen at work.
const BEFORE: Duration = Duration::from_secs(5);

/// How much there is to be handed over.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Inboxes that are only written to.
    pub inboxes: usize,
    /// Copies in them, together.
    pub copies: usize,
}

/// What it took.
#[derive(Debug)]
pub(crate) struct Took {
    filled: Duration,
    accepted: Duration,
    handed_over: Duration,
}

impl Took {
    /// For a person.
    pub(crate) fn text(&self, load: Load) -> String {
        format!(
            "{} copies in {} inboxes: handed in within {:.1?}; the order to retire was answered within {:.1?}, and the server said after {:.1?} that it may be switched off\n",
            load.copies, load.inboxes, self.filled, self.accepted, self.handed_over
        )
    }
}

/// The names of the inboxes that are only written to.
pub(crate) fn names(load: Load) -> Vec<String> {
    (0..load.inboxes)
        .map(|n| format!("r{n}@{FIRST_REGISTRY}"))
        .collect()
}

/// Until a server says itself that it may be switched off.
fn leaves(machines: &Machines, machine: usize, begun: Instant) -> anyhow::Result<()> {
    while !machines
        .log(machine)
        .contains("retired: everything is handed over")
    {
        ensure!(
            begun.elapsed() < HANDED_OVER,
            "{} does not say that it has left",
            machines.name(machine)
        );
        pause(Duration::from_millis(200));
    }
    Ok(())
}

/// A server comes while clients go on, holds all registries and an inbox, and is retired again. Says how long it took to leave.
///
/// # Errors
/// It does not come, or does not leave.
pub(crate) fn comes_and_goes(
    world: &World,
    machines: &mut Machines,
    by: usize,
    stays: Duration,
) -> anyhow::Result<Duration> {
    let machine = machines.add(by)?;
    let new = machines.name(machine);
    for registry in [FIRST_REGISTRY, crate::world::SECOND_REGISTRY] {
        machines.operator(by, &["registry", "holders", registry, "--add", &new])?;
    }
    let operator = check::operator(world, &machines.dir(by));
    let sites = [new.as_str(), &machines.name(by)].map(str::parse::<ServerName>);
    let sites: Result<Vec<_>, _> = sites.into_iter().collect();
    let sites = sites?;
    for owner in PROGRAMS.into_iter().take(1).chain(["p0@pa.example"]) {
        let request = Request::Change {
            name: name(owner)?,
            change: EntryChange::Sites(sites.clone()),
        };
        world.done(&operator, request)?;
    }
    pause(stays);
    let begun = Instant::now();
    machines.retire(&new, by)?;
    leaves(machines, machine, begun)?;
    let took = begun.elapsed();
    machines.remove_last().context("switching it off")?;
    Ok(took)
}

/// Makes the inboxes, all of them with the server that is going to leave as one of their two sites.
///
/// # Errors
/// A server says no.
pub(crate) fn make(
    world: &World,
    operator: &GrapevineUser,
    servers: &[String],
) -> anyhow::Result<()> {
    let servers: Result<Vec<ServerName>, _> = servers.iter().map(|name| name.parse()).collect();
    let servers = servers?;
    let (leaving, staying) = servers.split_last().context("no servers")?;
    let mut stay = staying.iter().cycle();
    for some in world.crowd.chunks(AT_ONCE) {
        let entry = |who: &String| {
            let mut entry = ImportedEntry::new(name(who)?, EntryKind::Individual);
            entry.sites = vec![leaving.clone()];
            entry.sites.extend(stay.next().cloned());
            Ok(entry)
        };
        let entries: anyhow::Result<Vec<ImportedEntry>> = some.iter().map(entry).collect();
        let request = Request::Import {
            registry: FIRST_REGISTRY.parse()?,
            entries: entries?,
        };
        match world.call(operator, request)? {
            Reply::Imported(_) => {}
            reply => bail!("an import: {reply:?}"),
        }
    }
    Ok(())
}

/// Fills them, has clients go on, retires the last machine's server, and switches it off when it has left.
///
/// # Errors
/// It does not leave.
pub(crate) fn retire(
    world: &World,
    machines: &mut Machines,
    seed: u64,
    load: Load,
) -> anyhow::Result<Took> {
    let begun = Instant::now();
    let mut sender = Sender::new(world, 90, Dice::new(seed, 90));
    for round in 0..load.copies / TOGETHER.max(1) {
        let some = world
            .crowd
            .iter()
            .cycle()
            .skip(round * TOGETHER)
            .take(TOGETHER);
        let to: Vec<String> = some.cloned().collect();
        ensure!(sender.fills(to), "message {round} was not taken");
    }
    let filled = begun.elapsed();
    check::settle(world, machines)?;
    world.open();
    pause(BEFORE);
    let last = machines.count() - 1;
    let leaving = machines.name(last);
    let begun = Instant::now();
    machines.retire(&leaving, last)?;
    let accepted = begun.elapsed();
    leaves(machines, last, begun)?;
    let handed_over = begun.elapsed();
    machines.remove_last().context("switching it off")?;
    pause(BEFORE);
    Ok(Took {
        filled,
        accepted,
        handed_over,
    })
}
