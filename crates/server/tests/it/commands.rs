//! Commands that end by themselves: what they refuse, and with which exit code.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::grapevine::{Grapevine, get, program, run, stderr};

fn serve(config: &Path, more: &[&str]) -> Output {
    program()
        .args(["serve", "--config"])
        .arg(config)
        .args(more)
        .output()
        .unwrap()
}

/// A sound error: one line, no debug output, and it says what to do.
fn assert_one_line(output: &Output, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.starts_with("grapevine: "), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn serve_check_accepts_what_is_sound_and_names_the_nearest_key_otherwise() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("grapevine.toml");
    fs::write(&file, "hostname = \"mail.example.org\"\n").unwrap();
    let sound = serve(&file, &["--check"]);
    assert_eq!(sound.status.code(), Some(0), "{}", stderr(&sound));
    fs::write(&file, "[listen]\nsubmision = \"127.0.0.1:1\"\n").unwrap();
    let refused = serve(&file, &["--check"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_one_line(&refused, &["listen.submision", "listen.submission"]);
}

#[test]
fn a_folder_without_a_server_says_how_to_make_one() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("grapevine.toml");
    let missing = serve(&file, &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert_one_line(&missing, &["grapevine init"]);
    fs::write(&file, "").unwrap();
    let empty = serve(&file, &[]);
    assert_eq!(empty.status.code(), Some(1));
    assert_one_line(&empty, &["holds no server", "grapevine init"]);
}

#[test]
fn a_second_process_on_a_data_folder_is_refused() {
    let grapevine = Grapevine::up(1);
    let second = serve(&grapevine.dir.join("s1/grapevine.toml"), &[]);
    assert_eq!(second.status.code(), Some(1));
    let pid = grapevine.pid(0).to_string();
    assert_one_line(&second, &["in use by process", &pid]);
    let http = grapevine.doors(0)["http"].clone();
    assert_eq!(get(&http, "/readyz").unwrap().0, 200);
}

#[test]
fn a_door_that_is_taken_is_named_with_its_key() {
    let temp = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let dir = temp.path().join("s1");
    let made = program()
        .args(["init", "--dir"])
        .arg(&dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let closed = ["smtp", "submission", "submissions", "pop3", "pop3s"]
        .map(|door| format!("{door} = \"off\"\n"))
        .concat();
    let file = dir.join("grapevine.toml");
    fs::write(
        &file,
        format!("log = \"error\"\n[listen]\nrpc = \"{at}\"\nhttp = \"off\"\n{closed}"),
    )
    .unwrap();
    let refused = serve(&file, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert_one_line(&refused, &["the door rpc", "listen.rpc", &at.to_string()]);
}

#[test]
fn init_founds_a_registry_once() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("s1");
    let password = temp.path().join("password");
    fs::write(&password, "correct horse battery\n").unwrap();
    let init = || {
        program()
            .args([
                "init",
                "--name",
                "s1",
                "--registry",
                "pa.example",
                "--registrar",
                "taft",
            ])
            .arg("--password-file")
            .arg(&password)
            .arg("--dir")
            .arg(&dir)
            .output()
            .unwrap()
    };
    let made = init();
    assert!(made.status.success(), "{}", stderr(&made));
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(
        said.contains("taft@pa.example") && said.contains("grapevine serve"),
        "{said}"
    );
    let again = init();
    assert_eq!(again.status.code(), Some(1));
    assert_one_line(&again, &["holds a server already"]);
}

#[test]
fn a_mangled_token_is_refused_before_anything_is_made() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("s2");
    let refused = program()
        .args(["join", "grapevine-join-1.AAAA", "--name", "s2", "--dir"])
        .arg(&dir)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert_one_line(&refused, &["join token is not whole", "grapevine token"]);
    assert!(!dir.exists());
}

#[test]
fn wrong_usage_ends_with_two_and_help_with_zero() {
    assert_eq!(run(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(run(&["up", "--servers", "0"]).status.code(), Some(2));
    for args in [
        &["--help"][..],
        &["--version"],
        &["up", "--help"],
        &["completions", "bash"],
        &["man"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
}
