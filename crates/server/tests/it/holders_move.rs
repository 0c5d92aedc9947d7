//! A registry moves from server to server while programs change it and ask about it at all of them:
//! first the data, then the traffic; nothing acknowledged is lost, and nobody hears a wrong no.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::client::{Person, REGISTRAR};
use crate::grapevine::{Grapevine, wait_for};
use crate::http::done;
use crate::http_client::{Answer, Client};

const MOVED: &str = "moved.example";
const GROUP: &str = "/api/v1/groups/club^@moved.example";
/// What is there before it moves.
const AT_FIRST: usize = 300;
/// Members in one page of a list, at most.
const PAGE: usize = 1_000;
/// So much is written between two changes of holders.
const BETWEEN: usize = 15;

/// "Not now" is a good answer while a registry moves; a no is not.
fn for_now(answer: &Answer) -> bool {
    matches!(answer.status, 503 | 504)
}

fn is_member(answer: &Answer) -> Option<bool> {
    match answer.status {
        200 => Some(answer.json()["answer"].as_bool().unwrap()),
        _ if for_now(answer) => None,
        _ => panic!("{answer:?}"),
    }
}

/// What the programs have done so far.
#[derive(Default)]
struct Done {
    over: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
    answered: AtomicUsize,
    not_now: AtomicUsize,
}

impl Done {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Adds members at one server; each is asked for at once, with the token of its change.
    fn write(&self, client: &Client, other: &Client, writer: usize) {
        let mut n = 0;
        while self.goes_on() {
            let name = format!("w{writer}n{n}@outside.example");
            let coded = name.replace('@', "%40");
            let answer = client.put(&format!("{GROUP}/lists/members/{coded}"), None);
            if for_now(&answer) {
                self.not_now.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            done(&answer);
            let seen = [("Grapevine-Seen", answer.header("grapevine-seen"))];
            let check = format!("{GROUP}/check?who={coded}");
            for at in [client, other] {
                let answer = at.ask("GET", &check, &seen, None);
                assert_ne!(is_member(&answer), Some(false), "{name}: a wrong no");
            }
            self.acknowledged.lock().unwrap().insert(name);
            n += 1;
        }
    }

    /// Asks at one server for what is there all the time.
    fn read(&self, client: &Client) {
        while self.goes_on() {
            let answer = client.get(&format!("{GROUP}/check?who=needham@pa.example"));
            match is_member(&answer) {
                Some(yes) => {
                    assert!(yes, "a wrong no");
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                None => {
                    self.not_now.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// All members, as a server's answers have them, page after page.
fn members(client: &Client) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut after = String::new();
    loop {
        let answer = client.get(&format!("{GROUP}/lists/members?limit={PAGE}{after}"));
        let page = done(&answer);
        let names = page["members"].as_array().unwrap().iter();
        all.extend(names.map(|name| name.as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('@', "%40")),
            None => return all,
        }
    }
}

#[test]
fn a_registry_moves_over_three_running_servers_under_load_and_loses_nothing() {
    let grapevine = Grapevine::up(3);
    let person = Person::at(&grapevine);
    let registrar = ["--as", REGISTRAR];
    let create = ["registry", "create", MOVED, "--holder", "s1"];
    person.done(&[&create[..], &registrar].concat());
    let login = Client::of(&grapevine, 0, "registrar").post("/api/v1/login", "{}");
    let ticket = done(&login)["ticket"].as_str().unwrap().to_owned();
    let at = |server: usize| Client::stranger(&grapevine, server).with_ticket(&ticket);
    let group = json!({ "name": "club^@moved.example" }).to_string();
    wait_for("all servers to know of the registry", || {
        (0..3).all(|server| {
            at(server)
                .get(&format!("/api/v1/registries/{MOVED}"))
                .status
                == 200
        })
    });
    done(&at(1).post("/api/v1/groups", &group));
    let at_first: Vec<String> = (0..AT_FIRST)
        .map(|n| format!("f{n}@outside.example"))
        .collect();
    let members_at_first = [&at_first[..], &["needham@pa.example".to_owned()]].concat();
    let body = json!([{
        "name": "club^@moved.example", "kind": "group", "members": members_at_first,
    }]);
    done(&at(2).post(
        &format!("/api/v1/registries/{MOVED}/import"),
        &body.to_string(),
    ));
    let so_far = Done::default();
    std::thread::scope(|scope| {
        let mut programs = Vec::new();
        for server in 0..3 {
            let (so_far, at) = (&so_far, &at);
            let other = (server + 1) % 3;
            programs.push(scope.spawn(move || so_far.write(&at(server), &at(other), server)));
            programs.push(scope.spawn(move || so_far.read(&at(server))));
        }
        // A program that fails ends the test by its panic, when all are joined.
        let over = Over(&so_far);
        let ready = |server: &str| {
            let answer = at(0).get(&format!("/api/v1/registries/{MOVED}"));
            answer.status == 200 && {
                let shown: Value = answer.json();
                let ready = shown["ready"].as_array().unwrap();
                ready.iter().any(|holder| holder == server)
            }
        };
        let some_more = || {
            let written = || so_far.acknowledged.lock().unwrap().len();
            let before = written();
            wait_for("some more to be written", || {
                assert!(programs.iter().all(|program| !program.is_finished()));
                written() >= before + BETWEEN
            });
        };
        let change = |how: &str, server: &str| {
            let args = ["registry", "holders", MOVED, how, server];
            person.done(&[&args[..], &registrar].concat());
        };
        for (new, old) in [("s2", "s1"), ("s3", "s2"), ("s1", "s3")] {
            some_more();
            change("--add", new);
            wait_for("the new holder to have it all", || ready(new));
            some_more();
            change("--remove", old);
        }
        some_more();
        change("--add", "s2");
        wait_for("a second holder to have it all", || ready("s2"));
        drop(over);
    });
    let shown = done(&at(1).get(&format!("/api/v1/registries/{MOVED}")));
    assert_eq!(shown["holders"], json!(["s1", "s2"]));
    let mut wanted = so_far.acknowledged.into_inner().unwrap();
    eprintln!(
        "{} changes acknowledged, {} questions answered, {} times \"not now\"",
        wanted.len(),
        so_far.answered.into_inner(),
        so_far.not_now.into_inner()
    );
    wanted.extend(at_first);
    wanted.insert("needham@pa.example".to_owned());
    for server in 0..3 {
        wait_for("all of it, everywhere", || {
            wanted.difference(&members(&at(server))).next().is_none()
        });
    }
    // Who holds it no more lets go of it, now or at its next sweep.
    wait_for("the last one to let go of its copy", || {
        let status = done(&at(2).get("/api/v1/status"));
        let held = status["registries"].as_array().unwrap();
        held.iter().all(|of| of["registry"] != MOVED)
    });
    let compared = person.json(&[&["compare", MOVED][..], &registrar].concat());
    assert_eq!(compared[0]["with"][0]["differed"], 0, "{compared}");
    assert_eq!(compared[0]["with"][0]["failure"], Value::Null, "{compared}");
    grapevine.expect_no_errors();
}

/// Ends the programs also when the test fails.
struct Over<'a>(&'a Done);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}
