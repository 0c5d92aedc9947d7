//! What registrars, services and programs do by HTTP: names, services, app passwords, imports, mail.

use serde_json::json;

use crate::grapevine::{Grapevine, wait_for};
use crate::http::{done, refused};
use crate::http_client::Client;

const BIRRELL: &str = "birrell@pa.example";
const NEEDHAM: &str = "needham@pa.example";

#[test]
fn names_quotas_and_posting_rules_are_administered_by_http() {
    let grapevine = Grapevine::up(2);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let birrell = Client::of(&grapevine, 0, "birrell");
    let own = "/api/v1/individuals/needham@pa.example";
    let to = r#"{"name": "roger@pa.example"}"#;
    refused(
        &birrell.post(&format!("{own}/rename"), to),
        403,
        "not-allowed",
    );
    done(&registrar.post(&format!("{own}/rename"), to));
    let shown = done(&registrar.get(own));
    assert_eq!(shown["name"], "roger@pa.example");
    assert_eq!(shown["former"], json!([NEEDHAM]));
    done(&registrar.delete("/api/v1/individuals/roger@pa.example/former/needham@pa.example"));
    refused(&registrar.get(own), 404, "not-found");
    let own = "/api/v1/individuals/roger@pa.example";
    done(&registrar.put(
        &format!("{own}/quota"),
        Some(r#"{"octets": 1000000, "messages": null}"#),
    ));
    let shown = done(&registrar.get(own));
    assert_eq!(
        shown["quota"],
        json!({ "octets": 1_000_000, "messages": null })
    );
    // Groups, and groups in groups.
    for name in ["inner^@pa.example", "outer^@pa.example"] {
        let body = json!({ "name": name, "owners": [BIRRELL] }).to_string();
        done(&registrar.post("/api/v1/groups", &body));
    }
    let lists = |group: &str| format!("/api/v1/groups/{group}@pa.example/lists/members");
    done(&birrell.put(&format!("{}/roger@pa.example", lists("inner^")), None));
    done(&birrell.put(&format!("{}/inner^@pa.example", lists("outer^")), None));
    let groups = |depth: &str| {
        let answer = birrell.get(&format!("{own}/member-of?depth={depth}"));
        done(&answer)["members"].clone()
    };
    assert_eq!(groups("direct"), json!(["inner^@pa.example"]));
    assert_eq!(
        groups("nested"),
        json!(["inner^@pa.example", "outer^@pa.example"])
    );
    refused(
        &birrell.get(&format!("{own}/member-of?depth=deep")),
        400,
        "invalid",
    );
    let posting = "/api/v1/groups/outer^@pa.example/posting";
    done(&birrell.put(
        posting,
        Some(r#"{"posting": {"group": "inner^@pa.example"}}"#),
    ));
    let shown = done(&birrell.get("/api/v1/groups/outer^@pa.example"));
    assert_eq!(shown["posting"], json!({ "group": "inner^@pa.example" }));
    refused(
        &birrell.put(posting, Some(r#"{"posting": "everybody"}"#)),
        400,
        "invalid",
    );
    // Who is gone dangles, until that is cleaned up.
    done(&registrar.delete(own));
    let dangling = "/api/v1/registries/pa.example/dangling";
    refused(&birrell.get(dangling), 403, "not-allowed");
    let found = done(&registrar.get(dangling));
    assert_eq!(
        found["dangling"],
        json!([{ "group": "inner^@pa.example", "list": "members", "member": "roger@pa.example", "why": "gone" }])
    );
    done(&registrar.delete(dangling));
    assert_eq!(done(&registrar.get(dangling))["dangling"], json!([]));
    let conflicts = done(&registrar.get("/api/v1/registries/pa.example/conflicts"));
    assert_eq!(conflicts, json!({ "conflicts": [], "next": null }));
    let aside = "/api/v1/conflicts/birrell@pa.example/00000000000000000000000000000007";
    refused(&registrar.delete(aside), 404, "not-found");
    refused(
        &registrar.delete("/api/v1/conflicts/birrell@pa.example/7"),
        400,
        "invalid",
    );
    let compared = done(&registrar.post("/api/v1/registries/pa.example/compare", "{}"));
    assert_eq!(compared["with"][0]["differed"], 0, "{compared}");
    assert_eq!(compared["with"][0]["failure"], json!(null), "{compared}");
    grapevine.expect_no_errors();
}

#[test]
fn a_path_of_the_other_kind_finds_nothing_and_changes_nothing() {
    let grapevine = Grapevine::up(1);
    let registrar = Client::of(&grapevine, 0, "registrar");
    done(&registrar.post("/api/v1/groups", r#"{"name": "g@pa.example"}"#));
    for (wrong, right) in [
        (
            "/api/v1/individuals/g@pa.example",
            "/api/v1/groups/g@pa.example",
        ),
        (
            "/api/v1/groups/needham@pa.example",
            "/api/v1/individuals/needham@pa.example",
        ),
    ] {
        let before = done(&registrar.get(right));
        refused(&registrar.get(wrong), 404, "not-found");
        refused(&registrar.delete(wrong), 404, "not-found");
        let remark = format!("{wrong}/remark");
        refused(
            &registrar.put(&remark, Some(r#"{"remark": "x"}"#)),
            404,
            "not-found",
        );
        let rename = format!("{wrong}/rename");
        refused(
            &registrar.post(&rename, r#"{"name": "x@pa.example"}"#),
            404,
            "not-found",
        );
        assert_eq!(done(&registrar.get(right)), before);
        done(&registrar.delete(right));
    }
}

#[test]
fn app_passwords_are_made_listed_used_and_removed_by_http() {
    let grapevine = Grapevine::up(1);
    let needham = Client::of(&grapevine, 0, "needham");
    let birrell = Client::of(&grapevine, 0, "birrell");
    let path = "/api/v1/individuals/needham@pa.example/app-passwords";
    refused(
        &birrell.post(path, r#"{"label": "phone"}"#),
        403,
        "not-allowed",
    );
    let made = done(&needham.post(path, r#"{"label": "phone"}"#));
    let (id, password) = (
        made["id"].as_str().unwrap(),
        made["password"].as_str().unwrap(),
    );
    let listed = needham.get(path);
    assert!(!String::from_utf8_lossy(&listed.body).contains(password));
    let listed = done(&listed);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["label"]),
        (&json!(id), &json!("phone"))
    );
    refused(&birrell.get(path), 403, "not-allowed");
    let phone = Client::stranger(&grapevine, 0).with(NEEDHAM, password);
    done(&phone.get("/api/v1/inboxes/needham@pa.example"));
    // It reads and sends mail, and nothing else.
    refused(
        &phone.post(path, r#"{"label": "another"}"#),
        403,
        "not-allowed",
    );
    done(&needham.delete(&format!("{path}/{id}")));
    refused(
        &phone.get("/api/v1/inboxes/needham@pa.example"),
        401,
        "not-authenticated",
    );
    assert!(!grapevine.logs().contains(password));
}

#[test]
fn a_service_is_registered_and_found_by_http_until_its_lease_ends() {
    let grapevine = Grapevine::up(2);
    let birrell = Client::of(&grapevine, 0, "birrell");
    let stranger = Client::stranger(&grapevine, 1);
    let sites = "/api/v1/individuals/birrell@pa.example/connect-sites";
    let body = r#"{"sites": [{"site": "db.example:5432", "weight": 3, "note": "well"}], "lease_ms": 2000}"#;
    let needham = Client::of(&grapevine, 0, "needham");
    refused(
        &needham.put(&format!("{sites}/postgres"), Some(body)),
        403,
        "not-allowed",
    );
    done(&birrell.put(&format!("{sites}/postgres"), Some(body)));
    let find = "/api/v1/services/birrell@pa.example";
    wait_for("the service at the other server", || {
        stranger.get(find).status == 200
            && !done(&stranger.get(find))["sites"]
                .as_array()
                .unwrap()
                .is_empty()
    });
    let located = done(&stranger.get(&format!("{find}?door=postgres")));
    assert_eq!(located["sites"][0]["site"], "db.example:5432");
    assert_eq!(located["sites"][0]["note"], "well");
    let nothing = done(&stranger.get(&format!("{find}?door=imap")));
    assert_eq!(nothing["sites"], json!([]));
    wait_for("the end of the lease", || {
        done(&stranger.get(find))["sites"] == json!([])
    });
    let body = r#"{"sites": [{"site": "db.example:5432"}]}"#;
    done(&birrell.put(&format!("{sites}/any"), Some(body)));
    let known = done(&Client::of(&grapevine, 0, "birrell").get(find));
    let version = known["version"].as_u64().unwrap();
    let known = birrell.get(&format!("{find}?known={version}"));
    assert_eq!((known.status, known.body.len()), (304, 0));
    done(&birrell.delete(&format!("{sites}/any")));
    assert_eq!(done(&birrell.get(find))["sites"], json!([]));
    refused(
        &birrell.put(
            &format!("{sites}/any"),
            Some(r#"{"sites": [{"site": "no port"}]}"#),
        ),
        400,
        "invalid",
    );
}

#[test]
fn an_import_by_http_adds_what_is_missing_and_says_what_it_left_out() {
    let grapevine = Grapevine::up(2);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let path = "/api/v1/registries/pa.example/import";
    let body = json!([
        { "name": "ada@pa.example", "kind": "individual", "remark": "first" },
        { "name": "all^@pa.example", "kind": "group",
          "members": ["ada@pa.example", BIRRELL, "nobody@pa.example"] },
    ])
    .to_string();
    let birrell = Client::of(&grapevine, 0, "birrell");
    refused(&birrell.post(path, &body), 403, "not-allowed");
    let answer = registrar.post(path, &body);
    assert!(
        answer.header("grapevine-seen").starts_with("pa.example:"),
        "{:?}",
        answer.headers
    );
    let done_first = done(&answer);
    assert_eq!(done_first["outcomes"][0]["done"], "created");
    assert_eq!(done_first["outcomes"][1]["done"], "created");
    let left_out = &done_first["outcomes"][1]["left_out"];
    assert!(
        left_out.to_string().contains("nobody@pa.example"),
        "{left_out}"
    );
    let members = done(&registrar.get("/api/v1/groups/all^@pa.example/lists/members"));
    assert_eq!(members["members"], json!(["ada@pa.example", BIRRELL]));
    // Again: nothing more is done.
    let again = done(&registrar.post(path, &body));
    assert_eq!(again["outcomes"][0]["done"], "unchanged");
    refused(
        &registrar.post(path, r#"[{"name": "x@pa.example", "kind": "person"}]"#),
        400,
        "invalid",
    );
    let many: Vec<_> = (0..501)
        .map(|n| json!({ "name": format!("p{n}@pa.example"), "kind": "individual" }))
        .collect();
    let many = registrar.post(path, &json!(many).to_string());
    refused(&many, 413, "too-large");
    refused(
        &registrar.get("/api/v1/individuals/p0@pa.example"),
        404,
        "not-found",
    );
}

#[test]
fn a_message_handed_in_by_http_comes_as_it_is_and_once_however_often_it_is_sent() {
    let grapevine = Grapevine::up(2);
    let birrell = Client::of(&grapevine, 0, "birrell");
    let needham = Client::of(&grapevine, 1, "needham");
    let message = "From: birrell@pa.example\r\nTo: needham@pa.example\r\nSubject: by HTTP\r\n\r\n.\r\nas it is\r\n";
    let rfc822 = [("Content-Type", "message/rfc822")];
    // Milliseconds since 1970 times 65,536, then a client's random number.
    let id = "0199c2d4e5f600008000000000000042";
    let path = format!("/api/v1/messages?to={NEEDHAM},{BIRRELL}&id={id}");
    let stranger = Client::stranger(&grapevine, 0);
    refused(
        &stranger.ask("POST", &path, &rfc822, Some(message)),
        401,
        "not-authenticated",
    );
    refused(&birrell.post(&path, "{}"), 415, "invalid");
    refused(
        &birrell.ask("POST", "/api/v1/messages", &rfc822, Some(message)),
        400,
        "invalid",
    );
    let spoofed = format!("/api/v1/messages?to={BIRRELL}&from={NEEDHAM}");
    refused(
        &birrell.ask("POST", &spoofed, &rfc822, Some(message)),
        403,
        "not-allowed",
    );
    for _ in 0..3 {
        let accepted = done(&birrell.ask("POST", &path, &rfc822, Some(message)));
        assert_eq!(accepted["message"], id);
        assert_eq!(accepted["copies"], 2);
    }
    let inbox = "/api/v1/inboxes/needham@pa.example";
    wait_for("the message", || {
        done(&needham.get(inbox))["messages"] != json!([])
    });
    let listed = done(&needham.get(inbox));
    assert_eq!(listed["messages"].as_array().unwrap().len(), 1);
    let read = needham.get(&format!("{inbox}/{id}"));
    assert_eq!(read.body, message.as_bytes());
    done(&birrell.get(&format!("/api/v1/messages/{id}")));
    // A large one goes through a file.
    let large = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(100_000));
    let path = format!("/api/v1/messages?to={NEEDHAM}");
    let accepted = done(&birrell.ask("POST", &path, &rfc822, Some(&large)));
    let id = accepted["message"].as_str().unwrap();
    let own = format!("{inbox}/{id}");
    wait_for("the large one", || needham.get(&own).status == 200);
    assert_eq!(needham.get(&own).body, large.as_bytes());
    grapevine.expect_no_errors();
}

#[test]
fn what_has_everybody_got_what_waits_elsewhere_and_copies_once_more_by_http() {
    let grapevine = Grapevine::up(2);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let birrell = Client::of(&grapevine, 0, "birrell");
    let needham = Client::of(&grapevine, 0, "needham");

    // Who has a change: by its token, and by what is there now.
    let remark = "/api/v1/individuals/birrell@pa.example/remark";
    let changed = registrar.put(remark, Some(r#"{"remark": "in room 2"}"#));
    let token = changed.header("grapevine-seen").to_owned();
    done(&changed);
    let seen = "/api/v1/registries/pa.example/seen";
    for path in [format!("{seen}?stamp={token}"), seen.to_owned()] {
        wait_for("both servers to have it", || {
            done(&birrell.get(&path))["everywhere"] == true
        });
    }
    let holders = done(&birrell.get(seen))["holders"].clone();
    assert_eq!(
        holders,
        json!([{ "server": "s1", "seen": "has" }, { "server": "s2", "seen": "has" }])
    );
    refused(&birrell.get(&format!("{seen}?stamp=soon")), 400, "invalid");

    // Other mail systems: for operators.
    refused(&birrell.get("/api/v1/destinations"), 403, "not-allowed");
    let none = done(&registrar.get("/api/v1/destinations"));
    assert_eq!(none, json!({ "destinations": [] }));

    // A copy that was delivered is delivered to somebody else.
    let message = "From: birrell@pa.example\r\nSubject: kept\r\n\r\nonce more\r\n";
    let path = format!("/api/v1/messages?to={BIRRELL}");
    let rfc822 = [("Content-Type", "message/rfc822")];
    let accepted = done(&birrell.ask("POST", &path, &rfc822, Some(message)));
    let id = accepted["message"].as_str().unwrap();
    wait_for("the message", || {
        done(&birrell.get("/api/v1/inboxes/birrell@pa.example"))["messages"] != json!([])
    });
    let replay = json!({ "message": id, "to": NEEDHAM }).to_string();
    let all = "/api/v1/replay";
    refused(&birrell.post(all, &replay), 403, "not-allowed");
    refused(&registrar.post(all, "{}"), 400, "invalid");
    refused(
        &registrar.post(all, r#"{"since": "yesterday"}"#),
        400,
        "invalid",
    );
    wait_for("its copy to be one that is kept", || {
        done(&registrar.post(all, &replay))["replayed"] == 1
    });
    let inbox = "/api/v1/inboxes/needham@pa.example";
    wait_for("the copy", || {
        done(&needham.get(inbox))["messages"] != json!([])
    });
    let listed = done(&needham.get(inbox));
    let copy = listed["messages"][0]["message"].as_str().unwrap();
    let read = needham.get(&format!("{inbox}/{copy}"));
    assert_eq!(read.body, message.as_bytes());

    // An outside member's copies go on: the owners' word.
    let group = json!({ "name": "csl^@pa.example", "owners": [BIRRELL] }).to_string();
    done(&registrar.post("/api/v1/groups", &group));
    let member = "/api/v1/groups/csl^@pa.example/lists/members/lee@elsewhere.example";
    done(&birrell.put(member, None));
    let resume = "/api/v1/groups/csl^@pa.example/suspended/lee@elsewhere.example";
    refused(&needham.delete(resume), 403, "not-allowed");
    done(&birrell.delete(resume));
    grapevine.expect_no_errors();
}
