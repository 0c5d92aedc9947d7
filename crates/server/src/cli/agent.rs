//! `grapevine agent`: mail programs of this machine, with the servers behind them; its outbox; what to type into the programs.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use grapevine_model::{MessageId, Name};
use grapevine_user::{OutboxLimits, OutgoingState, Seeds};
use serde_json::json;

use super::Globals;
use super::output::{Table, count, print_json, printable, size, span};
use super::session::{ConfigFolder, agent_seeds};
use crate::agent::{self, AgentConfig, ControlAsk, Ports, ask_agent};
use crate::clock::wall_ms;
use crate::out::{Exit, Failure, say};

/// The agent's folder, in the person's configuration folder.
const STATE: &str = "agent";

/// Where the agent finds the servers.
pub(crate) struct AgentPlan {
    /// Where to begin.
    pub(crate) seeds: Seeds,
}

/// Run the agent, or ask it.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    command: Option<AgentCommand>,
    /// Where to listen: this machine only.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// The port for sending (SMTP) [default: 2525].
    #[arg(long, value_name = "PORT")]
    smtp_port: Option<u16>,
    /// The port for reading with folders (IMAP) [default: 2143].
    #[arg(long, value_name = "PORT")]
    imap_port: Option<u16>,
    /// The port for reading one folder (POP3) [default: 2110].
    #[arg(long, value_name = "PORT")]
    pop3_port: Option<u16>,
    /// Three ports in a row: SMTP, IMAP, POP3; 0 for any that are free.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["smtp_port", "imap_port", "pop3_port"])]
    base_port: Option<u16>,
    /// The most messages that the outbox holds.
    #[arg(long, value_name = "N", default_value_t = OutboxLimits::default().messages)]
    outbox_messages: usize,
    /// The most octets that they have together.
    #[arg(long, value_name = "OCTETS", default_value_t = OutboxLimits::default().bytes)]
    outbox_bytes: u64,
    /// What is logged: error, warn, info or debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: String,
    #[command(flatten)]
    folder: Folder,
}

/// Which agent.
#[derive(Debug, clap::Args)]
struct Folder {
    /// The agent's folder [default: agent, in the folder of your configuration].
    #[arg(long, value_name = "DIR", env = "GRAPEVINE_AGENT")]
    state: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum AgentCommand {
    /// Say what to type into a mail program.
    Setup(SetupArgs),
    /// What waits until a server can be reached, and what the servers have refused.
    Outbox(OutboxArgs),
    /// Names that the agent knows: those that mail went to, and your registry's when it was read last.
    Names(NamesArgs),
}

#[derive(Debug, clap::Args)]
struct SetupArgs {
    /// Write a file that mail programs read it from (config-v1.1.xml).
    #[arg(long, value_name = "FILE")]
    autoconfig: Option<PathBuf>,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Debug, clap::Args)]
struct OutboxArgs {
    #[command(subcommand)]
    command: Option<OutboxCommand>,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Debug, clap::Subcommand)]
enum OutboxCommand {
    /// List them.
    List,
    /// Try a message again, or all.
    Retry {
        /// Which.
        message: Option<MessageId>,
    },
    /// Throw a message away: nobody gets it.
    Drop {
        /// Which.
        message: MessageId,
    },
}

#[derive(Debug, clap::Args)]
struct NamesArgs {
    /// How the name begins.
    #[arg(default_value = "")]
    text: String,
    #[command(flatten)]
    folder: Folder,
}

impl Folder {
    fn path(&self) -> Result<PathBuf, Failure> {
        let default = || ConfigFolder::of_person().file(STATE);
        self.state.clone().or_else(default).ok_or_else(|| {
            Failure::usage("there is no folder for the agent: set HOME, or give --state DIR")
        })
    }
}

/// Carries it out.
pub(super) async fn run(args: AgentArgs, globals: &Globals) -> Result<(), Failure> {
    match args.command {
        None => serve(args, globals).await,
        Some(AgentCommand::Setup(args)) => setup(&args, globals),
        Some(AgentCommand::Outbox(args)) => outbox(args, globals).await,
        Some(AgentCommand::Names(args)) => names(&args, globals).await,
    }
}

async fn serve(args: AgentArgs, globals: &Globals) -> Result<(), Failure> {
    let state = args.folder.path()?;
    let seeds = agent_seeds(globals, &state)?;
    let usual = args.base_port.map_or(Ports::USUAL, Ports::from_base);
    let config = AgentConfig {
        listen: args.listen,
        ports: Ports {
            smtp: args.smtp_port.unwrap_or(usual.smtp),
            imap: args.imap_port.unwrap_or(usual.imap),
            pop3: args.pop3_port.unwrap_or(usual.pop3),
        },
        state,
        outbox: OutboxLimits {
            messages: args.outbox_messages,
            bytes: args.outbox_bytes,
        },
        log: args.log,
        json: globals.json,
    };
    agent::run(AgentPlan { seeds }, config).await
}

fn setup(args: &SetupArgs, globals: &Globals) -> Result<(), Failure> {
    let state = args.folder.path()?;
    let saved = super::session::saved_login().map(|saved| saved.name);
    let name: Name = globals.speaker.clone().or(saved).ok_or_else(|| {
        Failure::usage("for whom? give --as NAME, or log in once with `grapevine login NAME`")
    })?;
    let (listen, ports) =
        Ports::of_running(&state).unwrap_or((IpAddr::V4(Ipv4Addr::LOCALHOST), Ports::USUAL));
    if let Some(file) = &args.autoconfig {
        let text = agent::autoconfig(&name, listen, ports);
        std::fs::write(file, text)
            .map_err(|error| Failure::new(format_args!("{}: {error}", file.display())))?;
    }
    if globals.json {
        print_json(&agent::told(&name, listen, ports));
        return Ok(());
    }
    say(format_args!(
        "In the mail program, as an account for {name}:"
    ));
    for (what, port) in [
        ("reading (IMAP)", ports.imap),
        ("sending (SMTP)", ports.smtp),
        ("or, for one folder only, reading by POP3", ports.pop3),
    ] {
        say(format_args!("  {what}: server {listen}, port {port}"));
    }
    say(
        "  security: none (what is said does not leave this machine; the agent speaks TLS to the servers)",
    );
    say(format_args!("  user name: {name}"));
    say(
        "  password: your own, or better one for this program: `grapevine individual app-password`",
    );
    if let Some(file) = &args.autoconfig {
        say(format_args!(
            "written for programs that can read it: {}",
            file.display()
        ));
    }
    if Ports::of_running(&state).is_none() {
        say("The agent has not run yet: start `grapevine agent`.");
    }
    Ok(())
}

async fn outbox(args: OutboxArgs, globals: &Globals) -> Result<(), Failure> {
    let state = args.folder.path()?;
    let (request, which) = match args.command {
        None | Some(OutboxCommand::List) => (ControlAsk::Outbox, None),
        Some(OutboxCommand::Retry { message }) => (ControlAsk::Retry(message), message),
        Some(OutboxCommand::Drop { message }) => (ControlAsk::Drop(message), Some(message)),
    };
    let answer = ask_agent(&state, &request).await?;
    match &request {
        ControlAsk::Outbox | ControlAsk::Names(_) => {}
        ControlAsk::Retry(_) | ControlAsk::Drop(_) => {
            if let (Some(which), 0) = (which, answer.changed) {
                return Err(Failure {
                    exit: Exit::NoSuchName,
                    why: format!("no message {which} is in the outbox"),
                });
            }
            match globals.json {
                true => print_json(&json!({"changed": answer.changed})),
                false => say(count(answer.changed as u64, "message", "messages")),
            }
            return Ok(());
        }
    }
    if globals.json {
        print_json(&json!({"messages": answer.messages, "locked": answer.locked}));
        return Ok(());
    }
    let mut table = Table::new(&["message", "since", "size", "for", "state"]);
    let now_ms = wall_ms();
    for one in &answer.messages {
        let first = one.envelope.recipients.first();
        let first = first.map(|one| one.name.to_string()).unwrap_or_default();
        let more = one.envelope.recipients.len().saturating_sub(1);
        table.row([
            one.id.to_string(),
            span(now_ms.saturating_sub(one.kept_ms)),
            size(one.body.len),
            match more {
                0 => first,
                more => format!("{first} and {more} more"),
            },
            match &one.state {
                OutgoingState::Waiting { why: None } => "waits".to_owned(),
                OutgoingState::Waiting { why: Some(why) } => format!("waits: {}", printable(why)),
                OutgoingState::Refused { why, .. } => format!("refused: {}", printable(why)),
            },
        ]);
    }
    match answer.messages.is_empty() {
        true => say("nothing is in the outbox"),
        false => table.print(),
    }
    if answer.locked > 0 {
        say(
            "More may lie there that no login has opened since the agent started: log in from a mail program, or with `grapevine login`.",
        );
    }
    Ok(())
}

async fn names(args: &NamesArgs, globals: &Globals) -> Result<(), Failure> {
    let ask = ControlAsk::Names(args.text.clone());
    let answer = ask_agent(&args.folder.path()?, &ask).await?;
    if globals.json {
        print_json(&json!({"names": answer.names}));
        return Ok(());
    }
    let mut table = Table::new(&["name", "kind", "remark", "used", "as of"]);
    let now_ms = wall_ms();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    for one in &answer.names {
        let as_of = one["as_of_ms"].as_u64();
        table.row([
            text(&one["name"]),
            text(&one["kind"]),
            text(&one["remark"]),
            one["times"].as_u64().unwrap_or_default().to_string(),
            match as_of {
                Some(as_of) => format!("{} ago", span(now_ms.saturating_sub(as_of))),
                None => "never read".to_owned(),
            },
        ]);
    }
    match answer.names.is_empty() {
        true => say("no such name is known on this machine"),
        false => table.print(),
    }
    Ok(())
}
