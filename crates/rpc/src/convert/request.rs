//! Requests, who makes them, and the servers and changes that they speak of.

use grapevine_model::{
    AsideChange, Depth, Door, EntryChange, GroupList, KeyWait, MAX_CELL_VALUE_BYTES, OriginId,
    PostingRule, Quota, Request, Secret, ServerInfo, ServerRole, Speaker, Unsubscribe, Verdict,
};

use super::login::{app_id, label, scram_bytes, scram_text, source, source_bytes};
use super::mailbox::{decode_mailbox_ask, encode_mailbox_ask};
use super::registry::{asked_for, decode_policy_change, encode_policy_change};
use super::sieve::{decode_sieve_ask, encode_sieve_ask};
use super::{
    Wire, all, all_parsed, chosen, enumerated, id_bytes, ids_bytes, incarnation, incarnation_bytes,
    message_id, message_ids, name, need, optional, parsed, registry, server, texts, token_digest,
    watch,
};
use crate::v1;
use crate::wire::WireError;

/// Keys of one server beside the one that it uses: more are a mistake.
const MOST_MORE_KEYS: usize = 64;

impl From<&Speaker> for v1::Speaker {
    fn from(speaker: &Speaker) -> Self {
        use v1::speaker::Speaker as Wired;
        Self {
            speaker: Some(match speaker {
                Speaker::Anonymous => Wired::Anonymous(v1::Nothing {}),
                Speaker::Individual { name, incarnation } => Wired::Individual(v1::Individual {
                    name: name.to_string(),
                    incarnation: incarnation_bytes(*incarnation),
                    ..v1::Individual::default()
                }),
                Speaker::Operator => Wired::Operator(v1::Nothing {}),
                Speaker::Server(server) => Wired::Server(server.to_string()),
                Speaker::Neighbour => Wired::Neighbour(v1::Nothing {}),
            }),
        }
    }
}

impl TryFrom<v1::Speaker> for Speaker {
    type Error = WireError;

    fn try_from(speaker: v1::Speaker) -> Wire<Self> {
        use v1::speaker::Speaker as Wired;
        Ok(match chosen(speaker.speaker, "speaker")? {
            Wired::Anonymous(_) => Self::Anonymous,
            Wired::Individual(individual) => Self::Individual {
                name: name(&individual.name)?,
                incarnation: incarnation(&individual.incarnation)?,
            },
            Wired::Operator(_) => Self::Operator,
            Wired::Server(name) => Self::Server(server(&name)?),
            Wired::Neighbour(_) => Self::Neighbour,
        })
    }
}

impl From<GroupList> for v1::GroupList {
    fn from(list: GroupList) -> Self {
        match list {
            GroupList::Members => Self::Members,
            GroupList::Owners => Self::Owners,
            GroupList::Friends => Self::Friends,
        }
    }
}

pub(super) fn list(number: i32) -> Wire<GroupList> {
    Ok(match enumerated(number, "list of a group")? {
        v1::GroupList::Unspecified => return Err(WireError::invalid("no list of a group named")),
        v1::GroupList::Members => GroupList::Members,
        v1::GroupList::Owners => GroupList::Owners,
        v1::GroupList::Friends => GroupList::Friends,
    })
}

impl From<ServerRole> for v1::ServerRole {
    fn from(role: ServerRole) -> Self {
        match role {
            ServerRole::Full => Self::Full,
            ServerRole::Retiring => Self::Retiring,
        }
    }
}

pub(super) fn role(number: i32) -> Wire<ServerRole> {
    Ok(match enumerated(number, "role of a server")? {
        v1::ServerRole::Unspecified => return Err(WireError::invalid("a server without a role")),
        v1::ServerRole::Full => ServerRole::Full,
        v1::ServerRole::Retiring => ServerRole::Retiring,
    })
}

impl From<Door> for v1::Door {
    fn from(door: Door) -> Self {
        match door {
            Door::Rpc => Self::Rpc,
            Door::Http => Self::Http,
            Door::Https => Self::Https,
            Door::Smtp => Self::Smtp,
            Door::Lmtp => Self::Lmtp,
            Door::Submission => Self::Submission,
            Door::Submissions => Self::Submissions,
            Door::Pop3 => Self::Pop3,
            Door::Pop3s => Self::Pop3s,
            Door::Imap => Self::Imap,
            Door::Imaps => Self::Imaps,
            Door::Ldap => Self::Ldap,
            Door::Ldaps => Self::Ldaps,
            Door::Dns => Self::Dns,
            Door::Sieve => Self::Sieve,
        }
    }
}

/// None for a door that a newer release has: it is passed over.
fn door(number: i32) -> Option<Door> {
    Some(match v1::Door::try_from(number).ok()? {
        v1::Door::Unspecified => return None,
        v1::Door::Rpc => Door::Rpc,
        v1::Door::Http => Door::Http,
        v1::Door::Https => Door::Https,
        v1::Door::Smtp => Door::Smtp,
        v1::Door::Lmtp => Door::Lmtp,
        v1::Door::Submission => Door::Submission,
        v1::Door::Submissions => Door::Submissions,
        v1::Door::Pop3 => Door::Pop3,
        v1::Door::Pop3s => Door::Pop3s,
        v1::Door::Imap => Door::Imap,
        v1::Door::Imaps => Door::Imaps,
        v1::Door::Ldap => Door::Ldap,
        v1::Door::Ldaps => Door::Ldaps,
        v1::Door::Dns => Door::Dns,
        v1::Door::Sieve => Door::Sieve,
    })
}

impl From<KeyWait> for v1::KeyWait {
    fn from(wait: KeyWait) -> Self {
        match wait {
            KeyWait::Everybody => Self::Everybody,
            KeyWait::Servers => Self::Servers,
            KeyWait::Nobody => Self::Nobody,
        }
    }
}

fn key_wait(number: i32) -> Wire<KeyWait> {
    match v1::KeyWait::try_from(number) {
        Ok(v1::KeyWait::Everybody) => Ok(KeyWait::Everybody),
        Ok(v1::KeyWait::Servers) => Ok(KeyWait::Servers),
        Ok(v1::KeyWait::Nobody) => Ok(KeyWait::Nobody),
        Ok(v1::KeyWait::Unspecified) | Err(_) => {
            Err(WireError::invalid("for whom the new key waits is not said"))
        }
    }
}

impl From<&ServerInfo> for v1::ServerInfo {
    fn from(info: &ServerInfo) -> Self {
        Self {
            name: info.name.to_string(),
            public_key: info.public_key.clone(),
            more_keys: info.more_keys.clone(),
            origin: info.origin.0,
            role: v1::ServerRole::from(info.role).into(),
            doors: info
                .doors
                .iter()
                .map(|(door, address)| v1::DoorAt {
                    door: v1::Door::from(*door).into(),
                    address: address.clone(),
                })
                .collect(),
        }
    }
}

impl TryFrom<v1::ServerInfo> for ServerInfo {
    type Error = WireError;

    fn try_from(info: v1::ServerInfo) -> Wire<Self> {
        let too_long = |key: &Vec<u8>| key.len() > MAX_CELL_VALUE_BYTES;
        if too_long(&info.public_key) || info.more_keys.iter().any(too_long) {
            return Err(WireError::invalid("a server's key is too long"));
        }
        if info.more_keys.len() > MOST_MORE_KEYS {
            return Err(WireError::invalid("a server has too many keys"));
        }
        Ok(Self {
            name: server(&info.name)?,
            public_key: info.public_key,
            more_keys: info.more_keys,
            origin: OriginId(info.origin),
            role: role(info.role)?,
            doors: info
                .doors
                .into_iter()
                .filter_map(|at| Some((door(at.door)?, at.address)))
                .collect(),
        })
    }
}

impl From<&EntryChange> for v1::EntryChange {
    fn from(change: &EntryChange) -> Self {
        use v1::entry_change::Change as Wired;
        let member = |list: &GroupList, member: &dyn ToString| v1::ListMember {
            list: v1::GroupList::from(*list).into(),
            member: member.to_string(),
        };
        Self {
            change: Some(match change {
                EntryChange::Password(Secret(hash)) => Wired::Password(hash.clone()),
                EntryChange::AppPasswordAdd(app) => Wired::AppPasswordAdd(app.into()),
                EntryChange::AppPasswordRemove(id) => Wired::AppPasswordRemove(id.clone()),
                EntryChange::Remark(remark) => Wired::Remark(remark.clone()),
                EntryChange::Sites(sites) => Wired::Sites(v1::Servers {
                    servers: texts(sites),
                }),
                EntryChange::Forward(names) => Wired::Forward(v1::Names {
                    names: texts(names),
                }),
                EntryChange::ConnectSites {
                    door,
                    sites,
                    lease_ms,
                } => Wired::ConnectSites(v1::ConnectSites {
                    door: door.to_string(),
                    sites: sites.iter().map(Into::into).collect(),
                    lease_ms: *lease_ms,
                }),
                EntryChange::AliasAdd(name) => Wired::AliasAdd(name.to_string()),
                EntryChange::AliasRemove(name) => Wired::AliasRemove(name.to_string()),
                EntryChange::Rename(name) => Wired::Rename(name.to_string()),
                EntryChange::FormerRemove(name) => Wired::FormerRemove(name.to_string()),
                EntryChange::Quota(quota) => Wired::Quota(quota.into()),
                EntryChange::Posting(rule) => Wired::Posting(rule.into()),
                EntryChange::Judge { message, verdict } => Wired::Judge(v1::Judge {
                    message: super::id_bytes(*message),
                    reject: match verdict {
                        Verdict::Approve => None,
                        Verdict::Reject(why) => Some(why.clone()),
                    },
                }),
                EntryChange::Unsubscribe(token) => Wired::Unsubscribe(token.token()),
                EntryChange::Resume(name) => Wired::Resume(name.to_string()),
                EntryChange::ListAdd(list, who) => Wired::ListAdd(member(list, who)),
                EntryChange::ListRemove(list, who) => Wired::ListRemove(member(list, who)),
                EntryChange::Join => Wired::Join(v1::Nothing {}),
                EntryChange::Leave => Wired::Leave(v1::Nothing {}),
            }),
        }
    }
}

impl TryFrom<v1::EntryChange> for EntryChange {
    type Error = WireError;

    fn try_from(change: v1::EntryChange) -> Wire<Self> {
        use v1::entry_change::Change as Wired;
        Ok(match chosen(change.change, "change of an entry")? {
            Wired::Password(hash) => Self::Password(Secret(value_text(hash)?)),
            Wired::AppPasswordAdd(app) => Self::AppPasswordAdd(app.try_into()?),
            Wired::AppPasswordRemove(id) => Self::AppPasswordRemove(app_id(id)?),
            Wired::Remark(remark) => Self::Remark(value_text(remark)?),
            Wired::Sites(sites) => Self::Sites(all_parsed(&sites.servers)?),
            Wired::Forward(names) => Self::Forward(all_parsed(&names.names)?),
            Wired::ConnectSites(connect) => Self::ConnectSites {
                door: parsed(&connect.door)?,
                sites: all(connect.sites)?,
                lease_ms: connect.lease_ms,
            },
            Wired::AliasAdd(alias) => Self::AliasAdd(name(&alias)?),
            Wired::AliasRemove(alias) => Self::AliasRemove(name(&alias)?),
            Wired::Rename(to) => Self::Rename(name(&to)?),
            Wired::FormerRemove(former) => Self::FormerRemove(name(&former)?),
            Wired::Quota(quota) => Self::Quota(quota.into()),
            Wired::Posting(rule) => Self::Posting(rule.try_into()?),
            Wired::Judge(judge) => Self::Judge {
                message: super::message_id(&judge.message)?,
                verdict: match judge.reject {
                    None => Verdict::Approve,
                    Some(why) => Verdict::Reject(value_text(why)?),
                },
            },
            Wired::Unsubscribe(token) => Self::Unsubscribe(
                Unsubscribe::from_token(&token)
                    .ok_or_else(|| WireError::invalid("a token of a list can't be read"))?,
            ),
            Wired::Resume(who) => Self::Resume(name(&who)?),
            Wired::ListAdd(v1::ListMember { list: of, member }) => {
                Self::ListAdd(list(of)?, parsed(&member)?)
            }
            Wired::ListRemove(v1::ListMember { list: of, member }) => {
                Self::ListRemove(list(of)?, parsed(&member)?)
            }
            Wired::Join(_) => Self::Join,
            Wired::Leave(_) => Self::Leave,
        })
    }
}

impl From<&Quota> for v1::Quota {
    fn from(quota: &Quota) -> Self {
        Self {
            octets: quota.octets,
            messages: quota.messages,
        }
    }
}

impl From<v1::Quota> for Quota {
    fn from(quota: v1::Quota) -> Self {
        Self {
            octets: quota.octets,
            messages: quota.messages,
        }
    }
}

impl From<&PostingRule> for v1::PostingRule {
    fn from(rule: &PostingRule) -> Self {
        use v1::posting_rule::Rule as Wired;
        Self {
            rule: Some(match rule {
                PostingRule::Anyone => Wired::Anyone(v1::Nothing {}),
                PostingRule::Authenticated => Wired::Authenticated(v1::Nothing {}),
                PostingRule::Members => Wired::Members(v1::Nothing {}),
                PostingRule::Owners => Wired::Owners(v1::Nothing {}),
                PostingRule::Moderated => Wired::Moderated(v1::Nothing {}),
                PostingRule::Group(group) => Wired::Group(group.to_string()),
            }),
        }
    }
}

impl TryFrom<v1::PostingRule> for PostingRule {
    type Error = WireError;

    fn try_from(rule: v1::PostingRule) -> Wire<Self> {
        use v1::posting_rule::Rule as Wired;
        Ok(match chosen(rule.rule, "posting rule")? {
            Wired::Anyone(_) => Self::Anyone,
            Wired::Authenticated(_) => Self::Authenticated,
            Wired::Members(_) => Self::Members,
            Wired::Owners(_) => Self::Owners,
            Wired::Moderated(_) => Self::Moderated,
            Wired::Group(group) => Self::Group(name(&group)?),
        })
    }
}

fn registry_page(
    registry: &grapevine_model::RegistryName,
    after: &Option<String>,
    limit: u32,
) -> v1::RegistryPage {
    v1::RegistryPage {
        registry: registry.to_string(),
        after: after.clone(),
        limit,
    }
}

/// A text that is to be the value of a cell.
pub(super) fn value_text(text: String) -> Wire<String> {
    if text.len() > MAX_CELL_VALUE_BYTES {
        Err(WireError::invalid("a text is too long"))
    } else {
        Ok(text)
    }
}

fn secret(text: Option<String>) -> Wire<Option<Secret>> {
    Ok(text.map(value_text).transpose()?.map(Secret))
}

impl From<&Request> for v1::Request {
    fn from(request: &Request) -> Self {
        Self {
            request: Some(encode(request)),
        }
    }
}

fn encode(request: &Request) -> v1::request::Request {
    use v1::request::Request as Wired;
    let wired = |list: &GroupList| v1::GroupList::from(*list).into();
    match request {
        Request::Authenticate {
            name,
            password,
            source,
        } => Wired::Authenticate(v1::Authenticate {
            name: name.to_string(),
            password: password.0.clone(),
            source: source_bytes(*source),
        }),
        Request::Vouch { who } => Wired::Vouch(who.into()),
        Request::ScramBegin { name } => Wired::ScramBegin(name.to_string()),
        Request::ScramFinish {
            name,
            source,
            said,
            proof,
        } => Wired::ScramFinish(v1::ScramFinish {
            name: name.to_string(),
            source: source_bytes(*source),
            said: said.clone(),
            proof: proof.to_vec(),
        }),
        Request::TicketCreate { life_ms } => {
            Wired::TicketCreate(v1::TicketCreate { life_ms: *life_ms })
        }
        Request::AppPasswordCreate {
            name,
            label,
            expires_ms,
        } => Wired::AppPasswordCreate(v1::AppPasswordCreate {
            name: name.to_string(),
            label: label.clone(),
            expires_ms: *expires_ms,
        }),
        Request::AppPasswords { name } => Wired::AppPasswords(name.to_string()),
        Request::RegistryCreate {
            registry,
            holders,
            registrars,
        } => Wired::RegistryCreate(v1::RegistryCreate {
            registry: registry.to_string(),
            holders: texts(holders),
            registrars: texts(registrars),
        }),
        Request::RegistryDelete { registry } => Wired::RegistryDelete(registry.to_string()),
        Request::RegistryList => Wired::RegistryList(v1::Nothing {}),
        Request::RegistryShow { registry } => Wired::RegistryShow(registry.to_string()),
        Request::Compare { registry } => Wired::Compare(registry.to_string()),
        Request::RegistrySeen { registry, stamp } => Wired::RegistrySeen(v1::RegistrySeen {
            registry: registry.to_string(),
            stamp: stamp.as_ref().map(Into::into),
        }),
        Request::HolderAdd { registry, server } => Wired::HolderAdd(v1::Holder {
            registry: registry.to_string(),
            server: server.to_string(),
        }),
        Request::HolderRemove { registry, server } => Wired::HolderRemove(v1::Holder {
            registry: registry.to_string(),
            server: server.to_string(),
        }),
        Request::IndividualCreate {
            name,
            password,
            sites,
        } => Wired::IndividualCreate(v1::IndividualCreate {
            name: name.to_string(),
            password: password.as_ref().map(|secret| secret.0.clone()),
            sites: texts(sites),
        }),
        Request::GroupCreate {
            name,
            remark,
            owners,
        } => Wired::GroupCreate(v1::GroupCreate {
            name: name.to_string(),
            remark: remark.clone(),
            owners: texts(owners),
        }),
        Request::Import { registry, entries } => Wired::Import(v1::Import {
            registry: registry.to_string(),
            entries: entries.iter().map(Into::into).collect(),
        }),
        Request::Delete { name } => Wired::Delete(name.to_string()),
        Request::Change { name, change } => Wired::Change(v1::Change {
            name: name.to_string(),
            change: Some(change.into()),
        }),
        Request::Show { name } => Wired::Show(name.to_string()),
        Request::Check { group, list, who } => Wired::Check(v1::CheckMember {
            group: group.to_string(),
            list: wired(list),
            who: who.to_string(),
        }),
        Request::CheckMany { group, list, who } => Wired::CheckMany(v1::CheckManyMembers {
            group: group.to_string(),
            list: wired(list),
            who: texts(who),
        }),
        Request::RegistryPolicy { registry, change } => {
            Wired::RegistryPolicy(encode_policy_change(registry, change))
        }
        Request::Members {
            group,
            list,
            after,
            limit,
        } => Wired::Members(v1::MembersPage {
            group: group.to_string(),
            list: wired(list),
            after: after.clone(),
            limit: *limit,
        }),
        Request::Entries {
            registry,
            after,
            limit,
        } => Wired::Entries(v1::EntriesPage {
            registry: registry.to_string(),
            after: after.clone(),
            limit: *limit,
        }),
        Request::EntryOfNumber { registry, number } => Wired::EntryOfNumber(v1::NumberIn {
            registry: registry.to_string(),
            number: *number,
        }),
        Request::Watch {
            target,
            since,
            wait_ms,
        } => Wired::Watch(watch::encode(target, since, *wait_ms)),
        Request::MemberOf {
            name,
            list,
            depth,
            after,
            limit,
        } => Wired::MemberOf(v1::MemberOf {
            name: name.to_string(),
            list: wired(list),
            nested: *depth == Depth::Nested,
            after: after.clone(),
            limit: *limit,
        }),
        Request::Held { group } => Wired::Held(group.to_string()),
        Request::Conflicts {
            registry,
            after,
            limit,
        } => Wired::Conflicts(registry_page(registry, after, *limit)),
        Request::Aside {
            name,
            incarnation,
            change,
        } => Wired::Aside(v1::Aside {
            name: name.to_string(),
            incarnation: incarnation_bytes(*incarnation),
            change: Some(match change {
                AsideChange::Delete => v1::aside::Change::Delete(v1::Nothing {}),
                AsideChange::Rename(to) => v1::aside::Change::Rename(to.to_string()),
            }),
        }),
        Request::Dangling {
            registry,
            after,
            limit,
        } => Wired::Dangling(registry_page(registry, after, *limit)),
        Request::DanglingRemove {
            registry,
            after,
            limit,
        } => Wired::DanglingRemove(registry_page(registry, after, *limit)),
        Request::Find { name, door, known } => Wired::Find(v1::Find {
            name: name.to_string(),
            door: door.as_ref().map(ToString::to_string),
            known: *known,
        }),
        Request::CheckRecipient { name } => Wired::CheckRecipient(name.to_string()),
        Request::MaySendAs { name } => Wired::MaySendAs(name.to_string()),
        Request::TokenCreate { digest, expires_ms } => Wired::TokenCreate(v1::TokenCreate {
            digest: digest.clone(),
            expires_ms: *expires_ms,
        }),
        Request::Join { digest, server } => Wired::Join(v1::JoinByToken {
            digest: digest.clone(),
            server: Some(server.into()),
        }),
        Request::Retire { server } => Wired::Retire(server.to_string()),
        Request::RotateKey { wait } => Wired::RotateKey(v1::KeyWait::from(*wait).into()),
        Request::Servers => Wired::Servers(v1::Nothing {}),
        Request::Status => Wired::Status(v1::Nothing {}),
        Request::Trace { message } => Wired::Trace(id_bytes(*message)),
        Request::Queue(ask) => Wired::Queue(ask.into()),
        Request::InboxList { name } => Wired::InboxList(name.to_string()),
        Request::InboxDelete { name, messages } => Wired::InboxDelete(v1::InboxDelete {
            name: name.to_string(),
            messages: ids_bytes(messages),
        }),
        Request::Mailbox { name, ask } => Wired::Mailbox(encode_mailbox_ask(name, ask)),
        Request::Sieve { name, ask } => Wired::Sieve(encode_sieve_ask(name, ask)),
    }
}

impl TryFrom<v1::Request> for Request {
    type Error = WireError;

    fn try_from(request: v1::Request) -> Wire<Self> {
        use v1::request::Request as Wired;
        Ok(match chosen(request.request, "request")? {
            Wired::Authenticate(v1::Authenticate {
                name: who,
                password,
                source: from,
            }) => Self::Authenticate {
                name: name(&who)?,
                password: Secret(value_text(password)?),
                source: source(&from),
            },
            Wired::Vouch(who) => Self::Vouch {
                who: who.try_into()?,
            },
            Wired::ScramBegin(who) => Self::ScramBegin { name: name(&who)? },
            Wired::ScramFinish(finish) => Self::ScramFinish {
                name: name(&finish.name)?,
                source: source(&finish.source),
                said: scram_text(finish.said)?,
                proof: scram_bytes(finish.proof)?,
            },
            Wired::TicketCreate(ticket) => Self::TicketCreate {
                life_ms: ticket.life_ms,
            },
            Wired::AppPasswordCreate(create) => Self::AppPasswordCreate {
                name: name(&create.name)?,
                label: label(create.label)?,
                expires_ms: create.expires_ms,
            },
            Wired::AppPasswords(whose) => Self::AppPasswords {
                name: name(&whose)?,
            },
            Wired::RegistryCreate(create) => Self::RegistryCreate {
                registry: registry(&create.registry)?,
                holders: all_parsed(&create.holders)?,
                registrars: all_parsed(&create.registrars)?,
            },
            Wired::RegistryDelete(which) => Self::RegistryDelete {
                registry: registry(&which)?,
            },
            Wired::RegistryList(_) => Self::RegistryList,
            Wired::RegistryShow(which) => Self::RegistryShow {
                registry: registry(&which)?,
            },
            Wired::Compare(which) => Self::Compare {
                registry: registry(&which)?,
            },
            Wired::RegistrySeen(seen) => Self::RegistrySeen {
                registry: registry(&seen.registry)?,
                stamp: seen.stamp.map(Into::into),
            },
            Wired::HolderAdd(holder) => Self::HolderAdd {
                registry: registry(&holder.registry)?,
                server: server(&holder.server)?,
            },
            Wired::HolderRemove(holder) => Self::HolderRemove {
                registry: registry(&holder.registry)?,
                server: server(&holder.server)?,
            },
            Wired::IndividualCreate(create) => Self::IndividualCreate {
                name: name(&create.name)?,
                password: secret(create.password)?,
                sites: all_parsed(&create.sites)?,
            },
            Wired::GroupCreate(create) => Self::GroupCreate {
                name: name(&create.name)?,
                remark: value_text(create.remark)?,
                owners: all_parsed(&create.owners)?,
            },
            Wired::Import(import) => Self::Import {
                registry: registry(&import.registry)?,
                entries: all(import.entries)?,
            },
            Wired::Delete(which) => Self::Delete {
                name: name(&which)?,
            },
            Wired::Change(change) => Self::Change {
                name: name(&change.name)?,
                change: need(change.change, "a change")?.try_into()?,
            },
            Wired::Show(which) => Self::Show {
                name: name(&which)?,
            },
            Wired::Check(check) => Self::Check {
                group: name(&check.group)?,
                list: list(check.list)?,
                who: name(&check.who)?,
            },
            Wired::CheckMany(check) => Self::CheckMany {
                group: name(&check.group)?,
                list: list(check.list)?,
                who: asked_for(&check.who)?,
            },
            Wired::RegistryPolicy(change) => {
                let (registry, change) = decode_policy_change(change)?;
                Self::RegistryPolicy { registry, change }
            }
            Wired::Members(page) => Self::Members {
                group: name(&page.group)?,
                list: list(page.list)?,
                after: page.after.map(value_text).transpose()?,
                limit: page.limit,
            },
            Wired::Entries(page) => Self::Entries {
                registry: registry(&page.registry)?,
                after: page.after.map(value_text).transpose()?,
                limit: page.limit,
            },
            Wired::MemberOf(page) => Self::MemberOf {
                name: name(&page.name)?,
                list: list(page.list)?,
                depth: if page.nested {
                    Depth::Nested
                } else {
                    Depth::Direct
                },
                after: page.after.map(value_text).transpose()?,
                limit: page.limit,
            },
            Wired::Held(group) => Self::Held {
                group: name(&group)?,
            },
            Wired::Conflicts(page) => Self::Conflicts {
                registry: registry(&page.registry)?,
                after: page.after.map(value_text).transpose()?,
                limit: page.limit,
            },
            Wired::EntryOfNumber(which) => Self::EntryOfNumber {
                registry: registry(&which.registry)?,
                number: which.number,
            },
            Wired::Watch(watch) => watch.try_into()?,
            Wired::Aside(aside) => Self::Aside {
                name: name(&aside.name)?,
                incarnation: incarnation(&aside.incarnation)?,
                change: match chosen(aside.change, "change of an entry that stands aside")? {
                    v1::aside::Change::Delete(_) => AsideChange::Delete,
                    v1::aside::Change::Rename(to) => AsideChange::Rename(name(&to)?),
                },
            },
            Wired::Dangling(page) => Self::Dangling {
                registry: registry(&page.registry)?,
                after: page.after.map(value_text).transpose()?,
                limit: page.limit,
            },
            Wired::DanglingRemove(page) => Self::DanglingRemove {
                registry: registry(&page.registry)?,
                after: page.after.map(value_text).transpose()?,
                limit: page.limit,
            },
            Wired::Find(find) => Self::Find {
                name: name(&find.name)?,
                door: optional(find.door.as_ref())?,
                known: find.known,
            },
            Wired::CheckRecipient(who) => Self::CheckRecipient { name: name(&who)? },
            Wired::MaySendAs(who) => Self::MaySendAs { name: name(&who)? },
            Wired::TokenCreate(token) => Self::TokenCreate {
                digest: token_digest(token.digest)?,
                expires_ms: token.expires_ms,
            },
            Wired::Join(join) => Self::Join {
                digest: token_digest(join.digest)?,
                server: need(join.server, "a server")?.try_into()?,
            },
            Wired::Retire(which) => Self::Retire {
                server: server(&which)?,
            },
            Wired::RotateKey(number) => Self::RotateKey {
                wait: key_wait(number)?,
            },
            Wired::Servers(_) => Self::Servers,
            Wired::Status(_) => Self::Status,
            Wired::Trace(id) => Self::Trace {
                message: message_id(&id)?,
            },
            Wired::Queue(ask) => Self::Queue(ask.try_into()?),
            Wired::InboxList(who) => Self::InboxList { name: name(&who)? },
            Wired::Mailbox(ask) => {
                let (name, ask) = decode_mailbox_ask(ask)?;
                Self::Mailbox { name, ask }
            }
            Wired::Sieve(ask) => {
                let (name, ask) = decode_sieve_ask(ask)?;
                Self::Sieve { name, ask }
            }
            Wired::InboxDelete(delete) => Self::InboxDelete {
                name: name(&delete.name)?,
                messages: message_ids(&delete.messages)?,
            },
        })
    }
}
