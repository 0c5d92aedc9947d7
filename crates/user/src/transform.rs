//! What an import may change of a message while it is read: mboxrd's quoting of
//! `From ` lines, and line ends. Nothing else, and nothing unless asked: content
//! is delivered as it is (P8).

use std::io::{self, BufRead, Read};

/// Whether `>From ` lines lose one `>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quoting {
    /// They stay as they are.
    #[default]
    AsIs,
    /// `>From ` becomes `From `, `>>From ` becomes `>From `, and so on (mboxrd).
    Mboxrd,
}

/// What becomes of line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEnds {
    /// They stay as they are.
    #[default]
    AsIs,
    /// Each LF without a CR before it gets one: the form in which mail travels.
    Crlf,
}

/// What is changed while reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transform {
    /// Quoted `From ` lines.
    pub quoting: Quoting,
    /// Line ends.
    pub line_ends: LineEnds,
}

impl Transform {
    pub(crate) fn changes_nothing(self) -> bool {
        self == Self::default()
    }
}

/// What follows the `>` of a quoted line.
const FROM: &[u8] = b"From ";

/// Where in a line the reader stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// At its start: whether a `>` came, and how many octets of `From ` after it. One `>` and
    /// those octets are held back; more `>` went out as they came, since all are alike.
    Start { quoted: bool, from: usize },
    /// Past that; nothing is held back.
    Inside,
}

/// A reader that changes what it reads.
pub(crate) struct Transformed<R> {
    inner: R,
    transform: Transform,
    place: Place,
    after_cr: bool,
    ready: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl<R: BufRead> Transformed<R> {
    pub(crate) fn new(inner: R, transform: Transform) -> Self {
        Self {
            inner,
            transform,
            place: line_start(transform),
            after_cr: false,
            ready: Vec::new(),
            taken: 0,
            ended: false,
        }
    }

    /// Fills `ready` from the next buffer of the file, or with what was held back at its end.
    fn refill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.taken = 0;
        let input = self.inner.fill_buf()?;
        let len = input.len();
        if len == 0 {
            self.ended = true;
            if let Place::Start { quoted, from } = self.place {
                let_out(&mut self.ready, quoted, from);
                self.place = Place::Inside;
            }
            return Ok(());
        }
        for octet in input {
            let octet = *octet;
            if let Place::Start { quoted, from } = self.place {
                let fits = FROM.get(from) == Some(&octet);
                if from == 0 && octet == b'>' {
                    if quoted {
                        self.ready.push(b'>');
                    }
                    self.place = Place::Start { quoted: true, from };
                    self.after_cr = false;
                    continue;
                }
                if fits && from + 1 < FROM.len() {
                    self.place = Place::Start {
                        quoted,
                        from: from + 1,
                    };
                    self.after_cr = false;
                    continue;
                }
                // A whole `From ` loses the `>` that is held back; anything else keeps it.
                let_out(&mut self.ready, quoted && !fits, from);
                self.place = Place::Inside;
            }
            if octet == b'\n' {
                if self.transform.line_ends == LineEnds::Crlf && !self.after_cr {
                    self.ready.push(b'\r');
                }
                self.place = line_start(self.transform);
            }
            self.after_cr = octet == b'\r';
            self.ready.push(octet);
        }
        self.inner.consume(len);
        Ok(())
    }
}

/// Writes out what was held back at a line's start.
fn let_out(ready: &mut Vec<u8>, quote: bool, from: usize) {
    if quote {
        ready.push(b'>');
    }
    ready.extend(FROM.iter().take(from));
}

fn line_start(transform: Transform) -> Place {
    match transform.quoting {
        Quoting::AsIs => Place::Inside,
        Quoting::Mboxrd => Place::Start {
            quoted: false,
            from: 0,
        },
    }
}

impl<R: BufRead> Read for Transformed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.ready.len() && !self.ended && !out.is_empty() {
            self.refill()?;
        }
        let rest = self.ready.get(self.taken..).unwrap_or_default();
        let len = rest.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        self.taken += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::BufReader;

    fn changed(input: &[u8], quoting: Quoting, line_ends: LineEnds, buffer: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Transformed::new(
            BufReader::with_capacity(buffer, input),
            Transform { quoting, line_ends },
        )
        .read_to_end(&mut out)
        .unwrap();
        out
    }

    #[test]
    fn quoted_from_lines_lose_one_quote_however_the_file_is_cut() {
        for (input, expected) in [
            (&b">From x\n"[..], &b"From x\n"[..]),
            (b">>>From x\n", b">>From x\n"),
            (b"a\n>From \n>Fro\n>>", b"a\nFrom \n>Fro\n>>"),
            (b"From x\n> From x\n", b"From x\n> From x\n"),
            (b">", b">"),
            (b">Fr", b">Fr"),
            (b"", b""),
            (b" >From x\n\0>From\r\n", b" >From x\n\0>From\r\n"),
            (b">>\n>FFrom \n", b">>\n>FFrom \n"),
        ] {
            for buffer in [1, 2, 3, 64] {
                let out = changed(input, Quoting::Mboxrd, LineEnds::AsIs, buffer);
                assert_eq!(out, expected, "{input:?} by {buffer}");
            }
        }
    }

    #[test]
    fn bare_line_feeds_become_line_ends_of_mail_and_others_stay() {
        for buffer in [1, 2, 3, 64] {
            let out = changed(
                b"a\nb\r\n\n\r\r\nc\rd",
                Quoting::AsIs,
                LineEnds::Crlf,
                buffer,
            );
            assert_eq!(out, b"a\r\nb\r\n\r\n\r\r\nc\rd");
            let both = changed(b">From \nF\n", Quoting::Mboxrd, LineEnds::Crlf, buffer);
            assert_eq!(both, b"From \r\nF\r\n");
        }
    }
}
