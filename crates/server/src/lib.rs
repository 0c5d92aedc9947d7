//! The shell around the core, and the program `grapevine`.
//!
//! Everything that touches the world is here: listeners, tasks, TLS, peers, HTTP, configuration,
//! metrics, the command line. It decides nothing that the core decides.
#![allow(dead_code, reason = "while the shell is being put together")]

mod body_source;
mod clock;
mod core_loop;
mod core_task;
mod password;
mod peers;
mod report;
mod reports;
