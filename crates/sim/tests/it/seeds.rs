//! The gate's seeds: whole clusters under faults, none of which may violate anything.

use grapevine_sim::{Verbosity, run};

/// About twenty seconds as the gate builds it.
const SEEDS: std::ops::Range<u64> = 0..60;

#[test]
fn no_seed_of_the_gate_violates_an_invariant() {
    let (mut accepted, mut written) = (0, 0);
    for seed in SEEDS {
        let report = run(seed, None, Verbosity::Silent);
        assert!(
            report.violations.is_empty(),
            "cargo run -p grapevine-sim -- --seed {seed} --verbose: {:?}",
            report.violations
        );
        accepted += report.accepted;
        written += report.written;
    }
    // A simulation in which nothing happens would violate nothing.
    assert!(
        accepted > 2_000 && written > 1_000,
        "{accepted} messages, {written} writes"
    );
}
