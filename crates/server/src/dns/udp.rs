//! Queries over UDP: some threads that read, answer and write, and wait for nobody.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use grapevine_doors::dns::{MAX_QUERY_BYTES, MAX_UDP_ANSWER_BYTES, respond};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ZoneBoard;
use super::limit::RateLimit;

/// Threads that answer: more than the machine has cores would only wait for each other.
const MOST_THREADS: usize = 4;
/// How often a thread looks whether the server stops.
const LOOK_UP: Duration = Duration::from_millis(250);

pub(super) fn serve(
    at: SocketAddr,
    board: &ZoneBoard,
    limit: &Arc<RateLimit>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> io::Result<()> {
    let socket = UdpSocket::bind(at)?;
    socket.set_read_timeout(Some(LOOK_UP))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..cores.min(MOST_THREADS) {
        let socket = socket.try_clone()?;
        let (board, limit, stop) = (board.clone(), Arc::clone(limit), stop.clone());
        tasks.spawn_blocking(move || answer(&socket, &board, &limit, &stop));
    }
    Ok(())
}

fn answer(socket: &UdpSocket, board: &ZoneBoard, limit: &RateLimit, stop: &CancellationToken) {
    // One octet more, so that a longer query is seen to be too long.
    let mut query = vec![0; MAX_QUERY_BYTES + 1];
    let mut out = Vec::with_capacity(MAX_UDP_ANSWER_BYTES * 2);
    let answered = metrics::counter!("grapevine_dns_answers_total", "over" => "udp");
    let silent = metrics::counter!("grapevine_dns_unanswered_total");
    while !stop.is_cancelled() {
        // A time-out, or an earlier answer that could not be delivered: neither ends the door.
        let Ok((len, from)) = socket.recv_from(&mut query) else {
            continue;
        };
        let now_ms = board.now_ms();
        let packet = query.get(..len).unwrap_or_default();
        let said = from.port() != 0
            && limit
                .take(from.ip(), now_ms / 1_000)
                .is_some_and(|over| respond(packet, over, &board.zones(), now_ms, &mut out));
        if said {
            // Whoever asked asks again if this is lost.
            let _ = socket.send_to(&out, from);
            answered.increment(1);
        } else {
            silent.increment(1);
        }
    }
}
