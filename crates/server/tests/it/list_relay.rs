//! A list with members outside, through the real relay: what other mail systems get, and who hears what they refuse.

use serde_json::json;

use crate::client::Person;
use crate::grapevine::{Grapevine, wait_for};
use crate::http::done;
use crate::http_client::Client;
use crate::relay::{pair_with, wait_for_inbox};
use crate::relay_sink::{Manner, Sink, Taken};
use crate::wire::{Pop, Smtp};

const LIST: &str = "csl^@pa.example";
const OWNERS: &str = "owners-csl^@pa.example";

/// The copies that came to a place of a message with this subject.
fn copies(sink: &Sink, subject: &str) -> Vec<Taken> {
    let line = format!("Subject: {subject}\r\n");
    let taken = sink.taken().into_iter();
    taken.filter(|one| one.data.contains(&line)).collect()
}

fn fields<'a>(one: &'a Taken, name: &str) -> Vec<&'a str> {
    let (header, _) = one.data.split_once("\r\n\r\n").unwrap();
    let start = format!("{name}:");
    header
        .lines()
        .filter(|line| line.starts_with(&start))
        .collect()
}

fn has_report(grapevine: &Grapevine, who: &str) -> bool {
    let mut pop = Pop::open(grapevine, 0, who);
    let mut all = pop.all().into_iter();
    all.any(|one| String::from_utf8_lossy(&one).contains("report-type"))
}

#[test]
fn copies_of_a_list_leave_once_for_each_destination_in_its_name_and_its_owners_hear_what_fails() {
    let far = Sink::open(Manner::default());
    let near = Sink::open(Manner::default());
    let tables = format!(
        "[[routes]]\ndomain = 'far.example'\nto = 'smtp:127.0.0.1:{}'\n\
         [[routes]]\ndomain = 'near.example'\nto = 'smtp:127.0.0.1:{}'\n\
         [relay]\nretry_seconds = 1\nretry_most_minutes = 1\n",
        far.port, near.port
    );
    let (grapevine, _temp) = pair_with(&tables, |_| "off".into());
    let registrar = Client::of(&grapevine, 0, "registrar");
    let new = json!({ "name": LIST, "owners": ["needham@pa.example"] });
    done(&registrar.post("/api/v1/groups", &new.to_string()));
    let owner = Client::of(&grapevine, 0, "needham");
    for member in [
        "birrell@pa.example",
        "ann@far.example",
        "bob@far.example",
        "nobody@far.example",
        "carl@near.example",
    ] {
        let path = format!("/api/v1/groups/csl%5E@pa.example/lists/members/{member}");
        done(&owner.put(&path, None));
    }

    // From a stranger, whose domain would not let a list speak for it.
    let text = b"From: Ann Author <ann@else.example>\r\nSubject: from afar\r\n\r\nhello\r\n";
    // The list was made at the other server.
    let mut stranger = Smtp::receiving(&grapevine, 1);
    wait_for("the list to be known here", || {
        stranger.data("ann@else.example", LIST, text).code == 250
    });
    wait_for("the copies at both places", || {
        copies(&far, "from afar").len() == 1 && copies(&near, "from afar").len() == 1
    });
    wait_for_inbox(&grapevine, "birrell", &["Subject: from afar", "List-Id: "]);
    let one = copies(&far, "from afar").remove(0);
    let mut to = one.to.clone();
    to.sort();
    assert_eq!(
        to,
        ["ann@far.example", "bob@far.example"],
        "one transaction"
    );
    assert_eq!(copies(&near, "from afar")[0].to, ["carl@near.example"]);
    assert_eq!(one.from, OWNERS, "reports of others come to the owners");
    assert_eq!(fields(&one, "List-Id"), ["List-Id: <csl%5E.pa.example>"]);
    for field in ["List-Post", "List-Owner", "List-Unsubscribe"] {
        assert_eq!(fields(&one, field).len(), 1, "{field}: {}", one.data);
    }
    assert_eq!(
        fields(&one, "From"),
        ["From: \"Ann Author via csl^\""],
        "{}",
        one.data
    );
    assert!(
        one.data.contains("\r\n\t<csl^@pa.example>\r\n"),
        "{}",
        one.data
    );
    let reply_to = fields(&one, "Reply-To");
    assert_eq!(
        reply_to,
        ["Reply-To: Ann Author <ann@else.example>"],
        "{}",
        one.data
    );
    assert!(one.data.ends_with("\r\n\r\nhello\r\n"), "{}", one.data);

    // What is refused is said to the owners, in the other's words, and not to the author.
    let failed = [
        "nobody@far.example",
        "Action: failed",
        "550 5.1.1 We have no such person",
    ];
    wait_for_inbox(&grapevine, "needham", &failed);

    // The list's own domain needs nobody else's name.
    let own = b"From: birrell@pa.example\r\nSubject: from here\r\n\r\nhello\r\n";
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    let reply = smtp.data("birrell@pa.example", LIST, own);
    assert_eq!(reply.code, 250, "{reply:?}");
    wait_for("the copies of the second", || {
        copies(&far, "from here").len() == 1 && copies(&near, "from here").len() == 1
    });
    let one = copies(&far, "from here").remove(0);
    assert_eq!(fields(&one, "From"), ["From: birrell@pa.example"]);
    assert_eq!(
        (fields(&one, "Reply-To").len(), one.from.as_str()),
        (0, OWNERS)
    );
    assert!(
        !has_report(&grapevine, "birrell"),
        "the author hears nothing of members"
    );

    // A report that another system sends later.
    let bounce = b"From: mailer-daemon@far.example\r\nSubject: it bounced\r\n\r\nno bob\r\n";
    let reply = stranger.data("", OWNERS, bounce);
    assert_eq!(reply.code, 250, "{reply:?}");
    wait_for_inbox(&grapevine, "needham", &["Subject: it bounced"]);
    assert_eq!((far.taken().len(), near.taken().len()), (2, 2), "each once");
    grapevine.expect_no_errors();
}

#[test]
fn a_server_that_is_told_to_stop_leaves_its_mail_to_its_deputy_before_it_goes() {
    let sink = Sink::open(Manner::default());
    let port = sink.port;
    drop(sink);
    let tables = format!(
        "[[routes]]\ndomain = '*'\nto = 'smtp:127.0.0.1:{port}'\n[relay]\nretry_seconds = 1\nretry_most_minutes = 1\n"
    );
    let (grapevine, _temp) = pair_with(&tables, |_| "off".into());
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    for n in 0..3 {
        let text = format!("From: birrell@pa.example\r\nSubject: waits {n}\r\n\r\nhello\r\n");
        let reply = smtp.data("birrell@pa.example", "ann@far.example", text.as_bytes());
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    drop(smtp);
    let person = Person::at(&grapevine);
    wait_for("the deputy to have them", || {
        person.json(&["status"])["servers"][1]["queue"]["deputy_for"] == 3
    });
    let waiting = person.json(&["queue", "destinations", "--as", "registrar@pa.example"]);
    let one = &waiting["destinations"][0];
    assert_eq!(
        (&one["messages"], &one["recipients"]),
        (&json!(3), &json!(3)),
        "{waiting}"
    );
    assert_eq!(
        one["destination"],
        json!(format!("smtp:127.0.0.1:{port}")),
        "{waiting}"
    );

    nix::sys::signal::kill(grapevine.pid(0), nix::sys::signal::Signal::SIGTERM).unwrap();
    wait_for("the deputy to be told", || {
        grapevine
            .logs()
            .contains("s1 stops in order: 3 of its messages go on here")
    });
    let sink = Sink::open_at(port, Manner::default());
    wait_for("the deputy to hand them over", || sink.taken().len() == 3);
    grapevine.expect_no_errors();
}
