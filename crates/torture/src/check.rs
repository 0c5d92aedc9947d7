//! After everything has healed: waits until the servers have nothing left to do, cuts them off from each other, and asks each
//! one alone for all that it has.
//!
//! Must wait for a state with a limit, and never take silence for an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use grapevine_model::{
    GroupList, InboxListing, Name, RegistryName, Reply, Request, ServerName, ServerStatus,
};
use grapevine_user::GrapevineUser;

use crate::folders::{BOX, INBOX};
use crate::machine::{Machines, Place};
use crate::mail_programs::{self, seen};
use crate::oracle::{Found, Key};
use crate::pause;
use crate::plan::Way;
use crate::wire::Smtp;
use crate::wire_imap::Shown;
use crate::world::{CLUBS, PROGRAMS, WEB, World, name, password_of};

/// What was accepted is delivered, and all copies are equal, within this after everything has healed: a recipient is tried again
/// after half a second, doubling with each failure, and a machine here is busy with three servers.
const SETTLED: Duration = Duration::from_secs(120);
/// What takes longer is told.
const TELL: Duration = Duration::from_secs(5);
/// Silence is noticed within this.
const NOTICED: Duration = Duration::from_secs(20);
/// Members in a page.
const PAGE: u32 = 1_000;

/// A machine's operator.
pub(crate) fn operator(world: &World, dir: &Path) -> GrapevineUser {
    let _runtime = world.runtime.enter();
    GrapevineUser::operator(&dir.join("admin.sock"))
}

fn status(world: &World, machines: &Machines, machine: usize) -> anyhow::Result<ServerStatus> {
    let user = operator(world, &machines.dir(machine));
    match world.call(&user, Request::Status)? {
        Reply::Status(status) => Ok(*status),
        reply => bail!("status: {reply:?}"),
    }
}

/// What a server has still to do; none if nothing.
fn unsettled(statuses: &[ServerStatus]) -> Option<String> {
    let mut digests: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for status in statuses {
        let server = &status.server;
        if status.peers.len() + 1 != statuses.len() {
            return Some(format!("{server} knows {} others", status.peers.len()));
        }
        for peer in &status.peers {
            if !peer.up || peer.behind > 0 {
                let (other, behind) = (&peer.server, peer.behind);
                return Some(format!(
                    "{server}: {other} up: {}, behind: {behind}",
                    peer.up
                ));
            }
        }
        let queue = &status.queue;
        // A deputy whose custodian's last word was lost asks after a minute: nobody waits for that.
        if queue.messages + queue.recipients > 0 {
            return Some(format!("{server}: {queue:?}"));
        }
        if !status.fetching.is_empty() {
            return Some(format!("{server} fetches {:?}", status.fetching));
        }
        for (registry, entries, digest) in &status.registries {
            let here = (*entries, *digest);
            let first = digests.entry(registry.to_string()).or_insert(here);
            if *first != here {
                return Some(format!(
                    "{server}: {registry} is {here:?}, elsewhere {first:?}"
                ));
            }
        }
    }
    None
}

/// Waits until all servers hear each other, have equal copies and no message under way.
///
/// # Errors
/// They have not within the limit: what was accepted is not delivered.
pub(crate) fn settle(world: &World, machines: &Machines) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut told = begun;
    loop {
        let all = 0..machines.count();
        let statuses: anyhow::Result<Vec<_>> = all
            .map(|machine| status(world, machines, machine))
            .collect();
        let why = match statuses {
            Ok(statuses) => match unsettled(&statuses) {
                None => return Ok(begun.elapsed()),
                Some(why) => why,
            },
            Err(error) => format!("{error:#}"),
        };
        if told.elapsed() > TELL {
            told = Instant::now();
            tell(&format!("not settled after {:.0?}: {why}", begun.elapsed()));
            tell(&waiting(machines));
        }
        if begun.elapsed() > SETTLED {
            bail!("not settled {SETTLED:?} after all has healed: {why}");
        }
        pause(Duration::from_millis(200));
    }
}

/// What waits at the servers, and why: the first of each.
fn waiting(machines: &Machines) -> String {
    let all = (0..machines.count()).map(|machine| {
        let queue = machines.operator(machine, &["queue"]);
        let text = queue.unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<&str> = text.lines().take(6).collect();
        format!("{}:\n{}\n", machines.name(machine), lines.join("\n"))
    });
    all.collect()
}

/// All ways between all machines.
fn every_way(machines: usize) -> Vec<Way> {
    let from = 0..machines;
    from.flat_map(|from| (0..machines).map(move |to| Way { from, to }))
        .filter(|way| way.from != way.to)
        .collect()
}

/// Asks each server alone, and holds its answers against what the clients know.
///
/// # Errors
/// A server does not answer its operator.
pub(crate) fn account(world: &World, machines: &Machines) -> anyhow::Result<()> {
    calm_folders(world, machines)?;
    let holders = holders(world, machines)?;
    let ways = every_way(machines.count());
    machines.relays.cut(&ways);
    let checked = alone(world, machines, &holders);
    machines.relays.heal(&ways);
    checked?;
    world.oracle().explained();
    Ok(())
}

/// Who holds which registry. A site of an inbox that does not hold its owner's cannot tell, alone, whose it is.
type Holders = BTreeMap<RegistryName, Vec<ServerName>>;

fn holders(world: &World, machines: &Machines) -> anyhow::Result<Holders> {
    let user = operator(world, &machines.dir(0));
    let mut holders = Holders::new();
    for registry in [
        crate::machine::FIRST_REGISTRY,
        crate::world::SECOND_REGISTRY,
    ] {
        let registry: RegistryName = registry.parse()?;
        let asked = Request::RegistryShow {
            registry: registry.clone(),
        };
        match world.runtime.block_on(user.call(asked))? {
            Reply::Registry(view) => holders.insert(registry, view.holders),
            other => bail!("{registry}: {other:?}"),
        };
    }
    Ok(holders)
}

/// The sites of an inbox that ought to answer alone and have not; all that is known if nobody has.
fn silent(
    owner: &Name,
    sites: &[ServerName],
    answered: &[String],
    holders: &Holders,
) -> Option<String> {
    if answered.is_empty() || sites.len() < 2 {
        return Some(format!(
            "{owner} has the inbox sites {sites:?}, of which {answered:?} answer alone"
        ));
    }
    let held_by = holders.get(owner.registry()).map_or(&[][..], Vec::as_slice);
    let ought = sites.iter().filter(|site| held_by.contains(site));
    let silent: Vec<&ServerName> = ought
        .filter(|site| !answered.iter().any(|one| one == site.as_str()))
        .collect();
    (!silent.is_empty()).then(|| {
        format!(
            "{owner} is not answered for by {silent:?} alone: only by {answered:?} of {sites:?}"
        )
    })
}

fn alone(world: &World, machines: &Machines, holders: &Holders) -> anyhow::Result<()> {
    let begun = Instant::now();
    for machine in 0..machines.count() {
        loop {
            let heard: Vec<_> = status(world, machines, machine)?
                .peers
                .into_iter()
                .filter(|peer| peer.up)
                .collect();
            if heard.is_empty() {
                break;
            }
            if begun.elapsed() > NOTICED {
                let server = machines.name(machine);
                let lines = machines.relays.story();
                bail!("{server} does not notice that it is alone: it hears {heard:?}; {lines}");
            }
            pause(Duration::from_millis(100));
        }
    }
    let mut held: BTreeMap<String, (Vec<ServerName>, Vec<String>)> = BTreeMap::new();
    for machine in 0..machines.count() {
        let server = machines.name(machine);
        let user = operator(world, &machines.dir(machine));
        for owner in world.people.iter().chain(&world.crowd) {
            let inbox = name(owner)?;
            let asked = world.runtime.block_on(user.inbox(&inbox));
            // Whoever is no site of it, or does not hold its registry, cannot tell.
            let Ok(listing) = asked else { continue };
            if !listing.sites.iter().any(|site| site.as_str() == server) {
                continue;
            }
            let (sites, answered) = held.entry(owner.clone()).or_default();
            sites.clone_from(&listing.sites);
            answered.push(server.clone());
            inbox_of(world, &user, &server, &inbox, &listing)
                .with_context(|| format!("{server}: {owner}"))?;
        }
        registries(world, machines, machine, &user)?;
    }
    for owner in PROGRAMS {
        folders_of(world, machines, holders, owner)?;
    }
    for owner in world.people.iter().chain(&world.crowd) {
        let (sites, answered) = held.remove(owner).unwrap_or_default();
        if let Some(what) = silent(&name(owner)?, &sites, &answered, holders) {
            world.oracle().violation(what);
        }
    }
    Ok(())
}

fn inbox_of(
    world: &World,
    user: &GrapevineUser,
    server: &str,
    inbox: &Name,
    listing: &InboxListing,
) -> anyhow::Result<()> {
    let owner = inbox.to_string();
    let is_crowd = world.crowd.contains(&owner);
    let mut tokens = BTreeSet::new();
    for listed in &listing.messages {
        let id = listed.message.to_string();
        if is_crowd {
            // There are many of them, and nobody else reads: once each is enough.
            let known = Found {
                id: &id,
                bytes: None,
            };
            let known = world.oracle().found(&owner, &known);
            if let Some(token) = known {
                tokens.insert(token);
                continue;
            }
        }
        let mut bytes = Vec::new();
        // Also what was read before: this is this server's own copy.
        world
            .runtime
            .block_on(user.read_body(inbox, listed.message, &mut bytes))
            .with_context(|| format!("{id} can't be read"))?;
        let found = Found {
            id: &id,
            bytes: Some(&bytes),
        };
        tokens.extend(world.oracle().found(&owner, &found));
    }
    world.oracle().settled(server, &owner, &tokens);
    Ok(())
}

/// What mail programs are shown while all servers hear each other.
fn calm_folders(world: &World, machines: &Machines) -> anyhow::Result<()> {
    let place = machines.places.get(0).context("no machine")?;
    for owner in PROGRAMS {
        let begun = Instant::now();
        let folders = || -> std::io::Result<Vec<_>> {
            let mut imap = mail_programs::log_in(world, &place, owner)?;
            let none = || std::io::Error::other("no listing now");
            // One that lacks is seen at each site by itself.
            let is_there = imap.folders()?.ok_or_else(none)?.contains(BOX);
            let second = is_there.then(|| seen(&mut imap, BOX)).transpose()?;
            Ok(second
                .into_iter()
                .chain([seen(&mut imap, INBOX)?])
                .collect())
        };
        let shown = loop {
            match folders() {
                Ok(shown) => break shown,
                Err(error) if begun.elapsed() > NOTICED => {
                    bail!("{owner} can't look into his folders though all is well: {error}")
                }
                Err(_) => pause(Duration::from_millis(200)),
            }
        };
        let mut oracle = world.oracle();
        for (shown, life) in shown {
            let wrong = oracle.folders.sees_calm(owner, &life, &shown);
            wrong.into_iter().for_each(|what| oracle.violation(what));
        }
    }
    Ok(())
}

/// A mail program's mailbox, at each of its sites by itself.
fn folders_of(
    world: &World,
    machines: &Machines,
    holders: &Holders,
    owner: &str,
) -> anyhow::Result<()> {
    let inbox = name(owner)?;
    let (mut sites, mut held) = (Vec::new(), Vec::new());
    for machine in 0..machines.count() {
        let server = machines.name(machine);
        let user = operator(world, &machines.dir(machine));
        let Ok(listing) = world.runtime.block_on(user.inbox(&inbox)) else {
            continue;
        };
        if !listing.sites.iter().any(|site| site.as_str() == server) {
            continue;
        }
        let place = machines.places.get(machine).context("no such machine")?;
        let begun = Instant::now();
        let (folders, shown) = loop {
            match folders_at(world, &place, owner) {
                Ok(found) => break found,
                Err(error) if begun.elapsed() > NOTICED => {
                    bail!("{server} is a site of {owner} and does not show it: {error}")
                }
                // It notices only now that it is the one who numbers.
                Err(_) => pause(Duration::from_millis(200)),
            }
        };
        let mut oracle = world.oracle();
        let lost = oracle.lost;
        let wrong = oracle
            .folders
            .settled(&server, owner, lost, &folders, &shown);
        wrong.into_iter().for_each(|what| oracle.violation(what));
        held.push(server);
        sites = listing.sites;
    }
    let mut oracle = world.oracle();
    if let Some(what) = silent(&inbox, &sites, &held, holders) {
        oracle.violation(what);
    } else if held.len() > 1 {
        let lost = oracle.lost;
        oracle.folders.hardens(owner, lost);
    }
    Ok(())
}

/// The folders that a server names, and what each that this run uses has.
type Shelf = (BTreeSet<String>, BTreeMap<String, Vec<Shown>>);

fn folders_at(world: &World, place: &Place, owner: &str) -> std::io::Result<Shelf> {
    let mut imap = mail_programs::log_in(world, place, owner)?;
    let none = || std::io::Error::other("no listing now");
    let folders = imap.folders()?.ok_or_else(none)?;
    let mut shown = BTreeMap::new();
    for folder in [INBOX, BOX] {
        if folders.contains(folder) {
            let mails = mail_programs::look(world, &mut imap, owner, folder)?;
            shown.insert(folder.to_owned(), mails);
        }
    }
    Ok((folders, shown))
}

/// What stands in the registries that a server holds.
fn registries(
    world: &World,
    machines: &Machines,
    machine: usize,
    user: &GrapevineUser,
) -> anyhow::Result<()> {
    let server = machines.name(machine);
    let status = status(world, machines, machine)?;
    let holds = |name: &str| {
        let registry = name.rsplit('@').next().unwrap_or_default();
        status
            .registries
            .iter()
            .any(|(held, ..)| held.as_str() == registry)
    };
    let keys = world.oracle().keys();
    let clubs = CLUBS.iter().chain([&WEB]);
    for (club, _) in clubs.filter(|(club, _)| holds(club)) {
        let members = members(world, user, club).with_context(|| server.clone())?;
        for key in &keys {
            if let Key::Member(group, member) = key
                && group == club
            {
                let value = if members.contains(member) {
                    "in"
                } else {
                    "out"
                };
                world.oracle().stands(&server, key, value);
            }
        }
        for member in &members {
            if !keys.contains(&Key::Member((*club).to_owned(), member.clone())) {
                let what = format!("{server}: {member} is in {club}, and nobody added it");
                world.oracle().violation(what);
            }
        }
    }
    for key in &keys {
        if let Key::Password(whose) = key
            && holds(whose)
        {
            password(world, machines, machine, key, whose)?;
        }
    }
    Ok(())
}

fn members(world: &World, user: &GrapevineUser, group: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let mut after = None;
    loop {
        let request = Request::Members {
            group: name(group)?,
            list: GroupList::Members,
            after: after.take(),
            limit: PAGE,
        };
        let Reply::Members { members, next, .. } = world.call(user, request)? else {
            bail!("members of {group}: another answer");
        };
        all.extend(members.iter().map(|member| member.key()));
        match next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

/// Which password lets its owner in: one of those that may, and not the last of those that may not.
fn password(
    world: &World,
    machines: &Machines,
    machine: usize,
    key: &Key,
    whose: &str,
) -> anyhow::Result<()> {
    let place = machines.places.get(machine).context("no such machine")?;
    let tried = |password: &str| -> anyhow::Result<bool> {
        // Not by POP3, which wants the inbox too: its sites may be elsewhere.
        let mut smtp = Smtp::open(&place.submissions, Some(&place.tls))?;
        match smtp.log_in(whose, password)? {
            (235, _) => Ok(true),
            (535, _) => Ok(false),
            (code, text) => bail!("{}: {whose}: {code} {text}", place.server),
        }
    };
    let values = world.oracle().values(key);
    let (may, may_not): (Vec<_>, Vec<_>) = values.into_iter().partition(|(_, may)| *may);
    let mut right = None;
    for (password, _) in &may {
        if tried(password)? {
            right = Some(password.clone());
            break;
        }
    }
    if right.is_none() {
        let known: Vec<_> = may
            .iter()
            .chain(&may_not)
            .map(|(value, _)| value.clone())
            .collect();
        let what = format!(
            "{}: none of {may:?} lets {whose} in; known: {known:?}",
            place.server
        );
        world.oracle().violation(what);
    }
    // One wrong one is enough for one look: many would be taken for guessing.
    if let Some((password, _)) = may_not.last()
        && *password != password_of(whose)
        && tried(password)?
    {
        let server = &place.server;
        let what = format!("{server}: {password:?} lets {whose} in, and must not");
        world.oracle().violation(what);
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "what takes long is told while it does")]
fn tell(what: &str) {
    eprintln!("           {what}");
}
