//! From the similarity of two looks to the probability that they show the same person.

use serde::{Deserialize, Serialize};

/// A logistic curve over the cosine of two identity embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimilarityScale {
    /// The cosine where the same person and somebody else are equally likely.
    pub midpoint: f32,
    /// How steep the curve is there, in logits per unit of cosine.
    pub slope: f32,
}

/// Newton steps of the fit; it converges after about ten.
const FIT_STEPS: usize = 50;
/// Keeps the fit finite where a threshold separates the pairs without error.
const RIDGE: f64 = 1e-6;

impl SimilarityScale {
    /// Fits the curve to cosines of pairs that show the same person and of pairs that do not; both kinds weigh the same.
    /// `None` without pairs of both kinds, or when the same person is not the more similar one.
    pub fn fit(same: &[f32], others: &[f32]) -> Option<Self> {
        let all: Vec<(f64, f64, f64)> = [(same, 1.0), (others, 0.0)]
            .into_iter()
            .flat_map(|(pairs, label)| pairs.iter().map(move |&cosine| (f64::from(cosine), label, 0.5 / pairs.len() as f64)))
            .collect();
        if same.is_empty() || others.is_empty() || all.iter().any(|pair| !pair.0.is_finite()) {
            return None;
        }
        let centre = all.iter().map(|pair| pair.0 * pair.2).sum::<f64>();
        let (mut slope, mut bias) = (1.0, 0.0);
        for _ in 0..FIT_STEPS {
            let (mut gradient, mut curvature) = ([RIDGE * slope, 0.0], [RIDGE, 0.0, 1e-12]);
            for &(cosine, label, weight) in &all {
                let x = cosine - centre;
                let probability = 1.0 / (1.0 + (-(slope * x + bias)).exp());
                let (error, spread) = (weight * (probability - label), weight * probability * (1.0 - probability));
                gradient = [gradient[0] + error * x, gradient[1] + error];
                curvature = [curvature[0] + spread * x * x, curvature[1] + spread * x, curvature[2] + spread];
            }
            let determinant = curvature[0] * curvature[2] - curvature[1] * curvature[1];
            slope -= (curvature[2] * gradient[0] - curvature[1] * gradient[1]) / determinant;
            bias -= (curvature[0] * gradient[1] - curvature[1] * gradient[0]) / determinant;
        }
        let scale = Self { midpoint: (centre - bias / slope) as f32, slope: slope as f32 };
        (scale.slope > 0.0 && scale.slope.is_finite() && scale.midpoint.is_finite()).then_some(scale)
    }

    /// The probability that two looks of this cosine show the same person.
    pub fn probability(&self, cosine: f32) -> f32 {
        1.0 / (1.0 + (-self.slope * (cosine - self.midpoint)).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_midpoint_lies_where_both_kinds_are_equally_likely() {
        // Two overlapping ramps, mirrored at 0.7.
        let same: Vec<f32> = (0..100).map(|step| 0.65 + 0.003 * step as f32).collect();
        let others: Vec<f32> = same.iter().map(|cosine| 1.4 - cosine).collect();
        let scale = SimilarityScale::fit(&same, &others).unwrap();
        assert!((scale.midpoint - 0.7).abs() < 1e-3, "{scale:?}");
        assert!((scale.probability(0.7) - 0.5).abs() < 0.02 && scale.probability(0.9) > 0.95 && scale.probability(0.5) < 0.05);
        // Ten times as many strangers do not move it: both kinds weigh the same.
        let more = SimilarityScale::fit(&same, &others.repeat(10)).unwrap();
        assert!((more.midpoint - scale.midpoint).abs() < 1e-4);
    }

    #[test]
    fn there_is_no_curve_without_two_kinds_or_upside_down() {
        assert_eq!(SimilarityScale::fit(&[], &[0.5]), None);
        assert_eq!(SimilarityScale::fit(&[0.9, f32::NAN], &[0.5]), None);
        assert_eq!(SimilarityScale::fit(&[0.1, 0.2, 0.3], &[0.7, 0.25, 0.9]), None);
    }
}
