//! One mechanism, two users: cells of registries and of mailboxes, pushed at
//! once, compared once a second, fetched by version vector.

pub(crate) mod anti_entropy;
pub(crate) mod push;
pub(crate) mod space;
pub(crate) mod stranded;
pub(crate) mod waiters;
