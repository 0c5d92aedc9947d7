//! Two servers made by hand, as on two machines: `init`, `serve`, `token`, `join`, `serve`; and what
//! becomes of them.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::grapevine::{get, program, stderr, wait_for};

/// Doors of a server that follow one another.
const DOORS: u16 = 10;
/// Where free ports are looked for: below those that the system gives out by itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

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

    fn log(&self) -> String {
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

/// The first of some ports in a row that are free. Tests run side by side, each in its own process.
fn base_port() -> u16 {
    let offset = u16::try_from(std::process::id() % 1_000).unwrap() * (DOORS + 5);
    let bases = PORTS
        .step_by(usize::from(DOORS))
        .cycle()
        .skip(usize::from(offset / DOORS));
    bases
        .take(2_000)
        .find(|base| {
            (*base..base + DOORS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        })
        .unwrap()
}

fn init(temp: &TempDir) -> PathBuf {
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
