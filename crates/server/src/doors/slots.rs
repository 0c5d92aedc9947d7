//! How many connections a door has, in all and by client.
//!
//! Must never count a connection that is gone: a slot is given back when it is dropped, however its task ends.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of one door.
#[derive(Clone)]
pub(crate) struct Slots {
    shared: Arc<Shared>,
}

struct Shared {
    most: usize,
    most_per_client: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One connection's place; dropped, it is free again.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    client: IpAddr,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The door is full.
    Door,
    /// This client has all it may have.
    Client,
}

impl Full {
    /// For metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Door => "door",
            Self::Client => "client",
        }
    }
}

impl Slots {
    pub(crate) fn new(most: usize, most_per_client: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                most,
                most_per_client,
                taken: Mutex::default(),
            }),
        }
    }

    /// A place for a connection from `address`.
    pub(crate) fn take(&self, address: IpAddr) -> Result<Slot, Full> {
        let client = client_of(address);
        let mut taken = self.shared.taken();
        if taken.all >= self.shared.most {
            return Err(Full::Door);
        }
        let count = taken.by_client.entry(client).or_default();
        if *count >= self.shared.most_per_client {
            return Err(Full::Client);
        }
        *count += 1;
        taken.all += 1;
        drop(taken);
        Ok(Slot {
            shared: Arc::clone(&self.shared),
            client,
        })
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing that holds it can leave it half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.shared.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by_client.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

/// One client: an IPv4 address, or the /64 that one IPv6 subscriber has.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_gives_it_back() {
        let slots = Slots::new(3, 2);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let two: IpAddr = "192.0.2.2".parse().unwrap();
        let first = slots.take(one).ok().unwrap();
        let _second = slots
            .take("::ffff:192.0.2.1".parse().unwrap())
            .ok()
            .unwrap();
        assert_eq!(slots.take(one).err(), Some(Full::Client));
        let _third = slots.take(two).ok().unwrap();
        assert_eq!(slots.take(two).err(), Some(Full::Door));
        drop(first);
        assert!(slots.take(one).is_ok());
    }

    #[test]
    fn one_subscriber_of_ipv6_is_one_client() {
        let slots = Slots::new(9, 1);
        let _held = slots.take("2001:db8::1".parse().unwrap()).ok().unwrap();
        assert_eq!(
            slots.take("2001:db8::ffff:2".parse().unwrap()).err(),
            Some(Full::Client)
        );
        assert!(slots.take("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }
}
