//! The LDAP Data Interchange Format (RFC 2849), as directories dump it.
//!
//! People (`inetOrgPerson`, `posixAccount`, ...) become individuals by their `uid`, groups
//! (`groupOfNames`, `posixGroup`, `nisMailAlias`, ...) groups by their `cn`. Attributes that
//! Grapevine has no place for are passed over, and so are containers. An entry with many members
//! is handed on in parts, so that its length is no matter.

use std::io::{self, BufRead, Write};
use std::str::FromStr;

use data_encoding::BASE64;
use grapevine_model::{EntryKind, ImportedEntry, Member, Name, RegistryName, Secret};

use super::{
    Found, MAX_ITEMS_AT_ONCE, MAX_LINE_BYTES, Record, Texts, all, member_in, name_in, next_line,
};

/// Values of one entry that are kept until its class is known; directories name it first.
const MAX_UNCLASSED: usize = 10 * MAX_ITEMS_AT_ONCE;
/// Object classes of people and programs.
const INDIVIDUALS: [&str; 6] = [
    "person",
    "organizationalperson",
    "inetorgperson",
    "posixaccount",
    "account",
    "simplesecurityobject",
];
/// Object classes of groups.
const GROUPS: [&str; 6] = [
    "groupofnames",
    "groupofuniquenames",
    "groupofmembers",
    "posixgroup",
    "nismailalias",
    "mailgroup",
];
/// How a stored Argon2id hash begins (OpenLDAP's argon2 module); other schemes can't be checked.
const ARGON2: &str = "{ARGON2}";

/// The end of distinguished names that stands for the registry; by default the registry's own
/// labels, `dc=pa,dc=example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suffix(Vec<(String, String)>);

impl FromStr for Suffix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        distinguished(text).map(Self)
    }
}

impl Suffix {
    fn of(registry: &RegistryName) -> Self {
        let labels = registry.as_str().split('.');
        Self(labels.map(|l| ("dc".to_owned(), l.to_owned())).collect())
    }

    /// What stands before the suffix in a distinguished name.
    fn strip<'a>(&self, dn: &'a [(String, String)]) -> Option<&'a [(String, String)]> {
        let before = dn.len().checked_sub(self.0.len())?;
        let (rest, end) = dn.split_at_checked(before)?;
        let same = end
            .iter()
            .zip(&self.0)
            .all(|(a, b)| a.0 == b.0 && a.1.to_lowercase() == b.1.to_lowercase());
        same.then_some(rest)
    }
}

/// The parts of a distinguished name (RFC 4514): types in lower case, values without escapes.
fn distinguished(text: &str) -> Result<Vec<(String, String)>, String> {
    let bad = || format!("`{text}` is no distinguished name");
    let mut parts = Vec::new();
    let mut rest = text.as_bytes().iter().copied().peekable();
    while rest.peek().is_some() {
        let (mut kind, mut value) = (Vec::new(), Vec::new());
        loop {
            match rest.next() {
                Some(b'=') => break,
                Some(octet) => kind.push(octet),
                None => return Err(bad()),
            }
        }
        // Spaces after an escape are meant; others at the end are not.
        let mut kept = 0;
        loop {
            match rest.next() {
                None | Some(b',') => break,
                Some(b'\\') => {
                    let first = rest.next().ok_or_else(bad)?;
                    let hex = |octet: u8| char::from(octet).to_digit(16);
                    let pair = hex(first).zip(rest.peek().copied().and_then(hex));
                    match pair {
                        Some((high, low)) => {
                            rest.next();
                            value.push(u8::try_from(high * 16 + low).unwrap_or_default());
                        }
                        None => value.push(first),
                    }
                    kept = value.len();
                }
                Some(b' ') if value.is_empty() => {}
                Some(octet) => {
                    value.push(octet);
                    if octet != b' ' {
                        kept = value.len();
                    }
                }
            }
        }
        value.truncate(kept);
        let kind = String::from_utf8(kind).map_err(|_| bad())?;
        let value = String::from_utf8(value).map_err(|_| bad())?;
        parts.push((kind.trim().to_ascii_lowercase(), value));
    }
    if parts.is_empty()
        || parts
            .iter()
            .any(|(kind, value)| kind.is_empty() || value.is_empty())
    {
        return Err(bad());
    }
    Ok(parts)
}

/// A member, in the way in which its attribute names it.
enum Said {
    Address(String),
    Distinguished(String),
}

/// What of an entry has been read and not yet handed on.
#[derive(Default)]
struct Pending {
    line: u64,
    dn: String,
    kind: Option<EntryKind>,
    /// Set when the first part is handed on: the others go by it.
    name: Option<Name>,
    bad: Option<String>,
    uid: Option<String>,
    cn: Option<String>,
    remark: Option<String>,
    password: Option<String>,
    sites: Vec<String>,
    forward: Vec<String>,
    aliases: Vec<String>,
    members: Vec<Said>,
    owners: Vec<Said>,
    friends: Vec<Said>,
}

impl Pending {
    fn items(&self) -> usize {
        self.members.len() + self.owners.len() + self.friends.len()
    }

    fn take(&mut self, attribute: &str, value: String) {
        // Options, as in `cn;lang-en`, are not told apart.
        let attribute = attribute.split(';').next().unwrap_or_default();
        match attribute.to_ascii_lowercase().as_str() {
            "dn" => self.dn = value,
            "changetype" if value.trim() != "add" => {
                self.bad = Some("a change and no entry".to_owned());
            }
            "objectclass" => {
                let class = value.trim().to_ascii_lowercase();
                if GROUPS.contains(&class.as_str()) {
                    self.kind = Some(EntryKind::Group);
                } else if INDIVIDUALS.contains(&class.as_str()) && self.kind.is_none() {
                    self.kind = Some(EntryKind::Individual);
                }
            }
            "uid" => self.uid = self.uid.take().or(Some(value)),
            "cn" => self.cn = self.cn.take().or(Some(value)),
            "description" => self.remark = self.remark.take().or(Some(value)),
            "userpassword" => self.password = Some(value),
            "grapevineinboxsite" => self.sites.push(value),
            "mailforwardingaddress" | "mailroutingaddress" => self.forward.push(value),
            "mailalternateaddress" | "maillocaladdress" => self.aliases.push(value),
            "member" | "uniquemember" => self.members.push(Said::Distinguished(value)),
            "memberuid" | "rfc822mailmember" | "mgrprfc822mailmember" => {
                self.members.push(Said::Address(value));
            }
            "owner" => self.owners.push(Said::Distinguished(value)),
            "grapevineowner" => self.owners.push(Said::Address(value)),
            "grapevinefriend" => self.friends.push(Said::Address(value)),
            _ => {}
        }
    }
}

/// Reads.
pub(super) struct Reader {
    input: Box<dyn BufRead + Send>,
    registry: RegistryName,
    suffix: Suffix,
    /// The line after the present one, read to see whether it continues it.
    ahead: Option<Result<Vec<u8>, String>>,
    number: u64,
    pending: Option<Pending>,
}

impl Reader {
    pub(super) fn new(
        input: Box<dyn BufRead + Send>,
        registry: RegistryName,
        suffix: Option<Suffix>,
    ) -> Self {
        Self {
            input,
            suffix: suffix.unwrap_or_else(|| Suffix::of(&registry)),
            registry,
            ahead: None,
            number: 0,
            pending: None,
        }
    }

    fn physical(&mut self) -> io::Result<Option<Result<Vec<u8>, String>>> {
        let mut line = Vec::new();
        let read = next_line(&mut *self.input, &mut line)?;
        Ok(read.map(|read| read.map(|()| line)))
    }

    /// The next line with those that continue it.
    fn logical(&mut self) -> io::Result<Option<Result<Vec<u8>, String>>> {
        let first = match self.ahead.take() {
            Some(line) => Some(line),
            None => self.physical()?,
        };
        let Some(mut line) = first else {
            return Ok(None);
        };
        self.number += 1;
        while let Some(next) = self.physical()? {
            match next {
                Ok(more) if more.first() == Some(&b' ') => {
                    self.number += 1;
                    if let Ok(whole) = &mut line {
                        whole.extend_from_slice(more.get(1..).unwrap_or_default());
                        if whole.len() > MAX_LINE_BYTES {
                            line = Err(format!("longer than {MAX_LINE_BYTES} octets"));
                        }
                    }
                }
                next => {
                    self.ahead = Some(next);
                    break;
                }
            }
        }
        Ok(Some(line))
    }

    fn member(&self, said: &Said) -> Result<Member, String> {
        let text = match said {
            Said::Address(text) => return member_in(text, &self.registry),
            Said::Distinguished(text) => text,
        };
        let dn = distinguished(text)?;
        let registry = match self.suffix.strip(&dn) {
            Some(_) => self.registry.clone(),
            None => {
                let labels: Vec<&str> = dn
                    .iter()
                    .filter(|(kind, _)| kind == "dc")
                    .map(|(_, label)| label.as_str())
                    .collect();
                let labels = labels.join(".");
                labels
                    .parse()
                    .map_err(|_| format!("`{text}` is in no registry"))?
            }
        };
        match dn.first() {
            Some((kind, simple)) if kind == "uid" || kind == "cn" => {
                name_in(&format!("{simple}@{registry}"), &registry).map(Member::Name)
            }
            Some(_) | None => Err(format!("`{text}` is named by neither `uid` nor `cn`")),
        }
    }

    fn members(&self, said: &[Said]) -> Result<Vec<Member>, String> {
        said.iter().map(|said| self.member(said)).collect()
    }

    /// Whose entry it is.
    fn name(&self, pending: &Pending, kind: EntryKind) -> Result<Name, String> {
        let dn = distinguished(&pending.dn)?;
        let Some(rest) = self.suffix.strip(&dn) else {
            return Err(format!(
                "`{}` is not under the registry's names; say with --suffix what is",
                pending.dn
            ));
        };
        let of = |wanted: &str| {
            let part = rest.first().filter(|(kind, _)| kind == wanted);
            part.map(|(_, value)| value.clone())
        };
        let simple = match kind {
            EntryKind::Individual => of("uid").or(pending.uid.clone()).or(of("cn")),
            EntryKind::Group => of("cn").or(pending.cn.clone()),
        };
        let simple = simple.ok_or_else(|| format!("`{}` has no name", pending.dn))?;
        Name::new(&simple, self.registry.clone()).map_err(|error| format!("`{simple}`: {error}"))
    }

    /// Makes an entry of what is pending, and leaves its lists empty.
    fn hand_on(&self, pending: &mut Pending) -> Found {
        let line = pending.line;
        if let Some(why) = pending.bad.take() {
            return Found::Bad { line, why };
        }
        let Some(kind) = pending.kind else {
            return Found::PassedOver;
        };
        match self.record(pending, kind) {
            Ok(record) => Found::Entry(Box::new(record)),
            Err(why) => Found::Bad { line, why },
        }
    }

    fn record(&self, pending: &mut Pending, kind: EntryKind) -> Result<Record, String> {
        let name = match pending.name.take() {
            Some(name) => name,
            None => self.name(pending, kind)?,
        };
        pending.name = Some(name.clone());
        let mut entry = ImportedEntry::new(name, kind);
        let lists = [
            &mut pending.members,
            &mut pending.owners,
            &mut pending.friends,
        ];
        let [members, owners, friends] = lists.map(std::mem::take);
        entry.members = self.members(&members)?;
        entry.owners = self.members(&owners)?;
        entry.friends = self.members(&friends)?;
        entry.remark = pending.remark.take();
        let places = [
            &mut pending.sites,
            &mut pending.forward,
            &mut pending.aliases,
        ];
        let [sites, forward, aliases] = places.map(std::mem::take);
        entry.sites = all(&sites, |site| {
            site.parse().map_err(|error| format!("`{site}`: {error}"))
        })?;
        entry.forward = all(&forward, |name| name_in(name, &self.registry))?;
        // Addresses elsewhere are not this registry's to give.
        entry.aliases = all(&aliases, |alias| name_in(alias, &self.registry))?;
        entry
            .aliases
            .retain(|alias| alias.registry() == &self.registry);
        let mut plain = None;
        match pending.password.take() {
            Some(stored) if stored.starts_with(ARGON2) => {
                let hash = stored.get(ARGON2.len()..).unwrap_or_default();
                entry.password = Some(Secret(hash.to_owned()));
            }
            // Another scheme's hash can't be checked: its owner needs a new password.
            Some(stored) if stored.starts_with('{') => {}
            Some(stored) => plain = Some(Secret(stored)),
            None => {}
        }
        let line = pending.line;
        Ok(Record { line, entry, plain })
    }
}

impl Iterator for Reader {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.logical() {
                Ok(Some(line)) => line,
                Ok(None) => {
                    let mut pending = self.pending.take()?;
                    return Some(Ok(self.hand_on(&mut pending)));
                }
                Err(error) => return Some(Err(error)),
            };
            let number = self.number;
            let line = match line {
                Ok(line) if line.is_empty() => match self.pending.take() {
                    Some(mut pending) => return Some(Ok(self.hand_on(&mut pending))),
                    None => continue,
                },
                Ok(line) if line.first() == Some(&b'#') => continue,
                line => line.and_then(|line| attribute(&line)),
            };
            if let Ok((attribute, _)) = &line
                && self.pending.is_none()
                && attribute.eq_ignore_ascii_case("version")
            {
                continue;
            }
            let pending = self.pending.get_or_insert_with(|| Pending {
                line: number,
                ..Pending::default()
            });
            match line {
                Ok((attribute, value)) => pending.take(&attribute, value),
                Err(why) => pending.bad = Some(format!("line {number}: {why}")),
            }
            let items = pending.items();
            if items >= MAX_ITEMS_AT_ONCE && pending.kind.is_some() && pending.bad.is_none() {
                let mut pending = self.pending.take()?;
                let found = self.hand_on(&mut pending);
                self.pending = Some(pending);
                return Some(Ok(found));
            }
            if items > MAX_UNCLASSED {
                pending.members = Vec::new();
                pending.bad = Some("its members come before its objectClass".to_owned());
            }
        }
    }
}

/// A line `attribute: value`, `attribute:: base64`.
fn attribute(line: &[u8]) -> Result<(String, String), String> {
    let colon = line.iter().position(|octet| *octet == b':');
    let (attribute, rest) = colon
        .and_then(|at| line.split_at_checked(at))
        .ok_or("no attribute")?;
    let attribute = std::str::from_utf8(attribute).map_err(|_| "an attribute that is no text")?;
    let rest = rest.get(1..).unwrap_or_default();
    let value = match rest.first() {
        Some(b':') => BASE64
            .decode(rest.get(1..).unwrap_or_default().trim_ascii())
            .map_err(|_| format!("the value of {attribute} is no base64"))?,
        Some(b'<') => return Err(format!("the value of {attribute} is elsewhere")),
        Some(_) | None => rest.trim_ascii_start().to_vec(),
    };
    let known_binary = [
        "jpegphoto",
        "usercertificate",
        "audio",
        "photo",
        "usersmimecertificate",
    ];
    let name = attribute.split(';').next().unwrap_or_default();
    if known_binary.contains(&name.to_ascii_lowercase().as_str()) {
        return Ok((attribute.to_owned(), String::new()));
    }
    let value =
        String::from_utf8(value).map_err(|_| format!("the value of {attribute} is not UTF-8"))?;
    Ok((attribute.to_owned(), value))
}

/// Writes.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut output: W) -> io::Result<Self> {
        output.write_all(b"version: 1\n")?;
        Ok(Self { output })
    }

    pub(super) fn entry(&mut self, entry: &ImportedEntry) -> io::Result<()> {
        self.output.write_all(b"\n")?;
        let simple = entry.name.simple();
        let naming = match entry.kind {
            EntryKind::Individual => "uid",
            EntryKind::Group => "cn",
        };
        let labels = entry.name.registry().as_str().split('.');
        let suffix: Vec<String> = labels.map(|label| format!("dc={label}")).collect();
        let dn = format!("{naming}={},{}", escaped(simple), suffix.join(","));
        self.value("dn", &dn)?;
        match entry.kind {
            EntryKind::Individual => {
                self.value("objectClass", "inetOrgPerson")?;
                self.value("uid", simple)?;
                self.value("cn", simple)?;
                self.value("sn", simple)?;
            }
            EntryKind::Group => {
                self.value("objectClass", "nisMailAlias")?;
                self.value("cn", simple)?;
            }
        }
        self.value("mail", &entry.name.to_string())?;
        if let Some(remark) = &entry.remark {
            self.value("description", remark)?;
        }
        self.lists(entry)
    }

    pub(super) fn lists(&mut self, entry: &ImportedEntry) -> io::Result<()> {
        let texts = Texts::of(entry);
        let lists = [
            ("grapevineInboxSite", texts.sites),
            ("mailForwardingAddress", texts.forward),
            ("mailAlternateAddress", texts.aliases),
            ("rfc822MailMember", texts.members),
            ("grapevineOwner", texts.owners),
            ("grapevineFriend", texts.friends),
        ];
        for (attribute, values) in lists {
            for value in values {
                self.value(attribute, &value)?;
            }
        }
        Ok(())
    }

    fn value(&mut self, attribute: &str, value: &str) -> io::Result<()> {
        let first = value.bytes().next();
        let safe = value.bytes().all(|b| (0x20..0x7f).contains(&b))
            && !matches!(first, Some(b' ' | b':' | b'<'))
            && !value.ends_with(' ');
        if safe {
            writeln!(self.output, "{attribute}: {value}")
        } else {
            let value = BASE64.encode(value.as_bytes());
            writeln!(self.output, "{attribute}:: {value}")
        }
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// A value as it stands in a distinguished name.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (place, c) in value.chars().enumerate() {
        if matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=')
            || (place == 0 && matches!(c, '#' | ' '))
        {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
