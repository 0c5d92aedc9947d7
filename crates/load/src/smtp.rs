//! SMTP (and LMTP) load: sessions at once, each sending one message after the other.
//!
//! Must never count a message that was not answered with 250, and never hide one that was refused: refusals and faults are
//! counted by their code. A latency runs from the write of DATA to its 250 (with a pipelined envelope, which is one write, from the
//! whole envelope on). Connecting, TLS and login happen before the clock starts, unless each message has its own connection.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{join_all, try_join_all};

use crate::connect::{Connector, Target, Tls};
use crate::figures::{Errors, Figures, Latencies, rate};
use crate::lines::Lines;

/// After so many connections in a row that came to nothing, a session gives up.
const FAILED_CONNECTIONS: u32 = 5;
/// Between two of them.
const BETWEEN_CONNECTIONS: Duration = Duration::from_millis(200);
/// Octets of text in a line of a message (RFC 5322 2.1.1 recommends at most 78).
const LINE_BYTES: usize = 76;

/// Send messages over some sessions at once.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("until").required(true).args(["messages", "seconds"]))]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// What is spoken
    #[arg(long, value_enum, default_value_t = Protocol::Smtp)]
    protocol: Protocol,
    /// Log in (AUTH PLAIN) as this user
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// A file with the password in its first line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The sender
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// The recipients; messages take them in turn
    #[arg(
        long,
        value_name = "ADDRESS[,...]",
        value_delimiter = ',',
        required = true
    )]
    rcpt: Vec<String>,
    /// How many of the recipients each message has
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    recipients: u64,
    /// Sessions at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    sessions: u64,
    /// Send so many messages in all
    #[arg(long, value_name = "M")]
    messages: Option<u64>,
    /// Begin messages for so long
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Begin at most so many messages a second, over all sessions, evenly; else as many as are answered
    #[arg(long, value_name = "R", value_parser = rate_of)]
    rate: Option<f64>,
    /// Octets of a message, header and line ends included
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    size: usize,
    /// Whether a session keeps its connection
    #[arg(long, value_enum, default_value_t = Connection::Kept)]
    connection: Connection,
    /// Whether the envelope goes in one write
    #[arg(long, value_enum, default_value_t = Envelope::Pipelined)]
    envelope: Envelope,
}

/// A rate that leaves a finite pause between two messages.
fn rate_of(text: &str) -> Result<f64, String> {
    const LEAST: f64 = 1e-6;
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= LEAST => Ok(rate),
        Ok(_) | Err(_) => Err(format!("a number of messages a second, {LEAST} at least")),
    }
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: LHLO, and an answer for each recipient after the dot.
    Lmtp,
}

impl Protocol {
    fn hello(self) -> &'static [u8] {
        match self {
            Self::Smtp => b"EHLO load.example\r\n",
            Self::Lmtp => b"LHLO load.example\r\n",
        }
    }
}

/// Whether a session keeps its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Connection {
    /// One for all messages.
    Kept,
    /// A new one for each message.
    Each,
}

/// How MAIL, RCPT and DATA are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Envelope {
    /// In one write (RFC 2920).
    Pipelined,
    /// One after the other's answer.
    Stepwise,
}

/// What all sessions share.
struct Plan {
    connector: Connector,
    protocol: Protocol,
    login: Option<String>,
    from: String,
    rcpt: Vec<String>,
    recipients: u64,
    connection: Connection,
    envelope: Envelope,
    text: String,
    run: String,
    size: usize,
    begun: AtomicU64,
    most: u64,
    limit: Option<Duration>,
    rate: Option<f64>,
}

/// What a session found.
#[derive(Default)]
struct Findings {
    latencies: Latencies,
    recipients: u64,
    errors: Errors,
}

/// Does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<Figures> {
    let sessions = args.sessions;
    let plan = Arc::new(Plan::check(args)?);
    // All connect before the clock starts.
    let connected = match plan.connection {
        Connection::Kept => {
            let all = (0..sessions).map(|_| plan.connect());
            try_join_all(all).await?.into_iter().map(Some).collect()
        }
        Connection::Each => (0..sessions).map(|_| None).collect::<Vec<_>>(),
    };
    let start = Instant::now();
    let tasks = connected
        .into_iter()
        .map(|lines| tokio::spawn(session(Arc::clone(&plan), lines, start)));
    let mut all = Findings::default();
    for found in join_all(tasks).await {
        let found = found?;
        all.latencies.join(found.latencies);
        all.recipients += found.recipients;
        all.errors.join(found.errors);
    }
    let took = start.elapsed();

    let accepted = all.latencies.count();
    let mut figures = Figures::default();
    figures.say("sessions", sessions);
    figures.say("accepted", accepted);
    figures.say_number("seconds", took.as_secs_f64());
    figures.say_number("accepted_per_s", rate(accepted as f64, took));
    figures.say_number("recipients_per_s", rate(all.recipients as f64, took));
    figures.say_number("p50_ms", all.latencies.permille_ms(500));
    figures.say_number("p99_ms", all.latencies.permille_ms(990));
    figures.say_number("max_ms", all.latencies.permille_ms(1000));
    figures.say_errors(&all.errors);
    Ok(figures)
}

/// The first line of a password file.
pub(crate) fn password(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

impl Plan {
    fn check(args: Args) -> anyhow::Result<Self> {
        let login = match (args.user, args.password_file) {
            (Some(user), Some(file)) => {
                let secret = password(&file)?;
                Some(BASE64_STANDARD.encode(format!("\0{user}\0{secret}")))
            }
            (None, _) | (_, None) => None,
        };
        if args.recipients > args.rcpt.len() as u64 {
            bail!("--recipients is more than --rcpt names");
        }
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Self {
            connector: args.target.check()?,
            protocol: args.protocol,
            login,
            from: args.from,
            rcpt: args.rcpt,
            recipients: args.recipients,
            connection: args.connection,
            envelope: args.envelope,
            text: filler(args.size),
            run: format!("{:x}.{}", since.as_micros(), std::process::id()),
            size: args.size,
            begun: AtomicU64::new(0),
            most: args.messages.unwrap_or(u64::MAX),
            limit: args.seconds.map(Duration::from_secs),
            rate: args.rate,
        })
    }

    /// The number of the next message; none when there is nothing more to do.
    fn next(&self, start: Instant) -> Option<u64> {
        if self.limit.is_some_and(|limit| start.elapsed() >= limit) {
            return None;
        }
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        (number < self.most).then_some(number)
    }

    /// Waits until a message may begin.
    async fn until_due(&self, number: u64, start: Instant) {
        if let Some(rate) = self.rate {
            let due = Duration::from_secs_f64(number as f64 / rate);
            tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
        }
    }

    /// A session up to where MAIL may be said.
    async fn connect(&self) -> anyhow::Result<Lines> {
        let mut lines = self.connector.connect().await?;
        expect(&mut lines, "220").await.context("greeting")?;
        lines.write(self.protocol.hello()).await?;
        expect(&mut lines, "250").await.context("EHLO")?;
        match self.connector.tls() {
            Tls::Starttls => {
                lines.write(b"STARTTLS\r\n").await?;
                expect(&mut lines, "220").await.context("STARTTLS")?;
                lines = self.connector.start_tls(lines).await?;
                lines.write(self.protocol.hello()).await?;
                expect(&mut lines, "250").await.context("EHLO")?;
            }
            Tls::None | Tls::Implicit => {}
        }
        if let Some(login) = &self.login {
            let command = format!("AUTH PLAIN {login}\r\n");
            lines.write(command.as_bytes()).await?;
            expect(&mut lines, "235").await.context("AUTH")?;
        }
        Ok(lines)
    }

    /// The recipients of a message: its part of the list, in turn.
    fn recipients_of(&self, number: u64) -> impl Iterator<Item = &str> {
        let count = self.rcpt.len() as u64;
        (0..self.recipients).filter_map(move |nth| {
            let at = (number * self.recipients + nth) % count;
            self.rcpt.get(usize::try_from(at).ok()?).map(String::as_str)
        })
    }

    /// A message of the size that was asked for, like no other one, with its final dot.
    fn message(&self, number: u64) -> String {
        let mut text = String::with_capacity(self.size + 16);
        text.push_str("From: ");
        text.push_str(&self.from);
        text.push_str("\r\nSubject: load\r\nMessage-ID: <");
        text.push_str(&self.run);
        // A fixed width: messages of one run have one size.
        text.push_str(&format!(
            ".{number:010}@load.example>\r\nDate: Mon, 05 Jan 2026 09:00:00 +0000\r\n\r\n"
        ));
        let rest = self.size.saturating_sub(text.len() + 2);
        text.push_str(self.text.get(..rest).unwrap_or_default());
        // A cut within a line end would make a line end of its own kind.
        if text.ends_with('\r') {
            text.pop();
            text.push('x');
        }
        text.push_str("\r\n.\r\n");
        text
    }
}

/// One session: messages until there are no more.
async fn session(plan: Arc<Plan>, mut lines: Option<Lines>, start: Instant) -> Findings {
    let mut found = Findings::default();
    let mut failed = 0;
    while failed < FAILED_CONNECTIONS {
        let mut open = match lines.take() {
            Some(open) => open,
            None => match plan.connect().await {
                Ok(open) => open,
                Err(_) => {
                    found.errors.note("connect");
                    failed += 1;
                    tokio::time::sleep(BETWEEN_CONNECTIONS).await;
                    continue;
                }
            },
        };
        failed = 0;
        let Some(number) = plan.next(start) else {
            // The answer is nobody's concern.
            let _ = open.write(b"QUIT\r\n").await;
            break;
        };
        plan.until_due(number, start).await;
        match send(&plan, &mut open, number, &mut found).await {
            Ok(()) => match plan.connection {
                Connection::Kept => lines = Some(open),
                Connection::Each => {
                    let _ = open.write(b"QUIT\r\n").await;
                }
            },
            Err(_) => found.errors.note("connection"),
        }
    }
    found
}

/// One message. An error is one of the connection; refusals are findings.
async fn send(
    plan: &Plan,
    lines: &mut Lines,
    number: u64,
    found: &mut Findings,
) -> anyhow::Result<()> {
    let message = plan.message(number);
    let mail = format!("MAIL FROM:<{}>\r\n", plan.from);
    let mut begun = Instant::now();
    let mut taken = 0;
    let go_on = match plan.envelope {
        Envelope::Pipelined => {
            let mut envelope = mail;
            for recipient in plan.recipients_of(number) {
                write!(envelope, "RCPT TO:<{recipient}>\r\n")?;
            }
            envelope.push_str("DATA\r\n");
            lines.write(envelope.as_bytes()).await?;
            let mail = Reply::read(lines).await?;
            mail.note(found);
            for _ in plan.recipients_of(number) {
                let reply = Reply::read(lines).await?;
                taken += u64::from(reply.is("2"));
                if mail.is("2") {
                    reply.note(found);
                }
            }
            let data = Reply::read(lines).await?;
            if taken > 0 {
                data.note(found);
            }
            data
        }
        Envelope::Stepwise => {
            lines.write(mail.as_bytes()).await?;
            let mail = Reply::read(lines).await?;
            mail.note(found);
            if !mail.is("2") {
                return Ok(());
            }
            for recipient in plan.recipients_of(number) {
                let command = format!("RCPT TO:<{recipient}>\r\n");
                lines.write(command.as_bytes()).await?;
                let reply = Reply::read(lines).await?;
                taken += u64::from(reply.is("2"));
                reply.note(found);
            }
            if taken == 0 {
                return reset(lines).await;
            }
            begun = Instant::now();
            lines.write(b"DATA\r\n").await?;
            let data = Reply::read(lines).await?;
            data.note(found);
            data
        }
    };
    if !go_on.is("354") {
        return reset(lines).await;
    }
    if taken == 0 {
        // RFC 2920 3.1: a server may go on although it took no recipient.
        lines.write(b".\r\n").await?;
        Reply::read(lines).await?;
        return Ok(());
    }
    lines.write(message.as_bytes()).await?;
    let answers = match plan.protocol {
        Protocol::Smtp => 1,
        Protocol::Lmtp => taken,
    };
    let mut refused = 0;
    for _ in 0..answers {
        let end = Reply::read(lines).await?;
        end.note(found);
        refused += u64::from(!end.is("250"));
    }
    if refused < answers {
        found.latencies.note(begun.elapsed());
        found.recipients += taken - refused.min(taken);
    }
    Ok(())
}

async fn reset(lines: &mut Lines) -> anyhow::Result<()> {
    lines.write(b"RSET\r\n").await?;
    expect(lines, "250").await
}

/// The last line of an answer.
struct Reply(String);

impl Reply {
    async fn read(lines: &mut Lines) -> anyhow::Result<Self> {
        loop {
            let line = lines.line().await?;
            if line.as_bytes().get(3) != Some(&b'-') {
                if line.starts_with("421") {
                    bail!("the server closes: {line}");
                }
                return Ok(Self(line));
            }
        }
    }

    fn is(&self, code: &str) -> bool {
        self.0.starts_with(code)
    }

    /// Counts it, if it is a refusal.
    fn note(&self, found: &mut Findings) {
        if !self.is("2") && !self.is("3") {
            found.errors.note(self.0.get(..3).unwrap_or("nonsense"));
        }
    }
}

async fn expect(lines: &mut Lines, code: &str) -> anyhow::Result<()> {
    let reply = Reply::read(lines).await?;
    if !reply.is(code) {
        bail!("the server said {:?}", reply.0);
    }
    Ok(())
}

/// Text of `bytes` octets in lines, without order (so that nobody gains by compressing it) and without a dot.
fn filler(bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut text = String::with_capacity(bytes + 2);
    while text.len() < bytes {
        for _ in 0..LINE_BYTES {
            // Xorshift: any disorder will do, and the same in each run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let letter = LETTERS.get((state >> 58) as usize).copied();
            text.push(char::from(letter.unwrap_or(b'x')));
        }
        text.push_str("\r\n");
    }
    text
}
