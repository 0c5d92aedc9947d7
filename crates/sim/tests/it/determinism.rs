//! The same seed gives the same trace, in one process and in two.

use std::process::Command;

use grapevine_sim::{Verbosity, run};

const SEEDS: [u64; 3] = [3, 5, 11];

#[test]
fn the_same_seed_gives_the_same_trace_in_one_process() {
    for seed in SEEDS {
        let first = run(seed, None, Verbosity::Silent);
        assert_eq!(first, run(seed, None, Verbosity::Silent));
        assert_ne!(
            first.trace_hash,
            run(seed + 1, None, Verbosity::Silent).trace_hash
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_in_two_processes() {
    let play = |seed: u64| {
        let output = Command::new(env!("CARGO_BIN_EXE_grapevine-sim"))
            .args(["--seed", &seed.to_string()])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .find(|line| line.contains("trace"))
            .unwrap()
            .to_owned()
    };
    for seed in SEEDS {
        let here = run(seed, None, Verbosity::Silent);
        let line = play(seed);
        assert_eq!(line, play(seed));
        assert!(
            line.ends_with(&format!("{:016x}", here.trace_hash)),
            "{line}"
        );
    }
}
