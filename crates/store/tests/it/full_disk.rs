//! A full disk: said so, nothing acknowledged lost, reads go on, and it goes on when there is space.

use std::path::{Path, PathBuf};
use std::process::Command;

use grapevine_store::{CommitError, Durability, Options, Store, Table, Tables};

use crate::help::{commit, content, open, put};

/// A small file system in memory, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_path_buf()))
    }

    fn resize(&self, size: &str) {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,size={size}")])
            .arg(&self.0);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn skip(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

#[test]
fn a_full_disk_is_said_to_be_full_and_loses_nothing_acknowledged() {
    fill_up(&Options::default());
}

#[test]
fn a_disk_that_fills_up_in_a_flush_is_said_to_be_full_too() {
    // Most of what is written is then written by the engine's workers, whose failures nobody waits for.
    fill_up(&Options {
        table_memtable_bytes: 256 << 10,
        ..Options::default()
    });
}

fn fill_up(options: &Options) {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path(), "24m") else {
        return skip("no file system may be mounted here");
    };
    let store = Store::open(dir.path(), options).unwrap();
    let mut acked = 0_u64;
    let failure = loop {
        let ops = vec![put(
            Table::Messages,
            acked.to_be_bytes(),
            content(acked, 30_000),
        )];
        match store.commit_and_wait(ops, Durability::Synced) {
            Ok(()) => acked += 1,
            Err(failure) => break failure,
        }
        assert!(acked < 2_000, "the disk never gets full");
    };
    assert!(matches!(failure, CommitError::Full(_)), "{failure}");
    assert!(acked > 100);
    // Nothing more is taken, whatever it is; and all can be read.
    let again = store.commit_and_wait(vec![put(Table::Meta, "a", "b")], Durability::Synced);
    assert_eq!(again, Err(failure.clone()));
    assert_eq!(store.failure(), Some(failure));
    let check = |store: &Store| {
        for n in 0..acked {
            let found = store.view().get(Table::Messages, &n.to_be_bytes()).unwrap();
            assert_eq!(found, Some(content(n, 30_000)), "{n} of {acked}");
        }
    };
    check(&store);
    drop(store);
    // Still full, it opens, and all can be read.
    let store = Store::open(dir.path(), options).unwrap();
    check(&store);
    drop(store);
    disk.resize("200m");
    let store = open(dir.path());
    check(&store);
    commit(&store, vec![put(Table::Meta, "a", "b")]);
}

#[test]
fn a_body_that_does_not_fit_is_refused_while_it_comes_in_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(dir.path(), "16m") else {
        return skip("no file system may be mounted here");
    };
    let store = open(dir.path());
    let mut stage = store.stage();
    let chunk = content(1, 1 << 20);
    let failure = (0..100).find_map(|_| stage.write(&chunk).err()).unwrap();
    assert_eq!(failure.kind(), std::io::ErrorKind::StorageFull);
    assert!(stage.finish().is_err());
    assert!(
        store.free_bytes().unwrap() > 4 << 20,
        "the spool was not cleared"
    );
    commit(&store, vec![put(Table::Meta, "a", "b")]);
}
