//! Aligned faces to embeddings.

use image::RgbImage;

use super::{
    description::Description,
    graph::{Graph, Output},
    refused, unsuitable,
};
use crate::{Calibration, Result, unit::normalise};

/// From how many to how many numbers an embedding has.
const WIDTHS: std::ops::RangeInclusive<usize> = 16..=4096;

/// A user's own embedder.
#[derive(Debug)]
pub(crate) struct Embedder {
    graph: Graph,
    width: usize,
    id: String,
    calibration: Option<Calibration>,
}

impl Embedder {
    pub(super) fn load(description: Description, bytes: &[u8]) -> Result<Self> {
        let id = description.id(bytes);
        let graph = Graph::load(&description, bytes)?;
        let width = embedding(&graph, graph.trial()?)?.len();
        let network = Self { graph, width, id, calibration: description.calibration };
        network.calibration.iter().try_for_each(|calibration| network.check(calibration))?;
        Ok(network)
    }

    /// Refuses thresholds that were measured with another network, or with other preparation.
    pub(crate) fn check(&self, calibration: &Calibration) -> Result<()> {
        if calibration.embedder == self.id {
            return Ok(());
        }
        let problem = format!("it is {}, and this network with this preparation is {}", calibration.embedder, self.id);
        Err(refused(self.graph.file(), "calibration.embedder", problem, format!("calibrate this network: {CALIBRATE}")))
    }

    /// Side of an aligned face in pixels.
    pub(crate) fn side(&self) -> usize {
        self.graph.preparation().side
    }

    /// Numbers of an embedding.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The model's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What similarities mean.
    pub(crate) fn calibration(&self) -> Result<&Calibration> {
        self.calibration.as_ref().ok_or_else(|| {
            let remedy = format!("measure it on pictures of known people, and put what this prints there: {CALIBRATE}");
            refused(self.graph.file(), "calibration", "missing in the description", remedy)
        })
    }

    /// The embedding of an aligned face, of unit length.
    pub(crate) fn embed(&self, aligned: &RgbImage) -> Result<Vec<f32>> {
        let levels: Vec<f32> = aligned.as_raw().iter().copied().map(f32::from).collect();
        let mut embedding = embedding(&self.graph, self.graph.run(&levels)?)?;
        if embedding.len() != self.width {
            let problem = format!("{} numbers where there were {}", embedding.len(), self.width);
            return Err(unsuitable(self.graph.file(), "outputs", problem));
        }
        normalise(&mut embedding);
        Ok(embedding)
    }
}

/// The command that measures a calibration.
const CALIBRATE: &str =
    "cargo run --release --features pvchat-examples/onnx --example people_exam -- PICTURES --onnx JSON --calibrate";

/// The only output, one row of numbers.
fn embedding(graph: &Graph, outputs: Vec<Output>) -> Result<Vec<f32>> {
    let shapes: Vec<Vec<usize>> = outputs.iter().map(|output| output.shape.clone()).collect();
    // Some have more axes of one number behind.
    let is_row = |output: &Output| output.shape.iter().filter(|side| **side != 1).count() == 1;
    match <[Output; 1]>::try_from(outputs) {
        Ok([output]) if is_row(&output) && WIDTHS.contains(&output.values.len()) => Ok(output.values),
        _ => {
            let problem = format!("their shapes are {shapes:?} where one of [1, n] is expected, n from 16 to 4096");
            Err(unsuitable(graph.file(), "outputs", problem))
        }
    }
}
