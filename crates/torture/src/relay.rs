//! A relay in user space before each server's rpc door, where what goes one way can be swallowed, and connections broken.
//!
//! Servers know each other by the relays' addresses; who calls is looked up in `/proc`, so that a line between two servers is cut
//! and a client's is not. What is cut is held back, not refused, as a network does it where repetitions get through afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use crate::plan::Way;

/// A caller is looked up so often, until he is found.
const LOOKS: u32 = 5;
/// One piece of what a relay carries.
const PIECE_BYTES: usize = 64 * 1024;

/// The relays of all machines.
pub(crate) struct Relays {
    ports: Vec<u16>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<Lines>,
    changed: Condvar,
    next: AtomicU64,
}

#[derive(Default)]
struct Lines {
    processes: Vec<Option<u32>>,
    /// How many cuts each way has: cuts may overlap.
    cut: BTreeMap<Way, usize>,
    open: BTreeMap<u64, Open>,
    over: bool,
}

/// A connection that is being carried.
struct Open {
    from: Option<usize>,
    to: usize,
    ends: [Weak<TcpStream>; 2],
}

impl Relays {
    /// One before each of these: the port where it listens, and the one where its server does.
    ///
    /// # Errors
    /// A port is taken.
    pub(crate) fn before(lines: &[(u16, u16)]) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.lock().processes.resize(lines.len(), None);
        let mut ports = Vec::new();
        for (machine, (port, behind)) in lines.iter().copied().enumerate() {
            let listener = TcpListener::bind(("127.0.0.1", port))?;
            let shared = Arc::clone(&shared);
            thread::spawn(move || listen(&listener, machine, behind, &shared));
            ports.push(port);
        }
        Ok(Self { ports, shared })
    }

    /// A machine's server runs as this process, or not.
    pub(crate) fn runs(&self, machine: usize, process: Option<u32>) {
        if let Some(place) = self.shared.lock().processes.get_mut(machine) {
            *place = process;
        }
    }

    /// Nothing gets through these ways.
    pub(crate) fn cut(&self, ways: &[Way]) {
        let mut lines = self.shared.lock();
        for way in ways {
            *lines.cut.entry(*way).or_default() += 1;
        }
    }

    /// It does again, where no other cut is in the way.
    pub(crate) fn heal(&self, ways: &[Way]) {
        let mut lines = self.shared.lock();
        for way in ways {
            if let Some(cuts) = lines.cut.get_mut(way) {
                *cuts = cuts.saturating_sub(1);
            }
        }
        self.shared.changed.notify_all();
    }

    /// Whose connections are carried to whom, and what is cut: for a person.
    pub(crate) fn story(&self) -> String {
        let lines = self.shared.lock();
        let open: Vec<_> = lines
            .open
            .values()
            .map(|open| (open.from, open.to))
            .collect();
        format!(
            "processes {:?}, open {open:?}, cut {:?}",
            lines.processes, lines.cut
        )
    }

    /// Breaks a machine's connections with the other servers, and leaves clients alone.
    pub(crate) fn sever(&self, machine: usize) {
        for open in self.shared.lock().open.values() {
            if open.from.is_some() && (open.from == Some(machine) || open.to == machine) {
                for end in open.ends.iter().filter_map(Weak::upgrade) {
                    // It may have ended by itself.
                    let _ = end.shutdown(Shutdown::Both);
                }
            }
        }
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        for port in &self.ports {
            // So that it looks.
            let _ = TcpStream::connect(("127.0.0.1", *port));
        }
    }
}

fn listen(listener: &TcpListener, to: usize, behind: u16, shared: &Arc<Shared>) {
    for caller in listener.incoming().map_while(Result::ok) {
        if shared.lock().over {
            return;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let at = caller.local_addr().ok()?.port();
            let from = shared.who(caller.peer_addr().ok()?.port(), at);
            shared.wait(from, Some(to));
            let caller = Arc::new(caller);
            let server = Arc::new(TcpStream::connect(("127.0.0.1", behind)).ok()?);
            for end in [&caller, &server] {
                end.set_nodelay(true).ok()?;
            }
            let number = shared.next.fetch_add(1, Ordering::Relaxed);
            let ends = [Arc::downgrade(&caller), Arc::downgrade(&server)];
            shared.lock().open.insert(number, Open { from, to, ends });
            let (back, forth) = (Arc::clone(&server), Arc::clone(&caller));
            let other = Arc::clone(&shared);
            let answers = thread::spawn(move || other.carry(&back, &forth, Some(to), from));
            shared.carry(&caller, &server, from, Some(to));
            let _ = answers.join();
            shared.lock().open.remove(&number);
            Some(())
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server whose process has called from this port of loopback to that one; none for a client.
    fn who(&self, port: u16, called: u16) -> Option<usize> {
        // The table is not read in one moment: where much comes and goes, a line may be passed over.
        let inode = (0..LOOKS).find_map(|_| inode_of(port, called))?;
        let socket = format!("socket:[{inode}]");
        let processes = self.lock().processes.clone();
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

    /// Until nothing is in the way.
    fn wait(&self, from: Option<usize>, to: Option<usize>) {
        let (Some(from), Some(to)) = (from, to) else {
            return;
        };
        let way = Way { from, to };
        let mut lines = self.lock();
        while !lines.over && lines.cut.get(&way).is_some_and(|cuts| *cuts > 0) {
            lines = self
                .changed
                .wait(lines)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn carry(
        &self,
        mut source: &TcpStream,
        mut sink: &TcpStream,
        from: Option<usize>,
        to: Option<usize>,
    ) {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = source.read(&mut piece).unwrap_or(0);
            self.wait(from, to);
            let got = piece.get(..read).unwrap_or_default();
            if got.is_empty() || sink.write_all(got).is_err() {
                let _ = sink.shutdown(Shutdown::Write);
                let _ = source.shutdown(Shutdown::Read);
                return;
            }
        }
    }
}

/// The inode of the socket that is connected from this port of loopback to that one: a port may have several connections, and some
/// that are over.
fn inode_of(port: u16, called: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let local = format!("0100007F:{port:04X}");
    let remote = format!("0100007F:{called:04X}");
    table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        (*columns.get(1)? == local && *columns.get(2)? == remote)
            .then(|| columns.get(9)?.parse().ok())?
    })
}
