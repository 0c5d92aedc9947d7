//! GrapevineUser: finds the servers, fails over, loses nothing and doubles nothing.

mod body;
pub mod import;
mod transform;

pub use body::BodySource;
pub use transform::{LineEnds, Quoting, Transform};
