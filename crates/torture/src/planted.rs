//! Mistakes that real servers make on purpose, to show that a run sees them: which there are, and which run finds each.
//!
//! A program makes one only if it was built with the feature `planted-mistakes` of `grapevine-server`, which no release has.

/// A mistake, and the shortest run that is known to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planted {
    /// What it is called.
    pub name: &'static str,
    /// What is done wrong.
    pub wrong: &'static str,
    /// What the oracle says.
    pub found_by: &'static str,
    /// A seed whose faults bring it out.
    pub seed: u64,
    /// Rounds are begun for so long, if nothing is found before.
    pub minutes: u32,
}

/// All that runs are known to find.
pub const ALL: [Planted; 8] = [
    Planted {
        name: "accept-before-deputy",
        wrong: "a message is said to be on two disks before the second one has it",
        found_by: "a recipient lacks what was accepted, when its only machine is lost",
        seed: 9,
        minutes: 5,
    },
    Planted {
        name: "reply-before-durable",
        wrong: "the store answers before it syncs: the last moments are gone after a kill",
        found_by: "a recipient lacks what was accepted, a group what was added, after a blackout",
        seed: 3,
        minutes: 5,
    },
    Planted {
        name: "dedup-forgotten",
        wrong: "a deposit does not look whether the message is there",
        found_by: "a message is there twice, or again after it was deleted",
        seed: 209,
        minutes: 5,
    },
    Planted {
        name: "flags-dropped",
        wrong: "a flag is acknowledged, and the other site throws it away",
        found_by: "a mail lacks a keyword at one of its sites",
        seed: 209,
        minutes: 5,
    },
    Planted {
        name: "closure-kept",
        wrong: "who was a member is remembered, and let in after he was removed",
        found_by: "a question by HTTP, with what was seen, is answered by what was",
        seed: 209,
        minutes: 5,
    },
    Planted {
        name: "checkpoint-early",
        wrong: "how far a list was read is saved, and not the page that was read",
        found_by: "a member of a list lacks what was accepted for the list",
        seed: 19,
        minutes: 5,
    },
    Planted {
        name: "no-access-check",
        wrong: "nobody asks whether he may who changes a group or a password",
        found_by: "a change that must be denied is made",
        seed: 209,
        minutes: 5,
    },
    Planted {
        name: "one-copy-is-enough",
        wrong: "custody ends with the first copy in a mailbox",
        found_by: "a site lacks what was accepted, when a machine is lost",
        seed: 19,
        minutes: 5,
    },
];

/// The one of this name.
pub fn named(name: &str) -> Option<Planted> {
    ALL.into_iter().find(|planted| planted.name == name)
}

/// All of them, for a person.
pub fn list() -> String {
    let lines = ALL.iter().map(|planted| {
        format!(
            "{:<22}{}\n{:<22}found: {}\n",
            planted.name, planted.wrong, "", planted.found_by
        )
    });
    lines.collect()
}
