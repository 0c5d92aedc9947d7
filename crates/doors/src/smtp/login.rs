//! AUTH PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 4954).
//!
//! Reached only under TLS. A password leaves as an [`Ask`] and nowhere else; one reply for an unknown name and a wrong password is the shell's to
//! give, and nothing here tells them apart.

use grapevine_model::ScramPolicy;

use super::command::Mechanism;
use super::reply::{self, Refusal};
use super::session::{Answer, Ask, Open, Phase, Session};
use crate::sasl::scram::{self, Challenged, First, Variant};
use crate::sasl::{Credentials, SaslError, Secret, decode_login, decode_plain};

/// What the next line of the exchange is.
pub(super) enum Login {
    Plain,
    Name,
    Password(Secret),
    ScramFirst(Variant),
    ScramProof(Challenged),
    /// The proof was right; the client says nothing to the server's own.
    ScramEnd(String),
}

impl Session {
    pub(super) fn login(&mut self, mechanism: Mechanism, initial: Option<&str>) {
        if self.transaction.is_some() || !self.body.is_none() {
            return self.fault(reply::MAIL_TWICE);
        }
        let login = match mechanism {
            Mechanism::Plain => Login::Plain,
            Mechanism::Login => Login::Name,
            Mechanism::Scram(variant) if self.offers(variant) => Login::ScramFirst(variant),
            Mechanism::Scram(_) => return self.fault(reply::AUTH_MECHANISM),
        };
        match initial {
            Some(response) => self.login_line(login, response.as_bytes()),
            None => self.challenge(login),
        }
    }

    pub(super) fn login_line(&mut self, login: Login, line: &[u8]) {
        if line == b"*" {
            return self.fault(reply::AUTH_CANCELLED);
        }
        let credentials = match login {
            Login::Plain => decode_plain(line),
            Login::Name => match decode_login(line) {
                Ok(name) => return self.challenge(Login::Password(name)),
                Err(error) => Err(error),
            },
            Login::ScramFirst(variant) => {
                return match First::parse(line, variant, &self.channel) {
                    Ok(first) => {
                        let name = first.name().to_owned();
                        self.ask(Ask::ScramBegin { name }, Open::ScramBegin(first));
                    }
                    Err(error) => self.misread(error),
                };
            }
            Login::ScramProof(challenged) => {
                return match challenged.proof(line) {
                    Ok(proof) => {
                        let name = proof.name.clone();
                        self.ask(Ask::ScramFinish(proof), Open::ScramFinish { name });
                    }
                    Err(error) => self.misread(error),
                };
            }
            Login::ScramEnd(name) if line.is_empty() => {
                return self.authenticated(name, Answer::Yes);
            }
            Login::ScramEnd(_) => return self.misread(SaslError::Malformed),
            Login::Password(name) => decode_login(line)
                .and_then(|password| Credentials::new(name.expose(), password.expose())),
        };
        match credentials {
            Ok(credentials) => {
                let name = credentials.name.clone();
                self.ask(Ask::Authenticate(credentials), Open::Authenticate { name });
            }
            Err(error) => self.misread(error),
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

    fn misread(&mut self, error: SaslError) {
        self.fault(match error {
            SaslError::Malformed => reply::AUTH_MALFORMED,
            SaslError::OtherIdentity => reply::AUTH_OTHER,
            SaslError::Downgraded => reply::AUTH_DOWNGRADED,
        });
    }

    pub(super) fn scram_begun(&mut self, first: First, answer: Answer) {
        match answer {
            Answer::Challenge(challenge) => {
                let (text, challenged) = first.challenge(&challenge);
                self.say_challenge(&text, Login::ScramProof(challenged));
            }
            other => self.authenticated(first.name().to_owned(), not_yes(other)),
        }
    }

    pub(super) fn scram_finished(&mut self, name: String, answer: Answer) {
        match answer {
            Answer::Proved { signature } => {
                self.say_challenge(&scram::last(&signature), Login::ScramEnd(name));
            }
            other => self.authenticated(name, not_yes(other)),
        }
    }

    fn say_challenge(&mut self, text: &str, next: Login) {
        self.write(|out| {
            out.extend_from_slice(b"334 ");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        });
        self.phase = Phase::Login(next);
    }

    pub(super) fn authenticated(&mut self, name: String, answer: Answer) {
        match answer {
            Answer::Yes | Answer::Accepted { .. } => {
                self.identity = Some(name);
                self.failed_logins = 0;
                self.reply(reply::AUTH_OK);
            }
            // Not the client's fault, so not counted.
            Answer::No(refusal) if refusal.is_temporary() => {
                self.refuse(&Refusal::auth_unavailable())
            }
            Answer::Challenge(_) | Answer::Proved { .. } => {
                self.refuse(&Refusal::auth_unavailable())
            }
            Answer::No(_) => {
                self.failed_logins += 1;
                self.refuse(&Refusal::bad_credentials());
                if self.failed_logins >= self.config.limits.auth_tries {
                    self.close_with(reply::TOO_MANY_TRIES);
                }
            }
        }
    }

    /// The challenges of LOGIN are base64 of `Username:` and `Password:`; PLAIN has an empty one.
    fn challenge(&mut self, login: Login) {
        let challenge: &[u8] = match login {
            Login::Plain | Login::ScramFirst(_) | Login::ScramProof(_) | Login::ScramEnd(_) => {
                b"334 \r\n"
            }
            Login::Name => b"334 VXNlcm5hbWU6\r\n",
            Login::Password(_) => b"334 UGFzc3dvcmQ6\r\n",
        };
        self.write(|out| out.extend_from_slice(challenge));
        self.phase = Phase::Login(login);
    }
}

/// A yes where a challenge or a proof was asked for is none.
fn not_yes(answer: Answer) -> Answer {
    match answer {
        Answer::Yes | Answer::Accepted { .. } => Answer::No(Refusal::auth_unavailable()),
        other @ (Answer::Challenge(_) | Answer::Proved { .. } | Answer::No(_)) => other,
    }
}
