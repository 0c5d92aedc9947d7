//! The words this crate shares with the core. The only place that names where they come from.

pub use grapevine_core::{Damaged, Op, Row, Table, Tables};
pub use grapevine_model::MessageId;
