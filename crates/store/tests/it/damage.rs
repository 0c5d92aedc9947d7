//! Damaged files: an error, never wrong bytes, never absence, never a panic.

use std::io::Read;
use std::panic::catch_unwind;
use std::path::Path;

use grapevine_store::{Damage, Damaged, OpenError, Options, Store, Table, Tables};

use crate::help::{adopt, commit, content, copy_folder, files_below, message, open, put};

const ROWS: u64 = 400;
const BODIES: u64 = 12;
/// Flips tried in each of the engine's files.
const FLIPS_PER_FILE: u64 = 5;

fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at as usize] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn store_with_a_large_body(dir: &Path) -> (Vec<u8>, std::path::PathBuf) {
    let store = open(dir);
    let bytes = content(1, 300_000);
    let op = adopt(&store, 1, &bytes);
    commit(&store, vec![op]);
    drop(store);
    (bytes, files_below(&dir.join("bodies")).remove(0))
}

#[test]
fn a_flipped_byte_in_a_body_is_an_error_and_the_whole_is_never_given_out() {
    for at in [0, 150_000, 299_999] {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, file) = store_with_a_large_body(dir.path());
        flip(&file, at);
        let store = open(dir.path());
        let mut body = store.body(message(1)).unwrap().unwrap();
        let mut out = Vec::new();
        let error = body.read_to_end(&mut out).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(out.len() < bytes.len());
        // And it stays an error.
        assert!(body.read(&mut [0; 10]).is_err());
        let damages = store.verify();
        assert!(
            matches!(&damages[..], [Damage::Body { message: m, .. }] if *m == message(1)),
            "{damages:?}"
        );
    }
}

#[test]
fn a_truncated_or_lost_body_is_damage_and_not_absence() {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = store_with_a_large_body(dir.path());
    std::fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(299_000)
        .unwrap();
    let store = open(dir.path());
    assert!(matches!(store.body(message(1)), Err(Damaged(_))));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(store.body(message(1)), Err(Damaged(_))));
    assert_eq!(store.verify().len(), 1);
}

#[test]
fn a_body_nobody_owns_is_found_by_the_walk() {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = store_with_a_large_body(dir.path());
    let name = file.file_name().unwrap().to_str().unwrap();
    let other = format!("{}{}", "0".repeat(32), &name[32..]);
    std::fs::copy(&file, file.with_file_name(&other)).unwrap();
    let store = open(dir.path());
    let damages = store.verify();
    assert!(
        matches!(&damages[..], [Damage::Unowned { name }] if name.ends_with(&other)),
        "{damages:?}"
    );
}

/// A store with its data in tables, blob files and journals alike.
fn build(dir: &Path) {
    let options = Options {
        table_memtable_bytes: 16 << 10,
        body_memtable_bytes: 16 << 10,
        ..Options::default()
    };
    for part in 0..4 {
        let store = Store::open(dir, &options).unwrap();
        for n in (0..ROWS).filter(|n| n % 4 == part) {
            let mut ops = vec![put(Table::Cells, n.to_be_bytes(), content(n, 200))];
            if n < BODIES {
                ops.push(adopt(&store, n, &content(n, 4_000)));
            }
            commit(&store, ops);
        }
        commit(&store, vec![]);
    }
}

/// Reads everything: what can be read is right.
fn check(dir: &Path) -> Result<(), OpenError> {
    let store = Store::open(dir, &Options::default())?;
    let view = store.view();
    for n in 0..ROWS {
        if let Ok(found) = view.get(Table::Cells, &n.to_be_bytes()) {
            assert_eq!(found, Some(content(n, 200)), "row {n}");
        }
    }
    if let Ok(all) = view.scan(Table::Cells, &[], &[255; 9], 10_000) {
        let expected: Vec<_> = (0..ROWS)
            .map(|n| (n.to_be_bytes().to_vec(), content(n, 200)))
            .collect();
        assert_eq!(all, expected);
    }
    for n in 0..BODIES {
        if let Ok(body) = store.body(message(n)) {
            let mut out = Vec::new();
            if body
                .expect("a body is not absent")
                .read_to_end(&mut out)
                .is_ok()
            {
                assert_eq!(out, content(n, 4_000));
            }
        }
    }
    Ok(())
}

#[test]
fn a_damaged_table_is_an_error_never_wrong_data_and_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    build(&whole);
    check(&whole).unwrap();
    let spoilt = dir.path().join("spoilt");
    let (mut noticed, mut tried) = (0, 0);
    for file in files_below(&whole.join("tables")) {
        let len = file.metadata().unwrap().len();
        let name = file.strip_prefix(&whole).unwrap();
        for n in 0..FLIPS_PER_FILE.min(len) {
            let at = len * n / FLIPS_PER_FILE.min(len) + n % 3;
            let _ = std::fs::remove_dir_all(&spoilt);
            copy_folder(&whole, &spoilt);
            flip(&spoilt.join(name), at.min(len - 1));
            let outcome = catch_unwind(|| check(&spoilt));
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(_)) => noticed += 1,
                Err(panic) => {
                    let text = panic.downcast_ref::<String>();
                    panic!("byte {at} of {}: {text:?}", name.display());
                }
            }
            tried += 1;
        }
    }
    assert!(
        noticed * 4 > tried,
        "only {noticed} of {tried} flips were noticed"
    );
}

/// Found by fuzzing: the witness could not be read, so a journal damaged in its middle was cut there as if its end had never been acknowledged.
#[test]
fn where_nobody_knows_what_was_acknowledged_a_damaged_journal_is_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, spoilt) = (dir.path().join("whole"), dir.path().join("spoilt"));
    let store = open(&whole);
    for n in 0..ROWS {
        commit(
            &store,
            vec![put(Table::Cells, n.to_be_bytes(), content(n, 200))],
        );
    }
    drop(store);
    let files = files_below(&whole);
    let witness = files.iter().find(|file| file.ends_with("WITNESS"));
    let journal = files
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "jnl"))
        .max_by_key(|file| file.metadata().unwrap().len());
    let inside = |file: &std::path::PathBuf| spoilt.join(file.strip_prefix(&whole).unwrap());
    let (witness, journal) = (inside(witness.unwrap()), inside(journal.unwrap()));
    // The witness alone is no reason to refuse what is whole.
    copy_folder(&whole, &spoilt);
    flip(&witness, 9);
    check_rows(&spoilt);
    // Both: some of what was acknowledged may be missing, and so nothing is said.
    let _ = std::fs::remove_dir_all(&spoilt);
    copy_folder(&whole, &spoilt);
    flip(&witness, 9);
    flip(&journal, 40_000);
    let opened = Store::open(&spoilt, &Options::default());
    assert!(matches!(opened, Err(OpenError::Damaged(_))));
}

fn check_rows(dir: &Path) {
    let store = open(dir);
    for n in 0..ROWS {
        let found = store.view().get(Table::Cells, &n.to_be_bytes()).unwrap();
        assert_eq!(found, Some(content(n, 200)), "row {n}");
    }
}

/// Where files are spoilt: in memory, if the machine has such a folder, as there are thousands of them.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

/// Harms of four octets each: which file, where (of 65,536 parts), and how: flip, cut, lengthen, or swap with another file.
fn spoil(whole: &Path, spoilt: &Path, harms: &[u8]) {
    let _ = std::fs::remove_dir_all(spoilt);
    copy_folder(whole, spoilt);
    let files = files_below(spoilt);
    for harm in harms.chunks_exact(5).take(8) {
        let file = &files[usize::from(harm[0]) % files.len()];
        let Ok(mut bytes) = std::fs::read(file) else {
            continue;
        };
        let at = bytes.len() * usize::from(u16::from_be_bytes([harm[1], harm[2]])) / 65_536;
        match harm[3] % 5 {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= harm[4].max(1);
                }
            }
            1 => bytes.truncate(at),
            2 => bytes.extend(std::iter::repeat_n(harm[4], at.min(4_096) + 1)),
            3 => {
                let other = &files[usize::from(harm[4]) % files.len()];
                bytes = std::fs::read(other).unwrap_or_default();
            }
            _ => {
                let end = (at + 64).min(bytes.len());
                bytes[at.min(end)..end].fill(harm[4]);
            }
        }
        std::fs::write(file, bytes).unwrap();
    }
}

/// All that was committed, in its order: so many of the first rows. A cut journal may end with fewer, never with other ones.
#[test]
fn however_the_files_are_spoilt_what_is_read_is_right_or_an_error() {
    let dir = scratch();
    let (whole, spoilt) = (dir.path().join("whole"), dir.path().join("spoilt"));
    build(&whole);
    bolero::check!(name = "files")
        // A store is copied and opened each time.
        .with_iterations(40)
        .for_each(|harms: &[u8]| {
            spoil(&whole, &spoilt, harms);
            // Whether the engine opens it or refuses; never a panic, and never another answer.
            let _ = check(&spoilt);
        });
}
