//! Watches: what is asked and what is told. An event of a kind that a newer release may have made
//! is left out of its batch; the token is passed through as it is.

use grapevine_model::{
    Changes, Course, EntryKind, Happened, MAX_TOKEN_CHARS, Request, Since, WatchEvent, WatchTarget,
};

use super::{
    Wire, chosen, enumerated, incarnation, incarnation_bytes, name, need, optional, registry,
};
use crate::v1;
use crate::wire::WireError;

pub(super) fn encode(target: &WatchTarget, since: &Since, wait_ms: u32) -> v1::Watch {
    v1::Watch {
        target: Some(match target {
            WatchTarget::Registry(registry) => v1::watch::Target::Registry(registry.to_string()),
            WatchTarget::Entry(name) => v1::watch::Target::Entry(name.to_string()),
        }),
        since: Some(match since {
            Since::Now => v1::watch::Since::Now(v1::Nothing {}),
            Since::Beginning => v1::watch::Since::Beginning(v1::Nothing {}),
            Since::Token(token) => v1::watch::Since::Token(token.clone()),
        }),
        wait_ms,
    }
}

impl TryFrom<v1::Watch> for Request {
    type Error = WireError;

    fn try_from(watch: v1::Watch) -> Wire<Self> {
        let target = match chosen(watch.target, "what to watch")? {
            v1::watch::Target::Registry(which) => WatchTarget::Registry(registry(&which)?),
            v1::watch::Target::Entry(which) => WatchTarget::Entry(name(&which)?),
        };
        let since = match chosen(watch.since, "where to begin a watch")? {
            v1::watch::Since::Now(_) => Since::Now,
            v1::watch::Since::Beginning(_) => Since::Beginning,
            v1::watch::Since::Token(token) if token.len() > MAX_TOKEN_CHARS => {
                return Err(WireError::invalid("a watch's token is too long"));
            }
            v1::watch::Since::Token(token) => Since::Token(token),
        };
        Ok(Self::Watch {
            target,
            since,
            wait_ms: watch.wait_ms,
        })
    }
}

impl From<&Changes> for v1::Changes {
    fn from(changes: &Changes) -> Self {
        Self {
            starts_over: match &changes.course {
                Course::Continues => None,
                Course::StartsOver { why } => Some(why.clone()),
            },
            events: changes.events.iter().map(Into::into).collect(),
            token: changes.token.clone(),
            more: changes.more,
        }
    }
}

impl TryFrom<v1::Changes> for Changes {
    type Error = WireError;

    fn try_from(changes: v1::Changes) -> Wire<Self> {
        let mut events = Vec::with_capacity(changes.events.len());
        for event in changes.events {
            match WatchEvent::try_from(event) {
                Ok(event) => events.push(event),
                Err(WireError::Newer(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            course: match changes.starts_over {
                None => Course::Continues,
                Some(why) => Course::StartsOver { why },
            },
            events,
            token: changes.token,
            more: changes.more,
        })
    }
}

impl From<&WatchEvent> for v1::WatchEvent {
    fn from(event: &WatchEvent) -> Self {
        use v1::watch_event::What;
        let item = |list: &String, item: &String| v1::ListItem {
            list: list.clone(),
            item: item.clone(),
        };
        Self {
            name: event.name.as_ref().map(ToString::to_string),
            incarnation: incarnation_bytes(event.incarnation),
            stamp: Some((&event.stamp).into()),
            what: Some(match &event.what {
                Happened::Created { kind } => What::Created(
                    match kind {
                        EntryKind::Individual => v1::EntryKind::Individual,
                        EntryKind::Group => v1::EntryKind::Group,
                    }
                    .into(),
                ),
                Happened::Deleted => What::Deleted(v1::Nothing {}),
                Happened::Set { field, value } => What::Set(v1::FieldValue {
                    field: field.clone(),
                    value: value.clone(),
                }),
                Happened::Cleared { field } => What::Cleared(field.clone()),
                Happened::Added { list, item: what } => What::Added(item(list, what)),
                Happened::Removed { list, item: what } => What::Removed(item(list, what)),
            }),
        }
    }
}

impl TryFrom<v1::WatchEvent> for WatchEvent {
    type Error = WireError;

    fn try_from(event: v1::WatchEvent) -> Wire<Self> {
        use v1::watch_event::What;
        let what = match chosen(event.what, "an event of a watch")? {
            What::Created(kind) => Happened::Created {
                kind: match enumerated(kind, "kind of entry")? {
                    v1::EntryKind::Unspecified => {
                        return Err(WireError::invalid("an entry without a kind"));
                    }
                    v1::EntryKind::Individual => EntryKind::Individual,
                    v1::EntryKind::Group => EntryKind::Group,
                },
            },
            What::Deleted(_) => Happened::Deleted,
            What::Set(v1::FieldValue { field, value }) => Happened::Set { field, value },
            What::Cleared(field) => Happened::Cleared { field },
            What::Added(v1::ListItem { list, item }) => Happened::Added { list, item },
            What::Removed(v1::ListItem { list, item }) => Happened::Removed { list, item },
        };
        Ok(Self {
            name: optional(event.name.as_ref())?,
            incarnation: incarnation(&event.incarnation)?,
            stamp: need(event.stamp, "a stamp")?.into(),
            what,
        })
    }
}
