//! What is decided about a registry's copies: fields of `R@gv`, read by every server.
//!
//! Must never apply to `gv` and `ms` themselves: they are how a lost server is struck off.

use grapevine_model::{
    AlonePolicy, EntryKind, Envelope, Field, GroupList, Name, PolicyChange, Refusal, RegistryName,
    RegistryPolicy, ServerName, StalePolicy,
};

use crate::codec;
use crate::config::Alone;
use crate::registry::database::{Entry, element, single};
use crate::registry::scram::scram_policy_of;
use crate::replication::push::Change;
use crate::server::Server;

/// Longest time for which a cut-off holder may answer: about ten years, so that sums do not
/// overflow. Longer is "answer".
const MAX_STALE_MS: u64 = 10 * 365 * 24 * 3_600_000;

impl Server {
    /// A registry's policy, as `gv` here says.
    pub(crate) fn policy(&self, registry: &RegistryName) -> &RegistryPolicy {
        self.policies.get(registry).unwrap_or(&self.no_policy)
    }

    /// Whether a change of a registry may be taken with one copy.
    pub(crate) fn alone_for(&self, registry: &RegistryName) -> Alone {
        match self.policy(registry).alone {
            AlonePolicy::Default => self.config.alone,
            AlonePolicy::Accept => Alone::Accept,
            AlonePolicy::Refuse => Alone::Refuse,
        }
    }

    /// Whether a message from and for these may be taken with one copy: one registry that refuses
    /// suffices; of the others, one that accepts counts more than the configuration.
    pub(crate) fn alone_for_mail<'a>(&self, names: impl Iterator<Item = &'a Name>) -> Alone {
        let mut answer = self.config.alone;
        for name in names {
            match self.policy(name.registry()).alone {
                AlonePolicy::Default => {}
                AlonePolicy::Accept => answer = Alone::Accept,
                AlonePolicy::Refuse => return Alone::Refuse,
            }
        }
        answer
    }

    /// The same for an envelope.
    pub(crate) fn alone_for_envelope(&self, envelope: &Envelope) -> Alone {
        let recipients = envelope.recipients.iter().map(|r| &r.name);
        self.alone_for_mail(envelope.return_path.iter().chain(recipients))
    }

    /// The changes that a change of policy makes.
    pub(super) fn prepare_policy(
        &mut self,
        registry: &RegistryName,
        change: &PolicyChange,
    ) -> Result<Vec<Change>, Refusal> {
        if registry.is_system() {
            return Err(Refusal::not_allowed(format!(
                "{registry} is the system's own: every server holds it and answers for it"
            )));
        }
        let group = self.group_of(registry)?.incarnation;
        let present = self.policy(registry).clone();
        let mut wanted = present.clone();
        let written = match change {
            PolicyChange::Alone(policy) => {
                wanted.alone = *policy;
                Change::put(single(group, Field::Alone), codec::encode(policy))
            }
            PolicyChange::Stale(StalePolicy::AnswerForMs(ms)) if *ms > MAX_STALE_MS => {
                return Err(Refusal::invalid(
                    "a cut-off holder answers for ten years at most; or give `answer`",
                ));
            }
            PolicyChange::Stale(policy) => {
                wanted.stale = *policy;
                Change::put(single(group, Field::Stale), codec::encode(policy))
            }
            PolicyChange::Scram(policy) => {
                wanted.scram = *policy;
                let switch = self.scram_switched(registry, *policy);
                Change::put(single(group, Field::Scram), switch)
            }
            PolicyChange::Quota(quota) => {
                wanted.quota = *quota;
                Change::put(single(group, Field::RegistryQuota), codec::encode(quota))
            }
            PolicyChange::OverQuota(policy) => {
                wanted.over_quota = *policy;
                Change::put(single(group, Field::OverQuota), codec::encode(policy))
            }
            PolicyChange::CatchAll(to) => {
                if let Some(to) = to {
                    self.may_catch_all(registry, to)?;
                }
                wanted.catch_all.clone_from(to);
                Change::put(single(group, Field::CatchAll), codec::encode(to))
            }
            PolicyChange::Offer(server) => {
                self.server_incarnation(server)?;
                if !wanted.offered.contains(server) {
                    wanted.offered.push(server.clone());
                }
                Change::put(element(group, Field::Offered, server.as_str()), Vec::new())
            }
            PolicyChange::Withdraw(server) => {
                wanted.offered.retain(|offered| offered != server);
                Change::delete(element(group, Field::Offered, server.as_str()))
            }
        };
        Ok(if wanted != present {
            vec![written]
        } else {
            Vec::new()
        })
    }

    /// Whether a registry's registrars may choose this server.
    pub(super) fn is_offered(&self, registry: &RegistryName, server: &ServerName) -> bool {
        let offered = &self.policy(registry).offered;
        offered.is_empty() || offered.contains(server)
    }

    /// The holders of a registry that have fetched it whole, then the others: nobody is asked before
    /// it is ready while somebody else can be.
    pub(crate) fn holders_to_ask(&self, registry: &RegistryName) -> Vec<ServerName> {
        let mut holders = self.holders(registry);
        if let Some(ready) = self.ready.get(registry) {
            holders.sort_by_key(|server| !ready.contains(server));
        }
        holders
    }

    /// Holders that have said that they have fetched it, or began with it.
    pub(crate) fn ready_holders(&self, registry: &RegistryName) -> Vec<ServerName> {
        let mut holders = self.holders(registry);
        if let Some(ready) = self.ready.get(registry) {
            holders.retain(|server| ready.contains(server));
        }
        holders
    }
}

/// The policy that an entry `R@gv` holds.
pub(super) fn policy_of(entry: &Entry<'_>) -> RegistryPolicy {
    fn read<T: serde::de::DeserializeOwned + Default>(entry: &Entry<'_>, field: Field) -> T {
        let value = entry.single(field).and_then(|v| codec::decode(v).ok());
        value.unwrap_or_default()
    }
    RegistryPolicy {
        alone: read(entry, Field::Alone),
        stale: read(entry, Field::Stale),
        scram: scram_policy_of(entry),
        quota: read(entry, Field::RegistryQuota),
        over_quota: read(entry, Field::OverQuota),
        catch_all: read(entry, Field::CatchAll),
        offered: servers_in(entry, Field::Offered),
    }
}

/// The servers that are the elements of a field.
pub(super) fn servers_in(entry: &Entry<'_>, field: Field) -> Vec<ServerName> {
    entry
        .list(field, None)
        .filter_map(|(server, _)| std::str::from_utf8(server).ok()?.parse().ok())
        .collect()
}

/// Whether a change of a list would choose holders by the back door: they are chosen by
/// `HolderAdd`, which looks at what is offered and copies the data first.
pub(super) fn chooses_holders(name: &Name, kind: EntryKind, list: GroupList) -> bool {
    name.registry().as_str() == "gv" && kind == EntryKind::Group && list == GroupList::Members
}
