//! Changes made at one server and looked for at another: how soon each is seen, how many a second both have, and how long one takes that missed some.
//!
//! Writes by HTTP or LDAP, reads by LDAP compares, so that any two servers that replicate can be measured. Must never take a change for seen
//! that was not read back with its own value at the other server.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinSet;

use crate::connect::{Connector, Target, Tls};
use crate::figures::{Figures, Latencies, rate};
use crate::smtp::password;
use crate::{http, ldap};

/// A server that does not get there in this time never will.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two attempts to reach a server that starts.
const AGAIN: Duration = Duration::from_millis(20);

/// Make changes at one server and look for them at another.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server that is read, by LDAP
    #[command(flatten)]
    target: Target,
    /// As whom to read (and to write by LDAP): a distinguished name
    #[arg(long, value_name = "DN")]
    user: String,
    /// A file with the password in its first line
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// Where the people are
    #[arg(long, value_name = "DN")]
    base: String,
    /// People are called this, with a number from 0 on behind it
    #[arg(long, value_name = "TEXT")]
    people: String,
    /// How many people there are
    #[arg(long, value_name = "N")]
    count: u64,
    /// The server that is written to
    #[arg(long, value_name = "HOST:PORT")]
    write_to: String,
    /// By what
    #[arg(long, value_enum)]
    write_by: Protocol,
    /// As whom to write by HTTP
    #[arg(long, value_name = "NAME", default_value = "")]
    write_user: String,
    /// To what, by HTTP; `{n}` becomes the person's number
    #[arg(long, default_value = "")]
    path: String,
    /// What to measure
    #[arg(long, value_enum)]
    what: What,
    /// Begins each value: another one for each run
    #[arg(long, default_value = "change")]
    mark: String,
    /// Changes, for `write` and `wait`
    #[arg(long, value_name = "N", default_value_t = 100)]
    changes: u64,
    /// Connections that write at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    clients: u64,
    /// For how long, for `each` and `equal`
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
}

/// How changes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// A PUT of a remark.
    Http,
    /// A modify of a description.
    Ldap,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// One change after another, each from its sending until it is read at the other server.
    Each,
    /// Changes by all clients, until the other server has them all.
    Equal,
    /// Nothing is waited for: so many changes are made.
    Write,
    /// Nothing is written: how long from now until the other server has what `write` made.
    Wait,
}

/// Whom the changes concern, and what they say.
#[derive(Debug, Clone)]
struct Plan {
    base: String,
    people: String,
    count: u64,
    mark: String,
    path: String,
}

impl Plan {
    fn dn(&self, change: u64) -> String {
        format!("uid={}{},{}", self.people, change % self.count, self.base)
    }

    fn value(&self, change: u64) -> String {
        format!("{} {change}", self.mark)
    }
}

enum Writer {
    Http(http::Client, String),
    Ldap(ldap::Client),
}

impl Writer {
    async fn write(&mut self, plan: &Plan, change: u64) -> anyhow::Result<()> {
        let value = plan.value(change);
        match self {
            Self::Http(client, basic) => {
                let path = plan.path.replace("{n}", &(change % plan.count).to_string());
                let body = format!("{{\"remark\": \"{value}\"}}");
                let request = http::request("PUT", &path, Some(&body), basic);
                match client.ask(&request).await? {
                    200..=299 => Ok(()),
                    status => bail!("a change was answered with status {status}"),
                }
            }
            Self::Ldap(client) => {
                let request = ldap::modify(&plan.dn(change), 2, "description", &value);
                match client.ask(&request).await? {
                    0 => Ok(()),
                    code => bail!("a change was answered with result {code}"),
                }
            }
        }
    }
}

/// Until a change is read.
async fn until_seen(reader: &mut ldap::Client, plan: &Plan, change: u64) -> anyhow::Result<()> {
    let request = ldap::compare(&plan.dn(change), "description", &plan.value(change));
    let begun = Instant::now();
    loop {
        match reader.ask(&request).await? {
            6 => return Ok(()),
            // Another value, none yet, or not told now.
            5 | 16 | 32 | 51 | 52 => {}
            code => bail!("a compare was answered with result {code}"),
        }
        if begun.elapsed() > PATIENCE {
            bail!("a change was not seen in {} seconds", PATIENCE.as_secs());
        }
    }
}

/// Does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<Figures> {
    if args.count == 0 || args.clients == 0 || args.changes == 0 {
        bail!("--count, --clients and --changes are 1 or more");
    }
    let secret = password(&args.password_file)?;
    let (what, clients, changes) = (args.what, args.clients, args.changes);
    let writing = match args.write_by {
        Protocol::Http => Target::plain(args.write_to),
        Protocol::Ldap => args.target.elsewhere(args.write_to),
    };
    let (reading, writing) = (args.target.check()?, writing.check()?);
    if reading.tls() == Tls::Starttls {
        bail!("--tls none or implicit");
    }
    let plan = Plan {
        base: args.base,
        people: args.people,
        count: args.count,
        mark: args.mark,
        path: args.path,
    };
    let begun = Instant::now();
    let mut reader = match what {
        What::Wait => reached(&reading, &args.user, &secret).await?,
        What::Each | What::Equal | What::Write => {
            ldap::log_in(&reading, &args.user, &secret).await?
        }
    };
    if what == What::Wait {
        for change in changes.saturating_sub(clients)..changes {
            until_seen(&mut reader, &plan, change).await?;
        }
        let mut figures = Figures::default();
        figures.say_number("until_seen_ms", begun.elapsed().as_secs_f64() * 1000.0);
        return Ok(figures);
    }
    let mut writers = Vec::new();
    for _ in 0..clients {
        writers.push(match args.write_by {
            Protocol::Http => {
                let basic = STANDARD.encode(format!("{}:{secret}", args.write_user));
                Writer::Http(http::log_in(&writing, &basic).await?, basic)
            }
            Protocol::Ldap => Writer::Ldap(ldap::log_in(&writing, &args.user, &secret).await?),
        });
    }
    let time = Duration::from_secs(args.seconds);
    match what {
        What::Each => {
            let writer = writers.into_iter().next().context("a writer")?;
            each(writer, &mut reader, &plan, time).await
        }
        What::Equal | What::Write => {
            let (most, time) = match what {
                What::Write => (changes, PATIENCE),
                What::Each | What::Equal | What::Wait => (u64::MAX, time),
            };
            let begun = Instant::now();
            let last = write_all(writers, &plan, most, time).await?;
            let written = begun.elapsed();
            let made: u64 = last.iter().map(|(made, _)| made).sum();
            if what == What::Equal {
                for (_, change) in &last {
                    until_seen(&mut reader, &plan, *change).await?;
                }
            }
            let mut figures = Figures::default();
            figures.say("answers", made);
            figures.say_number("written_per_s", rate(made as f64, written));
            figures.say_number("answers_per_s", rate(made as f64, begun.elapsed()));
            figures.say_number(
                "behind_ms",
                (begun.elapsed() - written).as_secs_f64() * 1000.0,
            );
            Ok(figures)
        }
        What::Wait => bail!("nothing to write"),
    }
}

/// One change after another.
async fn each(
    mut writer: Writer,
    reader: &mut ldap::Client,
    plan: &Plan,
    time: Duration,
) -> anyhow::Result<Figures> {
    let mut latencies = Latencies::default();
    let (begun, mut change) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let sent = Instant::now();
        // It may be seen before its writer hears that it is durable.
        let (written, seen) = tokio::join!(writer.write(plan, change), async {
            until_seen(reader, plan, change)
                .await
                .map(|()| sent.elapsed())
        });
        written?;
        latencies.note(seen?);
        change += 1;
    }
    let mut figures = Figures::default();
    figures.say("answers", latencies.count());
    figures.say_number(
        "answers_per_s",
        rate(latencies.count() as f64, begun.elapsed()),
    );
    figures.say_number("p50_ms", latencies.permille_ms(500));
    figures.say_number("p99_ms", latencies.permille_ms(990));
    Ok(figures)
}

/// Changes by all writers; how many each has made, and which was its last.
async fn write_all(
    writers: Vec<Writer>,
    plan: &Plan,
    most: u64,
    time: Duration,
) -> anyhow::Result<Vec<(u64, u64)>> {
    let (begun, clients) = (Instant::now(), writers.len() as u64);
    let mut tasks = JoinSet::new();
    for (n, mut writer) in (0..).zip(writers) {
        let plan = plan.clone();
        tasks.spawn(async move {
            let (mut made, mut last, mut change) = (0, n, n);
            while change < most && begun.elapsed() < time {
                writer.write(&plan, change).await?;
                (made, last, change) = (made + 1, change, change + clients);
            }
            anyhow::Ok((made, last))
        });
    }
    let mut last = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (made, change) = done??;
        if made > 0 {
            last.push((made, change));
        }
    }
    Ok(last)
}

/// A connection to a server that may be starting.
async fn reached(reading: &Connector, user: &str, secret: &str) -> anyhow::Result<ldap::Client> {
    let begun = Instant::now();
    loop {
        match ldap::log_in(reading, user, secret).await {
            Ok(client) => return Ok(client),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}
