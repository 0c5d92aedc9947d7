//! The witness: the number of the last commit that was acknowledged as durable, outside the engine.
//!
//! The engine ends its journal at the first byte it can't read, which is right for the torn tail a crash
//! leaves, and silent loss when a bit flipped in the middle. With the number here, the two are told apart:
//! a journal that ends before the witness lost something that was acknowledged.
//!
//! It is written after each sync and not synced itself: after a power cut it may be older than the truth, never newer.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{OpenError, open_io};
use crate::folder::write_whole;

const MAGIC: &[u8; 4] = b"GVW1";

/// The open witness file.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
}

impl Witness {
    /// Makes the file of a new store.
    pub(crate) fn create(dir: &Path) -> Result<(), OpenError> {
        write_whole(dir, "WITNESS", &encode(0)).map_err(open_io("write the WITNESS file"))
    }

    /// Opens it, with the number it holds. An unreadable one has none: the tables are checked by themselves too, and it
    /// is no reason to refuse them, but then nothing may be cut off the journal's end.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<u64>), OpenError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(open_io("open the WITNESS file"))?;
        let mut content = Vec::new();
        (&mut file)
            .take(64)
            .read_to_end(&mut content)
            .map_err(open_io("read the WITNESS file"))?;
        let number = decode(&content);
        if number.is_none() {
            tracing::warn!(
                "the WITNESS file is unreadable; it is written anew with the next commit"
            );
        }
        Ok((Self { file }, number))
    }

    /// Notes that everything up to this commit is durable.
    pub(crate) fn note(&mut self, commit: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&encode(commit))
    }
}

fn encode(number: u64) -> [u8; 16] {
    let mut out = [0; 16];
    let number = number.to_be_bytes();
    let crc = crc32fast::hash(&number).to_be_bytes();
    let parts = MAGIC.iter().chain(&number).chain(&crc);
    out.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
    out
}

fn decode(content: &[u8]) -> Option<u64> {
    let (head, rest) = content.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let whole =
        head == MAGIC && rest.is_empty() && crc32fast::hash(number) == u32::from_be_bytes(*crc);
    whole.then(|| u64::from_be_bytes(*number))
}
