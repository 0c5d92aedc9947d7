//! Which machines take the mail of a domain (RFC 5321 5.1, RFC 7505).
//!
//! Must never take a resolver that does not answer for a domain that does not exist, nor send mail back to this server.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use grapevine_model::RegistryName;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver, TokioResolver};

use super::{At, Place};

/// Exchangers looked at: RFC 5321 wants at least two addresses tried.
const MOST_EXCHANGERS: usize = 10;
/// Where the machine's resolvers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Asks DNS.
pub(super) struct Lookup {
    resolver: TokioResolver,
    hostname: String,
}

/// Nothing to speak with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// For good.
    Never {
        /// RFC 3463.
        status: &'static str,
        /// For a person.
        why: String,
    },
    /// Now, and why.
    Later(String),
}

impl Lookup {
    /// Asks these resolvers, or the machine's own.
    pub(super) fn new(servers: &[SocketAddr], hostname: String) -> Result<Self, String> {
        let own;
        let servers = if servers.is_empty() {
            // As the system's own library does it where there is no file.
            let text = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
            own = name_servers(&text);
            own.as_slice()
        } else {
            servers
        };
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut how| {
                how.port = server.port();
                how
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            .build()
            .map_err(|error| format!("no resolver: {error}"))?;
        Ok(Self { resolver, hostname })
    }

    /// The addresses of a machine that the configuration names.
    pub(super) async fn host(&self, host: &str, port: u16) -> Result<Vec<Place>, NoPlace> {
        // Names of this machine's own (/etc/hosts) count here.
        let found = tokio::net::lookup_host((host, port)).await;
        let places: Vec<Place> = match found {
            Ok(addresses) => addresses.map(|address| place(host, address)).collect(),
            Err(error) => return Err(NoPlace::Later(format!("{host}: {error}"))),
        };
        if places.is_empty() {
            return Err(NoPlace::Later(format!("{host} has no address")));
        }
        Ok(places)
    }

    /// The machines that take a domain's mail, the first to be asked first.
    pub(super) async fn exchangers(&self, domain: &str, port: u16) -> Result<Vec<Place>, NoPlace> {
        let (hosts, implicit) = match self.resolver.mx_lookup(format!("{domain}.")).await {
            Ok(found) => {
                let records = found
                    .answers()
                    .iter()
                    .filter_map(|record| match &record.data {
                        RData::MX(mx) => Some((mx.preference, mx.exchange.to_utf8())),
                        _ => None,
                    });
                (self.order(domain, records.collect())?, false)
            }
            Err(error) => match Absence::of(&error) {
                // RFC 5321 5.1: without an exchanger the domain itself is one.
                Some(Absence::Records) => (self.order(domain, vec![(0, domain.into())])?, true),
                Some(Absence::Domain) => {
                    return Err(never("5.1.2", format!("there is no domain {domain}")));
                }
                None => return Err(NoPlace::Later(format!("DNS, for {domain}: {error}"))),
            },
        };
        let (mut places, mut trouble) = (Vec::new(), None);
        for host in hosts.into_iter().take(MOST_EXCHANGERS) {
            match self.resolver.lookup_ip(format!("{host}.")).await {
                Ok(found) => places.extend(
                    found
                        .iter()
                        .map(|ip| place(&host, SocketAddr::new(ip, port))),
                ),
                Err(error) if Absence::of(&error).is_some() => {}
                Err(error) => trouble = Some(format!("DNS, for {host}: {error}")),
            }
        }
        match (places.is_empty(), trouble, implicit) {
            (false, _, _) => Ok(places),
            (true, Some(trouble), _) => Err(NoPlace::Later(trouble)),
            (true, None, true) => Err(never(
                "5.1.2",
                format!("{domain} has neither a mail exchanger nor an address"),
            )),
            (true, None, false) => Err(NoPlace::Later(format!(
                "no mail exchanger of {domain} has an address"
            ))),
        }
    }

    /// Exchangers in the order of their preference, equals in any; those behind this server are left out.
    fn order(&self, domain: &str, records: Vec<(u16, String)>) -> Result<Vec<String>, NoPlace> {
        let bare = |host: &str| host.trim_end_matches('.').to_ascii_lowercase();
        if let [(_, only)] = records.as_slice()
            && bare(only).is_empty()
        {
            return Err(never(
                "5.1.10",
                format!("{domain} takes no mail (RFC 7505)"),
            ));
        }
        let own = bare(&self.hostname);
        let mine = records.iter().filter(|(_, host)| bare(host) == own);
        let before = mine.map(|(preference, _)| *preference).min();
        let mut hosts: Vec<(u16, u64, String)> = records
            .iter()
            .filter(|(preference, _)| before.is_none_or(|before| *preference < before))
            .map(|(preference, host)| (*preference, chance(), bare(host)))
            // What is no name of a machine is none.
            .filter(|(_, _, host)| host.parse::<RegistryName>().is_ok())
            .collect();
        if hosts.is_empty() && before.is_some() {
            let why = format!("mail for {domain} would come back to this server, {own}");
            return Err(never("5.4.6", why));
        }
        hosts.sort();
        Ok(hosts.into_iter().map(|(_, _, host)| host).collect())
    }
}

/// Without chance the order is the names': no harm.
fn chance() -> u64 {
    getrandom::u64().unwrap_or_default()
}

fn place(host: &str, address: SocketAddr) -> Place {
    Place {
        name: host.to_owned(),
        at: At::Tcp(address),
    }
}

fn never(status: &'static str, why: String) -> NoPlace {
    NoPlace::Never { status, why }
}

/// What DNS says that there is not.
#[derive(Debug, PartialEq, Eq)]
enum Absence {
    Domain,
    Records,
}

impl Absence {
    /// None where it does not say.
    fn of(error: &NetError) -> Option<Self> {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain => Some(Self::Domain),
                ResponseCode::NoError => Some(Self::Records),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The `nameserver` lines of a resolv.conf; without one, this machine.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("nameserver"), Some(address)) => address.parse::<IpAddr>().ok(),
            _ => None,
        }
    });
    let mut servers: Vec<SocketAddr> = words.map(|ip| SocketAddr::new(ip, 53)).collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
    }
    servers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn order(records: &[(u16, &str)]) -> Result<Vec<String>, NoPlace> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let lookup = Lookup::new(&["127.0.0.1:9".parse().unwrap()], "Me.Example".into()).unwrap();
        let records = records.iter().map(|(n, host)| (*n, (*host).to_owned()));
        lookup.order("d.example", records.collect())
    }

    #[test]
    fn exchangers_come_in_order_and_never_back_to_this_server() {
        let all = order(&[(20, "c."), (5, "A.example."), (10, "b.")]).unwrap();
        assert_eq!(all, ["a.example", "b", "c"]);
        // Those of our own preference and after would hand it back to us.
        let before = order(&[(5, "a."), (10, "me.example."), (10, "b."), (20, "c.")]).unwrap();
        assert_eq!(before, ["a"]);
        let status = |records: &[(u16, &str)]| match order(records) {
            Err(NoPlace::Never { status, .. }) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status(&[(0, "me.example."), (5, "b.")]), "5.4.6");
        assert_eq!(status(&[(0, ".")]), "5.1.10");
        let firsts: std::collections::BTreeSet<String> = (0..64)
            .map(|_| order(&[(5, "a."), (5, "b.")]).unwrap().swap_remove(0))
            .collect();
        assert_eq!(firsts.len(), 2, "equals take turns");
        assert_eq!(order(&[(5, "a..b.")]), Ok(vec![]));
    }

    #[test]
    fn the_machines_resolvers_are_read_as_the_system_reads_them() {
        let text = "# x\nnameserver 192.0.2.53\nsearch a.b\nnameserver ::1 # y\nnameserver x\n";
        let read: Vec<String> = name_servers(text).iter().map(|s| s.to_string()).collect();
        assert_eq!(read, ["192.0.2.53:53", "[::1]:53"]);
        assert_eq!(name_servers("").len(), 1);
    }
}
