//! Lists by HTTP: a moderated group, what a member's copy says of its list, and the way out by one click.

use serde_json::json;

use crate::grapevine::{Grapevine, wait_for};
use crate::http::{done, refused};
use crate::http_client::Client;

const NEEDHAM: &str = "needham@pa.example";
const LIST: &str = "/api/v1/groups/csl%5E@pa.example";

#[test]
fn a_held_message_is_approved_read_with_its_lists_fields_and_left_by_one_click() {
    let grapevine = Grapevine::up(2);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let birrell = Client::of(&grapevine, 1, "birrell");
    let needham = Client::of(&grapevine, 0, "needham");
    let new = json!({ "name": "csl^@pa.example", "owners": ["registrar@pa.example"] });
    done(&registrar.post("/api/v1/groups", &new.to_string()));
    let member = format!("{LIST}/lists/members/{NEEDHAM}");
    done(&registrar.put(&member, None));
    let rule = r#"{"posting": "moderated"}"#;
    done(&registrar.put(&format!("{LIST}/posting"), Some(rule)));

    let text = "From: birrell@pa.example\r\nSubject: to the list\r\n\r\nhello\r\n";
    let submit = "/api/v1/messages?to=csl%5E@pa.example";
    let kind = [("Content-Type", "message/rfc822")];
    let accepted = done(&birrell.ask("POST", submit, &kind, Some(text)));
    let message = accepted["message"].as_str().unwrap().to_owned();
    let held = format!("{LIST}/held");
    wait_for("the message to be held", || {
        done(&registrar.get(&held)).as_array().unwrap().len() == 1
    });
    let post = done(&registrar.get(&held))[0].clone();
    assert_eq!(
        (&post["message"], &post["from"]),
        (&json!(message), &json!("birrell@pa.example"))
    );
    refused(&birrell.get(&held), 403, "not-allowed");
    let approve = format!("{held}/{message}/approve");
    refused(&birrell.post(&approve, "{}"), 403, "not-allowed");
    done(&registrar.post(&approve, "{}"));

    let inbox = format!("/api/v1/inboxes/{NEEDHAM}");
    wait_for("the copy", || {
        done(&needham.get(&inbox))["messages"][0]["message"] == json!(message)
    });
    let listed = done(&needham.get(&inbox))["messages"][0].clone();
    let read = needham.get(&format!("{inbox}/{message}"));
    assert_eq!(
        json!(read.body.len()),
        listed["size"],
        "a size is what is read"
    );
    let read = String::from_utf8(read.body).unwrap();
    assert!(
        read.starts_with("List-Id: <csl%5E.pa.example>\r\n"),
        "{read}"
    );
    assert!(
        read.ends_with(text),
        "the message itself is as it was sent: {read}"
    );
    let place = grapevine.doors(0)["https"].clone();
    let other = grapevine.doors(1)["https"].clone();
    let link = [place, other].into_iter().find_map(|at| {
        let link = read.split_once(&format!("<https://{at}"))?.1;
        Some(link.split_once('>')?.0.to_owned())
    });
    let link = link.expect("a link to leave the list");

    // Followed, it changes nothing; posted to, without a login, at either server, it does.
    let stranger = Client::stranger(&grapevine, 1);
    let is_member = || {
        let check = format!("{LIST}/check?who={NEEDHAM}");
        done(&registrar.get(&check))["answer"] == json!(true)
    };
    let page = stranger.get(&link);
    assert_eq!(page.status, 200);
    assert!(String::from_utf8_lossy(&page.body).contains("<button>"));
    assert!(is_member());
    let forged = format!("{}0", &link[..link.len() - 1]);
    let forged = if forged == link {
        format!("{}1", &link[..link.len() - 1])
    } else {
        forged
    };
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let click = Some("List-Unsubscribe=One-Click");
    assert_eq!(stranger.ask("POST", &forged, &form, click).status, 403);
    assert!(is_member());
    assert_eq!(stranger.ask("POST", &link, &form, click).status, 200);
    assert!(!is_member());
    grapevine.expect_no_errors();
}
