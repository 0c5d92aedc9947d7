//! One mechanism, two users: cells of registries and of mailboxes, pushed at
//! once, compared once a second, fetched by version vector.

pub(crate) mod answerer;
pub(crate) mod anti_entropy;
pub(crate) mod asker;
pub(crate) mod compare;
pub(crate) mod digest;
pub(crate) mod incarnation;
pub(crate) mod origin;
pub(crate) mod push;
pub(crate) mod quarantine;
pub(crate) mod reap;
pub(crate) mod refresh;
pub(crate) mod refresh_end;
pub(crate) mod scrub;
pub(crate) mod seen;
pub(crate) mod shelf;
pub(crate) mod space;
pub(crate) mod stranded;
pub(crate) mod tombstone_index;
pub(crate) mod waiters;
