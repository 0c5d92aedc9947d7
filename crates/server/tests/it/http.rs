//! The API by HTTP: every operation, every refusal, and the same answers as by RPC.

use serde_json::{Value, json};

use crate::client::Person;
use crate::grapevine::{Grapevine, wait_for};
use crate::http_client::{Answer, Client, curl};

const BIRRELL: &str = "birrell@pa.example";
const NEEDHAM: &str = "needham@pa.example";

#[track_caller]
pub(crate) fn done(answer: &Answer) -> Value {
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    answer.json()
}

#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16, kind: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["kind"], kind, "{text}");
    assert_eq!(problem["status"], status);
    assert!(!problem["detail"].as_str().unwrap().is_empty());
}

/// A path of the document with something in the place of each parameter.
fn filled(path: &str) -> String {
    path.replace("{registry}", "pa.example")
        .replace("{server}", "s9")
        .replace("{name}", "nobody%40pa.example")
        .replace("{alias}", "none%40pa.example")
        .replace("{list}", "members")
        .replace("{member}", "nobody%40pa.example")
        .replace("{message}", "00000000000000000000000000000001")
        .replace("{incarnation}", "00000000000000000000000000000001")
        .replace("{former}", "none%40pa.example")
        .replace("{number}", "7")
        .replace("{door}", "imap")
        .replace("{id}", "none")
}

#[test]
fn of_two_who_change_what_both_have_seen_only_the_first_is_heard() {
    let grapevine = Grapevine::up(1);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let own = "/api/v1/individuals/needham@pa.example";
    let tag = registrar.get(own).header("etag").to_owned();
    let remark = |client: &Client, tag: &str, text: &str| {
        let body = json!({ "remark": text }).to_string();
        let path = format!("{own}/remark");
        client.ask("PUT", &path, &[("If-Match", tag)], Some(&body))
    };
    // All at once: exactly one of them saw what was there.
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|n| {
                let (registrar, tag, remark) = (&registrar, &tag, &remark);
                scope.spawn(move || remark(registrar, tag, &format!("by {n}")).status)
            })
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert!(statuses.iter().all(|status| [200, 412].contains(status)));
    let shown = registrar.get(own);
    let (said, now) = (
        done(&shown)["remark"].clone(),
        shown.header("etag").to_owned(),
    );
    assert_ne!(now, tag);
    // What was refused has changed nothing, for deletions too.
    refused(&remark(&registrar, &tag, "late"), 412, "changed");
    let delete = registrar.ask("DELETE", own, &[("If-Match", &tag)], None);
    refused(&delete, 412, "changed");
    assert_eq!(done(&registrar.get(own))["remark"], said);
    let weak = format!("W/{now}");
    refused(&remark(&registrar, &weak, "weak"), 412, "changed");
    refused(&remark(&registrar, "unquoted", "odd"), 400, "invalid");
    // Nowhere is a condition passed over.
    let list = registrar.ask("GET", "/api/v1/servers", &[("If-Match", "*")], None);
    refused(&list, 400, "invalid");
    // No more is told to who may not change it, and what holds is done.
    let stranger = Client::stranger(&grapevine, 0);
    assert_eq!(remark(&stranger, "*", "x").status, 401);
    let birrell = Client::of(&grapevine, 0, "birrell");
    refused(&remark(&birrell, "*", "mine"), 403, "not-allowed");
    done(&remark(&registrar, &now, "in order"));
    done(&remark(&registrar, "*", "there"));
    let gone = "/api/v1/individuals/nobody@pa.example";
    let gone = registrar.ask("DELETE", gone, &[("If-Match", "*")], None);
    refused(&gone, 404, "not-found");
    assert_eq!(done(&registrar.get(own))["remark"], "there");
}

#[test]
fn the_document_names_every_route_and_there_are_no_others() {
    let grapevine = Grapevine::up(1);
    let stranger = Client::stranger(&grapevine, 0);
    let document = done(&stranger.get("/api/v1/openapi.json"));
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = 0;
    for (path, described) in document["paths"].as_object().unwrap() {
        for verb in ["get", "post", "put", "delete", "patch"] {
            let body = described[verb].get("requestBody").map(|_| "{}");
            let answer = stranger.ask(&verb.to_uppercase(), &filled(path), &[], body);
            let text = String::from_utf8_lossy(&answer.body);
            match described.get(verb) {
                Some(_) => {
                    operations += 1;
                    assert!(
                        answer.status != 405
                            && answer.status != 500
                            && !text.contains("there is nothing here"),
                        "{verb} {path}: {} {text}",
                        answer.status
                    );
                }
                None => refused(&answer, 405, "invalid"),
            }
        }
    }
    assert!(operations >= 60, "{operations}");
    for nowhere in ["/api/v1/nothing", "/api/v1", "/api/v2/registries", "/"] {
        refused(&stranger.get(nowhere), 404, "invalid");
    }
    grapevine.expect_no_errors();
}

#[test]
fn answers_by_http_are_those_by_rpc() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let birrell = Client::of(&grapevine, 1, "birrell");
    let registrar = Client::of(&grapevine, 0, "registrar");
    done(&registrar.post(
        "/api/v1/groups",
        r#"{"name": "csl^@pa.example", "remark": "the \"lab\"", "owners": ["birrell@pa.example"]}"#,
    ));
    for member in ["needham@pa.example", "*@ms", "x%2Dy@outside.example"] {
        let path = format!("/api/v1/groups/csl%5E@pa.example/lists/members/{member}");
        done(&birrell.put(&path, None));
    }
    let asks: &[(&str, &[&str])] = &[
        ("/api/v1/registries", &["registry", "list"]),
        (
            "/api/v1/registries/pa.example",
            &["registry", "show", "pa.example"],
        ),
        (
            "/api/v1/individuals/birrell@pa.example",
            &["individual", "show", BIRRELL],
        ),
        (
            "/api/v1/groups/csl^@pa.example",
            &["group", "show", "csl^@pa.example"],
        ),
        ("/api/v1/inboxes/birrell@pa.example", &["inbox"]),
    ];
    for (path, command) in asks {
        let mut by_rpc = person.json(&[*command, &["--as", BIRRELL]].concat());
        // By HTTP it stands in a header.
        if let Some(by_rpc) = by_rpc.as_object_mut() {
            by_rpc.remove("as_of");
        }
        assert_eq!(done(&birrell.get(path)), by_rpc, "{path}");
    }
    let members = person.json(&["group", "members", "csl^@pa.example", "--as", BIRRELL]);
    let by_http = done(&birrell.get("/api/v1/groups/csl^@pa.example/lists/members"));
    assert_eq!(by_http["members"], members);
    assert_eq!(
        members,
        json!(["*@ms", NEEDHAM, "x-y@outside.example"]),
        "percent-decoded once"
    );
    for (who, yes) in [(NEEDHAM, true), (BIRRELL, false)] {
        let path = format!("/api/v1/groups/csl^@pa.example/check?who={who}");
        assert_eq!(done(&birrell.get(&path)), json!({ "answer": yes }));
        let exit = person.exit(&["group", "check", "csl^@pa.example", who]);
        assert_eq!(exit == 0, yes);
    }
    let many = done(&birrell.post(
        "/api/v1/groups/csl^@pa.example/checks",
        r#"{"who": ["needham@pa.example", "birrell@pa.example", "x-y@outside.example"]}"#,
    ));
    assert_eq!(many, json!({ "answers": [true, false, true] }));
    let servers = done(&birrell.get("/api/v1/servers"));
    assert_eq!(servers.as_array().unwrap().len(), 2);
    let status = done(&Client::stranger(&grapevine, 1).get("/api/v1/status"));
    assert_eq!(status["server"], grapevine.cluster()["servers"][1]["name"]);
    grapevine.expect_no_errors();
}

#[test]
fn everything_is_done_by_http_and_every_refusal_has_its_status() {
    let grapevine = Grapevine::up(2);
    let stranger = Client::stranger(&grapevine, 0);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let birrell = Client::of(&grapevine, 0, "birrell");
    // An individual, from its creation to its end.
    let new = r#"{"name": "lampson@pa.example", "password": "very long indeed"}"#;
    refused(
        &stranger.post("/api/v1/individuals", new),
        403,
        "not-allowed",
    );
    refused(
        &stranger.get("/api/v1/individuals/birrell@pa.example"),
        401,
        "not-authenticated",
    );
    refused(
        &birrell.post("/api/v1/individuals", new),
        403,
        "not-allowed",
    );
    let written = done(&registrar.post("/api/v1/individuals", new));
    assert_eq!(
        (&written["done"], &written["copies"]),
        (&json!(true), &json!(2))
    );
    refused(&registrar.post("/api/v1/individuals", new), 409, "conflict");
    let lampson = Client::stranger(&grapevine, 1).with("lampson@pa.example", "very long indeed");
    let own = "/api/v1/individuals/lampson@pa.example";
    wait_for("the log-in", || lampson.get(own).status == 200);
    done(&lampson.put(
        &format!("{own}/password"),
        Some(r#"{"password": "quite another one"}"#),
    ));
    let lampson = Client::stranger(&grapevine, 1).with("lampson@pa.example", "quite another one");
    done(&lampson.put(
        &format!("{own}/forward"),
        Some(r#"{"forward": ["birrell@pa.example"]}"#),
    ));
    refused(
        &lampson.put(&format!("{own}/sites"), Some(r#"{"sites": []}"#)),
        403,
        "not-allowed",
    );
    done(&registrar.put(&format!("{own}/remark"), Some(r#"{"remark": "Dorado"}"#)));
    done(&registrar.put(&format!("{own}/aliases/bl@pa.example"), None));
    let shown = done(&registrar.get("/api/v1/individuals/bl@pa.example"));
    assert_eq!(shown["name"], "lampson@pa.example");
    assert_eq!(shown["remark"], "Dorado");
    assert_eq!(shown["forward"], json!([BIRRELL]));
    done(&registrar.delete(&format!("{own}/aliases/bl@pa.example")));
    refused(
        &registrar.get("/api/v1/individuals/bl@pa.example"),
        404,
        "not-found",
    );
    // A group.
    done(&registrar.post("/api/v1/groups", r#"{"name": "g@pa.example"}"#));
    let group = "/api/v1/groups/g@pa.example";
    refused(
        &birrell.post(&format!("{group}/join"), "{}"),
        403,
        "not-allowed",
    );
    done(&registrar.put(&format!("{group}/lists/friends/*@pa.example"), None));
    done(&birrell.post(&format!("{group}/join"), "{}"));
    let check = format!("{group}/check?who=birrell@pa.example");
    assert_eq!(done(&birrell.get(&check)), json!({ "answer": true }));
    done(&birrell.post(&format!("{group}/leave"), "{}"));
    assert_eq!(done(&birrell.get(&check)), json!({ "answer": false }));
    done(&registrar.delete(&format!("{group}/lists/friends/*@pa.example")));
    done(&registrar.put(&format!("{group}/remark"), Some(r#"{"remark": "x"}"#)));
    done(&registrar.delete(group));
    refused(&registrar.get(group), 404, "not-found");
    // A registry.
    let lab = r#"{"registry": "lab.example", "registrars": ["birrell@pa.example"]}"#;
    refused(&birrell.post("/api/v1/registries", lab), 403, "not-allowed");
    done(&registrar.post("/api/v1/registries", lab));
    let listed = done(&stranger.get("/api/v1/registries"));
    assert!(listed.as_array().unwrap().contains(&json!("lab.example")));
    done(&registrar.post(
        "/api/v1/registries/lab.example/policy",
        r#"{"alone": "refuse"}"#,
    ));
    done(&registrar.delete("/api/v1/registries/lab.example/holders/s2"));
    let shown = done(&registrar.get("/api/v1/registries/lab.example"));
    assert_eq!(shown["holders"], json!(["s1"]));
    done(&registrar.put("/api/v1/registries/lab.example/holders/s2", None));
    done(&registrar.delete("/api/v1/registries/lab.example"));
    refused(
        &registrar.get("/api/v1/registries/lab.example"),
        404,
        "not-found",
    );
    done(&registrar.delete(own));
    grapevine.expect_no_errors();
}

#[test]
fn bad_requests_have_no_effect_and_clear_errors() {
    let grapevine = Grapevine::up(1);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let stranger = Client::stranger(&grapevine, 0);
    let groups = "/api/v1/groups";
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        (r#"{"name": "g@pa.example", "owner": []}"#, 400),
        (r#"{"name": "no name"}"#, 400),
        (r#"{"name": "a@pa.example", "name": "b@pa.example"}"#, 400),
        (r#"{"name": 7}"#, 400),
    ] {
        refused(&registrar.post(groups, body), status, "invalid");
    }
    let deep = "[".repeat(100_000);
    refused(&registrar.post(groups, &deep), 400, "invalid");
    let long = format!(
        r#"{{"name": "g@pa.example", "remark": "{}"}}"#,
        "x".repeat(2 * 1024 * 1024)
    );
    refused(&registrar.post(groups, &long), 413, "too-large");
    // A form of another site can send text/plain, and nothing is done for it.
    let good = r#"{"name": "g@pa.example"}"#;
    let plain = [("Content-Type", "text/plain")];
    refused(
        &registrar.ask("POST", groups, &plain, Some(good)),
        415,
        "invalid",
    );
    refused(
        &registrar.get("/api/v1/groups/g@pa.example"),
        404,
        "not-found",
    );
    for path in [
        "/api/v1/registries?what=1",
        "/api/v1/registries/pa.example/entries?limit=0",
        "/api/v1/registries/pa.example/entries?limit=1&limit=2",
        "/api/v1/registries/pa..example",
        "/api/v1/groups/no%20name",
        "/api/v1/groups/g%40pa.example%0d%0aX-Bad:%201",
        "/api/v1/groups/%ff",
        "/api/v1/groups/g@pa.example/lists/enemies",
        "/api/v1/groups/g@pa.example/check",
        "/api/v1/messages/x",
        "/api/v1/groups/g@pa.example/watch?since=x",
    ] {
        refused(&registrar.get(path), 400, "invalid");
    }
    let bad_seen = [("Grapevine-Seen", "pa.example:17")];
    refused(
        &registrar.ask("GET", "/api/v1/registries", &bad_seen, None),
        400,
        "invalid",
    );
    for wrong in ["wrong password", ""] {
        let guess = Client::stranger(&grapevine, 0).with(BIRRELL, wrong);
        let answer = guess.get("/api/v1/registries");
        refused(&answer, 401, "not-authenticated");
        assert!(answer.header("www-authenticate").starts_with("Basic"));
        let nobody = Client::stranger(&grapevine, 0).with("nobody@pa.example", wrong);
        assert_eq!(
            nobody.get("/api/v1/registries").body,
            answer.body,
            "no tell-tale"
        );
    }
    let bearer = [("Authorization", "Bearer nothing")];
    refused(
        &stranger.ask("GET", "/api/v1/registries", &bearer, None),
        401,
        "not-authenticated",
    );
    let long_header = "x".repeat(200 * 1024);
    let answer = stranger.ask(
        "GET",
        "/api/v1/registries",
        &[("X-Long", &long_header)],
        None,
    );
    assert_eq!(answer.status, 431);
    let origin = [("Origin", "https://elsewhere.example")];
    let answer = stranger.ask("GET", "/api/v1/registries", &origin, None);
    assert_eq!(answer.header("access-control-allow-origin"), "");
    // A token of what nobody wrote: unavailable, not an old answer.
    let made_up = "pa.example:ffffffffffff00000000000000000009";
    let answer = registrar.ask(
        "GET",
        "/api/v1/individuals/birrell@pa.example",
        &[("Grapevine-Seen", made_up)],
        None,
    );
    refused(&answer, 503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!grapevine.logs().contains(&grapevine.password("registrar")));
}

#[test]
fn answers_have_tags_pages_times_and_tokens() {
    let grapevine = Grapevine::up(2);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let other = Client::of(&grapevine, 1, "registrar");
    done(&registrar.post("/api/v1/groups", r#"{"name": "g@pa.example"}"#));
    for n in 0..5 {
        let path = format!("/api/v1/groups/g@pa.example/lists/members/m{n}%26x@outside.example");
        done(&registrar.put(&path, None));
    }
    // Pages, by their links.
    let mut path = "/api/v1/groups/g@pa.example/lists/members?limit=2".to_owned();
    let mut members = Vec::new();
    loop {
        let page = registrar.get(&path);
        members.extend(done(&page)["members"].as_array().unwrap().clone());
        let Some(link) = page.header("link").strip_suffix(">; rel=\"next\"") else {
            break;
        };
        link.trim_start_matches('<').clone_into(&mut path);
    }
    assert_eq!(members.len(), 5);
    assert_eq!(members[4], "m4&x@outside.example");
    // A tag: unchanged, then changed.
    let group = "/api/v1/groups/g@pa.example";
    let answer = registrar.get(group);
    assert!(answer.header("cache-control").contains("private"));
    assert!(answer.header("grapevine-as-of").contains("server=s"));
    let tag = answer.header("etag").to_owned();
    let known = [("If-None-Match", tag.as_str())];
    let again = registrar.ask("GET", group, &known, None);
    assert_eq!((again.status, again.body.len()), (304, 0));
    let changed = registrar.put(&format!("{group}/remark"), Some(r#"{"remark": "new"}"#));
    done(&changed);
    assert_eq!(registrar.ask("GET", group, &known, None).status, 200);
    // What was written here is read there.
    for n in 0..20 {
        let body = format!(r#"{{"remark": "number {n}"}}"#);
        let changed = registrar.put(&format!("{group}/remark"), Some(&body));
        let token = changed.header("grapevine-seen");
        assert!(token.starts_with("pa.example:"), "{:?}", changed.headers);
        let seen = other.ask("GET", group, &[("Grapevine-Seen", token)], None);
        assert_eq!(done(&seen)["remark"], format!("number {n}"));
    }
}

#[test]
fn a_watch_by_http_goes_on_at_the_other_server_when_the_first_is_killed() {
    let grapevine = Grapevine::up(2);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let other = Client::of(&grapevine, 1, "registrar");
    done(&registrar.post("/api/v1/groups", r#"{"name": "g@pa.example"}"#));
    let watch = "/api/v1/groups/g@pa.example/watch";
    refused(
        &Client::stranger(&grapevine, 0).get(watch),
        401,
        "not-authenticated",
    );
    let needham = Client::of(&grapevine, 0, "needham");
    refused(
        &needham.get("/api/v1/registries/pa.example/watch"),
        403,
        "not-allowed",
    );
    let mut events = registrar.watch(watch, None);
    let (_, mut token) = events.batch().unwrap();
    let mut seen = Vec::new();
    for n in 0..3 {
        let member = format!("m{n}@outside.example");
        done(&other.put(
            &format!("/api/v1/groups/g@pa.example/lists/members/{member}"),
            None,
        ));
        while !seen.contains(&member) {
            let (batch, next) = events.batch().unwrap();
            token = next;
            seen.extend(batch.iter().map(|e| e["item"].as_str().unwrap().to_owned()));
        }
    }
    grapevine.kill(0);
    assert!(events.batch().is_none(), "its server is dead");
    done(&other.put(
        "/api/v1/groups/g@pa.example/lists/members/m3@outside.example",
        None,
    ));
    let mut events = other.watch(watch, Some(&token));
    while seen.len() < 4 {
        let (batch, _) = events.batch().unwrap();
        for event in batch {
            assert_eq!(
                (&event["event"], &event["list"]),
                (&json!("added"), &json!("members"))
            );
            seen.push(event["item"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(
        seen,
        (0..4)
            .map(|n| format!("m{n}@outside.example"))
            .collect::<Vec<_>>()
    );
    let mut all = other.watch(&format!("{watch}?since=beginning"), None);
    let (there, _) = all.batch().unwrap();
    assert!(there[0].get("start-over").is_some());
    assert_eq!(there[1]["event"], "created");
}

#[test]
fn a_message_is_read_and_deleted_by_its_owner_only() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let letter = grapevine.dir.join("letter");
    std::fs::write(&letter, "over HTTP\n").unwrap();
    let letter = letter.to_str().unwrap();
    person.done(&[
        "send",
        NEEDHAM,
        "--subject",
        "hello",
        "--file",
        letter,
        "--as",
        BIRRELL,
    ]);
    let needham = Client::of(&grapevine, 0, "needham");
    let inbox = "/api/v1/inboxes/needham@pa.example";
    wait_for("the message", || {
        !done(&needham.get(inbox))["messages"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    let listed = done(&needham.get(inbox));
    let message = listed["messages"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{inbox}/{message}");
    let read = needham.get(&path);
    assert_eq!(read.status, 200);
    assert_eq!(read.header("content-type"), "message/rfc822");
    assert_eq!(read.body.len() as u64, listed["messages"][0]["size"]);
    assert!(String::from_utf8_lossy(&read.body).contains("over HTTP"));
    let birrell = Client::of(&grapevine, 0, "birrell");
    refused(&birrell.get(&path), 403, "not-allowed");
    refused(&birrell.delete(&path), 403, "not-allowed");
    done(&needham.delete(&path));
    refused(&needham.get(&path), 404, "not-found");
}

#[test]
fn curl_speaks_to_the_https_door_with_the_front_certificate() {
    let grapevine = Grapevine::up(1);
    let at = format!("https://{}", grapevine.doors(0)["https"]);
    let ca = grapevine.dir.join("ca.pem");
    let who = format!("{BIRRELL}:{}", grapevine.password("birrell"));
    let url = format!("{at}/api/v1/individuals/{BIRRELL}");
    let ask = [
        "--cacert",
        ca.to_str().unwrap(),
        "--user",
        &who,
        "--fail",
        &url,
    ];
    let Some(output) = curl(&ask) else {
        eprintln!("curl is not here: nothing was tried");
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["name"], BIRRELL);
    let probes = curl(&[
        "--cacert",
        ca.to_str().unwrap(),
        "--fail",
        &format!("{at}/metrics"),
    ]);
    assert!(
        !probes.unwrap().status.success(),
        "probes are at the other door"
    );
    let untrusted = curl(&["--user", &who, &url]).unwrap();
    assert!(
        !untrusted.status.success(),
        "without the certificate's authority"
    );
}

#[test]
fn a_ticket_serves_at_any_server_until_the_password_changes() {
    let grapevine = Grapevine::up(2);
    let needham = Client::of(&grapevine, 0, "needham");
    let ticket = done(&needham.post("/api/v1/login", "{}"));
    let bearer = format!("Bearer {}", ticket["ticket"].as_str().unwrap());
    let bearer = [("Authorization", bearer.as_str())];
    let own = "/api/v1/individuals/needham@pa.example";
    for server in [0, 1] {
        let stranger = Client::stranger(&grapevine, server);
        let shown = stranger.ask("GET", own, &bearer, None);
        assert_eq!(done(&shown)["name"], NEEDHAM);
    }
    let changed = needham.put(
        &format!("{own}/password"),
        Some(r#"{"password": "quite another one"}"#),
    );
    done(&changed);
    let stranger = Client::stranger(&grapevine, 0);
    refused(
        &stranger.ask("GET", own, &bearer, None),
        401,
        "not-authenticated",
    );
    refused(
        &stranger.post("/api/v1/login", "{}"),
        401,
        "not-authenticated",
    );
}
