//! Logins over real processes: tickets, app passwords, guessing at several doors of two servers, and
//! open sessions that end with the credentials they were opened with.

use std::process::Output;

use grapevine_model::{ErrorKind, Name, Refusal, Reply, Request, Secret, Source};
use grapevine_rpc::tls::{KeyExpectation, client_config};
use grapevine_rpc::{Caller, Credentials, Timeouts, decode_reply, encode_call, grapevine_client};
use tonic::transport::Channel;

use crate::grapevine::{Grapevine, program, stderr, wait_for};
use crate::wire::{Pop, Smtp};

pub(crate) fn channel(grapevine: &Grapevine, server: usize) -> Channel {
    let cluster = grapevine.cluster();
    let key = cluster["servers"][server]["public_key"].as_str().unwrap();
    let key = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap();
    let tls = client_config(None, KeyExpectation::Exactly(key)).unwrap();
    grapevine_rpc::connect(&grapevine.doors(server)["rpc"], tls, Timeouts::default()).unwrap()
}

fn name(simple: &str) -> Name {
    format!("{simple}@pa.example").parse().unwrap()
}

pub(crate) fn by_password(simple: &str, password: &str) -> Caller {
    Caller::Individual(Credentials {
        name: name(simple),
        password: Secret(password.to_owned()),
    })
}

pub(crate) async fn call(
    channel: &Channel,
    caller: Caller,
    request: Request,
) -> Result<Reply, Refusal> {
    let call = encode_call(&caller, &request);
    let reply = grapevine_client(channel.clone()).call(call).await.unwrap();
    decode_reply(reply.into_inner()).unwrap()
}

pub(crate) fn show(simple: &str) -> Request {
    Request::Show { name: name(simple) }
}

/// A command in the folder of the Grapevine, with a configuration folder of its own.
fn command(grapevine: &Grapevine, args: &[&str]) -> Output {
    let output = program()
        .args(args)
        .env("GRAPEVINE_CONFIG", grapevine.dir.join("config"))
        .current_dir(grapevine.dir.parent().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    output
}

pub(crate) fn passwd(grapevine: &Grapevine, simple: &str, password: &str) {
    let file = grapevine.dir.join("new-password");
    std::fs::write(&file, password).unwrap();
    let dir = grapevine.dir.to_str().unwrap();
    command(
        grapevine,
        &[
            "individual",
            "passwd",
            &name(simple).to_string(),
            "--dir",
            dir,
            "--as",
            "registrar@pa.example",
            "--new-password-file",
            file.to_str().unwrap(),
        ],
    );
}

#[tokio::test]
async fn a_ticket_serves_at_both_servers_and_every_door_until_the_password_changes() {
    let grapevine = Grapevine::up(2);
    let (first, second) = (channel(&grapevine, 0), channel(&grapevine, 1));
    let password = grapevine.password("birrell");
    let create = Request::TicketCreate { life_ms: None };
    let issued = call(&first, by_password("birrell", &password), create.clone()).await;
    let Ok(Reply::Ticket { ticket, .. }) = issued else {
        panic!("{issued:?}")
    };
    let caller = Caller::Ticket(ticket.clone());
    for server in [&first, &second] {
        call(server, caller.clone(), show("birrell")).await.unwrap();
    }
    // In the place of the password at a door for mail programs, for its own name only.
    let log_in = |who: &str| {
        let mut smtp = Smtp::stranger(&grapevine, 1);
        smtp.log_in(&name(who).to_string(), &ticket.0).code
    };
    assert_eq!(log_in("birrell"), 235);
    assert_eq!(log_in("needham"), 535);
    // At POP3 too, where a command's line is short by its RFC and a ticket is not.
    let mut pop = Pop::stranger(&grapevine, 1);
    pop.ok("USER birrell@pa.example");
    pop.ok(&format!("PASS {}", ticket.0));
    let mut pop = Pop::stranger(&grapevine, 0);
    pop.ok("USER needham@pa.example");
    let refused = pop.command(&format!("PASS {}", ticket.0));
    assert!(refused.starts_with("-ERR"), "{refused}");
    // It renews itself, and is worth nothing with one character changed.
    let renewed = call(&second, caller.clone(), create).await;
    assert!(matches!(renewed, Ok(Reply::Ticket { .. })), "{renewed:?}");
    let mut forged = ticket.0.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(last);
    let forged = Caller::Ticket(Secret(forged));
    let refused = call(&first, forged, show("birrell")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotAuthenticated);
    passwd(&grapevine, "birrell", "quite another one");
    wait_for("the ticket to be dead at both servers", || {
        std::thread::scope(|scope| {
            let tried = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let mut dead = 0;
                    for server in 0..2 {
                        let channel = channel(&grapevine, server);
                        let answer = call(&channel, caller.clone(), show("birrell")).await;
                        dead += usize::from(
                            answer.is_err_and(|r| r.kind == ErrorKind::NotAuthenticated),
                        );
                    }
                    dead == 2
                })
            });
            tried.join().unwrap()
        })
    });
    grapevine.expect_no_errors();
}

#[tokio::test]
async fn an_app_password_reads_mail_and_administers_nothing_and_its_removal_shuts_it_out() {
    let grapevine = Grapevine::up(2);
    let dir = grapevine.dir.to_str().unwrap().to_owned();
    let registrar = "registrar@pa.example";
    let run = |args: &[&str]| {
        let all = [args, &["--dir", &dir, "--as", registrar, "--json"]].concat();
        let output = command(&grapevine, &all);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let made = run(&[
        "individual",
        "app-password",
        "add",
        registrar,
        "--label",
        "phone",
    ]);
    let secret = made["password"].as_str().unwrap();
    let id = made["id"].as_str().unwrap();
    let listed = run(&["individual", "app-password", "list", registrar]);
    assert_eq!(listed[0]["label"], "phone");
    assert!(!listed.to_string().contains(secret));
    let log_in = |server| {
        let mut smtp = Smtp::stranger(&grapevine, server);
        smtp.log_in(registrar, secret).code
    };
    assert_eq!((log_in(0), log_in(1)), (235, 235));
    let mut pop = Pop::stranger(&grapevine, 1);
    pop.ok(&format!("USER {registrar}"));
    pop.ok(&format!("PASS {secret}"));
    let second = channel(&grapevine, 1);
    let app = by_password("registrar", secret);
    call(&second, app.clone(), show("birrell")).await.unwrap();
    let delete = Request::Delete {
        name: name("birrell"),
    };
    let password = Request::Change {
        name: name("registrar"),
        change: grapevine_model::EntryChange::Password(Secret("stolen account".into())),
    };
    let more = Request::AppPasswordCreate {
        name: name("registrar"),
        label: "more".into(),
        expires_ms: None,
    };
    let ticket = Request::TicketCreate { life_ms: None };
    for refused in [delete, password, more, ticket] {
        let refusal = call(&second, app.clone(), refused).await.unwrap_err();
        assert_eq!(refusal.kind, ErrorKind::NotAllowed);
    }
    // Nobody gives himself one that the server has not made.
    let own = grapevine_model::EntryChange::AppPasswordAdd(grapevine_model::AppPassword {
        id: "mine".into(),
        label: "mine".into(),
        digest: [0; 32],
        created_ms: 0,
        expires_ms: None,
    });
    let own = Request::Change {
        name: name("registrar"),
        change: own,
    };
    let main = by_password("registrar", &grapevine.password("registrar"));
    let refusal = call(&second, main, own).await.unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::Invalid);
    run(&["individual", "app-password", "remove", registrar, id]);
    wait_for("the app password to be gone at both servers", || {
        log_in(0) == 535 && log_in(1) == 535
    });
    grapevine.expect_no_errors();
}

#[tokio::test]
async fn guesses_at_three_doors_of_two_servers_count_together_and_a_lock_can_not_be_seen() {
    let grapevine = Grapevine::up(2);
    let (first, second) = (channel(&grapevine, 0), channel(&grapevine, 1));
    let guess = |n: usize| Request::Authenticate {
        name: name("birrell"),
        password: Secret(format!("guess {n}")),
        // What a client says here is not looked at.
        source: Source::Local,
    };
    // Both servers have checked the right password lately, and remember it: a lock is stronger.
    let password = grapevine.password("birrell");
    for channel in [&first, &second] {
        let caller = by_password("birrell", &password);
        call(channel, caller, show("birrell")).await.unwrap();
    }
    let mut answers = Vec::new();
    for n in 0..4 {
        let channel = if n % 2 == 0 { &first } else { &second };
        answers.push(
            call(channel, Caller::Connection, guess(n))
                .await
                .unwrap_err(),
        );
    }
    for n in 4..7 {
        let mut smtp = Smtp::stranger(&grapevine, n % 2);
        let reply = smtp.log_in("birrell@pa.example", &format!("guess {n}"));
        assert_eq!(reply.code, 535);
    }
    for n in 7..10 {
        let mut pop = Pop::stranger(&grapevine, n % 2);
        pop.ok("USER birrell@pa.example");
        assert!(pop.command(&format!("PASS guess {n}")).starts_with("-ERR"));
    }
    // Ten were wrong: now the right one is refused, in the same words, at each door of each server.
    // (New connections: while this thread was busy with the old protocols, nobody kept the others alive.)
    let (first, second) = (channel(&grapevine, 0), channel(&grapevine, 1));
    for channel in [&first, &second] {
        let right = call(channel, by_password("birrell", &password), show("birrell")).await;
        answers.push(right.unwrap_err());
    }
    let unknown = call(&first, by_password("nobody", "x"), show("birrell")).await;
    answers.push(unknown.unwrap_err());
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    for server in 0..2 {
        let mut smtp = Smtp::stranger(&grapevine, server);
        assert_eq!(smtp.log_in("birrell@pa.example", &password).code, 535);
    }
    // Nobody else is touched.
    let needham = by_password("needham", &grapevine.password("needham"));
    call(&second, needham, show("needham")).await.unwrap();
    grapevine.expect_no_errors();
}

#[tokio::test]
async fn sessions_that_are_open_end_within_seconds_of_a_changed_password() {
    let grapevine = Grapevine::up(2);
    let mut mail = Smtp::submission(&grapevine, 0, "birrell");
    let other = Smtp::submission(&grapevine, 0, "needham");
    let letter = b"Subject: hi\r\n\r\nhi\r\n";
    let sent = mail.data("birrell@pa.example", "birrell@pa.example", letter);
    assert_eq!(sent.code, 250);
    let mut pop = None;
    wait_for("the message in the inbox", || {
        let mut opened = Pop::open(&grapevine, 1, "birrell");
        let there = opened.count() == 1;
        pop = Some(opened);
        there
    });
    let mut pop = pop.unwrap();
    passwd(&grapevine, "birrell", "quite another one");
    let begun = std::time::Instant::now();
    wait_for("the submission session to be refused", || {
        let refused = mail.command("MAIL FROM:<birrell@pa.example>").code == 535;
        if !refused {
            mail.command("RSET");
        }
        refused
    });
    wait_for("the POP3 session to be refused", || {
        pop.try_retrieve(1).is_none()
    });
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(20),
        "the stated bound"
    );
    // Its neighbour goes on.
    let mut other = other;
    let sent = other.data("needham@pa.example", "needham@pa.example", letter);
    assert_eq!(sent.code, 250);
    grapevine.expect_no_errors();
}

#[test]
fn login_keeps_a_ticket_and_not_the_password() {
    let grapevine = Grapevine::up(2);
    let dir = grapevine.dir.to_str().unwrap();
    let password = grapevine.dir.join("passwords/birrell");
    let password = password.to_str().unwrap();
    let who = "birrell@pa.example";
    command(
        &grapevine,
        &["login", who, "--dir", dir, "--password-file", password],
    );
    let file = grapevine.dir.join("config/login.json");
    let saved = std::fs::read_to_string(file).unwrap();
    assert!(!saved.contains(&grapevine.password("birrell")));
    assert!(saved.contains("gvt1_"));
    command(&grapevine, &["individual", "show", who]);
    grapevine.kill(0);
    command(&grapevine, &["individual", "show", who]);
}
