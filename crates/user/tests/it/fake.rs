//! Servers as small as a test needs them: they share one world, which counts what was done, and
//! each misbehaves as it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use grapevine_model::{
    Authenticated, BodyInfo, Door, EntryChange, EntryKind, EntryView, ErrorKind, GroupList, Hlc,
    InboxListing, Incarnation, ListedMessage, MailboxAnswer, MailboxAsk, MailboxReply, Member,
    MessageId, Name, OriginId, QueueView, Refusal, Reply, Request, Secret, ServerInfo, ServerName,
    ServerRole, ServerStatus, Stamp, Written,
};
use grapevine_rpc::tls::{Identity, TrustedKeys, server_config};
use grapevine_rpc::v1::{self, body_part, grapevine_server::Grapevine, submit_part};
use grapevine_rpc::{
    Caller, decode_call, decode_read_body, decode_submit_head, encode_reply, grapevine_server,
    serve, server_builder,
};
use grapevine_user::{
    FirstContact, GrapevineUser, Login, Patience, Pin as KeyPin, Seed, Seeds, ServerKey,
};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

/// How a server behaves, once it is asked for anything but the list of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    Well,
    /// Says "not now" to everything.
    Unavailable,
    /// Does it, and is dead before the answer.
    DoThenDie,
    /// Does it, and never answers.
    DoThenHang,
    /// Does nothing, and is dead.
    Die,
    /// Never says a word, not even the list of servers.
    Mute,
    /// Dies after so many chunks of a body, coming or going.
    DieAfterChunks(u32),
    /// Gives out another body than was deposited.
    OtherBody,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub kind: EntryKind,
    pub remark: String,
    pub owners: Vec<Member>,
    pub password: Option<Secret>,
    /// How often it was created: more than once is a fault.
    pub created: u32,
}

/// What all servers share, as if replication took no time.
#[derive(Debug, Default)]
pub struct World {
    pub entries: BTreeMap<Name, Entry>,
    /// Bodies by id, and how often each was handed in.
    pub accepted: BTreeMap<MessageId, (Bytes, u32)>,
    pub inbox: BTreeMap<MessageId, Bytes>,
    pub changes: u32,
    /// How often mails were copied.
    pub copies: u32,
    pub servers: Vec<ServerInfo>,
}

#[derive(Clone)]
pub struct Fake {
    identity: Arc<Identity>,
    pub name: ServerName,
    pub address: SocketAddr,
    pub key: ServerKey,
    world: Arc<Mutex<World>>,
    behaviour: Arc<Mutex<Behaviour>>,
    calls: Arc<Mutex<u32>>,
    die: Arc<Notify>,
    dead: Arc<Notify>,
}

struct Nobody;
impl TrustedKeys for Nobody {
    fn server_of(&self, _: &[u8]) -> Option<ServerName> {
        None
    }
}

pub struct Cluster {
    pub servers: Vec<Fake>,
    pub world: Arc<Mutex<World>>,
    pub folder: tempfile::TempDir,
}

pub const PASSWORD: &str = "correct horse";

pub fn me() -> Name {
    "birrell@pa.example".parse().unwrap()
}

pub fn patience() -> Patience {
    Patience {
        call: Duration::from_millis(600),
        find: Duration::from_millis(600),
        stall: Duration::from_millis(600),
        pause: Duration::from_millis(10),
        rounds: 2,
    }
}

impl Cluster {
    pub async fn of(number: usize) -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        world.lock().unwrap().entries.insert(
            me(),
            Entry {
                kind: EntryKind::Individual,
                remark: String::new(),
                owners: Vec::new(),
                password: Some(Secret(PASSWORD.into())),
                created: 1,
            },
        );
        let mut servers = Vec::new();
        for n in 1..=number {
            let name: ServerName = format!("s{n}").parse().unwrap();
            servers.push(start(name, Arc::clone(&world)).await);
        }
        Self {
            servers,
            world,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn seeds(&self, servers: &[usize]) -> Seeds {
        Seeds {
            servers: servers
                .iter()
                .map(|at| Seed {
                    address: self.servers[*at].address.to_string(),
                    pin: Some(KeyPin::Key(self.servers[*at].key.clone())),
                })
                .collect(),
            state_file: Some(self.folder.path().join("servers.json")),
            first_contact: FirstContact::Refuse,
        }
    }

    /// A user for whom the first server is the nearest.
    pub async fn user(&self) -> GrapevineUser {
        let login = Login {
            name: me(),
            password: Secret(PASSWORD.into()),
        };
        let user = GrapevineUser::connect_with(self.seeds(&[0]), Some(login), patience())
            .await
            .unwrap();
        // The first one answered first; until the others are measured they come after it.
        assert_eq!(user.servers()[0].name, self.servers[0].name);
        user
    }

    pub fn set(&self, at: usize, behaviour: Behaviour) {
        *self.servers[at].behaviour.lock().unwrap() = behaviour;
    }

    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().unwrap())
    }
}

impl Fake {
    pub async fn kill(&self) {
        let dead = self.dead.notified();
        self.die.notify_one();
        dead.await;
    }

    /// The same server on another machine.
    pub async fn move_elsewhere(&self) -> Self {
        self.kill().await;
        (self.world.lock().unwrap().servers).retain(|info| info.name != self.name);
        let (identity, world) = (Arc::clone(&self.identity), Arc::clone(&self.world));
        let at = "127.0.0.1:0".parse().unwrap();
        start_as(identity, at, self.name.clone(), world).await
    }

    pub fn calls(&self) -> u32 {
        *self.calls.lock().unwrap()
    }

    fn info(&self) -> ServerInfo {
        ServerInfo {
            name: self.name.clone(),
            public_key: self.key.as_bytes().to_vec(),
            more_keys: Vec::new(),
            origin: OriginId(1),
            role: ServerRole::Full,
            doors: [(Door::Rpc, self.address.to_string())].into(),
        }
    }

    fn behaviour(&self) -> Behaviour {
        *self.behaviour.lock().unwrap()
    }

    /// Nobody hears of it again.
    async fn never<T>(&self) -> T {
        self.die.notify_one();
        std::future::pending().await
    }

    async fn with_manners<T>(
        &self,
        act: impl FnOnce(&mut World) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        *self.calls.lock().unwrap() += 1;
        match self.behaviour() {
            Behaviour::Unavailable => Err(Refusal::unavailable("not now")),
            Behaviour::Die => self.never().await,
            Behaviour::Mute => std::future::pending().await,
            Behaviour::DoThenDie => {
                let _lost = act(&mut self.world.lock().unwrap());
                self.never().await
            }
            Behaviour::DoThenHang => {
                let _lost = act(&mut self.world.lock().unwrap());
                std::future::pending().await
            }
            Behaviour::Well | Behaviour::DieAfterChunks(_) | Behaviour::OtherBody => {
                act(&mut self.world.lock().unwrap())
            }
        }
    }
}

pub async fn start(name: ServerName, world: Arc<Mutex<World>>) -> Fake {
    start_at("127.0.0.1:0".parse().unwrap(), name, world).await
}

pub async fn start_at(at: SocketAddr, name: ServerName, world: Arc<Mutex<World>>) -> Fake {
    start_as(Arc::new(Identity::generate().unwrap()), at, name, world).await
}

async fn start_as(
    identity: Arc<Identity>,
    at: SocketAddr,
    name: ServerName,
    world: Arc<Mutex<World>>,
) -> Fake {
    let listener = TcpListener::bind(at).await.unwrap();
    let fake = Fake {
        identity: Arc::clone(&identity),
        name,
        address: listener.local_addr().unwrap(),
        key: ServerKey::new(identity.public_key()),
        world: Arc::clone(&world),
        behaviour: Arc::new(Mutex::new(Behaviour::Well)),
        calls: Arc::default(),
        die: Arc::default(),
        dead: Arc::default(),
    };
    world.lock().unwrap().servers.push(fake.info());
    let service = fake.clone();
    let config = server_config(&identity, Arc::new(Nobody)).unwrap();
    tokio::spawn(async move {
        let router = server_builder().add_service(grapevine_server(service.clone()));
        let never = std::future::pending();
        tokio::select! {
            served = serve(listener, config, Arc::new(Nobody), router, never) => served.unwrap(),
            () = service.die.notified() => {}
        }
        service.dead.notify_waiters();
    });
    fake
}

/// What a well-behaved server does with a request.
fn act(world: &mut World, caller: &Caller, request: Request) -> Result<Reply, Refusal> {
    let done = Ok(Reply::Written(Written {
        stamp: None,
        copies: 2,
        seen: Vec::new(),
    }));
    if let Caller::Individual(credentials) = caller {
        let right = world
            .entries
            .get(&credentials.name)
            .is_some_and(|entry| entry.password.as_ref() == Some(&credentials.password));
        if !right {
            return Err(Refusal::new(ErrorKind::NotAuthenticated, "wrong password"));
        }
    }
    match request {
        Request::Servers => Ok(Reply::Servers(world.servers.clone())),
        // Only the first one is ever asked, at its socket.
        Request::Status => Ok(Reply::Status(Box::new(ServerStatus {
            server: "s1".parse().unwrap(),
            role: ServerRole::Full,
            registries: Vec::new(),
            mailboxes: 0,
            queue: QueueView::default(),
            peers: Vec::new(),
            alarms: Vec::new(),
            fetching: Vec::new(),
            compare: Default::default(),
            tombstones: grapevine_model::TombstoneView::default(),
            storage: Default::default(),
        }))),
        Request::Authenticate { name, password, .. } => {
            let entry = world.entries.get(&name);
            if entry.is_some_and(|entry| entry.password.as_ref() == Some(&password)) {
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
                Err(Refusal::new(ErrorKind::NotAuthenticated, "wrong password"))
            }
        }
        Request::GroupCreate {
            name,
            remark,
            owners,
        } => {
            if world.entries.contains_key(&name) {
                return Err(Refusal::conflict("exists already"));
            }
            let entry = Entry {
                kind: EntryKind::Group,
                remark,
                owners,
                password: None,
                created: 1,
            };
            world.entries.insert(name, entry);
            world.changes += 1;
            done
        }
        Request::Delete { name } => match world.entries.remove(&name) {
            Some(_) => {
                world.changes += 1;
                done
            }
            None => Err(Refusal::not_found(name)),
        },
        Request::Change {
            name,
            change: EntryChange::Password(password),
        } => {
            world.entries.get_mut(&name).unwrap().password = Some(password);
            world.changes += 1;
            done
        }
        Request::Change {
            name,
            change: EntryChange::ListAdd(GroupList::Owners, member),
        } => {
            let owners = &mut world.entries.get_mut(&name).unwrap().owners;
            if !owners.contains(&member) {
                owners.push(member);
                world.changes += 1;
            }
            done
        }
        Request::Show { name } => match world.entries.get(&name) {
            Some(entry) => Ok(Reply::Entry(Box::new(EntryView {
                name,
                kind: entry.kind,
                incarnation: Incarnation(1),
                created_ms: 0,
                number: None,
                remark: entry.remark.clone(),
                sites: Vec::new(),
                forward: Vec::new(),
                aliases: Vec::new(),
                connect_sites: Vec::new(),
                members: 0,
                owners: entry.owners.clone(),
                friends: Vec::new(),
                conflict: false,
                former: Vec::new(),
                quota: Default::default(),
                usage: None,
                posting: Default::default(),
                suspended: Vec::new(),
                aside: 0,
            }))),
            None => Err(Refusal::not_found(name)),
        },
        Request::InboxList { .. } => Ok(Reply::Inbox(InboxListing {
            incarnation: Incarnation(1),
            messages: world
                .inbox
                .iter()
                .map(|(message, body)| ListedMessage {
                    message: *message,
                    body: *message,
                    len: body.len() as u64,
                    deposited_ms: 0,
                    list: None,
                })
                .collect(),
            sites: Vec::new(),
            partial: false,
            usage: Default::default(),
            quota: Default::default(),
        })),
        Request::InboxDelete { messages, .. } => {
            for message in messages {
                world.changes += u32::from(world.inbox.remove(&message).is_some());
            }
            done
        }
        Request::Mailbox {
            ask: MailboxAsk::Copy { .. },
            ..
        } => {
            world.copies += 1;
            Ok(Reply::Mailbox(MailboxReply {
                by: "s1".parse().unwrap(),
                partial: false,
                copies: 2,
                answer: MailboxAnswer::Done,
            }))
        }
        other => panic!("the fake is not asked {other:?}"),
    }
}

/// Far more than a handshake takes on a busy machine.
const FURTHER_AWAY: Duration = Duration::from_millis(200);

type Parts = Pin<Box<dyn Stream<Item = Result<v1::BodyPart, Status>> + Send>>;

const CHUNK: usize = 1_000;

#[tonic::async_trait]
impl Grapevine for Fake {
    type ReadBodyStream = Parts;
    type WatchStream = tokio_stream::wrappers::ReceiverStream<Result<v1::CallReply, Status>>;

    async fn watch(
        &self,
        _request: tonic::Request<v1::CallRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // GrapevineUser asks for one batch after the other.
        Err(Status::unimplemented("no streams here"))
    }

    type BackupStream = tokio_stream::wrappers::ReceiverStream<Result<v1::BackupPart, Status>>;

    async fn backup(
        &self,
        _request: tonic::Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        Err(Status::unimplemented("no backups here"))
    }

    type WatchMailboxStream =
        tokio_stream::wrappers::ReceiverStream<Result<v1::MailboxNews, Status>>;

    async fn watch_mailbox(
        &self,
        _request: tonic::Request<v1::WatchMailboxRequest>,
    ) -> Result<Response<Self::WatchMailboxStream>, Status> {
        Err(Status::unimplemented("no news here"))
    }

    async fn call(
        &self,
        request: tonic::Request<v1::CallRequest>,
    ) -> Result<Response<v1::CallReply>, Status> {
        let (caller, request) = decode_call(request.into_inner()).unwrap();
        if request == Request::Servers && self.name.as_str() != "s1" {
            // The others are further away, so that a test knows which is the nearest.
            tokio::time::sleep(FURTHER_AWAY).await;
        }
        let result = if request == Request::Servers && self.behaviour() != Behaviour::Mute {
            assert_eq!(
                caller,
                Caller::Connection,
                "a name was told to whom need not know"
            );
            act(&mut self.world.lock().unwrap(), &caller, request)
        } else {
            self.with_manners(|world| act(world, &caller, request))
                .await
        };
        Ok(Response::new(encode_reply(&result)))
    }

    async fn submit(
        &self,
        request: tonic::Request<Streaming<v1::SubmitPart>>,
    ) -> Result<Response<v1::CallReply>, Status> {
        let mut parts = request.into_inner();
        let first = parts.message().await?.unwrap().part;
        let Some(submit_part::Part::Head(head)) = first else {
            panic!("no head")
        };
        let id = decode_submit_head(head).unwrap().id.unwrap();
        let mut body = Vec::new();
        let mut chunks = 0;
        while let Some(part) = parts.message().await? {
            let Some(submit_part::Part::Chunk(chunk)) = part.part else {
                panic!("no chunk")
            };
            chunks += 1;
            body.extend_from_slice(&chunk);
            if matches!(self.behaviour(), Behaviour::DieAfterChunks(most) if chunks >= most) {
                self.never::<()>().await;
            }
        }
        let result = self
            .with_manners(|world| {
                let accepted = world.accepted.entry(id).or_insert((body.clone().into(), 0));
                accepted.1 += 1;
                assert_eq!(accepted.0, body, "another message under the same id");
                Ok(Reply::Accepted {
                    message: id,
                    copies: 2,
                })
            })
            .await;
        Ok(Response::new(encode_reply(&result)))
    }

    async fn read_body(
        &self,
        request: tonic::Request<v1::ReadBodyRequest>,
    ) -> Result<Response<Parts>, Status> {
        let request = decode_read_body(request.into_inner()).unwrap();
        let found = self
            .with_manners(|world| {
                world
                    .inbox
                    .get(&request.message)
                    .cloned()
                    .ok_or_else(|| Refusal::not_found(request.message))
            })
            .await;
        let body = match found {
            Ok(body) => body,
            Err(refusal) if refusal.kind == ErrorKind::NotFound => {
                return Err(Status::not_found(refusal.why));
            }
            Err(refusal) => return Err(Status::unavailable(refusal.why)),
        };
        let info = BodyInfo {
            len: body.len() as u64,
            digest: *blake3::hash(&body).as_bytes(),
        };
        let (sender, parts) = tokio::sync::mpsc::channel(1);
        let fake = self.clone();
        tokio::spawn(async move {
            let head = body_part::Part::Head((&info).into());
            let mut next = vec![head];
            next.extend(body.chunks(CHUNK).map(|chunk| {
                let mut chunk = chunk.to_vec();
                if fake.behaviour() == Behaviour::OtherBody {
                    chunk[0] ^= 1;
                }
                body_part::Part::Chunk(chunk.into())
            }));
            for (sent, part) in (0u32..).zip(next) {
                if matches!(fake.behaviour(), Behaviour::DieAfterChunks(most) if sent > most) {
                    fake.never::<()>().await;
                }
                if sender
                    .send(Ok(v1::BodyPart {
                        part: Some(part),
                        before: Default::default(),
                    }))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(parts),
        )))
    }
}
