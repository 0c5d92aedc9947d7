//! What work costs as servers grow, and 1983's load, in small: counts, never times.

use grapevine_sim::Verbosity;
use grapevine_sim::scale::{self, Costs, DaySettings, Faults, Size, Work};

fn costs(servers: usize, faults: Faults) -> Costs {
    let size = Size {
        servers,
        names: 200,
        registries: servers,
        holders: 2,
        filled: servers,
        seed: 1,
        verbose: Verbosity::Silent,
    };
    let work = Work {
        a_server: 10,
        most: 100,
        seconds: 5,
        list: None,
        faults,
    };
    let costs = scale::measure(&size, &work).unwrap();
    assert_eq!(costs.violations, Vec::<String>::new());
    costs
}

#[test]
fn a_message_and_an_update_cost_the_same_with_three_servers_and_with_twelve() {
    let all = (costs(3, Faults::None), costs(12, Faults::None));
    // What belongs to the operation itself; questions about mailboxes held elsewhere come in their own time, up to a bound.
    let kinds = [
        ("message", "custody", 1.0),
        ("message", "custody-ended", 1.0),
        ("message", "body", 3.0),
        ("message", "deposit", 1.0),
        ("message", "push", 1.1),
        ("update", "push", 1.1),
        ("update", "forward", 1.0),
    ];
    for (costs, servers) in [(&all.0, 3), (&all.1, 12)] {
        for (what, kind, most) in kinds {
            let phase = costs.phase(what).unwrap();
            let each = phase.each(phase.kinds.get(kind).map_or(0, |tally| tally.count));
            assert!(
                each <= most,
                "{servers} servers: {each} {kind} for each {what}"
            );
            let ends = phase.ends;
            assert_eq!(
                (ends.refused, ends.unanswered, phase.missing),
                (0, 0, 0),
                "{what}"
            );
            assert_eq!(ends.done, phase.operations, "{what}");
        }
    }
    let rows = |costs: &Costs, what: &str| {
        let phase = costs.phase(what).unwrap();
        phase.each(phase.cost.rows.count)
    };
    for what in ["message", "update"] {
        let (few, many) = (rows(&all.0, what), rows(&all.1, what));
        assert!(many < 2.0 * few, "{what}: {many} rows, {few} with few");
    }
    // Whoever accepts mail finds a deputy of his own: no server keeps the second copies of all.
    let deputies = all.1.phase("message").unwrap().deputy;
    assert!(
        deputies.0 * 4 <= deputies.1,
        "{} of {} second copies at one server",
        deputies.0,
        deputies.1
    );
}

#[test]
fn nothing_is_lost_where_servers_fall_while_costs_are_counted() {
    let costs = costs(5, Faults::Some);
    let messages = costs.phase("message").unwrap();
    assert_eq!(messages.missing, 0, "{:?}", messages.ends);
    assert!(messages.ends.done > 20, "{:?}", messages.ends);
}

#[test]
fn the_load_of_1983_in_small_comes_whole_and_once() {
    let settings = DaySettings {
        people: 340,
        groups: 100,
        from_hour: 10,
        minutes: 2,
        ..DaySettings::year_1983(10)
    };
    let day = scale::day(&settings).unwrap();
    assert_eq!(day.violations, Vec::<String>::new());
    assert!(day.messages > 100, "{} messages", day.messages);
    assert_eq!((day.missing, day.doubled), (0, 0));
    assert_eq!((day.ends.refused, day.ends.unanswered), (0, 0));
    assert!(day.copies > 2 * day.messages && day.last_us.len() as u64 == day.messages);
    assert_eq!(day.servers.len(), 17);
}
