//! What replies show: entries, status, traces, listings.

use grapevine_model::{
    Conflict, Dangle, Dangling, EntryKind, EntryView, HeldPost, HolderSays, InboxListing, ListCopy,
    ListedMessage, MessageId, PeerView, QueueView, SeenView, ServerStatus, Suspended,
    TombstoneView, Trace, TraceRecipient, Unsubscribe,
};

use super::request::{list, role};
use super::{
    Wire, all, all_parsed, enumerated, id_bytes, incarnation, incarnation_bytes, message_id, name,
    need, optional, parsed, registry, server, texts,
};
use crate::v1;
use crate::wire::WireError;

impl From<&EntryView> for v1::EntryView {
    fn from(view: &EntryView) -> Self {
        Self {
            name: view.name.to_string(),
            kind: encode_kind(view.kind).into(),
            incarnation: incarnation_bytes(view.incarnation),
            created_ms: view.created_ms,
            number: view.number,
            remark: view.remark.clone(),
            sites: texts(&view.sites),
            forward: texts(&view.forward),
            aliases: texts(&view.aliases),
            connect_sites: view.connect_sites.clone(),
            members: view.members,
            owners: texts(&view.owners),
            friends: texts(&view.friends),
            conflict: view.conflict,
            former: texts(&view.former),
            quota: Some((&view.quota).into()),
            usage: view.usage.map(Into::into),
            posting: Some((&view.posting).into()),
            suspended: view.suspended.iter().map(Into::into).collect(),
            aside: view.aside,
        }
    }
}

impl TryFrom<v1::EntryView> for EntryView {
    type Error = WireError;

    fn try_from(view: v1::EntryView) -> Wire<Self> {
        Ok(Self {
            name: name(&view.name)?,
            kind: kind(view.kind)?,
            incarnation: incarnation(&view.incarnation)?,
            created_ms: view.created_ms,
            number: view.number,
            remark: view.remark,
            sites: all_parsed(&view.sites)?,
            forward: all_parsed(&view.forward)?,
            aliases: all_parsed(&view.aliases)?,
            connect_sites: view.connect_sites,
            members: view.members,
            owners: all_parsed(&view.owners)?,
            friends: all_parsed(&view.friends)?,
            conflict: view.conflict,
            former: all_parsed(&view.former)?,
            quota: view.quota.map(Into::into).unwrap_or_default(),
            usage: view.usage.map(Into::into),
            posting: view
                .posting
                .map(TryInto::try_into)
                .transpose()?
                .unwrap_or_default(),
            suspended: all(view.suspended)?,
            aside: view.aside,
        })
    }
}

impl From<&Suspended> for v1::Suspended {
    fn from(suspended: &Suspended) -> Self {
        Self {
            member: suspended.member.to_string(),
            since_ms: suspended.since_ms,
            reason: suspended.reason.clone(),
        }
    }
}

impl TryFrom<v1::Suspended> for Suspended {
    type Error = WireError;

    fn try_from(suspended: v1::Suspended) -> Wire<Self> {
        Ok(Self {
            member: name(&suspended.member)?,
            since_ms: suspended.since_ms,
            reason: suspended.reason,
        })
    }
}

fn encode_kind(kind: EntryKind) -> v1::EntryKind {
    match kind {
        EntryKind::Individual => v1::EntryKind::Individual,
        EntryKind::Group => v1::EntryKind::Group,
    }
}

fn kind(number: i32) -> Wire<EntryKind> {
    Ok(match enumerated(number, "kind of entry")? {
        v1::EntryKind::Unspecified => return Err(WireError::invalid("an entry without a kind")),
        v1::EntryKind::Individual => EntryKind::Individual,
        v1::EntryKind::Group => EntryKind::Group,
    })
}

impl From<&Conflict> for v1::Conflict {
    fn from(conflict: &Conflict) -> Self {
        Self {
            name: conflict.name.to_string(),
            holder: incarnation_bytes(conflict.holder),
            aside: incarnation_bytes(conflict.aside),
            kind: encode_kind(conflict.kind).into(),
            remark: conflict.remark.clone(),
        }
    }
}

impl TryFrom<v1::Conflict> for Conflict {
    type Error = WireError;

    fn try_from(conflict: v1::Conflict) -> Wire<Self> {
        Ok(Self {
            name: name(&conflict.name)?,
            holder: incarnation(&conflict.holder)?,
            aside: incarnation(&conflict.aside)?,
            kind: kind(conflict.kind)?,
            remark: conflict.remark,
        })
    }
}

impl From<&ListCopy> for v1::ListCopy {
    fn from(copy: &ListCopy) -> Self {
        Self {
            list: copy.list.to_string(),
            https: copy.https.clone(),
            unsubscribe: copy.unsubscribe.as_ref().map(Unsubscribe::token),
        }
    }
}

impl TryFrom<v1::ListCopy> for ListCopy {
    type Error = WireError;

    fn try_from(copy: v1::ListCopy) -> Wire<Self> {
        let place = |https: String| match https.parse::<grapevine_model::Place>() {
            Ok(_) => Ok(https),
            Err(_) => Err(WireError::invalid("the place of an API can't be read")),
        };
        let token = |token: String| {
            Unsubscribe::from_token(&token)
                .ok_or_else(|| WireError::invalid("a token of a list can't be read"))
        };
        Ok(Self {
            list: name(&copy.list)?,
            // It becomes a part of a header.
            https: copy.https.map(place).transpose()?,
            unsubscribe: copy.unsubscribe.map(token).transpose()?,
        })
    }
}

impl From<&HeldPost> for v1::HeldPost {
    fn from(post: &HeldPost) -> Self {
        Self {
            message: id_bytes(post.message),
            from: post.from.as_ref().map(ToString::to_string),
            octets: post.octets,
            since_ms: post.since_ms,
            expires_ms: post.expires_ms,
        }
    }
}

impl TryFrom<v1::HeldPost> for HeldPost {
    type Error = WireError;

    fn try_from(post: v1::HeldPost) -> Wire<Self> {
        Ok(Self {
            message: message_id(&post.message)?,
            from: post.from.as_deref().map(name).transpose()?,
            octets: post.octets,
            since_ms: post.since_ms,
            expires_ms: post.expires_ms,
        })
    }
}

impl From<&Dangling> for v1::DanglingMember {
    fn from(dangling: &Dangling) -> Self {
        Self {
            group: dangling.group.to_string(),
            list: v1::GroupList::from(dangling.list).into(),
            member: dangling.member.to_string(),
            why: match dangling.why {
                Dangle::Gone => v1::Dangle::Gone,
                Dangle::Another => v1::Dangle::Another,
                Dangle::Unknown => v1::Dangle::Unknown,
            }
            .into(),
        }
    }
}

impl TryFrom<v1::DanglingMember> for Dangling {
    type Error = WireError;

    fn try_from(dangling: v1::DanglingMember) -> Wire<Self> {
        Ok(Self {
            group: name(&dangling.group)?,
            list: list(dangling.list)?,
            member: parsed(&dangling.member)?,
            // A reason of a newer release is none that this one may act on.
            why: match v1::Dangle::try_from(dangling.why) {
                Ok(v1::Dangle::Gone) => Dangle::Gone,
                Ok(v1::Dangle::Another) => Dangle::Another,
                Ok(v1::Dangle::Unknown) | Err(_) => Dangle::Unknown,
            },
        })
    }
}

impl From<&QueueView> for v1::QueueView {
    fn from(queue: &QueueView) -> Self {
        Self {
            messages: queue.messages,
            recipients: queue.recipients,
            deputy_for: queue.deputy_for,
            without_deputy: queue.without_deputy,
            dead_letters: queue.dead_letters,
            oldest_ms: queue.oldest_ms,
        }
    }
}

impl From<v1::QueueView> for QueueView {
    fn from(queue: v1::QueueView) -> Self {
        Self {
            messages: queue.messages,
            recipients: queue.recipients,
            deputy_for: queue.deputy_for,
            without_deputy: queue.without_deputy,
            dead_letters: queue.dead_letters,
            oldest_ms: queue.oldest_ms,
        }
    }
}

impl From<&PeerView> for v1::PeerView {
    fn from(peer: &PeerView) -> Self {
        Self {
            server: peer.server.to_string(),
            up: peer.up,
            silent_ms: peer.silent_ms,
            behind: peer.behind,
        }
    }
}

impl TryFrom<v1::PeerView> for PeerView {
    type Error = WireError;

    fn try_from(peer: v1::PeerView) -> Wire<Self> {
        Ok(Self {
            server: server(&peer.server)?,
            up: peer.up,
            silent_ms: peer.silent_ms,
            behind: peer.behind,
        })
    }
}

impl From<&ServerStatus> for v1::ServerStatus {
    fn from(status: &ServerStatus) -> Self {
        Self {
            server: status.server.to_string(),
            role: v1::ServerRole::from(status.role).into(),
            registries: status
                .registries
                .iter()
                .map(|(registry, entries, digest)| v1::RegistryDigest {
                    registry: registry.to_string(),
                    entries: *entries,
                    digest: *digest,
                })
                .collect(),
            mailboxes: status.mailboxes,
            queue: Some((&status.queue).into()),
            peers: status.peers.iter().map(Into::into).collect(),
            alarms: status.alarms.clone(),
            fetching: texts(&status.fetching),
            compare: Some((&status.compare).into()),
            tombstones: Some(v1::TombstoneView {
                kept: status.tombstones.kept,
                reaped: status.tombstones.reaped,
                refreshed: status.tombstones.refreshed,
            }),
            storage: Some((&status.storage).into()),
        }
    }
}

impl TryFrom<v1::ServerStatus> for ServerStatus {
    type Error = WireError;

    fn try_from(status: v1::ServerStatus) -> Wire<Self> {
        Ok(Self {
            server: server(&status.server)?,
            role: role(status.role)?,
            registries: status
                .registries
                .iter()
                .map(|held| Ok((registry(&held.registry)?, held.entries, held.digest)))
                .collect::<Wire<_>>()?,
            mailboxes: status.mailboxes,
            queue: need(status.queue, "a queue")?.into(),
            peers: all(status.peers)?,
            alarms: status.alarms,
            fetching: all_parsed(&status.fetching)?,
            // An older release says nothing of it.
            compare: status.compare.map(Into::into).unwrap_or_default(),
            // A server of an older release says nothing of them.
            tombstones: status
                .tombstones
                .map_or_else(TombstoneView::default, |t| TombstoneView {
                    kept: t.kept,
                    reaped: t.reaped,
                    refreshed: t.refreshed,
                }),
            // An older release says nothing of it.
            storage: status.storage.map(Into::into).unwrap_or_default(),
        })
    }
}

impl From<&SeenView> for v1::SeenView {
    fn from(view: &SeenView) -> Self {
        let holders = view.holders.iter().map(|(server, seen)| v1::HolderSeen {
            server: server.to_string(),
            seen: match seen {
                HolderSays::Has => v1::HolderSays::Has,
                HolderSays::Lacks => v1::HolderSays::Lacks,
                HolderSays::Silent => v1::HolderSays::Silent,
            }
            .into(),
        });
        Self {
            registry: view.registry.to_string(),
            holders: holders.collect(),
        }
    }
}

impl TryFrom<v1::SeenView> for SeenView {
    type Error = WireError;

    fn try_from(view: v1::SeenView) -> Wire<Self> {
        let holders = view.holders.iter().map(|holder| {
            let seen = match enumerated(holder.seen, "answer of a holder")? {
                v1::HolderSays::Unspecified => {
                    return Err(WireError::invalid("a holder that says nothing"));
                }
                v1::HolderSays::Has => HolderSays::Has,
                v1::HolderSays::Lacks => HolderSays::Lacks,
                v1::HolderSays::Silent => HolderSays::Silent,
            };
            Ok((server(&holder.server)?, seen))
        });
        Ok(Self {
            registry: registry(&view.registry)?,
            holders: holders.collect::<Wire<_>>()?,
        })
    }
}

impl From<&TraceRecipient> for v1::TraceRecipient {
    fn from(recipient: &TraceRecipient) -> Self {
        Self {
            name: recipient.name.to_string(),
            state: recipient.state.clone(),
            reason: recipient.reason.clone(),
            next_ms: recipient.next_ms,
            attempts: recipient.attempts,
        }
    }
}

impl TryFrom<v1::TraceRecipient> for TraceRecipient {
    type Error = WireError;

    fn try_from(recipient: v1::TraceRecipient) -> Wire<Self> {
        Ok(Self {
            name: name(&recipient.name)?,
            state: recipient.state,
            reason: recipient.reason,
            next_ms: recipient.next_ms,
            attempts: recipient.attempts,
        })
    }
}

impl From<&Trace> for v1::Trace {
    fn from(trace: &Trace) -> Self {
        Self {
            message: id_bytes(trace.message),
            server: trace.server.to_string(),
            roles: trace.roles.clone(),
            partner: trace.partner.as_ref().map(ToString::to_string),
            return_path: trace.return_path.as_ref().map(ToString::to_string),
            body: trace.body.as_ref().map(Into::into),
            references: trace.references,
            recipients: trace.recipients.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Trace> for Trace {
    type Error = WireError;

    fn try_from(trace: v1::Trace) -> Wire<Self> {
        Ok(Self {
            message: message_id(&trace.message)?,
            server: server(&trace.server)?,
            roles: trace.roles,
            partner: optional(trace.partner.as_ref())?,
            return_path: optional(trace.return_path.as_ref())?,
            body: trace.body.map(TryInto::try_into).transpose()?,
            references: trace.references,
            recipients: all(trace.recipients)?,
        })
    }
}

/// Under which id a body is kept, where it is not the message's own.
pub(super) fn other_body(message: MessageId, body: MessageId) -> Option<Vec<u8>> {
    (body != message).then(|| id_bytes(body))
}

/// The same, read: an older release knows no copies.
pub(super) fn body_of(message: MessageId, body: Option<&[u8]>) -> Wire<MessageId> {
    Ok(body.map(message_id).transpose()?.unwrap_or(message))
}

impl From<&InboxListing> for v1::InboxListing {
    fn from(listing: &InboxListing) -> Self {
        Self {
            incarnation: incarnation_bytes(listing.incarnation),
            messages: listing
                .messages
                .iter()
                .map(|listed| v1::ListedMessage {
                    message: id_bytes(listed.message),
                    len: listed.len,
                    deposited_ms: listed.deposited_ms,
                    list: listed.list.as_ref().map(Into::into),
                    body: other_body(listed.message, listed.body),
                })
                .collect(),
            sites: texts(&listing.sites),
            partial: listing.partial,
            usage: Some(listing.usage.into()),
            quota: Some((&listing.quota).into()),
        }
    }
}

impl TryFrom<v1::InboxListing> for InboxListing {
    type Error = WireError;

    fn try_from(listing: v1::InboxListing) -> Wire<Self> {
        Ok(Self {
            incarnation: incarnation(&listing.incarnation)?,
            messages: listing
                .messages
                .iter()
                .map(|listed| {
                    let message = message_id(&listed.message)?;
                    Ok(ListedMessage {
                        message,
                        body: body_of(message, listed.body.as_deref())?,
                        len: listed.len,
                        deposited_ms: listed.deposited_ms,
                        list: listed.list.clone().map(TryInto::try_into).transpose()?,
                    })
                })
                .collect::<Wire<_>>()?,
            sites: all_parsed(&listing.sites)?,
            partial: listing.partial,
            usage: listing.usage.map(Into::into).unwrap_or_default(),
            quota: listing.quota.map(Into::into).unwrap_or_default(),
        })
    }
}
