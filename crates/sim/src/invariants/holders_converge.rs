//! P4: after contact all holders of a registry are identical: the digests that they report, and
//! every cell on their disks, byte for byte.

use std::collections::BTreeMap;

use crate::view::FinalView;

/// What it is called.
pub const NAME: &str = "holders converge";

/// Rows that differ, shown with the violation.
const MOST_SHOWN: usize = 4;

/// In the end.
pub(crate) fn at_end(view: &FinalView) -> Vec<String> {
    let mut found = Vec::new();
    let mut digests: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (node, status) in &view.statuses {
        for (registry, entries, digest) in &status.registries {
            digests
                .entry(registry.clone())
                .or_default()
                .push((*node, *entries, *digest));
        }
    }
    for (registry, said) in &digests {
        let first = said.first().map(|(_, entries, digest)| (*entries, *digest));
        if said
            .iter()
            .any(|(_, entries, digest)| Some((*entries, *digest)) != first)
        {
            found.push(format!(
                "{registry}: nodes with entries and digests {said:x?}"
            ));
        }
    }
    for (registry, rows) in &view.registry_cells {
        let Some((first, cells)) = rows.first() else {
            continue;
        };
        for (node, others) in rows.iter().skip(1) {
            if cells != others {
                let here = cells.iter().filter(|row| !others.contains(row));
                let there = others.iter().filter(|row| !cells.contains(row));
                let differ: Vec<_> = here.chain(there).collect();
                let shown = differ.iter().take(MOST_SHOWN);
                found.push(format!(
                    "{registry}: nodes {first} and {node} differ in {} rows: {:?}",
                    differ.len(),
                    shown.collect::<Vec<_>>()
                ));
            }
        }
    }
    found
}
