//! The registration service: names, entries, who may do what.

pub(crate) mod access;
pub(crate) mod change;
pub(crate) mod database;
pub(crate) mod directory;
mod import;
mod listing;
mod numbers;
pub(crate) mod request;
mod retire;
pub(crate) mod servers;
