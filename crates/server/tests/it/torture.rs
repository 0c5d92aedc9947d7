//! The torture run's short form: one seed, one round of faults, one machine lost with its disk (P1 to P4). The long form is
//! `cargo run -p grapevine-torture`.

use std::time::Duration;

use grapevine_torture::{Options, run};

/// One that has much in little time: stops, a kill, a cut, broken connections; a seed that found something has become a named test
/// of the core.
const SEED: u64 = 209;
/// Fewer would say nothing: a busy machine does some ten in a second.
const LEAST_ACCEPTED: usize = 50;

#[test]
fn what_real_servers_acknowledged_under_random_faults_is_there_once_at_every_holder() {
    let report = run(&Options {
        seed: SEED,
        servers: 3,
        // One round is begun, and ended.
        length: Duration::from_secs(1),
        round: Duration::from_secs(20),
        retire: None,
        program: env!("CARGO_BIN_EXE_grapevine").into(),
        other_program: None,
        planted: None,
        tells: true,
        keeps: false,
    })
    .unwrap();
    eprintln!("{}", report.text);
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert!(report.accepted >= LEAST_ACCEPTED, "{}", report.accepted);
    assert!(report.faults >= 5, "{}", report.faults);
}
