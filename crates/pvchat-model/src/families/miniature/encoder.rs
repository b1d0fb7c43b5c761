//! The miniature's vision encoder: a convolutional stem over tubelets, attention inside and across
//! tubelets, and read-out tokens for the people and the scene.
//!
//! It is the small sibling of [`InternVideo2`](crate::families::internvideo2_chat::InternVideo2) for clips of
//! 64 px squares that has to be trained on two CPU cores.

mod layers;

use burn::{module::Param, nn::Linear, prelude::*};
use image::RgbImage;
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};
use std::ops::Range;

use crate::{
    Error, Result,
    sight::Readout,
    vision::{Encoded, VisionEncoder, layer_states},
};
use layers::{Block, Norm, ReadoutPool, Stem};
use pvchat_nn::{init, trace::Trace};

/// Sizes of the miniature encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiniatureEncoderConfig {
    /// Side of the square frames in pixels; a multiple of 16.
    pub frame_side: usize,
    /// Frames per clip; a multiple of `tubelet`.
    pub frames: usize,
    /// Frames that are stacked into the channels of one token grid.
    pub tubelet: usize,
    /// Channels after the first and the second convolution; empty for one linear layer per patch of 8 x 8 pixels, as in
    /// [`InternVideo2`](crate::families::internvideo2_chat::InternVideo2).
    pub stem: Vec<usize>,
    /// Width of the tokens.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the hidden layer of each block's MLP.
    pub intermediate: usize,
    /// Blocks that attend inside a tubelet.
    pub blocks_inside: usize,
    /// Blocks that attend over the whole clip.
    pub blocks_across: usize,
    /// Width of the identity embedding; `None` for an encoder that distinguishes nobody in particular.
    pub identity_width: Option<usize>,
}

impl Default for MiniatureEncoderConfig {
    fn default() -> Self {
        Self {
            frame_side: 64,
            frames: 8,
            tubelet: 4,
            stem: vec![48, 96],
            width: 128,
            heads: 4,
            intermediate: 384,
            blocks_inside: 2,
            blocks_across: 2,
            identity_width: Some(64),
        }
    }
}

/// Everything that the encoder computes for a batch of clips.
#[derive(Clone, Debug)]
pub struct MiniatureFeatures {
    /// Patch tokens `[batch, tokens, width]`, tubelet by tubelet, row by row.
    pub tokens: Tensor<3>,
    /// Read-out tokens `[batch, 5, width]` in the order of [`Readout`].
    pub readouts: Tensor<3>,
}

/// The miniature encoder; see the module's documentation.
#[derive(Module, Debug)]
pub struct MiniatureEncoder {
    stem: Stem,
    positions: Param<Tensor<2>>,
    tubelets: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: Norm,
    readout: ReadoutPool,
    identity: Option<Linear>,
    #[module(skip)]
    frames: usize,
    #[module(skip)]
    tubelet: usize,
    #[module(skip)]
    blocks_inside: usize,
}

impl MiniatureEncoderConfig {
    /// Tokens that later stages see of a clip: one per 2x2 grid places, and the read-outs.
    pub fn memory_tokens(&self) -> usize {
        let grid = self.frame_side / 16;
        (self.frames / self.tubelet.max(1)).saturating_mul(grid.saturating_mul(grid)).saturating_add(Readout::COUNT)
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::Config`] with the value at fault.
    pub fn validate(&self) -> Result<()> {
        let multiples = [
            ("frame_side", self.frame_side, 16),
            ("frames", self.frames, self.tubelet),
            ("width", self.width, self.heads),
            ("intermediate", self.intermediate, 1),
            ("identity_width", self.identity_width.unwrap_or(1), 1),
            ("stem", self.stem.iter().copied().min().unwrap_or(1), 1),
        ];
        let fits = |value: usize, unit: usize| value > 0 && unit > 0 && value.is_multiple_of(unit);
        if ![0, 2].contains(&self.stem.len()) {
            let remedy = "give two numbers of channels, or none".into();
            return Err(Error::Config { key: "stem", value: format!("{:?}", self.stem), remedy });
        }
        match multiples.into_iter().find(|(_, value, unit)| !fits(*value, *unit)) {
            Some((key, value, unit)) => {
                let remedy = format!("it must be a positive multiple of {unit}, itself at least 1");
                Err(Error::Config { key, value: value.to_string(), remedy })
            }
            None => Ok(()),
        }
    }

    /// Draws a new encoder.
    pub fn init(&self, stream: &mut SeededStream, device: &Device) -> MiniatureEncoder {
        let width = self.width;
        let grid = self.frame_side / 8;
        MiniatureEncoder {
            stem: Stem::init(self, stream, device),
            positions: init::normal_param(stream, [grid * grid, width], 0.02, device),
            tubelets: init::normal_param(stream, [self.frames / self.tubelet, width], 0.02, device),
            blocks: (0..self.blocks_inside + self.blocks_across).map(|_| Block::init(self, stream, device)).collect(),
            norm: Norm::init(width, device),
            readout: ReadoutPool::init(self, stream, device),
            identity: self
                .identity_width
                .map(|outputs| init::linear(stream, width, outputs, false, (width as f32).powf(-0.5), device)),
            frames: self.frames,
            tubelet: self.tubelet,
            blocks_inside: self.blocks_inside,
        }
    }
}

impl MiniatureEncoder {
    /// Encodes clips `[batch, 3, frames, side, side]` of pixels in `0.0..=1.0`.
    pub fn features(&self, pixels: Tensor<5>) -> MiniatureFeatures {
        let trace = &mut Trace::off();
        self.across(self.inside(pixels, trace), trace)
    }

    /// Everything inside a tubelet: `[batch, tokens, width]`, tubelet by tubelet.
    fn inside(&self, pixels: Tensor<5>, trace: &mut Trace<'_>) -> Tensor<3> {
        let [batch, channels, frames, height, width] = pixels.dims();
        let tubelets = self.frames / self.tubelet;
        debug_assert_eq!(frames, self.frames);
        let stacked = pixels.swap_dims(1, 2).reshape([batch * tubelets, self.tubelet * channels, height, width]);
        let grid = self.stem.forward((stacked - 0.5) * 4.0);
        let positions = self.positions.val().unsqueeze_dim::<3>(0);
        let [tokens, hidden] = self.positions.dims();
        let placed =
            (grid + positions).reshape([batch, tubelets, tokens, hidden]) + self.tubelets.val().reshape([1, tubelets, 1, hidden]);
        let inside = placed.reshape([batch * tubelets, tokens, hidden]);
        trace.show(format_args!("vision.embeddings"), &inside);
        let inside = self.run(0..self.blocks_inside, inside, trace);
        inside.reshape([batch, tubelets * tokens, hidden])
    }

    /// The rest, across tubelets.
    fn across(&self, lower: Tensor<3>, trace: &mut Trace<'_>) -> MiniatureFeatures {
        let across = self.run(self.blocks_inside..self.blocks.len(), lower, trace);
        let tokens = self.norm.forward(across);
        let readouts = self.readout.forward(tokens.clone());
        MiniatureFeatures { tokens, readouts }
    }

    /// Some of the blocks, one after another.
    fn run(&self, blocks: Range<usize>, tokens: Tensor<3>, trace: &mut Trace<'_>) -> Tensor<3> {
        let numbered = self.blocks.iter().enumerate().skip(blocks.start).take(blocks.len());
        numbered.fold(tokens, |x, (index, block)| {
            let x = block.forward(x);
            trace.show(format_args!("vision.layer{index}"), &x);
            x
        })
    }

    /// Unit-length identity embeddings `[batch, 2, identity_width]` of the left and right person; `[batch, 0, 0]` for an
    /// encoder without them.
    pub fn identity(&self, readouts: Tensor<3>) -> Tensor<3> {
        let Some(identity) = &self.identity else {
            return Tensor::zeros([readouts.dims()[0], 0, 0], (&readouts.device(), readouts.dtype()));
        };
        let embedding = identity.forward(readouts.slice(s![.., 0..2]));
        let length = embedding.clone().square().sum_dim(2).add_scalar(1e-6).sqrt();
        embedding / length
    }

    /// What later stages see of a clip, `[batch, tokens / 4 + 5, width]`: the tokens averaged over
    /// 2x2 neighbours, then the read-outs.
    pub fn memory(&self, features: &MiniatureFeatures) -> Tensor<3> {
        let [batch, tokens, width] = features.tokens.dims();
        let tubelets = self.frames / self.tubelet;
        let side = ((tokens / tubelets) as f64).sqrt() as usize;
        let half = side / 2;
        let pooled = features
            .tokens
            .clone()
            .reshape([batch * tubelets * half, 2, half, 2 * width])
            .mean_dim(1)
            .reshape([batch * tubelets * half * half, 2, width])
            .mean_dim(1)
            .reshape([batch, tubelets * half * half, width]);
        Tensor::cat(vec![pooled, features.readouts.clone()], 1)
    }

    /// Everything that later stages need of clips `[batch, 3, frames, side, side]` in `0.0..=1.0`.
    pub fn look(&self, pixels: Tensor<5>) -> Encoded {
        self.upper(self.inside(pixels, &mut Trace::off()))
    }

    /// Frames that a clip must have.
    pub fn frames(&self) -> usize {
        self.frames
    }

    fn check(&self, pixels: &Tensor<5>) -> Result<()> {
        let [batch, channels, frames, height, width] = pixels.dims();
        // Three convolutions of stride 2, or one of stride 8, lead to the grid of positions.
        let side = 8 * self.positions.lazy_shape()[0].isqrt();
        if batch > 0 && [channels, frames, height, width] == [3, self.frames, side, side] {
            return Ok(());
        }
        Err(Error::Shape {
            what: "pixels of the vision encoder",
            found: vec![batch, channels, frames, height, width],
            expected: format!("[batch, 3, {}, {side}, {side}] without empty axes", self.frames),
        })
    }
}

impl VisionEncoder for MiniatureEncoder {
    /// What is inside a tubelet.
    fn lower_traced(&self, pixels: Tensor<5>, trace: &mut Trace<'_>) -> Result<Tensor<3>> {
        self.check(&pixels)?;
        Ok(self.inside(pixels, trace))
    }

    /// What goes across tubelets, and the read-outs.
    fn upper_traced(&self, lower: Tensor<3>, trace: &mut Trace<'_>) -> Encoded {
        let features = self.across(lower, trace);
        let tokens = self.memory(&features);
        trace.show(format_args!("vision.last_hidden_state"), &tokens);
        Encoded { tokens, identity: self.identity(features.readouts) }
    }

    fn states(&self) -> Vec<String> {
        layer_states(self.blocks.len())
    }

    fn width(&self) -> usize {
        self.positions.lazy_shape()[1]
    }

    fn tokens(&self, frames: usize) -> usize {
        frames / self.tubelet * self.positions.lazy_shape()[0] / 4 + Readout::COUNT
    }
}

/// Stacks clips of equally many frames of equal size into `[batch, 3, frames, height, width]` with
/// pixels in `0.0..=1.0`.
pub fn stack_clips(clips: &[&[RgbImage]], device: &Device) -> Tensor<5> {
    let frames = clips.first().map_or(0, |clip| clip.len());
    let (width, height) = clips.first().and_then(|clip| clip.first()).map_or((0, 0), RgbImage::dimensions);
    let area = (width * height) as usize;
    let mut values = vec![0.0_f32; clips.len() * 3 * frames * area];
    for (clip, clip_values) in clips.iter().zip(values.chunks_exact_mut((3 * frames * area).max(1))) {
        for (time, frame) in clip.iter().enumerate() {
            for (position, pixel) in frame.pixels().enumerate() {
                for channel in 0..3 {
                    clip_values[(channel * frames + time) * area + position] = f32::from(pixel[channel]) / 255.0;
                }
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [clips.len(), 3, frames, height as usize, width as usize]), device)
}
