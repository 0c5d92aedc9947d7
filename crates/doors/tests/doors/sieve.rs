//! Filters, run on messages: what the standards say, what a hostile script or sender may not do.

use std::collections::BTreeSet;

use grapevine_doors::sieve::{
    Action, Header, IfMissing, Message, Outcome, Script, Sent, Way, guard, limits,
};
use grapevine_model::Name;
use proptest::prelude::*;

const MAIL: &str = "From: Anne Writer <anne@a.example>\r\n\
    To: me@pa.example, \"Other, One\" <other@b.example>\r\n\
    Subject: =?utf-8?q?Caf=C3=A9?= today\r\n\
    Message-ID: <1@a.example>\r\n\
    X-Priority: 2\r\n\
    \r\n\
    Body\r\n";

/// A message on its way to `me@pa.example`.
struct Case<'a> {
    mail: &'a str,
    from: Option<&'a str>,
    to: &'a str,
    way: Way,
    folders: &'a [&'a str],
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            mail: MAIL,
            from: Some("anne@a.example"),
            to: "me@pa.example",
            way: Way::Direct,
            folders: &["work"],
        }
    }
}

impl Case<'_> {
    fn run(&self, script: &str) -> Outcome {
        let script = Script::compile(script.as_bytes()).expect(script);
        let header = Header::parse(self.mail.as_bytes());
        let from: Option<Name> = self.from.map(|from| from.parse().unwrap());
        let folders: BTreeSet<String> = self.folders.iter().map(|f| (*f).to_owned()).collect();
        script.run(Message {
            header: &header,
            size: self.mail.len() as u64,
            from: from.as_ref(),
            to: &self.to.parse().unwrap(),
            way: self.way,
            own: &[
                "me@pa.example".parse().unwrap(),
                "myself@pa.example".parse().unwrap(),
            ],
            folders: &folders,
        })
    }
}

const ALL: &str = "require [\"fileinto\", \"reject\", \"ereject\", \"envelope\", \"encoded-character\", \"vacation\", \"imap4flags\", \"copy\", \"mailbox\", \"variables\", \"relational\", \"subaddress\", \"comparator-i;ascii-numeric\"];\n";

fn run(script: &str) -> Outcome {
    Case::default().run(&format!("{ALL}{script}"))
}

fn keep(flags: &[&str]) -> Action {
    Action::Keep {
        flags: flags.iter().map(|f| f.parse().unwrap()).collect(),
    }
}

fn into(path: &str, flags: &[&str]) -> Action {
    Action::FileInto {
        path: path.parse().unwrap(),
        flags: flags.iter().map(|f| f.parse().unwrap()).collect(),
        if_missing: IfMissing::Inbox,
    }
}

fn redirect(to: &str) -> Action {
    Action::Redirect {
        to: to.parse().unwrap(),
    }
}

fn is_true(test: &str) -> bool {
    let outcome = run(&format!("if {test} {{ discard; }}"));
    assert!(outcome.notes.is_empty(), "{test}: {:?}", outcome.notes);
    outcome.actions.is_empty()
}

#[test]
fn what_a_script_says_is_what_is_done_and_else_it_is_kept() {
    for (script, actions) in [
        ("", vec![keep(&[])]),
        ("keep; keep;", vec![keep(&[])]),
        ("discard;", vec![]),
        ("discard; keep;", vec![keep(&[])]),
        ("stop; discard;", vec![keep(&[])]),
        (
            "fileinto \"work\"; fileinto \"work\";",
            vec![into("work", &[])],
        ),
        (
            "fileinto \"work\"; keep;",
            vec![into("work", &[]), keep(&[])],
        ),
        (
            "fileinto :copy \"work\";",
            vec![into("work", &[]), keep(&[])],
        ),
        ("fileinto \"inbox\";", vec![keep(&[])]),
        ("redirect \"x@y\"; redirect \"X@Y\";", vec![redirect("x@y")]),
        ("redirect :copy \"x@y\";", vec![redirect("x@y"), keep(&[])]),
        (
            "redirect \"x@y\"; redirect :copy \"z@y\";",
            vec![redirect("x@y"), redirect("z@y")],
        ),
        (
            "if false { discard; } elsif true { stop; } else { discard; } discard;",
            vec![keep(&[])],
        ),
        ("if true { if true { stop; } } discard;", vec![keep(&[])]),
        (
            "reject \"no\";",
            vec![Action::Reject {
                reason: "no".into(),
            }],
        ),
        (
            "discard; ereject \"no\";",
            vec![Action::Reject {
                reason: "no".into(),
            }],
        ),
    ] {
        assert_eq!(run(script).actions, actions, "{script}");
    }
    assert_eq!(
        run("fileinto :create \"a/b\";").actions,
        [Action::FileInto {
            path: "a/b".parse().unwrap(),
            flags: vec![],
            if_missing: IfMissing::Create,
        }]
    );
}

#[test]
fn tests_look_at_the_decoded_header_and_the_envelope() {
    for test in [
        "true",
        "not false",
        "allof(true, not false)",
        "anyof(false, true)",
        "header :is \"subject\" \"café today\"",
        "header :contains \"SUBJECT\" [\"zzz\", \"FÉ TODAY\", \"fé ToDay\"]",
        "header :matches \"subject\" \"c?f? *\"",
        "header :contains [\"x-none\", \"subject\"] \"\"",
        "not header :contains \"x-none\" \"\"",
        "not header :comparator \"i;octet\" :contains \"subject\" \"TODAY\"",
        "header :is \"subject\" \"caf${unicode:e9} today\"",
        "exists [\"from\", \"to\"]",
        "not exists [\"from\", \"x-none\"]",
        "size :over 10",
        "size :under 1K",
        "not size :over 1K",
        "address :is \"from\" \"ANNE@a.example\"",
        "address :domain \"to\" [\"b.example\"]",
        "address :localpart [\"from\", \"to\"] \"other\"",
        "address :all :contains \"to\" \"@\"",
        "not address :domain \"to\" \"x.example\"",
        "envelope \"from\" \"anne@a.example\"",
        "envelope :localpart \"to\" \"me\"",
        "header :value \"lt\" :comparator \"i;ascii-numeric\" \"x-priority\" \"10\"",
        "not header :value \"lt\" \"x-priority\" \"10\"",
        "address :count \"eq\" :comparator \"i;ascii-numeric\" \"to\" \"2\"",
        "header :count \"eq\" :comparator \"i;ascii-numeric\" \"x-none\" \"0\"",
        "string \"a\" \"A\"",
        "mailboxexists [\"INBOX\", \"work\"]",
        "not mailboxexists [\"work\", \"play\"]",
    ] {
        let is = is_true(test);
        // ASCII-casemap folds ASCII only.
        assert!(is, "{test}");
    }
}

#[test]
fn a_null_return_path_is_the_empty_string_and_details_are_told_apart() {
    let case = Case {
        from: None,
        to: "me+work@pa.example",
        ..Case::default()
    };
    for test in [
        "envelope :all \"from\" \"\"",
        "envelope :domain \"from\" \"\"",
        "envelope :user \"to\" \"me\"",
        "envelope :detail \"to\" \"work\"",
        "envelope :localpart \"to\" \"me+work\"",
        "not address :detail \"from\" \"\"",
        "address :user \"from\" \"anne\"",
    ] {
        let outcome = case.run(&format!("{ALL} if {test} {{ discard; }}"));
        assert!(outcome.actions.is_empty(), "{test}");
    }
}

#[test]
fn flags_go_with_the_message_wherever_it_goes() {
    for (script, actions) in [
        (
            "addflag \"\\\\Seen\"; addflag [\"$a $b\", \"\\\\seen\"];",
            vec![keep(&["\\Seen", "$a", "$b"])],
        ),
        (
            "setflag \"a\"; setflag \"b\"; fileinto \"work\";",
            vec![into("work", &["b"])],
        ),
        (
            "setflag \"a b\"; removeflag \"A\"; keep; ",
            vec![keep(&["b"])],
        ),
        (
            "setflag \"a\"; keep :flags \"x\"; fileinto \"work\";",
            vec![keep(&["x"]), into("work", &["a"])],
        ),
        (
            "setflag \"a\"; fileinto :flags \"\" \"work\";",
            vec![into("work", &[])],
        ),
        (
            "setflag \"v\" \"a b\"; addflag \"v\" \"c\"; keep :flags \"${v}\";",
            vec![keep(&["a", "b", "c"])],
        ),
        ("setflag \"a\"; if hasflag \"A\" { discard; }", vec![]),
        (
            "setflag \"a\"; if hasflag :contains \"v\" \"a\" { discard; }",
            vec![keep(&["a"])],
        ),
        (
            "setflag \"a b\"; if hasflag :count \"ge\" :comparator \"i;ascii-numeric\" \"2\" { discard; }",
            vec![],
        ),
    ] {
        assert_eq!(run(script).actions, actions, "{script}");
    }
}

#[test]
fn variables_are_set_changed_and_matched() {
    for test in [
        "header :matches \"subject\" \"* *\" { set \"a\" \"${2}\"; } if string \"${a}\" \"today\"",
        "true { set :upperfirst :lower \"a\" \"fROP\"; } if string :comparator \"i;octet\" \"${a}\" \"Frop\"",
        "true { set :length \"a\" \"é€\"; } if string \"${a}\" \"2\"",
        "true { set :quotewildcard \"a\" \"*\"; } if allof(string :matches \"*\" \"${a}\", not string :matches \"x\" \"${a}\")",
        "true { set \"a\" \"1\"; set \"A\" \"${a}2\"; } if string \"${a}\" \"12\"",
        "string :count \"eq\" :comparator \"i;ascii-numeric\" [\"${none}\", \"x\"] \"1\"",
    ] {
        assert!(is_true(test), "{test}");
    }
    // A match that failed changes nothing.
    assert!(is_true(
        "header :matches \"subject\" \"* *\" {} if header :matches \"subject\" \"x*\" {} if string \"${2}\" \"today\""
    ));
    assert_eq!(
        run("if header :matches \"subject\" \"* *\" { fileinto \"lists/${2}\"; }").actions,
        [into("lists/today", &[])]
    );
}

#[test]
fn what_goes_wrong_while_running_keeps_the_message_and_says_so() {
    let many: String = (0..40).map(|n| format!("fileinto \"f{n}\";")).collect();
    let large: String = (0..200)
        .map(|n| format!("set \"v{n}\" \"${{v{}}}x${{v{}}}x\";", n - 1, n - 1))
        .map(|line| line.replace("v-1", "w"))
        .collect();
    for script in [
        "set \"x\" \"a//b\"; fileinto \"${x}\";",
        "set \"x\" \"nobody\"; redirect \"${x}\";",
        "redirect \"a@b\"; redirect \"b@b\"; redirect \"c@b\"; redirect \"d@b\"; redirect \"e@b\";",
        "reject \"a\"; keep;",
        "fileinto \"a\"; reject \"a\";",
        "reject \"a\"; redirect \"a@b\";",
        "reject \"a\"; vacation \"a\";",
        "vacation \"a\"; vacation \"b\";",
        &many,
        &large,
    ] {
        let outcome = run(script);
        assert_eq!(outcome.actions, [keep(&[])], "{script}");
        assert_eq!(outcome.notes.len(), 1, "{script}: {:?}", outcome.notes);
    }
}

#[test]
fn comparing_ends_however_a_script_and_a_header_are_made() {
    let header = format!("X-A: {}\r\n", "a".repeat(60_000));
    let keys = format!("\"*{}b\",", "a".repeat(400)).repeat(30);
    let script = format!("if header :matches \"x-a\" [{}\"x\"] {{ discard; }}", keys);
    let case = Case {
        mail: &header,
        ..Case::default()
    };
    let outcome = case.run(&script);
    assert_eq!(outcome.actions, [keep(&[])]);
    assert!(outcome.notes[0].contains("compares too much"));
}

#[test]
fn a_filter_redirects_neither_to_itself_nor_in_a_circle() {
    let mine: Name = "me+x@pa.example".parse().unwrap();
    let other: Name = "other@pa.example".parse().unwrap();
    let looped = format!("{}{MAIL}", guard(&mine));
    let passed = format!("{}{MAIL}", guard(&other));
    let often = format!("{}{MAIL}", guard(&other).repeat(limits::REDIRECTED_MOST));
    for (mail, to, goes) in [
        (MAIL, "me@pa.example", false),
        (MAIL, "ME+detail@PA.example", false),
        (MAIL, "myself@pa.example", false),
        (&looped, "x@y", false),
        (&passed, "x@y", true),
        (&often, "x@y", false),
    ] {
        let case = Case {
            mail,
            ..Case::default()
        };
        let outcome = case.run(&format!("redirect \"{to}\";"));
        match goes {
            true => assert_eq!(outcome.actions, [redirect(to)], "{to}"),
            false => {
                assert_eq!(outcome.actions, [keep(&[])], "{to}");
                assert!(outcome.notes[0].contains("not redirected"), "{to}");
            }
        }
    }
}

#[test]
fn nobody_is_told_of_a_rejection_who_could_not_be() {
    let listed = format!("List-Id: <x.y>\r\n{MAIL}");
    for case in [
        Case {
            from: None,
            ..Case::default()
        },
        Case {
            way: Way::List,
            ..Case::default()
        },
        Case {
            mail: &listed,
            ..Case::default()
        },
    ] {
        let outcome = case.run("require \"reject\"; reject \"no\";");
        assert_eq!(outcome.actions, [keep(&[])]);
        assert!(outcome.notes[0].contains("not rejected"));
    }
}

#[test]
fn an_absence_answers_persons_and_nobody_else() {
    let script = "require \"vacation\"; vacation \"Away\";";
    let answered = |case: &Case<'_>| {
        let outcome = case.run(script);
        assert!(
            outcome.actions.contains(&keep(&[])),
            "the message itself is kept"
        );
        outcome
            .actions
            .iter()
            .any(|a| matches!(a, Action::Vacation(_)))
    };
    assert!(answered(&Case::default()));
    for field in [
        "List-Id: <x.y>",
        "List-Unsubscribe: <mailto:a@b>",
        "Auto-Submitted: auto-replied",
        "auto-submitted: Auto-Generated; x=y",
        "Precedence: bulk",
        "Precedence: List",
        "X-Auto-Response-Suppress: OOF",
    ] {
        let mail = format!("{field}\r\n{MAIL}");
        assert!(
            !answered(&Case {
                mail: &mail,
                ..Case::default()
            }),
            "{field}"
        );
    }
    let fine = format!("Auto-Submitted: no\r\nPrecedence: normal\r\n{MAIL}");
    assert!(answered(&Case {
        mail: &fine,
        ..Case::default()
    }));
    for from in [
        "mailer-daemon@a.example",
        "owner-x@a.example",
        "x-request@a.example",
        "LISTSERV@a.example",
        "noreply@a.example",
        "me@pa.example",
        "me+x@pa.example",
        "myself@pa.example",
        "bounces+x=y@a.example",
    ] {
        assert!(
            !answered(&Case {
                from: Some(from),
                ..Case::default()
            }),
            "{from}"
        );
    }
    assert!(!answered(&Case {
        from: None,
        ..Case::default()
    }));
    assert!(!answered(&Case {
        way: Way::List,
        ..Case::default()
    }));
    // Who was only on a hidden list is not one to be answered for.
    let hidden = MAIL.replace("me@pa.example", "you@pa.example");
    assert!(!answered(&Case {
        mail: &hidden,
        ..Case::default()
    }));
    let named = MAIL.replace("me@pa.example", "Myself+x@pa.example");
    assert!(answered(&Case {
        mail: &named,
        ..Case::default()
    }));
    let outcome = Case {
        mail: &hidden,
        ..Case::default()
    }
    .run("require \"vacation\"; vacation :addresses [\"you@pa.example\"] \"Away\";");
    assert!(matches!(outcome.actions[0], Action::Vacation(_)));
}

fn composed(script: &str, mail: &str) -> String {
    let case = Case {
        mail,
        ..Case::default()
    };
    let outcome = case.run(&format!("{ALL}{script}"));
    let answer = outcome.actions.iter().find_map(|action| match action {
        Action::Vacation(answer) => Some(answer),
        _ => None,
    });
    let sent = Sent {
        id: "9@s1.example",
        date: "Mon, 23 Nov 2026 12:00:00 +0000",
    };
    String::from_utf8(answer.unwrap().compose(sent)).unwrap()
}

#[test]
fn an_answer_says_what_it_answers_and_is_marked_as_automatic() {
    let text = composed("vacation :days 99 \"Away.\nBack soon\";", MAIL);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    for line in [
        "From: <me@pa.example>",
        "To: <anne@a.example>",
        "Message-ID: <9@s1.example>",
        "In-Reply-To: <1@a.example>",
        "References: <1@a.example>",
        "Auto-Submitted: auto-replied (vacation)",
        "Content-Transfer-Encoding: 7bit",
    ] {
        assert!(head.lines().any(|l| l == line), "{line} in\n{head}");
    }
    assert!(head.contains("Subject: =?utf-8?B?"));
    assert_eq!(body, "Away.\r\nBack soon\r\n");
    let text = composed(
        "vacation :subject \"Gone\" :from \"Myself@pa.example\" \"Müde\";",
        MAIL,
    );
    assert!(text.contains("Subject: Gone\r\n") && text.contains("From: <Myself@pa.example>\r\n"));
    assert!(text.ends_with("\r\n\r\nTcO8ZGUNCg==\r\n"), "{text}");
}

#[test]
fn an_answer_forges_nothing_whatever_the_message_and_the_script_say() {
    let mail = MAIL
        .replace("=?utf-8?q?Caf=C3=A9?=", "=?utf-8?q?a=0D=0ABcc:_x@y?=")
        .replace("<1@a.example>", "<1@a.example>\r\n\tBcc: x@y");
    let text = composed("vacation :from \"boss@pa.example\" \"x\";", &mail);
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        !head
            .lines()
            .any(|line| line.to_lowercase().starts_with("bcc")),
        "{head}"
    );
    assert!(head.contains("From: <me@pa.example>"), "{head}");
    assert!(!head.contains("In-Reply-To"), "{head}");
    let mime =
        "vacation :mime text:\nBcc: x@y\n  z\nContent-Type: text/html\nFrom: a@b\n\n<b>x</b>\n.\n;";
    let text = composed(mime, MAIL);
    assert!(
        text.ends_with("MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<b>x</b>\r\n"),
        "{text}"
    );
}

#[test]
fn one_text_has_one_handle_and_another_text_another_one() {
    let handle = |script: &str, mail: &str| {
        let case = Case {
            mail,
            ..Case::default()
        };
        match &case.run(&format!("{ALL}{script}")).actions[0] {
            Action::Vacation(answer) => (answer.handle.clone(), answer.days),
            other => panic!("{other:?}"),
        }
    };
    let other = MAIL.replace("today", "tomorrow");
    assert_eq!(
        handle("vacation \"a\";", MAIL),
        handle("vacation \"a\";", &other)
    );
    assert_ne!(
        handle("vacation \"a\";", MAIL),
        handle("vacation \"b\";", MAIL)
    );
    assert_eq!(
        handle("vacation :handle \"h\" \"a\";", MAIL),
        handle("vacation :handle \"h\" \"b\";", MAIL)
    );
    assert_eq!(handle("vacation :days 0 \"a\";", MAIL).1, 1);
    assert_eq!(
        handle("vacation :days 1000 \"a\";", MAIL).1,
        limits::VACATION_DAYS_MOST
    );
}

#[test]
fn scripts_survive_any_bytes() {
    bolero::check!(name = "sieve").for_each(|input: &[u8]| {
        let cut = input.iter().position(|b| *b == 0).unwrap_or(input.len());
        let (script, mail) = input.split_at(cut);
        if let Ok(script) = Script::compile(script) {
            let header = Header::parse(mail);
            let name: Name = "me@pa.example".parse().unwrap();
            let outcome = script.run(Message {
                header: &header,
                size: mail.len() as u64,
                from: Some(&name),
                to: &name,
                way: Way::Direct,
                own: std::slice::from_ref(&name),
                folders: &BTreeSet::new(),
            });
            assert!(outcome.actions.len() <= limits::ACTIONS + 1);
        }
    });
}

/// Pieces of scripts, put together at random: mostly nonsense, some of it well formed.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "if ",
        "elsif ",
        "else ",
        "{",
        "}",
        ";",
        "(",
        ")",
        "[",
        "]",
        ",",
        "keep",
        "keep;",
        "discard;",
        "stop;",
        "fileinto ",
        "\"work\"",
        "\"*${1}*\"",
        "\"subject\"",
        "header ",
        "address ",
        ":matches ",
        ":contains ",
        ":copy ",
        ":flags ",
        "allof",
        "anyof",
        "not ",
        "true ",
        "false ",
        "set \"a\" \"${a}${a}x\";",
        "addflag \"a b\";",
        "vacation ",
        ":days 3 ",
        "redirect \"x@y\";",
        "reject \"x\";",
        "size :over 3K ",
        "exists \"to\" ",
        "text:\nab\n.\n",
        "#x\n",
        "/* */",
    ]);
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn scripts_of_pieces_are_refused_or_run(script in pieces()) {
        let whole = format!("{ALL}{script}");
        match Script::compile(whole.as_bytes()) {
            Ok(_) => {
                let outcome = Case::default().run(&whole);
                prop_assert!(outcome.actions.len() <= limits::ACTIONS + 1);
            }
            Err(mistake) => {
                let lines = whole.lines().count() as u32 + 1;
                prop_assert!(mistake.at.line >= 1 && mistake.at.line <= lines, "{}", mistake);
                prop_assert!(!mistake.what.contains('\n'));
            }
        }
    }
}
