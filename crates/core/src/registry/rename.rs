//! Names that change hands: an entry gets another name, its old one leads to it
//! until somebody else gets that, and of two entries with one name the later
//! creation stands aside until a registrar settles it.
//!
//! The incarnation stays through a rename, and with it mail, mailbox and
//! memberships. An entry that stands aside answers nothing, and its memberships
//! give nothing: nothing is guessed.

use grapevine_model::{
    AsideChange, Conflict, EntryKind, Field, Incarnation, Name, Refusal, RegistryName, Reply,
    Speaker, Stamp,
};

use crate::codec::{self, Identity};
use crate::registry::change::Checked;
use crate::registry::database::{Entry, element, single};
use crate::registry::directory::Memo;
use crate::replication::push::Change;
use crate::server::Server;

/// Former names that lead to one entry at most; each is one cell, kept as long as the entry.
const MOST_FORMER: usize = 32;
/// Most conflicts in one answer.
const MAX_PAGE: usize = 500;

impl Server {
    /// Whoever has a name gives it up as a former one: it is somebody else's from now on, and does
    /// not come back when that one goes.
    pub(crate) fn take_over_name(&self, name: &Name) -> Vec<Change> {
        let Some(database) = self.database(name.registry()) else {
            return Vec::new();
        };
        let had = database.had(name.folded()).into_iter();
        had.map(|who| Change::delete(element(who, Field::FormerName, name.folded())))
            .collect()
    }

    /// Whether the two or more that claim a name have to be settled first: else giving it up
    /// would hand it to one that nobody has chosen.
    pub(crate) fn is_settled(&self, name: &Name) -> Result<(), Refusal> {
        let aside = self
            .database(name.registry())
            .is_some_and(|database| !database.aside(name.folded()).is_empty());
        if aside {
            Err(Refusal::conflict(format!(
                "another entry claims {name} too: settle that first, see `registry conflicts {}`",
                name.registry()
            )))
        } else {
            Ok(())
        }
    }

    /// Gives an entry another name.
    pub(crate) fn prepare_rename(
        &mut self,
        name: &Name,
        to: &Name,
    ) -> Result<Vec<Change>, Refusal> {
        if name.registry().is_system() {
            return Err(Refusal::not_allowed(format!(
                "{} is the system's own: its entries keep their names",
                name.registry()
            )));
        }
        if to.registry() != name.registry() {
            return Err(Refusal::invalid(
                "a name can be changed within its registry only: create a new entry in the other one",
            ));
        }
        let entry = self.entry(name).ok_or_else(|| Refusal::not_found(name))?;
        let (incarnation, identity) = (entry.incarnation, entry.identity.identity());
        if identity.simple == to.simple() {
            return Ok(Vec::new());
        }
        let old = entry.name().ok_or_else(|| Refusal::not_found(name))?;
        let kept = entry.list(Field::FormerName, None).count();
        if kept + 2 > MOST_FORMER {
            return Err(Refusal::new(
                grapevine_model::ErrorKind::TooLarge,
                format!("at most {MOST_FORMER} former names: forget one with `--forget`"),
            ));
        }
        self.is_settled(&old)?;
        self.may_get_name(to, Some(incarnation))?;
        let mut changes = vec![self.named(incarnation, &identity, to)];
        if old.folded() != to.folded() {
            changes.extend(self.take_over_name(to));
            // The new one too: should the same entry be renamed elsewhere at this moment, one of
            // the two names wins, and the other one still leads here.
            let led_here = [&old, to].into_iter();
            for name in led_here.filter(|_| !self.mistakes.rename_forgets) {
                changes.push(Change::put(
                    element(incarnation, Field::FormerName, name.folded()),
                    name.simple().as_bytes().to_vec(),
                ));
            }
            changes.push(Change::delete(element(
                incarnation,
                Field::Alias,
                to.folded(),
            )));
        }
        Ok(changes)
    }

    /// The cell that says how an entry is called.
    fn named(&mut self, incarnation: Incarnation, identity: &Identity, to: &Name) -> Change {
        // It claims the name from now on: somebody who had it before keeps it. Another spelling is
        // no other name.
        let named = match identity.simple.to_lowercase() == to.folded() {
            true => identity.named,
            false => Stamp {
                time: self.tick(identity.named.time),
                origin: self.clock.origin(),
            },
        };
        let identity = Identity {
            simple: to.simple().to_owned(),
            named,
            ..identity.clone()
        };
        Change::put(
            single(incarnation, Field::Identity),
            codec::encode(&identity),
        )
    }

    /// A page of the entries that stand aside, for the registrars.
    pub(crate) fn conflicts(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        registry: &RegistryName,
        (after, limit): (Option<&str>, u32),
    ) -> Checked<Reply> {
        if !self.is_registrar(memo, speaker, registry)? {
            return Ok(Err(not_a_registrar(registry)));
        }
        let Some(database) = self.database(registry) else {
            return Ok(Err(Refusal::not_found(registry.group())));
        };
        let limit = usize::try_from(limit)
            .unwrap_or(MAX_PAGE)
            .clamp(1, MAX_PAGE);
        let mut conflicts = Vec::new();
        let mut next = None;
        // A page ends with a whole name, so it may be longer than was asked for.
        for (name, aside) in database.contested(after.unwrap_or_default()) {
            if conflicts.len() >= limit {
                next = conflicts
                    .last()
                    .map(|last: &Conflict| last.name.folded().to_owned());
                break;
            }
            let holder = database.find_present(name).map(|e| e.incarnation);
            conflicts.extend(aside.iter().filter_map(|entry| conflict(entry, holder?)));
        }
        Ok(Ok(Reply::Conflicts { conflicts, next }))
    }

    /// Whether a registry that stands aside may be called so.
    fn may_be_a_registry(&self, to: &Name, kind: EntryKind) -> Result<(), Refusal> {
        if kind != EntryKind::Group {
            return Err(Refusal::not_allowed(
                "a server keeps its name: delete the entry that stands aside, and let it join again",
            ));
        }
        match to.simple().parse::<RegistryName>() {
            Ok(registry) if !registry.is_system() => {}
            Ok(_) | Err(_) => {
                return Err(Refusal::invalid(format!(
                    "{} is no name of a registry",
                    to.simple()
                )));
            }
        }
        if self.entry(to).is_some() {
            return Err(Refusal::conflict(format!("{to} exists already")));
        }
        Ok(())
    }

    /// Settles a conflict: the entry that stands aside goes, or gets a name of its own.
    pub(crate) fn prepare_aside(
        &mut self,
        memo: &Memo,
        speaker: &Speaker,
        name: &Name,
        incarnation: Incarnation,
        change: &AsideChange,
    ) -> Checked<Vec<Change>> {
        if !self.is_registrar(memo, speaker, name.registry())? {
            return Ok(Err(not_a_registrar(name.registry())));
        }
        let aside = self.database(name.registry()).and_then(|database| {
            let mut aside = database.aside(name.folded()).into_iter();
            aside.find(|entry| entry.incarnation == incarnation)
        });
        let Some(identity) = aside.map(|entry| entry.identity.identity()) else {
            return Ok(Err(Refusal::new(
                grapevine_model::ErrorKind::NotFound,
                format!("no entry {incarnation} stands aside under {name}"),
            )));
        };
        Ok(match change {
            AsideChange::Delete => Ok(deletion(incarnation)),
            AsideChange::Rename(to) if to.registry() != name.registry() => Err(Refusal::invalid(
                "a name can be changed within its registry only",
            )),
            AsideChange::Rename(to) => {
                let may = if name.registry().as_str() == "gv" {
                    self.may_be_a_registry(to, identity.kind)
                } else {
                    self.may_get_name(to, None)
                };
                may.map(|()| {
                    let mut changes = self.take_over_name(to);
                    changes.push(self.named(incarnation, &identity, to));
                    changes
                })
            }
        })
    }
}

/// What ends an entry.
pub(crate) fn deletion(incarnation: Incarnation) -> Vec<Change> {
    vec![
        Change::delete(single(incarnation, Field::Identity)),
        Change::delete(single(incarnation, Field::Password)),
    ]
}

fn conflict(entry: &Entry<'_>, holder: Incarnation) -> Option<Conflict> {
    Some(Conflict {
        name: entry.name()?,
        holder,
        aside: entry.incarnation,
        kind: entry.kind(),
        remark: entry
            .single(Field::Remark)
            .map(|remark| String::from_utf8_lossy(remark).into_owned())
            .unwrap_or_default(),
    })
}

pub(crate) fn not_a_registrar(registry: &RegistryName) -> Refusal {
    Refusal::not_allowed(format!("only a registrar of {registry} may do this"))
}
