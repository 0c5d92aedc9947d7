//! Octets of a message from the shell, to the command that has asked for them.

use super::session::{Open, Running, Session};
use super::types::Flow;

impl Session {
    /// Hands in the next bytes of the body that `Ask::Body` asked for.
    pub fn body_chunk(&mut self, bytes: &[u8]) -> Flow {
        match self.take_body() {
            Some(Running::Fetch(fetching)) => self.fetch_chunk(fetching, bytes),
            Some(Running::Search(searching)) => self.search_chunk(searching, bytes),
            Some(Running::Tell(_) | Running::List(_) | Running::Numbers(_)) | None => Flow::Enough,
        }
    }

    /// The body is complete.
    pub fn body_end(&mut self) {
        match self.take_body() {
            Some(Running::Fetch(fetching)) => self.fetch_end(fetching),
            Some(Running::Search(searching)) => self.search_end(searching),
            Some(Running::Tell(_) | Running::List(_) | Running::Numbers(_)) | None => {}
        }
    }

    /// The body can't be read (any further).
    pub fn body_failed(&mut self) {
        match self.take_body() {
            Some(Running::Fetch(fetching)) => self.fetch_failed(fetching),
            Some(Running::Search(searching)) => self.search_failed(searching),
            Some(Running::Tell(_) | Running::List(_) | Running::Numbers(_)) | None => {}
        }
    }

    fn take_body(&mut self) -> Option<Running> {
        match self.open.take_if(|open| matches!(open, Open::Body(_))) {
            Some(Open::Body(running)) => Some(*running),
            _ => None,
        }
    }
}
