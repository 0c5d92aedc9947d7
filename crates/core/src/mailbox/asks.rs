//! What a mail program asks of a mailbox: who may, and which server answers.
//!
//! Only its owner, as with the inbox's list. Must never answer from a mailbox that is not whole here.

use grapevine_model::{MailboxAsk, Name, Refusal, Request, RequestId, Speaker};

use crate::effect::{Effect, Staged};
use crate::registry::directory::Memo;
use crate::registry::request::{Job, Outcome, ReplyTo, Stop};
use crate::server::Server;
use crate::tables::Damaged;

impl Server {
    /// A mail comes in with its body, for a folder of a mailbox that may be elsewhere.
    pub(crate) fn take_append(
        &mut self,
        id: RequestId,
        speaker: Speaker,
        request: Request,
        staged: Staged,
    ) -> Result<(), Damaged> {
        let to = ReplyTo::Client(id);
        let refusal = match &request {
            Request::Mailbox {
                ask: MailboxAsk::Append { message, body, .. },
                ..
            } if *body == staged.body => {
                // An id stands for one body: a client draws its own, and a server's own are never taken from one.
                match self.message_row(*message)? {
                    Some(row) if row.body != *body => {
                        Some(Refusal::invalid("another message has this id"))
                    }
                    Some(_) | None if !message.origin.is_client() => {
                        Some(Refusal::invalid("this id is for servers to give"))
                    }
                    Some(_) | None if self.disk_nearly_full => Some(Refusal::unavailable(
                        "the disk of this server is nearly full; try another server, or later",
                    )),
                    Some(_) | None => None,
                }
            }
            _ => Some(Refusal::invalid("no mail to append")),
        };
        if let Some(refusal) = refusal {
            self.ledger.emit(Effect::Discard {
                staged: staged.token,
            });
            self.reply(to, Err(refusal));
            return Ok(());
        }
        if let Request::Mailbox {
            ask: MailboxAsk::Append { message, .. },
            ..
        } = &request
        {
            self.adopt(*message, staged)?;
        }
        let job = Job::Request {
            to,
            speaker,
            request,
        };
        self.run(job, Memo::new())
    }

    pub(crate) fn mailbox(
        &mut self,
        memo: &Memo,
        _to: &ReplyTo,
        speaker: &Speaker,
        name: &Name,
        _ask: &MailboxAsk,
    ) -> Result<Outcome, Stop> {
        Ok(match self.mailbox_of(memo, speaker, name)? {
            Ok(_) => Err(Refusal::unavailable(
                "folders and numbers are not served here yet",
            ))
            .into(),
            Err(refusal) => Err(refusal).into(),
        })
    }
}
