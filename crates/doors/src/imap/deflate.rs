//! COMPRESS=DEFLATE (RFC 4978): what passes the connection after it, inflated and deflated.
//!
//! It is never begun before the login, so no password shares a stream with what somebody else wrote. It must never make more of a client's octets than
//! the session wants: they are inflated by pieces of [`PIECE_BYTES`], each worked on before the next, so a bomb meets the limits on commands and messages
//! as if it had come uncompressed, and costs time only. Answers are flushed whenever nothing more is to be said.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::session::{Ending, Phase, Session};
use super::types::Output;
use crate::inbox::{Inbox, Residue};

/// Octets inflated at a time: what a session works on at once, well below what it takes of a read.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// Room for deflated octets at a time.
const DEFLATED_PIECE_BYTES: usize = 16 * 1024;

/// Both directions of a compressed connection.
pub(super) struct Deflate {
    /// Octets of the client, not inflated yet: at most what the shell reads at a time.
    coming: Inbox,
    inflate: Decompress,
    /// Nothing more can be made of what has come.
    dry: bool,
    state: Coming,
    /// None while there is nothing to say: it has some hundred KiB, which an idle client need not cost. What a new one says can be read behind the old
    /// one's, for it refers to nothing before it.
    deflate: Option<Box<Compress>>,
    unflushed: Unflushed,
}

/// How the client's stream goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coming {
    Open,
    /// The last block was the client's last one.
    Ended,
}

/// Whether answers are in the compressor that the client cannot read yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unflushed {
    Nothing,
    Something,
}

/// What the client's octets are not: DEFLATE.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotDeflated;

impl Deflate {
    /// Begins with octets that came behind the command.
    pub(super) fn new(ahead: &[u8]) -> Self {
        let mut coming = Inbox::default();
        coming.append(ahead);
        Self {
            coming,
            inflate: Decompress::new(false),
            dry: false,
            state: Coming::Open,
            deflate: None,
            unflushed: Unflushed::Nothing,
        }
    }

    /// Octets from the client.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.coming.append(bytes);
        self.dry = false;
    }

    /// Nothing more of the client is wanted.
    pub(super) fn forget_input(&mut self) {
        self.coming.clear();
        self.dry = true;
        self.state = Coming::Ended;
    }

    /// Whether nothing more can be made of what has come.
    pub(super) fn is_dry(&self) -> bool {
        self.dry
    }

    /// Octets of the client that are held as they came.
    pub(super) fn held_bytes(&self) -> usize {
        self.coming.len()
    }

    /// Whether answers are in here that [`Deflate::flush`] has to give first.
    pub(super) fn has_unflushed(&self) -> bool {
        self.unflushed == Unflushed::Something
    }

    /// The next piece of what the client says; empty when more has to come first.
    pub(super) fn inflate(&mut self) -> Result<Vec<u8>, NotDeflated> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut made = 0;
        // Also without input: the inflater may hold more than it had room for.
        while made == 0 {
            if self.state == Coming::Ended {
                self.dry = true;
                return if self.coming.is_empty() {
                    Ok(Vec::new())
                } else {
                    Err(NotDeflated)
                };
            }
            let (read_before, made_before) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(self.coming.as_slice(), &mut piece, FlushDecompress::None)
                .map_err(|_| NotDeflated)?;
            let read = difference(self.inflate.total_in(), read_before);
            made = difference(self.inflate.total_out(), made_before);
            self.coming.consume(read, Residue::Keep);
            match status {
                Status::StreamEnd => self.state = Coming::Ended,
                Status::Ok | Status::BufError if read == 0 && made == 0 => break,
                Status::Ok | Status::BufError => {}
            }
        }
        piece.truncate(made);
        self.dry = made == 0;
        Ok(piece)
    }

    /// Takes what is to be said; gives what of it is ready to be sent, which may be nothing.
    pub(super) fn deflate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if !bytes.is_empty() {
            self.unflushed = Unflushed::Something;
            self.compress(bytes, FlushCompress::None, &mut out);
        }
        out
    }

    /// All that was taken and not given yet; nothing if there is nothing.
    pub(super) fn flush(&mut self) -> Option<Vec<u8>> {
        if self.unflushed == Unflushed::Nothing {
            return None;
        }
        let mut out = Vec::new();
        self.compress(&[], FlushCompress::Sync, &mut out);
        self.unflushed = Unflushed::Nothing;
        Some(out)
    }

    /// The client waits: gives back the memory of what compresses, if all is flushed.
    pub(super) fn rest(&mut self) {
        if self.unflushed == Unflushed::Nothing {
            self.deflate = None;
        }
    }

    fn compress(&mut self, mut bytes: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
        // The fastest: a mail program behind a slow line gains from it, and the server's time is everybody's.
        let deflate = self
            .deflate
            .get_or_insert_with(|| Box::new(Compress::new(Compression::fast(), false)));
        loop {
            out.reserve(DEFLATED_PIECE_BYTES);
            let before = deflate.total_in();
            // An error is said of a broken state only, which this one never has: then nothing more is written, and the client sees a cut.
            if deflate.compress_vec(bytes, out, flush).is_err() {
                return;
            }
            let read = difference(deflate.total_in(), before);
            bytes = bytes.get(read..).unwrap_or_default();
            // With room left over there is nothing more to come of it.
            if bytes.is_empty() && out.len() < out.capacity() {
                return;
            }
        }
    }
}

impl Session {
    /// What comes next of a compressed client's octets: only when those before are worked on as far as they can be.
    pub(super) fn inflate_more(&mut self) -> bool {
        if !self.can_work() || self.running.is_some() {
            return false;
        }
        let Some(deflate) = &mut self.deflate else {
            return false;
        };
        match deflate.inflate() {
            Ok(piece) if piece.is_empty() => {
                if self.ending == Ending::ClientDone {
                    self.pump_inbox();
                }
                false
            }
            Ok(piece) => {
                self.inbox.append(&piece);
                true
            }
            Err(NotDeflated) => {
                self.bye("What comes in is not DEFLATE, closing");
                false
            }
        }
    }

    /// From here on all is compressed, and so is what came behind the command.
    pub(super) fn start_deflate(&mut self) {
        self.deflate = Some(Box::new(Deflate::new(self.inbox.as_slice())));
        self.inbox.clear();
        self.phase = Phase::Command;
    }

    pub(super) fn compress(&mut self, tag: &str, algorithm: &str) {
        match (algorithm, &self.deflate) {
            ("DEFLATE", None) => {
                self.complete(tag, "DEFLATE begins");
                self.phase = Phase::StartingDeflate;
            }
            ("DEFLATE", Some(_)) => self.no(tag, "[COMPRESSIONACTIVE] All is compressed already"),
            _ => self.fault(Some(tag), "DEFLATE is what is offered"),
        }
    }

    /// What of the answers has to be given before what comes next in the outbox, or before there is nothing more.
    pub(super) fn flush_deflate(&mut self) -> Option<Vec<u8>> {
        let deflate = self.deflate.as_mut()?;
        match self.outbox.front() {
            None => {
                let flushed = deflate.flush();
                if matches!(self.phase, Phase::Idle { .. }) {
                    deflate.rest();
                }
                flushed
            }
            Some(Output::Close) => deflate.flush(),
            // It goes on: a flush costs octets.
            Some(_) => None,
        }
    }
}

fn difference(now: u64, before: u64) -> usize {
    usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_on(inflate: &mut Decompress, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 << 20);
        inflate
            .decompress_vec(bytes, &mut out, FlushDecompress::Sync)
            .unwrap();
        out
    }

    #[test]
    fn what_is_said_after_a_rest_is_read_by_who_read_what_was_said_before() {
        let (mut ours, mut theirs) = (Deflate::new(b""), Decompress::new(false));
        for said in [&b"* 1 EXISTS\r\n"[..], b"* 2 EXISTS\r\n", &[7; 200_000]] {
            let mut sent = ours.deflate(said);
            sent.extend(ours.flush().unwrap());
            assert_eq!(read_on(&mut theirs, &sent), said);
            assert_eq!(ours.flush(), None);
            ours.rest();
            assert!(ours.deflate.is_none());
        }
    }

    #[test]
    fn a_rest_before_a_flush_loses_nothing() {
        let (mut ours, mut theirs) = (Deflate::new(b""), Decompress::new(false));
        let mut sent = ours.deflate(b"a");
        ours.rest();
        sent.extend(ours.flush().unwrap());
        assert_eq!(read_on(&mut theirs, &sent), b"a");
    }

    #[test]
    fn a_bomb_comes_out_by_pieces() {
        let mut bomb = Vec::with_capacity(1 << 20);
        let mut theirs = Compress::new(Compression::best(), false);
        let zeros = vec![0; 10 << 20];
        theirs
            .compress_vec(&zeros, &mut bomb, FlushCompress::Sync)
            .unwrap();
        assert!(bomb.len() < 20_000);
        let mut ours = Deflate::new(&bomb);
        let mut made = 0;
        loop {
            let piece = ours.inflate().unwrap();
            assert!(piece.len() <= PIECE_BYTES);
            if piece.is_empty() {
                break;
            }
            made += piece.len();
        }
        assert_eq!(made, zeros.len());
    }
}
