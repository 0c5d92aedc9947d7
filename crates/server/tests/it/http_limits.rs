//! What one client may use up at the HTTP doors: others are served meanwhile, and nothing is kept of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::grapevine::{Grapevine, LIMIT, wait_for};
use crate::http::{done, refused};
use crate::http_client::Client;

/// As it is documented: a header is waited for so long.
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// What a busy machine may add.
const BUSY: Duration = Duration::from_secs(30);
/// Connections of one address, as it is configured by default.
const PER_ADDRESS: usize = 100;

fn connect(at: &str) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Everything that comes until the server closes; none when it does not.
fn until_closed(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => text.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(_) => return None,
        }
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_client_that_sends_its_header_slowly_is_cut_off_and_others_are_served_meanwhile() {
    let grapevine = Grapevine::up(1);
    let at = grapevine.doors(0)["http"].clone();
    let begun = Instant::now();
    let mut slow = connect(&at);
    let mut writer = slow.try_clone().unwrap();
    write!(writer, "GET /healthz HTTP/1.1\r\nHost: x\r\n").unwrap();
    let letters = std::thread::spawn(move || {
        let (_sender, never) = std::sync::mpsc::sync_channel::<()>(0);
        // One letter a second: each of them is progress, and the header never ends.
        while begun.elapsed() < HEADER_LIMIT + BUSY {
            if writer.write_all(b"x").is_err() {
                return;
            }
            let _ = never.recv_timeout(Duration::from_secs(1));
        }
    });
    // One that says nothing at all.
    let mut silent = connect(&at);
    let stranger = Client::stranger(&grapevine, 0);
    done(&stranger.get("/api/v1/registries"));
    for stream in [&mut slow, &mut silent] {
        let said = until_closed(stream).expect("it is cut off");
        assert!(!said.contains("200"), "{said}");
    }
    let took = begun.elapsed();
    assert!(took < HEADER_LIMIT + BUSY, "{took:?}");
    letters.join().unwrap();
    done(&stranger.get("/api/v1/registries"));
    grapevine.expect_no_errors();
}

#[test]
fn one_address_has_so_many_connections_and_gets_room_again_when_they_end() {
    let grapevine = Grapevine::up(1);
    let at = grapevine.doors(0)["http"].clone();
    let mut open: Vec<TcpStream> = (0..PER_ADDRESS + 5).map(|_| connect(&at)).collect();
    let mut served = 0;
    for stream in &mut open {
        // A server that has closed it may have reset it, too.
        let _ = write!(stream, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut first = [0; 12];
        if stream.read_exact(&mut first).is_ok() && first == *b"HTTP/1.1 200" {
            served += 1;
        }
    }
    assert_eq!(
        served, PER_ADDRESS,
        "connections are kept open between requests"
    );
    drop(open);
    let is_served = || {
        let mut stream = connect(&at);
        let _ = write!(
            stream,
            "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
        until_closed(&mut stream).is_some_and(|said| said.starts_with("HTTP/1.1 200"))
    };
    wait_for("room", is_served);
    grapevine.expect_no_errors();
}

#[test]
fn a_body_that_is_too_large_or_lies_about_its_length_has_no_effect() {
    let grapevine = Grapevine::up(1);
    let at = grapevine.doors(0)["http"].clone();
    let registrar = Client::of(&grapevine, 0, "registrar");
    let group = r#"{"name": "g@pa.example", "remark": ""#;
    // Chunked, so that nothing says beforehand how long it is.
    let mut stream = registrar.open(
        "POST",
        "/api/v1/groups",
        &[
            ("Transfer-Encoding", "chunked"),
            ("Content-Type", "application/json"),
        ],
        None,
    );
    let mut write = |piece: &str| {
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        stream.get_mut().write_all(chunk.as_bytes()).is_ok()
    };
    write(group);
    let piece = "x".repeat(64 * 1024);
    // It is told before all of 64 MiB is sent: the connection breaks.
    let sent = (0..1_024).take_while(|_| write(&piece)).count();
    assert!(sent < 1_024, "{sent} pieces were taken");
    // Both a length and chunks, two lengths, a length that is none: smuggled requests begin so.
    for header in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: -1",
        "Content-Length: 18446744073709551616",
    ] {
        let mut stream = connect(&at);
        write!(
            stream,
            "POST /api/v1/groups HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{{}}\r\n"
        )
        .unwrap();
        let said = until_closed(&mut stream).expect("an answer and the end");
        assert!(!said.starts_with("HTTP/1.1 2"), "{header}: {said}");
    }
    refused(
        &registrar.get("/api/v1/groups/g@pa.example"),
        404,
        "not-found",
    );
    grapevine.expect_no_errors();
}
