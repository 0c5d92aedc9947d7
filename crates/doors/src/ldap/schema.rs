//! The attributes of this directory: a closed list, with how each is compared and where it comes from.
//!
//! What is not in the list is nobody's attribute: asked for it is left out, in a filter it is undefined.

use grapevine_model::{EntryKind, EntryView, Name, RegistryName};

use super::dn;
use super::subschema::SUBSCHEMA;

/// An attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Attribute {
    ObjectClass,
    Uid,
    Cn,
    Sn,
    Description,
    Mail,
    MailHost,
    Member,
    MemberUid,
    Owner,
    UidNumber,
    GidNumber,
    HomeDirectory,
    LoginShell,
    Gecos,
    Dc,
    O,
    MemberOf,
    EntryUuid,
    EntryDn,
    CreateTimestamp,
    StructuralObjectClass,
    HasSubordinates,
    SubschemaSubentry,
}

/// Whether it comes with `*` or only when it is asked for (or with `+`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    User,
    Operational,
}

/// How its values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matching {
    /// Letters in any case, spaces not counted twice.
    Text,
    /// As it is written.
    Exact,
    /// As a number.
    Number,
    /// As text that sorts by time.
    Time,
    /// By whom it names.
    Dn,
}

/// Name, OID, usage, matching.
type Row = (Attribute, &'static str, &'static str, Usage, Matching);

const ROWS: &[Row] = &[
    (
        Attribute::ObjectClass,
        "objectClass",
        "2.5.4.0",
        Usage::User,
        Matching::Text,
    ),
    (
        Attribute::Uid,
        "uid",
        "0.9.2342.19200300.100.1.1",
        Usage::User,
        Matching::Text,
    ),
    (Attribute::Cn, "cn", "2.5.4.3", Usage::User, Matching::Text),
    (Attribute::Sn, "sn", "2.5.4.4", Usage::User, Matching::Text),
    (
        Attribute::Description,
        "description",
        "2.5.4.13",
        Usage::User,
        Matching::Text,
    ),
    (
        Attribute::Mail,
        "mail",
        "0.9.2342.19200300.100.1.3",
        Usage::User,
        Matching::Text,
    ),
    (
        Attribute::MailHost,
        "mailHost",
        "2.16.840.1.113730.3.1.18",
        Usage::User,
        Matching::Text,
    ),
    (
        Attribute::Member,
        "member",
        "2.5.4.31",
        Usage::User,
        Matching::Dn,
    ),
    (
        Attribute::MemberUid,
        "memberUid",
        "1.3.6.1.1.1.1.12",
        Usage::User,
        Matching::Text,
    ),
    (
        Attribute::Owner,
        "owner",
        "2.5.4.32",
        Usage::User,
        Matching::Dn,
    ),
    (
        Attribute::UidNumber,
        "uidNumber",
        "1.3.6.1.1.1.1.0",
        Usage::User,
        Matching::Number,
    ),
    (
        Attribute::GidNumber,
        "gidNumber",
        "1.3.6.1.1.1.1.1",
        Usage::User,
        Matching::Number,
    ),
    (
        Attribute::HomeDirectory,
        "homeDirectory",
        "1.3.6.1.1.1.1.3",
        Usage::User,
        Matching::Exact,
    ),
    (
        Attribute::LoginShell,
        "loginShell",
        "1.3.6.1.1.1.1.4",
        Usage::User,
        Matching::Exact,
    ),
    (
        Attribute::Gecos,
        "gecos",
        "1.3.6.1.1.1.1.2",
        Usage::User,
        Matching::Text,
    ),
    (
        Attribute::Dc,
        "dc",
        "0.9.2342.19200300.100.1.25",
        Usage::User,
        Matching::Text,
    ),
    (Attribute::O, "o", "2.5.4.10", Usage::User, Matching::Text),
    (
        Attribute::MemberOf,
        "memberOf",
        "1.2.840.113556.1.2.102",
        Usage::Operational,
        Matching::Dn,
    ),
    (
        Attribute::EntryUuid,
        "entryUUID",
        "1.3.6.1.1.16.4",
        Usage::Operational,
        Matching::Text,
    ),
    (
        Attribute::EntryDn,
        "entryDN",
        "1.3.6.1.1.20",
        Usage::Operational,
        Matching::Dn,
    ),
    (
        Attribute::CreateTimestamp,
        "createTimestamp",
        "2.5.18.1",
        Usage::Operational,
        Matching::Time,
    ),
    (
        Attribute::StructuralObjectClass,
        "structuralObjectClass",
        "2.5.21.9",
        Usage::Operational,
        Matching::Text,
    ),
    (
        Attribute::HasSubordinates,
        "hasSubordinates",
        "2.5.18.9",
        Usage::Operational,
        Matching::Text,
    ),
    (
        Attribute::SubschemaSubentry,
        "subschemaSubentry",
        "2.5.18.10",
        Usage::Operational,
        Matching::Dn,
    ),
];

/// Every attribute that there is: name, OID, usage, how it is compared.
pub(super) fn rows() -> impl Iterator<Item = (&'static str, &'static str, Usage, Matching)> {
    ROWS.iter()
        .map(|(_, name, oid, usage, matching)| (*name, *oid, *usage, *matching))
}

/// The attribute that a description names; none for what is not here, options such as `;binary` included.
pub(super) fn attribute(described: &str) -> Option<Attribute> {
    ROWS.iter()
        .find(|(_, name, oid, ..)| name.eq_ignore_ascii_case(described) || *oid == described)
        .map(|(attribute, ..)| *attribute)
}

impl Attribute {
    fn row(self) -> Option<&'static Row> {
        ROWS.iter().find(|(attribute, ..)| *attribute == self)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        self.row().map_or("", |(_, name, ..)| name)
    }

    /// How its values are compared.
    pub(super) fn matching(self) -> Matching {
        self.row()
            .map_or(Matching::Exact, |(.., matching)| *matching)
    }
}

/// What a search wants to see of each entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    attributes: Vec<Attribute>,
}

impl Wanted {
    /// From the list of a search: names, `*` for all of users, `+` for all operational ones, `1.1` for none.
    pub(super) fn of(list: &[String]) -> Self {
        let all_of = |usage: Usage| {
            ROWS.iter()
                .filter(move |(.., of, _)| *of == usage)
                .map(|(attribute, ..)| *attribute)
        };
        let mut attributes: Vec<Attribute> = if list.is_empty() {
            all_of(Usage::User).collect()
        } else {
            Vec::new()
        };
        for described in list {
            match described.as_str() {
                "*" => attributes.extend(all_of(Usage::User)),
                "+" => attributes.extend(all_of(Usage::Operational)),
                named => attributes.extend(attribute(named)),
            }
        }
        attributes.sort();
        attributes.dedup();
        Self { attributes }
    }

    pub(super) fn has(&self, attribute: Attribute) -> bool {
        self.attributes.contains(&attribute)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Attribute> + '_ {
        self.attributes.iter().copied()
    }
}

/// What entries are given for POSIX systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posix {
    /// Where people live: `%u` stands for the simple name, `%r` for the registry.
    pub home_directory: String,
    /// Their shell.
    pub login_shell: String,
}

impl Default for Posix {
    fn default() -> Self {
        Self {
            home_directory: "/home/%u".to_owned(),
            login_shell: "/bin/bash".to_owned(),
        }
    }
}

/// Something that a search can find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A registry itself.
    Registry(RegistryName),
    /// An individual or a group.
    Entry(Box<EntryView>),
}

impl Found {
    /// Its distinguished name.
    pub(super) fn dn(&self) -> String {
        match self {
            Self::Registry(registry) => dn::of_registry(registry),
            Self::Entry(view) => match view.kind {
                EntryKind::Individual => dn::of_individual(&view.name),
                EntryKind::Group => dn::of_group(&view.name),
            },
        }
    }

    /// The values that stand in the entry itself. `member`, `memberUid`, `owner` and `memberOf` are asked for where they are wanted.
    pub(super) fn values(&self, attribute: Attribute, posix: &Posix) -> Vec<String> {
        let some = |text: &str| vec![text.to_owned()];
        match (self, attribute) {
            (_, Attribute::EntryDn) => vec![self.dn()],
            (_, Attribute::SubschemaSubentry) => some(SUBSCHEMA),
            (_, Attribute::ObjectClass) => self.classes().into_iter().map(str::to_owned).collect(),
            (Self::Registry(registry), _) => match attribute {
                Attribute::Dc => registry
                    .as_str()
                    .split('.')
                    .take(1)
                    .map(str::to_owned)
                    .collect(),
                Attribute::O => some(registry.as_str()),
                Attribute::StructuralObjectClass => some("organization"),
                Attribute::HasSubordinates => some("TRUE"),
                _ => Vec::new(),
            },
            (Self::Entry(view), _) => of_entry(view, attribute, posix),
        }
    }

    fn classes(&self) -> Vec<&'static str> {
        match self {
            Self::Registry(_) => vec!["top", "organization", "dcObject"],
            Self::Entry(view) => {
                let mut classes = match view.kind {
                    EntryKind::Individual => vec![
                        "top",
                        "person",
                        "organizationalPerson",
                        "inetOrgPerson",
                        "inetLocalMailRecipient",
                    ],
                    EntryKind::Group => vec!["top", "groupOfNames"],
                };
                if view.number.is_some() {
                    classes.push(match view.kind {
                        EntryKind::Individual => "posixAccount",
                        EntryKind::Group => "posixGroup",
                    });
                }
                classes
            }
        }
    }
}

fn of_entry(view: &EntryView, attribute: Attribute, posix: &Posix) -> Vec<String> {
    let simple = view.name.simple();
    let person = view.kind == EntryKind::Individual;
    let only = |is: bool, value: &dyn Fn() -> String| if is { vec![value()] } else { Vec::new() };
    let remark = view.remark.as_str();
    match attribute {
        Attribute::Uid | Attribute::Sn => only(person, &|| simple.to_owned()),
        Attribute::Cn => vec![simple.to_owned()],
        Attribute::Description => only(!remark.is_empty(), &|| remark.to_owned()),
        Attribute::Mail => std::iter::once(&view.name)
            .chain(&view.aliases)
            .map(ToString::to_string)
            .collect(),
        Attribute::MailHost => view.sites.iter().take(1).map(ToString::to_string).collect(),
        Attribute::UidNumber => view
            .number
            .filter(|_| person)
            .map(|number| number.to_string())
            .into_iter()
            .collect(),
        Attribute::GidNumber => view
            .number
            .map(|number| number.to_string())
            .into_iter()
            .collect(),
        Attribute::HomeDirectory => {
            only(person && view.number.is_some(), &|| home(&view.name, posix))
        }
        Attribute::LoginShell => only(person && view.number.is_some(), &|| {
            posix.login_shell.clone()
        }),
        // A line of passwd: ASCII, and no colon.
        Attribute::Gecos => {
            let good = person && view.number.is_some() && !remark.is_empty();
            let plain = remark
                .bytes()
                .all(|b| (b' '..=b'~').contains(&b) && b != b':');
            only(good && plain, &|| remark.to_owned())
        }
        Attribute::EntryUuid => vec![uuid(view.incarnation.0)],
        Attribute::CreateTimestamp => vec![generalized_time(view.created_ms)],
        Attribute::StructuralObjectClass => vec![
            match view.kind {
                EntryKind::Individual => "inetOrgPerson",
                EntryKind::Group => "groupOfNames",
            }
            .to_owned(),
        ],
        Attribute::HasSubordinates => vec!["FALSE".to_owned()],
        Attribute::ObjectClass
        | Attribute::EntryDn
        | Attribute::SubschemaSubentry
        | Attribute::Member
        | Attribute::MemberUid
        | Attribute::Owner
        | Attribute::MemberOf
        | Attribute::Dc
        | Attribute::O => Vec::new(),
    }
}

/// A home directory. A simple name may hold `/`, which would lead elsewhere: there it is written `_`.
fn home(name: &Name, posix: &Posix) -> String {
    let simple = name.folded().replace('/', "_");
    posix
        .home_directory
        .replace("%r", name.registry().as_str())
        .replace("%u", &simple)
}

/// 128 bits as RFC 9562 writes them.
fn uuid(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// Milliseconds since 1970 as RFC 4517 section 3.3.13 writes a time.
fn generalized_time(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's days-to-civil, from the first of March of the year 0.
    let day = days + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 {
        (month + 3, year_of_era + era * 400)
    } else {
        (month - 9, year_of_era + era * 400 + 1)
    };
    format!(
        "{year:04}{month:02}{date:02}{:02}{:02}{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (ms, text) in [
            (0, "19700101000000Z"),
            (951_782_400_000, "20000229000000Z"),
            (1_700_000_000_123, "20231114221320Z"),
            (4_107_542_399_000, "21000228235959Z"),
        ] {
            assert_eq!(generalized_time(ms), text);
        }
    }

    #[test]
    fn every_attribute_is_found_by_name_and_oid() {
        for (attribute_is, name, oid, ..) in ROWS {
            assert_eq!(attribute(&name.to_uppercase()), Some(*attribute_is));
            assert_eq!(attribute(oid), Some(*attribute_is));
            assert_eq!(attribute_is.name(), *name);
        }
        assert_eq!(attribute("uid;lang-de"), None);
    }

    #[test]
    fn a_home_never_leads_out_of_its_folder() {
        let posix = Posix::default();
        let name: Name = "a/b@pa.example".parse().unwrap();
        assert_eq!(home(&name, &posix), "/home/a_b");
    }
}
