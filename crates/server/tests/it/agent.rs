//! `grapevine agent` between ordinary mail programs (Python's) and a pair of real servers: it works as the servers do, hides that they die,
//! and loses and doubles nothing that was sent while none could be reached.
//!
//! Without Python the tests are passed over with a word; the gate has it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::grapevine::{Grapevine, get, program, stderr, wait_for};
use crate::mail_clients::is_here;

const SCRIPT: &str = include_str!("agent.py");
const NAME: &str = "birrell@pa.example";

/// A running agent; killed when it is dropped.
struct Agent {
    child: Child,
    state: PathBuf,
    doors: Value,
}

impl Agent {
    fn start(grapevine: &Grapevine, more: &[&str]) -> Self {
        let state = grapevine.dir.join("agent");
        fs::create_dir_all(&state).unwrap();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(log_of(&state))
            .unwrap();
        let mut child = command(grapevine)
            .args(["agent", "--base-port", "0", "--json", "--dir"])
            .arg(&grapevine.dir)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let doors = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("{line:?}\n{}", fs::read_to_string(log_of(&state)).unwrap())
        });
        Self {
            child,
            state,
            doors,
        }
    }

    fn python(&self, grapevine: &Grapevine, what: &str) -> Command {
        let port = |door: &str| {
            let address = self.doors[door].as_str().unwrap();
            address.rsplit_once(':').unwrap().1.to_owned()
        };
        let mut command = Command::new("python3");
        command
            .args(["-c", SCRIPT, what])
            .env("NAME", NAME)
            .env("PASSWORD", grapevine.password("birrell"))
            .env("SMTP", port("smtp"))
            .env("IMAP", port("imap"))
            .env("POP3", port("pop3"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, grapevine: &Grapevine, what: &str, more: &[(&str, &str)]) -> String {
        let output = self
            .python(grapevine, what)
            .envs(more.iter().copied())
            .output()
            .unwrap();
        self.done(output)
    }

    fn done(&self, output: Output) -> String {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}\n{}\n{}",
            stderr(&output),
            self.log()
        );
        said
    }

    fn log(&self) -> String {
        fs::read_to_string(log_of(&self.state)).unwrap()
    }

    /// kill -9.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn outbox(&self, grapevine: &Grapevine) -> Vec<Value> {
        let output = command(grapevine)
            .args(["agent", "outbox", "--json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["messages"].as_array().unwrap().clone()
    }

    fn expect_no_errors(&self) {
        let log = self.log();
        let is_bad = |line: &&str| line.contains(" ERROR ") || line.contains("panicked");
        let bad: Vec<_> = log.lines().filter(is_bad).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_of(state: &Path) -> PathBuf {
    state.join("log")
}

/// A command with the folder of this Grapevine and a configuration of its own.
fn command(grapevine: &Grapevine) -> Command {
    let dir = grapevine.dir.clone();
    let mut command = program();
    command
        .env("GRAPEVINE_CONFIG", dir.join("config"))
        .env("GRAPEVINE_AGENT", dir.join("agent"))
        .env("GRAPEVINE_AS", NAME)
        .current_dir(dir.parent().unwrap());
    command
}

/// A server started by hand, in the place of one of `up` that was killed.
struct Again(Child);

impl Again {
    fn start(grapevine: &Grapevine, server: usize) -> Self {
        let folder = grapevine.dir.join(format!("s{}", server + 1));
        let log = fs::File::options()
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let child = program()
            .args(["serve", "--config"])
            .arg(folder.join("grapevine.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let again = Self(child);
        let http = grapevine.doors(server)["http"].clone();
        wait_for("the server to be ready again", || {
            get(&http, "/readyz").is_some_and(|(status, _)| status == 200)
        });
        again
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A script that waits for the test at some points.
struct Script {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Script {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn waits_at(&mut self, word: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }

    fn go_on(&mut self) {
        writeln!(self.input, "on").unwrap();
    }
}

fn sorted(said: &str) -> Vec<&str> {
    let mut all: Vec<_> = said.lines().collect();
    all.sort_unstable();
    all
}

#[test]
fn mail_programs_work_through_the_agent_and_a_wrong_password_is_let_in_nowhere() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    let agent = Agent::start(&grapevine, &[]);
    agent.run(&grapevine, "no_wrong_password", &[]);
    agent.run(&grapevine, "work", &[]);
    agent.run(&grapevine, "alias", &[]);
    if is_here("curl") {
        let got = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--user"])
            .arg(format!("{NAME}:{}", grapevine.password("birrell")))
            .arg(format!(
                "imap://{}/Archive;UID=1:*;SECTION=HEADER.FIELDS%20(SUBJECT)",
                agent.doors["imap"].as_str().unwrap()
            ))
            .output()
            .unwrap();
        let got = String::from_utf8_lossy(&got.stdout).into_owned();
        assert!(got.contains("Subject: large"), "{got}");
    }
    // A second agent in the folder, and another machine's programs, are refused.
    let second = command(&grapevine)
        .args(["agent", "--base-port", "0", "--dir"])
        .arg(&grapevine.dir)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).contains("another agent"),
        "{}",
        stderr(&second)
    );
    let open = command(&grapevine)
        .args(["agent", "--listen", "0.0.0.0", "--dir"])
        .arg(&grapevine.dir)
        .output()
        .unwrap();
    assert_eq!(open.status.code(), Some(2));
    assert!(
        stderr(&open).contains("this machine only"),
        "{}",
        stderr(&open)
    );
    agent.expect_no_errors();
    grapevine.expect_no_errors();
}

#[test]
fn servers_killed_under_a_living_session_are_not_noticed_in_the_middle_of_a_message_either() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    let agent = Agent::start(&grapevine, &[]);
    let mut script = Script::start(agent.python(&grapevine, "living"));
    script.waits_at("half of a message, kill the first");
    grapevine.kill(0);
    script.go_on();
    script.waits_at("bring back the first");
    let first = Again::start(&grapevine, 0);
    wait_for("the pair to be whole", || is_whole(&grapevine, 1));
    script.go_on();
    script.waits_at("half of a message, kill the second");
    grapevine.kill(1);
    script.go_on();
    script.waits_at("bring back the second");
    let second = Again::start(&grapevine, 1);
    script.go_on();
    assert!(script.child.wait().unwrap().success(), "{}", agent.log());
    drop((first, second));
    agent.expect_no_errors();
}

/// Whether this server would lose nothing by being unplugged.
fn is_whole(grapevine: &Grapevine, server: usize) -> bool {
    let output = command(grapevine)
        .args([
            "unplug",
            &format!("s{}", server + 1),
            "--json",
            "--as",
            "registrar@pa.example",
            "--dir",
        ])
        .arg(&grapevine.dir)
        .output()
        .unwrap();
    output.status.code() == Some(0)
}

#[test]
fn what_is_sent_while_no_server_can_be_reached_comes_once_whatever_is_killed() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    let agent = Agent::start(&grapevine, &[]);
    agent.run(&grapevine, "log_in", &[]);
    grapevine.kill(0);
    grapevine.kill(1);
    agent.run(&grapevine, "away", &[("SUBJECTS", "one two large")]);
    assert_eq!(agent.outbox(&grapevine).len(), 3);
    agent.kill();
    // A new process knows the password and the messages, and no server.
    let agent = Agent::start(&grapevine, &[]);
    assert_eq!(agent.outbox(&grapevine).len(), 0, "nobody has logged in");
    agent.run(&grapevine, "away", &[("SUBJECTS", "four")]);
    assert_eq!(agent.outbox(&grapevine).len(), 4);
    agent.kill();
    assert_nothing_can_be_read(&grapevine.dir.join("agent"));
    // As a kill between a server's yes and the outbox's end leaves it: all is handed in once more.
    let before = copied(&grapevine.dir.join("agent/people"));
    let agent = Agent::start(&grapevine, &[]);
    let servers = [0, 1].map(|server| Again::start(&grapevine, server));
    agent.run(&grapevine, "log_in", &[]);
    wait_for("an empty outbox", || agent.outbox(&grapevine).is_empty());
    let all = "four\nlarge\none\ntwo";
    wait_for("all to come", || {
        agent.run(&grapevine, "subjects", &[]).lines().count() == 4
    });
    agent.kill();
    fs::remove_dir_all(grapevine.dir.join("agent/people")).unwrap();
    fs::rename(before, grapevine.dir.join("agent/people")).unwrap();
    let agent = Agent::start(&grapevine, &[]);
    agent.run(&grapevine, "log_in", &[]);
    wait_for("an empty outbox again", || {
        agent.outbox(&grapevine).is_empty()
    });
    // Something that was sent later is there, so what was sent before is there as often as it will be.
    agent.run(&grapevine, "away_or_not", &[("SUBJECTS", "zlast")]);
    wait_for("what was sent last", || {
        agent.run(&grapevine, "subjects", &[]).contains("zlast")
    });
    let said = agent.run(&grapevine, "subjects", &[]);
    assert_eq!(sorted(&said).join("\n"), format!("{all}\nzlast"));
    agent.expect_no_errors();
    drop(servers);
}

/// Each server in turn takes a message and does not get to say so: the other one gets it too, under the same id.
#[test]
fn a_message_whose_yes_was_lost_comes_once() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    let agent = Agent::start(&grapevine, &[]);
    agent.run(&grapevine, "log_in", &[]);
    for (server, subject) in [(0, "first"), (1, "second")] {
        kill(grapevine.pid(server), Signal::SIGSTOP).unwrap();
        let stopped = Stopped(grapevine.pid(server));
        agent.run(&grapevine, "away_or_not", &[("SUBJECTS", subject)]);
        // What lies at its door is worked on now.
        drop(stopped);
    }
    wait_for("both to come", || {
        agent.run(&grapevine, "subjects", &[]).lines().count() >= 2
    });
    agent.run(&grapevine, "away_or_not", &[("SUBJECTS", "zlast")]);
    wait_for("what was sent last", || {
        agent.run(&grapevine, "subjects", &[]).contains("zlast")
    });
    let said = agent.run(&grapevine, "subjects", &[]);
    assert_eq!(sorted(&said), ["first", "second", "zlast"]);
}

/// So many messages are taken before the next thing happens.
const TAKEN: usize = 20;

/// Whoever sends notices nothing, and nothing is lost or doubled: while one server is gone, the other one, and both.
#[test]
fn each_message_of_a_flow_comes_once_while_the_servers_are_killed_in_turn() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    let agent = Agent::start(&grapevine, &[]);
    agent.run(&grapevine, "log_in", &[]);
    let mut flow = agent.python(&grapevine, "flow");
    flow.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut flow = flow.spawn().unwrap();
    let mut lines = BufReader::new(flow.stdout.take().unwrap()).lines();
    let mut sent = Vec::new();
    let mut go_on = || {
        for _ in 0..TAKEN {
            let line = lines.next();
            sent.push(
                line.unwrap_or_else(|| panic!("no more is taken: {}", agent.log()))
                    .unwrap(),
            );
        }
    };
    go_on();
    grapevine.kill(0);
    go_on();
    let first = Again::start(&grapevine, 0);
    go_on();
    grapevine.kill(1);
    go_on();
    // None is left: what is sent now waits on this machine.
    drop(first);
    go_on();
    let servers = [1, 0].map(|server| Again::start(&grapevine, server));
    go_on();
    drop(flow.stdin.take());
    sent.extend(lines.map(Result::unwrap));
    assert!(flow.wait().unwrap().success(), "{}", agent.log());
    wait_for("an empty outbox", || agent.outbox(&grapevine).is_empty());
    agent.run(&grapevine, "away_or_not", &[("SUBJECTS", "zlast")]);
    sent.push("zlast".to_owned());
    wait_for("all to come", || {
        let said = agent.run(&grapevine, "subjects", &[]);
        said.contains("zlast") && said.lines().count() >= sent.len()
    });
    let said = agent.run(&grapevine, "subjects", &[]);
    assert_eq!(sorted(&said), sent);
    agent.expect_no_errors();
    drop(servers);
}

struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[test]
fn what_the_servers_refuse_of_the_outbox_is_listed_and_told() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    let agent = Agent::start(&grapevine, &[]);
    agent.run(&grapevine, "log_in", &[]);
    grapevine.kill(0);
    grapevine.kill(1);
    agent.run(&grapevine, "away", &[("SUBJECTS", "large")]);
    agent.run(
        &grapevine,
        "away",
        &[("SUBJECTS", "lost"), ("TO", "nobody-there@pa.example")],
    );
    // They come back with a limit that the large one does not fit in.
    for server in ["s1", "s2"] {
        let file = grapevine.dir.join(server).join("grapevine.toml");
        let config = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{config}\n[limits]\nmessage_mib = 1\n")).unwrap();
    }
    let servers = [0, 1].map(|server| Again::start(&grapevine, server));
    agent.run(&grapevine, "log_in", &[]);
    wait_for("the refusal to be listed and told", || {
        let outbox = agent.outbox(&grapevine);
        outbox.len() == 1 && outbox[0]["state"]["refused"]["told"] == true
    });
    let outbox = agent.outbox(&grapevine);
    let refused = &outbox[0]["state"]["refused"];
    assert!(
        refused["why"].as_str().unwrap().contains("longer"),
        "{refused}"
    );
    // One message by the agent, and one by the servers about the name that is not there.
    wait_for("both to be told", || {
        let said = agent.run(&grapevine, "subjects", &[]);
        said.contains("Not sent: ") && said.contains("Undelivered mail")
    });
    let id = outbox[0]["id"].as_str().unwrap();
    let drop_it = |expected| {
        let output = command(&grapevine)
            .args(["agent", "outbox", "drop", id])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(expected), "{}", stderr(&output));
    };
    drop_it(0);
    drop_it(4);
    assert!(agent.outbox(&grapevine).is_empty());
    drop(servers);
}

#[test]
fn a_saved_login_sends_what_waits_before_any_mail_program_has_come() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    let login = command(&grapevine)
        .args(["login", NAME, "--password-file"])
        .arg(grapevine.dir.join("passwords/birrell"))
        .arg("--dir")
        .arg(&grapevine.dir)
        .output()
        .unwrap();
    assert!(login.status.success(), "{}", stderr(&login));
    let agent = Agent::start(&grapevine, &[]);
    agent.run(&grapevine, "log_in", &[]);
    grapevine.kill(0);
    grapevine.kill(1);
    agent.run(&grapevine, "away", &[("SUBJECTS", "one")]);
    agent.kill();
    let agent = Agent::start(&grapevine, &[]);
    wait_for("the saved login to open the outbox", || {
        agent.outbox(&grapevine).len() == 1
    });
    let _servers = [0, 1].map(|server| Again::start(&grapevine, server));
    wait_for("an empty outbox", || agent.outbox(&grapevine).is_empty());
    // Accepted by one server; the inbox may be read at the other.
    wait_for("the message to be in the inbox", || {
        agent.run(&grapevine, "subjects", &[]) == "one\n"
    });
    agent.expect_no_errors();
}

#[test]
fn a_full_outbox_says_so_and_keeps_what_it_has() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(1);
    let agent = Agent::start(&grapevine, &["--outbox-messages", "2"]);
    agent.run(&grapevine, "log_in", &[]);
    grapevine.kill(0);
    agent.run(&grapevine, "full", &[]);
    assert_eq!(agent.outbox(&grapevine).len(), 2);
    let _server = Again::start(&grapevine, 0);
    agent.run(&grapevine, "log_in", &[]);
    wait_for("an empty outbox", || agent.outbox(&grapevine).is_empty());
    let said = agent.run(&grapevine, "subjects", &[]);
    assert_eq!(sorted(&said), ["one", "two"]);
    // Whom mail went to is known, and as of when.
    let names = command(&grapevine)
        .args(["agent", "names", "birr", "--json"])
        .output()
        .unwrap();
    let names: Value = serde_json::from_slice(&names.stdout).unwrap();
    assert_eq!(names["names"][0]["name"], NAME);
    let file = grapevine.dir.join("autoconfig.xml");
    let setup = command(&grapevine)
        .args(["agent", "setup", "--autoconfig"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&setup.stdout).into_owned();
    let port = agent.doors["imap"]
        .as_str()
        .unwrap()
        .rsplit_once(':')
        .unwrap()
        .1;
    assert!(
        said.contains(&format!("port {port}")) && said.contains(NAME),
        "{said}"
    );
    assert!(
        fs::read_to_string(file)
            .unwrap()
            .contains(&format!("<port>{port}</port>"))
    );
}

/// No text of a message, no recipient and no password lies in any file.
fn assert_nothing_can_be_read(dir: &Path) {
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            assert_nothing_can_be_read(&path);
            continue;
        }
        let Ok(bytes) = fs::read(&path) else {
            continue;
        };
        for secret in [&b"hello"[..], b"Subject:", b"yyyyyyyy"] {
            let found = bytes.windows(secret.len()).any(|part| part == secret);
            assert!(!found, "{} has {}", path.display(), secret.escape_ascii());
        }
    }
}

fn copied(dir: &Path) -> PathBuf {
    let to = dir.with_extension("before");
    copy_all(dir, &to);
    to
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        match file.file_type().unwrap().is_dir() {
            true => copy_all(&file.path(), &target),
            false => {
                fs::copy(file.path(), target).unwrap();
            }
        }
    }
}
