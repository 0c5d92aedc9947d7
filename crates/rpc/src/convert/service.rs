//! Calls of clients: who makes them, and what goes with them.

use std::fmt;

use grapevine_model::{
    AsOf, Envelope, FolderId, MailPlace, MailboxAsk, MessageId, Name, Refusal, Reply, Request,
    Secret, Seen, Speaker,
};

use super::registry::{decode_as_of, decode_seen, encode_seen};
use super::{Wire, chosen, id_bytes, message_id, name, need, number};
use crate::v1;
use crate::wire::WireError;

/// Longest password in bytes: nobody types more, and each one is hashed.
const MAX_PASSWORD_BYTES: usize = 1_024;

/// An individual's name and password, not yet checked; the password is never printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who.
    pub name: Name,
    /// The password.
    pub password: Secret,
}

/// Who a call says that it is from. The shell makes a [`Speaker`] of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Caller {
    /// Whoever the connection has proved to be, or nobody in particular.
    #[default]
    Connection,
    /// An individual: check the password.
    Individual(Credentials),
    /// An individual: check the ticket.
    Ticket(Secret),
    /// Whom another server has authenticated: only for a connection that proved a server's key.
    OnBehalf(Speaker),
}

/// The first part of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitHead {
    /// Who hands it in.
    pub caller: Caller,
    /// The id that the client gives it.
    pub id: Option<MessageId>,
    /// From and for whom.
    pub envelope: Envelope,
}

/// Whose message is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBodyRequest {
    /// Who reads.
    pub caller: Caller,
    /// Whose inbox.
    pub owner: Name,
    /// Which message.
    pub message: MessageId,
    /// Where in the mailbox; none for INBOX, where the id alone is enough.
    pub place: Option<MailPlace>,
}

/// The first part of a mail for a folder: the request is a `MailboxAsk::Append`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendHead {
    /// Who hands it in.
    pub caller: Caller,
    /// What is asked.
    pub request: Request,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("the connection"),
            Self::Individual(credentials) => write!(f, "{}", credentials.name),
            Self::Ticket(_) => f.write_str("a ticket"),
            Self::OnBehalf(speaker) => write!(f, "on behalf of {speaker:?}"),
        }
    }
}

impl TryFrom<Option<v1::Caller>> for Caller {
    type Error = WireError;

    fn try_from(caller: Option<v1::Caller>) -> Wire<Self> {
        use v1::caller::Caller as Wired;
        let Some(caller) = caller else {
            return Ok(Self::Connection);
        };
        Ok(match chosen(caller.caller, "caller")? {
            Wired::Credentials(credentials) => {
                if credentials.password.len() > MAX_PASSWORD_BYTES {
                    return Err(WireError::invalid("a password is too long"));
                }
                Self::Individual(Credentials {
                    name: name(&credentials.name)?,
                    password: Secret(credentials.password),
                })
            }
            Wired::Ticket(v1::CallerTicket { ticket }) => {
                if ticket.len() > MAX_PASSWORD_BYTES {
                    return Err(WireError::invalid("a ticket is too long"));
                }
                Self::Ticket(Secret(ticket))
            }
            Wired::OnBehalf(speaker) => Self::OnBehalf(speaker.try_into()?),
        })
    }
}

fn wired(caller: &Caller) -> Option<v1::Caller> {
    use v1::caller::Caller as Wired;
    let caller = match caller {
        Caller::Connection => return None,
        Caller::Individual(Credentials { name, password }) => Wired::Credentials(v1::Credentials {
            name: name.to_string(),
            password: password.0.clone(),
        }),
        Caller::Ticket(ticket) => Wired::Ticket(v1::CallerTicket {
            ticket: ticket.0.clone(),
        }),
        Caller::OnBehalf(speaker) => Wired::OnBehalf(speaker.into()),
    };
    Some(v1::Caller {
        caller: Some(caller),
    })
}

/// A call: who, what, and what the client has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// What for.
    pub request: Request,
    /// What the client has seen: it is not to be answered with less.
    pub seen: Vec<Seen>,
}

/// A call of a client that has seen nothing.
pub fn encode_call(caller: &Caller, request: &Request) -> v1::CallRequest {
    encode_call_after(caller, request, &[])
}

/// A call, with what its client has seen.
pub fn encode_call_after(caller: &Caller, request: &Request, seen: &[Seen]) -> v1::CallRequest {
    v1::CallRequest {
        caller: wired(caller),
        request: Some(request.into()),
        seen: encode_seen(seen),
    }
}

/// Who calls, and what for.
pub fn decode_call(call: v1::CallRequest) -> Result<(Caller, Request), WireError> {
    decode_call_after(call).map(|call| (call.caller, call.request))
}

/// The whole of a call.
pub fn decode_call_after(call: v1::CallRequest) -> Result<Call, WireError> {
    Ok(Call {
        caller: call.caller.try_into()?,
        request: need(call.request, "a request")?.try_into()?,
        seen: decode_seen(call.seen)?,
    })
}

/// The answer to a call or a submission.
pub fn encode_reply(result: &Result<Reply, Refusal>) -> v1::CallReply {
    encode_reply_as_of(result, None)
}

/// The answer to a call, and as of when it is.
pub fn encode_reply_as_of(result: &Result<Reply, Refusal>, as_of: Option<&AsOf>) -> v1::CallReply {
    v1::CallReply {
        as_of: as_of.map(Into::into),
        result: Some(match result {
            Ok(reply) => v1::call_reply::Result::Reply(reply.into()),
            Err(refusal) => v1::call_reply::Result::Refusal(refusal.into()),
        }),
    }
}

/// The answer again.
pub fn decode_reply(reply: v1::CallReply) -> Result<Result<Reply, Refusal>, WireError> {
    decode_reply_as_of(reply).map(|(result, _)| result)
}

/// The answer, and as of when it is.
pub fn decode_reply_as_of(
    reply: v1::CallReply,
) -> Result<(Result<Reply, Refusal>, Option<AsOf>), WireError> {
    let result = match chosen(reply.result, "result")? {
        v1::call_reply::Result::Reply(reply) => Ok(reply.try_into()?),
        v1::call_reply::Result::Refusal(refusal) => Err(refusal.into()),
    };
    Ok((result, decode_as_of(reply.as_of)?))
}

/// The first part of a submission.
pub fn encode_submit_head(head: &SubmitHead) -> v1::SubmitPart {
    v1::SubmitPart {
        part: Some(v1::submit_part::Part::Head(v1::SubmitHead {
            caller: wired(&head.caller),
            id: head.id.map(id_bytes),
            envelope: Some((&head.envelope).into()),
        })),
    }
}

/// The head of a submission.
pub fn decode_submit_head(head: v1::SubmitHead) -> Result<SubmitHead, WireError> {
    Ok(SubmitHead {
        caller: head.caller.try_into()?,
        id: head.id.as_deref().map(message_id).transpose()?,
        envelope: need(head.envelope, "an envelope")?.try_into()?,
    })
}

/// The first part of a mail for a folder.
pub fn encode_append_head(head: &AppendHead) -> v1::SubmitPart {
    v1::SubmitPart {
        part: Some(v1::submit_part::Part::Append(v1::AppendHead {
            caller: wired(&head.caller),
            request: Some((&head.request).into()),
        })),
    }
}

/// The head of a mail for a folder.
pub fn decode_append_head(head: v1::AppendHead) -> Result<AppendHead, WireError> {
    let request: Request = need(head.request, "a request")?.try_into()?;
    match &request {
        Request::Mailbox {
            ask: MailboxAsk::Append { .. },
            ..
        } => Ok(AppendHead {
            caller: head.caller.try_into()?,
            request,
        }),
        _ => Err(WireError::invalid("a body comes with an append only")),
    }
}

/// A wish to hear of one's own mailbox.
pub fn encode_watch_mailbox(caller: &Caller) -> v1::WatchMailboxRequest {
    v1::WatchMailboxRequest {
        caller: wired(caller),
    }
}

/// Who wants to hear of his mailbox.
pub fn decode_watch_mailbox(request: v1::WatchMailboxRequest) -> Result<Caller, WireError> {
    request.caller.try_into()
}

/// A wish to read a body.
pub fn encode_read_body(request: &ReadBodyRequest) -> v1::ReadBodyRequest {
    v1::ReadBodyRequest {
        caller: wired(&request.caller),
        owner: request.owner.to_string(),
        message: id_bytes(request.message),
        folder: match request.place {
            Some(place) => place.folder.0.to_be_bytes().to_vec(),
            None => Vec::new(),
        },
        number: request.place.map_or(0, |place| place.uid),
    }
}

/// Who wants to read which body.
pub fn decode_read_body(request: v1::ReadBodyRequest) -> Result<ReadBodyRequest, WireError> {
    Ok(ReadBodyRequest {
        caller: request.caller.try_into()?,
        owner: name(&request.owner)?,
        message: message_id(&request.message)?,
        place: match request.folder.is_empty() {
            true => None,
            false => Some(MailPlace {
                folder: FolderId(number(&request.folder)?),
                uid: request.number,
            }),
        },
    })
}
