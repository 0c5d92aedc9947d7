//! Where a backup comes from: a running server, through its admin socket, or the store of one that is stopped.
//!
//! Must never take a stream that broke off for all there is.

use std::io;

use grapevine_model::MessageId;
use grapevine_rpc::grapevine_client;
use grapevine_rpc::v1::grapevine_client::GrapevineClient;
use grapevine_rpc::v1::{self, backup_part, body_part};
use grapevine_store::{Body, KeptBody, OpenError, Options, Row, Snapshot, Store, Table};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use super::vault::Vault;
use crate::folder::DataFolder;
use crate::out::Failure;

/// Pages read ahead of whoever writes them down.
const PAGES_AHEAD: usize = 8;

/// A page of what a server has.
pub(super) enum Page {
    /// Of a table, by its number.
    Rows(u8, Vec<Row>),
    /// Bodies that there are.
    Bodies(Vec<KeptBody>),
}

/// A server that a backup is made of.
pub(super) enum Source {
    Running(GrapevineClient<Channel>),
    Stopped(Store),
}

type Pages = mpsc::Receiver<Result<v1::BackupPart, Status>>;

/// What comes from a source, page by page.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Reading {
    Running(tonic::Streaming<v1::BackupPart>),
    Stopped(Pages),
}

impl Source {
    /// The server of a data folder, running or not.
    pub(super) async fn of(folder: &DataFolder) -> Result<Self, Failure> {
        let socket = folder.admin_socket();
        if UnixStream::connect(&socket).await.is_ok() {
            // The address is never looked at: the connector knows the socket.
            let endpoint = Endpoint::from_static("http://admin.socket");
            let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }));
            return Ok(Self::Running(grapevine_client(channel)));
        }
        match Store::open(folder.store(), &Options::default()) {
            Ok(store) => Ok(Self::Stopped(store)),
            Err(error @ OpenError::InUse { .. }) => Err(Failure::unavailable(format_args!(
                "{error}, and nobody answers at its admin socket yet; try again"
            ))),
            Err(error) => Err(Failure::new(error)),
        }
    }

    /// Begins: all that comes is of this moment.
    pub(super) async fn read(&mut self) -> Result<Reading, Failure> {
        Ok(match self {
            Self::Running(client) => {
                let stream = client.backup(v1::BackupRequest {}).await;
                Reading::Running(stream.map_err(|status| said(&status))?.into_inner())
            }
            Self::Stopped(store) => Reading::Stopped(pages(store.snapshot())),
        })
    }

    /// Writes a body into a vault, and is done with it; none if it was dropped meanwhile.
    pub(super) async fn body(
        &mut self,
        body: &KeptBody,
        vault: &mut Vault,
    ) -> Result<Option<()>, Failure> {
        let mut draft = vault.draft().map_err(Failure::new)?;
        match self {
            Self::Stopped(store) => match store.find_body(body.message) {
                Ok(None) => return Ok(None),
                Ok(Some(Body::Here(mut reader))) => {
                    let mut buffer = vec![0; 64 * 1024];
                    loop {
                        let read =
                            io::Read::read(&mut reader, &mut buffer).map_err(Failure::new)?;
                        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty())
                        else {
                            break;
                        };
                        draft.write(piece).map_err(Failure::new)?;
                    }
                }
                Ok(Some(Body::Archived(_))) => {
                    return Err(Failure::new(
                        "messages are in the archive, which only the running server can read: start it first",
                    ));
                }
                Err(damaged) => return Err(Failure::new(damaged)),
            },
            Self::Running(client) => {
                let request = v1::ReadBodyRequest {
                    message: body.message.to_bytes().to_vec(),
                    ..Default::default()
                };
                let mut stream = match client.read_body(request).await {
                    Ok(stream) => stream.into_inner(),
                    Err(status) if status.code() == Code::NotFound => return Ok(None),
                    Err(status) => return Err(said(&status)),
                };
                while let Some(part) = stream.message().await.map_err(|status| said(&status))? {
                    if let Some(body_part::Part::Chunk(chunk)) = part.part {
                        draft.write(&chunk).map_err(Failure::new)?;
                    }
                }
            }
        }
        let (digest, len) = vault.keep(draft).map_err(Failure::new)?;
        if digest != body.digest || len != body.len_bytes {
            return Err(Failure::new(format_args!(
                "the body of {} is not what the server says; run it again",
                body.message
            )));
        }
        Ok(Some(()))
    }
}

impl Reading {
    /// The next page; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, Failure> {
        let part = match self {
            Self::Running(stream) => stream.message().await,
            Self::Stopped(pages) => pages.recv().await.transpose(),
        };
        let broke_off = || Failure::unavailable("the server broke off; run it again");
        match part
            .map_err(|status| said(&status))?
            .and_then(|part| part.part)
        {
            Some(backup_part::Part::Rows(v1::BackupRows { table, rows })) => {
                let table = u8::try_from(table).map_err(Failure::new)?;
                let rows = rows.into_iter().map(|row| (row.key, row.value)).collect();
                Ok(Some(Page::Rows(table, rows)))
            }
            Some(backup_part::Part::Bodies(v1::BackupBodies { bodies })) => {
                let bodies = bodies.into_iter().map(|kept| {
                    let body = kept.body.unwrap_or_default();
                    Some(KeptBody {
                        message: MessageId::from_bytes(kept.message.try_into().ok()?),
                        len_bytes: body.len,
                        digest: body.digest.try_into().ok()?,
                    })
                });
                let bodies: Option<Vec<_>> = bodies.collect();
                bodies
                    .map(|bodies| Some(Page::Bodies(bodies)))
                    .ok_or_else(broke_off)
            }
            Some(backup_part::Part::End(_)) => Ok(None),
            None => Err(broke_off()),
        }
    }
}

/// All of a moment, page by page, as it goes to whoever makes the backup.
pub(crate) fn send(snapshot: Snapshot) -> ReceiverStream<Result<v1::BackupPart, Status>> {
    ReceiverStream::new(pages(snapshot))
}

fn pages(snapshot: Snapshot) -> Pages {
    let (to, pages) = mpsc::channel(PAGES_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(damaged) = walk(&snapshot, &to) {
            // Whoever listened has gone, or hears it.
            let _ = to.blocking_send(Err(Status::data_loss(damaged.to_string())));
        }
    });
    pages
}

fn walk(
    snapshot: &Snapshot,
    to: &mpsc::Sender<Result<v1::BackupPart, Status>>,
) -> Result<(), grapevine_store::Damaged> {
    let send = |part| {
        let part = v1::BackupPart { part: Some(part) };
        to.blocking_send(Ok(part)).is_ok()
    };
    for table in Table::ALL {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = snapshot.rows(table, after.as_deref())?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            let rows = rows
                .into_iter()
                .map(|(key, value)| v1::BackupRow { key, value });
            let part = backup_part::Part::Rows(v1::BackupRows {
                table: table as u32,
                rows: rows.collect(),
            });
            if !send(part) {
                return Ok(());
            }
        }
    }
    let mut after = None;
    loop {
        let bodies = snapshot.bodies(after)?;
        let Some(last) = bodies.last() else { break };
        after = Some(last.message);
        let bodies = bodies.into_iter().map(|kept| v1::BackupBody {
            message: kept.message.to_bytes().to_vec(),
            body: Some(v1::BodyInfo {
                len: kept.len_bytes,
                digest: kept.digest.to_vec(),
            }),
        });
        let part = backup_part::Part::Bodies(v1::BackupBodies {
            bodies: bodies.collect(),
        });
        if !send(part) {
            return Ok(());
        }
    }
    send(backup_part::Part::End(v1::BackupEnd {}));
    Ok(())
}

fn said(status: &Status) -> Failure {
    let why = format!("the server says: {}; run it again", status.message());
    match status.code() {
        Code::PermissionDenied => Failure {
            exit: crate::out::Exit::NotAllowed,
            why,
        },
        Code::DataLoss => Failure::new(why),
        Code::Unimplemented => Failure::new("this server's release makes no backups yet"),
        _ => Failure::unavailable(why),
    }
}
