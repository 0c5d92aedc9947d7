//! Backups: a server's tables and bodies in a folder elsewhere, each thing once, by its digest.
//!
//! | name | what |
//! | --- | --- |
//! | `FORMAT` | the version of this layout, written first |
//! | `LOCK` | held by whoever writes |
//! | `objects/ab/` | rows, bodies and files, each under its BLAKE3 digest; what is there is not written again |
//! | `manifests/` | one file for each backup, written last and whole: which objects it is made of |
//!
//! Must never count a backup whose manifest is not there and whole, nor give out an object that has not its digest.

pub(crate) mod mailbox;
pub(crate) mod manifest;
pub(crate) mod prune;
mod rows;
pub(crate) mod source;
pub(crate) mod tables;
pub(crate) mod take;
pub(crate) mod vault;
pub(crate) mod verify;
pub(crate) mod whole;

pub(crate) use source::send;
