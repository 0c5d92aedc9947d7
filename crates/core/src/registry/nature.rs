//! What kind of request it is: of which registry, a question or a change.

use grapevine_model::{RegistryName, Request};

/// The registry that a request is about, if a holder of it must evaluate it.
pub(crate) fn about(request: &Request) -> Option<&RegistryName> {
    match request {
        Request::Vouch { who } => Some(who.name.registry()),
        Request::Authenticate { name, .. }
        | Request::ScramBegin { name }
        | Request::ScramFinish { name, .. }
        | Request::AppPasswords { name }
        | Request::IndividualCreate { name, .. }
        | Request::GroupCreate { name, .. }
        | Request::Delete { name }
        | Request::Change { name, .. }
        | Request::Aside { name, .. }
        | Request::Find { name, .. }
        | Request::Show { name } => Some(name.registry()),
        Request::Import { registry, .. }
        | Request::Conflicts { registry, .. }
        | Request::Dangling { registry, .. }
        | Request::DanglingRemove { registry, .. } => Some(registry),
        Request::Check { group, .. }
        | Request::CheckMany { group, .. }
        | Request::Held { group }
        | Request::Members { group, .. } => Some(group.registry()),
        Request::Entries { registry, .. } | Request::EntryOfNumber { registry, .. } => {
            Some(registry)
        }
        Request::Watch { target, .. } => Some(target.registry()),
        Request::Compare { registry } => Some(registry),
        Request::RegistrySeen { registry, .. } => Some(registry),
        Request::TicketCreate { .. }
        | Request::AppPasswordCreate { .. }
        | Request::RegistryCreate { .. }
        | Request::RegistryDelete { .. }
        | Request::RegistryList
        | Request::RegistryShow { .. }
        | Request::HolderAdd { .. }
        | Request::HolderRemove { .. }
        | Request::RegistryPolicy { .. }
        | Request::MemberOf { .. }
        | Request::CheckRecipient { .. }
        | Request::MaySendAs { .. }
        | Request::TokenCreate { .. }
        | Request::Join { .. }
        | Request::Retire { .. }
        | Request::RotateKey { .. }
        | Request::Servers
        | Request::Status
        | Request::Trace { .. }
        | Request::Queue(_)
        | Request::InboxList { .. }
        | Request::InboxDelete { .. }
        | Request::Mailbox { .. }
        | Request::Sieve { .. } => None,
    }
}

/// The registry that an answer to a question is read from, if it is one.
pub(crate) fn reads(request: &Request) -> Option<RegistryName> {
    match request {
        Request::RegistryList | Request::RegistryShow { .. } | Request::Servers => {
            Some(RegistryName::gv())
        }
        Request::CheckRecipient { name }
        | Request::MaySendAs { name }
        | Request::MemberOf { name, .. } => Some(name.registry().clone()),
        other if other.is_change() => None,
        other => about(other).cloned(),
    }
}
