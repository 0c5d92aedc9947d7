//! `grapevine agent`: GrapevineUser for the mail programs of one workstation.
//!
//! SMTP, IMAP and POP3 on the loopback address, with the same sessions that the servers have; what they ask is asked of whichever server
//! answers, nearest first. Must never listen where another machine can connect, nor let in anybody without a password that a server has
//! taken: every person of this machine can connect here.

mod account;
mod backend;
mod control;
mod reading;
mod refused;
mod sender;
mod setup;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grapevine_model::{Door, Name};
use grapevine_user::{GrapevineUser, OutboxLimits, Patience, make_private};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::account::{Account, account_dir, known_names};
use self::backend::Servers;
pub(crate) use self::control::{AGENT_SOCKET, ControlAsk, ask as ask_agent};
pub(crate) use self::setup::{MailDoor, Ports, autoconfig, escaped, told};
use crate::cli::AgentPlan;
use crate::doors::{DoorContext, DoorLimits, run_local_door};
use crate::logs::{self, LogFormat};
use crate::out::{Failure, say};

/// What a mail program is told that it talks to: it is on the same machine, whatever that is called.
const HOSTNAME: &str = "localhost";
/// Names that are known at a time: people of this workstation. Of more, those who have not logged in are forgotten.
const ACCOUNTS_MAX: usize = 64;
/// What is under way when the agent stops may go on for so long.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How the agent runs.
#[derive(Debug, Clone)]
pub(crate) struct AgentConfig {
    /// Where it listens: a loopback address.
    pub(crate) listen: IpAddr,
    /// Its doors.
    pub(crate) ports: Ports,
    /// Its folder.
    pub(crate) state: PathBuf,
    /// What the outbox holds.
    pub(crate) outbox: OutboxLimits,
    /// What is logged.
    pub(crate) log: String,
    /// Whether the ready line is JSON.
    pub(crate) json: bool,
}

/// What all of the agent shares.
pub(crate) struct Agent {
    /// The servers; speaks for nobody.
    user: GrapevineUser,
    state: PathBuf,
    limits: OutboxLimits,
    accounts: Mutex<BTreeMap<String, Arc<Account>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Agent {
    /// The account of a name; one that has never logged in leaves nothing on the disk.
    fn account(self: &Arc<Self>, name: &Name) -> io::Result<Arc<Account>> {
        let key = name.to_string().to_lowercase();
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(&key) {
            return Ok(Arc::clone(account));
        }
        if accounts.len() >= ACCOUNTS_MAX {
            accounts.retain(|_, one| one.login().is_some() || Arc::strong_count(one) > 2);
        }
        let dir = account_dir(&self.state, name);
        let account = Arc::new(Account::at(&dir, name, self.limits)?);
        accounts.insert(key, Arc::clone(&account));
        self.tasks
            .spawn(sender::run(Arc::clone(self), Arc::downgrade(&account)));
        Ok(account)
    }

    /// All accounts that are known now.
    fn accounts(&self) -> Vec<Arc<Account>> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.values().cloned().collect()
    }
}

/// Runs the agent until it is told to stop.
pub(crate) async fn run(plan: AgentPlan, config: AgentConfig) -> Result<(), Failure> {
    if !config.listen.is_loopback() {
        return Err(Failure::usage(format_args!(
            "--listen {}: the agent listens on this machine only (127.0.0.1 or ::1), because passwords are not encrypted on the way to it; other machines connect to the servers themselves, with TLS",
            config.listen
        )));
    }
    logs::start(&config.log, LogFormat::Text).map_err(Failure::new)?;
    make_private(&config.state).map_err(|error| in_folder(&config.state, &error))?;
    let _lock = lock(&config.state)?;
    let user = GrapevineUser::connect_or_recall(plan.seeds, None, Patience::default())
        .await
        .map_err(crate::cli::not_connected)?;
    crate::cli::tell(&user);
    let agent = Arc::new(Agent {
        user,
        state: config.state.clone(),
        limits: config.outbox,
        accounts: Mutex::default(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    });
    let opened = open_doors(&agent, &config).await?;
    control::open(&agent).map_err(|error| in_folder(&config.state, &error))?;
    // What lies there from before is sent as soon as somebody logs in; a saved login is somebody.
    for name in known_names(&config.state) {
        let account = agent.account(&name);
        account.map_err(|error| in_folder(&config.state, &error))?;
    }
    agent
        .tasks
        .spawn(sender::use_saved_login(Arc::clone(&agent)));
    ready(&config, &opened)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::new)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::new)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    agent.stop.cancel();
    agent.tasks.close();
    // Nothing is lost with what does not end in time: what had its yes is on disk, or at a server.
    let _ = tokio::time::timeout(END_LIMIT, agent.tasks.wait()).await;
    let _ = std::fs::remove_file(config.state.join(AGENT_SOCKET));
    Ok(())
}

fn lock(state: &Path) -> Result<std::fs::File, Failure> {
    let file =
        std::fs::File::create(state.join("lock")).map_err(|error| in_folder(state, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Failure::new(format_args!(
            "{}: another agent runs with this folder; one is enough",
            state.display()
        ))),
    }
}

async fn open_doors(agent: &Arc<Agent>, config: &AgentConfig) -> Result<Ports, Failure> {
    let context = Arc::new(DoorContext {
        core: Servers::new(Arc::clone(agent)),
        hostname: HOSTNAME.to_owned(),
        limits: DoorLimits::default(),
        posix: grapevine_doors::ldap::Posix::default(),
        networks: Vec::new(),
        tls: None,
        shutdown: agent.stop.clone(),
        tracker: agent.tasks.clone(),
    });
    let mut opened = config.ports;
    for (door, port, flag) in [
        (Door::Submission, &mut opened.smtp, "--smtp-port"),
        (Door::Imap, &mut opened.imap, "--imap-port"),
        (Door::Pop3, &mut opened.pop3, "--pop3-port"),
    ] {
        let address = SocketAddr::new(config.listen, *port);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::new(format_args!(
                "{address} can't be opened: {error}; choose another port with {flag}"
            ))
        })?;
        *port = listener.local_addr().map_err(Failure::new)?.port();
        agent
            .tasks
            .spawn(run_local_door(door, listener, Arc::clone(&context)));
    }
    Ok(opened)
}

fn ready(config: &AgentConfig, ports: &Ports) -> Result<(), Failure> {
    let at = |port: u16| SocketAddr::new(config.listen, port).to_string();
    let doors = json!({
        "smtp": at(ports.smtp),
        "imap": at(ports.imap),
        "pop3": at(ports.pop3),
        "state": config.state,
    });
    let text = serde_json::to_vec_pretty(&doors).map_err(Failure::new)?;
    grapevine_user::write_private(&config.state.join(setup::DOORS_FILE), &text)
        .map_err(|error| in_folder(&config.state, &error))?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    match config.json {
        true => say(doors),
        false => say(format_args!(
            "mail programs of this machine: SMTP {}, IMAP {}, POP3 {}; `grapevine agent setup` says what to type into them",
            at(ports.smtp),
            at(ports.imap),
            at(ports.pop3)
        )),
    }
    Ok(())
}

fn in_folder(state: &Path, error: &io::Error) -> Failure {
    Failure::new(format_args!("{}: {error}", state.display()))
}
