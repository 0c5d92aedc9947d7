//! SCRAM-SHA-256 by a client that nobody here wrote (Python's scramp, over smtplib and poplib), at both servers of a pair.
//!
//! Where it is not there the test is passed over with a word (`.ci/run` fetches it where it can).

use std::process::{Command, Output};

use grapevine_model::{Name, PolicyChange, Reply, Request, ScramPolicy};
use grapevine_rpc::Caller;

use crate::grapevine::{Grapevine, stderr, wait_for};
use crate::logins::{by_password, call, channel, passwd, show};
use crate::wire::Smtp;

/// Sends a message and counts those in the inbox; what goes wrong ends it with the server's words.
const PROGRAM: &str = r#"
import base64, poplib, smtplib, ssl, sys
from scramp import ScramClient
submission, pop3s, ca, name, password = sys.argv[1:]
tls = ssl.create_default_context(cafile=ca)

def dialogue():
    client = ScramClient(["SCRAM-SHA-256"], name, password)
    said = 0
    def step(challenge=None):
        nonlocal said
        said += 1
        if said == 1:
            return client.get_client_first()
        if said == 2:
            client.set_server_first(challenge.decode())
            return client.get_client_final()
        client.set_server_final(challenge.decode())
        return ""
    return step

with smtplib.SMTP("localhost", int(submission)) as smtp:
    smtp.starttls(context=tls)
    smtp.ehlo()
    assert "SCRAM-SHA-256" in smtp.esmtp_features["auth"].split(), smtp.esmtp_features
    step = dialogue()
    smtp.auth("SCRAM-SHA-256", lambda challenge=None: step(challenge))
    smtp.sendmail(name, [name], "Subject: by scram\r\n\r\nhi\r\n")

pop = poplib.POP3_SSL("localhost", int(pop3s), context=tls)
assert "SCRAM-SHA-256" in pop.capa()["SASL"], pop.capa()
step = dialogue()
answer = pop._shortcmd("AUTH SCRAM-SHA-256 " + base64.b64encode(step().encode()).decode())
while answer.startswith(b"+ "):
    answer = pop._shortcmd(base64.b64encode(step(base64.b64decode(answer[2:])).encode()).decode())
assert answer.startswith(b"+OK"), answer
print(pop.stat()[0])
pop.quit()
"#;

fn scramp_is_here() -> bool {
    let import = Command::new("python3")
        .args(["-c", "import scramp"])
        .output();
    let here = import.is_ok_and(|output| output.status.success());
    if !here {
        eprintln!("passed over: Python's scramp is not here");
    }
    here
}

fn client(grapevine: &Grapevine, server: usize, password: &str) -> Output {
    let doors = grapevine.doors(server);
    let port = |door: &str| doors[door].rsplit_once(':').unwrap().1.to_owned();
    Command::new("python3")
        .args(["-c", PROGRAM])
        .args([port("submission"), port("pop3s")])
        .arg(grapevine.dir.join("ca.pem"))
        .args(["birrell@pa.example", password])
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_mail_program_logs_in_by_scram_at_both_servers_with_the_present_password_only() {
    if !scramp_is_here() {
        return;
    }
    let grapevine = Grapevine::up(2);
    let first = channel(&grapevine, 0);
    let password = grapevine.password("birrell");
    let offers = |server| {
        let mut smtp = Smtp::stranger(&grapevine, server);
        smtp.command("EHLO a.example")
            .text
            .contains("SCRAM-SHA-256")
    };
    assert!(!offers(0) && !offers(1), "off unless a registry wants it");
    let on = Request::RegistryPolicy {
        registry: "pa.example".parse().unwrap(),
        change: PolicyChange::Scram(ScramPolicy::On),
    };
    let registrar = by_password("registrar", &grapevine.password("registrar"));
    let done = call(&first, registrar, on).await.unwrap();
    assert!(matches!(done, Reply::Written(_)), "{done:?}");
    wait_for("SCRAM to be offered at both servers", || {
        offers(0) && offers(1)
    });
    // The first login by password makes what SCRAM needs.
    let who: Name = "birrell@pa.example".parse().unwrap();
    assert_eq!(show("birrell"), Request::Show { name: who });
    let by_hand: Caller = by_password("birrell", &password);
    call(&first, by_hand, show("birrell")).await.unwrap();
    for server in 0..2 {
        wait_for("a login by SCRAM", || {
            let output = client(&grapevine, server, &password);
            if !output.status.success() {
                eprintln!("{}", stderr(&output));
            }
            output.status.success()
        });
    }
    let wrong = client(&grapevine, 0, "not the password");
    assert!(stderr(&wrong).contains("5.7.8"), "{}", stderr(&wrong));
    // A password that was set serves at once; the old one is dead.
    passwd(&grapevine, "birrell", "quite another one");
    let old = client(&grapevine, 0, &password);
    assert!(stderr(&old).contains("5.7.8"), "{}", stderr(&old));
    for server in 0..2 {
        wait_for("the new password to serve", || {
            client(&grapevine, server, "quite another one")
                .status
                .success()
        });
    }
    grapevine.expect_no_errors();
}
