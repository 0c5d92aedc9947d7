//! What the tests share: names, contents, child processes.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use grapevine_store::{Durability, MessageId, Op, Options, Staged, Store, Table};

/// Set for a child: the folder it works on.
pub(crate) const CHILD_DIR: &str = "GRAPEVINE_STORE_CHILD_DIR";
/// Set for a child: a number it is given.
pub(crate) const CHILD_NUMBER: &str = "GRAPEVINE_STORE_CHILD_NUMBER";

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir, &Options::default()).expect("the store opens")
}

pub(crate) fn message(n: u64) -> MessageId {
    // Spread like real ids: the number is at the end.
    MessageId::from_bytes((0xabcd_u128 << 112 | u128::from(n)).to_be_bytes())
}

/// Bytes that depend on a number, and differ everywhere.
pub(crate) fn content(n: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&n.to_be_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

pub(crate) fn stage(store: &Store, bytes: &[u8]) -> Staged {
    let mut stage = store.stage();
    for chunk in bytes.chunks(10_000) {
        stage.write(chunk).unwrap();
    }
    stage.finish().unwrap()
}

pub(crate) fn put(table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Op {
    Op::Put {
        table,
        key: key.into(),
        value: value.into(),
    }
}

pub(crate) fn adopt(store: &Store, n: u64, bytes: &[u8]) -> Op {
    Op::AdoptBody {
        staged: stage(store, bytes).token,
        message: message(n),
    }
}

pub(crate) fn commit(store: &Store, ops: Vec<Op>) {
    store
        .commit_and_wait(ops, Durability::Synced)
        .expect("the batch is committed");
}

/// All of a body; `None` when there is none.
pub(crate) fn read_body(store: &Store, n: u64) -> Option<Vec<u8>> {
    let mut body = store.body(message(n)).expect("no damage")?;
    let mut out = Vec::new();
    body.read_to_end(&mut out).expect("no damage");
    assert_eq!(out.len() as u64, body.len());
    Some(out)
}

/// Names of all files below a folder.
pub(crate) fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(files_below(&path));
        } else {
            out.push(path);
        }
    }
    out.sort();
    out
}

/// Copies a folder as it is, files that vanish meanwhile left out.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            let _ = std::fs::copy(&path, &target);
        }
    }
}

/// A command that runs one ignored test of this binary as a child process.
pub(crate) fn child(test: &str, dir: &Path, number: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            test,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD_DIR, dir)
        .env(CHILD_NUMBER, number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// What a child is asked to do: folder and number. `None` when it is not run as a child.
pub(crate) fn child_task() -> Option<(std::path::PathBuf, u64)> {
    let dir = std::env::var_os(CHILD_DIR)?;
    let number = std::env::var(CHILD_NUMBER).ok()?.parse().ok()?;
    Some((dir.into(), number))
}

/// Says a line to the parent, past the test harness.
pub(crate) fn tell_parent(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("\n{line}\n").as_bytes());
    let _ = out.flush();
}
