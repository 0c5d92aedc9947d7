//! Strangers at the doors for mail: nobody is relayed for by any trick of an address, and one message is one message, whatever is inside it.

use std::collections::BTreeSet;

use crate::attacks::{Line, MESSAGE, unharmed};
use crate::grapevine::{Grapevine, wait_for};
use crate::relay::pair_with;
use crate::relay_sink::{Manner, Sink};
use crate::wire::{Pop, Smtp};

const BIRRELL: &str = "birrell@pa.example";
const NEEDHAM: &str = "needham@pa.example";

/// Ways to write an address of another system so that a careless server takes it for its own, or for somebody it should serve.
const TRICKS: &[&str] = &[
    "<victim@far.example>",
    "<@pa.example:victim@far.example>",
    "<@pa.example,@localhost:victim@far.example>",
    "<@far.example:needham@far.example>",
    "<victim%far.example@pa.example>",
    "<victim%far.example@localhost>",
    "<victim%far.example@[127.0.0.1]>",
    "<far.example!victim@pa.example>",
    "<far.example!victim>",
    "<victim@far.example@pa.example>",
    "<victim@pa.example@far.example>",
    "<\"victim@far.example\"@pa.example>",
    "<\"victim%far.example\"@pa.example>",
    "<\"victim@far.example\">",
    "<\"victim@far.example\"@[127.0.0.1]>",
    "<needham@[127.0.0.1]>",
    "<needham@[10.1.2.3]>",
    "<needham@[IPv6:::1]>",
    "<needham@127.0.0.1>",
    "<needham@localhost>",
    "<needham@far.example.>",
    "<needham@pa.example.far.example>",
    "<needham@pa.example,victim@far.example>",
    "<needham@pa.example> <victim@far.example>",
    "<needham@pa.example victim@far.example>",
    "<\"needham@pa.example> <victim\"@far.example>",
    "<needham@far.example\0@pa.example>",
    "<victim@far.example(@pa.example)>",
    "<(pa.example)victim@far.example>",
    "victim@far.example",
    "<victim@far.example",
    "<|/bin/sh@pa.example>",
    "</etc/passwd@pa.example>",
    "<../../needham@pa.example>",
    "<needham/../victim@pa.example>",
    // An ie and an a that are not Latin.
    "<n\u{435}\u{435}dh\u{430}m@pa.example>",
    "<needham@p\u{430}.example>",
];

#[test]
fn no_trick_of_an_address_makes_this_an_open_relay() {
    let sink = Sink::open(Manner::default());
    let tables = format!(
        "[[routes]]\ndomain = '*'\nto = 'smtp:127.0.0.1:{}'\n",
        sink.port
    );
    let (grapevine, _temp) = pair_with(&tables, |_| "off".into());
    // There is a way out, for who has logged in.
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    let reply = smtp.data(BIRRELL, "friend@far.example", MESSAGE);
    assert_eq!(reply.code, 250, "{reply:?}");
    let mut smtp = Smtp::receiving(&grapevine, 0);
    for from in [
        "<stranger@far.example>",
        "<birrell@pa.example>",
        "<postmaster@pa.example>",
        "<>",
        "<root@localhost>",
    ] {
        for trick in TRICKS {
            // Ten errors end a session.
            if smtp.command(&format!("MAIL FROM:{from}")).code != 250 {
                smtp = Smtp::receiving(&grapevine, 0);
                assert_eq!(smtp.command(&format!("MAIL FROM:{from}")).code, 250);
            }
            let reply = smtp.command(&format!("RCPT TO:{trick}"));
            assert!(
                (500..560).contains(&reply.code) || reply.code == 0 || reply.code == 421,
                "{from} {trick:?}: {reply:?}"
            );
            smtp.command("RSET");
        }
    }
    // And without a login there is nothing at the other door, whoever is meant.
    for to in [NEEDHAM, "victim@far.example"] {
        let mut smtp = Smtp::stranger(&grapevine, 0);
        assert_eq!(smtp.command(&format!("MAIL FROM:<{BIRRELL}>")).code, 530);
        assert!(smtp.command(&format!("RCPT TO:<{to}>")).code >= 500);
        assert!(smtp.command("DATA").code >= 500);
    }
    wait_for("the one that was asked for", || {
        sink.copies("friend@far.example", "in order") == 1
    });
    let reached: BTreeSet<String> = sink.taken().into_iter().flat_map(|one| one.to).collect();
    assert_eq!(reached, ["friend@far.example".to_owned()].into());
    unharmed(&grapevine);
}

#[test]
fn a_message_is_one_message_on_its_way_in_and_on_its_way_out() {
    const ENDS: &[&str] = &[
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\r.\n",
        "\r\n.\r\r\n",
        "\n\r.\r\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\r\n.\x0b\r\n",
    ];
    const FORGED: &str = "MAIL FROM:<ceo@pa.example>\r\nRCPT TO:<needham@pa.example>\r\nDATA\r\nSubject: forged\r\n\r\nforged\r\n";
    let sink = Sink::open(Manner::default());
    let tables = format!(
        "[[routes]]\ndomain = '*'\nto = 'smtp:127.0.0.1:{}'\n",
        sink.port
    );
    let (grapevine, _temp) = pair_with(&tables, |_| "off".into());
    let mut wanted = 0;
    for end in ENDS {
        let mut doors = [
            Smtp::receiving(&grapevine, 0),
            Smtp::submission(&grapevine, 1, "birrell"),
        ];
        for smtp in &mut doors {
            smtp.write(
                format!("MAIL FROM:<{BIRRELL}>\r\nRCPT TO:<{NEEDHAM}>\r\nDATA\r\n").as_bytes(),
            );
            for code in [250, 250, 354] {
                assert_eq!(smtp.reply().code, code);
            }
            smtp.write(format!("Subject: real\r\n\r\nfirst{end}{FORGED}.\r\nNOOP\r\n").as_bytes());
            let reply = smtp.reply();
            // Taken whole, or refused: one answer, and the session is where it should be.
            assert!(matches!(reply.code, 250 | 550), "{end:?}: {reply:?}");
            wanted += usize::from(reply.code == 250);
            let reply = smtp.reply();
            assert!(
                reply.code == 250 && reply.text.contains("2.0.0"),
                "{end:?}: {reply:?}"
            );
            assert_eq!(smtp.command("QUIT").code, 221, "{end:?}");
        }
    }
    wait_for("what was taken", || {
        Pop::open(&grapevine, 0, "needham").count() == wanted
    });
    for message in Pop::open(&grapevine, 0, "needham").all() {
        let text = String::from_utf8_lossy(&message).into_owned();
        assert!(text.contains("Subject: real\r\n"), "{text}");
        assert!(!text.contains("Return-Path: <ceo"), "{text}");
    }
    // Out: a chunk may hold anything, and is stuffed on its way to a server that knows DATA only.
    for (n, end) in ENDS.iter().chain(["\r\n.\r\n"].iter()).enumerate() {
        let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
        let body = format!("Subject: out {n}x\r\n\r\nfirst{end}{FORGED}");
        let reply = smtp.bdat(BIRRELL, &format!("n{n}@far.example"), body.as_bytes());
        assert!(matches!(reply.code, 250 | 550), "{end:?}: {reply:?}");
        if reply.code == 250 {
            wait_for("it outside", || {
                sink.copies(&format!("n{n}@far.example"), &format!("out {n}x")) == 1
            });
        }
    }
    for one in sink.taken() {
        assert_eq!(one.from, BIRRELL);
        assert_eq!(one.to.len(), 1);
        assert!(one.to[0].ends_with("@far.example"), "{:?}", one.to);
    }
    unharmed(&grapevine);
}

#[test]
fn what_a_client_calls_itself_forges_no_field() {
    let grapevine = Grapevine::up(1);
    let at = grapevine.doors(0)["smtp"].clone();
    for hello in [
        "EHLO x\rEvil: yes",
        "EHLO x\nEvil: yes",
        "EHLO x (\r\n\tEvil: yes)",
        "HELO x;\x0bEvil: yes",
        "EHLO x\0Evil: yes",
        "EHLO <script>",
        "HELO x) by evil.example (",
    ] {
        let mut line = Line::clear(&at);
        line.line();
        line.say(format!("{hello}\r\n"));
        let answer = line.line();
        line.say(b"QUIT\r\n");
        assert!(answer.starts_with('5'), "{hello:?}: {answer}");
    }
    let mut smtp = Smtp::receiving(&grapevine, 0);
    for parameters in [
        "ENVID=a+0D+0AEvil:+20yes",
        "ENVID=a+00b",
        "BODY=8BITMIME\rEvil",
        "AUTH=<birrell@pa.example>+0D+0AEvil",
    ] {
        let reply = smtp.command(&format!("MAIL FROM:<x@far.example> {parameters}"));
        assert!(reply.code >= 500, "{parameters}: {reply:?}");
    }
    assert_eq!(smtp.command("MAIL FROM:<x@far.example>").code, 250);
    for parameters in [
        "ORCPT=rfc822;a+0D+0AEvil:+20yes",
        "ORCPT=rfc822+0D+0AEvil;a",
    ] {
        let reply = smtp.command(&format!("RCPT TO:<{NEEDHAM}> {parameters}"));
        assert!(reply.code >= 500, "{parameters}: {reply:?}");
    }
    unharmed(&grapevine);
}
