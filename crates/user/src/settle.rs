//! Was it done? Asked when a change's first answer was lost and its repetition is
//! refused: compares what the change wanted with how things are.
//!
//! It only ever says yes for what it has seen. What can't be read back (a token, a
//! server's retirement) is not guessed.

use grapevine_model::{
    EntryChange, EntryKind, EntryView, ErrorKind, GroupList, Member, Name, Reply, Request, Secret,
    Source,
};

use crate::call::{Answered, Outcome};
use crate::user::GrapevineUser;

/// What a read found.
enum Seen<T> {
    There(T),
    Nothing,
    CantTell,
}

impl GrapevineUser {
    /// Whether things are as a change wanted them; none if that can't be told.
    pub(crate) async fn already_so(&self, request: &Request) -> Option<bool> {
        match request {
            Request::RegistryCreate {
                registry,
                registrars,
                ..
            } => {
                let show = Request::RegistryShow {
                    registry: registry.clone(),
                };
                match self.try_all(&show).await {
                    Outcome::Done(Answered {
                        reply: Reply::Registry(view),
                        ..
                    }) => Some(
                        registrars
                            .iter()
                            .all(|name| view.registrars.contains(&Member::Name(name.clone()))),
                    ),
                    other => nothing(&other).then_some(false),
                }
            }
            Request::RegistryDelete { registry } => {
                let show = Request::RegistryShow {
                    registry: registry.clone(),
                };
                gone(&self.try_all(&show).await)
            }
            Request::IndividualCreate {
                name,
                password,
                sites,
            } => {
                let view = match self.entry(name).await {
                    Seen::There(view) => view,
                    Seen::Nothing => return Some(false),
                    Seen::CantTell => return None,
                };
                let same = view.kind == EntryKind::Individual
                    && !view.conflict
                    && (sites.is_empty() || *sites == view.sites);
                match (same, password) {
                    (true, Some(password)) => self.is_password(name, password).await,
                    (same, _) => Some(same),
                }
            }
            Request::GroupCreate {
                name,
                remark,
                owners,
            } => match self.entry(name).await {
                Seen::There(view) => Some(
                    view.kind == EntryKind::Group
                        && !view.conflict
                        && view.remark == *remark
                        && owners.iter().all(|owner| view.owners.contains(owner)),
                ),
                Seen::Nothing => Some(false),
                Seen::CantTell => None,
            },
            Request::Delete { name } => match self.entry(name).await {
                Seen::There(_) => Some(false),
                Seen::Nothing => Some(true),
                Seen::CantTell => None,
            },
            Request::Change {
                name,
                change: EntryChange::Password(password),
            } => self.is_password(name, password).await,
            Request::Change { name, change } => match self.entry(name).await {
                Seen::There(view) => is_changed(&view, change),
                Seen::Nothing => Some(false),
                Seen::CantTell => None,
            },
            Request::HolderAdd { .. }
            | Request::Import { .. }
            | Request::HolderRemove { .. }
            | Request::RegistryPolicy { .. }
            | Request::TokenCreate { .. }
            | Request::Join { .. }
            | Request::Retire { .. }
            | Request::RotateKey { .. }
            | Request::InboxDelete { .. }
            | Request::Mailbox { .. }
            | Request::Sieve { .. }
            | Request::Authenticate { .. }
            | Request::Vouch { .. }
            | Request::ScramBegin { .. }
            | Request::ScramFinish { .. }
            | Request::TicketCreate { .. }
            | Request::AppPasswordCreate { .. }
            | Request::AppPasswords { .. }
            | Request::RegistryList
            | Request::RegistryShow { .. }
            | Request::Compare { .. }
            | Request::RegistrySeen { .. }
            | Request::Show { .. }
            | Request::Check { .. }
            | Request::CheckMany { .. }
            | Request::Members { .. }
            | Request::Entries { .. }
            | Request::EntryOfNumber { .. }
            | Request::Watch { .. }
            | Request::MemberOf { .. }
            | Request::Held { .. }
            | Request::Conflicts { .. }
            | Request::Aside { .. }
            | Request::Dangling { .. }
            | Request::DanglingRemove { .. }
            | Request::Find { .. }
            | Request::CheckRecipient { .. }
            | Request::MaySendAs { .. }
            | Request::Servers
            | Request::Status
            | Request::Trace { .. }
            | Request::Queue(_)
            | Request::InboxList { .. } => None,
        }
    }

    async fn entry(&self, name: &Name) -> Seen<EntryView> {
        let show = Request::Show { name: name.clone() };
        match self.try_all(&show).await {
            Outcome::Done(Answered {
                reply: Reply::Entry(view),
                ..
            }) => Seen::There(*view),
            other if nothing(&other) => Seen::Nothing,
            _ => Seen::CantTell,
        }
    }

    async fn is_password(&self, name: &Name, password: &Secret) -> Option<bool> {
        let ask = Request::Authenticate {
            name: name.clone(),
            password: password.clone(),
            source: Source::Unknown,
        };
        // With the old password in the caller's place the question itself would be refused.
        match self.try_anonymously(&ask).await {
            Outcome::Done(_) => Some(true),
            Outcome::Refused { refusal, .. } if refusal.kind == ErrorKind::NotAuthenticated => {
                Some(false)
            }
            Outcome::Refused { .. } | Outcome::Nobody { .. } => None,
        }
    }
}

/// Whether a read has found that there is no such name.
fn nothing(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { refusal, .. } if refusal.kind == ErrorKind::NotFound)
}

fn gone(outcome: &Outcome) -> Option<bool> {
    match outcome {
        Outcome::Done(_) => Some(false),
        other => nothing(other).then_some(true),
    }
}

fn is_changed(view: &EntryView, change: &EntryChange) -> Option<bool> {
    match change {
        EntryChange::Remark(remark) => Some(view.remark == *remark),
        EntryChange::Sites(sites) => Some(view.sites == *sites),
        EntryChange::Forward(names) => Some(view.forward == *names),
        EntryChange::ConnectSites { door, sites, .. } => {
            let shown = |place: &str| view.connect_sites.iter().any(|site| site == place);
            let there = sites
                .iter()
                .all(|site| shown(&format!("{door} {}", site.place)));
            let door = format!("{door} ");
            let shown = view.connect_sites.iter().filter(|s| s.starts_with(&door));
            Some(there && shown.count() == sites.len())
        }
        EntryChange::AliasAdd(alias) => Some(view.aliases.contains(alias)),
        EntryChange::AliasRemove(alias) => Some(!view.aliases.contains(alias)),
        EntryChange::ListAdd(GroupList::Owners, member) => Some(view.owners.contains(member)),
        EntryChange::ListAdd(GroupList::Friends, member) => Some(view.friends.contains(member)),
        EntryChange::Rename(to) => Some(view.name == *to),
        EntryChange::FormerRemove(former) => Some(!view.former.contains(former)),
        EntryChange::Quota(quota) => Some(view.quota == *quota),
        EntryChange::Posting(rule) => Some(view.posting == *rule),
        // A view shows the first hundred only: absence from a full one proves nothing.
        EntryChange::ListRemove(GroupList::Owners, member) => absent(&view.owners, member),
        EntryChange::ListRemove(GroupList::Friends, member) => absent(&view.friends, member),
        EntryChange::ListAdd(GroupList::Members, _)
        | EntryChange::ListRemove(GroupList::Members, _)
        | EntryChange::Password(_)
        | EntryChange::AppPasswordAdd(_)
        | EntryChange::AppPasswordRemove(_)
        | EntryChange::Judge { .. }
        | EntryChange::Unsubscribe(_)
        | EntryChange::Resume(_)
        | EntryChange::Join
        | EntryChange::Leave => None,
    }
}

/// Owners and friends that a view shows at most.
const SHOWN_AT_MOST: usize = 100;

fn absent(shown: &[Member], member: &Member) -> Option<bool> {
    if shown.contains(member) {
        return Some(false);
    }
    (shown.len() < SHOWN_AT_MOST).then_some(true)
}
