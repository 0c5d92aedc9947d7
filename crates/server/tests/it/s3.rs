//! Real servers with their bodies at a service that speaks S3 (s3s-fs, which nobody here wrote), while that is slow, wrong, silent
//! or away.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use crate::grapevine::{Grapevine, wait_for};
use crate::pair::Process;
use crate::wire::{Pop, Smtp};

const FROM: &str = "birrell@pa.example";
const TO: &str = "needham@pa.example";
const KEY: &str = "AKIAGRAPEVINE";
const SECRET: &str = "a secret that is printed nowhere";
/// Well below what a reader waits for an archive, and far above what one needs.
const SLOW: Duration = Duration::from_secs(2);

const GOOD: u8 = 0;
const IS_SLOW: u8 = 1;
/// It takes connections and never answers.
const SILENT: u8 = 2;
/// It breaks connections off.
const AWAY: u8 = 3;

/// A service that speaks S3, on a folder with one bucket.
struct Service {
    endpoint: String,
    bucket: PathBuf,
    is: Arc<AtomicU8>,
    _runtime: tokio::runtime::Runtime,
}

impl Service {
    fn at(dir: &Path) -> Self {
        let bucket = dir.join("mail");
        fs::create_dir_all(&bucket).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let is = Arc::new(AtomicU8::new(GOOD));
        let mode = Arc::clone(&is);
        let bound = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(bound).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (service, mode) = (service.clone(), Arc::clone(&mode));
                tokio::spawn(async move {
                    match mode.load(Ordering::Relaxed) {
                        GOOD => {}
                        IS_SLOW => tokio::time::sleep(SLOW).await,
                        SILENT => std::future::pending().await,
                        _ => return,
                    }
                    let executor = hyper_util::rt::TokioExecutor::new();
                    let io = hyper_util::rt::TokioIo::new(socket);
                    let mut server = hyper_util::server::conn::auto::Builder::new(executor);
                    // Each request has a connection, and so its own share of what is wrong.
                    server.http1().keep_alive(false);
                    // A client that goes away is no failure.
                    let _ = server.serve_connection(io, service).await;
                });
            }
        });
        Self {
            endpoint,
            bucket,
            is,
            _runtime: runtime,
        }
    }

    fn is(&self, mode: u8) {
        self.is.store(mode, Ordering::Relaxed);
    }

    fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.bucket.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path),
                }
            }
        }
        found
    }
}

/// A server of the pair, started again with an archive.
fn with_archive(grapevine: &Grapevine, server: usize, service: &Service) -> Process {
    grapevine.kill(server);
    let dir = grapevine.dir.join(format!("s{}", server + 1));
    let keys = format!("access_key_id = \"{KEY}\"\nsecret_access_key = \"{SECRET}\"\n");
    fs::write(dir.join("keys.toml"), keys).unwrap();
    let file = dir.join("grapevine.toml");
    let text = fs::read_to_string(&file).unwrap();
    let archive = format!(
        "\n[archive]\nurl = \"s3://mail/grapevine\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\ncredentials = \"{}\"\nafter_days = 0\nevery_seconds = 1\n",
        service.endpoint,
        dir.join("keys.toml").display()
    );
    fs::write(&file, text + &archive).unwrap();
    Process::serve(&dir)
}

fn mail(subject: &str, bytes: usize) -> Vec<u8> {
    let mut text = format!("From: {FROM}\r\nTo: {TO}\r\nSubject: {subject}\r\n\r\n");
    while text.len() < bytes {
        text.push_str("An exercise in distributed computing, and more of it.\r\n");
    }
    text.into_bytes()
}

/// What one server gives out of each message: all of it, or nothing.
fn given(grapevine: &Grapevine, server: usize, sent: &[Vec<u8>]) -> usize {
    let mut good = 0;
    for number in 1..=sent.len() {
        // Each in a session of its own: a body that breaks off ends it.
        if let Some(got) = Pop::open(grapevine, server, "needham").try_retrieve(number) {
            let is_one = sent.iter().any(|sent| got.ends_with(sent));
            assert!(is_one, "something else was given out, {} octets", got.len());
            good += 1;
        }
    }
    good
}

#[test]
fn two_servers_keep_bodies_at_an_s3_service_and_give_out_nothing_wrong_while_it_is_slow_wrong_or_away()
 {
    let grapevine = Grapevine::up(2);
    let service = Service::at(&grapevine.dir.join("s3"));
    let _servers: Vec<Process> = (0..2)
        .map(|server| with_archive(&grapevine, server, &service))
        .collect();
    let sent = [mail("small", 500), mail("large", 300_000)];
    for message in &sent {
        let reply = Smtp::submission(&grapevine, 0, "birrell").data(FROM, TO, message);
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    wait_for("each server to have moved both", || {
        service.objects().len() == 2 * sent.len()
    });
    let all = |server| given(&grapevine, server, &sent) == sent.len();
    for server in [0, 1] {
        wait_for("all to be read", || all(server));
    }
    service.is(IS_SLOW);
    for server in [0, 1] {
        assert!(all(server), "what is slow comes all the same");
    }
    service.is(GOOD);
    let objects = service.objects();
    let right: Vec<Vec<u8>> = objects.iter().map(|path| fs::read(path).unwrap()).collect();
    for (path, bytes) in objects.iter().zip(&right) {
        let mut wrong = bytes.clone();
        let middle = wrong.len() / 2;
        wrong[middle] ^= 0x5a;
        fs::write(path, wrong).unwrap();
    }
    for server in [0, 1] {
        assert_eq!(
            given(&grapevine, server, &sent),
            0,
            "what is wrong is not given"
        );
    }
    for (path, bytes) in objects.iter().zip(&right) {
        fs::write(path, bytes).unwrap();
    }
    for mode in [SILENT, AWAY] {
        service.is(mode);
        assert_eq!(given(&grapevine, 1, &sent[..1]), 0);
        // All the rest goes on: mail is taken, and inboxes are listed.
        let reply = Smtp::submission(&grapevine, 1, "birrell").data(FROM, TO, &mail("new", 500));
        assert_eq!(reply.code, 250, "{reply:?}");
        assert!(Pop::open(&grapevine, 1, "needham").count() >= sent.len());
    }
    service.is(GOOD);
    for server in [0, 1] {
        wait_for("all to be read again", || all(server));
    }
}
