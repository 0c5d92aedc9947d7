//! `grapevine up`: a whole Grapevine on this machine for whoever wants to see one: some servers as
//! processes of their own, a registry with three individuals, and how to use them.
//!
//! Must never restart a server that dies: one can be killed, and the rest watched. What is in the
//! folder goes on the next time.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use futures_util::future::select_all;
use grapevine_model::{Door, ErrorKind, Name, RegistryName, Request, Secret, ServerName};
use grapevine_rpc::tls::Identity;
use tokio::signal::unix::{SignalKind, signal};

use crate::ask::password_file;
use crate::child::Server;
use crate::cli::cluster_file::{CLUSTER_FILE, ClusterFile, ClusterIndividual, ClusterServer};
use crate::config::Config;
use crate::doors::tls;
use crate::folder::{Beginning, CONFIG_FILE, DataFolder, create_private, write_private};
use crate::front_certificate::is_due;
use crate::join::join;
use crate::new_server::{NewServer, Places};
use crate::operator::make_token;
use crate::out::{Failure, complain, say};

/// Where it all is when nothing is said.
pub(crate) const DEFAULT_DIR: &str = "grapevine-data";
/// The first server's ports begin here when nothing is said.
const DEFAULT_BASE_PORT: u16 = 7101;
/// From one server's first port to the next one's: room for the doors to come.
const PORTS_PER_SERVER: u16 = 20;
/// More servers than these on one machine show nothing more.
const SERVERS_MAX: u8 = 20;
/// The registry of the first run.
const REGISTRY: &str = "pa.example";
/// Its registrar and its individuals (those of the paper of 1982).
const REGISTRAR: &str = "registrar";
const INDIVIDUALS: [&str; 3] = [REGISTRAR, "birrell", "needham"];
/// Random bytes of a made password: 80 bits, which is 16 letters.
const PASSWORD_BYTES: usize = 10;
/// The servers' folders are looked at for new keys this often: a new key is on record for longer than
/// this before it is used.
const KEYS_PERIOD: std::time::Duration = std::time::Duration::from_secs(1);
/// A token between two servers of one folder is used at once.
const TOKEN_HOURS: u64 = 1;

/// Try Grapevine on this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many servers (those that are in the folder run in any case).
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(SERVERS_MAX)))]
    servers: u8,
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// The first port of the first server; 0 takes free ones.
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_BASE_PORT)]
    base_port: u16,
}

/// Runs until Ctrl-C.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let mut grapevine = Up::open(args)?;
    let outcome = tokio::select! {
        outcome = grapevine.start() => outcome.map(|()| true),
        () = stop.asked() => Ok(false),
    };
    match outcome {
        Ok(true) => {
            grapevine.tell();
            grapevine.watch(&mut stop).await;
        }
        Ok(false) => {}
        Err(failure) => {
            grapevine.stop().await;
            return Err(failure);
        }
    }
    say("Stopping.");
    grapevine.stop().await;
    Ok(())
}

/// Ctrl-C, or SIGTERM from whoever runs this.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::new)?,
            terminate: signal(SignalKind::terminate()).map_err(Failure::new)?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A Grapevine on this machine.
struct Up {
    dir: PathBuf,
    base_port: u16,
    wanted: u8,
    servers: Vec<Server>,
    first_run: bool,
    is_default: bool,
    _lock: File,
}

impl Up {
    fn open(args: Args) -> Result<Self, Failure> {
        let at = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| Failure::new(format_args!("{path}: {error}"))
        };
        create_private(&args.dir).map_err(at(&args.dir))?;
        // Others read it: whole paths serve them wherever they are.
        let dir = args.dir.canonicalize().map_err(at(&args.dir))?;
        let path = dir.join("up.lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(at(&path))?;
        lock.try_lock().map_err(|_| {
            Failure::new(format_args!(
                "another `grapevine up` runs in {}; stop it, or choose another folder with --dir",
                dir.display()
            ))
        })?;
        Ok(Self {
            first_run: !dir.join(CLUSTER_FILE).exists(),
            is_default: args.dir == Path::new(DEFAULT_DIR),
            dir,
            base_port: args.base_port,
            wanted: args.servers,
            servers: Vec::new(),
            _lock: lock,
        })
    }

    /// Starts what is there, makes what is not.
    async fn start(&mut self) -> Result<(), Failure> {
        let first = self.folder(1);
        if first.record().is_err() {
            let server = self.prepare(1)?;
            let owners = vec![individual(REGISTRAR)?];
            server.begin(&Beginning::Found { owners })?;
        }
        let mut missing = Vec::new();
        for n in 1..=SERVERS_MAX {
            let folder = self.folder(n);
            match folder.record() {
                Ok(record) => {
                    open_dns(&folder.path().join(CONFIG_FILE))?;
                    self.certify(n)?;
                    self.servers.push(Server::start(record.name, folder)?);
                }
                Err(_) if n <= self.wanted => missing.push(n),
                Err(_) => {}
            }
        }
        self.all_ready().await?;
        for n in missing {
            self.add(n).await?;
        }
        self.all_ready().await?;
        if self.first_run {
            self.found_registry().await?;
        }
        self.write_cluster_file()
    }

    async fn all_ready(&mut self) -> Result<(), Failure> {
        for server in &mut self.servers {
            server.ready().await?;
        }
        Ok(())
    }

    /// Makes one server more and lets it in, as `token` and `join` would.
    async fn add(&mut self, n: u8) -> Result<(), Failure> {
        let new = self.prepare(n)?;
        let token = match self.servers.first() {
            Some(server) => make_token(&mut server.admin(), TOKEN_HOURS).await?,
            None => return Err(Failure::new("there is no server to join")),
        };
        join(&token, &new).await?;
        let folder = self.folder(n);
        self.servers.push(Server::start(name_of(n)?, folder)?);
        Ok(())
    }

    fn folder(&self, n: u8) -> DataFolder {
        DataFolder::at(self.dir.join(format!("s{n}")))
    }

    fn prepare(&self, n: u8) -> Result<NewServer, Failure> {
        let loopback = "127.0.0.1".to_owned();
        let hostname = Some("localhost".to_owned());
        let mut places = match self.base_port {
            0 => Places {
                hostname,
                bind: loopback,
                ports: free_ports(&Door::ALL)?,
                certificate: None,
            },
            base => {
                let offset = u16::from(n - 1).saturating_mul(PORTS_PER_SERVER);
                let base = base
                    .checked_add(offset)
                    .ok_or_else(|| Failure::usage("--base-port is too high for so many servers"))?;
                Places::from_base(hostname, loopback, base)
            }
        };
        let folder = self.folder(n);
        create_private(folder.path()).map_err(Failure::new)?;
        self.certify(n)?;
        places.certificate = Some(("front.pem".into(), "front.key".into()));
        NewServer::prepare(name_of(n)?, folder.path(), &places)
    }

    /// A certificate by this folder's own authority, fresh at each start.
    fn certify(&self, n: u8) -> Result<(), Failure> {
        tls::self_made(&self.dir, self.folder(n).path(), &["localhost".to_owned()])
            .map(drop)
            .map_err(Failure::new)
    }

    /// The servers see that the files have changed.
    fn renew_certificates(&self) {
        for n in 1..=SERVERS_MAX {
            let chain = self.folder(n).path().join("front.pem");
            if chain.exists()
                && is_due(&chain, std::time::SystemTime::now())
                && let Err(failure) = self.certify(n)
            {
                tracing::warn!(error = failure.why, "a certificate could not be renewed");
            }
        }
    }

    /// The registry and the individuals of the first run. What is there already, from a first run that
    /// was cut off, is left as it is.
    async fn found_registry(&self) -> Result<(), Failure> {
        let Some(server) = self.servers.first() else {
            return Err(Failure::new("there is no server"));
        };
        let mut admin = server.admin();
        let registry: RegistryName = REGISTRY.parse().map_err(Failure::new)?;
        let mut requests = vec![Request::RegistryCreate {
            registry,
            holders: Vec::new(),
            registrars: vec![individual(REGISTRAR)?],
        }];
        let passwords = self.dir.join("passwords");
        create_private(&passwords).map_err(Failure::new)?;
        for simple in INDIVIDUALS {
            requests.push(Request::IndividualCreate {
                name: individual(simple)?,
                password: Some(keep_password(&passwords.join(simple))?),
                sites: Vec::new(),
            });
        }
        for request in requests {
            match admin.call(&request).await {
                Ok(_) => {}
                Err(refusal) if refusal.kind == ErrorKind::Conflict => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Ok(())
    }

    fn write_cluster_file(&self) -> Result<(), Failure> {
        self.cluster_file()?
            .write(&self.dir.join(CLUSTER_FILE))
            .map_err(Failure::new)
    }

    /// Servers change their keys by themselves: the file follows them.
    fn follow_keys(&self) -> Result<(), Failure> {
        let path = self.dir.join(CLUSTER_FILE);
        let mut fresh = self.cluster_file()?;
        let written = ClusterFile::read(&path).map_err(Failure::new)?;
        for server in &mut fresh.servers {
            let before = written.servers.iter().find(|old| old.name == server.name);
            let Some(before) = before.filter(|old| old.public_key != server.public_key) else {
                // The one before stays until the next change.
                if let Some(before) = before {
                    let kept = before.more_keys.iter().filter(|key| {
                        !server.more_keys.contains(key) && **key != server.public_key
                    });
                    let kept: Vec<_> = kept.take(1).cloned().collect();
                    server.more_keys.extend(kept);
                }
                continue;
            };
            server.more_keys.push(before.public_key.clone());
        }
        if fresh != written {
            fresh.write(&path).map_err(Failure::new)?;
        }
        Ok(())
    }

    fn cluster_file(&self) -> Result<ClusterFile, Failure> {
        let servers = self
            .servers
            .iter()
            .map(|server| {
                let config = server.folder.path().join(CONFIG_FILE);
                let identity = Identity::load(server.folder.path()).map_err(Failure::new)?;
                let next = Identity::next(server.folder.path()).map_err(Failure::new)?;
                Ok(ClusterServer {
                    name: server.name.clone(),
                    pid: server.pid,
                    data: server.folder.path().to_path_buf(),
                    doors: Config::load(&config).map_err(Failure::new)?.listen,
                    config,
                    public_key: identity.public_key(),
                    more_keys: next.iter().map(Identity::public_key).collect(),
                })
            })
            .collect::<Result<_, Failure>>()?;
        let individuals = INDIVIDUALS
            .into_iter()
            .map(|simple| {
                Ok(ClusterIndividual {
                    name: individual(simple)?,
                    password_file: self.dir.join("passwords").join(simple),
                    registrar: simple == REGISTRAR,
                })
            })
            .collect::<Result<_, Failure>>()?;
        Ok(ClusterFile {
            servers,
            individuals,
            ca: self.dir.join("ca.pem"),
        })
    }

    /// Says how to use it: short.
    fn tell(&self) {
        let names: Vec<_> = self
            .servers
            .iter()
            .map(|server| server.name.as_str())
            .collect();
        let dir = shown(&self.dir);
        say(format_args!(
            "\n{} servers are up ({}), in {dir}. In another terminal, here:\n",
            names.len(),
            names.join(", ")
        ));
        let program = called_as();
        // Without it, commands look into the default folder.
        let here = if self.is_default {
            String::new()
        } else {
            format!(" --dir {dir}")
        };
        say(format_args!(
            "Send:       echo hello | {program} send{here} --as birrell@{REGISTRY} needham@{REGISTRY}\n\
             Read:       {program} read{here} --as needham@{REGISTRY}\n\
             Look:       {program} status{here}"
        ));
        for server in self.servers.iter().take(1) {
            let config = Config::load(&server.folder.path().join(CONFIG_FILE));
            let doors = config.map(|config| config.listen).unwrap_or_default();
            let at = |door: Door| doors.get(&door).cloned().unwrap_or_default();
            say(format_args!(
                "\nA mail program: user birrell@{REGISTRY}, password in {dir}/passwords/birrell,\n\
                 \x20 outgoing (SMTP, STARTTLS) {}, incoming (IMAP, TLS) {}\n\
                 \x20 or (POP3, TLS) {}, certificate authority {dir}/ca.pem. Any of the servers will do.",
                at(Door::Submission),
                at(Door::Imaps),
                at(Door::Pop3s),
            ));
        }
        if let Some(last) = self.servers.last() {
            say(format_args!(
                "\nKill one and go on:  kill -9 {}\nStop all:            Ctrl-C; `{program} up{here}` goes on from there.",
                last.pid
            ));
        }
    }

    /// Tells of servers that end, until asked to stop or none is left.
    async fn watch(&mut self, stop: &mut Stop) {
        let mut gone = Vec::new();
        while gone.len() < self.servers.len() {
            let living = self
                .servers
                .iter_mut()
                .filter(|server| !gone.contains(&server.name))
                .map(|server| {
                    Box::pin(async {
                        let how = server.ended().await;
                        (server.name.clone(), how)
                    })
                });
            let ended = select_all(living);
            let ended = tokio::select! {
                (ended, _, _) = ended => Some(ended),
                () = stop.asked() => return,
                () = tokio::time::sleep(KEYS_PERIOD) => None,
            };
            let Some((name, how)) = ended else {
                // A key that is just being put in its place is read the next time.
                if let Err(failure) = self.follow_keys() {
                    tracing::debug!(error = failure.why, "cluster.json stays as it is");
                }
                self.renew_certificates();
                continue;
            };
            complain(format_args!(
                "{name} {how}; it is not restarted, the others go on"
            ));
            gone.push(name);
        }
        complain("no server is left");
    }

    async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }
}

/// How this program is called from the folder it was called in, so that what is said can be pasted.
fn called_as() -> String {
    match std::env::args_os().next() {
        // Found by its name alone: the next one will be, too.
        Some(name) if !name.is_empty() && !name.to_string_lossy().contains('/') => {
            quoted(&name.to_string_lossy())
        }
        Some(_) | None => std::env::current_exe()
            .map_or_else(|_| "grapevine".to_owned(), |program| shown(&program)),
    }
}

/// A path for a shell: from the current folder where it lies below it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let below = here.ok().and_then(|here| path.strip_prefix(here).ok());
    match below {
        Some(below) if below.components().count() > 1 => quoted(&below.to_string_lossy()),
        Some(below) if below != Path::new("") => quoted(&format!("./{}", below.to_string_lossy())),
        Some(_) | None => quoted(&path.to_string_lossy()),
    }
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn name_of(n: u8) -> Result<ServerName, Failure> {
    format!("s{n}").parse().map_err(Failure::new)
}

fn individual(simple: &str) -> Result<Name, Failure> {
    format!("{simple}@{REGISTRY}").parse().map_err(Failure::new)
}

/// The password in a file, which is made where there is none.
fn keep_password(file: &Path) -> Result<Secret, Failure> {
    if !file.exists() {
        let mut random = [0; PASSWORD_BYTES];
        getrandom::fill(&mut random).map_err(Failure::new)?;
        let mut text = data_encoding::BASE32_NOPAD
            .encode(&random)
            .to_lowercase()
            .into_bytes();
        // Writing to a vector does not fail.
        drop(writeln!(text));
        write_private(file, &text).map_err(Failure::new)?;
    }
    password_file(file)
}

/// Where free ports are looked for: below the range that systems give to outgoing connections,
/// which could take a door's port before the door is opened.
const FREE_PORTS: std::ops::Range<u16> = 10_000..20_000;
/// Ports tried before it is given up.
const FREE_PORT_TRIES: usize = 1_000;

/// Ports that nobody has at this moment.
fn free_ports(wanted: &[Door]) -> Result<Vec<(Door, u16)>, Failure> {
    // All are held until the last is found, so that no two are the same.
    let mut held = Vec::new();
    let mut doors = wanted.iter().peekable();
    for _ in 0..FREE_PORT_TRIES {
        let Some(door) = doors.peek() else { break };
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(Failure::new)?;
        let span = FREE_PORTS.end - FREE_PORTS.start;
        let port = FREE_PORTS.start + u16::from_ne_bytes(random) % span;
        let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) else {
            continue;
        };
        // DNS is asked over both.
        let datagrams = UdpSocket::bind(("127.0.0.1", port));
        if **door == Door::Dns && datagrams.is_err() {
            continue;
        }
        held.push((**door, port, (listener, datagrams)));
        doors.next();
    }
    if doors.peek().is_some() {
        return Err(Failure::new(
            "no free ports were found between 10000 and 20000",
        ));
    }
    Ok(held
        .into_iter()
        .map(|(door, port, _)| (door, port))
        .collect())
}

/// Gives a server that was made before there was a DNS door a port for it. Whoever has written
/// about the door, or has no list of doors, is left alone.
fn open_dns(file: &Path) -> Result<(), Failure> {
    let at = |error: std::io::Error| Failure::new(format_args!("{}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(at)?;
    for (door, port) in free_ports(&[Door::Dns])? {
        let line = format!("{} = \"127.0.0.1:{port}\"", door.as_str());
        if let Some(text) = with_door(&text, door, &line) {
            write_private(file, text.as_bytes()).map_err(at)?;
        }
    }
    Ok(())
}

/// A configuration with one door more; none if it speaks of that door, or of no doors.
fn with_door(text: &str, door: Door, line: &str) -> Option<String> {
    let before: toml::Table = text.parse().ok()?;
    if before.get("listen")?.get(door.as_str()).is_some() {
        return None;
    }
    let mut lines: Vec<&str> = text.lines().collect();
    let listen = lines
        .iter()
        .position(|line| line.trim_start().starts_with("[listen]"))?;
    lines.insert(listen + 1, line);
    let after = lines.join("\n") + "\n";
    let parsed: toml::Table = after.parse().ok()?;
    parsed.get("listen")?.get(door.as_str())?;
    Some(after)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_older_configuration_gets_a_door_once_and_a_written_one_stays() {
        let line = "dns = \"127.0.0.1:1\"";
        let old =
            "log = \"info\"\n\n[listen]   # doors\nrpc = \"127.0.0.1:2\"\n\n[tls]\nkey = \"k\"\n";
        let new = with_door(old, Door::Dns, line).unwrap();
        let read: toml::Table = new.parse().unwrap();
        assert_eq!(read["listen"]["dns"].as_str(), Some("127.0.0.1:1"));
        assert_eq!(read["listen"]["rpc"].as_str(), Some("127.0.0.1:2"));
        for text in [
            new.as_str(),
            "[listen]\ndns = \"off\"\n",
            "log = \"info\"\n",
            "[listen",
        ] {
            assert_eq!(with_door(text, Door::Dns, line), None, "{text}");
        }
    }

    #[test]
    fn a_port_for_dns_is_free_for_datagrams_too() {
        let ports = free_ports(&[Door::Dns]).unwrap();
        let at = ("127.0.0.1", ports[0].1);
        assert!(UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok());
    }

    #[test]
    fn a_path_with_a_space_can_be_pasted_into_a_shell() {
        assert_eq!(
            quoted("target/release/grapevine"),
            "target/release/grapevine"
        );
        assert_eq!(quoted("/my mail/it's"), "'/my mail/it'\\''s'");
    }
}
