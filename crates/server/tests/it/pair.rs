//! Two servers made by hand, as on two machines: `init`, `serve`, `token`, `join`, `serve`; and what
//! becomes of them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::grapevine::{get, program, stderr, wait_for};
use crate::ports::base_port;

/// A server's process, stopped at the end of the test.
pub(crate) struct Process {
    child: Child,
    pub(crate) dir: PathBuf,
    pub(crate) http: String,
}

impl Process {
    pub(crate) fn serve(dir: &Path) -> Self {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        let child = program()
            .args(["serve", "--log-format", "json", "--config"])
            .arg(dir.join("grapevine.toml"))
            .stderr(log)
            .spawn()
            .unwrap();
        let text = fs::read_to_string(dir.join("grapevine.toml")).unwrap();
        let http = text
            .lines()
            .find_map(|line| line.strip_prefix("http = "))
            .unwrap();
        let process = Self {
            child,
            dir: dir.to_path_buf(),
            http: http.trim_matches('"').to_owned(),
        };
        wait_for("the server to be ready", || {
            get(&process.http, "/readyz").is_some_and(|(status, _)| status == 200)
        });
        process
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    fn tell(&self, what: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), what).unwrap();
    }

    fn stop(mut self) -> Option<i32> {
        self.tell(Signal::SIGTERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

pub(crate) fn init(temp: &TempDir) -> PathBuf {
    let (dir, password) = (temp.path().join("s1"), temp.path().join("password"));
    fs::write(&password, "correct horse battery\n").unwrap();
    let made = program()
        .args([
            "init",
            "--name",
            "s1",
            "--registry",
            "pa.example",
            "--registrar",
            "taft",
        ])
        .args([
            "--hostname",
            "localhost",
            "--bind",
            "127.0.0.1",
            "--base-port",
        ])
        .arg(base_port().to_string())
        .arg("--password-file")
        .arg(&password)
        .arg("--dir")
        .arg(&dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    dir
}

pub(crate) fn token(dir: &Path) -> String {
    let printed = program()
        .args(["token", "--dir"])
        .arg(dir)
        .output()
        .unwrap();
    assert!(printed.status.success(), "{}", stderr(&printed));
    let token = String::from_utf8(printed.stdout.clone()).unwrap();
    assert_eq!(token.lines().count(), 1, "{token}");
    assert!(stderr(&printed).contains("grapevine join"));
    token
}

/// Joins with the token on stdin, where no other user of the machine can read it.
pub(crate) fn join(temp: &TempDir, token: &str, name: &str) -> (PathBuf, std::process::Output) {
    let dir = temp.path().join(name);
    let mut joining = program()
        .args(["join", "-", "--name", name])
        .args([
            "--hostname",
            "localhost",
            "--bind",
            "127.0.0.1",
            "--base-port",
        ])
        .arg(base_port().to_string())
        .arg("--dir")
        .arg(&dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    joining
        .stdin
        .take()
        .unwrap()
        .write_all(token.as_bytes())
        .unwrap();
    (dir, joining.wait_with_output().unwrap())
}

#[test]
fn five_commands_make_a_pair_and_a_sixth_retires_one() {
    let temp = tempfile::tempdir().unwrap();
    let first = Process::serve(&init(&temp));
    let token = token(&first.dir);
    let (dir, joined) = join(&temp, &token, "s2");
    assert!(joined.status.success(), "{}", stderr(&joined));
    let second = Process::serve(&dir);
    for process in [&first, &second] {
        wait_for("the pair to hear each other", || {
            let metrics = get(&process.http, "/metrics").unwrap().1;
            metrics
                .lines()
                .any(|line| line.starts_with("grapevine_peer_up{") && line.ends_with(" 1"))
        });
    }
    let retired = program()
        .args(["retire", "s2", "--dir"])
        .arg(&first.dir)
        .output()
        .unwrap();
    assert!(retired.status.success(), "{}", stderr(&retired));
    for process in [first, second] {
        assert!(!process.log().contains("\"ERROR\""), "{}", process.log());
        assert_eq!(process.stop(), Some(0));
    }
}

/// Copies a folder as `cp -r` does.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

pub(crate) fn as_operator(dir: &Path, args: &[&str]) -> serde_json::Value {
    let said = program()
        .args(args)
        .args(["--json", "--operator"])
        .arg(dir)
        .env("GRAPEVINE_CONFIG", dir.join("person"))
        .output()
        .unwrap();
    assert!(said.status.success(), "{args:?}: {}", stderr(&said));
    serde_json::from_slice(&said.stdout).unwrap_or_default()
}

fn members(dir: &Path) -> String {
    as_operator(dir, &["group", "members", "club@pa.example"]).to_string()
}

#[test]
fn a_restored_folder_catches_up_and_both_servers_write() {
    let temp = tempfile::tempdir().unwrap();
    let first = Process::serve(&init(&temp));
    let token = token(&first.dir);
    let (dir, joined) = join(&temp, &token, "s2");
    assert!(joined.status.success(), "{}", stderr(&joined));
    let second = Process::serve(&dir);
    let one = first.dir.clone();
    let club = "club@pa.example";
    as_operator(&one, &["group", "create", club]);
    as_operator(&one, &["group", "add", club, "stays@example.org"]);
    as_operator(&one, &["group", "add", club, "goes@example.org"]);
    wait_for("s2 to have it", || members(&dir).contains("goes@"));
    assert_eq!(second.stop(), Some(0));
    let backup = temp.path().join("backup");
    copy(&dir, &backup);
    // Life goes on after the backup, at both.
    let second = Process::serve(&dir);
    as_operator(&dir, &["group", "remove", club, "goes@example.org"]);
    as_operator(&dir, &["group", "add", club, "came@example.org"]);
    wait_for("s1 to have it", || members(&one).contains("came@"));
    assert_eq!(second.stop(), Some(0));
    fs::remove_dir_all(&dir).unwrap();
    copy(&backup, &dir);
    let second = Process::serve(&dir);
    assert!(second.log().contains("brought back from a backup"));
    wait_for("s2 to have what it forgot", || {
        members(&dir) == members(&one)
    });
    let there = members(&dir);
    assert!(
        there.contains("stays@") && there.contains("came@"),
        "{there}"
    );
    assert!(!there.contains("goes@"), "{there}");
    as_operator(&dir, &["group", "add", club, "second@example.org"]);
    as_operator(&one, &["group", "add", club, "first@example.org"]);
    wait_for("both to have both", || {
        [&one, &dir].iter().all(|dir| {
            let there = members(dir);
            there.contains("second@") && there.contains("first@")
        })
    });
    let compared = as_operator(&dir, &["compare", "pa.example"]);
    assert_eq!(compared[0]["with"][0]["differed"], 0, "{compared}");
    assert_eq!(compared[0]["with"][0]["failure"], serde_json::Value::Null);
    for process in [first, second] {
        assert!(!process.log().contains("\"ERROR\""), "{}", process.log());
        assert_eq!(process.stop(), Some(0));
    }
}

#[test]
fn a_token_lets_one_server_in_and_no_second_one() {
    let temp = tempfile::tempdir().unwrap();
    let first = Process::serve(&init(&temp));
    let token = token(&first.dir);
    let (_, joined) = join(&temp, &token, "s2");
    assert!(joined.status.success(), "{}", stderr(&joined));
    let (dir, refused) = join(&temp, &token, "s3");
    assert_ne!(refused.status.code(), Some(0));
    assert_eq!(
        stderr(&refused).trim_end().lines().count(),
        1,
        "{}",
        stderr(&refused)
    );
    assert!(
        !dir.join("server.json").exists(),
        "a refused server must not exist"
    );
}

#[test]
fn sigterm_stops_in_order_and_the_folder_goes_on_after_a_kill() {
    let temp = tempfile::tempdir().unwrap();
    let dir = init(&temp);
    let server = Process::serve(&dir);
    server.tell(Signal::SIGKILL);
    drop(server);
    assert!(
        dir.join("admin.sock").exists(),
        "a killed server leaves its socket"
    );
    let server = Process::serve(&dir);
    assert_eq!(token(&dir).lines().count(), 1, "the socket was replaced");
    let log = server.log();
    assert_eq!(server.stop(), Some(0));
    assert!(!dir.join("admin.sock").exists());
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_ne!(event["level"], "ERROR", "{line}");
    }
}

#[test]
fn sighup_reloads_what_is_sound_and_keeps_the_old_otherwise() {
    let temp = tempfile::tempdir().unwrap();
    let dir = init(&temp);
    let server = Process::serve(&dir);
    let file = dir.join("grapevine.toml");
    let sound = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("no_such_key = 1\n{sound}")).unwrap();
    server.tell(Signal::SIGHUP);
    wait_for("the refusal", || {
        server.log().contains("the configuration was not reloaded")
    });
    fs::write(
        &file,
        format!("log = \"debug\"\nalone = \"refuse\"\n{sound}"),
    )
    .unwrap();
    server.tell(Signal::SIGHUP);
    wait_for("the reload", || {
        server.log().contains("the configuration was reloaded")
    });
    assert!(server.log().contains("in force only after a new start"));
    assert_eq!(get(&server.http, "/readyz").unwrap().0, 200);
    assert_eq!(server.stop(), Some(0));
}
