//! Arbitrary replies and refusals, and what they show.

use grapevine_model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn held_post() -> BoxedStrategy<HeldPost> {
    (
        message_id(),
        option::of(name()),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
    )
        .prop_map(|(message, from, octets, since_ms, expires_ms)| HeldPost {
            message,
            from,
            octets,
            since_ms,
            expires_ms,
        })
        .boxed()
}

pub(super) fn conflict() -> BoxedStrategy<Conflict> {
    let kind = prop_oneof![Just(EntryKind::Individual), Just(EntryKind::Group)];
    (name(), incarnation(), incarnation(), kind, text())
        .prop_map(|(name, holder, aside, kind, remark)| Conflict {
            name,
            holder,
            aside,
            kind,
            remark,
        })
        .boxed()
}

pub(super) fn dangling() -> BoxedStrategy<Dangling> {
    let why = prop_oneof![
        Just(Dangle::Gone),
        Just(Dangle::Another),
        Just(Dangle::Unknown)
    ];
    (name(), list(), member(), why)
        .prop_map(|(group, list, member, why)| Dangling {
            group,
            list,
            member,
            why,
        })
        .boxed()
}

pub(super) fn found_site() -> BoxedStrategy<FoundSite> {
    (name(), door(), offer(), option::of(any::<u64>()))
        .prop_map(|(name, door, offer, lease_ms)| FoundSite {
            name,
            door,
            offer,
            lease_ms,
        })
        .boxed()
}

pub(super) fn happened() -> BoxedStrategy<Happened> {
    prop_oneof![
        prop_oneof![Just(EntryKind::Individual), Just(EntryKind::Group)]
            .prop_map(|kind| Happened::Created { kind }),
        Just(Happened::Deleted),
        (text(), text()).prop_map(|(field, value)| Happened::Set { field, value }),
        text().prop_map(|field| Happened::Cleared { field }),
        (text(), text()).prop_map(|(list, item)| Happened::Added { list, item }),
        (text(), text()).prop_map(|(list, item)| Happened::Removed { list, item }),
    ]
    .boxed()
}

pub(super) fn changes() -> BoxedStrategy<Changes> {
    let event = (option::of(name()), incarnation(), stamp(), happened()).prop_map(
        |(name, incarnation, stamp, what)| WatchEvent {
            name,
            incarnation,
            stamp,
            what,
        },
    );
    let course = prop_oneof![
        Just(Course::Continues),
        text().prop_map(|why| Course::StartsOver { why })
    ];
    (course, vec(event, 0..4), text(), any::<bool>())
        .prop_map(|(course, events, token, more)| Changes {
            course,
            events,
            token,
            more,
        })
        .boxed()
}

pub(super) fn imported() -> BoxedStrategy<Imported> {
    let done = prop_oneof![
        Just(ImportDone::Created),
        Just(ImportDone::Changed),
        Just(ImportDone::Unchanged),
        Just(ImportDone::Refused),
    ];
    let outcome =
        (done, vec(refusal(), 0..3)).prop_map(|(done, left_out)| ImportOutcome { done, left_out });
    (option::of(stamp()), any::<u8>(), vec(outcome, 0..3))
        .prop_map(|(stamp, copies, outcomes)| Imported {
            written: Written {
                stamp,
                copies,
                seen: Vec::new(),
            },
            outcomes,
        })
        .boxed()
}

pub(super) fn entry() -> BoxedStrategy<EntryView> {
    let what = (
        name(),
        prop_oneof![Just(EntryKind::Individual), Just(EntryKind::Group)],
        incarnation(),
        text(),
        any::<bool>(),
    );
    let places = (servers(), names(), names(), texts());
    let people = (
        any::<u64>(),
        members(),
        members(),
        any::<u64>(),
        any::<Option<u32>>(),
    );
    let suspended = (name(), any::<u64>(), text()).prop_map(|(member, since_ms, reason)| {
        grapevine_model::Suspended {
            member,
            since_ms,
            reason,
        }
    });
    let suspended = proptest::collection::vec(suspended, 0..3);
    let more = (names(), quota(), posting(), any::<u32>(), suspended);
    (what, places, people, more)
        .prop_map(
            |(
                (name, kind, incarnation, remark, conflict),
                (sites, forward, aliases, connect_sites),
                (members, owners, friends, created_ms, number),
                (former, quota, posting, aside, former_suspended),
            )| EntryView {
                name,
                kind,
                incarnation,
                created_ms,
                number,
                remark,
                sites,
                forward,
                aliases,
                connect_sites,
                members,
                owners,
                friends,
                conflict,
                former,
                quota,
                usage: (aside % 2 == 0).then(|| Usage::of(aside.into())),
                posting,
                suspended: former_suspended,
                aside,
            },
        )
        .boxed()
}

pub(super) fn holder_says() -> BoxedStrategy<HolderSays> {
    prop_oneof![
        Just(HolderSays::Has),
        Just(HolderSays::Lacks),
        Just(HolderSays::Silent)
    ]
    .boxed()
}

pub(super) fn status() -> BoxedStrategy<ServerStatus> {
    let queue = any::<[u64; 6]>().prop_map(|n| QueueView {
        messages: n[0],
        recipients: n[1],
        deputy_for: n[2],
        without_deputy: n[3],
        dead_letters: n[4],
        oldest_ms: n[5],
    });
    let peer = (
        server(),
        any::<bool>(),
        option::of(any::<u64>()),
        any::<u64>(),
    )
        .prop_map(|(server, up, silent_ms, behind)| PeerView {
            server,
            up,
            silent_ms,
            behind,
        });
    (
        server(),
        role(),
        vec((registry(), any::<u64>(), any::<u64>()), 0..3),
        any::<u64>(),
        queue,
        vec(peer, 0..3),
        texts(),
        (vec(registry(), 0..3), compare_counts()),
    )
        .prop_map(
            |(server, role, registries, mailboxes, queue, peers, alarms, (fetching, compare))| {
                ServerStatus {
                    server,
                    role,
                    registries,
                    mailboxes,
                    queue,
                    peers,
                    alarms,
                    fetching,
                    compare,
                    tombstones: TombstoneView {
                        kept: mailboxes,
                        reaped: mailboxes / 2,
                        refreshed: mailboxes / 3,
                    },
                    storage: StorageView {
                        mail: Usage::of(mailboxes),
                        full_mailboxes: mailboxes / 2,
                        disk_nearly_full: mailboxes % 2 == 0,
                        retained: Usage::of(mailboxes / 3),
                        archived: Usage::of(mailboxes / 5),
                        archive_to_remove: mailboxes / 7,
                        uids_reissued: mailboxes / 11,
                    },
                }
            },
        )
        .boxed()
}

pub(super) fn compare_counts() -> BoxedStrategy<CompareCounts> {
    (any::<[u64; 5]>(), texts())
        .prop_map(|(counts, quarantine)| CompareCounts {
            compared: counts[0],
            differed: counts[1],
            healed: counts[2],
            rebuilt: counts[3],
            quarantined: counts[4],
            quarantine,
        })
        .boxed()
}

pub(super) fn compared() -> BoxedStrategy<CompareView> {
    let with =
        (server(), any::<[u64; 4]>(), option::of(text())).prop_map(|(server, counts, failure)| {
            ComparedWith {
                server,
                differed: counts[0],
                healed_here: counts[1],
                healed_there: counts[2],
                bytes: counts[3],
                failure,
            }
        });
    (registry(), server(), any::<[u64; 2]>(), vec(with, 0..3))
        .prop_map(|(registry, server, counts, with)| CompareView {
            registry,
            server,
            cells: counts[0],
            rebuilt: counts[1],
            with,
        })
        .boxed()
}

pub(super) fn trace() -> BoxedStrategy<Trace> {
    (
        message_id(),
        server(),
        texts(),
        option::of(server()),
        option::of(name()),
        option::of(body()),
        any::<u32>(),
        vec(queue::recipient(), 0..3),
    )
        .prop_map(
            |(message, server, roles, partner, return_path, body, references, recipients)| Trace {
                message,
                server,
                roles,
                partner,
                return_path,
                body,
                references,
                recipients,
            },
        )
        .boxed()
}

pub(super) fn inbox() -> BoxedStrategy<InboxListing> {
    let listed = (
        message_id(),
        option::of(message_id()),
        any::<u64>(),
        any::<u64>(),
        option::of(list_copy()),
    )
        .prop_map(|(message, body, len, deposited_ms, list)| ListedMessage {
            message,
            body: body.unwrap_or(message),
            len,
            deposited_ms,
            list,
        });
    (
        incarnation(),
        vec(listed, 0..4),
        servers(),
        any::<bool>(),
        usage(),
        quota(),
    )
        .prop_map(
            |(incarnation, messages, sites, partial, usage, quota)| InboxListing {
                incarnation,
                messages,
                sites,
                partial,
                usage,
                quota,
            },
        )
        .boxed()
}

pub fn reply() -> BoxedStrategy<Reply> {
    prop_oneof![reply_about_entries(), reply_about_servers()].boxed()
}

pub(super) fn reply_about_entries() -> BoxedStrategy<Reply> {
    prop_oneof![
        imported().prop_map(Reply::Imported),
        (option::of(stamp()), any::<u8>(), seen()).prop_map(|(stamp, copies, seen)| {
            Reply::Written(Written {
                stamp,
                copies,
                seen,
            })
        }),
        vec(
            option::of(prop_oneof![Just(Check::Yes), Just(Check::No)]),
            0..9
        )
        .prop_map(Reply::Checks),
        authenticated().prop_map(Reply::Authenticated),
        (secret(), any::<u64>())
            .prop_map(|(ticket, expires_ms)| Reply::Ticket { ticket, expires_ms }),
        (any::<[u8; 16]>(), any::<u32>())
            .prop_map(|(salt, iterations)| Reply::ScramChallenge { salt, iterations }),
        (authenticated(), any::<[u8; 32]>())
            .prop_map(|(who, signature)| Reply::ScramProved { who, signature }),
        (secret(), "[a-z2-7]{0,12}").prop_map(|(password, id)| Reply::AppPassword { password, id }),
        vec(app_password(), 0..4).prop_map(|list| {
            let views = list.into_iter().map(|app| AppPasswordView {
                id: app.id,
                label: app.label,
                created_ms: app.created_ms,
                expires_ms: app.expires_ms,
            });
            Reply::AppPasswords(views.collect())
        }),
        vec(registry(), 0..4).prop_map(Reply::Registries),
        (
            registry(),
            servers(),
            members(),
            option::of(any::<u64>()),
            servers(),
            policy()
        )
            .prop_map(|(registry, holders, registrars, entries, ready, policy)| {
                Reply::Registry(RegistryView {
                    registry,
                    holders,
                    registrars,
                    entries,
                    ready,
                    policy,
                })
            }),
        entry().prop_map(|view| Reply::Entry(Box::new(view))),
        prop_oneof![Just(Check::Yes), Just(Check::No)].prop_map(Reply::Check),
        (
            members(),
            vec(
                prop_oneof![
                    Just(MemberKind::Individual),
                    Just(MemberKind::Group),
                    Just(MemberKind::Outside)
                ],
                0..4
            ),
            option::of(text())
        )
            .prop_map(|(members, kinds, next)| Reply::Members {
                members,
                kinds,
                next
            }),
        (vec(entry(), 0..3), option::of(text()))
            .prop_map(|(entries, next)| Reply::Entries { entries, next }),
        changes().prop_map(Reply::Changes),
        vec(held_post(), 0..4).prop_map(Reply::Held),
        (vec(conflict(), 0..4), option::of(text()))
            .prop_map(|(conflicts, next)| Reply::Conflicts { conflicts, next }),
        (vec(dangling(), 0..4), any::<u32>(), option::of(text())).prop_map(
            |(dangling, seen, next)| Reply::Dangling {
                dangling,
                seen,
                next
            }
        ),
        (vec(found_site(), 0..3), any::<bool>(), any::<u64>()).prop_map(
            |(sites, partial, version)| Reply::Located(Located {
                sites,
                partial,
                version
            })
        ),
        Just(Reply::Unchanged),
        Just(Reply::Ok),
    ]
    .boxed()
}

pub(super) fn reply_about_servers() -> BoxedStrategy<Reply> {
    prop_oneof![
        (vec(info(), 0..3), vec(registry(), 0..3))
            .prop_map(|(servers, holds)| Reply::Welcome(Welcome { servers, holds })),
        vec(info(), 0..3).prop_map(Reply::Servers),
        status().prop_map(|status| Reply::Status(Box::new(status))),
        (registry(), vec((server(), holder_says()), 0..4))
            .prop_map(|(registry, holders)| Reply::Seen(SeenView { registry, holders })),
        trace().prop_map(|trace| Reply::Trace(Box::new(trace))),
        queue::answer().prop_map(Reply::Queue),
        inbox().prop_map(Reply::Inbox),
        mailboxes::reply(),
        filters::reply(),
        over_quota().prop_map(Reply::RecipientFull),
        compared().prop_map(Reply::Compared),
        (message_id(), any::<u8>())
            .prop_map(|(message, copies)| Reply::Accepted { message, copies }),
    ]
    .boxed()
}

pub(super) fn policy() -> BoxedStrategy<RegistryPolicy> {
    (
        (alone(), stale(), scram(), servers()),
        (quota(), over_quota(), option::of(name())),
    )
        .prop_map(
            |((alone, stale, scram, offered), (quota, over_quota, catch_all))| RegistryPolicy {
                alone,
                stale,
                scram,
                quota,
                over_quota,
                catch_all,
                offered,
            },
        )
        .boxed()
}

pub(super) fn usage() -> BoxedStrategy<Usage> {
    any::<(u64, u64)>()
        .prop_map(|(octets, messages)| Usage { octets, messages })
        .boxed()
}
