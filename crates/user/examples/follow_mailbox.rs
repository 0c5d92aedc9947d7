//! Shows what is in INBOX and goes on showing what comes, at whichever server is alive.
//!
//! ```text
//! cargo run -p grapevine-user --example follow_mailbox -- 127.0.0.1:7101 birrell@pa.example PASSWORD-FILE
//! ```
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use std::error::Error;

use grapevine_model::{FolderId, MailPlace, MailboxAnswer, MailboxAsk, Name, Secret};
use grapevine_user::{FirstContact, GrapevineUser, ListFields, Login, Seed, Seeds};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("say {what}"));
    let (server, name) = (next("a server")?, next("who you are")?.parse::<Name>()?);
    let password = std::fs::read_to_string(next("where your password is")?)?;
    let seeds = Seeds {
        servers: vec![Seed {
            address: server,
            pin: None,
        }],
        state_file: None,
        first_contact: FirstContact::Trust,
    };
    let login = Login {
        name: name.clone(),
        password: Secret(password.trim().to_owned()),
    };
    let user = GrapevineUser::connect(seeds, Some(login)).await?;
    // Listen first, look then: so nothing comes between.
    let mut news = user.mailbox_news();
    let (mut since, mut shown) = (None, 0);
    loop {
        let mut after = 0;
        let mut mark = None;
        loop {
            let ask = MailboxAsk::View {
                folder: FolderId::INBOX,
                since,
                after,
            };
            let reply = user.mailbox(&name, ask).await?;
            let MailboxAnswer::View(view) = reply.answer else {
                return Err("the server's answer is none to a view".into());
            };
            // The mark of the first page counts: what changes meanwhile is told next time.
            mark = mark.or(Some(view.mark));
            for row in view.rows.iter().filter(|row| row.uid > shown) {
                let place = MailPlace {
                    folder: FolderId::INBOX,
                    uid: row.uid,
                };
                let mut text = Vec::new();
                let read = user.read_body_at(
                    &name,
                    row.message,
                    Some(place),
                    ListFields::Written,
                    &mut text,
                );
                read.await?;
                let text = String::from_utf8_lossy(&text);
                let subject = text.lines().find(|line| line.starts_with("Subject:"));
                println!(
                    "{} {} octets: {}",
                    row.uid,
                    row.len,
                    subject.unwrap_or("(no subject)")
                );
            }
            shown = view.rows.last().map_or(shown, |row| shown.max(row.uid));
            match view.next {
                Some(next) => after = next,
                None => break,
            }
        }
        since = mark;
        news.changed().await?;
    }
}
