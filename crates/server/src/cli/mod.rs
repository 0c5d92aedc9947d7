//! Client commands.

pub(crate) mod cluster_file;
