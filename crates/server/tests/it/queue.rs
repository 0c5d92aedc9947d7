//! Mail that waits, and what depends on one server, by the commands of an operator.

use serde_json::Value;

use crate::client::{BIRRELL, NEEDHAM, Person, REGISTRAR};
use crate::grapevine::{Grapevine, stderr, wait_for};

const AWAY: &str = "away@pa.example";

/// Must be done, by the registrar.
fn done(person: &Person<'_>, command: &str) -> String {
    let args: Vec<&str> = command.split(' ').collect();
    person.done(&[&args[..], &["--as", REGISTRAR]].concat())
}

fn shown(person: &Person<'_>, command: &str) -> Value {
    let args: Vec<&str> = command.split(' ').collect();
    person.json(&[&args[..], &["--as", REGISTRAR]].concat())
}

fn exit(person: &Person<'_>, who: &str, command: &str) -> (Option<i32>, String) {
    let args: Vec<&str> = command.split(' ').collect();
    let output = person.run(&[&args[..], &["--as", who]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
    (output.status.code(), text)
}

#[test]
fn what_waits_is_seen_held_and_given_up_by_operators_only() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    done(&person, "individual create away@pa.example --no-password");
    done(&person, "individual sites away@pa.example s2");
    assert!(done(&person, "queue").contains("nothing waits"));
    wait_for("everything to be on both", || {
        exit(&person, REGISTRAR, "unplug s2").1.starts_with("yes")
    });
    grapevine.kill(1);
    wait_for("the first server to notice", || {
        exit(&person, REGISTRAR, "unplug s1")
            .1
            .starts_with("not now")
    });
    let said = person.send(&["--as", BIRRELL, AWAY], b"are you there?");
    assert!(said.status.success(), "{}", stderr(&said));
    let said = String::from_utf8(said.stdout).unwrap();
    let message = said.trim().rsplit(' ').next().unwrap().to_owned();
    wait_for("it to wait", || {
        shown(&person, "queue")["waiting"][0]["state"] == "waiting"
    });
    let queue = shown(&person, "queue");
    let row = &queue["waiting"][0];
    assert_eq!(
        (&row["recipient"], &row["server"]),
        (&AWAY.into(), &"s1".into())
    );
    assert!(row["reason"].as_str().unwrap().contains("s2"), "{row}");
    // The one that is down may have more.
    assert_eq!(queue["unreachable"][0]["server"], "s2");

    done(&person, &format!("queue hold {message}"));
    assert_eq!(shown(&person, "queue")["waiting"][0]["state"], "held");
    done(&person, &format!("queue release {message}"));
    done(&person, "queue retry");
    let (refused, said) = exit(&person, NEEDHAM, "queue");
    assert_eq!(refused, Some(3), "{said}");
    let (refused, said) = exit(&person, NEEDHAM, &format!("queue drop {message}"));
    assert_eq!(refused, Some(3), "{said}");

    done(&person, &format!("queue refuse {message}"));
    person.wait_for_mail(BIRRELL, 1);
    let report = person.done(&["read", "--as", BIRRELL]);
    assert!(report.contains("refused by the operators"), "{report}");
    // The explanation itself may wait for its second copy.
    let queue = shown(&person, "queue");
    let waiting = queue["waiting"].as_array().unwrap();
    assert!(waiting.iter().all(|row| row["message"] != message.as_str()));
    let (nothing, said) = exit(&person, REGISTRAR, &format!("queue retry {message}"));
    assert_eq!(nothing, Some(5), "one that is down may have it: {said}");
    grapevine.expect_no_errors();
}
