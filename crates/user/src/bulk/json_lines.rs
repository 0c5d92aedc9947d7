//! One JSON object a line: `{"name": "birrell", "kind": "individual", "remark": "..."}`.

use std::io::{self, BufRead, Write};

use grapevine_model::{EntryKind, ImportedEntry, RegistryName, Secret};
use serde::{Deserialize, Serialize};

use super::{Found, Record, all, kind_of, kind_text, member_in, name_in, next_line};

/// An entry; what is absent is left as it is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    /// `individual` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sites: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    forward: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    members: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    owners: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    friends: Vec<String>,
}

impl Line {
    fn record(self, line: u64, registry: &RegistryName) -> Result<Record, String> {
        let kind = self.kind.as_deref().map(kind_of).transpose()?;
        let entry = ImportedEntry {
            name: name_in(&self.name, registry)?,
            kind: kind.unwrap_or(EntryKind::Individual),
            password: self.password_hash.map(Secret),
            remark: self.remark,
            sites: all(&self.sites, |site| {
                site.parse().map_err(|error| format!("`{site}`: {error}"))
            })?,
            forward: all(&self.forward, |name| name_in(name, registry))?,
            aliases: all(&self.aliases, |name| name_in(name, registry))?,
            members: all(&self.members, |member| member_in(member, registry))?,
            owners: all(&self.owners, |member| member_in(member, registry))?,
            friends: all(&self.friends, |member| member_in(member, registry))?,
        };
        let plain = self.password.map(Secret);
        Ok(Record { line, entry, plain })
    }
}

/// Reads.
pub(super) struct Reader {
    input: Box<dyn BufRead + Send>,
    registry: RegistryName,
    line: Vec<u8>,
    number: u64,
}

impl Reader {
    pub(super) fn new(input: Box<dyn BufRead + Send>, registry: RegistryName) -> Self {
        Self {
            input,
            registry,
            line: Vec::new(),
            number: 0,
        }
    }
}

impl Iterator for Reader {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = match next_line(&mut *self.input, &mut self.line) {
            Ok(read) => read?,
            Err(error) => return Some(Err(error)),
        };
        self.number += 1;
        if read.is_ok() && self.line.iter().all(u8::is_ascii_whitespace) {
            return Some(Ok(Found::PassedOver));
        }
        let record = read.and_then(|()| {
            let line: Line = serde_json::from_slice(&self.line).map_err(|e| e.to_string())?;
            line.record(self.number, &self.registry)
        });
        Some(Ok(match record {
            Ok(record) => Found::Entry(Box::new(record)),
            Err(why) => Found::Bad {
                line: self.number,
                why,
            },
        }))
    }
}

/// Writes.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output }
    }

    pub(super) fn entry(&mut self, entry: &ImportedEntry) -> io::Result<()> {
        let texts = super::Texts::of(entry);
        let line = Line {
            name: entry.name.to_string(),
            kind: Some(kind_text(entry.kind).to_owned()),
            password: None,
            password_hash: None,
            remark: entry.remark.clone(),
            sites: texts.sites,
            forward: texts.forward,
            aliases: texts.aliases,
            members: texts.members,
            owners: texts.owners,
            friends: texts.friends,
        };
        serde_json::to_writer(&mut self.output, &line)?;
        self.output.write_all(b"\n")
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.output.flush()
    }
}
