//! What a list says of itself in its members' copies, and the token that a member leaves by.
//!
//! A token is bound to the member's incarnation and the group's, and proved by a secret that the
//! holders of the group's registry share: it needs no login, serves nobody else, opens nothing else, and
//! is worth nothing for whoever has the name later.

use grapevine_model::{
    CellKey, Door, Field, Incarnation, ListCopy, Name, Refusal, RegistryName, SpaceId,
    UNSUBSCRIBE_PROOF_BYTES, Unsubscribe,
};

use crate::registry::database::{Entry, element};
use crate::replication::push::Change;
use crate::server::Server;
use crate::tables::Damaged;

/// Secrets of one registry that are tried: two holders may each have made one while they were apart.
const MOST_KEYS: usize = 8;
/// Where the secrets stand: with the registry itself.
const OF_REGISTRY: Incarnation = Incarnation(0);

type Key = [u8; 32];
type Proof = [u8; UNSUBSCRIBE_PROOF_BYTES];

/// What the copies of one list have in common.
pub(crate) struct ListStamp {
    list: Name,
    group: Incarnation,
    https: Option<String>,
    key: Option<Key>,
}

impl ListStamp {
    /// What a copy says, of a member or of whom his mail is forwarded to.
    pub(crate) fn copy(&self, member: Option<Incarnation>) -> ListCopy {
        let unsubscribe = self
            .key
            .as_ref()
            .zip(member)
            .map(|(key, member)| Unsubscribe {
                group: self.group,
                member,
                proof: proof(key, self.group, member),
            });
        ListCopy {
            list: self.list.clone(),
            https: self.https.clone(),
            unsubscribe,
        }
    }
}

impl Server {
    /// The secrets of a registry, in an order that all its holders share.
    fn list_keys(&self, registry: &RegistryName) -> Vec<Key> {
        let Some(database) = self.database(registry) else {
            return Vec::new();
        };
        let first = CellKey {
            item: OF_REGISTRY.0,
            field: Field::ListKey.number(),
            element: Vec::new(),
        };
        let cells = database.cells_after(Some(OF_REGISTRY), Some(&first));
        cells
            .take_while(|(key, _)| key.field == Field::ListKey.number())
            .filter_map(|(_, cell)| cell.value.as_deref()?.try_into().ok())
            .take(MOST_KEYS)
            .collect()
    }

    /// Makes sure that a registry has a secret, before the first copy that needs one.
    pub(crate) fn have_list_key(&mut self, registry: &RegistryName) -> Result<(), Damaged> {
        if self.database(registry).is_none() || !self.list_keys(registry).is_empty() {
            return Ok(());
        }
        let mut key: Key = [0; 32];
        let (first, second) = key.split_at_mut(16);
        first.copy_from_slice(&self.random_u128().to_be_bytes());
        second.copy_from_slice(&self.random_u128().to_be_bytes());
        let number = self.random_u128().to_be_bytes();
        let change = Change::put(element(OF_REGISTRY, Field::ListKey, number), key.to_vec());
        let space = SpaceId::Registry(registry.clone());
        self.write(&space, vec![change])?;
        self.space_changed(&space);
        Ok(())
    }

    /// What copies of a list are marked with.
    pub(crate) fn list_stamp(&self, list: &Name, group: Incarnation) -> ListStamp {
        ListStamp {
            list: list.clone(),
            group,
            https: self.config.info.doors.get(&Door::Https).cloned(),
            // Only holders of the list's registry have it.
            key: self.list_keys(list.registry()).first().copied(),
        }
    }

    /// What takes a member out of a group, if the token is a true one.
    pub(crate) fn unsubscribe_changes(
        &self,
        entry: &Entry<'_>,
        registry: &RegistryName,
        token: &Unsubscribe,
    ) -> Result<Vec<Change>, Refusal> {
        let keys = self.list_keys(registry);
        let proved = keys
            .iter()
            .any(|key| is_equal(&proof(key, token.group, token.member), &token.proof));
        if token.group != entry.incarnation || !proved {
            return Err(Refusal::not_allowed(
                "this is no token of this list: log in, or write to its owners",
            ));
        }
        let list = grapevine_model::GroupList::Members;
        let mut left = entry.times_listed(list, token.member);
        let mut changes = Vec::new();
        // Rare enough to look the list through: who leaves is one in thousands.
        for (member, listed) in entry.members(list, None) {
            if left == 0 {
                break;
            }
            if listed.incarnation == Some(token.member) {
                left -= 1;
                let key = element(entry.incarnation, Field::Member, member.key());
                changes.push(Change::delete(key));
            }
        }
        Ok(changes)
    }
}

fn proof(key: &Key, group: Incarnation, member: Incarnation) -> Proof {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(b"grapevine unsubscribe 1");
    hasher.update(&group.0.to_be_bytes());
    hasher.update(&member.0.to_be_bytes());
    let mut proof = [0; UNSUBSCRIBE_PROOF_BYTES];
    hasher.finalize_xof().fill(&mut proof);
    proof
}

/// In the same time whatever differs.
fn is_equal(one: &Proof, other: &Proof) -> bool {
    let differs = one
        .iter()
        .zip(other)
        .fold(0, |differs, (a, b)| differs | (a ^ b));
    differs == 0
}
