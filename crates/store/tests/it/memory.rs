//! A large body goes in and out in bounded memory.

use std::io::{Read, Write};

use grapevine_store::Table;

use crate::help::{child, child_task, commit, message, open, put, tell_parent};

const BODY_BYTES: u64 = 100 << 20;
/// All of the process, its code included: a whole idle server has 64 MiB.
const IDLE_MAX_KIB: u64 = 24 << 10;
const GROWTH_MAX_KIB: u64 = 32 << 10;

#[test]
fn a_body_of_100_mib_is_stored_and_read_in_less_than_32_mib() {
    let dir = tempfile::tempdir().unwrap();
    let output = child("memory::child_with_a_large_body", dir.path(), 0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let growth = said
        .lines()
        .find_map(|line| line.strip_prefix("grew by KiB: "));
    let growth: u64 = growth
        .unwrap_or_else(|| panic!("no answer: {said}"))
        .parse()
        .unwrap();
    assert!(growth < GROWTH_MAX_KIB, "{growth} KiB");
}

#[test]
#[ignore = "only as a child process of another test"]
fn child_with_a_large_body() {
    let Some((dir, _)) = child_task() else { return };
    let store = open(&dir);
    let before = peak_memory_kib();
    let mut stage = store.stage();
    let mut chunk = vec![0; 16 << 10];
    let mut hasher = blake3::Hasher::new();
    for n in 0..BODY_BYTES / chunk.len() as u64 {
        chunk[..8].copy_from_slice(&n.to_be_bytes());
        hasher.update(&chunk);
        stage.write(&chunk).unwrap();
    }
    let staged = stage.finish().unwrap();
    commit(
        &store,
        vec![grapevine_store::Op::AdoptBody {
            staged: staged.token,
            message: message(1),
        }],
    );
    let mut body = store.body(message(1)).unwrap().unwrap();
    assert_eq!(body.len(), BODY_BYTES);
    let mut read_hasher = blake3::Hasher::new();
    loop {
        let read = body.read(&mut chunk).unwrap();
        if read == 0 {
            break;
        }
        read_hasher.write_all(&chunk[..read]).unwrap();
    }
    assert_eq!(hasher.finalize(), read_hasher.finalize());
    tell_parent(&format!("grew by KiB: {}", peak_memory_kib() - before));
}

#[test]
fn an_idle_store_takes_less_than_24_mib() {
    let dir = tempfile::tempdir().unwrap();
    let output = child("memory::child_that_idles", dir.path(), 0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let used = said.lines().find_map(|line| line.strip_prefix("has KiB: "));
    let used: u64 = used
        .unwrap_or_else(|| panic!("no answer: {said}"))
        .parse()
        .unwrap();
    assert!(used < IDLE_MAX_KIB, "{used} KiB");
}

#[test]
#[ignore = "only as a child process of another test"]
fn child_that_idles() {
    let Some((dir, _)) = child_task() else { return };
    let store = open(&dir);
    commit(&store, vec![put(Table::Meta, "a", "b")]);
    tell_parent(&format!("has KiB: {}", memory_kib("VmRSS:")));
}

/// The most memory this process ever had resident.
fn peak_memory_kib() -> u64 {
    memory_kib("VmHWM:")
}

fn memory_kib(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(what))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
