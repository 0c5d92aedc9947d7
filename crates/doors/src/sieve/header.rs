//! A message's header as a filter sees it: fields unfolded and decoded, addresses taken apart.
//!
//! It reads, and forgives: mail is full of headers that no standard knows. Nothing is ever changed by it.

use grapevine_model::Name;

use super::encoded;
use super::limits::{HEADER_BYTES, HEADER_FIELDS};

/// The header of a message, or as much of it as is looked at.
#[derive(Clone, Debug, Default)]
pub struct Header {
    fields: Vec<(String, Vec<u8>)>,
}

/// An address in a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// What stands before the `@`, or all of it where there is none.
    pub(super) local: String,
    /// What stands behind it.
    pub(super) domain: Option<String>,
}

impl Header {
    /// Reads the fields from the beginning of a message.
    pub fn parse(message: &[u8]) -> Self {
        let head = message.get(..HEADER_BYTES).unwrap_or(message);
        let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
        for line in head.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || fields.len() >= HEADER_FIELDS {
                break;
            }
            if matches!(line, [b' ' | b'\t', ..]) {
                if let Some((_, value)) = fields.last_mut() {
                    value.extend_from_slice(line);
                }
            } else if let Some(colon) = memchr::memchr(b':', line) {
                let (name, value) = line.split_at(colon);
                let name = String::from_utf8_lossy(name.trim_ascii_end()).to_ascii_lowercase();
                fields.push((name, value.get(1..).unwrap_or_default().to_vec()));
            }
        }
        Self { fields }
    }

    /// The values of a field, decoded, blanks around them removed.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = String> + use<'_> {
        self.raw(name)
            .map(|value| encoded::decode(value.trim_ascii()))
    }

    /// Whether there is such a field.
    pub(super) fn has(&self, name: &str) -> bool {
        self.raw(name).next().is_some()
    }

    /// Whether there is a field whose name begins so (in lower case).
    pub(super) fn has_prefix(&self, prefix: &str) -> bool {
        self.fields.iter().any(|(name, _)| name.starts_with(prefix))
    }

    /// The addresses in all fields of a name.
    pub(super) fn addresses(&self, name: &str) -> Vec<Address> {
        self.raw(name).flat_map(addresses).collect()
    }

    fn raw(&self, name: &str) -> impl Iterator<Item = &[u8]> + use<'_> {
        let name = name.to_ascii_lowercase();
        self.fields
            .iter()
            .filter(move |(field, _)| *field == name)
            .map(|(_, value)| value.as_slice())
    }
}

impl Address {
    /// As one would write it.
    pub(super) fn all(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{}@{domain}", self.local),
            None => self.local.clone(),
        }
    }

    /// Whether it is this name, whatever the detail.
    pub(super) fn is(&self, name: &Name) -> bool {
        let same = |found: Name| found.without_detail() == name.without_detail();
        self.all().parse().is_ok_and(same)
    }
}

impl From<&Name> for Address {
    fn from(name: &Name) -> Self {
        Self {
            local: name.simple().to_owned(),
            domain: Some(name.registry().to_string()),
        }
    }
}

/// What is being read of one address.
#[derive(Default)]
struct Spec {
    local: String,
    domain: Option<String>,
}

impl Spec {
    fn push(&mut self, c: char) {
        self.domain.as_mut().unwrap_or(&mut self.local).push(c);
    }

    fn at(&mut self) {
        if let Some(domain) = self.domain.take() {
            self.local.push('@');
            self.local.push_str(&domain);
        }
        self.domain = Some(String::new());
    }

    fn into_address(self) -> Option<Address> {
        let domain = self.domain.filter(|d| !d.is_empty());
        (!self.local.is_empty()).then_some(Address {
            local: self.local,
            domain,
        })
    }
}

/// RFC 5322 section 3.4, with groups, comments, routes, and whatever else is found.
fn addresses(value: &[u8]) -> Vec<Address> {
    let text = String::from_utf8_lossy(value);
    let mut found = Vec::new();
    let mut spec = Spec::default();
    let mut angle: Option<Spec> = None;
    // Where one is: in a comment so deep, in quotation marks, between angle brackets.
    let mut comment = 0usize;
    let mut is_quoted = false;
    let mut is_angle = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let into = match &mut angle {
            Some(angle) if is_angle => angle,
            _ => &mut spec,
        };
        match c {
            '\\' if is_quoted || comment > 0 => {
                let next = chars.next();
                if let (true, Some(next)) = (comment == 0, next) {
                    into.push(next);
                }
            }
            '"' if comment == 0 => is_quoted = !is_quoted,
            _ if is_quoted => into.push(c),
            '(' => comment = comment.saturating_add(1),
            ')' if comment > 0 => comment -= 1,
            _ if comment > 0 => {}
            '<' => {
                angle = Some(Spec::default());
                is_angle = true;
            }
            '>' => is_angle = false,
            // A route before the address (RFC 5322 4.4), or the name of a group.
            ':' => *into = Spec::default(),
            ',' if is_angle => *into = Spec::default(),
            ',' | ';' => {
                found.extend(
                    angle
                        .take()
                        .unwrap_or(std::mem::take(&mut spec))
                        .into_address(),
                );
                spec = Spec::default();
                is_angle = false;
            }
            '@' => into.at(),
            c if c.is_whitespace() => {}
            c => into.push(c),
        }
    }
    found.extend(angle.unwrap_or(spec).into_address());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(value: &str) -> Vec<String> {
        addresses(value.as_bytes())
            .iter()
            .map(Address::all)
            .collect()
    }

    #[test]
    fn addresses_are_found_in_whatever_people_write() {
        for (value, are) in [
            ("a@b.c", vec!["a@b.c"]),
            ("A Person <a@b.c>, (x, y) d@e (f@g)", vec!["a@b.c", "d@e"]),
            ("\"Doe, John <x@y>\" <a@b>", vec!["a@b"]),
            ("Some: a@b, C <c@d>;, e@f", vec!["a@b", "c@d", "e@f"]),
            ("undisclosed-recipients:;", vec![]),
            ("<@r.s,@t.u:a@b>", vec!["a@b"]),
            ("\"a b\"@c", vec!["a b@c"]),
            ("\"a@b\"@c", vec!["a@b@c"]),
            ("<a@b", vec!["a@b"]),
            ("nobody", vec!["nobody"]),
            ("", vec![]),
            (",,;", vec![]),
            ("\"", vec![]),
            ("((a@b", vec![]),
        ] {
            assert_eq!(all(value), are, "{value}");
        }
    }

    #[test]
    fn fields_are_unfolded_and_the_body_is_not_read() {
        let header = Header::parse(
            b"From bad line\r\nSubject: a\r\n\tb  \r\nX-A:1\nx-a : 2\n\nSubject: body",
        );
        assert_eq!(header.values("SUBJECT").collect::<Vec<_>>(), ["a\tb"]);
        assert_eq!(header.values("X-a").collect::<Vec<_>>(), ["1", "2"]);
        assert!(!header.has("from bad line"));
    }

    #[test]
    fn a_header_without_end_is_read_to_a_bound() {
        let long = b"A: b\r\n".repeat(HEADER_BYTES);
        assert_eq!(Header::parse(&long).fields.len(), HEADER_FIELDS);
        let long = [b"A: ".as_slice(), &vec![b'x'; HEADER_BYTES * 2]].concat();
        assert!(Header::parse(&long).values("a").next().unwrap().len() <= HEADER_BYTES);
    }
}
