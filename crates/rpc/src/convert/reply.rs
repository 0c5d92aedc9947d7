//! Replies and refusals; what a status, a trace or an entry looks like is in `view`.

use grapevine_model::{
    Check, ErrorKind, MemberKind, Refusal, RegistryView, Reply, Secret, Welcome, Written,
};

use super::login::{app_id, scram_bytes};
use super::registry::{decode_checks, decode_seen, encode_checks, encode_seen};
use super::storage::over_quota;
use super::{Wire, all, all_parsed, chosen, id_bytes, message_id, need, registry, small, texts};
use crate::v1;
use crate::wire::WireError;

impl From<ErrorKind> for v1::ErrorKind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::NotAuthenticated => Self::NotAuthenticated,
            ErrorKind::NotAllowed => Self::NotAllowed,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Conflict => Self::Conflict,
            ErrorKind::TooLarge => Self::TooLarge,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Unknown => Self::Unknown,
            ErrorKind::Internal => Self::Internal,
        }
    }
}

impl From<&Refusal> for v1::Refusal {
    fn from(refusal: &Refusal) -> Self {
        Self {
            kind: v1::ErrorKind::from(refusal.kind).into(),
            why: refusal.why.clone(),
        }
    }
}

impl From<v1::Refusal> for Refusal {
    fn from(refusal: v1::Refusal) -> Self {
        let kind = match v1::ErrorKind::try_from(refusal.kind) {
            Ok(v1::ErrorKind::Invalid) => ErrorKind::Invalid,
            Ok(v1::ErrorKind::NotAuthenticated) => ErrorKind::NotAuthenticated,
            Ok(v1::ErrorKind::NotAllowed) => ErrorKind::NotAllowed,
            Ok(v1::ErrorKind::NotFound) => ErrorKind::NotFound,
            Ok(v1::ErrorKind::Conflict) => ErrorKind::Conflict,
            Ok(v1::ErrorKind::TooLarge) => ErrorKind::TooLarge,
            Ok(v1::ErrorKind::Unavailable) => ErrorKind::Unavailable,
            Ok(v1::ErrorKind::Unknown) => ErrorKind::Unknown,
            // A refusal stays one, whatever a newer release calls it.
            Ok(v1::ErrorKind::Internal | v1::ErrorKind::Unspecified) | Err(_) => {
                ErrorKind::Internal
            }
        };
        Self {
            kind,
            why: refusal.why,
        }
    }
}

fn member_kind(kind: MemberKind) -> v1::MemberKind {
    match kind {
        MemberKind::Individual => v1::MemberKind::Individual,
        MemberKind::Group => v1::MemberKind::Group,
        MemberKind::Outside => v1::MemberKind::Outside,
    }
}

/// A kind that this release does not know says no more than that somebody is a member.
fn read_member_kind(number: i32) -> MemberKind {
    match v1::MemberKind::try_from(number) {
        Ok(v1::MemberKind::Group) => MemberKind::Group,
        Ok(v1::MemberKind::Outside) => MemberKind::Outside,
        Ok(v1::MemberKind::Individual | v1::MemberKind::Unspecified) | Err(_) => {
            MemberKind::Individual
        }
    }
}

impl From<&Written> for v1::Written {
    fn from(written: &Written) -> Self {
        Self {
            stamp: written.stamp.as_ref().map(Into::into),
            copies: written.copies.into(),
            seen: encode_seen(&written.seen),
        }
    }
}

impl TryFrom<v1::Written> for Written {
    type Error = WireError;

    fn try_from(written: v1::Written) -> Wire<Self> {
        Ok(Self {
            stamp: written.stamp.map(Into::into),
            copies: small(written.copies)?,
            seen: decode_seen(written.seen)?,
        })
    }
}

impl From<&Reply> for v1::Reply {
    fn from(reply: &Reply) -> Self {
        use v1::reply::Reply as Wired;
        let infos = |servers: &[grapevine_model::ServerInfo]| {
            servers.iter().map(Into::into).collect::<Vec<_>>()
        };
        Self {
            reply: Some(match reply {
                Reply::Written(written) => Wired::Written(written.into()),
                Reply::Imported(imported) => Wired::Imported(imported.into()),
                Reply::Authenticated(who) => Wired::Authenticated(who.into()),
                Reply::Ticket { ticket, expires_ms } => Wired::Ticket(v1::Ticket {
                    ticket: ticket.0.clone(),
                    expires_ms: *expires_ms,
                }),
                Reply::AppPassword { password, id } => Wired::AppPassword(v1::NewAppPassword {
                    password: password.0.clone(),
                    id: id.clone(),
                }),
                Reply::ScramChallenge { salt, iterations } => {
                    Wired::ScramChallenge(v1::ScramChallenge {
                        salt: salt.to_vec(),
                        iterations: *iterations,
                    })
                }
                Reply::ScramProved { who, signature } => Wired::ScramProved(v1::ScramProved {
                    who: Some(who.into()),
                    signature: signature.to_vec(),
                }),
                Reply::AppPasswords(list) => Wired::AppPasswords(v1::AppPasswords {
                    app_passwords: list.iter().map(Into::into).collect(),
                }),
                Reply::Registries(registries) => Wired::Registries(v1::Names {
                    names: texts(registries),
                }),
                Reply::Seen(view) => Wired::Seen(view.into()),
                Reply::Registry(view) => Wired::Registry(v1::RegistryView {
                    registry: view.registry.to_string(),
                    holders: texts(&view.holders),
                    registrars: texts(&view.registrars),
                    entries: view.entries,
                    policy: Some((&view.policy).into()),
                    ready: texts(&view.ready),
                }),
                Reply::Compared(view) => Wired::Compared(view.into()),
                Reply::Entry(view) => Wired::Entry((&**view).into()),
                Reply::Check(Check::Yes) => Wired::Check(true),
                Reply::Check(Check::No) => Wired::Check(false),
                Reply::Checks(checks) => Wired::Checks(encode_checks(checks)),
                Reply::Members {
                    members,
                    kinds,
                    next,
                } => Wired::Members(v1::MemberPage {
                    kinds: kinds.iter().map(|kind| member_kind(*kind).into()).collect(),
                    members: texts(members),
                    next: next.clone(),
                }),
                Reply::Entries { entries, next } => Wired::Entries(v1::EntryPage {
                    entries: entries.iter().map(Into::into).collect(),
                    next: next.clone(),
                }),
                Reply::Changes(changes) => Wired::Changes(changes.into()),
                Reply::Held(posts) => Wired::Held(v1::HeldPosts {
                    posts: posts.iter().map(Into::into).collect(),
                }),
                Reply::Conflicts { conflicts, next } => Wired::Conflicts(v1::ConflictPage {
                    conflicts: conflicts.iter().map(Into::into).collect(),
                    next: next.clone(),
                }),
                Reply::Dangling {
                    dangling,
                    seen,
                    next,
                } => Wired::Dangling(v1::DanglingPage {
                    dangling: dangling.iter().map(Into::into).collect(),
                    seen: *seen,
                    next: next.clone(),
                }),
                Reply::Located(located) => Wired::Located(located.into()),
                Reply::Unchanged => Wired::Unchanged(v1::Nothing {}),
                Reply::Ok => Wired::Ok(v1::Nothing {}),
                Reply::RecipientFull(policy) => {
                    Wired::RecipientFull(v1::OverQuotaPolicy::from(*policy).into())
                }
                Reply::Welcome(welcome) => Wired::Welcome(v1::Welcome {
                    servers: infos(&welcome.servers),
                    holds: texts(&welcome.holds),
                }),
                Reply::Servers(servers) => Wired::Servers(v1::ServerList {
                    servers: infos(servers),
                }),
                Reply::Status(status) => Wired::Status((&**status).into()),
                Reply::Trace(trace) => Wired::Trace((&**trace).into()),
                Reply::Queue(answer) => Wired::Queue(answer.into()),
                Reply::Inbox(listing) => Wired::Inbox(listing.into()),
                Reply::Mailbox(reply) => Wired::Mailbox(reply.into()),
                Reply::Sieve(reply) => Wired::Sieve(reply.into()),
                Reply::Accepted { message, copies } => Wired::Accepted(v1::Accepted {
                    message: id_bytes(*message),
                    copies: (*copies).into(),
                }),
            }),
        }
    }
}

impl TryFrom<v1::Reply> for Reply {
    type Error = WireError;

    fn try_from(reply: v1::Reply) -> Wire<Self> {
        use v1::reply::Reply as Wired;
        Ok(match chosen(reply.reply, "reply")? {
            Wired::Written(written) => Self::Written(written.try_into()?),
            Wired::Imported(imported) => Self::Imported(imported.try_into()?),
            Wired::Authenticated(who) => Self::Authenticated(who.try_into()?),
            Wired::Ticket(ticket) => Self::Ticket {
                ticket: Secret(ticket.ticket),
                expires_ms: ticket.expires_ms,
            },
            Wired::AppPassword(app) => Self::AppPassword {
                password: Secret(app.password),
                id: app_id(app.id)?,
            },
            Wired::ScramChallenge(challenge) => Self::ScramChallenge {
                salt: scram_bytes(challenge.salt)?,
                iterations: challenge.iterations,
            },
            Wired::ScramProved(proved) => Self::ScramProved {
                who: need(proved.who, "who has proved it")?.try_into()?,
                signature: scram_bytes(proved.signature)?,
            },
            Wired::AppPasswords(list) => Self::AppPasswords(all(list.app_passwords)?),
            Wired::Registries(registries) => Self::Registries(all_parsed(&registries.names)?),
            Wired::Seen(view) => Self::Seen(view.try_into()?),
            Wired::Registry(view) => Self::Registry(RegistryView {
                registry: registry(&view.registry)?,
                holders: all_parsed(&view.holders)?,
                registrars: all_parsed(&view.registrars)?,
                entries: view.entries,
                ready: all_parsed(&view.ready)?,
                policy: view
                    .policy
                    .map(TryInto::try_into)
                    .transpose()?
                    .unwrap_or_default(),
            }),
            Wired::Compared(view) => Self::Compared(view.try_into()?),
            Wired::Entry(view) => Self::Entry(Box::new(view.try_into()?)),
            Wired::Check(true) => Self::Check(Check::Yes),
            Wired::Check(false) => Self::Check(Check::No),
            Wired::Checks(checks) => Self::Checks(decode_checks(checks)?),
            Wired::Members(page) => Self::Members {
                members: all_parsed(&page.members)?,
                kinds: page.kinds.into_iter().map(read_member_kind).collect(),
                next: page.next,
            },
            Wired::Entries(page) => Self::Entries {
                entries: all(page.entries)?,
                next: page.next,
            },
            Wired::Changes(changes) => Self::Changes(changes.try_into()?),
            Wired::Held(held) => Self::Held(all(held.posts)?),
            Wired::Conflicts(page) => Self::Conflicts {
                conflicts: all(page.conflicts)?,
                next: page.next,
            },
            Wired::Dangling(page) => Self::Dangling {
                dangling: all(page.dangling)?,
                seen: page.seen,
                next: page.next,
            },
            Wired::Located(located) => Self::Located(located.try_into()?),
            Wired::Unchanged(_) => Self::Unchanged,
            Wired::Ok(_) => Self::Ok,
            Wired::RecipientFull(policy) => Self::RecipientFull(over_quota(policy)?),
            Wired::Welcome(welcome) => Self::Welcome(Welcome {
                servers: all(welcome.servers)?,
                holds: all_parsed(&welcome.holds)?,
            }),
            Wired::Servers(list) => Self::Servers(all(list.servers)?),
            Wired::Status(status) => Self::Status(Box::new(status.try_into()?)),
            Wired::Trace(trace) => Self::Trace(Box::new(trace.try_into()?)),
            Wired::Queue(answer) => Self::Queue(answer.try_into()?),
            Wired::Inbox(listing) => Self::Inbox(listing.try_into()?),
            Wired::Mailbox(reply) => Self::Mailbox(reply.try_into()?),
            Wired::Sieve(reply) => Self::Sieve(reply.try_into()?),
            Wired::Accepted(accepted) => Self::Accepted {
                message: message_id(&accepted.message)?,
                copies: small(accepted.copies)?,
            },
        })
    }
}
