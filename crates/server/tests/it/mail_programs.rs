//! A pair of servers and the mail programs that people have: what goes in at one comes out at both, the same for all.
//!
//! In the gate all programs must be there; elsewhere one that is not is passed over with a word.

use crate::grapevine::{Grapevine, wait_for};
use crate::mail_clients::{self, Site};

/// What `.ci/run` installs.
const PROGRAMS: [&str; 3] = ["curl", "swaks", "python3"];
/// Each sends two messages: over STARTTLS, and over TLS from the first byte.
const MESSAGES_EACH: usize = 2;

#[test]
fn all_mail_programs_send_at_one_server_and_fetch_at_both() {
    let here = PROGRAMS.map(mail_clients::is_here);
    if std::env::var_os("CI").is_some() {
        assert_eq!(here, [true; 3], "of {PROGRAMS:?}: the gate needs all");
    }
    let grapevine = Grapevine::up(2);
    let sites = [0, 1].map(|server| birrell_at(&grapevine, server));
    let sent = mail_clients::all_programs_send(&sites[0]);
    // lettre is always here.
    let programs = 1 + here.iter().filter(|here| **here).count();
    assert_eq!(sent.len(), programs * MESSAGES_EACH);
    for site in &sites {
        wait_for("all messages", || {
            mail_clients::rust_pop3_fetches(site).len() == sent.len()
        });
        mail_clients::all_programs_fetch(site, &sent);
    }
    grapevine.expect_no_errors();
}

/// birrell's programs at one server.
pub(crate) fn birrell_at(grapevine: &Grapevine, server: usize) -> Site {
    let doors = grapevine.doors(server);
    let port = |door: &str| doors[door].rsplit_once(':').unwrap().1.parse().unwrap();
    let dir = grapevine.dir.join(format!("programs-{server}"));
    std::fs::create_dir_all(&dir).unwrap();
    Site {
        submission: port("submission"),
        submissions: port("submissions"),
        pop3: port("pop3"),
        pop3s: port("pop3s"),
        ca: grapevine.dir.join("ca.pem"),
        name: "birrell@pa.example".into(),
        password: grapevine.password("birrell"),
        dir,
    }
}
