//! Whether a base was made for this kind of clip, and whether the clip shows somebody.

use serde::{Deserialize, Serialize};

/// What a clip shows to an encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipKind {
    /// There is no measure for this encoder.
    #[default]
    Unknown,
    /// Footage that the encoder was made for, with somebody in it.
    Person,
    /// Footage that the encoder was made for, or a plain surface, with nobody in it.
    Nobody,
    /// Footage that the encoder was not made for: its output has no meaning.
    Foreign,
}

/// The kinds that are measured, in the order of [`ClipKinds::scores`].
const MEASURED: [ClipKind; 3] = [ClipKind::Person, ClipKind::Nobody, ClipKind::Foreign];
/// Shrinks the weights, against the mean square of a feature.
const RIDGE: f64 = 0.1;

/// A linear classifier of clips by the output of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipKinds {
    /// For each kind the weights of the features, then the constant.
    weights: [Vec<f32>; 3],
}

impl ClipKinds {
    /// Fits the classifier by least squares, 1 for the kind and 0 for the others; every kind weighs the same. `person`, `nobody`
    /// and `foreign` hold the features of clips, equally many of each clip. `None` where a kind has no clips, or the features
    /// are not finite or not equally many.
    pub fn fit(person: &[Vec<f32>], nobody: &[Vec<f32>], foreign: &[Vec<f32>]) -> Option<Self> {
        let kinds = [person, nobody, foreign];
        let features = person.first()?.len();
        let wrong = |clip: &Vec<f32>| clip.len() != features || clip.iter().any(|value| !value.is_finite());
        if kinds.iter().any(|clips| clips.is_empty() || clips.iter().any(wrong)) {
            return None;
        }
        let size = features + 1;
        let (mut normal, mut right) = (vec![0.0; size * size], std::array::from_fn(|_| vec![0.0; size]));
        for (kind, clips) in kinds.into_iter().enumerate() {
            let weight = 1.0 / clips.len() as f64;
            for clip in clips {
                let row: Vec<f64> = clip.iter().map(|&value| f64::from(value)).chain([1.0]).collect();
                for (at, &value) in row.iter().enumerate() {
                    right[kind][at] += weight * value;
                    normal[at * size..][..=at].iter_mut().zip(&row).for_each(|(sum, &other)| *sum += weight * value * other);
                }
            }
        }
        let mean_square = (0..features).map(|at| normal[at * size + at]).sum::<f64>() / features.max(1) as f64;
        (0..features).for_each(|at| normal[at * size + at] += RIDGE * mean_square / 3.0);
        solve(&mut normal, size, &mut right)?;
        Self::from_weights(right.map(|side| side.into_iter().map(|weight| weight as f32).collect()))
    }

    /// From the weights that [`weights`](Self::weights) gives; `None` where they are not finite, or not equally many.
    pub fn from_weights(weights: [Vec<f32>; 3]) -> Option<Self> {
        let size = weights[0].len();
        let fits = |row: &Vec<f32>| row.len() == size && row.iter().all(|value| value.is_finite());
        (size > 1 && weights.iter().all(fits)).then_some(Self { weights })
    }

    /// For person, nobody and foreign the weights of the features, then the constant.
    pub fn weights(&self) -> &[Vec<f32>; 3] {
        &self.weights
    }

    /// Features of a clip.
    pub fn features(&self) -> usize {
        self.weights[0].len() - 1
    }

    /// How much a clip is like those of each kind (person, nobody, foreign): around 1 for its own kind, around 0 for the others.
    pub fn scores(&self, features: &[f32]) -> [f32; 3] {
        let score = |row: &Vec<f32>| row.iter().zip(features.iter().chain([&1.0])).map(|(weight, value)| weight * value).sum();
        self.weights.each_ref().map(score)
    }

    /// The kind with the greatest score; [`ClipKind::Unknown`] for another number of features.
    pub fn kind(&self, features: &[f32]) -> ClipKind {
        if features.len() != self.features() {
            return ClipKind::Unknown;
        }
        let best = self.scores(features).into_iter().zip(MEASURED).max_by(|one, other| one.0.total_cmp(&other.0));
        best.map_or(ClipKind::Unknown, |(_, kind)| kind)
    }
}

/// Solves systems of one symmetric positive definite matrix, of which the lower triangle is given, by Cholesky's decomposition;
/// the solutions take the place of the right sides. `None` where it is not positive definite.
fn solve(matrix: &mut [f64], size: usize, right: &mut [Vec<f64>; 3]) -> Option<()> {
    for row in 0..size {
        for column in 0..=row {
            let (above, below) = (&matrix[column * size..][..column], &matrix[row * size..][..column]);
            let rest = matrix[row * size + column] - above.iter().zip(below).map(|(a, b)| a * b).sum::<f64>();
            if row == column && (rest <= 0.0 || rest.is_nan()) {
                return None;
            }
            matrix[row * size + column] = if row == column { rest.sqrt() } else { rest / matrix[column * size + column] };
        }
    }
    for side in right {
        for row in 0..size {
            let known: f64 = (0..row).map(|column| matrix[row * size + column] * side[column]).sum();
            side[row] = (side[row] - known) / matrix[row * size + row];
        }
        for row in (0..size).rev() {
            let known: f64 = (row + 1..size).map(|column| matrix[column * size + row] * side[column]).sum();
            side[row] = (side[row] - known) / matrix[row * size + row];
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_clouds_are_separated_and_weights_come_back() {
        let cloud = |x: f32, y: f32| (0..40).map(|at| vec![x + 0.02 * (at % 7) as f32, y - 0.03 * (at % 5) as f32]).collect();
        let (person, nobody, foreign): (Vec<_>, Vec<_>, Vec<_>) = (cloud(1.0, 0.0), cloud(-1.0, 1.0), cloud(-1.0, -1.0));
        let kinds = ClipKinds::fit(&person, &nobody, &foreign).unwrap();
        assert_eq!(kinds.kind(&[1.1, 0.1]), ClipKind::Person);
        assert_eq!(kinds.kind(&[-1.1, 0.9]), ClipKind::Nobody);
        assert_eq!(kinds.kind(&[-0.9, -1.2]), ClipKind::Foreign);
        assert_eq!(kinds.kind(&[1.0]), ClipKind::Unknown);
        assert_eq!(ClipKinds::from_weights(kinds.weights().clone()), Some(kinds));
    }

    #[test]
    fn nothing_is_fitted_to_missing_or_broken_features() {
        let good = vec![vec![1.0, 2.0]; 3];
        assert_eq!(ClipKinds::fit(&good, &[], &good), None);
        assert_eq!(ClipKinds::fit(&good, &good, &[vec![1.0]]), None);
        assert_eq!(ClipKinds::fit(&good, &good, &[vec![1.0, f32::NAN]]), None);
        assert_eq!(ClipKinds::from_weights([vec![1.0, 2.0], vec![1.0], vec![1.0, 2.0]]), None);
    }
}
