//! From the scores of one position to a token: repetition penalty, filters, draws.
//!
//! All of this works on plain slices: one row of logits is small, and the rules (ties, smallest
//! sets, exclusions) are easier to see in a loop than in tensor operations.

use std::collections::BTreeSet;

use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    simd::{exponentials, largest},
};

/// What is left of a distribution to draw from, applied in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Scores are divided by it: below 1 sharper, above 1 flatter.
    pub temperature: f32,
    /// Only scores not below the k-th highest stay; ties with it stay too.
    pub top_k: Option<usize>,
    /// Only the smallest set of best tokens whose probability reaches this stays.
    pub top_p: Option<f32>,
}

impl Default for Filters {
    /// No filter: temperature 1.
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None }
    }
}

impl Filters {
    /// Checks that the numbers can work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the key and value at fault.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key, value: String, remedy: &str| Err(Error::Config { key, value, remedy: remedy.into() });
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return wrong("temperature", self.temperature.to_string(), "use a positive number, or the greedy strategy for 0");
        }
        if self.top_k == Some(0) {
            return wrong("top_k", "0".into(), "keep at least 1 token, or leave it out");
        }
        match self.top_p {
            Some(top_p) if !(top_p > 0.0 && top_p <= 1.0) => wrong("top_p", top_p.to_string(), "use a share above 0 and up to 1"),
            _ => Ok(()),
        }
    }

    /// Sets the scores that are filtered out to minus infinity, but keeps at least `keep` tokens.
    pub fn apply(&self, scores: &mut [f32], keep: usize) {
        let keep = keep.max(1);
        scores.iter_mut().for_each(|score| *score /= self.temperature);
        if let Some(top_k) = self.top_k.map(|k| k.max(keep)).filter(|k| *k < scores.len()) {
            let mut ordered = scores.to_vec();
            let (_, kth, _) = ordered.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a));
            let kth = *kth;
            scores.iter_mut().filter(|score| **score < kth).for_each(|score| *score = f32::NEG_INFINITY);
        }
        if let Some(top_p) = self.top_p.filter(|top_p| *top_p < 1.0) {
            let probabilities = softmax(scores);
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let mut mass = 0.0;
            for (rank, index) in order.into_iter().enumerate() {
                if mass >= f64::from(top_p) && rank >= keep {
                    scores[index] = f32::NEG_INFINITY;
                }
                mass += f64::from(probabilities[index]);
            }
        }
    }
}

/// Makes tokens that were seen less likely: positive scores are divided by the penalty, negative
/// ones multiplied. 1 changes nothing; ids beyond the scores are ignored.
pub fn penalise(scores: &mut [f32], seen: &BTreeSet<u32>, penalty: f32) {
    if penalty == 1.0 {
        return;
    }
    for score in seen.iter().filter_map(|&id| usize::try_from(id).ok()).filter(|&id| id < scores.len()).collect::<Vec<_>>() {
        let score = &mut scores[score];
        *score = if *score > 0.0 { *score / penalty } else { *score * penalty };
    }
}

/// Probabilities of scores; summed in f64.
pub fn softmax(scores: &[f32]) -> Vec<f32> {
    log_softmax(scores).into_iter().map(f32::exp).collect()
}

/// Logarithms of the probabilities of scores; summed in f64.
pub fn log_softmax(scores: &[f32]) -> Vec<f32> {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if highest == f32::NEG_INFINITY {
        return vec![f32::NEG_INFINITY; scores.len()];
    }
    let sum: f64 = scores.iter().map(|score| f64::from(score - highest).exp()).sum();
    let normaliser = f64::from(highest) + sum.ln();
    scores.iter().map(|score| (f64::from(*score) - normaliser) as f32).collect()
}

/// The probability of one of the scores; 0 where none is a number above minus infinity.
pub fn probability(scores: &[f32], index: usize) -> f32 {
    let highest = largest(scores);
    if highest == f32::NEG_INFINITY {
        return 0.0;
    }
    let mut sum = 0.0;
    let mut block = [0.0; 1024];
    for scores in scores.chunks(block.len()) {
        let block = &mut block[..scores.len()];
        block.copy_from_slice(scores);
        sum += f64::from(exponentials(block, highest));
    }
    (f64::from(scores[index] - highest).exp() / sum) as f32
}

/// The index of the highest score; the first of equals. NaN is passed over, and of nothing else it is 0.
pub fn argmax(scores: &[f32]) -> usize {
    let highest = largest(scores);
    scores.iter().position(|score| *score == highest).unwrap_or(0)
}

/// An index drawn with the given probabilities (their sum may differ a little from 1).
pub fn draw(probabilities: &[f32], stream: &mut SeededStream) -> usize {
    let total: f64 = probabilities.iter().map(|p| f64::from(*p)).sum();
    let mut left = f64::from(stream.unit()) * total;
    let mut last = 0;
    for (index, probability) in probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        last = index;
        left -= f64::from(*probability);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// Up to `count` different indices drawn without replacement, each next one in proportion to the
/// exponential of its score (Gumbel's trick), in the order drawn.
pub fn draw_several(scores: &[f32], count: usize, stream: &mut SeededStream) -> Vec<usize> {
    let mut keys: Vec<(f64, usize)> = Vec::with_capacity(scores.len());
    for (index, score) in scores.iter().enumerate().filter(|(_, score)| score.is_finite()) {
        let uniform = f64::from(stream.unit()).max(1e-12);
        keys.push((f64::from(*score) - (-uniform.ln()).ln(), index));
    }
    keys.sort_by(|a, b| b.0.total_cmp(&a.0));
    keys.truncate(count);
    keys.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(filters: Filters, scores: &[f32], keep: usize) -> Vec<usize> {
        let mut scores = scores.to_vec();
        filters.apply(&mut scores, keep);
        (0..scores.len()).filter(|&i| scores[i].is_finite()).collect()
    }

    #[test]
    fn top_k_keeps_ties_and_top_p_keeps_the_smallest_set() {
        let top_k = Filters { top_k: Some(2), ..Filters::default() };
        assert_eq!(kept(top_k, &[3.0, 1.0, 2.0, 2.0], 1), [0, 2, 3]);
        // Probabilities 0.5, 0.3, 0.2 in another order.
        let scores = [0.2f32.ln(), 0.5f32.ln(), 0.3f32.ln()];
        let top_p = |p| Filters { top_p: Some(p), ..Filters::default() };
        assert_eq!(kept(top_p(0.49), &scores, 1), [1]);
        assert_eq!(kept(top_p(0.51), &scores, 1), [1, 2]);
        assert_eq!(kept(top_p(0.1), &scores, 2), [1, 2]);
        assert_eq!(kept(top_p(0.81), &scores, 1), [0, 1, 2]);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut stream = SeededStream::new(11);
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            counts[draw(&[0.2, 0.0, 0.8], &mut stream)] += 1;
        }
        assert!(counts[1] == 0 && (counts[0] - 2000i32).abs() < 150, "{counts:?}");
        let mut first = [0; 3];
        for _ in 0..10_000 {
            let drawn = draw_several(&[0.2f32.ln(), f32::NEG_INFINITY, 0.8f32.ln()], 2, &mut stream);
            assert_eq!(drawn.len(), 2);
            first[drawn[0]] += 1;
        }
        assert!(first[1] == 0 && (first[0] - 2000i32).abs() < 150, "{first:?}");
    }

    #[test]
    fn bad_filters_are_refused() {
        for filters in [
            Filters { temperature: 0.0, ..Filters::default() },
            Filters { top_k: Some(0), ..Filters::default() },
            Filters { top_p: Some(1.5), ..Filters::default() },
        ] {
            assert!(matches!(filters.validate(), Err(Error::Config { .. })), "{filters:?}");
        }
    }
}
