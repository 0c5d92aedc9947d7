//! What is held, how much may be, and what becomes of what does not fit.

use grapevine_model::{OverQuotaPolicy, StorageView, Usage};

use super::{Wire, enumerated};
use crate::v1;

impl From<Usage> for v1::Usage {
    fn from(usage: Usage) -> Self {
        Self {
            octets: usage.octets,
            messages: usage.messages,
        }
    }
}

impl From<v1::Usage> for Usage {
    fn from(usage: v1::Usage) -> Self {
        Self {
            octets: usage.octets,
            messages: usage.messages,
        }
    }
}

impl From<&StorageView> for v1::StorageView {
    fn from(view: &StorageView) -> Self {
        Self {
            mail: Some(view.mail.into()),
            full_mailboxes: view.full_mailboxes,
            disk_nearly_full: view.disk_nearly_full,
            retained: Some(view.retained.into()),
            archived: Some(view.archived.into()),
            archive_to_remove: view.archive_to_remove,
            uids_reissued: view.uids_reissued,
        }
    }
}

impl From<v1::StorageView> for StorageView {
    fn from(view: v1::StorageView) -> Self {
        let read = |usage: Option<v1::Usage>| usage.map(Usage::from).unwrap_or_default();
        Self {
            mail: read(view.mail),
            full_mailboxes: view.full_mailboxes,
            disk_nearly_full: view.disk_nearly_full,
            retained: read(view.retained),
            archived: read(view.archived),
            archive_to_remove: view.archive_to_remove,
            uids_reissued: view.uids_reissued,
        }
    }
}

pub(super) fn over_quota(number: i32) -> Wire<OverQuotaPolicy> {
    Ok(match enumerated(number, "policy for full inboxes")? {
        v1::OverQuotaPolicy::Unspecified => OverQuotaPolicy::Later,
        v1::OverQuotaPolicy::Refuse => OverQuotaPolicy::Refuse,
    })
}

impl From<OverQuotaPolicy> for v1::OverQuotaPolicy {
    fn from(policy: OverQuotaPolicy) -> Self {
        match policy {
            OverQuotaPolicy::Later => Self::Unspecified,
            OverQuotaPolicy::Refuse => Self::Refuse,
        }
    }
}
