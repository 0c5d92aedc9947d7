//! The directory of a pair of servers, asked by the LDAP programs that people have (OpenLDAP's), and the `pam` command.
//!
//! In the gate the programs must be there; elsewhere the tests that need them are passed over with a word.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::grapevine::{Grapevine, program, run, stderr, wait_for};
use crate::mail_clients::is_here;

const BASE: &str = "dc=pa,dc=example";
const BIRRELL: &str = "uid=birrell,dc=pa,dc=example";
const READERS: &str = "cn=readers^,dc=pa,dc=example";
/// Result codes of LDAP, which are these programs' exit codes (compareFalse and compareTrue too).
const FALSE: i32 = 5;
const TRUE: i32 = 6;

fn programs_are_here() -> bool {
    let here = ["ldapsearch", "ldapcompare", "ldapwhoami"]
        .into_iter()
        .all(is_here);
    assert!(
        here || std::env::var_os("CI").is_none(),
        "the gate needs OpenLDAP's programs (ldap-utils)"
    );
    if !here {
        eprintln!("passed over: OpenLDAP's programs (ldap-utils) are not here");
    }
    here
}

/// One of OpenLDAP's programs at a server, as birrell where nothing else is said.
struct Client<'a> {
    grapevine: &'a Grapevine,
    urls: String,
    who: &'a str,
    password: String,
}

impl<'a> Client<'a> {
    fn birrell(grapevine: &'a Grapevine, server: usize) -> Self {
        Self {
            grapevine,
            urls: format!("ldap://{}", grapevine.doors(server)["ldap"]),
            who: BIRRELL,
            password: grapevine.password("birrell"),
        }
    }

    fn run(&self, program: &str, tls: &[&str], args: &[&str]) -> Output {
        // The file's every octet counts, so there is no line end.
        let file: PathBuf = self.grapevine.dir.join("ldap-password");
        fs::write(&file, &self.password).unwrap();
        Command::new(program)
            .env("LDAPTLS_CACERT", self.grapevine.dir.join("ca.pem"))
            .args(["-x", "-H", &self.urls, "-o", "nettimeout=60"])
            .args(tls)
            .args(["-D", self.who, "-y"])
            .arg(&file)
            .args(args)
            .output()
            .unwrap()
    }

    fn search(&self, base: &str, args: &[&str]) -> Output {
        let all = [&["-LLL", "-o", "ldif-wrap=no", "-b", base], args].concat();
        self.run("ldapsearch", &["-ZZ"], &all)
    }
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// As the registrar of `grapevine up`.
fn grapevine_command(grapevine: &Grapevine, args: &[&str]) {
    let dir = grapevine.dir.to_str().unwrap();
    let all = [args, &["--dir", dir, "--as", "registrar@pa.example"]].concat();
    let output = run(&all);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
}

fn readers(grapevine: &Grapevine) {
    grapevine_command(grapevine, &["group", "create", "inner^@pa.example"]);
    grapevine_command(grapevine, &["group", "create", "readers^@pa.example"]);
    grapevine_command(
        grapevine,
        &["group", "add", "readers^@pa.example", "inner^@pa.example"],
    );
    grapevine_command(
        grapevine,
        &["group", "add", "inner^@pa.example", "birrell@pa.example"],
    );
}

#[test]
fn openldaps_programs_search_compare_and_log_in() {
    if !programs_are_here() {
        return;
    }
    let grapevine = Grapevine::up(2);
    readers(&grapevine);
    for server in [0, 1] {
        let client = Client::birrell(&grapevine, server);
        wait_for("the groups at both servers", || {
            let found = client.search(BASE, &["(cn=inner^)", "member"]);
            String::from_utf8_lossy(&found.stdout).contains("uid=birrell")
        });
        let me = said(&client.search(BASE, &["(&(objectClass=posixAccount)(uid=Birrell))"]));
        for line in [
            "dn: uid=birrell,dc=pa,dc=example",
            "mail: birrell@pa.example",
            "homeDirectory: /home/birrell",
            "objectClass: inetOrgPerson",
        ] {
            assert!(me.lines().any(|one| one == line), "{line} not in {me}");
        }
        let number = me
            .lines()
            .find_map(|line| line.strip_prefix("uidNumber: "))
            .unwrap();
        let by_number = said(&client.search(BASE, &[&format!("(uidNumber={number})"), "1.1"]));
        assert_eq!(by_number.trim(), "dn: uid=birrell,dc=pa,dc=example");
        let paged = said(&client.search(
            BASE,
            &[
                "-E",
                "pr=2/noprompt",
                "(|(objectClass=person)(cn=*^))",
                "1.1",
            ],
        ));
        let names = paged
            .lines()
            .filter(|line| line.starts_with("dn: "))
            .count();
        assert_eq!(names, 5, "three people and two groups: {paged}");
        // A member by a group in the group.
        let member = format!("member:{BIRRELL}");
        let output = client.run("ldapcompare", &["-ZZ"], &[READERS, &member]);
        assert_eq!(output.status.code(), Some(TRUE), "{output:?}");
        let output = client.run(
            "ldapcompare",
            &["-ZZ"],
            &[READERS, "member:uid=needham,dc=pa,dc=example"],
        );
        assert_eq!(output.status.code(), Some(FALSE), "{output:?}");
        let who = client.run("ldapwhoami", &["-ZZ"], &[]);
        assert_eq!(said(&who).trim(), format!("dn:{BIRRELL}"));
        let over_tls = Client {
            urls: format!("ldaps://{}", grapevine.doors(server)["ldaps"]),
            ..Client::birrell(&grapevine, server)
        };
        let who = over_tls.run("ldapwhoami", &[], &[]);
        assert_eq!(said(&who).trim(), format!("dn:{BIRRELL}"));
    }
    grapevine.expect_no_errors();
}

#[test]
fn a_connection_that_is_open_ends_within_seconds_of_a_changed_password() {
    if !programs_are_here() {
        return;
    }
    let grapevine = Grapevine::up(2);
    let client = Client::birrell(&grapevine, 0);
    let file = grapevine.dir.join("ldap-password");
    fs::write(&file, &client.password).unwrap();
    // One connection; a search for each line that comes in.
    let mut searches = Command::new("ldapsearch")
        .env("LDAPTLS_CACERT", grapevine.dir.join("ca.pem"))
        .args(["-x", "-ZZ", "-LLL", "-H", &client.urls, "-D", BIRRELL, "-y"])
        .arg(&file)
        .args(["-b", "dc=pa,dc=example", "-f", "-", "(uid=%s)", "mail"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = searches.stdin.take().unwrap();
    let mut answers = BufReader::new(searches.stdout.take().unwrap()).lines();
    writeln!(lines, "needham").unwrap();
    let mut answered = answers.by_ref().map_while(Result::ok);
    assert!(answered.any(|line| line.contains("needham@pa.example")));

    let fresh = grapevine.dir.join("fresh-password");
    fs::write(&fresh, "quite another one\n").unwrap();
    let fresh = fresh.to_str().unwrap();
    let passwd = [
        "individual",
        "passwd",
        "birrell@pa.example",
        "--new-password-file",
        fresh,
    ];
    grapevine_command(&grapevine, &passwd);
    let begun = Instant::now();
    wait_for("the connection to be closed", || {
        // What is written after the end goes nowhere.
        let _closed = writeln!(lines, "needham");
        searches.try_wait().unwrap().is_some()
    });
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "the stated bound"
    );
    assert!(!searches.wait().unwrap().success());
    grapevine.expect_no_errors();
}

#[test]
fn openldaps_programs_are_refused_what_is_not_theirs() {
    if !programs_are_here() {
        return;
    }
    let grapevine = Grapevine::up(1);
    let client = Client::birrell(&grapevine, 0);
    let code = |output: &Output| output.status.code().unwrap();
    let in_clear = client.run("ldapwhoami", &[], &[]);
    assert_eq!(code(&in_clear), 13, "confidentialityRequired: {in_clear:?}");
    let wrong = Client {
        password: "wrong".into(),
        ..Client::birrell(&grapevine, 0)
    };
    assert_eq!(code(&wrong.run("ldapwhoami", &["-ZZ"], &[])), 49);
    let nobody = Client {
        who: "uid=nobody,dc=pa,dc=example",
        ..Client::birrell(&grapevine, 0)
    };
    assert_eq!(code(&nobody.run("ldapwhoami", &["-ZZ"], &[])), 49);
    let anonymous = Command::new("ldapsearch")
        .args(["-x", "-LLL", "-H", &client.urls, "-b", BASE])
        .output()
        .unwrap();
    assert_eq!(code(&anonymous), 50, "{anonymous:?}");
    let root = Command::new("ldapsearch")
        .args([
            "-x",
            "-LLL",
            "-H",
            &client.urls,
            "-b",
            "",
            "-s",
            "base",
            "+",
        ])
        .output()
        .unwrap();
    assert!(said(&root).contains("namingContexts: dc=pa,dc=example"));
    assert_eq!(code(&client.search("dc=nowhere", &["(uid=birrell)"])), 32);
    assert_eq!(code(&client.search("nonsense", &["(uid=birrell)"])), 34);
    if is_here("ldapdelete") {
        let delete = client.run("ldapdelete", &["-ZZ"], &[BIRRELL]);
        assert_eq!(code(&delete), 53, "{delete:?}");
    }
    grapevine.expect_no_errors();
}

#[test]
fn with_a_server_killed_a_program_with_two_addresses_is_answered() {
    if !programs_are_here() {
        return;
    }
    let grapevine = Grapevine::up(2);
    readers(&grapevine);
    let client = Client {
        urls: format!(
            "ldap://{} ldap://{}",
            grapevine.doors(0)["ldap"],
            grapevine.doors(1)["ldap"]
        ),
        ..Client::birrell(&grapevine, 0)
    };
    assert!(said(&client.run("ldapwhoami", &["-ZZ"], &[])).contains(BIRRELL));
    grapevine.kill(0);
    assert!(said(&client.run("ldapwhoami", &["-ZZ"], &[])).contains(BIRRELL));
    let found = said(&client.search(BASE, &["(uid=birrell)", "mail"]));
    assert!(found.contains("mail: birrell@pa.example"), "{found}");
}

/// `grapevine pam` as pam_exec runs it: its exit code.
fn pam(grapevine: &Grapevine, kind: &str, user: &str, password: &str) -> i32 {
    let mut child = program()
        .args(["pam", "--group", "readers^@pa.example", "--dir"])
        .arg(&grapevine.dir)
        .env("PAM_TYPE", kind)
        .env("PAM_USER", user)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // What was refused before the password was read leaves a closed pipe.
    let _ = stdin.write_all(format!("{password}\0").as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(!stderr(&output).contains(password), "a password was told");
    output.status.code().unwrap()
}

#[test]
fn pam_lets_members_in_and_nobody_else_and_closes_when_nobody_can_tell() {
    let grapevine = Grapevine::up(2);
    readers(&grapevine);
    let (birrell, needham) = (grapevine.password("birrell"), grapevine.password("needham"));
    wait_for("birrell to be let in", || {
        pam(&grapevine, "auth", "birrell", &birrell) == 0
    });
    assert_eq!(pam(&grapevine, "account", "birrell", &birrell), 0);
    assert_eq!(pam(&grapevine, "auth", "birrell", "a wrong one"), 3);
    assert_eq!(pam(&grapevine, "auth", "needham", &needham), 3, "no member");
    assert_eq!(pam(&grapevine, "account", "needham", &needham), 3);
    assert_eq!(pam(&grapevine, "auth", "nobody-here", &needham), 3);
    assert_eq!(pam(&grapevine, "auth", "root", &birrell), 3);
    assert_eq!(pam(&grapevine, "open_session", "birrell", &birrell), 2);
    grapevine.kill(0);
    assert_eq!(
        pam(&grapevine, "auth", "birrell", &birrell),
        0,
        "one is left"
    );
    grapevine_command(
        &grapevine,
        &["group", "remove", "inner^@pa.example", "birrell@pa.example"],
    );
    assert_eq!(pam(&grapevine, "auth", "birrell", &birrell), 3, "removed");
    grapevine.kill(1);
    assert_eq!(
        pam(&grapevine, "auth", "birrell", &birrell),
        5,
        "nobody can tell"
    );
    assert_eq!(pam(&grapevine, "account", "birrell", &birrell), 5);
}
