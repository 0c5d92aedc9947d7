//! The names of what can go in, come out and pass between servers, each in one list.
//!
//! A list and its naming function come from the same lines, and the function is exhaustive: what the core's alphabet
//! gains can't be left out, and what a run never reached can be said.

use grapevine_core::{Effect, Input};
use grapevine_model::{ErrorKind, PeerMessage, Request};

macro_rules! named {
    ($(#[$about:meta])* $list:ident, $name:ident($type:ty) { $($pattern:pat => $text:literal),* $(,)? }) => {
        $(#[$about])*
        pub const $list: &[&str] = &[$($text),*];

        /// By which name of its list it goes.
        pub fn $name(it: &$type) -> &'static str {
            match it {
                $($pattern => $text),*
            }
        }
    };
}

named! {
    /// What goes into a core.
    INPUTS, input(Input) {
        Input::Peer { .. } => "input peer",
        Input::PeerLost { .. } => "input peer lost",
        Input::Request { .. } => "input request",
        Input::Submit { .. } => "input submit",
        Input::Append { .. } => "input append",
        Input::Verified { .. } => "input verified",
        Input::Issue { .. } => "input issue",
        Input::Ticket { .. } => "input ticket",
        Input::Keys { .. } => "input keys",
        Input::HandedOver(_) => "input handed over",
        Input::Filtered(_) => "input filtered",
        Input::Committed { .. } => "input committed",
        Input::Leaving => "input leaving",
        Input::DiskRoom(_) => "input room on the disk",
    }
}

named! {
    /// What comes out of a core.
    EFFECTS, effect(Effect) {
        Effect::Commit { .. } => "effect commit",
        Effect::Send { .. } => "effect send",
        Effect::Reply { .. } => "effect reply",
        Effect::Verify { .. } => "effect verify",
        Effect::Sign { .. } => "effect sign",
        Effect::MakeKey => "effect make key",
        Effect::UseKey(_) => "effect use key",
        Effect::Report(_) => "effect report",
        Effect::Filter(_) => "effect filter",
        Effect::HandOver(_) => "effect hand over",
        Effect::Discard { .. } => "effect discard",
        Effect::Servers(_) => "effect servers",
        Effect::Scram(_) => "effect scram",
        Effect::Zone(_) => "effect zone",
        Effect::ZoneGone(_) => "effect zone gone",
        Effect::MailboxChanged(_) => "effect mailbox changed",
        Effect::Note(_) => "effect note",
    }
}

named! {
    /// What passes between servers.
    MESSAGES, message(PeerMessage) {
        PeerMessage::Beat(_) => "beat",
        PeerMessage::CustodyHold { .. } => "custody-hold",
        PeerMessage::DelayTold { .. } => "delay-told",
        PeerMessage::CustodyLeft { .. } => "custody-left",
        PeerMessage::About { .. } => "about",
        PeerMessage::Vectors(_) => "vectors",
        PeerMessage::Pull { .. } => "pull",
        PeerMessage::Push { .. } => "push",
        PeerMessage::Pushes(_) => "pushes",
        PeerMessage::Page { .. } => "page",
        PeerMessage::Have { .. } => "have",
        PeerMessage::Haves(_) => "haves",
        PeerMessage::Compare { .. } => "compare",
        PeerMessage::Refresh { .. } => "refresh",
        PeerMessage::Fetch { .. } => "fetch",
        PeerMessage::Copy { .. } => "copy",
        PeerMessage::Need { .. } => "need",
        PeerMessage::Body { .. } => "body",
        PeerMessage::Custody(_) => "custody",
        PeerMessage::CustodyHeld { .. } => "custody-held",
        PeerMessage::CustodyEnded { .. } => "custody-ended",
        PeerMessage::CustodyAsk { .. } => "custody-ask",
        PeerMessage::Deposit { .. } => "deposit",
        PeerMessage::Deposited { .. } => "deposited",
        PeerMessage::Hand(_) => "hand",
        PeerMessage::Handed { .. } => "handed",
        PeerMessage::OutsideAsk { .. } => "outside-ask",
        PeerMessage::OutsideDone { .. } => "outside-done",
        PeerMessage::Ask { .. } => "ask",
        PeerMessage::Answered { .. } => "answered",
        PeerMessage::Logins(_) => "logins",
        PeerMessage::Forward { .. } => "forward",
        PeerMessage::Forwarded { .. } => "forwarded",
    }
}

named! {
    /// What clients ask.
    REQUESTS, request(Request) {
        Request::Authenticate { .. } => "request authenticate",
        Request::ScramBegin { .. } => "request scram begin",
        Request::ScramFinish { .. } => "request scram finish",
        Request::Vouch { .. } => "request vouch",
        Request::TicketCreate { .. } => "request ticket create",
        Request::AppPasswordCreate { .. } => "request app password create",
        Request::AppPasswords { .. } => "request app passwords",
        Request::RegistryCreate { .. } => "request registry create",
        Request::RegistryDelete { .. } => "request registry delete",
        Request::RegistryList => "request registry list",
        Request::RegistryShow { .. } => "request registry show",
        Request::Compare { .. } => "request compare",
        Request::RegistrySeen { .. } => "request registry seen",
        Request::HolderAdd { .. } => "request holder add",
        Request::HolderRemove { .. } => "request holder remove",
        Request::RegistryPolicy { .. } => "request registry policy",
        Request::IndividualCreate { .. } => "request individual create",
        Request::GroupCreate { .. } => "request group create",
        Request::Import { .. } => "request import",
        Request::Delete { .. } => "request delete",
        Request::Change { .. } => "request change",
        Request::Show { .. } => "request show",
        Request::Check { .. } => "request check",
        Request::CheckMany { .. } => "request check many",
        Request::Members { .. } => "request members",
        Request::Held { .. } => "request held",
        Request::Entries { .. } => "request entries",
        Request::MemberOf { .. } => "request member of",
        Request::EntryOfNumber { .. } => "request entry of number",
        Request::Watch { .. } => "request watch",
        Request::Conflicts { .. } => "request conflicts",
        Request::Aside { .. } => "request aside",
        Request::Dangling { .. } => "request dangling",
        Request::DanglingRemove { .. } => "request dangling remove",
        Request::Find { .. } => "request find",
        Request::CheckRecipient { .. } => "request check recipient",
        Request::MaySendAs { .. } => "request may send as",
        Request::TokenCreate { .. } => "request token create",
        Request::Join { .. } => "request join",
        Request::Retire { .. } => "request retire",
        Request::RotateKey { .. } => "request rotate key",
        Request::Servers => "request servers",
        Request::Status => "request status",
        Request::Trace { .. } => "request trace",
        Request::Queue(_) => "request queue",
        Request::InboxList { .. } => "request inbox list",
        Request::InboxDelete { .. } => "request inbox delete",
        Request::Mailbox { .. } => "request mailbox",
        Request::Sieve { .. } => "request sieve",
    }
}

named! {
    /// How requests are refused.
    REFUSALS, refusal(ErrorKind) {
        ErrorKind::Invalid => "refused invalid",
        ErrorKind::NotAuthenticated => "refused not authenticated",
        ErrorKind::NotAllowed => "refused not allowed",
        ErrorKind::NotFound => "refused not found",
        ErrorKind::Conflict => "refused conflict",
        ErrorKind::TooLarge => "refused too large",
        ErrorKind::Unavailable => "refused unavailable",
        ErrorKind::Unknown => "refused unknown",
        ErrorKind::Internal => "refused internal",
    }
}

/// A message as it is meant, without what says which registries it is about.
pub(crate) fn inner(message: &PeerMessage) -> &PeerMessage {
    match message {
        PeerMessage::About { message, .. } => inner(message),
        other => other,
    }
}
