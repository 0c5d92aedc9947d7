//! The cluster under test: promises as named scenarios, many seeds without a violation, planted
//! mistakes that must be found, and the same seed giving the same trace.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod bench;
mod compare;
mod determinism;
mod every_step;
mod holders;
mod mail;
mod names;
mod outside;
mod planted;
mod reaping;
mod recreated;
mod replay;
mod scale;
mod seeds;
mod servers;
mod watching;
