//! The HTTP doors: `http` (probes, and the API on loopback) and `https` (the API).
//!
//! Nothing is decided here: each operation becomes one request to the core, the same that a caller by
//! RPC makes, and its answer becomes JSON.

mod api;
mod asks;
mod autoconfig;
mod bodies;
mod conditions;
mod credentials;
mod door;
mod events;
mod openapi;
mod operations;
mod probes;
mod problem;
mod render;
mod submission;
mod unsubscribe;

pub(crate) use api::Api;
pub(crate) use autoconfig::router as autoconfig;
pub(crate) use conditions::Turns;
pub(crate) use door::{HttpLimits, serve};
pub(crate) use probes::Probes;
