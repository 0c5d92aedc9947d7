//! The DNS door: UDP on threads of its own, TCP on the runtime, answers from snapshots.
//!
//! A query never reaches the core, so that a flood of them costs mail nothing but the machine's
//! time. Every wait and every table here has a bound.

mod limit;
mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use grapevine_doors::dns::{ServedZone, Zones};
use grapevine_model::{RegistryName, Zone};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use limit::RateLimit;

/// The zones that are answered from now; the core's thread changes them, the door reads them.
#[derive(Clone)]
pub(crate) struct ZoneBoard {
    shared: Arc<Shared>,
}

struct Shared {
    zones: RwLock<Arc<Zones>>,
    start: Instant,
}

impl Default for ZoneBoard {
    fn default() -> Self {
        let shared = Shared {
            zones: RwLock::default(),
            start: Instant::now(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl ZoneBoard {
    /// A registry is shown so from now on.
    pub(crate) fn show(&self, zone: &Zone) {
        let zone = ServedZone::new(zone, self.now_ms());
        let zones = self.zones().with(zone);
        self.replace(zones);
    }

    /// A registry is not answered for any more.
    pub(crate) fn hide(&self, registry: &RegistryName) {
        let zones = self.zones().without(registry.as_str());
        self.replace(zones);
    }

    fn replace(&self, zones: Zones) {
        *self
            .shared
            .zones
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(zones);
    }

    fn zones(&self) -> Arc<Zones> {
        let zones = self.shared.zones.read();
        Arc::clone(&zones.unwrap_or_else(PoisonError::into_inner))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.shared.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Opens the door at the place where its TCP listener is.
///
/// # Errors
/// The UDP port is taken, or no thread is to be had.
pub(crate) fn open(
    listener: TcpListener,
    board: ZoneBoard,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> io::Result<()> {
    let at: SocketAddr = listener.local_addr()?;
    let limit = Arc::new(RateLimit::new()?);
    udp::serve(at, &board, &limit, tasks, stop)?;
    tasks.spawn(tcp::serve(listener, board, stop.clone(), tasks.clone()));
    Ok(())
}
