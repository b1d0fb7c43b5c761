//! InternVideo2: a plain video transformer with a class token, query/key norm and layer scale.

use super::positions;
use crate::{
    Error, Result,
    vision::{Encoded, VisionEncoder, layer_states, unfold_patches},
};
use burn::{
    module::Param,
    nn::{Linear, RmsNorm},
    prelude::*,
    tensor::{module::attention, ops::AttentionModuleOptions},
};
use pvchat_data::random::SeededStream;
use pvchat_nn::{init, operations, trace::Trace};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Sizes of an [`InternVideo2`] encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternVideo2Config {
    /// Width of a token.
    pub width: usize,
    /// Depth that the model was configured with; see `return_index`.
    pub depth: usize,
    /// Which block's output is returned, counted from the end as -1, -2, ...; later blocks are not built.
    pub return_index: isize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward.
    pub mlp_hidden: usize,
    /// Height and width of a frame in pixels.
    pub image_size: usize,
    /// Height and width of a patch in pixels.
    pub patch_size: usize,
    /// Frames that the video position table is made for.
    pub frames: usize,
    /// Colour channels.
    pub channels: usize,
    /// Epsilon of every norm.
    pub rms_norm_epsilon: f64,
    /// Initial value of the layer scale.
    pub layer_scale: f32,
    /// Standard deviation of the initial weights.
    pub initial_deviation: f32,
}

impl InternVideo2Config {
    /// InternVideo2-1B as the public PVChat base checkpoint holds it: 39 of 40 blocks, 2049 tokens of width 1408.
    pub fn full() -> Self {
        Self {
            width: 1408,
            depth: 40,
            return_index: -2,
            heads: 16,
            mlp_hidden: 6144,
            image_size: 224,
            patch_size: 14,
            frames: 8,
            channels: 3,
            rms_norm_epsilon: 1e-6,
            layer_scale: 1e-5,
            initial_deviation: 0.02,
        }
    }

    /// The number of blocks that are built: `depth + return_index + 1`.
    pub fn built_blocks(&self) -> usize {
        self.depth.saturating_add_signed(self.return_index).saturating_add(1).min(self.depth)
    }

    /// Tokens of a clip of that many frames: the class token and the patches.
    pub fn tokens(&self, frames: usize) -> usize {
        frames.saturating_mul(self.side().saturating_mul(self.side())).saturating_add(1)
    }

    /// Patches along one side of a frame.
    fn side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::Config`] with the numbers that contradict each other.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key, value: String, remedy: String| Err(Error::Config { key, value, remedy });
        let at_least_one =
            [("heads", self.heads), ("patch_size", self.patch_size), ("frames", self.frames), ("mlp_hidden", self.mlp_hidden)];
        if let Some((key, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return wrong(key, "0".into(), "it must be at least 1".into());
        }
        if self.width == 0 || !self.width.is_multiple_of(16) || !self.width.is_multiple_of(self.heads) {
            let remedy = format!("it must be a multiple of 16 (position table) and of the {} heads", self.heads);
            return wrong("width", self.width.to_string(), remedy);
        }
        if self.image_size == 0 || !self.image_size.is_multiple_of(self.patch_size) {
            return wrong(
                "image_size",
                self.image_size.to_string(),
                format!("it must be a multiple of patch_size = {}", self.patch_size),
            );
        }
        if self.return_index >= 0 || self.return_index.unsigned_abs() > self.depth {
            let remedy = format!("it must lie in -{}..=-1, counted from the end of {} blocks", self.depth, self.depth);
            return wrong("return_index", self.return_index.to_string(), remedy);
        }
        Ok(())
    }

    /// Builds the module; parameters are a function of the stream's seed, position tables are sine-cosine.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<InternVideo2> {
        self.validate()?;
        let (width, side, patch) = (self.width, self.side(), self.patch_size);
        let table = |frames: usize| {
            let shape = [1, 1 + frames * side * side, width];
            init::lazy_param(shape, device, move |device| {
                Tensor::from_data(TensorData::new(positions::sine_cosine_table(width, frames, side), shape), device)
            })
        };
        let kernel = [width, self.channels, 1, patch, patch];
        Ok(InternVideo2 {
            cls_token: init::normal_param(&mut stream.derive("cls_token"), [1, 1, width], self.initial_deviation, device),
            pos_embed: table(self.frames),
            img_pos_embed: table(1),
            patch_embed: PatchEmbed {
                proj: PatchProjection {
                    weight: init::normal_param(&mut stream.derive("patch_embed"), kernel, self.initial_deviation, device),
                    bias: init::constant_param([width], 0.0, device),
                },
            },
            blocks: (0..self.built_blocks()).map(|i| Block::new(self, &stream.derive(format!("blocks.{i}")), device)).collect(),
            frames: self.frames,
            image_size: self.image_size,
        })
    }
}

/// The block that the upper half begins with: 19 of 39, where the paper's second stage unfreezes.
pub fn first_upper_block(blocks: usize) -> usize {
    blocks / 2
}

/// Convolution whose kernel equals its stride `(1, patch, patch)`: one matrix product over unfolded patches.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// `[width, channels, 1, patch, patch]`.
    pub weight: Param<Tensor<5>>,
    /// `[width]`.
    pub bias: Param<Tensor<1>>,
}

/// Pixels to patch tokens.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// The projection.
    pub proj: PatchProjection,
}

impl PatchEmbed {
    /// `[batch, channels, frames, height, width]` to `[batch, frames, patches, width]`, patches row by row.
    pub fn forward(&self, pixels: Tensor<5>) -> Tensor<4> {
        let [batch, channels, frames, height, width] = pixels.dims();
        let [out, _, _, patch, _] = self.proj.weight.dims();
        // Frames join the batch first: six axes are the most that every backend has.
        let images = pixels.swap_dims(1, 2).reshape([batch * frames, channels, height, width]);
        let patches = unfold_patches(images, patch);
        let [_, count, size] = patches.dims();
        let patches = patches.reshape([batch, frames, count, size]);
        let weight = self.proj.weight.val().reshape([1, 1, out, channels * patch * patch]).transpose();
        patches.matmul(weight) + self.proj.bias.val().reshape([1, 1, 1, out])
    }
}

/// Self-attention with one norm over all heads of the queries, and one of the keys.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[width] -> [3 * width]`, no bias.
    pub qkv: Linear,
    /// `[width] -> [width]`.
    pub proj: Linear,
    /// Over all channels of the queries, before they are split into heads.
    pub q_norm: RmsNorm,
    /// The same for the keys.
    pub k_norm: RmsNorm,
    heads: usize,
}

impl Attention {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let qkv = self.qkv.forward(x);
        let part = |index: usize| qkv.clone().narrow(2, index * width, width);
        let split = |states: Tensor<3>| states.reshape([batch, tokens, self.heads, width / self.heads]).swap_dims(1, 2);
        let (q, k) = (operations::rms_norm(&self.q_norm, part(0)), operations::rms_norm(&self.k_norm, part(1)));
        let context = attention(split(q), split(k), split(part(2)), None, None, AttentionModuleOptions::default());
        self.proj.forward(context.swap_dims(1, 2).reshape([batch, tokens, width]))
    }
}

/// Feed-forward with exact GELU.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[width] -> [mlp_hidden]`.
    pub fc1: Linear,
    /// `[mlp_hidden] -> [width]`.
    pub fc2: Linear,
}

/// One block: `x += ls1 * attn(norm1(x)); x += ls2 * mlp(norm2(x))`.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: RmsNorm,
    /// Self-attention.
    pub attn: Attention,
    /// Layer scale of attention `[width]`.
    pub ls1: Param<Tensor<1>>,
    /// Before the feed-forward.
    pub norm2: RmsNorm,
    /// Feed-forward.
    pub mlp: Mlp,
    /// Layer scale of the feed-forward `[width]`.
    pub ls2: Param<Tensor<1>>,
}

impl Block {
    fn new(config: &InternVideo2Config, stream: &SeededStream, device: &Device) -> Self {
        let width = config.width;
        let linear = |label: &str, inputs, outputs, bias| {
            init::linear(&mut stream.derive(label), inputs, outputs, bias, config.initial_deviation, device)
        };
        let norm = || init::rms_norm(width, config.rms_norm_epsilon, device);
        let scale = || init::constant_param([width], config.layer_scale, device);
        Self {
            norm1: norm(),
            attn: Attention {
                qkv: linear("attn.qkv", width, 3 * width, false),
                proj: linear("attn.proj", width, width, true),
                q_norm: norm(),
                k_norm: norm(),
                heads: config.heads,
            },
            ls1: scale(),
            norm2: norm(),
            mlp: Mlp {
                fc1: linear("mlp.fc1", width, config.mlp_hidden, true),
                fc2: linear("mlp.fc2", config.mlp_hidden, width, true),
            },
            ls2: scale(),
        }
    }

    /// One block over `[batch, tokens, width]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(operations::rms_norm(&self.norm1, x)) * self.ls1.val().unsqueeze();
        let inner = operations::gelu(self.mlp.fc1.forward(operations::rms_norm(&self.norm2, x.clone())));
        x + self.mlp.fc2.forward(inner) * self.ls2.val().unsqueeze()
    }
}

/// The InternVideo2 encoder; parameter paths are those below `vision_encoder.` of the public checkpoint.
///
/// There is no final norm inside: [`vision_layernorm`](crate::vision::vision_layernorm) follows it.
#[derive(Module, Debug)]
pub struct InternVideo2 {
    /// `[1, 1, width]`.
    pub cls_token: Param<Tensor<3>>,
    /// Positions of a video `[1, 1 + frames * patches, width]`; row zero is the class token's.
    pub pos_embed: Param<Tensor<3>>,
    /// Positions of a single frame `[1, 1 + patches, width]`.
    pub img_pos_embed: Param<Tensor<3>>,
    /// Pixels to tokens.
    pub patch_embed: PatchEmbed,
    /// The blocks that are built.
    pub blocks: Vec<Block>,
    frames: usize,
    image_size: usize,
}

impl InternVideo2 {
    /// Patch tokens with class token and positions, `[batch, tokens, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the pixels do not have the configured channels and size.
    pub fn embed(&self, pixels: Tensor<5>) -> Result<Tensor<3>> {
        let [batch, channels, frames, height, width] = pixels.dims();
        let (size, wanted) = (self.image_size, self.patch_embed.proj.weight.dims()[1]);
        if [channels, height, width] != [wanted, size, size] || batch == 0 || frames == 0 {
            return Err(Error::Shape {
                what: "pixels of the vision encoder",
                found: vec![batch, channels, frames, height, width],
                expected: format!("[batch, {wanted}, frames, {size}, {size}] without empty axes"),
            });
        }
        let patches: Tensor<3> = self.patch_embed.forward(pixels).flatten(1, 2);
        let class = self.cls_token.val().expand([batch, 1, patches.dims()[2]]);
        Ok(Tensor::cat(vec![class, patches], 1) + self.positions(frames))
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

    /// The position table for a number of frames: an image has its own, other lengths are interpolated over time.
    fn positions(&self, frames: usize) -> Tensor<3> {
        if frames == 1 {
            return self.img_pos_embed.val();
        }
        let table = self.pos_embed.val();
        if frames == self.frames {
            return table;
        }
        let [_, rows, width] = table.dims();
        let patches = (rows - 1) / self.frames;
        let weights = TensorData::new(positions::time_weights(self.frames, frames), [frames, self.frames]);
        let weights = Tensor::<2>::from_data(weights, &table.device());
        let moved = weights.matmul(table.clone().narrow(1, 1, rows - 1).reshape([self.frames, patches * width]));
        Tensor::cat(vec![table.narrow(1, 0, 1), moved.reshape([1, frames * patches, width])], 1)
    }
}

impl VisionEncoder for InternVideo2 {
    fn lower_traced(&self, pixels: Tensor<5>, trace: &mut Trace<'_>) -> Result<Tensor<3>> {
        let frozen = first_upper_block(self.blocks.len());
        let embedded = self.embed(pixels.cast(self.cls_token.val().dtype()))?;
        trace.show(format_args!("vision.embeddings"), &embedded);
        Ok(self.run(0..frozen, embedded, trace))
    }

    fn upper_traced(&self, lower: Tensor<3>, trace: &mut Trace<'_>) -> Encoded {
        let frozen = first_upper_block(self.blocks.len());
        // Where it is trained this part is in f32, whatever the part below is in.
        let own = |block: &Block| block.norm1.gamma.val().dtype();
        let lower = match self.blocks.get(frozen) {
            Some(block) => lower.cast(own(block)),
            None => lower,
        };
        let tokens = self.run(frozen..self.blocks.len(), lower, trace);
        trace.show(format_args!("vision.last_hidden_state"), &tokens);
        let identity = Tensor::zeros([tokens.dims()[0], 0, 0], (&tokens.device(), tokens.dtype()));
        Encoded { tokens, identity }
    }

    fn states(&self) -> Vec<String> {
        layer_states(self.blocks.len())
    }

    fn width(&self) -> usize {
        self.cls_token.lazy_shape()[2]
    }

    fn tokens(&self, frames: usize) -> usize {
        1 + frames * (self.img_pos_embed.lazy_shape()[1] - 1)
    }
}
