//! MAIL, RCPT, DATA, BDAT: one message from its sender to the shell's yes.
//!
//! Each recipient is answered one by one; a message never goes on with a recipient, a sender or a size that was refused.

use super::body::{Body, Framing};
use super::command::Place;
use super::envelope::{Envelope, Recipient, Sender, Trace};
use super::reply::{self, Refusal, Reply};
use super::session::{Answer, Ask, Hello, Kind, Open, Output, Phase, Session};
use crate::Tls;

impl Session {
    pub(super) fn mail(&mut self, sender: Sender) {
        let why = match (&self.hello, self.config.kind, self.config.tls) {
            (Hello::None, _, _) => Some(reply::HELLO_FIRST),
            (_, Kind::Submission, Tls::Offered) => Some(reply::TLS_FIRST),
            (_, Kind::Submission, Tls::Active | Tls::Local | Tls::Unavailable)
                if self.identity.is_none() =>
            {
                Some(reply::AUTH_FIRST)
            }
            _ if self.transaction.is_some() || !self.body.is_none() => Some(reply::MAIL_TWICE),
            _ if sender.declared_bytes > Some(self.config.limits.message_bytes) => {
                Some(reply::TOO_LARGE)
            }
            _ => None,
        };
        match why {
            Some(why) => self.fault(why),
            None => self.ask(Ask::Sender(sender.clone()), Open::Sender(sender)),
        }
    }

    pub(super) fn sender_answered(&mut self, sender: Sender, answer: Answer) {
        match answer {
            Answer::Yes | Answer::Accepted { .. } => {
                self.transaction = Some((sender, Vec::new()));
                self.reply(reply::SENDER_OK);
            }
            Answer::Challenge(_) | Answer::Proved { .. } => self.refuse(&Refusal::no_answer()),
            Answer::No(refusal) => self.refuse(&refusal),
        }
    }

    pub(super) fn rcpt(&mut self, recipient: Recipient) {
        match &self.transaction {
            None if !self.body.is_none() => self.fault(reply::BDAT_UNDER_WAY),
            None => self.fault(reply::MAIL_FIRST),
            // Not an error: RFC 5321 4.5.3.1.10 has the client send the rest in another message.
            Some((_, accepted)) if accepted.len() >= self.config.limits.recipients => {
                self.reply(reply::TOO_MANY_RECIPIENTS)
            }
            Some((sender, _)) if !sender.smtputf8 && !recipient.address.is_ascii() => {
                self.fault(reply::NEEDS_SMTPUTF8)
            }
            Some(_) => self.ask(
                Ask::Recipient(recipient.clone()),
                Open::Recipient(recipient),
            ),
        }
    }

    pub(super) fn recipient_answered(&mut self, recipient: Recipient, answer: Answer) {
        match answer {
            Answer::Yes | Answer::Accepted { .. } => {
                if let Some((_, accepted)) = &mut self.transaction {
                    accepted.push(recipient);
                }
                self.reply(reply::RECIPIENT_OK);
            }
            Answer::Challenge(_) | Answer::Proved { .. } => self.refuse(&Refusal::no_answer()),
            Answer::No(refusal) => {
                self.refuse(&refusal);
                if self.config.kind == Kind::Receiving && refusal.is_for_good() {
                    self.refused_recipients += 1;
                    if self.refused_recipients >= self.config.limits.refused_recipients {
                        self.close_with(reply::TOO_MANY_REFUSED);
                    }
                }
            }
        }
    }

    pub(super) fn data(&mut self) {
        if !self.body.is_none() {
            return self.fault(reply::BDAT_UNDER_WAY);
        }
        match self.take_envelope() {
            Ok(envelope) => {
                self.push(Output::BodyStart(envelope));
                self.write(|out| out.extend_from_slice(b"354 End with <CRLF>.<CRLF>\r\n"));
                self.body = Body::taken(Framing::data());
                self.phase = Phase::Body;
            }
            Err(why) => self.fault(why),
        }
    }

    pub(super) fn bdat(&mut self, chunk_bytes: u64, place: Place) {
        let framing = Framing::Chunk {
            left_bytes: chunk_bytes,
            chunk_bytes,
            place,
        };
        if self.config.kind == Kind::Lmtp {
            // Its bytes come all the same.
            self.body = Body::refused(framing, reply::NOT_OFFERED);
        } else if let Err(framing) = self.body.resume(framing) {
            self.body = match self.take_envelope() {
                Ok(envelope) => {
                    self.push(Output::BodyStart(envelope));
                    Body::taken(framing)
                }
                // Its bytes come all the same, and must not be read as commands (RFC 3030 section 2).
                Err(why) => Body::refused(framing, why),
            };
        }
        self.phase = Phase::Body;
        self.begin_chunk(chunk_bytes);
    }

    pub(super) fn accept_answered(&mut self, answer: Answer) {
        match answer {
            Answer::Accepted { id } => {
                self.idle_commands = 0;
                self.refused_recipients = 0;
                let text = format!("Accepted as {id}");
                self.answer_message(|out| reply::OK.write_with(out, &text));
            }
            Answer::Yes => {
                self.idle_commands = 0;
                self.refused_recipients = 0;
                self.answer_message(|out| reply::OK.write(out));
            }
            Answer::Challenge(_) | Answer::Proved { .. } => {
                self.answer_message(|out| Refusal::no_answer().write(out));
            }
            Answer::No(refusal) => self.answer_message(|out| refusal.write(out)),
        }
    }

    /// RSET, EHLO, STARTTLS: whatever was under way is given up.
    pub(super) fn forget_transaction(&mut self) {
        self.transaction = None;
        self.abort_body();
    }

    fn take_envelope(&mut self) -> Result<Box<Envelope>, Reply> {
        match self.transaction.take() {
            None => Err(reply::MAIL_FIRST),
            Some((sender, recipients)) if recipients.is_empty() => {
                self.transaction = Some((sender, recipients));
                Err(reply::NO_RECIPIENTS)
            }
            Some((sender, recipients)) => {
                let trace = self.trace(&sender);
                self.answers_owed = recipients.len();
                Ok(Box::new(Envelope {
                    sender,
                    recipients,
                    authenticated: self.identity.clone(),
                    trace,
                }))
            }
        }
    }

    fn trace(&self, sender: &Sender) -> Trace {
        let tls = self.config.tls == Tls::Active;
        let lmtp = self.config.kind == Kind::Lmtp;
        let protocol = match (&self.hello, sender.smtputf8, tls, self.identity.is_some()) {
            (Hello::Helo(_) | Hello::None, _, _, _) => "SMTP",
            // RFC 3848, RFC 6531 4.3: no logins here.
            (Hello::Ehlo(_), false, false, _) if lmtp => "LMTP",
            (Hello::Ehlo(_), false, true, _) if lmtp => "LMTPS",
            (Hello::Ehlo(_), true, false, _) if lmtp => "UTF8LMTP",
            (Hello::Ehlo(_), true, true, _) if lmtp => "UTF8LMTPS",
            (Hello::Ehlo(_), false, false, false) => "ESMTP",
            (Hello::Ehlo(_), false, false, true) => "ESMTPA",
            (Hello::Ehlo(_), false, true, false) => "ESMTPS",
            (Hello::Ehlo(_), false, true, true) => "ESMTPSA",
            (Hello::Ehlo(_), true, false, false) => "UTF8SMTP",
            (Hello::Ehlo(_), true, false, true) => "UTF8SMTPA",
            (Hello::Ehlo(_), true, true, false) => "UTF8SMTPS",
            (Hello::Ehlo(_), true, true, true) => "UTF8SMTPSA",
        };
        let hello = match &self.hello {
            Hello::Helo(name) | Hello::Ehlo(name) => name.clone(),
            Hello::None => String::new(),
        };
        Trace {
            hello,
            client: self.config.client.clone(),
            hostname: self.config.hostname.clone(),
            protocol,
        }
    }
}
