//! `[[routes]]` and `[relay]` of the configuration: where mail for other systems goes, and how.
//!
//! Must never let a password leave without TLS, nor take a route that can't work. What a route says of
//! domains is the core's; what it says of machines, certificates and passwords stays in the shell.

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use grapevine_core::{NextHop, Route, RoutedNames, Routes};
use grapevine_model::Secret;
use serde::Deserialize;

/// Messages handed to one destination at one time: what a stranger's server takes without a word (Postfix
/// begins with 5, many providers refuse more than 10).
const AT_ONCE: usize = 4;
/// One route can't take all the connections that there are.
const MOST_AT_ONCE: usize = 50;
/// A minute: what is only restarted is up again.
const RETRY_SECONDS: u64 = 60;
/// An hour (RFC 5321 4.5.4.1: "at least 30 minutes", once the first tries have failed).
const RETRY_MOST_MINUTES: u64 = 60;
/// The port of mail exchangers (RFC 5321 4.5.4.2).
const SMTP_PORT: u16 = 25;
/// RFC 8314: submission inside TLS.
const SUBMISSIONS_PORT: u16 = 465;
/// A password file is a line.
const MAX_PASSWORD_BYTES: u64 = 4_096;

/// The keys of one `[[routes]]`.
pub(crate) const ROUTE_KEYS: &[&str] = &[
    "domain",
    "to",
    "names",
    "tls",
    "ca",
    "login",
    "password_file",
    "at_once",
];

/// The keys of `[relay]`.
pub(crate) const RELAY_KEYS: &[&str] = &[
    "networks",
    "dns",
    "retry_seconds",
    "retry_most_minutes",
    "exchanger_port",
];

/// All about mail for other systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelayConfig {
    /// What the core knows.
    pub(crate) routes: Routes,
    /// How each route is travelled, in the same order.
    pub(crate) ways: Vec<Way>,
    /// From where mail may go out to anywhere without a login.
    pub(crate) networks: Vec<Network>,
    /// The resolvers that are asked; none for the machine's own.
    pub(crate) dns: Vec<SocketAddr>,
    /// The first pause before a destination is tried again.
    pub(crate) retry_seconds: u64,
    /// The longest.
    pub(crate) retry_most_minutes: u64,
    /// The port of mail exchangers.
    pub(crate) exchanger_port: u16,
}

/// How a route is travelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// To what.
    pub(crate) target: Target,
    /// Whether inside TLS.
    pub(crate) tls: TlsPolicy,
    /// Whose certificates are taken where TLS is required: those in this file, or those that browsers take.
    pub(crate) ca: Option<PathBuf>,
    /// With which name and password.
    pub(crate) login: Option<(String, Secret)>,
}

/// To what a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The mail exchangers of the domain.
    Exchangers,
    /// A machine that speaks SMTP.
    Smtp {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
        /// When TLS begins.
        begins: TlsBegins,
    },
    /// A machine that speaks LMTP.
    Lmtp {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A socket of this machine where LMTP is spoken.
    LmtpSocket(PathBuf),
    /// Nothing.
    Hold,
}

/// When TLS begins at a machine that speaks SMTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsBegins {
    /// With STARTTLS.
    Asked,
    /// With the first byte.
    AtOnce,
}

/// Whether a route is travelled inside TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TlsPolicy {
    /// Never.
    Never,
    /// Where it is offered, whatever the certificate: better than nothing (RFC 7435).
    #[default]
    Offered,
    /// Always, with a certificate that is checked; or not at all.
    Required,
}

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

/// `[[routes]]` as it is written.
#[derive(Deserialize)]
pub(crate) struct RouteTable {
    domain: String,
    to: String,
    names: Option<Names>,
    tls: Option<TlsPolicy>,
    ca: Option<PathBuf>,
    login: Option<String>,
    password_file: Option<PathBuf>,
    at_once: Option<usize>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Names {
    Unknown,
    All,
}

/// `[relay]` as it is written.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct RelayTable {
    networks: Vec<String>,
    dns: Vec<String>,
    retry_seconds: Option<u64>,
    retry_most_minutes: Option<u64>,
    exchanger_port: Option<u16>,
}

/// Checks what is written.
pub(crate) fn check(
    routes: Vec<RouteTable>,
    relay: RelayTable,
    folder: &Path,
) -> Result<RelayConfig, String> {
    let (mut known, mut ways) = (Vec::new(), Vec::new());
    for table in routes {
        let (route, way) = table.check(folder)?;
        known.push(route);
        ways.push(way);
    }
    let positive = |key: &str, value: Option<u64>, default: u64| match value {
        Some(0) => Err(format!("relay.{key} = 0 would never rest: give 1 or more")),
        Some(value) => Ok(value),
        None => Ok(default),
    };
    Ok(RelayConfig {
        routes: Routes(known),
        ways,
        networks: relay
            .networks
            .iter()
            .map(|text| Network::parse(text))
            .collect::<Result<_, _>>()?,
        dns: relay
            .dns
            .iter()
            .map(|text| {
                text.parse()
                    .or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53)))
                    .map_err(|_| {
                        format!("relay.dns = {text:?}: give an address, as in \"192.0.2.53\"")
                    })
            })
            .collect::<Result<_, _>>()?,
        retry_seconds: positive("retry_seconds", relay.retry_seconds, RETRY_SECONDS)?,
        retry_most_minutes: positive(
            "retry_most_minutes",
            relay.retry_most_minutes,
            RETRY_MOST_MINUTES,
        )?,
        exchanger_port: relay.exchanger_port.unwrap_or(SMTP_PORT),
    })
}

impl RouteTable {
    fn check(self, folder: &Path) -> Result<(Route, Way), String> {
        let say = |why: String| format!("the route for {:?}: {why}", self.domain);
        let domain = (self.domain.parse()).map_err(|_| {
            say("write a domain, \"*.domain\" for all below it, or \"*\" for all".into())
        })?;
        let target = target(&self.to).map_err(say)?;
        let tls = self.tls.unwrap_or_default();
        let at_once = self.at_once.unwrap_or(AT_ONCE);
        if !(1..=MOST_AT_ONCE).contains(&at_once) {
            return Err(say(format!(
                "at_once = {at_once}: give 1 to {MOST_AT_ONCE}"
            )));
        }
        let is_exactly = matches!(domain, grapevine_core::DomainPattern::Exactly(_));
        let names = match self.names {
            None | Some(Names::Unknown) => RoutedNames::Unknown,
            Some(Names::All) if is_exactly => RoutedNames::All,
            Some(Names::All) => {
                let why = "names = \"all\" is for one registry, by its whole name";
                return Err(say(why.into()));
            }
        };
        if is_exactly && names == RoutedNames::All && target == Target::Exchangers {
            let why = "its exchangers may be this very server: name the server that has its mail";
            return Err(say(why.into()));
        }
        let login = match (self.login, self.password_file) {
            (None, None) => None,
            (Some(login), Some(file)) => {
                let file = folder.join(file);
                let password = read_password(&file).map_err(say)?;
                Some((login, password))
            }
            (Some(_), None) | (None, Some(_)) => {
                return Err(say("login and password_file go together".into()));
            }
        };
        let inside = match &target {
            Target::Smtp { begins, .. } => {
                *begins == TlsBegins::AtOnce || tls == TlsPolicy::Required
            }
            Target::LmtpSocket(_) => true,
            Target::Exchangers | Target::Lmtp { .. } | Target::Hold => false,
        };
        if login.is_some() && !inside {
            let why =
                "a password goes to one server by SMTP, and inside TLS: add tls = \"required\"";
            return Err(say(why.into()));
        }
        let next = match &target {
            Target::Exchangers => NextHop::Exchangers,
            Target::Hold => NextHop::Hold,
            place => NextHop::Place(place.to_string()),
        };
        let way = Way {
            target,
            tls,
            ca: self.ca.map(|ca| folder.join(ca)),
            login,
        };
        let route = Route {
            domain,
            names,
            next,
            at_once,
        };
        Ok((route, way))
    }
}

fn target(text: &str) -> Result<Target, String> {
    let place = |rest: &str, default: Option<u16>| {
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':').map(str::to_owned)),
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.to_owned())),
                None => (rest, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok(),
            None => default,
        };
        let sound = !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic());
        match port {
            Some(port) if sound && port > 0 => Ok((host.to_owned(), port)),
            Some(_) | None => Err(format!("to = {text:?}: write host:port after the protocol")),
        }
    };
    match text.split_once(':') {
        None if text == "mx" => Ok(Target::Exchangers),
        None if text == "hold" => Ok(Target::Hold),
        Some(("smtp", rest)) => place(rest, Some(SMTP_PORT)).map(|(host, port)| Target::Smtp {
            host,
            port,
            begins: TlsBegins::Asked,
        }),
        Some(("smtps", rest)) => {
            place(rest, Some(SUBMISSIONS_PORT)).map(|(host, port)| Target::Smtp {
                host,
                port,
                begins: TlsBegins::AtOnce,
            })
        }
        Some(("lmtp", path)) if path.starts_with('/') => {
            Ok(Target::LmtpSocket(PathBuf::from(path)))
        }
        Some(("lmtp", rest)) => place(rest, None).map(|(host, port)| Target::Lmtp { host, port }),
        Some(_) | None => Err(format!(
            "to = {text:?}: write \"mx\", \"smtp:host:port\", \"smtps:host:port\", \"lmtp:host:port\", \"lmtp:/path\" or \"hold\""
        )),
    }
}

/// The first line of a file; never empty.
fn read_password(file: &Path) -> Result<Secret, String> {
    let say = |why: String| format!("{}: {why}", file.display());
    let size = fs::metadata(file).map_err(|error| say(error.to_string()))?;
    if size.len() > MAX_PASSWORD_BYTES {
        return Err(say("larger than a password".into()));
    }
    let text = fs::read_to_string(file).map_err(|error| say(error.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret(line.to_owned())),
        Some(_) | None => Err(say(
            "its first line is empty: the password stands there".into()
        )),
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("relay.networks: {text:?} is no network: write \"192.0.2.0/24\" or an address")
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| wrong())?,
            None => most,
        };
        if bits > most {
            return Err(wrong());
        }
        if bits == 0 {
            return Err(format!(
                "relay.networks: {text:?} would let everybody in the world send to everybody: name your own networks"
            ));
        }
        Ok(Self { address, bits })
    }

    /// Whether an address lies in it.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(theirs)) => {
                (mine.to_bits() ^ theirs.to_bits()).leading_zeros()
            }
            (IpAddr::V6(mine), IpAddr::V6(theirs)) => {
                (mine.to_bits() ^ theirs.to_bits()).leading_zeros()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        differ >= u32::from(self.bits)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchangers => f.write_str("mx"),
            Self::Smtp {
                host,
                port,
                begins: TlsBegins::Asked,
            } => write!(f, "smtp:{host}:{port}"),
            Self::Smtp {
                host,
                port,
                begins: TlsBegins::AtOnce,
            } => write!(f, "smtps:{host}:{port}"),
            Self::Lmtp { host, port } => write!(f, "lmtp:{host}:{port}"),
            Self::LmtpSocket(path) => write!(f, "lmtp:{}", path.display()),
            Self::Hold => f.write_str("hold"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        routes: Vec<RouteTable>,
        #[serde(default)]
        relay: RelayTable,
    }

    fn parse(text: &str, folder: &Path) -> Result<RelayConfig, String> {
        let file: File = toml::from_str(text).unwrap();
        check(file.routes, file.relay, folder)
    }

    #[test]
    fn without_a_route_nothing_goes_out_and_nobody_is_let_through() {
        let config = parse("", Path::new("/")).unwrap();
        assert_eq!(config.routes, Routes::default());
        assert!(config.networks.is_empty() && config.dns.is_empty());
    }

    #[test]
    fn a_route_says_where_to_and_how() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "sesame\n").unwrap();
        let text = "
            [[routes]]
            domain = 'pa.example'
            to = 'lmtp:/run/old.sock'
            names = 'all'
            [[routes]]
            domain = '*.es.example'
            to = 'smtps:relay.example'
            login = 'us'
            password_file = 'secret'
            [[routes]]
            domain = '*'
            to = 'mx'
            at_once = 9
            [relay]
            networks = ['10.0.0.0/8', '2001:db8::/32', '192.0.2.7']
            dns = ['127.0.0.1:5353', '::1']";
        let config = parse(text, folder.path()).unwrap();
        assert_eq!(config.routes.0[0].names, RoutedNames::All);
        assert_eq!(
            config.ways[0].target,
            Target::LmtpSocket("/run/old.sock".into())
        );
        assert_eq!(config.ways[1].target.to_string(), "smtps:relay.example:465");
        assert_eq!(
            config.ways[1].login,
            Some(("us".into(), Secret("sesame".into())))
        );
        assert_eq!(config.routes.0[2].at_once, 9);
        assert_eq!(config.dns[0].port(), 5353);
        assert_eq!(config.dns[1].port(), 53);
        let inside = |text: &str| {
            let address = text.parse().unwrap();
            config.networks.iter().any(|network| network.has(address))
        };
        for text in ["10.255.0.1", "::ffff:10.0.0.1", "2001:db8::9", "192.0.2.7"] {
            assert!(inside(text), "{text}");
        }
        for text in ["11.0.0.1", "2001:db9::9", "192.0.2.8", "::10.0.0.1", "::1"] {
            assert!(!inside(text), "{text}");
        }
    }

    #[test]
    fn a_route_that_can_not_work_is_refused_with_what_would() {
        for (route, says) in [
            ("domain = '*a'\nto = 'mx'", "\"*.domain\""),
            ("domain = '*'\nto = 'mail.example'", "\"smtp:host:port\""),
            ("domain = '*'\nto = 'lmtp:mail.example'", "host:port"),
            ("domain = '*'\nto = 'smtp::25'", "host:port"),
            ("domain = '*'\nto = 'hold'\nnames = 'all'", "one registry"),
            (
                "domain = 'a.b'\nto = 'mx'\nnames = 'all'",
                "this very server",
            ),
            ("domain = '*'\nto = 'mx'\nat_once = 0", "give 1 to 50"),
            ("domain = '*'\nto = 'smtps:a'\nlogin = 'x'", "go together"),
            (
                "domain = '*'\nto = 'smtp:a'\nlogin = 'x'\npassword_file = '/proc/self/comm'",
                "tls = \"required\"",
            ),
        ] {
            let refused = parse(&format!("[[routes]]\n{route}"), Path::new("/")).unwrap_err();
            assert!(refused.contains(says), "{route}: {refused}");
            assert!(!refused.contains('\n'));
        }
        for (relay, says) in [
            ("networks = ['0.0.0.0/0']", "everybody"),
            ("networks = ['10.0.0.0/33']", "no network"),
            ("networks = ['here']", "no network"),
            ("dns = ['resolver.example']", "give an address"),
            ("retry_seconds = 0", "give 1 or more"),
        ] {
            let refused = parse(&format!("[relay]\n{relay}"), Path::new("/")).unwrap_err();
            assert!(refused.contains(says), "{relay}: {refused}");
        }
    }
}
