//! Sine-cosine position tables, and a table for another number of frames.

/// The initial position table `[1 + frames * side * side][width]`, row by row.
///
/// Row zero (class token) is zero. A patch row is a temporal part (a quarter of the width), then the
/// column and the row part (three eighths each). A part of width w is `[sin(p f_j), cos(p f_j)]` with
/// `f_j = 10000^(-j/(w/2))`. `width` must be a multiple of 16.
pub fn sine_cosine_table(width: usize, frames: usize, side: usize) -> Vec<f32> {
    let (temporal, spatial) = (width / 4, width / 8 * 3);
    let mut table = vec![0.0; width];
    table.reserve(width * frames * side * side);
    for frame in 0..frames {
        for row in 0..side {
            for column in 0..side {
                push_part(&mut table, frame, temporal);
                push_part(&mut table, column, spatial);
                push_part(&mut table, row, spatial);
            }
        }
    }
    table
}

fn push_part(table: &mut Vec<f32>, position: usize, width: usize) {
    let half = width / 2;
    let angle = |j: usize| position as f64 * 10000f64.powf(-(j as f64) / half as f64);
    table.extend((0..half).map(|j| angle(j).sin() as f32));
    table.extend((0..half).map(|j| angle(j).cos() as f32));
}

/// Weights `[to][from]` of linear interpolation over time, half-pixel centres (`align_corners` false).
pub fn time_weights(from: usize, to: usize) -> Vec<f32> {
    let mut weights = vec![0.0; from * to];
    for (index, row) in weights.chunks_exact_mut(from).enumerate() {
        let source = ((index as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let low = (source as usize).min(from - 1);
        let high = (low + 1).min(from - 1);
        let share = (source - low as f64).min(1.0) as f32;
        row[low] += 1.0 - share;
        row[high] += share;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::time_weights;

    #[test]
    fn interpolation_over_time_is_linear_between_half_pixel_centres() {
        assert_eq!(time_weights(3, 3), [1., 0., 0., 0., 1., 0., 0., 0., 1.]);
        // Twice as many frames: centres at -0.25 (clamped), 0.25, 0.75, 1.25 (clamped to the last).
        assert_eq!(time_weights(2, 4), [1., 0., 0.75, 0.25, 0.25, 0.75, 0., 1.]);
        assert_eq!(time_weights(4, 2), [0.5, 0.5, 0., 0., 0., 0., 0.5, 0.5]);
        assert_eq!(time_weights(1, 3), [1., 1., 1.]);
    }
}
