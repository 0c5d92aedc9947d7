//! `grapevine group`: create, delete, show, its lists, joining and leaving, and the
//! question that opens doors: `check G X` answers yes (0), no (1), can't tell (5).

use grapevine_model::{
    Check, EntryChange, GroupList, MAX_CHECKS, Member, MessageId, Name, Reply, Request, Verdict,
    WatchTarget,
};
use serde_json::json;

use super::individual::{change, delete, one};
use super::names::{self, PostingArgs, RenameArgs, ShowArgs};
use super::output::print_json;
use super::session::{Need, Session, odd};
use super::watch::{self, WatchArgs};
use super::{Done, Globals};
use crate::out::{Failure, say};
use crate::report::mail_date;

/// Members asked for at a time: a page fits a message of the RPC many times over.
const PAGE: u32 = 500;

/// What to do with groups.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum GroupCommand {
    /// Create a group.
    Create {
        /// Its name.
        group: Name,
        /// Free text.
        #[arg(long, default_value = "")]
        remark: String,
        /// Who may change it; the registrars if nobody is given.
        #[arg(long = "owner", value_name = "NAME")]
        owners: Vec<Member>,
    },
    /// Delete a group.
    Delete {
        /// Which.
        group: Name,
    },
    /// Show a group.
    Show(ShowArgs),
    /// Give a group another name: its lists and its own memberships stay.
    Rename(RenameArgs),
    /// Show or set who may post to a group.
    Posting(PostingArgs),
    /// Show what a moderated group holds for its owners.
    Held {
        /// Which group.
        group: Name,
    },
    /// Let a held message go on, as if it had been posted now.
    Approve {
        /// Of which group.
        group: Name,
        /// Which message, as `group held` shows it.
        message: MessageId,
    },
    /// Send a held message back to its sender.
    Reject {
        /// Of which group.
        group: Name,
        /// Which message, as `group held` shows it.
        message: MessageId,
        /// Why, for the sender.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Set the remark.
    Remark {
        /// Which.
        group: Name,
        /// Free text.
        text: String,
    },
    /// Add members: individuals, groups, outside addresses, `*@registry`, `*`.
    Add {
        /// To which group.
        group: Name,
        /// Whom.
        #[arg(required = true)]
        members: Vec<Member>,
    },
    /// Remove members.
    Remove {
        /// From which group.
        group: Name,
        /// Whom.
        #[arg(required = true)]
        members: Vec<Member>,
    },
    /// Send copies again to an outside member to whom they failed for days (`group show` says so).
    Resume {
        /// Of which group.
        group: Name,
        /// Whom.
        member: Name,
    },
    /// Join a group whose friend you are.
    Join {
        /// Which.
        group: Name,
    },
    /// Leave a group.
    Leave {
        /// Which.
        group: Name,
    },
    /// Show or change who may change a group.
    Owners(ListArgs),
    /// Show or change who may join a group.
    Friends(ListArgs),
    /// Tell what changes in a group, as it comes.
    Watch {
        /// Which.
        group: Name,
        #[command(flatten)]
        args: WatchArgs,
    },
    /// List the members.
    Members {
        /// Of which group.
        group: Name,
    },
    /// Is somebody in a group, over nested groups and registries? Exit code 0 yes, 1 no, 5 can't tell.
    /// Of several, 0 if all are in it.
    Check {
        /// The group.
        group: Name,
        /// Who; up to 1000 are asked for at once.
        #[arg(required = true, value_name = "WHO")]
        who: Vec<Name>,
        /// In which of its lists.
        #[arg(long, default_value = "members")]
        list: ListName,
    },
}

/// A list of a group, on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum ListName {
    /// Who gets the mail and whom the door opens for.
    Members,
    /// Who may change the group.
    Owners,
    /// Who may join it.
    Friends,
}

impl From<ListName> for GroupList {
    fn from(name: ListName) -> Self {
        match name {
            ListName::Members => Self::Members,
            ListName::Owners => Self::Owners,
            ListName::Friends => Self::Friends,
        }
    }
}

/// A list, and how it is to change.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Of which group.
    group: Name,
    /// One more.
    #[arg(long, value_name = "NAME")]
    add: Vec<Member>,
    /// One fewer.
    #[arg(long, value_name = "NAME")]
    remove: Vec<Member>,
}

/// Does it.
pub(super) async fn run(command: GroupCommand, globals: &Globals) -> Result<Done, Failure> {
    match command {
        GroupCommand::Create {
            group,
            remark,
            owners,
        } => {
            let what = group.to_string();
            let request = Request::GroupCreate {
                name: group,
                remark,
                owners,
            };
            change(globals, &what, [request]).await?;
        }
        GroupCommand::Delete { group } => delete(globals, group).await?,
        GroupCommand::Show(args) => names::show_entry(globals, args).await?,
        GroupCommand::Rename(args) => names::rename(globals, args).await?,
        GroupCommand::Posting(args) => names::posting(globals, args).await?,
        GroupCommand::Held { group } => held(globals, group).await?,
        GroupCommand::Resume { group, member } => {
            one(globals, group, EntryChange::Resume(member)).await?;
        }
        GroupCommand::Approve { group, message } => {
            let verdict = Verdict::Approve;
            one(globals, group, EntryChange::Judge { message, verdict }).await?;
        }
        GroupCommand::Reject {
            group,
            message,
            reason,
        } => {
            let verdict = Verdict::Reject(reason);
            one(globals, group, EntryChange::Judge { message, verdict }).await?;
        }
        GroupCommand::Remark { group, text } => {
            one(globals, group, EntryChange::Remark(text)).await?;
        }
        GroupCommand::Add { group, members } => {
            edit(globals, group, GroupList::Members, members, Vec::new()).await?;
        }
        GroupCommand::Remove { group, members } => {
            edit(globals, group, GroupList::Members, Vec::new(), members).await?;
        }
        GroupCommand::Watch { group, args } => {
            watch::run(globals, WatchTarget::Entry(group), args).await?;
        }
        GroupCommand::Join { group } => one(globals, group, EntryChange::Join).await?,
        GroupCommand::Leave { group } => one(globals, group, EntryChange::Leave).await?,
        GroupCommand::Owners(args) => list(globals, args, GroupList::Owners).await?,
        GroupCommand::Friends(args) => list(globals, args, GroupList::Friends).await?,
        GroupCommand::Members { group } => {
            let session = Session::open(globals, Need::Somebody).await?;
            print_list(&session, &group, GroupList::Members).await?;
        }
        GroupCommand::Check { group, who, list } => {
            let session = Session::open(globals, Need::Anybody).await?;
            return match <[Name; 1]>::try_from(who) {
                Ok([who]) => check(&session, group, list.into(), who).await,
                Err(who) => check_many(&session, group, list.into(), who).await,
            };
        }
    }
    Ok(Done::Yes)
}

/// What waits for the owners.
async fn held(globals: &Globals, group: Name) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let Reply::Held(posts) = session.ask(Request::Held { group }).await?.reply else {
        return Err(odd());
    };
    if session.json {
        print_json(&json!(posts));
        return Ok(());
    }
    for post in &posts {
        let from = post.from.as_ref().map(ToString::to_string);
        say(format_args!(
            "{} from {}, {} octets, until {}",
            post.message,
            from.as_deref().unwrap_or("nobody"),
            post.octets,
            mail_date(post.expires_ms)
        ));
    }
    if posts.is_empty() {
        say("nothing is held");
    }
    Ok(())
}

async fn list(globals: &Globals, args: ListArgs, list: GroupList) -> Result<(), Failure> {
    if args.add.is_empty() && args.remove.is_empty() {
        let session = Session::open(globals, Need::Somebody).await?;
        return print_list(&session, &args.group, list).await;
    }
    edit(globals, args.group, list, args.add, args.remove).await
}

async fn edit(
    globals: &Globals,
    group: Name,
    list: GroupList,
    add: Vec<Member>,
    remove: Vec<Member>,
) -> Result<(), Failure> {
    let what = group.to_string();
    let added = add
        .into_iter()
        .map(|member| EntryChange::ListAdd(list, member));
    let removed = remove
        .into_iter()
        .map(|member| EntryChange::ListRemove(list, member));
    let requests = added.chain(removed).map(|change| Request::Change {
        name: group.clone(),
        change,
    });
    change(globals, &what, requests).await
}

/// Prints a list page by page, however long it is.
async fn print_list(session: &Session, group: &Name, list: GroupList) -> Result<(), Failure> {
    let mut after = None;
    let mut first = true;
    loop {
        let request = Request::Members {
            group: group.clone(),
            list,
            after,
            limit: PAGE,
        };
        let Reply::Members { members, next, .. } = session.ask(request).await?.reply else {
            return Err(odd());
        };
        for member in &members {
            if session.json {
                let before = if first { "[" } else { "," };
                say(format_args!("{before} {}", json!(member)));
            } else {
                say(member);
            }
            first = false;
        }
        match next {
            Some(_) => after = next,
            None => break,
        }
    }
    if session.json {
        say(if first { "[]" } else { "]" });
    }
    Ok(())
}

async fn check(
    session: &Session,
    group: Name,
    list: GroupList,
    who: Name,
) -> Result<Done, Failure> {
    let request = Request::Check { group, list, who };
    let answered = session.ask(request).await?;
    let Reply::Check(answer) = answered.reply else {
        return Err(odd());
    };
    let (word, done) = match answer {
        Check::Yes => ("yes", Done::Yes),
        Check::No => ("no", Done::AnsweredNo),
    };
    if session.json {
        print_json(&json!({ "answer": word, "as_of": answered.as_of }));
    } else {
        say(word);
    }
    Ok(done)
}

/// Many at once: all are answered, and what can't be told of one is an error in the end.
async fn check_many(
    session: &Session,
    group: Name,
    list: GroupList,
    who: Vec<Name>,
) -> Result<Done, Failure> {
    let mut done = Done::Yes;
    let mut unknown = Vec::new();
    let mut answers = serde_json::Map::new();
    for some in who.chunks(MAX_CHECKS) {
        let request = Request::CheckMany {
            group: group.clone(),
            list,
            who: some.to_vec(),
        };
        let Reply::Checks(checks) = session.ask(request).await?.reply else {
            return Err(odd());
        };
        if checks.len() != some.len() {
            return Err(odd());
        }
        for (who, check) in some.iter().zip(checks) {
            let word = match check {
                Some(Check::Yes) => "yes",
                Some(Check::No) => {
                    done = Done::AnsweredNo;
                    "no"
                }
                None => {
                    unknown.push(who.to_string());
                    "unavailable"
                }
            };
            if session.json {
                answers.insert(who.to_string(), json!(word));
            } else {
                say(format_args!("{who}: {word}"));
            }
        }
    }
    if session.json {
        print_json(&json!({ "answers": answers }));
    }
    if unknown.is_empty() {
        Ok(done)
    } else {
        Err(Failure::unavailable(format_args!(
            "can't tell now of {}; try again later",
            unknown.join(", ")
        )))
    }
}
