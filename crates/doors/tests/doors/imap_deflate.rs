//! COMPRESS=DEFLATE, from outside: what a client that compresses sees, and what one gets that means harm.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use grapevine_doors::{READ_BYTES, Tls};

use crate::imap_client::Client;

/// A client behind a compressed connection.
struct Deflated {
    client: Client,
    out: Compress,
    back: Decompress,
}

fn compressed(out: &mut Compress, bytes: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut made = Vec::with_capacity(bytes.len() + 1024);
    out.compress_vec(bytes, &mut made, flush).unwrap();
    assert!(made.len() < made.capacity(), "all of it came out");
    made
}

impl Deflated {
    fn new() -> Self {
        let mut client = Client::selected();
        assert_eq!(client.ask("z COMPRESS DEFLATE"), "z OK DEFLATE begins\r\n");
        client.sent.clear();
        Self {
            client,
            out: Compress::new(Compression::best(), false),
            back: Decompress::new(false),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let bytes = compressed(&mut self.out, bytes, FlushCompress::Sync);
        self.client.feed(&bytes);
    }

    /// All that was said since, which must be readable now.
    fn heard(&mut self) -> Vec<u8> {
        let sent = std::mem::take(&mut self.client.sent);
        let mut read = Vec::with_capacity(16 << 20);
        let before = self.back.total_in();
        let flush = FlushDecompress::Sync;
        self.back.decompress_vec(&sent, &mut read, flush).unwrap();
        assert_eq!((self.back.total_in() - before) as usize, sent.len());
        read
    }

    fn ask(&mut self, line: &str) -> String {
        self.feed(format!("{line}\r\n").as_bytes());
        String::from_utf8(self.heard()).unwrap()
    }
}

#[test]
fn all_is_compressed_after_the_yes_and_readable_after_each_answer() {
    let mut client = Deflated::new();
    assert_eq!(
        client.ask("a FETCH 3 (UID)"),
        "* 3 FETCH (UID 3)\r\na OK FETCH completed\r\n"
    );
    assert!(!client.ask("b CAPABILITY").contains("COMPRESS"));
    assert_eq!(
        client.ask("c COMPRESS DEFLATE"),
        "c NO [COMPRESSIONACTIVE] All is compressed already\r\n"
    );
    assert_eq!(client.ask("d IDLE"), "+ idling\r\n");
    for number in 4..7 {
        client
            .client
            .store
            .borrow_mut()
            .deposit(0, b"\r\nnew".to_vec(), &[]);
        client.client.changed();
        assert_eq!(
            client.heard(),
            format!("* {number} EXISTS\r\n* 0 RECENT\r\n").as_bytes()
        );
    }
    assert!(client.ask("DONE").starts_with("d OK"));
    assert!(
        client
            .ask("e LOGOUT")
            .ends_with("e OK LOGOUT completed\r\n")
    );
    assert!(client.client.is_closed());
}

#[test]
fn a_large_message_passes_compressed_both_ways() {
    let mut client = Deflated::new();
    let large = b"A: 1\r\n\r\nthe same line again and again\r\n".repeat(50_000);
    client.feed(format!("a APPEND INBOX {{{}+}}\r\n", large.len()).as_bytes());
    client.feed(&large);
    client.feed(b"\r\n");
    assert!(
        String::from_utf8(client.heard())
            .unwrap()
            .contains("a OK [APPENDUID 77 4]")
    );
    client.feed(b"b FETCH 4 BODY.PEEK[]\r\n");
    assert!(
        client.client.sent.len() < large.len() / 10,
        "{}",
        client.client.sent.len()
    );
    let heard = client.heard();
    assert!(heard.windows(large.len()).any(|window| window == large));
    assert!(client.client.most_held_bytes <= crate::imap::HELD_BYTES);
}

#[test]
fn nothing_is_compressed_before_the_login() {
    for tls in [Tls::Active, Tls::Offered] {
        let mut client = Client::new(tls);
        assert!(!client.text().contains("COMPRESS"));
        assert_eq!(client.ask("a COMPRESS DEFLATE"), "a BAD Log in first\r\n");
    }
    let mut client = Client::selected();
    assert_eq!(
        client.ask("a COMPRESS LZ4"),
        "a BAD DEFLATE is what is offered\r\n"
    );
    assert!(client.ask("b NOOP").starts_with("b OK"));
}

#[test]
fn a_bomb_meets_the_limits_of_what_it_unpacks_to() {
    // A command that never ends: 64 MiB in some ten KiB.
    let mut client = Deflated::new();
    let filler = vec![b'x'; 1 << 20];
    let mut fed = 0;
    for _ in 0..64 {
        if client.client.is_closed() {
            break;
        }
        let bytes = compressed(&mut client.out, &filler, FlushCompress::Sync);
        fed += bytes.len();
        client.client.feed(&bytes);
    }
    assert!(fed <= 200 * 1024, "{fed}");
    assert!(client.client.most_held_bytes <= crate::imap::HELD_BYTES);
    // Commands by the ten thousand in some kilobytes: each is answered, and no answer waits in memory.
    let mut client = Deflated::new();
    client.feed(&b"a NOOP\r\n".repeat(20_000));
    let heard = client.heard();
    assert_eq!(heard, b"a OK completed\r\n".repeat(20_000));
    assert!(client.client.most_held_bytes <= crate::imap::HELD_BYTES);
    // A message longer than may be: refused at its announcement.
    assert!(
        client
            .ask("b APPEND INBOX {4294967295}")
            .starts_with("b NO [TOOBIG]")
    );
}

#[test]
fn what_is_not_deflate_ends_the_session() {
    let mut client = Deflated::new();
    client.client.feed(b"\xff\xff\xff\xff\xffa NOOP\r\n");
    assert!(client.client.is_closed());
    let said = String::from_utf8(client.heard()).unwrap();
    assert_eq!(said, "* BYE What comes in is not DEFLATE, closing\r\n");
    // Neither does anything follow what the client said to be its last.
    let mut client = Deflated::new();
    let mut last = compressed(&mut client.out, b"a NOOP\r\n", FlushCompress::Finish);
    client.client.feed(&last);
    assert_eq!(client.heard(), b"a OK completed\r\n");
    assert!(!client.client.is_closed());
    last.clear();
    client.client.feed(b"b NOOP\r\n");
    assert!(client.client.is_closed());
}

#[test]
fn a_stream_that_is_cut_is_the_end_of_the_client() {
    let whole = compressed(
        &mut Compress::new(Compression::best(), false),
        b"a FETCH 1:3 (UID FLAGS)\r\nb APPEND INBOX {30+}\r\nhalf of it",
        FlushCompress::Sync,
    );
    for end in 0..=whole.len() {
        let mut client = Deflated::new();
        client.client.feed(whole.get(..end).unwrap());
        client.client.eof();
        assert!(client.client.is_closed(), "cut at {end}");
        assert_eq!(client.client.session.held_bytes(), 0);
        assert_eq!(
            client.client.store.borrow().mails(0).len(),
            3,
            "nothing is half there"
        );
    }
}

#[test]
fn compressed_sessions_do_not_depend_on_the_cuts() {
    let said = b"a FETCH 1:* (UID FLAGS BODY.PEEK[])\r\nb SEARCH TEXT hello\r\nc APPEND INBOX {9+}\r\n\r\nmessage\r\nd STATUS INBOX (MESSAGES)\r\ne LOGOUT\r\n";
    let said = compressed(
        &mut Compress::new(Compression::best(), false),
        said,
        FlushCompress::Sync,
    );
    let mut whole = Deflated::new();
    whole.client.feed(&said);
    let all = whole.heard();
    assert!(
        all.ends_with(b"e OK LOGOUT completed\r\n"),
        "{}",
        all.escape_ascii()
    );
    for size in [1, 2, 3, 7, 50] {
        let mut parts = Deflated::new();
        for piece in said.chunks(size) {
            parts.client.feed(piece);
        }
        assert_eq!(parts.heard(), all);
    }
    // What came in the same read as the command is compressed as well.
    let mut client = Client::selected();
    let together = [b"z COMPRESS DEFLATE\r\n".as_slice(), &said].concat();
    assert!(together.len() < READ_BYTES);
    client.feed(&together);
    let yes = b"z OK DEFLATE begins\r\n";
    assert!(client.sent.starts_with(yes));
    let mut deflated = Deflated {
        out: Compress::new(Compression::best(), false),
        back: Decompress::new(false),
        client,
    };
    deflated.client.sent.drain(..yes.len());
    assert_eq!(deflated.heard(), all);
}
