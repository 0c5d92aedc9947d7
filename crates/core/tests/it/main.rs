//! The core by itself: a few servers joined by a network that never fails, to see each rule work.
//! Faults are the simulator's business.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that it did not expect"
)]

mod access;
mod asking;
mod bad_mail;
mod catch_all;
mod catching_up;
mod classes;
mod closure;
mod compare;
mod delays;
mod delivery;
mod filters;
mod fuzz;
mod handing;
mod harness;
mod import;
mod inboxes;
mod keys;
mod leaving;
mod list_scale;
mod listing;
mod lists;
mod lockout;
mod logins;
mod mailbox_limits;
mod mailbox_opening;
mod mailboxes;
mod matrix;
mod matrix_samples;
mod meant;
mod memberships;
mod moderation;
mod moved;
mod names;
mod news;
mod old_mail;
mod others;
mod posting;
mod queue;
mod quotas;
mod reap_model;
mod regained;
mod registries;
mod reports;
mod retained;
mod scram;
mod services;
mod suspension;
mod watch;
