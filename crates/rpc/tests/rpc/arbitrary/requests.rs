//! Arbitrary requests and changes.

use grapevine_model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

pub(super) fn quota() -> BoxedStrategy<Quota> {
    (option::of(any::<u64>()), option::of(any::<u64>()))
        .prop_map(|(octets, messages)| Quota { octets, messages })
        .boxed()
}

pub(super) fn posting() -> BoxedStrategy<PostingRule> {
    prop_oneof![
        Just(PostingRule::Anyone),
        Just(PostingRule::Authenticated),
        Just(PostingRule::Members),
        Just(PostingRule::Owners),
        Just(PostingRule::Moderated),
        name().prop_map(PostingRule::Group),
    ]
    .boxed()
}

pub(super) fn aside() -> BoxedStrategy<AsideChange> {
    prop_oneof![
        Just(AsideChange::Delete),
        name().prop_map(AsideChange::Rename)
    ]
    .boxed()
}

pub(super) fn door() -> BoxedStrategy<SiteDoor> {
    "[a-z][a-z0-9]{0,14}"
        .prop_map(|text| text.parse().unwrap())
        .boxed()
}

pub(super) fn offer() -> BoxedStrategy<SiteOffer> {
    let place = prop_oneof![
        ("[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", 1u16..)
            .prop_map(|(host, port)| format!("{host}:{port}")),
        (any::<std::net::Ipv4Addr>(), 1u16..).prop_map(|(host, port)| format!("{host}:{port}")),
        (any::<std::net::Ipv6Addr>(), 1u16..).prop_map(|(host, port)| format!("[{host}]:{port}")),
    ];
    (place, any::<u16>(), any::<u16>(), "[a-z ]{0,20}")
        .prop_map(|(place, priority, weight, note)| SiteOffer {
            place: place.parse().unwrap(),
            priority,
            weight,
            note: note.parse().unwrap(),
        })
        .boxed()
}

fn unsubscribe() -> BoxedStrategy<Unsubscribe> {
    (incarnation(), incarnation(), any::<[u8; 16]>())
        .prop_map(|(group, member, proof)| Unsubscribe {
            group,
            member,
            proof,
        })
        .boxed()
}

pub(super) fn list_copy() -> BoxedStrategy<ListCopy> {
    let https = option::of(Just("a.example:443".to_owned()));
    (name(), https, option::of(unsubscribe()))
        .prop_map(|(list, https, unsubscribe)| ListCopy {
            list,
            https,
            unsubscribe,
        })
        .boxed()
}

pub(super) fn change() -> BoxedStrategy<EntryChange> {
    prop_oneof![
        secret().prop_map(EntryChange::Password),
        app_password().prop_map(EntryChange::AppPasswordAdd),
        "[a-z2-7]{0,12}".prop_map(EntryChange::AppPasswordRemove),
        text().prop_map(EntryChange::Remark),
        servers().prop_map(EntryChange::Sites),
        names().prop_map(EntryChange::Forward),
        (door(), vec(offer(), 0..3), option::of(any::<u64>())).prop_map(
            |(door, sites, lease_ms)| EntryChange::ConnectSites {
                door,
                sites,
                lease_ms
            }
        ),
        name().prop_map(EntryChange::AliasAdd),
        name().prop_map(EntryChange::AliasRemove),
        name().prop_map(EntryChange::Rename),
        name().prop_map(EntryChange::FormerRemove),
        quota().prop_map(EntryChange::Quota),
        posting().prop_map(EntryChange::Posting),
        (message_id(), option::of(text())).prop_map(|(message, reject)| EntryChange::Judge {
            message,
            verdict: reject.map_or(Verdict::Approve, Verdict::Reject),
        }),
        unsubscribe().prop_map(EntryChange::Unsubscribe),
        name().prop_map(EntryChange::Resume),
        (list(), member()).prop_map(|(list, who)| EntryChange::ListAdd(list, who)),
        (list(), member()).prop_map(|(list, who)| EntryChange::ListRemove(list, who)),
        Just(EntryChange::Join),
        Just(EntryChange::Leave),
    ]
    .boxed()
}

pub(super) fn digest() -> BoxedStrategy<Vec<u8>> {
    any::<[u8; 32]>().prop_map(Vec::from).boxed()
}

pub fn request() -> BoxedStrategy<Request> {
    prop_oneof![
        request_about_registries(),
        request_about_entries(),
        request_about_servers()
    ]
    .boxed()
}

pub(super) fn request_about_registries() -> BoxedStrategy<Request> {
    prop_oneof![
        (name(), secret(), source()).prop_map(|(name, password, source)| {
            Request::Authenticate {
                name,
                password,
                source,
            }
        }),
        authenticated().prop_map(|who| Request::Vouch { who }),
        name().prop_map(|name| Request::ScramBegin { name }),
        (name(), source(), "[ -~]{0,80}", any::<[u8; 32]>()).prop_map(
            |(name, source, said, proof)| Request::ScramFinish {
                name,
                source,
                said,
                proof,
            }
        ),
        option::of(any::<u64>()).prop_map(|life_ms| Request::TicketCreate { life_ms }),
        (name(), "[a-z ]{0,20}", option::of(any::<u64>())).prop_map(|(name, label, expires_ms)| {
            Request::AppPasswordCreate {
                name,
                label,
                expires_ms,
            }
        }),
        name().prop_map(|name| Request::AppPasswords { name }),
        (registry(), servers(), names()).prop_map(|(registry, holders, registrars)| {
            Request::RegistryCreate {
                registry,
                holders,
                registrars,
            }
        }),
        registry().prop_map(|registry| Request::RegistryDelete { registry }),
        Just(Request::RegistryList),
        registry().prop_map(|registry| Request::RegistryShow { registry }),
        registry().prop_map(|registry| Request::Compare { registry }),
        (registry(), option::of(stamp()))
            .prop_map(|(registry, stamp)| Request::RegistrySeen { registry, stamp }),
        (registry(), server())
            .prop_map(|(registry, server)| Request::HolderAdd { registry, server }),
        (registry(), server())
            .prop_map(|(registry, server)| Request::HolderRemove { registry, server }),
    ]
    .boxed()
}

pub(super) fn request_about_entries() -> BoxedStrategy<Request> {
    prop_oneof![
        (name(), option::of(secret()), servers()).prop_map(|(name, password, sites)| {
            Request::IndividualCreate {
                name,
                password,
                sites,
            }
        }),
        (name(), text(), members()).prop_map(|(name, remark, owners)| Request::GroupCreate {
            name,
            remark,
            owners
        }),
        (registry(), vec(imported_entry(), 0..3))
            .prop_map(|(registry, entries)| Request::Import { registry, entries }),
        name().prop_map(|name| Request::Delete { name }),
        (name(), change()).prop_map(|(name, change)| Request::Change { name, change }),
        name().prop_map(|name| Request::Show { name }),
        (name(), list(), name()).prop_map(|(group, list, who)| Request::Check { group, list, who }),
        (name(), list(), names()).prop_map(|(group, list, who)| Request::CheckMany {
            group,
            list,
            who
        }),
        (registry(), policy_change())
            .prop_map(|(registry, change)| Request::RegistryPolicy { registry, change }),
        (name(), list(), option::of(text()), any::<u32>()).prop_map(
            |(group, list, after, limit)| Request::Members {
                group,
                list,
                after,
                limit
            }
        ),
        (registry(), option::of(text()), any::<u32>()).prop_map(|(registry, after, limit)| {
            Request::Entries {
                registry,
                after,
                limit,
            }
        }),
        (
            name(),
            list(),
            any::<bool>(),
            option::of(text()),
            any::<u32>()
        )
            .prop_map(|(name, list, nested, after, limit)| Request::MemberOf {
                name,
                list,
                depth: if nested { Depth::Nested } else { Depth::Direct },
                after,
                limit
            }),
        name().prop_map(|group| Request::Held { group }),
        (registry(), option::of(text()), any::<u32>()).prop_map(|(registry, after, limit)| {
            Request::Conflicts {
                registry,
                after,
                limit,
            }
        }),
        (name(), incarnation(), aside()).prop_map(|(name, incarnation, change)| Request::Aside {
            name,
            incarnation,
            change
        }),
        (registry(), option::of(text()), any::<u32>()).prop_map(|(registry, after, limit)| {
            Request::Dangling {
                registry,
                after,
                limit,
            }
        }),
        (registry(), option::of(text()), any::<u32>()).prop_map(|(registry, after, limit)| {
            Request::DanglingRemove {
                registry,
                after,
                limit,
            }
        }),
        (registry(), any::<u32>())
            .prop_map(|(registry, number)| Request::EntryOfNumber { registry, number }),
        (watch_target(), since(), any::<u32>()).prop_map(|(target, since, wait_ms)| {
            Request::Watch {
                target,
                since,
                wait_ms,
            }
        }),
        (name(), option::of(door()), option::of(any::<u64>()))
            .prop_map(|(name, door, known)| Request::Find { name, door, known }),
        name().prop_map(|name| Request::CheckRecipient { name }),
        name().prop_map(|name| Request::MaySendAs { name }),
    ]
    .boxed()
}

pub(super) fn watch_target() -> BoxedStrategy<WatchTarget> {
    prop_oneof![
        registry().prop_map(WatchTarget::Registry),
        name().prop_map(WatchTarget::Entry)
    ]
    .boxed()
}

pub(super) fn since() -> BoxedStrategy<Since> {
    prop_oneof![
        Just(Since::Now),
        Just(Since::Beginning),
        text().prop_map(Since::Token)
    ]
    .boxed()
}

pub(super) fn request_about_servers() -> BoxedStrategy<Request> {
    prop_oneof![
        (digest(), any::<u64>())
            .prop_map(|(digest, expires_ms)| Request::TokenCreate { digest, expires_ms }),
        (digest(), info()).prop_map(|(digest, server)| Request::Join { digest, server }),
        server().prop_map(|server| Request::Retire { server }),
        prop_oneof![
            Just(KeyWait::Everybody),
            Just(KeyWait::Servers),
            Just(KeyWait::Nobody)
        ]
        .prop_map(|wait| Request::RotateKey { wait }),
        Just(Request::Servers),
        queue::ask().prop_map(Request::Queue),
        Just(Request::Status),
        message_id().prop_map(|message| Request::Trace { message }),
        name().prop_map(|name| Request::InboxList { name }),
        (name(), ids()).prop_map(|(name, messages)| Request::InboxDelete { name, messages }),
        mailboxes::request(),
        filters::request(),
    ]
    .boxed()
}

pub(super) fn imported_entry() -> BoxedStrategy<ImportedEntry> {
    let kind = prop_oneof![Just(EntryKind::Individual), Just(EntryKind::Group)];
    let what = (name(), kind, option::of(secret()), option::of(text()));
    let lists = (servers(), names(), names(), members(), members(), members());
    (what, lists)
        .prop_map(
            |(
                (name, kind, password, remark),
                (sites, forward, aliases, members, owners, friends),
            )| ImportedEntry {
                name,
                kind,
                password,
                remark,
                sites,
                forward,
                aliases,
                members,
                owners,
                friends,
            },
        )
        .boxed()
}

pub(super) fn alone() -> BoxedStrategy<AlonePolicy> {
    prop_oneof![
        Just(AlonePolicy::Default),
        Just(AlonePolicy::Accept),
        Just(AlonePolicy::Refuse)
    ]
    .boxed()
}

pub(super) fn stale() -> BoxedStrategy<StalePolicy> {
    prop_oneof![
        Just(StalePolicy::Answer),
        any::<u64>().prop_map(StalePolicy::AnswerForMs),
        Just(StalePolicy::Refuse)
    ]
    .boxed()
}

pub(super) fn scram() -> BoxedStrategy<ScramPolicy> {
    prop_oneof![Just(ScramPolicy::Off), Just(ScramPolicy::On)].boxed()
}

pub(super) fn over_quota() -> BoxedStrategy<OverQuotaPolicy> {
    prop_oneof![Just(OverQuotaPolicy::Later), Just(OverQuotaPolicy::Refuse)].boxed()
}

pub(super) fn policy_change() -> BoxedStrategy<PolicyChange> {
    prop_oneof![
        quota().prop_map(PolicyChange::Quota),
        over_quota().prop_map(PolicyChange::OverQuota),
        option::of(name()).prop_map(PolicyChange::CatchAll),
        alone().prop_map(PolicyChange::Alone),
        stale().prop_map(PolicyChange::Stale),
        scram().prop_map(PolicyChange::Scram),
        server().prop_map(PolicyChange::Offer),
        server().prop_map(PolicyChange::Withdraw),
    ]
    .boxed()
}
