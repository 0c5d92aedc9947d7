//! What the doors need of the server behind them, so that they can be tried without one.

use std::future::Future;
use std::io;
use std::sync::Arc;

use grapevine_core::Staged;
use grapevine_model::{
    Door, Incarnation, MessageId, Refusal, Reply, Request, ScramPolicy, ServerName, Speaker,
    Submission,
};
use grapevine_store::Stage;
use tokio::sync::watch;

use super::SharedContext;
use crate::body_source::BodySource;
use crate::core_task::{CoreHandle, measured};

/// A body on its way in.
pub(crate) trait BodyStage: Send + Sync + 'static {
    /// Appends to it. After an error it is of no more use.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Ends it: a large one is durable now.
    fn finish(self) -> io::Result<Staged>;
}

/// A body that is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The mail, as it was listed.
    pub(crate) mail: MessageId,
    /// Under which id its body is kept.
    pub(crate) body: MessageId,
    /// Servers that have it.
    pub(crate) sites: &'a [ServerName],
}

/// The server behind the doors: the one whose doors they are, or whichever answers GrapevineUser.
pub(crate) trait Backend: Clone + Send + Sync + 'static {
    /// Where bodies go until they are handed in.
    type Stage: BodyStage;

    /// What a new connection is served with: the same for all, unless something has to be known of each.
    fn for_connection(context: &SharedContext<Self>, _door: Door) -> SharedContext<Self> {
        Arc::clone(context)
    }

    /// Asks the core.
    fn request(
        &self,
        speaker: Speaker,
        request: Request,
    ) -> impl Future<Output = Result<Reply, Refusal>> + Send;

    /// Whether SCRAM is offered now.
    fn scram(&self) -> ScramPolicy;

    /// Begins a body.
    fn stage(&self) -> Self::Stage;

    /// Forgets a staged body that was not handed in.
    fn discard(&self, staged: Staged);

    /// Hands in a message whose body is staged; the staged body is the backend's from here on.
    fn submit(
        &self,
        submission: Submission,
        staged: Staged,
    ) -> impl Future<Output = Result<Reply, Refusal>> + Send;

    /// Hands in a mail for a folder (`MailboxAsk::Append`) whose body is staged; the staged body is the backend's from here on.
    fn append(
        &self,
        speaker: Speaker,
        request: Request,
        staged: Staged,
    ) -> impl Future<Output = Result<Reply, Refusal>> + Send;

    /// Counts up whenever something in a mailbox changes here that has been looked at lately.
    fn mailbox_changes(&self, mailbox: Incarnation) -> watch::Receiver<u64>;

    /// Opens a message's body, here or at one of its inbox sites.
    fn read_body(
        &self,
        wanted: Wanted<'_>,
    ) -> impl Future<Output = Result<BodySource, Refusal>> + Send;
}

impl BodyStage for Stage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        Self::write(self, bytes)
    }

    fn finish(self) -> io::Result<Staged> {
        Self::finish(self).map(measured)
    }
}

impl Backend for CoreHandle {
    type Stage = Stage;

    async fn request(&self, speaker: Speaker, request: Request) -> Result<Reply, Refusal> {
        CoreHandle::request(self, speaker, request).await
    }

    fn scram(&self) -> ScramPolicy {
        CoreHandle::scram(self)
    }

    fn stage(&self) -> Stage {
        self.store().stage()
    }

    fn discard(&self, staged: Staged) {
        self.store().discard(staged.token);
    }

    async fn submit(&self, submission: Submission, staged: Staged) -> Result<Reply, Refusal> {
        CoreHandle::submit(self, submission, staged).await
    }

    async fn append(
        &self,
        speaker: Speaker,
        request: Request,
        staged: Staged,
    ) -> Result<Reply, Refusal> {
        CoreHandle::append(self, speaker, request, staged).await
    }

    fn mailbox_changes(&self, mailbox: Incarnation) -> watch::Receiver<u64> {
        CoreHandle::mailboxes(self).watch(mailbox)
    }

    async fn read_body(&self, wanted: Wanted<'_>) -> Result<BodySource, Refusal> {
        CoreHandle::read_body(self, wanted.body, wanted.sites).await
    }
}

/// A staged body on its way to the core; dropped on it, it is discarded.
pub(super) struct Held<B: Backend> {
    core: B,
    staged: Option<Staged>,
}

impl<B: Backend> Held<B> {
    pub(super) fn new(core: B, staged: Staged) -> Self {
        Self {
            core,
            staged: Some(staged),
        }
    }

    /// Lets go of it: it is the caller's to hand in.
    pub(super) fn release(mut self) -> Option<Staged> {
        self.staged.take()
    }
}

impl<B: Backend> Drop for Held<B> {
    fn drop(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.core.discard(staged);
        }
    }
}
