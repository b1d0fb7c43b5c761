//! From the vision encoder's tokens to the language model's: neighbouring patches side by side, and one projection.

use std::sync::Arc;

use burn::{module::Param, nn::Linear, prelude::*};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use pvchat_nn::{
    init,
    packed::{Finish, PackedMatrix, Precision, Weights},
    trace::Trace,
};

/// Standard deviation of initial weights.
const INITIAL_DEVIATION: f32 = 0.02;

/// Sizes of a [`Connector`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorConfig {
    /// Width of the vision encoder's tokens.
    pub width: usize,
    /// Width of the language model's.
    pub hidden: usize,
    /// Patches along one side of the square that becomes one token.
    pub scale_factor: usize,
}

impl ConnectorConfig {
    /// Tokens of a frame of `side` by `side` patches.
    ///
    /// # Errors
    /// [`Error::Config`] when the scale factor does not divide the side.
    pub fn tokens(&self, side: usize) -> Result<usize> {
        blocks(side, self.scale_factor).map(|blocks| blocks * blocks)
    }

    /// Checks that no size is zero.
    ///
    /// # Errors
    /// [`Error::Config`] with the key at fault.
    pub fn validate(&self) -> Result<()> {
        let sizes = [("width", self.width), ("hidden", self.hidden), ("scale_factor", self.scale_factor)];
        match sizes.into_iter().find(|(_, size)| *size == 0) {
            Some((key, _)) => Err(Error::Config { key, value: "0".into(), remedy: "it must be at least 1".into() }),
            None => Ok(()),
        }
    }

    /// Builds the module; its weights are a function of the stream's seed.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<Connector> {
        self.validate()?;
        let inputs = self.width * self.scale_factor * self.scale_factor;
        let mut stream = stream.derive("modality_projection.proj");
        let proj = init::linear(&mut stream, inputs, self.hidden, false, INITIAL_DEVIATION, device);
        Ok(Connector { modality_projection: ModalityProjection { proj }, scale_factor: self.scale_factor, packed: None })
    }
}

/// The projection of a [`Connector`].
#[derive(Module, Debug)]
pub struct ModalityProjection {
    /// `[width * scale_factor^2] -> [hidden]`, no bias.
    pub proj: Linear,
}

/// The connector; parameter paths are those below `model.connector.` of the public checkpoints.
#[derive(Module, Debug)]
pub struct Connector {
    /// Joined patches to tokens of the language model.
    pub modality_projection: ModalityProjection,
    scale_factor: usize,
    /// The projection with packed weights; the linear layer then is empty.
    #[module(skip)]
    packed: Option<Arc<PackedMatrix>>,
}

impl Connector {
    /// Packs the weights of the projection for inference on the CPU. Afterwards it cannot be trained or saved.
    ///
    /// # Errors
    /// [`Error::Shape`] for weights of another size, [`Error::Nn`] for those that cannot be rounded.
    pub fn pack(&mut self, precision: Precision, weights: &Weights) -> Result<()> {
        let weight = &mut self.modality_projection.proj.weight;
        let sizes: [usize; 2] = weight.lazy_shape().dims();
        if weights.sizes != sizes {
            let expected = format!("{sizes:?}, as modality_projection.proj,");
            return Err(Error::Shape { what: "a weight to be packed", found: weights.sizes.to_vec(), expected });
        }
        self.packed = Some(Arc::new(weights.pack(precision)?));
        *weight = Param::from_tensor(Tensor::zeros([0, 0], &weight.lazy_device())).set_require_grad(false);
        Ok(())
    }

    /// Tokens of the language model, `[frames, tokens, hidden]`, of patches `[frames, side * side, width]`.
    ///
    /// # Errors
    /// As [`pixel_shuffle`].
    pub fn forward(&self, patches: Tensor<3>) -> Result<Tensor<3>> {
        self.forward_traced(patches, &mut Trace::off())
    }

    /// [`forward`](Self::forward) that shows the joined patches (`pixel_shuffle`) and what it returns (`connector`).
    ///
    /// # Errors
    /// As [`pixel_shuffle`].
    pub fn forward_traced(&self, patches: Tensor<3>, trace: &mut Trace<'_>) -> Result<Tensor<3>> {
        let joined = pixel_shuffle(patches, self.scale_factor)?;
        trace.show(format_args!("pixel_shuffle"), &joined);
        let tokens = match &self.packed {
            None => self.modality_projection.proj.forward(joined),
            Some(packed) => {
                let ([frames, count, _], device) = (joined.dims(), joined.device().inner());
                let rows = joined.inner().into_data().convert::<f32>().try_to_vec::<f32>().unwrap_or_default();
                let tokens = packed.forward_new(&rows, frames * count, None, Finish::Nothing)?;
                Tensor::from_data(TensorData::new(tokens, [frames, count, packed.outputs()]), &device)
            }
        };
        trace.show(format_args!("connector"), &tokens);
        Ok(tokens)
    }
}

/// Joins each square of `factor` by `factor` patches into one token: `[frames, side * side, width]` to
/// `[frames, (side / factor)^2, factor * factor * width]`, squares row by row, and in a token the channels of its patches one
/// after another, row by row.
///
/// # Errors
/// [`Error::Shape`] when the patches are not those of a square, [`Error::Config`] when the factor does not divide its side.
pub fn pixel_shuffle(patches: Tensor<3>, factor: usize) -> Result<Tensor<3>> {
    let found @ [frames, count, width] = patches.dims();
    let side = count.isqrt();
    if side * side != count || found.contains(&0) {
        let expected = "[frames, side * side, width] without empty axes".into();
        return Err(Error::Shape { what: "patches of a frame", found: found.to_vec(), expected });
    }
    let blocks = blocks(side, factor)?;
    let joined = patches.reshape([frames, blocks, factor, blocks, factor * width]).swap_dims(2, 3);
    Ok(joined.reshape([frames, blocks * blocks, factor * factor * width]))
}

/// Squares of `factor` patches along a side.
fn blocks(side: usize, factor: usize) -> Result<usize> {
    if factor == 0 || side == 0 || !side.is_multiple_of(factor) {
        let remedy = format!("it must divide the {side} patches along the side of a frame");
        return Err(Error::Config { key: "scale_factor", value: factor.to_string(), remedy });
    }
    Ok(side / factor)
}

/// Word embeddings `[batch, tokens, hidden]` of `ids`, with the rows of `visual` `[frames, tokens per frame, hidden]`, in order
/// over the whole batch, where the id is `image_id`. Differentiable in both.
///
/// # Errors
/// [`Error::Shape`] when the ids are not those of the embeddings, or when there are not as many visual tokens as image ids.
pub fn place_visual_tokens(words: Tensor<3>, ids: &[Vec<u32>], image_id: u32, visual: Tensor<3>) -> Result<Tensor<3>> {
    let [batch, tokens, hidden] = words.dims();
    if ids.len() != batch || ids.iter().any(|row| row.len() != tokens) {
        let expected = format!("[{}, {}, hidden], as the ids", ids.len(), ids.first().map_or(0, Vec::len));
        return Err(Error::Shape { what: "word embeddings", found: vec![batch, tokens, hidden], expected });
    }
    let [frames, of_a_frame, width] = visual.dims();
    let places = ids.iter().flatten().filter(|&&id| id == image_id).count();
    if [frames * of_a_frame, width] != [places, hidden] {
        let expected = format!("{places} tokens of width {hidden}, one for each image id");
        return Err(Error::Shape { what: "visual tokens", found: vec![frames, of_a_frame, width], expected });
    }
    if places == 0 {
        return Ok(words);
    }
    let mut next = batch * tokens;
    let row = |(place, &id): (usize, &u32)| {
        if id != image_id {
            return place as i32;
        }
        next += 1;
        next as i32 - 1
    };
    let rows: Vec<i32> = ids.iter().flatten().enumerate().map(row).collect();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [batch * tokens]), &words.device().inner());
    let visual = visual.reshape([places, hidden]).cast(words.dtype());
    let all = Tensor::cat(vec![words.reshape([batch * tokens, hidden]), visual], 0);
    Ok(all.select(0, rows).reshape([batch, tokens, hidden]))
}
