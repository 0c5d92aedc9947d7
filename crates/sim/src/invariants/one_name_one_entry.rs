//! P4: of several creations of one name one stands, the same at every server, and the others answer
//! nothing; what was written of two entries never mixes, whatever they are called.

use std::collections::BTreeSet;

use grapevine_model::EntryView;

use crate::view::FinalView;

/// What it is called.
pub const NAME: &str = "one name is one entry, and two entries never mix";

/// In the end.
pub(crate) fn at_end(view: &FinalView) -> Vec<String> {
    let mut found = Vec::new();
    for (name, answers) in &view.twins {
        let said: BTreeSet<_> = answers
            .iter()
            .map(|(_, view)| view.as_ref().map(|view| view.incarnation))
            .collect();
        if said.len() > 1 {
            found.push(format!("{name} is not one entry: {answers:?}"));
        }
        for (node, shown) in answers {
            found.extend(
                shown
                    .as_ref()
                    .and_then(mixed)
                    .map(|what| format!("{name} at node {node}: {what}")),
            );
        }
    }
    found
}

/// What an entry has of another one: all of it was given the same mark when it was created. What is
/// not there at all may have been lost with a disk, and is no mixture.
fn mixed(view: &EntryView) -> Option<String> {
    let owner = format!("{}@{}", view.remark, view.name.registry());
    let owners: Vec<String> = view.owners.iter().map(ToString::to_string).collect();
    if view.conflict {
        return Some("it stands aside, and answers".to_owned());
    }
    let lost = owners.is_empty() || view.remark.is_empty();
    (!lost && owners != [owner]).then(|| format!("{} with the owners {owners:?}", view.remark))
}
