//! Arbitrary values of everything that travels, within the model's limits.

use std::collections::BTreeMap;

use grapevine_model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub fn name() -> BoxedStrategy<Name> {
    ("[A-Za-z0-9^+]{1,12}", registry())
        .prop_map(|(simple, registry)| Name::new(&simple, registry).unwrap())
        .boxed()
}

fn registry() -> BoxedStrategy<RegistryName> {
    prop_oneof![
        Just(RegistryName::gv()),
        "[a-z]{1,8}(\\.[a-z0-9]{1,5}){0,2}".prop_map(|text| text.parse().unwrap()),
    ]
    .boxed()
}

pub fn server() -> BoxedStrategy<ServerName> {
    "[a-z][a-z0-9]{0,6}"
        .prop_map(|text| text.parse().unwrap())
        .boxed()
}

fn member() -> BoxedStrategy<Member> {
    prop_oneof![
        Just(Member::Anyone),
        registry().prop_map(Member::AnyoneIn),
        name().prop_map(Member::Name),
    ]
    .boxed()
}

fn names() -> BoxedStrategy<Vec<Name>> {
    vec(name(), 0..4).boxed()
}

fn servers() -> BoxedStrategy<Vec<ServerName>> {
    vec(server(), 0..4).boxed()
}

fn members() -> BoxedStrategy<Vec<Member>> {
    vec(member(), 0..4).boxed()
}

fn text() -> BoxedStrategy<String> {
    "\\PC{0,20}".boxed()
}

fn texts() -> BoxedStrategy<Vec<String>> {
    vec(text(), 0..4).boxed()
}

fn secret() -> BoxedStrategy<Secret> {
    text().prop_map(Secret).boxed()
}

fn bytes(size: usize) -> BoxedStrategy<Vec<u8>> {
    vec(any::<u8>(), 0..size).boxed()
}

fn source() -> BoxedStrategy<Source> {
    prop_oneof![
        Just(Source::Unknown),
        Just(Source::Local),
        any::<std::net::IpAddr>().prop_map(Source::of),
    ]
    .boxed()
}

fn authenticated() -> BoxedStrategy<Authenticated> {
    (name(), incarnation(), stamp(), option::of("[a-z2-7]{0,12}"))
        .prop_map(
            |(name, incarnation, credentials, app_password)| Authenticated {
                name,
                incarnation,
                credentials,
                app_password,
            },
        )
        .boxed()
}

pub fn ticket() -> BoxedStrategy<Ticket> {
    (authenticated(), incarnation(), server(), any::<[u64; 3]>())
        .prop_map(
            |(mut who, grapevine, issuer, [proved_ms, issued_ms, expires_ms])| {
                who.app_password = None;
                Ticket {
                    grapevine,
                    issuer,
                    who,
                    proved_ms,
                    issued_ms,
                    expires_ms,
                }
            },
        )
        .boxed()
}

fn app_password() -> BoxedStrategy<AppPassword> {
    (
        "[a-z2-7]{0,12}",
        "[a-z ]{0,20}",
        any::<[u8; 32]>(),
        any::<u64>(),
        option::of(any::<u64>()),
    )
        .prop_map(|(id, label, digest, created_ms, expires_ms)| AppPassword {
            id,
            label,
            digest,
            created_ms,
            expires_ms,
        })
        .boxed()
}

fn login_news() -> BoxedStrategy<LoginNews> {
    let outcome = prop_oneof![Just(LoginOutcome::Wrong), Just(LoginOutcome::Right)];
    (name(), source(), outcome)
        .prop_map(|(name, source, outcome)| LoginNews {
            name,
            source,
            outcome,
        })
        .boxed()
}

fn incarnation() -> BoxedStrategy<Incarnation> {
    any::<u128>().prop_map(Incarnation).boxed()
}

fn origin() -> BoxedStrategy<OriginId> {
    // Few, so that lists repeat them, and many.
    prop_oneof![0u64..3, any::<u64>()]
        .prop_map(OriginId)
        .boxed()
}

fn hlc() -> BoxedStrategy<Hlc> {
    prop_oneof![0u64..3, any::<u64>()].prop_map(Hlc).boxed()
}

fn stamp() -> BoxedStrategy<Stamp> {
    (hlc(), origin())
        .prop_map(|(time, origin)| Stamp { time, origin })
        .boxed()
}

fn message_id() -> BoxedStrategy<MessageId> {
    (hlc(), origin())
        .prop_map(|(time, origin)| MessageId { time, origin })
        .boxed()
}

fn ids() -> BoxedStrategy<Vec<MessageId>> {
    vec(message_id(), 0..4).boxed()
}

fn list() -> BoxedStrategy<GroupList> {
    prop_oneof![
        Just(GroupList::Members),
        Just(GroupList::Owners),
        Just(GroupList::Friends)
    ]
    .boxed()
}

fn space() -> BoxedStrategy<SpaceId> {
    prop_oneof![
        registry().prop_map(SpaceId::Registry),
        incarnation().prop_map(SpaceId::Mailbox)
    ]
    .boxed()
}

fn vector() -> BoxedStrategy<VersionVector> {
    vec((origin(), hlc()), 0..5)
        .prop_map(|pairs| pairs.into_iter().collect())
        .boxed()
}

/// Every way in which stamp, dot and item can be the same or not.
fn update() -> BoxedStrategy<Update> {
    (
        message_id(),
        any::<u16>(),
        bytes(20),
        option::of(stamp()),
        option::of(stamp()),
        option::of(bytes(40)),
    )
        .prop_map(|(item, field, element, stamp, dot, value)| {
            let stamp = stamp.unwrap_or(Stamp {
                time: item.time,
                origin: item.origin,
            });
            Update {
                key: CellKey {
                    item: item.to_u128(),
                    field,
                    element,
                },
                cell: Cell {
                    stamp,
                    dot: dot.unwrap_or(stamp),
                    value,
                },
            }
        })
        .boxed()
}

fn updates() -> BoxedStrategy<Vec<Update>> {
    vec(update(), 0..8).boxed()
}

pub fn body() -> BoxedStrategy<BodyInfo> {
    (any::<u64>(), any::<[u8; 32]>())
        .prop_map(|(len, digest)| BodyInfo { len, digest })
        .boxed()
}

fn recipient() -> BoxedStrategy<EnvelopeRecipient> {
    let notify =
        (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(success, failure, delay)| {
            Notify {
                success,
                failure,
                delay,
            }
        });
    (
        name(),
        notify,
        option::of(text()),
        option::of(incarnation()),
    )
        .prop_map(|(name, notify, original, meant)| EnvelopeRecipient {
            name,
            notify,
            original,
            meant,
        })
        .boxed()
}

pub fn envelope() -> BoxedStrategy<Envelope> {
    (
        option::of(name()),
        vec(recipient(), 1..5),
        prop_oneof![Just(ReturnContent::Headers), Just(ReturnContent::Full)],
        option::of(text()),
    )
        .prop_map(|(return_path, recipients, content, envelope_id)| Envelope {
            return_path,
            recipients,
            content,
            envelope_id,
        })
        .boxed()
}

fn record() -> BoxedStrategy<CustodyRecord> {
    (
        message_id(),
        server(),
        origin(),
        body(),
        envelope(),
        any::<u64>(),
        speaker(),
    )
        .prop_map(
            |(message, custodian, origin, body, envelope, accepted_ms, poster)| CustodyRecord {
                message,
                custodian,
                origin,
                body,
                envelope,
                accepted_ms,
                poster,
            },
        )
        .boxed()
}

pub fn speaker() -> BoxedStrategy<Speaker> {
    prop_oneof![
        Just(Speaker::Anonymous),
        (name(), incarnation())
            .prop_map(|(name, incarnation)| Speaker::Individual { name, incarnation }),
        Just(Speaker::Operator),
        server().prop_map(Speaker::Server),
    ]
    .boxed()
}

fn role() -> BoxedStrategy<ServerRole> {
    prop_oneof![Just(ServerRole::Full), Just(ServerRole::Retiring)].boxed()
}

fn info() -> BoxedStrategy<ServerInfo> {
    let doors = vec((0usize..Door::ALL.len(), text()), 0..4).prop_map(|doors| {
        doors
            .into_iter()
            .map(|(door, address)| (Door::ALL[door], address))
            .collect::<BTreeMap<_, _>>()
    });
    let keys = (bytes(100), vec(bytes(100), 0..4));
    (server(), keys, origin(), role(), doors)
        .prop_map(
            |(name, (public_key, more_keys), origin, role, doors)| ServerInfo {
                name,
                public_key,
                more_keys,
                origin,
                role,
                doors,
            },
        )
        .boxed()
}

fn quota() -> BoxedStrategy<Quota> {
    (option::of(any::<u64>()), option::of(any::<u64>()))
        .prop_map(|(octets, messages)| Quota { octets, messages })
        .boxed()
}

fn posting() -> BoxedStrategy<PostingRule> {
    prop_oneof![
        Just(PostingRule::Anyone),
        Just(PostingRule::Authenticated),
        Just(PostingRule::Members),
        Just(PostingRule::Owners),
        name().prop_map(PostingRule::Group),
    ]
    .boxed()
}

fn aside() -> BoxedStrategy<AsideChange> {
    prop_oneof![
        Just(AsideChange::Delete),
        name().prop_map(AsideChange::Rename)
    ]
    .boxed()
}

fn conflict() -> BoxedStrategy<Conflict> {
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

fn dangling() -> BoxedStrategy<Dangling> {
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

fn door() -> BoxedStrategy<SiteDoor> {
    "[a-z][a-z0-9]{0,14}"
        .prop_map(|text| text.parse().unwrap())
        .boxed()
}

fn offer() -> BoxedStrategy<SiteOffer> {
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

fn found_site() -> BoxedStrategy<FoundSite> {
    (name(), door(), offer(), option::of(any::<u64>()))
        .prop_map(|(name, door, offer, lease_ms)| FoundSite {
            name,
            door,
            offer,
            lease_ms,
        })
        .boxed()
}

fn change() -> BoxedStrategy<EntryChange> {
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
        (list(), member()).prop_map(|(list, who)| EntryChange::ListAdd(list, who)),
        (list(), member()).prop_map(|(list, who)| EntryChange::ListRemove(list, who)),
        Just(EntryChange::Join),
        Just(EntryChange::Leave),
    ]
    .boxed()
}

fn digest() -> BoxedStrategy<Vec<u8>> {
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

fn request_about_registries() -> BoxedStrategy<Request> {
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

fn request_about_entries() -> BoxedStrategy<Request> {
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

fn watch_target() -> BoxedStrategy<WatchTarget> {
    prop_oneof![
        registry().prop_map(WatchTarget::Registry),
        name().prop_map(WatchTarget::Entry)
    ]
    .boxed()
}

fn since() -> BoxedStrategy<Since> {
    prop_oneof![
        Just(Since::Now),
        Just(Since::Beginning),
        text().prop_map(Since::Token)
    ]
    .boxed()
}

fn happened() -> BoxedStrategy<Happened> {
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

fn changes() -> BoxedStrategy<Changes> {
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

fn request_about_servers() -> BoxedStrategy<Request> {
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
        Just(Request::Status),
        message_id().prop_map(|message| Request::Trace { message }),
        name().prop_map(|name| Request::InboxList { name }),
        (name(), ids()).prop_map(|(name, messages)| Request::InboxDelete { name, messages }),
    ]
    .boxed()
}

fn imported_entry() -> BoxedStrategy<ImportedEntry> {
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

fn imported() -> BoxedStrategy<Imported> {
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

pub fn refusal() -> BoxedStrategy<Refusal> {
    let kind = prop_oneof![
        Just(ErrorKind::Invalid),
        Just(ErrorKind::NotAuthenticated),
        Just(ErrorKind::NotAllowed),
        Just(ErrorKind::NotFound),
        Just(ErrorKind::Conflict),
        Just(ErrorKind::TooLarge),
        Just(ErrorKind::Unavailable),
        Just(ErrorKind::Unknown),
        Just(ErrorKind::Internal),
    ];
    (kind, text())
        .prop_map(|(kind, why)| Refusal { kind, why })
        .boxed()
}

fn entry() -> BoxedStrategy<EntryView> {
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
    let more = (names(), quota(), posting(), any::<u32>());
    (what, places, people, more)
        .prop_map(
            |(
                (name, kind, incarnation, remark, conflict),
                (sites, forward, aliases, connect_sites),
                (members, owners, friends, created_ms, number),
                (former, quota, posting, aside),
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
                posting,
                aside,
            },
        )
        .boxed()
}

fn holder_says() -> BoxedStrategy<HolderSays> {
    prop_oneof![
        Just(HolderSays::Has),
        Just(HolderSays::Lacks),
        Just(HolderSays::Silent)
    ]
    .boxed()
}

fn status() -> BoxedStrategy<ServerStatus> {
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
                }
            },
        )
        .boxed()
}

fn compare_counts() -> BoxedStrategy<CompareCounts> {
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

fn compared() -> BoxedStrategy<CompareView> {
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

fn compare_step() -> BoxedStrategy<CompareStep> {
    let nodes = || vec(any::<u32>(), 0..4);
    let level = || 0..=COMPARE_LEVELS;
    let cell =
        (any::<u64>(), any::<u64>()).prop_map(|(place, digest)| CellDigest { place, digest });
    prop_oneof![
        (any::<u64>(), any::<u64>(), level()).prop_map(|(cells, digest, levels)| {
            CompareStep::Begin {
                cells,
                digest,
                levels,
            }
        }),
        Just(CompareStep::Equal),
        text().prop_map(CompareStep::Later),
        (level(), nodes(), vec(any::<u64>(), 0..64)).prop_map(|(level, nodes, digests)| {
            CompareStep::Digests {
                level,
                nodes,
                digests,
            }
        }),
        (level(), nodes()).prop_map(|(level, nodes)| CompareStep::Ask { level, nodes }),
        (nodes(), vec(cell, 0..9)).prop_map(|(nodes, cells)| CompareStep::Leaves { nodes, cells }),
        (any::<u64>(), updates(), vec(any::<u64>(), 0..9), vector()).prop_map(
            |(places, updates, wanted, vector)| CompareStep::Differ {
                places,
                updates,
                wanted,
                vector,
            }
        ),
        (updates(), vector()).prop_map(|(updates, vector)| CompareStep::Cells { updates, vector }),
        any::<u64>().prop_map(|healed| CompareStep::Done { healed }),
    ]
    .boxed()
}

fn trace() -> BoxedStrategy<Trace> {
    let recipient = (
        name(),
        text(),
        text(),
        option::of(any::<u64>()),
        any::<u32>(),
    )
        .prop_map(|(name, state, reason, next_ms, attempts)| TraceRecipient {
            name,
            state,
            reason,
            next_ms,
            attempts,
        });
    (
        message_id(),
        server(),
        texts(),
        option::of(server()),
        option::of(name()),
        option::of(body()),
        any::<u32>(),
        vec(recipient, 0..3),
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

fn inbox() -> BoxedStrategy<InboxListing> {
    let listed =
        (message_id(), any::<u64>(), any::<u64>()).prop_map(|(message, len, deposited_ms)| {
            ListedMessage {
                message,
                len,
                deposited_ms,
            }
        });
    (incarnation(), vec(listed, 0..4), servers(), any::<bool>())
        .prop_map(|(incarnation, messages, sites, partial)| InboxListing {
            incarnation,
            messages,
            sites,
            partial,
        })
        .boxed()
}

pub fn reply() -> BoxedStrategy<Reply> {
    prop_oneof![reply_about_entries(), reply_about_servers()].boxed()
}

fn reply_about_entries() -> BoxedStrategy<Reply> {
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

fn reply_about_servers() -> BoxedStrategy<Reply> {
    prop_oneof![
        (vec(info(), 0..3), vec(registry(), 0..3))
            .prop_map(|(servers, holds)| Reply::Welcome(Welcome { servers, holds })),
        vec(info(), 0..3).prop_map(Reply::Servers),
        status().prop_map(|status| Reply::Status(Box::new(status))),
        (registry(), vec((server(), holder_says()), 0..4))
            .prop_map(|(registry, holders)| Reply::Seen(SeenView { registry, holders })),
        trace().prop_map(|trace| Reply::Trace(Box::new(trace))),
        inbox().prop_map(Reply::Inbox),
        compared().prop_map(Reply::Compared),
        (message_id(), any::<u8>())
            .prop_map(|(message, copies)| Reply::Accepted { message, copies }),
    ]
    .boxed()
}

pub fn seen() -> BoxedStrategy<Vec<Seen>> {
    let one = (registry(), stamp()).prop_map(|(registry, stamp)| Seen { registry, stamp });
    vec(one, 0..4).boxed()
}

pub fn as_of() -> BoxedStrategy<AsOf> {
    (server(), any::<u64>(), option::of(any::<u64>()), servers())
        .prop_map(|(server, at_ms, cut_off_since_ms, unheard)| AsOf {
            server,
            at_ms,
            cut_off_since_ms,
            unheard,
        })
        .boxed()
}

fn alone() -> BoxedStrategy<AlonePolicy> {
    prop_oneof![
        Just(AlonePolicy::Default),
        Just(AlonePolicy::Accept),
        Just(AlonePolicy::Refuse)
    ]
    .boxed()
}

fn stale() -> BoxedStrategy<StalePolicy> {
    prop_oneof![
        Just(StalePolicy::Answer),
        any::<u64>().prop_map(StalePolicy::AnswerForMs),
        Just(StalePolicy::Refuse)
    ]
    .boxed()
}

fn scram() -> BoxedStrategy<ScramPolicy> {
    prop_oneof![Just(ScramPolicy::Off), Just(ScramPolicy::On)].boxed()
}

fn policy() -> BoxedStrategy<RegistryPolicy> {
    (alone(), stale(), scram(), servers())
        .prop_map(|(alone, stale, scram, offered)| RegistryPolicy {
            alone,
            stale,
            scram,
            offered,
        })
        .boxed()
}

fn policy_change() -> BoxedStrategy<PolicyChange> {
    prop_oneof![
        alone().prop_map(PolicyChange::Alone),
        stale().prop_map(PolicyChange::Stale),
        scram().prop_map(PolicyChange::Scram),
        server().prop_map(PolicyChange::Offer),
        server().prop_map(PolicyChange::Withdraw),
    ]
    .boxed()
}

pub fn peer_message() -> BoxedStrategy<PeerMessage> {
    prop_oneof![
        replication_message(),
        delivery_message(),
        question_message()
    ]
    .boxed()
}

fn replication_message() -> BoxedStrategy<PeerMessage> {
    prop_oneof![
        (
            origin(),
            hlc(),
            any::<u64>(),
            any::<bool>(),
            vec(any::<u64>(), 0..9),
            option::of(stamp())
        )
            .prop_map(|(origin, time, pending, accepts, digests, seen)| {
                PeerMessage::Beat(Beat {
                    origin,
                    time,
                    pending,
                    accepts,
                    digests,
                    seen,
                })
            }),
        vec((space(), vector()), 0..4).prop_map(PeerMessage::Vectors),
        (any::<u64>(), space(), compare_step())
            .prop_map(|(id, space, step)| PeerMessage::Compare { id, space, step }),
        (space(), vector()).prop_map(|(space, known)| PeerMessage::Pull { space, known }),
        (space(), stamp(), vector(), updates()).prop_map(|(space, previous, context, updates)| {
            PeerMessage::Push {
                space,
                previous,
                context,
                updates,
            }
        }),
        (space(), vector(), vector(), any::<bool>(), updates()).prop_map(
            |(space, from, progress, complete, updates)| PeerMessage::Page {
                space,
                from,
                progress,
                complete,
                updates
            }
        ),
        (space(), vector()).prop_map(|(space, vector)| PeerMessage::Have { space, vector }),
        (space(), vector()).prop_map(|(space, floor)| PeerMessage::Refresh { space, floor }),
        (space(), vector()).prop_map(|(space, known)| PeerMessage::Fetch { space, known }),
        (
            (space(), vector(), vector(), vector(), vector()),
            any::<bool>(),
            updates()
        )
            .prop_map(
                |((space, from, progress, floor, vector), complete, updates)| {
                    PeerMessage::Copy {
                        space,
                        from,
                        progress,
                        complete,
                        floor,
                        vector,
                        updates,
                    }
                }
            ),
        ids().prop_map(|messages| PeerMessage::Need { messages }),
        (message_id(), body()).prop_map(|(message, body)| PeerMessage::Body { message, body }),
    ]
    .boxed()
}

fn delivery_message() -> BoxedStrategy<PeerMessage> {
    let inboxes = vec((incarnation(), name(), servers()), 0..4);
    let outcome = prop_oneof![
        any::<u8>().prop_map(|copies| DepositOutcome::Stored { copies }),
        Just(DepositOutcome::NotHere),
        text().prop_map(DepositOutcome::Later),
    ];
    prop_oneof![
        record().prop_map(PeerMessage::Custody),
        message_id().prop_map(|message| PeerMessage::CustodyHeld { message }),
        (origin(), ids())
            .prop_map(|(origin, messages)| PeerMessage::CustodyEnded { origin, messages }),
        (origin(), ids())
            .prop_map(|(origin, messages)| PeerMessage::CustodyAsk { origin, messages }),
        (message_id(), body(), inboxes).prop_map(|(message, body, inboxes)| {
            PeerMessage::Deposit {
                message,
                body,
                inboxes,
            }
        }),
        (message_id(), vec((incarnation(), outcome), 0..4))
            .prop_map(|(message, outcomes)| PeerMessage::Deposited { message, outcomes }),
        record().prop_map(PeerMessage::Hand),
        (message_id(), texts()).prop_map(|(message, recipients)| PeerMessage::Handed {
            message,
            recipients
        }),
    ]
    .boxed()
}

fn question_message() -> BoxedStrategy<PeerMessage> {
    let question = prop_oneof![
        name().prop_map(Question::Resolve),
        (
            name(),
            option::of(incarnation()),
            list(),
            name(),
            option::of(incarnation())
        )
            .prop_map(|(group, meant, list, who, incarnation)| Question::IsIn {
                group,
                meant,
                list,
                who,
                incarnation
            }),
        (name(), incarnation())
            .prop_map(|(name, incarnation)| Question::Sites { name, incarnation }),
        (
            registry(),
            list(),
            vec((member(), option::of(incarnation())), 0..4),
            option::of(text())
        )
            .prop_map(|(registry, list, who, after)| Question::ListedIn {
                registry,
                list,
                who,
                after
            }),
        (registry(), vec(incarnation(), 0..4)).prop_map(|(registry, incarnations)| {
            Question::Living {
                registry,
                incarnations,
            }
        }),
    ];
    let life = prop_oneof![
        name().prop_map(Life::Lives),
        Just(Life::Aside),
        Just(Life::Gone),
        Just(Life::Unheard),
        Just(Life::Absent)
    ];
    let answer = prop_oneof![
        (name(), incarnation(), servers(), names()).prop_map(
            |(name, incarnation, sites, forward)| Answer::Resolved(Resolution::Individual {
                name,
                incarnation,
                sites,
                forward
            })
        ),
        (name(), incarnation(), posting()).prop_map(|(name, incarnation, posting)| {
            Answer::Resolved(Resolution::Group {
                name,
                incarnation,
                posting,
            })
        }),
        Just(Answer::Resolved(Resolution::NoSuch)),
        (
            any::<bool>(),
            vec((name(), option::of(incarnation())), 0..4)
        )
            .prop_map(|(found, elsewhere)| Answer::Level { found, elsewhere }),
        (vec((name(), incarnation()), 0..4), option::of(text()))
            .prop_map(|(groups, next)| Answer::Groups { groups, next }),
        vec(life, 0..4).prop_map(Answer::Lives),
        (vec(found_site(), 0..3), vec((name(), incarnation()), 0..3))
            .prop_map(|(found, elsewhere)| Answer::Sites { found, elsewhere }),
        Just(Answer::Unavailable),
    ];
    let result = prop_oneof![reply().prop_map(Ok), refusal().prop_map(Err)];
    prop_oneof![
        (any::<u64>(), question, seen()).prop_map(|(id, question, seen)| PeerMessage::Ask {
            id,
            question,
            seen
        }),
        (any::<u64>(), answer).prop_map(|(id, answer)| PeerMessage::Answered { id, answer }),
        (any::<u64>(), speaker(), request(), seen()).prop_map(|(id, speaker, request, seen)| {
            PeerMessage::Forward {
                id,
                speaker,
                request,
                seen,
            }
        }),
        vec(login_news(), 0..4).prop_map(PeerMessage::Logins),
        (any::<u64>(), result, option::of(as_of()))
            .prop_map(|(id, result, as_of)| PeerMessage::Forwarded { id, result, as_of }),
    ]
    .boxed()
}
