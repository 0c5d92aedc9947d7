//! A service is found where it lives and nowhere else: an instance whose lease has ended is given by
//! nobody, a renewal holds, and a place that never changes is missing from no answer that is whole.
//!
//! A lease is measured with wall clocks. Wherever two of them differ, its end is known to that
//! difference only; nothing is said here of an instant that lies within it.

use std::collections::BTreeSet;

use grapevine_model::{FoundSite, Located, Name, OriginId, Place, Reply};

use crate::event::Outcome;
use crate::invariants::unknown_is_never_empty;
use crate::oracle::WriteFate;

/// What it is called.
pub const NAME: &str = "a lease ends for all, and a renewal holds";

/// A registration may be carried out so long after its client was answered, or has given it up:
/// a server that was slow, and was asked before the one that answered.
const LATE_US: u64 = 8_000_000;
/// A lease that will last no longer than this when the answer comes may have ended.
const MARGIN_US: u64 = 1_000_000;

/// One attempt to say where an instance is.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Where; none takes all places back. No place is given back and then taken again.
    pub place: Option<Place>,
    /// For how long.
    pub lease_us: u64,
    /// When it was asked for.
    pub asked_us: u64,
    /// When the answer was heard, or given up.
    pub ended_us: Option<u64>,
    /// What became of it.
    pub fate: WriteFate,
}

/// A look at a pool.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    /// What is said of it in a violation.
    pub(crate) question: String,
    /// When it was asked for,
    pub(crate) asked_us: u64,
    /// and answered.
    pub(crate) answered_us: u64,
    /// With what the server that was asked writes.
    pub(crate) origin: Option<OriginId>,
    /// By how much any two clocks have differed.
    pub(crate) spread_us: u64,
    /// The members that never change, and have a place for good.
    pub(crate) lasting: &'a BTreeSet<Name>,
}

/// What is wrong with an answer to a look; `registrations` are those of a member up to now.
pub(crate) fn looked<'a>(
    look: &Look<'_>,
    instances: impl Iterator<Item = (&'a Name, &'a [Registration])>,
    outcome: &Outcome,
) -> Vec<(&'static str, String)> {
    let question = &look.question;
    let located = match outcome {
        Outcome::Done(Reply::Located(located)) => located,
        Outcome::Done(other) => return vec![(NAME, format!("{question}: {other:?}"))],
        Outcome::Refused(refusal) => {
            let asked = format!("{question}: {}", refusal.why);
            let found = unknown_is_never_empty::refused(&asked, refusal.kind);
            return found
                .into_iter()
                .map(|what| (unknown_is_never_empty::NAME, what))
                .collect();
        }
        Outcome::NotSent | Outcome::Unknown => return Vec::new(),
    };
    let mut found = unknown(look, located);
    let mut unclaimed: Vec<&FoundSite> = located.sites.iter().collect();
    unclaimed.retain(|site| !look.lasting.contains(&site.name));
    for (name, registrations) in instances {
        let (own, others) = unclaimed.into_iter().partition(|site| site.name == *name);
        unclaimed = others;
        found.extend(dead(look, &own, registrations));
        if !located.partial {
            found.extend(missing(look, name, &own, registrations));
        }
    }
    let strangers = unclaimed.into_iter();
    found.extend(strangers.map(|site| (NAME, format!("{question}: no member has {site:?}"))));
    found
}

/// What never changes is in every answer that is whole, and no answer that isn't is empty.
fn unknown(look: &Look<'_>, located: &Located) -> Vec<(&'static str, String)> {
    let question = &look.question;
    let mut found = Vec::new();
    if located.partial {
        if located.sites.is_empty() {
            found.push(format!("{question}: unknown is given as an empty list"));
        }
    } else {
        let is_there = |name: &&Name| located.sites.iter().any(|site| site.name == **name);
        let missing = look.lasting.iter().filter(|name| !is_there(name));
        found.extend(missing.map(|name| format!("{question}: {name} is missing: {located:?}")));
    }
    let named = |what| (unknown_is_never_empty::NAME, what);
    found.into_iter().map(named).collect()
}

/// Every place that is found was said, with a lease that may still last.
fn dead(
    look: &Look<'_>,
    own: &[&FoundSite],
    registrations: &[Registration],
) -> Vec<(&'static str, String)> {
    let may_last = |site: &FoundSite| {
        registrations.iter().any(|registration| {
            let ended_us = registration.ended_us.unwrap_or(look.answered_us);
            let until_us = ended_us + LATE_US + registration.lease_us + look.spread_us;
            registration.place.as_ref() == Some(&site.offer.place)
                && registration.fate != WriteFate::Refused
                && look.asked_us < until_us
        })
    };
    own.iter()
        .filter(|site| !may_last(site))
        .map(|site| {
            let what = format!("{}: {site:?} is over: {registrations:?}", look.question);
            (NAME, what)
        })
        .collect()
}

/// The last registration is found where it was written, as long as it surely lasts.
fn missing(
    look: &Look<'_>,
    name: &Name,
    own: &[&FoundSite],
    registrations: &[Registration],
) -> Option<(&'static str, String)> {
    let done = |registration: &&Registration| registration.fate != WriteFate::Refused;
    let last = registrations.iter().rfind(done)?;
    let (place, WriteFate::Done { stamp, at_us, .. }) = (last.place.as_ref()?, last.fate) else {
        return None;
    };
    let until_us = last.asked_us + last.lease_us;
    let surely = at_us < look.asked_us
        && Some(stamp.origin) == look.origin
        && look.answered_us + look.spread_us + MARGIN_US < until_us;
    // What was asked for before it, and is or may be carried out after it.
    let is_rival = |registration: &Registration| match registration.fate {
        WriteFate::Done { stamp: other, .. } => other > stamp,
        WriteFate::Unknown | WriteFate::Nothing => {
            let ended_us = registration.ended_us.unwrap_or(look.answered_us);
            ended_us + LATE_US + look.spread_us >= last.asked_us
        }
        WriteFate::Refused => false,
    };
    let rival = registrations.iter().any(is_rival);
    let is_there = own.iter().any(|site| site.offer.place == *place);
    (surely && !rival && !is_there).then(|| {
        let question = &look.question;
        (
            NAME,
            format!("{question}: {name} was registered there and is not found: {own:?}, {last:?}"),
        )
    })
}
