//! A recipient whose inbox is full: waited for a time, then explained to the sender (5.2.2).
//!
//! Must never give up by another server's clock alone (see `custody`), and never hold up the message's
//! other recipients.

use grapevine_model::{MessageId, OverQuotaPolicy};

use crate::delivery::custody::LEAST_TRIED;
use crate::mailbox::Full;
use crate::server::Server;
use crate::tables::Damaged;

impl Server {
    /// There is no room in a recipient's inbox.
    pub(crate) fn recipient_is_full(
        &mut self,
        message: MessageId,
        key: &str,
        full: Full,
    ) -> Result<(), Damaged> {
        let Some(custody) = self.custodies.get(&message) else {
            return Ok(());
        };
        let patience_ms = self.config.times.over_quota_ms;
        let age_ms = self
            .now
            .wall_ms
            .saturating_sub(custody.row.record.accepted_ms);
        let tried_ms = self.now.mono_ms.saturating_sub(custody.since_ms);
        let waits = match full.policy {
            OverQuotaPolicy::Refuse => false,
            // By its own patience, too: the date may be of a clock that was set back since.
            OverQuotaPolicy::Later => {
                age_ms.max(tried_ms) < patience_ms || tried_ms < patience_ms / LEAST_TRIED
            }
        };
        if waits {
            self.recipient_waits(message, key, full.why);
            return Ok(());
        }
        self.recipient_failed(message, key, "5.2.2", full.why)
    }
}
