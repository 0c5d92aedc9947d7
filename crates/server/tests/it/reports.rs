//! Mail that was accepted and can't be delivered is explained to its sender (P1, RFC 3464).

use std::fs;

use mail_parser::{MessageParser, MimeHeaders as _};

use crate::grapevine::{Grapevine, program, stderr, wait_for};
use crate::mail_clients::{self, Site};

/// birrell sends at the first server and fetches at the second.
fn site(grapevine: &Grapevine) -> Site {
    let port = |server: usize, door: &str| -> u16 {
        let doors = grapevine.doors(server);
        doors[door].rsplit_once(':').unwrap().1.parse().unwrap()
    };
    let dir = grapevine.dir.join("reports");
    fs::create_dir_all(&dir).unwrap();
    Site {
        submission: port(0, "submission"),
        submissions: port(0, "submissions"),
        pop3: port(1, "pop3"),
        pop3s: port(1, "pop3s"),
        ca: grapevine.dir.join("ca.pem"),
        name: "birrell@pa.example".into(),
        password: grapevine.password("birrell"),
        dir,
    }
}

#[test]
fn what_cannot_be_delivered_is_explained_to_its_sender() {
    let grapevine = Grapevine::up(2);
    let site = site(&grapevine);
    registrar(&grapevine, &["group", "create", "friends@pa.example"]);
    registrar(
        &grapevine,
        &[
            "group",
            "add",
            "friends@pa.example",
            "somebody@elsewhere.example",
        ],
    );
    mail_clients::lettre_sends_to(&site, "friends@pa.example", "to the world");
    wait_for("a report", || {
        !mail_clients::rust_pop3_fetches(&site).is_empty()
    });
    let reports = mail_clients::rust_pop3_fetches(&site);
    let [report] = reports.as_slice() else {
        panic!("{} messages", reports.len());
    };
    let text = String::from_utf8_lossy(report);
    let parsed = MessageParser::default().parse(report).unwrap();
    let kind = parsed.content_type().unwrap();
    assert_eq!(kind.subtype(), Some("report"), "{text}");
    assert!(
        text.contains("Final-Recipient: rfc822; somebody@elsewhere.example"),
        "{text}"
    );
    assert!(text.contains("Action: failed"), "{text}");
    assert!(text.contains("Subject: to the world"), "{text}");
    grapevine.expect_no_errors();
}

fn registrar(grapevine: &Grapevine, command: &[&str]) {
    let done = program()
        .args(command)
        .args(["--as", "registrar@pa.example", "--dir"])
        .arg(&grapevine.dir)
        .arg("--password-file")
        .arg(grapevine.dir.join("passwords/registrar"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{command:?}: {}", stderr(&done));
}
