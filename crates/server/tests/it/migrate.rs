//! From a living IMAP server: a second Grapevine, and Dovecot where it is installed; again, and after a kill.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown};
use tempfile::TempDir;

use crate::client::Person;
use crate::export::{BIRRELL, Seen, mails, put};
use crate::grapevine::{Grapevine, wait_for};
use crate::ports::free_row;

/// What a mailbox of somebody who moves holds; line ends as mail travels, since that is how IMAP shows them.
fn kept(dir: &Path, mails: usize) {
    for n in 0..mails {
        let folder = ["", "Archive.2024", "Lists"][n % 3];
        let flags = ["S", "", "FRS", "a", "Tb", "D"][n % 6];
        let name = format!("{}.x{n}:2,{flags}", 1_700_000_000 + n);
        // Every tenth is as the one before it in its folder.
        let twin = if n % 10 == 9 { n - 3 } else { n };
        let lines = if n == 5 { 20_000 } else { twin };
        let octets = format!("Subject: {twin}\r\n\r\n{}", "some words\r\n".repeat(lines));
        put(
            dir,
            folder,
            &name,
            1_600_000_000_000 + 1_000 * n as u64,
            octets.as_bytes(),
        );
    }
    for folder in ["", ".Archive.2024", ".Lists"] {
        fs::write(
            dir.join(folder).join("dovecot-keywords"),
            "0 $Label1\n1 Work\n",
        )
        .unwrap();
    }
}

/// Moves birrell from elsewhere, again, without what was remembered, and after a kill; says what is there then.
fn moved(
    person: &Person<'_>,
    grapevine: &Grapevine,
    from: &[&str],
    mails_there: usize,
) -> Vec<Seen> {
    let import = [&["import", "imap", "--as", BIRRELL], from].concat();
    let cluster = grapevine.dir.to_str().unwrap();
    let mut child = person
        .command(&[&import[..], &["--dir", cluster]].concat())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("some of it", || !person.inbox(BIRRELL).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let rest = person.json(&import);
    assert_eq!(
        (&rest["accepted"], &rest["failed"]),
        (&mails_there.into(), &0.into()),
        "{rest}"
    );
    // Nothing is fetched again, nor sent.
    let again = person.json(&import);
    assert_eq!(
        (&again["fetched"], &again["new"]),
        (&0.into(), &0.into()),
        "{again}"
    );
    assert_eq!(again["already"], mails_there, "{again}");
    // Somebody who remembers nothing fetches, and sends nothing.
    fs::remove_dir_all(person.config.join("imports")).unwrap();
    let anew = person.json(&import);
    assert_eq!(
        (&anew["fetched"], &anew["new"]),
        (&mails_there.into(), &0.into()),
        "{anew}"
    );
    let out = grapevine.dir.join("moved");
    person.done(&["export", "maildir", out.to_str().unwrap(), "--as", BIRRELL]);
    mails(&out)
}

#[test]
fn a_mailbox_is_moved_from_another_grapevine_by_imap_and_again_fetches_nothing() {
    const MAILS: usize = 200;
    let (old, new) = (Grapevine::up(1), Grapevine::up(2));
    let there = Person::at(&old);
    kept(&old.dir.join("kept"), MAILS);
    let file = old.dir.join("kept");
    there.done(&["import", "maildir", file.to_str().unwrap(), "--as", BIRRELL]);
    let port = |door: &str| {
        let doors = old.doors(0);
        format!("localhost:{}", doors[door].rsplit_once(':').unwrap().1)
    };
    let ca = old.dir.join("ca.pem");
    let password = old.dir.join("passwords/birrell");
    let (imap, imaps) = (port("imap"), port("imaps"));
    let with = |from: &'static str| -> Vec<String> {
        let ca = ca.to_str().unwrap();
        ["--ca", ca, from, "--from"].map(str::to_owned).to_vec()
    };
    let secret = ["--from-password-file", password.to_str().unwrap()];
    let person = Person::at(&new);
    let mut from: Vec<String> = with("--starttls");
    from.push(imap);
    let from: Vec<&str> = from.iter().map(String::as_str).chain(secret).collect();
    assert_eq!(moved(&person, &new, &from, MAILS), mails(&file));
    // TLS from the first octet is the same; a wrong password, another certificate and no server are said so.
    let ca = ca.to_str().unwrap();
    let tls = ["--from", &imaps, "--ca", ca, "--from-password-file"];
    let import = [&["import", "imap", "--as", BIRRELL], &tls[..]].concat();
    let again = person.json(&[&import[..], &secret[1..]].concat());
    assert_eq!(again["new"], 0, "{again}");
    let wrong = old.dir.join("passwords/needham");
    assert_eq!(
        person.exit(&[&import[..], &[wrong.to_str().unwrap()]].concat()),
        3
    );
    let strange = new.dir.join("ca.pem");
    let strange = ["--from", &imaps, "--ca", strange.to_str().unwrap()];
    let strange = [
        &["import", "imap", "--as", BIRRELL],
        &strange[..],
        &secret[..],
    ]
    .concat();
    assert_eq!(person.exit(&strange), 5);
    new.expect_no_errors();
}

/// Dovecot in a folder of its own.
struct Dovecot {
    child: Child,
    port: u16,
    _temp: TempDir,
    mail: PathBuf,
}

impl Dovecot {
    /// None where it is not installed, or may not be run.
    fn start(grapevine: &Grapevine) -> Option<Self> {
        let is_here = ["/usr/sbin/dovecot", "/usr/lib/dovecot/imap"]
            .map(Path::new)
            .map(Path::exists);
        let nobody = User::from_name("nobody").ok().flatten();
        let (Some(nobody), [true, true], true) =
            (nobody, is_here, nix::unistd::Uid::current().is_root())
        else {
            eprintln!("passed over: dovecot with IMAP is not installed, or this is not root");
            return None;
        };
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().to_path_buf();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let mail = dir.join("mail/bench");
        kept(&mail, 200);
        give(&dir.join("mail"), &nobody);
        let port = free_row(1);
        let front = grapevine.dir.join("s1");
        let (w, front) = (dir.display(), front.display());
        fs::write(dir.join("users"), "bench:{PLAIN}bench-password\n").unwrap();
        let config = format!(
            "base_dir = {w}/run\nstate_dir = {w}/run\nlog_path = {w}/log\nprotocols = imap\nlisten = 127.0.0.1\n\
             auth_mechanisms = plain login\nmail_location = maildir:{w}/mail/%n\nmail_uid = nobody\nmail_gid = nogroup\n\
             first_valid_uid = 1\nssl = required\nssl_cert = <{front}/front.pem\nssl_key = <{front}/front.key\n\
             passdb {{\n driver = passwd-file\n args = {w}/users\n}}\n\
             userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={w}/mail/%n\n}}\n\
             service imap-login {{\n inet_listener imap {{\n port = 0\n }}\n inet_listener imaps {{\n port = {port}\n ssl = yes\n }}\n}}\n"
        );
        fs::write(dir.join("conf"), config).unwrap();
        let child = Command::new("/usr/sbin/dovecot")
            .args(["-F", "-c"])
            .arg(dir.join("conf"))
            .spawn()
            .unwrap();
        wait_for("dovecot", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(Self {
            child,
            port,
            _temp: temp,
            mail,
        })
    }
}

fn give(dir: &Path, to: &User) {
    chown(dir, Some(to.uid), Some(to.gid)).unwrap();
    if dir.is_dir() {
        for entry in fs::read_dir(dir).unwrap() {
            give(&entry.unwrap().path(), to);
        }
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

#[test]
fn a_mailbox_is_moved_from_dovecot() {
    let grapevine = Grapevine::up(2);
    let Some(dovecot) = Dovecot::start(&grapevine) else {
        return;
    };
    let person = Person::at(&grapevine);
    let password = grapevine.dir.join("bench");
    fs::write(&password, "bench-password\n").unwrap();
    let address = format!("localhost:{}", dovecot.port);
    let ca = grapevine.dir.join("ca.pem");
    let from = [
        "--from",
        &address,
        "--ca",
        ca.to_str().unwrap(),
        "--user",
        "bench",
    ];
    let secret = ["--from-password-file", password.to_str().unwrap()];
    let from = [&from[..], &secret[..]].concat();
    let before = mails(&dovecot.mail);
    assert_eq!(moved(&person, &grapevine, &from, 200), before);
    assert_eq!(mails(&dovecot.mail), before, "nothing was changed there");
    grapevine.expect_no_errors();
}
