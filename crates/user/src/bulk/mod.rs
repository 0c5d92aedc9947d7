//! Many entries in a file: CSV, JSON lines and LDIF, read and written as streams.
//!
//! A file of a million entries passes through in bounded memory, and what can't be read is named
//! with its line and passed over. Secrets are read, never written: an export has no passwords.

mod csv;
mod json_lines;
mod ldif;

use std::io::{self, BufRead, Read, Write};

use grapevine_model::{
    EntryKind, ImportedEntry, MAX_IMPORTED_ITEMS, Member, Name, RegistryName, Secret,
};

pub use ldif::Suffix;

/// Longest line in octets: a group's row with some ten thousand members fits.
const MAX_LINE_BYTES: usize = 1024 * 1024;
/// Items of an entry's lists that are read or written at a time; more come as further records.
pub const MAX_ITEMS_AT_ONCE: usize = MAX_IMPORTED_ITEMS / 2;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header (RFC 4180); lists are separated by spaces.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// The LDAP Data Interchange Format (RFC 2849).
    Ldif,
}

/// One entry, as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The line that it begins at, from 1; in CSV the row.
    pub line: u64,
    /// The entry; one with long lists comes as several.
    pub entry: ImportedEntry,
    /// A password that is to be hashed first.
    pub plain: Option<Secret>,
}

/// What stands at a place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An entry.
    Entry(Box<Record>),
    /// Something that is no entry of a registry: a container, a comment.
    PassedOver,
    /// Something that can't be read.
    Bad {
        /// Where, from 1.
        line: u64,
        /// Why.
        why: String,
    },
}

/// What a file holds; ends after the first error of input.
pub type Records = Box<dyn Iterator<Item = io::Result<Found>> + Send>;

/// Reads a file; names without a registry are of this one.
///
/// # Errors
/// What can't be read at all: a CSV file whose header has an unknown column.
pub fn read(
    format: Format,
    input: Box<dyn BufRead + Send>,
    registry: &RegistryName,
    suffix: Option<Suffix>,
) -> io::Result<Records> {
    Ok(match format {
        Format::Csv => Box::new(csv::Reader::new(input, registry.clone())?),
        Format::JsonLines => Box::new(json_lines::Reader::new(input, registry.clone())),
        Format::Ldif => Box::new(ldif::Reader::new(input, registry.clone(), suffix)),
    })
}

/// Writes entries to a file.
pub enum Writer<W: Write> {
    /// As CSV.
    #[doc(hidden)]
    Csv(Box<csv::Writer<W>>),
    /// As JSON lines.
    #[doc(hidden)]
    JsonLines(json_lines::Writer<W>),
    /// As LDIF.
    #[doc(hidden)]
    Ldif(ldif::Writer<W>),
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Whatever the output says.
    pub fn new(format: Format, output: W) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => Self::Csv(Box::new(csv::Writer::new(output)?)),
            Format::JsonLines => Self::JsonLines(json_lines::Writer::new(output)),
            Format::Ldif => Self::Ldif(ldif::Writer::new(output)?),
        })
    }

    /// Writes an entry with the first of its lists; the rest follow with `more`.
    ///
    /// # Errors
    /// Whatever the output says.
    pub fn entry(&mut self, entry: &ImportedEntry) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.entry(entry),
            Self::JsonLines(writer) => writer.entry(entry),
            Self::Ldif(writer) => writer.entry(entry),
        }
    }

    /// Writes more of the lists of the entry just written.
    ///
    /// # Errors
    /// Whatever the output says.
    pub fn more(&mut self, entry: &ImportedEntry) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.entry(entry),
            Self::JsonLines(writer) => writer.entry(entry),
            Self::Ldif(writer) => writer.lists(entry),
        }
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// Whatever the output says.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.finish(),
            Self::JsonLines(writer) => writer.finish(),
            Self::Ldif(writer) => writer.finish(),
        }
    }
}

/// The next line without its end; none at the end of the input. A longer one than the limit is
/// passed over and is an error that names the limit.
fn next_line(
    input: &mut dyn BufRead,
    line: &mut Vec<u8>,
) -> io::Result<Option<Result<(), String>>> {
    line.clear();
    let limit = MAX_LINE_BYTES as u64 + 1;
    if input.take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && line.len() > MAX_LINE_BYTES {
        let mut rest = Vec::new();
        while input.take(limit).read_until(b'\n', &mut rest)? > 0 && rest.last() != Some(&b'\n') {
            rest.clear();
        }
        line.clear();
        return Ok(Some(Err(format!("longer than {MAX_LINE_BYTES} octets"))));
    }
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    Ok(Some(Ok(())))
}

fn kind_text(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Individual => "individual",
        EntryKind::Group => "group",
    }
}

fn kind_of(text: &str) -> Result<EntryKind, String> {
    match text.trim() {
        "individual" => Ok(EntryKind::Individual),
        "group" => Ok(EntryKind::Group),
        other => Err(format!(
            "`{other}` is no kind; it is `individual` or `group`"
        )),
    }
}

/// A name, of the registry unless it says otherwise.
fn name_in(text: &str, registry: &RegistryName) -> Result<Name, String> {
    let text = text.trim();
    let name = match text.contains('@') {
        true => text.parse(),
        false => Name::new(text, registry.clone()),
    };
    name.map_err(|error| format!("`{text}`: {error}"))
}

fn member_in(text: &str, registry: &RegistryName) -> Result<Member, String> {
    let text = text.trim();
    match text.contains('@') || text == "*" {
        true => text.parse().map_err(|error| format!("`{text}`: {error}")),
        false => name_in(text, registry).map(Member::Name),
    }
}

fn all<T>(
    texts: impl IntoIterator<Item = impl AsRef<str>>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    texts.into_iter().map(|text| read(text.as_ref())).collect()
}

/// The lists of an entry as texts.
struct Texts {
    sites: Vec<String>,
    forward: Vec<String>,
    aliases: Vec<String>,
    members: Vec<String>,
    owners: Vec<String>,
    friends: Vec<String>,
}

impl Texts {
    fn of(entry: &ImportedEntry) -> Self {
        fn texts<T: ToString>(values: &[T]) -> Vec<String> {
            values.iter().map(ToString::to_string).collect()
        }
        Self {
            sites: texts(&entry.sites),
            forward: texts(&entry.forward),
            aliases: texts(&entry.aliases),
            members: texts(&entry.members),
            owners: texts(&entry.owners),
            friends: texts(&entry.friends),
        }
    }
}

#[cfg(test)]
mod tests;
