//! Bytes that mean nothing, at every door: nobody else may notice.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::grapevine::{Grapevine, get};

/// Enough to overrun every line and header limit.
const MUCH_BYTES: usize = 300 * 1024;
/// What a door says to garbage, if anything, it says at once.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

#[test]
fn garbage_on_every_port_leaves_the_server_ready() {
    let grapevine = Grapevine::up(1);
    let doors = grapevine.doors(0);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()[0]
    })
    .take(MUCH_BYTES)
    .collect();
    let zeros = vec![0; MUCH_BYTES];
    let one_line = [b"GET / ".as_slice(), &b"A".repeat(MUCH_BYTES)].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    let client_hello = b"\x16\x03\x01\xff\xff\x01\x00\xff\xff\x03\x03".to_vec();
    for at in doors.values() {
        for bytes in [
            &noise,
            &zeros,
            &one_line,
            &preface,
            &client_hello,
            &Vec::new(),
        ] {
            throw(at, bytes);
        }
    }
    for path in ["/readyz", "/healthz"] {
        assert_eq!(get(&doors["http"], path).unwrap().0, 200);
    }
    grapevine.expect_no_errors();
}

/// Writes, half closes, reads a little; every error is the server's good right.
fn throw(at: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_write_timeout(Some(ANSWER_LIMIT)).unwrap();
    stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = [0; 512];
    let _ = stream.read(&mut answer);
}
