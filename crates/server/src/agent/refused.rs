//! What the servers refuse of the outbox is told to who sent it: by a message in the mailbox, and in the list of the outbox.
//!
//! Must never be silent, nor tell twice: the message that tells has its id before it is tried, and keeps it.

use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;

use grapevine_model::{Envelope, EnvelopeRecipient, MessageId, ReturnContent};
use grapevine_user::{
    BodySource, GrapevineUser, Outbox, Outgoing, OutgoingState, SubmitError, new_message_id,
    wall_ms,
};

use super::backend::is_unreachable;
use crate::body_source::blocking;
use crate::cli::output::printable;
use crate::report::mail_date;

/// A message comes back whole up to this size; of a larger one its beginning does: what tells of it must fit where it did not. All of it
/// stays in the outbox.
const BACK_MAX_BYTES: u64 = 64 * 1024;
/// Recipients that are named.
const NAMED_MAX: usize = 50;

/// Tells of everything that was refused and not told of yet; says whether all is told.
pub(super) async fn tell(user: &GrapevineUser, outbox: &Arc<Outbox>) -> bool {
    for one in outbox.list() {
        let OutgoingState::Refused {
            why, told_by, told, ..
        } = &one.state
        else {
            continue;
        };
        if *told {
            continue;
        }
        match tell_of(user, outbox, &one, why, *told_by).await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                tracing::error!(%error, "the outbox can't be written: look at its disk");
                return false;
            }
        }
    }
    true
}

async fn tell_of(
    user: &GrapevineUser,
    outbox: &Arc<Outbox>,
    one: &Outgoing,
    why: &str,
    told_by: Option<MessageId>,
) -> std::io::Result<bool> {
    let (id, report) = (one.id, told_by);
    let report = match report {
        Some(report) => report,
        None => {
            let report = new_message_id()?;
            away(outbox, move |outbox| outbox.told_by(id, report)).await?;
            report
        }
    };
    let body = {
        let (one, why) = (one.clone(), why.to_owned());
        away(outbox, move |outbox| {
            Ok(compose(
                &one,
                &why,
                report,
                &beginning(&outbox.body(one.id)),
            ))
        })
        .await?
    };
    let envelope = Envelope {
        return_path: Some(one.sender.clone()),
        recipients: vec![EnvelopeRecipient::from(one.sender.clone())],
        content: ReturnContent::Headers,
        envelope_id: None,
    };
    match user
        .submit(report, &envelope, &BodySource::bytes(body))
        .await
    {
        Err(SubmitError::Refused(refusal)) if is_unreachable(&refusal) => return Ok(false),
        Err(SubmitError::Refused(refusal)) => {
            // The list of the outbox says it still.
            tracing::warn!(message = %one.id, %refusal, "its sender can't be told by a message");
        }
        Err(SubmitError::Body(error)) => return Err(error),
        Ok(_) => {}
    }
    away(outbox, move |outbox| outbox.told(id)).await?;
    Ok(true)
}

async fn away<T: Send + 'static>(
    outbox: &Arc<Outbox>,
    work: impl FnOnce(&Outbox) -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let outbox = Arc::clone(outbox);
    blocking(move || work(&outbox))
        .await
        .map_err(std::io::Error::other)?
}

/// The beginning of a body; nothing of one that can't be read.
fn beginning(body: &BodySource) -> Vec<u8> {
    let mut read = Vec::new();
    if let Ok(reader) = body.open() {
        // What was read before damage is the message's: each piece is proved.
        let _ = reader.take(BACK_MAX_BYTES).read_to_end(&mut read);
    }
    read
}

/// The message, lines ended with CRLF.
fn compose(one: &Outgoing, why: &str, report: MessageId, back: &[u8]) -> Vec<u8> {
    let boundary = format!("=_{}", blake3::hash(back).to_hex());
    let sender = &one.sender;
    let mut text = format!(
        "From: Grapevine agent <{sender}>\r\nTo: <{sender}>\r\nSubject: Not sent: a message from the outbox of your workstation\r\n\
         Date: {}\r\nMessage-ID: <{report}@agent.invalid>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         This message waited on your workstation until a server could be reached, and was then refused:\r\n\r\n    {}\r\n\r\nIt was for:\r\n",
        mail_date(wall_ms()),
        printable(why)
    );
    for recipient in one.envelope.recipients.iter().take(NAMED_MAX) {
        let _ = write!(text, "    {}\r\n", recipient.name);
    }
    if one.envelope.recipients.len() > NAMED_MAX {
        let _ = write!(
            text,
            "    and {} more\r\n",
            one.envelope.recipients.len() - NAMED_MAX
        );
    }
    let whole = back.len() as u64 == one.body.len;
    let _ = write!(
        text,
        "\r\nNobody has got it. It is still in the outbox, as {}: `grapevine agent outbox retry {}` tries it again,\r\n\
         `grapevine agent outbox drop {}` throws it away. {} below.\r\n\r\n\
         --{boundary}\r\nContent-Type: {}\r\nContent-Disposition: attachment; filename=\"{}\"\r\n\r\n",
        one.id,
        one.id,
        one.id,
        if whole {
            "It stands"
        } else {
            "Its beginning stands"
        },
        if whole {
            "message/rfc822"
        } else {
            "text/plain"
        },
        if whole {
            "not-sent.eml"
        } else {
            "not-sent.txt"
        },
    );
    let mut out = text.into_bytes();
    out.extend_from_slice(back);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use grapevine_model::{BodyInfo, Name};
    use mail_parser::{MessageParser, MimeHeaders as _};

    use super::*;

    #[test]
    fn the_message_names_the_reason_and_the_recipients_and_brings_the_message_back() {
        let sender: Name = "birrell@pa.example".parse().unwrap();
        let back = b"Subject: hello\r\n\r\nthe text\r\n";
        let one = Outgoing {
            id: MessageId::from_u128(7),
            sender: sender.clone(),
            envelope: Envelope {
                return_path: Some(sender),
                recipients: (0..60)
                    .map(|n| {
                        EnvelopeRecipient::from(format!("r{n}@pa.example").parse::<Name>().unwrap())
                    })
                    .collect(),
                content: ReturnContent::Headers,
                envelope_id: None,
            },
            body: BodyInfo {
                len: back.len() as u64,
                digest: *blake3::hash(back).as_bytes(),
            },
            kept_ms: 0,
            state: OutgoingState::Waiting { why: None },
        };
        let why = "no such name\r\nBcc: everybody";
        let message = compose(&one, why, MessageId::from_u128(8), back);
        let parsed = MessageParser::default().parse(&message).unwrap();
        let text = parsed.body_text(0).unwrap();
        assert!(text.contains("no such name") && text.contains("r49@") && !text.contains("r50@"));
        assert!(text.contains("and 10 more"), "{text}");
        assert!(parsed.bcc().is_none());
        let attached = parsed.attachment(0).unwrap();
        assert_eq!(attached.attachment_name(), Some("not-sent.eml"));
        let message = attached.message().unwrap();
        assert_eq!(message.subject(), Some("hello"));
    }
}
