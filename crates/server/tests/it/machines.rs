//! Three servers on machines of their own, made as an operator makes them, on a network that can be cut.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::grapevine::{stderr, wait_for};
use crate::http::done;
use crate::http_client::Client;
use crate::network::Network;
use crate::pair::token;

pub(crate) const REGISTRAR: &str = "taft@pa.example";
pub(crate) const PASSWORD: &str = "correct horse battery";
/// The http door's place in the row of ports.
const HTTP: &str = "http = ";

/// The machines.
pub(crate) struct Machines {
    servers: Vec<Server>,
    pub(crate) network: Network,
    _temp: TempDir,
}

struct Server {
    dir: PathBuf,
    http: String,
    child: Child,
}

impl Machines {
    /// So many servers that hear each other.
    pub(crate) fn up(machines: usize) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut all = Self {
            servers: Vec::new(),
            network: Network::between(machines),
            _temp: temp,
        };
        for machine in 0..machines {
            all.start(machine);
        }
        // The first two hold it by themselves.
        for machine in 2..machines {
            let name = format!("s{}", machine + 1);
            all.operator(0, &["registry", "holders", "pa.example", "--add", &name]);
        }
        all.wait_for_equal_digests();
        wait_for("all to hear each other", || {
            (0..machines).all(|machine| all.heard(machine).values().all(|up| *up))
        });
        all
    }

    fn start(&mut self, machine: usize) {
        let name = format!("s{}", machine + 1);
        let dir = self._temp.path().join(&name);
        let mut command = self.command(machine);
        let mut input = String::new();
        if machine == 0 {
            let password = self._temp.path().join("password");
            fs::write(&password, format!("{PASSWORD}\n")).unwrap();
            let first = ["init", "--registry", "pa.example", "--registrar", "taft"];
            command.args(first).arg("--password-file").arg(password);
        } else {
            command.args(["join", "-"]);
            input = token(&self.servers[0].dir);
        }
        command.args(["--name", &name, "--dir"]).arg(&dir);
        command.args(self.network.places(machine));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The one that founds reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let made = child.wait_with_output().unwrap();
        assert!(made.status.success(), "{}", stderr(&made));
        let file = dir.join("grapevine.toml");
        self.network.adjust(machine, &file);
        let text = fs::read_to_string(&file).unwrap();
        let http = text.lines().find_map(|line| line.strip_prefix(HTTP));
        let http = http.unwrap().trim_matches('"').to_owned();
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = self
            .command(machine)
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        // `ip netns exec` becomes the program: it is the server's own process.
        self.network.runs(machine, child.id());
        self.servers.push(Server { dir, http, child });
        let client = self.stranger(machine);
        wait_for("a server to be ready", || {
            client
                .try_get("/readyz")
                .is_some_and(|answer| answer.status == 200)
        });
    }

    /// The program, on a machine.
    pub(crate) fn command(&self, machine: usize) -> Command {
        let mut command = self
            .network
            .command(machine, env!("CARGO_BIN_EXE_grapevine"));
        command.env_remove("GRAPEVINE_SERVERS").stdin(Stdio::null());
        command
    }

    /// A command of a machine's operator; must be done.
    pub(crate) fn operator(&self, machine: usize, args: &[&str]) -> Value {
        let output = self
            .command(machine)
            .args(args)
            .args(["--json", "--operator"])
            .arg(&self.servers[machine].dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Nobody in particular, at a machine's http door.
    pub(crate) fn stranger(&self, machine: usize) -> Client {
        let namespace = self.network.namespace(machine);
        Client::at(self.servers[machine].http.clone(), namespace)
    }

    /// Somebody, by a ticket that this machine's server signs now.
    pub(crate) fn log_in(&self, machine: usize, name: &str, password: &str) -> Option<String> {
        let client = self.stranger(machine).with(name, password);
        let answer = client.post("/api/v1/login", "{}");
        match answer.status {
            200 => Some(answer.json()["ticket"].as_str().unwrap().to_owned()),
            401 => None,
            _ => panic!("{answer:?}"),
        }
    }

    /// Somebody by a ticket, wherever it was signed.
    pub(crate) fn by(&self, machine: usize, ticket: &str) -> Client {
        self.stranger(machine).with_ticket(ticket)
    }

    /// Which others a server hears.
    pub(crate) fn heard(&self, machine: usize) -> BTreeMap<String, bool> {
        let status = done(&self.stranger(machine).get("/api/v1/status"));
        let peers = status["peers"].as_array().unwrap();
        let heard = |peer: &Value| {
            let name = peer["server"].as_str().unwrap().to_owned();
            (name, peer["up"].as_bool().unwrap())
        };
        peers.iter().map(heard).collect()
    }

    /// The digest of each registry at a machine.
    pub(crate) fn digests(&self, machine: usize) -> BTreeMap<String, String> {
        let status = done(&self.stranger(machine).get("/api/v1/status"));
        let registries = status["registries"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let of = |registry: &Value| (text(&registry["registry"]), text(&registry["digest"]));
        registries.iter().map(of).collect()
    }

    /// Waits until all copies of all registries are equal.
    pub(crate) fn wait_for_equal_digests(&self) -> Duration {
        let all: Vec<usize> = (0..self.servers.len()).collect();
        self.wait_for_equal(&all)
    }

    fn wait_for_equal(&self, machines: &[usize]) -> Duration {
        let begun = Instant::now();
        wait_for("equal digests", || {
            let mut digests = machines.iter().map(|machine| self.digests(*machine));
            let first = digests.next();
            digests.all(|digests| Some(digests) == first)
        });
        begun.elapsed()
    }

    /// Takes machines off the network, and waits until all have noticed.
    pub(crate) fn cut(&self, machines: &[usize]) {
        for machine in machines {
            self.network.cut(*machine);
        }
        wait_for("the silence to be noticed", || {
            (0..self.servers.len()).all(|here| {
                self.heard(here).iter().all(|(name, up)| {
                    let there: usize = name[1..].parse::<usize>().unwrap() - 1;
                    *up != (machines.contains(&here) || machines.contains(&there))
                })
            })
        });
    }

    /// Puts them back, and says how long it took until all copies were equal.
    pub(crate) fn heal(&self, machines: &[usize]) -> Duration {
        for machine in machines {
            self.network.heal(*machine);
        }
        self.wait_for_equal_digests()
    }

    /// The same for some that are back before others.
    pub(crate) fn heal_some(&self, machines: &[usize]) -> Duration {
        for machine in machines {
            self.network.heal(*machine);
        }
        self.wait_for_equal(machines)
    }

    /// Fails if a server has logged an error: that is for a person to act on.
    pub(crate) fn expect_no_errors(&self) {
        for server in &self.servers {
            let log = fs::read_to_string(server.dir.join("log")).unwrap();
            let is_error = |line: &&str| line.contains(" ERROR ") || line.contains("panicked");
            let errors: Vec<_> = log.lines().filter(is_error).collect();
            assert!(errors.is_empty(), "{errors:#?}");
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for server in &mut self.servers {
            if server.child.try_wait().unwrap().is_none() {
                let pid = Pid::from_raw(server.child.id().try_into().unwrap());
                let signal = match std::thread::panicking() {
                    true => Signal::SIGKILL,
                    false => Signal::SIGTERM,
                };
                kill(pid, signal).unwrap();
                server.child.wait().unwrap();
            }
            if std::thread::panicking() {
                let log = fs::read_to_string(server.dir.join("log")).unwrap_or_default();
                eprintln!("== {}\n{log}", server.dir.display());
            }
        }
    }
}
