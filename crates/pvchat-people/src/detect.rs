//! Faces in one picture: boxes, five points and how sure the detector is.

use burn::prelude::*;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    geometry::{Bounds, Point, suppress},
    layers::Maps,
    networks::{BlazeFace, ONet, PNet, RNet},
    resize::{crop, shrink},
};

/// A face in a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// The box, in pixels of the picture, from the hairline to the chin.
    pub bounds: Bounds,
    /// The detector's certainty, 0 to 1; see [`CONFIRMED`].
    pub score: f32,
    /// Eye on the left of the picture, other eye, nose, corner of the mouth on the left, other corner; in pixels.
    pub landmarks: [Point; 5],
}

/// From this score on a box counts as a face. Hands, fruit and skulls printed on shirts score lower.
pub const CONFIRMED: f32 = 0.95;

/// How faces are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// BlazeFace proposes, MTCNN's last network confirms: one or few faces that are not small.
    Fast,
    /// All of MTCNN on a picture of at most [`THOROUGH_SIDE`] pixels a side: small, blurred and dark faces, and crowds.
    Thorough,
    /// The fast way, and the thorough way where it confirms nothing or finds a crowd.
    #[default]
    Auto,
}

/// The longest side in pixels that the thorough search looks at, and the smallest face in that picture.
pub const THOROUGH_SIDE: u32 = 640;
const SMALLEST_FACE: f32 = 20.0;
/// The automatic search looks again where the fast one finds this many faces: it misses the small ones of a crowd.
const CROWD: usize = 4;
/// At most this many boxes pass from one network to the next, and at most this many faces are reported for a picture.
const MOST_PROPOSED: usize = 2_000;
/// See `MOST_PROPOSED`.
pub(crate) const MOST_FACES: usize = 200;

/// The networks of both searches.
#[derive(Debug)]
pub(crate) struct Detector {
    pub(crate) blazeface: BlazeFace,
    pub(crate) pnet: PNet,
    pub(crate) rnet: RNet,
    pub(crate) onet: ONet,
    pub(crate) device: Device,
}

fn normalised(value: f32) -> f32 {
    (value - 127.5) / 128.0
}

impl Detector {
    /// Faces with a score above `least`, best first.
    pub(crate) fn find(&self, picture: &RgbImage, search: Search, least: f32) -> Result<Vec<Face>> {
        let mut faces = match search {
            Search::Thorough => self.thorough(picture)?,
            Search::Fast => self.fast(picture)?,
            Search::Auto => {
                let fast = self.fast(picture)?;
                match fast.iter().filter(|face| face.score > CONFIRMED).count() {
                    0 | CROWD.. => self.thorough(picture)?,
                    _ => fast,
                }
            }
        };
        faces.retain(|face| face.score > least && face.bounds.area() > 0.0);
        faces.sort_by(|one, other| other.score.total_cmp(&one.score));
        faces.truncate(MOST_FACES);
        Ok(faces)
    }

    /// BlazeFace's boxes, looked at twice by the last network of MTCNN.
    fn fast(&self, picture: &RgbImage) -> Result<Vec<Face>> {
        // BlazeFace's boxes are squares from the brows to the chin; the network wants a little more, above all on top.
        let seen = self.proposals(picture)?;
        let squares = seen.iter().map(|bounds| {
            let side = 1.1 * bounds.width();
            let [x, y] = bounds.centre();
            Bounds::around(x, y - 0.08 * side, side).truncated()
        });
        let once = self.confirm(picture, &squares.collect::<Vec<_>>())?;
        let again: Vec<Bounds> = once.iter().map(|face| face.bounds.square().truncated()).collect();
        Ok(distinct(self.confirm(picture, &again)?))
    }

    /// The boxes of BlazeFace.
    fn proposals(&self, picture: &RgbImage) -> Result<Vec<Bounds>> {
        const SIDE: usize = BlazeFace::SIDE;
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        let factor = SIDE as f32 / width.max(height);
        let [inner_width, inner_height] = [width, height].map(|side| ((side * factor).round_ties_even() as usize).clamp(1, SIDE));
        let (left, top) = ((SIDE - inner_width) / 2, (SIDE - inner_height) / 2);
        let whole = Bounds::new(0.0, 0.0, width, height);
        let Some(inner) = crop(picture, &whole, [inner_width, inner_height], |value| value / 127.5 - 1.0) else {
            return Ok(Vec::new());
        };
        let mut points = vec![-1.0; 3 * SIDE * SIDE];
        for (y, row) in inner.chunks_exact(3 * inner_width).enumerate() {
            let at = 3 * ((top + y) * SIDE + left);
            points[at..at + row.len()].copy_from_slice(row);
        }
        let [boxes, logits] = self.blazeface.forward(&self.maps(points, [1, SIDE, SIDE]))?;
        let mut candidates: Vec<(Bounds, f32)> = Vec::new();
        for ((values, logit), [x, y]) in boxes.chunks_exact(16).zip(&logits).zip(anchors()) {
            let score = 1.0 / (1.0 + (-logit.clamp(-100.0, 100.0)).exp());
            if score > 0.5 {
                let (x, y) = (values[0] + x * SIDE as f32 - left as f32, values[1] + y * SIDE as f32 - top as f32);
                let (half_width, half_height) = (values[2] / 2.0, values[3] / 2.0);
                let bounds = Bounds::new(x - half_width, y - half_height, x + half_width, y + half_height);
                candidates.push((bounds.scaled(1.0 / factor), score));
            }
        }
        Ok(averaged(candidates))
    }

    /// The whole cascade.
    fn thorough(&self, picture: &RgbImage) -> Result<Vec<Face>> {
        let small = shrink(picture, THOROUGH_SIDE);
        let (picture, factor) = small.as_ref().map_or((picture, 1.0), |(picture, factor)| (picture, *factor));
        let proposed = self.propose(picture)?;
        let refined = self.refine(picture, &proposed)?;
        let mut faces = distinct(self.confirm(picture, &refined)?);
        for face in &mut faces {
            face.bounds = face.bounds.scaled(1.0 / factor);
            face.landmarks.iter_mut().flatten().for_each(|value| *value /= factor);
        }
        Ok(faces)
    }

    /// The first network on smaller and smaller pictures; squares of whole pixels.
    fn propose(&self, picture: &RgbImage) -> Result<Vec<Bounds>> {
        const WINDOW: f32 = 12.0;
        const STEP: f32 = 0.709;
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        let whole = Bounds::new(0.0, 0.0, width, height);
        let mut scale = WINDOW / SMALLEST_FACE;
        let mut all: Vec<(Bounds, f32)> = Vec::new();
        while width.min(height) * scale >= WINDOW {
            let [columns, rows] = [width, height].map(|side| (side * scale).ceil() as usize);
            let Some(points) = crop(picture, &whole, [columns, rows], normalised) else { break };
            let [boxes, scores] = self.pnet.forward(&self.maps(points, [1, rows, columns]));
            let [_, _, _, cells_across] = boxes.shape();
            let (boxes, scores) = (boxes.points("PNet")?, scores.points("PNet")?);
            let mut found = Vec::new();
            for (cell, (score, by)) in scores.chunks_exact(2).zip(boxes.chunks_exact(4)).enumerate() {
                if score[1] >= 0.6 {
                    let (x, y) = (2.0 * (cell % cells_across) as f32, 2.0 * (cell / cells_across) as f32);
                    let window = Bounds::new(x, y, x + WINDOW, y + WINDOW).scaled(1.0 / scale);
                    found.push((window, score[1], window.moved([by[0], by[1], by[2], by[3]])));
                }
            }
            let windows: Vec<(Bounds, f32)> = found.iter().map(|(window, score, _)| (*window, *score)).collect();
            let kept = suppress(&windows, 0.5, MOST_PROPOSED, Bounds::overlap);
            all.extend(kept.into_iter().map(|place| (found[place].2, found[place].1)));
            scale *= STEP;
        }
        let kept = suppress(&all, 0.7, MOST_PROPOSED, Bounds::overlap);
        Ok(kept.into_iter().map(|place| all[place].0.square().truncated()).collect())
    }

    /// The second network: boxes that still look like faces, as squares of whole pixels.
    fn refine(&self, picture: &RgbImage, squares: &[Bounds]) -> Result<Vec<Bounds>> {
        let mut found: Vec<(Bounds, f32, Bounds)> = Vec::new();
        for squares in squares.chunks(AT_ONCE) {
            let crops = self.crops(picture, squares, RNet::SIDE);
            let [moves, scores] = self.rnet.forward(&crops);
            let (moves, scores) = (moves.points("RNet")?, scores.points("RNet")?);
            for ((square, by), score) in squares.iter().zip(moves.chunks_exact(4)).zip(scores.chunks_exact(2)) {
                if score[1] > 0.7 {
                    found.push((*square, score[1], square.moved([by[0], by[1], by[2], by[3]])));
                }
            }
        }
        let squares: Vec<(Bounds, f32)> = found.iter().map(|(square, score, _)| (*square, *score)).collect();
        let kept = suppress(&squares, 0.7, MOST_PROPOSED, Bounds::overlap);
        Ok(kept.into_iter().map(|place| found[place].2.square().truncated()).collect())
    }

    /// The last network: box, score and points of each square, in the same order.
    fn confirm(&self, picture: &RgbImage, squares: &[Bounds]) -> Result<Vec<Face>> {
        let mut faces = Vec::with_capacity(squares.len());
        for squares in squares.chunks(AT_ONCE) {
            let crops = self.crops(picture, squares, ONet::SIDE);
            let [moves, scores, points] = self.onet.forward(&crops);
            let (moves, scores, points) = (moves.points("ONet")?, scores.points("ONet")?, points.points("ONet")?);
            let values = moves.chunks_exact(4).zip(scores.chunks_exact(2)).zip(points.chunks_exact(10));
            for (square, ((by, score), points)) in squares.iter().zip(values) {
                let landmark = |number: usize| {
                    let (across, down) = (points[number], points[5 + number]);
                    [square.left + across * square.width(), square.top + down * square.height()]
                };
                faces.push(Face {
                    bounds: square.moved([by[0], by[1], by[2], by[3]]),
                    score: score[1],
                    landmarks: [0, 1, 2, 3, 4].map(landmark),
                });
            }
        }
        Ok(faces)
    }

    /// The face that fills a square picture, looked at twice; its score may be low.
    pub(crate) fn filling(&self, picture: &RgbImage) -> Result<Option<Face>> {
        let whole = Bounds::new(0.0, 0.0, picture.width() as f32, picture.height() as f32);
        let once = self.confirm(picture, &[whole])?;
        let again: Vec<Bounds> = once.iter().map(|face| face.bounds.square().truncated()).collect();
        Ok(self.confirm(picture, &again)?.pop())
    }

    /// Parts of a picture of `side` x `side` pixels; black where a box is empty.
    fn crops(&self, picture: &RgbImage, squares: &[Bounds], side: usize) -> Maps {
        let mut points = Vec::with_capacity(squares.len() * 3 * side * side);
        for square in squares {
            let cropped = crop(picture, square, [side, side], normalised);
            points.extend(cropped.unwrap_or_else(|| vec![normalised(0.0); 3 * side * side]));
        }
        self.maps(points, [squares.len(), side, side])
    }

    /// Values of `[n, height, width, 3]`.
    fn maps(&self, values: Vec<f32>, [n, height, width]: [usize; 3]) -> Maps {
        Maps::of_points(values, [n, height, width, 3], &self.device)
    }
}

/// Boxes that go through a network together: bounds what a crowd costs.
const AT_ONCE: usize = 64;

/// The centres of BlazeFace's anchors, as shares of the picture.
fn anchors() -> impl Iterator<Item = Point> {
    [(16, 2), (8, 6)].into_iter().flat_map(|(cells, each)| {
        let centre = move |cell: usize| (cell as f32 + 0.5) / cells as f32;
        (0..cells * cells).flat_map(move |cell| std::iter::repeat_n([centre(cell % cells), centre(cell / cells)], each))
    })
}

/// Boxes that overlap become their mean, weighted by the scores, as BlazeFace wants it; best first.
fn averaged(mut candidates: Vec<(Bounds, f32)>) -> Vec<Bounds> {
    candidates.sort_by(|one, other| other.1.total_cmp(&one.1));
    let mut means = Vec::new();
    while let Some(&(best, _)) = candidates.first() {
        let (same, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|(bounds, _)| best.overlap(bounds) > 0.3);
        candidates = others;
        let weight: f32 = same.iter().map(|(_, score)| score).sum();
        let mean = |edge: fn(&Bounds) -> f32| same.iter().map(|(bounds, score)| score * edge(bounds)).sum::<f32>() / weight;
        // A box that is not finite overlaps nothing, not even itself, and would never leave.
        if !same.is_empty() {
            means.push(Bounds::new(mean(|b| b.left), mean(|b| b.top), mean(|b| b.right), mean(|b| b.bottom)));
        } else {
            candidates.remove(0);
        }
        if means.len() == MOST_FACES {
            break;
        }
    }
    means
}

/// Drops boxes that are mostly inside a better one.
fn distinct(faces: Vec<Face>) -> Vec<Face> {
    let confident: Vec<Face> = faces.into_iter().filter(|face| face.score > 0.7).collect();
    let boxes: Vec<(Bounds, f32)> = confident.iter().map(|face| (face.bounds, face.score)).collect();
    suppress(&boxes, 0.7, MOST_FACES, Bounds::covered).into_iter().map(|place| confident[place].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_896_anchors_in_rows() {
        let all: Vec<Point> = anchors().collect();
        assert_eq!(all.len(), 896);
        assert_eq!((all[0], all[1], all[2]), ([0.03125, 0.03125], [0.03125, 0.03125], [0.09375, 0.03125]));
        assert_eq!((all[512], all[895]), ([0.0625, 0.0625], [0.9375, 0.9375]));
    }

    #[test]
    fn boxes_that_are_not_finite_end() {
        let odd = Bounds::new(f32::NAN, 0.0, 1.0, 1.0);
        let fine = Bounds::new(0.0, 0.0, 10.0, 10.0);
        assert_eq!(averaged(vec![(odd, 0.9), (fine, 0.8), (odd, 0.7)]).len(), 1);
    }
}
