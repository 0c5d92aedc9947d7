//! What a session does must not depend on how its bytes were cut into packets, whatever they are.

use grapevine_doors::Tls;
use grapevine_doors::smtp::{Config, Kind, Limits};
use proptest::prelude::*;

use crate::fuzz;
use crate::imap;
use crate::imap_client;
use crate::pop3_client;
use crate::smtp_client::{Client, by_name, config};

/// Pieces of sense and nonsense, so that generated sessions get far and go wrong everywhere.
const SMTP_WORDS: &[&str] = &[
    "EHLO a.example\r\n",
    "HELO b\r\n",
    "AUTH PLAIN AGJpcnJlbGxAcGEuZXhhbXBsZQBzZXNhbWU=\r\n",
    "AUTH PLAIN\r\n",
    "AUTH LOGIN\r\n",
    "AGJpcnJlbGxAcGEuZXhhbXBsZQBzZXNhbWU=\r\n",
    "*\r\n",
    "MAIL FROM:<a@b>\r\n",
    "MAIL FROM:<> SIZE=20 RET=FULL\r\n",
    "MAIL FROM:<no@b>\r\n",
    "RCPT TO:<c@d>\r\n",
    "RCPT TO:<c@d> NOTIFY=NEVER\r\n",
    "RCPT TO:<no@d>\r\n",
    "DATA\r\n",
    "hello\r\n",
    "..dots\r\n",
    ".\r\n",
    "\r\n.\r\n",
    "\n.\r\n",
    "\r.\r\n",
    "\r\r\n",
    "\n",
    "\r",
    "\r\n",
    ".",
    "BDAT 5\r\n",
    "12345",
    "BDAT 5 LAST\r\n12345",
    "BDAT 0 LAST\r\n",
    "BDAT 70 LAST\r\n",
    "BDAT x\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "noop\n",
    "VRFY x\r\n",
    "FOO\r\n",
    "QUIT\r\n",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "\0",
];

const SMTP_STARTS: &[&str] = &[
    "",
    "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n",
    "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
    "EHLO a\r\nAUTH PLAIN AGJpcnJlbGxAcGEuZXhhbXBsZQBzZXNhbWU=\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
];

const POP3_WORDS: &[&str] = &[
    "CAPA\r\n",
    "USER a\r\n",
    "PASS sesame\r\n",
    "PASS x\r\n",
    "AUTH PLAIN\r\n",
    "AUTH PLAIN AGEAc2VzYW1l\r\n",
    "AGEAc2VzYW1l\r\n",
    "*\r\n",
    "STAT\r\n",
    "LIST\r\n",
    "LIST 2\r\n",
    "UIDL\r\n",
    "RETR 1\r\n",
    "RETR 2\r\n",
    "RETR 9\r\n",
    "TOP 1 1\r\n",
    "DELE 1\r\n",
    "DELE 2\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "noop\n",
    "\r",
    "\n",
    "\0",
    "FOO\r\n",
    "QUIT\r\n",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

const POP3_STARTS: &[&str] = &["", "USER a\r\nPASS sesame\r\n"];

const IMAP_WORDS: &[&str] = &[
    "a CAPABILITY\r\n",
    "a NOOP\r\n",
    "a SELECT INBOX\r\n",
    "a EXAMINE {5}\r\n",
    "INBOX\r\n",
    "INBOX",
    "a CREATE x\r\n",
    "a FETCH 1:* (FLAGS UID)\r\n",
    "a FETCH 1:* BODY[]\r\n",
    "a UID FETCH 1:* (BODYSTRUCTURE BODY.PEEK[1] BINARY[2] ENVELOPE)\r\n",
    "a STORE 1 +FLAGS (\\Deleted)\r\n",
    "a EXPUNGE\r\n",
    "a COPY 1:2 x\r\n",
    "a UID MOVE 2 x\r\n",
    "a SEARCH TEXT hello\r\n",
    "a SORT (DATE) UTF-8 ALL\r\n",
    "a THREAD REFERENCES UTF-8 ALL\r\n",
    "a APPEND INBOX {5}\r\n",
    "a APPEND INBOX {5+}\r\nhello\r\n",
    "a APPEND nowhere {5+}\r\nhello {3+}\r\nyou\r\n",
    "hello {5+}\r\n",
    "hello",
    "a IDLE\r\n",
    "DONE\r\n",
    "a ENABLE QRESYNC IMAP4rev2\r\n",
    "a LIST \"\" *\r\n",
    "a LSUB {3+}\r\nx\r\n",
    "a LOGOUT\r\n",
    "a CLOSE\r\n",
    "{",
    "}\r\n",
    "\"",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

const IMAP_STARTS: &[&str] = &[
    "",
    "l LOGIN a sesame\r\n",
    "l LOGIN a sesame\r\ns SELECT INBOX\r\n",
];

fn stream(
    starts: &'static [&'static str],
    words: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        20 => proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => Just(vec![b'y'; 3000]),
    ];
    (
        proptest::sample::select(starts),
        proptest::collection::vec(word, 0..25),
    )
        .prop_map(|(start, words)| [start.as_bytes(), &words.concat()].concat())
}

/// Cuts `bytes` into pieces of the given sizes, over and over.
fn cut<'a>(mut bytes: &'a [u8], sizes: &'a [usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

pub(crate) fn smtp(kind: Kind, pieces: &[&[u8]]) -> Client {
    let limits = Limits {
        message_bytes: 60,
        recipients: 2,
        ..Limits::default()
    };
    let mut client = Client::with(
        Config {
            limits,
            ..config(kind, Tls::Active)
        },
        Box::new(by_name),
    );
    for piece in pieces {
        client.feed(piece);
    }
    client.eof();
    client
}

pub(crate) fn pop3(pieces: &[&[u8]]) -> pop3_client::Client {
    let mut client = pop3_client::Client::new(Tls::Active);
    for piece in pieces {
        client.feed(piece);
    }
    client.eof();
    client
}

pub(crate) fn imap(pieces: &[&[u8]]) -> imap_client::Client {
    let mut client = imap_client::Client::new(Tls::Active);
    for piece in pieces {
        client.feed(piece);
    }
    client.eof();
    client
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn smtp_does_not_depend_on_the_cuts(
        bytes in stream(SMTP_STARTS, SMTP_WORDS),
        kind in prop_oneof![Just(Kind::Submission), Just(Kind::Receiving), Just(Kind::Lmtp)],
        sizes in proptest::collection::vec(1_usize..40, 1..6),
    ) {
        let whole = smtp(kind, &[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        for pieces in [single, cut(&bytes, &sizes)] {
            let parts = smtp(kind, &pieces);
            prop_assert_eq!(&whole.events, &parts.events);
            prop_assert!(parts.most_held_bytes <= fuzz::HELD_BYTES);
        }
    }

    #[test]
    fn pop3_does_not_depend_on_the_cuts(
        bytes in stream(POP3_STARTS, POP3_WORDS),
        sizes in proptest::collection::vec(1_usize..40, 1..6),
    ) {
        let whole = pop3(&[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        for pieces in [single, cut(&bytes, &sizes)] {
            let parts = pop3(&pieces);
            prop_assert_eq!(&whole.events, &parts.events);
            prop_assert!(parts.most_held_bytes <= fuzz::HELD_BYTES);
        }
    }
}

proptest! {
    // A session of IMAP says more than one of the others.
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn imap_does_not_depend_on_the_cuts(
        bytes in stream(IMAP_STARTS, IMAP_WORDS),
        sizes in proptest::collection::vec(1_usize..40, 1..6),
    ) {
        let whole = imap(&[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        for pieces in [single, cut(&bytes, &sizes)] {
            let parts = imap(&pieces);
            prop_assert_eq!(&whole.events, &parts.events);
            prop_assert!(parts.most_held_bytes <= imap::HELD_BYTES);
        }
    }
}
