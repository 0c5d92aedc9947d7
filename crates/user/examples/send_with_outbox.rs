//! Sends a message, and keeps it sealed on this disk if no server can be reached: run it again and it goes out, once.
//!
//! ```text
//! cargo run -p grapevine-user --example send_with_outbox -- 127.0.0.1:7101 birrell@pa.example PASSWORD-FILE needham@pa.example
//! ```
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use grapevine_model::{
    Envelope, EnvelopeRecipient, ErrorKind, Name, Refusal, Reply, Request, ReturnContent, Secret,
    Source,
};
use grapevine_user::{
    DataKey, Delivered, FirstContact, GrapevineUser, KeyRing, Login, Outbox, OutboxLimits,
    Patience, Seed, Seeds, SubmitError, make_private, new_message_id,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("say {what}"));
    let (server, name) = (next("a server")?, next("who you are")?.parse::<Name>()?);
    let password = std::fs::read_to_string(next("where your password is")?)?;
    let password = Secret(password.trim().to_owned());
    let to: Name = next("whom it is for")?.parse()?;

    // The folder: which servers there are, what opens the outbox, and the outbox.
    let folder = Path::new("grapevine-example");
    make_private(folder)?;
    let seeds = Seeds {
        servers: vec![Seed {
            address: server,
            pin: None,
        }],
        state_file: Some(folder.join("servers.json")),
        // A program for people shows the fingerprint (`GrapevineUser::notices`).
        first_contact: FirstContact::Trust,
    };
    let login = Login {
        name: name.clone(),
        password: password.clone(),
    };
    // Also when no server answers now, if one has answered before.
    let user = GrapevineUser::connect_or_recall(seeds, Some(login), Patience::default()).await?;

    // What was right when a server was asked last opens the outbox; the first time a server has to be asked.
    let mut ring = KeyRing::read(&folder.join("keys.json"))?;
    let key = match ring.open(&password) {
        Some(opened) => opened.key,
        None => {
            let request = Request::Authenticate {
                name: name.clone(),
                password: password.clone(),
                source: Source::Unknown,
            };
            let Reply::Authenticated(who) = user.call(request).await? else {
                return Err("the server's answer is none to a login".into());
            };
            let key = DataKey::random()?;
            ring.keep(&password, &who, &key)?;
            key
        }
    };
    let outbox = Arc::new(Outbox::open(
        &folder.join("outbox"),
        key,
        OutboxLimits::default(),
    )?);

    // The id comes before the first try, and stays: however often it is handed in, it comes once.
    let id = new_message_id()?;
    let mut body = outbox.stage();
    body.write(
        format!("From: {name}\r\nTo: {to}\r\nSubject: hello\r\n\r\nfrom an example\r\n").as_bytes(),
    )?;
    let body = body.finish()?;
    let envelope = Envelope {
        return_path: Some(name.clone()),
        recipients: vec![EnvelopeRecipient::from(to)],
        content: ReturnContent::Headers,
        envelope_id: None,
    };
    match user.submit(id, &envelope, &body.source()).await {
        Ok(accepted) => println!("{} has it, on {} disks", accepted.server, accepted.copies),
        Err(SubmitError::Refused(refusal)) if is_for_later(&refusal) => {
            outbox.keep(id, &name, &envelope, body)?;
            println!("kept: {refusal}");
        }
        Err(error) => return Err(error.into()),
    }

    // What waited before goes now, if it can.
    loop {
        match outbox.deliver_next(&user, &[]).await? {
            Delivered::Accepted(message) => println!("{message} has gone out"),
            Delivered::Refused(message, why) => println!("{message} is refused: {why}"),
            Delivered::Nothing => return Ok(()),
            Delivered::Unreachable(why) | Delivered::LoginRefused(why) => {
                println!("it waits: {why}");
                return Ok(());
            }
        }
    }
}

/// Whether nobody could be asked, or may have been: the same id makes it safe to hand it in again.
fn is_for_later(refusal: &Refusal) -> bool {
    matches!(
        refusal.kind,
        ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Internal
    )
}
