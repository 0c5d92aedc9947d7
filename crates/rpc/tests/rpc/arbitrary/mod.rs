//! Arbitrary values of everything that travels, within the model's limits.

mod filters;
mod mailboxes;
mod peers;
mod queue;
mod replies;
mod requests;

use std::collections::BTreeMap;

use grapevine_model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub use peers::peer_message;
use replies::found_site;
pub use replies::reply;
pub use requests::request;
use requests::*;

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
        Just(Speaker::Neighbour),
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
