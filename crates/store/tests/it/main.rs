//! The store on real files: durability, recovery, damage, full disks, memory.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod archive;
mod bodies;
mod damage;
mod folder;
mod full_disk;
mod group_commit;
mod help;
mod kill;
mod memory;
mod model;
mod power_cut;
