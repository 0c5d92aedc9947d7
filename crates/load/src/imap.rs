//! IMAP load: logins, APPEND, SELECT, FETCH in bulk and one by one, SEARCH, IDLE, many connections; of any server.
//!
//! Must never count what did not come: a tagged answer that is not OK ends the run with an error, and a message that is fetched is read to its last octet.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use crate::connect::{Connector, Target, Tls};
use crate::figures::{Figures, Latencies, rate};
use crate::lines::Lines;
use crate::smtp::password;

/// A notification that has not come in this time never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sessions that connect at the same time when many are opened: a listener's backlog.
const AT_ONCE: usize = 16;

/// Work in a mailbox by IMAP.
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
    /// What to measure
    #[arg(long, value_enum)]
    what: What,
    /// In which folder
    #[arg(long, value_name = "NAME", default_value = "INBOX")]
    folder: String,
    /// How many: messages to append, folders to make, searches, selects, notifications
    #[arg(long, value_name = "N", default_value_t = 100)]
    count: u64,
    /// Sessions at once, for `login`, `append`, `idle` and `hold`
    #[arg(long, value_name = "N", default_value_t = 1)]
    sessions: usize,
    /// Octets of each message that is appended
    #[arg(long, value_name = "N", default_value_t = 4096)]
    size: usize,
    /// Seconds for `hold`, and for `login`
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u64,
    /// Where messages are appended that `idle` waits for, when it is another server
    #[arg(long, value_name = "HOST:PORT")]
    append_to: Option<String>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Connections one after another in each session: TLS, login, logout.
    Login,
    /// Messages put into the folder.
    Append,
    /// The folder opened, again and again.
    Select,
    /// All messages by one FETCH.
    Bulk,
    /// All messages, each by a FETCH of its own.
    Each,
    /// The flags of all messages by one FETCH.
    Flags,
    /// A header that no message has, again and again.
    Search,
    /// From the sending of an APPEND until every idle session has been told.
    Idle,
    /// Folders made, then listed.
    Folders,
    /// Sessions opened, and held idle.
    Hold,
}

/// A session that has logged in.
struct Session {
    lines: Lines,
    next_tag: u64,
}

impl Session {
    async fn open(connector: &Connector, user: &str, password: &str) -> anyhow::Result<Self> {
        let mut lines = connector.connect().await?;
        greeted(&mut lines).await?;
        let mut session = Self { lines, next_tag: 0 };
        match connector.tls() {
            Tls::Starttls => {
                session.ask("STARTTLS").await?;
                session.lines = connector.start_tls(session.lines).await?;
            }
            Tls::None | Tls::Implicit => {}
        }
        session
            .ask(&format!("LOGIN \"{user}\" \"{password}\""))
            .await?;
        Ok(session)
    }

    async fn say(&mut self, command: &str) -> anyhow::Result<String> {
        self.next_tag += 1;
        let tag = format!("t{}", self.next_tag);
        let line = format!("{tag} {command}\r\n");
        self.lines.write(line.as_bytes()).await?;
        Ok(tag)
    }

    /// A command, and its answer to the end.
    async fn ask(&mut self, command: &str) -> anyhow::Result<Answer> {
        let tag = self.say(command).await?;
        self.answer(&tag).await
    }

    async fn answer(&mut self, tag: &str) -> anyhow::Result<Answer> {
        let mut answer = Answer::default();
        loop {
            let line = self.lines.line().await?;
            if let Some(octets) = literal(&line) {
                self.lines.skip(octets).await?;
                (answer.literals, answer.octets) = (answer.literals + 1, answer.octets + octets);
                continue;
            }
            if let Some(rest) = line
                .strip_prefix(tag)
                .and_then(|rest| rest.strip_prefix(' '))
            {
                if rest.starts_with("OK") {
                    return Ok(answer);
                }
                bail!("the server said {line:?}");
            }
            if let Some(exists) = exists(&line) {
                answer.exists = Some(exists);
            }
            answer.lines += 1;
        }
    }

    async fn append(&mut self, folder: &str, mail: &[u8]) -> anyhow::Result<()> {
        let command = format!("APPEND \"{folder}\" {{{}}}", mail.len());
        let tag = self.say(&command).await?;
        loop {
            let line = self.lines.line().await?;
            match line.as_bytes().first() {
                Some(b'+') => break,
                Some(b'*') => {}
                _ => bail!("the server said {line:?}"),
            }
        }
        self.lines.write(&[mail, b"\r\n"].concat()).await?;
        self.answer(&tag).await?;
        Ok(())
    }

    /// Waits for mail; gives nothing before the server has said that it is idle.
    async fn idle(&mut self) -> anyhow::Result<String> {
        let tag = self.say("IDLE").await?;
        loop {
            let line = self.lines.line().await?;
            match line.as_bytes().first() {
                Some(b'+') => return Ok(tag),
                Some(b'*') => {}
                _ => bail!("the server said {line:?}"),
            }
        }
    }
}

/// What an answer had.
#[derive(Debug, Default)]
struct Answer {
    lines: u64,
    literals: u64,
    octets: u64,
    exists: Option<u64>,
}

async fn greeted(lines: &mut Lines) -> anyhow::Result<()> {
    let line = lines.line().await?;
    if !line.starts_with("* OK") {
        bail!("the server said {line:?}");
    }
    Ok(())
}

/// The octets that follow a line, if it announces some.
fn literal(line: &str) -> Option<u64> {
    let rest = line.strip_suffix('}')?;
    rest.rsplit_once('{')?.1.parse().ok()
}

fn exists(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("* ")?;
    rest.strip_suffix(" EXISTS")?.parse().ok()
}

fn mail(number: u64, size: usize) -> Vec<u8> {
    let mut mail = format!("From: load@other.example\r\nSubject: mail {number}\r\nMessage-ID: <{number}@load.example>\r\n\r\n").into_bytes();
    while mail.len() + 66 <= size {
        mail.extend_from_slice(&[b'x'; 64]);
        mail.extend_from_slice(b"\r\n");
    }
    mail
}

/// Does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<Figures> {
    if args.count == 0 || args.sessions == 0 {
        bail!("--count and --sessions are 1 or more");
    }
    let secret = password(&args.password_file)?;
    let other = args.append_to.clone().map(|to| args.target.elsewhere(to));
    let connector = args.target.clone().check()?;
    match args.what {
        What::Login => logins(connector, &args, &secret).await,
        What::Append => appends(connector, &args, &secret).await,
        What::Idle => {
            let other = other.map(Target::check).transpose()?;
            idle(&connector, other.as_ref(), &args, &secret).await
        }
        What::Hold => hold(&connector, &args, &secret).await,
        What::Folders => folders(&connector, &args, &secret).await,
        What::Select | What::Bulk | What::Each | What::Flags | What::Search => {
            reading(&connector, &args, &secret).await
        }
    }
}

async fn logins(connector: Connector, args: &Args, secret: &str) -> anyhow::Result<Figures> {
    let connector = std::sync::Arc::new(connector);
    let (begun, time) = (Instant::now(), Duration::from_secs(args.seconds));
    let mut tasks = JoinSet::new();
    for _ in 0..args.sessions {
        let (connector, user) = (connector.clone(), args.user.clone());
        let secret = secret.to_owned();
        tasks.spawn(async move {
            let mut latencies = Latencies::default();
            while begun.elapsed() < time {
                let sent = Instant::now();
                let mut session = Session::open(&connector, &user, &secret).await?;
                session.ask("LOGOUT").await?;
                latencies.note(sent.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    timed(tasks, begun).await
}

/// What many sessions have measured.
async fn timed(
    mut tasks: JoinSet<anyhow::Result<Latencies>>,
    begun: Instant,
) -> anyhow::Result<Figures> {
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.join(done??);
    }
    Ok(said(latencies, begun.elapsed()))
}

fn said(mut latencies: Latencies, took: Duration) -> Figures {
    let mut figures = Figures::default();
    figures.say("answers", latencies.count());
    figures.say_number("seconds", took.as_secs_f64());
    figures.say_number("answers_per_s", rate(latencies.count() as f64, took));
    figures.say_number("p50_ms", latencies.permille_ms(500));
    figures.say_number("p99_ms", latencies.permille_ms(990));
    figures
}

async fn appends(connector: Connector, args: &Args, secret: &str) -> anyhow::Result<Figures> {
    let mut sessions = Vec::new();
    for _ in 0..args.sessions {
        sessions.push(Session::open(&connector, &args.user, secret).await?);
    }
    let (begun, count, step) = (Instant::now(), args.count, args.sessions as u64);
    let mut tasks = JoinSet::new();
    for (first, mut session) in (0..).zip(sessions) {
        let (folder, size) = (args.folder.clone(), args.size);
        tasks.spawn(async move {
            let mut latencies = Latencies::default();
            let mut number: u64 = first;
            while number < count {
                let sent = Instant::now();
                session.append(&folder, &mail(number, size)).await?;
                latencies.note(sent.elapsed());
                number += step;
            }
            anyhow::Ok(latencies)
        });
    }
    timed(tasks, begun).await
}

async fn reading(connector: &Connector, args: &Args, secret: &str) -> anyhow::Result<Figures> {
    let mut session = Session::open(connector, &args.user, secret).await?;
    let opening = Instant::now();
    let select = format!("SELECT \"{}\"", args.folder);
    let answer = session.ask(&select).await?;
    let opened = opening.elapsed();
    let messages = answer.exists.context("SELECT said no EXISTS")?;
    let begun = Instant::now();
    let mut latencies = Latencies::default();
    let mut octets = 0;
    let mut counted = messages;
    match args.what {
        What::Bulk => {
            let answer = session.ask("FETCH 1:* (UID BODY.PEEK[])").await?;
            if answer.literals != messages {
                bail!("{} of {messages} messages came", answer.literals);
            }
            octets = answer.octets;
        }
        What::Flags => {
            let answer = session.ask("FETCH 1:* (UID FLAGS)").await?;
            if answer.lines < messages {
                bail!("{} of {messages} messages came", answer.lines);
            }
        }
        What::Each => {
            for number in 1..=messages {
                let sent = Instant::now();
                let answer = session
                    .ask(&format!("FETCH {number} (UID BODY.PEEK[])"))
                    .await?;
                if answer.literals != 1 {
                    bail!("message {number} did not come");
                }
                latencies.note(sent.elapsed());
                octets += answer.octets;
            }
        }
        What::Search | What::Select => {
            counted = args.count;
            let command = match args.what {
                What::Search => "SEARCH SUBJECT nobody-wrote-this",
                _ => &select,
            };
            for _ in 0..args.count {
                let sent = Instant::now();
                session.ask(command).await?;
                latencies.note(sent.elapsed());
            }
        }
        What::Login | What::Append | What::Idle | What::Folders | What::Hold => {
            bail!("not read from a folder")
        }
    }
    let took = begun.elapsed();
    let mut figures = Figures::default();
    figures.say("messages", messages);
    figures.say("octets", octets);
    figures.say_number("open_ms", opened.as_secs_f64() * 1000.0);
    figures.say_number("seconds", took.as_secs_f64());
    figures.say_number("answers_per_s", rate(counted as f64, took));
    figures.say_number("p50_ms", latencies.permille_ms(500));
    figures.say_number("p99_ms", latencies.permille_ms(990));
    Ok(figures)
}

async fn folders(connector: &Connector, args: &Args, secret: &str) -> anyhow::Result<Figures> {
    let mut session = Session::open(connector, &args.user, secret).await?;
    let begun = Instant::now();
    for number in 0..args.count {
        session.ask(&format!("CREATE \"load/{number}\"")).await?;
    }
    let made = begun.elapsed();
    let begun = Instant::now();
    let answer = session.ask("LIST \"\" \"*\"").await?;
    if answer.lines < args.count {
        bail!("{} of {} folders are listed", answer.lines, args.count);
    }
    let mut figures = Figures::default();
    figures.say("folders", answer.lines);
    figures.say_number("made_per_s", rate(args.count as f64, made));
    figures.say_number("list_ms", begun.elapsed().as_secs_f64() * 1000.0);
    Ok(figures)
}

/// Sessions, some opened at the same time.
async fn many(connector: &Connector, args: &Args, secret: &str) -> anyhow::Result<Vec<Session>> {
    let mut sessions = Vec::with_capacity(args.sessions);
    while sessions.len() < args.sessions {
        let now = (args.sessions - sessions.len()).min(AT_ONCE);
        let opening = (0..now).map(|_| Session::open(connector, &args.user, secret));
        for opened in futures_util::future::join_all(opening).await {
            sessions.push(opened?);
        }
    }
    Ok(sessions)
}

async fn hold(connector: &Connector, args: &Args, secret: &str) -> anyhow::Result<Figures> {
    let begun = Instant::now();
    let mut sessions = many(connector, args, secret).await?;
    for session in &mut sessions {
        session.ask(&format!("SELECT \"{}\"", args.folder)).await?;
        session.idle().await?;
    }
    let opened = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    for session in &mut sessions {
        session.lines.write(b"DONE\r\n").await?;
        let tag = format!("t{}", session.next_tag);
        session.answer(&tag).await?;
    }
    let mut figures = Figures::default();
    figures.say("sessions", sessions.len());
    figures.say_number("opened_per_s", rate(sessions.len() as f64, opened));
    Ok(figures)
}

async fn idle(
    connector: &Connector,
    other: Option<&Connector>,
    args: &Args,
    secret: &str,
) -> anyhow::Result<Figures> {
    let mut writer = Session::open(other.unwrap_or(connector), &args.user, secret).await?;
    let mut sessions = many(connector, args, secret).await?;
    let mut known = 0;
    for session in &mut sessions {
        let answer = session.ask(&format!("SELECT \"{}\"", args.folder)).await?;
        known = answer.exists.context("SELECT said no EXISTS")?;
        session.idle().await?;
    }
    let (mut first, mut last) = (Latencies::default(), Latencies::default());
    for number in 0..args.count {
        let sent = Instant::now();
        known += 1;
        let told = sessions.iter_mut().map(|session| async {
            loop {
                let line = session.lines.line().await?;
                if exists(&line).is_some_and(|now| now >= known) {
                    return anyhow::Ok(sent.elapsed());
                }
            }
        });
        let told = tokio::time::timeout(PATIENCE, futures_util::future::join_all(told));
        let mail = mail(number, args.size);
        let (appended, told) = tokio::join!(writer.append(&args.folder, &mail), told);
        appended?;
        let told = told.context("a session was not told")?;
        let told: Vec<Duration> = told.into_iter().collect::<anyhow::Result<_>>()?;
        if let (Some(soonest), Some(latest)) = (told.iter().min(), told.iter().max()) {
            first.note(*soonest);
            last.note(*latest);
        }
    }
    let mut figures = Figures::default();
    figures.say("notifications", first.count());
    figures.say_number("first_p50_ms", first.permille_ms(500));
    figures.say_number("first_p99_ms", first.permille_ms(990));
    figures.say_number("last_p50_ms", last.permille_ms(500));
    figures.say_number("last_p99_ms", last.permille_ms(990));
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_counts_are_read_from_their_lines() {
        assert_eq!(literal("* 1 FETCH (UID 1 BODY[] {4096}"), Some(4096));
        assert_eq!(literal("* 1 FETCH (UID 1)"), None);
        assert_eq!(literal("* OK {x}"), None);
        assert_eq!(exists("* 23 EXISTS"), Some(23));
        assert_eq!(exists("* 23 EXPUNGE"), None);
    }

    #[test]
    fn a_mail_is_about_as_long_as_it_was_asked_for() {
        let made = mail(7, 4096).len();
        assert!((4000..=4096).contains(&made), "{made}");
    }
}
