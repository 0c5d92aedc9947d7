//! Filters on a pair of real servers: put by ManageSieve and on the command line, run over mail, told in words when they are wrong.
//!
//! The ManageSieve client is some lines of Python's standard library.

use std::process::{Command, Output, Stdio};

use crate::grapevine::{Grapevine, program, stderr, wait_for};
use crate::mail_clients::is_here;

/// Logs in over STARTTLS; puts, activates, lists and reads a script; shows what is refused.
const PROGRAM: &str = r#"
import base64, socket, ssl, sys
port, ca, name, password, script = sys.argv[1:]
sock = socket.create_connection(("localhost", int(port)), timeout=60)
file = sock.makefile("rwb")

def answer():
    lines = []
    while True:
        line = file.readline().decode()
        assert line, lines
        if line.startswith("{"):
            lines.append(file.read(int(line.strip()[1:-1])).decode())
            continue
        lines.append(line.strip())
        if line.split(" ")[0].strip() in ("OK", "NO", "BYE"):
            return lines

def say(text):
    file.write(text.encode())
    file.flush()
    return answer()

login = '"' + base64.b64encode(f"\0{name}\0{password}".encode()).decode() + '"'
greeting = answer()
assert '"STARTTLS"' in greeting and '"SASL" ""' in greeting, greeting
assert say(f'AUTHENTICATE "PLAIN" {login}\r\n')[-1].startswith("NO (ENCRYPT-NEEDED)")
assert say("STARTTLS\r\n")[-1].startswith("OK")
sock = ssl.create_default_context(cafile=ca).wrap_socket(sock, server_hostname="localhost")
file = sock.makefile("rwb")
assert '"SASL" "PLAIN"' in answer()
wrong = base64.b64encode(f"\0{name}\0wrong".encode()).decode()
assert say(f'AUTHENTICATE "PLAIN" "{wrong}"\r\n')[-1].startswith("NO")
assert say(f'AUTHENTICATE "PLAIN" {login}\r\n')[-1].startswith("OK")
bad = "keep;\r\nkepe;\r\n"
refused = say(f'PUTSCRIPT "main" {{{len(bad)}+}}\r\n{bad}\r\n')
assert refused[-1].startswith("NO") and "line 2, column 1" in refused[-1], refused
octets = script.encode()
assert say(f'HAVESPACE "main" {len(octets)}\r\n')[-1] == "OK"
assert say(f'PUTSCRIPT "main" {{{len(octets)}+}}\r\n{script}\r\n')[-1] == "OK"
assert say('SETACTIVE "main"\r\n')[-1] == "OK"
assert say("LISTSCRIPTS\r\n") == ['"main" ACTIVE', "OK"]
assert say('GETSCRIPT "main"\r\n')[0] == script
assert "NONEXISTENT" in say('GETSCRIPT "none"\r\n')[-1]
assert "ACTIVE" in say('DELETESCRIPT "main"\r\n')[-1]
assert say("LOGOUT\r\n")[-1].startswith("OK")
"#;

const SCRIPT: &str = r#"require ["fileinto", "mailbox", "reject", "vacation", "copy"];
if header :contains "subject" "list" { fileinto :create "Lists/One"; }
elsif header :contains "subject" "both" { redirect :copy "registrar@pa.example"; }
elsif header :contains "subject" "bad" { reject "Not wanted."; }
elsif header :contains "subject" "gone" { discard; }
elsif header :contains "subject" "away" { vacation "I am away."; }
"#;

fn command(grapevine: &Grapevine, who: &str, args: &[&str]) -> Output {
    program()
        .args(args)
        .arg("--dir")
        .arg(&grapevine.dir)
        .args(["--as", &format!("{who}@pa.example")])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The subjects in an inbox.
fn inbox(grapevine: &Grapevine, who: &str) -> String {
    out(&command(grapevine, who, &["inbox"]))
}

#[test]
fn a_filter_put_by_managesieve_sorts_sends_on_refuses_and_answers_mail() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    let doors = grapevine.doors(1);
    let port = doors["sieve"].rsplit_once(':').unwrap().1;
    let put = Command::new("python3")
        .args(["-c", PROGRAM, port])
        .arg(grapevine.dir.join("ca.pem"))
        .args(["birrell@pa.example", &grapevine.password("birrell"), SCRIPT])
        .output()
        .unwrap();
    assert!(put.status.success(), "{}", stderr(&put));
    // At the other server, too.
    let listed = out(&command(&grapevine, "birrell", &["sieve", "list"]));
    assert!(
        listed.contains("main") && listed.contains("yes"),
        "{listed}"
    );
    let got = out(&command(&grapevine, "birrell", &["sieve", "get", "main"]));
    assert_eq!(got.trim(), SCRIPT.trim());

    for subject in ["list", "both", "bad", "gone", "away", "away again", "plain"] {
        let mut send = program()
            .args(["send", "-t", "--dir"])
            .arg(&grapevine.dir)
            .args(["--as", "needham@pa.example"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!(
            "From: needham@pa.example\nTo: birrell@pa.example\nSubject: {subject}\n\nhello\n"
        );
        std::io::Write::write_all(&mut send.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(send.wait().unwrap().success());
    }
    wait_for("what is kept, sent on, refused and answered", || {
        let kept = inbox(&grapevine, "birrell");
        let back = inbox(&grapevine, "needham");
        kept.contains("plain")
            && kept.contains("both")
            && kept.contains("away again")
            && inbox(&grapevine, "registrar").contains("both")
            && back.contains("Auto: away")
            && back.lines().count() >= 3
    });
    let kept = inbox(&grapevine, "birrell");
    for absent in ["list", "bad", "gone"] {
        assert!(!kept.contains(absent), "{absent}: {kept}");
    }
    let back = inbox(&grapevine, "needham");
    assert_eq!(back.matches("Auto: ").count(), 1, "answered once: {back}");
    grapevine.expect_no_errors();
}

#[test]
fn a_wrong_script_is_told_with_its_line_before_a_server_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.sieve");
    std::fs::write(&file, "keep;\nfileinto \"a\";\n").unwrap();
    let path = file.to_str().unwrap();
    let checked = crate::grapevine::run(&["sieve", "check", path]);
    assert_eq!(checked.status.code(), Some(2));
    let words = stderr(&checked);
    assert!(
        words.contains("line 2, column 1") && words.contains("require"),
        "{words}"
    );
    std::fs::write(&file, SCRIPT).unwrap();
    let checked = crate::grapevine::run(&["sieve", "check", path]);
    assert!(checked.status.success(), "{}", stderr(&checked));
}
