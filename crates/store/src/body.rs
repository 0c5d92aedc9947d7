//! Reading a body back, in bounded memory, with its digest checked.
//!
//! Must never let a reader take damage for the body: the last bytes are only given out when the digest of all is
//! right. A reader that is open keeps its body, even when that is dropped meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use crate::contract::Damaged;
use crate::index::BodyRow;

/// An open body. [`Read`] gives its bytes; an error of kind `InvalidData` means damage.
#[derive(Debug)]
pub struct BodyReader {
    len_bytes: u64,
    digest: [u8; 32],
    read_bytes: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Checked already.
    Inline(Arc<[u8]>),
    /// Checked as it is read.
    File(File, Box<blake3::Hasher>),
    /// Found damaged.
    Damaged(Damaged),
}

impl BodyReader {
    pub(crate) fn from_memory(
        name: &str,
        row: &BodyRow,
        bytes: Arc<[u8]>,
    ) -> Result<Self, Damaged> {
        if *blake3::hash(&bytes).as_bytes() != row.digest || bytes.len() as u64 != row.len_bytes {
            return Err(Damaged(format!("{name} does not have its digest")));
        }
        Ok(Self::new(row, Content::Inline(bytes)))
    }

    pub(crate) fn from_file(name: &str, row: &BodyRow, file: File) -> Result<Self, Damaged> {
        let found = file.metadata().map(|metadata| metadata.len());
        match found {
            Ok(len) if len == row.len_bytes => {
                Ok(Self::new(row, Content::File(file, Box::default())))
            }
            Ok(len) => Err(Damaged(format!(
                "{name} has {len} bytes instead of {}",
                row.len_bytes
            ))),
            Err(error) => Err(Damaged(format!("{name}: {error}"))),
        }
    }

    fn new(row: &BodyRow, content: Content) -> Self {
        Self {
            len_bytes: row.len_bytes,
            digest: row.digest,
            read_bytes: 0,
            content,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len_bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }

    /// BLAKE3 digest of all of it.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// All of it, checked, where it is small enough to be in memory.
    pub fn inline(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Inline(bytes) => Some(bytes),
            Content::File(..) | Content::Damaged(_) => None,
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.len_bytes - self.read_bytes;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..wanted).unwrap_or_default();
        let read = match &mut self.content {
            Content::Damaged(damage) => return Err(as_io(damage)),
            _ if wanted == 0 => return Ok(0),
            Content::Inline(bytes) => {
                let start = usize::try_from(self.read_bytes).unwrap_or(usize::MAX);
                bytes.get(start..).unwrap_or_default().read(buf)?
            }
            Content::File(file, hasher) => {
                let read = file.read(buf)?;
                hasher.update(buf.get(..read).unwrap_or_default());
                let is_last = read as u64 == left;
                if read == 0 {
                    return Err(self.found("a body's file ends too soon"));
                }
                if is_last && *hasher.finalize().as_bytes() != self.digest {
                    // The last bytes are not given out.
                    buf.fill(0);
                    return Err(self.found("a body's file does not have its digest"));
                }
                read
            }
        };
        self.read_bytes += read as u64;
        Ok(read)
    }
}

impl BodyReader {
    fn found(&mut self, what: &str) -> io::Error {
        let damage = Damaged(what.to_owned());
        let error = as_io(&damage);
        self.content = Content::Damaged(damage);
        error
    }
}

fn as_io(damage: &Damaged) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, damage.0.clone())
}
