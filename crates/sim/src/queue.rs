//! Virtual time: events in the order in which they fall due; ties in the order in which they were
//! planned, so that a run has one order only.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events by time.
#[derive(Debug)]
pub struct Queue<E> {
    now_us: u64,
    planned: u64,
    heap: BinaryHeap<Reverse<Planned<E>>>,
}

#[derive(Debug)]
struct Planned<E> {
    at_us: u64,
    number: u64,
    event: E,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            now_us: 0,
            planned: 0,
            heap: BinaryHeap::new(),
        }
    }
}

impl<E> Queue<E> {
    /// The virtual time, in microseconds from the run's beginning.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Plans an event, not before now.
    pub fn plan(&mut self, at_us: u64, event: E) {
        self.planned += 1;
        self.heap.push(Reverse(Planned {
            at_us: at_us.max(self.now_us),
            number: self.planned,
            event,
        }));
    }

    /// When the next event falls due.
    pub fn next_us(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(planned)| planned.at_us)
    }

    /// Goes on to the next event.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse(planned) = self.heap.pop()?;
        self.now_us = planned.at_us;
        Some(planned.event)
    }

    /// Lets time pass when nothing happens before `at_us`.
    pub fn pass_until(&mut self, at_us: u64) {
        self.now_us = self.now_us.max(at_us);
    }

    /// Forgets the events that do not meet a condition.
    pub fn retain(&mut self, keep: impl Fn(&E) -> bool) {
        self.heap.retain(|Reverse(planned)| keep(&planned.event));
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at_us, self.number) == (other.at_us, other.number)
    }
}
impl<E> Eq for Planned<E> {}
impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_time_order_and_ties_as_planned() {
        let mut queue = Queue::default();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.plan(at, name);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((order.as_str(), queue.now_us()), ("abcd", 5));
    }
}
