//! GrapevineUser against servers that die, answer late, say "not now", or lie: nothing is lost,
//! nothing is done twice, and no stranger is trusted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

mod changes;
mod fake;
mod finding;
mod messages;
mod operator;
mod outbox;
