//! A server without its doors: store, core, connections with the others; started and stopped in order.
//!
//! Guards that what was accepted is durable when the process ends: doors first, then the core, then
//! the store.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use grapevine_core::{Config as CoreConfig, Damaged, Start, Table, Tables};
use grapevine_model::{Request, ServerInfo, ServerRole, Speaker};
use grapevine_rpc::tls::{Identity, IdentityError};
use grapevine_store::{OpenError, Options, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::archive::{Archive, day_of};
use crate::clock::{Clock, wall_ms};
use crate::config::Config;
use crate::core_loop::{self, CoreParts, StartError};
use crate::core_task::CoreHandle;
use crate::dns::ZoneBoard;
use crate::folder::{DataFolder, FolderError, Provenance, ServerRecord};
use crate::keys::KeyRing;
use crate::password_cache::Passwords;
use crate::peers::Peers;
use crate::relay::Relayer;

/// Connections with other servers end within this; they have nothing to say any more.
const PEERS_LIMIT: Duration = Duration::from_secs(2);

const DAY_MS: u64 = 24 * 3_600_000;

/// A running server.
pub(crate) struct Running {
    /// The core.
    pub(crate) core: CoreHandle,
    /// The other servers.
    pub(crate) peers: Peers,
    /// Checks passwords.
    pub(crate) passwords: Passwords,
    /// What the DNS door answers from.
    pub(crate) zones: ZoneBoard,
    /// Its own keys.
    pub(crate) keys: KeyRing,
    /// Is cancelled when it can't go on.
    pub(crate) failed: CancellationToken,
    store: Arc<Store>,
    thread: JoinHandle<()>,
    stop_core: CancellationToken,
    stop_peers: CancellationToken,
    peer_tasks: TaskTracker,
}

/// What whoever starts the server says of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing: the folder itself shows whether it was copied.
    None,
    /// That it was brought back from a backup.
    Restored,
}

/// Why it did not start, in one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The server's key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The core.
    #[error(transparent)]
    Core(#[from] StartError),
    /// What the store has.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The folder was neither founded nor let in.
    #[error(
        "{0} has a server that never began; make it again with `grapevine init` or `grapevine join`"
    )]
    NoBeginning(String),
    /// The system.
    #[error("{0}")]
    System(String),
}

impl Running {
    /// Starts a server from its data folder.
    pub(crate) async fn start(config: &Config, claim: Claim) -> Result<Self, RunError> {
        let folder = DataFolder::at(&config.data);
        let record = folder.record()?;
        let keys = KeyRing::open(folder.path())?;
        let store = open_store(&folder).await?;
        let start = beginning(&folder, &store, claim)?;
        let restored = matches!(start, Start::Restored);
        let passwords = Passwords::new(config.cost)
            .map_err(|error| RunError::System(format!("no random bytes: {error}")))?;
        store.set_today(day_of(wall_ms()));
        let archive = open_archive(config, &record, &store).await?;
        let (core, inputs) = CoreHandle::new(
            Arc::clone(&store),
            record.name.clone(),
            config.hostname.clone(),
            archive,
        );
        let (stop_core, stop_peers) = (CancellationToken::new(), CancellationToken::new());
        let (failed, peer_tasks) = (CancellationToken::new(), TaskTracker::new());
        let peers = Peers::new(
            core.clone(),
            keys.clone(),
            peer_tasks.clone(),
            stop_peers.clone(),
        );
        core.set_peers(peers.clone());
        let zones = ZoneBoard::default();
        let parts = CoreParts {
            config: core_config(config, record, &keys.current().get())?,
            start,
            handle: core.clone(),
            inputs,
            keys: keys.clone(),
            peers: peers.clone(),
            passwords: passwords.clone(),
            zones: zones.clone(),
            relayer: Relayer::new(config).map_err(RunError::System)?,
            stop: stop_core.clone(),
            failed: failed.clone(),
            clock: Clock::start(),
        };
        let thread = core_loop::start(parts).await?;
        if restored {
            tracing::warn!(data = %folder.path().display(), "this folder was brought back from a backup: the server goes on under a new origin and fetches what it lacks");
            // Whatever the core answers comes after its new origin is durable.
            let _ = core.request(Speaker::Operator, Request::Status).await;
        }
        folder.mark()?;
        Ok(Self {
            core,
            peers,
            passwords,
            zones,
            keys,
            failed,
            store,
            thread,
            stop_core,
            stop_peers,
            peer_tasks,
        })
    }

    /// Stops it in order: the core with its last commits, the connections, the store.
    pub(crate) async fn stop(self) {
        self.stop_core.cancel();
        let (thread, store) = (self.thread, self.store);
        let stopped = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::error!("the core's thread ended in a panic: please report this");
        }
        self.stop_peers.cancel();
        self.peer_tasks.close();
        // Their connections are cut when the process ends.
        let _ = tokio::time::timeout(PEERS_LIMIT, self.peer_tasks.wait()).await;
        // A panic of the store's has been logged by its own thread.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

/// How this server describes itself to the others.
pub(crate) fn server_info(
    config: &Config,
    record: ServerRecord,
    identity: &Identity,
) -> ServerInfo {
    ServerInfo {
        name: record.name,
        public_key: identity.public_key(),
        more_keys: Vec::new(),
        origin: record.origin,
        role: ServerRole::Full,
        doors: config.advertise.clone(),
    }
}

fn core_config(
    config: &Config,
    record: ServerRecord,
    identity: &Identity,
) -> Result<CoreConfig, RunError> {
    let mut core = CoreConfig::new(server_info(config, record, identity), config.alone);
    core.times.give_up_ms = config.limits.give_up_hours.saturating_mul(3_600_000);
    core.times.delay_notice_ms = (config.limits.delay_notice_hours).saturating_mul(3_600_000);
    core.times.retention_ms = config.limits.retention_days.saturating_mul(24 * 3_600_000);
    core.times.key_ms = config.limits.key_days.saturating_mul(DAY_MS);
    core.times.key_notice_ms = config.limits.key_notice_hours.saturating_mul(3_600_000);
    core.times.retain_ms = config.storage.retain_hours.saturating_mul(3_600_000);
    core.times.over_quota_ms = config.storage.over_quota_hours.saturating_mul(3_600_000);
    core.routes = config.relay.routes.clone();
    core.times.outside_first_ms = config.relay.retry_seconds.saturating_mul(1_000);
    core.times.outside_most_ms = config.relay.retry_most_minutes.saturating_mul(60_000);
    core.times.ticket_ms = config.limits.ticket_hours.saturating_mul(3_600_000);
    #[cfg(feature = "planted-mistakes")]
    crate::planted::plant(&mut core).map_err(RunError::System)?;
    Ok(core)
}

/// The archive, if one is configured. One that does not answer is away, and no reason not to start.
async fn open_archive(
    config: &Config,
    record: &ServerRecord,
    store: &Arc<Store>,
) -> Result<Option<Archive>, RunError> {
    let Some(archive) = config.archive.clone() else {
        return Ok(None);
    };
    let (store, server) = (Arc::clone(store), record.name.clone());
    let opened = tokio::task::spawn_blocking(move || Archive::open(&archive, &server, &store));
    match opened.await {
        Ok(Ok(archive)) => Ok(Some(archive)),
        Ok(Err(why)) => Err(RunError::System(why)),
        Err(error) => Err(RunError::System(error.to_string())),
    }
}

async fn open_store(folder: &DataFolder) -> Result<Arc<Store>, RunError> {
    let dir = folder.store();
    let opened = tokio::task::spawn_blocking(move || Store::open(dir, &Options::default())).await;
    let opened =
        opened.map_err(|error| RunError::System(format!("the store's opening: {error}")))?;
    Ok(Arc::new(opened?))
}

/// A store that remembers a server goes on; else the folder says how it begins.
fn beginning(folder: &DataFolder, store: &Store, claim: Claim) -> Result<Start, RunError> {
    let remembered = store.view().scan(Table::Meta, &[], &[u8::MAX], 1)?;
    if !remembered.is_empty() {
        folder.forget_beginning();
        let copied = folder.provenance()? == Provenance::Copied;
        return Ok(if copied || claim == Claim::Restored {
            Start::Restored
        } else {
            Start::Resume
        });
    }
    match folder.beginning()? {
        Some(beginning) => Ok(beginning.into()),
        None => Err(RunError::NoBeginning(folder.path().display().to_string())),
    }
}
