//! Records as octets (RFC 1035 3.2, RFC 2782, RFC 3596).
//!
//! Owners are pointers into the question where they can be; names inside data are written whole,
//! as RFC 2782 wants it for SRV.

use std::net::IpAddr;

pub(super) const A: u16 = 1;
pub(super) const NS: u16 = 2;
pub(super) const SOA: u16 = 6;
pub(super) const HINFO: u16 = 13;
pub(super) const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;
pub(super) const SRV: u16 = 33;
pub(super) const IXFR: u16 = 251;
pub(super) const AXFR: u16 = 252;
pub(super) const ANY: u16 = 255;
/// The Internet.
pub(super) const IN: u16 = 1;
/// Octets of one string in TXT.
const TXT_STRING_BYTES: usize = 255;

/// A name on the wire, whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WireName(Vec<u8>);

impl WireName {
    /// A name in labels with dots; none if it can't be written.
    pub(super) fn new(name: &str) -> Option<Self> {
        let mut wire = Vec::with_capacity(name.len() + 2);
        for label in name.split('.') {
            let len = u8::try_from(label.len()).ok().filter(|len| *len <= 63)?;
            if label.is_empty() {
                return None;
            }
            wire.push(len);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        (wire.len() <= 255).then_some(Self(wire))
    }

    /// The name of nobody.
    pub(super) fn root() -> Self {
        Self(vec![0])
    }
}

/// Whose record it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner<'a> {
    /// The name at this place of the packet.
    At(u16),
    /// A name of its own.
    Name(&'a WireName),
}

/// Writes records into a packet and counts them.
#[derive(Debug)]
pub(super) struct Records<'a> {
    pub(super) packet: &'a mut Vec<u8>,
    pub(super) count: u16,
}

impl Records<'_> {
    pub(super) fn push(
        &mut self,
        owner: Owner<'_>,
        kind: u16,
        ttl: u32,
        data: impl FnOnce(&mut Vec<u8>),
    ) {
        match owner {
            Owner::At(at) => self.word(0xc000 | at),
            Owner::Name(name) => self.packet.extend_from_slice(&name.0),
        }
        self.word(kind);
        self.word(IN);
        self.packet.extend_from_slice(&ttl.to_be_bytes());
        let at = self.packet.len();
        self.word(0);
        data(self.packet);
        // No data here comes near 65,535 octets.
        let len = u16::try_from(self.packet.len() - at - 2).unwrap_or(u16::MAX);
        set_word(self.packet, at, len);
        self.count = self.count.saturating_add(1);
    }

    pub(super) fn address(&mut self, owner: Owner<'_>, address: IpAddr, ttl: u32) {
        match address {
            IpAddr::V4(v4) => self.push(owner, A, ttl, |data| data.extend(v4.octets())),
            IpAddr::V6(v6) => self.push(owner, AAAA, ttl, |data| data.extend(v6.octets())),
        }
    }

    pub(super) fn name(&mut self, owner: Owner<'_>, kind: u16, target: &WireName, ttl: u32) {
        self.push(owner, kind, ttl, |data| data.extend_from_slice(&target.0));
    }

    pub(super) fn srv(&mut self, owner: Owner<'_>, numbers: [u16; 3], target: &WireName, ttl: u32) {
        self.push(owner, SRV, ttl, |data| {
            for number in numbers {
                data.extend(number.to_be_bytes());
            }
            data.extend_from_slice(&target.0);
        });
    }

    pub(super) fn txt(&mut self, owner: Owner<'_>, text: &str, ttl: u32) {
        self.push(owner, TXT, ttl, |data| {
            for part in text.as_bytes().chunks(TXT_STRING_BYTES) {
                data.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
                data.extend_from_slice(part);
            }
        });
    }

    pub(super) fn soa(&mut self, owner: Owner<'_>, soa: &Soa, serial: u32, ttl: u32) {
        self.push(owner, SOA, ttl, |data| {
            data.extend_from_slice(&soa.server.0);
            data.extend_from_slice(&soa.mailbox.0);
            for number in [serial, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, NEGATIVE_TTL] {
                data.extend(number.to_be_bytes());
            }
        });
    }

    fn word(&mut self, word: u16) {
        self.packet.extend_from_slice(&word.to_be_bytes());
    }
}

/// Whom a zone names as its own.
#[derive(Debug)]
pub(super) struct Soa {
    pub(super) server: WireName,
    pub(super) mailbox: WireName,
}

/// Nobody transfers a zone; these are what a secondary would do.
const SOA_REFRESH: u32 = 30;
const SOA_RETRY: u32 = 5;
const SOA_EXPIRE: u32 = 24 * 3_600;
/// "There is no such name" is believed so long: what is registered now is found soon.
pub(super) const NEGATIVE_TTL: u32 = 5;

pub(super) fn set_word(packet: &mut [u8], at: usize, word: u16) {
    if let Some(pair) = packet.get_mut(at..at + 2) {
        pair.copy_from_slice(&word.to_be_bytes());
    }
}
