//! Distinguished names (RFC 4514): to the names of Grapevine and back.
//!
//! The registry `pa.example.org` is `dc=pa,dc=example,dc=org`; in it `birrell@pa.example.org` is `uid=birrell,...` and the group
//! `csl^@pa.example.org` is `cn=csl^,...`. Nothing else has a name here.

use std::fmt::Write as _;

use grapevine_model::{Name, RegistryName};

use super::limits::DN_BYTES;

/// What a distinguished name means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The empty name: the root DSE.
    Root,
    /// A registry.
    Registry(RegistryName),
    /// An individual, by `uid`.
    Individual(Name),
    /// A group, by `cn`.
    Group(Name),
    /// A good name that nothing here can have; with the registry that it ends with.
    Nothing(Option<RegistryName>),
}

/// It is no distinguished name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoName;

/// Longest type that is looked at; the ones that mean something here have six letters.
const TYPE_BYTES: usize = 64;

/// Reads a distinguished name.
pub(super) fn place(text: &str) -> Result<Place, NoName> {
    if text.len() > DN_BYTES {
        return Err(NoName);
    }
    if text.trim_matches(' ').is_empty() {
        return Ok(Place::Root);
    }
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = component(rest)?;
        parts.push(part);
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    let first_dc = parts
        .iter()
        .position(|part| part.is("dc", "0.9.2342.19200300.100.1.25"));
    let (before, domain) = parts.split_at(first_dc.unwrap_or(parts.len()));
    let labels: Option<Vec<&str>> = domain
        .iter()
        .map(|part| {
            (part.is("dc", "0.9.2342.19200300.100.1.25") && !part.value.contains('.'))
                .then_some(part.value.as_str())
        })
        .collect();
    let registry: Option<RegistryName> = labels
        .filter(|labels| !labels.is_empty())
        .and_then(|labels| labels.join(".").parse().ok());
    let Some(registry) = registry else {
        return Ok(Place::Nothing(None));
    };
    Ok(match before {
        [] => Place::Registry(registry),
        [only] if !only.more => {
            let name = Name::new(&only.value, registry.clone());
            match name {
                Ok(name) if only.is("uid", "0.9.2342.19200300.100.1.1") => Place::Individual(name),
                Ok(name) if only.is("cn", "2.5.4.3") => Place::Group(name),
                Ok(_) | Err(_) => Place::Nothing(Some(registry)),
            }
        }
        _ => Place::Nothing(Some(registry)),
    })
}

/// One type and value; `more` where a `+` joins it to another one.
struct Part {
    kind: String,
    value: String,
    more: bool,
}

impl Part {
    fn is(&self, name: &str, oid: &str) -> bool {
        self.kind.eq_ignore_ascii_case(name) || self.kind == oid
    }
}

/// The first relative name, and what follows its comma.
fn component(text: &str) -> Result<(Part, Option<&str>), NoName> {
    let (kind, rest) = text.split_once('=').ok_or(NoName)?;
    let kind = kind.trim_matches(' ');
    let good = !kind.is_empty()
        && kind.len() <= TYPE_BYTES
        && kind
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if !good {
        return Err(NoName);
    }
    let (value, end) = value(rest.trim_start_matches(' '))?;
    let mut part = Part {
        kind: kind.to_owned(),
        value,
        more: false,
    };
    match end {
        None => Ok((part, None)),
        Some((',' | ';', after)) => Ok((part, Some(after))),
        Some((_, after)) => {
            // What is joined must be readable too; it makes the whole a name that nothing here has.
            let (_, after) = component(after)?;
            part.more = true;
            Ok((part, after))
        }
    }
}

type End<'a> = Option<(char, &'a str)>;

/// A value up to its separator, its escapes undone (RFC 4514 section 2.4; quotes as in RFC 2253's older form are refused).
fn value(text: &str) -> Result<(String, End<'_>), NoName> {
    if text.starts_with('#') {
        // The BER of a value that has no text: nothing here has one.
        return Err(NoName);
    }
    let mut bytes = Vec::new();
    // Spaces at the end count only where they are escaped.
    let mut kept = 0;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ',' | ';' | '+' => {
                bytes.truncate(kept);
                let after = text.get(at + 1..).unwrap_or_default();
                return Ok((
                    String::from_utf8(bytes).map_err(|_| NoName)?,
                    Some((c, after)),
                ));
            }
            '"' | '<' | '>' | '\0' => return Err(NoName),
            '\\' => {
                let (_, escaped) = chars.next().ok_or(NoName)?;
                match escaped.to_digit(16) {
                    Some(high) => {
                        let (_, low) = chars.next().ok_or(NoName)?;
                        let low = low.to_digit(16).ok_or(NoName)?;
                        bytes.push(u8::try_from(high * 16 + low).map_err(|_| NoName)?);
                    }
                    None if " \"#+,;<=>\\".contains(escaped) => {
                        bytes.push(u8::try_from(escaped).map_err(|_| NoName)?);
                    }
                    None => return Err(NoName),
                }
                kept = bytes.len();
            }
            c => {
                let mut octets = [0; 4];
                bytes.extend_from_slice(c.encode_utf8(&mut octets).as_bytes());
                if c != ' ' {
                    kept = bytes.len();
                }
            }
        }
    }
    bytes.truncate(kept);
    Ok((String::from_utf8(bytes).map_err(|_| NoName)?, None))
}

/// The name of a registry.
pub(super) fn of_registry(registry: &RegistryName) -> String {
    let mut text = String::with_capacity(registry.as_str().len() + 32);
    for label in registry.as_str().split('.') {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str("dc=");
        // Labels have nothing to escape.
        text.push_str(label);
    }
    text
}

/// The name of an individual.
pub(super) fn of_individual(name: &Name) -> String {
    of("uid=", name)
}

/// The name of a group.
pub(super) fn of_group(name: &Name) -> String {
    of("cn=", name)
}

fn of(kind: &str, name: &Name) -> String {
    let mut text = kind.to_owned();
    for (at, c) in name.simple().char_indices() {
        match c {
            '+' | '=' => {
                text.push('\\');
                text.push(c);
            }
            '#' if at == 0 => text.push_str("\\#"),
            // No name has these; were there one, it would still be written right.
            '"' | ',' | ';' | '<' | '>' | '\\' | ' ' | '\0' => {
                let _ = write!(text, "\\{:02x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push(',');
    text.push_str(&of_registry(name.registry()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn names_of_people_groups_and_registries_are_read() {
        let registry: RegistryName = "pa.example.org".parse().unwrap();
        for (text, place_is) in [
            ("", Place::Root),
            ("dc=pa,dc=example,dc=org", Place::Registry(registry.clone())),
            (
                "DC=PA, dc = example ,0.9.2342.19200300.100.1.25=org",
                Place::Registry(registry.clone()),
            ),
            (
                "uid=Birrell,dc=pa,dc=example,dc=org",
                Place::Individual(name("birrell@pa.example.org")),
            ),
            (
                "cn=csl^,dc=pa;dc=example;dc=org",
                Place::Group(name("csl^@pa.example.org")),
            ),
            (
                r"uid=a\+b\3dc\c3\a9,dc=pa,dc=example,dc=org",
                Place::Individual(name("a+b=cé@pa.example.org")),
            ),
            (
                r"uid=\#1,dc=pa,dc=example,dc=org",
                Place::Individual(name("#1@pa.example.org")),
            ),
            (
                "ou=people,dc=pa,dc=example,dc=org",
                Place::Nothing(Some(registry.clone())),
            ),
            (
                "uid=a,ou=people,dc=pa,dc=example,dc=org",
                Place::Nothing(Some(registry.clone())),
            ),
            (
                "uid=a+cn=b,dc=pa,dc=example,dc=org",
                Place::Nothing(Some(registry.clone())),
            ),
            (
                "uid=a b,dc=pa,dc=example,dc=org",
                Place::Nothing(Some(registry)),
            ),
            ("o=Xerox", Place::Nothing(None)),
            ("dc=pa.example.org", Place::Nothing(None)),
        ] {
            assert_eq!(place(text), Ok(place_is), "{text}");
        }
    }

    #[test]
    fn what_is_no_distinguished_name_is_refused() {
        let long = format!("uid={},dc=pa", "a".repeat(DN_BYTES));
        for text in [
            "birrell",
            "=a",
            "uid=a,",
            ",",
            "uid=a,,dc=pa",
            r"uid=\",
            r"uid=\zz",
            r"uid=\4",
            r"uid=\ff,dc=pa",
            "uid=#0403",
            "uid=\"a\"",
            "u d=a",
            "uid=a+",
            long.as_str(),
        ] {
            assert_eq!(place(text), Err(NoName), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(simple in "[a-z0-9+=#^/{|}~é.-]{1,20}", registry in "[a-z]{1,5}(\\.[a-z]{1,5}){0,3}") {
            if let Ok(name) = Name::new(&simple, registry.parse().unwrap()) {
                prop_assert_eq!(place(&of_individual(&name)), Ok(Place::Individual(name.clone())));
                prop_assert_eq!(place(&of_group(&name)), Ok(Place::Group(name.clone())));
                prop_assert_eq!(place(&of_registry(name.registry())), Ok(Place::Registry(name.registry().clone())));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let _ = place(&text);
        }
    }
}
