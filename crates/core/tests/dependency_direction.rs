//! Which crate may know which: the layout of ARCHITECTURE.md as a test.
//!
//! Guards the one idea that carries the design: what decides cannot name a socket, a clock, a
//! disk or a random source, because its crate cannot reach one. It asks cargo, not the source
//! text, so a dependency that sneaks in through another crate is seen as well. (The standard
//! library's own doors to the world are shut by the `clippy.toml` of each pure crate.)

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that asks cargo, and stops at the first thing that it did not expect"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Who may depend on whom, among our own.
const ALLOWED: &[(&str, &[&str])] = &[
    ("grapevine-model", &[]),
    ("grapevine-core", &["grapevine-model"]),
    ("grapevine-doors", &["grapevine-model"]),
    ("grapevine-rpc", &["grapevine-model"]),
    ("grapevine-store", &["grapevine-model", "grapevine-core"]),
    // Measures any server: it knows none of ours.
    ("grapevine-load", &[]),
    // Real servers are processes to it: it knows what their clients know.
    ("grapevine-torture", &["grapevine-model", "grapevine-user"]),
    (
        "grapevine-user",
        &["grapevine-model", "grapevine-rpc", "grapevine-doors"],
    ),
    (
        "grapevine-sim",
        &[
            "grapevine-model",
            "grapevine-core",
            "grapevine-store",
            "grapevine-user",
            // The scale model counts the octets of the wire.
            "grapevine-rpc",
        ],
    ),
    (
        "grapevine-server",
        &[
            "grapevine-model",
            "grapevine-core",
            "grapevine-store",
            "grapevine-doors",
            "grapevine-rpc",
            "grapevine-user",
        ],
    ),
];

/// The crates that decide and never act.
const PURE: &[&str] = &["grapevine-model", "grapevine-core", "grapevine-doors"];

/// Crates that reach the world, or carry one that does.
const WORLDLY: &[&str] = &[
    // Runtimes and readiness.
    "tokio",
    "tokio-util",
    "tokio-stream",
    "async-std",
    "async-io",
    "async-executor",
    "smol",
    "mio",
    "polling",
    "socket2",
    "io-uring",
    // Protocols with sockets of their own.
    "hyper",
    "hyper-util",
    "tonic",
    "axum",
    "tower-http",
    "reqwest",
    "ureq",
    "lettre",
    "mail-send",
    "hickory-resolver",
    "hickory-server",
    "rustls",
    "tokio-rustls",
    "native-tls",
    "openssl",
    "quinn",
    // Disks.
    "fjall",
    "lsm-tree",
    "redb",
    "rocksdb",
    "heed",
    "rusqlite",
    "sled",
    "object_store",
    "memmap2",
    "fs4",
    "tempfile",
    "walkdir",
    // Chance and clocks.
    "getrandom",
    "uuid",
    "chrono",
    "time",
    "jiff",
    "quanta",
    "web-time",
    // The operating system.
    "nix",
    "rustix",
    "libc",
    "signal-hook",
    "signal-hook-registry",
    "num_cpus",
    // Threads that nobody scheduled.
    "rayon",
    "rayon-core",
    "crossbeam-channel",
    // Where logs go is the shell's affair.
    "tracing-subscriber",
    "metrics-exporter-prometheus",
];

#[test]
fn no_crate_depends_against_the_direction() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let declared = declared_dependencies();
    assert_eq!(
        declared
            .keys()
            .map(String::as_str)
            .collect::<BTreeSet<&str>>(),
        allowed.keys().copied().collect::<BTreeSet<&str>>(),
        "a crate is missing in the table above, or stands in it and is gone"
    );
    for (name, dependencies) in &declared {
        let may = allowed.get(name.as_str()).expect("compared above");
        for dependency in dependencies {
            assert!(
                may.contains(&dependency.as_str()),
                "{name} must not depend on {dependency}: see ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn the_crates_that_decide_cannot_reach_the_world() {
    for name in PURE {
        let closure = normal_closure(name);
        assert!(
            closure.contains(*name),
            "cargo tree did not list {name} itself, so this test would see nothing: {closure:?}"
        );
        let reached: Vec<&str> = WORLDLY
            .iter()
            .copied()
            .filter(|worldly| closure.contains(*worldly))
            .collect();
        assert!(
            reached.is_empty(),
            "{name} reaches {reached:?}; find the way with `cargo tree -p {name} -e normal -i {}`",
            reached.first().unwrap_or(&"")
        );
    }
}

#[test]
fn a_crate_that_does_reach_the_world_is_seen() {
    let closure = normal_closure("grapevine-server");
    for worldly in ["tokio", "mio", "rustls", "libc"] {
        assert!(
            closure.contains(worldly),
            "the server uses {worldly}, and this test would not have seen it"
        );
    }
}

/// The workspace's crates, each with those of our own that it names outside its tests.
fn declared_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let text = cargo(&["metadata", "--no-deps", "--locked", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo metadata prints JSON");
    let packages = array(&metadata, "packages");
    packages
        .iter()
        .map(|package| {
            let ours = array(package, "dependencies")
                .iter()
                // What a test needs is not what the crate needs.
                .filter(|dependency| string(dependency, "kind") != Some("dev"))
                .filter_map(|dependency| string(dependency, "name"))
                .filter(|name| name.starts_with("grapevine-"))
                .map(str::to_owned)
                .collect();
            let name = string(package, "name").expect("a package has a name");
            (name.to_owned(), ours)
        })
        .collect()
}

/// Everything that `name` links, itself included, with the features that it asks for itself.
///
/// From `cargo tree -p`: the resolve graph of `cargo metadata` unites the features of the whole
/// workspace, and would charge a pure crate with what another one switched on.
fn normal_closure(name: &str) -> BTreeSet<String> {
    let text = cargo(&[
        "tree",
        "--locked",
        "--package",
        name,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// What a run of cargo on this workspace printed.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "cargo {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    match value.get(key) {
        Some(Value::Array(items)) => items,
        other => panic!("{key} should be an array, and is {other:?}"),
    }
}

fn string<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}
