//! The doors, from outside: transcripts, smuggling, splits and fuzzing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod dns;
mod fuzz;
mod fuzz_parts;
mod imap;
mod imap_client;
mod imap_deflate;
mod ldap;
mod ldap_client;
mod lmtp;
mod managesieve;
mod pop3;
mod pop3_client;
mod scram;
mod script;
mod sieve;
mod smtp;
mod smtp_client;
mod smtp_limits;
mod smtp_out;
mod smuggling;
mod splits;
