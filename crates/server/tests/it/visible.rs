//! How soon a change made at one server is seen at the others, when all are up. The figures are printed.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::grapevine::{Grapevine, LIMIT, wait_for};
use crate::http::done;
use crate::http_client::Client;

/// So many changes, one after the other.
const CHANGES: usize = 40;
/// What is promised.
const PROMISED: Duration = Duration::from_secs(1);

/// A value in the middle, and the greatest.
fn figures(mut all: Vec<Duration>) -> (Duration, Duration) {
    all.sort_unstable();
    (all[all.len() / 2], all[all.len() - 1])
}

#[test]
fn a_change_at_one_server_is_seen_at_the_others_in_under_a_second() {
    const GROUP: &str = "/api/v1/groups/club^@pa.example";
    let grapevine = Grapevine::up(3);
    let ticket = {
        let login = Client::of(&grapevine, 0, "registrar").post("/api/v1/login", "{}");
        done(&login)["ticket"].as_str().unwrap().to_owned()
    };
    // All three answer from copies of their own.
    let registry = "/api/v1/registries/pa.example";
    let holders = Client::of(&grapevine, 0, "registrar");
    done(&holders.put(&format!("{registry}/holders/s3"), None));
    wait_for("the third holder to have it all", || {
        done(&holders.get(registry))["ready"]
            .as_array()
            .unwrap()
            .len()
            == 3
    });
    let at = |server: usize| Client::stranger(&grapevine, server).with_ticket(&ticket);
    let group = json!({ "name": "club^@pa.example" }).to_string();
    done(&at(0).post("/api/v1/groups", &group));
    let path = |n: usize| format!("{GROUP}/check?who=m{n}%40outside.example");
    let (mut acknowledged, mut seen) = (Vec::new(), Vec::new());
    for n in 0..CHANGES {
        let (sender, receiver) = sync_channel(2);
        let (waiters, writer) = (&[at(1), at(2)], at(0));
        std::thread::scope(|scope| {
            for client in waiters {
                let (sender, path) = (sender.clone(), path(n));
                scope.spawn(move || {
                    let begun = Instant::now();
                    loop {
                        let answer = client.get(&path);
                        if answer.status == 200 && answer.json()["answer"] == true {
                            sender.send(Instant::now()).unwrap();
                            return;
                        }
                        assert!(begun.elapsed() < LIMIT, "never seen: {answer:?}");
                    }
                });
            }
            let begun = Instant::now();
            let member = format!("{GROUP}/lists/members/m{n}%40outside.example");
            done(&writer.put(&member, None));
            acknowledged.push(begun.elapsed());
            for _ in waiters {
                seen.push(receiver.recv().unwrap() - begun);
            }
        });
    }
    let (middle, most) = figures(acknowledged);
    eprintln!("acknowledged on two disks: median {middle:?}, greatest {most:?}");
    let (middle, most) = figures(seen);
    eprintln!(
        "seen at another server: median {middle:?}, greatest {most:?} (counted from before the request, with the question's own time)"
    );
    assert!(middle < PROMISED, "{middle:?}");
    grapevine.expect_no_errors();
}
