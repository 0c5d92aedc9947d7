//! HTTP load: some clients make one kind of request over connections that stay open, and say how many were answered.
//!
//! Must never count an answer that is not a success: whatever else comes is an error of its kind, by its status.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connect::{Connector, Stream, Target, Tls};
use crate::figures::{Errors, Figures, Latencies, gathered};
use crate::smtp::password;

/// A server that takes longer is out of order.
const ANSWER: Duration = Duration::from_secs(30);
/// An answer longer than this is none to these requests.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Make one kind of request over some connections at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// As whom
    #[arg(long, value_name = "NAME")]
    user: String,
    /// A file with the password in its first line
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// What to do
    #[arg(long, default_value = "GET")]
    method: String,
    /// To what; `{n}` becomes a number that no other request of the run has, modulo --count, `{turn}` one that rises
    #[arg(long)]
    path: String,
    /// The JSON that goes along, with the same places
    #[arg(long)]
    body: Option<String>,
    /// How many `{n}` there are
    #[arg(long, value_name = "N", default_value_t = u32::MAX)]
    count: u32,
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    clients: u32,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
}

/// Does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<Figures> {
    if args.count == 0 || args.clients == 0 {
        bail!("--count and --clients are 1 or more");
    }
    let secret = password(&args.password_file)?;
    let basic = STANDARD.encode(format!("{}:{secret}", args.user));
    let connector = args.target.check()?;
    if connector.tls() == Tls::Starttls {
        bail!("--tls none or implicit");
    }
    let mut clients = Vec::new();
    for n in 0..args.clients {
        clients.push((n, log_in(&connector, &basic).await?));
    }
    let begun = Instant::now();
    let until = begun + Duration::from_secs(args.seconds);
    let mut tasks = JoinSet::new();
    for (n, mut client) in clients {
        let (method, path, body) = (args.method.clone(), args.path.clone(), args.body.clone());
        let (basic, count, all) = (basic.clone(), args.count, args.clients);
        tasks.spawn(async move {
            let (mut latencies, mut errors) = (Latencies::default(), Errors::default());
            let mut turn = 0;
            while Instant::now() < until {
                let which = ((turn * all + n) % count).to_string();
                let turned = turn.to_string();
                let fill = |text: &str| text.replace("{n}", &which).replace("{turn}", &turned);
                let body = body.as_deref().map(fill);
                let request = request(&method, &fill(&path), body.as_deref(), &basic);
                turn += 1;
                let asked = Instant::now();
                match client.ask(&request).await {
                    Ok(status) if (200..300).contains(&status) => latencies.note(asked.elapsed()),
                    Ok(status) => errors.note(format_args!("status_{status}")),
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

/// A connection whose login is paid for: it is another measurement.
pub(crate) async fn log_in(connector: &Connector, basic: &str) -> anyhow::Result<Client> {
    let mut client = Client {
        stream: connector.connect().await?.into_stream()?,
        read: Vec::new(),
    };
    client
        .ask(&request("GET", "/api/v1/servers", None, basic))
        .await?;
    Ok(client)
}

pub(crate) fn request(method: &str, path: &str, body: Option<&str>, basic: &str) -> Vec<u8> {
    let body = body.unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) struct Client {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

impl Client {
    /// Asks, and reads to the end of the answer: its status.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some((status, taken)) = whole(&self.read)? {
                self.read.drain(..taken);
                return Ok(status);
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

/// Status and length of an answer, when it is whole.
fn whole(read: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let Some(end) = memchr::memmem::find(read, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(read.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map(|length| length.trim().parse::<usize>());
    let length = match length {
        Some(length) => length?,
        None if status == 204 => 0,
        None => bail!("an answer without a length"),
    };
    let all = end + 4 + length;
    Ok((read.len() >= all).then_some((status, all)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        for end in 0..answer.len() {
            assert!(whole(&answer[..end]).unwrap().is_none());
        }
        assert_eq!(whole(answer).unwrap(), Some((200, answer.len())));
        assert_eq!(
            whole(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(),
            Some((204, 27))
        );
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
