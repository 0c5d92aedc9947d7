//! docs/http-api.md is true: what stands there to be tried is tried, line by line.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::grapevine::Grapevine;

/// The lines of the block that begins with this one.
fn block(text: &str, begins: &str) -> Vec<String> {
    text.lines()
        .skip_while(|line| !line.starts_with(begins))
        .take_while(|line| *line != "```")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_line_that_the_docs_say_to_try_does_what_it_says() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("curl is not here: nothing was tried");
        return;
    }
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http-api.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let grapevine = Grapevine::up(2);
    let folder = tempfile::tempdir().unwrap();
    symlink(&grapevine.dir, folder.path().join("grapevine-data")).unwrap();
    let port = grapevine.doors(0)["https"]
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    let mut setup = String::new();
    let mut tried = 0;
    for line in block(&text, "U=") {
        let line = line.replace("PORT", &port);
        if !line.starts_with("$C") && !line.starts_with("$R") {
            setup += &line;
            setup += "\n";
            continue;
        }
        // A watch goes on: what it has told by then is what counts, and curl says 28.
        let watches = line.contains("/watch");
        let with = if watches {
            "--fail-with-body -sS --max-time 3"
        } else {
            "--fail-with-body -sS --max-time 60"
        };
        let (program, rest) = line.split_once(' ').unwrap();
        let script = format!("{setup}\n{program} {with} {rest}");
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let wanted = if watches { Some(28) } else { Some(0) };
        assert_eq!(output.status.code(), wanted, "{line}\n{said}\n{output:?}");
        if watches {
            assert!(said.contains("event: token"), "{line}\n{said}");
        } else if !rest.contains("message/rfc822") {
            serde_json::from_str::<serde_json::Value>(&said).expect(&line);
        }
        tried += 1;
    }
    assert!(tried >= 15, "{tried}");
}
