//! The other servers: who they are, how each is reached, which keys they prove.
//!
//! Must never hold up the core: what can't go at once waits in a bounded queue, and what does not fit
//! is dropped, because the core asks again. A server that `gv` no longer names is hung up on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use grapevine_model::{
    Door, ErrorKind, MessageId, PeerMessage, Refusal, Reply, ServerInfo, ServerName, Ticket,
};
use grapevine_rpc::Timeouts;
use grapevine_rpc::tls::{KeyExpectation, TrustedKeys, changing_client_config};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

use crate::body_source::BodySource;
use crate::core_task::CoreHandle;
use crate::keys::KeyRing;
use crate::peer_link::{Lane, Link, Queues};
use crate::remote_body;

/// Messages that wait for one server in one lane. A healthy server takes them in milliseconds; one
/// that does not is about to count as down.
const QUEUE_MAX: usize = 1_024;

/// The other servers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    core: CoreHandle,
    keys: KeyRing,
    /// All keys on record for this server itself.
    own: RwLock<Vec<Vec<u8>>>,
    servers: RwLock<BTreeMap<ServerName, Peer>>,
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Peer {
    info: ServerInfo,
    queues: Option<Queues>,
    channel: Option<Channel>,
    /// Ends its connections, both ways.
    gone: CancellationToken,
    /// It has called: it is there.
    called: Arc<Notify>,
}

impl Peers {
    /// Nobody yet; to be made inside the runtime.
    pub(crate) fn new(
        core: CoreHandle,
        keys: KeyRing,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                core,
                keys,
                own: RwLock::default(),
                servers: RwLock::default(),
                runtime: Handle::current(),
                tasks,
                stop,
            }),
        }
    }

    /// Keeps connections with these servers and no others.
    pub(crate) fn update(&self, servers: Vec<ServerInfo>) {
        let me = self.shared.core.server();
        if let Some(info) = servers.iter().find(|info| info.name == *me) {
            let keys = info.keys().map(<[u8]>::to_vec).collect();
            let own = self.shared.own.write();
            *own.unwrap_or_else(PoisonError::into_inner) = keys;
        }
        let held = self.shared.servers.write();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        let mut wanted: BTreeMap<_, _> = servers
            .into_iter()
            .filter(|info| info.name != *me)
            .map(|info| (info.name.clone(), info))
            .collect();
        held.retain(|name, peer| {
            let keep = wanted
                .get(name)
                .is_some_and(|info| same_place(info, &peer.info));
            if !keep {
                peer.gone.cancel();
            }
            keep
        });
        while let Some((name, info)) = wanted.pop_first() {
            match held.entry(name) {
                Entry::Occupied(mut kept) => kept.get_mut().info = info,
                Entry::Vacant(free) => {
                    free.insert(self.start(info));
                }
            }
        }
    }

    /// Says something to a server; may be lost.
    pub(crate) fn send(&self, to: &ServerName, message: PeerMessage) {
        let held = self.shared.servers.read();
        let held = held.unwrap_or_else(PoisonError::into_inner);
        let Some(queues) = held.get(to).and_then(|peer| peer.queues.as_ref()) else {
            return;
        };
        match queues.lane(Lane::of(&message)).try_send(message) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                metrics::counter!("grapevine_peer_messages_dropped_total", "server" => to.to_string())
                    .increment(1);
            }
        }
    }

    /// Reads a body from the first of these servers that has it.
    ///
    /// # Errors
    /// None of them has it now.
    pub(crate) async fn read_body(
        &self,
        message: MessageId,
        sites: &[ServerName],
    ) -> Result<BodySource, Refusal> {
        let mut last = Refusal::unavailable("no server that has the message can be reached");
        for (site, channel) in self.channels(sites) {
            match remote_body::open(channel, message).await {
                Ok(body) => return Ok(body),
                Err(refusal) => {
                    tracing::debug!(%site, %message, %refusal, "a body could not be read there");
                    last = refusal;
                }
            }
        }
        Err(last)
    }

    /// Whether this is a server of ours now, and what is cancelled when it no longer is.
    pub(crate) fn known(&self, server: &ServerName) -> Option<CancellationToken> {
        let held = self.shared.servers.read();
        let held = held.unwrap_or_else(PoisonError::into_inner);
        held.get(server).map(|peer| peer.gone.clone())
    }

    /// A server has called, so it can be reached: whoever waits before the next attempt waits no longer.
    pub(crate) fn has_called(&self, server: &ServerName) {
        let held = self.shared.servers.read();
        let held = held.unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = held.get(server) {
            peer.called.notify_one();
        }
    }

    /// The keys on record for a server, itself included.
    pub(crate) fn keys_of(&self, server: &ServerName) -> Vec<Vec<u8>> {
        if server == self.shared.core.server() {
            let own = self.shared.own.read();
            let mut keys = own.unwrap_or_else(PoisonError::into_inner).clone();
            keys.push(self.shared.keys.current().public_key());
            return keys;
        }
        let held = self.shared.servers.read();
        let held = held.unwrap_or_else(PoisonError::into_inner);
        held.get(server).map_or(Vec::new(), |peer| {
            peer.info.keys().map(<[u8]>::to_vec).collect()
        })
    }

    /// Signs a ticket with this server's key.
    ///
    /// # Errors
    /// The key can't sign.
    pub(crate) fn sign(&self, ticket: &Ticket) -> Result<Reply, Refusal> {
        grapevine_rpc::sign_ticket(ticket, &self.shared.keys.current().get())
            .map(|text| Reply::Ticket {
                ticket: text,
                expires_ms: ticket.expires_ms,
            })
            .map_err(|error| {
                tracing::error!(%error, "a ticket could not be signed");
                Refusal::new(ErrorKind::Internal, "the ticket could not be signed")
            })
    }

    /// The keys on record.
    pub(crate) fn keys(&self) -> Arc<dyn TrustedKeys> {
        Arc::<Shared>::clone(&self.shared)
    }

    fn channels(&self, sites: &[ServerName]) -> Vec<(ServerName, Channel)> {
        let held = self.shared.servers.read();
        let held = held.unwrap_or_else(PoisonError::into_inner);
        sites
            .iter()
            .filter_map(|site| Some((site.clone(), held.get(site)?.channel.clone()?)))
            .collect()
    }

    fn start(&self, info: ServerInfo) -> Peer {
        let gone = self.shared.stop.child_token();
        let mut peer = Peer {
            info,
            queues: None,
            channel: None,
            gone: gone.clone(),
            called: Arc::default(),
        };
        let server = peer.info.name.clone();
        let Some(address) = peer.info.doors.get(&Door::Rpc) else {
            tracing::warn!(%server, "a server has no rpc door on record; it can't be called");
            return peer;
        };
        // A channel connects when it is used, on the runtime that it is made in.
        let _runtime = self.shared.runtime.enter();
        let trusted: Arc<dyn TrustedKeys> = Arc::new(KeysOf {
            shared: Arc::downgrade(&self.shared),
            server: server.clone(),
        });
        let expect = KeyExpectation::Any(Arc::clone(&trusted));
        let made = changing_client_config(Some(self.shared.keys.current()), expect)
            .map_err(|error| error.to_string())
            .and_then(|tls| {
                grapevine_rpc::connect_watched(address, tls, Timeouts::default(), trusted)
                    .map_err(|error| error.to_string())
            });
        match made {
            Ok(channel) => {
                let (queues, ends) = Queues::new(QUEUE_MAX);
                let link = Link {
                    core: self.shared.core.clone(),
                    server,
                    channel: channel.clone(),
                    gone,
                    called: Arc::clone(&peer.called),
                };
                self.shared
                    .tasks
                    .spawn_on(link.run(ends), &self.shared.runtime);
                peer.queues = Some(queues);
                peer.channel = Some(channel);
            }
            Err(error) => {
                tracing::warn!(%server, %address, %error, "a server can't be called");
            }
        }
        peer
    }
}

impl TrustedKeys for Shared {
    fn server_of(&self, spki: &[u8]) -> Option<ServerName> {
        let held = self.servers.read();
        let held = held.unwrap_or_else(PoisonError::into_inner);
        held.values()
            .find(|peer| peer.info.has_key(spki))
            .map(|peer| peer.info.name.clone())
    }
}

/// The keys on record for one server: what it must prove when it is called.
struct KeysOf {
    shared: Weak<Shared>,
    server: ServerName,
}

impl TrustedKeys for KeysOf {
    fn server_of(&self, spki: &[u8]) -> Option<ServerName> {
        let shared = self.shared.upgrade()?;
        let held = shared.servers.read();
        let held = held.unwrap_or_else(PoisonError::into_inner);
        let peer = held.get(&self.server)?;
        peer.info.has_key(spki).then(|| self.server.clone())
    }
}

/// Whether the connections with a server can stay: one that has changed its key is the same one, and a
/// connection by a key that was struck off is cut by itself.
fn same_place(a: &ServerInfo, b: &ServerInfo) -> bool {
    a.keys().any(|key| b.has_key(key)) && a.doors.get(&Door::Rpc) == b.doors.get(&Door::Rpc)
}

/// A lane's queue.
pub(crate) type Queue = mpsc::Sender<PeerMessage>;
