//! What machines do wrong: a damaged disk, a full disk, a clock that is an hour off, a second process on a folder. One server of a
//! pair has it; it says so, nothing is lost, and the other one goes on serving everything.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Person;
use crate::grapevine::{Grapevine, get, program, stderr, wait_for};
use crate::mail_source::Noise;
use crate::wire::{Pop, Smtp};

const FROM: &str = "birrell@pa.example";
const TO: &str = "needham@pa.example";
/// A body of this size is a file of its own in the store.
const LARGE_BYTES: usize = 600_000;
/// So much of a file is spoilt.
const SPOILT_BYTES: usize = 64;
/// For the server whose disk gets full.
const DISK_MIB: u64 = 700;

/// The second server of a pair, started by hand after `up`'s own process of it was stopped.
pub(crate) struct Second {
    child: Child,
    log: PathBuf,
}

impl Second {
    /// Stops the one that runs.
    pub(crate) fn stopped(grapevine: &Grapevine) {
        let pid = grapevine.pid(1);
        kill(pid, Signal::SIGTERM).unwrap();
        wait_for("the second server to stop", || kill(pid, None).is_err());
    }

    /// Starts it again, with this in its environment, and waits until it is ready.
    pub(crate) fn started(grapevine: &Grapevine, environment: &[(&str, &str)]) -> Self {
        let log = grapevine.dir.join("s2/log");
        let file = fs::File::options().append(true).open(&log).unwrap();
        let child = serve(&grapevine.dir)
            .envs(environment.iter().copied())
            .stderr(file)
            .spawn()
            .unwrap();
        let second = Self { child, log };
        let http = grapevine.doors(1)["http"].clone();
        wait_for("the second server to be ready", || {
            get(&http, "/readyz").is_some_and(|(status, _)| status == 200)
        });
        second
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// It has failed, or is about to, or goes on: either way it is to end, with whatever code.
    fn end(mut self) {
        // It may be gone already.
        let _ = kill(self.pid(), Signal::SIGTERM);
        self.child.wait().unwrap();
    }

    /// In order.
    pub(crate) fn stop(mut self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn assert_no_panic(&self) {
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(!log.contains("panic"), "{log}");
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        if self.runs() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

fn serve(dir: &Path) -> Command {
    let mut command = program();
    command
        .args(["serve", "--config"])
        .arg(dir.join("s2/grapevine.toml"))
        .stdout(Stdio::null());
    command
}

fn send(grapevine: &Grapevine, server: usize, message: &[u8]) {
    let reply = Smtp::submission(grapevine, server, "birrell").data(FROM, TO, message);
    assert_eq!(reply.code, 250, "{reply:?}");
}

fn small(subject: &str) -> Vec<u8> {
    format!("Subject: {subject}\r\n\r\nshort\r\n").into_bytes()
}

fn large(subject: &str) -> Vec<u8> {
    let mut message = small(subject);
    let mut noise = Noise::new(7);
    while message.len() < LARGE_BYTES {
        message.extend_from_slice(&noise.line());
    }
    message
}

/// What needham can read at a server: what follows the trace field, in some order.
fn inbox(grapevine: &Grapevine, server: usize) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = Pop::open(grapevine, server, "needham")
        .all()
        .iter()
        .map(|message| after_trace(message).to_vec())
        .collect();
    all.sort();
    all
}

fn after_trace(message: &[u8]) -> &[u8] {
    let at = message
        .windows(9)
        .position(|at| at == b"Subject: ")
        .unwrap();
    &message[at..]
}

fn sorted(mut messages: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    messages.sort();
    messages
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

/// Spoils the middle of a file.
fn spoil(path: &Path) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let at = (file.metadata().unwrap().len() / 2).saturating_sub(SPOILT_BYTES as u64 / 2);
    let mut bytes = [0; SPOILT_BYTES];
    let read = file.read_at(&mut bytes, at).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
    file.write_all_at(&bytes[..read], at).unwrap();
}

fn assert_refuses_to_open(output: &Output, part: &str) {
    let said = stderr(output);
    let last = said.trim_end().lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(last.starts_with("grapevine: "), "{said}");
    assert!(last.contains(part), "{part:?} in {said}");
    assert!(!said.contains("panic"), "{said}");
}

#[test]
fn a_damaged_store_is_refused_with_a_word_and_the_other_server_has_all() {
    let grapevine = Grapevine::up(2);
    let sent = sorted(vec![small("a"), small("b"), large("c")]);
    for message in &sent {
        send(&grapevine, 1, message);
    }
    wait_for("the mail", || inbox(&grapevine, 0).len() == sent.len());
    Second::stopped(&grapevine);
    let tables = grapevine.dir.join("s2/store/tables");
    let whole: Vec<(PathBuf, Vec<u8>)> = files(&tables)
        .into_iter()
        .map(|file| (file.clone(), fs::read(&file).unwrap()))
        .collect();
    let restore = || {
        for (file, bytes) in &whole {
            fs::write(file, bytes).unwrap();
        }
    };
    // Everything a little, then each file that was written alone: it opens with what is right, or not at all.
    for (file, _) in &whole {
        spoil(file);
    }
    assert_refuses_to_open(&serve(&grapevine.dir).output().unwrap(), "damaged");
    restore();
    fs::remove_dir_all(&tables).unwrap();
    assert_refuses_to_open(&serve(&grapevine.dir).output().unwrap(), "store");
    for (file, _) in &whole {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
    }
    restore();
    // Meanwhile the other one serves everything.
    assert!(inbox(&grapevine, 0) == sent);
    send(&grapevine, 0, &small("d"));
    let sent = sorted([sent, vec![small("d")]].concat());
    wait_for("the new message", || inbox(&grapevine, 0) == sent);
    // Mended, it has all.
    let second = Second::started(&grapevine, &[]);
    wait_for("what it missed", || inbox(&grapevine, 1) == sent);
    second.assert_no_panic();
    second.stop();
    grapevine.expect_no_errors();
}

#[test]
fn a_damaged_body_is_never_given_out_as_the_message() {
    let grapevine = Grapevine::up(2);
    let sent = large("whole");
    send(&grapevine, 0, &sent);
    for server in [0, 1] {
        wait_for("the mail", || inbox(&grapevine, server) == [sent.clone()]);
    }
    Second::stopped(&grapevine);
    let bodies = files(&grapevine.dir.join("s2/store/bodies"));
    assert!(!bodies.is_empty(), "the large body has no file here");
    bodies.iter().for_each(|body| spoil(body));
    let mut second = Second::started(&grapevine, &[]);
    let mut pop = Pop::open(&grapevine, 1, "needham");
    assert_eq!(pop.count(), 1);
    match pop.try_retrieve(1) {
        // Said to be unreadable, or broken off before its end.
        None => {}
        Some(got) => assert!(after_trace(&got) == sent, "a damaged body was given out"),
    }
    assert!(second.runs());
    second.assert_no_panic();
    // The other one has it, and this one takes new mail.
    assert!(inbox(&grapevine, 0) == [sent.clone()]);
    send(&grapevine, 1, &small("after"));
    wait_for("the next message", || {
        inbox(&grapevine, 0) == sorted(vec![sent.clone(), small("after")])
    });
    second.stop();
}

#[test]
fn a_body_that_disappears_from_a_disk_is_read_from_the_other_and_never_as_something_else() {
    let grapevine = Grapevine::up(2);
    let sent = large("whole");
    send(&grapevine, 0, &sent);
    for server in [0, 1] {
        wait_for("the mail", || inbox(&grapevine, server) == [sent.clone()]);
    }
    Second::stopped(&grapevine);
    let bodies = files(&grapevine.dir.join("s2/store/bodies"));
    assert!(!bodies.is_empty(), "the large body has no file here");
    for body in bodies {
        fs::remove_file(body).unwrap();
    }
    let mut second = Second::started(&grapevine, &[]);
    let mut pop = Pop::open(&grapevine, 1, "needham");
    match pop.try_retrieve(1) {
        // Said to be unreadable, or broken off before its end.
        None => {}
        Some(got) => assert!(after_trace(&got) == sent, "something else was given out"),
    }
    // GrapevineUser turns to the other one.
    let person = Person::at(&grapevine);
    let read = person.run(&["read", "1", "--raw", "--as", TO]);
    assert!(read.status.success(), "{}", stderr(&read));
    assert!(after_trace(&read.stdout) == sent);
    assert!(second.runs());
    second.assert_no_panic();
    send(&grapevine, 1, &small("after"));
    wait_for("the next message", || {
        inbox(&grapevine, 0) == sorted(vec![sent.clone(), small("after")])
    });
    second.stop();
}

#[test]
fn a_second_process_on_a_folder_is_told_who_has_it() {
    let grapevine = Grapevine::up(2);
    let second = serve(&grapevine.dir).output().unwrap();
    assert_refuses_to_open(&second, &grapevine.pid(1).to_string());
    send(&grapevine, 1, &small("still here"));
    wait_for("the mail", || inbox(&grapevine, 0).len() == 1);
    grapevine.expect_no_errors();
}

/// A small disk, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    fn mounted(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={DISK_MIB}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "grapevine-test"])
            .arg(at)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(at.to_path_buf())),
            Ok(output) => {
                eprintln!(
                    "passed over: no disk can be mounted here: {}",
                    stderr(&output)
                );
                None
            }
            Err(error) => {
                eprintln!("passed over: no disk can be mounted here: {error}");
                None
            }
        }
    }

    /// Fills it up to so many bytes.
    fn fill(&self, leave_bytes: u64) {
        let stat = nix::sys::statvfs::statvfs(&self.0).unwrap();
        let free = stat.blocks_available() * stat.fragment_size();
        let file = fs::File::create(self.0.join("filler")).unwrap();
        let length = i64::try_from(free.saturating_sub(leave_bytes)).unwrap();
        nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, length).unwrap();
    }

    fn relieve(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_for_now_and_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("d");
    let Some(disk) = Disk::mounted(&dir.join("s2")) else {
        return;
    };
    let grapevine = Grapevine::up_in(&dir, 2);
    send(&grapevine, 1, &small("before"));
    wait_for("the mail", || inbox(&grapevine, 0).len() == 1);

    // Below the reserve: no new mail here, all else goes on.
    disk.fill(100 << 20);
    wait_for("the server to notice", || {
        let reply = Smtp::submission(&grapevine, 1, "birrell").data(FROM, TO, &small("refused"));
        match reply.code {
            250 => false,
            code => {
                assert!((400..500).contains(&code), "{reply:?}");
                assert!(reply.text.contains("full"), "{reply:?}");
                true
            }
        }
    });
    assert!(inbox(&grapevine, 1).contains(&small("before")));
    send(&grapevine, 0, &small("at the other"));
    wait_for("mail at the other", || {
        inbox(&grapevine, 0).contains(&small("at the other"))
    });
    disk.relieve();
    wait_for("the server to take mail again", || {
        Smtp::submission(&grapevine, 1, "birrell")
            .data(FROM, TO, &small("again"))
            .code
            == 250
    });
    wait_for("both to have the same", || {
        let all = inbox(&grapevine, 0);
        all.contains(&small("again"))
            && all.contains(&small("at the other"))
            && inbox(&grapevine, 1) == all
    });

    // To the last byte, with no reserve in the way: the message is refused, or the server stops and says why; what it
    // had said yes to is there.
    Second::stopped(&grapevine);
    let file = dir.join("s2/grapevine.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n[limits]\nreserve_mib = 0\n")).unwrap();
    let second = Second::started(&grapevine, &[]);
    disk.fill(300_000);
    let mut accepted = inbox(&grapevine, 0);
    let mut smtp = Smtp::submission(&grapevine, 1, "birrell");
    let reply = smtp.data(FROM, TO, &large("too much"));
    assert_eq!(reply.code, 452, "{reply:?}");
    let mut n = 0;
    loop {
        let message = small(&format!("{n} {}", "x".repeat(30_000)));
        let reply = smtp.data(FROM, TO, &message);
        match reply.code {
            250 => accepted.push(message),
            // Not now; or it has stopped: nothing was said, the client tries elsewhere.
            0 | 400..500 => break,
            _ => panic!("{reply:?}"),
        }
        n += 1;
        assert!(n < 10_000, "the disk never gets full");
    }
    let accepted = sorted(accepted);
    let has_all = |server| {
        let all = inbox(&grapevine, server);
        accepted.iter().all(|message| all.contains(message))
    };
    wait_for("all that was accepted, at the other", || has_all(0));
    second.assert_no_panic();
    disk.relieve();
    second.end();
    let second = Second::started(&grapevine, &[]);
    wait_for("all that was accepted, here", || has_all(1));
    send(&grapevine, 1, &small("room again"));
    second.assert_no_panic();
    second.stop();
}

#[test]
fn a_clock_an_hour_off_loses_no_mail_and_no_change() {
    for offset_ms in ["3600000", "-3600000"] {
        let grapevine = Grapevine::up(2);
        Second::stopped(&grapevine);
        let second = Second::started(&grapevine, &[("GRAPEVINE_TEST_CLOCK_OFFSET_MS", offset_ms)]);
        let mut sent = Vec::new();
        for round in 0..3 {
            for server in [1, 0] {
                let message = small(&format!("{round} by {server}"));
                send(&grapevine, server, &message);
                sent.push(message);
            }
        }
        let sent = sorted(sent);
        for server in [0, 1] {
            wait_for("all mail, once", || inbox(&grapevine, server) == sent);
        }
        // The change that was made last holds, wherever each was made.
        for (server, password) in [(1, "first-new-password"), (0, "second-new-password")] {
            change_password(&grapevine, server, password);
            for at in [0, 1] {
                wait_for("the new password", || may_log_in(&grapevine, at, password));
            }
        }
        for at in [0, 1] {
            assert!(!may_log_in(&grapevine, at, "first-new-password"));
        }
        second.stop();
        // Its clock is set right: an hour is lived twice, or skipped.
        let second = Second::started(&grapevine, &[]);
        send(&grapevine, 1, &small("set right"));
        for server in [0, 1] {
            wait_for("the mail after", || {
                inbox(&grapevine, server).contains(&small("set right"))
            });
        }
        change_password(&grapevine, 1, "third-new-password");
        for at in [0, 1] {
            wait_for("the newest password", || {
                may_log_in(&grapevine, at, "third-new-password")
            });
        }
        second.assert_no_panic();
        second.stop();
        grapevine.expect_no_errors();
    }
}

/// birrell's, at one server.
fn change_password(grapevine: &Grapevine, server: usize, password: &str) {
    let file = grapevine.dir.join("new-password");
    fs::write(&file, format!("{password}\n")).unwrap();
    let output = program()
        .args(["individual", "passwd", FROM, "--new-password-file"])
        .arg(&file)
        .arg("--operator")
        .arg(grapevine.dir.join(format!("s{}", server + 1)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    fs::write(
        grapevine.dir.join("passwords/birrell"),
        format!("{password}\n"),
    )
    .unwrap();
}

fn may_log_in(grapevine: &Grapevine, server: usize, password: &str) -> bool {
    Smtp::stranger(grapevine, server)
        .log_in(FROM, password)
        .code
        == 235
}
