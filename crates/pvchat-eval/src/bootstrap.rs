//! The uncertainty of a figure: Wilson intervals of shares, bootstrap intervals of anything, paired differences.
//!
//! All intervals hold 95 %. Answers about one person are not independent, so that a bootstrap draws whole clusters of them.

use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The normal deviate of a two-sided 95 % interval.
const DEVIATE: f64 = 1.959_963_984_540_054;

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// Right answers out of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Right answers.
    pub right: usize,
    /// All answers.
    pub total: usize,
}

impl Share {
    /// Counts one answer.
    pub fn add(&mut self, right: bool) {
        self.right += usize::from(right);
        self.total += 1;
    }

    /// The share; `None` without answers.
    pub fn rate(&self) -> Option<f64> {
        (self.total > 0).then(|| self.right as f64 / self.total as f64)
    }

    /// The Wilson score interval, which stays within 0..1 for few answers and extreme shares; `None` without answers.
    ///
    /// It takes answers as independent: for several about one person use [`Resampler`].
    pub fn wilson(&self) -> Option<Interval> {
        let rate = self.rate()?;
        let (total, square) = (self.total as f64, DEVIATE * DEVIATE);
        let centre = rate + square / (2.0 * total);
        let spread = DEVIATE * (rate * (1.0 - rate) / total + square / (4.0 * total * total)).sqrt();
        let scale = 1.0 + square / total;
        Some(Interval { low: ((centre - spread) / scale).max(0.0), high: ((centre + spread) / scale).min(1.0) })
    }
}

/// A figure with its bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure on all items.
    pub value: f64,
    /// The percentile interval of the resamples.
    pub interval: Interval,
    /// Share of resamples above zero (half of those at zero included): for a difference, how often it holds.
    pub above_zero: f64,
}

/// Draws items with replacement, whole clusters within their strata.
#[derive(Clone, Debug)]
pub struct Resampler {
    /// Strata, their clusters, and the items of each.
    strata: Vec<Vec<Vec<usize>>>,
    count: usize,
}

impl Resampler {
    /// Groups items by stratum (for example the kind of clip) and cluster (for example the person).
    pub fn new<S: Ord, C: Ord>(items: impl IntoIterator<Item = (S, C)>) -> Self {
        let mut groups: BTreeMap<S, BTreeMap<C, Vec<usize>>> = BTreeMap::new();
        let mut count = 0;
        for (index, (stratum, cluster)) in items.into_iter().enumerate() {
            groups.entry(stratum).or_default().entry(cluster).or_default().push(index);
            count = index + 1;
        }
        Self { strata: groups.into_values().map(|clusters| clusters.into_values().collect()).collect(), count }
    }

    /// The indices of one resample: as many clusters per stratum as there are.
    pub fn draw(&self, stream: &mut SeededStream) -> Vec<usize> {
        let mut drawn = Vec::with_capacity(self.count);
        for clusters in &self.strata {
            for _ in clusters {
                drawn.extend(stream.choose(clusters).into_iter().flatten());
            }
        }
        drawn
    }

    /// The percentile bootstrap of `statistic`, which gets item indices (some twice, some not at all).
    ///
    /// `None` if the statistic has no value on all items, or on no resample, and where no stratum has two clusters: one alone says
    /// nothing about others.
    pub fn estimate(
        &self,
        statistic: impl Fn(&[usize]) -> Option<f64>,
        resamples: usize,
        stream: &mut SeededStream,
    ) -> Option<Estimate> {
        if self.strata.iter().all(|clusters| clusters.len() < 2) {
            return None;
        }
        let all: Vec<usize> = (0..self.count).collect();
        let value = statistic(&all)?;
        let mut values: Vec<f64> = (0..resamples).filter_map(|_| statistic(&self.draw(stream))).collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| values[((share * last as f64).round() as usize).min(last)];
        let above = values
            .iter()
            .map(|&value| {
                if value > 0.0 {
                    1.0
                } else if value == 0.0 {
                    0.5
                } else {
                    0.0
                }
            })
            .sum::<f64>();
        Some(Estimate { value, interval: Interval { low: at(0.025), high: at(0.975) }, above_zero: above / values.len() as f64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_interval_has_its_textbook_values() {
        // 81 of 263: Newcombe 1998, method 3 (score without continuity correction).
        let interval = Share { right: 81, total: 263 }.wilson().unwrap();
        assert!((interval.low - 0.2553).abs() < 5e-5 && (interval.high - 0.3662).abs() < 5e-5, "{interval:?}");
        let none = Share { right: 0, total: 20 }.wilson().unwrap();
        assert!(none.low == 0.0 && (none.high - 0.1611).abs() < 5e-5, "{none:?}");
        assert_eq!(Share::default().wilson(), None);
    }

    #[test]
    fn a_resample_keeps_strata_and_whole_clusters() {
        // Stratum 0: clusters {0, 1} and {2, 3}; stratum 1: one cluster {4}.
        let resampler = Resampler::new([(0, 'a'), (0, 'a'), (0, 'b'), (0, 'b'), (1, 'a')]);
        let mut stream = SeededStream::new(1);
        let mut kinds = std::collections::HashSet::new();
        for _ in 0..50 {
            let drawn = resampler.draw(&mut stream);
            assert_eq!(drawn.iter().filter(|&&index| index == 4).count(), 1);
            let of = |index: usize| drawn.iter().filter(|&&other| other == index).count();
            assert_eq!((of(0), of(2)), (of(1), of(3)));
            assert_eq!(of(0) + of(2), 2);
            kinds.insert(of(0));
        }
        assert_eq!(kinds.len(), 3);
    }

    #[test]
    fn the_interval_of_a_mean_agrees_with_its_standard_error() {
        let mut stream = SeededStream::new(9);
        let values: Vec<f64> = (0..400).map(|_| f64::from(stream.normal())).collect();
        let resampler = Resampler::new((0..400).map(|index| ((), index)));
        let mean = |items: &[usize]| Some(items.iter().map(|&index| values[index]).sum::<f64>() / items.len() as f64);
        let estimate = resampler.estimate(mean, 2000, &mut stream).unwrap();
        let width = estimate.interval.high - estimate.interval.low;
        assert!((width - 2.0 * DEVIATE / 20.0).abs() < 0.03, "{width}");
        assert!(estimate.interval.low < estimate.value && estimate.value < estimate.interval.high);
        let again = resampler.estimate(mean, 100, &mut SeededStream::new(3)).unwrap();
        assert_eq!(again, resampler.estimate(mean, 100, &mut SeededStream::new(3)).unwrap());
    }
}
