//! Reads the engine's journals before the engine does, to tell a torn tail from a damaged middle.
//!
//! The engine cuts a journal where it can no longer read it, and refuses one whose last batch lost a page in
//! a power cut. Both are wrong here: the first may throw away what was acknowledged, the second keeps a
//! healthy store from opening. So: a tail that was never acknowledged (the witness knows) is cut off before
//! the engine sees it; anything else is refused, and nothing is thrown away.
//!
//! Knows the engine's journal format (fjall 3: start, items, end with XXH3; see its `journal/entry.rs`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::error::{OpenError, open_io};

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TAG_CLEAR: u8 = 4;
const END_MAGIC: [u8; 4] = *b"FJL\x03";
const CHUNK_BYTES: usize = 64 * 1024;

/// Checks all journals in the engine's folder; cuts the tail of the last where that loses nothing acknowledged.
pub(crate) fn check_journals(
    tables: &Path,
    commit_key: &[u8],
    witness: Option<u64>,
) -> Result<(), OpenError> {
    let mut journals = list_journals(tables)?;
    let Some((_, active)) = journals.pop() else {
        return Ok(());
    };
    let mut last_commit = None;
    for (_, path) in journals {
        let scan = scan(&path, commit_key)?;
        if let Some(at) = scan.torn_at {
            return Err(OpenError::Damaged(format!(
                "{} is unreadable at byte {at}, and it was finished",
                path.display()
            )));
        }
        last_commit = scan.last_commit.or(last_commit);
    }
    let scan = scan(&active, commit_key)?;
    let Some(at) = scan.torn_at else {
        return Ok(());
    };
    let Some(witness) = witness else {
        // Two damages at once, and nobody who says what was acknowledged: unknown is not "nothing".
        return Err(OpenError::Damaged(format!(
            "{} is unreadable at byte {at}, and so is the WITNESS file: what was acknowledged may be missing",
            active.display()
        )));
    };
    let readable = scan.last_commit.or(last_commit);
    match readable {
        Some(commit) if commit < witness => Err(OpenError::Damaged(format!(
            "{} is unreadable at byte {at}: commit {witness} was acknowledged, the last readable one is {commit}",
            active.display()
        ))),
        Some(_) => cut(&active, scan.whole_bytes),
        None => {
            // What was committed before is in the tables, and says only after opening which commit it was.
            let mut copy = active.clone().into_os_string();
            copy.push(".torn");
            fs::copy(&active, &copy).map_err(open_io("keep a copy of a torn journal"))?;
            cut(&active, scan.whole_bytes)
        }
    }
}

fn list_journals(tables: &Path) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let mut journals = Vec::new();
    let entries = fs::read_dir(tables).map_err(open_io("list the tables' folder"))?;
    for entry in entries {
        let path = entry.map_err(open_io("list the tables' folder"))?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".jnl"))
            .and_then(|number| number.parse().ok());
        if let Some(number) = number {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals)
}

fn cut(journal: &Path, len_bytes: u64) -> Result<(), OpenError> {
    tracing::warn!(journal = %journal.display(), len_bytes, "cut the torn end off the journal: nothing in it was acknowledged");
    let file = OpenOptions::new()
        .write(true)
        .open(journal)
        .map_err(open_io("open a torn journal"))?;
    file.set_len(len_bytes)
        .and_then(|()| file.sync_all())
        .map_err(open_io("cut a torn journal"))
}

/// What a journal holds.
struct Scan {
    /// Bytes of whole, valid batches at its start.
    whole_bytes: u64,
    /// Where it stops making sense, if that is not its end.
    torn_at: Option<u64>,
    /// The highest number of a commit in the valid part.
    last_commit: Option<u64>,
}

fn scan(path: &Path, commit_key: &[u8]) -> Result<Scan, OpenError> {
    scan_file(path, commit_key).map_err(open_io(format!("read the journal {}", path.display())))
}

fn scan_file(path: &Path, commit_key: &[u8]) -> io::Result<Scan> {
    let file = File::open(path)?;
    let len_bytes = file.metadata()?.len();
    let mut cursor = Cursor {
        reader: BufReader::with_capacity(CHUNK_BYTES, file),
        at: 0,
        len_bytes,
        hasher: Xxh3::new(),
        sequence: None,
        chunk: vec![0; CHUNK_BYTES],
    };
    let mut scan = Scan {
        whole_bytes: 0,
        torn_at: None,
        last_commit: None,
    };
    loop {
        match cursor.batch(commit_key)? {
            Found::Whole(commit) => {
                scan.whole_bytes = cursor.at;
                scan.last_commit = commit.or(scan.last_commit);
            }
            Found::Zeros => {
                // The engine allocates journals ahead, filled with zeros: nothing else may follow.
                if !cursor.rest_is_zero()? {
                    scan.torn_at = Some(scan.whole_bytes);
                }
                return Ok(scan);
            }
            Found::End => return Ok(scan),
            Found::Torn => {
                scan.torn_at = Some(cursor.at);
                return Ok(scan);
            }
        }
    }
}

/// What was found where a batch should start.
enum Found {
    /// A valid batch, with the number of its commit.
    Whole(Option<u64>),
    /// Space that was never written.
    Zeros,
    /// The end of the file.
    End,
    /// Something else.
    Torn,
}

struct Cursor {
    reader: BufReader<File>,
    at: u64,
    len_bytes: u64,
    hasher: Xxh3,
    sequence: Option<u64>,
    chunk: Vec<u8>,
}

/// Whether bytes count for the checksum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hashed {
    Yes,
    No,
}

impl Cursor {
    fn batch(&mut self, commit_key: &[u8]) -> io::Result<Found> {
        let start = match self.array::<1>(Hashed::No)? {
            None => return Ok(Found::End),
            Some([tag]) => tag,
        };
        match start {
            0 => return Ok(Found::Zeros),
            TAG_START => {}
            _ => return Ok(Found::Torn),
        }
        Ok(self.batch_body(commit_key)?.unwrap_or(Found::Torn))
    }

    /// The rest of a batch after its start tag; `None` for anything invalid.
    fn batch_body(&mut self, commit_key: &[u8]) -> io::Result<Option<Found>> {
        self.hasher = Xxh3::new();
        let mut commit = None;
        let Some(items) = self.array::<4>(Hashed::No)? else {
            return Ok(None);
        };
        // The checksum does not cover the sequence number, and the engine passes over one that is too low.
        let Some(sequence) = self.array::<8>(Hashed::No)?.map(u64::from_le_bytes) else {
            return Ok(None);
        };
        if self.sequence.is_some_and(|last| sequence <= last) {
            return Ok(None);
        }
        self.sequence = Some(sequence);
        for _ in 0..u32::from_le_bytes(items) {
            match self.array::<1>(Hashed::Yes)? {
                Some([TAG_ITEM]) => match self.item(commit_key)? {
                    Some(found) => commit = found.or(commit),
                    None => return Ok(None),
                },
                Some([TAG_CLEAR]) => {
                    if self.array::<8>(Hashed::Yes)?.is_none() {
                        return Ok(None);
                    }
                }
                _ => return Ok(None),
            }
        }
        let checksum = self.hasher.digest();
        if self.array::<1>(Hashed::No)? != Some([TAG_END])
            || self.array::<8>(Hashed::No)? != Some(checksum.to_le_bytes())
            || self.array::<4>(Hashed::No)? != Some(END_MAGIC)
        {
            return Ok(None);
        }
        Ok(Some(Found::Whole(commit)))
    }

    /// One item after its tag: the commit number, where it holds one.
    fn item(&mut self, commit_key: &[u8]) -> io::Result<Option<Option<u64>>> {
        // Type of value, compression, partition.
        if self.array::<10>(Hashed::Yes)?.is_none() {
            return Ok(None);
        }
        let Some(key_len) = self.array::<2>(Hashed::Yes)? else {
            return Ok(None);
        };
        if self.array::<4>(Hashed::Yes)?.is_none() {
            return Ok(None);
        }
        let Some(value_len) = self.array::<4>(Hashed::Yes)? else {
            return Ok(None);
        };
        let key_len = u64::from(u16::from_le_bytes(key_len));
        let value_len = u64::from(u32::from_le_bytes(value_len));
        if self.at + key_len + value_len > self.len_bytes {
            return Ok(None);
        }
        let mut key = vec![0; usize::try_from(key_len).unwrap_or_default()];
        self.reader.read_exact(&mut key)?;
        self.hasher.update(&key);
        self.at += key_len;
        if key == commit_key && value_len == 8 {
            let number = self.array::<8>(Hashed::Yes)?;
            return Ok(number.map(|number| Some(u64::from_be_bytes(number))));
        }
        self.skip(value_len)?;
        Ok(Some(None))
    }

    /// The next `N` bytes, `None` past the end.
    fn array<const N: usize>(&mut self, hashed: Hashed) -> io::Result<Option<[u8; N]>> {
        if self.at + N as u64 > self.len_bytes {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.at += N as u64;
        if hashed == Hashed::Yes {
            self.hasher.update(&bytes);
        }
        Ok(Some(bytes))
    }

    /// Passes over bytes that count for the checksum; the caller knows that they are there.
    fn skip(&mut self, len_bytes: u64) -> io::Result<()> {
        let mut left = len_bytes;
        while left > 0 {
            let part = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.chunk.len());
            let chunk = self.chunk.get_mut(..part).unwrap_or_default();
            self.reader.read_exact(chunk)?;
            self.hasher.update(chunk);
            left -= part as u64;
        }
        self.at += len_bytes;
        Ok(())
    }

    fn rest_is_zero(&mut self) -> io::Result<bool> {
        let zeros = vec![0; self.chunk.len()];
        loop {
            let read = self.reader.read(&mut self.chunk)?;
            if read == 0 {
                return Ok(true);
            }
            if self.chunk.get(..read) != zeros.get(..read) {
                return Ok(false);
            }
        }
    }
}
