//! A mailbox by IMAP through a client that nobody here wrote (the crate `async-imap`): at both servers of a pair in turn, told by IDLE of
//! what was deposited at the other one, and going on at the other one when its own is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_imap::error::Error;
use async_imap::extensions::idle::IdleResponse;
use async_imap::imap_proto::{MailboxDatum, Response};
use async_imap::types::{Flag, Mailbox};
use async_imap::{Client, Session};
use futures_util::TryStreamExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::grapevine::{Grapevine, LIMIT};
use crate::wire::Smtp;

type Imap = Session<TlsStream<TcpStream>>;

const BIRRELL: &str = "birrell@pa.example";
/// Between two tries at a server that takes over.
const AGAIN: Duration = Duration::from_millis(200);

/// A mail as a program keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    flags: Vec<String>,
    body: Vec<u8>,
}

async fn connect(grapevine: &Grapevine, server: usize) -> Client<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(grapevine.dir.join("ca.pem")).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(&grapevine.doors(server)["imaps"])
        .await
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let mut client = Client::new(stream);
    client.read_response().await.unwrap().unwrap();
    client
}

async fn open(grapevine: &Grapevine, server: usize) -> Imap {
    let password = grapevine.password("birrell");
    let client = connect(grapevine, server).await;
    client
        .login(BIRRELL, password)
        .await
        .map_err(|(error, _)| error)
        .unwrap()
}

/// Opens a folder; while another server takes the mailbox over, it is asked again, as a program does.
async fn select(imap: &mut Imap, folder: &str) -> Mailbox {
    let until = Instant::now() + LIMIT;
    loop {
        match imap.select(folder).await {
            Ok(mailbox) => return mailbox,
            Err(Error::No(why)) => assert!(Instant::now() < until, "{folder}: {why}"),
            Err(error) => panic!("{folder}: {error}"),
        }
        sleep(AGAIN).await;
    }
}

/// All of a folder by number, and its UIDVALIDITY.
async fn all(imap: &mut Imap, folder: &str) -> (u32, BTreeMap<u32, Kept>) {
    let opened = select(imap, folder).await;
    let mut kept = BTreeMap::new();
    if opened.exists > 0 {
        let fetched = imap
            .uid_fetch("1:*", "(UID FLAGS BODY.PEEK[])")
            .await
            .unwrap();
        for mail in fetched.try_collect::<Vec<_>>().await.unwrap() {
            let mut flags: Vec<_> = mail
                .flags()
                .filter(|flag| *flag != Flag::Recent)
                .map(|flag| format!("{flag:?}"))
                .collect();
            flags.sort();
            let body = mail.body().unwrap().to_vec();
            let before = kept.insert(mail.uid.unwrap(), Kept { flags, body });
            assert!(before.is_none(), "a number twice");
        }
    }
    assert_eq!(kept.len(), opened.exists as usize);
    (opened.uid_validity.unwrap(), kept)
}

fn bodies(kept: &BTreeMap<u32, Kept>) -> Vec<&[u8]> {
    kept.values().map(|mail| mail.body.as_slice()).collect()
}

fn only(kept: &BTreeMap<u32, Kept>, body: &[u8]) -> u32 {
    let found: Vec<_> = kept
        .iter()
        .filter(|(_, mail)| mail.body == body)
        .map(|(uid, _)| *uid)
        .collect();
    assert_eq!(found.len(), 1, "of one mail there is one");
    found[0]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// What a mail may have in it: no end of line at its end, lone CRs and LFs, all octets but NUL (that is for BINARY), long lines, a name that needs quoting.
fn odd_mails() -> Vec<Vec<u8>> {
    let head = |subject: &str| format!("From: a@b.example\r\nSubject: {subject}\r\n\r\n");
    let octets: Vec<u8> = (1..=255).collect();
    vec![
        [head("plain").as_bytes(), b"one line\r\n"].concat(),
        [head("octets").as_bytes(), &octets].concat(),
        [head("lone").as_bytes(), b"a\rb\nc\r\r\n\n* BAD )\r\n.\r\n"].concat(),
        [head("long").as_bytes(), &b"x".repeat(300_000)].concat(),
    ]
}

#[test]
fn a_rust_client_works_in_one_mailbox_at_both_servers_byte_for_byte() {
    let grapevine = Grapevine::up(2);
    runtime().block_on(async {
        let stranger = connect(&grapevine, 0).await;
        let (refused, _) = stranger.login(BIRRELL, "wrong").await.unwrap_err();
        assert!(matches!(&refused, Error::No(_)), "{refused}");

        let mut one = open(&grapevine, 0).await;
        let mut two = open(&grapevine, 1).await;
        let able = one.capabilities().await.unwrap();
        for word in ["IMAP4rev1", "IDLE", "MOVE", "UIDPLUS", "CONDSTORE"] {
            assert!(able.has_str(word), "{word}");
        }
        let sent = odd_mails();
        for (n, mail) in sent.iter().enumerate() {
            let imap = if n % 2 == 0 { &mut one } else { &mut two };
            imap.append("INBOX", None, None, mail).await.unwrap();
        }
        let (validity, at_two) = all(&mut two, "INBOX").await;
        assert!(
            bodies(&at_two) == sent,
            "not what was appended, in its order"
        );
        assert!(all(&mut one, "INBOX").await == (validity, at_two.clone()));

        // Flags, of both servers, each by itself.
        let plain = only(&at_two, &sent[0]).to_string();
        for (imap, flags) in [
            (&mut one, "+FLAGS (\\Flagged $Work)"),
            (&mut two, "+FLAGS (\\Seen)"),
        ] {
            let told: Vec<_> = imap
                .uid_store(&plain, flags)
                .await
                .unwrap()
                .try_collect()
                .await
                .unwrap();
            assert_eq!(told.len(), 1, "{told:?}");
        }
        let (_, flagged) = all(&mut one, "INBOX").await;
        let flags = &flagged[&plain.parse().unwrap()].flags;
        assert_eq!(flags, &["Custom(\"$Work\")", "Flagged", "Seen"]);

        // A folder made at one, filled at the other.
        one.create("Work/Old").await.unwrap();
        two.uid_mv(&plain, "Work/Old").await.unwrap();
        let octets = only(&flagged, &sent[1]).to_string();
        two.uid_copy(&octets, "Work/Old").await.unwrap();
        let (_, left) = all(&mut one, "INBOX").await;
        assert!(bodies(&left) == sent[1..], "what was moved is not there");
        let (old_validity, old) = all(&mut one, "Work/Old").await;
        assert!(bodies(&old) == sent[..2]);
        assert_eq!(old.values().next().unwrap().flags, *flags);
        assert!(all(&mut two, "Work/Old").await == (old_validity, old));

        // What is expunged at one is gone at the other.
        let gone = only(&left, &sent[2]).to_string();
        select(&mut one, "INBOX").await;
        let _told: Vec<_> = one
            .uid_store(&gone, "+FLAGS (\\Deleted)")
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let told: Vec<_> = one
            .uid_expunge(&gone)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(bodies(&all(&mut two, "INBOX").await.1) == [&sent[1][..], &sent[3]]);
        one.logout().await.unwrap();
        two.logout().await.unwrap();
    });
    grapevine.expect_no_errors();
}

#[test]
fn a_rust_client_is_told_while_idle_of_a_deposit_at_the_other_server() {
    let grapevine = Grapevine::up(2);
    runtime().block_on(async {
        for (server, had) in [(0, 0), (1, 1)] {
            let mut imap = open(&grapevine, server).await;
            assert_eq!(select(&mut imap, "INBOX").await.exists, had);
            let mut idle = imap.idle();
            idle.init().await.unwrap();
            let mut smtp = Smtp::submission(&grapevine, 1 - server, "needham");
            let mail = b"From: needham@pa.example\r\nSubject: news\r\n\r\nnews\r\n";
            let taken = smtp.data("needham@pa.example", BIRRELL, mail);
            assert_eq!(taken.code, 250, "{taken:?}");
            let until = Instant::now() + LIMIT;
            loop {
                assert!(Instant::now() < until, "IDLE was told of nothing");
                let (told, _stop) = idle.wait_with_timeout(LIMIT);
                let IdleResponse::NewData(told) = told.await.unwrap() else {
                    panic!("IDLE ended")
                };
                let wanted = had + 1;
                if matches!(told.parsed(), Response::MailboxData(MailboxDatum::Exists(n)) if *n == wanted) {
                    break;
                }
            }
            // And the session goes on.
            let mut imap = idle.done().await.unwrap();
            let found = imap.uid_search("SUBJECT news").await.unwrap();
            assert_eq!(found.len(), had as usize + 1);
            imap.logout().await.unwrap();
        }
    });
    grapevine.expect_no_errors();
}

/// A program that keeps what it has by number, before and after.
fn goes_on_when_is_killed(killed: usize) {
    let grapevine = Grapevine::up(2);
    let left = 1 - killed;
    runtime().block_on(async {
        let mut imap = open(&grapevine, killed).await;
        imap.create("Archive").await.unwrap();
        let mut sent = odd_mails();
        for mail in &sent {
            imap.append("INBOX", Some("(\\Seen)"), None, mail)
                .await
                .unwrap();
        }
        select(&mut imap, "INBOX").await;
        imap.mv("2", "Archive").await.unwrap();
        let inbox = all(&mut imap, "INBOX").await;
        let archive = all(&mut imap, "Archive").await;
        assert_eq!((inbox.1.len(), archive.1.len()), (sent.len() - 1, 1));
        let idle = {
            let mut idle = imap.idle();
            idle.init().await.unwrap();
            idle
        };
        grapevine.kill(killed);
        // The program hears that the connection has ended, and not that mails have.
        let mut idle = idle;
        let ended = timeout(LIMIT, idle.wait().0).await.unwrap();
        assert!(!matches!(ended, Ok(IdleResponse::NewData(_))), "{ended:?}");

        let mut imap = open(&grapevine, left).await;
        assert!(
            all(&mut imap, "INBOX").await == inbox,
            "INBOX is another one"
        );
        assert!(
            all(&mut imap, "Archive").await == archive,
            "Archive is another one"
        );
        // It goes on, with numbers above all that it has seen.
        let highest = *inbox.1.keys().chain(archive.1.keys()).max().unwrap();
        let more = b"Subject: more\r\n\r\nmore\r\n".to_vec();
        imap.append("INBOX", None, None, &more).await.unwrap();
        let (validity, after) = all(&mut imap, "INBOX").await;
        assert_eq!(validity, inbox.0);
        assert!(only(&after, &more) > highest);
        sent.remove(1);
        sent.push(more);
        assert!(bodies(&after) == sent, "lost, doubled or in another order");
        imap.logout().await.unwrap();
    });
}

#[test]
fn a_rust_client_goes_on_at_the_second_server_when_the_first_is_killed() {
    goes_on_when_is_killed(0);
}

#[test]
fn a_rust_client_goes_on_at_the_first_server_when_the_second_is_killed() {
    goes_on_when_is_killed(1);
}
