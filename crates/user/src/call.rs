//! Requests: asked at the nearest server, and at the next one when it fails.
//!
//! "No answer" is never taken for "no". A read is simply asked again elsewhere. A
//! change whose answer is lost may have been done, so:
//!
//! 1. It is asked again at the next server. All changes but one are idempotent by
//!    content: adding who is in, or deleting what is gone, changes nothing. (The one
//!    is a copy of mails, which would be new mails again: it is `Unknown` at once.)
//! 2. If that server then refuses it, the refusal may come from its having been
//!    done before ("exists already", "no such name", a password that is no longer
//!    right). So it is asked whether things are as the change wanted them
//!    (`settle`); if so, it is done.
//! 3. If not, or if nobody answers, the result is `Unknown`: it may still be done
//!    by a server that can't be reached now. Doing it again later is safe.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use grapevine_model::{
    AsOf, EntryChange, ErrorKind, MailboxAsk, Refusal, Reply, Request, ServerName, Written,
};

use crate::link::{Attempt, Link};
use crate::user::GrapevineUser;

/// An answer, and as of when it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The answer.
    pub reply: Reply,
    /// Which holder has read the registry for it, when, and whether it was cut off; none if no
    /// registry was read.
    pub as_of: Option<AsOf>,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Self {
        Self { reply, as_of: None }
    }
}

/// What came of trying all servers.
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time, taken apart at once"
)]
pub(crate) enum Outcome {
    /// Somebody answered.
    Done(Answered),
    /// Somebody said no; `doubt` names a server that may have done it before.
    Refused {
        refusal: Refusal,
        doubt: Option<String>,
    },
    /// Nobody could answer.
    Nobody { why: String, doubt: Option<String> },
}

/// In whose name.
#[derive(Clone, Copy)]
enum Who {
    Login,
    Nobody,
}

impl GrapevineUser {
    /// Asks, at whichever server can answer.
    pub async fn call(&self, request: Request) -> Result<Reply, Refusal> {
        self.call_as_of(request)
            .await
            .map(|answered| answered.reply)
    }

    /// Asks, at whichever server can answer, and says as of when the answer is. What this user has
    /// seen done goes along: it is not answered with less.
    pub async fn call_as_of(&self, request: Request) -> Result<Answered, Refusal> {
        let outcome = self.try_all(&request).await;
        let result = match outcome {
            Outcome::Done(answered) => Ok(answered),
            Outcome::Refused {
                refusal,
                doubt: None,
            } => Err(refusal),
            Outcome::Refused {
                refusal,
                doubt: Some(server),
            } => match self.already_so(&request).await {
                Some(true) => Ok(done_before().into()),
                Some(false) | None => Err(Refusal::new(
                    ErrorKind::Unknown,
                    format!(
                        "{server} was asked and gave no answer, so it may have been done; asked again: {refusal}"
                    ),
                )),
            },
            Outcome::Nobody { why, doubt: None } => Err(Refusal::unavailable(why)),
            Outcome::Nobody {
                why,
                doubt: Some(server),
            } => Err(Refusal::new(
                ErrorKind::Unknown,
                format!(
                    "{server} was asked and gave no answer, so it may have been done; doing it again is safe ({why})"
                ),
            )),
        };
        if result.is_ok()
            && let Request::Change {
                name,
                change: EntryChange::Password(password),
            } = &request
        {
            self.set_password(name, password);
        }
        result
    }

    /// Asks every server, all at once, each once and within a limit: what `status` and `trace` do.
    /// An operator speaks at his own server's door; the others he asks as nobody in particular.
    pub async fn ask_each(
        &self,
        request: &Request,
        limit: Duration,
    ) -> Vec<(ServerName, Result<Reply, Refusal>)> {
        let login = self.login();
        let own = match self.socket() {
            Some(socket) => self.ask_own(socket, request, limit).await,
            None => None,
        };
        let asked = self
            .everyone()
            .into_iter()
            .filter(|(name, _)| own.as_ref().is_none_or(|(own, _)| own != name));
        let asked = asked.map(|(name, next)| {
            let login = login.as_ref();
            async move {
                let next = match next {
                    Ok(next) => next,
                    Err(why) => return (name, Err(Refusal::unavailable(why))),
                };
                let begun = Instant::now();
                let answer = match next.link.call(login, request, limit).await {
                    Attempt::Done(reply) => {
                        self.well(&next, Some(begun.elapsed()));
                        Ok(reply)
                    }
                    Attempt::Refused(refusal) => Err(refusal),
                    Attempt::NotSent(why) | Attempt::Lost(why) => {
                        self.failed(&next, &why);
                        Err(Refusal::unavailable(why))
                    }
                };
                (name, answer)
            }
        });
        let mut answers = join_all(asked).await;
        answers.extend(own);
        answers
    }

    /// The answer of the operator's own server, which also says who the others are.
    async fn ask_own(
        &self,
        socket: &Link,
        request: &Request,
        limit: Duration,
    ) -> Option<(ServerName, Result<Reply, Refusal>)> {
        if let Attempt::Done(Reply::Servers(infos)) =
            socket.call(None, &Request::Servers, limit).await
        {
            self.learn(&infos);
        }
        let Attempt::Done(Reply::Status(status)) = socket.call(None, &Request::Status, limit).await
        else {
            return None;
        };
        let answer = match socket.call(None, request, limit).await {
            Attempt::Done(reply) => Ok(reply),
            Attempt::Refused(refusal) => Err(refusal),
            Attempt::NotSent(why) | Attempt::Lost(why) => Err(Refusal::unavailable(why)),
        };
        Some((status.server, answer))
    }

    /// Asks one server after the other until one answers yes or no.
    pub(crate) async fn try_all(&self, request: &Request) -> Outcome {
        self.try_all_as(request, Who::Login).await
    }

    /// The same without saying who asks.
    pub(crate) async fn try_anonymously(&self, request: &Request) -> Outcome {
        self.try_all_as(request, Who::Nobody).await
    }

    async fn try_all_as(&self, request: &Request, who: Who) -> Outcome {
        let limit = self.inner.patience.call;
        let mut doubt: Option<String> = None;
        let mut why = "no server is known".to_owned();
        let mut tries = self.tries();
        while let Some(next) = tries.next().await {
            let begun = Instant::now();
            let login = match who {
                Who::Login => self.login(),
                Who::Nobody => None,
            };
            let seen = self.seen();
            let answer = next
                .link
                .call_after(login.as_ref(), request, &seen, limit)
                .await;
            match answer {
                Attempt::Done(answered) => {
                    match &answered.reply {
                        Reply::Written(written) => self.has_seen(&written.seen),
                        Reply::Imported(imported) => self.has_seen(&imported.written.seen),
                        _ => {}
                    }
                    // Waiting for a second disk says nothing about the way to the server.
                    // Nor does waiting for a change.
                    let waits = request.is_change() || matches!(request, Request::Watch { .. });
                    let latency = (!waits).then(|| begun.elapsed());
                    self.well(&next, latency);
                    return Outcome::Done(answered);
                }
                Attempt::Refused(refusal) => match refusal.kind {
                    ErrorKind::Unavailable => why = format!("{}: {refusal}", next.name),
                    ErrorKind::Unknown | ErrorKind::Internal => {
                        why = format!("{}: {refusal}", next.name);
                        doubt = doubt.or_else(|| in_doubt(request, &next.name));
                        if doubles(request) {
                            break;
                        }
                    }
                    ErrorKind::Invalid
                    | ErrorKind::NotAuthenticated
                    | ErrorKind::NotAllowed
                    | ErrorKind::NotFound
                    | ErrorKind::Conflict
                    | ErrorKind::TooLarge => {
                        self.well(&next, None);
                        return Outcome::Refused { refusal, doubt };
                    }
                },
                Attempt::NotSent(reason) => {
                    self.failed(&next, &reason);
                    why = format!("{}: {reason}", next.name);
                }
                Attempt::Lost(reason) => {
                    self.failed(&next, &reason);
                    why = format!("{}: {reason}", next.name);
                    doubt = doubt.or_else(|| in_doubt(request, &next.name));
                    if doubles(request) {
                        break;
                    }
                }
            }
        }
        Outcome::Nobody { why, doubt }
    }
}

/// The server that may have done it, where there is anything to be done.
fn in_doubt(request: &Request, server: &str) -> Option<String> {
    request.is_change().then(|| server.to_owned())
}

/// Whether doing it a second time is another thing done: a copy of mails is new mails. It is not asked
/// again where it may have been done.
const fn doubles(request: &Request) -> bool {
    matches!(
        request,
        Request::Mailbox {
            ask: MailboxAsk::Copy { .. },
            ..
        }
    )
}

/// The answer that was lost, as far as it can be known now.
fn done_before() -> Reply {
    Reply::Written(Written {
        stamp: None,
        copies: 1,
        seen: Vec::new(),
    })
}
