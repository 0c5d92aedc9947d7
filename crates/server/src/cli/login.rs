//! `grapevine login`: who you are and where the servers are, for all later commands.
//!
//! The password is given once, for a ticket, and is not kept: the ticket is, in a file
//! that only its owner can read. Later commands renew it while it lives. With `--pin` the first server must prove the key with that fingerprint;
//! without it an unknown server's key is taken on trust and told.

use grapevine_model::{Name, Reply, Request, Source};
use grapevine_user::{Fingerprint, GrapevineUser, Login};
use serde_json::json;

use super::Globals;
use super::cluster_file::{CLUSTER_FILE, ClusterFile, DEFAULT_FOLDER};
use super::output::print_json;
use super::session::{ConfigFolder, SavedLogin, not_connected, odd, seeds, tell};
use crate::ask;
use crate::clock::wall_ms;
use crate::out::{Failure, say};

/// Who.
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    /// Your name; asked for if it is not given here or with --as.
    name: Option<Name>,
    /// The fingerprint of the key of the server given with --server.
    #[arg(long, value_name = "FINGERPRINT")]
    pin: Option<Fingerprint>,
    /// Forget the login that is saved.
    #[arg(long, conflicts_with_all = ["name", "pin"])]
    forget: bool,
}

/// Logs in.
pub(super) async fn run(args: LoginArgs, globals: &Globals) -> Result<(), Failure> {
    let folder = ConfigFolder::of_person();
    let file = folder.login_file().ok_or_else(|| {
        Failure::usage("there is no folder to remember it in: set HOME or GRAPEVINE_CONFIG")
    })?;
    if args.forget {
        return match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::new(format_args!("{}: {error}", file.display())))
            }
            Ok(()) | Err(_) => Ok(()),
        };
    }
    let name = args
        .name
        .or_else(|| globals.speaker.clone())
        .ok_or_else(|| Failure::usage("as whom? give your name"))?;
    let password = match &globals.password_file {
        Some(file) => ask::password_file(file)?,
        None if ask::can_ask() => grapevine_model::Secret(
            rpassword::prompt_password(format!("Password of {name}: ")).map_err(Failure::new)?,
        ),
        None => {
            return Err(Failure::usage(format_args!(
                "no password for {name}: give --password-file FILE"
            )));
        }
    };
    let (servers, pin) = where_to_begin(globals, args.pin)?;
    let user = GrapevineUser::connect(seeds(&servers, pin, &folder), None)
        .await
        .map_err(not_connected)?;
    tell(&user);
    let request = Request::Authenticate {
        name: name.clone(),
        password: password.clone(),
        source: Source::Unknown,
    };
    let Reply::Authenticated(known) = user.call(request).await? else {
        return Err(odd());
    };
    let login = Login {
        name: known.name,
        password,
    };
    let addresses: Vec<String> = user
        .servers()
        .into_iter()
        .map(|server| server.address)
        .collect();
    // The same servers, now with somebody who speaks.
    let speaking = GrapevineUser::connect(seeds(&servers, pin, &folder), Some(login.clone()))
        .await
        .map_err(not_connected)?;
    let Reply::Ticket { ticket, expires_ms } = speaking
        .call(Request::TicketCreate { life_ms: None })
        .await?
    else {
        return Err(odd());
    };
    let saved = SavedLogin {
        name: login.name.clone(),
        ticket,
        saved_ms: wall_ms(),
        expires_ms,
        servers: if servers.is_empty() {
            addresses
        } else {
            servers
        },
    };
    saved.write(&file)?;
    let known = user.servers().len();
    if globals.json {
        print_json(&json!({
            "name": login.name,
            "servers": known,
            "expires_ms": expires_ms,
        }));
    } else {
        say(format_args!(
            "logged in as {}; {known} servers are known",
            login.name
        ));
    }
    Ok(())
}

/// The servers given, or those of `grapevine up` here.
fn where_to_begin(
    globals: &Globals,
    pin: Option<Fingerprint>,
) -> Result<(Vec<String>, Option<Fingerprint>), Failure> {
    if !globals.servers.is_empty() {
        return match (&pin, globals.servers.len()) {
            (Some(_), 2..) => Err(Failure::usage(
                "a pin belongs to one server: give one --server with it",
            )),
            _ => Ok((globals.servers.clone(), pin)),
        };
    }
    if pin.is_some() {
        return Err(Failure::usage(
            "a pin belongs to a server: give --server with it",
        ));
    }
    let dir = globals.dir.clone().unwrap_or_else(|| DEFAULT_FOLDER.into());
    let path = dir.join(CLUSTER_FILE);
    if !path.exists() {
        return Ok((Vec::new(), None));
    }
    let cluster = ClusterFile::read(&path)
        .map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))?;
    // One of them, pinned by what the file says of its key.
    let first = cluster.servers.iter().find_map(|server| {
        let address = server.doors.get(&grapevine_model::Door::Rpc)?.clone();
        let key = grapevine_user::ServerKey::new(server.public_key.clone());
        Some((vec![address], Some(key.fingerprint())))
    });
    Ok(first.unwrap_or_default())
}
