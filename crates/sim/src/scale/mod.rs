//! The scale model: the same cores with many servers and names, and what their work costs, counted.
//!
//! Without faults by default, so that what is counted is the work itself. Octets and messages are exact and the same for the same
//! seed; processor time and memory are those of the machine that it runs on, and nothing depends on them.

mod day;
mod measure;
mod model;
mod plot;
mod resources;
mod table;

pub use day::{Day, DaySettings, day};
pub use measure::{Costs, Faults, Phase, Work, measure};
pub use model::{Ends, Model, Size};
pub use plot::{Line, plot};
pub use table::{day_table, markdown};
