//! The registration service: names, entries, who may do what.

pub(crate) mod access;
pub(crate) mod change;
pub(crate) mod closure;
pub(crate) mod database;
pub(crate) mod directory;
mod import;
mod listing;
pub(crate) mod news;
mod numbers;
pub(crate) mod policy;
pub(crate) mod request;
mod retire;
pub(crate) mod servers;
mod staleness;
pub(crate) mod watch;
