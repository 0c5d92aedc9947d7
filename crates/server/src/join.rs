//! `grapevine join TOKEN`: makes a server on this machine and has it let into a Grapevine.
//!
//! Must never speak to a server that does not prove a key that the token names.

use std::io::Read;
use std::path::PathBuf;

use grapevine_model::{Refusal, Reply, Request, ServerName, Welcome};
use grapevine_rpc::tls::{KeyExpectation, client_config};
use grapevine_rpc::{Caller, Timeouts, decode_reply, encode_call, grapevine_client};

use crate::folder::{Beginning, CONFIG_FILE};
use crate::init::{PlaceArgs, folder};
use crate::join_token::JoinToken;
use crate::new_server::NewServer;
use crate::out::{Failure, say};
use crate::peer_link::said;

/// A token is read from stdin up to this length.
const STDIN_MAX_BYTES: u64 = 4_096;

/// Make a server on this machine and let it into a Grapevine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `grapevine token` printed on another machine; `-` reads it from stdin.
    #[arg(value_name = "TOKEN")]
    token: String,
    /// The server's name: one word, not yet taken.
    #[arg(long, value_name = "NAME")]
    name: ServerName,
    /// Its data folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    places: PlaceArgs,
}

/// Joins.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let token = read_token(&args.token)?;
    let dir = folder(args.dir, &args.name)?;
    let server = NewServer::prepare(args.name.clone(), &dir, &args.places.places())?;
    join(&token, &server).await?;
    say(format_args!(
        "Server {name} is in {dir}, and let in.\n\
         Run it:    grapevine serve --config {config}",
        name = args.name,
        dir = dir.display(),
        config = dir.join(CONFIG_FILE).display(),
    ));
    Ok(())
}

/// Has a prepared server let in, and makes it begin so.
pub(crate) async fn join(token: &JoinToken, server: &NewServer) -> Result<(), Failure> {
    let welcome = ask_servers(token, server).await?;
    server.begin(&Beginning::Join(welcome))
}

/// Asks the token's servers, one after the other.
async fn ask_servers(token: &JoinToken, server: &NewServer) -> Result<Welcome, Failure> {
    let request = Request::Join {
        digest: token.digest(),
        server: server.info(),
    };
    let mut last = Refusal::unavailable("the token names no server");
    for (address, pin) in &token.servers {
        match ask(address, *pin, &request).await {
            Ok(Reply::Welcome(welcome)) => return Ok(welcome),
            Ok(_) => {
                last = Refusal::unavailable(format!("{address} gave an answer to something else"))
            }
            Err(refusal) if refusal.kind == grapevine_model::ErrorKind::Unavailable => {
                last = Refusal::unavailable(format!("{address}: {refusal}"));
            }
            // Another server would say the same.
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(last.into())
}

async fn ask(address: &str, pin: [u8; 32], request: &Request) -> Result<Reply, Refusal> {
    let unavailable = |error: &dyn std::fmt::Display| Refusal::unavailable(error.to_string());
    let tls =
        client_config(None, KeyExpectation::Pinned(pin)).map_err(|error| unavailable(&error))?;
    let channel = grapevine_rpc::connect(address, tls, Timeouts::default())
        .map_err(|error| unavailable(&error))?;
    let reply = grapevine_client(channel)
        .call(encode_call(&Caller::Connection, request))
        .await
        .map_err(|status| unavailable(&said(&status)))?
        .into_inner();
    decode_reply(reply).map_err(|error| unavailable(&error))?
}

fn read_token(given: &str) -> Result<JoinToken, Failure> {
    let mut text = given.to_owned();
    if given == "-" {
        text.clear();
        std::io::stdin()
            .lock()
            .take(STDIN_MAX_BYTES)
            .read_to_string(&mut text)
            .map_err(Failure::new)?;
    }
    text.parse().map_err(Failure::usage)
}
