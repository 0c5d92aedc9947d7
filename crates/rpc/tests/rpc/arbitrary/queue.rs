//! Arbitrary questions about the queue, and answers.

use grapevine_model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

pub(super) fn ask() -> BoxedStrategy<QueueAsk> {
    let change = prop_oneof![
        Just(QueueChange::Retry),
        Just(QueueChange::Hold),
        Just(QueueChange::Release),
        Just(QueueChange::Refuse),
        Just(QueueChange::Drop),
    ];
    let letter = prop_oneof![
        option::of(name()).prop_map(|to| DeadLetterChange::Resubmit { to }),
        Just(DeadLetterChange::Drop),
    ];
    prop_oneof![
        (option::of(message_id()), option::of(text()), any::<u32>()).prop_map(
            |(message, after, limit)| QueueAsk::List {
                message,
                after,
                limit
            }
        ),
        (option::of(message_id()), change)
            .prop_map(|(message, change)| QueueAsk::Change { message, change }),
        (option::of(text()), any::<u32>())
            .prop_map(|(after, limit)| QueueAsk::DeadLetters { after, limit }),
        (message_id(), letter)
            .prop_map(|(message, change)| QueueAsk::DeadLetter { message, change }),
        (
            option::of(message_id()),
            any::<u64>(),
            option::of(name()),
            option::of(name()),
            option::of(message_id()),
        )
            .prop_map(|(message, since_ms, of, to, after)| QueueAsk::Replay {
                message,
                since_ms,
                of,
                to,
                after,
            }),
        server().prop_map(|server| QueueAsk::Unplug { server }),
    ]
    .boxed()
}

pub(super) fn recipient() -> BoxedStrategy<TraceRecipient> {
    (
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
        })
        .boxed()
}

fn item() -> BoxedStrategy<QueueItem> {
    (
        text(),
        message_id(),
        recipient(),
        option::of(name()),
        any::<u64>(),
        any::<u64>(),
        any::<bool>(),
        option::of(server()),
    )
        .prop_map(
            |(place, message, recipient, return_path, accepted_ms, len, held, deputy)| QueueItem {
                place,
                message,
                recipient,
                return_path,
                accepted_ms,
                len,
                held,
                deputy,
            },
        )
        .boxed()
}

fn letter() -> BoxedStrategy<DeadLetter> {
    let counts = (any::<u64>(), any::<u64>());
    (text(), message_id(), name(), text(), counts)
        .prop_map(
            |(place, message, name, reason, (since_ms, len))| DeadLetter {
                place,
                message,
                name,
                reason,
                since_ms,
                len,
            },
        )
        .boxed()
}

fn destination() -> BoxedStrategy<grapevine_model::DestinationView> {
    let counts = (any::<[u64; 3]>(), any::<u32>());
    (text(), text(), counts, option::of(any::<u64>()))
        .prop_map(|(destination, reason, (counts, failures), next_ms)| {
            grapevine_model::DestinationView {
                destination,
                messages: counts[0],
                recipients: counts[1],
                under_way: counts[2],
                failures,
                next_ms,
                reason,
            }
        })
        .boxed()
}

fn unplug() -> BoxedStrategy<UnplugView> {
    (
        any::<bool>(),
        vec(registry(), 0..3),
        vec(name(), 0..3),
        any::<[u64; 6]>(),
    )
        .prop_map(
            |(itself, registries_alone, mailboxes_of, counts)| UnplugView {
                itself,
                messages_alone: counts[0],
                registries_alone,
                mailboxes_alone: counts[1],
                mailboxes_of,
                messages_delayed: counts[2],
                messages_taken_over: counts[3],
                recipients_waiting: counts[4],
                take_over_ms: counts[5],
            },
        )
        .boxed()
}

pub(super) fn answer() -> BoxedStrategy<QueueAnswer> {
    prop_oneof![
        (vec(item(), 0..3), option::of(text()))
            .prop_map(|(items, next)| QueueAnswer::Items { items, next }),
        any::<u64>().prop_map(QueueAnswer::Changed),
        (any::<u64>(), option::of(message_id()))
            .prop_map(|(replayed, next)| QueueAnswer::Replayed { replayed, next }),
        (vec(letter(), 0..3), option::of(text()))
            .prop_map(|(letters, next)| QueueAnswer::DeadLetters { letters, next }),
        vec(destination(), 0..3).prop_map(QueueAnswer::Destinations),
        unplug().prop_map(QueueAnswer::Unplug),
    ]
    .boxed()
}
