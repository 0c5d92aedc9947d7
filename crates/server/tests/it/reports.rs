//! Mail that was accepted and can't be delivered is explained to its sender (P1, RFC 3464).

use mail_parser::{MessageParser, MimeHeaders as _};

use crate::grapevine::{Grapevine, program, stderr, wait_for};
use crate::mail_clients;
use crate::mail_programs::birrell_at;

#[test]
fn what_cannot_be_delivered_is_explained_to_its_sender() {
    let grapevine = Grapevine::up(2);
    let (sends, fetches) = (birrell_at(&grapevine, 0), birrell_at(&grapevine, 1));
    // What fails of a list its owners hear: here its sender is one.
    registrar(
        &grapevine,
        &[
            "group",
            "create",
            "friends@pa.example",
            "--owner",
            "birrell@pa.example",
            "--owner",
            "registrar@pa.example",
        ],
    );
    registrar(
        &grapevine,
        &[
            "group",
            "add",
            "friends@pa.example",
            "somebody@elsewhere.example",
        ],
    );
    mail_clients::lettre_sends_to(&sends, "friends@pa.example", "to the world");
    wait_for("a report", || {
        !mail_clients::rust_pop3_fetches(&fetches).is_empty()
    });
    let reports = mail_clients::rust_pop3_fetches(&fetches);
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
