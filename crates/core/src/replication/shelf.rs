//! Copies kept apart: of registries that live but have not got their name.
//!
//! Guards P4, and that nothing acknowledged is lost without anybody deciding so. When a registry was
//! created on two sides of a partition, the earlier creation keeps the name; entries of the two
//! never mix. Every holder of the later one puts its copy on the shelf: it answers nothing, takes
//! nothing, and waits for an owner of `gv@gv`. Renamed, it is there again under its new name; deleted, it
//! is dropped.

use grapevine_model::{Cell, Incarnation, RegistryName, SpaceId, VersionVector};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::replication::incarnation::Lives;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// `Meta` key prefix of what is on the shelf; its cells are in `Cells`, under the incarnation.
const META_SHELF: &[u8] = b"shelf/";

/// A copy on the shelf, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shelved {
    /// What it was called.
    registry: RegistryName,
    vector: VersionVector,
    floor: VersionVector,
    ready: bool,
}

fn shelf_key(incarnation: Incarnation) -> Vec<u8> {
    [META_SHELF, &incarnation.0.to_be_bytes()].concat()
}

impl Lives {
    /// Whether nothing is kept apart.
    fn shelf_is_empty(&self) -> bool {
        self.shelf.is_empty()
    }
}

impl Server {
    pub(super) fn load_shelf(&mut self) -> Result<(), Damaged> {
        let until = codec::after_prefix(META_SHELF);
        for (key, value) in self.all_rows(Table::Meta, META_SHELF, &until)? {
            let bits = key.get(META_SHELF.len()..).unwrap_or_default();
            let bits: [u8; 16] = bits
                .try_into()
                .map_err(|_| Damaged("the key of a copy kept apart".into()))?;
            let incarnation = Incarnation(u128::from_be_bytes(bits));
            self.lives.shelf.insert(incarnation, codec::decode(&value)?);
        }
        Ok(())
    }

    /// Puts the copy of a registry aside, as it is on disk.
    pub(super) fn shelve(
        &mut self,
        registry: &RegistryName,
        of: Incarnation,
    ) -> Result<(), Damaged> {
        let space = SpaceId::Registry(registry.clone());
        let prefix = codec::space_prefix(&space);
        let floor = match self.ledger.get(Table::Floors, &prefix)? {
            Some(floor) => codec::decode(&floor)?,
            None => VersionVector::default(),
        };
        let Some(state) = self.spaces.get(&space) else {
            return Ok(());
        };
        let shelved = Shelved {
            registry: registry.clone(),
            vector: state.row.vector.clone(),
            floor,
            ready: state.row.ready,
        };
        let rows = self.all_rows(Table::Cells, &prefix, &codec::after_prefix(&prefix))?;
        let count = rows.len();
        for (key, value) in rows {
            let mut place = codec::shelf_prefix(of);
            place.extend_from_slice(key.get(prefix.len()..).unwrap_or_default());
            self.ledger.put(Table::Cells, place, value);
        }
        self.ledger
            .put(Table::Meta, shelf_key(of), codec::encode(&shelved));
        self.lives.shelf.insert(of, shelved);
        self.drop_space(&space)?;
        if count > 0 {
            self.alarm(format!(
                "another registry called {registry} was created earlier, on the other side of a partition: the {count} cells of the later one are kept apart, and answer nothing, until an owner of gv@gv renames or deletes it: see `registry conflicts gv`"
            ));
        }
        Ok(())
    }

    /// Takes from the shelf what has a name again, and throws away what was deleted.
    pub(super) fn empty_shelf(&mut self) -> Result<(), Damaged> {
        if self.lives.shelf_is_empty() {
            return Ok(());
        }
        let shelved: Vec<(Incarnation, Shelved)> = self
            .lives
            .shelf
            .iter()
            .map(|(incarnation, shelved)| (*incarnation, shelved.clone()))
            .collect();
        for (incarnation, shelved) in shelved {
            match self.name_of_registry(incarnation) {
                Some(name) => {
                    let taken = self.spaces.contains_key(&SpaceId::Registry(name.clone()));
                    if !taken {
                        self.unshelve(incarnation, shelved, &name)?;
                    }
                }
                None if self.registry_lives(incarnation) => {}
                None => {
                    self.note_info(
                        format!(
                            "the later {}, which was kept apart, was deleted",
                            shelved.registry
                        ),
                        None,
                    );
                    self.clear_shelf(incarnation)?;
                }
            }
        }
        Ok(())
    }

    /// The copy is in service again.
    fn unshelve(
        &mut self,
        of: Incarnation,
        shelved: Shelved,
        name: &RegistryName,
    ) -> Result<(), Damaged> {
        let space = SpaceId::Registry(name.clone());
        self.open_space(&space, false);
        self.copy_is_of(name, of);
        let prefix = codec::shelf_prefix(of);
        for (key, value) in self.all_rows(Table::Cells, &prefix, &codec::after_prefix(&prefix))? {
            let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
            match codec::decode::<Cell>(&value) {
                Ok(cell) => {
                    if let Some(database) = self.databases.get_mut(name) {
                        database.merge(&key, &cell);
                    }
                    self.put_cell(&space, &key, &cell);
                }
                Err(_) => {
                    self.ledger
                        .put(Table::Cells, codec::cell_key(&space, &key), value);
                    if let Some(state) = self.spaces.get_mut(&space) {
                        state.damaged.insert(key);
                    }
                }
            }
        }
        if let Some(state) = self.spaces.get_mut(&space) {
            state.row.vector = shelved.vector;
            state.row.ready = shelved.ready && state.damaged.is_empty();
            state.floor = shelved.floor;
        }
        self.save_floor(&space);
        self.save_space(&space);
        self.clear_shelf(of)?;
        self.space_changed(&space);
        self.watches.touch_all(name);
        self.note_info(
            format!(
                "{}, which was kept apart, is there again as {name}",
                shelved.registry
            ),
            None,
        );
        Ok(())
    }

    fn clear_shelf(&mut self, of: Incarnation) -> Result<(), Damaged> {
        let prefix = codec::shelf_prefix(of);
        for (key, _) in self.all_rows(Table::Cells, &prefix, &codec::after_prefix(&prefix))? {
            self.ledger.delete(Table::Cells, key);
        }
        self.ledger.delete(Table::Meta, shelf_key(of));
        self.lives.shelf.remove(&of);
        Ok(())
    }
}
