//! USER/PASS, AUTH PLAIN, AUTH SCRAM-SHA-256 and AUTH SCRAM-SHA-256-PLUS (RFC 5034).
//!
//! Nothing here is reached without TLS. USER is answered alike for every name; whether name and password are right is one question to the shell.

use grapevine_model::ScramPolicy;

use super::mailbox::{Extent, Listed, Mailbox};
use super::reply::{self, Reason, Reply};
use super::session::{Answer, Ask, Open, Phase, Scram, Session};
use crate::Tls;
use crate::sasl::scram::{self, First, Variant};
use crate::sasl::{Credentials, SaslError, decode_plain};

impl Session {
    pub(super) fn user(&mut self, name: &str) {
        match self.may_log_in() {
            Err(why) => self.fault(why),
            Ok(()) if self.count_idle() => {
                self.user = Some(name.to_owned());
                self.reply(reply::PASSWORD_PLEASE);
            }
            // Closed by the count.
            Ok(()) => {}
        }
    }

    pub(super) fn pass(&mut self, password: &str) {
        match (self.may_log_in(), self.user.take()) {
            (Err(why), _) => self.fault(why),
            (Ok(()), None) => self.fault(reply::USER_FIRST),
            (Ok(()), Some(name)) => self.try_login(Credentials::new(&name, password)),
        }
    }

    pub(super) fn auth_plain(&mut self, initial: Option<&str>) {
        match (self.may_log_in(), initial) {
            (Err(why), _) => self.fault(why),
            (Ok(()), Some(response)) => self.auth_response(response.as_bytes()),
            (Ok(()), None) => {
                self.phase = Phase::AuthResponse;
                self.write(|out| out.extend_from_slice(b"+ \r\n"));
            }
        }
    }

    pub(super) fn auth_response(&mut self, line: &[u8]) {
        if line == b"*" {
            self.fault(reply::AUTH_CANCELLED);
        } else {
            self.try_login(decode_plain(line));
        }
    }

    pub(super) fn login_answered(&mut self, answer: Answer) {
        match answer {
            Answer::Mailbox(Listed { entries, extent }) => {
                let mailbox = Mailbox::new(entries);
                let (messages, bytes) = mailbox.totals();
                self.mailbox = Some(mailbox);
                self.write(|out| {
                    // POP3 has no word for it that programs know: what follows +OK is for people.
                    let missing = match extent {
                        Extent::Whole => "",
                        Extent::Partial => "; a server cannot be reached now, and may have more",
                    };
                    let text = format!("+OK {messages} messages ({bytes} octets){missing}\r\n");
                    out.extend_from_slice(text.as_bytes());
                });
            }
            Answer::No(refusal) => {
                self.write(|out| refusal.write(out));
                match refusal.reason {
                    Reason::Credentials => self.failed_logins += 1,
                    // Not the client's fault, so not counted.
                    Reason::InUse | Reason::LoginDelay | Reason::Temporary | Reason::Permanent => {}
                }
                if self.failed_logins >= self.config.limits.auth_tries {
                    self.close_with(reply::TOO_MANY_TRIES);
                }
            }
            // Not an answer to this question: a yes without a mailbox is none.
            Answer::Deleted | Answer::Challenge(_) | Answer::Proved { .. } => {
                self.reply(reply::NO_MAILBOX)
            }
        }
    }

    /// Whether this way of SCRAM is offered on this connection.
    pub(super) fn offers(&self, variant: Variant) -> bool {
        self.config.scram == ScramPolicy::On
            && match variant {
                Variant::Plain => true,
                Variant::Plus => self.channel.can_bind(),
            }
    }

    pub(super) fn auth_scram(&mut self, variant: Variant, initial: Option<&str>) {
        match (self.may_log_in(), initial) {
            (Err(why), _) => self.fault(why),
            (Ok(()), _) if !self.offers(variant) => self.fault(reply::MECHANISM),
            (Ok(()), Some(response)) => {
                self.scram_line(Scram::First(variant), response.as_bytes());
            }
            (Ok(()), None) => self.scram_wants("", Scram::First(variant)),
        }
    }

    pub(super) fn scram_line(&mut self, scram: Scram, line: &[u8]) {
        if line == b"*" {
            return self.fault(reply::AUTH_CANCELLED);
        }
        let asked = match scram {
            Scram::First(variant) => First::parse(line, variant, &self.channel).map(|first| {
                let name = first.name().to_owned();
                self.ask(Ask::ScramBegin { name }, Open::ScramBegin(first));
            }),
            Scram::Proof(challenged) => challenged
                .proof(line)
                .map(|proof| self.ask(Ask::ScramFinish(proof), Open::ScramFinish)),
            Scram::End(listed) if line.is_empty() => {
                return self.login_answered(Answer::Mailbox(listed));
            }
            Scram::End(_) => Err(SaslError::Malformed),
        };
        if let Err(error) = asked {
            self.misread(error);
        }
    }

    pub(super) fn scram_begun(&mut self, first: First, answer: Answer) {
        match answer {
            Answer::Challenge(challenge) => {
                let (text, challenged) = first.challenge(&challenge);
                self.scram_wants(&text, Scram::Proof(challenged));
            }
            other => self.scram_refused(other),
        }
    }

    pub(super) fn scram_finished(&mut self, answer: Answer) {
        match answer {
            Answer::Proved { signature, listed } => {
                self.scram_wants(&scram::last(&signature), Scram::End(listed));
            }
            other => self.scram_refused(other),
        }
    }

    /// A mailbox without a proof is no answer here.
    fn scram_refused(&mut self, answer: Answer) {
        match answer {
            Answer::No(refusal) => self.login_answered(Answer::No(refusal)),
            Answer::Mailbox(_) | Answer::Deleted | Answer::Challenge(_) | Answer::Proved { .. } => {
                self.reply(reply::NO_MAILBOX)
            }
        }
    }

    fn scram_wants(&mut self, text: &str, next: Scram) {
        self.phase = Phase::Scram(next);
        self.write(|out| {
            out.extend_from_slice(b"+ ");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        });
    }

    fn misread(&mut self, error: SaslError) {
        self.fault(match error {
            SaslError::Malformed => reply::AUTH_MALFORMED,
            SaslError::OtherIdentity => reply::AUTH_OTHER,
            SaslError::Downgraded => reply::AUTH_DOWNGRADED,
        });
    }

    fn may_log_in(&self) -> Result<(), Reply> {
        match (self.config.tls, &self.mailbox) {
            (_, Some(_)) => Err(reply::LOGIN_ALREADY),
            (Tls::Active | Tls::Local, None) => Ok(()),
            (Tls::Offered, None) => Err(reply::TLS_FIRST),
            (Tls::Unavailable, None) => Err(reply::NOT_OFFERED),
        }
    }

    fn try_login(&mut self, credentials: Result<Credentials, SaslError>) {
        match credentials {
            Ok(credentials) => self.ask(Ask::Authenticate(credentials), Open::Login),
            Err(error) => self.misread(error),
        }
    }
}
