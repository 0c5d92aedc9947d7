//! Which registry a name means: one that was deleted and created again is another one.
//!
//! Guards P4, P5 and checklist 11: the entries of a registry belong to one incarnation of it, which
//! is that of its entry in `gv`. What servers say to each other of a registry names the incarnation,
//! and nothing is taken from somebody who means another one. A copy of one that is no more is
//! dropped; a copy of one that lives, but has not got the name, is kept apart (see `shelf`).

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Answer, ErrorKind, Incarnation, PeerMessage, Refusal, RegistryName, ServerName, SpaceId, Stamp,
};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::registry::nature::about;
use crate::replication::shelf::Shelved;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// `Meta` key prefix of what a registry's copy here is of.
const META_REGISTRY: &[u8] = b"registry/";

/// What is known of a name's copy here, as stored. A row stays when one of that name was deleted:
/// some octets for each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Copied {
    /// Of which incarnation the copy is; none when there is no copy.
    of: Option<Incarnation>,
    /// There was another one before. Then nothing is taken from older releases, which can't say
    /// which one they mean.
    again: bool,
}

/// Which incarnation is which.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    copies: BTreeMap<RegistryName, Copied>,
    /// What each name means, as `gv` says, and since when.
    named: BTreeMap<RegistryName, (Incarnation, Stamp)>,
    /// Copies of registries that live but have not got their name.
    pub(super) shelf: BTreeMap<Incarnation, Shelved>,
}

/// A registry that can be deleted.
fn mortal(space: &SpaceId) -> Option<&RegistryName> {
    match space {
        SpaceId::Registry(registry) if !registry.is_system() => Some(registry),
        SpaceId::Registry(_) | SpaceId::Mailbox(_) => None,
    }
}

/// The registries that a message is about.
fn registries_of(message: &PeerMessage) -> Vec<&RegistryName> {
    match message {
        PeerMessage::Pushes(pushes) => {
            let spaces = pushes.iter().map(|push| &push.space);
            spaces.filter_map(mortal).collect()
        }
        PeerMessage::Vectors(vectors) | PeerMessage::Haves(vectors) => {
            let spaces = vectors.iter().map(|(space, _)| space);
            spaces.filter_map(mortal).collect()
        }
        PeerMessage::Pull { space, .. }
        | PeerMessage::Push { space, .. }
        | PeerMessage::Page { space, .. }
        | PeerMessage::Have { space, .. }
        | PeerMessage::Compare { space, .. }
        | PeerMessage::Refresh { space, .. }
        | PeerMessage::Fetch { space, .. }
        | PeerMessage::Copy { space, .. } => mortal(space).into_iter().collect(),
        PeerMessage::Ask { question, .. } => {
            let registry = Some(question.registry());
            registry.filter(|r| !r.is_system()).into_iter().collect()
        }
        PeerMessage::Forward { request, .. } => {
            let registry = about(request);
            registry.filter(|r| !r.is_system()).into_iter().collect()
        }
        PeerMessage::Beat(_)
        | PeerMessage::About { .. }
        | PeerMessage::Need { .. }
        | PeerMessage::Body { .. }
        | PeerMessage::Custody(_)
        | PeerMessage::CustodyHeld { .. }
        | PeerMessage::CustodyEnded { .. }
        | PeerMessage::CustodyAsk { .. }
        | PeerMessage::CustodyHold { .. }
        | PeerMessage::CustodyLeft { .. }
        | PeerMessage::DelayTold { .. }
        | PeerMessage::OutsideAsk { .. }
        | PeerMessage::OutsideDone { .. }
        | PeerMessage::Deposit { .. }
        | PeerMessage::Deposited { .. }
        | PeerMessage::Hand(_)
        | PeerMessage::Handed { .. }
        | PeerMessage::Answered { .. }
        | PeerMessage::Logins(_)
        | PeerMessage::Forwarded { .. } => Vec::new(),
    }
}

impl Server {
    // What is said.

    /// The incarnation that this server means by a name: that of its copy, else the one in `gv`.
    fn meant(&self, registry: &RegistryName) -> Option<Incarnation> {
        let copy = self.lives.copies.get(registry).and_then(|copy| copy.of);
        let space = SpaceId::Registry(registry.clone());
        if self.spaces.contains_key(&space) {
            return copy;
        }
        copy.or_else(|| self.lives.named.get(registry).map(|(named, _)| *named))
    }

    /// A message with what its registries are to this server.
    pub(crate) fn with_lives(&self, message: PeerMessage) -> PeerMessage {
        let lives: BTreeMap<RegistryName, Incarnation> = registries_of(&message)
            .into_iter()
            .filter_map(|registry| Some((registry.clone(), self.meant(registry)?)))
            .collect();
        if lives.is_empty() {
            return message;
        }
        PeerMessage::About {
            lives: lives.into_iter().collect(),
            message: Box::new(message),
        }
    }

    /// What of a message may be taken: nothing about a registry that is another one here. Questions
    /// and requests are answered "unavailable", the rest comes again when both mean the same.
    pub(crate) fn admit_message(
        &mut self,
        from: &ServerName,
        message: PeerMessage,
    ) -> Option<PeerMessage> {
        let (said, message) = match message {
            PeerMessage::About { lives, message } => (lives, *message),
            message => (Vec::new(), message),
        };
        let said: BTreeMap<RegistryName, Incarnation> = said.into_iter().collect();
        let same = |server: &Self, registry: &RegistryName| {
            server.planted_old_lives || server.means(registry, said.get(registry))
        };
        if registries_of(&message)
            .into_iter()
            .all(|registry| same(self, registry))
        {
            return Some(message);
        }
        match message {
            PeerMessage::Vectors(mut vectors) => {
                vectors.retain(|(space, _)| mortal(space).is_none_or(|r| same(self, r)));
                Some(PeerMessage::Vectors(vectors))
            }
            PeerMessage::Haves(mut haves) => {
                haves.retain(|(space, _)| mortal(space).is_none_or(|r| same(self, r)));
                Some(PeerMessage::Haves(haves))
            }
            PeerMessage::Pushes(mut pushes) => {
                pushes.retain(|push| mortal(&push.space).is_none_or(|r| same(self, r)));
                Some(PeerMessage::Pushes(pushes))
            }
            PeerMessage::Ask { id, .. } => {
                let answer = Answer::Unavailable;
                self.send(from, PeerMessage::Answered { id, answer });
                None
            }
            PeerMessage::Forward { id, .. } => {
                let why = "the registry was created anew, which not all servers know yet; try again later";
                let (result, as_of) = (Err(Refusal::unavailable(why)), None);
                self.send(from, PeerMessage::Forwarded { id, result, as_of });
                None
            }
            _ => None,
        }
    }

    /// Whether somebody means the registry that is meant here.
    fn means(&self, registry: &RegistryName, said: Option<&Incarnation>) -> bool {
        match (self.meant(registry), said) {
            (Some(meant), Some(said)) => meant == *said,
            // An older release, which knows one of that name only.
            (Some(_), None) => !self.lives.copies.get(registry).is_some_and(|c| c.again),
            // A copy of which it is not known yet what it is of.
            (None, _) => !self
                .spaces
                .contains_key(&SpaceId::Registry(registry.clone())),
        }
    }

    /// Whether a write is older than the registry that has the name now, so that it was made to
    /// another one: nobody has to wait for it.
    pub(crate) fn is_of_an_earlier(&self, registry: &RegistryName, stamp: Stamp) -> bool {
        let named = self.lives.named.get(registry);
        // Who writes to a registry has heard of its creation: his stamps exceed that.
        named.is_some_and(|(_, created)| stamp.time <= created.time)
    }

    // What is kept.

    /// Reads what the copies here are of.
    pub(crate) fn load_lives(&mut self) -> Result<(), Damaged> {
        let until = codec::after_prefix(META_REGISTRY);
        for (key, value) in self.all_rows(Table::Meta, META_REGISTRY, &until)? {
            let name = key.get(META_REGISTRY.len()..).unwrap_or_default();
            let name = std::str::from_utf8(name)
                .ok()
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| Damaged("a registry's key can't be read".into()))?;
            self.lives.copies.insert(name, codec::decode(&value)?);
        }
        self.load_shelf()
    }

    fn set_copy(&mut self, registry: &RegistryName, copy: Copied) {
        if self.lives.copies.get(registry) == Some(&copy) {
            return;
        }
        let key = [META_REGISTRY, registry.as_str().as_bytes()].concat();
        if copy == Copied::default() {
            self.ledger.delete(Table::Meta, key);
            self.lives.copies.remove(registry);
        } else {
            self.ledger.put(Table::Meta, key, codec::encode(&copy));
            self.lives.copies.insert(registry.clone(), copy);
        }
    }

    /// The copy of a registry here is this one's.
    pub(super) fn copy_is_of(&mut self, registry: &RegistryName, of: Incarnation) {
        let again = self.lives.copies.get(registry).is_some_and(|c| c.again);
        let of = Some(of);
        self.set_copy(registry, Copied { of, again });
    }

    /// There is no copy of a registry here any more.
    pub(crate) fn copy_is_gone(&mut self, registry: &RegistryName) {
        let Some(copy) = self.lives.copies.get(registry).cloned() else {
            return;
        };
        let lives = copy.of.is_some_and(|of| self.registry_lives(of));
        let again = copy.again || !lives;
        self.set_copy(registry, Copied { of: None, again });
    }

    /// Whether an entry of `gv` lives, whatever it is called.
    pub(super) fn registry_lives(&self, incarnation: Incarnation) -> bool {
        self.database(&RegistryName::gv())
            .is_some_and(|gv| gv.entry(incarnation).is_some())
    }

    /// `gv` says what the names of registries mean now. Copies of others go. Says whether anything
    /// changed.
    pub(crate) fn follow_lives(
        &mut self,
        named: BTreeMap<RegistryName, (Incarnation, Stamp)>,
    ) -> Result<bool, Damaged> {
        let changed = named != self.lives.named;
        self.lives.named = named;
        let copied = self.databases.keys().filter(|r| !r.is_system());
        let copied: Vec<RegistryName> = copied.cloned().collect();
        let mut gone = BTreeSet::new();
        for registry in copied {
            let named = self.lives.named.get(&registry).map(|(named, _)| *named);
            let of = self.lives.copies.get(&registry).and_then(|copy| copy.of);
            match (of, named) {
                (Some(of), Some(named)) if of == named => {}
                (Some(of), named) => {
                    if self.registry_lives(of) {
                        self.shelve(&registry, of)?;
                    } else if named.is_some() {
                        self.note_info(
                            format!("{registry} was deleted and created again: the old one goes"),
                            None,
                        );
                        self.drop_space(&SpaceId::Registry(registry.clone()))?;
                    } else {
                        // Deleted: it goes with the next sweep.
                        continue;
                    }
                    gone.insert(registry);
                }
                // Of an older release, or just let in.
                (None, Some(named)) => self.copy_is_of(&registry, named),
                (None, None) => {}
            }
        }
        for registry in gone {
            let copy = Copied {
                of: None,
                again: true,
            };
            self.set_copy(&registry, copy);
        }
        self.empty_shelf()?;
        Ok(changed)
    }

    /// The name of a registry that has it now.
    pub(super) fn name_of_registry(&self, incarnation: Incarnation) -> Option<RegistryName> {
        let named = self.lives.named.iter();
        named
            .filter(|(_, (named, _))| *named == incarnation)
            .map(|(name, _)| name.clone())
            .next()
    }

    /// A copy was begun: of what `gv` says now.
    pub(crate) fn copy_begins(&mut self, registry: &RegistryName) {
        let named = self.lives.named.get(registry).map(|(named, _)| *named);
        if let Some(named) = named.filter(|_| !registry.is_system()) {
            self.copy_is_of(registry, named);
        }
    }

    /// Those who wait for a second copy of what has gone hear that nobody knows what came of it.
    pub(crate) fn nothing_left_of(&mut self, space: &SpaceId) {
        if let Some(registry) = mortal(space) {
            let why = format!(
                "{registry} was deleted here while the change was under way: ask before trying again"
            );
            self.end_waiters(space, &Refusal::new(ErrorKind::Unknown, why));
            self.copy_is_gone(registry);
        }
        self.pushes.forget(space);
        self.quarantine.forget(space);
        self.origins.forget(space);
        self.compare_dropped(space);
    }
}
