//! Machines with a server each, as an operator makes them: `init`, `token`, `join`, `serve`, `retire`; and what becomes of them.
//!
//! Everything is in a temporary folder and on loopback. Must end what it started, and nothing else.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::disk::{Disk, Disks};
use crate::pause;
use crate::relay::Relays;

/// The registry of the first server.
pub(crate) const FIRST_REGISTRY: &str = "pa.example";
/// Who administers everything.
pub(crate) const REGISTRAR: &str = "taft@pa.example";
/// His password.
pub(crate) const PASSWORD: &str = "correct horse battery";
/// Doors of a server that follow one another: all that there are, and some to spare.
const DOORS: u16 = 16;
/// A machine has a row of ports for its relay, and one behind it.
const ROW: u16 = 2 * DOORS;
/// Where free ports are looked for: below those that the system gives out by itself, and apart from those of `up` and
/// of the tests beside.
const PORTS: std::ops::Range<u16> = 28_000..32_000;
/// A server is ready within this, also after a kill and on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// An ordered stop takes 15 s at most by itself.
const STOP: Duration = Duration::from_secs(40);

/// The doors of a server that clients use, and how its certificate is checked.
#[derive(Clone)]
pub(crate) struct Place {
    /// What the server is called now.
    pub(crate) server: String,
    /// Its door for GrapevineUser, through its relay.
    pub(crate) rpc: String,
    /// For mail from other systems.
    pub(crate) smtp: String,
    /// For its own users' mail, TLS from the first byte.
    pub(crate) submissions: String,
    /// For reading, TLS from the first byte.
    pub(crate) pop3s: String,
    /// For mail programs that keep folders, TLS from the first byte.
    pub(crate) imaps: String,
    /// For mail servers beside it.
    pub(crate) lmtp: String,
    /// For directory clients, TLS from the first byte.
    pub(crate) ldaps: String,
    /// The API.
    pub(crate) https: String,
    /// Trusts its authority alone.
    pub(crate) tls: Arc<ClientConfig>,
}

/// All machines' places; a machine that was rebuilt has a new one.
#[derive(Clone)]
pub(crate) struct Places(Arc<RwLock<Vec<Place>>>);

impl Places {
    /// How many machines there are.
    pub(crate) fn count(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A machine's.
    pub(crate) fn get(&self, machine: usize) -> Option<Place> {
        let places = self.0.read().unwrap_or_else(PoisonError::into_inner);
        places.get(machine).cloned()
    }

    /// Where GrapevineUser may begin.
    pub(crate) fn rpc(&self) -> Vec<String> {
        let places = self.0.read().unwrap_or_else(PoisonError::into_inner);
        places.iter().map(|place| place.rpc.clone()).collect()
    }
}

struct Machine {
    base_port: u16,
    name: String,
    dir: PathBuf,
    /// How many servers this machine has had.
    lives: u32,
    clock_off_ms: i64,
    child: Option<Child>,
    /// Its program: one of two.
    runs_other: bool,
    /// Its own disk, where one can be mounted.
    disk: Option<Disk>,
}

impl Machine {
    fn at(base_port: u16, name: String) -> Self {
        Self {
            base_port,
            name,
            dir: PathBuf::new(),
            lives: 0,
            clock_off_ms: 0,
            child: None,
            runs_other: false,
            disk: None,
        }
    }
}

/// What a run's servers are made of.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// What they begin with.
    pub(crate) first: PathBuf,
    /// What they are replaced by when the program is rolled.
    pub(crate) other: PathBuf,
    /// The mistake that each of them makes on purpose, where it was built for that.
    pub(crate) planted: Option<String>,
    /// Where their folders are.
    pub(crate) disks: Disks,
}

/// All machines.
pub(crate) struct Machines {
    programs: Programs,
    /// The ports of a machine more.
    spare_port: u16,
    folder: PathBuf,
    machines: Vec<Machine>,
    /// Between them.
    pub(crate) relays: Relays,
    /// For clients.
    pub(crate) places: Places,
    names_given: usize,
}

impl Machines {
    /// So many servers, ready.
    ///
    /// # Errors
    /// One does not start, or says no.
    pub(crate) fn up(programs: Programs, folder: &Path, count: usize) -> anyhow::Result<Self> {
        let mut base_ports = free_rows(count + 1)?;
        let lines: Vec<_> = base_ports
            .iter()
            .map(|port| (*port, port + DOORS))
            .collect();
        let mut all = Self {
            programs,
            spare_port: base_ports.pop().unwrap_or_default(),
            folder: folder.to_path_buf(),
            machines: Vec::new(),
            relays: Relays::before(&lines).context("the relays' ports")?,
            places: Places(Arc::default()),
            names_given: count,
        };
        for (machine, base_port) in base_ports.into_iter().enumerate() {
            let name = format!("s{}", machine + 1);
            all.machines.push(Machine::at(base_port, name));
            match machine {
                0 => all.found()?,
                _ => all.join(machine, 0)?,
            }
            all.start(machine)?;
        }
        Ok(all)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.machines.len()
    }

    fn machine(&self, machine: usize) -> anyhow::Result<&Machine> {
        self.machines.get(machine).context("no such machine")
    }

    fn machine_mut(&mut self, machine: usize) -> anyhow::Result<&mut Machine> {
        self.machines.get_mut(machine).context("no such machine")
    }

    /// What a machine's server is called.
    pub(crate) fn name(&self, machine: usize) -> String {
        self.machines
            .get(machine)
            .map_or_else(String::new, |machine| machine.name.clone())
    }

    /// Its folder.
    pub(crate) fn dir(&self, machine: usize) -> PathBuf {
        self.machines
            .get(machine)
            .map_or_else(PathBuf::new, |machine| machine.dir.clone())
    }

    /// Whether its server's process is there.
    pub(crate) fn runs(&mut self, machine: usize) -> bool {
        let machine = self.machines.get_mut(machine);
        let child = machine.and_then(|machine| machine.child.as_mut());
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn new_dir(&mut self, machine: usize) -> anyhow::Result<PathBuf> {
        let folder = self.folder.clone();
        let disks = self.programs.disks;
        let this = self.machine_mut(machine)?;
        this.lives += 1;
        this.clock_off_ms = 0;
        this.dir = folder.join(format!(
            "machine{}-{}-{}",
            machine + 1,
            this.lives,
            this.name
        ));
        // The one before goes first.
        this.disk = None;
        if disks == Disks::Small {
            this.disk = Disk::mounted(&this.dir);
        }
        Ok(this.dir.clone())
    }

    fn made(&self, machine: usize, mut command: Command, input: &str) -> anyhow::Result<()> {
        let this = self.machine(machine)?;
        command
            .args([
                "--name",
                &this.name,
                "--hostname",
                "localhost",
                "--bind",
                "127.0.0.1",
            ])
            .args(["--base-port", &this.base_port.to_string(), "--dir"])
            .arg(&this.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // The one that founds reads nothing.
        let _ = child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{}: {}", this.name, said(&output));
        // Others call the relay, under the address that is on record; the doors are behind it.
        let file = this.dir.join("grapevine.toml");
        let text = fs::read_to_string(&file)?;
        let own = format!("rpc = \"127.0.0.1:{}\"", this.base_port);
        let behind = format!("rpc = \"127.0.0.1:{}\"", this.base_port + DOORS);
        ensure!(text.contains(&own), "no {own} in {text}");
        let text = text.replacen(&own, &behind, 1);
        fs::write(&file, format!("{text}\n[advertise]\n{own}\n"))?;
        Ok(())
    }

    fn found(&mut self) -> anyhow::Result<()> {
        self.new_dir(0)?;
        let password = self.folder.join("password");
        fs::write(&password, format!("{PASSWORD}\n"))?;
        let mut command = self.program();
        command
            .args([
                "init",
                "--registry",
                FIRST_REGISTRY,
                "--registrar",
                "taft",
                "--password-file",
            ])
            .arg(password);
        self.made(0, command, "")
    }

    /// A new folder for a machine's server, let in by another machine's.
    ///
    /// # Errors
    /// It is not let in.
    pub(crate) fn join(&mut self, machine: usize, by: usize) -> anyhow::Result<()> {
        let mut command = self.program();
        command.args(["token", "--dir"]).arg(self.dir(by));
        let token = command.output()?;
        ensure!(token.status.success(), "token: {}", said(&token));
        self.new_dir(machine)?;
        let mut command = self.program();
        command.args(["join", "-"]);
        self.made(machine, command, &String::from_utf8(token.stdout)?)
    }

    /// From now on a machine's server has another name than any had.
    pub(crate) fn rename(&mut self, machine: usize) {
        self.names_given += 1;
        let name = format!("s{}", self.names_given);
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.name = name;
        }
    }

    /// A server is struck off, at another machine.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) fn retire(&self, server: &str, at: usize) -> anyhow::Result<()> {
        let mut command = self.program();
        command.args(["retire", server, "--dir"]).arg(self.dir(at));
        let output = command.output()?;
        ensure!(
            output.status.success(),
            "retire {server}: {}",
            said(&output)
        );
        Ok(())
    }

    /// A command of a machine's operator.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn operator(&self, machine: usize, args: &[&str]) -> anyhow::Result<String> {
        let mut command = self.program();
        command.args(args).arg("--operator").arg(self.dir(machine));
        let output = command.output()?;
        ensure!(output.status.success(), "{args:?}: {}", said(&output));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn program(&self) -> Command {
        let mut command = Command::new(&self.programs.first);
        command
            .env_remove("GRAPEVINE_SERVERS")
            .env("GRAPEVINE_CONFIG", self.folder.join("operator"))
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    /// The program of a machine's server now.
    fn program_of(&self, machine: usize) -> anyhow::Result<Command> {
        let path = match self.machine(machine)?.runs_other {
            true => &self.programs.other,
            false => &self.programs.first,
        };
        let mut command = Command::new(path);
        command
            .env_remove("GRAPEVINE_SERVERS")
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        if let Some(planted) = &self.programs.planted {
            command.env("GRAPEVINE_PLANTED", planted);
        }
        Ok(command)
    }

    /// A machine's server is the other program from its next start on.
    pub(crate) fn replace_program(&mut self, machine: usize) {
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.runs_other = !machine.runs_other;
        }
    }

    /// One that has ended by itself leaves nothing behind.
    fn reap_the_dead(&mut self, machine: usize) {
        if !self.runs(machine) {
            self.reap(machine);
        }
    }

    /// A machine's disk; none where there are no small ones.
    pub(crate) fn disk(&self, machine: usize) -> Option<&Disk> {
        self.machines.get(machine)?.disk.as_ref()
    }

    /// A machine more, with a server that another one lets in.
    ///
    /// # Errors
    /// It does not come in, or there is one already.
    pub(crate) fn add(&mut self, by: usize) -> anyhow::Result<usize> {
        let machine = self.machines.len();
        self.machines
            .push(Machine::at(self.spare_port, String::new()));
        self.rename(machine);
        self.join(machine, by)?;
        self.start(machine)?;
        Ok(machine)
    }

    /// What a machine's server has logged.
    pub(crate) fn log(&self, machine: usize) -> String {
        let file = self.dir(machine).with_extension("log");
        fs::read_to_string(file).unwrap_or_default()
    }

    /// Starts a machine's server, and does not wait for it.
    ///
    /// # Errors
    /// There is no such program, or no folder.
    pub(crate) fn launch(&mut self, machine: usize) -> anyhow::Result<()> {
        self.reap_the_dead(machine);
        let mut command = self.program_of(machine)?;
        let this = self.machine_mut(machine)?;
        // Not on its disk, which may be full.
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(this.dir.with_extension("log"))?;
        command
            .args(["serve", "--config"])
            .arg(this.dir.join("grapevine.toml"))
            .env(
                "GRAPEVINE_TEST_CLOCK_OFFSET_MS",
                this.clock_off_ms.to_string(),
            )
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn()?;
        let process = child.id();
        this.child = Some(child);
        self.relays.runs(machine, Some(process));
        Ok(())
    }

    /// Starts a machine's server, and waits until it is ready.
    ///
    /// # Errors
    /// It is not ready in time.
    pub(crate) fn start(&mut self, machine: usize) -> anyhow::Result<()> {
        self.launch(machine)?;
        self.wait_until_ready(machine)?;
        let place = self.place(machine)?;
        let mut places = self
            .places
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match places.get_mut(machine) {
            Some(old) => *old = place,
            None => places.push(place),
        }
        Ok(())
    }

    /// Until it answers that it is ready.
    ///
    /// # Errors
    /// It does not, in time.
    pub(crate) fn wait_until_ready(&mut self, machine: usize) -> anyhow::Result<()> {
        let http = format!("127.0.0.1:{}", self.machine(machine)?.base_port + 1);
        let begun = Instant::now();
        while !is_ready(&http) {
            if begun.elapsed() > READY || !self.runs(machine) {
                let log = self.log(machine);
                let end: Vec<&str> = log.lines().rev().take(5).collect();
                bail!("machine {} is not ready: {end:#?}", machine + 1);
            }
            pause(Duration::from_millis(50));
        }
        Ok(())
    }

    fn place(&self, machine: usize) -> anyhow::Result<Place> {
        let this = self.machine(machine)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(this.dir.join("ca.pem"))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let at = |door: u16| format!("127.0.0.1:{}", this.base_port + door);
        // In the order in which `--base-port` gives them out.
        Ok(Place {
            server: this.name.clone(),
            rpc: at(0),
            smtp: at(2),
            submissions: at(4),
            pop3s: at(6),
            ldaps: at(8),
            https: at(10),
            lmtp: at(11),
            imaps: at(13),
            tls: Arc::new(tls),
        })
    }

    /// Its clock is off by so much when it is started next, and from then on.
    pub(crate) fn move_clock(&mut self, machine: usize, off_ms: i64) {
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.clock_off_ms = off_ms;
        }
    }

    /// Sends a signal to a machine's server, if it runs.
    pub(crate) fn signal(&mut self, machine: usize, signal: Signal) {
        if self.runs(machine)
            && let Some(child) = self.machines.get(machine).and_then(|m| m.child.as_ref())
            && let Ok(process) = i32::try_from(child.id())
        {
            // It may end by itself in this moment.
            let _ = kill(Pid::from_raw(process), signal);
        }
    }

    /// Ends a machine's server without a warning.
    pub(crate) fn kill(&mut self, machine: usize) {
        self.signal(machine, Signal::SIGKILL);
        self.reap(machine);
    }

    fn reap(&mut self, machine: usize) {
        self.relays.runs(machine, None);
        if let Some(machine) = self.machines.get_mut(machine)
            && let Some(mut child) = machine.child.take()
        {
            // Its exit code is looked at where it matters.
            let _ = child.wait();
        }
    }

    /// Ends a machine's server in order; says so where that took too long or went wrong.
    pub(crate) fn terminate(&mut self, machine: usize) -> Option<String> {
        self.signal(machine, Signal::SIGTERM);
        let begun = Instant::now();
        while self.runs(machine) {
            if begun.elapsed() > STOP {
                self.kill(machine);
                return Some(format!(
                    "machine {} did not end on SIGTERM within {STOP:?}",
                    machine + 1
                ));
            }
            pause(Duration::from_millis(20));
        }
        let child = self
            .machines
            .get_mut(machine)
            .and_then(|m| m.child.as_mut());
        let status = child.and_then(|child| child.wait().ok());
        self.reap(machine);
        match status {
            Some(status) if !status.success() => Some(format!(
                "machine {} ended on SIGTERM with {status}",
                machine + 1
            )),
            _ => None,
        }
    }

    /// The last machine's server is switched off, and the machine is no more.
    ///
    /// # Errors
    /// It did not end in order.
    pub(crate) fn remove_last(&mut self) -> anyhow::Result<()> {
        let last = self.machines.len().saturating_sub(1);
        if let Some(wrong) = self.terminate(last) {
            bail!(wrong);
        }
        self.machines.pop();
        let mut places = self
            .places
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        places.pop();
        Ok(())
    }

    /// A machine with all that is on it is lost, but its log, which is elsewhere.
    ///
    /// # Errors
    /// The folder can't be removed.
    pub(crate) fn destroy(&mut self, machine: usize) -> anyhow::Result<()> {
        self.kill(machine);
        let this = self.machine_mut(machine)?;
        this.disk = None;
        fs::remove_dir_all(&this.dir)?;
        Ok(())
    }

    /// All logs, each with its file's name.
    pub(crate) fn logs(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut logs: Vec<_> = entries
            .filter_map(|entry| {
                let path = entry.path();
                let is_log = path.extension().is_some_and(|kind| kind == "log");
                let name = path.file_stem()?.to_string_lossy().into_owned();
                is_log.then(|| Some((name, fs::read_to_string(&path).ok()?)))?
            })
            .collect();
        logs.sort();
        logs
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for machine in 0..self.machines.len() {
            self.kill(machine);
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn is_ready(http: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        use std::io::Read as _;
        let mut stream = std::net::TcpStream::connect(http)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}

/// The first of rows of ports that are free. Runs side by side begin to look in different places.
fn free_rows(count: usize) -> anyhow::Result<Vec<u16>> {
    let rows: Vec<u16> = PORTS.step_by(usize::from(ROW)).collect();
    let begin = std::process::id() as usize % rows.len();
    let is_free =
        |base: &u16| (*base..base + ROW).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    let found: Vec<u16> = rows
        .iter()
        .cycle()
        .skip(begin)
        .take(rows.len())
        .copied()
        .filter(is_free)
        .take(count)
        .collect();
    ensure!(found.len() == count, "no {count} rows of free ports");
    Ok(found)
}
