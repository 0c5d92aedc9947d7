//! `grapevine registry`: create, delete, list, show, holders, owners, policy.

use grapevine_model::{
    AlonePolicy, EntryChange, GroupList, HolderSays, Member, Name, OverQuotaPolicy, PolicyChange,
    Quota, RegistryName, Reply, Request, ScramPolicy, ServerName, StalePolicy, Stamp, StampError,
    WatchTarget,
};
use serde_json::json;

use super::Globals;
use super::bulk;
use super::names::{self, ConflictsArgs, DanglingArgs, SettleArgs};
use super::output::{print_json, print_written};
use super::session::{Need, Session, odd};
use super::view::{print_registry, print_seen, registry_json, seen_json};
use super::watch::{self, WatchArgs};
use crate::out::{Failure, say};

/// What to do with registries.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum RegistryCommand {
    /// Create a registry.
    Create {
        /// Its name: DNS labels joined by dots.
        registry: RegistryName,
        /// A server that is to hold it; all servers if none is given.
        #[arg(long = "holder", value_name = "SERVER")]
        holders: Vec<ServerName>,
        /// Who administers it; the speaker if nobody is given.
        #[arg(long = "registrar", value_name = "NAME")]
        registrars: Vec<Name>,
    },
    /// Delete a registry with all its entries.
    Delete {
        /// Which.
        registry: RegistryName,
    },
    /// List the registries.
    List,
    /// Show a registry.
    Show {
        /// Which.
        registry: RegistryName,
    },
    /// Tell what changes in a registry, as it comes; for its registrars.
    Watch {
        /// Which.
        registry: RegistryName,
        #[command(flatten)]
        args: WatchArgs,
    },
    /// Bring entries in from a file: CSV, JSON lines or LDIF; doing it again changes nothing.
    Import(bulk::ImportArgs),
    /// Write all entries to a file, without secrets.
    Export(bulk::ExportArgs),
    /// List the entries that stand aside because an earlier one has their name.
    Conflicts(ConflictsArgs),
    /// Delete or rename an entry that stands aside.
    Settle(SettleArgs),
    /// List members, owners and friends that point at nobody, and remove them if asked to.
    Dangling(DanglingArgs),
    /// Ask each server that holds a registry whether a change is on its disk.
    ///
    /// Ends with 0 when all have it, 1 when one that answers lacks it, 5 when one does not answer.
    Seen {
        /// Which.
        registry: RegistryName,
        /// The change: the stamp or token that it printed with --json; without it, all up to now.
        #[arg(value_parser = stamp)]
        stamp: Option<Stamp>,
    },
    /// Show or change which servers hold a registry.
    Holders {
        /// Which.
        registry: RegistryName,
        /// One more server.
        #[arg(long, value_name = "SERVER")]
        add: Vec<ServerName>,
        /// One server fewer.
        #[arg(long, value_name = "SERVER")]
        remove: Vec<ServerName>,
    },
    /// Show or change who administers a registry.
    Owners {
        /// Which.
        registry: RegistryName,
        /// One more.
        #[arg(long, value_name = "NAME")]
        add: Vec<Member>,
        /// One fewer.
        #[arg(long, value_name = "NAME")]
        remove: Vec<Member>,
    },
    /// Show or change what is decided about a registry's copies and logins.
    Policy {
        /// Which.
        registry: RegistryName,
        /// When no second server can be reached: take changes and mail with one copy, refuse them, or
        /// do as the server's configuration says.
        #[arg(long, value_enum)]
        alone: Option<AloneWord>,
        /// A holder that is cut off from most others answers and says so (`answer`), answers for so
        /// long (`30s`, `10m`, `2h`), or not at all (`refuse`).
        #[arg(long, value_name = "answer|TIME|refuse", value_parser = stale_policy)]
        stale: Option<StalePolicy>,
        /// Let people log in by SCRAM-SHA-256 at the doors for mail programs. What is kept for it is
        /// cheaper to attack on a stolen disk than what is kept of passwords otherwise.
        #[arg(long, value_enum)]
        scram: Option<ScramWord>,
        /// Octets that all its inboxes together may hold at one server (for owners of gv@gv).
        #[arg(long, value_name = "NUMBER")]
        octets: Option<u64>,
        /// Messages that they may hold (for owners of gv@gv).
        #[arg(long, value_name = "NUMBER")]
        messages: Option<u64>,
        /// No limit of either kind (for owners of gv@gv).
        #[arg(long, conflicts_with_all = ["octets", "messages"])]
        unlimited: bool,
        /// Mail for a full inbox waits and is reported after a time, or is refused at once.
        #[arg(long, value_enum)]
        over_quota: Option<OverQuotaWord>,
        /// Who gets mail for names that the registry does not have: a group or an individual of any registry.
        #[arg(long, value_name = "NAME")]
        catch_all: Option<Name>,
        /// Nobody does: such mail is refused.
        #[arg(long, conflicts_with = "catch_all")]
        no_catch_all: bool,
        /// Offer a server to the registrars as a holder (for owners of gv@gv); none offered: all are.
        #[arg(long, value_name = "SERVER")]
        offer: Vec<ServerName>,
        /// Offer it no longer.
        #[arg(long, value_name = "SERVER")]
        withdraw: Vec<ServerName>,
    },
}

/// What to do when no second server can be reached, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AloneWord {
    /// Take it with one copy; the second follows.
    Accept,
    /// Refuse it for now.
    Refuse,
    /// As the server's configuration says.
    Default,
}

/// What becomes of mail for a full inbox, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OverQuotaWord {
    /// It waits, and is reported after a time.
    Later,
    /// It is refused.
    Refuse,
}

impl From<OverQuotaWord> for OverQuotaPolicy {
    fn from(word: OverQuotaWord) -> Self {
        match word {
            OverQuotaWord::Later => Self::Later,
            OverQuotaWord::Refuse => Self::Refuse,
        }
    }
}

/// SCRAM or not, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ScramWord {
    /// Nothing is kept for it.
    Off,
    /// From the first login by password on.
    On,
}

impl From<ScramWord> for ScramPolicy {
    fn from(word: ScramWord) -> Self {
        match word {
            ScramWord::Off => Self::Off,
            ScramWord::On => Self::On,
        }
    }
}

impl From<AloneWord> for AlonePolicy {
    fn from(word: AloneWord) -> Self {
        match word {
            AloneWord::Accept => Self::Accept,
            AloneWord::Refuse => Self::Refuse,
            AloneWord::Default => Self::Default,
        }
    }
}

fn stale_policy(text: &str) -> Result<StalePolicy, String> {
    let wrong = || "write `answer`, `refuse`, or a time: 30s, 10m, 2h".to_owned();
    match text {
        "answer" => return Ok(StalePolicy::Answer),
        "refuse" => return Ok(StalePolicy::Refuse),
        _ => {}
    }
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        _ => return Err(wrong()),
    };
    let number = text.get(..text.len() - 1).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = number.checked_mul(unit_ms).ok_or_else(wrong)?;
    Ok(StalePolicy::AnswerForMs(ms))
}

/// Does it.
pub(super) async fn run(command: RegistryCommand, globals: &Globals) -> Result<(), Failure> {
    match command {
        RegistryCommand::Create {
            registry,
            holders,
            mut registrars,
        } => {
            let session = Session::open(globals, Need::Somebody).await?;
            if registrars.is_empty() {
                registrars.push(session.speaker().map_err(|_| {
                    Failure::usage("who is to administer it? give --registrar NAME")
                })?);
            }
            let what = registry.to_string();
            let request = Request::RegistryCreate {
                registry,
                holders,
                registrars,
            };
            let written = session.change(request).await?;
            print_written(session.json, &what, &written);
        }
        RegistryCommand::Delete { registry } => {
            let session = Session::open(globals, Need::Somebody).await?;
            let what = registry.to_string();
            let written = session.change(Request::RegistryDelete { registry }).await?;
            print_written(session.json, &what, &written);
        }
        RegistryCommand::Conflicts(args) => names::conflicts(globals, args).await?,
        RegistryCommand::Settle(args) => names::settle(globals, args).await?,
        RegistryCommand::Dangling(args) => names::dangling(globals, args).await?,
        RegistryCommand::List => {
            let session = Session::open(globals, Need::Anybody).await?;
            let Reply::Registries(registries) = session.user.call(Request::RegistryList).await?
            else {
                return Err(odd());
            };
            if session.json {
                print_json(&json!(registries));
            } else {
                registries.iter().for_each(say);
            }
        }
        RegistryCommand::Show { registry } => {
            let session = Session::open(globals, Need::Anybody).await?;
            show(&session, registry).await?;
        }
        RegistryCommand::Watch { registry, args } => {
            watch::run(globals, WatchTarget::Registry(registry), args).await?;
        }
        RegistryCommand::Import(args) => bulk::import(args, globals).await?,
        RegistryCommand::Export(args) => bulk::export(args, globals).await?,
        RegistryCommand::Seen { registry, stamp } => seen(globals, registry, stamp).await?,
        RegistryCommand::Holders {
            registry,
            add,
            remove,
        } => holders(globals, registry, add, remove).await?,
        RegistryCommand::Owners {
            registry,
            add,
            remove,
        } => {
            let name = registry.group();
            let added = add
                .into_iter()
                .map(|who| EntryChange::ListAdd(GroupList::Owners, who));
            let removed = remove
                .into_iter()
                .map(|who| EntryChange::ListRemove(GroupList::Owners, who));
            let requests = added.chain(removed).map(|change| Request::Change {
                name: name.clone(),
                change,
            });
            change_and_show(globals, registry, requests.collect()).await?;
        }
        RegistryCommand::Policy {
            registry,
            alone,
            stale,
            scram,
            octets,
            messages,
            unlimited,
            over_quota,
            catch_all,
            no_catch_all,
            offer,
            withdraw,
        } => {
            let quota = Quota { octets, messages };
            let quota = (unlimited || quota != Quota::default()).then_some(quota);
            let changes = (alone
                .map(|word| PolicyChange::Alone(word.into()))
                .into_iter())
            .chain(stale.map(PolicyChange::Stale))
            .chain(scram.map(|word| PolicyChange::Scram(word.into())))
            .chain(quota.map(PolicyChange::Quota))
            .chain(over_quota.map(|word| PolicyChange::OverQuota(word.into())))
            .chain(
                (no_catch_all || catch_all.is_some()).then_some(PolicyChange::CatchAll(catch_all)),
            )
            .chain(offer.into_iter().map(PolicyChange::Offer))
            .chain(withdraw.into_iter().map(PolicyChange::Withdraw));
            let requests = changes.map(|change| Request::RegistryPolicy {
                registry: registry.clone(),
                change,
            });
            let requests = requests.collect();
            change_and_show(globals, registry, requests).await?;
        }
    }
    Ok(())
}

/// A stamp, alone or in a token (`REGISTRY:STAMP`).
pub(crate) fn stamp(text: &str) -> Result<Stamp, StampError> {
    text.rsplit(':').next().unwrap_or_default().parse()
}

async fn seen(
    globals: &Globals,
    registry: RegistryName,
    stamp: Option<Stamp>,
) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Anybody).await?;
    let request = Request::RegistrySeen { registry, stamp };
    let Reply::Seen(view) = session.user.call(request).await? else {
        return Err(odd());
    };
    if session.json {
        print_json(&seen_json(&view));
    } else {
        print_seen(&view);
    }
    let with = |wanted: HolderSays| {
        let servers = view.holders.iter().filter(|(_, seen)| *seen == wanted);
        let servers: Vec<String> = servers.map(|(server, _)| server.to_string()).collect();
        servers.join(", ")
    };
    let (silent, lacking) = (with(HolderSays::Silent), with(HolderSays::Lacks));
    if !silent.is_empty() {
        let why =
            format!("{silent} did not answer: whether it is there is not known; try again later");
        return Err(Failure::unavailable(why));
    }
    if !lacking.is_empty() {
        let why = format!("{lacking}: not there yet; ask again in a moment");
        return Err(Failure::new(why));
    }
    Ok(())
}

async fn show(session: &Session, registry: RegistryName) -> Result<(), Failure> {
    let request = Request::RegistryShow { registry };
    let answered = session.ask(request).await?;
    let Reply::Registry(view) = answered.reply else {
        return Err(odd());
    };
    if session.json {
        let mut json = registry_json(&view);
        if let Some(fields) = json.as_object_mut() {
            fields.insert("as_of".to_owned(), json!(answered.as_of));
        }
        print_json(&json);
    } else {
        print_registry(&view);
    }
    Ok(())
}

async fn holders(
    globals: &Globals,
    registry: RegistryName,
    add: Vec<ServerName>,
    remove: Vec<ServerName>,
) -> Result<(), Failure> {
    // First more, then fewer: never without a holder in between.
    let of = |registry: &RegistryName, server| (registry.clone(), server);
    let added = add.into_iter().map(|server| {
        let (registry, server) = of(&registry, server);
        Request::HolderAdd { registry, server }
    });
    let removed = remove.into_iter().map(|server| {
        let (registry, server) = of(&registry, server);
        Request::HolderRemove { registry, server }
    });
    let requests = added.chain(removed).collect();
    change_and_show(globals, registry, requests).await
}

/// Changes, in their order, and then how the registry is.
async fn change_and_show(
    globals: &Globals,
    registry: RegistryName,
    requests: Vec<Request>,
) -> Result<(), Failure> {
    let need = if requests.is_empty() {
        Need::Anybody
    } else {
        Need::Somebody
    };
    let session = Session::open(globals, need).await?;
    for request in requests {
        session.change(request).await?;
    }
    show(&session, registry).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_staleness_policy_is_a_word_or_a_time() {
        assert_eq!(stale_policy("answer"), Ok(StalePolicy::Answer));
        assert_eq!(stale_policy("refuse"), Ok(StalePolicy::Refuse));
        assert_eq!(stale_policy("10m"), Ok(StalePolicy::AnswerForMs(600_000)));
        for wrong in [
            "",
            "s",
            "10",
            "-1s",
            "1.5h",
            "99999999999999999999h",
            "10 m",
            "1\u{e9}",
        ] {
            assert!(stale_policy(wrong).is_err(), "{wrong}");
        }
    }
}
