//! Registries and entries as commands show them: a block of lines, or JSON.

use grapevine_model::{
    AlonePolicy, EntryKind, EntryView, HolderSays, OverQuotaPolicy, PostingRule, Quota,
    RegistryView, ScramPolicy, SeenView, StalePolicy,
};
use serde_json::{Value, json};

use super::output::{count, printable, span};
use crate::out::say;

/// Prints an entry.
pub(super) fn print_entry(view: &EntryView) {
    let kind = kind(view.kind);
    say(format_args!("{} ({kind})", view.name));
    let line = |what: &str, text: String| {
        if !text.is_empty() {
            say(format_args!("  {what:<14}{}", printable(&text)));
        }
    };
    line("remark", view.remark.clone());
    line("former names", joined(&view.former));
    match view.kind {
        EntryKind::Individual => {
            line("inbox sites", joined(&view.sites));
            line("forwarded to", joined(&view.forward));
            line("aliases", joined(&view.aliases));
            line("connect sites", view.connect_sites.join(", "));
            line("quota", quota(view.quota));
            if let Some(usage) = view.usage {
                line("holds", quota(Quota::from(usage)));
            }
        }
        EntryKind::Group => {
            line("members", view.members.to_string());
            line("owners", joined(&view.owners));
            line("friends", joined(&view.friends));
            line("posting", posting(&view.posting));
            for gone in &view.suspended {
                let text = format!("{}: {}", gone.member, gone.reason);
                line("suspended", text);
            }
        }
    }
    line("incarnation", view.incarnation.to_string());
    if view.conflict {
        line(
            "conflict",
            "an earlier entry has this name; this one stands aside".to_owned(),
        );
    }
    if view.aside > 0 {
        let others = count(
            view.aside.into(),
            "other entry claims",
            "other entries claim",
        );
        let registry = view.name.registry();
        line(
            "conflict",
            format!("{others} this name: see `registry conflicts {registry}`"),
        );
    }
}

fn quota(quota: Quota) -> String {
    let octets = quota.octets.map(|most| count(most, "octet", "octets"));
    let messages = quota
        .messages
        .map(|most| count(most, "message", "messages"));
    let limits: Vec<String> = octets.into_iter().chain(messages).collect();
    limits.join(", ")
}

fn posting(rule: &PostingRule) -> String {
    match rule {
        PostingRule::Anyone => "anyone".to_owned(),
        PostingRule::Authenticated => "whoever has logged in".to_owned(),
        PostingRule::Members => "members and owners".to_owned(),
        PostingRule::Owners => "owners".to_owned(),
        PostingRule::Moderated => "anyone, after an owner's yes".to_owned(),
        PostingRule::Group(group) => format!("members of {group}, and owners"),
    }
}

/// An entry for programs.
pub(crate) fn entry_json(view: &EntryView) -> Value {
    json!({
        "name": view.name,
        "kind": view.kind,
        "incarnation": view.incarnation.to_string(),
        "remark": view.remark,
        "sites": view.sites,
        "forward": view.forward,
        "aliases": view.aliases,
        "connect_sites": view.connect_sites,
        "members": view.members,
        "owners": view.owners,
        "friends": view.friends,
        "conflict": view.conflict,
        "former": view.former,
        "quota": view.quota,
        "usage": view.usage,
        "posting": view.posting,
        "suspended": view.suspended,
        "aside": view.aside,
    })
}

/// Prints a registry.
pub(super) fn print_registry(view: &RegistryView) {
    say(format_args!("{} (registry)", view.registry));
    say(format_args!("  holders       {}", joined(&view.holders)));
    let fetching: Vec<_> = (view.holders.iter())
        .filter(|holder| !view.ready.is_empty() && !view.ready.contains(holder))
        .collect();
    if !fetching.is_empty() {
        say(format_args!("  fetching      {}", joined(&fetching)));
    }
    say(format_args!("  registrars    {}", joined(&view.registrars)));
    let alone = match view.policy.alone {
        AlonePolicy::Default => "as each server is configured",
        AlonePolicy::Accept => "accept with one copy",
        AlonePolicy::Refuse => "refuse",
    };
    say(format_args!("  alone         {alone}"));
    let stale = match view.policy.stale {
        StalePolicy::Answer => "answer, and say so".to_owned(),
        StalePolicy::AnswerForMs(ms) => format!("answer for {}", span(ms)),
        StalePolicy::Refuse => "refuse".to_owned(),
    };
    say(format_args!("  cut off       {stale}"));
    let scram = match view.policy.scram {
        ScramPolicy::Off => "off",
        ScramPolicy::On => "on",
    };
    say(format_args!("  scram         {scram}"));
    if view.policy.quota != Quota::default() {
        let quota = quota(view.policy.quota);
        say(format_args!("  quota         {quota}, at each server"));
    }
    let full = match view.policy.over_quota {
        OverQuotaPolicy::Later => "mail waits, and is reported after a time",
        OverQuotaPolicy::Refuse => "mail is refused",
    };
    say(format_args!("  full inboxes  {full}"));
    if let Some(to) = &view.policy.catch_all {
        say(format_args!("  unknown names {to} gets their mail"));
    }
    if !view.policy.offered.is_empty() {
        say(format_args!(
            "  offered       {}",
            joined(&view.policy.offered)
        ));
    }
    match view.entries {
        Some(entries) => say(format_args!(
            "  entries       {}",
            count(entries, "entry", "entries")
        )),
        None => say("  entries       not held by the server that answered"),
    }
}

/// A registry for programs.
pub(crate) fn registry_json(view: &RegistryView) -> Value {
    json!({
        "registry": view.registry,
        "holders": view.holders,
        "registrars": view.registrars,
        "entries": view.entries,
        "ready": view.ready,
        "policy": view.policy,
    })
}

/// Prints who has a change.
pub(super) fn print_seen(view: &SeenView) {
    for (server, seen) in &view.holders {
        let text = match seen {
            HolderSays::Has => "has it on disk",
            HolderSays::Lacks => "has not got it yet",
            HolderSays::Silent => "does not answer: not known",
        };
        say(format_args!("{server:<16} {text}"));
    }
}

/// The same for programs.
pub(crate) fn seen_json(view: &SeenView) -> Value {
    let holders = view.holders.iter();
    let holders: Vec<Value> = holders
        .map(|(server, seen)| json!({ "server": server, "seen": seen }))
        .collect();
    let everywhere = view
        .holders
        .iter()
        .all(|(_, seen)| *seen == HolderSays::Has);
    json!({ "registry": view.registry, "everywhere": everywhere, "holders": holders })
}

fn joined<T: ToString>(things: &[T]) -> String {
    let texts: Vec<String> = things.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Individual => "individual",
        EntryKind::Group => "group",
    }
}
