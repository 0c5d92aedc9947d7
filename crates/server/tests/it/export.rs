//! Mail out and in again: Maildir and mbox, folders, flags, dates; again, and after kills.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use crate::client::Person;
use crate::grapevine::{Grapevine, stderr, wait_for};

pub(crate) const BIRRELL: &str = "birrell@pa.example";
pub(crate) const NEEDHAM: &str = "needham@pa.example";

/// What a mail is to whoever looks: folder, flags, date, octets.
pub(crate) type Seen = (String, String, i64, Vec<u8>);

/// All mails in a Maildir, read as any program would, sorted; keywords by their names.
pub(crate) fn mails(dir: &Path) -> Vec<Seen> {
    let mut all = Vec::new();
    let mut folders = vec![(String::new(), dir.to_path_buf())];
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if let Some(name) = name.strip_prefix('.') {
            folders.push((name.to_owned(), entry.path()));
        }
    }
    for (folder, dir) in folders {
        let keywords: BTreeMap<char, String> = fs::read_to_string(dir.join("dovecot-keywords"))
            .unwrap_or_default()
            .lines()
            .map(|line| {
                let (number, name) = line.split_once(' ').unwrap();
                (
                    (b'a' + number.parse::<u8>().unwrap()) as char,
                    name.to_owned(),
                )
            })
            .collect();
        for part in ["cur", "new"] {
            for entry in fs::read_dir(dir.join(part)).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                let letters = name
                    .rsplit_once(":2,")
                    .map(|(_, letters)| letters.to_owned());
                let mut flags: Vec<String> = letters
                    .unwrap_or_default()
                    .chars()
                    .map(|c| keywords.get(&c).cloned().unwrap_or(c.to_string()))
                    .collect();
                flags.sort();
                let meta = entry.metadata().unwrap();
                let ms = meta.mtime() * 1_000 + meta.mtime_nsec() / 1_000_000;
                let octets = fs::read(entry.path()).unwrap();
                all.push((folder.clone(), flags.join(" "), ms, octets));
            }
        }
    }
    all.sort();
    all
}

/// Puts a mail into a Maildir.
pub(crate) fn put(dir: &Path, folder: &str, name: &str, ms: u64, octets: &[u8]) {
    let dir = match folder {
        "" => dir.to_path_buf(),
        folder => dir.join(format!(".{folder}")),
    };
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    let path = dir.join("cur").join(name);
    fs::write(&path, octets).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_millis(ms))
        .unwrap();
}

/// A mailbox as somebody may have kept it for years, with what is odd in it.
fn kept(dir: &Path) {
    let long = format!("Subject: long\r\n\r\n{}", "x".repeat(3_000_000));
    put(
        dir,
        "",
        "1700000000.a:2,S",
        1_700_000_000_123,
        b"Subject: one\r\n\r\nFrom here\r\n",
    );
    put(dir, "", "1700000001.b:2,FRS", 1_600_000_000_000, b"no end");
    put(
        dir,
        "",
        "1700000002.c:2,T",
        1_700_000_002_000,
        b"\0\xff\r\r\n>From x\n\n\n",
    );
    // Twice the same in one folder is two mails, and once in another one is a third.
    for folder in ["Archive.2024", "Lists"] {
        put(
            dir,
            folder,
            "1700000003.d:2,DSab",
            1_700_000_003_000,
            b"Subject: twice\n\nx\n",
        );
    }
    put(
        dir,
        "Lists",
        "1700000004.e:2,",
        1_700_000_004_000,
        b"Subject: twice\n\nx\n",
    );
    put(
        dir,
        "Archive.2024",
        "1700000005.f:2,b",
        1_700_000_005_000,
        long.as_bytes(),
    );
    put(
        dir,
        "Entw&APw-rfe \\2e x",
        "1700000006.g:2,P",
        1_700_000_006_000,
        b"",
    );
    for folder in ["Archive.2024", "Lists"] {
        fs::write(
            dir.join(format!(".{folder}/dovecot-keywords")),
            "0 $Label1\n1 Work\n",
        )
        .unwrap();
    }
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(dir.join(".Empty").join(part)).unwrap();
    }
}

#[test]
fn what_was_exported_and_imported_is_the_same_octet_for_octet_with_folders_flags_and_dates() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let dir = |name: &str| grapevine.dir.join(name);
    let text = |name: &str| dir(name).to_str().unwrap().to_owned();
    kept(&dir("kept"));
    let import = ["import", "maildir", &text("kept"), "--as", BIRRELL];
    let first = person.json(&import);
    assert_eq!(
        (&first["new"], &first["failed"]),
        (&8.into(), &0.into()),
        "{first}"
    );
    let again = person.json(&import);
    assert_eq!(
        (&again["new"], &again["already"]),
        (&0.into(), &8.into()),
        "{again}"
    );
    // Out: as it was kept.
    let export = ["export", "maildir", &text("out"), "--as", BIRRELL];
    let first = person.json(&export);
    assert_eq!(
        (&first["new"], &first["failed"]),
        (&8.into(), &0.into()),
        "{first}"
    );
    assert_eq!(mails(&dir("out")), mails(&dir("kept")));
    assert!(dir("out/.Empty/cur").is_dir());
    let before = listing(&dir("out"));
    let again = person.json(&export);
    assert_eq!(
        (&again["new"], &again["already"]),
        (&0.into(), &8.into()),
        "{again}"
    );
    assert_eq!(listing(&dir("out")), before, "nothing was written");
    // Back where it came from: it is all there.
    let back = person.json(&["import", "maildir", &text("out"), "--as", BIRRELL]);
    assert_eq!(
        (&back["new"], &back["already"]),
        (&0.into(), &8.into()),
        "{back}"
    );
    // By mbox into another mailbox, which then is the same.
    let first = person.json(&["export", "mbox", &text("boxes"), "--as", BIRRELL]);
    assert_eq!(first["new"], 8, "{first}");
    let import = ["import", "mbox", &text("boxes"), "--as", NEEDHAM];
    assert_eq!(person.json(&import)["new"], 8);
    let again = person.json(&import);
    assert_eq!(
        (&again["new"], &again["already"]),
        (&0.into(), &8.into()),
        "{again}"
    );
    person.done(&["export", "maildir", &text("other"), "--as", NEEDHAM]);
    assert_eq!(mails(&dir("other")), mails(&dir("kept")));
    grapevine.expect_no_errors();
}

/// Names and times of all files.
fn listing(dir: &Path) -> Vec<(String, i64)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            all.extend(listing(&entry.path()));
        } else if !entry
            .file_name()
            .to_string_lossy()
            .contains("grapevine-mailbox")
        {
            let meta = entry.metadata().unwrap();
            all.push((entry.path().display().to_string(), meta.ctime_nsec()));
        }
    }
    all.sort();
    all
}

#[test]
fn an_import_and_an_export_that_are_killed_go_on_and_double_nothing() {
    const MAILS: usize = 400;
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let dir = |name: &str| grapevine.dir.join(name);
    let text = |name: &str| dir(name).to_str().unwrap().to_owned();
    for n in 0..MAILS {
        let (folder, name) = (
            ["", "Archive"][n % 2],
            format!("{}.x:2,S", 1_700_000_000 + n),
        );
        let octets = format!("Subject: {n}\r\n\r\n{}", "line\r\n".repeat(n));
        put(
            &dir("kept"),
            folder,
            &name,
            1_700_000_000_000 + n as u64,
            octets.as_bytes(),
        );
    }
    let cluster = text("");
    let interrupted = |args: &[&str], is_time: &dyn Fn() -> bool| {
        let mut child = person
            .command(&[args, &["--dir", &cluster]].concat())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("some of it", is_time);
        child.kill().unwrap();
        child.wait().unwrap();
    };
    let import = ["import", "maildir", &text("kept"), "--as", BIRRELL];
    let some = || person.inbox(BIRRELL).len() > 10;
    interrupted(&import, &some);
    // On: with one server less, too.
    grapevine.kill(0);
    let rest = person.json(&import);
    assert_eq!(rest["accepted"], MAILS, "{rest}");
    assert_eq!(rest["gone"], 0, "{rest}");
    let export = ["export", "maildir", &text("out"), "--as", BIRRELL];
    let some = || fs::read_dir(dir("out/cur")).is_ok_and(|files| files.count() > 10);
    interrupted(&export, &some);
    let rest = person.run(&export);
    assert!(rest.status.success(), "{}", stderr(&rest));
    assert_eq!(mails(&dir("out")).len(), MAILS);
    assert_eq!(mails(&dir("out")), mails(&dir("kept")));
    assert_eq!(fs::read_dir(dir("out/tmp")).unwrap().count(), 0);
}

#[test]
fn what_its_owner_has_expunged_does_not_come_back_unless_that_is_asked_for() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let kept = grapevine.dir.join("kept");
    for n in 0..3 {
        put(
            &kept,
            "",
            &format!("{n}.x:2,"),
            1_000 * n,
            format!("Subject: {n}\n\n").as_bytes(),
        );
    }
    let import = ["import", "maildir", kept.to_str().unwrap(), "--as", BIRRELL];
    assert_eq!(person.json(&import)["new"], 3);
    person.done(&["read", "1", "--delete", "--raw", "--as", BIRRELL]);
    let again = person.json(&import);
    assert_eq!(
        (&again["new"], &again["gone"]),
        (&0.into(), &1.into()),
        "{again}"
    );
    let back = person.json(&[&import[..], &["--again"]].concat());
    assert_eq!(
        (&back["new"], &back["already"]),
        (&1.into(), &2.into()),
        "{back}"
    );
    // Under a folder of its own, and by somebody else as mail.
    let below = person.json(&[&import[..], &["--into", "Old/2020"]].concat());
    assert_eq!(below["new"], 3, "{below}");
    let export = ["export", "maildir", "--as", BIRRELL, "--folder", "Old/2020"];
    let out = grapevine.dir.join("out");
    person.done(&[&export[..], &[out.to_str().unwrap()]].concat());
    assert_eq!(fs::read_dir(out.join(".Old.2020/cur")).unwrap().count(), 3);
    let to = [&import[..4], &[BIRRELL, "--to", NEEDHAM]].concat();
    assert_eq!(person.json(&to)["accepted"], 3);
    person.wait_for_mail(NEEDHAM, 3);
    let none = [&export[..4], &["--folder", "None", out.to_str().unwrap()]].concat();
    assert_eq!(person.exit(&none), 4);
    let other = [
        "export",
        "maildir",
        out.to_str().unwrap(),
        "--of",
        NEEDHAM,
        "--as",
        BIRRELL,
    ];
    assert_eq!(person.exit(&other), 3);
}
