//! The client's commands: everything that `grapevine` does through a server's RPC door.
//!
//! Each command is GrapevineUser at work: any server may answer, and one that dies
//! is not noticed. Results go to stdout (with `--json`, as one JSON value), notes
//! and complaints to stderr. The exit code says what to do next: 0 done, 1 failed,
//! 2 usage, 3 not allowed, 4 no such name, 5 unavailable now.

mod agent;
mod app_password;
mod bulk;
pub(crate) mod cluster_file;
mod compare;
mod compose;
mod export;
mod group;
pub(crate) mod import;
mod individual;
mod login;
pub(crate) mod mailbox;
pub(crate) mod names;
pub(crate) mod output;
mod pam;
pub(crate) mod progress;
pub(crate) mod queue;
pub(crate) mod registry;
mod replay;
mod send;
pub(crate) mod service;
mod service_keep;
mod service_watch;
mod session;
mod sieve;
pub(crate) mod status;
mod tokens;
mod trace;
mod unplug;
pub(crate) mod view;
pub(crate) mod watch;

pub(crate) use agent::AgentPlan;
pub(crate) use session::{SavedLogin, not_connected, renew_saved_login, saved_login, tell};

use std::path::PathBuf;
use std::process::ExitCode;

use grapevine_model::Name;

use crate::out::{self, Failure};

/// Who speaks, and to whom.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Globals {
    /// Who speaks: an individual's name.
    #[arg(
        id = "speaker",
        long = "as",
        value_name = "NAME",
        global = true,
        env = "GRAPEVINE_AS",
        help_heading = "Who and where"
    )]
    pub(crate) speaker: Option<Name>,
    /// The speaker's password: the first line of a file.
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        env = "GRAPEVINE_PASSWORD_FILE",
        help_heading = "Who and where"
    )]
    pub(crate) password_file: Option<PathBuf>,
    /// A server to begin with; one suffices, and it may be given more than once.
    #[arg(
        id = "seed",
        long = "server",
        value_name = "HOST:PORT",
        global = true,
        env = "GRAPEVINE_SERVERS",
        value_delimiter = ',',
        help_heading = "Who and where"
    )]
    pub(crate) servers: Vec<String>,
    /// The folder of `grapevine up`, with its cluster.json.
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        help_heading = "Who and where"
    )]
    pub(crate) dir: Option<PathBuf>,
    /// Speak as the operator of the server whose data folder this is.
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        help_heading = "Who and where"
    )]
    pub(crate) operator: Option<PathBuf>,
    /// Answer with this change or newer: a token that a change printed with --json, or `none` for
    /// whatever the server has. What was done from here before counts by itself.
    #[arg(
        long,
        value_name = "TOKEN",
        global = true,
        help_heading = "Who and where"
    )]
    pub(crate) after: Vec<tokens::After>,
    /// Print JSON.
    #[arg(long, global = true, help_heading = "Who and where")]
    pub(crate) json: bool,
}

/// The client's commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Registries: the units that administer themselves.
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    /// Individuals: people and programs.
    #[command(subcommand)]
    Individual(individual::IndividualCommand),
    /// Groups: lists that get mail, open doors and name services.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Services: register live instances, find the nearest, watch them.
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Send a message; its text, or all of it, comes on stdin.
    Send(send::SendArgs),
    /// List the messages in an inbox.
    Inbox(mailbox::InboxArgs),
    /// Read a message.
    Read(mailbox::ReadArgs),
    /// Bring old mail in; doing it again doubles nothing.
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Take mail out: a mailbox with its folders, flags and dates; again adds what is new.
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// Your mail filters: put, list, activate them; see docs/sieve.md.
    #[command(subcommand)]
    Sieve(sieve::SieveCommand),
    /// Ask all servers at once how they are.
    Status(status::StatusArgs),
    /// Compare registries with their other copies, cell by cell, and mend what differs.
    Compare(compare::CompareArgs),
    /// Where a message is, how many copies there are, and why it waits.
    Trace(trace::TraceArgs),
    /// Mail that waits at any server: list, retry, hold, release, give up; and dead letters.
    Queue(queue::QueueArgs),
    /// Deliver once more what was delivered: from the copies that are kept for some days.
    Replay(replay::ReplayArgs),
    /// Is it safe to unplug a server? What would be lost, and what would wait.
    Unplug(unplug::UnplugArgs),
    /// Let people in by Grapevine's passwords and groups: for PAM's pam_exec.
    Pam(pam::PamArgs),
    /// Remember who you are, and the servers.
    Login(login::LoginArgs),
    /// For the mail programs of this machine: SMTP, IMAP and POP3, whichever server is alive; mail waits here while none is.
    Agent(Box<agent::AgentArgs>),
}

/// Carries a command out.
pub(crate) async fn run(command: Command, globals: &Globals) -> ExitCode {
    match carry_out(command, globals).await {
        Ok(Done::Yes) => ExitCode::SUCCESS,
        Ok(Done::AnsweredNo) => ExitCode::FAILURE,
        Err(failure) => out::finish(Err(failure)),
    }
}

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Well.
    Yes,
    /// It was a question, and the answer is no.
    AnsweredNo,
}

async fn carry_out(command: Command, globals: &Globals) -> Result<Done, Failure> {
    match command {
        Command::Registry(command) => registry::run(command, globals).await?,
        Command::Individual(command) => individual::run(command, globals).await?,
        Command::Group(command) => return group::run(command, globals).await,
        Command::Service(command) => return service::run(command, globals).await,
        Command::Send(args) => send::run(args, globals).await?,
        Command::Inbox(args) => mailbox::inbox(args, globals).await?,
        Command::Read(args) => mailbox::read(args, globals).await?,
        Command::Import(command) => import::run(command, globals).await?,
        Command::Export(command) => export::run(command, globals).await?,
        Command::Sieve(command) => sieve::run(command, globals).await?,
        Command::Status(args) => status::run(args, globals).await?,
        Command::Compare(args) => compare::run(args, globals).await?,
        Command::Trace(args) => trace::run(args, globals).await?,
        Command::Queue(args) => queue::run(args, globals).await?,
        Command::Replay(args) => replay::run(args, globals).await?,
        Command::Unplug(args) => {
            return Ok(match unplug::run(args, globals).await? {
                true => Done::Yes,
                false => Done::AnsweredNo,
            });
        }
        Command::Pam(args) => return pam::run(args, globals).await,
        Command::Login(args) => login::run(args, globals).await?,
        Command::Agent(args) => agent::run(*args, globals).await?,
    }
    Ok(Done::Yes)
}
