//! The real program, as a person or a script runs it: processes, sockets, signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops at the first thing that it did not expect"
)]

mod agent;
mod attacks;
mod attacks_floods;
mod attacks_injection;
mod attacks_logins;
mod attacks_memory;
mod attacks_peers;
mod attacks_smtp;
mod attacks_tls;
mod backup;
mod backup_killed;
mod bad_input;
mod bad_machines;
mod bulk;
mod client;
mod commands;
mod export;
mod garbage;
mod grapevine;
mod holders_move;
mod http;
mod http_administration;
mod http_client;
mod http_docs;
mod http_limits;
mod http_lists;
mod imap;
mod imap_crate;
mod killed;
mod ldap;
mod ldap_crate;
mod limits;
mod list_relay;
mod logins;
mod machines;
mod mail;
mod mail_clients;
mod mail_programs;
mod mail_source;
mod matrix;
mod matrix_doors;
mod migrate;
mod names;
mod network;
mod newer_release;
mod pair;
mod partition;
mod ports;
mod queue;
mod real_mail;
mod relay;
mod relay_sink;
mod reports;
mod rotation;
mod s3;
mod scram;
mod scram_channel;
mod seen;
mod services;
mod sieve;
mod storage;
mod strangers;
mod survivors;
mod torture;
mod up;
mod visible;
mod watch;
mod watch_stream;
mod wire;
