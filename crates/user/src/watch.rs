//! Watching at whichever server answers: each batch is asked for with the token of the one before, so
//! the next server goes on where the last one stopped.
//!
//! Nothing is missed over a fail-over; something may come twice.

use grapevine_model::{Changes, ErrorKind, Refusal, Reply, Request, Since, WatchTarget};

use crate::user::GrapevineUser;

/// A server is asked to wait so long for a change: less than a call may take, so that its silence
/// is not taken for its death.
const WAIT_MS: u32 = 4_000;

/// A watch under way.
pub struct Watch {
    user: GrapevineUser,
    target: WatchTarget,
    since: Since,
}

impl GrapevineUser {
    /// Watches from somewhere on. Nothing is asked before the first `next`.
    pub fn watch(&self, target: WatchTarget, since: Since) -> Watch {
        Watch {
            user: self.clone(),
            target,
            since,
        }
    }
}

impl Watch {
    /// The next batch; one without events when nothing has changed for some seconds.
    ///
    /// # Errors
    /// A refusal. After `Unavailable` it may be called again, and goes on where it was; after any
    /// other the watch is over.
    pub async fn next(&mut self) -> Result<Changes, Refusal> {
        let request = Request::Watch {
            target: self.target.clone(),
            since: self.since.clone(),
            wait_ms: WAIT_MS,
        };
        match self.user.call(request).await? {
            Reply::Changes(changes) => {
                self.since = Since::Token(changes.token.clone());
                Ok(changes)
            }
            _ => Err(Refusal::new(
                ErrorKind::Internal,
                "the server's answer is none to a watch",
            )),
        }
    }

    /// The token after the last batch, for another watch at any time; none before the first.
    pub fn token(&self) -> Option<&str> {
        match &self.since {
            Since::Token(token) => Some(token),
            Since::Now | Since::Beginning => None,
        }
    }
}
