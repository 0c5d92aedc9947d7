//! Stamps of one origin rise: what was written later at a server has the greater stamp, whatever
//! its clock did in between.

use grapevine_model::Stamp;

/// What it is called.
pub const NAME: &str = "stamps rise";

/// A write that was asked for at a time has got a stamp; `known` are the greatest stamps of that
/// origin and when they were heard.
pub(crate) fn written(known: &[(u64, Stamp)], asked_us: u64, stamp: Stamp) -> Option<String> {
    let before = known
        .iter()
        .rev()
        .find(|(heard_us, _)| *heard_us < asked_us)?;
    (before.1 >= stamp).then(|| format!("{:?} was followed by {stamp:?}", before.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_model::{Hlc, OriginId};

    #[test]
    fn a_lower_stamp_after_a_higher_one_is_seen() {
        let stamp = |time| Stamp {
            time: Hlc(time),
            origin: OriginId(1),
        };
        assert!(written(&[(10, stamp(5))], 20, stamp(4)).is_some());
        assert!(written(&[(10, stamp(5))], 20, stamp(6)).is_none());
        // Asked for before the other was answered: either order is right.
        assert!(written(&[(10, stamp(5))], 9, stamp(4)).is_none());
    }
}
