//! A registry as it is read at the start: its cells in order of their keys, and the indexes over them built at once.
//!
//! What comes out must be what merging the same cells one by one makes. Rows that come sorted fill their nodes whole, where rows
//! put in one after another leave them half empty: it is a matter of time and memory, and of nothing else.

use grapevine_model::{Cell, CellKey, Field, RegistryName};

use crate::registry::database::{Database, counts};
use crate::registry::listed_in::Row;
use crate::replication::digest::{digest_of, place_of};

/// A registry that is being read.
#[derive(Debug)]
pub(crate) struct Filling {
    database: Database,
    cells: Vec<(CellKey, Cell)>,
    rows: Vec<Row>,
    /// The item that is being read.
    item: u128,
    lives: bool,
    /// Places and digests of those of its cells that are compared if it lives.
    compared: Vec<(u64, u64)>,
}

impl Filling {
    pub(crate) fn new(registry: RegistryName) -> Self {
        Self {
            database: Database::new(registry),
            cells: Vec::new(),
            rows: Vec::new(),
            item: 0,
            // The registry's own fields always do.
            lives: true,
            compared: Vec::new(),
        }
    }

    /// Takes in a cell: each once, in order of their keys.
    pub(crate) fn take(&mut self, key: CellKey, cell: Cell) {
        if key.item != self.item {
            self.end_item();
            self.item = key.item;
            self.lives = false;
        }
        if key.field == Field::Identity.number() && key.item != 0 {
            self.lives = cell.value.is_some();
        }
        if counts(&cell, true) {
            self.compared.push((place_of(&key), digest_of(&key, &cell)));
        }
        if let Some(listed) = self.database.index_all_but_whom(&key, &cell) {
            self.rows.push(self.database.listed_in.row(&key, &listed));
        }
        self.cells.push((key, cell));
    }

    fn end_item(&mut self) {
        for (place, digest) in self.compared.drain(..) {
            if self.lives {
                self.database.leaves.put_digest(place, digest);
            }
        }
    }

    /// All are in.
    pub(crate) fn filled(mut self) -> Database {
        self.end_item();
        self.database.listed_in.fill(self.rows);
        self.database.cells = self.cells.into_iter().collect();
        self.database
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use grapevine_model::{EntryKind, Hlc, Incarnation, OriginId, Stamp};
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{self, Identity, Listed};
    use crate::registry::listed_in::Whom;
    use crate::replication::digest::Leaves;

    fn stamp(time: u64) -> Stamp {
        Stamp {
            time: Hlc(time),
            origin: OriginId(1),
        }
    }

    /// A cell of some kind, of one of few items, dead or alive.
    fn cell() -> impl Strategy<Value = (CellKey, Cell)> {
        let fields = prop::sample::select(vec![
            Field::Identity,
            Field::Remark,
            Field::Member,
            Field::Owner,
            Field::Alias,
            Field::ConnectSite,
        ]);
        (0u128..5, fields, 0u8..4, 1u64..50, any::<bool>()).prop_map(
            |(item, field, element, time, lives)| {
                let stamp = stamp(time);
                let spelling = format!("m{element}@pa");
                let (element, value) = match field {
                    Field::Identity => {
                        let identity = Identity {
                            kind: EntryKind::Group,
                            simple: format!("n{}", item % 3),
                            created: stamp,
                            named: stamp,
                        };
                        (Vec::new(), codec::encode(&identity))
                    }
                    Field::Member | Field::Owner => {
                        let listed = Listed {
                            incarnation: (element > 0).then_some(Incarnation(7)),
                            group: element == 3,
                            spelling: spelling.clone(),
                        };
                        (spelling.into_bytes(), codec::encode(&listed))
                    }
                    Field::Remark => (Vec::new(), vec![element]),
                    _ => (vec![b'a' + element], vec![element]),
                };
                let key = CellKey {
                    item,
                    field: field.number(),
                    element,
                };
                let cell = Cell {
                    stamp,
                    dot: stamp,
                    value: lives.then_some(value),
                };
                (key, cell)
            },
        )
    }

    /// The digests of its leaves, counted anew: those that are kept must be the same.
    fn counted(database: &Database) -> BTreeMap<u32, u64> {
        let mut leaves = Leaves::default();
        for (key, cell) in database.cells_after(None, None) {
            if counts(cell, database.lives(key.item)) {
                leaves.put(key, cell);
            }
        }
        assert_eq!(leaves.all(), database.leaves.all());
        leaves.all()
    }

    fn said(database: &Database) -> impl PartialEq + std::fmt::Debug + use<> {
        let entries: Vec<(Incarnation, u64, Vec<String>)> = (0..5)
            .filter_map(|item| database.entry(Incarnation(item)))
            .map(|entry| {
                let nested = entry.nested(grapevine_model::GroupList::Members);
                (
                    entry.incarnation,
                    entry.member_count(),
                    nested.cloned().collect(),
                )
            })
            .collect();
        let lists = |whom| {
            let lists = database.lists(whom);
            let mut lists: Vec<_> = lists.map(|(e, field)| (e.incarnation, field)).collect();
            lists.sort();
            lists
        };
        (
            (database.digest(), database.compared(), database.living()),
            (database.leaves.all(), counted(database)),
            database.cells.clone(),
            database.listed_in.len(),
            entries,
            lists(Whom::entry(Incarnation(7))),
            lists(Whom::key(b"m0@pa")),
        )
    }

    proptest! {
        #[test]
        fn what_is_filled_is_what_is_merged_cell_by_cell(
            cells in prop::collection::vec(cell(), 0..60),
            others in prop::collection::vec(cell(), 0..20),
        ) {
            let registry: RegistryName = "pa".parse().unwrap();
            let cells: BTreeMap<CellKey, Cell> = cells.into_iter().collect();
            let mut merged = Database::new(registry.clone());
            for (key, cell) in cells.iter().rev() {
                merged.merge(key, cell);
            }
            // What comes and goes again leaves nothing, whatever dies and lives with it.
            for (key, cell) in &others {
                if !cells.contains_key(key) {
                    merged.merge(key, cell);
                    counted(&merged);
                }
            }
            for key in others.iter().map(|(key, _)| key).filter(|key| !cells.contains_key(*key)) {
                merged.forget(key);
                counted(&merged);
            }
            let mut filling = Filling::new(registry);
            for (key, cell) in cells {
                filling.take(key, cell);
            }
            prop_assert_eq!(said(&filling.filled()), said(&merged));
        }
    }
}
