//! Whether a test is true for a message (RFC 5228 section 5, and extensions).

use grapevine_model::FolderPath;

use super::flags;
use super::header::Address;
use super::matching;
use super::run::{Run, Trouble};
use super::script::{AddressPart, Comparison, EnvelopeField, MatchKind, Test};
use super::text::{Template, Variables};

impl Run<'_> {
    pub(super) fn test(&mut self, test: &Test) -> Result<bool, Trouble> {
        self.work.spend(1)?;
        Ok(match test {
            Test::True => true,
            Test::False => false,
            Test::Not(test) => !self.test(test)?,
            Test::AllOf(tests) => {
                for test in tests {
                    if !self.test(test)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::AnyOf(tests) => {
                for test in tests {
                    if self.test(test)? {
                        return Ok(true);
                    }
                }
                false
            }
            Test::SizeOver(limit) => self.message.size > *limit,
            Test::SizeUnder(limit) => self.message.size < *limit,
            Test::Exists(headers) => headers
                .iter()
                .all(|header| self.message.header.has(&self.text(header))),
            Test::Header { how, headers, keys } => {
                let header = self.message.header;
                let mut values = Vec::new();
                for name in headers {
                    values.extend(header.values(&self.text(name)));
                }
                self.any(*how, values, keys)?
            }
            Test::Address {
                how,
                part,
                headers,
                keys,
            } => {
                let header = self.message.header;
                let mut values = Vec::new();
                for name in headers {
                    let addresses = header.addresses(&self.text(name));
                    values.extend(addresses.iter().filter_map(|a| part_of(a, *part)));
                }
                self.any(*how, values, keys)?
            }
            Test::Envelope {
                how,
                part,
                fields,
                keys,
            } => {
                let mut values = Vec::new();
                for field in fields {
                    let name = match field {
                        EnvelopeField::From => self.message.from,
                        EnvelopeField::To => Some(self.message.to),
                    };
                    values.extend(match name {
                        Some(name) => part_of(&Address::from(name), *part),
                        // The null return path is empty, whatever part is asked for (RFC 5228 5.4).
                        None => Some(String::new()),
                    });
                }
                self.any(*how, values, keys)?
            }
            Test::String { how, sources, keys } => {
                let mut values: Vec<String> = sources.iter().map(|s| self.text(s)).collect();
                if matches!(how.kind, MatchKind::Count(_)) {
                    // RFC 5229 section 5: empty ones are not counted.
                    values.retain(|value| !value.is_empty());
                }
                self.any(*how, values, keys)?
            }
            Test::HasFlag {
                how,
                variables,
                keys,
            } => {
                let mut present = Vec::new();
                match variables.is_empty() {
                    true => present.clone_from(&self.state.flags),
                    false => {
                        for name in variables {
                            flags::add(&mut present, self.state.variable(name));
                        }
                    }
                }
                let present = present.iter().map(ToString::to_string).collect();
                self.any(*how, present, keys)?
            }
            Test::MailboxExists(folders) => {
                folders
                    .iter()
                    .all(|folder| match self.text(folder).parse::<FolderPath>() {
                        Ok(path) => path.is_inbox() || self.message.folders.contains(path.as_str()),
                        Err(_) => false,
                    })
            }
        })
    }

    /// Whether any of the values fits any of the keys.
    fn any(
        &mut self,
        how: Comparison,
        values: Vec<String>,
        keys: &[Template],
    ) -> Result<bool, Trouble> {
        let values = match how.kind {
            MatchKind::Count(_) => vec![values.len().to_string()],
            MatchKind::Is | MatchKind::Contains | MatchKind::Matches | MatchKind::Value(_) => {
                values
            }
        };
        let keys: Vec<String> = keys.iter().map(|key| self.text(key)).collect();
        for value in &values {
            for key in &keys {
                let captured = &mut self.state.captured;
                if matching::matches(how, value, key, captured, &mut self.work)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// None where an address does not have that part.
fn part_of(address: &Address, part: AddressPart) -> Option<String> {
    let is_whole = address.domain.is_some();
    match part {
        AddressPart::All => Some(address.all()),
        AddressPart::LocalPart => is_whole.then(|| address.local.clone()),
        AddressPart::Domain => address.domain.clone(),
        AddressPart::User if is_whole => Some(match address.local.split_once('+') {
            Some((user, _)) => user.to_owned(),
            None => address.local.clone(),
        }),
        AddressPart::Detail if is_whole => address
            .local
            .split_once('+')
            .map(|(_, detail)| detail.to_owned()),
        AddressPart::User | AddressPart::Detail => None,
    }
}
