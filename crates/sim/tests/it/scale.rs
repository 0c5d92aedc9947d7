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
    for (what, most) in [("message", 14.0), ("update", 8.0)] {
        let (few, many) = (all.0.phase(what).unwrap(), all.1.phase(what).unwrap());
        for (costs, phase) in [(&all.0, few), (&all.1, many)] {
            assert_eq!(
                (phase.ends.refused, phase.ends.unanswered, phase.missing),
                (0, 0, 0),
                "{what}"
            );
            assert!(phase.ends.done > 0, "{what}");
            let each = costs.added(phase, &|p| p.said().count as f64);
            assert!(each < most, "{what}: {each} messages between servers");
        }
        let rows = |phase: &scale::Phase| phase.each(phase.cost.rows.count);
        assert!(
            rows(many) < 2.0 * rows(few) + 4.0,
            "{what}: {} rows, {} with few",
            rows(many),
            rows(few)
        );
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
