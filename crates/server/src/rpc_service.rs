//! The service for clients, over TLS and on the admin socket: who speaks is settled here, what they
//! may do is the core's to decide.
//!
//! Must never let a client choose who it is: a password is checked, a server's key was proved by TLS,
//! and the operator is whoever can open the admin socket. Clear passwords end here: the core and the
//! other servers get hashes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Staged;
use grapevine_model::{
    ErrorKind, InboxListing, MailPlace, MailboxAsk, MessageId, Name, Refusal, Reply,
    Request as Ask, ServerName, Source, Speaker, Submission,
};
use grapevine_rpc::v1::{self, body_part, grapevine_server, submit_part};
use grapevine_rpc::{
    AppendHead, Call, Caller, MAX_CHUNK_BYTES, PeerIdentity, SubmitHead, WireError,
    decode_append_head, decode_call_after, decode_read_body, decode_submit_head,
    decode_watch_mailbox, encode_reply, encode_reply_as_of,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::backup;
use crate::body_source::BodySource;
use crate::client_calls::{ClientCalls, Identity, Proved};
use crate::core_task::{AnswerAsOf, CoreHandle, HeldStage};
use crate::intake::Intake;
use crate::mailbox_news;
use crate::peers::Peers;
use crate::recent_listings::RecentListings;
use crate::recent_views::RecentViews;
use crate::watching::{follow, stopping};

/// A client that is silent for so long in the middle of a message has gone.
const PART_LIMIT: Duration = Duration::from_secs(60);
/// Parts of a body that are read ahead of the client.
const PARTS_AHEAD: usize = 2;

/// What a connection is worth by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// TLS: a server that has proved its key, or nobody in particular.
    Rpc,
    /// The admin socket: the operator.
    AdminSocket,
}

/// The service.
pub(crate) struct ClientService {
    /// The core.
    pub(crate) core: CoreHandle,
    /// What all doors of clients have in common.
    pub(crate) calls: ClientCalls,
    /// Who the servers are.
    pub(crate) peers: Peers,
    /// Which way callers come.
    pub(crate) entrance: Entrance,
    /// How long a message may be.
    pub(crate) message_bytes: u64,
    /// Ends what waits for changes.
    pub(crate) stop: CancellationToken,
    /// Inboxes listed a moment ago.
    pub(crate) recent: RecentListings,
    /// Folders looked at a moment ago.
    pub(crate) recent_views: RecentViews,
}

/// Where a call comes from.
struct From {
    /// The server that the connection has proved to be.
    server: Option<ServerName>,
    source: Source,
}

/// A body on its way to a client.
type Parts = Pin<Box<dyn Stream<Item = Result<v1::BodyPart, Status>> + Send>>;

/// All of a server on its way to its operator.
type BackupParts = Pin<Box<dyn Stream<Item = Result<v1::BackupPart, Status>> + Send>>;

/// A watch on its way to a client.
type Batches = Pin<Box<dyn Stream<Item = Result<v1::CallReply, Status>> + Send>>;

#[tonic::async_trait]
impl grapevine_server::Grapevine for ClientService {
    type ReadBodyStream = Parts;
    type BackupStream = BackupParts;
    type WatchStream = Batches;
    type WatchMailboxStream = ReceiverStream<Result<v1::MailboxNews, Status>>;

    async fn call(
        &self,
        request: Request<v1::CallRequest>,
    ) -> Result<Response<v1::CallReply>, Status> {
        let from = self.from(&request)?;
        let call = decode_call_after(request.into_inner()).map_err(malformed)?;
        let (result, as_of) = match self.answer(from, call).await {
            Ok(answered) => answered,
            Err(refusal) => (Err(refusal), None),
        };
        Ok(Response::new(encode_reply_as_of(&result, as_of.as_ref())))
    }

    async fn submit(
        &self,
        request: Request<Streaming<v1::SubmitPart>>,
    ) -> Result<Response<v1::CallReply>, Status> {
        let from = self.from(&request)?;
        let mut parts = request.into_inner();
        let result = match next_part(&mut parts).await? {
            Some(submit_part::Part::Head(head)) => {
                let head = decode_submit_head(head).map_err(malformed)?;
                self.take_message(from, head, &mut parts).await?
            }
            Some(submit_part::Part::Append(head)) => {
                let head = decode_append_head(head).map_err(malformed)?;
                self.take_mail(from, head, &mut parts).await?
            }
            Some(submit_part::Part::Chunk(_)) | None => {
                return Err(Status::invalid_argument(
                    "a submission begins with its head",
                ));
            }
        };
        Ok(Response::new(encode_reply(&result)))
    }

    async fn read_body(
        &self,
        request: Request<v1::ReadBodyRequest>,
    ) -> Result<Response<Parts>, Status> {
        let from = self.from(&request)?;
        let request = request.into_inner();
        let body = match from.server {
            // A server asks for a body by its id alone, and from this disk alone; so does whoever makes a backup.
            None if request.owner.is_empty() && self.entrance == Entrance::AdminSocket => {
                let id = <[u8; 16]>::try_from(request.message.as_slice())
                    .map_err(|_| Status::invalid_argument("a message id is 16 bytes"))?;
                match self.core.open_body(MessageId::from_bytes(id)).await {
                    Ok(Some(body)) => Ok(body),
                    Ok(None) => Err(Refusal::not_found("the message")),
                    Err(refusal) => Err(refusal),
                }
            }
            Some(_) if request.owner.is_empty() => {
                let id = <[u8; 16]>::try_from(request.message.as_slice())
                    .map_err(|_| Status::invalid_argument("a message id is 16 bytes"))?;
                self.core.read_body(MessageId::from_bytes(id), &[]).await
            }
            Some(_) | None => {
                let request = decode_read_body(request).map_err(malformed)?;
                self.inbox_body(from, request).await
            }
        };
        let body = body.map_err(|refusal| status_of(&refusal))?;
        Ok(Response::new(send_body(body)))
    }

    async fn backup(
        &self,
        _request: Request<v1::BackupRequest>,
    ) -> Result<Response<BackupParts>, Status> {
        if self.entrance != Entrance::AdminSocket {
            return Err(Status::permission_denied(
                "a backup is for whoever can open the admin socket on the server's machine",
            ));
        }
        let parts = backup::send(self.core.store().snapshot());
        Ok(Response::new(Box::pin(parts)))
    }

    async fn watch(&self, request: Request<v1::CallRequest>) -> Result<Response<Batches>, Status> {
        let from = self.from(&request)?;
        let Call {
            caller,
            request: ask,
            ..
        } = decode_call_after(request.into_inner()).map_err(malformed)?;
        let Ask::Watch { target, since, .. } = ask else {
            return Err(Status::invalid_argument(
                "only a watch has one answer after the other",
            ));
        };
        let source = from.source;
        let answers = match self.identity(from, caller).await {
            Ok(identity) => {
                let (calls, stop) = (self.calls.clone(), self.stop.clone());
                follow(calls, (identity, source), target, since, stop)
            }
            Err(refusal) => {
                let (sender, receiver) = mpsc::channel(1);
                // It has room for one, and its receiver is here.
                let _ = sender.try_send(Err(refusal));
                receiver
            }
        };
        let replies = ReceiverStream::new(answers).map(|answer| Ok(encode_reply(&answer)));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn watch_mailbox(
        &self,
        request: Request<v1::WatchMailboxRequest>,
    ) -> Result<Response<Self::WatchMailboxStream>, Status> {
        let from = self.from(&request)?;
        let caller = decode_watch_mailbox(request.into_inner()).map_err(malformed)?;
        let proved = self.proved(from, caller).await;
        let proved = proved.map_err(|refusal| status_of(&refusal))?;
        let news = mailbox_news::follow(self.core.clone(), proved, self.stop.clone());
        Ok(Response::new(ReceiverStream::new(news)))
    }
}

impl ClientService {
    /// Who has proved to be an individual.
    async fn proved(&self, from: From, caller: Caller) -> Result<Proved, Refusal> {
        match self.identity(from, caller).await? {
            Identity::Individual(proved) => Ok(proved),
            Identity::Speaker(_) => Err(Refusal::new(
                ErrorKind::NotAuthenticated,
                "a mailbox is an individual's: give a name and a password",
            )),
        }
    }

    /// Where a call comes from: the server that the connection has proved to be, if it still is one
    /// of ours, and the address.
    fn from<T>(&self, request: &Request<T>) -> Result<From, Status> {
        let from = match self.entrance {
            Entrance::Rpc => From {
                server: PeerIdentity::of(request),
                source: PeerIdentity::address_of(request).map_or(Source::Unknown, Source::of),
            },
            Entrance::AdminSocket => From {
                server: None,
                source: Source::Local,
            },
        };
        match &from.server {
            Some(server) if self.peers.known(server).is_none() => Err(Status::permission_denied(
                "no longer a server of this Grapevine",
            )),
            Some(_) | None => Ok(from),
        }
    }

    async fn answer(&self, from: From, call: Call) -> Result<AnswerAsOf, Refusal> {
        let Call {
            caller,
            request: ask,
            seen,
        } = call;
        let source = from.source;
        let identity = self.identity(from, caller).await?;
        let waits = matches!(ask, Ask::Watch { .. });
        Ok(tokio::select! {
            answered = self.calls.answer(&identity, source, ask, seen) => answered,
            // What waits for a change does not hold up the end.
            () = self.stop.cancelled(), if waits => (Err(stopping()), None),
        })
    }

    async fn speaker(&self, from: From, caller: Caller) -> Result<Speaker, Refusal> {
        let identity = self.identity(from, caller).await?;
        Ok(identity.speaker())
    }

    async fn identity(&self, from: From, caller: Caller) -> Result<Identity, Refusal> {
        let speaker = match (caller, from.server) {
            (Caller::Individual(credentials), _) => {
                let (name, password) = (credentials.name, credentials.password);
                return self.calls.by_password(name, password, from.source).await;
            }
            (Caller::Ticket(ticket), _) => return self.calls.by_ticket(&ticket).await,
            (Caller::Connection, Some(server)) => Speaker::Server(server),
            (Caller::Connection, None) => match self.entrance {
                Entrance::AdminSocket => Speaker::Operator,
                Entrance::Rpc => Speaker::Anonymous,
            },
            // The operator of one machine is nobody on another, and no server speaks for a third.
            (
                Caller::OnBehalf(speaker @ (Speaker::Anonymous | Speaker::Individual { .. })),
                Some(_),
            ) => speaker,
            (Caller::OnBehalf(_), _) => {
                return Err(Refusal::not_allowed(
                    "only a server may speak for somebody else, and only for an individual",
                ));
            }
        };
        Ok(Identity::Speaker(speaker))
    }

    /// Takes a mail for a folder: first whose it is, then its body.
    async fn take_mail(
        &self,
        from: From,
        head: AppendHead,
        parts: &mut Streaming<v1::SubmitPart>,
    ) -> Result<Result<Reply, Refusal>, Status> {
        let nobody = "who has a mailbox says who it is: give a name and a password";
        Ok(
            match self.handed_in(from, head.caller, nobody, parts).await? {
                Ok((speaker, staged)) => self.core.append(speaker, head.request, staged).await,
                Err(refusal) => Err(refusal),
            },
        )
    }

    /// Takes a message: first who it is from, then its body.
    async fn take_message(
        &self,
        from: From,
        head: SubmitHead,
        parts: &mut Streaming<v1::SubmitPart>,
    ) -> Result<Result<Reply, Refusal>, Status> {
        let nobody = "who hands in a message says who it is: give a name and a password";
        let (speaker, staged) = match self.handed_in(from, head.caller, nobody, parts).await? {
            Ok(handed_in) => handed_in,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let submission = Submission {
            id: head.id,
            speaker,
            envelope: head.envelope,
            body: staged.body,
            reports: None,
        };
        Ok(self.core.submit(submission, staged).await)
    }

    /// Who hands something in, and its body; whoever does not say who he is hears why he must.
    async fn handed_in(
        &self,
        from: From,
        caller: Caller,
        nobody: &str,
        parts: &mut Streaming<v1::SubmitPart>,
    ) -> Result<Result<(Speaker, Staged), Refusal>, Status> {
        let speaker = match self.speaker(from, caller).await {
            Ok(Speaker::Anonymous) => {
                return Ok(Err(Refusal::new(ErrorKind::NotAuthenticated, nobody)));
            }
            Ok(speaker) => speaker,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let held = match self.stage(parts).await? {
            Ok(held) => held,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match held.release() {
            Some(staged) => Ok(Ok((speaker, staged))),
            None => Err(Status::internal("a body was staged and is not there")),
        }
    }

    async fn stage(
        &self,
        parts: &mut Streaming<v1::SubmitPart>,
    ) -> Result<Result<HeldStage, Refusal>, Status> {
        let mut intake = Intake::new(&self.core, self.message_bytes);
        while let Some(part) = next_part(parts).await? {
            let submit_part::Part::Chunk(chunk) = part else {
                return Err(Status::invalid_argument("a submission has one head"));
            };
            intake = match intake.take(chunk).await {
                Ok(intake) => intake,
                Err(refusal) => return Ok(Err(refusal)),
            };
        }
        Ok(intake.finish().await)
    }

    /// A body of an inbox, for somebody who may list it.
    async fn inbox_body(
        &self,
        from: From,
        request: grapevine_rpc::ReadBodyRequest,
    ) -> Result<BodySource, Refusal> {
        let speaker = self.speaker(from, request.caller).await?;
        let (owner, message) = (request.owner, request.message);
        if let Some(place) = request.place {
            return self.folder_body(speaker, owner, message, place).await;
        }
        let listing = match self.recent.with(&speaker, &owner, message) {
            Some(listing) => listing,
            None => self.listing(speaker, owner.clone()).await?,
        };
        let listed = listing.messages.iter().find(|l| l.message == message);
        let Some(listed) = listed else {
            return Err(Refusal::not_found(format!(
                "{message} in the inbox of {owner}"
            )));
        };
        // A copy has the body of what it was made from.
        let body = self.core.read_body(listed.body, &listing.sites).await?;
        Ok(body.after(listed.list.as_ref()))
    }

    /// The body of a mail in a folder, for its owner: the folder's view says so.
    async fn folder_body(
        &self,
        speaker: Speaker,
        owner: Name,
        message: MessageId,
        place: MailPlace,
    ) -> Result<BodySource, Refusal> {
        let known = self.recent_views.with(&speaker, &owner, message, place);
        let found = match known {
            Some(found) => found,
            None => {
                let ask = Ask::Mailbox {
                    name: owner.clone(),
                    ask: MailboxAsk::View {
                        folder: place.folder,
                        since: None,
                        after: place.uid.saturating_sub(1),
                    },
                };
                let reply = match self.core.request(speaker.clone(), ask).await? {
                    Reply::Mailbox(reply) => reply,
                    _ => {
                        let why = "the folder was not shown";
                        return Err(Refusal::new(ErrorKind::Internal, why));
                    }
                };
                let no_such = format!("{message} in this folder of {owner}");
                self.recent_views
                    .keep((speaker, owner), reply, message, place)
                    .ok_or_else(|| Refusal::not_found(no_such))?
            }
        };
        let body = self.core.read_body(found.row.body, &found.sites).await?;
        Ok(body.after(found.row.list.as_ref()))
    }

    async fn listing(&self, speaker: Speaker, owner: Name) -> Result<Arc<InboxListing>, Refusal> {
        let ask = Ask::InboxList {
            name: owner.clone(),
        };
        let Reply::Inbox(listing) = self.core.request(speaker.clone(), ask).await? else {
            return Err(Refusal::new(
                ErrorKind::Internal,
                "the inbox was not listed",
            ));
        };
        let listing = Arc::new(listing);
        self.recent.keep(speaker, owner, Arc::clone(&listing));
        Ok(listing)
    }
}

/// The next part of a submission; none at its end.
async fn next_part(
    parts: &mut Streaming<v1::SubmitPart>,
) -> Result<Option<submit_part::Part>, Status> {
    match tokio::time::timeout(PART_LIMIT, parts.message()).await {
        // A part of a kind that this release does not know can't be left out of a message.
        Ok(Ok(Some(part))) => part
            .part
            .map(Some)
            .ok_or_else(|| Status::invalid_argument("a part of an unknown kind")),
        Ok(Ok(None)) => Ok(None),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("the message did not go on")),
    }
}

fn send_body(mut body: BodySource) -> Parts {
    let (sender, parts) = mpsc::channel(PARTS_AHEAD);
    let before = body.take_before().to_vec();
    let head = v1::BodyInfo {
        len: body.len_bytes(),
        digest: body.digest().to_vec(),
    };
    tokio::spawn(async move {
        let mut next = Ok(v1::BodyPart {
            part: Some(body_part::Part::Head(head)),
            before,
        });
        loop {
            let failed = next.is_err();
            if sender.send(next).await.is_err() || failed {
                return;
            }
            next = match body.chunk().await {
                Ok(Some(chunk)) => {
                    debug_assert!(chunk.len() <= MAX_CHUNK_BYTES);
                    Ok(v1::BodyPart {
                        part: Some(body_part::Part::Chunk(chunk)),
                        before: Default::default(),
                    })
                }
                Ok(None) => return,
                Err(refusal) => Err(status_of(&refusal)),
            };
        }
    });
    Box::pin(ReceiverStream::new(parts))
}

fn malformed(error: WireError) -> Status {
    match error {
        WireError::Invalid(why) => Status::invalid_argument(why),
        WireError::Newer(what) => Status::unimplemented(format!(
            "this server's release does not know it: {what}; try another server"
        )),
    }
}

/// For streams, which have no place for a refusal.
fn status_of(refusal: &Refusal) -> Status {
    let code = match refusal.kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotAuthenticated => Code::Unauthenticated,
        ErrorKind::NotAllowed => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::TooLarge => Code::OutOfRange,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Unknown => Code::Unknown,
        ErrorKind::Internal => Code::Internal,
    };
    Status::new(code, refusal.why.clone())
}
