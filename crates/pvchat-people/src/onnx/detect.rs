//! Pictures to faces.

use image::RgbImage;

use super::{
    description::{Description, Kind},
    graph::{Graph, Output},
    unsuitable,
};
use crate::{
    Face, Result,
    detect::MOST_FACES,
    geometry::{Bounds, Point, suppress},
    resize::crop,
};

/// The pixels between cells.
const STRIDES: [usize; 3] = [8, 16, 32];
/// Boxes that go into non-maximum suppression, at most.
const MOST_BOXES: usize = 5_000;

/// A user's own detector.
#[derive(Debug)]
pub(crate) struct Detector {
    graph: Graph,
    decoding: Decoding,
    score: f32,
    overlap: f32,
}

/// How outputs become boxes.
#[derive(Clone, Copy, Debug)]
enum Decoding {
    /// Where `cls`, `obj`, `bbox` and `kps` of each stride are among the outputs.
    YuNet([[usize; 4]; 3]),
    /// Two anchors for a cell.
    Scrfd,
}

impl Detector {
    pub(super) fn load(description: Description, bytes: &[u8]) -> Result<Self> {
        let graph = Graph::load(&description, bytes)?;
        let (decoding, score, overlap) = match description.kind {
            Kind::YuNet => (Decoding::YuNet(yunet_outputs(&graph)?), 0.9, 0.3),
            _ => (Decoding::Scrfd, 0.5, 0.4),
        };
        let (score, overlap) = (description.score.unwrap_or(score), description.overlap.unwrap_or(overlap));
        let detector = Self { graph, decoding, score, overlap };
        detector.decode(&detector.graph.trial()?)?;
        Ok(detector)
    }

    /// The faces of a picture, best first.
    pub(crate) fn find(&self, picture: &RgbImage) -> Result<Vec<Face>> {
        let side = self.graph.preparation().side;
        let size = [picture.width(), picture.height()].map(|length| length as usize);
        let longest = size[0].max(size[1]).max(side);
        let inner = size.map(|length| ((length as f32 * side as f32 / longest as f32).round() as usize).clamp(1, side));
        let whole = Bounds::new(0.0, 0.0, size[0] as f32, size[1] as f32);
        let Some(points) = crop(picture, &whole, inner, |level| level) else { return Ok(Vec::new()) };
        let mut levels = vec![0.0; 3 * side * side];
        for (row, into) in points.chunks_exact(3 * inner[0]).zip(levels.chunks_exact_mut(3 * side)) {
            into[..row.len()].copy_from_slice(row);
        }
        let mut faces = self.decode(&self.graph.run(&levels)?)?;
        let factors = [0, 1].map(|axis| size[axis] as f32 / inner[axis] as f32);
        for face in &mut faces {
            let Bounds { left, top, right, bottom } = face.bounds;
            face.bounds = Bounds::new(left * factors[0], top * factors[1], right * factors[0], bottom * factors[1]);
            face.landmarks.iter_mut().for_each(|point| *point = [point[0] * factors[0], point[1] * factors[1]]);
        }
        Ok(faces)
    }

    /// Faces in pixels of the network's input, best first, none of which overlaps a better one much.
    fn decode(&self, outputs: &[Output]) -> Result<Vec<Face>> {
        let mut faces = match self.decoding {
            Decoding::YuNet(places) => self.yunet(outputs, places)?,
            Decoding::Scrfd => self.scrfd(outputs)?,
        };
        faces.retain(|face| {
            let Bounds { left, top, right, bottom } = face.bounds;
            let finite = [left, top, right, bottom].iter().chain(face.landmarks.iter().flatten()).all(|value| value.is_finite());
            finite && face.bounds.area() > 0.0
        });
        faces.sort_by(|one, other| other.score.total_cmp(&one.score));
        faces.truncate(MOST_BOXES);
        let boxes: Vec<(Bounds, f32)> = faces.iter().map(|face| (face.bounds, face.score)).collect();
        let kept = suppress(&boxes, self.overlap, MOST_FACES, Bounds::overlap);
        Ok(kept.into_iter().map(|place| faces[place].clone()).collect())
    }

    fn yunet(&self, outputs: &[Output], places: [[usize; 4]; 3]) -> Result<Vec<Face>> {
        let mut faces = Vec::new();
        for (stride, places) in STRIDES.into_iter().zip(places) {
            let [class, object, boxes, points] = self.rows(outputs, stride, 1, places, [1, 1, 4, 10])?;
            for (cell, [column, row]) in self.cells(stride).enumerate() {
                let score = (class[cell].clamp(0.0, 1.0) * object[cell].clamp(0.0, 1.0)).sqrt();
                if score >= self.score {
                    let size = stride as f32;
                    let bounds = &boxes[4 * cell..4 * cell + 4];
                    let (x, y) = ((column + bounds[0]) * size, (row + bounds[1]) * size);
                    let (width, height) = (bounds[2].exp() * size, bounds[3].exp() * size);
                    let bounds = Bounds::new(x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0);
                    let landmarks = landmarks(&points[10 * cell..10 * cell + 10], [column, row], size);
                    faces.push(Face { bounds, score, landmarks });
                }
            }
        }
        Ok(faces)
    }

    fn scrfd(&self, outputs: &[Output]) -> Result<Vec<Face>> {
        const ANCHORS: usize = 2;
        if outputs.len() != 9 {
            let problem = format!("there are {} where SCRFD has 9 (scores, boxes, points of three strides)", outputs.len());
            return Err(unsuitable(self.graph.file(), "outputs", problem));
        }
        let mut faces = Vec::new();
        for (number, stride) in STRIDES.into_iter().enumerate() {
            let places = [number, 3 + number, 6 + number];
            let [scores, boxes, points] = self.rows(outputs, stride, ANCHORS, places, [1, 4, 10])?;
            for (cell, [column, row]) in self.cells(stride).enumerate() {
                for anchor in ANCHORS * cell..ANCHORS * (cell + 1) {
                    let score = scores[anchor].min(1.0);
                    if score >= self.score {
                        let size = stride as f32;
                        let by = &boxes[4 * anchor..4 * anchor + 4];
                        let bounds = Bounds::new(column - by[0], row - by[1], column + by[2], row + by[3]).scaled(size);
                        let landmarks = landmarks(&points[10 * anchor..10 * anchor + 10], [column, row], size);
                        faces.push(Face { bounds, score, landmarks });
                    }
                }
            }
        }
        Ok(faces)
    }

    /// Columns and rows of the cells, row by row.
    fn cells(&self, stride: usize) -> impl Iterator<Item = Point> + use<> {
        let across = self.graph.preparation().side / stride;
        (0..across * across).map(move |cell| [(cell % across) as f32, (cell / across) as f32])
    }

    /// The numbers of some outputs, after checking that each has the given count of numbers for every anchor of every cell.
    fn rows<'a, const N: usize>(
        &self,
        outputs: &'a [Output],
        stride: usize,
        anchors: usize,
        places: [usize; N],
        numbers: [usize; N],
    ) -> Result<[&'a [f32]; N]> {
        let count = anchors * (self.graph.preparation().side / stride).pow(2);
        let mut rows: [&[f32]; N] = [&[]; N];
        for ((row, place), numbers) in rows.iter_mut().zip(places).zip(numbers) {
            let output = outputs.get(place);
            let fits = |output: &&Output| output.shape.last() == Some(&numbers) && output.values.len() == count * numbers;
            let Some(output) = output.filter(fits) else {
                let name = self.graph.names().get(place).map_or("", String::as_str);
                let found = output.map_or_else(Vec::new, |output| output.shape.clone());
                let side = self.graph.preparation().side;
                let problem = format!("it has the shape {found:?}, expected [1, {count}, {numbers}] for side {side}");
                return Err(unsuitable(self.graph.file(), name, problem));
            };
            *row = &output.values;
        }
        Ok(rows)
    }
}

/// Five points around the corner of a cell.
fn landmarks(values: &[f32], [column, row]: Point, stride: f32) -> [Point; 5] {
    [0, 1, 2, 3, 4].map(|point| [(column + values[2 * point]) * stride, (row + values[2 * point + 1]) * stride])
}

/// Where the outputs of YuNet are, by their names.
fn yunet_outputs(graph: &Graph) -> Result<[[usize; 4]; 3]> {
    let mut places = [[0; 4]; 3];
    for (places, stride) in places.iter_mut().zip(STRIDES) {
        for (place, part) in places.iter_mut().zip(["cls", "obj", "bbox", "kps"]) {
            let name = format!("{part}_{stride}");
            let Some(found) = graph.names().iter().position(|other| *other == name) else {
                let names = graph.names().join(", ");
                return Err(unsuitable(graph.file(), name, format!("there is no such output, only {names}")));
            };
            *place = found;
        }
    }
    Ok(places)
}
