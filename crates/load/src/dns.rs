//! DNS load: some clients ask one question over UDP, again and again, for a time.
//!
//! Must never count what is no answer to the question asked: another id, an error, or no record.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::figures::{Errors, Figures, Latencies, rate};

/// A query without an answer within this is lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Longest answer over UDP.
const MAX_ANSWER_BYTES: usize = 65_535;
/// Queries under way from one client at most: their ids index a table.
const MOST_UNDER_WAY: u16 = 1_000;

/// Ask one question over UDP.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whom to ask
    #[arg(long, value_name = "HOST:PORT")]
    server: SocketAddr,
    /// The name to ask for
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Which records: A, AAAA, TXT or SRV
    #[arg(long, default_value = "SRV")]
    kind: String,
    /// Clients, each with a socket and a thread of its own
    #[arg(long, default_value_t = 16)]
    clients: u16,
    /// Queries that each client has under way at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_UNDER_WAY)))]
    window: u16,
    /// For how many seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// What one client saw.
#[derive(Debug, Default)]
struct Seen {
    latencies: Latencies,
    errors: Errors,
}

/// Does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<Figures> {
    let question = question(&args.name, &args.kind)?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs(args.seconds);
    let mut clients = Vec::new();
    for _ in 0..args.clients {
        let (server, question, window) = (args.server, question.clone(), args.window);
        clients.push(tokio::task::spawn_blocking(move || {
            client(server, &question, window, until)
        }));
    }
    let mut seen = Seen::default();
    for client in clients {
        let one = client.await.context("a client's thread")??;
        seen.latencies.join(one.latencies);
        seen.errors.join(one.errors);
    }
    let took = begun.elapsed();
    let mut figures = Figures::default();
    let answers = seen.latencies.count();
    figures.say("answers", answers);
    figures.say_number("seconds", took.as_secs_f64());
    figures.say_number("answers_per_s", rate(answers as f64, took));
    figures.say_number("p50_ms", seen.latencies.permille_ms(500));
    figures.say_number("p99_ms", seen.latencies.permille_ms(990));
    figures.say_errors(&seen.errors);
    Ok(figures)
}

/// A query with one question and EDNS, whose id is filled in each time.
fn question(name: &str, kind: &str) -> anyhow::Result<Vec<u8>> {
    let kind: u16 = match kind.to_ascii_uppercase().as_str() {
        "A" => 1,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        other => bail!("{other}: give A, AAAA, TXT or SRV"),
    };
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.trim_end_matches('.').split('.') {
        ensure!((1..=63).contains(&label.len()), "{name} is no name in DNS");
        packet.push(u8::try_from(label.len())?);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    Ok(packet)
}

fn client(
    server: SocketAddr,
    question: &[u8],
    window: u16,
    until: Instant,
) -> anyhow::Result<Seen> {
    let socket = UdpSocket::bind(if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    })?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut seen = Seen::default();
    let mut query = question.to_vec();
    let mut answer = vec![0; MAX_ANSWER_BYTES];
    // Slot by slot: a query's id is its slot and its turn, so a late answer counts for nothing.
    let mut slots: Vec<(u16, Instant)> = Vec::new();
    let mut send = |id: u16| -> std::io::Result<()> {
        if let Some(place) = query.get_mut(..2) {
            place.copy_from_slice(&id.to_be_bytes());
        }
        socket.send(&query).map(|_| ())
    };
    for slot in 0..window {
        send(slot)?;
        slots.push((slot, Instant::now()));
    }
    while Instant::now() < until {
        let len = match socket.recv(&mut answer) {
            Ok(len) => len,
            Err(error) => {
                // All that was under way is lost: begin again.
                seen.errors.note(error.kind());
                for (id, since) in &mut slots {
                    *id = id.wrapping_add(window);
                    send(*id)?;
                    *since = Instant::now();
                }
                continue;
            }
        };
        let packet = answer.get(..len).unwrap_or_default();
        let [high, low, _, flags, _, _, answers_high, answers_low, ..] = packet else {
            seen.errors.note("short");
            continue;
        };
        let id = u16::from_be_bytes([*high, *low]);
        let Some(slot) = slots.iter_mut().find(|(under_way, _)| *under_way == id) else {
            seen.errors.note("late");
            continue;
        };
        if flags & 0xf != 0 || (*answers_high, *answers_low) == (0, 0) {
            seen.errors.note(format_args!("rcode {}", flags & 0xf));
        } else {
            seen.latencies.note(slot.1.elapsed());
        }
        slot.0 = id.wrapping_add(window);
        slot.1 = Instant::now();
        send(slot.0)?;
    }
    Ok(seen)
}
