//! The shell around the core, and the program `grapevine`.
//!
//! Everything that touches the world is here: listeners, tasks, TLS, peers, HTTP, configuration,
//! metrics, the command line. It decides nothing that the core decides.

mod admin;
mod agent;
mod archive;
mod ask;
mod backup;
mod backup_command;
mod body_source;
mod child;
mod cli;
mod client_calls;
mod clock;
mod commands;
mod config;
mod config_storage;
mod core_loop;
mod core_task;
mod disk_room;
mod dns;
mod doors;
mod filters;
mod folder;
mod front_certificate;
mod held_notice;
mod http;
mod init;
mod intake;
mod join;
mod join_token;
mod keys;
mod logs;
mod mailbox_news;
mod mailbox_watch;
mod new_server;
mod operator;
mod out;
mod password_cache;
mod password_cost;
mod passwords;
mod peer_link;
mod peer_service;
mod peers;
#[cfg(feature = "planted-mistakes")]
mod planted;
mod recent_listings;
mod recent_views;
mod relay;
mod remote_body;
mod report;
mod reports;
mod routes;
mod rpc_service;
mod running;
mod serve;
mod socket;
mod up;
mod watching;

/// Runs the program: everything after `main`.
pub fn run() -> std::process::ExitCode {
    commands::run()
}
