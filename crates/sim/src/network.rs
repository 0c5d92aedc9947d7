//! The network between servers: latency, loss, doubles, reordering, cuts in one direction or both.
//!
//! Must never invent or change a message: TLS sees to that in the real one, too.

use crate::dice::Dice;

/// How bad the network is as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Shortest time on the way.
    pub least_us: u64,
    /// Longest usual time on the way.
    pub most_us: u64,
    /// So many in a thousand take up to fifty times as long: that is what reorders most.
    pub tail_permille: u64,
    /// So many in a thousand are lost.
    pub loss_permille: u64,
    /// So many in a thousand arrive twice.
    pub double_permille: u64,
}

impl Weather {
    /// Nothing is lost.
    pub const FAIR: Self = Self {
        least_us: 200,
        most_us: 2_000,
        tail_permille: 0,
        loss_permille: 0,
        double_permille: 0,
    };
}

/// Which way a cut cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing passes from the first to the second.
    OneWay,
    /// Nothing passes between the two.
    BothWays,
}

/// The network.
#[derive(Debug)]
pub struct Network {
    weather: Weather,
    /// For each sender, whether each receiver is cut off from it.
    cut: Vec<Vec<bool>>,
}

impl Network {
    /// A network without cuts.
    pub fn new(weather: Weather) -> Self {
        Self {
            weather,
            cut: Vec::new(),
        }
    }

    /// Changes the weather.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Cuts the links between two sets of machines.
    pub fn cut(&mut self, these: &[usize], those: &[usize], way: Cut) {
        for from in these {
            for to in those {
                self.set(*from, *to, true);
                if way == Cut::BothWays {
                    self.set(*to, *from, true);
                }
            }
        }
    }

    /// Mends every cut.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Whether nothing passes from one machine to another.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut
            .get(from)
            .and_then(|row| row.get(to))
            .is_some_and(|cut| *cut)
    }

    /// When a message sent now arrives: never, once or twice.
    pub fn arrivals(
        &self,
        now_us: u64,
        from: usize,
        to: usize,
        dice: &mut Dice,
    ) -> [Option<u64>; 2] {
        let weather = self.weather;
        if self.is_cut(from, to) || dice.chance(weather.loss_permille) {
            return [None, None];
        }
        let first = now_us + self.latency_us(dice);
        let second = dice
            .chance(weather.double_permille)
            .then(|| now_us + self.latency_us(dice));
        [Some(first), second]
    }

    /// A time on the way.
    pub fn latency_us(&self, dice: &mut Dice) -> u64 {
        let usual = dice.between(self.weather.least_us, self.weather.most_us);
        if dice.chance(self.weather.tail_permille) {
            usual * dice.between(2, 50)
        } else {
            usual
        }
    }

    fn set(&mut self, from: usize, to: usize, cut: bool) {
        if from == to {
            return;
        }
        if self.cut.len() <= from {
            self.cut.resize(from + 1, Vec::new());
        }
        if let Some(row) = self.cut.get_mut(from) {
            if row.len() <= to {
                row.resize(to + 1, false);
            }
            if let Some(place) = row.get_mut(to) {
                *place = cut;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_way_cut_stops_one_way() {
        let mut network = Network::new(Weather::FAIR);
        let mut dice = Dice::new(1);
        network.cut(&[0], &[1, 2], Cut::OneWay);
        assert_eq!(network.arrivals(0, 0, 1, &mut dice), [None, None]);
        assert!(network.arrivals(0, 1, 0, &mut dice)[0].is_some());
        network.heal();
        assert!(network.arrivals(0, 0, 2, &mut dice)[0].is_some());
    }
}
