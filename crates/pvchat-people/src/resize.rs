//! Pictures shrunk by averaging areas, as the published pipelines shrink them, written as the networks take them.

use image::RgbImage;

use crate::{geometry::Bounds, plain::for_the_widest_registers};

/// Which source points one target point averages, with weights that sum to 1.
struct Tap {
    first: usize,
    weights: Vec<f32>,
}

/// The taps of one axis. Where the target is smaller, areas are averaged exactly; where it is larger, points between two
/// neighbours are mixed.
fn taps(source: usize, target: usize) -> Vec<Tap> {
    let scale = source as f64 / target as f64;
    let shrink = |point: usize| {
        let (begin, end) = (point as f64 * scale, ((point + 1) as f64 * scale).min(source as f64));
        let (first, last) = (begin.floor() as usize, (end.ceil() as usize).clamp(1, source));
        let share = |at: usize| ((at + 1) as f64).min(end) - (at as f64).max(begin);
        let shares: Vec<f64> = (first..last).map(|at| share(at).max(0.0)).collect();
        let sum: f64 = shares.iter().sum();
        Tap { first, weights: shares.iter().map(|share| (share / sum) as f32).collect() }
    };
    let enlarge = |point: usize| {
        let at = (point as f64 * scale).floor();
        let over = (point as f64 + 1.0) - (at + 1.0) / scale;
        let mix = if over <= 0.0 { 0.0 } else { over - over.floor() };
        let first = (at as usize).min(source - 1);
        match first + 1 < source && mix > 0.0 {
            true => Tap { first, weights: vec![1.0 - mix as f32, mix as f32] },
            false => Tap { first, weights: vec![1.0] },
        }
    };
    (0..target).map(|point| if source >= target { shrink(point) } else { enlarge(point) }).collect()
}

/// The part of a picture inside a box of whole pixels, black outside the picture, resized to `width` x `height`, in
/// rows of red, green and blue, each value in steps of one level and then given to `convert`. Nothing for an empty box.
pub(crate) fn crop(
    picture: &RgbImage,
    part: &Bounds,
    [width, height]: [usize; 2],
    convert: impl Fn(f32) -> f32,
) -> Option<Vec<f32>> {
    const LARGEST: f32 = 32_768.0;
    let edges = [part.left, part.top, part.right, part.bottom];
    if edges.iter().any(|edge| !edge.is_finite() || edge.abs() > LARGEST) {
        return None;
    }
    let [left, top, right, bottom] = edges.map(|edge| edge as i64);
    let (part_width, part_height) = (right - left, bottom - top);
    if part_width <= 1 || part_height <= 1 {
        return None;
    }
    let (picture_width, picture_height) = (i64::from(picture.width()), i64::from(picture.height()));
    let (x_taps, y_taps) = (taps(part_width as usize, width), taps(part_height as usize, height));
    // Columns of the box that the picture has; the rest stays black.
    let (begin, end) = (left.max(0), right.min(picture_width));
    if begin >= end || top.max(0) >= bottom.min(picture_height) {
        return Some(vec![convert(0.0); 3 * width * height]);
    }
    /// Adding this to a level rounds it to a whole number, ties to even: there are no bits left for its fraction.
    const ROUND: f32 = 12_582_912.0;
    let mut points = Vec::with_capacity(3 * width * height);
    let bytes = picture.as_raw();
    let mut row = vec![0.0f32; 3 * part_width as usize];
    let inside = 3 * (begin - left) as usize..3 * (end - left) as usize;
    for tap in &y_taps {
        row[inside.clone()].fill(0.0);
        for (offset, weight) in tap.weights.iter().enumerate() {
            let source = top + (tap.first + offset) as i64;
            if !(0..picture_height).contains(&source) {
                continue;
            }
            let at = 3 * (source * picture_width + begin) as usize;
            add_weighted(&mut row[inside.clone()], &bytes[at..at + inside.len()], *weight);
        }
        for tap in &x_taps {
            let mut sum = [0.0f32; 3];
            for (weight, pixel) in tap.weights.iter().zip(row[3 * tap.first..].chunks_exact(3)) {
                sum[0] += weight * pixel[0];
                sum[1] += weight * pixel[1];
                sum[2] += weight * pixel[2];
            }
            points.extend(sum.map(|value| convert(value + ROUND - ROUND)));
        }
    }
    Some(points)
}

for_the_widest_registers! {
    fn add_weighted(sums: &mut [f32], values: &[u8], weight: f32) = add_weighted_of
}

#[expect(clippy::extra_unused_type_parameters, reason = "the compiler makes vectors of this loop by itself")]
#[inline(always)]
fn add_weighted_of<V, const P: usize, const B: usize>(sums: &mut [f32], values: &[u8], weight: f32) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += weight * f32::from(*value);
    }
}

/// The whole picture shrunk so that its longer side is at most `longest`, and the factor; `None` where it is small enough.
pub fn shrink(picture: &RgbImage, longest: u32) -> Option<(RgbImage, f32)> {
    let (width, height) = picture.dimensions();
    let side = width.max(height);
    if side <= longest || width < 2 || height < 2 {
        return None;
    }
    let factor = longest as f32 / side as f32;
    let size = [width, height].map(|side| ((side as f32 * factor).round() as usize).max(1));
    let whole = Bounds::new(0.0, 0.0, width as f32, height as f32);
    let bytes = crop(picture, &whole, size, |value| value)?.into_iter().map(|value| value as u8).collect();
    Some((RgbImage::from_raw(size[0] as u32, size[1] as u32, bytes)?, factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn areas_are_averaged_exactly() {
        // Five points to two: the middle one counts half for each.
        let picture = RgbImage::from_fn(5, 2, |x, _| Rgb([(x * 10) as u8, 0, 0]));
        let points = crop(&picture, &Bounds::new(0.0, 0.0, 5.0, 2.0), [2, 1], |value| value).unwrap();
        assert_eq!(points, [8.0, 0.0, 0.0, 32.0, 0.0, 0.0]);
    }

    #[test]
    fn outside_is_black_and_converted() {
        let picture = RgbImage::from_pixel(4, 4, Rgb([200, 100, 50]));
        let points = crop(&picture, &Bounds::new(-4.0, 0.0, 4.0, 4.0), [2, 1], |value| value - 1.0).unwrap();
        assert_eq!(points, [-1.0, -1.0, -1.0, 199.0, 99.0, 49.0]);
        let points = crop(&picture, &Bounds::new(10.0, 10.0, 14.0, 14.0), [1, 1], |value| value + 7.0).unwrap();
        assert_eq!(points, [7.0; 3]);
    }

    #[test]
    fn odd_boxes_give_nothing_and_do_not_panic() {
        let picture = RgbImage::from_pixel(4, 4, Rgb([200, 100, 50]));
        for part in [
            Bounds::new(f32::NAN, 0.0, 4.0, 4.0),
            Bounds::new(0.0, 0.0, f32::INFINITY, 4.0),
            Bounds::new(3.0, 3.0, 1.0, 1.0),
            Bounds::new(-1e9, 0.0, 1e9, 4.0),
        ] {
            assert!(crop(&picture, &part, [8, 8], |value| value).is_none(), "{part:?}");
        }
        assert!(crop(&picture, &Bounds::new(1.0, 1.0, 3.0, 3.0), [9, 9], |value| value).is_some());
    }
}
