//! Queries over TCP (RFC 7766): what is too long for UDP, with bounds on everything.

use std::sync::Arc;
use std::time::Duration;

use grapevine_doors::dns::{MAX_QUERY_BYTES, Over, respond};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ZoneBoard;

/// Connections at once: each holds little, and resolvers come by UDP.
const MOST_CONNECTIONS: usize = 256;
/// A connection that is silent for so long is closed (RFC 7766 6.2.3 suggests seconds).
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// Queries of one connection; then it may come again.
const MOST_QUERIES: usize = 1_000;
/// Pause after an accept that failed: the system is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(
    listener: TcpListener,
    board: ZoneBoard,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // With no place left the connection is closed at once.
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let (board, stop) = (board.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = converse(stream, &board) => {}
                }
                drop(place);
            });
        }
    }
}

/// Answers until the client has nothing more to ask; any fault ends the connection.
async fn converse(mut stream: TcpStream, board: &ZoneBoard) -> std::io::Result<()> {
    let answered = metrics::counter!("grapevine_dns_answers_total", "over" => "tcp");
    let mut out = Vec::new();
    for _ in 0..MOST_QUERIES {
        let reading = async {
            let len = usize::from(stream.read_u16().await?);
            if len > MAX_QUERY_BYTES {
                return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
            }
            let mut query = vec![0; len];
            stream.read_exact(&mut query).await?;
            Ok(query)
        };
        let query = tokio::time::timeout(IDLE_LIMIT, reading).await??;
        if !respond(&query, Over::Tcp, &board.zones(), board.now_ms(), &mut out) {
            break;
        }
        let len = u16::try_from(out.len()).map_err(std::io::Error::other)?;
        let writing = async {
            let mut framed = Vec::with_capacity(out.len() + 2);
            framed.extend_from_slice(&len.to_be_bytes());
            framed.extend_from_slice(&out);
            stream.write_all(&framed).await
        };
        tokio::time::timeout(IDLE_LIMIT, writing).await??;
        answered.increment(1);
    }
    stream.shutdown().await
}
