//! What the operator of a machine asks of the server on it, through its admin socket: `token`,
//! `retire` and `rotate-key`.

use std::path::{Path, PathBuf};

use grapevine_model::{KeyWait, Refusal, Reply, Request, ServerName};

use crate::admin::AdminClient;
use crate::clock::wall_ms;
use crate::folder::DataFolder;
use crate::join_token::JoinToken;
use crate::out::{Failure, complain, say};
use crate::up::DEFAULT_DIR;

/// Let another machine in: prints a token for one new server.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// The data folder of a server on this machine.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How long the token is good for.
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=720))]
    hours: u64,
}

/// Relieve a server of all it has, so that it can leave; or write off one that is lost.
#[derive(Debug, clap::Args)]
pub(crate) struct RetireArgs {
    /// The server that leaves.
    #[arg(value_name = "SERVER")]
    server: ServerName,
    /// The data folder of a server on this machine.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Give a server on this machine a new key. (It does so by itself every limits.key_days.)
#[derive(Debug, clap::Args)]
pub(crate) struct RotateKeyArgs {
    /// Use it as soon as all servers know it, without notice to clients.
    #[arg(long)]
    soon: bool,
    /// Somebody else may have the old key: wait only for the servers that can be reached now, and make
    /// the old key and the tickets signed by it worth nothing.
    #[arg(long, conflicts_with = "soon")]
    stolen: bool,
    /// The data folder of a server on this machine.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Has a server make a new key.
pub(crate) async fn rotate_key(args: RotateKeyArgs) -> Result<(), Failure> {
    let mut admin = AdminClient::new(&data_folder(args.dir)?.admin_socket());
    let (wait, when) = match (args.soon, args.stolen) {
        (_, true) => (
            KeyWait::Nobody,
            "is used as soon as the servers that can be reached know it; the old one then ends",
        ),
        (true, false) => (KeyWait::Servers, "is used as soon as all servers know it"),
        (false, false) => (
            KeyWait::Everybody,
            "is used when all servers know it and clients had time to learn it (limits.key_notice_hours)",
        ),
    };
    admin.call(&Request::RotateKey { wait }).await?;
    say(format_args!("The new key is on record, and {when}."));
    Ok(())
}

/// Prints a token.
pub(crate) async fn token(args: TokenArgs) -> Result<(), Failure> {
    let mut admin = AdminClient::new(&data_folder(args.dir)?.admin_socket());
    let token = make_token(&mut admin, args.hours).await?;
    say(token);
    complain(format_args!(
        "good for {} hours and one server; on the new machine: grapevine join TOKEN --name NAME",
        args.hours
    ));
    Ok(())
}

/// Makes a token and has it recorded.
pub(crate) async fn make_token(admin: &mut AdminClient, hours: u64) -> Result<JoinToken, Failure> {
    let (here, mut servers) = match (
        admin.call(&Request::Status).await?,
        admin.call(&Request::Servers).await?,
    ) {
        (Reply::Status(status), Reply::Servers(servers)) => (status.server, servers),
        _ => return Err(answered_otherwise().into()),
    };
    // The one that surely is up first.
    servers.sort_by_key(|server| server.name != here);
    let token = JoinToken::new(&servers).map_err(Failure::new)?;
    let create = Request::TokenCreate {
        digest: token.digest(),
        expires_ms: wall_ms().saturating_add(hours.saturating_mul(3_600_000)),
    };
    admin.call(&create).await?;
    Ok(token)
}

/// Retires a server.
pub(crate) async fn retire(args: RetireArgs) -> Result<(), Failure> {
    let mut admin = AdminClient::new(&data_folder(args.dir)?.admin_socket());
    let server = args.server.clone();
    admin.call(&Request::Retire { server }).await?;
    say(format_args!(
        "{} is being retired: it takes nothing new, and the others take over what it has. `grapevine status` shows how far it is.",
        args.server
    ));
    Ok(())
}

/// The folder given, or that of a server that runs here.
fn data_folder(given: Option<PathBuf>) -> Result<DataFolder, Failure> {
    if let Some(dir) = given {
        let folder = DataFolder::at(dir);
        folder.record().map_err(Failure::new)?;
        return Ok(folder);
    }
    let mut candidates = vec![PathBuf::from(".")];
    if let Ok(entries) = std::fs::read_dir(DEFAULT_DIR) {
        let mut inside: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        inside.sort();
        candidates.extend(inside);
    }
    candidates
        .into_iter()
        .map(DataFolder::at)
        .find(|folder| folder.record().is_ok() && answers(&folder.admin_socket()))
        .ok_or_else(|| {
            Failure::usage(format_args!(
                "no server runs from this folder or from {DEFAULT_DIR}: give --dir with the data folder of one that does"
            ))
        })
}

/// Whether somebody listens; a killed server leaves its socket behind.
fn answers(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

fn answered_otherwise() -> Refusal {
    Refusal::unavailable("the server gave an answer to something else")
}
