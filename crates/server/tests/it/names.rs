//! Names that change hands, by the commands that do it, at real servers: what they do, what they say,
//! and how they end when they are called wrongly.

use serde_json::json;

use crate::client::{NEEDHAM, Person, REGISTRAR};
use crate::grapevine::{Grapevine, stderr};

const BIRRELL: &str = "birrell@pa.example";
const GROUP: &str = "g^@pa.example";

/// Must be done, by the registrar.
fn done(person: &Person<'_>, command: &str) -> String {
    let args: Vec<&str> = command.split(' ').collect();
    person.done(&[&args[..], &["--as", REGISTRAR]].concat())
}

fn shown(person: &Person<'_>, command: &str) -> serde_json::Value {
    let args: Vec<&str> = command.split(' ').collect();
    person.json(&[&args[..], &["--as", REGISTRAR]].concat())
}

/// Must end so, with one line of complaint that says why.
fn ends(person: &Person<'_>, who: &str, command: &str, exit: i32, why: &str) {
    let args: Vec<&str> = command.split(' ').collect();
    let output = person.run(&[&args[..], &["--as", who]].concat());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(exit), "{command}: {said}");
    assert!(said.contains(why), "{command}: {said}");
    assert!(output.stdout.is_empty(), "{command}: {output:?}");
}

#[test]
fn a_rename_keeps_the_login_and_the_old_name_until_it_is_forgotten() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    done(&person, "group create g^@pa.example");
    done(&person, "group add g^@pa.example birrell@pa.example");
    done(
        &person,
        "individual rename birrell@pa.example ab@pa.example",
    );
    let view = shown(&person, "individual show birrell@pa.example");
    assert_eq!(view["name"], "ab@pa.example");
    assert_eq!(view["former"], json!([BIRRELL]));
    // By the old name and its password.
    let members = person.json(&["group", "members", GROUP, "--as", BIRRELL]);
    assert_eq!(members, json!(["ab@pa.example"]));
    let groups = shown(&person, "individual show ab@pa.example --member-of");
    assert_eq!(groups, json!([GROUP]));
    for (who, command, exit, why) in [
        (
            REGISTRAR,
            "individual rename ab@pa.example needham@pa.example",
            1,
            "exists already",
        ),
        (
            REGISTRAR,
            "individual rename ab@pa.example ab@elsewhere.example",
            1,
            "within its registry",
        ),
        (
            REGISTRAR,
            "individual rename nobody@pa.example x@pa.example",
            4,
            "nobody@pa.example",
        ),
        (
            NEEDHAM,
            "individual rename ab@pa.example x@pa.example",
            3,
            "may not",
        ),
        (REGISTRAR, "individual rename ab@pa.example", 2, "<TO>"),
        (
            REGISTRAR,
            "individual rename ab@pa.example x@pa.example --forget y@pa.example",
            2,
            "--forget",
        ),
        (
            REGISTRAR,
            "individual show ab@pa.example --direct",
            2,
            "--member-of",
        ),
    ] {
        ends(&person, who, command, exit, why);
    }
    done(
        &person,
        "individual rename ab@pa.example --forget birrell@pa.example",
    );
    ends(
        &person,
        REGISTRAR,
        "individual show birrell@pa.example",
        4,
        BIRRELL,
    );
    // The group has its own.
    done(&person, "group rename g^@pa.example h^@pa.example");
    assert_eq!(
        shown(&person, "group show g^@pa.example")["name"],
        "h^@pa.example"
    );
    grapevine.expect_no_errors();
}

#[test]
fn quotas_and_rules_of_posting_are_set_and_shown() {
    let grapevine = Grapevine::up(1);
    let person = Person::at(&grapevine);
    done(&person, "group create g^@pa.example");
    done(
        &person,
        "individual quota birrell@pa.example --octets 1000 --messages 5",
    );
    let view = shown(&person, "individual quota birrell@pa.example");
    assert_eq!(view["quota"], json!({ "octets": 1000, "messages": 5 }));
    let text = done(&person, "individual quota birrell@pa.example");
    assert!(text.contains("1000 octets, 5 messages"), "{text}");
    done(&person, "individual quota birrell@pa.example --unlimited");
    let view = shown(&person, "individual quota birrell@pa.example");
    assert_eq!(view["quota"], json!({ "octets": null, "messages": null }));
    let sets = [
        ("members", "members and owners"),
        ("owners", "owners"),
        ("authenticated", "whoever has logged in"),
        (GROUP, "members of g^@pa.example, and owners"),
        ("anyone", "anyone"),
    ];
    for (rule, words) in sets {
        done(&person, &format!("group posting {GROUP} {rule}"));
        let text = done(&person, &format!("group posting {GROUP}"));
        assert!(text.contains(words), "{text}");
    }
    done(&person, "group remark g^@pa.example systems");
    assert_eq!(
        shown(&person, "group show g^@pa.example")["remark"],
        "systems"
    );
    for (who, command, exit, why) in [
        (
            REGISTRAR,
            "individual quota birrell@pa.example --unlimited --octets 1",
            2,
            "--octets",
        ),
        (
            REGISTRAR,
            "individual quota birrell@pa.example --octets many",
            2,
            "many",
        ),
        (
            REGISTRAR,
            "individual quota g^@pa.example --octets 1",
            1,
            "is a group",
        ),
        (
            NEEDHAM,
            "individual quota birrell@pa.example --octets 1",
            3,
            "may not",
        ),
        (
            REGISTRAR,
            "group posting g^@pa.example everybody",
            2,
            "members, owners",
        ),
        (NEEDHAM, "group posting g^@pa.example owners", 3, "may not"),
        (
            REGISTRAR,
            "group posting nobody@pa.example owners",
            4,
            "nobody@pa.example",
        ),
    ] {
        ends(&person, who, command, exit, why);
    }
    grapevine.expect_no_errors();
}

#[test]
fn members_that_are_no_more_are_listed_and_cleaned() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    done(&person, "group create g^@pa.example");
    done(&person, "individual create gone@pa.example --no-password");
    done(
        &person,
        "group add g^@pa.example gone@pa.example needham@pa.example",
    );
    assert_eq!(
        done(&person, "registry dangling pa.example"),
        "nothing dangles\n"
    );
    done(&person, "individual delete gone@pa.example");
    let dangles = |removed| json!([{ "group": GROUP, "list": "members", "member": "gone@pa.example", "why": "gone", "removed": removed }]);
    assert_eq!(
        shown(&person, "registry dangling pa.example"),
        dangles(false)
    );
    let text = done(&person, "registry dangling pa.example");
    assert_eq!(text, "g^@pa.example: member gone@pa.example is no more\n");
    ends(
        &person,
        NEEDHAM,
        "registry dangling pa.example --clean",
        3,
        "registrar",
    );
    ends(
        &person,
        REGISTRAR,
        "registry dangling nowhere.example",
        4,
        "nowhere.example",
    );
    assert_eq!(
        shown(&person, "registry dangling pa.example --clean"),
        dangles(true)
    );
    assert_eq!(
        done(&person, "registry dangling pa.example --clean"),
        "nothing dangles\n"
    );
    assert_eq!(
        shown(&person, "group members g^@pa.example"),
        json!([NEEDHAM])
    );
    grapevine.expect_no_errors();
}
