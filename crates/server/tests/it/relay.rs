//! Mail between a pair of servers and other mail systems: out by mail exchangers, smart host and LMTP; in by LMTP; and what a stranger
//! does not get through.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::client::Person;
use crate::grapevine::{Grapevine, wait_for};
use crate::mail_clients::is_here;
use crate::pair::Process;
use crate::relay_sink::{Manner, Sink, Zone, certificate, dns};
use crate::wire::{Pop, Smtp};

const BIRRELL: &str = "birrell@pa.example";

/// A pair whose servers have this at the end of their configuration, and LMTP there.
pub(crate) fn pair_with(tables: &str, lmtp: impl Fn(&Path) -> String) -> (Grapevine, TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("d");
    Grapevine::up_in(&dir, 2).stop();
    for server in ["s1", "s2"] {
        let file = dir.join(server).join("grapevine.toml");
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| match line.strip_prefix("lmtp = ") {
            Some(_) => format!("lmtp = '{}'\n", lmtp(&dir.join(server))),
            None => format!("{line}\n"),
        });
        let text: String = lines.collect();
        fs::write(&file, format!("{text}\n{tables}")).unwrap();
    }
    (Grapevine::up_in(&dir, 2), temp)
}

fn message(subject: &str) -> Vec<u8> {
    format!("From: {BIRRELL}\r\nSubject: {subject}\r\n\r\n.a dot\r\nof {subject}\r\n").into_bytes()
}

/// Birrell sends through a server's submission door.
fn send(grapevine: &Grapevine, server: usize, to: &str, subject: &str) {
    let mut smtp = Smtp::submission(grapevine, server, "birrell");
    let reply = smtp.data(BIRRELL, to, &message(subject));
    assert_eq!(reply.code, 250, "{to}: {reply:?}");
}

/// The text of a message in somebody's inbox that has all this in it.
fn in_inbox(grapevine: &Grapevine, who: &str, parts: &[&str]) -> Option<String> {
    let mut pop = Pop::open(grapevine, 0, who);
    let messages = pop.all();
    let texts = messages
        .iter()
        .map(|one| String::from_utf8_lossy(one).into_owned());
    texts
        .into_iter()
        .find(|text| parts.iter().all(|part| text.contains(part)))
}

pub(crate) fn wait_for_inbox(grapevine: &Grapevine, who: &str, parts: &[&str]) -> String {
    let mut found = None;
    wait_for(&format!("{parts:?} in the inbox of {who}"), || {
        found = in_inbox(grapevine, who, parts);
        found.is_some()
    });
    found.unwrap()
}

fn zones() -> BTreeMap<&'static str, Zone> {
    [
        (
            "far.example",
            // The first one is out.
            Zone::Exchangers(vec![(20, "mx.far.example"), (10, "out.far.example")]),
        ),
        ("out.far.example", Zone::Address(9)),
        ("mx.far.example", Zone::Address(1)),
        ("bare.example", Zone::Address(1)),
        ("null.example", Zone::Exchangers(vec![(0, "")])),
        ("back.example", Zone::Exchangers(vec![(10, "localhost")])),
    ]
    .into()
}

#[test]
fn mail_goes_out_along_its_route_and_every_refusal_comes_back_in_its_words() {
    let temp = tempfile::tempdir().unwrap();
    let ca = temp.path().join("sinks.pem");
    let tls = Some(certificate(&["localhost", "mx.far.example"], &ca));
    let other = temp.path().join("other.pem");
    let unknown = Some(certificate(&["localhost"], &other));
    let exchanger = Sink::open(Manner {
        tls: tls.clone(),
        put_off: 2,
        ..Manner::default()
    });
    let smart = Sink::open(Manner {
        tls,
        login: Some(("us", "sesame")),
        ..Manner::default()
    });
    let strict = Sink::open(Manner {
        tls: unknown,
        ..Manner::default()
    });
    let store = Sink::open(Manner {
        lmtp: true,
        ..Manner::default()
    });
    let old = Sink::open(Manner::default());
    fs::write(temp.path().join("password"), "sesame\n").unwrap();
    let resolver: SocketAddr = dns(zones());
    let tables = format!(
        "[[routes]]\ndomain = 'pa.example'\nto = 'smtp:127.0.0.1:{old}'\n\
         [[routes]]\ndomain = 'store.example'\nto = 'lmtp:127.0.0.1:{store}'\n\
         [[routes]]\ndomain = '*.smart.example'\nto = 'smtp:localhost:{smart}'\ntls = 'required'\nca = '{ca}'\nlogin = 'us'\npassword_file = '{password}'\n\
         [[routes]]\ndomain = 'strict.example'\nto = 'smtp:localhost:{strict}'\ntls = 'required'\nca = '{ca}'\n\
         [[routes]]\ndomain = 'kept.example'\nto = 'hold'\n\
         [[routes]]\ndomain = '*'\nto = 'mx'\n\
         [relay]\ndns = ['{resolver}']\nretry_seconds = 1\nretry_most_minutes = 1\nexchanger_port = {mx}\n",
        old = old.port,
        store = store.port,
        smart = smart.port,
        strict = strict.port,
        mx = exchanger.port,
        ca = ca.display(),
        password = temp.path().join("password").display(),
    );
    let (grapevine, _temp) = pair_with(&tables, |_| "off".into());

    // Through the second exchanger, as the first is out; inside TLS, though nobody checks it there.
    send(&grapevine, 0, "ann+x@far.example", "by MX");
    wait_for("mail by MX", || {
        exchanger.copies("ann+x@far.example", "by MX") == 1
    });
    let taken = exchanger.taken().remove(0);
    assert!(taken.tls);
    assert_eq!(taken.from, BIRRELL);
    assert!(taken.data.contains("Received: from") && taken.data.contains("\r\n.a dot\r\n"));
    send(&grapevine, 1, "ann@bare.example", "no MX, but an address");
    wait_for("mail to an address", || {
        exchanger.copies("ann@bare.example", "no MX") == 1
    });
    send(&grapevine, 0, "later@far.example", "put off");
    wait_for("the third try", || {
        exchanger.copies("later@far.example", "put off") == 1
    });

    send(&grapevine, 0, "nobody@far.example", "to nobody");
    let report = wait_for_inbox(
        &grapevine,
        "birrell",
        &["nobody@far.example", "report-type"],
    );
    for part in [
        "Status: 5.1.1",
        "Remote-MTA: dns; mx.far.example",
        "Diagnostic-Code: smtp; 550 5.1.1 We have no such person",
        "mx.far.example said: 550",
        "Subject: to nobody",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    for (to, says) in [
        ("a@null.example", "takes no mail"),
        ("a@nowhere.example", "there is no domain nowhere.example"),
        ("a@back.example", "would come back to this server"),
    ] {
        send(&grapevine, 0, to, "nowhere");
        wait_for_inbox(&grapevine, "birrell", &[to, "Action: failed", says]);
    }

    send(&grapevine, 0, "ann@a.smart.example", "by smart host");
    wait_for("mail by smart host", || {
        smart.copies("ann@a.smart.example", "by smart host") == 1
    });
    assert!(smart.taken()[0].tls && smart.taken()[0].login);

    let mut smtp = Smtp::submission(&grapevine, 1, "birrell");
    for (command, code) in [
        (&*format!("MAIL FROM:<{BIRRELL}>"), 250),
        ("RCPT TO:<ann@store.example>", 250),
        ("RCPT TO:<full@store.example>", 250),
        ("RCPT TO:<ann@strict.example>", 250),
        ("RCPT TO:<ann@kept.example>", 250),
        ("DATA", 354),
    ] {
        assert_eq!(smtp.command(command).code, code, "{command}");
    }
    smtp.write(&message("by LMTP"));
    let accepted = smtp.command(".");
    assert_eq!(accepted.code, 250);
    wait_for("mail by LMTP", || {
        store.copies("ann@store.example", "by LMTP") == 1
    });
    wait_for_inbox(
        &grapevine,
        "birrell",
        &["full@store.example", "552 5.2.2 mailbox is full"],
    );
    // A certificate that its route does not know: it waits, says why, and nothing goes out.
    let id = accepted.text.split_whitespace().nth(4).unwrap().to_owned();
    let person = Person::at(&grapevine);
    let mut said = String::new();
    wait_for("the reasons of those that wait", || {
        said = person.done(&["trace", &id, "--as", BIRRELL]);
        said.contains("TLS") && said.contains("held")
    });
    assert!(
        strict.connections() > 0 && strict.taken().is_empty(),
        "{said}"
    );

    // Names that this side of a split domain lacks go to the old server, whoever writes; others stay.
    let mut stranger = Smtp::receiving(&grapevine, 0);
    let reply = stranger.data("x@far.example", "oldtimer@pa.example", &message("split"));
    assert_eq!(reply.code, 250, "{reply:?}");
    wait_for("mail at the old server", || {
        old.copies("oldtimer@pa.example", "split") == 1
    });
    let reply = stranger.data("x@far.example", "needham@pa.example", &message("not split"));
    assert_eq!(reply.code, 250, "{reply:?}");
    wait_for_inbox(&grapevine, "needham", &["of not split"]);
    assert_eq!(old.taken().len(), 1);
    assert!(exchanger.taken().iter().all(|one| one.to.len() == 1));
    grapevine.expect_no_errors();
}

#[test]
fn mail_for_a_dead_destination_goes_out_once_when_its_custodian_is_killed() {
    let sink = Sink::open(Manner::default());
    let port = sink.port;
    drop(sink);
    let tables = format!(
        "[[routes]]\ndomain = '*'\nto = 'smtp:127.0.0.1:{port}'\n[relay]\nretry_seconds = 1\nretry_most_minutes = 1\n"
    );
    let (grapevine, _temp) = pair_with(&tables, |_| "off".into());
    for n in 0..5 {
        send(&grapevine, 0, "ann@far.example", &format!("waits {n}"));
    }
    let status = |grapevine: &Grapevine| Person::at(grapevine).json(&["status"]);
    wait_for("the deputy to have them", || {
        status(&grapevine)["servers"][1]["queue"]["deputy_for"] == 5
    });
    grapevine.kill(0);
    let sink = Sink::open_at(port, Manner::default());
    wait_for("the deputy to hand them over", || sink.taken().len() >= 5);
    let old = Process::serve(&grapevine.dir.join("s1"));
    wait_for("nobody to have anything left to do", || {
        let status = status(&grapevine);
        let servers = status["servers"].as_array().unwrap().clone();
        servers.len() == 2
            && servers.iter().all(|server| {
                server["queue"]["messages"] == 0 && server["queue"]["deputy_for"] == 0
            })
    });
    for n in 0..5 {
        assert_eq!(
            sink.copies("ann@far.example", &format!("of waits {n}\r")),
            1
        );
    }
    // One connection was kept for one message after the other.
    assert!(sink.connections() <= 5, "{}", sink.connections());
    drop(old);
}

#[test]
fn a_mail_server_hands_in_by_lmtp_and_a_stranger_is_relayed_nowhere() {
    let sink = Sink::open(Manner::default());
    let tables = format!(
        "[[routes]]\ndomain = '*'\nto = 'smtp:127.0.0.1:{}'\n",
        sink.port
    );
    let (grapevine, temp) = pair_with(&tables, |dir| {
        format!("unix:{}", dir.join("lmtp").display())
    });
    let socket = grapevine.dir.join("s1").join("lmtp");
    let socket = socket.to_str().unwrap();
    if is_here("python3") {
        let script = temp.path().join("lmtp.py");
        fs::write(
            &script,
            "import smtplib, sys\n\
             c = smtplib.LMTP(sys.argv[1])\n\
             c.local_hostname = 'client.example'\n\
             refused = c.sendmail('x@far.example', ['birrell@pa.example', 'nobody@pa.example', 'ann@far.example', 'needham@pa.example'], 'Subject: by Python\\r\\n\\r\\nhello')\n\
             print(sorted((who, why[0]) for who, why in refused.items()))\n\
             c.close()\n",
        )
        .unwrap();
        let done = Command::new("python3")
            .arg(&script)
            .arg(socket)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(
            said.contains("[('ann@far.example', 550), ('nobody@pa.example', 550)]"),
            "{said} {}",
            String::from_utf8_lossy(&done.stderr)
        );
        for who in ["birrell", "needham"] {
            wait_for_inbox(&grapevine, who, &["by Python", "with LMTP id"]);
        }
    }
    if is_here("swaks") {
        let done = Command::new("swaks")
            .args(["--protocol", "LMTP", "--socket", socket])
            .args(["--helo", "client.example", "--from", "x@far.example"])
            .args(["--to", "birrell@pa.example,needham@pa.example"])
            .args(["--header", "Subject: by swaks"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(said.matches("250 2.0.0 Accepted as").count(), 2, "{said}");
        wait_for_inbox(&grapevine, "needham", &["by swaks"]);
    }

    // Whatever a stranger writes, at whichever door, nothing goes out.
    let tries = [
        "ann@far.example",
        "ann%far.example@pa.example",
        "far.example!ann@pa.example",
        "@pa.example:ann@far.example",
        "\"ann@far.example\"@pa.example",
        "ann@far.example.",
        "ann@[127.0.0.1]",
        "ANN@FAR.EXAMPLE",
    ];
    for to in tries {
        let mut smtp = Smtp::receiving(&grapevine, 0);
        let reply = smtp.data(BIRRELL, to, &message("relayed"));
        assert!((500..600).contains(&reply.code), "{to}: {reply:?}");
        let mut smtp = Smtp::stranger(&grapevine, 0);
        let reply = smtp.data(BIRRELL, to, &message("relayed"));
        assert_eq!(reply.code, 530, "{to}: {reply:?}");
    }
    // Nor in somebody else's name.
    let mut smtp = Smtp::submission(&grapevine, 0, "needham");
    let reply = smtp.data(BIRRELL, "ann@far.example", &message("spoofed"));
    assert_eq!(reply.code, 553, "{reply:?}");
    send(&grapevine, 1, "ann@far.example", "honest");
    wait_for("the honest one", || {
        sink.copies("ann@far.example", "of honest") == 1
    });
    assert_eq!(sink.taken().len(), 1, "{:?}", sink.taken());
    grapevine.expect_no_errors();
}

#[test]
fn named_networks_may_send_to_anywhere_and_a_message_in_a_circle_is_refused() {
    let sink = Sink::open(Manner::default());
    let tables = format!(
        "[[routes]]\ndomain = '*'\nto = 'smtp:127.0.0.1:{}'\n[relay]\nnetworks = ['127.0.0.0/8']\n",
        sink.port
    );
    let (grapevine, _temp) = pair_with(&tables, |_| "off".into());
    let mut smtp = Smtp::receiving(&grapevine, 0);
    let reply = smtp.data(
        "printer@far.example",
        "ann@far.example",
        &message("from a printer"),
    );
    assert_eq!(reply.code, 250, "{reply:?}");
    wait_for("the printer's", || {
        sink.copies("ann@far.example", "from a printer") == 1
    });
    let circle = [
        "Received: by somebody\r\n".repeat(101).into_bytes(),
        message("round and round"),
    ]
    .concat();
    let reply = smtp.data("x@far.example", BIRRELL, &circle);
    assert_eq!(reply.code, 554, "{reply:?}");
    assert!(reply.text.contains("5.4.6"), "{reply:?}");
    // Posting rules hold for a machine in the network as for any stranger.
    let person = Person::at(&grapevine);
    person.done(&[
        "group",
        "create",
        "club^@pa.example",
        "--as",
        "registrar@pa.example",
    ]);
    person.done(&[
        "group",
        "posting",
        "club^@pa.example",
        "members",
        "--as",
        "registrar@pa.example",
    ]);
    let reply = smtp.data("x@far.example", "club^@pa.example", &message("to the club"));
    assert_eq!(reply.code, 550, "{reply:?}");
    grapevine.expect_no_errors();
}
