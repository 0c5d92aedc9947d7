//! POP3 load: logs in, retrieves everything, says how fast.
//!
//! Must never count what did not come: an answer that is not `+OK` ends the run with an error.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::connect::{Connector, Target, Tls};
use crate::figures::{Figures, rate};
use crate::lines::Lines;
use crate::smtp::password;

/// Commands that are under way at once when they are pipelined: some 1,500 bytes, which fit any socket's buffer, so that
/// neither side can wait for the other one to read.
const WINDOW: usize = 128;

/// Retrieve all messages of a mailbox.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Whose mailbox
    #[arg(long, value_name = "NAME")]
    user: String,
    /// A file with the password in its first line
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// Send commands ahead of the answers
    #[arg(long)]
    pipelined: bool,
    /// Delete each message after it came (it is gone with QUIT, which is part of the time)
    #[arg(long)]
    delete: bool,
}

/// Does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<Figures> {
    let connector = args.target.check()?;
    let secret = password(&args.password_file)?;
    let begun = Instant::now();
    let mut lines = log_in(&connector, &args.user, &secret).await?;
    let messages = count(&mut lines).await?;
    let opened = begun.elapsed();

    let commands = Commands::new(messages, args.delete);
    let window = if args.pipelined { WINDOW } else { 1 };
    let begun = Instant::now();
    let octets = retrieve(&mut lines, commands, window).await?;
    lines.write(b"QUIT\r\n").await?;
    ok(&mut lines).await.context("QUIT")?;
    let took = begun.elapsed();

    let mut figures = Figures::default();
    figures.say("messages", messages);
    figures.say("octets", octets);
    figures.say_number("open_ms", opened.as_secs_f64() * 1000.0);
    figures.say_number("seconds", took.as_secs_f64());
    figures.say_number("messages_per_s", rate(messages as f64, took));
    figures.say_number("mib_per_s", rate(octets as f64, took) / (1024.0 * 1024.0));
    Ok(figures)
}

async fn log_in(connector: &Connector, user: &str, password: &str) -> anyhow::Result<Lines> {
    let mut lines = connector.connect().await?;
    ok(&mut lines).await.context("greeting")?;
    match connector.tls() {
        Tls::Starttls => {
            lines.write(b"STLS\r\n").await?;
            ok(&mut lines).await.context("STLS")?;
            lines = connector.start_tls(lines).await?;
        }
        Tls::None | Tls::Implicit => {}
    }
    for command in [format!("USER {user}\r\n"), format!("PASS {password}\r\n")] {
        lines.write(command.as_bytes()).await?;
        ok(&mut lines).await.context("login")?;
    }
    Ok(lines)
}

async fn count(lines: &mut Lines) -> anyhow::Result<usize> {
    lines.write(b"STAT\r\n").await?;
    let answer = ok(lines).await?;
    answer
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .with_context(|| format!("STAT answered {answer:?}"))
}

async fn ok(lines: &mut Lines) -> anyhow::Result<String> {
    let line = lines.line().await?;
    if !line.starts_with("+OK") {
        bail!("the server said {line:?}");
    }
    Ok(line)
}

/// What is asked, in order.
struct Commands {
    messages: usize,
    per_message: usize,
    next: usize,
}

#[derive(Clone, Copy)]
enum Command {
    Retrieve(usize),
    Delete(usize),
}

impl Commands {
    fn new(messages: usize, delete: bool) -> Self {
        Self {
            messages,
            per_message: if delete { 2 } else { 1 },
            next: 0,
        }
    }
}

impl Iterator for Commands {
    type Item = Command;

    fn next(&mut self) -> Option<Command> {
        let number = self.next / self.per_message + 1;
        if number > self.messages {
            return None;
        }
        let command = if self.next.is_multiple_of(self.per_message) {
            Command::Retrieve(number)
        } else {
            Command::Delete(number)
        };
        self.next += 1;
        Some(command)
    }
}

/// All commands, with at most `window` under way; the octets of what came.
async fn retrieve(lines: &mut Lines, commands: Commands, window: usize) -> anyhow::Result<u64> {
    let mut commands = commands.peekable();
    let mut under_way = std::collections::VecDeque::with_capacity(window);
    let mut text = String::new();
    let mut octets = 0;
    while commands.peek().is_some() || !under_way.is_empty() {
        // Half a window at a time: a write for each command would measure system calls.
        if under_way.len() <= window / 2 {
            text.clear();
            while under_way.len() < window {
                let Some(command) = commands.next() else {
                    break;
                };
                match command {
                    Command::Retrieve(number) => write!(text, "RETR {number}\r\n")?,
                    Command::Delete(number) => write!(text, "DELE {number}\r\n")?,
                }
                under_way.push_back(command);
            }
            if !text.is_empty() {
                lines.write(text.as_bytes()).await?;
            }
        }
        match under_way.pop_front() {
            Some(Command::Retrieve(number)) => {
                ok(lines).await.with_context(|| format!("RETR {number}"))?;
                octets += lines.skip_to_dot().await?;
            }
            Some(Command::Delete(number)) => {
                ok(lines).await.with_context(|| format!("DELE {number}"))?;
            }
            None => {}
        }
    }
    Ok(octets)
}
