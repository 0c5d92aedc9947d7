//! How long this user waits for what before it turns to another server.

use std::time::Duration;

/// All time limits, in one place so that tests can shorten them.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the answer to one request at one server: longer than a server takes to ask others and
    /// to have its second copy (some 2 s each), so that a late answer is mostly waited for.
    pub call: Duration,
    /// For the first answer of a server when the servers are being found.
    pub find: Duration,
    /// For any progress while a body is on its way.
    pub stall: Duration,
    /// Before all servers are tried once more, when none could answer.
    pub pause: Duration,
    /// How often all servers are tried.
    pub rounds: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(8),
            find: Duration::from_secs(3),
            stall: Duration::from_secs(15),
            pause: Duration::from_millis(300),
            rounds: 2,
        }
    }
}
