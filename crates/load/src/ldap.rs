//! LDAP load: some clients log in, then ask one question after another, and say how many were answered.
//!
//! Must never count an answer that is not the expected one: whatever else comes is an error of its kind, by its result code.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connect::{Connector, Stream, Target, Tls};
use crate::figures::{Errors, Figures, Latencies, gathered};
use crate::smtp::password;

/// A server that takes longer is out of order.
const ANSWER: Duration = Duration::from_secs(30);
/// An answer longer than this is none to these questions.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Ask a directory questions over some connections at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// As whom to bind: a distinguished name
    #[arg(long, value_name = "DN")]
    user: String,
    /// A file with the password in its first line
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// Below what to search, and where the people are
    #[arg(long, value_name = "DN")]
    base: String,
    /// What to ask
    #[arg(long, value_enum)]
    question: Question,
    /// The group of a compare
    #[arg(long, value_name = "DN", default_value = "")]
    group: String,
    /// People are called this, with a number from 0 on behind it
    #[arg(long, value_name = "TEXT")]
    people: String,
    /// How many people there are
    #[arg(long, value_name = "N")]
    count: u32,
    /// The first of them that is asked about, of questions that go through them in turn
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u32,
    /// Ends when each has had his turn, of questions that go through them in turn
    #[arg(long)]
    once: bool,
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    clients: u32,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
}

/// What is asked, of a person drawn by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Question {
    /// A search by uid that gives the mail address.
    Search,
    /// Whether the person is a member of the group.
    Compare,
    /// The groups that the person is a member of.
    Groups,
    /// A change of the person's description, each time another one.
    Modify,
    /// The person becomes a member of the group; each is asked for once.
    AddMember,
    /// The person logs in, with the same password as everybody, over a connection that stays.
    Bind,
}

/// Does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<Figures> {
    if args.count == 0 || args.clients == 0 {
        bail!("--count and --clients are 1 or more");
    }
    let secret = password(&args.password_file)?;
    let question = args.question;
    let (base, group, people) = (args.base, args.group, args.people);
    let (clients, first, once) = (args.clients, args.first, args.once);
    let connector = args.target.check()?;
    if connector.tls() == Tls::Starttls {
        bail!("--tls none or implicit");
    }
    // All are logged in before the first question: logins are another measurement.
    let mut logged_in = Vec::new();
    for _ in 0..args.clients {
        logged_in.push(log_in(&connector, &args.user, &secret).await?);
    }
    let begun = Instant::now();
    let until = begun + Duration::from_secs(args.seconds);
    let mut tasks = JoinSet::new();
    for (n, mut client) in (0_u32..).zip(logged_in) {
        let (base, group, people, count) =
            (base.clone(), group.clone(), people.clone(), args.count);
        let secret = secret.clone();
        tasks.spawn(async move {
            let (mut latencies, mut errors) = (Latencies::default(), Errors::default());
            let mut dice = n.wrapping_mul(2_654_435_761).wrapping_add(1);
            let mut turn = 0;
            while Instant::now() < until {
                dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let which = match question {
                    Question::Search | Question::Compare | Question::Groups => (dice >> 8) % count,
                    // Each client has people of its own, so that no change is one that is there.
                    Question::Modify | Question::AddMember | Question::Bind => {
                        let which = first + turn * clients + n;
                        if once && which >= count {
                            break;
                        }
                        which % count
                    }
                };
                turn += 1;
                let person = format!("{people}{which}");
                let request = ask(question, &base, &group, &person, (turn, &secret));
                let asked = Instant::now();
                match client.ask(&request).await {
                    Ok(code) if code == expected(question) => latencies.note(asked.elapsed()),
                    // Not a member is an answer too.
                    Ok(5) if question == Question::Compare => latencies.note(asked.elapsed()),
                    Ok(code) => errors.note(format_args!("result_{code}")),
                    Err(_) => {
                        errors.note("broken");
                        break;
                    }
                }
            }
            (latencies, errors)
        });
    }
    gathered(tasks, begun).await
}

fn expected(question: Question) -> i64 {
    match question {
        Question::Search
        | Question::Groups
        | Question::Modify
        | Question::AddMember
        | Question::Bind => 0,
        Question::Compare => 6,
    }
}

/// A connection that has logged in.
pub(crate) async fn log_in(
    connector: &Connector,
    user: &str,
    password: &str,
) -> anyhow::Result<Client> {
    let mut client = Client {
        stream: connector.connect().await?.into_stream()?,
        read: Vec::new(),
    };
    match client.ask(&bind(user, password)).await? {
        0 => Ok(client),
        code => bail!("the login was answered with result {code}"),
    }
}

fn bind(user: &str, password: &str) -> Vec<u8> {
    let bind = [
        element(0x02, &[3]),
        element(0x04, user.as_bytes()),
        element(0x80, password.as_bytes()),
    ]
    .concat();
    message(&element(0x60, &bind))
}

fn pair(attribute: &str, value: &str) -> Vec<u8> {
    [
        element(0x04, attribute.as_bytes()),
        element(0x04, value.as_bytes()),
    ]
    .concat()
}

/// Adds (0) or replaces (2) a value of an entry.
pub(crate) fn modify(whom: &str, how: u8, attribute: &str, value: &str) -> Vec<u8> {
    let values = element(0x31, &element(0x04, value.as_bytes()));
    let attribute = element(0x04, attribute.as_bytes());
    let change = [
        element(0x0a, &[how]),
        element(0x30, &[attribute, values].concat()),
    ]
    .concat();
    let changes = element(0x30, &element(0x30, &change));
    message(&element(
        0x66,
        &[element(0x04, whom.as_bytes()), changes].concat(),
    ))
}

/// Whether an entry has a value.
pub(crate) fn compare(whom: &str, attribute: &str, value: &str) -> Vec<u8> {
    let assertion = element(0x30, &pair(attribute, value));
    let body = [element(0x04, whom.as_bytes()), assertion].concat();
    message(&element(0x6e, &body))
}

fn ask(
    question: Question,
    base: &str,
    group: &str,
    person: &str,
    (turn, password): (u32, &str),
) -> Vec<u8> {
    let dn = format!("uid={person},{base}");
    let search = |filter: Vec<u8>, wanted: &str| {
        let body = [
            element(0x04, base.as_bytes()),
            element(0x0a, &[2]),
            element(0x0a, &[0]),
            element(0x02, &[0]),
            element(0x02, &[0]),
            element(0x01, &[0]),
            element(0xa3, &filter),
            element(0x30, &element(0x04, wanted.as_bytes())),
        ]
        .concat();
        message(&element(0x63, &body))
    };
    match question {
        Question::Modify => modify(&dn, 2, "description", &format!("turn {turn}")),
        Question::AddMember => modify(group, 0, "member", &dn),
        Question::Search => search(pair("uid", person), "mail"),
        Question::Groups => search(pair("member", &dn), "1.1"),
        Question::Compare => compare(group, "member", &dn),
        Question::Bind => bind(&dn, password),
    }
}

fn message(operation: &[u8]) -> Vec<u8> {
    element(0x30, &[&element(0x02, &[1]), operation].concat())
}

/// One BER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        Ok(_) | Err(_) => {
            bytes.push(0x84);
            bytes.extend(
                u32::try_from(content.len())
                    .unwrap_or(u32::MAX)
                    .to_be_bytes(),
            );
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// Tag, content, and how much the two take; none while it is not whole.
fn read(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (tag, length) = (*bytes.first()?, *bytes.get(1)?);
    let (length, header) = if length < 0x80 {
        (usize::from(length), 2)
    } else {
        let count = usize::from(length & 0x7f);
        let octets = bytes.get(2..2 + count)?;
        let length = octets
            .iter()
            .fold(0_usize, |length, octet| (length << 8) | usize::from(*octet));
        (length, 2 + count)
    };
    let end = header.checked_add(length)?;
    Some((tag, bytes.get(header..end)?, end))
}

pub(crate) struct Client {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

impl Client {
    /// Asks, and reads to the end of the answer: its result code.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<i64> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let mut buffer = [0; 16 * 1024];
        loop {
            while let Some((_, content, taken)) = read(&self.read) {
                let code = result(content)?;
                self.read.drain(..taken);
                if let Some(code) = code {
                    return Ok(code);
                }
            }
            if self.read.len() > ANSWER_BYTES {
                bail!("an answer without end");
            }
            let more = timeout(ANSWER, self.stream.read(&mut buffer))
                .await
                .context("no answer in time")??;
            if more == 0 {
                bail!("the server has closed");
            }
            self.read
                .extend_from_slice(buffer.get(..more).unwrap_or_default());
        }
    }
}

/// The result code of a response; none for an entry or a reference, which others follow.
fn result(content: &[u8]) -> anyhow::Result<Option<i64>> {
    let (_, _, id) = read(content).context("no id")?;
    let (tag, body, _) = read(content.get(id..).unwrap_or_default()).context("no operation")?;
    if matches!(tag, 0x64 | 0x73) {
        return Ok(None);
    }
    let (_, code, _) = read(body).context("no result")?;
    Ok(Some(
        code.iter()
            .fold(0, |code, octet| (code << 8) | i64::from(*octet)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_when_it_is_whole() {
        let done = message(&element(
            0x65,
            &[element(0x0a, &[32]), element(0x04, b""), element(0x04, b"")].concat(),
        ));
        for end in 0..done.len() {
            assert!(read(&done[..end]).is_none());
        }
        let (_, content, taken) = read(&done).unwrap();
        assert_eq!(taken, done.len());
        assert_eq!(result(content).unwrap(), Some(32));
        let entry = message(&element(0x64, b"anything"));
        assert_eq!(result(read(&entry).unwrap().1).unwrap(), None);
    }
}
