//! `grapevine.toml`: small, every key optional, unknown keys refused with the nearest known one.
//!
//! Holds no secret. Who a server *is* (name, key, the life of its disk) stands in its data folder, so
//! that a configuration can be copied without making a second server of the same name.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use grapevine_core::Alone;
use grapevine_doors::ldap::Posix;
use grapevine_model::{Door, MAX_MESSAGE_BYTES};
use serde::Deserialize;

use crate::config_storage::{
    ARCHIVE_KEYS, ArchiveConfig, ArchiveTable, STORAGE_KEYS, Storage, StorageTable,
};
use crate::logs::LogFormat;
use crate::password_cost::Cost;
use crate::routes::{self, RELAY_KEYS, ROUTE_KEYS, RelayConfig, RelayTable, RouteTable};

/// A larger file is no configuration.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// A known key is only suggested when it is about this near.
const NEAR_ENOUGH: f64 = 0.6;
/// As much as the model takes: a mail program's 50 MiB of attachments are 70 MiB in base64.
const DEFAULT_MESSAGE_MIB: u64 = MAX_MESSAGE_BYTES / (1024 * 1024);
/// Below this much space new messages are refused: room for what is in custody to be handed over.
const DEFAULT_RESERVE_MIB: u64 = 256;
/// Connections at each door for mail programs. A process has 1,024 files by default, and the store wants its part.
const DEFAULT_CONNECTIONS: usize = 500;
/// From one address: a family of mail programs behind one router opens some tens.
const DEFAULT_CONNECTIONS_PER_ADDRESS: usize = 100;
/// RFC 5321 4.5.4.1: "the give-up time generally needs to be at least 4-5 days".
const DEFAULT_GIVE_UP_HOURS: u64 = 5 * 24;
/// As long as most mail systems wait with their first notice (sendmail's and Exim's defaults): an outage over lunch tells nobody.
const DEFAULT_DELAY_NOTICE_HOURS: u64 = 4;
/// A month: a machine that is mended or moved comes back sooner.
const DEFAULT_RETENTION_DAYS: u64 = 30;
/// A shorter absence is everyday: a refresh fetches whole copies.
const MIN_RETENTION_DAYS: u64 = 2;
/// Ten years: longer is a mistake of units.
const MAX_RETENTION_DAYS: u64 = 3_650;
/// A working day: who comes back in the morning gives the password once.
const DEFAULT_TICKET_HOURS: u64 = 8;
/// A key in use for a season: what is made from an old backup or a stolen disk is worth nothing after it.
const DEFAULT_KEY_DAYS: u64 = 90;
/// Whoever uses his account once a week meets no unknown key.
const DEFAULT_KEY_NOTICE_HOURS: u64 = 168;
/// 30 days: at a server that is cut off, a stolen ticket lives to its end.
const MAX_TICKET_HOURS: u64 = 30 * 24;

/// Every key, by table: what `check_keys` knows and the documentation lists.
const KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "data",
            "hostname",
            "alone",
            "log",
            "log_format",
            "listen",
            "advertise",
            "tls",
            "ldap",
            "logins",
            "limits",
            "storage",
            "routes",
            "relay",
            "archive",
        ],
    ),
    (
        "listen",
        &[
            "rpc",
            "http",
            "https",
            "smtp",
            "lmtp",
            "submission",
            "submissions",
            "pop3",
            "pop3s",
            "imap",
            "imaps",
            "ldap",
            "ldaps",
            "dns",
            "sieve",
        ],
    ),
    (
        "advertise",
        &[
            "rpc",
            "http",
            "https",
            "smtp",
            "lmtp",
            "submission",
            "submissions",
            "pop3",
            "pop3s",
            "imap",
            "imaps",
            "ldap",
            "ldaps",
            "dns",
            "sieve",
        ],
    ),
    ("tls", &["certificate", "key"]),
    ("ldap", &["home_directory", "login_shell"]),
    ("routes", ROUTE_KEYS),
    ("relay", RELAY_KEYS),
    (
        "logins",
        &["argon2_memory_kib", "argon2_passes", "argon2_lanes"],
    ),
    (
        "limits",
        &[
            "message_mib",
            "reserve_mib",
            "connections",
            "connections_per_address",
            "give_up_hours",
            "delay_notice_hours",
            "ticket_hours",
            "retention_days",
            "key_days",
            "key_notice_hours",
        ],
    ),
    ("storage", STORAGE_KEYS),
    ("archive", ARCHIVE_KEYS),
];

/// The keys with their defaults, as `grapevine serve --help` prints them.
pub(crate) const HELP: &str = "\
The configuration (TOML; every key is optional):
  data = \".\"                 the data folder, from the file's own folder
  hostname                   how this machine is reached and calls itself in mail; default: its name
  alone = \"accept\"           or \"refuse\": what to do with mail when no second disk can be reached
  log = \"info\"               error, warn, info, debug, or filters by module
  log_format = \"text\"        or \"json\"
  [listen]                   where each door listens, as \"host:port\"; \"off\" closes it
    rpc = \"0.0.0.0:7101\"     other servers and GrapevineUser; never closed
    http = \"127.0.0.1:7102\"  /healthz, /readyz, /metrics, the API for this machine
    https = \"off\"            the API (/api/v1) for all, with the certificate of the doors for mail programs
    smtp = \"0.0.0.0:25\", submission = \"0.0.0.0:587\", submissions = \"0.0.0.0:465\",
    pop3 = \"0.0.0.0:110\", pop3s = \"0.0.0.0:995\", imap = \"0.0.0.0:143\", imaps = \"0.0.0.0:993\",
    ldap = \"0.0.0.0:389\", ldaps = \"0.0.0.0:636\", sieve = \"0.0.0.0:4190\"
    lmtp = \"off\"           for a mail server that hands over what is for this Grapevine; \"unix:/path\" too
    dns = \"off\"              services and names for DNS, UDP and TCP; the usual port is 53
  [advertise]                how others reach the doors (same keys); default: hostname and the door's port
  [tls]                      of the doors for mail programs; default: a certificate is made at each start
    certificate, key         PEM files, from the file's own folder
  [ldap]                     what the directory says of people for POSIX systems
    home_directory = \"/home/%u\"  %u stands for the simple name, %r for the registry
    login_shell = \"/bin/bash\"
  [logins]                   what a stolen hash of a password costs to attack; old ones are made anew at the next login
    argon2_memory_kib = 19456, argon2_passes = 2, argon2_lanes = 1
  [limits]
    message_mib = 100        the largest message (at most 100)
    reserve_mib = 256        with less free space than this, new messages are refused
    connections = 500        at each door for mail programs
    connections_per_address = 100
    give_up_hours = 120      after so long a message is reported as undeliverable
    delay_notice_hours = 4   after so long its sender is told that it waits; 0 for never
    ticket_hours = 8         a ticket (`grapevine login`) serves so long; at most 720
    retention_days = 30      a server silent for so long fetches its copies anew (2 to 3650)
    key_days = 90            the server's own key is replaced after so long; 0 for never
    key_notice_hours = 168   the new one is announced so long before it is used
  [storage]
    over_quota_hours = 24    mail for a full inbox is tried for so long, then reported
    retain_hours = 48        a copy of each message is kept so long after its delivery, for `replay`; 0 for none
  [[routes]]                 where mail for other systems goes; the first that fits counts; docs/relay.md
    domain = \"*\"             a domain, \"*.domain\", or \"*\" for all that are no registries of this Grapevine
    to = \"mx\"                or \"smtp:host:port\", \"smtps:host:port\", \"lmtp:host:port\", \"lmtp:/path\", \"hold\"
    names = \"unknown\"        where domain is a registry: the names that it lacks, or \"all\": nothing is kept here
    tls = \"offered\"          or \"never\", or \"required\" (with a certificate that is checked)
    ca                       certificates (PEM) that are taken where TLS is required; default: as browsers
    login, password_file     for a smart host
    at_once = 4              messages to one destination at one time
  [relay]
    networks = []            networks whose machines may send to anywhere without a login
    dns = []                 the resolvers to ask; default: the machine's own
    retry_seconds = 60, retry_most_minutes = 60   the pauses before a destination is tried again
    exchanger_port = 25      the port of mail exchangers
  [archive]                  where old and large messages go, and are read from (docs/storage.md)
    url                      \"file:///FOLDER\" or \"s3://BUCKET/PREFIX\"; default: none
    endpoint, region         of the service, for S3
    credentials              a file with access_key_id and secret_access_key; default: the environment (AWS_...)
    after_days = 90          what was not fetched for so long goes there; 0: everything
    larger_than_mib          what is larger goes there on the next day
    every_seconds = 3600     from one look to the next
SIGHUP has log, limits.reserve_mib and the certificate read again; the rest needs a new start.";

/// A checked configuration: all defaults filled in, all paths made whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where it was read.
    pub(crate) file: PathBuf,
    /// The data folder (default: the folder of the file).
    pub(crate) data: PathBuf,
    /// How the server calls itself in mail (default: the machine's name).
    pub(crate) hostname: String,
    /// What to do with a message when no second disk can be reached (default: accept it).
    pub(crate) alone: Alone,
    /// What is logged: `error`, `warn`, `info`, `debug`, or filters by module (default: `info`).
    pub(crate) log: String,
    /// As `text` (default) or `json`.
    pub(crate) log_format: LogFormat,
    /// Where each open door listens.
    pub(crate) listen: BTreeMap<Door, String>,
    /// How each open door is reached by others.
    pub(crate) advertise: BTreeMap<Door, String>,
    /// The certificate of the doors for mail programs (default: one is made).
    pub(crate) tls: Option<TlsFiles>,
    /// What the directory says of people for POSIX systems.
    pub(crate) posix: Posix,
    /// Where mail for other systems goes.
    pub(crate) relay: RelayConfig,
    /// What hashing a password costs.
    pub(crate) cost: Cost,
    /// How much of what.
    pub(crate) limits: Limits,
    /// What is kept, and for how long.
    pub(crate) storage: Storage,
    /// Where old and large bodies go, if anywhere.
    pub(crate) archive: Option<ArchiveConfig>,
}

/// A certificate chain and its key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

/// How much of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Largest message.
    pub(crate) message_bytes: u64,
    /// With less free space than this, new messages are refused.
    pub(crate) reserve_bytes: u64,
    /// Connections at each door for mail programs.
    pub(crate) connections: usize,
    /// Connections from one address.
    pub(crate) connections_per_address: usize,
    /// After so long a message is reported as undeliverable.
    pub(crate) give_up_hours: u64,
    /// Its sender hears after so long that it waits; 0 for never.
    pub(crate) delay_notice_hours: u64,
    /// A ticket serves so long.
    pub(crate) ticket_hours: u64,
    /// Servers that are silent for so long are not waited for when deletions are forgotten.
    pub(crate) retention_days: u64,
    /// The server's own key is replaced after so long; 0 for never.
    pub(crate) key_days: u64,
    /// A new key is announced so long before it is used.
    pub(crate) key_notice_hours: u64,
}

/// Why a configuration was not taken: one line that says what, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for ConfigError {}

/// The file as it is written.
#[derive(Deserialize, Default)]
#[serde(default)]
struct File {
    data: Option<PathBuf>,
    hostname: Option<String>,
    alone: Option<Alone>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    listen: BTreeMap<String, String>,
    advertise: BTreeMap<String, String>,
    tls: Option<TlsTable>,
    ldap: LdapTable,
    logins: LoginsTable,
    limits: LimitsTable,
    storage: StorageTable,
    routes: Vec<RouteTable>,
    relay: RelayTable,
    archive: ArchiveTable,
}

#[derive(Deserialize)]
struct TlsTable {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LdapTable {
    home_directory: Option<String>,
    login_shell: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LoginsTable {
    argon2_memory_kib: Option<u32>,
    argon2_passes: Option<u32>,
    argon2_lanes: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LimitsTable {
    message_mib: Option<u64>,
    reserve_mib: Option<u64>,
    connections: Option<usize>,
    connections_per_address: Option<usize>,
    give_up_hours: Option<u64>,
    delay_notice_hours: Option<u64>,
    ticket_hours: Option<u64>,
    retention_days: Option<u64>,
    key_days: Option<u64>,
    key_notice_hours: Option<u64>,
}

/// What an LMTP door on a socket of this machine begins with.
pub(crate) const SOCKET: &str = "unix:";
/// The word that closes a door.
const OFF: &str = "off";

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it, and how to mend it.
    pub(crate) fn load(file: &Path) -> Result<Self, ConfigError> {
        let say = |why: String| ConfigError(format!("{}: {why}", file.display()));
        let size = fs::metadata(file).map_err(|error| {
            say(format!(
                "{error}; `grapevine init` or `grapevine join` writes one"
            ))
        })?;
        if size.len() > MAX_FILE_BYTES {
            return Err(say(
                "larger than 1 MiB: it can't be a configuration".to_owned()
            ));
        }
        let text = fs::read_to_string(file).map_err(|error| say(error.to_string()))?;
        Self::parse(&text, file).map_err(say)
    }

    /// Checks a file's text.
    fn parse(text: &str, file: &Path) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error| one_line(&error))?;
        check_keys(&table)?;
        let read: File = toml::from_str(text).map_err(|error| one_line(&error))?;
        let folder = match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            Some(_) | None => PathBuf::from("."),
        };
        let hostname = match read.hostname {
            Some(hostname) => hostname,
            None => machine_name(),
        };
        if hostname.is_empty() || !hostname.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("hostname = {hostname:?} is no name of a machine"));
        }
        let listen = listen(&read.listen)?;
        let advertise = advertise(&read.advertise, &listen, &hostname)?;
        Ok(Self {
            file: file.to_path_buf(),
            data: read
                .data
                .map_or_else(|| folder.clone(), |data| folder.join(data)),
            hostname,
            alone: read.alone.unwrap_or(Alone::Accept),
            log: read.log.unwrap_or_else(|| "info".to_owned()),
            log_format: read.log_format.unwrap_or_default(),
            listen,
            advertise,
            tls: read.tls.map(|tls| TlsFiles {
                certificate: folder.join(tls.certificate),
                key: folder.join(tls.key),
            }),
            posix: read.ldap.check()?,
            relay: routes::check(read.routes, read.relay, &folder)?,
            cost: read.logins.check()?,
            limits: read.limits.check()?,
            storage: read.storage.check(),
            archive: read.archive.check(&folder)?,
        })
    }

    /// What of another reading only a new start would bring into force.
    pub(crate) fn needs_restart(&self, newer: &Self) -> Vec<&'static str> {
        let mut changed = Vec::new();
        let mut note = |differs: bool, key| {
            if differs {
                changed.push(key);
            }
        };
        note(self.data != newer.data, "data");
        note(self.hostname != newer.hostname, "hostname");
        note(self.alone != newer.alone, "alone");
        note(self.log_format != newer.log_format, "log_format");
        note(self.listen != newer.listen, "listen");
        note(self.advertise != newer.advertise, "advertise");
        note(self.tls != newer.tls, "tls");
        note(self.posix != newer.posix, "ldap");
        note(self.relay != newer.relay, "routes and relay");
        note(self.cost != newer.cost, "logins");
        let fixed = |limits: &Limits| Limits {
            reserve_bytes: 0,
            ..*limits
        };
        note(fixed(&self.limits) != fixed(&newer.limits), "limits");
        note(self.storage != newer.storage, "storage");
        note(self.archive != newer.archive, "archive");
        changed
    }
}

impl LdapTable {
    fn check(self) -> Result<Posix, String> {
        let standard = Posix::default();
        // A line of passwd has colons between its fields.
        let path = |key: &str, given: Option<String>, default: String| match given {
            Some(path) if path.starts_with('/') && !path.contains([':', '\n', '\0']) => Ok(path),
            Some(path) => Err(format!(
                "ldap.{key} = {path:?}: give a path that begins with / and has no colon"
            )),
            None => Ok(default),
        };
        Ok(Posix {
            home_directory: path(
                "home_directory",
                self.home_directory,
                standard.home_directory,
            )?,
            login_shell: path("login_shell", self.login_shell, standard.login_shell)?,
        })
    }
}

impl LoginsTable {
    fn check(self) -> Result<Cost, String> {
        let standard = Cost::STANDARD;
        Cost::new(
            self.argon2_memory_kib.unwrap_or(standard.memory_kib()),
            self.argon2_passes.unwrap_or(standard.passes()),
            self.argon2_lanes.unwrap_or(standard.lanes()),
        )
    }
}

impl LimitsTable {
    fn check(self) -> Result<Limits, String> {
        const MIB: u64 = 1024 * 1024;
        let message_mib = self.message_mib.unwrap_or(DEFAULT_MESSAGE_MIB);
        if message_mib == 0 || message_mib > MAX_MESSAGE_BYTES / MIB {
            return Err(format!(
                "limits.message_mib = {message_mib}: give 1 to {}",
                MAX_MESSAGE_BYTES / MIB
            ));
        }
        let positive = |key: &str, value: Option<usize>, default: usize| match value {
            Some(0) => Err(format!(
                "limits.{key} = 0 would let nobody in: give 1 or more"
            )),
            Some(value) => Ok(value),
            None => Ok(default),
        };
        let give_up_hours = self.give_up_hours.unwrap_or(DEFAULT_GIVE_UP_HOURS);
        if give_up_hours == 0 {
            return Err("limits.give_up_hours = 0 would try nothing twice: give 1 or more".into());
        }
        let ticket_hours = self.ticket_hours.unwrap_or(DEFAULT_TICKET_HOURS);
        if ticket_hours == 0 || ticket_hours > MAX_TICKET_HOURS {
            return Err(format!(
                "limits.ticket_hours = {ticket_hours}: give 1 to {MAX_TICKET_HOURS}"
            ));
        }
        let retention_days = self.retention_days.unwrap_or(DEFAULT_RETENTION_DAYS);
        if !(MIN_RETENTION_DAYS..=MAX_RETENTION_DAYS).contains(&retention_days) {
            return Err(format!(
                "limits.retention_days = {retention_days}: give {MIN_RETENTION_DAYS} to {MAX_RETENTION_DAYS}"
            ));
        }
        Ok(Limits {
            message_bytes: message_mib * MIB,
            reserve_bytes: self
                .reserve_mib
                .unwrap_or(DEFAULT_RESERVE_MIB)
                .saturating_mul(MIB),
            connections: positive("connections", self.connections, DEFAULT_CONNECTIONS)?,
            connections_per_address: positive(
                "connections_per_address",
                self.connections_per_address,
                DEFAULT_CONNECTIONS_PER_ADDRESS,
            )?,
            give_up_hours,
            delay_notice_hours: (self.delay_notice_hours).unwrap_or(DEFAULT_DELAY_NOTICE_HOURS),
            ticket_hours,
            retention_days,
            key_days: self.key_days.unwrap_or(DEFAULT_KEY_DAYS),
            key_notice_hours: self.key_notice_hours.unwrap_or(DEFAULT_KEY_NOTICE_HOURS),
        })
    }
}

/// Where a door listens when nothing is said: the standard ports, and loopback for `http`, where what
/// is said can be read on the way.
fn default_listen(door: Door) -> &'static str {
    match door {
        Door::Rpc => "0.0.0.0:7101",
        Door::Http => "127.0.0.1:7102",
        // The API with its log-in for other machines: opened where somebody wants it.
        Door::Https => OFF,
        Door::Smtp => "0.0.0.0:25",
        Door::Submission => "0.0.0.0:587",
        Door::Submissions => "0.0.0.0:465",
        Door::Pop3 => "0.0.0.0:110",
        Door::Pop3s => "0.0.0.0:995",
        Door::Imap => "0.0.0.0:143",
        Door::Imaps => "0.0.0.0:993",
        Door::Ldap => "0.0.0.0:389",
        Door::Ldaps => "0.0.0.0:636",
        Door::Sieve => "0.0.0.0:4190",
        // For a mail server beside this one: opened where there is one.
        Door::Lmtp => OFF,
        // A machine may well have a resolver at port 53 already: it is opened when that is said.
        Door::Dns => OFF,
    }
}

fn listen(given: &BTreeMap<String, String>) -> Result<BTreeMap<Door, String>, String> {
    let mut listen = BTreeMap::new();
    for door in Door::ALL {
        let at = given
            .get(door.as_str())
            .map_or(default_listen(door), String::as_str);
        match (at == OFF, door) {
            (true, Door::Rpc) => {
                return Err(
                    "listen.rpc = \"off\": the other servers come in there; give an address".into(),
                );
            }
            (true, _) => {}
            (false, Door::Lmtp) if at.starts_with(SOCKET) => {
                if !at.starts_with("unix:/") {
                    return Err(format!("listen.lmtp = {at:?}: give the whole path, from /"));
                }
                listen.insert(door, at.to_owned());
            }
            (false, _) => {
                check_address("listen", door, at)?;
                listen.insert(door, at.to_owned());
            }
        }
    }
    Ok(listen)
}

fn advertise(
    given: &BTreeMap<String, String>,
    listen: &BTreeMap<Door, String>,
    hostname: &str,
) -> Result<BTreeMap<Door, String>, String> {
    let mut advertise = BTreeMap::new();
    // A socket is reached on this machine only.
    let open = listen.iter().filter(|(_, at)| !at.starts_with(SOCKET));
    for (door, at) in open {
        let reached = match given.get(door.as_str()) {
            Some(reached) => {
                check_address("advertise", *door, reached)?;
                reached.clone()
            }
            None => match at.rsplit_once(':') {
                // Everywhere is no place: others come by the machine's name.
                Some(("0.0.0.0" | "[::]", port)) => format!("{hostname}:{port}"),
                Some(_) | None => at.clone(),
            },
        };
        advertise.insert(*door, reached);
    }
    Ok(advertise)
}

fn check_address(table: &str, door: Door, at: &str) -> Result<(), String> {
    let sound = at
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if sound {
        return Ok(());
    }
    Err(format!(
        "{table}.{door} = {at:?} is no address: write \"host:port\", as in \"{default}\"{off}",
        door = door.as_str(),
        default = default_listen(door),
        off = if table == "listen" {
            ", or \"off\""
        } else {
            ""
        },
    ))
}

/// Refuses keys that are not known, with the nearest one that is.
fn check_keys(table: &toml::Table) -> Result<(), String> {
    for (name, known) in KEYS {
        let inner: Vec<&toml::Table> = match table.get(*name) {
            _ if name.is_empty() => vec![table],
            Some(toml::Value::Table(inner)) => vec![inner],
            Some(toml::Value::Array(list)) => {
                list.iter().filter_map(toml::Value::as_table).collect()
            }
            Some(_) | None => Vec::new(),
        };
        for key in inner.into_iter().flat_map(toml::Table::keys) {
            if !known.contains(&key.as_str()) {
                return Err(unknown_key(name, key));
            }
        }
    }
    Ok(())
}

fn unknown_key(table: &str, key: &str) -> String {
    let whole = |table: &str, key: &str| {
        if table.is_empty() {
            key.to_owned()
        } else {
            format!("{table}.{key}")
        }
    };
    let written = whole(table, key);
    let every = KEYS
        .iter()
        .flat_map(|(table, keys)| keys.iter().map(move |key| (*key, whole(table, key))));
    // A key of the right name in the wrong table is near, too.
    let nearest = every
        .map(|(last, known)| {
            let near = strsim::jaro_winkler(&written, &known).max(strsim::jaro_winkler(key, last));
            (near, known)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((near, known)) if near >= NEAR_ENOUGH => {
            format!("there is no key {written:?}; did you mean {known:?}?")
        }
        Some(_) | None => format!("there is no key {written:?}"),
    }
}

fn machine_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// An error of the TOML parser with its line, on one line.
fn one_line(error: &toml::de::Error) -> String {
    error
        .to_string()
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/grapevine/grapevine.toml"))
    }

    #[test]
    fn an_empty_file_is_a_whole_configuration() {
        let config = parse("").unwrap();
        assert_eq!(config.data, Path::new("/etc/grapevine"));
        assert_eq!(config.alone, Alone::Accept);
        // DNS, HTTPS and LMTP are opened when that is said.
        assert_eq!(config.listen.len(), Door::ALL.len() - 3);
        assert_eq!(config.limits.message_bytes, MAX_MESSAGE_BYTES);
        assert_eq!(
            config.advertise[&Door::Rpc],
            format!("{}:7101", config.hostname)
        );
        assert_eq!(config.advertise[&Door::Http], "127.0.0.1:7102");
    }

    #[test]
    fn every_key_is_documented() {
        for (_, keys) in KEYS {
            for key in *keys {
                assert!(HELP.contains(key), "{key}");
            }
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        for (text, nearest) in [
            ("hostnmae = 'x'", "\"hostname\""),
            ("[listen]\nsmpt = '127.0.0.1:1'", "\"listen.smtp\""),
            ("[limits]\nmessage_mb = 3", "\"limits.message_mib\""),
            ("message_mib = 3", "\"limits.message_mib\""),
            ("[[routes]]\ndomian = 'x'", "\"routes.domain\""),
            ("[relay]\nnetwork = []", "\"relay.networks\""),
            ("[lisen]\nsmtp = '127.0.0.1:1'", "\"listen\""),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(nearest), "{text}: {refused}");
            assert!(!refused.contains('\n'));
        }
    }

    #[test]
    fn what_can_not_work_is_refused_with_what_would() {
        for (text, says) in [
            ("listen = 3", "line 1"),
            ("[listen]\nrpc = 'off'", "listen.rpc"),
            ("[listen]\nsmtp = 'here'", "host:port"),
            ("[limits]\nmessage_mib = 0", "give 1 to 100"),
            ("[limits]\nconnections = 0", "give 1 or more"),
            ("[limits]\nretention_days = 1", "give 2 to 3650"),
            (
                "[logins]\nargon2_memory_kib = 4096",
                "with 2 passes give 19456 to 131072",
            ),
            ("[logins]\nargon2_passes = 0", "give 1 to 16"),
            ("alone = 'maybe'", "accept"),
            ("[ldap]\nlogin_shell = 'bash'", "begins with /"),
            ("[ldap]\nhome_directory = '/home:x'", "no colon"),
            ("data = ", "line 1"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
            assert!(!refused.contains('\n'));
        }
    }

    #[test]
    fn a_closed_door_is_neither_open_nor_advertised() {
        let config = parse("[listen]\npop3 = 'off'").unwrap();
        assert!(!config.listen.contains_key(&Door::Pop3));
        assert!(!config.advertise.contains_key(&Door::Pop3));
    }

    #[test]
    fn only_what_can_not_be_reloaded_needs_a_restart() {
        let old = parse("").unwrap();
        let new = parse("log = 'debug'\nalone = 'refuse'\n[limits]\nreserve_mib = 7").unwrap();
        assert_eq!(old.needs_restart(&new), ["alone"]);
    }
}
