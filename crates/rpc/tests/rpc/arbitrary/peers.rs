//! Arbitrary messages between servers.

use grapevine_model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

pub(super) fn compare_step() -> BoxedStrategy<CompareStep> {
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

pub fn peer_message() -> BoxedStrategy<PeerMessage> {
    let bare = || {
        prop_oneof![
            replication_message(),
            delivery_message(),
            question_message()
        ]
    };
    let about = (bare(), vec((registry(), incarnation()), 1..4)).prop_map(|(message, lives)| {
        let message = Box::new(message);
        match *message {
            PeerMessage::Body { .. } => *message,
            _ => PeerMessage::About { lives, message },
        }
    });
    prop_oneof![3 => bare(), 1 => about].boxed()
}

pub(super) fn replication_message() -> BoxedStrategy<PeerMessage> {
    prop_oneof![
        (
            origin(),
            hlc(),
            any::<u64>(),
            any::<bool>(),
            vec(any::<u64>(), 0..9),
            option::of(stamp()),
            option::of("[a-z.]{1,20}:[0-9]{1,5}")
        )
            .prop_map(|(origin, time, pending, accepts, digests, seen, at)| {
                PeerMessage::Beat(Beat {
                    origin,
                    time,
                    pending,
                    accepts,
                    digests,
                    seen,
                    at,
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
        vec((space(), stamp(), vector(), updates()), 0..4).prop_map(|pushes| {
            let pushes = pushes.into_iter();
            let push = |(space, previous, context, updates)| SpacePush {
                space,
                previous,
                context,
                updates,
            };
            PeerMessage::Pushes(pushes.map(push).collect())
        }),
        vec((space(), vector()), 0..4).prop_map(PeerMessage::Haves),
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

pub(super) fn delivery_message() -> BoxedStrategy<PeerMessage> {
    let envelope =
        (option::of(name()), name()).prop_map(|(return_path, recipient)| DepositEnvelope {
            return_path,
            recipient,
        });
    let inbox = (
        incarnation(),
        name(),
        servers(),
        option::of(list_copy()),
        option::of(envelope),
    )
        .prop_map(|(inbox, name, sites, list, envelope)| DepositFor {
            inbox,
            name,
            sites,
            list,
            envelope,
        });
    let inboxes = vec(inbox, 0..4);
    let outcome = prop_oneof![
        any::<u8>().prop_map(|copies| DepositOutcome::Stored { copies }),
        Just(DepositOutcome::NotHere),
        (text(), over_quota()).prop_map(|(why, policy)| DepositOutcome::OverQuota { why, policy }),
        text().prop_map(DepositOutcome::Later),
        text().prop_map(|why| DepositOutcome::Rejected { why }),
    ];
    prop_oneof![
        record().prop_map(PeerMessage::Custody),
        (message_id(), any::<Option<u32>>()).prop_map(|(message, recipients)| {
            PeerMessage::CustodyHeld {
                message,
                recipients,
            }
        }),
        (message_id(), any::<bool>())
            .prop_map(|(message, held)| PeerMessage::CustodyHold { message, held }),
        message_id().prop_map(|message| PeerMessage::DelayTold { message }),
        (origin(), ids())
            .prop_map(|(origin, messages)| PeerMessage::CustodyLeft { origin, messages }),
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
        vec(message_id(), 0..4).prop_map(|messages| PeerMessage::OutsideAsk { messages }),
        (message_id(), texts()).prop_map(|(message, recipients)| PeerMessage::OutsideDone {
            message,
            recipients
        }),
        (message_id(), texts()).prop_map(|(message, recipients)| PeerMessage::Handed {
            message,
            recipients
        }),
    ]
    .boxed()
}

pub(super) fn question_message() -> BoxedStrategy<PeerMessage> {
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
        (
            name(),
            incarnation(),
            servers(),
            names(),
            quota(),
            option::of(any::<u64>())
        )
            .prop_map(|(name, incarnation, sites, forward, quota, created_ms)| {
                Answer::Resolved(Resolution::Individual {
                    name,
                    incarnation,
                    sites,
                    forward,
                    quota,
                    created_ms,
                })
            }),
        (name(), incarnation(), posting(), option::of(incarnation())).prop_map(
            |(name, incarnation, posting, posting_meant)| {
                Answer::Resolved(Resolution::Group {
                    name,
                    incarnation,
                    posting,
                    posting_meant,
                })
            }
        ),
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
        (
            any::<u64>(),
            speaker(),
            request(),
            seen(),
            vec(server(), 0..3)
        )
            .prop_map(|(id, speaker, request, seen, nothing_at)| {
                PeerMessage::Forward {
                    id,
                    speaker,
                    request,
                    seen,
                    nothing_at,
                }
            }),
        vec(login_news(), 0..4).prop_map(PeerMessage::Logins),
        (any::<u64>(), result, option::of(as_of()))
            .prop_map(|(id, result, as_of)| PeerMessage::Forwarded { id, result, as_of }),
    ]
    .boxed()
}
