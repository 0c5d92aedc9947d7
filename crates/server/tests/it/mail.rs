//! Mail through the front doors, with clients that nobody here wrote.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;

use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::grapevine::{Grapevine, LIMIT, wait_for};

/// Sends from birrell to needham through a server's submission door.
fn send(grapevine: &Grapevine, server: usize, subject: &str) {
    let door = grapevine.doors(server)["submission"].clone();
    let port = door.rsplit_once(':').unwrap().1.parse().unwrap();
    let ca = fs::read(grapevine.dir.join("ca.pem")).unwrap();
    let tls = TlsParameters::builder("localhost".to_owned())
        .add_root_certificate(Certificate::from_pem(&ca).unwrap())
        .build()
        .unwrap();
    let birrell = "birrell@pa.example".to_owned();
    let mailer = SmtpTransport::builder_dangerous("localhost")
        .port(port)
        .tls(Tls::Required(tls))
        .credentials(Credentials::new(birrell, grapevine.password("birrell")))
        .timeout(Some(LIMIT))
        .build();
    let message = Message::builder()
        .from("birrell@pa.example".parse().unwrap())
        .to("needham@pa.example".parse().unwrap())
        .subject(subject)
        .header(ContentType::TEXT_PLAIN)
        .body("An exercise in distributed computing.\r\n".to_owned())
        .unwrap();
    mailer.send(&message).unwrap();
}

/// All messages in needham's inbox, as a server's POP3S door has them.
fn read(grapevine: &Grapevine, server: usize) -> Vec<String> {
    let mut pop = Pop::connect(grapevine, &grapevine.doors(server)["pop3s"]);
    pop.ok("USER needham@pa.example");
    let password = grapevine.password("needham");
    pop.ok(&format!("PASS {password}"));
    let stat = pop.ok("STAT");
    let count: usize = stat.split(' ').nth(1).unwrap().parse().unwrap();
    let messages = (1..=count)
        .map(|n| {
            pop.ok(&format!("RETR {n}"));
            pop.lines()
        })
        .collect();
    pop.ok("QUIT");
    messages
}

struct Pop {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Pop {
    fn connect(grapevine: &Grapevine, at: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(grapevine.dir.join("ca.pem")).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut pop = Self {
            stream: BufReader::new(StreamOwned::new(tls, stream)),
        };
        assert!(pop.line().starts_with("+OK"));
        pop
    }

    fn ok(&mut self, command: &str) -> String {
        write!(self.stream.get_mut(), "{command}\r\n").unwrap();
        let answer = self.line();
        assert!(answer.starts_with("+OK"), "{answer}");
        answer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    fn lines(&mut self) -> String {
        let mut all = String::new();
        loop {
            let line = self.line();
            if line == ".\r\n" {
                return all;
            }
            all.push_str(&line);
        }
    }
}

#[test]
fn mail_sent_at_one_server_is_read_at_the_other() {
    let grapevine = Grapevine::up(2);
    send(&grapevine, 0, "to the other");
    for server in [1, 0] {
        wait_for("the message", || {
            let messages = read(&grapevine, server);
            messages.len() == 1 && messages[0].contains("Subject: to the other")
        });
    }
    grapevine.expect_no_errors();
}

#[test]
fn mail_accepted_by_a_server_that_dies_at_once_is_read_at_the_other() {
    let grapevine = Grapevine::up(2);
    send(&grapevine, 0, "from the grave");
    grapevine.kill(0);
    wait_for("the message", || {
        let messages = read(&grapevine, 1);
        messages.len() == 1 && messages[0].contains("Subject: from the grave")
    });
    send(&grapevine, 1, "and life goes on");
    wait_for("the second message", || read(&grapevine, 1).len() == 2);
}
