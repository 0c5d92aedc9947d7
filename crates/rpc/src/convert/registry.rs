//! What clients have seen, as of when they are answered, and what is decided about a registry's
//! copies.

use grapevine_model::{
    AlonePolicy, AsOf, Check, MAX_CHECKS, MAX_SEEN, Name, PolicyChange, RegistryName,
    RegistryPolicy, ScramPolicy, Seen, StalePolicy,
};

use super::storage::over_quota;
use super::{Wire, all, all_parsed, chosen, enumerated, name, need, registry, server, texts};
use crate::v1;
use crate::wire::WireError;

impl From<&Seen> for v1::Seen {
    fn from(seen: &Seen) -> Self {
        Self {
            registry: seen.registry.to_string(),
            stamp: Some((&seen.stamp).into()),
        }
    }
}

impl TryFrom<v1::Seen> for Seen {
    type Error = WireError;

    fn try_from(seen: v1::Seen) -> Wire<Self> {
        Ok(Self {
            registry: registry(&seen.registry)?,
            stamp: need(seen.stamp, "a stamp")?.into(),
        })
    }
}

pub(super) fn encode_seen(seen: &[Seen]) -> Vec<v1::Seen> {
    seen.iter().map(Into::into).collect()
}

pub(super) fn decode_seen(seen: Vec<v1::Seen>) -> Wire<Vec<Seen>> {
    if seen.len() > MAX_SEEN {
        return Err(WireError::invalid(format!(
            "at most {MAX_SEEN} tokens go with a request"
        )));
    }
    all(seen)
}

impl From<&AsOf> for v1::AsOf {
    fn from(as_of: &AsOf) -> Self {
        Self {
            server: as_of.server.to_string(),
            at_ms: as_of.at_ms,
            cut_off_since_ms: as_of.cut_off_since_ms,
            unheard: texts(&as_of.unheard),
        }
    }
}

impl TryFrom<v1::AsOf> for AsOf {
    type Error = WireError;

    fn try_from(as_of: v1::AsOf) -> Wire<Self> {
        Ok(Self {
            server: server(&as_of.server)?,
            at_ms: as_of.at_ms,
            cut_off_since_ms: as_of.cut_off_since_ms,
            unheard: all_parsed(&as_of.unheard)?,
        })
    }
}

pub(super) fn decode_as_of(as_of: Option<v1::AsOf>) -> Wire<Option<AsOf>> {
    as_of.map(TryInto::try_into).transpose()
}

pub(super) fn encode_checks(checks: &[Option<Check>]) -> v1::Checks {
    let answer = |check: &Option<Check>| match check {
        None => v1::CheckAnswer::Unspecified,
        Some(Check::Yes) => v1::CheckAnswer::Yes,
        Some(Check::No) => v1::CheckAnswer::No,
    };
    v1::Checks {
        answers: checks.iter().map(|check| answer(check).into()).collect(),
    }
}

pub(super) fn decode_checks(checks: v1::Checks) -> Wire<Vec<Option<Check>>> {
    if checks.answers.len() > MAX_CHECKS {
        return Err(WireError::invalid("more answers than were asked for"));
    }
    let answers = checks.answers.into_iter().map(|answer| {
        Ok(match enumerated(answer, "answer to a check")? {
            v1::CheckAnswer::Unspecified => None,
            v1::CheckAnswer::Yes => Some(Check::Yes),
            v1::CheckAnswer::No => Some(Check::No),
        })
    });
    answers.collect()
}

/// The names of a question for many.
pub(super) fn asked_for(who: &[String]) -> Wire<Vec<Name>> {
    if who.len() > MAX_CHECKS {
        return Err(WireError::invalid(format!(
            "at most {MAX_CHECKS} names in one question"
        )));
    }
    who.iter().map(|who| name(who)).collect()
}

fn alone(number: i32) -> Wire<AlonePolicy> {
    Ok(match enumerated(number, "policy for one copy")? {
        v1::AlonePolicy::Unspecified => AlonePolicy::Default,
        v1::AlonePolicy::Accept => AlonePolicy::Accept,
        v1::AlonePolicy::Refuse => AlonePolicy::Refuse,
    })
}

impl From<AlonePolicy> for v1::AlonePolicy {
    fn from(policy: AlonePolicy) -> Self {
        match policy {
            AlonePolicy::Default => Self::Unspecified,
            AlonePolicy::Accept => Self::Accept,
            AlonePolicy::Refuse => Self::Refuse,
        }
    }
}

fn scram(number: i32) -> Wire<ScramPolicy> {
    Ok(match enumerated(number, "policy for SCRAM")? {
        v1::ScramPolicy::Unspecified => ScramPolicy::Off,
        v1::ScramPolicy::On => ScramPolicy::On,
    })
}

impl From<ScramPolicy> for v1::ScramPolicy {
    fn from(policy: ScramPolicy) -> Self {
        match policy {
            ScramPolicy::Off => Self::Unspecified,
            ScramPolicy::On => Self::On,
        }
    }
}

impl From<StalePolicy> for v1::StalePolicy {
    fn from(policy: StalePolicy) -> Self {
        use v1::stale_policy::Policy as Wired;
        Self {
            policy: Some(match policy {
                StalePolicy::Answer => Wired::Answer(v1::Nothing {}),
                StalePolicy::AnswerForMs(ms) => Wired::AnswerForMs(ms),
                StalePolicy::Refuse => Wired::Refuse(v1::Nothing {}),
            }),
        }
    }
}

impl TryFrom<v1::StalePolicy> for StalePolicy {
    type Error = WireError;

    fn try_from(policy: v1::StalePolicy) -> Wire<Self> {
        use v1::stale_policy::Policy as Wired;
        Ok(match chosen(policy.policy, "policy for stale answers")? {
            Wired::Answer(_) => Self::Answer,
            Wired::AnswerForMs(ms) => Self::AnswerForMs(ms),
            Wired::Refuse(_) => Self::Refuse,
        })
    }
}

fn catch_all(to: Option<&Name>) -> v1::CatchAll {
    v1::CatchAll {
        name: to.map(Name::to_string).unwrap_or_default(),
    }
}

fn read_catch_all(to: &v1::CatchAll) -> Wire<Option<Name>> {
    (!to.name.is_empty()).then(|| name(&to.name)).transpose()
}

pub(super) fn encode_policy_change(
    registry: &RegistryName,
    change: &PolicyChange,
) -> v1::PolicyChange {
    use v1::policy_change::Change as Wired;
    v1::PolicyChange {
        registry: registry.to_string(),
        change: Some(match change {
            PolicyChange::Alone(policy) => Wired::Alone(v1::AlonePolicy::from(*policy).into()),
            PolicyChange::Stale(policy) => Wired::Stale((*policy).into()),
            PolicyChange::Scram(policy) => Wired::Scram(v1::ScramPolicy::from(*policy).into()),
            PolicyChange::Quota(quota) => Wired::Quota(quota.into()),
            PolicyChange::OverQuota(policy) => {
                Wired::OverQuota(v1::OverQuotaPolicy::from(*policy).into())
            }
            PolicyChange::CatchAll(to) => Wired::CatchAll(catch_all(to.as_ref())),
            PolicyChange::Offer(server) => Wired::Offer(server.to_string()),
            PolicyChange::Withdraw(server) => Wired::Withdraw(server.to_string()),
        }),
    }
}

pub(super) fn decode_policy_change(change: v1::PolicyChange) -> Wire<(RegistryName, PolicyChange)> {
    use v1::policy_change::Change as Wired;
    let wanted = match chosen(change.change, "change of a policy")? {
        Wired::Alone(policy) => PolicyChange::Alone(alone(policy)?),
        Wired::Stale(policy) => PolicyChange::Stale(policy.try_into()?),
        Wired::Scram(policy) => PolicyChange::Scram(scram(policy)?),
        Wired::Quota(quota) => PolicyChange::Quota(quota.into()),
        Wired::OverQuota(policy) => PolicyChange::OverQuota(over_quota(policy)?),
        Wired::CatchAll(to) => PolicyChange::CatchAll(read_catch_all(&to)?),
        Wired::Offer(which) => PolicyChange::Offer(server(&which)?),
        Wired::Withdraw(which) => PolicyChange::Withdraw(server(&which)?),
    };
    Ok((registry(&change.registry)?, wanted))
}

impl From<&RegistryPolicy> for v1::RegistryPolicy {
    fn from(policy: &RegistryPolicy) -> Self {
        Self {
            alone: v1::AlonePolicy::from(policy.alone).into(),
            stale: Some(policy.stale.into()),
            offered: texts(&policy.offered),
            scram: v1::ScramPolicy::from(policy.scram).into(),
            quota: Some((&policy.quota).into()),
            over_quota: v1::OverQuotaPolicy::from(policy.over_quota).into(),
            catch_all: policy.catch_all.as_ref().map(|to| catch_all(Some(to))),
        }
    }
}

impl TryFrom<v1::RegistryPolicy> for RegistryPolicy {
    type Error = WireError;

    fn try_from(policy: v1::RegistryPolicy) -> Wire<Self> {
        Ok(Self {
            alone: alone(policy.alone)?,
            scram: scram(policy.scram)?,
            quota: policy.quota.map(Into::into).unwrap_or_default(),
            over_quota: over_quota(policy.over_quota)?,
            catch_all: match &policy.catch_all {
                Some(to) => read_catch_all(to)?,
                None => None,
            },
            stale: policy
                .stale
                .map(TryInto::try_into)
                .transpose()?
                .unwrap_or_default(),
            offered: all_parsed(&policy.offered)?,
        })
    }
}
