//! `grapevine serve`: a server with all its doors, from its configuration to its ordered end.
//!
//! The end has an order, because each part needs the ones after it: no new connections, then what is
//! under way, then the core's last commits, then the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use grapevine_core::Input;
use grapevine_model::Door;
use grapevine_rpc::{grapevine_server, peers_server, server_builder, tls::changing_server_config};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::archive::move_bodies;
use crate::client_calls::ClientCalls;
use crate::config::{Config, HELP, SOCKET};
use crate::core_task::CoreHandle;
use crate::disk_room::watch_disk;
use crate::dns;
use crate::doors::{DoorContext, DoorLimits, run_door, run_socket, tls};
use crate::folder::DataFolder;
use crate::front_certificate::{FrontCertificate, LOOK_PERIOD};
use crate::http::{self, Api, HttpLimits, Probes, Turns};
use crate::logs::{self, LogFormat, LogLevel};
use crate::out::{Failure, say};
use crate::peer_service::PeerService;
use crate::recent_listings::RecentListings;
use crate::recent_views::RecentViews;
use crate::rpc_service::{ClientService, Entrance};
use crate::running::{Claim, Running};
use crate::socket;

/// The word to the deputies is on its way within this: a round trip on most networks.
const LEAVING: Duration = Duration::from_millis(250);
/// What is under way when the server stops may go on for so long; the doors' own grace is shorter.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);
/// Requests of one connection at once: more wait in their connection, and nobody else's.
const REQUESTS_PER_CONNECTION: usize = 64;
/// Who may write to the LMTP socket: everybody who can reach it. Its folder's permissions say who that
/// is, as mail servers do it; nothing is granted there that is not granted at the SMTP door.
const LMTP_MODE: u32 = 0o666;
/// Recorded times are tidied up this often, scraped or not.
const METRICS_PERIOD: Duration = Duration::from_secs(5);

/// Run a server.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Args {
    /// Its configuration.
    #[arg(long, value_name = "FILE", default_value = "grapevine.toml")]
    config: PathBuf,
    /// Only read the configuration and say whether it is sound.
    #[arg(long)]
    check: bool,
    /// The data folder was brought back from a backup or a snapshot: go on under a new origin. A copy
    /// made file by file is noticed without this.
    #[arg(long)]
    restored: bool,
    /// How log lines look, whatever the configuration says.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Stop when stdin ends: for whoever starts servers and may die without stopping them.
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

/// Runs a server until it is told to stop or can't go on.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut config = Config::load(&args.config).map_err(Failure::new)?;
    logs::parse(&config.log).map_err(Failure::new)?;
    if let Some(format) = args.log_format {
        config.log_format = format;
    }
    if args.check {
        say(format_args!("{}: sound", config.file.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let level = logs::start(&config.log, config.log_format).map_err(Failure::new)?;
    let prometheus = PrometheusBuilder::new()
        .install_recorder()
        .map_err(Failure::new)?;
    let mut told = Told::new(args.until_stdin_ends).map_err(Failure::new)?;
    let claim = if args.restored {
        Claim::Restored
    } else {
        Claim::None
    };
    let running = Running::start(&config, claim).await.map_err(Failure::new)?;
    let open = match Open::doors(&config, &running, prometheus).await {
        Ok(open) => open,
        Err(failure) => {
            running.stop().await;
            return Err(failure);
        }
    };
    let server = running.core.server().clone();
    // Who started it may want to know, and may not.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(%server, pid = std::process::id(), data = %config.data.display(), "open");
    let exit = loop {
        let order = tokio::select! {
            order = told.next() => order,
            () = running.failed.cancelled() => break ExitCode::FAILURE,
        };
        match order {
            Order::Reload => config = reload(config, &level, &open),
            Order::Stop(why) => {
                tracing::info!(%server, why, "stopping");
                break ExitCode::SUCCESS;
            }
        }
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    open.close(&running.core).await;
    running.stop().await;
    let _ = std::fs::remove_file(DataFolder::at(&config.data).admin_socket());
    tracing::info!(%server, "stopped");
    Ok(exit)
}

/// The open doors.
struct Open {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The rpc door closes last: what is under way at the others needs the other servers' answers.
    rpc_tasks: TaskTracker,
    stop_rpc: CancellationToken,
    tls: tls::Reloadable,
    reserve: tokio::sync::watch::Sender<u64>,
    /// Shared by the HTTP doors.
    turns: Turns,
}

impl Open {
    async fn doors(
        config: &Config,
        running: &Running,
        prometheus: PrometheusHandle,
    ) -> Result<Self, Failure> {
        let tls = tls::Reloadable::new(front_certificate(config)?);
        let mut listeners = bind(config).await?;
        let lmtp = lmtp_socket(config)?;
        let folder = DataFolder::at(&config.data);
        let admin_listener = admin::listen(&folder.admin_socket()).map_err(Failure::new)?;
        let (reserve, reserve_seen) = tokio::sync::watch::channel(config.limits.reserve_bytes);
        let open = Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            rpc_tasks: TaskTracker::new(),
            stop_rpc: CancellationToken::new(),
            tls,
            reserve,
            turns: Turns::default(),
        };
        if let Some(listener) = listeners.remove(&Door::Rpc) {
            open.rpc(listener, config, running)?;
        }
        open.admin(admin_listener, config, running);
        open.tasks
            .spawn(tidy_metrics(prometheus.clone(), open.stop.clone()));
        if let Some(listener) = listeners.remove(&Door::Http) {
            let probes = Probes::new(running.core.clone(), prometheus);
            let router = probes.router().merge(open.api(running, config));
            open.http(listener, router, None, config);
        }
        if let Some(listener) = listeners.remove(&Door::Https) {
            let tls = Some(open.tls.clone());
            let told = http::autoconfig(&config.advertise, &config.hostname);
            let router = open.api(running, config).merge(told);
            open.http(listener, router, tls, config);
        }
        if let Some(listener) = listeners.remove(&Door::Dns) {
            dns::open(listener, running.zones.clone(), &open.tasks, &open.stop)
                .map_err(|error| Failure::new(format_args!("the door dns can't be opened for UDP: {error}; change listen.dns in {}, or close it with \"off\"", config.file.display())))?;
        }
        open.mail(listeners, lmtp, config, running);
        open.tasks.spawn(keep_certificate(
            FrontCertificate::new(config),
            open.tls.clone(),
            open.stop.clone(),
        ));
        if let (Some(archive), Some(config)) = (running.core.archive(), &config.archive) {
            let store = Arc::clone(running.core.store());
            open.tasks.spawn(move_bodies(
                archive.clone(),
                store,
                config.clone(),
                open.stop.clone(),
            ));
        }
        let watching = watch_disk(running.core.clone(), reserve_seen, open.stop.clone());
        open.tasks.spawn(watching);
        Ok(open)
    }

    fn rpc(
        &self,
        listener: TcpListener,
        config: &Config,
        running: &Running,
    ) -> Result<(), Failure> {
        let keys = running.peers.keys();
        let tls = changing_server_config(running.keys.current(), Arc::clone(&keys))
            .map_err(Failure::new)?;
        let peers = PeerService {
            core: running.core.clone(),
            peers: running.peers.clone(),
            stop: self.stop_rpc.clone(),
        };
        let router = server_builder()
            .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION)
            .add_service(grapevine_server(client_service(
                config,
                running,
                Entrance::Rpc,
                self.stop_rpc.clone(),
            )))
            .add_service(peers_server(peers));
        let stop = self.stop_rpc.clone().cancelled_owned();
        self.rpc_tasks.spawn(async move {
            if let Err(error) = grapevine_rpc::serve(listener, tls, keys, router, stop).await {
                tracing::error!(%error, "the rpc door has failed; restart this server");
            }
        });
        Ok(())
    }

    fn api(&self, running: &Running, config: &Config) -> axum::Router {
        let api = Api {
            calls: ClientCalls {
                core: running.core.clone(),
                passwords: running.passwords.clone(),
            },
            stop: self.stop.clone(),
            message_bytes: config.limits.message_bytes,
            turns: self.turns.clone(),
        };
        api.router()
    }

    fn http(
        &self,
        listener: TcpListener,
        router: axum::Router,
        tls: Option<tls::Reloadable>,
        config: &Config,
    ) {
        let limits = HttpLimits {
            connections: config.limits.connections,
            per_client: config.limits.connections_per_address,
        };
        let end = (self.stop.clone(), self.tasks.clone());
        self.tasks
            .spawn(http::serve(listener, router, tls, limits, end));
    }

    fn admin(&self, listener: UnixListener, config: &Config, running: &Running) {
        let service = client_service(config, running, Entrance::AdminSocket, self.stop.clone());
        self.tasks
            .spawn(admin::serve(listener, service, self.stop.clone()));
    }

    fn mail(
        &self,
        listeners: BTreeMap<Door, TcpListener>,
        lmtp: Option<UnixListener>,
        config: &Config,
        running: &Running,
    ) {
        let standard = DoorLimits::default();
        let context = Arc::new(DoorContext {
            core: running.core.clone(),
            hostname: config.hostname.clone(),
            limits: DoorLimits {
                connections: config.limits.connections,
                per_client: config.limits.connections_per_address,
                message_bytes: config.limits.message_bytes.min(standard.message_bytes),
                ..standard
            },
            posix: config.posix.clone(),
            networks: config.relay.networks.clone(),
            tls: Some(self.tls.clone()),
            shutdown: self.stop.clone(),
            tracker: self.tasks.clone(),
        });
        for (door, listener) in listeners {
            self.tasks
                .spawn(run_door(door, listener, Arc::clone(&context)));
        }
        if let Some(socket) = lmtp {
            self.tasks
                .spawn(run_socket(Door::Lmtp, socket, Arc::clone(&context)));
        }
    }

    /// Takes no more connections and lets what is under way end.
    async fn close(self, core: &CoreHandle) {
        end(self.stop, self.tasks).await;
        // Nothing new comes by a door any more: the deputies go on with what waits here, while there is
        // still a way to tell them.
        core.input(Input::Leaving).await;
        tokio::time::sleep(LEAVING).await;
        end(self.stop_rpc, self.rpc_tasks).await;
    }
}

async fn end(stop: CancellationToken, tasks: TaskTracker) {
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(DRAIN_LIMIT, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            left = tasks.len(),
            "some connections did not end in time; they are cut"
        );
    }
}

fn client_service(
    config: &Config,
    running: &Running,
    entrance: Entrance,
    stop: CancellationToken,
) -> ClientService {
    ClientService {
        core: running.core.clone(),
        calls: ClientCalls {
            core: running.core.clone(),
            passwords: running.passwords.clone(),
        },
        peers: running.peers.clone(),
        entrance,
        message_bytes: config.limits.message_bytes,
        stop,
        recent: RecentListings::default(),
        recent_views: RecentViews::default(),
    }
}

/// What the process is told from outside.
struct Told {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    stdin_ended: CancellationToken,
}

enum Order {
    Reload,
    Stop(&'static str),
}

impl Told {
    fn new(until_stdin_ends: bool) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            stdin_ended: if until_stdin_ends {
                stdin_end()?
            } else {
                CancellationToken::new()
            },
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Order::Stop("SIGINT"),
            () = self.stdin_ended.cancelled() => Order::Stop("whoever started it is gone"),
            _ = self.hang_up.recv() => Order::Reload,
        }
    }
}

/// Is cancelled when stdin ends. A thread of its own waits: a read of a pipe can't be called off.
fn stdin_end() -> std::io::Result<CancellationToken> {
    let ended = CancellationToken::new();
    let told = ended.clone();
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            // Nothing is said there: however it ends, it is the end.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            told.cancel();
        })?;
    Ok(ended)
}

/// Reads the configuration again and brings into force what can be without a new start.
fn reload(old: Config, level: &LogLevel, open: &Open) -> Config {
    let new = match Config::load(&old.file) {
        Ok(new) => new,
        Err(error) => {
            tracing::warn!(%error, "the configuration was not reloaded; the old one stays in force");
            return old;
        }
    };
    if let Err(error) = level.set(&new.log) {
        tracing::warn!(%error, "the log level stays as it was");
    }
    match front_certificate(&old) {
        Ok(certificate) => open.tls.replace(certificate),
        Err(failure) => {
            tracing::warn!(error = failure.why, "the certificate stays as it was");
        }
    }
    // The watcher may have ended: then the server is stopping.
    let _ = open.reserve.send(new.limits.reserve_bytes);
    let waiting = old.needs_restart(&new);
    if !waiting.is_empty() {
        tracing::warn!(
            keys = waiting.join(", "),
            "changed, and in force only after a new start"
        );
    }
    tracing::info!("the configuration was reloaded");
    let mut kept = old;
    kept.log = new.log;
    kept.limits.reserve_bytes = new.limits.reserve_bytes;
    kept
}

fn front_certificate(config: &Config) -> Result<tls::Front, Failure> {
    let (chain, key) = match &config.tls {
        Some(files) => (files.certificate.clone(), files.key.clone()),
        None => {
            let names = std::slice::from_ref(&config.hostname);
            let made = tls::self_made(&config.data, &config.data, names).map_err(Failure::new)?;
            (made.chain, made.key)
        }
    };
    tls::load(&chain, &key).map_err(Failure::new)
}

async fn bind(config: &Config) -> Result<BTreeMap<Door, TcpListener>, Failure> {
    let mut listeners = BTreeMap::new();
    for (door, at) in &config.listen {
        if at.starts_with(SOCKET) {
            continue;
        }
        let listener = TcpListener::bind(at).await.map_err(|error| {
            Failure::new(format_args!(
                "the door {name} can't be opened at {at}: {error}; change listen.{name} in {file}, or close it with \"off\"",
                name = door.as_str(),
                file = config.file.display(),
            ))
        })?;
        listeners.insert(*door, listener);
    }
    Ok(listeners)
}

/// The LMTP door on a socket of this machine, if it is one.
fn lmtp_socket(config: &Config) -> Result<Option<UnixListener>, Failure> {
    let Some(path) = (config.listen.get(&Door::Lmtp)).and_then(|at| at.strip_prefix(SOCKET)) else {
        return Ok(None);
    };
    let listening = socket::listen(Path::new(path), LMTP_MODE);
    let listener = listening.map_err(|error| {
        Failure::new(format_args!(
            "the door lmtp can't be opened at {path}: {error}; change listen.lmtp in {}",
            config.file.display()
        ))
    })?;
    Ok(Some(listener))
}

/// Puts a certificate in force that was renewed, by this server or by somebody else.
async fn keep_certificate(
    mut front: FrontCertificate,
    tls: tls::Reloadable,
    stop: CancellationToken,
) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_PERIOD) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let found = front.look(SystemTime::now());
            (front, found)
        });
        let Ok((back, found)) = looked.await else {
            return;
        };
        front = back;
        match found {
            Ok(Some(front)) => tls.replace(front),
            Ok(None) => {}
            // Once: it may last.
            Err(error) if !failing => {
                tracing::warn!(%error, "the certificate stays as it was");
                failing = true;
                continue;
            }
            Err(_) => continue,
        }
        failing = false;
    }
}

async fn tidy_metrics(prometheus: PrometheusHandle, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(METRICS_PERIOD) => prometheus.run_upkeep(),
        }
    }
}
