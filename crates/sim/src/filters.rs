//! The shell's part in filters, simulated: scripts of a few words, one action a line, and bodies that follow from the message, as the
//! real ones do. Now and then a filter says nothing, as one whose task died.

use grapevine_core::{
    FilterOrder, FilterOut, FilterPlace, Filtered, Input, MissingFolder, OutKind,
};
use grapevine_model::BodyInfo;

use crate::cluster::Cluster;
use crate::event::{Event, NodeIndex};

/// Of so many filters one says nothing.
const SILENT_ONE_IN: u64 = 40;
/// What a filter adds in front of what it sends on.
const GUARD_BYTES: u64 = 50;

impl Cluster {
    pub(crate) fn run_filter(&mut self, node: NodeIndex, order: FilterOrder) {
        if self.nodes[node].disk.body(order.message) != Some(order.body) {
            let what = format!("node {node} has no body for {}", order.message);
            self.violation("what is filtered is there", what);
        }
        let mut filtered = Filtered {
            ticket: order.ticket,
            places: Vec::new(),
            out: Vec::new(),
            rejected: None,
            notes: Vec::new(),
        };
        for (number, line) in (0u32..).zip(order.script.as_str().lines()) {
            match line.split_once(' ') {
                Some(("redirect", to)) => {
                    let Ok(to) = to.parse() else { continue };
                    // The same however often it is made.
                    let mut body = BodyInfo {
                        len: order.body.len + GUARD_BYTES,
                        digest: order.body.digest,
                    };
                    for (octet, mix) in body.digest.iter_mut().zip(number.to_be_bytes()) {
                        *octet ^= mix.wrapping_add(1);
                    }
                    filtered.out.push(FilterOut {
                        number,
                        to,
                        kind: OutKind::Redirect,
                        staged: self.nodes[node].disk.stage(body),
                    });
                }
                Some(("keep", flag)) => filtered.places.push(FilterPlace {
                    flags: flag.parse().into_iter().collect(),
                    ..FilterPlace::inbox()
                }),
                Some(("create", path)) => {
                    let Ok(path) = path.parse() else { continue };
                    filtered.places.push(FilterPlace {
                        path,
                        flags: Vec::new(),
                        if_missing: MissingFolder::Create,
                    });
                }
                _ => {}
            }
        }
        let life = self.nodes[node].life;
        if self.dice.below(SILENT_ONE_IN) == 0 {
            return;
        }
        let at_us = self.now_us() + self.dice.between(200, 20_000);
        let input = Box::new(Input::Filtered(Box::new(filtered)));
        self.queue.plan(at_us, Event::Shell { node, life, input });
    }
}
