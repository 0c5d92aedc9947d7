//! The oracle of folders sees what it is there to see: each kind of wrong, shown to it.

use std::collections::{BTreeMap, BTreeSet};

use super::{BOX, Deed, Folders, INBOX, Sure};
use crate::oracle::Yes;
use crate::wire_imap::Shown;

const OWNER: &str = "i0@pa.example";

fn yes() -> Sure {
    Sure::Yes(Yes {
        copies: None,
        lost_before: 0,
    })
}

fn mail(uid: u32, token: &str, flags: &[&str]) -> Shown {
    Shown {
        uid,
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        token: token.to_owned(),
    }
}

fn told(deeds: &[Deed]) -> Folders {
    let mut folders = Folders::default();
    for deed in deeds {
        folders.notes(OWNER, "a", deed, yes());
    }
    folders
}

fn settled(folders: &Folders, lost: u32, shown: &[(&str, Shown)]) -> Vec<String> {
    let mut all: BTreeMap<String, Vec<Shown>> = BTreeMap::new();
    for (folder, mail) in shown {
        all.entry((*folder).to_owned())
            .or_default()
            .push(mail.clone());
    }
    folders.settled("s1", OWNER, lost, &BTreeSet::from([BOX.to_owned()]), &all)
}

#[test]
fn a_mail_that_was_acknowledged_must_be_there_once_and_where_it_was_moved() {
    let folders = told(&[Deed::Append]);
    assert!(settled(&folders, 0, &[(INBOX, mail(1, "a", &[]))]).is_empty());
    assert_eq!(settled(&folders, 0, &[]).len(), 1);
    let twice = [(INBOX, mail(1, "a", &[])), (BOX, mail(2, "a", &[]))];
    assert_eq!(settled(&folders, 0, &twice).len(), 1);
    let moved = told(&[Deed::Append, Deed::Move]);
    assert_eq!(settled(&moved, 0, &[(INBOX, mail(1, "a", &[]))]).len(), 1);
    assert!(settled(&moved, 0, &[(BOX, mail(2, "a", &[]))]).is_empty());
    assert_eq!(settled(&folders, 0, &[(BOX, mail(2, "a", &[]))]).len(), 1);
}

#[test]
fn what_may_have_been_on_a_lost_disk_only_is_not_asked_for_unless_it_has_been_seen_twice() {
    let mut folders = told(&[Deed::Append]);
    assert!(settled(&folders, 1, &[]).is_empty());
    folders.hardens(OWNER, 0);
    assert_eq!(settled(&folders, 1, &[]).len(), 1);
    // What was excused once stays excused.
    let mut excused = told(&[Deed::Append]);
    excused.hardens(OWNER, 1);
    assert!(settled(&excused, 1, &[]).is_empty());
}

#[test]
fn an_expunged_mail_and_a_cleared_keyword_must_not_return() {
    let folders = told(&[Deed::Append, Deed::Expunge]);
    assert!(settled(&folders, 0, &[]).is_empty());
    assert_eq!(settled(&folders, 0, &[(INBOX, mail(1, "a", &[]))]).len(), 1);
    let key = || "$k1".to_owned();
    let cleared = told(&[Deed::Append, Deed::Set(key()), Deed::Clear(key())]);
    assert_eq!(
        settled(&cleared, 0, &[(INBOX, mail(1, "a", &["$k1"]))]).len(),
        1
    );
    assert!(settled(&cleared, 0, &[(INBOX, mail(1, "a", &[]))]).is_empty());
}

#[test]
fn an_acknowledged_keyword_must_be_there_and_no_other() {
    let set = told(&[Deed::Append, Deed::Set("$k1".to_owned())]);
    assert!(settled(&set, 0, &[(INBOX, mail(1, "a", &["$k1", "\\Seen"]))]).is_empty());
    assert_eq!(settled(&set, 0, &[(INBOX, mail(1, "a", &[]))]).len(), 1);
    assert_eq!(
        settled(&set, 0, &[(INBOX, mail(1, "a", &["$k1", "$k2"]))]).len(),
        1
    );
    let mut perhaps = told(&[Deed::Append]);
    perhaps.notes(OWNER, "a", &Deed::Set("$k1".to_owned()), Sure::Perhaps);
    assert!(settled(&perhaps, 0, &[(INBOX, mail(1, "a", &[]))]).is_empty());
    assert!(settled(&perhaps, 0, &[(INBOX, mail(1, "a", &["$k1"]))]).is_empty());
}

#[test]
fn a_number_that_means_two_or_comes_late_is_seen() {
    let mut folders = told(&[Deed::Append]);
    folders.notes(OWNER, "b", &Deed::Append, yes());
    let life = (INBOX.to_owned(), 7);
    assert!(
        folders
            .sees_calm(OWNER, &life, &[mail(5, "a", &[])])
            .is_empty()
    );
    assert_eq!(folders.sees(OWNER, &life, &[mail(5, "b", &[])]).len(), 1);
    assert_eq!(
        folders.sees(OWNER, &life, &[mail(9, "ghost", &[])]).len(),
        1
    );
    // While servers do not hear each other, each side has its own numbers.
    assert!(folders.sees(OWNER, &life, &[mail(3, "b", &[])]).is_empty());
    assert_eq!(
        folders.sees_calm(OWNER, &life, &[mail(3, "b", &[])]).len(),
        1
    );
    // In another life of the folder all begins anew.
    let other = (INBOX.to_owned(), 8);
    assert!(
        folders
            .sees_calm(OWNER, &other, &[mail(1, "b", &[])])
            .is_empty()
    );
}
