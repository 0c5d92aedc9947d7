//! Liveness: after everything is healed, all custody ends, all registries are fetched and all
//! servers hear each other, within a stated time; and nothing is left behind.

use crate::cluster::Cluster;
use crate::view::FinalView;

/// What it is called.
pub const NAME: &str = "all custody ends";

/// In the end.
pub(crate) fn at_end(view: &FinalView, cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(waiting) = &view.not_quiet {
        found.push(format!("not at rest in time: {waiting}"));
    }
    for (node, status) in &view.statuses {
        if status.queue.dead_letters > 0 && !view.dead_letters_expected {
            let count = status.queue.dead_letters;
            found.push(format!("node {node} has {count} dead letters"));
        }
        let staged = cluster.nodes()[*node].disk.staged();
        if staged > 0 {
            found.push(format!("node {node} has forgotten {staged} staged bodies"));
        }
    }
    found
}
