//! One's own mailbox: folders, flags, numbers, at whichever server answers.
//!
//! All servers show one view under the same numbers, so an ask that failed at one is asked at the next as if nothing had
//! been. Must never do a change twice that would count twice (a copy), nor take an answer that was lost for a yes.

use std::time::Duration;

use grapevine_model::{
    ErrorKind, FolderPath, MailboxAnswer, MailboxAsk, MailboxReply, Name, Refusal, Reply, Request,
};
use tokio::sync::watch;

use crate::link::Attempt;
use crate::user::GrapevineUser;

/// A server that listens says so at least this often; the silence of one that hangs is noticed.
const SILENCE_LIMIT: Duration = Duration::from_secs(40);
/// Between two tries to listen: while no server answers, nothing is heard anyway.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl GrapevineUser {
    /// Asks something of a mailbox.
    ///
    /// # Errors
    /// The servers' refusal. `Unknown` where a change may have been done: look, before doing it again.
    pub async fn mailbox(&self, owner: &Name, ask: MailboxAsk) -> Result<MailboxReply, Refusal> {
        let request = Request::Mailbox {
            name: owner.clone(),
            ask: ask.clone(),
        };
        match (self.call(request).await, ask) {
            (Ok(Reply::Mailbox(reply)), _) => Ok(reply),
            (Ok(_), _) => Err(odd()),
            // Asked again, it may have found what it had made the first time.
            (Err(refusal), MailboxAsk::CreateFolder { path, .. })
                if refusal.kind == ErrorKind::Unknown =>
            {
                self.made(owner, &path).await.ok_or(refusal)
            }
            (Err(refusal), _) => Err(refusal),
        }
    }

    /// The folder at a path, if it is known to be there.
    async fn made(&self, owner: &Name, path: &FolderPath) -> Option<MailboxReply> {
        let request = Request::Mailbox {
            name: owner.clone(),
            ask: MailboxAsk::Folders,
        };
        let Ok(Reply::Mailbox(reply)) = self.call(request).await else {
            return None;
        };
        let MailboxAnswer::Folders { folders, .. } = reply.answer else {
            return None;
        };
        let made = folders.into_iter().find(|folder| folder.path == *path)?;
        Some(MailboxReply {
            answer: MailboxAnswer::Folder(made),
            ..reply
        })
    }

    /// Counts up whenever something may have changed in the login's own mailbox, until the receiver is dropped. Whoever
    /// hears it asks for a view since the last mark. While no server can be listened to nothing is heard; it counts up when
    /// one can be again.
    pub fn mailbox_news(&self) -> watch::Receiver<u64> {
        let (sender, receiver) = watch::channel(0);
        let user = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = user.listen(&sender) => {}
                    () = sender.closed() => return,
                }
                tokio::select! {
                    () = tokio::time::sleep(AGAIN_AFTER) => {}
                    () = sender.closed() => return,
                }
            }
        });
        receiver
    }

    /// Listens at the nearest server until it says no more.
    async fn listen(&self, sender: &watch::Sender<u64>) {
        let mut tries = self.tries();
        let Some(next) = tries.next().await else {
            return;
        };
        let login = self.login();
        let opened = tokio::time::timeout(
            self.inner.patience.call,
            next.link.watch_mailbox(login.as_ref()),
        )
        .await
        .unwrap_or_else(|_| Attempt::Lost("no answer in time".to_owned()));
        let mut stream = match opened {
            Attempt::Done(stream) => stream,
            Attempt::Refused(_) => return,
            Attempt::NotSent(why) | Attempt::Lost(why) => return self.failed(&next, &why),
        };
        let mut heard = None;
        loop {
            match tokio::time::timeout(SILENCE_LIMIT, stream.message()).await {
                Ok(Ok(Some(news))) => {
                    // With the first word too: something may have changed while nobody listened.
                    if heard.replace(news.changes) != Some(news.changes) {
                        sender.send_modify(|count| *count = count.wrapping_add(1));
                    }
                }
                // It has ended, or wants to hear who we are anew.
                Ok(Ok(None) | Err(_)) => return,
                Err(_) => return self.failed(&next, "it does not speak any more"),
            }
        }
    }
}

fn odd() -> Refusal {
    Refusal::new(
        ErrorKind::Internal,
        "the server's answer is none to a question about a mailbox",
    )
}
