//! Registries from and to files, with a server killed in the middle.

use std::fs;
use std::path::PathBuf;

use crate::client::Person;
use crate::grapevine::Grapevine;

const REGISTRAR: [&str; 2] = ["--as", "registrar@pa.example"];

fn file(grapevine: &Grapevine, name: &str, text: &str) -> PathBuf {
    let path = grapevine.dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn an_import_that_a_kill_interrupts_is_finished_at_the_other_server_and_exports_alike() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let mut text = "name,kind,remark,members,password\n".to_owned();
    // The list stands before those whom it lists.
    let all: Vec<String> = (0..1_200).map(|n| format!("p{n}")).collect();
    text += &format!("all^,group,Everybody,{},\n", all.join(" "));
    for n in 0..1_200 {
        text += &format!("p{n},individual,Number {n},,\n");
    }
    text += "lampson,individual,,,correct horse\nno name,individual,,,\nshort,individual,,,abc\n";
    let people = file(&grapevine, "people.csv", &text);
    let people = people.to_str().unwrap();
    let import = ["registry", "import", "pa.example", people, "--json"];
    std::thread::scope(|scope| {
        let importing = scope.spawn(|| person.exit(&[&import[..], &REGISTRAR].concat()));
        // At whichever point it is by then.
        grapevine.kill(0);
        // Two things can't be taken, and are said; the rest is there.
        assert_eq!(importing.join().unwrap(), 1);
    });
    let again = person.run_json(&[&import[..], &REGISTRAR].concat());
    assert_eq!(again["created"], 0, "{again}");
    assert_eq!(again["unchanged"], 1_203, "{again}");
    assert_eq!(again["complaints"], 2, "{again}");

    let view = person.json(&[&["group", "show", "all^@pa.example"][..], &REGISTRAR].concat());
    assert_eq!(view["members"], 1_200, "{view}");
    let who = file(&grapevine, "password", "correct horse\n");
    let login = ["inbox", "--as", "lampson@pa.example", "--password-file"];
    person.done(&[&login[..], &[who.to_str().unwrap()]].concat());

    for format in ["csv", "jsonl", "ldif"] {
        let out = grapevine.dir.join(format!("out.{format}"));
        let out = out.to_str().unwrap();
        person.done(&[&["registry", "export", "pa.example", out][..], &REGISTRAR].concat());
        let written = fs::read_to_string(out).unwrap();
        assert!(
            written.contains("p1199@pa.example") && !written.contains("argon2"),
            "{format}"
        );
        let back = ["registry", "import", "pa.example", out];
        let back = person.json(&[&back[..], &REGISTRAR].concat());
        assert_eq!(
            (&back["created"], &back["changed"]),
            (&0.into(), &0.into()),
            "{format}"
        );
    }
    // An export never writes over a file.
    let out = grapevine.dir.join("out.csv");
    let out = out.to_str().unwrap();
    assert_eq!(
        person.exit(&[&["registry", "export", "pa.example", out][..], &REGISTRAR].concat()),
        1
    );
}

#[test]
fn a_file_that_is_no_import_and_a_speaker_who_is_no_registrar_change_nothing() {
    let grapevine = Grapevine::up(1);
    let person = Person::at(&grapevine);
    let good = file(&grapevine, "good.jsonl", "{\"name\":\"lampson\"}\n");
    let good = good.to_str().unwrap();
    let as_birrell = ["--as", "birrell@pa.example"];
    let import = ["registry", "import", "pa.example", good];
    assert_eq!(person.exit(&[&import[..], &as_birrell].concat()), 3);
    let elsewhere = ["registry", "import", "nowhere.example", good];
    assert_eq!(person.exit(&[&elsewhere[..], &REGISTRAR].concat()), 4);
    let odd = file(&grapevine, "odd.csv", "name,shoe size\nlampson,44\n");
    let odd = ["registry", "import", "pa.example", odd.to_str().unwrap()];
    assert_eq!(person.exit(&[&odd[..], &REGISTRAR].concat()), 1);
    let unnamed = file(&grapevine, "people", "name\nlampson\n");
    let unnamed = [
        "registry",
        "import",
        "pa.example",
        unnamed.to_str().unwrap(),
    ];
    assert_eq!(person.exit(&[&unnamed[..], &REGISTRAR].concat()), 2);
    let show = ["individual", "show", "lampson@pa.example"];
    assert_eq!(person.exit(&[&show[..], &REGISTRAR].concat()), 4);
    let kept = || fs::read_to_string(person.config.join("seen.json")).unwrap_or_default();
    let before = kept();
    person.done(&[&import[..], &REGISTRAR].concat());
    // So the next command is answered with at least this, at whichever server.
    assert_ne!(kept(), before, "what was imported is not remembered");
    assert!(kept().contains("pa.example"), "{}", kept());
    person.done(&[&show[..], &REGISTRAR].concat());
}
