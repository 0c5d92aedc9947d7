//! What kind of request it is: a change or a question. A new request does not compile before it is said here.

use crate::request::Request;

impl Request {
    /// Whether doing it twice, or not knowing whether it was done, makes a difference.
    pub const fn is_change(&self) -> bool {
        match self {
            Self::RegistryCreate { .. }
            | Self::RegistryDelete { .. }
            | Self::HolderAdd { .. }
            | Self::HolderRemove { .. }
            | Self::RegistryPolicy { .. }
            | Self::IndividualCreate { .. }
            | Self::GroupCreate { .. }
            | Self::Import { .. }
            | Self::Delete { .. }
            | Self::Change { .. }
            | Self::Aside { .. }
            | Self::DanglingRemove { .. }
            | Self::AppPasswordCreate { .. }
            | Self::TokenCreate { .. }
            | Self::Join { .. }
            | Self::Retire { .. }
            | Self::RotateKey { .. }
            | Self::InboxDelete { .. } => true,
            Self::Authenticate { .. }
            | Self::Vouch { .. }
            | Self::ScramBegin { .. }
            | Self::ScramFinish { .. }
            | Self::TicketCreate { .. }
            | Self::AppPasswords { .. }
            | Self::RegistryList
            | Self::RegistryShow { .. }
            | Self::Compare { .. }
            | Self::RegistrySeen { .. }
            | Self::Show { .. }
            | Self::Check { .. }
            | Self::CheckMany { .. }
            | Self::Members { .. }
            | Self::Entries { .. }
            | Self::EntryOfNumber { .. }
            | Self::Watch { .. }
            | Self::MemberOf { .. }
            | Self::Held { .. }
            | Self::Conflicts { .. }
            | Self::Dangling { .. }
            | Self::Find { .. }
            | Self::CheckRecipient { .. }
            | Self::MaySendAs { .. }
            | Self::Servers
            | Self::Status
            | Self::Trace { .. }
            | Self::InboxList { .. } => false,
            Self::Queue(ask) => ask.is_change(),
            Self::Mailbox { ask, .. } => ask.is_change(),
            Self::Sieve { ask, .. } => ask.is_change(),
        }
    }
}
