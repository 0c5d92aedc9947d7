//! DNS (RFC 1034, 1035): registries as zones, answered with authority and nothing else.
//!
//! A query is bytes in, an answer is bytes out, from a snapshot: nobody is asked. No recursion, no
//! transfer of a zone, and no answer that is much longer than it must be.

mod query;
mod record;
mod respond;
mod zone;

pub use query::MAX_QUERY_BYTES;
pub use respond::{MAX_UDP_ANSWER_BYTES, Over, respond};
pub use zone::{ServedZone, Zones};
