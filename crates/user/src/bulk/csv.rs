//! Comma-separated values (RFC 4180) with a header that names the columns; lists are separated
//! by spaces.

use std::io::{self, BufRead, Write};

use grapevine_model::{EntryKind, ImportedEntry, RegistryName, Secret};

use super::{Found, MAX_LINE_BYTES, Record, Texts, all, kind_of, kind_text, member_in, name_in};

/// The columns that there are, in the order in which they are written.
const COLUMNS: [&str; 11] = [
    "name",
    "kind",
    "remark",
    "sites",
    "forward",
    "aliases",
    "members",
    "owners",
    "friends",
    "password",
    "password_hash",
];
/// Those that an export writes: no secrets.
const WRITTEN: usize = 9;

/// Reads.
pub(super) struct Reader {
    rows: ::csv::Reader<Limited>,
    /// Which column stands where.
    places: [Option<usize>; COLUMNS.len()],
    registry: RegistryName,
    row: ::csv::StringRecord,
    ended: bool,
}

/// The reader of rows keeps one row in memory: no row is longer than the limit.
struct Limited {
    input: Box<dyn BufRead + Send>,
    since_newline: usize,
}

impl io::Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        for octet in buffer.iter().take(len) {
            self.since_newline = match octet {
                b'\n' => 0,
                _ => self.since_newline + 1,
            };
            if self.since_newline > MAX_LINE_BYTES {
                let why = format!("a line is longer than {MAX_LINE_BYTES} octets");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        Ok(len)
    }
}

impl Reader {
    pub(super) fn new(input: Box<dyn BufRead + Send>, registry: RegistryName) -> io::Result<Self> {
        let mut rows = ::csv::ReaderBuilder::new()
            .trim(::csv::Trim::All)
            .from_reader(Limited {
                input,
                since_newline: 0,
            });
        let mut places = [None; COLUMNS.len()];
        for (place, column) in rows.headers()?.iter().enumerate() {
            let column = column.trim_start_matches('\u{feff}').to_ascii_lowercase();
            let slot = COLUMNS
                .iter()
                .position(|known| *known == column)
                .and_then(|known| places.get_mut(known));
            match slot {
                Some(slot) => *slot = Some(place),
                None => {
                    let why = format!(
                        "the first line has a column `{column}`; known columns: {}",
                        COLUMNS.join(", ")
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            }
        }
        if places.first().copied().flatten().is_none() {
            let why = "the first line must name the columns, `name` among them";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Self {
            rows,
            places,
            registry,
            row: ::csv::StringRecord::new(),
            ended: false,
        })
    }

    fn field(&self, column: &str) -> &str {
        COLUMNS
            .iter()
            .position(|known| *known == column)
            .and_then(|known| self.places.get(known).copied().flatten())
            .and_then(|place| self.row.get(place))
            .unwrap_or_default()
    }

    fn record(&self, line: u64) -> Result<Record, String> {
        let text = |column| Some(self.field(column)).filter(|text| !text.is_empty());
        let words = |column| self.field(column).split_ascii_whitespace();
        let registry = &self.registry;
        let kind = text("kind").map(kind_of).transpose()?;
        let entry = ImportedEntry {
            name: name_in(self.field("name"), registry)?,
            kind: kind.unwrap_or(EntryKind::Individual),
            password: text("password_hash").map(|hash| Secret(hash.to_owned())),
            remark: text("remark").map(str::to_owned),
            sites: all(words("sites"), |site| {
                site.parse().map_err(|error| format!("`{site}`: {error}"))
            })?,
            forward: all(words("forward"), |name| name_in(name, registry))?,
            aliases: all(words("aliases"), |name| name_in(name, registry))?,
            members: all(words("members"), |member| member_in(member, registry))?,
            owners: all(words("owners"), |member| member_in(member, registry))?,
            friends: all(words("friends"), |member| member_in(member, registry))?,
        };
        let plain = text("password").map(|password| Secret(password.to_owned()));
        Ok(Record { line, entry, plain })
    }
}

impl Iterator for Reader {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        // A row's number is what a spreadsheet shows beside it.
        let line = self.rows.position().record() + 1;
        match self.rows.read_record(&mut self.row) {
            Ok(false) => None,
            Ok(true) => Some(Ok(match self.record(line) {
                Ok(record) => Found::Entry(Box::new(record)),
                Err(why) => Found::Bad { line, why },
            })),
            Err(error) => Some(match error.into_kind() {
                ::csv::ErrorKind::Io(error) => {
                    self.ended = true;
                    Err(error)
                }
                ::csv::ErrorKind::Utf8 { .. } => Ok(Found::Bad {
                    line,
                    why: "not UTF-8".to_owned(),
                }),
                ::csv::ErrorKind::UnequalLengths {
                    expected_len, len, ..
                } => Ok(Found::Bad {
                    line,
                    why: format!("{len} columns instead of {expected_len}"),
                }),
                other => Ok(Found::Bad {
                    line,
                    why: format!("{other:?}"),
                }),
            }),
        }
    }
}

/// Writes.
pub struct Writer<W: Write> {
    rows: ::csv::Writer<W>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(output: W) -> io::Result<Self> {
        let mut rows = ::csv::Writer::from_writer(output);
        rows.write_record(COLUMNS.iter().take(WRITTEN))?;
        Ok(Self { rows })
    }

    pub(super) fn entry(&mut self, entry: &ImportedEntry) -> io::Result<()> {
        let texts = Texts::of(entry);
        self.rows.write_record([
            entry.name.to_string(),
            kind_text(entry.kind).to_owned(),
            entry.remark.clone().unwrap_or_default(),
            texts.sites.join(" "),
            texts.forward.join(" "),
            texts.aliases.join(" "),
            texts.members.join(" "),
            texts.owners.join(" "),
            texts.friends.join(" "),
        ])?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.rows.flush()
    }
}
