//! `grapevine service`: register a live instance, take it back, find one.
//!
//! An instance is an individual with connect sites; a pool is a group with instances as members.
//! `find` never takes "can't be asked" for "there is none".

use std::time::Duration;

use grapevine_model::{
    Check, EntryChange, FoundSite, GroupList, Member, Name, Place, Reply, Request, SiteDoor,
    SiteNote, SiteOffer,
};
use grapevine_user::{Nearest, random_below, rfc2782_order};
use serde_json::{Value, json};

use super::output::{Table, print_json, print_written};
use super::service_keep::{self, Health, Keeping};
use super::service_watch::{self, Look};
use super::session::{Need, Session, odd};
use super::{Done, Globals};
use crate::out::{Exit, Failure, complain, say};

/// The lease of a registration that is kept, unless it is said: a dead instance is missed soon, and
/// a renewal every ten seconds costs nothing.
const KEPT_LEASE: Duration = Duration::from_secs(30);

/// What to do with services.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServiceCommand {
    /// Register a live instance: its places, and its membership in a pool.
    Register(RegisterArgs),
    /// An instance goes: its places, and its membership in the pool.
    Deregister {
        /// From which pool; the instance's own name for none.
        pool: Name,
        /// Which instance.
        instance: Name,
    },
    /// Where is a service? Exit code 0 found, 4 nowhere now, 5 can't tell.
    Find(FindArgs),
    /// Say where a service is, and each change, until stopped.
    Watch {
        /// A pool, an instance or a server.
        name: Name,
        /// Only where this protocol is spoken.
        #[arg(long)]
        door: Option<SiteDoor>,
        /// Look so often, whatever is heard. By itself: at each change, and every 5 s; every second
        /// for who is not logged in, and for a pool of more than 31.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        every: Option<Duration>,
    },
}

/// What is registered.
#[derive(Debug, clap::Args)]
pub(crate) struct RegisterArgs {
    /// The pool: a group that the instance is in, or may join; the instance's own name for none.
    pool: Name,
    /// The instance: an individual.
    instance: Name,
    /// Where it is reached, as host:port; given more than once, all of them.
    #[arg(long = "site", value_name = "HOST:PORT", required = true)]
    sites: Vec<Place>,
    /// Which protocol is spoken there.
    #[arg(long, default_value = "any")]
    door: SiteDoor,
    /// Lower ones are tried first.
    #[arg(long, default_value_t = 0)]
    priority: u16,
    /// The share among equal priorities.
    #[arg(long, default_value_t = 0)]
    weight: u16,
    /// For how long (`30s`, `5m`), unless it is renewed. Without: for good, or 30 s with --keep.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    lease: Option<Duration>,
    /// One line about how it is.
    #[arg(long, default_value = "")]
    note: SiteNote,
    /// Go on renewing until stopped, then deregister the places.
    #[arg(long)]
    keep: bool,
    /// Renew only while this command ends with 0.
    #[arg(
        long,
        value_name = "COMMAND",
        requires = "keep",
        conflicts_with = "probe"
    )]
    health: Option<String>,
    /// Renew only while the places can be connected to.
    #[arg(long, requires = "keep")]
    probe: bool,
}

/// What is looked for.
#[derive(Debug, clap::Args)]
pub(crate) struct FindArgs {
    /// A pool, an instance or a server.
    name: Name,
    /// All live places, not only the one to take.
    #[arg(long)]
    all: bool,
    /// The nearest first, by connect times measured now.
    #[arg(long)]
    nearest: bool,
    /// Only where this protocol is spoken.
    #[arg(long)]
    door: Option<SiteDoor>,
}

/// Does it.
pub(super) async fn run(command: ServiceCommand, globals: &Globals) -> Result<Done, Failure> {
    match command {
        ServiceCommand::Register(args) => register(args, globals).await?,
        ServiceCommand::Deregister { pool, instance } => {
            deregister(&pool, instance, globals).await?;
        }
        ServiceCommand::Find(args) => find(args, globals).await?,
        ServiceCommand::Watch { name, door, every } => {
            let session = Session::open(globals, Need::Anybody).await?;
            service_watch::watch(&session, &Look { name, door, every }).await?;
        }
    }
    Ok(Done::Yes)
}

async fn register(args: RegisterArgs, globals: &Globals) -> Result<(), Failure> {
    let lease = args.lease.or(args.keep.then_some(KEPT_LEASE));
    let session = Session::open(globals, Need::Somebody).await?;
    if args.pool != args.instance {
        join(&session, &args.pool, &args.instance).await?;
    }
    let sites: Vec<SiteOffer> = args
        .sites
        .iter()
        .map(|place| SiteOffer {
            place: place.clone(),
            priority: args.priority,
            weight: args.weight,
            note: args.note.clone(),
        })
        .collect();
    let health = match (args.health, args.probe) {
        (Some(command), _) => Health::Command(command),
        (None, true) => Health::Probe,
        (None, false) => Health::Assumed,
    };
    let keeping = Keeping {
        instance: args.instance,
        door: args.door,
        sites,
        lease,
        health,
    };
    match lease {
        Some(lease) if args.keep => service_keep::keep(&session, &keeping, lease).await,
        _ => {
            let written = session.change(keeping.registration()).await?;
            print_written(session.json, &keeping.instance.to_string(), &written);
            Ok(())
        }
    }
}

/// Makes sure that an instance is in its pool.
async fn join(session: &Session, pool: &Name, instance: &Name) -> Result<(), Failure> {
    let check = Request::Check {
        group: pool.clone(),
        list: GroupList::Members,
        who: instance.clone(),
    };
    if session.user.call(check).await? == Reply::Check(Check::Yes) {
        return Ok(());
    }
    let change = EntryChange::ListAdd(GroupList::Members, Member::Name(instance.clone()));
    let request = Request::Change {
        name: pool.clone(),
        change,
    };
    session.change(request).await.map(|_| ())
}

async fn deregister(pool: &Name, instance: Name, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let show = Request::Show {
        name: instance.clone(),
    };
    let Reply::Entry(view) = session.user.call(show).await? else {
        return Err(odd());
    };
    let mut doors: Vec<SiteDoor> = view
        .connect_sites
        .iter()
        .filter_map(|site| site.split_once(' ')?.0.parse().ok())
        .collect();
    doors.dedup();
    // With nothing live there may still be a place whose lease has just ended.
    if doors.is_empty() {
        doors.push(SiteDoor::any());
    }
    let mut last = None;
    for door in doors {
        let change = EntryChange::ConnectSites {
            door,
            sites: Vec::new(),
            lease_ms: None,
        };
        let name = instance.clone();
        last = Some(session.change(Request::Change { name, change }).await?);
    }
    if *pool != instance {
        let member = Member::Name(instance.clone());
        let change = EntryChange::ListRemove(GroupList::Members, member);
        let name = pool.clone();
        last = Some(session.change(Request::Change { name, change }).await?);
    }
    if let Some(written) = last {
        print_written(session.json, &instance.to_string(), &written);
    }
    Ok(())
}

async fn find(args: FindArgs, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Anybody).await?;
    let request = Request::Find {
        name: args.name.clone(),
        door: args.door,
        known: None,
    };
    let Reply::Located(located) = session.user.call(request).await? else {
        return Err(odd());
    };
    let partial = located.partial;
    let mut sites: Vec<(FoundSite, Option<Duration>)> = if args.nearest {
        Nearest::default().order(located.sites).await
    } else {
        let by_weight = rfc2782_order(located.sites, &mut random_below);
        by_weight.into_iter().map(|site| (site, None)).collect()
    };
    if !args.all {
        sites.truncate(1);
    }
    if session.json {
        let sites: Vec<Value> = sites
            .iter()
            .map(|(site, took)| site_json(site, *took))
            .collect();
        print_json(&json!({ "name": args.name, "sites": sites, "partial": partial }));
    } else if args.all {
        print_all(&sites);
    } else if let Some((site, _)) = sites.first() {
        say(&site.offer.place);
    }
    if partial {
        complain("note: a part of the pool could not be asked; there may be more");
    }
    if sites.is_empty() {
        return Err(Failure {
            exit: Exit::NoSuchName,
            why: format!("{} has no live instance now", args.name),
        });
    }
    Ok(())
}

/// A live place for programs.
pub(crate) fn site_json(site: &FoundSite, took: Option<Duration>) -> Value {
    let mut value = json!({
        "name": site.name,
        "door": site.door,
        "site": site.offer.place,
        "host": site.offer.place.host.to_string(),
        "port": site.offer.place.port,
        "priority": site.offer.priority,
        "weight": site.offer.weight,
        "note": site.offer.note,
        "lease_ms": site.lease_ms,
    });
    if let (Some(took), Some(object)) = (took, value.as_object_mut()) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        object.insert("connect_us".to_owned(), json!(micros));
    }
    value
}

fn print_all(sites: &[(FoundSite, Option<Duration>)]) {
    if sites.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        "SITE", "DOOR", "NAME", "PRIORITY", "WEIGHT", "LEASE", "CONNECT", "NOTE",
    ]);
    for (site, took) in sites {
        let lease = site.lease_ms.map_or("-".to_owned(), |ms| {
            format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
        });
        table.row([
            site.offer.place.to_string(),
            site.door.to_string(),
            site.name.to_string(),
            site.offer.priority.to_string(),
            site.offer.weight.to_string(),
            lease,
            took.map_or("-".to_owned(), |took| format!("{took:.1?}")),
            site.offer.note.to_string(),
        ]);
    }
    table.print();
}

/// A time as people write it: `500ms`, `30s`, `5m`, `2h`, `1d`.
fn duration(text: &str) -> Result<Duration, String> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return Err("write a number with ms, s, m, h or d, as in 30s".to_owned()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms))
        .filter(|ms| *ms > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "write a number with ms, s, m, h or d, as in 30s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them_and_nonsense_is_refused() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        for text in ["", "s", "0s", "-1s", "1w", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
