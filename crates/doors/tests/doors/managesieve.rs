//! ManageSieve sessions: transcripts, refusals, and what hostile clients may not do.

use grapevine_doors::managesieve::{Answer, Ask, Config, Failure, Limits, Output, Session};
use grapevine_doors::{READ_BYTES, Tls};
use grapevine_model::{ErrorKind, Refusal, ScriptView, SieveAsk, SieveReply};

/// A client, and a shell that knows one person: `a` with the password `b`, who has one script.
struct Client {
    session: Session,
    sent: String,
    asked: Vec<SieveAsk>,
    closed: bool,
    /// The right password was said.
    proved: bool,
    /// What the next question about scripts is answered.
    refuses: Option<ErrorKind>,
}

impl Client {
    fn new(tls: Tls) -> Self {
        let mut client = Self {
            session: Session::new(Config {
                hostname: "s1.example".into(),
                tls,
                limits: Limits::default(),
            }),
            sent: String::new(),
            asked: Vec::new(),
            closed: false,
            proved: false,
            refuses: None,
        };
        client.settle();
        client
    }

    fn logged_in() -> Self {
        let mut client = Self::new(Tls::Active);
        client.says(
            "AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n",
            "OK \"logged in\"\r\n",
        );
        client
    }

    fn settle(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(bytes) => self.sent.push_str(&String::from_utf8_lossy(&bytes)),
                Output::StartTls => {
                    self.sent.push_str("<TLS>");
                    self.session.receive(b"LOGOUT\r\n");
                    self.session.tls_started();
                }
                Output::Ask(Ask::Authenticate(credentials)) => {
                    self.proved |= credentials.password.expose() == "b";
                    let answer = match (credentials.name.as_str(), credentials.password.expose()) {
                        ("a", "b") => Answer::LoggedIn,
                        ("later", _) => Answer::NoLogin(Failure::NotNow),
                        _ => Answer::NoLogin(Failure::Wrong),
                    };
                    self.session.answer(answer);
                }
                Output::Ask(Ask::Scripts(ask)) => {
                    assert!(self.proved, "nothing is asked for who has not logged in");
                    let answer = match (&ask, self.refuses.take()) {
                        (_, Some(kind)) => Answer::No(Refusal::new(kind, "it \"is\" so")),
                        (SieveAsk::List, None) => {
                            let view = |script: &str, active| ScriptView {
                                script: script.parse().unwrap(),
                                active,
                                len: 5,
                            };
                            let views = vec![view("main", true), view("o\"ld", false)];
                            Answer::Told(SieveReply::Scripts(views))
                        }
                        (SieveAsk::Get(_), None) => {
                            let text = "keep;\r\n".to_owned().try_into().unwrap();
                            Answer::Told(SieveReply::Text(text))
                        }
                        (SieveAsk::HaveSpace { .. }, None) => Answer::Told(SieveReply::Fits),
                        _ => Answer::Done,
                    };
                    self.asked.push(ask);
                    self.session.answer(answer);
                }
                Output::Close => self.closed = true,
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(READ_BYTES) {
            if !self.session.wants_bytes() {
                break;
            }
            self.session.receive(piece);
            self.settle();
        }
    }

    fn says(&mut self, input: &str, answer: &str) {
        self.sent.clear();
        self.feed(input.as_bytes());
        assert_eq!(self.sent, answer, "{input}");
    }

    fn begins(&mut self, input: &str, answer: &str) {
        self.sent.clear();
        self.feed(input.as_bytes());
        assert!(self.sent.starts_with(answer), "{input}: {}", self.sent);
    }
}

#[test]
fn scripts_are_put_listed_activated_and_read() {
    let mut client = Client::logged_in();
    client.says("HAVESPACE \"main\" 99\r\n", "OK\r\n");
    client.says("PUTSCRIPT \"main\" {7+}\r\nkeep;\r\n\r\n", "OK\r\n");
    client.says("putscript \"main\" \"stop;\"\r\n", "OK\r\n");
    client.says("CHECKSCRIPT \"discard;\"\r\n", "OK\r\n");
    client.says(
        "LISTSCRIPTS\r\n",
        "\"main\" ACTIVE\r\n\"o\\\"ld\"\r\nOK\r\n",
    );
    client.says("GETSCRIPT \"main\"\r\n", "{7}\r\nkeep;\r\n\r\nOK\r\n");
    client.says("SETACTIVE \"main\"\r\nSETACTIVE \"\"\r\n", "OK\r\nOK\r\n");
    client.says("RENAMESCRIPT \"main\" \"new\"\r\n", "OK\r\n");
    client.says("DELETESCRIPT \"new\"\r\n", "OK\r\n");
    client.says("NOOP \"tag\"\r\n", "OK (TAG \"tag\") \"done\"\r\n");
    client.says("LOGOUT\r\n", "OK \"good-bye\"\r\n");
    assert!(client.closed);
    assert_eq!(client.asked.len(), 9);
}

#[test]
fn a_script_that_can_not_be_run_is_refused_with_its_place_and_not_passed_on() {
    let mut client = Client::logged_in();
    client.says(
        "PUTSCRIPT \"x\" {13+}\r\nkeep;\r\nkepe;\n\r\n",
        "NO \"line 2, column 1: there is no command \\\"kepe\\\"\"\r\n",
    );
    client.begins("CHECKSCRIPT \"fileinto\"\r\n", "NO \"line 1, column 9");
    client.begins("PUTSCRIPT \"\" \"keep;\"\r\n", "NO \"a script's name");
    assert!(client.asked.is_empty());
}

#[test]
fn refusals_have_the_codes_that_programs_know() {
    let mut client = Client::logged_in();
    for (input, kind, code) in [
        ("GETSCRIPT \"x\"\r\n", ErrorKind::NotFound, "(NONEXISTENT) "),
        ("DELETESCRIPT \"x\"\r\n", ErrorKind::Conflict, "(ACTIVE) "),
        (
            "RENAMESCRIPT \"x\" \"y\"\r\n",
            ErrorKind::Conflict,
            "(ALREADYEXISTS) ",
        ),
        (
            "PUTSCRIPT \"x\" \"\"\r\n",
            ErrorKind::TooLarge,
            "(QUOTA/MAXSCRIPTS) ",
        ),
        (
            "HAVESPACE \"x\" 99999\r\n",
            ErrorKind::TooLarge,
            "(QUOTA/MAXSIZE) ",
        ),
        ("LISTSCRIPTS\r\n", ErrorKind::Unavailable, "(TRYLATER) "),
        ("SETACTIVE \"x\"\r\n", ErrorKind::NotAllowed, ""),
    ] {
        client.refuses = Some(kind);
        client.says(input, &format!("NO {code}\"it \\\"is\\\" so\"\r\n"));
    }
}

#[test]
fn there_is_no_password_before_tls_and_what_came_ahead_of_it_is_dropped() {
    let mut client = Client::new(Tls::Offered);
    assert!(client.sent.contains("\"SASL\" \"\"\r\n\"STARTTLS\"\r\n"));
    assert!(client.sent.contains("\"SIEVE\" \"fileinto "));
    client.begins(
        "AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n",
        "NO (ENCRYPT-NEEDED)",
    );
    client.begins("LISTSCRIPTS\r\n", "NO \"log in first\"");
    client.begins(
        "STARTTLS\r\nLOGOUT\r\n",
        "OK \"begin TLS now\"\r\n<TLS>\"IMPL",
    );
    assert!(client.sent.contains("\"SASL\" \"PLAIN\"") && !client.sent.contains("STARTTLS\""));
    assert!(!client.closed, "what was sent in clear was dropped");
    client.says("AUTHENTICATE \"PLAIN\"\r\n", "\"\"\r\n");
    client.says("{8+}\r\nAGEAYg==\r\n", "OK \"logged in\"\r\n");
    client.begins("STARTTLS\r\n", "NO");
}

#[test]
fn wrong_passwords_end_the_session_and_what_can_not_be_told_now_does_not() {
    let mut client = Client::new(Tls::Active);
    for _ in 0..5 {
        client.begins(
            "AUTHENTICATE \"PLAIN\" \"AGxhdGVyAGI=\"\r\n",
            "NO (TRYLATER)",
        );
    }
    for _ in 0..2 {
        client.says(
            "AUTHENTICATE \"PLAIN\" \"AGEAeA==\"\r\n",
            "NO \"wrong name or password\"\r\n",
        );
    }
    client.begins("AUTHENTICATE \"PLAIN\" \"AGEAeA==\"\r\n", "NO");
    assert!(client.closed && client.sent.contains("BYE"));
}

#[test]
fn a_script_that_is_too_long_is_dropped_and_the_session_goes_on() {
    let mut client = Client::logged_in();
    let long = format!(
        "PUTSCRIPT \"x\" {{40000+}}\r\n{}\r\nNOOP\r\n",
        "x".repeat(40_000)
    );
    client.begins(&long, "NO (QUOTA/MAXSIZE)");
    assert!(client.sent.ends_with("OK \"done\"\r\n"), "{}", client.sent);
    assert!(client.session.held_bytes() <= 2 * READ_BYTES);
    client.begins("PUTSCRIPT \"x\" {4000000000+}\r\n", "BYE");
    assert!(client.closed);
}

#[test]
fn who_makes_many_errors_or_only_talks_is_sent_away() {
    let mut client = Client::new(Tls::Active);
    client.feed("NONSENSE\r\n".repeat(20).as_bytes());
    assert!(client.closed && client.sent.contains("BYE \"too many errors\""));
    let mut client = Client::new(Tls::Active);
    client.feed("NOOP\r\n".repeat(200).as_bytes());
    assert!(client.closed, "{}", client.sent.len());
}

/// However the bytes are cut, the same is answered.
#[test]
fn nothing_depends_on_how_the_bytes_were_cut() {
    let input = "CAPABILITY\r\nAUTHENTICATE \"PLAIN\"\r\n\"AGEAYg==\"\r\nPUTSCRIPT \"a\" {8+}\r\nkeep; #\n\r\nPUTSCRIPT {1+}\r\nb \"oops\"\r\nbad\nline\r\nNOOP\r\nLISTSCRIPTS\r\nLOGOUT\r\n";
    let mut whole = Client::new(Tls::Active);
    whole.feed(input.as_bytes());
    assert!(whole.closed && whole.asked.len() == 2, "{}", whole.sent);
    for size in 1..input.len() {
        let mut client = Client::new(Tls::Active);
        for piece in input.as_bytes().chunks(size) {
            client.feed(piece);
        }
        assert_eq!((&client.sent, client.closed), (&whole.sent, true), "{size}");
    }
}

/// What a session over TLS says and asks, its bytes cut so.
pub(crate) fn said(pieces: &[&[u8]]) -> (String, Vec<SieveAsk>) {
    let mut client = Client::new(Tls::Active);
    for piece in pieces {
        client.feed(piece);
    }
    client.session.eof();
    client.settle();
    assert!(client.closed);
    (client.sent, client.asked)
}

#[test]
fn managesieve_sessions_survive_any_bytes() {
    bolero::check!(name = "managesieve").for_each(|input: &[u8]| {
        let (choice, rest) = input.split_first().unwrap_or((&0, &[]));
        let mut client = match choice % 3 {
            0 => Client::logged_in(),
            1 => Client::new(Tls::Active),
            _ => Client::new(Tls::Offered),
        };
        let size = usize::from(choice / 3).max(1);
        for piece in rest.chunks(size) {
            client.feed(piece);
            assert!(client.session.held_bytes() <= 4 * READ_BYTES);
            assert!(client.closed || client.session.wants_bytes(), "stuck");
        }
        client.session.eof();
        client.settle();
        assert!(client.closed);
    });
}
