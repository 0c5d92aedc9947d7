//! Each named limit of what clients may say, at it and one beyond, over RPC and HTTP: at it the request is judged by what it asks, beyond
//! it is refused with a word, and nothing has changed.

use grapevine_model::{
    ErrorKind, MAX_CHECKS, MAX_IMPORTED_ENTRIES, MAX_LABEL_BYTES, MAX_NOTE_BYTES, MAX_SEEN,
};
use grapevine_rpc::{Caller, decode_reply, encode_call, grapevine_client, v1};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::grapevine::Grapevine;
use crate::http::done;
use crate::http_client::Client;
use crate::logins::{by_password, channel, show};

/// He may change what a registrar may and what an individual may, so nothing is refused for who asks.
const WHO: &str = "registrar@pa.example";
/// Limits that are not told to other crates: what is done beyond them is the promise, whatever they are called inside.
const SIMPLE_BYTES: usize = 64;
const NAME_BYTES: usize = 254;
const REMARK_BYTES: usize = 1_024;
const PLACES: usize = 32;
const PASSWORD_BYTES: usize = 256;
const DOOR_BYTES: usize = 15;

/// A request by both ways.
struct Said {
    rpc: v1::request::Request,
    seen: usize,
    http: (&'static str, String, Option<Value>, usize),
}

fn said(rpc: v1::request::Request, verb: &'static str, path: String, body: Option<Value>) -> Said {
    Said {
        rpc,
        seen: 0,
        http: (verb, path, body, 0),
    }
}

fn change(change: v1::entry_change::Change) -> v1::request::Request {
    v1::request::Request::Change(v1::Change {
        name: WHO.to_owned(),
        change: Some(v1::EntryChange {
            change: Some(change),
        }),
    })
}

/// A simple name of so many octets.
fn simple(octets: usize) -> String {
    "x".repeat(octets)
}

/// A name of so many octets, its simple part as short as its registry allows.
fn long_name(octets: usize) -> String {
    let labels = vec!["r".repeat(63); 4].join(".");
    let registry = &labels[..octets - 2];
    format!("a@{registry}")
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("n{n}@pa.example")).collect()
}

/// What is limited, how much of it there may be, and a request with so much.
type Row = (&'static str, usize, fn(usize) -> Said);

const TABLE: &[Row] = &[
    ("MAX_SIMPLE_BYTES", SIMPLE_BYTES, |n| {
        let name = format!("{}@pa.example", simple(n));
        let path = format!("/api/v1/individuals/{name}");
        said(v1::request::Request::Show(name), "GET", path, None)
    }),
    ("MAX_NAME_BYTES", NAME_BYTES, |n| {
        let name = long_name(n);
        let path = format!("/api/v1/individuals/{name}");
        said(v1::request::Request::Show(name), "GET", path, None)
    }),
    ("MAX_REMARK_BYTES", REMARK_BYTES, |n| {
        let text = "r".repeat(n);
        let body = json!({ "remark": text });
        let path = format!("/api/v1/individuals/{WHO}/remark");
        said(
            change(v1::entry_change::Change::Remark(text)),
            "PUT",
            path,
            Some(body),
        )
    }),
    ("MAX_PLACES", PLACES, |n| {
        let forward = names(n);
        let body = json!({ "forward": forward });
        let path = format!("/api/v1/individuals/{WHO}/forward");
        let forward = v1::entry_change::Change::Forward(v1::Names { names: forward });
        said(change(forward), "PUT", path, Some(body))
    }),
    ("MAX_CHECKS", MAX_CHECKS, |n| {
        let who = names(n);
        let body = json!({ "who": who });
        let path = "/api/v1/groups/none^@pa.example/checks".to_owned();
        let rpc = v1::request::Request::CheckMany(v1::CheckManyMembers {
            group: "none^@pa.example".to_owned(),
            list: v1::GroupList::Members.into(),
            who,
        });
        said(rpc, "POST", path, Some(body))
    }),
    ("MAX_IMPORTED_ENTRIES", MAX_IMPORTED_ENTRIES, |n| {
        let entries: Vec<Value> = names(n)
            .into_iter()
            .map(|name| json!({ "name": name, "kind": "individual" }))
            .collect();
        let imported = names(n)
            .into_iter()
            .map(|name| v1::ImportedEntry {
                name,
                kind: v1::EntryKind::Individual.into(),
                ..Default::default()
            })
            .collect();
        let rpc = v1::request::Request::Import(v1::Import {
            registry: "pa.example".to_owned(),
            entries: imported,
        });
        let path = "/api/v1/registries/pa.example/import".to_owned();
        said(rpc, "POST", path, Some(json!(entries)))
    }),
    ("MAX_LABEL_BYTES", MAX_LABEL_BYTES, |n| {
        let label = "l".repeat(n);
        let body = json!({ "label": label });
        let path = format!("/api/v1/individuals/{WHO}/app-passwords");
        let rpc = v1::request::Request::AppPasswordCreate(v1::AppPasswordCreate {
            name: WHO.to_owned(),
            label,
            ..Default::default()
        });
        said(rpc, "POST", path, Some(body))
    }),
    ("MAX_PASSWORD_BYTES", PASSWORD_BYTES, |n| {
        let password = "p".repeat(n);
        let body = json!({ "name": "nobody@nowhere.example", "password": password });
        let rpc = v1::request::Request::IndividualCreate(v1::IndividualCreate {
            name: "nobody@nowhere.example".to_owned(),
            password: Some(password),
            ..Default::default()
        });
        said(rpc, "POST", "/api/v1/individuals".to_owned(), Some(body))
    }),
    ("MAX_DOOR_BYTES", DOOR_BYTES, |n| {
        let door = "d".repeat(n);
        let path = format!("/api/v1/services/{WHO}?door={door}");
        let rpc = v1::request::Request::Find(v1::Find {
            name: WHO.to_owned(),
            door: Some(door),
            ..Default::default()
        });
        said(rpc, "GET", path, None)
    }),
    ("MAX_SEEN", MAX_SEEN, |n| {
        let path = format!("/api/v1/individuals/{WHO}");
        let rpc = v1::request::Request::Show(WHO.to_owned());
        Said {
            seen: n,
            http: ("GET", path, None, n),
            rpc,
        }
    }),
];

/// What came of it, in the words of both ways.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Whatever is asked was looked at: done, or refused for another reason.
    LookedAt,
    Refused,
}

/// A token of a registry that nobody holds: it makes no answer wait.
const TOKEN_REGISTRY: &str = "elsewhere.example";

async fn by_rpc(rpc: &Channel, caller: &Caller, said: &Said) -> Outcome {
    let mut call = encode_call(caller, &show("registrar"));
    call.request = Some(v1::Request {
        request: Some(said.rpc.clone()),
    });
    call.seen = (0..said.seen)
        .map(|n| v1::Seen {
            registry: TOKEN_REGISTRY.to_owned(),
            stamp: Some(v1::Stamp {
                time: 65_536,
                origin: n as u64 + 1,
            }),
        })
        .collect();
    match grapevine_client(rpc.clone()).call(call).await {
        Err(status) => {
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
            assert!(!status.message().is_empty());
            Outcome::Refused
        }
        Ok(reply) => match decode_reply(reply.into_inner()).unwrap() {
            Err(refusal) if matches!(refusal.kind, ErrorKind::Invalid | ErrorKind::TooLarge) => {
                assert!(!refusal.why.is_empty());
                Outcome::Refused
            }
            Ok(_) | Err(_) => Outcome::LookedAt,
        },
    }
}

fn by_http(client: &Client, said: &Said) -> Outcome {
    let (verb, path, body, seen) = &said.http;
    let body = body.as_ref().map(Value::to_string);
    let tokens: Vec<String> = (0..*seen)
        .map(|n| {
            grapevine_model::Seen {
                registry: TOKEN_REGISTRY.parse().unwrap(),
                stamp: grapevine_model::Stamp {
                    time: grapevine_model::Hlc(65_536),
                    origin: grapevine_model::OriginId(n as u64 + 1),
                },
            }
            .to_string()
        })
        .collect();
    let tokens = tokens.join(",");
    let headers = [("Grapevine-Seen", tokens.as_str())];
    let headers = if *seen > 0 { &headers[..] } else { &[] };
    let answer = client.ask(verb, path, headers, body.as_deref());
    match answer.status {
        400 | 413 => {
            let problem = answer.json();
            assert!(!problem["detail"].as_str().unwrap().is_empty());
            Outcome::Refused
        }
        200..=299 | 401 | 403 | 404 => Outcome::LookedAt,
        other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_limit_holds_over_rpc_and_http_and_one_beyond_it_changes_nothing() {
    let grapevine = Grapevine::up(1);
    let rpc = channel(&grapevine, 0);
    let caller = by_password("registrar", &grapevine.password("registrar"));
    let registrar = Client::of(&grapevine, 0, "registrar");
    let everything = || {
        let entries = done(&registrar.get("/api/v1/registries/pa.example/entries?limit=500"));
        let apps = format!("/api/v1/individuals/{WHO}/app-passwords");
        (entries, done(&registrar.get(&apps)))
    };
    let before = everything();
    let mut wrong = Vec::new();
    for (limit, most, request) in TABLE {
        let beyond = request(most + 1);
        let outcomes = (
            by_rpc(&rpc, &caller, &beyond).await,
            by_http(&registrar, &beyond),
        );
        if outcomes != (Outcome::Refused, Outcome::Refused) {
            wrong.push(format!("one beyond {limit}: {outcomes:?}"));
        }
    }
    assert_eq!(wrong, [""; 0], "(RPC, HTTP)");
    assert_eq!(everything(), before, "what was refused had an effect");
    for (limit, most, request) in TABLE {
        let at = request(*most);
        let outcomes = (by_rpc(&rpc, &caller, &at).await, by_http(&registrar, &at));
        if outcomes != (Outcome::LookedAt, Outcome::LookedAt) {
            wrong.push(format!("at {limit}: {outcomes:?}"));
        }
    }
    assert_eq!(wrong, [""; 0], "(RPC, HTTP)");
    // The one that needs an instance of a service: its note.
    let note = |octets: usize| {
        let sites = json!([{ "site": "db.example:5432", "note": "n".repeat(octets) }]);
        let body = json!({ "sites": sites, "lease_ms": 60_000 }).to_string();
        let path = format!("/api/v1/individuals/{WHO}/connect-sites/db");
        registrar.put(&path, Some(&body)).status
    };
    assert_eq!(note(MAX_NOTE_BYTES + 1), 400);
    assert_eq!(note(MAX_NOTE_BYTES), 200);
    grapevine.expect_no_errors();
}
