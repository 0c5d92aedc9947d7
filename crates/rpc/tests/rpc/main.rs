//! The border as its callers see it: what goes out comes in as the same, what is broken is an
//! error, and only recorded keys are servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

mod arbitrary;
mod frames;
mod fuzz;
mod handshakes;
mod round_trips;
mod tickets;
