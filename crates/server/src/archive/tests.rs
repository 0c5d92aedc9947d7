//! The archive when it works, answers wrongly, slowly, or not at all; and a service that speaks S3.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that it did not expect"
)]

use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicU8, Ordering};

use futures_util::stream::BoxStream;
use grapevine_store::{Body, Durability, Op, Options, Store};
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use super::mover::{Mover, Strays};
use super::*;
use crate::config_storage::{ArchiveConfig, ArchivePlace};

const GOOD: u8 = 0;
/// One octet is another one.
const WRONG: u8 = 1;
/// It refuses.
const AWAY: u8 = 2;
/// It never answers.
const SILENT: u8 = 3;
/// It has nothing.
const EMPTY: u8 = 4;

/// A store of objects in memory that can be told to misbehave.
#[derive(Debug, Default)]
struct Faulty {
    objects: InMemory,
    fault: AtomicU8,
}

impl Faulty {
    fn is(&self, fault: u8) {
        self.fault.store(fault, Ordering::Relaxed);
    }

    async fn answer(&self) -> object_store::Result<u8> {
        let fault = self.fault.load(Ordering::Relaxed);
        match fault {
            AWAY => Err(object_store::Error::Generic {
                store: "faulty",
                source: "not today".into(),
            }),
            SILENT => std::future::pending().await,
            _ => Ok(fault),
        }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.answer().await?;
        self.objects.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.answer().await?;
        self.objects.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let fault = self.answer().await?;
        let mut found = self.objects.get_opts(at, options).await?;
        if fault == EMPTY {
            return Err(object_store::Error::NotFound {
                path: at.to_string(),
                source: "gone".into(),
            });
        }
        if fault == WRONG
            && let GetResultPayload::Stream(stream) = found.payload
        {
            let spoilt = stream.map(|chunk| {
                let mut chunk = chunk?.to_vec();
                chunk[0] ^= 1;
                Ok(Bytes::from(chunk))
            });
            found.payload = GetResultPayload::Stream(spoilt.boxed());
        }
        Ok(found)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.fault.load(Ordering::Relaxed) {
            AWAY => futures_util::stream::iter([Err(object_store::Error::Generic {
                store: "faulty",
                source: "not today".into(),
            })])
            .boxed(),
            _ => self.objects.delete_stream(paths),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// A store on a disk, and the archive that its bodies go to.
struct Bench {
    _dir: tempfile::TempDir,
    store: Arc<Store>,
    mover: Mover,
    strays: Strays,
}

fn everything(place: ArchivePlace) -> ArchiveConfig {
    ArchiveConfig {
        place,
        credentials: None,
        after_days: 0,
        larger_than_bytes: None,
        every_seconds: 1,
    }
}

impl Bench {
    fn new(archive: impl FnOnce(&Store) -> Archive) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), &Options::default()).unwrap());
        store.set_today(day_of(crate::clock::wall_ms()));
        let mover = Mover {
            archive: archive(&store),
            store: Arc::clone(&store),
            config: everything(ArchivePlace::Folder("/nowhere".into())),
        };
        Self {
            _dir: dir,
            store,
            mover,
            strays: Strays::default(),
        }
    }

    fn faulty() -> (Self, Arc<Faulty>) {
        let objects = Arc::new(Faulty::default());
        let store: Arc<dyn ObjectStore> = Arc::<Faulty>::clone(&objects);
        let bench = Self::new(|_| Archive::new(store, Path::from("s1-0000000000000001")));
        (bench, objects)
    }

    fn keep(&self, n: u64, bytes: &[u8]) {
        let mut stage = self.store.stage();
        stage.write(bytes).unwrap();
        let staged = stage.finish().unwrap().token;
        let op = Op::AdoptBody {
            staged,
            message: message(n),
        };
        self.commit(op);
    }

    fn drop_body(&self, n: u64) {
        self.commit(Op::DropBody {
            message: message(n),
        });
    }

    fn commit(&self, op: Op) {
        let done = self.store.commit_and_wait(vec![op], Durability::Synced);
        done.unwrap();
    }

    async fn walk(&mut self) -> Result<(), ArchiveError> {
        let stop = tokio_util::sync::CancellationToken::new();
        self.mover.walk(&mut self.strays, &stop).await
    }

    fn is_archived(&self, n: u64) -> bool {
        matches!(
            self.store.find_body(message(n)).unwrap(),
            Some(Body::Archived(_))
        )
    }

    /// All of a body, wherever it is.
    async fn read(&self, n: u64) -> Result<Vec<u8>, Refusal> {
        let mut source = match self.store.find_body(message(n)).unwrap().unwrap() {
            Body::Here(mut reader) => {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                return Ok(bytes);
            }
            Body::Archived(body) => self.mover.archive.read(message(n), body).await?,
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = source.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn message(n: u64) -> MessageId {
    MessageId::from_u128(n.into())
}

fn content(n: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&n.to_be_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

async fn objects(store: &dyn ObjectStore) -> usize {
    store.list(None).count().await
}

#[tokio::test]
async fn bodies_go_to_the_archive_are_read_from_it_and_leave_nothing_there() {
    let (mut bench, faulty) = Bench::faulty();
    for (n, len) in [(1, 0), (2, 700), (3, 200_000)] {
        bench.keep(n, &content(n, len));
    }
    bench.walk().await.unwrap();
    for (n, len) in [(1, 0), (2, 700), (3, 200_000)] {
        assert!(bench.is_archived(n));
        assert_eq!(bench.read(n).await.unwrap(), content(n, len));
    }
    assert_eq!(objects(&*faulty).await, 3);
    bench.drop_body(2);
    bench.walk().await.unwrap();
    assert_eq!(objects(&*faulty).await, 2);
    assert_eq!(bench.mover.archive.alarm(), None);
}

#[tokio::test]
async fn a_body_stays_on_its_disk_until_the_archive_gives_it_back_as_it_was() {
    for (fault, said) in [
        (WRONG, "other octets"),
        (AWAY, "not today"),
        (EMPTY, "no such"),
    ] {
        let (mut bench, faulty) = Bench::faulty();
        bench.keep(1, &content(1, 700));
        faulty.is(fault);
        let why = bench.walk().await.unwrap_err().to_string();
        assert!(why.contains(said), "{why}");
        assert!(!bench.is_archived(1));
        assert_eq!(bench.read(1).await.unwrap(), content(1, 700));
        faulty.is(GOOD);
        bench.walk().await.unwrap();
        assert!(
            bench.is_archived(1),
            "and goes when the archive is well again"
        );
        assert_eq!(bench.read(1).await.unwrap(), content(1, 700));
    }
}

#[tokio::test]
async fn what_the_archive_gives_wrongly_is_not_served_and_is_told() {
    let (mut bench, faulty) = Bench::faulty();
    bench.keep(1, &content(1, 200_000));
    bench.walk().await.unwrap();
    for (fault, said) in [(WRONG, "other octets"), (EMPTY, "no such object")] {
        faulty.is(fault);
        let refused = bench.read(1).await.unwrap_err();
        // Never that there is no such message: a program would forget it.
        assert_eq!(refused.kind, ErrorKind::Unavailable);
        assert!(refused.why.contains(said), "{refused}");
        let alarm = bench.mover.archive.alarm().unwrap();
        assert!(alarm.contains("none were served"), "{alarm}");
        assert!(bench.is_archived(1), "and nothing is forgotten");
    }
    assert_eq!(bench.mover.archive.wrong(), 2);
    faulty.is(GOOD);
    assert_eq!(bench.read(1).await.unwrap(), content(1, 200_000));
}

#[tokio::test(start_paused = true)]
async fn an_archive_that_does_not_answer_costs_its_readers_seconds_and_nobody_else() {
    let (mut bench, faulty) = Bench::faulty();
    bench.keep(1, &content(1, 700));
    bench.walk().await.unwrap();
    faulty.is(SILENT);
    let begun = tokio::time::Instant::now();
    let refused = bench.read(1).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    assert!(begun.elapsed() <= OPEN_LIMIT + Duration::from_secs(1));
    let alarm = bench.mover.archive.alarm().unwrap();
    assert!(alarm.contains("has not answered"), "{alarm}");
    // More readers than it has places for are told so at once.
    let body = match bench.store.find_body(message(1)).unwrap() {
        Some(Body::Archived(body)) => body,
        other => panic!("{other:?}"),
    };
    let archive = bench.mover.archive.clone();
    let readers: Vec<_> = (0..=READERS_MAX)
        .map(|_| {
            let (archive, body) = (archive.clone(), body.clone());
            tokio::spawn(async move { archive.read(message(1), body).await.err().unwrap() })
        })
        .collect();
    let mut turned_away = 0;
    for reader in readers {
        let refused = reader.await.unwrap();
        turned_away += usize::from(refused.why.contains("too many"));
    }
    assert_eq!(turned_away, 1);
    faulty.is(GOOD);
    assert_eq!(bench.read(1).await.unwrap(), content(1, 700));
    assert_eq!(bench.mover.archive.alarm(), None);
}

#[tokio::test]
async fn a_dropped_body_is_removed_from_the_archive_once_that_answers() {
    let (mut bench, faulty) = Bench::faulty();
    bench.keep(1, &content(1, 700));
    bench.walk().await.unwrap();
    bench.drop_body(1);
    faulty.is(AWAY);
    bench.walk().await.unwrap_err();
    assert_eq!(objects(&*faulty).await, 1);
    faulty.is(GOOD);
    bench.walk().await.unwrap();
    assert_eq!(objects(&*faulty).await, 0);
    assert!(bench.store.archive_rubbish(None, 10).unwrap().is_empty());
}

const KEY: &str = "AKIAGRAPEVINE";
const SECRET: &str = "a secret that is printed nowhere";

/// A service that speaks S3, on a folder with one bucket.
async fn s3(dir: &std::path::Path) -> String {
    std::fs::create_dir_all(dir.join("mail")).unwrap();
    let files = s3s_fs::FileSystem::new(dir).unwrap();
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(KEY, SECRET));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let executor = hyper_util::rt::TokioExecutor::new();
                let io = hyper_util::rt::TokioIo::new(socket);
                // A client that goes away is no failure.
                let _ = hyper_util::server::conn::auto::Builder::new(executor)
                    .serve_connection(io, service)
                    .await;
            });
        }
    });
    format!("http://{address}")
}

fn in_bucket(
    endpoint: &str,
    keys: &std::path::Path,
    secret: &str,
    server: &str,
    store: &Store,
) -> Archive {
    let text = format!("access_key_id = \"{KEY}\"\nsecret_access_key = \"{secret}\"\n");
    std::fs::write(keys, text).unwrap();
    let config = ArchiveConfig {
        credentials: Some(keys.to_path_buf()),
        ..everything(ArchivePlace::S3 {
            bucket: "mail".into(),
            prefix: "some/where".into(),
            endpoint: Some(endpoint.to_owned()),
            region: Some("us-east-1".into()),
        })
    };
    Archive::open(&config, &server.parse().unwrap(), store).unwrap()
}

#[tokio::test]
async fn bodies_of_two_servers_go_to_one_s3_bucket_and_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = s3(&dir.path().join("s3")).await;
    let keys = dir.path().join("keys.toml");
    let mut one = Bench::new(|store| in_bucket(&endpoint, &keys, SECRET, "s1", store));
    let mut two = Bench::new(|store| in_bucket(&endpoint, &keys, SECRET, "s2", store));
    // The last one goes in parts.
    let sizes = [(1, 0), (2, 700), (3, 200_000), (4, PART_BYTES + 1_000_000)];
    for bench in [&mut one, &mut two] {
        for (n, len) in sizes {
            bench.keep(n, &content(n, len));
        }
        bench.walk().await.unwrap();
    }
    for (n, len) in sizes {
        one.drop_body(n);
        assert_eq!(two.read(n).await.unwrap(), content(n, len), "{len}");
    }
    one.walk().await.unwrap();
    assert!(one.store.archive_rubbish(None, 10).unwrap().is_empty());
    for (n, len) in sizes {
        assert_eq!(two.read(n).await.unwrap(), content(n, len), "{len}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_an_archive_that_is_away_and_are_printed_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = s3(&dir.path().join("s3")).await;
    let keys = dir.path().join("keys.toml");
    let wrong = "another secret that is printed nowhere";
    let mut bench = Bench::new(|store| in_bucket(&endpoint, &keys, wrong, "s1", store));
    bench.keep(1, &content(1, 700));
    let why = bench.walk().await.unwrap_err().to_string();
    assert!(!why.contains("secret that"), "{why}");
    assert!(!why.contains(KEY), "{why}");
    assert_eq!(bench.read(1).await.unwrap(), content(1, 700));
    // Nor by the parser of the file.
    std::fs::write(&keys, format!("access_key_id = {SECRET}\n")).unwrap();
    let config = ArchiveConfig {
        credentials: Some(keys),
        ..everything(ArchivePlace::S3 {
            bucket: "mail".into(),
            prefix: String::new(),
            endpoint: Some(endpoint),
            region: None,
        })
    };
    let refused = Archive::open(&config, &"s1".parse().unwrap(), &bench.store);
    let why = refused.err().unwrap();
    assert!(!why.contains(SECRET) && why.contains("keys.toml"), "{why}");
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store"), &Options::default()).unwrap();
    let missing = dir.path().join("mnt/archive");
    let config = everything(ArchivePlace::Folder(missing.clone()));
    let why = Archive::open(&config, &"s1".parse().unwrap(), &store).err();
    assert!(why.unwrap().contains("is no folder"));
    assert!(!missing.exists());
}
