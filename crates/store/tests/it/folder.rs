//! One process a folder, format versions, creation that was cut short.

use grapevine_store::{OpenError, Options, Store, Table, Tables};

use crate::help::{child, child_task, commit, open, put, tell_parent};

#[test]
fn what_was_committed_is_there_after_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(
        &store,
        vec![put(Table::Meta, "a", "1"), put(Table::Cells, "a", "2")],
    );
    commit(
        &store,
        vec![
            put(Table::Meta, "b", ""),
            grapevine_store::Op::Delete {
                table: Table::Meta,
                key: b"a".to_vec(),
            },
        ],
    );
    drop(store);
    let view = open(dir.path()).view();
    assert_eq!(view.get(Table::Meta, b"a"), Ok(None));
    assert_eq!(view.get(Table::Meta, b"b"), Ok(Some(Vec::new())));
    assert_eq!(view.get(Table::Cells, b"a"), Ok(Some(b"2".to_vec())));
}

#[test]
fn a_second_opener_in_the_same_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let refused = Store::open(dir.path(), &Options::default()).err().unwrap();
    assert!(
        matches!(refused, OpenError::InUse { holder: Some(pid), .. } if pid == std::process::id())
    );
    drop(store);
    open(dir.path());
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let output = child("folder::child_that_opens", dir.path(), 0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let pid = std::process::id();
    assert!(
        said.contains(&format!(
            "refused: {} is in use by process {pid}",
            dir.path().display()
        )),
        "{said}"
    );
    drop(store);
}

#[test]
#[ignore = "only as a child process of another test"]
fn child_that_opens() {
    let Some((dir, _)) = child_task() else { return };
    match Store::open(dir, &Options::default()) {
        Ok(_) => tell_parent("opened"),
        Err(error) => tell_parent(&format!("refused: {error}")),
    }
}

#[test]
fn an_unknown_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::write(dir.path().join("FORMAT"), "grapevine-store 2\n").unwrap();
    let refused = Store::open(dir.path(), &Options::default()).err().unwrap();
    assert!(
        matches!(refused, OpenError::UnknownFormat { ref found, .. } if found == "grapevine-store 2")
    );
    assert_eq!(
        std::fs::read(dir.path().join("FORMAT")).unwrap(),
        b"grapevine-store 2\n"
    );
    std::fs::write(dir.path().join("FORMAT"), "grapevine-store 1\n").unwrap();
    open(dir.path());
}

#[test]
fn a_folder_that_lost_its_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::remove_file(dir.path().join("FORMAT")).unwrap();
    let refused = Store::open(dir.path(), &Options::default()).err().unwrap();
    assert!(matches!(refused, OpenError::NotAStore { .. }), "{refused}");
}

#[test]
fn a_store_that_lost_its_tables_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, vec![put(Table::Meta, "a", "1")]);
    drop(store);
    std::fs::remove_dir_all(dir.path().join("tables")).unwrap();
    let refused = Store::open(dir.path(), &Options::default()).err().unwrap();
    assert!(matches!(refused, OpenError::Damaged(_)), "{refused}");
}

#[test]
fn a_creation_that_was_cut_short_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("FORMAT"), "grapevine-store 1\n").unwrap();
    std::fs::create_dir_all(dir.path().join("tables.new")).unwrap();
    std::fs::write(dir.path().join("tables.new/0.jnl"), "half").unwrap();
    let store = open(dir.path());
    commit(&store, vec![put(Table::Meta, "a", "1")]);
    assert_eq!(store.view().get(Table::Meta, b"a"), Ok(Some(b"1".to_vec())));
}

#[cfg(unix)]
#[test]
fn a_new_store_is_nobody_elses_business() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store_dir = dir.path().join("data");
    drop(open(&store_dir));
    assert_eq!(
        store_dir.metadata().unwrap().permissions().mode() & 0o077,
        0
    );
}
