//! Files that nobody reads or changes without the key: AES-256-GCM, piece by piece, so that a large one is never held whole.
//!
//! Every file has a key of its own, made from the data key, 32 random octets at its beginning and what it is for; its pieces are numbered,
//! and the last one is marked. So none can be left out, put elsewhere, or taken from another file. Must never give out an octet that was
//! not proved, nor take a file that was cut off for a whole one.

use std::fmt;
use std::io::{self, Read, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize as _, Zeroizing};

/// What a sealed file begins with; the last octet is the format's version.
const MAGIC: &[u8; 8] = b"GVSEAL\0\x01";
const SALT_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
/// What is sealed at a time, before its seal.
const PIECE_BYTES: usize = 64 * 1024;
/// The seal of a piece.
const TAG_BYTES: usize = 16;
/// In the length of a piece: it is the last one.
const LAST: u32 = 1 << 31;
/// Of `blake3::derive_key`: an application, a date, a purpose.
const FILE_KEY_CONTEXT: &str = "grapevine 2026-11-23 key of one sealed file";

/// The key that everything of one outbox is sealed with: random, never printed, wiped when it is dropped.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl DataKey {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random octets.
    pub fn random() -> io::Result<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(key.as_mut()).map_err(io::Error::other)?;
        Ok(Self(key))
    }

    /// From what a wrapping key has given back.
    pub(crate) fn from_octets(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; KEY_BYTES] = octets.try_into().ok()?;
        Some(Self(Zeroizing::new(*octets)))
    }

    pub(crate) fn octets(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The key of one file.
    fn of_file(&self, salt: &[u8; SALT_BYTES], purpose: &str) -> io::Result<LessSafeKey> {
        let mut material = Zeroizing::new(Vec::with_capacity(KEY_BYTES + SALT_BYTES + 64));
        material.extend_from_slice(self.0.as_ref());
        material.extend_from_slice(salt);
        material.extend_from_slice(purpose.as_bytes());
        let mut key = blake3::derive_key(FILE_KEY_CONTEXT, &material);
        let made = cipher(&key);
        key.zeroize();
        made
    }
}

/// The cipher with a key.
pub(crate) fn cipher(key: &[u8; KEY_BYTES]) -> io::Result<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key)
        .map(LessSafeKey::new)
        .map_err(|_| io::Error::other("the cipher takes no key"))
}

fn nonce(number: u64, length: u32) -> Nonce {
    let mut octets = [0; 12];
    let (head, count) = octets.split_at_mut(4);
    head.copy_from_slice(&(length & LAST).to_be_bytes());
    count.copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(octets)
}

/// Seals what is written to it; without [`SealedWriter::finish`] there is no file.
pub struct SealedWriter<W: Write> {
    inner: W,
    key: LessSafeKey,
    number: u64,
    piece: Zeroizing<Vec<u8>>,
}

impl<W: Write> SealedWriter<W> {
    /// Begins a file for a purpose: it opens for this purpose only.
    ///
    /// # Errors
    /// No random octets; whatever the file says.
    pub fn begin(mut inner: W, key: &DataKey, purpose: &str) -> io::Result<Self> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        let key = key.of_file(&salt, purpose)?;
        inner.write_all(MAGIC)?;
        inner.write_all(&salt)?;
        Ok(Self {
            inner,
            key,
            number: 0,
            piece: Zeroizing::new(Vec::with_capacity(PIECE_BYTES + TAG_BYTES)),
        })
    }

    /// Seals the last piece, and gives the file back: it is the caller's to sync.
    ///
    /// # Errors
    /// Whatever the file says.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(LAST)?;
        Ok(self.inner)
    }

    fn seal(&mut self, last: u32) -> io::Result<()> {
        let len = u32::try_from(self.piece.len() + TAG_BYTES).map_err(io::Error::other)? | last;
        let nonce = nonce(self.number, len);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(len.to_be_bytes()), &mut *self.piece)
            .map_err(|_| io::Error::other("a piece could not be sealed"))?;
        self.inner.write_all(&len.to_be_bytes())?;
        self.inner.write_all(&self.piece)?;
        self.piece.clear();
        self.number += 1;
        Ok(())
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE_BYTES {
            self.seal(0)?;
        }
        let room = PIECE_BYTES - self.piece.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.piece.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A piece goes out when it is full; the rest at the end.
        Ok(())
    }
}

/// Opens what was sealed, piece by piece.
pub struct SealedReader<R: Read> {
    inner: R,
    key: LessSafeKey,
    number: u64,
    piece: Zeroizing<Vec<u8>>,
    at: usize,
    ended: bool,
}

impl<R: Read> SealedReader<R> {
    /// Begins to read a file that was sealed for this purpose.
    ///
    /// # Errors
    /// It is none; whatever the file says.
    pub fn begin(mut inner: R, key: &DataKey, purpose: &str) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        let mut salt = [0; SALT_BYTES];
        inner.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged("it is no sealed file of this release"));
        }
        inner.read_exact(&mut salt)?;
        Ok(Self {
            inner,
            key: key.of_file(&salt, purpose)?,
            number: 0,
            piece: Zeroizing::new(Vec::new()),
            at: 0,
            ended: false,
        })
    }

    fn open_next(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.inner.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        let len = (length & !LAST) as usize;
        if !(TAG_BYTES..=PIECE_BYTES + TAG_BYTES).contains(&len) {
            return Err(damaged("a piece has an impossible length"));
        }
        self.piece.zeroize();
        self.piece.resize(len, 0);
        self.inner.read_exact(&mut self.piece)?;
        let nonce = nonce(self.number, length);
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(length.to_be_bytes()), &mut self.piece)
            .map_err(|_| damaged("it was changed, or is sealed with another key"))?
            .len();
        self.piece.truncate(opened);
        self.at = 0;
        self.number += 1;
        if length & LAST != 0 {
            self.ended = true;
            if self.inner.read(&mut [0])? != 0 {
                return Err(damaged("something follows its end"));
            }
        } else if opened == 0 {
            return Err(damaged("a piece is empty"));
        }
        Ok(())
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            self.open_next()?;
        }
        let ready = self.piece.get(self.at..).unwrap_or_default();
        let taken = ready.len().min(to.len());
        if let (Some(to), Some(from)) = (to.get_mut(..taken), ready.get(..taken)) {
            to.copy_from_slice(from);
        }
        self.at += taken;
        Ok(taken)
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn sealed(key: &DataKey, purpose: &str, bytes: &[u8]) -> Vec<u8> {
        let mut writer = SealedWriter::begin(Vec::new(), key, purpose).unwrap();
        // In pieces of an odd size, as bodies come.
        for some in bytes.chunks(1_009) {
            writer.write_all(some).unwrap();
        }
        writer.finish().unwrap()
    }

    fn opened(key: &DataKey, purpose: &str, file: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        SealedReader::begin(file, key, purpose)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_and_for_its_purpose_only() {
        let key = DataKey::random().unwrap();
        for len in [
            0,
            1,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            3 * PIECE_BYTES,
        ] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let file = sealed(&key, "body", &bytes);
            assert_eq!(opened(&key, "body", &file).unwrap(), bytes, "{len}");
            assert!(opened(&key, "head", &file).is_err());
            assert!(opened(&DataKey::random().unwrap(), "body", &file).is_err());
        }
    }

    #[test]
    fn nothing_of_the_content_can_be_seen_and_equal_contents_differ() {
        let key = DataKey::random().unwrap();
        let text = b"a secret that would be found".repeat(100);
        let (one, other) = (sealed(&key, "body", &text), sealed(&key, "body", &text));
        assert!(!one.windows(8).any(|window| window == b"a secret"));
        assert_ne!(one[40..], other[40..]);
    }

    #[test]
    fn a_file_that_is_cut_off_changed_or_put_together_anew_is_refused() {
        let key = DataKey::random().unwrap();
        let file = sealed(&key, "body", &vec![7; 2 * PIECE_BYTES + 100]);
        let piece = 4 + PIECE_BYTES + TAG_BYTES;
        for cut in [0, 7, 39, 40, 41, 40 + piece, 40 + 2 * piece, file.len() - 1] {
            assert!(opened(&key, "body", &file[..cut]).is_err(), "cut at {cut}");
        }
        for at in (0..file.len()).step_by(997).chain([40, 43, file.len() - 1]) {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(opened(&key, "body", &changed).is_err(), "changed at {at}");
        }
        // The second piece twice, in the place of the first.
        let mut moved = file[..40].to_vec();
        moved.extend_from_slice(&file[40 + piece..40 + 2 * piece]);
        moved.extend_from_slice(&file[40 + piece..]);
        assert!(opened(&key, "body", &moved).is_err());
        let mut longer = file;
        longer.push(0);
        assert!(opened(&key, "body", &longer).is_err());
    }
}
