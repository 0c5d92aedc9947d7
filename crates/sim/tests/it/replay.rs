//! Whoever finds a violation is told the one command that shows it again.

use std::process::{Command, Output};

fn play(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_grapevine-sim");
    Command::new(program).args(arguments).output().unwrap()
}

fn violations(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let of_seed = |line: &&str| line.starts_with("seed ") && line.contains(" s: ");
    text.lines().filter(of_seed).map(str::to_owned).collect()
}

#[test]
fn the_command_that_is_told_finds_the_same_again() {
    let found = play(&["--seeds", "0..5", "--planted", "dedup-forgotten"]);
    assert_eq!(found.status.code(), Some(1));
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    let told = text
        .lines()
        .find_map(|line| line.strip_prefix("repeat: cargo run -p grapevine-sim -- "));
    let again: Vec<&str> = told.unwrap().split(' ').collect();
    let again = play(&again);
    assert_eq!(again.status.code(), Some(1));
    assert!(!violations(&found).is_empty());
    assert_eq!(violations(&again), violations(&found));
}
