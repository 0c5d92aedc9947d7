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
