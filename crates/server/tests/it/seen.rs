//! `grapevine registry seen`: has everyone got this?

use crate::client::{NEEDHAM, Person, REGISTRAR};
use crate::grapevine::Grapevine;

const REGISTRY: &str = "pa.example";

fn said(view: &serde_json::Value) -> Vec<String> {
    let holders = view["holders"].as_array().unwrap();
    let said = holders
        .iter()
        .map(|holder| holder["seen"].as_str().unwrap());
    said.map(str::to_owned).collect()
}

#[test]
fn has_everyone_got_this_is_answered_by_each_holder() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let written = person.json(&[
        "group",
        "create",
        "club@pa.example",
        "--owner",
        NEEDHAM,
        "--as",
        REGISTRAR,
    ]);
    let stamp = written["stamp"].as_str().unwrap();
    let seen = ["registry", "seen", REGISTRY, stamp, "--as", REGISTRAR];
    let view = person.json(&seen);
    assert_eq!(said(&view), ["has", "has"], "{view}");
    // One of the future is nowhere; a stamp that is none is a mistake of whoever typed it.
    let later = format!("f{}", &stamp[1..]);
    let lacking = ["registry", "seen", REGISTRY, &later, "--as", REGISTRAR];
    assert_eq!(
        said(&person.run_json(&[&lacking[..], &["--json"]].concat())),
        ["lacks", "lacks"]
    );
    assert_eq!(person.exit(&lacking), 1);
    let odd = ["registry", "seen", REGISTRY, "yesterday", "--as", REGISTRAR];
    assert_eq!(person.exit(&odd), 2);
    // A server that does not answer has not said yes.
    grapevine.kill(1);
    assert_eq!(person.exit(&seen), 5);
}
