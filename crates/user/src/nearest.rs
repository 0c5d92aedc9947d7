//! The nearest live place of a service: connect times, measured here and remembered.
//!
//! Must never open more connections at once than a few, nor wait for a place that is silent longer
//! than it says. What is equally near is chosen by priority and weight (RFC 2782).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use grapevine_model::{FoundSite, Place};
use tokio::net::TcpStream;

/// Places that are tried at once: enough for a pool, few enough that nobody's machine notices.
const PROBES_AT_ONCE: usize = 16;
/// Places that are tried for one question; the others come after them.
const MOST_PROBED: usize = 64;
/// A place that has not answered by then counts as far away or gone.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// How long a measure is believed.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// A place that did not answer is tried again sooner.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// Measures kept; the oldest go.
const MOST_REMEMBERED: usize = 4_096;
/// Places within this of the nearest, or within twice its time, are as near as it.
const AS_NEAR: Duration = Duration::from_millis(2);

/// Connect times to places.
#[derive(Debug, Default)]
pub struct Nearest {
    known: Mutex<HashMap<Place, (Instant, Option<Duration>)>>,
}

impl Nearest {
    /// The sites, the nearest first; those that did not answer last. With each its connect time.
    pub async fn order(&self, sites: Vec<FoundSite>) -> Vec<(FoundSite, Option<Duration>)> {
        let by_weight = rfc2782_order(sites, &mut random_below);
        let wanted: Vec<Place> = by_weight
            .iter()
            .take(MOST_PROBED)
            .map(|site| site.offer.place.clone())
            .filter(|place| self.remembered(place).is_none())
            .collect();
        let probes = stream::iter(wanted).map(|place| async move {
            let took = probe(&place).await;
            (place, took)
        });
        let measured: Vec<_> = probes.buffer_unordered(PROBES_AT_ONCE).collect().await;
        self.remember(measured);
        let with_times = by_weight
            .into_iter()
            .map(|site| {
                let took = self.remembered(&site.offer.place).flatten();
                (site, took)
            })
            .collect();
        nearest_first(with_times)
    }

    fn remembered(&self, place: &Place) -> Option<Option<Duration>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, took) = *known.get(place)?;
        let believed = if took.is_some() {
            REMEMBERED_FOR
        } else {
            SILENT_FOR
        };
        (when.elapsed() < believed).then_some(took)
    }

    fn remember(&self, measured: Vec<(Place, Option<Duration>)>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + measured.len() > MOST_REMEMBERED {
            known.retain(|_, (when, _)| when.elapsed() < REMEMBERED_FOR);
            if known.len() + measured.len() > MOST_REMEMBERED {
                known.clear();
            }
        }
        let now = Instant::now();
        known.extend(
            measured
                .into_iter()
                .map(|(place, took)| (place, (now, took))),
        );
    }
}

/// How long a connection to a place takes; none if there is none within the limit.
pub async fn probe(place: &Place) -> Option<Duration> {
    let begin = Instant::now();
    let connecting = TcpStream::connect(place.to_string());
    match tokio::time::timeout(PROBE_LIMIT, connecting).await {
        Ok(Ok(_)) => Some(begin.elapsed()),
        Ok(Err(_)) | Err(_) => None,
    }
}

/// Nearest first, keeping the order among those that are equally near.
fn nearest_first(sites: Vec<(FoundSite, Option<Duration>)>) -> Vec<(FoundSite, Option<Duration>)> {
    let (mut near, silent): (Vec<_>, Vec<_>) =
        sites.into_iter().partition(|(_, took)| took.is_some());
    let mut ordered = Vec::with_capacity(near.len() + silent.len());
    while let Some(best) = near.iter().filter_map(|(_, took)| *took).min() {
        let bound = (best * 2).max(best + AS_NEAR);
        let (first, rest): (Vec<_>, Vec<_>) = near
            .into_iter()
            .partition(|(_, took)| took.is_some_and(|took| took <= bound));
        ordered.extend(first);
        near = rest;
    }
    ordered.extend(silent);
    ordered
}

/// The order of RFC 2782: by priority; within one, by chance in proportion to the weights.
pub fn rfc2782_order(
    mut sites: Vec<FoundSite>,
    random_below: &mut dyn FnMut(u64) -> u64,
) -> Vec<FoundSite> {
    // Those of weight 0 first, so that they have a small chance.
    sites.sort_by_key(|site| (site.offer.priority, site.offer.weight != 0));
    let mut ordered = Vec::with_capacity(sites.len());
    while let Some(priority) = sites.first().map(|site| site.offer.priority) {
        let equal = sites
            .iter()
            .take_while(|site| site.offer.priority == priority);
        let weights: Vec<u64> = equal.map(|site| site.offer.weight.into()).collect();
        let total: u64 = weights.iter().sum();
        // Without weights, all are alike.
        let chosen = if total == 0 {
            usize::try_from(random_below(weights.len() as u64)).unwrap_or(0)
        } else {
            let at = random_below(total + 1);
            let mut sum = 0;
            let reached = weights.iter().position(|weight| {
                sum += weight;
                sum >= at
            });
            reached.unwrap_or(0)
        };
        ordered.push(sites.remove(chosen.min(weights.len().saturating_sub(1))));
    }
    ordered
}

/// A number below a limit; without random bytes, the first: no choice is better than no service.
pub fn random_below(limit: u64) -> u64 {
    getrandom::u64().map_or(0, |random| random % limit.max(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn site(place: &str, priority: u16, weight: u16) -> FoundSite {
        FoundSite {
            name: "a@pa".parse().unwrap(),
            door: grapevine_model::SiteDoor::any(),
            offer: grapevine_model::SiteOffer {
                place: place.parse().unwrap(),
                priority,
                weight,
                note: Default::default(),
            },
            lease_ms: None,
        }
    }

    #[test]
    fn lower_priorities_come_first_and_weights_share() {
        let mut first = [0u32; 3];
        let mut state = 1u64;
        let mut random = |limit: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % limit
        };
        for _ in 0..10_000 {
            let sites = vec![site("c:1", 2, 9), site("a:1", 1, 30), site("b:1", 1, 10)];
            let ordered = rfc2782_order(sites, &mut random);
            assert_eq!(ordered[2].offer.place.to_string(), "c:1");
            match ordered[0].offer.place.to_string().as_str() {
                "a:1" => first[0] += 1,
                _ => first[1] += 1,
            }
        }
        // 30 to 10.
        assert!((6_800..8_200).contains(&first[0]), "{first:?}");
    }

    #[test]
    fn the_nearest_is_first_and_the_silent_last() {
        let ms = |n| Some(Duration::from_millis(n));
        let sites = vec![
            (site("far:1", 0, 0), ms(80)),
            (site("gone:1", 0, 0), None),
            (site("near:1", 0, 0), ms(10)),
            (site("as-near:1", 0, 0), ms(15)),
        ];
        let order: Vec<String> = nearest_first(sites)
            .iter()
            .map(|(site, _)| site.offer.place.host.to_string())
            .collect();
        assert_eq!(order, ["near", "as-near", "far", "gone"]);
    }

    #[tokio::test]
    async fn a_place_that_refuses_comes_after_one_that_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().to_string();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = closed.local_addr().unwrap().to_string();
        drop(closed);
        let nearest = Nearest::default();
        let sites = vec![site(&gone, 0, 0), site(&here, 5, 0)];
        let ordered = nearest.order(sites.clone()).await;
        assert_eq!(ordered[0].0.offer.place.to_string(), here);
        assert!(ordered[0].1.is_some() && ordered[1].1.is_none());
        // Remembered: the same without another connection.
        drop(listener);
        assert!(nearest.order(sites).await[0].1.is_some());
    }
}
