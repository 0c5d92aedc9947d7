//! The SMTP and LMTP client against servers that are good, odd, and hostile.

use grapevine_doors::smtp_client::{
    Client, Config, Content, Failure, Fault, Mail, Outcome, Output, Protocol, Rcpt, StartTls,
};
use grapevine_model::{Notify, ReturnContent, Secret};
use proptest::prelude::*;

/// A conversation, and what came of it so far.
struct Talk {
    client: Client,
    sent: String,
    done: Option<Vec<Outcome>>,
    failed: Option<Failure>,
    ready: usize,
    handshakes: usize,
    closed: bool,
    body: Vec<&'static [u8]>,
}

fn config(protocol: Protocol) -> Config {
    Config {
        protocol,
        hostname: "us.example".into(),
        server: "mx.example".into(),
        starttls: StartTls::IfOffered,
        tls: false,
        login: None,
    }
}

impl Talk {
    fn new(config: Config) -> Self {
        Self {
            client: Client::new(config),
            sent: String::new(),
            done: None,
            failed: None,
            ready: 0,
            handshakes: 0,
            closed: false,
            body: vec![b"Subject: x\r\n\r\n.a\n", b"b"],
        }
    }

    /// The server says this; gives what the client says to it.
    fn hears(&mut self, text: &str) -> String {
        self.client.receive(text.as_bytes());
        self.drain();
        std::mem::take(&mut self.sent)
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll() {
            assert!(!self.closed, "nothing follows Close");
            match output {
                Output::Send(bytes) => self.sent.push_str(&String::from_utf8(bytes).unwrap()),
                Output::StartTls => {
                    self.handshakes += 1;
                    self.client.tls_started();
                }
                Output::Ready => self.ready += 1,
                Output::BodyWanted if self.body.is_empty() => self.client.body_end(),
                Output::BodyWanted => {
                    let piece = self.body.remove(0);
                    self.client.body(piece);
                }
                Output::Done(outcomes) => self.done = Some(outcomes),
                Output::Failed(failure) => self.failed = Some(failure),
                Output::Close => self.closed = true,
            }
        }
    }

    fn begin(&mut self, mail: Mail) -> String {
        self.client.begin(mail);
        self.drain();
        std::mem::take(&mut self.sent)
    }

    /// Greeted by a server that offers this.
    fn greeted(protocol: Protocol, offers: &[&str]) -> Self {
        let mut talk = Self::new(config(protocol));
        talk.hears("220 mx.example\r\n");
        talk.hears(&ehlo(offers));
        assert_eq!(talk.ready, 1);
        talk
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        self.done.take().expect("done")
    }
}

fn ehlo(offers: &[&str]) -> String {
    let mut lines = String::from("250-mx.example\r\n");
    for offer in offers {
        lines.push_str(&format!("250-{offer}\r\n"));
    }
    lines.push_str("250 HELP\r\n");
    lines
}

fn mail(to: &[&str]) -> Mail {
    Mail {
        return_path: Some("birrell@pa.example".parse().unwrap()),
        recipients: to
            .iter()
            .map(|name| Rcpt {
                name: name.parse().unwrap(),
                notify: Notify::default(),
                original: None,
            })
            .collect(),
        content: Content {
            bytes: 19,
            ..Content::default()
        },
        ret: ReturnContent::Headers,
        envelope_id: None,
    }
}

fn taken(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Taken { .. })
}

fn refused_with(outcome: &Outcome, status: &str) -> bool {
    matches!(outcome, Outcome::Refused { status: is, .. } if is == status)
}

const WIRE: &str = "Subject: x\r\n\r\n..a\r\nb\r\n.\r\n";

#[test]
fn a_message_goes_in_as_few_turns_as_the_server_allows_with_every_line_ended_right() {
    let mut talk = Talk::new(config(Protocol::Smtp));
    assert_eq!(talk.hears("220 mx.example\r\n"), "EHLO us.example\r\n");
    assert_eq!(talk.hears(&ehlo(&["PIPELINING", "SIZE 1000", "DSN"])), "");
    let commands = talk.begin(mail(&["a@b.example", "no@b.example", "c@b.example"]));
    assert_eq!(
        commands,
        "MAIL FROM:<birrell@pa.example> SIZE=19 RET=HDRS\r\n\
         RCPT TO:<a@b.example> NOTIFY=FAILURE,DELAY\r\n\
         RCPT TO:<no@b.example> NOTIFY=FAILURE,DELAY\r\n\
         RCPT TO:<c@b.example> NOTIFY=FAILURE,DELAY\r\n"
    );
    assert_eq!(talk.hears("250 ok\r\n250 ok\r\n550 5.1.1 none\r\n"), "");
    assert_eq!(talk.hears("250 ok\r\n"), "DATA\r\n");
    assert_eq!(talk.hears("354 go\r\n"), WIRE);
    assert!(talk.done.is_none(), "no yes before the server's");
    talk.hears("250 2.0.0 taken as 17\r\n");
    let outcomes = talk.outcomes();
    assert!(taken(&outcomes[0]) && taken(&outcomes[2]));
    assert!(refused_with(&outcomes[1], "5.1.1"));
    assert_eq!(talk.ready, 2, "the next message may come");
    talk.client.quit();
    talk.drain();
    assert_eq!(talk.sent, "QUIT\r\n");
}

#[test]
fn without_pipelining_each_command_waits_for_its_answer() {
    let mut talk = Talk::greeted(Protocol::Smtp, &[]);
    assert_eq!(
        talk.begin(mail(&["a@b.example", "c@b.example"])),
        "MAIL FROM:<birrell@pa.example>\r\n"
    );
    assert_eq!(talk.hears("250 ok\r\n"), "RCPT TO:<a@b.example>\r\n");
    assert_eq!(
        talk.hears("452 4.5.3 later\r\n"),
        "RCPT TO:<c@b.example>\r\n"
    );
    assert_eq!(talk.hears("250 ok\r\n"), "DATA\r\n");
    assert_eq!(talk.hears("354 go\r\n"), WIRE);
    talk.hears("250 ok\r\n");
    let outcomes = talk.outcomes();
    assert!(matches!(&outcomes[0], Outcome::Later(why) if why.contains("452 4.5.3")));
    assert!(taken(&outcomes[1]));
}

#[test]
fn an_lmtp_server_answers_for_each_recipient() {
    let mut talk = Talk::new(config(Protocol::Lmtp));
    assert_eq!(talk.hears("220 hi\r\n"), "LHLO us.example\r\n");
    talk.hears(&ehlo(&["PIPELINING"]));
    talk.begin(mail(&["a@b.example", "no@b.example", "full@b.example"]));
    assert_eq!(
        talk.hears("250 ok\r\n250 ok\r\n550 5.1.1 none\r\n250 ok\r\n"),
        "DATA\r\n"
    );
    talk.hears("354 go\r\n");
    talk.hears("250 2.0.0 stored\r\n");
    assert!(talk.done.is_none(), "one answer is still owed");
    talk.hears("452 4.2.2 full\r\n");
    let outcomes = talk.outcomes();
    assert!(taken(&outcomes[0]) && refused_with(&outcomes[1], "5.1.1"));
    assert!(matches!(&outcomes[2], Outcome::Later(why) if why.contains("4.2.2")));
}

#[test]
fn nothing_is_sent_when_nobody_or_no_sender_is_accepted() {
    for replies in [
        "250 ok\r\n550 5.1.1 none\r\n450 4.2.1 later\r\n",
        "550 5.7.1 not you\r\n250 ok\r\n250 ok\r\n",
    ] {
        let mut talk = Talk::greeted(Protocol::Smtp, &["PIPELINING"]);
        talk.begin(mail(&["a@b.example", "c@b.example"]));
        assert_eq!(talk.hears(replies), "RSET\r\n");
        assert!(!talk.outcomes().iter().any(taken), "{replies}");
        talk.hears("250 ok\r\n");
        assert_eq!(talk.ready, 2);
    }
}

#[test]
fn what_the_server_can_not_take_is_refused_without_asking_it() {
    /// What is offered, how the mail is, and what it is refused with.
    type Case<'a> = (&'a [&'a str], fn(&mut Mail), &'a str);
    let cases: [Case<'_>; 3] = [
        (&["SIZE 10"], |_| {}, "5.3.4"),
        (&[], |mail| mail.content.eight_bit = true, "5.6.3"),
        (
            &["8BITMIME"],
            |mail| mail.recipients[0].name = "j\u{f6}rg@b.example".parse().unwrap(),
            "5.6.7",
        ),
    ];
    for (offers, change, status) in cases {
        let mut talk = Talk::greeted(Protocol::Smtp, offers);
        let mut one = mail(&["a@b.example"]);
        change(&mut one);
        assert_eq!(talk.begin(one), "", "{status}");
        assert!(refused_with(&talk.outcomes()[0], status), "{status}");
        assert_eq!(talk.ready, 2);
    }
    let mut talk = Talk::greeted(Protocol::Smtp, &["8BITMIME", "SMTPUTF8"]);
    let mut one = mail(&["j\u{f6}rg@b.example"]);
    one.content.eight_bit = true;
    let command = talk.begin(one);
    assert!(
        command.ends_with("> BODY=8BITMIME SMTPUTF8\r\n"),
        "{command}"
    );
}

#[test]
fn tls_is_used_where_it_is_offered_and_what_came_before_it_is_forgotten() {
    let mut talk = Talk::new(config(Protocol::Smtp));
    talk.hears("220 hi\r\n");
    assert_eq!(
        talk.hears(&ehlo(&["STARTTLS", "PIPELINING"])),
        "STARTTLS\r\n"
    );
    assert_eq!(talk.hears("220 go\r\n"), "EHLO us.example\r\n");
    assert_eq!(talk.handshakes, 1);
    talk.hears(&ehlo(&["STARTTLS"]));
    assert_eq!(talk.ready, 1, "once is enough");
    let commands = talk.begin(mail(&["a@b.example"]));
    assert!(!commands.contains("RCPT"), "it was offered in clear only");
}

#[test]
fn an_answer_put_in_before_tls_is_not_believed() {
    let mut talk = Talk::new(config(Protocol::Smtp));
    talk.hears("220 hi\r\n");
    talk.hears(&ehlo(&["STARTTLS"]));
    talk.hears("220 go\r\n250-evil\r\n");
    assert_eq!(talk.handshakes, 0);
    assert_eq!(talk.failed.unwrap().fault, Fault::Tls);
    assert!(talk.closed);
}

#[test]
fn where_tls_is_required_nothing_goes_without_it() {
    for answer in [None, Some("454 4.7.0 not now\r\n")] {
        let mut talk = Talk::new(Config {
            starttls: StartTls::Required,
            ..config(Protocol::Smtp)
        });
        talk.hears("220 hi\r\n");
        let offers: &[&str] = if answer.is_some() { &["STARTTLS"] } else { &[] };
        talk.hears(&ehlo(offers));
        if let Some(answer) = answer {
            talk.hears(answer);
        }
        assert_eq!(talk.failed.unwrap().fault, Fault::Tls);
        assert_eq!(talk.ready, 0);
    }
}

#[test]
fn a_password_goes_inside_tls_only() {
    let login = Some(("us".to_owned(), Secret("sesame".into())));
    let clear = Config {
        login: login.clone(),
        ..config(Protocol::Smtp)
    };
    let mut talk = Talk::new(clear);
    talk.hears("220 hi\r\n");
    assert_eq!(talk.hears(&ehlo(&["AUTH PLAIN LOGIN"])), "");
    assert_eq!(talk.failed.unwrap().fault, Fault::Tls);
    let inside = Config {
        tls: true,
        login,
        ..config(Protocol::Smtp)
    };
    let mut talk = Talk::new(inside.clone());
    talk.hears("220 hi\r\n");
    assert_eq!(
        talk.hears(&ehlo(&["AUTH PLAIN LOGIN"])),
        "AUTH PLAIN AHVzAHNlc2FtZQ==\r\n"
    );
    talk.hears("235 2.7.0 welcome\r\n");
    assert_eq!(talk.ready, 1);
    let mut talk = Talk::new(inside);
    talk.hears("220 hi\r\n");
    assert_eq!(talk.hears(&ehlo(&["AUTH LOGIN"])), "AUTH LOGIN\r\n");
    assert_eq!(talk.hears("334 VXNlcm5hbWU6\r\n"), "dXM=\r\n");
    assert_eq!(talk.hears("334 UGFzc3dvcmQ6\r\n"), "c2VzYW1l\r\n");
    talk.hears("535 5.7.8 no\r\n");
    assert_eq!(talk.failed.unwrap().fault, Fault::Login);
}

#[test]
fn a_connection_that_breaks_decides_nothing_and_says_whether_all_was_said() {
    let mut talk = Talk::greeted(Protocol::Smtp, &["PIPELINING"]);
    talk.begin(mail(&["a@b.example"]));
    talk.client.eof();
    talk.drain();
    assert!(matches!(talk.outcomes()[0], Outcome::Later(_)));
    assert!(!talk.failed.unwrap().said_all);

    let mut talk = Talk::greeted(Protocol::Smtp, &["PIPELINING"]);
    talk.begin(mail(&["a@b.example"]));
    talk.hears("250 ok\r\n250 ok\r\n");
    talk.hears("354 go\r\n");
    assert_eq!(talk.client.silence_ms(), 600_000, "RFC 5321 4.5.3.2.6");
    talk.client.timed_out();
    talk.drain();
    assert!(matches!(&talk.outcomes()[0], Outcome::Later(why) if why.contains("twice")));
    let failure = talk.failed.unwrap();
    assert!(failure.said_all && failure.undecided);
}

#[test]
fn a_server_that_closes_says_why() {
    for at in ["greeting", "mail", "end"] {
        let mut talk = Talk::new(config(Protocol::Smtp));
        if at != "greeting" {
            talk.hears("220 hi\r\n");
            talk.hears(&ehlo(&["PIPELINING"]));
            talk.begin(mail(&["a@b.example"]));
        }
        if at == "end" {
            talk.hears("250 ok\r\n250 ok\r\n");
            talk.hears("354 go\r\n");
        }
        talk.hears("421 4.3.2 going down\r\n");
        assert!(talk.closed, "{at}");
        assert!(talk.failed.unwrap().why.contains("going down"), "{at}");
        if at != "greeting" {
            let done = talk.done.take().unwrap();
            assert!(
                matches!(&done[0], Outcome::Later(why) if why.contains("going down") && !why.contains("twice")),
                "{at}: {done:?}"
            );
        }
    }
}

#[test]
fn an_old_server_that_knows_no_ehlo_is_greeted_as_it_wants() {
    let mut talk = Talk::new(config(Protocol::Smtp));
    talk.hears("220 hi\r\n");
    assert_eq!(talk.hears("502 what?\r\n"), "HELO us.example\r\n");
    talk.hears("250 mx.example\r\n");
    assert_eq!(talk.ready, 1);
}

#[test]
fn a_server_that_floods_or_talks_nonsense_is_left() {
    for nonsense in [
        "HTTP/1.1 200 OK\r\n".to_owned(),
        "220-a\n".to_owned(),
        "220-x\r\n".repeat(200),
        "2".repeat(5_000),
    ] {
        let mut talk = Talk::new(config(Protocol::Smtp));
        talk.hears(&nonsense);
        assert!(talk.closed && talk.failed.is_some(), "{nonsense:.20}");
    }
}

proptest! {
    /// Whatever comes, in whatever pieces: no panic, an end after Close, and never a yes without a 2xx after the final dot.
    #[test]
    fn whatever_a_server_says_no_message_is_taken_without_its_yes(
        replies in proptest::collection::vec((prop_oneof![Just(220_u16), Just(250), Just(354), Just(334), 200_u16..600], "[ -]", "[a-z0-9. ]{0,12}"), 0..30),
        lmtp in any::<bool>(),
        step in 1_usize..40,
    ) {
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let mut talk = Talk::new(config(protocol));
        let mut begun = 0;
        let mut ends = 0;
        for (code, mark, text) in replies {
            let line = format!("{code}{mark}{text}\r\n");
            for piece in line.as_bytes().chunks(step) {
                talk.client.receive(piece);
                talk.drain();
                if talk.ready > begun && !talk.closed {
                    begun = talk.ready;
                    talk.body = vec![b"x"];
                    talk.client.begin(mail(&["a@b.example", "c@b.example"]));
                    talk.drain();
                }
                ends += talk.sent.matches("\r\n.\r\n").count();
                talk.sent.clear();
                if let Some(done) = talk.done.take() {
                    prop_assert!(ends > 0 || !done.iter().any(taken));
                    prop_assert_eq!(done.len(), 2);
                }
            }
        }
        talk.client.eof();
        talk.drain();
        prop_assert!(talk.closed);
    }
}

/// A server that says these bytes, however it likes: the first octet chooses the protocol, the second the size of the pieces. No panic, an
/// end, and never a yes without one of the server's after the final dot.
pub(crate) fn hostile_server(input: &[u8]) {
    let [how, size, said @ ..] = input else {
        return;
    };
    let protocol = if how & 1 == 0 {
        Protocol::Smtp
    } else {
        Protocol::Lmtp
    };
    let required = how & 2 != 0;
    let login = how & 4 != 0;
    let mut talk = Talk::new(Config {
        starttls: if required {
            StartTls::Required
        } else {
            StartTls::IfOffered
        },
        login: login.then(|| ("us".to_owned(), Secret("sesame".into()))),
        ..config(protocol)
    });
    let (mut begun, mut ends) = (0, 0);
    for piece in said.chunks(usize::from(*size).max(1)) {
        talk.client.receive(piece);
        talk.drain();
        if talk.ready > begun && !talk.closed {
            assert!(
                talk.handshakes > 0 || !(required || login),
                "nothing goes in clear where TLS is required, or with a password"
            );
            begun = talk.ready;
            talk.body = vec![b"x"];
            talk.client.begin(mail(&["a@b.example", "c@b.example"]));
            talk.drain();
        }
        assert!(talk.handshakes > 0 || !talk.sent.contains("AUTH"));
        ends += talk.sent.matches("\r\n.\r\n").count();
        talk.sent.clear();
        if let Some(done) = talk.done.take() {
            assert!(ends > 0 || !done.iter().any(taken), "a yes without its dot");
            assert_eq!(done.len(), 2);
        }
    }
    talk.client.eof();
    talk.drain();
    assert!(talk.closed);
}
