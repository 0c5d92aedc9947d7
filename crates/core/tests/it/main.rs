//! The core by itself: a few servers joined by a network that never fails, to see each rule work.
//! Faults are the simulator's business.

mod access;
mod delivery;
mod harness;
mod lists;
mod registries;
