//! Replies read line by line, and mail read to its final dot, from one buffer.
//!
//! Must never keep a mail: what was counted is dropped, so that a mailbox of any size is read in bounded memory.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::connect::Stream;

/// One read: some replies, or some mails of the usual 4 KiB.
const READ_BYTES: usize = 64 * 1024;
/// A longer line is no reply (RFC 5321 4.5.3.1.5 allows 512).
const MAX_LINE_BYTES: usize = 8 * 1024;
/// A server that says nothing for so long is stuck.
const SILENCE: Duration = Duration::from_secs(120);
/// What ends a mail, from the line end before it on.
const FINAL_DOT: &[u8] = b"\r\n.\r\n";

/// A connection that is read by lines.
pub(crate) struct Lines {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
    taken: usize,
}

impl Lines {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            read: Vec::new(),
            taken: 0,
        }
    }

    /// The stream below, when nothing unread would be lost.
    pub(crate) fn into_stream(self) -> anyhow::Result<Box<dyn Stream>> {
        if self.taken < self.read.len() {
            bail!("the server said more than it should before TLS");
        }
        Ok(self.stream)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(SILENCE, written)
            .await
            .context("the server takes nothing")??;
        Ok(())
    }

    /// The next line, without its end.
    pub(crate) async fn line(&mut self) -> anyhow::Result<String> {
        let mut searched = 0;
        loop {
            let rest = self.rest();
            if let Some(at) = memchr::memchr(b'\n', rest.get(searched..).unwrap_or_default()) {
                let end = searched + at;
                let line = rest.get(..end).unwrap_or_default();
                let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
                let line = line.into_owned();
                self.taken += end + 1;
                return Ok(line);
            }
            searched = rest.len();
            if searched > MAX_LINE_BYTES {
                bail!("the server sent a line that is too long to be a reply");
            }
            self.more().await?;
        }
    }

    /// Counts the octets of a multi-line answer after its status line, and drops them: all up to the line with the dot.
    pub(crate) async fn skip_to_dot(&mut self) -> anyhow::Result<u64> {
        // The status line's end may be the line end before the dot: the search begins there.
        self.taken = self.taken.saturating_sub(2);
        let from_before = 2;
        let mut dropped: u64 = 0;
        loop {
            let rest = self.rest();
            if let Some(at) = memchr::memmem::find(rest, FINAL_DOT) {
                self.taken += at + FINAL_DOT.len();
                // The line end before the dot belongs to the mail, the one of the status line does not.
                return Ok((dropped + at as u64 + 2).saturating_sub(from_before));
            }
            // The end of what came may be the beginning of the end.
            let done = rest.len().saturating_sub(FINAL_DOT.len() - 1);
            self.taken += done;
            dropped += done as u64;
            self.more().await?;
        }
    }

    /// Drops so many octets, which must come.
    pub(crate) async fn skip(&mut self, octets: u64) -> anyhow::Result<()> {
        let mut left = octets;
        loop {
            let here = self.rest().len();
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(here);
            self.taken += now;
            left -= now as u64;
            if left == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    fn rest(&self) -> &[u8] {
        self.read.get(self.taken..).unwrap_or_default()
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        // The last line end stays (see `skip_to_dot`).
        let gone = self.taken.saturating_sub(2);
        self.read.drain(..gone);
        self.taken -= gone;
        self.read.reserve(READ_BYTES);
        let count = timeout(SILENCE, self.stream.read_buf(&mut self.read))
            .await
            .context("the server says nothing")??;
        if count == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn over(pieces: &'static [&'static [u8]]) -> Lines {
        let (near, mut far) = tokio::io::duplex(7);
        tokio::spawn(async move {
            for piece in pieces {
                far.write_all(piece).await.unwrap();
            }
        });
        Lines::new(Box::new(near))
    }

    #[tokio::test]
    async fn octets_are_dropped_and_no_more() {
        let mut lines = over(&[b"{12}\r\nab\r\ncd\r\n", b"efgh)\r\n", b"t1 OK\r\n"]).await;
        assert_eq!(lines.line().await.unwrap(), "{12}");
        lines.skip(12).await.unwrap();
        assert_eq!(lines.line().await.unwrap(), ")");
        assert_eq!(lines.line().await.unwrap(), "t1 OK");
        assert!(lines.skip(1).await.is_err(), "the end is an error");
    }

    #[tokio::test]
    async fn mails_are_counted_to_the_dot_however_they_are_cut() {
        let mut lines = over(&[
            b"+OK\r\nab\r\n",
            b"..\r\n\r",
            b"\n.",
            b"\r\n+OK two\r\n.\r\n+OK end\r\n",
        ])
        .await;
        assert_eq!(lines.line().await.unwrap(), "+OK");
        assert_eq!(lines.skip_to_dot().await.unwrap(), 10);
        assert_eq!(lines.line().await.unwrap(), "+OK two");
        assert_eq!(lines.skip_to_dot().await.unwrap(), 0);
        assert_eq!(lines.line().await.unwrap(), "+OK end");
        assert!(lines.line().await.is_err(), "the end is an error");
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        static LONG: [u8; 2 * MAX_LINE_BYTES] = [b'x'; 2 * MAX_LINE_BYTES];
        static PIECES: [&[u8]; 1] = [&LONG];
        let mut lines = over(&PIECES).await;
        assert!(lines.line().await.is_err());
    }
}
