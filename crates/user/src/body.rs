//! Where a message's body comes from: something that can be read again.
//!
//! A submission may have to be sent to a second server from its first byte, so a
//! body is bytes in memory or a range of a file, never a stream that is gone once
//! read. Nothing here holds more than a buffer of a file in memory.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use grapevine_model::BodyInfo;

use crate::transform::{Transform, Transformed};

/// Read from a source at a time.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// Something that gives the same bytes each time it is opened.
pub trait Reopen: std::fmt::Debug + Send + Sync {
    /// Opens it at its first byte.
    ///
    /// # Errors
    /// It can't be read.
    fn reopen(&self) -> io::Result<Box<dyn Read + Send>>;
}

/// A body that can be read as often as servers have to be tried.
#[derive(Debug, Clone)]
pub enum BodySource {
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
    /// Part of a file, perhaps changed on its way.
    File {
        /// Which file.
        path: PathBuf,
        /// Where it begins, in octets.
        start: u64,
        /// How long it is in the file, in octets.
        len: u64,
        /// What is changed while reading.
        transform: Transform,
    },
    /// Something else that can be opened again.
    Other(Arc<dyn Reopen>),
}

impl BodySource {
    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// A whole file as it stands now.
    pub fn file(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let len = std::fs::metadata(&path)?.len();
        Ok(Self::File {
            path,
            start: 0,
            len,
            transform: Transform::default(),
        })
    }

    /// Opens it at its first byte.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Bytes(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            Self::Other(other) => other.reopen(),
            Self::File {
                path,
                start,
                len,
                transform,
            } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*start))?;
                let range = BufReader::with_capacity(CHUNK_BYTES, file.take(*len));
                Ok(if transform.changes_nothing() {
                    Box::new(range)
                } else {
                    Box::new(Transformed::new(range, *transform))
                })
            }
        }
    }

    /// Its length and digest, by reading it through. Blocks.
    pub fn measure(&self) -> io::Result<BodyInfo> {
        if let Self::Bytes(bytes) = self {
            return Ok(BodyInfo {
                len: bytes.len() as u64,
                digest: *blake3::hash(bytes).as_bytes(),
            });
        }
        let mut reader = self.open()?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut len = 0;
        loop {
            let read = reader.read(&mut buffer)?;
            let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
                break;
            };
            hasher.update(chunk);
            len += read as u64;
        }
        Ok(BodyInfo {
            len,
            digest: *hasher.finalize().as_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_range_of_a_file_reads_the_same_each_time_and_measures_as_the_bytes_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let source = BodySource::File {
            path,
            start: 1_000,
            len: 150_000,
            transform: Transform::default(),
        };
        for _ in 0..2 {
            let mut read = Vec::new();
            source.open().unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, &bytes[1_000..151_000]);
        }
        assert_eq!(
            source.measure().unwrap(),
            BodySource::bytes(&bytes[1_000..151_000]).measure().unwrap()
        );
    }
}
