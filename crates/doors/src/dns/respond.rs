//! From a query to its answer.
//!
//! Guards P7: a zone that isn't whole, or is too old, is a server failure and never "no such name";
//! a pool of which nothing is known here but that others may know is one too.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::query::{Bad, HEADER_BYTES, Header, OPT, Query, header, parse};
use super::record::{
    A, AAAA, ANY, AXFR, HINFO, IN, IXFR, NEGATIVE_TTL, NS, Owner, Records, SOA, SRV, TXT, set_word,
};
use super::zone::{Found, Node, NodeSite, ServedZone, Zones};

/// Longest answer over UDP: what goes through every network unbroken (DNS flag day 2020). Longer
/// ones are asked for over TCP, so that nobody is flooded in another's name.
pub const MAX_UDP_ANSWER_BYTES: usize = 1_232;
/// Without EDNS (RFC 1035 4.2.1).
const PLAIN_UDP_BYTES: usize = 512;
/// Longest answer over TCP.
const MAX_TCP_ANSWER_BYTES: usize = 65_535;
/// Longest time in seconds for which an answer is believed: services move.
const MAX_TTL: u32 = 30;
/// An older snapshot is not answered from: the core makes one every few seconds, so it hangs.
const OLDEST_SNAPSHOT_MS: u64 = 60_000;

const NO_ERROR: u16 = 0;
const FORMAT_ERROR: u16 = 1;
const SERVER_FAILURE: u16 = 2;
const NO_SUCH_NAME: u16 = 3;
const NOT_IMPLEMENTED: u16 = 4;
const REFUSED: u16 = 5;
/// In EDNS's extension: the version is not spoken here.
const BAD_VERSION: u8 = 1;

const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const ANSWER: u16 = 0x8000;
/// What of a query's flags an answer repeats: the operation and "recursion desired".
const REPEATED: u16 = 0x7900;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// UDP: short, the rest by TCP.
    Udp,
    /// UDP, from where so many come that only "ask by TCP" is said.
    UdpOnlyTruncated,
    /// TCP.
    Tcp,
}

/// Writes the answer to a query; false if there is none to be given. `now_ms` is the clock that the
/// zones were installed by.
pub fn respond(packet: &[u8], over: Over, zones: &Zones, now_ms: u64, out: &mut Vec<u8>) -> bool {
    out.clear();
    match parse(packet) {
        Ok(query) => {
            answer(&query, over, zones, now_ms, out);
            true
        }
        Err(bad) => complain(packet, bad, out),
    }
}

fn complain(packet: &[u8], bad: Bad, out: &mut Vec<u8>) -> bool {
    let Ok(header) = header(packet) else {
        return false;
    };
    let rcode = match bad {
        Bad::NotAQuery => return false,
        Bad::Format => FORMAT_ERROR,
        Bad::NotImplemented => NOT_IMPLEMENTED,
        Bad::Version => NO_ERROR,
    };
    start(out, header, rcode);
    if bad == Bad::Version {
        push_opt(out, BAD_VERSION);
    }
    true
}

fn start(out: &mut Vec<u8>, header: Header, rcode: u16) {
    out.extend_from_slice(&header.id.to_be_bytes());
    let flags = ANSWER | (header.flags & REPEATED) | rcode;
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&[0; HEADER_BYTES - 4]);
}

fn push_opt(out: &mut Vec<u8>, extended: u8) {
    let size = MAX_UDP_ANSWER_BYTES as u16;
    out.push(0);
    out.extend_from_slice(&OPT.to_be_bytes());
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(&[extended, 0, 0, 0, 0, 0]);
    let additional = super::query::word(out, 10).unwrap_or(0);
    set_word(out, 10, additional.saturating_add(1));
}

/// What goes into an answer, before it is cut to size.
struct Sections {
    rcode: u16,
    flags: u16,
    counts: [u16; 3],
    /// Where the additional part begins, which may be left out.
    additional_at: usize,
}

fn answer(query: &Query<'_>, over: Over, zones: &Zones, now_ms: u64, out: &mut Vec<u8>) {
    start(out, query.header, NO_ERROR);
    out.extend_from_slice(query.question);
    let most = match over {
        Over::Udp | Over::UdpOnlyTruncated => {
            let size = query.edns_size.map_or(PLAIN_UDP_BYTES, usize::from);
            size.clamp(PLAIN_UDP_BYTES, MAX_UDP_ANSWER_BYTES)
        }
        Over::Tcp => MAX_TCP_ANSWER_BYTES,
    };
    let edns_bytes = if query.edns_size.is_some() { 11 } else { 0 };
    let begin = out.len();
    let mut sections = if over == Over::UdpOnlyTruncated {
        plain(NO_ERROR, TRUNCATED, begin)
    } else {
        fill(query, zones, now_ms, out)
    };
    if out.len() + edns_bytes > most {
        out.truncate(sections.additional_at);
        sections.counts[2] = 0;
    }
    if out.len() + edns_bytes > most {
        out.truncate(begin);
        sections.counts = [0; 3];
        sections.flags |= TRUNCATED;
    }
    let flags = ANSWER | (query.header.flags & REPEATED) | sections.flags | sections.rcode;
    set_word(out, 2, flags);
    set_word(out, 4, 1);
    for (slot, count) in sections.counts.into_iter().enumerate() {
        set_word(out, 6 + 2 * slot, count);
    }
    if query.edns_size.is_some() {
        push_opt(out, 0);
    }
}

fn plain(rcode: u16, flags: u16, at: usize) -> Sections {
    Sections {
        rcode,
        flags,
        counts: [0; 3],
        additional_at: at,
    }
}

fn fill(query: &Query<'_>, zones: &Zones, now_ms: u64, out: &mut Vec<u8>) -> Sections {
    if query.class != IN || matches!(query.kind, AXFR | IXFR) {
        return plain(REFUSED, 0, out.len());
    }
    // The longest zone that the name is in.
    let mut at = 0;
    let mut zone = None;
    for label in &query.labels {
        let name = query.name.get(at..).unwrap_or("");
        if let Some(found) = zones.get(name) {
            zone = Some((found, *label, at));
            break;
        }
        at = name.find('.').map_or(query.name.len(), |dot| at + dot + 1);
    }
    let Some((zone, apex, at)) = zone else {
        return plain(REFUSED, 0, out.len());
    };
    if !zone.sound || zone.age_ms(now_ms) > OLDEST_SNAPSHOT_MS {
        return plain(SERVER_FAILURE, 0, out.len());
    }
    let inside = query.name.get(..at.saturating_sub(1)).unwrap_or("");
    let reply = Reply {
        zone,
        apex: Owner::At(apex),
        asked: Owner::At(HEADER_BYTES as u16),
        turn: usize::from(query.header.id),
        lease_now_ms: zone.lease_now_ms(now_ms),
    };
    reply.write(query.kind, inside, out)
}

struct Reply<'a> {
    zone: &'a ServedZone,
    apex: Owner<'a>,
    asked: Owner<'a>,
    /// With which record to begin, so that equal ones share the load.
    turn: usize,
    lease_now_ms: u64,
}

impl Reply<'_> {
    fn write(&self, kind: u16, inside: &str, out: &mut Vec<u8>) -> Sections {
        let found = self.zone.find(inside);
        let mut rcode = NO_ERROR;
        let mut records = Records {
            packet: out,
            count: 0,
        };
        let mut extra: Vec<&NodeSite> = Vec::new();
        match &found {
            Found::Nothing => rcode = NO_SUCH_NAME,
            Found::Between => {}
            Found::Apex => self.apex_records(kind, &mut records),
            Found::Glue(address) => {
                if is_kind(*address, kind) {
                    records.address(self.asked, *address, MAX_TTL);
                }
            }
            Found::Name(node) => {
                let live = self.live(node, None);
                match (live.is_empty(), node.partial) {
                    (true, true) => return plain(SERVER_FAILURE, 0, records.packet.len()),
                    (true, false) => rcode = NO_SUCH_NAME,
                    (false, _) => self.name_records(kind, node, &live, &mut records),
                }
            }
            Found::Service(node, service) => {
                let live = self.live(node, Some(service));
                match (live.is_empty(), node.partial) {
                    (true, true) => return plain(SERVER_FAILURE, 0, records.packet.len()),
                    (true, false) => rcode = NO_SUCH_NAME,
                    (false, _) if kind == SRV => {
                        self.services(&live, &mut records);
                        extra = live;
                    }
                    (false, _) => {}
                }
            }
        }
        if kind == ANY && rcode == NO_ERROR && records.count == 0 {
            // RFC 8482 4.2: whoever asks for everything is told this.
            records.push(self.asked, HINFO, MAX_TTL, |data| {
                data.extend_from_slice(b"\x07RFC8482\x00");
            });
        }
        let answers = std::mem::take(&mut records.count);
        if answers == 0 {
            let soa = &self.zone.soa;
            records.soa(self.apex, soa, self.zone.serial, NEGATIVE_TTL);
        }
        let authority = std::mem::take(&mut records.count);
        let additional_at = records.packet.len();
        self.additional(kind, &found, &extra, &mut records);
        Sections {
            rcode,
            flags: AUTHORITATIVE,
            counts: [answers, authority, records.count],
            additional_at,
        }
    }

    fn apex_records(&self, kind: u16, records: &mut Records<'_>) {
        match kind {
            SOA => records.soa(self.apex, &self.zone.soa, self.zone.serial, MAX_TTL),
            NS => {
                for server in &self.zone.servers {
                    records.name(self.apex, NS, &server.target, MAX_TTL);
                }
            }
            _ => {}
        }
    }

    fn name_records(&self, kind: u16, node: &Node, live: &[&NodeSite], records: &mut Records<'_>) {
        let ttl = self.ttl(live);
        match kind {
            A | AAAA => {
                let mut addresses: Vec<IpAddr> = Vec::new();
                for address in live.iter().filter_map(|site| site.address) {
                    if is_kind(address, kind) && !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                let first = self.turn % addresses.len().max(1);
                addresses.rotate_left(first);
                for address in addresses {
                    records.address(self.asked, address, ttl);
                }
            }
            TXT if !node.text.is_empty() => records.txt(self.asked, &node.text, ttl),
            _ => {}
        }
    }

    fn services(&self, live: &[&NodeSite], records: &mut Records<'_>) {
        let ttl = self.ttl(live);
        let mut given = BTreeSet::new();
        for site in live {
            if let Some(target) = &site.target
                && given.insert((site.numbers, target))
            {
                records.srv(self.asked, site.numbers, target, ttl);
            }
        }
    }

    fn additional(
        &self,
        kind: u16,
        found: &Found<'_>,
        extra: &[&NodeSite],
        records: &mut Records<'_>,
    ) {
        let ttl = self.ttl(extra);
        let mut given = BTreeSet::new();
        for site in extra {
            if let (Some(target), Some(address)) = (&site.target, site.address)
                && given.insert((target, address))
            {
                records.address(Owner::Name(target), address, ttl);
            }
        }
        if kind == NS && matches!(found, Found::Apex) {
            for server in &self.zone.servers {
                if let Some((_, address)) = &server.glue {
                    records.address(Owner::Name(&server.target), *address, MAX_TTL);
                }
            }
        }
    }

    fn live<'n>(&self, node: &'n Node, service: Option<&str>) -> Vec<&'n NodeSite> {
        node.sites
            .iter()
            .filter(|site| site.until_ms.is_none_or(|until| until > self.lease_now_ms))
            .filter(|site| match service {
                Some(service) => site.door.serves(service) && site.target.is_some(),
                None => true,
            })
            .collect()
    }

    /// An answer is believed no longer than the first of its leases lasts (one time for all records
    /// of a set, RFC 2181 5.2).
    fn ttl(&self, live: &[&NodeSite]) -> u32 {
        let first = live.iter().filter_map(|site| site.until_ms).min();
        first.map_or(MAX_TTL, |until| {
            let left = until.saturating_sub(self.lease_now_ms) / 1_000;
            u32::try_from(left).unwrap_or(MAX_TTL).min(MAX_TTL)
        })
    }
}

fn is_kind(address: IpAddr, kind: u16) -> bool {
    match address {
        IpAddr::V4(_) => kind == A,
        IpAddr::V6(_) => kind == AAAA,
    }
}
