//! From a call by HTTP to what the core is asked: one arm an operation.
//!
//! Must never decide what somebody may do, nor fill in what was not said otherwise than the command
//! line does.

use grapevine_model::{
    AsideChange, DeadLetterChange, Depth, EntryChange, ErrorKind, ImportedEntry, PolicyChange,
    QueueAsk, Refusal, RegistryName, Request as Ask, SiteOffer, Verdict,
};

use super::api::Call;
use super::bodies;
use super::operations::Op;
use super::problem::Problem;
use crate::cli::names::incarnation;
use crate::cli::registry::stamp;

impl Call {
    /// What the core is asked.
    pub(super) fn request(&self) -> Result<Ask, Problem> {
        let change = |change| -> Result<Ask, Problem> {
            Ok(Ask::Change {
                name: self.param("name")?,
                change,
            })
        };
        Ok(match self.operation.op {
            Op::Registries => Ask::RegistryList,
            Op::RegistryCreate => {
                let new: bodies::NewRegistry = self.json()?;
                Ask::RegistryCreate {
                    registry: new.registry,
                    holders: new.holders,
                    registrars: new.registrars,
                }
            }
            Op::Registry => Ask::RegistryShow {
                registry: self.param("registry")?,
            },
            Op::RegistryDelete => Ask::RegistryDelete {
                registry: self.param("registry")?,
            },
            Op::RegistryEntries => Ask::Entries {
                registry: self.param("registry")?,
                after: self.after(),
                limit: self.limit()?,
            },
            Op::RegistryPolicy => Ask::RegistryPolicy {
                registry: self.param("registry")?,
                change: match self.json()? {
                    bodies::Policy::Alone(policy) => PolicyChange::Alone(policy),
                    bodies::Policy::Stale(policy) => PolicyChange::Stale(policy),
                    bodies::Policy::Scram(policy) => PolicyChange::Scram(policy),
                    bodies::Policy::Quota(quota) => PolicyChange::Quota(quota.into()),
                    bodies::Policy::OverQuota(policy) => PolicyChange::OverQuota(policy),
                    bodies::Policy::CatchAll(to) => PolicyChange::CatchAll(to),
                    bodies::Policy::Offer(server) => PolicyChange::Offer(server),
                    bodies::Policy::Withdraw(server) => PolicyChange::Withdraw(server),
                },
            },
            Op::RegistrySeen => Ask::RegistrySeen {
                registry: self.param("registry")?,
                stamp: self
                    .parameter("stamp")
                    .map(stamp)
                    .transpose()
                    .map_err(|why| Problem::invalid(format!("stamp: {why}")))?,
            },
            Op::HolderAdd => Ask::HolderAdd {
                registry: self.param("registry")?,
                server: self.param("server")?,
            },
            Op::HolderRemove => Ask::HolderRemove {
                registry: self.param("registry")?,
                server: self.param("server")?,
            },
            Op::IndividualCreate => {
                let new: bodies::NewIndividual = self.json()?;
                Ask::IndividualCreate {
                    name: new.name,
                    password: new.password.map(|password| password.0),
                    sites: new.sites,
                }
            }
            Op::GroupCreate => {
                let new: bodies::NewGroup = self.json()?;
                Ask::GroupCreate {
                    name: new.name,
                    remark: new.remark,
                    owners: new.owners,
                }
            }
            Op::Individual | Op::Group => Ask::Show {
                name: self.param("name")?,
            },
            Op::IndividualDelete | Op::GroupDelete => Ask::Delete {
                name: self.param("name")?,
            },
            Op::SetPassword => {
                let new: bodies::NewPassword = self.json()?;
                change(EntryChange::Password(new.password.0))?
            }
            Op::SetIndividualRemark | Op::SetGroupRemark => {
                change(EntryChange::Remark(self.json::<bodies::Remark>()?.remark))?
            }
            Op::SetSites => change(EntryChange::Sites(self.json::<bodies::Sites>()?.sites))?,
            Op::SetForward => change(EntryChange::Forward(
                self.json::<bodies::Forward>()?.forward,
            ))?,
            Op::AliasAdd => change(EntryChange::AliasAdd(self.param("alias")?))?,
            Op::AliasRemove => change(EntryChange::AliasRemove(self.param("alias")?))?,
            Op::List => Ask::Members {
                group: self.param("name")?,
                list: self.list(&self.param::<String>("list")?)?,
                after: self.after(),
                limit: self.limit()?,
            },
            Op::ListAdd | Op::ListRemove => {
                let list = self.list(&self.param::<String>("list")?)?;
                let member = self.param("member")?;
                change(match self.operation.op {
                    Op::ListAdd => EntryChange::ListAdd(list, member),
                    _ => EntryChange::ListRemove(list, member),
                })?
            }
            Op::Check => Ask::Check {
                group: self.param("name")?,
                list: self.list(self.parameter("list").unwrap_or("members"))?,
                who: self
                    .parameter("who")
                    .ok_or_else(|| Problem::invalid("who? give ?who=NAME"))?
                    .parse()
                    .map_err(|error| Problem::invalid(format!("who: {error}")))?,
            },
            Op::Checks => {
                let checks: bodies::Checks = self.json()?;
                Ask::CheckMany {
                    group: self.param("name")?,
                    list: checks.list,
                    who: checks.who,
                }
            }
            Op::Join => {
                let bodies::Empty {} = self.json()?;
                change(EntryChange::Join)?
            }
            Op::Leave => {
                let bodies::Empty {} = self.json()?;
                change(EntryChange::Leave)?
            }
            Op::RenameIndividual | Op::RenameGroup => {
                change(EntryChange::Rename(self.json::<bodies::NewName>()?.name))?
            }
            Op::IndividualFormerRemove | Op::GroupFormerRemove => {
                change(EntryChange::FormerRemove(self.param("former")?))?
            }
            Op::SetQuota => {
                let quota: bodies::Quota = self.json()?;
                change(EntryChange::Quota(quota.into()))?
            }
            Op::SetPosting => change(EntryChange::Posting(
                self.json::<bodies::Posting>()?.posting,
            ))?,
            Op::Held => Ask::Held {
                group: self.param("name")?,
            },
            Op::HeldApprove => {
                let bodies::Empty {} = self.json()?;
                change(EntryChange::Judge {
                    message: self.param("message")?,
                    verdict: Verdict::Approve,
                })?
            }
            Op::HeldReject => change(EntryChange::Judge {
                message: self.param("message")?,
                verdict: Verdict::Reject(self.json::<bodies::Rejection>()?.reason),
            })?,
            Op::Resume => change(EntryChange::Resume(self.param("member")?))?,
            Op::AppPasswords => Ask::AppPasswords {
                name: self.param("name")?,
            },
            Op::AppPasswordCreate => {
                let new: bodies::NewAppPassword = self.json()?;
                Ask::AppPasswordCreate {
                    name: self.param("name")?,
                    label: new.label,
                    expires_ms: new.expires_ms,
                }
            }
            Op::AppPasswordRemove => change(EntryChange::AppPasswordRemove(self.param("id")?))?,
            Op::ServiceRegister => {
                let service: bodies::Service = self.json()?;
                let sites = service.sites.into_iter().map(SiteOffer::from);
                change(EntryChange::ConnectSites {
                    door: self.param("door")?,
                    sites: sites.collect(),
                    lease_ms: service.lease_ms,
                })?
            }
            Op::ServiceDeregister => change(EntryChange::ConnectSites {
                door: self.param("door")?,
                sites: Vec::new(),
                lease_ms: None,
            })?,
            Op::ServiceFind => Ask::Find {
                name: self.param("name")?,
                door: self.parsed("door")?,
                known: self.parsed("known")?,
            },
            Op::IndividualMemberOf | Op::GroupMemberOf => Ask::MemberOf {
                name: self.param("name")?,
                list: self.list(self.parameter("list").unwrap_or("members"))?,
                depth: match self.parameter("depth") {
                    None | Some("nested") => Depth::Nested,
                    Some("direct") => Depth::Direct,
                    Some(_) => return Err(Problem::invalid("depth: direct or nested")),
                },
                after: self.after(),
                limit: self.limit()?,
            },
            Op::Number => Ask::EntryOfNumber {
                registry: self.param("registry")?,
                number: self.param("number")?,
            },
            Op::Conflicts => Ask::Conflicts {
                registry: self.param("registry")?,
                after: self.after(),
                limit: self.limit()?,
            },
            Op::ConflictDelete | Op::ConflictRename => Ask::Aside {
                name: self.param("name")?,
                incarnation: incarnation(&self.param::<String>("incarnation")?)
                    .map_err(|why| Problem::invalid(format!("incarnation: {why}")))?,
                change: match self.operation.op {
                    Op::ConflictRename => AsideChange::Rename(self.json::<bodies::NewName>()?.name),
                    _ => AsideChange::Delete,
                },
            },
            Op::Dangling => Ask::Dangling {
                registry: self.param("registry")?,
                after: self.after(),
                limit: self.limit()?,
            },
            Op::DanglingRemove => Ask::DanglingRemove {
                registry: self.param("registry")?,
                after: self.after(),
                limit: self.limit()?,
            },
            Op::Compare => {
                let bodies::Empty {} = self.json()?;
                Ask::Compare {
                    registry: self.param("registry")?,
                }
            }
            Op::Import => {
                let entries: Vec<bodies::Imported> = self.json()?;
                Ask::Import {
                    registry: self.param("registry")?,
                    entries: entries.into_iter().map(ImportedEntry::from).collect(),
                }
            }
            Op::Retire => {
                let bodies::Empty {} = self.json()?;
                Ask::Retire {
                    server: self.param("server")?,
                }
            }
            Op::Login => Ask::TicketCreate {
                life_ms: self.json::<bodies::Login>()?.life_ms,
            },
            Op::Servers => Ask::Servers,
            Op::Status => Ask::Status,
            Op::Trace => Ask::Trace {
                message: self.param("message")?,
            },
            Op::Queue => Ask::Queue(QueueAsk::List {
                message: self.parsed("message")?,
                after: self.after(),
                limit: self.limit()?,
            }),
            Op::QueueChangeAll => Ask::Queue(QueueAsk::Change {
                message: None,
                change: self.json::<bodies::QueueChanged>()?.change,
            }),
            Op::QueueChange => Ask::Queue(QueueAsk::Change {
                message: Some(self.param("message")?),
                change: self.json::<bodies::QueueChanged>()?.change,
            }),
            Op::DeadLetters => Ask::Queue(QueueAsk::DeadLetters {
                after: self.after(),
                limit: self.limit()?,
            }),
            Op::DeadLetterResubmit => Ask::Queue(QueueAsk::DeadLetter {
                message: self.param("message")?,
                change: DeadLetterChange::Resubmit {
                    to: self.json::<bodies::Resubmit>()?.to,
                },
            }),
            Op::DeadLetterDrop => Ask::Queue(QueueAsk::DeadLetter {
                message: self.param("message")?,
                change: DeadLetterChange::Drop,
            }),
            Op::Replay => {
                let replay: bodies::Replay = self.json()?;
                if replay.message.is_none() && replay.since_ms.is_none() && replay.of.is_none() {
                    return Err(Problem::invalid("which? give message, since_ms or of"));
                }
                Ask::Queue(QueueAsk::Replay {
                    message: replay.message,
                    since_ms: replay.since_ms.unwrap_or_default(),
                    of: replay.of,
                    to: replay.to,
                    after: replay.after,
                })
            }
            Op::Destinations => Ask::Queue(QueueAsk::Destinations),
            Op::Unplug => Ask::Queue(QueueAsk::Unplug {
                server: self.param("server")?,
            }),
            Op::Inbox => Ask::InboxList {
                name: self.param("name")?,
            },
            Op::InboxDelete => Ask::InboxDelete {
                name: self.param("name")?,
                messages: vec![self.param("message")?],
            },
            Op::Document
            | Op::RegistryWatch
            | Op::IndividualWatch
            | Op::GroupWatch
            | Op::InboxRead
            | Op::Submit => {
                return Err(Refusal::new(ErrorKind::Internal, "this is no single question").into());
            }
        })
    }
}

/// The registry that a change is written to.
pub(super) fn written_to(ask: &Ask) -> Option<RegistryName> {
    match ask {
        Ask::IndividualCreate { name, .. }
        | Ask::GroupCreate { name, .. }
        | Ask::Delete { name }
        | Ask::Change { name, .. }
        | Ask::Aside { name, .. } => Some(name.registry().clone()),
        Ask::Import { registry, .. } | Ask::DanglingRemove { registry, .. } => {
            Some(registry.clone())
        }
        Ask::RegistryCreate { .. }
        | Ask::RegistryDelete { .. }
        | Ask::RegistryPolicy { .. }
        | Ask::HolderAdd { .. }
        | Ask::HolderRemove { .. }
        | Ask::Retire { .. } => Some(RegistryName::gv()),
        _ => None,
    }
}
