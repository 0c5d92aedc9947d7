//! SCRAM-SHA-256-PLUS at both doors for mail programs: a login that is bound to its TLS channel, by a client of our own, and what an
//! attacker between two channels would try.

use grapevine_model::{PolicyChange, Reply, Request, ScramPolicy};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::grapevine::{Grapevine, wait_for};
use crate::logins::{by_password, call, channel, show};
use crate::wire::{Pop, Smtp};

const WHO: &str = "birrell@pa.example";
const NONCE: &str = "a-nonce-of-the-client";

/// A connection to either door: a line to it, a line from it.
trait Door {
    fn say(&mut self, line: &str) -> String;
    fn values(&self) -> [[u8; 32]; 2];
}

impl Door for Smtp {
    fn say(&mut self, line: &str) -> String {
        self.command(line).text
    }
    fn values(&self) -> [[u8; 32]; 2] {
        self.channel()
    }
}

impl Door for Pop {
    fn say(&mut self, line: &str) -> String {
        self.command(line)
    }
    fn values(&self) -> [[u8; 32]; 2] {
        self.channel()
    }
}

fn coded(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

fn hmac(key: &[u8], of: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(of);
    mac.finalize().into_bytes().into()
}

/// A dialogue to its last line; what the client binds to is as given, whatever the channel is.
fn dialogue(
    door: &mut impl Door,
    mechanism: &str,
    header: &str,
    value: &[u8],
    password: &str,
) -> String {
    let bare = format!("n={WHO},r={NONCE}");
    let first = coded(format!("{header}{bare}").as_bytes());
    let answer = door.say(&format!("AUTH {mechanism} {first}"));
    let Some(challenge) = answer
        .strip_prefix("334 ")
        .or_else(|| answer.strip_prefix("+ "))
    else {
        return answer;
    };
    let challenge = data_encoding::BASE64
        .decode(challenge.trim_end().as_bytes())
        .unwrap();
    let challenge = String::from_utf8(challenge).unwrap();
    let part = |key: &str| {
        challenge
            .split(',')
            .find_map(|part| part.strip_prefix(key))
            .unwrap()
    };
    let salt = data_encoding::BASE64.decode(part("s=").as_bytes()).unwrap();
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(
        password.as_bytes(),
        &salt,
        part("i=").parse().unwrap(),
        &mut salted,
    );
    let bound = coded(&[header.as_bytes(), value].concat());
    let unproved = format!("c={bound},r={}", part("r="));
    let said = format!("{bare},{challenge},{unproved}");
    let key = hmac(&salted, b"Client Key");
    let mut proof = hmac(&Sha256::digest(key), said.as_bytes());
    for (byte, key) in proof.iter_mut().zip(key) {
        *byte ^= key;
    }
    let last = format!("{unproved},p={}", coded(&proof));
    let answer = door.say(&coded(last.as_bytes()));
    let Some(theirs) = answer
        .strip_prefix("334 ")
        .or_else(|| answer.strip_prefix("+ "))
    else {
        return answer;
    };
    let signature = hmac(&hmac(&salted, b"Server Key"), said.as_bytes());
    let expected = coded(format!("v={}", coded(&signature)).as_bytes());
    assert_eq!(theirs.trim_end(), expected, "the server's own proof");
    door.say("")
}

const PLUS: &str = "SCRAM-SHA-256-PLUS";

fn is_in(answer: &str) -> bool {
    answer.starts_with("235") || answer.starts_with("+OK")
}

/// What holds at each door; `open` gives another connection to it.
fn tried<D: Door>(mut open: impl FnMut() -> D, password: &str) {
    for (header, which) in [("p=tls-exporter,,", 0), ("p=tls-server-end-point,,", 1)] {
        let mut door = open();
        let value = door.values()[which];
        let answer = dialogue(&mut door, PLUS, header, &value, password);
        assert!(is_in(&answer), "{header}: {answer}");
    }
    // Passed on by somebody in between: the client has bound it to the channel that it sees.
    let (elsewhere, mut door) = (open(), open());
    assert_ne!(elsewhere.values()[0], door.values()[0]);
    let value = elsewhere.values()[0];
    let answer = dialogue(&mut door, PLUS, "p=tls-exporter,,", &value, password);
    assert!(answer.contains("cannot be read"), "{answer}");
    // Who hides the offer is told on by a client that could have bound.
    let mut door = open();
    let answer = dialogue(&mut door, "SCRAM-SHA-256", "y,,", &[], password);
    assert!(answer.contains("Channel binding is offered"), "{answer}");
    // Not offered: the value of a channel of TLS 1.2.
    let mut door = open();
    let answer = dialogue(&mut door, PLUS, "p=tls-unique,,", &[1; 12], password);
    assert!(answer.contains("cannot be read"), "{answer}");
    // Who can't bind still logs in.
    let mut door = open();
    let answer = dialogue(&mut door, "SCRAM-SHA-256", "n,,", &[], password);
    assert!(is_in(&answer), "{answer}");
}

#[tokio::test]
async fn a_login_bound_to_its_channel_is_taken_and_one_of_another_channel_or_downgraded_is_not() {
    let grapevine = Grapevine::up(1);
    let first = channel(&grapevine, 0);
    let password = grapevine.password("birrell");
    let on = Request::RegistryPolicy {
        registry: "pa.example".parse().unwrap(),
        change: PolicyChange::Scram(ScramPolicy::On),
    };
    let registrar = by_password("registrar", &grapevine.password("registrar"));
    let done = call(&first, registrar, on).await.unwrap();
    assert!(matches!(done, Reply::Written(_)), "{done:?}");
    let by_hand = by_password("birrell", &password);
    call(&first, by_hand, show("birrell")).await.unwrap();
    tokio::task::spawn_blocking(move || {
        wait_for("channel binding to be offered", || {
            let mut smtp = Smtp::stranger(&grapevine, 0);
            smtp.command("EHLO a.example").text.contains(PLUS)
        });
        tried(|| Smtp::stranger(&grapevine, 0), &password);
        tried(|| Pop::stranger(&grapevine, 0), &password);
        grapevine.expect_no_errors();
    })
    .await
    .unwrap();
}
