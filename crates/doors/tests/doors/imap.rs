//! IMAP, told as transcripts and as facts.

use grapevine_doors::Tls;
use grapevine_doors::imap::{Change, Flags, Limits};

use crate::imap_client::{Client, message};
use crate::script::play;

/// A command line, a read, an outbox with a piece on top, and a small message that is held.
pub(crate) const HELD_BYTES: usize = 8 * grapevine_doors::READ_BYTES;

#[test]
fn no_password_without_tls_and_nothing_from_before_it_counts() {
    let mut client = Client::new(Tls::Offered);
    play(
        &mut client,
        "S: * OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE STARTTLS LOGINDISABLED] s1.example IMAP Grapevine
         C: a LOGIN a@pa sesame
         S: a NO [PRIVACYREQUIRED] STARTTLS first: no password without encryption
         C: b AUTHENTICATE PLAIN AGEAc2VzYW1l
         S: b NO [PRIVACYREQUIRED] STARTTLS first: no password without encryption
         C: c SELECT INBOX
         S: c BAD Log in first
         C: d STARTTLS
         S: d OK Begin TLS now
         C: e CAPABILITY
         S: * CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE AUTH=PLAIN
         S: e OK CAPABILITY completed
         C: f AUTHENTICATE PLAIN
         S: +
         C: AGFAcGEAc2VzYW1l
         S: f OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE NAMESPACE IDLE UIDPLUS MOVE UNSELECT CHILDREN SPECIAL-USE CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS ESEARCH SEARCHRES SORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES CONDSTORE QRESYNC OBJECTID QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE STATUS=SIZE MULTIAPPEND BINARY UTF8=ACCEPT APPENDLIMIT=52428800 COMPRESS=DEFLATE] Logged in
         C: g STARTTLS
         S: g BAD TLS is on already
         C: h LOGOUT
         S: * BYE Bye
         S: h OK LOGOUT completed",
    );
    assert!(client.is_closed());
}

#[test]
fn wrong_passwords_end_the_session() {
    let mut client = Client::new(Tls::Active);
    for _ in 0..3 {
        assert!(!client.is_closed());
        client.feed(b"a LOGIN a@pa wrong\r\n");
    }
    assert!(client.is_closed());
    assert!(
        client
            .text()
            .contains("a NO [AUTHENTICATIONFAILED] Name or password is wrong\r\n")
    );
    assert!(!client.text().contains("sesame"));
}

#[test]
fn a_folder_is_opened_and_said_what_is_in_it() {
    let mut client = Client::new(Tls::Active);
    client.feed(b"l LOGIN {4}\r\na@pa {6+}\r\nsesame\r\n");
    client.sent.clear();
    play(
        &mut client,
        "C: a SELECT inbox
         S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Work)
         S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Work \\*)] Any flags may be set
         S: * 3 EXISTS
         S: * 0 RECENT
         S: * OK [UNSEEN 2] The first one unseen
         S: * OK [UIDVALIDITY 77] UIDs are valid
         S: * OK [UIDNEXT 4] The next UID
         S: * OK [HIGHESTMODSEQ 13] The highest
         S: * OK [MAILBOXID (f0)] The folder
         S: a OK [READ-WRITE] SELECT completed
         C: b EXAMINE nowhere
         S: * OK [CLOSED] The folder before is closed
         S: b NO [NONEXISTENT] There is no such folder
         C: c FETCH 1 FLAGS
         S: c BAD Select a folder first
         C: d STATUS INBOX (MESSAGES UNSEEN UIDNEXT UIDVALIDITY SIZE DELETED RECENT MAILBOXID)
         S: * STATUS \"INBOX\" (MESSAGES 3 UNSEEN 2 UIDNEXT 4 UIDVALIDITY 77 SIZE 243 DELETED 1 RECENT 0 MAILBOXID (f0))
         S: d OK STATUS completed",
    );
}

#[test]
fn a_folder_of_which_a_site_may_have_more_is_said_to_be_so_at_its_opening() {
    let mut client = Client::selected();
    assert!(!client.ask("a SELECT INBOX").contains("* NO"));
    client.store.borrow_mut().partial = true;
    let said = client.ask("b SELECT INBOX");
    assert!(
        said.contains("\r\n* OK [UNAVAILABLE] Another server with this mailbox"),
        "{said}"
    );
    assert!(said.contains("\r\n* 3 EXISTS\r\n"), "{said}");
    assert!(
        said.ends_with("b OK [READ-WRITE] SELECT completed\r\n"),
        "{said}"
    );
}

#[test]
fn messages_are_fetched_in_all_their_parts() {
    let mut client = Client::selected();
    play(
        &mut client,
        "C: a FETCH 1:2 (UID FLAGS RFC822.SIZE INTERNALDATE)
         S: * 1 FETCH (UID 1 FLAGS (\\Seen) RFC822.SIZE 72 INTERNALDATE \"02-Jan-1970 00:00:00 +0000\")
         S: * 2 FETCH (UID 2 FLAGS () RFC822.SIZE 160 INTERNALDATE \"02-Jan-1970 00:00:00 +0000\")
         S: a OK FETCH completed
         C: b UID FETCH 1 ENVELOPE
         S: * 1 FETCH (UID 1 ENVELOPE (\"Mon, 1 Jan 2024 00:00:00 +0000\" \"one\" ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL))
         S: b OK FETCH completed
         C: c FETCH 2 BODY
         S: * 2 FETCH (BODY ((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 8 1)(\"TEXT\" \"HTML\" NIL NIL NIL \"BASE64\" 8 1) \"MIXED\"))
         S: c OK FETCH completed
         C: d FETCH 2 (BODY.PEEK[1] BINARY.PEEK[2] BINARY.SIZE[2] BODY.PEEK[3] BODY.PEEK[2.MIME])
         S: * 2 FETCH (BODY[1] {8}
         S: part one BINARY[2] ~{5}
         S: hello BINARY.SIZE[2] 5 BODY[3] NIL BODY[2.MIME] {62}
         S: Content-Type: text/html
         S: Content-Transfer-Encoding: base64
         S:
         S: )
         S: d OK FETCH completed
         C: e FETCH 1 (BODY.PEEK[TEXT]<1.3> BODY.PEEK[HEADER.FIELDS (Subject)])
         S: * 1 FETCH (BODY[TEXT]<1> {3}
         S: ell BODY[HEADER.FIELDS (Subject)] {16}
         S: Subject: one
         S:
         S: )
         S: e OK FETCH completed
         C: f FETCH 3 BODY[]
         S: * 3 FETCH (BODY[] {11}
         S:
         S: no header)
         S: * 3 FETCH (UID 3 FLAGS (\\Deleted \\Seen Work))
         S: f OK FETCH completed
         C: g FETCH 4 UID
         S: g BAD There is no message of this number
         C: h UID FETCH 4:9 UID
         S: h OK FETCH completed",
    );
}

#[test]
fn a_large_message_passes_by_and_is_not_kept() {
    let mut client = Client::selected();
    let large: Vec<u8> = [b"A: 1\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec(), b"QUJD\r\n".repeat(300_000), b"--b--\r\n".to_vec()].concat();
    client.store.borrow_mut().deposit(0, large.clone(), &[]);
    client.changed();
    assert!(client.ask("a NOOP").contains("* 4 EXISTS\r\n"));
    client.piece_bytes = 30_000;
    client.sent.clear();
    client.feed(b"b FETCH 4 (BODY.PEEK[] BINARY.PEEK[1]<3.900000> BINARY.SIZE[1])\r\n");
    let head = format!("* 4 FETCH (BODY[] {{{}}}\r\n", large.len());
    assert!(client.sent.starts_with(head.as_bytes()));
    assert_eq!(client.sent[head.len()..head.len() + large.len()], large);
    let rest = String::from_utf8_lossy(&client.sent[head.len() + large.len()..]).into_owned();
    assert!(
        rest.starts_with(" BINARY[1]<3> ~{899997}\r\nABCABC"),
        "{}",
        &rest[..60]
    );
    assert!(
        rest.ends_with("ABC BINARY.SIZE[1] 900000)\r\nb OK FETCH completed\r\n"),
        "{}",
        &rest[rest.len() - 80..]
    );
    assert!(
        client.most_held_bytes < HELD_BYTES,
        "{}",
        client.most_held_bytes
    );
}

#[test]
fn a_body_that_breaks_off_is_never_ended_as_if_it_were_whole() {
    let mut client = Client::selected();
    client.store.borrow_mut().fails_after = Some(10);
    client.feed(b"a FETCH 1 BODY.PEEK[]\r\n");
    assert!(client.is_closed());
    assert!(
        client.text().ends_with("{72}\r\nFrom: a@b\r"),
        "{}",
        client.text()
    );
    let mut client = Client::selected();
    client.store.borrow_mut().fails_after = Some(0);
    assert_eq!(
        client.ask("a FETCH 1 (UID BODY.PEEK[])"),
        "* 1 FETCH (UID 1 BODY[] NIL)\r\na NO [UNAVAILABLE] Some messages cannot be read now, try again or at another server\r\n"
    );
    assert_eq!(
        client.ask("b SEARCH SUBJECT one"),
        "* SEARCH\r\nb NO [UNAVAILABLE] Some messages cannot be read now: the result may lack them\r\n"
    );
}

#[test]
fn flags_are_stored_and_told() {
    let mut client = Client::selected();
    play(
        &mut client,
        "C: a STORE 2 +FLAGS (\\Flagged $Forwarded)
         S: * 2 FETCH (UID 2 FLAGS (\\Flagged $Forwarded))
         S: a OK STORE completed
         C: b UID STORE 2 -FLAGS.SILENT $FORWARDED
         S: b OK STORE completed
         C: c STORE 2 FLAGS ()
         S: * 2 FETCH (UID 2 FLAGS ())
         S: c OK STORE completed
         C: d STORE 2 FLAGS \\Foo
         S: d BAD There is no such system flag
         C: e STORE 1:3 (UNCHANGEDSINCE 12) +FLAGS (X)
         S: * 1 FETCH (UID 1 FLAGS (\\Seen X) MODSEQ (17))
         S: * 2 FETCH (UID 2 FLAGS () MODSEQ (16))
         S: * 3 FETCH (UID 3 FLAGS (\\Deleted Work) MODSEQ (13))
         S: e OK [MODIFIED 2:3] STORE completed
         C: f STORE 1 +FLAGS.SILENT Y
         S: * 1 FETCH (UID 1 MODSEQ (18))
         S: f OK STORE completed
         C: g FETCH 1:* (FLAGS) (CHANGEDSINCE 17)
         S: * 1 FETCH (FLAGS (\\Seen X Y) MODSEQ (18))
         S: g OK FETCH completed",
    );
}

#[test]
fn numbers_move_only_when_that_is_told() {
    let mut client = Client::selected();
    let mails = client.store.borrow().mails(0);
    client.store.borrow_mut().expunge(0, &mails[..1]);
    client
        .store
        .borrow_mut()
        .deposit(0, message("Subject: new\n\nx\n"), &[]);
    client.changed();
    play(
        &mut client,
        "C: a FETCH 1:3 UID
         S: * 1 FETCH (UID 1)
         S: * 2 FETCH (UID 2)
         S: * 3 FETCH (UID 3)
         S: * 4 EXISTS
         S: * 0 RECENT
         S: a OK FETCH completed
         C: x FETCH 1:2 UID
         S: * 2 FETCH (UID 2)
         S: x NO [EXPUNGEISSUED] Some messages are gone
         C: b SEARCH ALL
         S: * SEARCH 2 3 4
         S: b OK SEARCH completed
         C: c NOOP
         S: * 1 EXPUNGE
         S: c OK completed
         C: d FETCH 1:* UID
         S: * 1 FETCH (UID 2)
         S: * 2 FETCH (UID 3)
         S: * 3 FETCH (UID 4)
         S: d OK FETCH completed
         C: e EXPUNGE
         S: * 2 EXPUNGE
         S: e OK EXPUNGE completed
         C: f ENABLE QRESYNC
         S: * ENABLED QRESYNC
         S: f OK ENABLE completed
         C: g STORE 1:2 +FLAGS.SILENT \\Deleted
         S: * 1 FETCH (UID 2 MODSEQ (17))
         S: * 2 FETCH (UID 4 MODSEQ (17))
         S: g OK STORE completed
         C: h UID EXPUNGE 3:9
         S: * VANISHED 4
         S: h OK [HIGHESTMODSEQ 18] EXPUNGE completed
         C: i CLOSE
         S: i OK CLOSE completed
         C: j SELECT INBOX (QRESYNC (77 14 1:5))
         S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)
         S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Any flags may be set
         S: * 0 EXISTS
         S: * 0 RECENT
         S: * OK [UIDVALIDITY 77] UIDs are valid
         S: * OK [UIDNEXT 5] The next UID
         S: * OK [HIGHESTMODSEQ 19] The highest
         S: * OK [MAILBOXID (f0)] The folder
         S: * VANISHED (EARLIER) 1:5
         S: j OK [READ-WRITE] SELECT completed",
    );
}

#[test]
fn somebody_elses_changes_reach_an_idle_client_at_once() {
    let mut idle = Client::selected();
    let mut other = Client::on(Tls::Active, &idle.store);
    other.feed(b"l LOGIN a@pa sesame\r\ns SELECT INBOX\r\n");
    assert_eq!(idle.ask("i IDLE"), "+ idling\r\n");
    other.feed(b"a STORE 1 +FLAGS \\Flagged\r\nb EXPUNGE\r\n");
    idle.store
        .borrow_mut()
        .deposit(0, message("Subject: news\n\nx\n"), &[]);
    idle.sent.clear();
    idle.changed();
    assert_eq!(
        idle.text(),
        "* 3 EXPUNGE\r\n* 3 EXISTS\r\n* 0 RECENT\r\n* 1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))\r\n"
    );
    idle.sent.clear();
    idle.changed();
    assert_eq!(idle.text(), "");
    assert_eq!(idle.ask("DONE"), "i OK IDLE completed\r\n");
    assert_eq!(idle.ask("i IDLE"), "+ idling\r\n");
    assert_eq!(idle.ask("NOOP"), "i BAD IDLE ends with DONE\r\n");
}

#[test]
fn folders_are_made_listed_renamed_and_deleted() {
    let mut client = Client::selected();
    play(
        &mut client,
        "C: a CREATE Archive/2026
         S: a OK [MAILBOXID (f3ec)] CREATE completed
         C: b CREATE \"Sent Items\" (USE (\\Sent))
         S: b OK [MAILBOXID (f3ed)] CREATE completed
         C: c CREATE Archive/2026
         S: c NO [ALREADYEXISTS] there is
         C: d SUBSCRIBE Archive/2026
         S: d OK SUBSCRIBE completed
         C: e LIST \"\" *
         S: * LIST (\\HasNoChildren) \"/\" \"INBOX\"
         S: * LIST (\\NonExistent \\Noselect \\HasChildren) \"/\" \"Archive\"
         S: * LIST (\\HasNoChildren) \"/\" \"Archive/2026\"
         S: * LIST (\\HasNoChildren \\Sent) \"/\" \"Sent Items\"
         S: e OK LIST completed
         C: f LIST \"\" %
         S: * LIST (\\HasNoChildren) \"/\" \"INBOX\"
         S: * LIST (\\NonExistent \\Noselect \\HasChildren) \"/\" \"Archive\"
         S: * LIST (\\HasNoChildren \\Sent) \"/\" \"Sent Items\"
         S: f OK LIST completed
         C: g LIST (SUBSCRIBED) \"\" * RETURN (STATUS (MESSAGES))
         S: * LIST (\\HasNoChildren \\Subscribed) \"/\" \"Archive/2026\"
         S: * STATUS \"Archive/2026\" (MESSAGES 0)
         S: g OK LIST completed
         C: h LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %
         S: * LIST (\\NonExistent \\Noselect \\HasChildren) \"/\" \"Archive\" (CHILDINFO (\"SUBSCRIBED\"))
         S: h OK LIST completed
         C: i LSUB \"\" %
         S: * LSUB (\\Noselect) \"/\" \"Archive\"
         S: i OK LSUB completed
         C: j LIST (SPECIAL-USE) \"\" *
         S: * LIST (\\HasNoChildren \\Sent) \"/\" \"Sent Items\"
         S: j OK LIST completed
         C: k LIST \"\" \"\"
         S: * LIST (\\Noselect) \"/\" \"\"
         S: k OK completed
         C: l RENAME Archive Alt
         S: l OK RENAME completed
         C: m LIST Alt/ *
         S: * LIST (\\HasNoChildren) \"/\" \"Alt/2026\"
         S: m OK LIST completed
         C: n DELETE Alt/2026
         S: n OK DELETE completed
         C: o DELETE INBOX
         S: o NO [CANNOT] INBOX stays
         C: p DELETE Alt
         S: p NO [NONEXISTENT] There is no such folder
         C: q RENAME \"Sent Items\" \"Sent Items/x\"
         S: q NO [CANNOT] A folder can't be put below itself
         C: r CREATE &AOk-t&AOk-
         S: r OK [MAILBOXID (f3ee)] CREATE completed
         C: s LIST \"\" &AOk-*
         S: * LIST (\\HasNoChildren) \"/\" \"&AOk-t&AOk-\"
         S: s OK LIST completed
         C: t ENABLE UTF8=ACCEPT
         S: * ENABLED UTF8=ACCEPT
         S: t OK ENABLE completed
         C: u LIST \"\" \"\u{e9}*\"
         S: * LIST (\\HasNoChildren) \"/\" \"\u{e9}t\u{e9}\"
         S: u OK LIST completed
         C: v GETQUOTAROOT INBOX
         S: * QUOTAROOT \"INBOX\" \"\"
         S: * QUOTA \"\" (STORAGE 5 977)
         S: v OK GETQUOTAROOT completed
         C: w NAMESPACE
         S: * NAMESPACE ((\"\" \"/\")) NIL NIL
         S: w OK NAMESPACE completed",
    );
    for bad in ["a/", "/", "a//b", "a%", "\"\"", "INBOX", "\" x\""] {
        let heard = client.ask(&format!("z CREATE {bad}"));
        assert!(!heard.starts_with("z OK") || bad == "a/", "{bad}: {heard}");
    }
}

#[test]
fn a_selected_folder_that_is_deleted_is_closed_here_and_ends_the_others() {
    let mut client = Client::selected();
    client.ask("a CREATE x");
    client.ask("a SELECT x");
    let mut other = Client::on(Tls::Active, &client.store);
    other.feed(b"l LOGIN a@pa sesame\r\ns SELECT x\r\n");
    assert_eq!(client.ask("b DELETE x"), "b OK DELETE completed\r\n");
    assert_eq!(
        client.ask("c FETCH 1 UID"),
        "c BAD Select a folder first\r\n"
    );
    other.changed();
    assert_eq!(other.ask("d NOOP"), "* BYE The folder has been deleted\r\n");
    assert!(other.is_closed());
}

#[test]
fn messages_are_copied_and_moved_with_their_new_numbers() {
    let mut client = Client::selected();
    client.ask("c CREATE x");
    play(
        &mut client,
        "C: a COPY 1:2 nowhere
         S: c OK [MAILBOXID (f3ec)] CREATE completed
         S: a NO [TRYCREATE] There is no such folder"
            .replace("         S: c OK [MAILBOXID (f3ec)] CREATE completed\n", "")
            .as_str(),
    );
    play(
        &mut client,
        "C: b COPY 1:2 x
         S: b OK [COPYUID 77 1:2 4:5] COPY completed
         C: c MOVE 3 x
         S: * OK [COPYUID 77 3 6] Moved
         S: * 3 EXPUNGE
         S: c OK MOVE completed
         C: d UID COPY 9 x
         S: d OK COPY completed
         C: e MOVE 1 INBOX
         S: e NO [CANNOT] They are in this folder
         C: f EXAMINE x
         S: * OK [CLOSED] The folder before is closed
         S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Work)
         S: * OK [PERMANENTFLAGS ()] Read only
         S: * 3 EXISTS
         S: * 0 RECENT
         S: * OK [UNSEEN 2] The first one unseen
         S: * OK [UIDVALIDITY 77] UIDs are valid
         S: * OK [UIDNEXT 7] The next UID
         S: * OK [HIGHESTMODSEQ 17] The highest
         S: * OK [MAILBOXID (f3ec)] The folder
         S: f OK [READ-ONLY] EXAMINE completed
         C: g FETCH 1 (EMAILID BODY[TEXT])
         S: * 1 FETCH (EMAILID (m10000000000000007) BODY[TEXT] {7}
         S: hello
         S: )
         S: g OK FETCH completed
         C: h STORE 1 +FLAGS (\\Seen)
         S: h NO [NOPERM] The folder is open for reading only
         C: i EXPUNGE
         S: i NO [NOPERM] The folder is open for reading only
         C: j UNSELECT
         S: j OK UNSELECT completed",
    );
}

#[test]
fn searches_find_by_row_and_by_text() {
    let mut client = Client::selected();
    for (search, expected) in [
        ("ALL", "1 2 3"),
        ("UNSEEN", "2 3"),
        ("KEYWORD work", "3"),
        ("NOT DELETED", "1 2"),
        ("2:*", "2 3"),
        ("UID 1,3", "1 3"),
        ("LARGER 70 SMALLER 100", "1"),
        ("SUBJECT ONE", "1"),
        ("HEADER Subject \"\"", "1 2"),
        ("BODY hello", "1 2"),
        ("TEXT subject", "1 2"),
        ("OR FROM a@b KEYWORD Work", "1 3"),
        ("SENTSINCE 1-Jan-2024", "1"),
        ("BEFORE 2-Jan-1970", ""),
        ("ON 2-Jan-1970", "1 2 3"),
        ("NEW", ""),
        ("NOT (SEEN)", "2 3"),
        ("BODY \"part one\" UNSEEN", "2"),
        ("CHARSET UTF-8 TEXT {5+}\r\nhello", "1 2"),
        ("EMAILID m10000000000000007", "1"),
    ] {
        let space = if expected.is_empty() { "" } else { " " };
        assert_eq!(
            client.ask(&format!("a SEARCH {search}")),
            format!("* SEARCH{space}{expected}\r\na OK SEARCH completed\r\n"),
            "{search}"
        );
    }
    play(
        &mut Client::selected(),
        "C: a UID SEARCH RETURN (MIN MAX COUNT ALL) UNSEEN
         S: * ESEARCH (TAG \"a\") UID MIN 2 MAX 3 COUNT 2 ALL 2:3
         S: a OK SEARCH completed
         C: b SEARCH RETURN (SAVE) UNSEEN
         S: b OK SEARCH completed
         C: c FETCH $ UID
         S: * 2 FETCH (UID 2)
         S: * 3 FETCH (UID 3)
         S: c OK FETCH completed
         C: d SEARCH MODSEQ 13
         S: * SEARCH 3 (MODSEQ 13)
         S: d OK SEARCH completed
         C: e SEARCH CHARSET X ALL
         S: e NO [BADCHARSET (US-ASCII UTF-8)] Only these are known
         C: f SORT (REVERSE SIZE) UTF-8 ALL
         S: * SORT 2 1 3
         S: f OK SORT completed
         C: g UID SORT (SUBJECT) UTF-8 NOT DELETED
         S: * SORT 1 2
         S: g OK SORT completed
         C: h THREAD REFERENCES UTF-8 ALL
         S: * THREAD (2)(3)(1)
         S: h OK THREAD completed
         C: i ENABLE IMAP4rev2
         S: * ENABLED IMAP4rev2
         S: i OK ENABLE completed
         C: j SEARCH SEEN
         S: * ESEARCH (TAG \"j\") ALL 1
         S: j OK SEARCH completed",
    );
}

#[test]
fn messages_are_appended_whole_or_not_at_all() {
    let mut client = Client::selected();
    play(
        &mut client,
        "C: a APPEND INBOX (\\Seen) \"17-Jul-1996 02:44:25 -0700\" {5}
         S: + OK
         C: A: 1
         S: * 4 EXISTS
         S: * 0 RECENT
         S: a OK [APPENDUID 77 4] APPEND completed"
            .replace("C: A: 1\n", "C: A: 1x\n")
            .as_str(),
    );
    play(
        &mut client,
        "C: b FETCH 4 (FLAGS INTERNALDATE BODY.PEEK[])
         S: * 4 FETCH (FLAGS (\\Seen) INTERNALDATE \"17-Jul-1996 09:44:25 +0000\" BODY[] {5}
         S: A: 1x)
         S: b OK FETCH completed
         C: c APPEND nowhere {5}
         S: c NO [TRYCREATE] There is no such folder
         C: d APPEND nowhere {5+}
         C: x NOO {3+}
         C: abc
         S: d NO [TRYCREATE] There is no such folder
         C: e APPEND INBOX {3+}
         C: one (\\Flagged) {3+}
         C: two
         S: * 6 EXISTS
         S: * 0 RECENT
         S: e OK [APPENDUID 77 5:6] APPEND completed
         C: f APPEND INBOX {3+}
         C: one {999999999}
         S: f NO [TOOBIG] The message is longer than this server takes
         C: g APPEND {5}
         S: + OK
         C: INBOX UTF8 (~{3+}
         C: bin)
         S: * 7 EXISTS
         S: * 0 RECENT
         S: g OK [APPENDUID 77 7] APPEND completed
         C: h APPEND INBOX (\\Foo) {3}
         S: h BAD There is no such system flag
         C: i APPEND INBOX {0+}
         C:
         S: i NO [CANNOT] A message of no octets
         C: j NOOP
         S: j OK completed",
    );
    client.feed(b"k APPEND INBOX {300+}\r\nhalf");
    client.eof();
    assert!(client.is_closed());
    assert_eq!(client.store.borrow().mails(0).len(), 7);
}

#[test]
fn what_a_hostile_client_says_costs_little() {
    let mut client = Client::selected();
    assert_eq!(
        client.ask("a SELECT {4294967295}"),
        "a BAD [TOOBIG] Literal too long\r\n"
    );
    assert_eq!(
        client.ask("a APPEND INBOX {4294967295}"),
        "a NO [TOOBIG] The message is longer than this server takes\r\n"
    );
    let heard = client.ask("a APPEND INBOX {4294967295+}");
    assert!(
        heard.ends_with("* BYE [TOOBIG] The message is too long\r\n") && client.is_closed(),
        "{heard}"
    );
    let mut client = Client::selected();
    assert!(
        client
            .ask("a SELECT {4294967295+}")
            .ends_with("* BYE [TOOBIG] Literal too long\r\n")
    );
    let mut client = Client::selected();
    assert!(
        client
            .ask("a SELECT {99999999999999999999999}")
            .ends_with("* BYE [TOOBIG] No number of octets is as large\r\n")
    );
    let mut client = Client::selected();
    let flags = (0..5_000)
        .map(|n| format!("k{n}"))
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(
        client.ask(&format!("a STORE 1 +FLAGS ({flags})")),
        "a BAD Too many flags in one command\r\n"
    );
    assert_eq!(
        client.ask(&format!("a SELECT \"{}\"", "x".repeat(100_000))),
        "a BAD Command too long\r\n"
    );
    assert_eq!(
        client.ask("a NOOP\rx"),
        "a BAD Lines end with CRLF, never with CR or LF alone\r\n"
    );
    assert_eq!(
        client.ask("a FETCH 1:4294967295 UID"),
        "a BAD There is no message of this number\r\n"
    );
    assert!(
        client
            .ask("a UID FETCH 1:4294967295,1:* UID")
            .ends_with("a OK FETCH completed\r\n")
    );
    for _ in 0..30 {
        if !client.is_closed() {
            client.feed(b"a FOO\r\n");
        }
    }
    assert!(client.is_closed());
    assert!(client.most_held_bytes < HELD_BYTES);
}

#[test]
fn a_hundred_thousand_commands_in_a_row_are_answered_in_order() {
    let mut client = Client::selected();
    let all: String = (0..100_000)
        .map(|n| format!("t{n} FETCH 1 FLAGS\r\n"))
        .collect();
    client.feed(all.as_bytes());
    let text = client.text();
    let tags: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_suffix(" OK FETCH completed"))
        .collect();
    assert_eq!(tags.len(), 100_000);
    assert!(
        (0..100_000)
            .zip(&tags)
            .all(|(n, tag)| *tag == format!("t{n}"))
    );
    assert!(
        client.most_held_bytes < HELD_BYTES,
        "{}",
        client.most_held_bytes
    );
}

#[test]
fn a_client_that_never_reads_is_not_read_from() {
    let mut client = Client::selected();
    for _ in 0..2_000 {
        client
            .store
            .borrow_mut()
            .deposit(0, message("A: 1\n\nx\n"), &[]);
    }
    client.session.mailbox_changed();
    // Nobody takes the outputs.
    let mut given = 0;
    while client.session.wants_bytes() && given < 100 {
        client.session.receive(
            &b"a UID FETCH 1:* (FLAGS BODY.PEEK[])\r\nb NOOP\r\nc SEARCH ALL\r\n".repeat(100),
        );
        given += 1;
    }
    assert!(given < 100);
    assert!(
        client.session.held_bytes() < HELD_BYTES,
        "{}",
        client.session.held_bytes()
    );
    client.drain();
    assert!(
        client.most_held_bytes < HELD_BYTES,
        "{}",
        client.most_held_bytes
    );
}

#[test]
fn what_cannot_be_known_now_is_said_to_be_so() {
    let mut client = Client::selected();
    client.store.borrow_mut().down = true;
    assert_eq!(
        client.ask("a STORE 1 +FLAGS (\\Seen)"),
        "a NO [UNAVAILABLE] not now\r\n"
    );
    assert_eq!(
        client.ask("a LIST \"\" *"),
        "a NO [UNAVAILABLE] not now\r\n"
    );
    assert_eq!(
        client.ask("a SELECT INBOX"),
        "* OK [CLOSED] The folder before is closed\r\na NO [UNAVAILABLE] not now\r\n"
    );
    client.store.borrow_mut().down = false;
    client.ask("a SELECT INBOX");
    let mails = client.store.borrow().mails(0);
    client
        .store
        .borrow_mut()
        .change(0, &mails, Change::Add, &Flags::of(["Z"]), None);
    client.store.borrow_mut().down = true;
    client.changed();
    // The command's own work is done; the news come later.
    assert_eq!(client.ask("a NOOP"), "a OK completed\r\n");
}

#[test]
fn a_session_that_waits_too_long_or_is_told_to_end_says_so() {
    let mut client = Client::new(Tls::Active);
    assert_eq!(client.session.silence_ms(), 60_000);
    client.feed(b"l LOGIN a@pa sesame\r\n");
    assert_eq!(client.session.silence_ms(), 30 * 60_000);
    client.session.timed_out();
    client.drain();
    assert!(
        client
            .text()
            .ends_with("* BYE [UNAVAILABLE] Silent for too long, closing\r\n")
    );
    let mut client = Client::selected();
    client.feed(b"i IDLE\r\n");
    client.session.shut_down();
    client.drain();
    assert!(client.text().ends_with(
        "* BYE [UNAVAILABLE] Server is shutting down, try again or at another server\r\n"
    ));
    assert!(client.is_closed());
    let limits = Limits {
        idle_commands: 3,
        ..Limits::default()
    };
    let store = Client::new(Tls::Active).store;
    let mut client = Client::limited(Tls::Active, &store, limits);
    client.feed(&b"a NOOP\r\n".repeat(4));
    assert!(client.is_closed());
}
