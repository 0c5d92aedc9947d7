//! A network between a few machines that can be cut: network namespaces with a switch between them, or,
//! where those are not to be had (they need root), relays in user space that look up which server calls.
//!
//! Either way real servers speak real TLS over real sockets, and what is cut is swallowed, not refused.
//! Everything that is made here has a name of this process and goes when it is dropped; nothing else is
//! touched. `GRAPEVINE_TEST_NETWORK=relays` takes the relays also where there are namespaces.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::grapevine::wait_for;
use crate::ports::free_row;

/// Doors of a machine in a namespace begin here: it has all ports to itself.
const NAMESPACE_PORTS: u16 = 7101;
/// A switch that swallows everything is noticed within this.
const TRIAL: Duration = Duration::from_secs(5);
/// One piece of what a relay carries.
const PIECE_BYTES: usize = 64 * 1024;

/// The network.
pub(crate) enum Network {
    Namespaces(Namespaces),
    Relays(Relays),
}

impl Network {
    /// Between so many machines; says which kind it is.
    pub(crate) fn between(machines: usize) -> Self {
        let relays = std::env::var("GRAPEVINE_TEST_NETWORK").is_ok_and(|kind| kind == "relays");
        let made = match relays {
            true => Err("relays are asked for".to_owned()),
            false => Namespaces::new(machines),
        };
        match made {
            Ok(namespaces) => {
                eprintln!("cut by: network namespaces and a bridge");
                Self::Namespaces(namespaces)
            }
            Err(why) => {
                eprintln!("cut by: relays in user space (no network namespaces: {why})");
                Self::Relays(Relays::new(machines))
            }
        }
    }

    /// Where a machine's server is to be reached, for `init` and `join`.
    pub(crate) fn places(&self, machine: usize) -> Vec<String> {
        let (host, port) = match self {
            Self::Namespaces(_) => (address(machine).to_string(), NAMESPACE_PORTS),
            Self::Relays(relays) => ("127.0.0.1".to_owned(), relays.lines[machine].base_port),
        };
        let port = port.to_string();
        ["--hostname", &host, "--bind", &host, "--base-port", &port]
            .map(str::to_owned)
            .into()
    }

    /// What has to be changed in a new server's configuration.
    pub(crate) fn adjust(&self, machine: usize, file: &Path) {
        if let Self::Relays(relays) = self {
            // Others call the relay, under the address that `init` has put on record.
            let line = &relays.lines[machine];
            let own = format!("rpc = \"127.0.0.1:{}\"", line.base_port);
            let behind = format!("rpc = \"127.0.0.1:{}\"", line.behind);
            let text = fs::read_to_string(file).unwrap();
            assert!(text.contains(&own), "{text}");
            let text = text.replacen(&own, &behind, 1);
            fs::write(file, format!("{text}\n[advertise]\n{own}\n")).unwrap();
        }
    }

    /// A program on a machine.
    pub(crate) fn command(&self, machine: usize, program: &str) -> Command {
        match self {
            Self::Namespaces(namespaces) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &namespaces.machines[machine], program]);
                command
            }
            Self::Relays(_) => Command::new(program),
        }
    }

    /// The namespace that a machine is.
    pub(crate) fn namespace(&self, machine: usize) -> Option<String> {
        match self {
            Self::Namespaces(namespaces) => Some(namespaces.machines[machine].clone()),
            Self::Relays(_) => None,
        }
    }

    /// A server runs there, as this process.
    pub(crate) fn runs(&self, machine: usize, process: u32) {
        if let Self::Relays(relays) = self {
            relays.shared.processes.lock().unwrap()[machine] = Some(process);
        }
    }

    /// Takes a machine off the network, in silence.
    pub(crate) fn cut(&self, machine: usize) {
        match self {
            Self::Namespaces(namespaces) => namespaces.plug(machine, &["nomaster"]),
            Self::Relays(relays) => {
                relays.shared.cut.lock().unwrap().insert(machine);
            }
        }
    }

    /// Puts a machine back.
    pub(crate) fn heal(&self, machine: usize) {
        match self {
            Self::Namespaces(namespaces) => namespaces.plug(machine, &["master", "switch"]),
            Self::Relays(relays) => {
                relays.shared.cut.lock().unwrap().remove(&machine);
            }
        }
    }
}

/// Calls an address of a namespace, or of this process's own one.
pub(crate) fn connect(namespace: Option<&str>, at: &str) -> std::io::Result<TcpStream> {
    match namespace {
        None => TcpStream::connect(at),
        Some(namespace) => inside(namespace, || TcpStream::connect(at)),
    }
}

/// Does something in a namespace. A socket stays where it was made, whoever uses it.
fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(Path::new("/var/run/netns").join(namespace)).unwrap();
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        worker.join().unwrap()
    })
}

fn address(machine: usize) -> Ipv4Addr {
    // Nothing of this machine's own networks can be seen from there: any private net will do.
    Ipv4Addr::new(10, 99, 0, u8::try_from(machine + 1).unwrap())
}

/// A namespace for each machine, and one for the switch.
pub(crate) struct Namespaces {
    machines: Vec<String>,
    switch: String,
}

impl Namespaces {
    fn new(machines: usize) -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("gvtest-{}-{nth}", std::process::id());
        // Dropped, and so removed, wherever this fails.
        let mut made = Self {
            machines: Vec::new(),
            switch: format!("{prefix}-switch"),
        };
        let switch = made.switch.clone();
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "add", "switch", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "switch", "up"])?;
        for machine in 0..machines {
            let (name, port) = (format!("{prefix}-m{machine}"), format!("p{machine}"));
            ip(&["netns", "add", &name])?;
            made.machines.push(name.clone());
            let there = ["-n", &name];
            let veth = ["link", "add", "eth0", "type", "veth", "peer", "name", &port];
            ip(&[&there[..], &veth, &["netns", &switch]].concat())?;
            let place = format!("{}/24", address(machine));
            ip(&[&there[..], &["addr", "add", &place, "dev", "eth0"]].concat())?;
            for link in ["lo", "eth0"] {
                ip(&[&there[..], &["link", "set", link, "up"]].concat())?;
            }
            ip(&[
                "-n", &switch, "link", "set", &port, "up", "master", "switch",
            ])?;
        }
        made.carries()?;
        Ok(made)
    }

    /// Whether the switch carries anything: in some containers it does not.
    fn carries(&self) -> Result<(), String> {
        let at = SocketAddr::from((address(0), NAMESPACE_PORTS));
        let listener = inside(&self.machines[0], || TcpListener::bind(at));
        let _listener = listener.map_err(|error| error.to_string())?;
        let last = self.machines.last().unwrap();
        inside(last, || TcpStream::connect_timeout(&at, TRIAL))
            .map(drop)
            .map_err(|error| format!("the switch carries nothing: {error}"))
    }

    fn plug(&self, machine: usize, how: &[&str]) {
        let port = format!("p{machine}");
        let set = ["-n", &self.switch, "link", "set", &port];
        ip(&[&set[..], how].concat()).unwrap();
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in self.machines.iter().chain([&self.switch]) {
            // It may not have come into being.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// A relay before each server's rpc door.
pub(crate) struct Relays {
    lines: Vec<Line>,
    shared: Arc<Shared>,
}

/// One relay's ports.
struct Line {
    base_port: u16,
    /// The server's own.
    behind: u16,
}

#[derive(Default)]
struct Shared {
    processes: Mutex<Vec<Option<u32>>>,
    cut: Mutex<BTreeSet<usize>>,
    over: AtomicBool,
}

impl Relays {
    fn new(machines: usize) -> Self {
        let shared = Arc::new(Shared::default());
        shared.processes.lock().unwrap().resize(machines, None);
        let mut lines: Vec<Line> = Vec::new();
        for machine in 0..machines {
            // The second half is for what is behind.
            let base_port = free_row(40);
            let line = Line {
                base_port,
                behind: base_port + 20,
            };
            let listener = TcpListener::bind(("127.0.0.1", line.base_port)).unwrap();
            let (shared, behind) = (Arc::clone(&shared), line.behind);
            thread::spawn(move || relay(&listener, machine, behind, &shared));
            lines.push(line);
        }
        Self { lines, shared }
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for line in &self.lines {
            // So that it looks.
            let _ = TcpStream::connect(("127.0.0.1", line.base_port));
        }
    }
}

fn relay(listener: &TcpListener, to: usize, behind: u16, shared: &Arc<Shared>) {
    for caller in listener.incoming().map_while(Result::ok) {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let from = shared.who(caller.peer_addr().ok()?.port());
            shared.wait(from, to);
            let server = TcpStream::connect(("127.0.0.1", behind)).ok()?;
            let back = (server.try_clone().ok()?, caller.try_clone().ok()?);
            let other = Arc::clone(&shared);
            thread::spawn(move || other.carry(back.0, back.1, from, to));
            shared.carry(caller, server, from, to);
            Some(())
        });
    }
}

impl Shared {
    /// The server whose process has this port of loopback; none for a client.
    fn who(&self, port: u16) -> Option<usize> {
        let inode = inode_of(port)?;
        let socket = format!("socket:[{inode}]");
        let processes = self.processes.lock().unwrap().clone();
        processes.iter().position(|process| {
            let folder = process.map(|process| format!("/proc/{process}/fd"));
            let entries = folder.and_then(|folder| fs::read_dir(folder).ok());
            entries.is_some_and(|mut entries| {
                entries.any(|entry| {
                    let target = entry.and_then(|entry| fs::read_link(entry.path()));
                    target.is_ok_and(|target| target.as_os_str() == socket.as_str())
                })
            })
        })
    }

    fn passes(&self, from: Option<usize>, to: usize) -> bool {
        let cut = self.cut.lock().unwrap();
        from.is_none_or(|from| !cut.contains(&from) && !cut.contains(&to))
            || self.over.load(Ordering::Relaxed)
    }

    /// As a network does that swallows what is sent, and then the repetitions get through.
    fn wait(&self, from: Option<usize>, to: usize) {
        if !self.passes(from, to) {
            wait_for("the relay's line to be healed", || self.passes(from, to));
        }
    }

    fn carry(&self, mut source: TcpStream, mut sink: TcpStream, from: Option<usize>, to: usize) {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = source.read(&mut piece).unwrap_or(0);
            self.wait(from, to);
            if read == 0 || sink.write_all(&piece[..read]).is_err() {
                let _ = sink.shutdown(Shutdown::Write);
                let _ = source.shutdown(Shutdown::Read);
                return;
            }
        }
    }
}

/// The inode of the socket that is connected from this port of loopback.
fn inode_of(port: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let local = format!("0100007F:{port:04X}");
    table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        (*columns.get(1)? == local).then(|| columns.get(9)?.parse().ok())?
    })
}
