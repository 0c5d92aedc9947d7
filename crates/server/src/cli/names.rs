//! Commands about names as such, of individuals and groups alike: rename, the groups
//! that a name is in, conflicts of names, members that point at nobody.

use std::str::FromStr;

use grapevine_model::{
    AsideChange, Conflict, Dangle, Dangling, Depth, EntryChange, GroupList, Incarnation, Name,
    PostingRule, Quota, RegistryName, Reply, Request,
};
use serde_json::{Value, json};

use super::Globals;
use super::individual::{one, show};
use super::output::{print_json, print_written};
use super::session::{Need, Session, odd};
use crate::out::{Failure, say};

/// Groups, conflicts or members asked for at a time.
const PAGE: u32 = 500;

/// A new name, or a former one to forget.
#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    /// Whom; by any of its names.
    name: Name,
    /// Its new name, in the same registry. The old one leads to it until somebody else gets that.
    #[arg(required_unless_present = "forget", conflicts_with = "forget")]
    to: Option<Name>,
    /// A former name that is to lead here no longer.
    #[arg(long, value_name = "NAME")]
    forget: Option<Name>,
}

/// Renames an entry of either kind.
pub(super) async fn rename(globals: &Globals, args: RenameArgs) -> Result<(), Failure> {
    let change = match (args.to, args.forget) {
        (Some(to), _) => EntryChange::Rename(to),
        (None, Some(former)) => EntryChange::FormerRemove(former),
        (None, None) => return Err(Failure::usage("give the new name")),
    };
    one(globals, args.name, change).await
}

/// What to show of an entry.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Which; by any of its names.
    name: Name,
    /// Show the groups that it is in instead, of all registries, by closure.
    #[arg(long)]
    member_of: bool,
    /// Only groups that list it themselves.
    #[arg(long, requires = "member_of")]
    direct: bool,
}

/// Shows an entry of either kind, or its groups.
pub(super) async fn show_entry(globals: &Globals, args: ShowArgs) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    if !args.member_of {
        return show(&session, args.name).await;
    }
    let depth = if args.direct {
        Depth::Direct
    } else {
        Depth::Nested
    };
    let mut after = None;
    let mut groups = Vec::new();
    loop {
        let request = Request::MemberOf {
            name: args.name.clone(),
            list: GroupList::Members,
            depth,
            after,
            limit: PAGE,
        };
        let Reply::Members { members, next, .. } = session.user.call(request).await? else {
            return Err(odd());
        };
        groups.extend(members);
        match next {
            Some(_) => after = next,
            None => break,
        }
    }
    if session.json {
        print_json(&json!(groups));
    } else {
        groups.iter().for_each(say);
    }
    Ok(())
}

/// How much an inbox may hold.
#[derive(Debug, clap::Args)]
pub(crate) struct QuotaArgs {
    /// Whose.
    name: Name,
    /// Octets of all messages together; no limit if not given.
    #[arg(long, value_name = "NUMBER")]
    octets: Option<u64>,
    /// Messages; no limit if not given.
    #[arg(long, value_name = "NUMBER")]
    messages: Option<u64>,
    /// No limit of either kind.
    #[arg(long, conflicts_with_all = ["octets", "messages"])]
    unlimited: bool,
}

/// Shows or sets a quota.
pub(super) async fn quota(globals: &Globals, args: QuotaArgs) -> Result<(), Failure> {
    let quota = Quota {
        octets: args.octets,
        messages: args.messages,
    };
    if quota == Quota::default() && !args.unlimited {
        let session = Session::open(globals, Need::Somebody).await?;
        return show(&session, args.name).await;
    }
    one(globals, args.name, EntryChange::Quota(quota)).await
}

/// Who may post to a group.
#[derive(Debug, clap::Args)]
pub(crate) struct PostingArgs {
    /// The group.
    group: Name,
    /// `anyone`, `authenticated`, `members`, `owners`, `moderated` (anyone, but an owner says yes to each
    /// message: see `group held`), or the name of a group whose members may. Owners always may.
    rule: Option<Rule>,
}

/// A posting rule on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Rule(PostingRule);

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "anyone" => PostingRule::Anyone,
            "authenticated" => PostingRule::Authenticated,
            "members" => PostingRule::Members,
            "owners" => PostingRule::Owners,
            "moderated" => PostingRule::Moderated,
            group => PostingRule::Group(group.parse().map_err(|_| {
                "anyone, authenticated, members, owners, moderated, or the name of a group"
                    .to_owned()
            })?),
        }))
    }
}

/// Shows or sets a posting rule.
pub(super) async fn posting(globals: &Globals, args: PostingArgs) -> Result<(), Failure> {
    match args.rule {
        Some(Rule(rule)) => one(globals, args.group, EntryChange::Posting(rule)).await,
        None => {
            let session = Session::open(globals, Need::Somebody).await?;
            show(&session, args.group).await
        }
    }
}

/// Entries that stand aside because an earlier one has their name.
#[derive(Debug, clap::Args)]
pub(crate) struct ConflictsArgs {
    /// Of which registry.
    registry: RegistryName,
}

/// Lists the conflicts of a registry.
pub(super) async fn conflicts(globals: &Globals, args: ConflictsArgs) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let request = Request::Conflicts {
            registry: args.registry.clone(),
            after,
            limit: PAGE,
        };
        let Reply::Conflicts { conflicts, next } = session.user.call(request).await? else {
            return Err(odd());
        };
        found.extend(conflicts);
        match next {
            Some(_) => after = next,
            None => break,
        }
    }
    if session.json {
        let shown: Vec<_> = found.iter().map(conflict_json).collect();
        print_json(&json!(shown));
        return Ok(());
    }
    for conflict in &found {
        say(format_args!(
            "{}: {} stands aside, {} has the name",
            conflict.name, conflict.aside, conflict.holder
        ));
    }
    if found.is_empty() {
        say("no conflicts");
    }
    Ok(())
}

/// What becomes of an entry that stands aside.
#[derive(Debug, clap::Args)]
pub(crate) struct SettleArgs {
    /// The name that it claims.
    name: Name,
    /// Its incarnation, as `registry conflicts` shows it.
    #[arg(value_parser = incarnation)]
    incarnation: Incarnation,
    /// It is no more.
    #[arg(long, required_unless_present = "rename", conflicts_with = "rename")]
    delete: bool,
    /// It gets this name.
    #[arg(long, value_name = "NAME")]
    rename: Option<Name>,
}

pub(crate) fn incarnation(text: &str) -> Result<Incarnation, String> {
    let wrong = || "an incarnation has 32 hexadecimal digits".to_owned();
    match text.len() {
        32 if text.bytes().all(|b| b.is_ascii_hexdigit()) => u128::from_str_radix(text, 16)
            .map(Incarnation)
            .map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// Settles a conflict.
pub(super) async fn settle(globals: &Globals, args: SettleArgs) -> Result<(), Failure> {
    let change = match args.rename {
        Some(to) => AsideChange::Rename(to),
        None => AsideChange::Delete,
    };
    let what = args.name.to_string();
    let request = Request::Aside {
        name: args.name,
        incarnation: args.incarnation,
        change,
    };
    super::individual::change(globals, &what, [request]).await
}

/// Members, owners and friends that point at nobody.
#[derive(Debug, clap::Args)]
pub(crate) struct DanglingArgs {
    /// Of which registry's groups.
    registry: RegistryName,
    /// Remove those that surely point at nobody; where that can't be told they stay.
    #[arg(long)]
    clean: bool,
}

/// Lists what dangles, page by page, and removes it if asked to.
pub(super) async fn dangling(globals: &Globals, args: DanglingArgs) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let mut after = None;
    let mut found = Vec::new();
    let mut written = None;
    loop {
        let (registry, from) = (args.registry.clone(), after.clone());
        let request = Request::Dangling {
            registry: registry.clone(),
            after: from.clone(),
            limit: PAGE,
        };
        let Reply::Dangling { dangling, next, .. } = session.user.call(request).await? else {
            return Err(odd());
        };
        if args.clean && dangling.iter().any(|d| d.why != Dangle::Unknown) {
            let request = Request::DanglingRemove {
                registry,
                after: from,
                limit: PAGE,
            };
            written = Some(session.change(request).await?);
        }
        found.extend(dangling);
        match next {
            Some(_) => after = next,
            None => break,
        }
    }
    if session.json {
        let shown: Vec<_> = found
            .iter()
            .map(|d| {
                let mut shown = dangling_json(d);
                let removed = args.clean && d.why != Dangle::Unknown;
                if let Some(fields) = shown.as_object_mut() {
                    fields.insert("removed".to_owned(), json!(removed));
                }
                shown
            })
            .collect();
        print_json(&json!(shown));
        return Ok(());
    }
    for d in &found {
        let list = match d.list {
            GroupList::Members => "member",
            GroupList::Owners => "owner",
            GroupList::Friends => "friend",
        };
        let why = match d.why {
            Dangle::Gone => "is no more",
            Dangle::Another => "is no more; the name is somebody else's now",
            Dangle::Unknown => "can't be told now: its registry can't be asked",
        };
        say(format_args!("{}: {list} {} {why}", d.group, d.member));
    }
    if found.is_empty() {
        say("nothing dangles");
    }
    if let Some(written) = written {
        print_written(false, args.registry.as_str(), &written);
    }
    Ok(())
}

/// A conflict for programs.
pub(crate) fn conflict_json(conflict: &Conflict) -> Value {
    json!({
        "name": conflict.name,
        "kind": conflict.kind,
        "holder": conflict.holder.to_string(),
        "aside": conflict.aside.to_string(),
        "remark": conflict.remark,
    })
}

/// A member that points at nobody, for programs.
pub(crate) fn dangling_json(d: &Dangling) -> Value {
    json!({ "group": d.group, "list": d.list, "member": d.member, "why": d.why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_word_or_a_group() {
        let rule = |text: &str| text.parse::<Rule>().map(|rule| rule.0);
        assert_eq!(rule("members"), Ok(PostingRule::Members));
        assert!(matches!(rule("g^@pa"), Ok(PostingRule::Group(_))));
        assert!(rule("everybody").is_err());
    }

    #[test]
    fn an_incarnation_is_written_as_it_is_shown() {
        let shown = Incarnation(7 << 90).to_string();
        assert_eq!(incarnation(&shown), Ok(Incarnation(7 << 90)));
        assert!(incarnation("+7").is_err() && incarnation("").is_err());
        assert!(incarnation("+0000000000000000000000000000007").is_err());
    }
}
