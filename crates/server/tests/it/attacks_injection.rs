//! Line ends, quotes and paths where names and texts belong: no answer, header or file is forged by them, and no two names are taken for one.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use serde_json::json;

use crate::attacks::{Line, unharmed};
use crate::grapevine::{Grapevine, wait_for};
use crate::http::done;
use crate::http_client::Client;
use crate::wire::{Pop, Smtp};

const BIRRELL: &str = "birrell@pa.example";
const NEEDHAM: &str = "needham@pa.example";
/// What no header may begin with, wherever it was put in.
const EVIL: &str = "Evil: yes";

/// Names as they have been used to reach other files, to end a text early, or to pass for another.
const PATHS: &[&str] = &[
    "../../../../etc/passwd",
    "..",
    ".",
    "/etc/passwd",
    "..\\..\\boot.ini",
    "a/../../b",
    "%2e%2e%2fevil",
    "evil\0.txt",
    "evil\r\nEvil: yes",
    "evil\u{2028}x",
    "evil\u{202e}txt",
    "~root",
    "$(touch evil)",
    "`touch evil`",
    "| touch evil",
    "con",
    "evil;drop table entries",
];

fn imap(grapevine: &Grapevine, simple: &str) -> Line {
    let mut imap = Line::tls(grapevine, &grapevine.doors(0)["imaps"]);
    imap.line();
    let password = grapevine.password(simple);
    imap.say(format!("l LOGIN {simple}@pa.example {password}\r\n"));
    let said = imap.until("l ");
    assert!(said.last().unwrap().starts_with("l OK"), "{said:?}");
    imap
}

/// A line of IMAP with its literals, which are set apart so that nothing in them is taken for a line.
fn response(imap: &mut Line) -> (String, Vec<Vec<u8>>) {
    let (mut text, mut literals) = (String::new(), Vec::new());
    loop {
        let line = imap.line();
        text += &line;
        let literal = line
            .strip_suffix('}')
            .and_then(|line| line.rsplit_once('{'))
            .and_then(|(_, length)| length.parse().ok());
        match literal {
            Some(length) => literals.push(imap.octets(length)),
            None => return (text, literals),
        }
    }
}

/// All responses up to the tagged one, each of which must be one.
fn responses(imap: &mut Line, tag: &str, command: &[u8]) -> Vec<(String, Vec<Vec<u8>>)> {
    imap.say([tag.as_bytes(), b" ", command, b"\r\n"].concat());
    let mut all = Vec::new();
    loop {
        let one = response(imap);
        let begin = one.0.as_str();
        assert!(
            begin.starts_with("* ") || begin.starts_with('+') || begin.starts_with(tag),
            "{begin:?} is no response"
        );
        let last = begin.starts_with(tag) || begin.is_empty();
        all.push(one);
        if last {
            return all;
        }
    }
}

#[test]
fn no_path_of_http_and_no_header_puts_a_line_into_an_answer() {
    let grapevine = Grapevine::up(1);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let paths = [
        "/api/v1/individuals/x%0d%0aEvil:%20yes@pa.example",
        "/api/v1/individuals/needham@pa.example%0d%0aEvil:%20yes",
        "/api/v1/%0d%0aEvil:%20yes",
        "/%0aEvil:%20yes",
        "/api/v1/groups/csl%5E@pa.example?limit=1%0d%0aEvil:%20yes",
        "/api/v1/inboxes/needham@pa.example/1.2%0d%0aEvil:%20yes",
        "/api/v1/unsubscribe?x=%0d%0aEvil:%20yes",
    ];
    for path in paths {
        for headers in [
            &[][..],
            &[("Grapevine-Seen", "x%0d%0aEvil: yes")][..],
            &[("Accept", "text/html%0d%0aEvil: yes")][..],
            &[
                ("Origin", "http://evil.example"),
                ("X-Forwarded-Host", "evil.example"),
            ][..],
        ] {
            for verb in ["GET", "PUT", "DELETE"] {
                let mut answer = Vec::new();
                let _ = registrar
                    .open(verb, path, headers, Some("{}"))
                    .read_to_end(&mut answer);
                let text = String::from_utf8_lossy(&answer).into_owned();
                let head = text.split("\r\n\r\n").next().unwrap();
                assert!(
                    !head.lines().any(|line| line.starts_with("Evil")),
                    "{verb} {path}: {head}"
                );
                assert!(!head.to_lowercase().contains("evil.example"), "{head}");
                assert!(!text.starts_with("HTTP/1.1 2"), "{verb} {path}: {text}");
            }
        }
    }
    unharmed(&grapevine);
}

#[test]
fn what_a_message_and_a_folder_are_called_ends_no_response_of_imap() {
    let grapevine = Grapevine::up(1);
    // Whatever the header holds, as a chunk may carry it.
    let headers: &[&[u8]] = &[
        b"Subject: x\" NIL NIL) * 9 EXPUNGE\r\n",
        b"Subject: x\\\" \\\r\nFrom: \"a\\\" <b@c\r\n",
        b"Subject: \xff\xfe\x80 {5}\r\n hello\r\n",
        b"From: \"a\" <\"x\\\"y\"@[1.2.3.4]>, ((((, <>\r\nTo: @,:;\r\n",
        b"Subject: =?utf-8?Q?x=0D=0A*_BYE_evil?=\r\n",
        b"Message-ID: <x\" \")>\r\nIn-Reply-To: {3}\r\n",
        b"Content-Type: text/\"plain; name=\"a\\\"b\r\nContent-Disposition: x; f=\"{9}\"\r\n",
    ];
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    for header in headers {
        let message = [header, &b"\r\nhello\r\n"[..]].concat();
        let reply = smtp.bdat(BIRRELL, NEEDHAM, &message);
        assert_eq!(reply.code, 250, "{}: {reply:?}", header.escape_ascii());
    }
    wait_for("all of them", || {
        Pop::open(&grapevine, 0, "needham").count() == headers.len()
    });
    let mut imap = imap(&grapevine, "needham");
    responses(&mut imap, "s", b"SELECT INBOX");
    for items in [
        "ENVELOPE",
        "BODYSTRUCTURE",
        "BODY.PEEK[HEADER.FIELDS (SUBJECT \"FROM\")]",
        "(UID FLAGS BODY.PEEK[1.MIME] BODY.PEEK[HEADER])",
    ] {
        let said = responses(&mut imap, "f", format!("FETCH 1:* {items}").as_bytes());
        assert_eq!(said.len(), headers.len() + 1, "{items}: {said:?}");
        let (last, messages) = said.split_last().unwrap();
        assert!(last.0.starts_with("f OK"), "{last:?}");
        for (n, (text, _)) in messages.iter().enumerate() {
            let begin = format!("* {} FETCH (", n + 1);
            assert!(text.starts_with(&begin) && text.ends_with(')'), "{text}");
        }
    }
    // Folders: what can't be a name is refused, and what can is said so that it is one.
    let mut made = BTreeSet::new();
    for (n, name) in PATHS
        .iter()
        .chain(&["a\"b\\c", "x) * BYE evil", "{5}", "NIL", "~a&b"])
        .enumerate()
    {
        let tag = format!("c{n}");
        let command = format!("CREATE {{{}+}}\r\n{name}", name.len());
        let said = responses(&mut imap, &tag, command.as_bytes());
        assert_eq!(said.len(), 1, "{name:?}: {said:?}");
        let taken = said[0].0.starts_with(&format!("{tag} OK"));
        let line_end = name.contains(['\r', '\n', '\0']);
        assert!(!(taken && line_end), "{name:?}: {said:?}");
        if taken {
            made.insert((*name).to_owned());
        }
    }
    let said = responses(&mut imap, "z", b"LIST \"\" *");
    for (text, _) in &said[..said.len() - 1] {
        assert!(text.starts_with("* LIST ("), "{text}");
        assert!(
            !text.contains("* BYE") || text.contains("\"x) * BYE evil\""),
            "{text}"
        );
    }
    unharmed(&grapevine);
}

#[test]
fn a_lists_remark_and_a_filter_put_no_field_into_mail() {
    let grapevine = Grapevine::up(1);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let new = json!({ "name": "csl^@pa.example", "owners": ["registrar@pa.example"] });
    done(&registrar.post("/api/v1/groups", &new.to_string()));
    done(&registrar.put(
        &format!("/api/v1/groups/csl%5E@pa.example/lists/members/{NEEDHAM}"),
        None,
    ));
    for remark in [
        format!("all\r\n{EVIL}"),
        format!("all\n{EVIL}"),
        format!("all> \u{85}{EVIL}"),
        format!("all\u{2028}{EVIL}"),
        "\"all\" <x@far.example>".to_owned(),
    ] {
        let body = json!({ "remark": remark }).to_string();
        let answer = registrar.put("/api/v1/groups/csl%5E@pa.example/remark", Some(&body));
        assert!(
            matches!(answer.status, 200 | 204 | 400),
            "{}",
            answer.status
        );
        let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
        let reply = smtp.data(
            BIRRELL,
            "csl^@pa.example",
            b"Subject: list\r\n\r\nhello\r\n",
        );
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    wait_for("the copies", || {
        Pop::open(&grapevine, 0, "needham").count() == 5
    });
    for message in Pop::open(&grapevine, 0, "needham").all() {
        let text = String::from_utf8_lossy(&message).into_owned();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        let forged = head
            .split(['\r', '\n'])
            .any(|line| line.starts_with("Evil") || line.starts_with("Bcc"));
        assert!(!forged, "{head}");
    }
    // A filter.
    let mut sieve = Line::clear(&grapevine.doors(0)["sieve"]);
    sieve.until("OK");
    sieve.ask("STARTTLS");
    let mut sieve = sieve.upgrade(&grapevine);
    sieve.until("OK");
    let coded = crate::attacks::plain(NEEDHAM, &grapevine.password("needham"));
    let answer = sieve.ask(&format!("AUTHENTICATE \"PLAIN\" \"{coded}\""));
    assert!(answer.starts_with("OK"), "{answer}");
    for script in [
        "redirect \"birrell@pa.example\r\nEvil: yes\";",
        "redirect \"birrell@pa.example\nBcc: x@y\";",
        "redirect \"birrell@pa.example, x@far.example\";",
        "redirect \"<birrell@pa.example>\0\";",
        "require \"fileinto\"; fileinto \"x\r\ny\";",
        "require \"fileinto\"; fileinto \"../../birrell\0\";",
        "require \"vacation\"; vacation :from \"x@y\r\nEvil: yes\" \"away\";",
    ] {
        sieve.say(format!(
            "PUTSCRIPT \"main\" {{{}+}}\r\n{script}\r\n",
            script.len()
        ));
        let answer = sieve.line();
        assert!(answer.starts_with("NO"), "{script:?}: {answer}");
    }
    for name in ["../main", "a\r\nb", "a\0b", "..", "a/b"] {
        sieve.say(format!(
            "PUTSCRIPT {{{}+}}\r\n{name} {{5+}}\r\nkeep;\r\n",
            name.len()
        ));
        let answer = sieve.line();
        assert!(
            answer.starts_with("OK") || answer.starts_with("NO"),
            "{name:?}: {answer}"
        );
        let line_end = name.contains(['\r', '\n', '\0']);
        assert!(
            !(line_end && answer.starts_with("OK")),
            "{name:?}: {answer}"
        );
    }
    unharmed(&grapevine);
}

/// All files below a folder, as paths.
fn files(dir: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        into.insert(path.display().to_string());
        if path.is_dir() {
            files(&path, into);
        }
    }
}

#[test]
fn no_name_reaches_a_file_and_no_look_alike_passes_for_another() {
    let grapevine = Grapevine::up(1);
    let registrar = Client::of(&grapevine, 0, "registrar");
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    let mut imap = imap(&grapevine, "needham");
    let long = "x".repeat(5_000);
    for (n, name) in PATHS.iter().copied().chain([long.as_str()]).enumerate() {
        // As a person, a registry, a group, a site and in the path itself.
        let new =
            json!({ "name": format!("{name}@pa.example"), "password": "correct horse battery" });
        let answer = registrar.post("/api/v1/individuals", &new.to_string());
        assert!(answer.status < 500, "{name:?}: {}", answer.status);
        let new = json!({ "registry": name });
        let answer = registrar.post("/api/v1/registries", &new.to_string());
        assert!(answer.status < 500, "{name:?}: {}", answer.status);
        let coded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in [
            format!("/api/v1/individuals/{coded}@pa.example"),
            format!("/api/v1/inboxes/{NEEDHAM}/{coded}"),
            format!("/api/v1/{coded}"),
            format!("/{coded}"),
            format!("/docs/{coded}"),
        ] {
            let status = registrar.get(&path).status;
            assert!(
                (400..500).contains(&status) || status == 200,
                "{path}: {status}"
            );
            let text = registrar.get(&path).body;
            assert!(!text.windows(5).any(|part| part == b"root:"), "{path}");
        }
        smtp.write(
            format!("MAIL FROM:<{BIRRELL}>\r\nRCPT TO:<{name}@pa.example>\r\nRSET\r\n").as_bytes(),
        );
        let mut replies = 0;
        // A line end makes two commands of one; the last answer is RSET's.
        while !smtp.reply().text.starts_with("250 2.0.0") && replies < 6 {
            replies += 1;
        }
        smtp = Smtp::submission(&grapevine, 0, "birrell");
        let tag = format!("c{n}");
        let command = format!("CREATE {{{}+}}\r\n{name}", name.len());
        responses(&mut imap, &tag, command.as_bytes());
    }
    // Nothing was made anywhere that bears such a name.
    let mut all = BTreeSet::new();
    files(grapevine.dir.parent().unwrap(), &mut all);
    for file in &all {
        assert!(
            !file.contains("evil") && !file.contains("xxxxx") && !file.contains("passwd"),
            "{file}"
        );
    }
    // Look-alikes: another name, or none; mail for one never comes to the other.
    for (n, alike) in [
        "n\u{435}edham",
        "needha\u{ff4d}",
        "needham\u{200b}",
        "needham\u{ad}",
        "\u{feff}needham",
        "NEEDHAM\u{301}",
        "needham ",
        " needham",
        "needham.",
    ]
    .iter()
    .enumerate()
    {
        let new =
            json!({ "name": format!("{alike}@pa.example"), "password": "correct horse battery" });
        let status = registrar
            .post("/api/v1/individuals", &new.to_string())
            .status;
        assert!((200..500).contains(&status), "{alike:?}: {status}");
        smtp.write(
            format!("MAIL FROM:<{BIRRELL}> SMTPUTF8\r\nRCPT TO:<{alike}@pa.example>\r\n")
                .as_bytes(),
        );
        smtp.reply();
        if smtp.reply().code == 250 {
            let text = format!("Subject: alike {n}\r\n\r\nhello\r\n.\r\n");
            smtp.write(b"DATA\r\n");
            assert_eq!(smtp.reply().code, 354);
            smtp.write(text.as_bytes());
            smtp.reply();
        }
        smtp.command("RSET");
    }
    assert_eq!(
        smtp.data(BIRRELL, NEEDHAM, b"Subject: last\r\n\r\nhello\r\n")
            .code,
        250
    );
    wait_for("the last", || {
        let mut inbox = Pop::open(&grapevine, 0, "needham");
        let all = inbox.all();
        let has = |part: &str| {
            all.iter()
                .any(|one| String::from_utf8_lossy(one).contains(part))
        };
        assert!(!has("Subject: alike"), "mail for another came here");
        has("Subject: last")
    });
    unharmed(&grapevine);
}
