//! What the frozen encoder says of a clip, and how alike two clips are to it.

use pvchat::model::sight::{Readout, Sight};

/// The tokens of a clip.
fn tokens(sight: &Sight) -> Vec<Vec<f32>> {
    let width = sight.tokens.dims()[2];
    let values: Vec<f32> = sight.tokens.clone().into_data().iter::<f32>().collect();
    values.chunks(width).map(<[f32]>::to_vec).collect()
}

/// The mean of the grid's tokens.
pub fn pooled(sight: &Sight) -> Vec<Vec<f32>> {
    let tokens = tokens(sight);
    let grid = &tokens[..tokens.len() - Readout::COUNT];
    vec![(0..grid[0].len()).map(|place| grid.iter().map(|token| token[place]).sum::<f32>() / grid.len() as f32).collect()]
}

/// The read-outs of the left and the right person.
pub fn read_outs(sight: &Sight) -> Vec<Vec<f32>> {
    let mut tokens = tokens(sight);
    let first = tokens.len() - Readout::COUNT;
    tokens.drain(first..first + 2).collect()
}

pub fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt().max(1e-12)
}
