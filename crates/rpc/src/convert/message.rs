//! Envelopes, measures and custody records.

use grapevine_model::{
    BodyInfo, CustodyRecord, Envelope, EnvelopeRecipient, MAX_RECIPIENTS, Notify, OriginId,
    ReturnContent, Speaker,
};

use super::{
    Wire, all, enumerated, id_bytes, incarnation, incarnation_bytes, message_id, name, need,
    optional, server,
};
use crate::v1;
use crate::wire::WireError;

/// Longest original recipient or envelope id, in bytes: RFC 3461 4.2 and 4.4 allow 500 and 100.
const MAX_XTEXT_BYTES: usize = 512;

impl From<&BodyInfo> for v1::BodyInfo {
    fn from(body: &BodyInfo) -> Self {
        Self {
            len: body.len,
            digest: body.digest.to_vec(),
        }
    }
}

impl TryFrom<v1::BodyInfo> for BodyInfo {
    type Error = WireError;

    fn try_from(body: v1::BodyInfo) -> Wire<Self> {
        Ok(Self {
            len: body.len,
            digest: body
                .digest
                .try_into()
                .map_err(|_| WireError::invalid("a digest has 32 bytes"))?,
        })
    }
}

impl From<&EnvelopeRecipient> for v1::Recipient {
    fn from(recipient: &EnvelopeRecipient) -> Self {
        let Notify {
            success,
            failure,
            delay,
        } = recipient.notify;
        Self {
            name: recipient.name.to_string(),
            notify: (recipient.notify != Notify::default()).then_some(v1::Notify {
                success,
                failure,
                delay,
            }),
            original: recipient.original.clone(),
            meant: recipient.meant.map(incarnation_bytes),
        }
    }
}

impl TryFrom<v1::Recipient> for EnvelopeRecipient {
    type Error = WireError;

    fn try_from(recipient: v1::Recipient) -> Wire<Self> {
        Ok(Self {
            name: name(&recipient.name)?,
            notify: recipient
                .notify
                .map_or_else(Notify::default, |notify| Notify {
                    success: notify.success,
                    failure: notify.failure,
                    delay: notify.delay,
                }),
            original: xtext(recipient.original)?,
            meant: recipient.meant.as_deref().map(incarnation).transpose()?,
        })
    }
}

fn xtext(text: Option<String>) -> Wire<Option<String>> {
    match text {
        Some(text) if text.len() > MAX_XTEXT_BYTES => {
            Err(WireError::invalid("an envelope's text is too long"))
        }
        text => Ok(text),
    }
}

impl From<&Envelope> for v1::Envelope {
    fn from(envelope: &Envelope) -> Self {
        Self {
            return_path: envelope.return_path.as_ref().map(ToString::to_string),
            recipients: envelope.recipients.iter().map(Into::into).collect(),
            content: match envelope.content {
                ReturnContent::Headers => v1::ReturnContent::Headers,
                ReturnContent::Full => v1::ReturnContent::Full,
            }
            .into(),
            envelope_id: envelope.envelope_id.clone(),
        }
    }
}

impl TryFrom<v1::Envelope> for Envelope {
    type Error = WireError;

    fn try_from(envelope: v1::Envelope) -> Wire<Self> {
        match envelope.recipients.len() {
            1..=MAX_RECIPIENTS => {}
            0 => return Err(WireError::invalid("an envelope without a recipient")),
            _ => return Err(WireError::invalid("an envelope with too many recipients")),
        }
        Ok(Self {
            return_path: optional(envelope.return_path.as_ref())?,
            recipients: all(envelope.recipients)?,
            content: match enumerated(envelope.content, "what a report returns")? {
                v1::ReturnContent::Headers => ReturnContent::Headers,
                v1::ReturnContent::Full => ReturnContent::Full,
            },
            envelope_id: xtext(envelope.envelope_id)?,
        })
    }
}

impl From<&CustodyRecord> for v1::CustodyRecord {
    fn from(record: &CustodyRecord) -> Self {
        Self {
            message: id_bytes(record.message),
            custodian: record.custodian.to_string(),
            origin: record.origin.0,
            body: Some((&record.body).into()),
            envelope: Some((&record.envelope).into()),
            accepted_ms: record.accepted_ms,
            poster: encode_poster(&record.poster),
        }
    }
}

impl TryFrom<v1::CustodyRecord> for CustodyRecord {
    type Error = WireError;

    fn try_from(record: v1::CustodyRecord) -> Wire<Self> {
        Ok(Self {
            message: message_id(&record.message)?,
            custodian: server(&record.custodian)?,
            origin: OriginId(record.origin),
            body: need(record.body, "a body's measure")?.try_into()?,
            envelope: need(record.envelope, "an envelope")?.try_into()?,
            accepted_ms: record.accepted_ms,
            poster: decode_poster(record.poster)?,
        })
    }
}

fn encode_poster(poster: &Speaker) -> Option<v1::Poster> {
    use v1::poster::Poster as Wired;
    let poster = match poster {
        Speaker::Anonymous => return None,
        Speaker::Individual { name, incarnation } => Wired::Individual(v1::PosterIndividual {
            name: name.to_string(),
            incarnation: incarnation_bytes(*incarnation),
        }),
        Speaker::Operator => Wired::Operator(true),
        Speaker::Server(server) => Wired::Server(server.to_string()),
        Speaker::Neighbour => Wired::Neighbour(true),
    };
    Some(v1::Poster {
        poster: Some(poster),
    })
}

fn decode_poster(poster: Option<v1::Poster>) -> Wire<Speaker> {
    use v1::poster::Poster as Wired;
    Ok(match poster.and_then(|poster| poster.poster) {
        // Of a kind that a newer release has made: nothing is granted to it.
        None => Speaker::Anonymous,
        Some(Wired::Individual(individual)) => Speaker::Individual {
            name: name(&individual.name)?,
            incarnation: incarnation(&individual.incarnation)?,
        },
        Some(Wired::Operator(_)) => Speaker::Operator,
        Some(Wired::Server(of)) => Speaker::Server(server(&of)?),
        Some(Wired::Neighbour(_)) => Speaker::Neighbour,
    })
}
