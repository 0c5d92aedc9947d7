//! The table of rights at the doors of programs that are not Grapevine's: the command line, HTTP and
//! LDAP, with forged headers and controls, without credentials, and with those of somebody else.

use std::fs;
use std::process::Command;

use crate::client::Person;
use crate::grapevine::stderr;
use crate::http_client::Client;
use crate::mail_clients::is_here;
use crate::matrix::World;

#[test]
fn no_command_does_what_its_caller_may_not() {
    const BIRRELL: &str = "birrell@pa.example";
    const NEEDHAM: &str = "needham@pa.example";
    let world = World::new();
    let person = Person::at(&world.grapevine);
    let app = world.app_password("registrar@pa.example", world.person("registrar"));
    let file = world.grapevine.dir.join("app-password");
    fs::write(&file, format!("{app}\n")).unwrap();
    let app = [
        "--as",
        "registrar@pa.example",
        "--password-file",
        file.to_str().unwrap(),
    ];
    let before = world.settled();
    // Each by somebody who has a right to something else: the registrar or the group's owner.
    let commands: &[(&str, &str)] = &[
        (
            NEEDHAM,
            "individual create x@es.example --no-password --site s1",
        ),
        (NEEDHAM, "individual delete n@es.example"),
        (NEEDHAM, "individual rename n@es.example m@es.example"),
        (NEEDHAM, "individual quota n@es.example --messages 1"),
        (NEEDHAM, "individual remark n@es.example x"),
        (
            NEEDHAM,
            "individual forward n@es.example needham@pa.example",
        ),
        (NEEDHAM, "individual alias n@es.example --add o@es.example"),
        (NEEDHAM, "individual sites n@es.example s2"),
        (NEEDHAM, "group create x^@es.example"),
        (NEEDHAM, "group delete g^@es.example"),
        (NEEDHAM, "registry conflicts es.example"),
        (NEEDHAM, "registry dangling es.example --clean"),
        (BIRRELL, "group add g^@es.example n@es.example"),
        (BIRRELL, "group owners g^@es.example --add n@es.example"),
        (BIRRELL, "group posting g^@es.example owners"),
        (BIRRELL, "group join g^@es.example"),
        (BIRRELL, "registry create evil.example"),
        (BIRRELL, "registry delete es.example"),
    ];
    for (who, command) in commands {
        let args: Vec<&str> = command.split(' ').collect();
        for (as_whom, exit) in [(&["--as", who][..], 3), (&app[..], 3), (&[][..], 2)] {
            let output = person.run(&[&args, as_whom].concat());
            assert_eq!(
                output.status.code(),
                Some(exit),
                "{as_whom:?}: {command}: {}",
                stderr(&output)
            );
            assert!(output.stdout.is_empty(), "{output:?}");
        }
    }
    assert_eq!(
        world.settled(),
        before,
        "what was refused changed something"
    );
}

/// One of OpenLDAP's programs: how it ended, and what it said.
fn ldap(
    world: &World,
    program: &str,
    who: Option<(&str, &str)>,
    args: &[&str],
) -> (Option<i32>, String) {
    let file = world.grapevine.dir.join("input");
    let ldif =
        "dn: uid=n,dc=es,dc=example\nchangetype: modify\nreplace: description\ndescription: x\n";
    fs::write(&file, ldif).unwrap();
    let mut command = Command::new(program);
    command
        .env("LDAPTLS_CACERT", world.grapevine.dir.join("ca.pem"))
        .args(["-x", "-ZZ", "-o", "nettimeout=60", "-H"])
        .arg(format!("ldap://{}", world.grapevine.doors(1)["ldap"]));
    if let Some((dn, password)) = who {
        command.args(["-D", dn, "-w", password]);
    }
    let output = command.args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said)
}

#[test]
fn the_directory_is_shown_to_who_has_logged_in_and_changed_by_nobody() {
    if !is_here("ldapmodify") {
        assert!(
            std::env::var_os("CI").is_none(),
            "the gate needs OpenLDAP's programs (ldap-utils)"
        );
        eprintln!("passed over: OpenLDAP's programs (ldap-utils) are not here");
        return;
    }
    const WRONG_PASSWORD: i32 = 49;
    const CRITICAL: i32 = 12;
    let world = World::new();
    let founder = world.grapevine.password("registrar");
    let app = world.app_password("registrar@pa.example", world.person("registrar"));
    let (registrar, needham) = (
        "uid=registrar,dc=pa,dc=example",
        "uid=needham,dc=pa,dc=example",
    );
    let needhams = world.grapevine.password("needham");
    let ticket = world.ticket(world.person("needham"));
    let before = world.settled();
    let search = ["-LLL", "-b", "dc=es,dc=example", "(uid=n)", "uid"];
    for (who, shown) in [
        (None, false),
        (Some((registrar, founder.as_str())), true),
        (Some((registrar, app.as_str())), true),
        (Some((needham, ticket.as_str())), true),
        (Some((registrar, ticket.as_str())), false),
        (Some((registrar, needhams.as_str())), false),
    ] {
        let (code, said) = ldap(&world, "ldapsearch", who, &search);
        assert_eq!(code == Some(0), shown, "{who:?}: {code:?} {said}");
        assert_eq!(said.contains("uid: n"), shown, "{who:?}: {said}");
        if !shown && who.is_some() {
            assert_eq!(code, Some(WRONG_PASSWORD), "{who:?}");
        }
    }
    // On behalf of somebody else, as other directories let trusted programs do.
    let behalf = [
        &["-e", "!authzid=dn:uid=registrar,dc=pa,dc=example"],
        &search[..],
    ]
    .concat();
    let (code, said) = ldap(
        &world,
        "ldapsearch",
        Some((needham, needhams.as_str())),
        &behalf,
    );
    assert_eq!(code, Some(CRITICAL), "{said}");
    let input = world.grapevine.dir.join("input");
    let input = input.to_str().unwrap();
    let n = "uid=n,dc=es,dc=example";
    let changes: &[(&str, &[&str])] = &[
        ("ldapmodify", &["-f", input]),
        ("ldapadd", &["-f", input]),
        ("ldapdelete", &[n]),
        ("ldapmodrdn", &[n, "uid=m"]),
        ("ldappasswd", &["-s", "another password", n]),
    ];
    for (program, args) in changes {
        for who in [
            None,
            Some((registrar, founder.as_str())),
            Some((registrar, app.as_str())),
        ] {
            let (code, said) = ldap(&world, program, who, args);
            assert_ne!(code, Some(0), "{program} by {who:?}: {said}");
        }
    }
    assert_eq!(
        world.settled(),
        before,
        "what was refused changed something"
    );
    world.grapevine.expect_no_errors();
}

/// Those who guess.
const SLOW: &[&str] = &[
    "forged: no password",
    "forged: operator",
    "forged: a server",
];

/// Verb, path, body, and who may.
type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static [&'static str],
);

#[test]
fn no_header_makes_a_client_somebody_else() {
    const ROWS: &[Row] = &[
        (
            "GET",
            "individuals/n@es.example",
            None,
            &["stranger", "owner", "registrar", "founder", "app", "ticket"],
        ),
        (
            "GET",
            "groups/g%5E@es.example/lists/members",
            None,
            &["stranger", "owner", "registrar", "founder", "app", "ticket"],
        ),
        ("GET", "inboxes/n@es.example", None, &[]),
        ("GET", "registries/es.example/watch", None, &["registrar"]),
        (
            "PUT",
            "groups/g%5E@es.example/lists/members/n@es.example",
            None,
            &["owner"],
        ),
        (
            "DELETE",
            "groups/g%5E@es.example/lists/owners/birrell@pa.example",
            None,
            &["owner"],
        ),
        (
            "PUT",
            "individuals/n@es.example/remark",
            Some(r#"{"remark":"x"}"#),
            &["registrar"],
        ),
        (
            "PUT",
            "individuals/n@es.example/password",
            Some(r#"{"password":"correct horse battery"}"#),
            &["registrar"],
        ),
        (
            "PUT",
            "individuals/n@es.example/forward",
            Some(r#"{"forward":[]}"#),
            &["registrar"],
        ),
        (
            "PUT",
            "individuals/n@es.example/aliases/o@es.example",
            None,
            &["registrar"],
        ),
        (
            "POST",
            "individuals",
            Some(r#"{"name":"new@es.example"}"#),
            &["registrar"],
        ),
        (
            "POST",
            "groups",
            Some(r#"{"name":"new^@es.example"}"#),
            &["registrar"],
        ),
        (
            "POST",
            "registries",
            Some(r#"{"registry":"evil.example"}"#),
            &["founder", "ticket"],
        ),
        ("DELETE", "individuals/n@es.example", None, &["registrar"]),
        (
            "PUT",
            "registries/es.example/holders/s2",
            None,
            &["registrar", "founder", "ticket"],
        ),
        (
            "DELETE",
            "registries/es.example",
            None,
            &["founder", "ticket"],
        ),
    ];
    let world = World::new();
    let founder = world.grapevine.password("registrar");
    let ticket = world.ticket(world.person("registrar"));
    let app = world.app_password("registrar@pa.example", world.person("registrar"));
    let needhams = world.ticket(world.person("needham"));
    let bearer = |ticket: &str| ("Authorization", format!("Bearer {ticket}"));
    let basic = |name: &str, password: &str| {
        (
            "Authorization",
            format!("Basic {}", coded(&format!("{name}:{password}"))),
        )
    };
    const FOUNDER: &str = "registrar@pa.example";
    let own = |simple: &str| {
        let password = world.grapevine.password(simple);
        vec![basic(&format!("{simple}@pa.example"), &password)]
    };
    let says = |name, value: &str| vec![(name, value.to_owned())];
    let callers: Vec<(&str, Vec<(&str, String)>)> = vec![
        ("nobody", Vec::new()),
        ("forged: a proxy's user", says("X-Forwarded-User", FOUNDER)),
        ("forged: a remote user", says("Remote-User", FOUNDER)),
        ("forged: on behalf", says("X-On-Behalf-Of", "operator")),
        ("forged: no password", vec![basic(FOUNDER, "")]),
        ("forged: operator", vec![basic("operator@gv", "operator")]),
        ("forged: a server", vec![basic("s1@gv", "s1")]),
        ("forged: another's ticket", vec![basic(FOUNDER, &needhams)]),
        (
            "forged: half a ticket",
            vec![bearer(&ticket[..ticket.len() / 2])],
        ),
        (
            "forged: two at once",
            [own("needham"), vec![basic(FOUNDER, &founder)]].concat(),
        ),
        (
            "stranger",
            vec![basic("stranger@pa.example", "correct horse battery")],
        ),
        ("owner", own("needham")),
        ("registrar", own("birrell")),
        ("founder", own("registrar")),
        ("ticket", vec![bearer(&ticket)]),
        ("app", vec![basic(FOUNDER, &app)]),
    ];
    world.stranger();
    let ask = |server, row: &Row, headers: &[(&str, String)]| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let mut all = headers;
        if row.2.is_some() {
            all.push(("Content-Type", "application/json"));
        }
        let path = format!("/api/v1/{}", row.1);
        let client = Client::stranger(&world.grapevine, server);
        if row.1.ends_with("/watch") {
            // What is granted does not end by itself.
            return client.status(row.0, &path, &all);
        }
        client.ask(row.0, &path, &all, row.2).status
    };
    let before = world.settled();
    for (number, row) in ROWS.iter().enumerate() {
        for (role, headers) in callers.iter().filter(|(role, _)| !row.3.contains(role)) {
            // Each wrong password costs a second.
            let slow = SLOW.contains(role) && number % 4 != 0;
            for server in [0, 1].into_iter().filter(|_| !slow) {
                let status = ask(server, row, headers);
                assert!(
                    matches!(status, 400 | 401 | 403),
                    "{role} at s{}: {row:?}: {status}",
                    server + 1
                );
            }
        }
    }
    assert_eq!(
        world.settled(),
        before,
        "what was refused changed something"
    );
    for row in ROWS {
        let mut first = true;
        for (role, headers) in callers.iter().filter(|(role, _)| row.3.contains(role)) {
            for server in [1, 0] {
                let status = ask(server, row, headers);
                assert!(
                    status == 200 || !first && !matches!(status, 401 | 403),
                    "{role} at s{}: {row:?}: {status}",
                    server + 1
                );
                first = false;
            }
        }
    }
    world.grapevine.expect_no_errors();
}

fn coded(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
