//! A server behind the doors for their tests: one registry, a few names, bodies in a real store.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use grapevine_core::Staged;
use grapevine_model::{
    Authenticated, BodyInfo, ErrorKind, Hlc, InboxListing, Incarnation, ListedMessage, MessageId,
    Name, OriginId, Refusal, Reply, Request, Speaker, Stamp, Submission,
};
use grapevine_store::{Options, Stage, Store};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::backend::{Backend, Wanted};
use crate::body_source::BodySource;

pub(super) const PASSWORD: &str = "correct horse";
/// Bodies are given out in pieces of this size.
const PIECE_BYTES: usize = 16 * 1024;

/// `birrell@pa.example` and `needham@pa.example` log in with [`PASSWORD`]. `full`, `away` and `posters-only` are recipients with
/// troubles, `never` is one that no answer comes for. Every message is in everybody's inbox.
#[derive(Clone)]
pub(super) struct Fake {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    messages: Mutex<HashMap<MessageId, Message>>,
    dir: TempDir,
}

#[derive(Clone)]
pub(super) struct Message {
    pub(super) submission: Submission,
    pub(super) body: Bytes,
    breaks_off: bool,
}

impl Fake {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            shared: Arc::new(Shared {
                store: Store::open(dir.path().join("store"), &Options::default()).unwrap(),
                messages: Mutex::default(),
                dir,
            }),
        }
    }

    pub(super) fn dir(&self) -> &std::path::Path {
        self.shared.dir.path()
    }

    /// All messages, in order.
    pub(super) fn messages(&self) -> Vec<Message> {
        let held = self.shared.messages.lock().unwrap();
        let mut all: Vec<_> = held
            .iter()
            .map(|(id, message)| (*id, message.clone()))
            .collect();
        all.sort_by_key(|(id, _)| *id);
        all.into_iter().map(|(_, message)| message).collect()
    }

    /// Puts a message into the inbox.
    pub(super) fn put(&self, id: MessageId, body: impl Into<Bytes>) {
        self.insert(id, body.into(), false);
    }

    /// Puts a message into the inbox that breaks off half-way when it is read.
    pub(super) fn put_broken(&self, id: MessageId, body: impl Into<Bytes>) {
        self.insert(id, body.into(), true);
    }

    /// Files in the store's spool.
    pub(super) fn spooled(&self) -> usize {
        let spool = self.dir().join("store/spool");
        std::fs::read_dir(spool).map_or(0, Iterator::count)
    }

    fn insert(&self, id: MessageId, body: Bytes, breaks_off: bool) {
        let submission = Submission {
            id: Some(id),
            speaker: Speaker::Anonymous,
            envelope: grapevine_model::Envelope {
                return_path: None,
                recipients: Vec::new(),
                content: grapevine_model::ReturnContent::Headers,
                envelope_id: None,
            },
            body: grapevine_model::BodyInfo {
                len: body.len() as u64,
                digest: *blake3::hash(&body).as_bytes(),
            },
            reports: None,
        };
        let message = Message {
            submission,
            body,
            breaks_off,
        };
        self.shared.messages.lock().unwrap().insert(id, message);
    }

    fn may_receive(name: &Name, speaker: &Speaker) -> Result<Reply, Refusal> {
        if name.registry().as_str() != "pa.example" {
            return Err(Refusal::not_allowed(
                "relaying denied: not a registry of this system",
            ));
        }
        match (name.folded(), speaker) {
            ("birrell" | "needham" | "full-of-dots", _) => Ok(Reply::Ok),
            ("full", _) => Err(Refusal::new(ErrorKind::TooLarge, "over quota")),
            ("away", _) => Err(Refusal::unavailable(
                "no holder of pa.example can be reached",
            )),
            ("posters-only", Speaker::Anonymous) => Err(Refusal::not_allowed("members only")),
            _ => Err(Refusal::not_found(name)),
        }
    }
}

impl Backend for Fake {
    type Stage = Stage;

    async fn request(&self, speaker: Speaker, request: Request) -> Result<Reply, Refusal> {
        match (request, &speaker) {
            (Request::Authenticate { name, password, .. }, _) => {
                if name.folded() == "away" {
                    return Err(Refusal::unavailable(
                        "no holder of pa.example can be reached",
                    ));
                }
                let known = matches!(name.folded(), "birrell" | "needham");
                if known && password.0 == PASSWORD {
                    Ok(Reply::Authenticated(Authenticated {
                        name,
                        incarnation: Incarnation(1),
                        credentials: Stamp {
                            time: Hlc(1),
                            origin: OriginId(1),
                        },
                        app_password: None,
                    }))
                } else {
                    Err(Refusal::new(
                        ErrorKind::NotAuthenticated,
                        "name or password is wrong",
                    ))
                }
            }
            (Request::MaySendAs { name }, Speaker::Individual { name: own, .. })
                if *own == name =>
            {
                Ok(Reply::Ok)
            }
            (Request::MaySendAs { .. }, _) => Err(Refusal::not_allowed("not yours")),
            (Request::CheckRecipient { name }, _) if name.folded() == "never" => {
                std::future::pending().await
            }
            (Request::CheckRecipient { name }, _) => Self::may_receive(&name, &speaker),
            (Request::InboxList { .. }, Speaker::Individual { .. }) => {
                let messages = self
                    .messages()
                    .iter()
                    .map(|message| ListedMessage {
                        message: message.submission.id.unwrap(),
                        body: message.submission.id.unwrap(),
                        len: message.body.len() as u64,
                        deposited_ms: 0,
                        list: None,
                    })
                    .collect();
                Ok(Reply::Inbox(InboxListing {
                    incarnation: Incarnation(1),
                    messages,
                    sites: vec!["s1".parse().unwrap()],
                    partial: false,
                    usage: Default::default(),
                    quota: Default::default(),
                }))
            }
            (Request::InboxDelete { messages, .. }, Speaker::Individual { .. }) => {
                let mut held = self.shared.messages.lock().unwrap();
                messages.iter().for_each(|id| {
                    held.remove(id);
                });
                Ok(Reply::Ok)
            }
            (other, _) => panic!("not asked by a door: {other:?}"),
        }
    }

    fn scram(&self) -> grapevine_model::ScramPolicy {
        grapevine_model::ScramPolicy::Off
    }

    fn stage(&self) -> Stage {
        self.shared.store.stage()
    }

    fn discard(&self, staged: Staged) {
        self.shared.store.discard(staged.token);
    }

    async fn submit(&self, submission: Submission, staged: Staged) -> Result<Reply, Refusal> {
        let mut reader = self
            .shared
            .store
            .staged_body(staged.token)
            .unwrap()
            .unwrap();
        let mut body = Vec::new();
        reader.read_to_end(&mut body).unwrap();
        drop(reader);
        self.shared.store.discard(staged.token);
        assert_eq!(staged.body, submission.body);
        assert_eq!(body.len() as u64, submission.body.len);
        let id = submission.id.unwrap();
        let message = Message {
            submission,
            body: body.into(),
            breaks_off: false,
        };
        self.shared.messages.lock().unwrap().insert(id, message);
        Ok(Reply::Accepted {
            message: id,
            copies: 2,
        })
    }

    async fn append(&self, _: Speaker, _: Request, staged: Staged) -> Result<Reply, Refusal> {
        self.discard(staged);
        Err(Refusal::unavailable("no folders here"))
    }

    fn mailbox_changes(&self, _: Incarnation) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }

    async fn read_body(&self, wanted: Wanted<'_>) -> Result<BodySource, Refusal> {
        assert_eq!(wanted.sites.len(), 1);
        let message = wanted.body;
        let found = self.shared.messages.lock().unwrap().get(&message).cloned();
        let Some(found) = found else {
            return Err(Refusal::not_found(message));
        };
        let (sender, receiver) = mpsc::channel(1);
        let body = BodyInfo {
            len: found.body.len() as u64,
            digest: *blake3::hash(&found.body).as_bytes(),
        };
        tokio::spawn(async move {
            let whole = found.body.len();
            let until = if found.breaks_off { whole / 2 } else { whole };
            let mut at = 0;
            while at < until {
                let end = until.min(at + PIECE_BYTES);
                if sender.send(Ok(found.body.slice(at..end))).await.is_err() {
                    return;
                }
                at = end;
            }
            if found.breaks_off {
                let _ = sender
                    .send(Err(Refusal::unavailable("the other server is gone")))
                    .await;
            }
        });
        Ok(BodySource::remote(body, receiver))
    }
}
