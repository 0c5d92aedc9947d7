//! P5 and P8: who has no right gets a refusal, whatever it asks, and a refusal changes nothing.
//! (What a refused write would have written is looked for by `updates_survive`.)

use grapevine_model::Reply;

use crate::event::Outcome;
use crate::view::FinalView;

/// What it is called.
pub const NAME: &str = "a denied operation has no effect";

/// Somebody without any right has asked for something.
pub(crate) fn answered(what: &str, outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Done(Reply::Written(written)) if written.stamp.is_none() => None,
        Outcome::Done(reply) => Some(format!("mallory may {what}: {reply:?}")),
        Outcome::Refused(_) | Outcome::NotSent | Outcome::Unknown => None,
    }
}

/// In the end.
pub(crate) fn at_end(view: &FinalView) -> Vec<String> {
    view.traces_of_mallory
        .iter()
        .map(|trace| format!("mallory has had an effect: {trace}"))
        .collect()
}
