//! The queue, dead letters and what depends on one server, on the wire.

use grapevine_model::{
    DeadLetter, DeadLetterChange, DestinationView, MessageId, QueueAnswer, QueueAsk, QueueChange,
    QueueItem, UnplugView,
};

use super::request::value_text;
use super::{
    Wire, all, all_parsed, chosen, enumerated, id_bytes, message_id, name, need, optional, server,
    texts,
};
use crate::v1;
use crate::wire::WireError;

impl From<&QueueAsk> for v1::QueueAsk {
    fn from(ask: &QueueAsk) -> Self {
        use v1::queue_ask::Ask;
        let ask = match ask {
            QueueAsk::List {
                message,
                after,
                limit,
            } => Ask::List(v1::QueueList {
                message: message.map(id_bytes),
                after: after.clone(),
                limit: *limit,
            }),
            QueueAsk::Change { message, change } => Ask::Change(v1::QueueChange {
                message: message.map(id_bytes),
                what: what(*change).into(),
            }),
            QueueAsk::DeadLetters { after, limit } => Ask::DeadLetters(v1::QueueList {
                message: None,
                after: after.clone(),
                limit: *limit,
            }),
            QueueAsk::DeadLetter { message, change } => {
                use v1::dead_letter_change::Change;
                Ask::DeadLetter(v1::DeadLetterChange {
                    message: id_bytes(*message),
                    change: Some(match change {
                        DeadLetterChange::Resubmit { to: None } => Change::Resubmit(v1::Nothing {}),
                        DeadLetterChange::Resubmit { to: Some(to) } => {
                            Change::ResubmitTo(to.to_string())
                        }
                        DeadLetterChange::Drop => Change::Drop(v1::Nothing {}),
                    }),
                })
            }
            QueueAsk::Replay {
                message,
                since_ms,
                of,
                to,
                after,
            } => Ask::Replay(v1::Replay {
                message: message.map(id_bytes),
                since_ms: *since_ms,
                of: of.as_ref().map(ToString::to_string),
                to: to.as_ref().map(ToString::to_string),
                after: after.map(id_bytes),
            }),
            QueueAsk::Destinations => Ask::Destinations(v1::Nothing {}),
            QueueAsk::Unplug { server } => Ask::Unplug(server.to_string()),
        };
        Self { ask: Some(ask) }
    }
}

fn what(change: QueueChange) -> v1::queue_change::What {
    use v1::queue_change::What;
    match change {
        QueueChange::Retry => What::Retry,
        QueueChange::Hold => What::Hold,
        QueueChange::Release => What::Release,
        QueueChange::Refuse => What::Refuse,
        QueueChange::Drop => What::Drop,
    }
}

fn optional_message(bytes: Option<Vec<u8>>) -> Wire<Option<MessageId>> {
    bytes.map(|bytes| message_id(&bytes)).transpose()
}

impl TryFrom<v1::QueueAsk> for QueueAsk {
    type Error = WireError;

    fn try_from(ask: v1::QueueAsk) -> Wire<Self> {
        use v1::queue_ask::Ask;
        Ok(match chosen(ask.ask, "question about the queue")? {
            Ask::List(list) => Self::List {
                message: optional_message(list.message)?,
                after: list.after.map(value_text).transpose()?,
                limit: list.limit,
            },
            Ask::Change(change) => {
                use v1::queue_change::What;
                Self::Change {
                    message: optional_message(change.message)?,
                    change: match enumerated(change.what, "change of the queue")? {
                        What::Unspecified => {
                            return Err(WireError::invalid("a change of the queue that is none"));
                        }
                        What::Retry => QueueChange::Retry,
                        What::Hold => QueueChange::Hold,
                        What::Release => QueueChange::Release,
                        What::Refuse => QueueChange::Refuse,
                        What::Drop => QueueChange::Drop,
                    },
                }
            }
            Ask::DeadLetters(list) => Self::DeadLetters {
                after: list.after.map(value_text).transpose()?,
                limit: list.limit,
            },
            Ask::DeadLetter(letter) => {
                use v1::dead_letter_change::Change;
                Self::DeadLetter {
                    message: message_id(&letter.message)?,
                    change: match chosen(letter.change, "change of a dead letter")? {
                        Change::Resubmit(_) => DeadLetterChange::Resubmit { to: None },
                        Change::ResubmitTo(to) => DeadLetterChange::Resubmit {
                            to: Some(name(&to)?),
                        },
                        Change::Drop(_) => DeadLetterChange::Drop,
                    },
                }
            }
            Ask::Replay(replay) => Self::Replay {
                message: optional_message(replay.message)?,
                since_ms: replay.since_ms,
                of: optional(replay.of.as_ref())?,
                to: optional(replay.to.as_ref())?,
                after: optional_message(replay.after)?,
            },
            Ask::Destinations(_) => Self::Destinations,
            Ask::Unplug(which) => Self::Unplug {
                server: server(&which)?,
            },
        })
    }
}

impl From<&QueueItem> for v1::QueueItem {
    fn from(item: &QueueItem) -> Self {
        Self {
            message: id_bytes(item.message),
            recipient: Some((&item.recipient).into()),
            return_path: item.return_path.as_ref().map(ToString::to_string),
            accepted_ms: item.accepted_ms,
            len: item.len,
            held: item.held,
            deputy: item.deputy.as_ref().map(ToString::to_string),
            place: item.place.clone(),
        }
    }
}

impl TryFrom<v1::QueueItem> for QueueItem {
    type Error = WireError;

    fn try_from(item: v1::QueueItem) -> Wire<Self> {
        Ok(Self {
            message: message_id(&item.message)?,
            recipient: need(item.recipient, "a recipient")?.try_into()?,
            return_path: optional(item.return_path.as_ref())?,
            accepted_ms: item.accepted_ms,
            len: item.len,
            held: item.held,
            deputy: optional(item.deputy.as_ref())?,
            place: item.place,
        })
    }
}

impl From<&DeadLetter> for v1::DeadLetter {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            message: id_bytes(letter.message),
            name: letter.name.to_string(),
            reason: letter.reason.clone(),
            since_ms: letter.since_ms,
            len: letter.len,
            place: letter.place.clone(),
        }
    }
}

impl TryFrom<v1::DeadLetter> for DeadLetter {
    type Error = WireError;

    fn try_from(letter: v1::DeadLetter) -> Wire<Self> {
        Ok(Self {
            message: message_id(&letter.message)?,
            name: name(&letter.name)?,
            reason: letter.reason,
            since_ms: letter.since_ms,
            len: letter.len,
            place: letter.place,
        })
    }
}

impl From<&DestinationView> for v1::DestinationView {
    fn from(view: &DestinationView) -> Self {
        Self {
            destination: view.destination.clone(),
            messages: view.messages,
            recipients: view.recipients,
            under_way: view.under_way,
            failures: view.failures,
            next_ms: view.next_ms,
            reason: view.reason.clone(),
        }
    }
}

impl TryFrom<v1::DestinationView> for DestinationView {
    type Error = WireError;

    fn try_from(view: v1::DestinationView) -> Wire<Self> {
        Ok(Self {
            destination: value_text(view.destination)?,
            messages: view.messages,
            recipients: view.recipients,
            under_way: view.under_way,
            failures: view.failures,
            next_ms: view.next_ms,
            reason: value_text(view.reason)?,
        })
    }
}

impl From<&UnplugView> for v1::UnplugView {
    fn from(view: &UnplugView) -> Self {
        Self {
            itself: view.itself,
            messages_alone: view.messages_alone,
            registries_alone: texts(&view.registries_alone),
            mailboxes_alone: view.mailboxes_alone,
            mailboxes_of: texts(&view.mailboxes_of),
            messages_delayed: view.messages_delayed,
            messages_taken_over: view.messages_taken_over,
            recipients_waiting: view.recipients_waiting,
            take_over_ms: view.take_over_ms,
        }
    }
}

impl TryFrom<v1::UnplugView> for UnplugView {
    type Error = WireError;

    fn try_from(view: v1::UnplugView) -> Wire<Self> {
        Ok(Self {
            itself: view.itself,
            messages_alone: view.messages_alone,
            registries_alone: all_parsed(&view.registries_alone)?,
            mailboxes_alone: view.mailboxes_alone,
            mailboxes_of: all_parsed(&view.mailboxes_of)?,
            messages_delayed: view.messages_delayed,
            messages_taken_over: view.messages_taken_over,
            recipients_waiting: view.recipients_waiting,
            take_over_ms: view.take_over_ms,
        })
    }
}

impl From<&QueueAnswer> for v1::QueueAnswer {
    fn from(answer: &QueueAnswer) -> Self {
        use v1::queue_answer::Answer;
        let answer = match answer {
            QueueAnswer::Items { items, next } => Answer::Items(v1::QueuePage {
                items: items.iter().map(Into::into).collect(),
                next: next.clone(),
            }),
            QueueAnswer::Changed(count) => Answer::Changed(*count),
            QueueAnswer::Replayed { replayed, next } => Answer::Replayed(v1::Replayed {
                replayed: *replayed,
                next: next.map(id_bytes),
            }),
            QueueAnswer::DeadLetters { letters, next } => Answer::DeadLetters(v1::DeadLetterPage {
                letters: letters.iter().map(Into::into).collect(),
                next: next.clone(),
            }),
            QueueAnswer::Destinations(all) => Answer::Destinations(v1::DestinationViews {
                destinations: all.iter().map(Into::into).collect(),
            }),
            QueueAnswer::Unplug(view) => Answer::Unplug(view.into()),
        };
        Self {
            answer: Some(answer),
        }
    }
}

impl TryFrom<v1::QueueAnswer> for QueueAnswer {
    type Error = WireError;

    fn try_from(answer: v1::QueueAnswer) -> Wire<Self> {
        use v1::queue_answer::Answer;
        Ok(match chosen(answer.answer, "answer about the queue")? {
            Answer::Items(page) => Self::Items {
                items: all(page.items)?,
                next: page.next,
            },
            Answer::Changed(count) => Self::Changed(count),
            Answer::Replayed(answer) => Self::Replayed {
                replayed: answer.replayed,
                next: optional_message(answer.next)?,
            },
            Answer::DeadLetters(page) => Self::DeadLetters {
                letters: all(page.letters)?,
                next: page.next,
            },
            Answer::Destinations(views) => Self::Destinations(all(views.destinations)?),
            Answer::Unplug(view) => Self::Unplug(view.try_into()?),
        })
    }
}
