//! Rows in pieces that stay the same where the rows do: the border of a piece depends on the rows beside it alone, so that a
//! row that comes or goes changes one piece, and not all after it.

use std::io;

use grapevine_store::Row;

/// A piece has this much at least, and ends with the first key that is a border.
const LEAST_BYTES: usize = 32 * 1024;
/// And not much more than this.
const MOST_BYTES: usize = 1 << 20;
/// One key in so many is a border.
const BORDER: u8 = 64;

/// Rows that become a piece.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) first: Vec<u8>,
    pub(super) rows: u64,
    pub(super) bytes: Vec<u8>,
}

impl Piece {
    /// Takes in the next row; whether the piece ends with it.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> bool {
        if self.rows == 0 {
            self.first = key.to_vec();
        }
        self.rows += 1;
        for part in [key, value] {
            self.bytes
                .extend_from_slice(&(part.len() as u32).to_be_bytes());
            self.bytes.extend_from_slice(part);
        }
        let len = self.bytes.len();
        let is_border = || {
            let digest = blake3::hash(key);
            digest
                .as_bytes()
                .first()
                .is_some_and(|octet| octet % BORDER == 0)
        };
        len >= MOST_BYTES || (len >= LEAST_BYTES && is_border())
    }
}

/// The rows of a piece.
pub(super) fn read(bytes: &[u8]) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let key = part(&mut rest)?;
        let value = part(&mut rest)?;
        rows.push((key, value));
    }
    Ok(rows)
}

fn part(rest: &mut &[u8]) -> io::Result<Vec<u8>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "rows of a backup can't be read");
    let (len, after) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
    let len = u32::from_be_bytes(*len) as usize;
    let (part, after) = after.split_at_checked(len).ok_or_else(bad)?;
    *rest = after;
    Ok(part.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pieces(keys: impl Iterator<Item = u32>) -> Vec<Vec<u8>> {
        let (mut pieces, mut piece) = (Vec::new(), Piece::default());
        for key in keys {
            if piece.take(&key.to_be_bytes(), &[7; 300]) {
                pieces.push(std::mem::take(&mut piece).bytes);
            }
        }
        pieces.push(piece.bytes);
        pieces
    }

    #[test]
    fn rows_come_back_and_one_more_changes_a_piece_or_two() {
        let before = pieces(0..20_000);
        assert!(before.len() > 20, "{}", before.len());
        let after = pieces((0..20_000).filter(|key| *key != 5_000));
        let same = before.iter().filter(|piece| after.contains(piece)).count();
        assert!(same + 3 >= before.len(), "{same} of {}", before.len());
        let rows: Vec<Row> = before
            .iter()
            .flat_map(|piece| read(piece).unwrap())
            .collect();
        assert_eq!(rows.len(), 20_000);
        for cut in 1..50 {
            let piece = &before[0];
            let _ = read(&piece[..piece.len() - cut]);
        }
        assert!(read(&[0, 0, 0, 9, 1]).is_err());
    }
}
