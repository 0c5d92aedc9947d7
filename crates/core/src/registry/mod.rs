//! The registration service: names, entries, who may do what.

pub(crate) mod access;
pub(crate) mod change;
pub(crate) mod closure;
pub(crate) mod connect;
mod dangling;
pub(crate) mod database;
pub(crate) mod directory;
mod import;
mod listed_in;
mod listing;
pub(crate) mod locate;
pub(crate) mod lockout;
pub(crate) mod login;
mod maildrop;
mod memberships;
pub(crate) mod news;
mod numbers;
pub(crate) mod policy;
mod posting;
mod rename;
pub(crate) mod request;
mod retire;
pub(crate) mod servers;
mod show;
mod staleness;
pub(crate) mod watch;
pub(crate) mod zones;
