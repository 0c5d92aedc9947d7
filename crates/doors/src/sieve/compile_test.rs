//! What is refused, where, and in which words.

use super::*;
use crate::sieve::script::{Command, Goes, Missing};

#[test]
fn a_mistake_is_told_with_its_place_and_what_to_do() {
    for (script, line, column, words) in [
        ("kepe;", 1, 1, "no command \"kepe\""),
        ("keep;\n  forward \"a@b\";", 2, 3, "is \"redirect\" meant?"),
        ("elsif true {}", 1, 1, "can only follow"),
        ("if true {} keep; else {}", 1, 18, "can only follow"),
        ("if true {} else {} else {}", 1, 20, "can only follow"),
        ("if true {} else true {}", 1, 17, "missing after \"else\""),
        ("if {}", 1, 1, "one test must follow"),
        ("if true;", 1, 1, "in braces"),
        ("if (true, false) {}", 1, 1, "allof"),
        ("keep {}", 1, 1, "end it with \";\""),
        ("keep true;", 1, 6, "a \";\" is missing"),
        ("fileinto \"a\";", 1, 1, "require \"fileinto\""),
        (
            "require \"fileinto\"; fileinto;",
            1,
            21,
            "the name of a folder",
        ),
        (
            "require \"fileinto\"; fileinto [\"a\", \"b\"];",
            1,
            30,
            "the name of a folder",
        ),
        (
            "require \"fileinto\"; fileinto \"a\" \"b\";",
            1,
            34,
            "too many",
        ),
        (
            "require \"fileinto\"; fileinto \"a//b\";",
            1,
            21,
            "has a character at least",
        ),
        (
            "require \"fileinto\"; fileinto :copy \"a\";",
            1,
            30,
            "require \"copy\"",
        ),
        (
            "require \"fileinto\"; fileinto \"a\" :copy;",
            1,
            30,
            "before this",
        ),
        ("require \"mime\";", 1, 1, "\"mime\" is not known"),
        ("keep; require \"fileinto\";", 1, 7, "beginning"),
        ("redirect \"nobody\";", 1, 1, "no address"),
        ("if size 3 {}", 1, 4, "\":over\" or \":under\""),
        ("if size :over :under 3 {}", 1, 4, "\":over\" or \":under\""),
        ("if size :over \"3\" {}", 1, 15, "a number"),
        ("if header :is :contains \"a\" \"b\" {}", 1, 4, "in one way"),
        ("if header :is :is \"a\" \"b\" {}", 1, 15, "second time"),
        (
            "if header :regex \"a\" \"b\" {}",
            1,
            11,
            "no argument \":regex\"",
        ),
        (
            "if header :comparator \"x\" \"a\" \"b\" {}",
            1,
            11,
            "no comparator",
        ),
        (
            "if header :comparator [\"x\"] \"a\" \"b\" {}",
            1,
            11,
            "a string must follow",
        ),
        (
            "if header \"a b\" \"b\" {}",
            1,
            4,
            "no name of a header field",
        ),
        ("if header \"a\" {}", 1, 4, "to compare with"),
        (
            "if address \"subject\" \"b\" {}",
            1,
            4,
            "does not hold addresses",
        ),
        (
            "if address :user \"from\" \"b\" {}",
            1,
            12,
            "require \"subaddress\"",
        ),
        (
            "if address :all :domain \"from\" \"b\" {}",
            1,
            4,
            "one part",
        ),
        (
            "if envelope \"from\" \"b\" {}",
            1,
            4,
            "require \"envelope\"",
        ),
        (
            "require \"envelope\"; if envelope \"by\" \"b\" {}",
            1,
            24,
            "no \"by\"",
        ),
        (
            "if header :value \"gt\" \"a\" \"b\" {}",
            1,
            11,
            "require \"relational\"",
        ),
        (
            "require \"relational\"; if header :value \"xx\" \"a\" \"b\" {}",
            1,
            33,
            "one of",
        ),
        ("if not true, false {}", 1, 12, "missing"),
        ("if not not {}", 1, 8, "one test must follow"),
        ("if allof {}", 1, 4, "tests in brackets"),
        ("if true(false) {}", 1, 9, "takes no test"),
        ("set \"a\" \"b\";", 1, 1, "require \"variables\""),
        (
            "require \"variables\"; set \"1a\" \"b\";",
            1,
            22,
            "no name of a variable",
        ),
        (
            "require \"variables\"; set :lower :upper \"a\" \"b\";",
            1,
            33,
            "opposite",
        ),
        ("vacation \"x\";", 1, 1, "require \"vacation\""),
        (
            "require \"vacation\"; vacation :days \"x\" \"y\";",
            1,
            30,
            "a number must follow",
        ),
        (
            "require \"imap4flags\"; addflag \"v\" \"\\\\Seen\";",
            1,
            23,
            "require \"variables\"",
        ),
        (
            "require [\"vacation\", \"encoded-character\"]; vacation \"${unicode:d800}\";",
            1,
            44,
            "no character",
        ),
    ] {
        let mistake = Script::compile(script.as_bytes()).expect_err(script);
        let place = (mistake.at.line, mistake.at.column);
        assert_eq!(place, (line, column), "{script}: {mistake}");
        assert!(mistake.what.contains(words), "{script}: {mistake}");
    }
}

#[test]
fn branches_belong_to_their_own_if() {
    let script = Script::compile(
        b"if true { keep; } if false { stop; } elsif true { discard; } else { keep; }",
    )
    .unwrap();
    let shape: Vec<(usize, usize)> = script
        .commands
        .iter()
        .map(|command| match command {
            Command::If {
                branches,
                otherwise,
            } => (branches.len(), otherwise.len()),
            _ => panic!("{command:?}"),
        })
        .collect();
    assert_eq!(shape, [(1, 0), (2, 1)]);
}

#[test]
fn tags_say_what_a_command_does() {
    let script = Script::compile(
        b"require [\"fileinto\", \"copy\", \"mailbox\"]; fileinto :create :copy \"a\"; fileinto \"INBOX\";",
    )
    .unwrap();
    let tags: Vec<(Goes, Missing)> = script
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::FileInto { goes, missing, .. } => Some((*goes, *missing)),
            _ => None,
        })
        .collect();
    assert_eq!(
        tags,
        [
            (Goes::Copy, Missing::Create),
            (Goes::Instead, Missing::Inbox)
        ]
    );
}

#[test]
fn an_empty_script_and_the_examples_of_the_standard_are_taken() {
    for script in [
        "",
        "# nothing\n",
        // RFC 5228 section 9.
        "require [\"fileinto\"];\n\
         if header :is \"Sender\" \"owner-ietf-mta-filters@imc.org\" { fileinto \"filter\"; }\n\
         elsif address :DOMAIN :is [\"From\", \"To\"] \"example.com\" { keep; }\n\
         elsif anyof (NOT address :all :contains [\"To\", \"Cc\", \"Bcc\"] \"me@example.com\",\n\
           header :matches \"subject\" [\"*make*money*fast*\", \"*university*dipl*mas*\"]) { fileinto \"spam\"; }\n\
         else { fileinto \"personal\"; }",
        // RFC 5230 section 5, RFC 5232 section 6, RFC 5231 section 8.
        "require [\"vacation\", \"fileinto\"]; if header :contains \"from\" \"boss@example.edu\" { redirect \"pleeb@isp.example.org\"; } else { vacation \"Sorry\"; }",
        "require [\"fileinto\", \"imap4flags\", \"variables\"]; if size :over 1M { addflag \"MyFlags\" \"Big\"; if header :is \"From\" \"boss@company.example.com\" { addflag \"MyFlags\" \"\\\\Flagged\"; } fileinto :flags \"${MyFlags}\" \"Big messages\"; }",
        "require [\"relational\", \"comparator-i;ascii-numeric\", \"fileinto\"]; if header :value \"lt\" :comparator \"i;ascii-numeric\" [\"x-priority\"] [\"3\"] { fileinto \"Priority\"; } elsif address :count \"gt\" :comparator \"i;ascii-numeric\" [\"to\"] [\"5\"] { fileinto \"SPAM\"; }",
        "require \"imap4flags\"; if hasflag :count \"ge\" :comparator \"i;octet\" \"2\" { keep; }",
    ] {
        let compiled = Script::compile(script.as_bytes());
        if script.contains(":count \"ge\"") {
            assert!(compiled.unwrap_err().what.contains("relational"));
        } else {
            assert!(compiled.is_ok(), "{script}: {compiled:?}");
        }
    }
}
