//! LOGIN, AUTHENTICATE PLAIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (SASL-IR, RFC 4959); STARTTLS; CAPABILITY and ENABLE.
//!
//! Nothing here is reached without TLS; whether name and password are right is one question to the shell.

use grapevine_model::ScramPolicy;

use super::session::{Open, Phase, Session};
use super::types::{Answer, Ask, Output, Reason};
use crate::Tls;
use crate::sasl::scram::{self, Challenged, First, Variant};
use crate::sasl::{Credentials, SaslError, Secret, decode_plain};

/// What the next line of a login by SCRAM is.
pub(super) enum Scram {
    First(Variant),
    Proof(Challenged),
    /// Nothing: the proof was right.
    End,
}

impl Session {
    pub(super) fn capabilities(&self) -> String {
        let mut list = String::from("IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE");
        if self.logged_in {
            list.push_str(
                " NAMESPACE IDLE UIDPLUS MOVE UNSELECT CHILDREN SPECIAL-USE CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS \
                 ESEARCH SEARCHRES SORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES CONDSTORE QRESYNC OBJECTID QUOTA QUOTA=RES-STORAGE \
                 QUOTA=RES-MESSAGE STATUS=SIZE MULTIAPPEND BINARY UTF8=ACCEPT",
            );
            list.push_str(&format!(
                " APPENDLIMIT={}",
                self.config.limits.message_bytes
            ));
            if self.deflate.is_none() {
                list.push_str(" COMPRESS=DEFLATE");
            }
            return list;
        }
        match self.config.tls {
            Tls::Active | Tls::Local => {
                list.push_str(" AUTH=PLAIN");
                if self.offers(Variant::Plain) {
                    list.push_str(" AUTH=SCRAM-SHA-256");
                }
                if self.offers(Variant::Plus) {
                    list.push_str(" AUTH=SCRAM-SHA-256-PLUS");
                }
            }
            Tls::Offered => list.push_str(" STARTTLS LOGINDISABLED"),
            Tls::Unavailable => list.push_str(" LOGINDISABLED"),
        }
        list
    }

    pub(super) fn start_tls(&mut self, tag: &str) {
        match (self.config.tls, self.logged_in) {
            (Tls::Unavailable | Tls::Local, _) => self.fault(Some(tag), "Not offered here"),
            (Tls::Active, _) | (Tls::Offered, true) => self.fault(Some(tag), "TLS is on already"),
            (Tls::Offered, false) => {
                self.complete(tag, "Begin TLS now");
                self.push(Output::StartTls);
                self.phase = Phase::StartingTls;
            }
        }
    }

    pub(super) fn enable(&mut self, tag: &str, wanted: &[String]) {
        let mut done = String::new();
        for name in wanted {
            match name.as_str() {
                "CONDSTORE" => self.enabled.condstore = true,
                "QRESYNC" => {
                    self.enabled.qresync = true;
                    self.enabled.condstore = true;
                }
                "UTF8=ACCEPT" => self.enabled.utf8 = true,
                "IMAP4REV2" => self.enabled.rev2 = true,
                _ => continue,
            }
            done.push(' ');
            done.push_str(if name == "IMAP4REV2" {
                "IMAP4rev2"
            } else {
                name
            });
        }
        self.write(|out| out.extend_from_slice(format!("* ENABLED{done}\r\n").as_bytes()));
        self.complete(tag, "ENABLE completed");
    }

    pub(super) fn login(&mut self, tag: String, name: &str, password: &Secret) {
        if self.may_log_in(&tag) {
            self.try_login(tag, Credentials::new(name, password.expose()));
        }
    }

    pub(super) fn authenticate(&mut self, tag: String, mechanism: &str, initial: Option<&str>) {
        if !self.may_log_in(&tag) {
            return;
        }
        let variant = match mechanism {
            "PLAIN" => None,
            scram::MECHANISM if self.offers(Variant::Plain) => Some(Variant::Plain),
            scram::MECHANISM_PLUS if self.offers(Variant::Plus) => Some(Variant::Plus),
            _ => return self.no(&tag, "[CANNOT] Mechanism not offered; PLAIN is"),
        };
        // `=` stands for an empty response.
        let initial = initial.map(|text| if text == "=" { "" } else { text });
        match (variant, initial) {
            (None, Some(response)) => self.auth_response(&tag, response.as_bytes()),
            (None, None) => {
                self.phase = Phase::AuthResponse { tag };
                self.write(|out| out.extend_from_slice(b"+ \r\n"));
            }
            (Some(variant), Some(response)) => {
                self.scram_line(tag, Scram::First(variant), response.as_bytes());
            }
            (Some(variant), None) => self.scram_wants(tag, "", Scram::First(variant)),
        }
    }

    pub(super) fn auth_response(&mut self, tag: &str, line: &[u8]) {
        if line == b"*" {
            self.fault(Some(tag), "Authentication cancelled");
        } else {
            self.try_login(tag.to_owned(), decode_plain(line));
        }
    }

    fn try_login(&mut self, tag: String, credentials: Result<Credentials, SaslError>) {
        match credentials {
            Ok(credentials) => self.ask(Ask::Authenticate(credentials), Open::Login { tag }),
            Err(error) => self.misread(&tag, error),
        }
    }

    pub(super) fn login_answered(&mut self, tag: &str, answer: Answer) {
        match answer {
            Answer::Yes => {
                self.logged_in = true;
                let text = format!("[CAPABILITY {}] Logged in", self.capabilities());
                self.complete(tag, &text);
            }
            Answer::No(refusal) => {
                self.refuse(tag, &refusal);
                // Not the client's fault otherwise, so not counted.
                if refusal.reason == Reason::Credentials {
                    self.failed_logins += 1;
                }
                if self.failed_logins >= self.config.limits.auth_tries {
                    self.bye("Too many failed logins, closing");
                }
            }
            other => self.refused(tag, other),
        }
    }

    /// Whether this way of SCRAM is offered on this connection.
    fn offers(&self, variant: Variant) -> bool {
        self.config.scram == ScramPolicy::On
            && match variant {
                Variant::Plain => true,
                Variant::Plus => self.channel.can_bind(),
            }
    }

    pub(super) fn scram_line(&mut self, tag: String, scram: Scram, line: &[u8]) {
        if line == b"*" {
            return self.fault(Some(&tag), "Authentication cancelled");
        }
        match scram {
            Scram::First(variant) => match First::parse(line, variant, &self.channel) {
                Ok(first) => {
                    let name = first.name().to_owned();
                    self.ask(Ask::ScramBegin { name }, Open::ScramBegin { tag, first });
                }
                Err(error) => self.misread(&tag, error),
            },
            Scram::Proof(challenged) => match challenged.proof(line) {
                Ok(proof) => self.ask(Ask::ScramFinish(proof), Open::ScramFinish { tag }),
                Err(error) => self.misread(&tag, error),
            },
            Scram::End if line.is_empty() => self.login_answered(&tag, Answer::Yes),
            Scram::End => self.misread(&tag, SaslError::Malformed),
        }
    }

    pub(super) fn scram_begun(&mut self, tag: String, first: First, answer: Answer) {
        match answer {
            Answer::Challenge(challenge) => {
                let (text, challenged) = first.challenge(&challenge);
                self.scram_wants(tag, &text, Scram::Proof(challenged));
            }
            Answer::No(refusal) => self.login_answered(&tag, Answer::No(refusal)),
            // A yes without a proof is none.
            _ => self.no(&tag, "[SERVERBUG] Something is wrong here"),
        }
    }

    pub(super) fn scram_finished(&mut self, tag: String, answer: Answer) {
        match answer {
            Answer::Proved { signature } => {
                self.scram_wants(tag, &scram::last(&signature), Scram::End)
            }
            Answer::No(refusal) => self.login_answered(&tag, Answer::No(refusal)),
            _ => self.no(&tag, "[SERVERBUG] Something is wrong here"),
        }
    }

    fn scram_wants(&mut self, tag: String, text: &str, scram: Scram) {
        self.phase = Phase::Scram { tag, scram };
        self.write(|out| {
            out.extend_from_slice(b"+ ");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        });
    }

    fn misread(&mut self, tag: &str, error: SaslError) {
        match error {
            SaslError::Malformed => self.fault(Some(tag), "Authentication response cannot be read"),
            SaslError::OtherIdentity => self.no(tag, "[AUTHORIZATIONFAILED] Acting for another name is not supported"),
            SaslError::Downgraded => self.no(
                tag,
                "[AUTHENTICATIONFAILED] Channel binding is offered here and your side was not told: somebody may be in between",
            ),
        }
    }

    fn may_log_in(&mut self, tag: &str) -> bool {
        let why = match (self.config.tls, self.logged_in) {
            (_, true) => "Logged in already",
            (Tls::Active | Tls::Local, false) => return true,
            (Tls::Offered, false) => {
                self.fault_no(
                    tag,
                    "[PRIVACYREQUIRED] STARTTLS first: no password without encryption",
                );
                return false;
            }
            (Tls::Unavailable, false) => "Not offered here",
        };
        self.fault(Some(tag), why);
        false
    }

    /// A no that counts as an error, so that nobody goes on for ever.
    fn fault_no(&mut self, tag: &str, why: &str) {
        self.no(tag, why);
        self.count_idle();
    }
}
