//! Real mail goes in by every way there is, and comes out at the other server byte for byte the same (P1, P8).
//!
//! Only the `Received:` field that SMTP requires is set aside. What DATA can't carry (lines that do not end in CRLF) goes by BDAT
//! or by GrapevineUser.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;

use grapevine_model::MAX_MESSAGE_BYTES;

use crate::grapevine::{Grapevine, program, stderr, wait_for};
use crate::mail_source::{self, Noise};
use crate::wire::{HELLO, Pop, Smtp};

/// The issue asks for a thousand.
const MESSAGES: usize = 1_200;
/// An attachment of the size that people complain about.
const LARGE_BYTES: usize = 50 * 1024 * 1024;
/// What a server may have in memory at any time while such a message goes through it, and another comes out.
const MEMORY_LIMIT_KIB: u64 = 200 * 1024;
/// Gets all that is sent here.
const READER: &str = "needham";
const TO: &str = "needham@pa.example";
/// Sends it, where somebody has to log in.
const WRITER: &str = "birrell";
const FROM: &str = "birrell@pa.example";
/// Where strangers' mail is from.
const STRANGER: &str = "someone@elsewhere.example";

/// How a message goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// DATA after STARTTLS and AUTH.
    Submission,
    /// BDAT there.
    Chunks,
    /// DATA at the door for other systems.
    Receiving,
    /// GrapevineUser, from an mbox.
    Mbox,
    /// GrapevineUser, from a Maildir.
    Maildir,
}

impl Way {
    fn is_smtp(self) -> bool {
        match self {
            Self::Submission | Self::Chunks | Self::Receiving => true,
            Self::Mbox | Self::Maildir => false,
        }
    }
}

type Load = BTreeMap<Way, Vec<Vec<u8>>>;

#[test]
fn real_mail_comes_out_at_the_other_server_byte_for_byte() {
    let grapevine = Grapevine::up(2);
    let load = load();
    let total = load.values().map(Vec::len).sum();
    assert!(total >= 1_000);
    std::thread::scope(|scope| {
        for (way, messages) in &load {
            scope.spawn(|| hand_in(&grapevine, *way, messages));
        }
    });
    wait_for("all messages to be in the inbox", || {
        Pop::open(&grapevine, 1, READER).count() >= total
    });
    let mut pop = Pop::open(&grapevine, 1, READER);
    let mut left: BTreeMap<(bool, Vec<u8>), usize> = BTreeMap::new();
    for (way, messages) in &load {
        for message in messages {
            let key = (way.is_smtp(), as_pop_sends(message));
            *left.entry(key).or_default() += 1;
        }
    }
    let fetched = pop.all();
    assert_eq!(fetched.len(), total, "messages came twice");
    for message in fetched {
        let key = match without_trace(&message) {
            Some(message) => (true, message.to_vec()),
            None => (false, message),
        };
        match left.get_mut(&key) {
            Some(count @ 1..) => *count -= 1,
            Some(_) | None => panic!(
                "this was not sent, or not so often: {:?}",
                String::from_utf8_lossy(&key.1[..key.1.len().min(300)])
            ),
        }
    }
    assert!(left.values().all(|count| *count == 0));
    let uidl = pop.uidl();
    wait_for("the same inbox at the first server", || {
        Pop::open(&grapevine, 0, READER).uidl() == uidl
    });
    grapevine.expect_no_errors();
}

/// Each message on its way: the odd ones on all that can carry them.
fn load() -> Load {
    let mut load = Load::new();
    let mut put = |way, message| load.entry(way).or_default().push(message);
    for odd in mail_source::odd() {
        if is_lines(&odd) {
            put(Way::Submission, odd.clone());
            put(Way::Receiving, odd.clone());
        }
        put(Way::Chunks, odd.clone());
        // An import brings nothing that another one has brought to the same folder.
        match odd.ends_with(b"\n") && odd.len() % 2 == 0 {
            true => put(Way::Mbox, odd),
            false => put(Way::Maildir, odd),
        }
    }
    let mut imported: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (n, message) in mail_source::messages(MESSAGES).into_iter().enumerate() {
        let way = match n % 8 {
            0..3 => Way::Submission,
            3 => Way::Receiving,
            4 => Way::Chunks,
            5 => Way::Maildir,
            _ => Way::Mbox,
        };
        let way = match way {
            Way::Maildir | Way::Mbox if !imported.insert(message.clone()) => Way::Chunks,
            way => way,
        };
        match way {
            Way::Submission | Way::Receiving => {
                // Mail travels so: the sending program sees to it.
                let travels = with_crlf(&message);
                match is_lines(&travels) {
                    true => put(way, travels),
                    false => put(Way::Chunks, message),
                }
            }
            Way::Mbox if !message.ends_with(b"\n") => put(Way::Maildir, message),
            Way::Chunks | Way::Mbox | Way::Maildir => put(way, message),
        }
    }
    load
}

fn hand_in(grapevine: &Grapevine, way: Way, messages: &[Vec<u8>]) {
    match way {
        Way::Submission => {
            let halves = messages.chunks(messages.len().div_ceil(2));
            std::thread::scope(|scope| {
                for half in halves {
                    scope.spawn(|| {
                        let smtp = Smtp::submission(grapevine, 0, WRITER);
                        send(smtp, half, |smtp, message| smtp.data(FROM, TO, message));
                    });
                }
            });
        }
        Way::Chunks => {
            let smtp = Smtp::submission(grapevine, 0, WRITER);
            send(smtp, messages, |smtp, message| smtp.bdat(FROM, TO, message));
        }
        Way::Receiving => {
            let smtp = Smtp::receiving(grapevine, 0);
            send(smtp, messages, |smtp, message| {
                smtp.data(STRANGER, TO, message)
            });
        }
        Way::Mbox => {
            let file = grapevine.dir.join("import.mbox");
            fs::write(&file, mbox(messages)).unwrap();
            import(grapevine, &["mbox", "--unquote"], &file);
        }
        Way::Maildir => {
            let folder = grapevine.dir.join("import");
            maildir(&folder, messages);
            import(grapevine, &["maildir"], &folder);
            // Doing it again doubles nothing.
            import(grapevine, &["maildir"], &folder);
        }
    }
}

fn send(
    mut smtp: Smtp,
    messages: &[Vec<u8>],
    one: impl Fn(&mut Smtp, &[u8]) -> crate::wire::Reply,
) {
    for message in messages {
        let reply = one(&mut smtp, message);
        let head = String::from_utf8_lossy(&message[..message.len().min(300)]);
        assert_eq!(reply.code, 250, "{reply:?} to {head:?}");
    }
}

/// `grapevine import` at the first server, for who reads.
fn import(grapevine: &Grapevine, what: &[&str], from: &Path) {
    let output = program()
        .arg("import")
        .args(what)
        .arg(from)
        .args(["--as", TO, "--password-file"])
        .arg(grapevine.dir.join("passwords").join(READER))
        .arg("--dir")
        .arg(&grapevine.dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// As mboxrd has them: each after a `From ` line and before a blank one, and lines that look like the first with one `>` more.
fn mbox(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for message in messages {
        file.extend_from_slice(b"From someone@elsewhere.example Thu Jan  1 00:00:00 2004\n");
        for line in message.split_inclusive(|byte| *byte == b'\n') {
            let quotes = line.iter().take_while(|byte| **byte == b'>').count();
            if line[quotes..].starts_with(b"From ") {
                file.push(b'>');
            }
            file.extend_from_slice(line);
        }
        file.push(b'\n');
    }
    file
}

fn maildir(folder: &Path, messages: &[Vec<u8>]) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    for (n, message) in messages.iter().enumerate() {
        let name = match n % 2 {
            0 => format!("new/{n}.test"),
            _ => format!("cur/{n}.test:2,S"),
        };
        fs::write(folder.join(name), message).unwrap();
    }
}

/// Whether all of it is lines that end in CRLF: what DATA can carry.
fn is_lines(message: &[u8]) -> bool {
    let count = |part: &[u8]| message.windows(part.len()).filter(|at| *at == part).count();
    let ends = count(b"\r\n");
    message.ends_with(b"\r\n") && count(b"\r") == ends && count(b"\n") == ends
}

/// Each bare LF as CRLF.
fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 40);
    let mut before = 0;
    for byte in message {
        if *byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(*byte);
        before = *byte;
    }
    out
}

/// POP3 ends what it sends with a line end: the one thing that it may add.
fn as_pop_sends(message: &[u8]) -> Vec<u8> {
    let mut sent = message.to_vec();
    if !sent.is_empty() && !sent.ends_with(b"\r\n") {
        sent.extend_from_slice(b"\r\n");
    }
    sent
}

/// What stands after the trace field, where there is one of this test's own.
fn without_trace(message: &[u8]) -> Option<&[u8]> {
    if !message.starts_with(format!("Received: from {HELLO} (").as_bytes()) {
        return None;
    }
    let mut at = 0;
    loop {
        at += message[at..].windows(2).position(|two| two == b"\r\n")? + 2;
        if !matches!(message.get(at), Some(b' ' | b'\t')) {
            return message.get(at..);
        }
    }
}

#[test]
fn a_message_of_50_mib_goes_through_in_bounded_memory() {
    let grapevine = Grapevine::up(2);
    let mut smtp = Smtp::submission(&grapevine, 0, WRITER);
    let size = LARGE_BYTES + 1_000_000;
    for (command, code) in [
        (format!("MAIL FROM:<{FROM}> SIZE={size}"), 250),
        (format!("RCPT TO:<{TO}>"), 250),
        ("DATA".to_owned(), 354),
    ] {
        let reply = smtp.command(&command);
        assert_eq!(reply.code, code, "{reply:?}");
    }
    large(50, |piece| smtp.write(piece));
    smtp.write(b".\r\n");
    let reply = smtp.reply();
    assert_eq!(reply.code, 250, "{reply:?}");

    let folder = grapevine.dir.join("import");
    maildir(&folder, &[]);
    let mut file = fs::File::create(folder.join("new/large")).unwrap();
    large(51, |piece| file.write_all(piece).unwrap());
    import(&grapevine, &["maildir"], &folder);

    wait_for("both messages", || {
        Pop::open(&grapevine, 1, READER).count() == 2
    });
    let mut pop = Pop::open(&grapevine, 1, READER);
    let mut sent = [digest_of(50), digest_of(51)].to_vec();
    for number in [1, 2] {
        pop.ok(&format!("RETR {number}"));
        let (mut hasher, mut in_trace, mut first) = (blake3::Hasher::new(), false, true);
        pop.body(|line| {
            in_trace = match (first, in_trace) {
                (true, _) => line.starts_with(b"Received: "),
                (false, before) => before && line.starts_with(b"\t"),
            };
            first = false;
            if !in_trace {
                hasher.update(line);
            }
        });
        let got = hasher.finalize();
        assert!(sent.contains(&got), "message {number} came out changed");
        sent.retain(|digest| *digest != got);
    }
    for server in 0..2 {
        let most_kib = peak_memory_kib(&grapevine, server);
        eprintln!("server {server} had at most {most_kib} KiB in memory");
        assert!(
            most_kib < MEMORY_LIMIT_KIB,
            "server {server} had {most_kib} KiB in memory"
        );
    }
    grapevine.expect_no_errors();
    const { assert!((LARGE_BYTES as u64) < MAX_MESSAGE_BYTES) };
}

/// A large message, piece by piece.
fn large(seed: u64, mut piece: impl FnMut(&[u8])) {
    let mut noise = Noise::new(seed);
    let mut buffer = format!("From: {FROM}\r\nSubject: large {seed}\r\n\r\n").into_bytes();
    let mut written = 0;
    while written < LARGE_BYTES {
        while buffer.len() < 64 * 1024 {
            buffer.extend_from_slice(&noise.line());
        }
        piece(&buffer);
        written += buffer.len();
        buffer.clear();
    }
}

fn digest_of(seed: u64) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    large(seed, |piece| {
        hasher.update(piece);
    });
    hasher.finalize()
}

/// The most that a server has had in memory.
fn peak_memory_kib(grapevine: &Grapevine, server: usize) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", grapevine.pid(server))).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse().unwrap()
}
