//! The message service: from the yes to the inbox, or to an explanation.

pub(crate) mod accept;
pub(crate) mod awaited;
pub(crate) mod body;
mod catch_all;
pub(crate) mod custody;
pub(crate) mod dead_letters;
pub(crate) mod delay;
pub(crate) mod deputy;
mod destinations;
pub(crate) mod expand;
pub(crate) mod fanout;
mod full;
mod held;
mod list_copy;
mod meant;
pub(crate) mod queue;
pub(crate) mod refill;
pub(crate) mod relay;
mod relay_news;
pub(crate) mod report;
pub(crate) mod retain;
pub(crate) mod routes;
pub(crate) mod steer;
pub(crate) mod suspend;
mod unplug;
pub(crate) mod view;
