//! Ports for the servers of tests.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Doors of a server that follow one another, and room for one more.
const DOORS: u16 = 16;
/// Where free ports are looked for: below those that the system gives out by itself, and above those that `up` chooses.
const PORTS: std::ops::Range<u16> = 20_000..28_000;

/// The first of some ports in a row that are free.
pub(crate) fn base_port() -> u16 {
    free_row(DOORS)
}

/// The first of so many ports in a row that are free, and were not given out lately: what is given out is opened
/// a while later, and is closed while its server is down. Tests run side by side, some each in its own process.
pub(crate) fn free_row(count: u16) -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let span = u32::from(PORTS.end - PORTS.start);
    let begin = std::process::id().wrapping_mul(u32::from(DOORS));
    for _ in 0..span {
        let given = GIVEN.fetch_add(count.into(), Ordering::Relaxed);
        let at = begin.wrapping_add(given) % span;
        let base = PORTS.start + u16::try_from(at).unwrap();
        let row = base..base.saturating_add(count);
        if row.end <= PORTS.end
            && row
                .clone()
                .all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        {
            return base;
        }
    }
    panic!("no {count} free ports in a row in {PORTS:?}");
}
