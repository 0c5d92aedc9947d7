//! What clients ask, whichever door they come by: who they are is proved here, what only a server may
//! make (a hash, a ticket, an app password) is made here, and the rest is the core's to decide.
//!
//! Must never let a client choose who it is, where it comes from, or a hash of its own.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use grapevine_core::app_password_may;
use grapevine_doors::sieve::Script;
use grapevine_model::{
    APP_PASSWORD_PREFIX, AppPassword, Authenticated, EntryChange, ErrorKind, Name, Refusal, Reply,
    Request, ScramPolicy, Secret, Seen, SieveAsk, Source, Speaker,
};

use crate::clock::wall_ms;
use crate::core_task::{AnswerAsOf, CoreHandle};
use crate::password_cache::Passwords;
use crate::passwords::{has_password, hash_passwords_in, password_of};

/// A wrong password is answered after this: guessing over one connection gets nowhere.
pub(crate) const WRONG_PASSWORD_DELAY: Duration = Duration::from_secs(1);
/// Random octets in an app password: 160 bits, which nobody guesses whatever the hash; and in its
/// id, which tells those of one person apart.
const APP_SECRET_BYTES: usize = 20;
const APP_ID_BYTES: usize = 5;

/// Who calls, as the door has proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The connection's word: nobody, the operator, a server, or on behalf of somebody.
    Speaker(Speaker),
    /// An individual.
    Individual(Proved),
}

/// An individual, and how it has proved to be itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proved {
    /// Who.
    pub(crate) who: Authenticated,
    /// When the password was given that a ticket goes back to, milliseconds since 1970; none for now.
    pub(crate) proved_ms: Option<u64>,
}

impl Identity {
    /// Who speaks to the core.
    pub(crate) fn speaker(&self) -> Speaker {
        match self {
            Self::Speaker(speaker) => speaker.clone(),
            Self::Individual(Proved { who, .. }) => Speaker::Individual {
                name: who.name.clone(),
                incarnation: who.incarnation,
            },
        }
    }
}

/// Answers clients. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ClientCalls {
    /// The core.
    pub(crate) core: CoreHandle,
    /// Hashes passwords.
    pub(crate) passwords: Passwords,
}

impl ClientCalls {
    /// By name and password: the password itself, an app password, or a ticket in its place.
    ///
    /// # Errors
    /// It is wrong, after a delay; or it can't be told now.
    pub(crate) async fn by_password(
        &self,
        name: Name,
        password: Secret,
        source: Source,
    ) -> Result<Identity, Refusal> {
        if grapevine_rpc::is_ticket(&password.0) {
            // Whoever asks about a name and a password wants to know about this name.
            return match self.by_ticket(&password).await? {
                Identity::Individual(proved) if proved.who.name == name => {
                    Ok(Identity::Individual(proved))
                }
                Identity::Individual(_) | Identity::Speaker(_) => Err(Refusal::new(
                    ErrorKind::NotAuthenticated,
                    "this ticket is somebody else's",
                )),
            };
        }
        let ask = Request::Authenticate {
            name,
            password,
            source,
        };
        match self.core.request(Speaker::Anonymous, ask).await {
            Ok(Reply::Authenticated(who)) => Ok(Identity::Individual(Proved {
                who,
                proved_ms: None,
            })),
            Ok(_) => Err(odd()),
            Err(refusal) => {
                delay_if_wrong(&refusal).await;
                Err(refusal)
            }
        }
    }

    /// By a ticket alone.
    ///
    /// # Errors
    /// It is none, or worth nothing any more; or it can't be told now.
    pub(crate) async fn by_ticket(&self, text: &Secret) -> Result<Identity, Refusal> {
        let (who, proved_ms) = self.core.check_ticket(text).await?;
        let proved_ms = Some(proved_ms);
        Ok(Identity::Individual(Proved { who, proved_ms }))
    }

    /// Answers a request of a client that has seen this; says as of when the answer is.
    pub(crate) async fn answer(
        &self,
        identity: &Identity,
        source: Source,
        ask: Request,
        seen: Vec<Seen>,
    ) -> AnswerAsOf {
        match self.prepared(identity, source, ask).await {
            Ok(Prepared::ForCore(ask)) => {
                self.core.request_after(identity.speaker(), ask, seen).await
            }
            Ok(Prepared::WithPassword(ask, set)) => {
                let speaker = identity.speaker();
                let answer = self.core.request_after(speaker, ask, seen).await;
                if answer.0.is_ok() && self.core.scram() == ScramPolicy::On {
                    self.log_in_once(set).await;
                }
                answer
            }
            Ok(Prepared::Answered(reply)) => (Ok(reply), None),
            Err(refusal) => (Err(refusal), None),
        }
    }

    /// A login makes what SCRAM checks a password by, where the registry wants that: so whoever has
    /// just got a password can use it at once. What fails is made at the next login.
    async fn log_in_once(&self, set: Option<(Name, Secret)>) {
        if let Some((name, password)) = set {
            let ask = Request::Authenticate {
                name,
                password,
                source: Source::Local,
            };
            let _made_or_later = self.core.request(Speaker::Anonymous, ask).await;
        }
    }

    /// Does what is not the core's: what only a server may make, and a check of the caller.
    async fn prepared(
        &self,
        identity: &Identity,
        source: Source,
        ask: Request,
    ) -> Result<Prepared, Refusal> {
        if let Identity::Individual(Proved { who, .. }) = identity
            && who.app_password.is_some()
        {
            app_password_may(&ask)?;
        }
        looked_over(&ask)?;
        let reply = match (ask, identity) {
            (Request::TicketCreate { life_ms }, Identity::Individual(proved)) => {
                let Proved { who, proved_ms } = proved.clone();
                self.core.issue_ticket(who, proved_ms, life_ms).await?
            }
            (Request::TicketCreate { .. }, Identity::Speaker(Speaker::Anonymous)) => {
                let why = "a ticket is for an individual: say who calls";
                return Err(Refusal::new(ErrorKind::NotAuthenticated, why));
            }
            (
                Request::AppPasswordCreate {
                    name,
                    label,
                    expires_ms,
                },
                _,
            ) => {
                let (app, password) = new_app_password(label, expires_ms)?;
                let id = app.id.clone();
                let change = Request::Change {
                    name,
                    change: EntryChange::AppPasswordAdd(app),
                };
                self.core.request(identity.speaker(), change).await?;
                Reply::AppPassword { password, id }
            }
            (
                Request::Change {
                    change: EntryChange::AppPasswordAdd(_),
                    ..
                },
                _,
            ) => {
                return Err(Refusal::invalid(
                    "an app password is made by the server: ask it for a new one",
                ));
            }
            (Request::Authenticate { name, password, .. }, _) => {
                match self.by_password(name, password, source).await? {
                    Identity::Individual(proved) => Reply::Authenticated(proved.who),
                    Identity::Speaker(_) => return Err(odd()),
                }
            }
            (ask, _) if has_password(&ask) => {
                let set = password_of(&ask);
                let cost = self.passwords.cost();
                let hashed = self.passwords.hashed(move || hash_passwords_in(cost, ask));
                return hashed.await?.map(|ask| Prepared::WithPassword(ask, set));
            }
            (ask, _) => return Ok(Prepared::ForCore(ask)),
        };
        Ok(Prepared::Answered(reply))
    }
}

/// What became of a request before the core has seen it.
enum Prepared {
    ForCore(Request),
    /// Sets a password, which is known here in the clear.
    WithPassword(Request, Option<(Name, Secret)>),
    Answered(Reply),
}

/// Makes an app password: how it is kept, and itself.
fn new_app_password(
    label: String,
    expires_ms: Option<u64>,
) -> Result<(AppPassword, Secret), Refusal> {
    let mut random = [0; APP_ID_BYTES + APP_SECRET_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| Refusal::unavailable(format!("no random bytes: {error}")))?;
    let (id, secret) = random.split_at(APP_ID_BYTES);
    let text = |bytes| BASE32_NOPAD.encode(bytes).to_lowercase();
    let id = text(id);
    let password = Secret(format!("{APP_PASSWORD_PREFIX}{id}_{}", text(secret)));
    let app = AppPassword {
        id,
        label,
        digest: *blake3::hash(password.0.as_bytes()).as_bytes(),
        created_ms: wall_ms(),
        expires_ms,
    };
    Ok((app, password))
}

async fn delay_if_wrong(refusal: &Refusal) {
    if refusal.kind == ErrorKind::NotAuthenticated {
        metrics::counter!("grapevine_wrong_passwords_total", "door" => "rpc").increment(1);
        tokio::time::sleep(WRONG_PASSWORD_DELAY).await;
    }
}

fn odd() -> Refusal {
    Refusal::new(ErrorKind::Internal, "the password was not checked")
}

/// A filter that can't be run is refused here, with what is wrong in it: when mail comes nobody is there to be told.
fn looked_over(ask: &Request) -> Result<(), Refusal> {
    let Request::Sieve {
        ask: SieveAsk::Put { text, .. },
        ..
    } = ask
    else {
        return Ok(());
    };
    match Script::compile(text.as_str().as_bytes()) {
        Ok(_) => Ok(()),
        Err(mistake) => Err(Refusal::invalid(mistake.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn app_passwords_are_random_known_by_their_form_and_kept_as_a_digest() {
        let (one, first) = new_app_password("phone".into(), None).unwrap();
        let (two, second) = new_app_password("phone".into(), Some(7)).unwrap();
        assert_ne!(one.id, two.id);
        assert_ne!(first, second);
        assert!(
            first.0.starts_with(&format!("gvap_{}_", one.id)),
            "{}",
            one.id
        );
        assert_eq!(first.0.len(), "gvap_".len() + 8 + 1 + 32);
        assert_eq!(one.digest, *blake3::hash(first.0.as_bytes()).as_bytes());
        assert_eq!((one.expires_ms, two.expires_ms), (None, Some(7)));
    }
}
