//! How many answers a network gets over UDP in a second.
//!
//! Guards that this server is no help in flooding somebody in whose name queries are sent: beyond the
//! limit every second query is answered "ask by TCP", which costs no more than it brought and can't be
//! done in another's name; the rest get silence.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use grapevine_doors::dns::Over;

/// Answers to one network (IPv4 /24, IPv6 /56) in a second: a large site's resolver caches and
/// asks far less; a flood of so few small answers harms nobody.
const MOST_PER_SECOND: u32 = 2_000;
/// Networks are counted in so many slots; two that fall together share their limit.
const SLOTS: usize = 16_384;

/// Counts answers by network.
pub(super) struct RateLimit {
    /// The second in the upper half, the answers in it in the lower.
    slots: Vec<AtomicU64>,
    key: [u8; 32],
}

impl RateLimit {
    pub(super) fn new() -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Self {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            key,
        })
    }

    /// How a query from there is to be answered now; none for not at all.
    pub(super) fn take(&self, from: IpAddr, second: u64) -> Option<Over> {
        // Nobody else's name can be used on this machine's own loopback.
        if from.is_loopback() {
            return Some(Over::Udp);
        }
        let second = second & u64::from(u32::MAX);
        let slot = self.slots.get(self.slot(from))?;
        let counted = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            let count = if old >> 32 == second {
                (old & u64::from(u32::MAX)).min(u64::from(u32::MAX) - 1) + 1
            } else {
                1
            };
            Some(second << 32 | count)
        });
        let (Ok(old) | Err(old)) = counted;
        let count = if old >> 32 == second {
            old & u64::from(u32::MAX)
        } else {
            0
        };
        if count < u64::from(MOST_PER_SECOND) {
            Some(Over::Udp)
        } else {
            (count % 2 == 0).then_some(Over::UdpOnlyTruncated)
        }
    }

    fn slot(&self, from: IpAddr) -> usize {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        match from.to_canonical() {
            IpAddr::V4(v4) => hasher.update(v4.octets().get(..3).unwrap_or_default()),
            IpAddr::V6(v6) => hasher.update(v6.octets().get(..7).unwrap_or_default()),
        };
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        usize::try_from(u64::from_be_bytes(first) % SLOTS as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_network_beyond_its_limit_is_sent_to_tcp_or_left_alone_until_the_next_second() {
        let limit = RateLimit::new().unwrap();
        let flood: IpAddr = "192.0.2.1".parse().unwrap();
        let neighbour: IpAddr = "192.0.2.200".parse().unwrap();
        for _ in 0..MOST_PER_SECOND {
            assert_eq!(limit.take(flood, 7), Some(Over::Udp));
        }
        let then: Vec<_> = (0..4).map(|_| limit.take(neighbour, 7)).collect();
        assert!(then.contains(&Some(Over::UdpOnlyTruncated)) && then.contains(&None));
        assert!(!then.contains(&Some(Over::Udp)));
        assert_eq!(limit.take(flood, 8), Some(Over::Udp));
    }
}
