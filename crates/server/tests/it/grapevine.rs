//! A Grapevine of real processes in a folder of its own, ended when the test ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::ports::free_row;

/// Everything here takes seconds; this is for a machine that is busy with other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// Between two looks at a state that is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// For the servers of one `up`, 20 for each.
const PORTS_OF_UP: u16 = 100;
/// What stdout may be ahead of the test.
const LINES_AHEAD: usize = 1_000;

/// The program under test.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grapevine"));
    command.env_remove("GRAPEVINE_SERVERS").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

/// What a command said on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "waited in vain for: {what}");
        // A look at another process's state can't be waited for in any other way.
        let (_sender, never) = sync_channel::<()>(0);
        let _ = never.recv_timeout(LOOK);
    }
}

/// `grapevine up` in a folder.
pub(crate) struct Grapevine {
    child: Child,
    lines: Mutex<Receiver<String>>,
    said: String,
    /// Its folder.
    pub(crate) dir: PathBuf,
    _temp: Option<TempDir>,
}

impl Grapevine {
    /// So many servers in a new folder, ready.
    pub(crate) fn up(servers: usize) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("d");
        let mut grapevine = Self::up_in(&dir, servers);
        grapevine._temp = Some(temp);
        grapevine
    }

    /// In this folder.
    pub(crate) fn up_in(dir: &Path, servers: usize) -> Self {
        let base_port = free_row(PORTS_OF_UP);
        let mut child = program()
            .args(["up", "--base-port", &base_port.to_string()])
            .args(["--servers", &servers.to_string(), "--dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(LINES_AHEAD);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut grapevine = Self {
            child,
            lines: Mutex::new(lines),
            said: String::new(),
            dir: dir.to_path_buf(),
            _temp: None,
        };
        grapevine.wait_for_line("Ctrl-C");
        grapevine
    }

    /// Waits for a line of its output that has this in it.
    pub(crate) fn wait_for_line(&mut self, part: &str) {
        loop {
            match self.lines.get_mut().unwrap().recv_timeout(LIMIT) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                    if line.contains(part) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {part:?} in:\n{}\n{}", self.said, self.logs());
                }
            }
        }
    }

    /// All it has said on stdout.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    /// `cluster.json`.
    pub(crate) fn cluster(&self) -> Value {
        serde_json::from_slice(&fs::read(self.dir.join("cluster.json")).unwrap()).unwrap()
    }

    /// The doors of a server, by name.
    pub(crate) fn doors(&self, server: usize) -> BTreeMap<String, String> {
        let cluster = self.cluster();
        serde_json::from_value(cluster["servers"][server]["doors"].clone()).unwrap()
    }

    /// The process of a server.
    pub(crate) fn pid(&self, server: usize) -> Pid {
        let pid = self.cluster()["servers"][server]["pid"].as_i64().unwrap();
        Pid::from_raw(pid.try_into().unwrap())
    }

    /// The password of an individual of the first run.
    pub(crate) fn password(&self, simple: &str) -> String {
        let file = self.dir.join("passwords").join(simple);
        fs::read_to_string(file).unwrap().trim().to_owned()
    }

    /// Ends a server without a warning.
    pub(crate) fn kill(&self, server: usize) {
        let pid = self.pid(server);
        kill(pid, Signal::SIGKILL).unwrap();
        wait_for("the killed process to be gone", || kill(pid, None).is_err());
    }

    /// Ends `grapevine up` itself without a warning.
    pub(crate) fn kill_up(&self) {
        kill(
            Pid::from_raw(self.child.id().try_into().unwrap()),
            Signal::SIGKILL,
        )
        .unwrap();
    }

    /// Stops it as Ctrl-C does.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        kill(
            Pid::from_raw(self.child.id().try_into().unwrap()),
            Signal::SIGINT,
        )
        .unwrap();
        self.child.wait().unwrap()
    }

    /// The servers' logs.
    pub(crate) fn logs(&self) -> String {
        let mut all = String::new();
        for n in 1..=20 {
            let path = self.dir.join(format!("s{n}/log"));
            if let Ok(text) = fs::read_to_string(&path) {
                all.push_str(&format!("== s{n}\n{text}"));
            }
        }
        all
    }

    /// Fails if a server has logged an error: that is for a person to act on.
    pub(crate) fn expect_no_errors(&self) {
        let logs = self.logs();
        let errors: Vec<_> = logs
            .lines()
            .filter(|line| line.contains(" ERROR ") || line.contains("panicked"))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

impl Drop for Grapevine {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// One GET over HTTP/1.0: status and body.
pub(crate) fn get(at: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1.to_owned();
    Some((status, body))
}
