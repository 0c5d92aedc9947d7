//! Bytes that arrived and could not be worked on yet: half a line, or what a client pipelined behind an open question.
//!
//! A password may pass through here, so what held one is wiped: when it is consumed, when the buffer moves, and at the end.

use zeroize::Zeroize;

/// The buffer: appended at its end, consumed from its start, without moving bytes for each line.
#[derive(Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
}

/// What to leave behind of consumed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residue {
    /// They may stay in memory until they are overwritten.
    Keep,
    /// They held a secret.
    Wipe,
}

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.start >= self.bytes.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(crate) fn append(&mut self, more: &[u8]) {
        if more.is_empty() {
            return;
        }
        if self.bytes.len().saturating_add(more.len()) > self.bytes.capacity() {
            self.make_room(more.len());
        }
        self.bytes.extend_from_slice(more);
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize, residue: Residue) {
        let end = self.start.saturating_add(count).min(self.bytes.len());
        if residue == Residue::Wipe
            && let Some(gone) = self.bytes.get_mut(self.start..end)
        {
            gone.zeroize();
        }
        self.start = end;
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
            if self.bytes.capacity() > crate::READ_BYTES {
                self.bytes = Vec::new();
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.bytes.zeroize();
        self.start = 0;
    }

    /// A plain reallocation would leave a copy of the old bytes behind, so the move is done here.
    fn make_room(&mut self, more: usize) {
        let needed = self.len().saturating_add(more);
        let mut moved = Vec::with_capacity(needed.saturating_add(needed / 2));
        moved.extend_from_slice(self.as_slice());
        self.bytes.zeroize();
        self.bytes = moved;
        self.start = 0;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_however_they_are_consumed() {
        let mut inbox = Inbox::default();
        inbox.append(b"abc");
        inbox.append(b"def");
        inbox.consume(2, Residue::Keep);
        inbox.append(b"ghi");
        assert_eq!(inbox.as_slice(), b"cdefghi");
        inbox.consume(7, Residue::Keep);
        assert!(inbox.is_empty());
        assert_eq!(inbox.len(), 0);
    }

    #[test]
    fn a_consumed_secret_is_gone_from_the_buffer() {
        let mut inbox = Inbox::default();
        inbox.append(b"PASS sesame\r\nSTAT\r\n");
        inbox.consume(13, Residue::Wipe);
        assert!(inbox.bytes.iter().take(13).all(|byte| *byte == 0));
        assert_eq!(inbox.as_slice(), b"STAT\r\n");
    }
}
