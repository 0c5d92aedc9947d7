//! Ordinary mail programs at a server's doors: what curl, swaks, Python and Rust's own clients do with SMTP and POP3.
//!
//! Each sends messages and fetches them again, over STARTTLS/STLS and over TLS from the first byte, and checks the certificate. A
//! program that is not there is passed over with a word: `.ci/run` sees to it that all are.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by the doors' own tests and those of the whole server"
)]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Where a server's doors are, and who is known there.
#[derive(Clone, Debug)]
pub struct Site {
    /// Ports on the loopback address.
    pub submission: u16,
    pub submissions: u16,
    pub pop3: u16,
    pub pop3s: u16,
    /// The certificate that signs the doors'.
    pub ca: PathBuf,
    /// Who sends, and gets what is sent.
    pub name: String,
    pub password: String,
    /// For scratch files.
    pub dir: PathBuf,
}

/// Whether a program is on this machine.
pub fn is_here(program: &str) -> bool {
    let here = Command::new(program).arg("--version").output().is_ok();
    if !here {
        let in_the_gate = std::env::var_os("CI").is_some();
        assert!(!in_the_gate, "the gate needs {program}");
        eprintln!("passed over: there is no {program} here");
    }
    here
}

/// A message, its lines ended with CRLF.
pub fn message(subject: &str) -> Vec<u8> {
    format!(
        "From: a@b.example\r\nTo: c@d.example\r\nSubject: {subject}\r\n\r\n\
         first line\r\n.a dot\r\n..two dots\r\n.\r\n\r\nGr\u{fc}\u{df}e, 8-bit\r\n{}\r\nlast\r\n",
        "long ".repeat(180)
    )
    .into_bytes()
}

/// Whether `stored` is `sent` under the fields that the way has put before it. Some programs (lettre) put a CRLF before the dot that
/// ends a message whether there is one or not, so one more is let pass.
pub fn is_the_message(stored: &[u8], sent: &[u8]) -> bool {
    let ends = stored.ends_with(sent)
        || stored
            .strip_suffix(b"\r\n")
            .is_some_and(|less| less.ends_with(sent));
    ends && stored.starts_with(b"Received: ")
}

/// curl sends over STARTTLS and over TLS.
pub fn curl_sends(site: &Site, subjects: [&str; 2]) {
    let [clear, tls] = subjects;
    for (subject, url, more) in [
        (
            clear,
            format!("smtp://localhost:{}/client.example", site.submission),
            "--ssl-reqd",
        ),
        (
            tls,
            format!("smtps://localhost:{}/client.example", site.submissions),
            "--silent",
        ),
    ] {
        let file = site.dir.join(format!("{subject}.eml"));
        fs::write(&file, message(subject)).unwrap();
        let sent = curl(site, &url)
            .args([
                more,
                "--mail-from",
                &site.name,
                "--mail-rcpt",
                &site.name,
                "--upload-file",
            ])
            .arg(&file)
            .output()
            .unwrap();
        assert_done("curl", &sent);
    }
}

/// curl fetches a message over POP3 with STLS and over POP3S; both must be the same.
pub fn curl_fetches(site: &Site, number: usize) -> Vec<u8> {
    let mut fetched = Vec::new();
    for (url, more) in [
        (
            format!("pop3://localhost:{}/{number}", site.pop3),
            "--ssl-reqd",
        ),
        (
            format!("pop3s://localhost:{}/{number}", site.pop3s),
            "--silent",
        ),
    ] {
        let got = curl(site, &url).arg(more).output().unwrap();
        assert_done("curl", &got);
        fetched.push(got.stdout);
    }
    assert!(
        fetched[0] == fetched[1],
        "STLS and TLS give different bytes"
    );
    fetched.remove(0)
}

/// curl with a wrong password is told so (its exit code 67).
pub fn curl_is_refused(site: &Site) {
    let stranger = Site {
        password: "wrong".into(),
        ..site.clone()
    };
    let url = format!("pop3s://localhost:{}/", site.pop3s);
    let got = curl(&stranger, &url).output().unwrap();
    assert_eq!(got.status.code(), Some(67), "{}", text(&got));
}

fn curl(site: &Site, url: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
        .arg(&site.ca)
        .arg("--user")
        .arg(format!("{}:{}", site.name, site.password))
        .arg(url);
    curl
}

/// swaks sends over STARTTLS with AUTH PLAIN and over TLS with AUTH LOGIN.
pub fn swaks_sends(site: &Site, subjects: [&str; 2]) {
    let [clear, tls] = subjects;
    for (subject, port, mode, mechanism) in [
        (clear, site.submission, "--tls", "PLAIN"),
        (tls, site.submissions, "--tls-on-connect", "LOGIN"),
    ] {
        let file = site.dir.join(format!("{subject}.eml"));
        fs::write(&file, message(subject)).unwrap();
        let sent = Command::new("swaks")
            .args(["--server", "127.0.0.1", "--port", &port.to_string(), mode])
            .args(["--auth", mechanism, "--auth-user", &site.name])
            .args(["--auth-password", &site.password])
            .args([
                "--helo",
                "client.example",
                "--from",
                &site.name,
                "--to",
                &site.name,
            ])
            .arg("--data")
            .arg(&file)
            .output()
            .unwrap();
        assert_done("swaks", &sent);
        assert!(
            text(&sent).contains("250 2.0.0 Accepted as"),
            "{}",
            text(&sent)
        );
    }
}

const PYTHON_SENDS: &str = r#"
import smtplib, ssl, sys
submission, submissions, ca, name, password, first, second = sys.argv[1:8]
trust = ssl.create_default_context(cafile=ca)
def send(smtp, path):
    smtp.login(name, password)
    refused = smtp.sendmail(name, [name, 'nobody-of-that-name@' + name.split('@')[1]], open(path, 'rb').read(), mail_options=['BODY=8BITMIME'])
    assert [code for code, _ in refused.values()] == [550], refused
    smtp.quit()
smtp = smtplib.SMTP('localhost', int(submission), timeout=60)
try:
    smtp.login(name, password)
    raise SystemExit('a password before TLS')
except (smtplib.SMTPNotSupportedError, smtplib.SMTPAuthenticationError):
    pass
smtp.starttls(context=trust)
send(smtp, first)
send(smtplib.SMTP_SSL('localhost', int(submissions), timeout=60, context=trust), second)
wrong = smtplib.SMTP_SSL('localhost', int(submissions), timeout=60, context=trust)
try:
    wrong.login(name, 'wrong')
    raise SystemExit('a wrong password')
except smtplib.SMTPAuthenticationError as error:
    assert error.smtp_code == 535, error
"#;

/// smtplib sends over STARTTLS and over TLS, to one that is there and one that is not; and not with a wrong password.
pub fn python_sends(site: &Site, subjects: [&str; 2]) {
    let files = subjects.map(|subject| {
        let file = site.dir.join(format!("{subject}.eml"));
        fs::write(&file, message(subject)).unwrap();
        file
    });
    let sent = python(site, PYTHON_SENDS, [site.submission, site.submissions])
        .args(files)
        .output()
        .unwrap();
    assert_done("python3", &sent);
}

const PYTHON_FETCHES: &str = r#"
import os, poplib, ssl, sys
pop3, pop3s, ca, name, password, folder = sys.argv[1:7]
trust = ssl.create_default_context(cafile=ca)
poplib._MAXLINE = 1 << 20
clear = poplib.POP3('localhost', int(pop3), timeout=60)
assert 'STLS' in clear.capa() and 'USER' not in clear.capa(), clear.capa()
clear.stls(context=trust)
tls = poplib.POP3_SSL('localhost', int(pop3s), timeout=60, context=trust)
seen = []
for pop in (clear, tls):
    pop.user(name)
    pop.pass_(password)
    count, octets = pop.stat()
    assert count == len(pop.list()[1]), 'STAT and LIST'
    uids = [line.split()[1] for line in pop.uidl()[1]]
    assert len(set(uids)) == count
    bodies = []
    for number in range(1, count + 1):
        _, lines, size = pop.retr(number)
        bodies.append(b''.join(line + b'\r\n' for line in lines))
        top = pop.top(number, 0)[1]
        assert lines[:len(top)] == top, 'TOP'
    assert octets == sum(map(len, bodies)), 'sizes'
    seen.append((uids, bodies))
    pop.quit()
assert seen[0] == seen[1], 'STLS and TLS'
for number, body in enumerate(seen[0][1]):
    with open(os.path.join(folder, '%06d.fetched' % number), 'wb') as file:
        file.write(body)
"#;

/// poplib fetches all there is, over STLS and over TLS.
pub fn python_fetches(site: &Site) -> Vec<Vec<u8>> {
    let folder = site.dir.join("python");
    fs::create_dir_all(&folder).unwrap();
    let got = python(site, PYTHON_FETCHES, [site.pop3, site.pop3s])
        .arg(&folder)
        .output()
        .unwrap();
    assert_done("python3", &got);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn python(site: &Site, script: &str, ports: [u16; 2]) -> Command {
    let file = site.dir.join(format!("{}.py", script.len()));
    let mut written = fs::File::create(&file).unwrap();
    written.write_all(script.as_bytes()).unwrap();
    let mut python = Command::new("python3");
    python
        .arg(&file)
        .args(ports.map(|port| port.to_string()))
        .arg(&site.ca)
        .args([&site.name, &site.password]);
    python
}

/// The crate `lettre` sends over STARTTLS and over TLS.
pub fn lettre_sends(site: &Site, subjects: [&str; 2]) {
    use lettre::transport::smtp::client::Tls;

    let [clear, direct] = subjects;
    let tls = lettre_tls(site);
    lettre_sends_by(
        site,
        site.submission,
        Tls::Required(tls.clone()),
        &site.name,
        clear,
    );
    lettre_sends_by(
        site,
        site.submissions,
        Tls::Wrapper(tls),
        &site.name,
        direct,
    );
}

/// The crate `lettre` sends to somebody.
pub fn lettre_sends_to(site: &Site, to: &str, subject: &str) {
    use lettre::transport::smtp::client::Tls;

    lettre_sends_by(
        site,
        site.submission,
        Tls::Required(lettre_tls(site)),
        to,
        subject,
    );
}

fn lettre_tls(site: &Site) -> lettre::transport::smtp::client::TlsParameters {
    use lettre::transport::smtp::client::{Certificate, TlsParameters};

    let ca = Certificate::from_pem(&fs::read(&site.ca).unwrap()).unwrap();
    TlsParameters::builder("localhost".into())
        .add_root_certificate(ca)
        .build_rustls()
        .unwrap()
}

fn lettre_sends_by(
    site: &Site,
    port: u16,
    tls: lettre::transport::smtp::client::Tls,
    to: &str,
    subject: &str,
) {
    use lettre::transport::smtp::authentication::Credentials;
    use lettre::{SmtpTransport, Transport as _};

    let addresses = [site.name.parse().unwrap(), to.parse().unwrap()];
    let [from, to] = addresses;
    let envelope = lettre::address::Envelope::new(Some(from), vec![to]).unwrap();
    let transport = SmtpTransport::builder_dangerous("localhost")
        .port(port)
        .tls(tls)
        .credentials(Credentials::new(site.name.clone(), site.password.clone()))
        .build();
    let response = transport.send_raw(&envelope, &message(subject)).unwrap();
    assert!(response.is_positive(), "{response:?}");
}

/// The crate `rust-pop3-client` fetches all there is.
pub fn rust_pop3_fetches(site: &Site) -> Vec<Vec<u8>> {
    use rust_pop3_client::{Pop3Connection as _, Pop3ConnectionFactory};
    use rustls_pki_types::pem::PemObject as _;

    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls_pki_types::CertificateDer::from_pem_file(&site.ca).unwrap();
    roots.add(ca).unwrap();
    let mut pop = Pop3ConnectionFactory::with_custom_certs("localhost", site.pop3s, roots).unwrap();
    pop.login(&site.name, &site.password).unwrap();
    let count = pop.stat().unwrap().message_count;
    let ids = pop.list_unique_ids().unwrap();
    assert_eq!(ids.len(), count as usize);
    (1..=count)
        .map(|number| {
            let mut body = Vec::new();
            pop.retrieve(number, &mut body).unwrap();
            // It writes lines as Unix has them.
            let text = String::from_utf8(body).unwrap();
            text.replace('\n', "\r\n").into_bytes()
        })
        .collect()
}

fn assert_done(program: &str, output: &Output) {
    assert!(output.status.success(), "{program}: {}", text(output));
}

fn text(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Every program sends: the subjects of what was sent.
pub fn all_programs_send(site: &Site) -> Vec<&'static str> {
    let mut sent = vec!["lettre-clear", "lettre-tls"];
    lettre_sends(site, ["lettre-clear", "lettre-tls"]);
    if is_here("curl") {
        curl_sends(site, ["curl-clear", "curl-tls"]);
        curl_is_refused(site);
        sent.extend(["curl-clear", "curl-tls"]);
    }
    if is_here("swaks") {
        swaks_sends(site, ["swaks-clear", "swaks-tls"]);
        sent.extend(["swaks-clear", "swaks-tls"]);
    }
    if is_here("python3") {
        python_sends(site, ["python-clear", "python-tls"]);
        sent.extend(["python-clear", "python-tls"]);
    }
    sent
}

/// Every program fetches what all have sent: each message once, and the same bytes for all of them.
pub fn all_programs_fetch(site: &Site, sent: &[&str]) {
    let fetched = rust_pop3_fetches(site);
    assert_eq!(fetched.len(), sent.len());
    for subject in sent {
        let whole = message(subject);
        let found = fetched.iter().filter(|body| is_the_message(body, &whole));
        let all = fetched.concat();
        assert_eq!(found.count(), 1, "{subject} in {}", all.escape_ascii());
    }
    if is_here("python3") {
        assert!(python_fetches(site) == fetched, "poplib got other bytes");
    }
    if is_here("curl") {
        for (index, body) in fetched.iter().enumerate() {
            let got = curl_fetches(site, index + 1);
            assert!(got == *body, "curl got other bytes");
        }
    }
}
