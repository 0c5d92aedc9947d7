//! A connection that is cut when the key that it was made with is struck off the records.
//!
//! A handshake asks the records once; a connection may last for months. Guards that a removed key is
//! worth nothing within [`KEY_CHECK`], on connections that were open before too.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use grapevine_model::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::tls::TrustedKeys;

/// The records are asked about the keys of open connections this often: a look into memory each.
pub const KEY_CHECK: Duration = Duration::from_secs(5);

/// A stream that ends when its token is cancelled.
pub(crate) struct Watched<S> {
    stream: S,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _over: DropGuard,
}

impl<S> Watched<S> {
    /// Ends with `cut`.
    pub(crate) fn new(stream: S, cut: &CancellationToken) -> (Self, CancellationToken) {
        let own = cut.child_token();
        let watched = Self {
            stream,
            cut: Box::pin(own.clone().cancelled_owned()),
            _over: own.clone().drop_guard(),
        };
        (watched, own)
    }
}

/// Cancels a connection's token when its key is no longer that of this server; ends with the
/// connection.
pub(crate) fn watch_key(
    connection: CancellationToken,
    trusted: Arc<dyn TrustedKeys>,
    spki: Vec<u8>,
    server: ServerName,
) {
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = connection.cancelled() => return,
                () = tokio::time::sleep(KEY_CHECK) => {}
            }
            if trusted.server_of(&spki).as_ref() != Some(&server) {
                tracing::info!(%server, "a connection is cut: its key is no longer on record");
                connection.cancel();
                return;
            }
        }
    });
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
