//! SmolVLM2's vision encoder: SigLIP without its pooling head, each frame by itself, with positions for frames that are
//! partly padding.

use std::sync::Arc;

use burn::{
    module::Param,
    nn::{Embedding, EmbeddingConfig, Linear},
    prelude::*,
    tensor::{DType, module::linear},
};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::{INITIAL_DEVIATION, PackedTower};
use crate::{
    Error, Result,
    vision::{Encoded, VisionEncoder, layer_states, unfold_patches},
};
use pvchat_nn::{
    init,
    moh::kernel::{View, gated_attention},
    operations::{self, LayerNorm},
    packed::{Precision, Weights},
    trace::Trace,
};

/// Frames that pass through the layers together. They do not see each other, so fewer of them only take less memory: at the
/// sizes of SmolVLM2-256M, eight frames, the peak above the weights is 41, 123 and 410 MB with 1, 2 and 8 together, for 21.1, 21.6
/// and 23.3 s of processor time (AVX-512).
const FRAMES_TOGETHER: usize = 2;

/// Sizes of a [`SiglipTower`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiglipConfig {
    /// Width of a token.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward.
    pub mlp_hidden: usize,
    /// Height and width of a frame in pixels.
    pub image_size: usize,
    /// Height and width of a patch in pixels.
    pub patch_size: usize,
    /// Colour channels.
    pub channels: usize,
    /// Epsilon of every norm.
    pub layer_norm_epsilon: f64,
}

impl SiglipConfig {
    /// Patches along one side of a frame; pixels that fill no patch are not seen.
    pub fn side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Tokens of a frame.
    pub fn tokens(&self) -> usize {
        self.side() * self.side()
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::Config`] with the numbers that contradict each other.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key, value: String, remedy: String| Err(Error::Config { key, value, remedy });
        let at_least_one = [
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("mlp_hidden", self.mlp_hidden),
            ("patch_size", self.patch_size),
            ("channels", self.channels),
        ];
        if let Some((key, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return wrong(key, "0".into(), "it must be at least 1".into());
        }
        if !self.width.is_multiple_of(self.heads) {
            return wrong("width", self.width.to_string(), format!("it must be a multiple of the {} heads", self.heads));
        }
        if self.image_size < self.patch_size {
            let remedy = format!("it must be at least patch_size = {}", self.patch_size);
            return wrong("image_size", self.image_size.to_string(), remedy);
        }
        if !(self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon.is_finite()) {
            return wrong("layer_norm_epsilon", self.layer_norm_epsilon.to_string(), "use a positive number".into());
        }
        Ok(())
    }

    /// Builds the module; its weights are a function of the stream's seed.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<SiglipTower> {
        self.validate()?;
        let (width, patch) = (self.width, self.patch_size);
        let kernel = [width, self.channels, patch, patch];
        let mut position_embedding = EmbeddingConfig::new(self.tokens(), width).init(device);
        position_embedding.weight =
            init::normal_param(&mut stream.derive("position_embedding"), [self.tokens(), width], INITIAL_DEVIATION, device);
        let layer = |index: usize| SiglipLayer::new(self, &stream.derive(format!("layers.{index}")), device);
        Ok(SiglipTower {
            embeddings: SiglipEmbeddings {
                patch_embedding: PatchEmbedding {
                    weight: init::normal_param(&mut stream.derive("patch_embedding"), kernel, INITIAL_DEVIATION, device),
                    bias: init::constant_param([width], 0.0, device),
                },
                position_embedding,
            },
            encoder: SiglipEncoder { layers: (0..self.layers).map(layer).collect() },
            post_layernorm: LayerNorm::new(width, self.layer_norm_epsilon, device),
            image_size: self.image_size,
            packed: None,
        })
    }
}

/// Convolution whose kernel equals its stride.
#[derive(Module, Debug)]
pub struct PatchEmbedding {
    /// `[width, channels, patch, patch]`.
    pub weight: Param<Tensor<4>>,
    /// `[width]`.
    pub bias: Param<Tensor<1>>,
}

impl PatchEmbedding {
    /// `[frames, channels, height, width]` to `[frames, patches, width]`, patches row by row.
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [width, channels, patch, _] = self.weight.dims();
        let weight = self.weight.val().reshape([width, channels * patch * patch]).transpose();
        linear(unfold_patches(pixels, patch), weight, Some(self.bias.val()))
    }
}

/// Pixels to tokens with positions.
#[derive(Module, Debug)]
pub struct SiglipEmbeddings {
    /// Of the pixels of a patch.
    pub patch_embedding: PatchEmbedding,
    /// Of its place, `[patches, width]`.
    pub position_embedding: Embedding,
}

impl SiglipEmbeddings {
    fn forward(&self, pixels: Tensor<4>, valid: Option<&ValidPatches>) -> Tensor<3> {
        let patches = self.patch_embedding.forward(pixels);
        let table = self.position_embedding.weight.val();
        let positions = match valid {
            None => table.unsqueeze::<3>(),
            Some(valid) => {
                let ids: Vec<i32> = valid.position_ids().into_iter().map(|id| id as i32).collect();
                let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [valid.valid.len()]), &patches.device().inner());
                table.select(0, ids).reshape(patches.dims())
            }
        };
        patches + positions
    }
}

/// Self-attention of all patches of a frame.
#[derive(Module, Debug)]
pub struct SiglipAttention {
    /// `[width] -> [width]`.
    pub q_proj: Linear,
    /// `[width] -> [width]`.
    pub k_proj: Linear,
    /// `[width] -> [width]`.
    pub v_proj: Linear,
    /// `[width] -> [width]`.
    pub out_proj: Linear,
    heads: usize,
}

impl SiglipAttention {
    pub(super) fn heads(&self) -> usize {
        self.heads
    }

    fn forward(&self, x: Tensor<3>, hidden: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        let [frames, tokens, width] = x.dims();
        let project =
            |layer: &Linear| layer.forward(x.clone()).reshape([frames, tokens, self.heads, width / self.heads]).swap_dims(1, 2);
        let [q, k, v] = [&self.q_proj, &self.k_proj, &self.v_proj].map(project);
        let (context, _) = gated_attention(q, k, v, View::without(hidden), None);
        self.out_proj.forward(context.swap_dims(1, 2).reshape([frames, tokens, width]))
    }
}

/// Feed-forward with the tanh form of GELU.
#[derive(Module, Debug)]
pub struct SiglipMlp {
    /// `[width] -> [mlp_hidden]`.
    pub fc1: Linear,
    /// `[mlp_hidden] -> [width]`.
    pub fc2: Linear,
}

/// One block: `x += attention(norm1(x)); x += mlp(norm2(x))`.
#[derive(Module, Debug)]
pub struct SiglipLayer {
    /// Before attention.
    pub layer_norm1: LayerNorm,
    /// Self-attention.
    pub self_attn: SiglipAttention,
    /// Before the feed-forward.
    pub layer_norm2: LayerNorm,
    /// Feed-forward.
    pub mlp: SiglipMlp,
}

impl SiglipLayer {
    fn new(config: &SiglipConfig, stream: &SeededStream, device: &Device) -> Self {
        let width = config.width;
        let layer = |label: &str, inputs, outputs| {
            init::linear(&mut stream.derive(label), inputs, outputs, true, INITIAL_DEVIATION, device)
        };
        let norm = || LayerNorm::new(width, config.layer_norm_epsilon, device);
        Self {
            layer_norm1: norm(),
            self_attn: SiglipAttention {
                q_proj: layer("self_attn.q_proj", width, width),
                k_proj: layer("self_attn.k_proj", width, width),
                v_proj: layer("self_attn.v_proj", width, width),
                out_proj: layer("self_attn.out_proj", width, width),
                heads: config.heads,
            },
            layer_norm2: norm(),
            mlp: SiglipMlp { fc1: layer("mlp.fc1", width, config.mlp_hidden), fc2: layer("mlp.fc2", config.mlp_hidden, width) },
        }
    }

    /// One block over `[frames, tokens, width]`; no token looks at those where `hidden` `[frames, tokens]` is true.
    pub fn forward(&self, x: Tensor<3>, hidden: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.layer_norm1.forward(x), hidden);
        let inner = operations::gelu_tanh(self.mlp.fc1.forward(self.layer_norm2.forward(x.clone())));
        x + self.mlp.fc2.forward(inner)
    }
}

/// All blocks.
#[derive(Module, Debug)]
pub struct SiglipEncoder {
    /// One after another.
    pub layers: Vec<SiglipLayer>,
}

/// The vision encoder; parameter paths are those below `model.vision_model.` of the public checkpoints.
#[derive(Module, Debug)]
pub struct SiglipTower {
    /// Pixels to tokens.
    pub embeddings: SiglipEmbeddings,
    /// The blocks.
    pub encoder: SiglipEncoder,
    /// After the last block.
    pub post_layernorm: LayerNorm,
    image_size: usize,
    /// The blocks with packed weights; their linear layers then are empty.
    #[module(skip)]
    packed: Option<Arc<PackedTower>>,
}

impl SiglipTower {
    /// Packs the weights of the blocks for inference on the CPU; see [`PackedTower`]. Afterwards it looks at frames as before, except
    /// at those with padding, and cannot be trained or saved.
    ///
    /// # Errors
    /// Those of `weights`, which is asked for each matrix by its parameter's name; [`Error::Shape`] for one of another size,
    /// [`Error::Nn`] for weights that cannot be rounded.
    pub fn pack(&mut self, precision: Precision, weights: &mut dyn FnMut(&str) -> Result<Weights>) -> Result<()> {
        let packed = PackedTower::new(self, precision, weights)?;
        for layer in &mut self.encoder.layers {
            let attention = &mut layer.self_attn;
            let matrices = [
                &mut attention.q_proj,
                &mut attention.k_proj,
                &mut attention.v_proj,
                &mut attention.out_proj,
                &mut layer.mlp.fc1,
            ];
            for linear in matrices.into_iter().chain([&mut layer.mlp.fc2]) {
                let device = linear.weight.lazy_device();
                linear.weight = Param::from_tensor(Tensor::zeros([0, 0], &device)).set_require_grad(false);
            }
        }
        self.packed = Some(Arc::new(packed));
        Ok(())
    }

    /// The packed weights, where they are.
    pub fn packed(&self) -> Option<&PackedTower> {
        self.packed.as_deref()
    }

    /// Tokens `[frames, patches, width]` of `pixels` `[frames, channels, size, size]`, normalised to [-1, 1].
    ///
    /// `mask` `[frames, size, size]` is true where a pixel belongs to the frame and not to its padding. Tokens of padding are
    /// computed, and no token looks at them.
    ///
    /// # Errors
    /// [`Error::Shape`] when pixels or mask do not fit the encoder, and as [`ValidPatches::of_pixels`].
    pub fn forward(&self, pixels: Tensor<4>, mask: Option<Tensor<3, Bool>>) -> Result<Tensor<3>> {
        self.forward_traced(pixels, mask, &mut Trace::off())
    }

    /// [`forward`](Self::forward) that shows the tokens before the blocks (`vision.embeddings`), after each one
    /// (`vision.layer0`, ..), and what it returns (`vision.last_hidden_state`).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_traced(&self, pixels: Tensor<4>, mask: Option<Tensor<3, Bool>>, trace: &mut Trace<'_>) -> Result<Tensor<3>> {
        let found @ [frames, ..] = pixels.dims();
        let (size, [_, channels, patch, _]) = (self.image_size, self.embeddings.patch_embedding.weight.dims());
        if found[1..] != [channels, size, size] || frames == 0 {
            let expected = format!("[frames, {channels}, {size}, {size}] with at least one frame");
            return Err(Error::Shape { what: "pixels of the vision encoder", found: found.to_vec(), expected });
        }
        if let Some(found) = mask.as_ref().map(Tensor::dims).filter(|found| *found != [frames, size, size]) {
            let expected = format!("[{frames}, {size}, {size}], as the pixels");
            return Err(Error::Shape { what: "pixel mask of the vision encoder", found: found.to_vec(), expected });
        }
        let valid = mask.map(|mask| ValidPatches::of_pixels(mask, patch)).transpose()?;
        if let Some(packed) = &self.packed {
            if valid.is_some_and(|valid| !valid.all()) {
                let remedy = "give frames without padding, or open the model without packing it".into();
                return Err(Error::Config { key: "packed weights", value: "with padded frames".into(), remedy });
            }
            let embedded = self.embeddings.forward(pixels.cast(DType::F32), None);
            trace.show(format_args!("vision.embeddings"), &embedded);
            return packed.forward(embedded, trace);
        }
        let pixels = pixels.cast(self.post_layernorm.gamma.val().dtype());
        // Whoever looks sees every state once, of all frames.
        if trace.is_on() || frames <= FRAMES_TOGETHER {
            return Ok(self.encode(pixels, valid, trace));
        }
        let parts = (0..frames).step_by(FRAMES_TOGETHER).map(|first| {
            let count = FRAMES_TOGETHER.min(frames - first);
            let valid = valid.as_ref().map(|valid| valid.of_frames(first, count));
            self.encode(pixels.clone().narrow(0, first, count), valid, trace)
        });
        Ok(Tensor::cat(parts.collect(), 0))
    }

    fn encode(&self, pixels: Tensor<4>, valid: Option<ValidPatches>, trace: &mut Trace<'_>) -> Tensor<3> {
        let valid = valid.filter(|valid| !valid.all());
        let hidden = valid.as_ref().map(|valid| valid.hidden(&pixels.device().inner()));
        let mut tokens = self.embeddings.forward(pixels, valid.as_ref());
        trace.show(format_args!("vision.embeddings"), &tokens);
        for (index, layer) in self.encoder.layers.iter().enumerate() {
            tokens = layer.forward(tokens, hidden.as_ref());
            trace.show(format_args!("vision.layer{index}"), &tokens);
        }
        let tokens = self.post_layernorm.forward(tokens);
        trace.show(format_args!("vision.last_hidden_state"), &tokens);
        tokens
    }
}

/// Which patches of frames show something of the frame, and not only padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidPatches {
    /// Patches along a side.
    side: usize,
    /// `[frames, side, side]`.
    valid: Vec<bool>,
}

impl ValidPatches {
    /// The patches with a valid pixel, which is where `mask` `[frames, size, size]` is true.
    ///
    /// # Errors
    /// [`Error::Shape`] for a mask without a whole patch, [`Error::Config`] when the valid patches of a frame are not a
    /// rectangle in its upper left corner: only for those there are positions.
    pub fn of_pixels(mask: Tensor<3, Bool>, patch: usize) -> Result<Self> {
        let found @ [frames, height, width] = mask.dims();
        let side = height / patch.max(1);
        if height != width || side == 0 || patch == 0 {
            let expected = format!("[frames, size, size] with a size of at least {}", patch.max(1));
            return Err(Error::Shape { what: "pixel mask of the vision encoder", found: found.to_vec(), expected });
        }
        let mut valid = vec![false; frames * side * side];
        for (pixel, shown) in mask.into_data().iter::<bool>().enumerate() {
            let (frame, row, column) = (pixel / (height * width), pixel / width % height / patch, pixel % width / patch);
            if shown && row < side && column < side {
                valid[(frame * side + row) * side + column] = true;
            }
        }
        let found = Self { side, valid };
        for (index, frame) in found.valid.chunks_exact(side * side).enumerate() {
            let [rows, columns] = found.extent(frame);
            let fits = |(place, &valid): (usize, &bool)| valid == (place / side < rows && place % side < columns);
            if let Some(place) = frame.iter().enumerate().position(|place| !fits(place)) {
                return Err(Error::Config {
                    key: "pixel mask",
                    value: format!("in frame {index} no rectangle: patch {place} of {side} x {side} does not fit"),
                    remedy: "put padding to the right of the frame and below it only".into(),
                });
            }
        }
        Ok(found)
    }

    /// Whether there is no padding.
    pub fn all(&self) -> bool {
        self.valid.iter().all(|valid| *valid)
    }

    /// For each patch its row of the position table, `[frames, side, side]` in order: a frame with padding is stretched over the
    /// whole table, so that of `n` valid rows (or columns) number `i` has place `i * side / n`, rounded down. Padding has row 0.
    pub fn position_ids(&self) -> Vec<usize> {
        let side = self.side;
        let of_frame = |frame: &[bool]| -> Vec<usize> {
            let [rows, columns] = self.extent(frame).map(|count| positions(side, count));
            let id = |(place, &valid): (usize, &bool)| match (rows.get(place / side), columns.get(place % side)) {
                (Some(row), Some(column)) if valid => row * side + column,
                _ => 0,
            };
            frame.iter().enumerate().map(id).collect()
        };
        self.valid.chunks_exact(side * side).flat_map(of_frame).collect()
    }

    /// Valid patches of the first column and of the first row.
    fn extent(&self, frame: &[bool]) -> [usize; 2] {
        let column = frame.iter().step_by(self.side).filter(|valid| **valid).count();
        [column, frame.iter().take(self.side).filter(|valid| **valid).count()]
    }

    fn of_frames(&self, first: usize, count: usize) -> Self {
        let size = self.side * self.side;
        Self { side: self.side, valid: self.valid[first * size..(first + count) * size].to_vec() }
    }

    /// `[frames, patches]`, true for padding.
    fn hidden(&self, device: &Device) -> Tensor<2, Bool> {
        let patches = self.side * self.side;
        let hidden: Vec<bool> = self.valid.iter().map(|valid| !valid).collect();
        Tensor::from_data(TensorData::new(hidden, [self.valid.len() / patches, patches]), device)
    }
}

/// Places in a table of `side` for `count` rows that are stretched over it. Whole numbers: fractions in f32 would have to be
/// cut exactly as the reference cuts them.
pub fn positions(side: usize, count: usize) -> Vec<usize> {
    (0..count).map(|index| index * side / count).collect()
}

/// The frames of `pixels` `[frames, channels, height, width]` that are not padding, and their indices. Padding is zero
/// everywhere, which no picture is after normalising; if all frames are, the first one stays.
pub fn drop_empty_frames(pixels: Tensor<4>) -> (Tensor<4>, Vec<usize>) {
    let [frames, channels, height, width] = pixels.dims();
    let any = pixels.clone().reshape([frames, channels * height * width]).not_equal_elem(0.0).any_dim(1);
    let mut kept: Vec<usize> =
        any.into_data().iter::<bool>().enumerate().filter_map(|(index, any)| any.then_some(index)).collect();
    if kept.is_empty() && frames > 0 {
        kept.push(0);
    }
    if kept.len() == frames {
        return (pixels, kept);
    }
    let index: Vec<i32> = kept.iter().map(|&index| index as i32).collect();
    let index = Tensor::<1, Int>::from_data(TensorData::new(index, [kept.len()]), &pixels.device().inner());
    (pixels.select(0, index), kept)
}

/// Every frame by itself: the patches of a clip's frames one after another.
impl VisionEncoder for SiglipTower {
    fn lower_traced(&self, pixels: Tensor<5>, trace: &mut Trace<'_>) -> Result<Tensor<3>> {
        let [batch, channels, frames, height, width] = pixels.dims();
        let images = pixels.swap_dims(1, 2).reshape([batch * frames, channels, height, width]);
        let patches = self.forward_traced(images, None, trace)?;
        let [_, count, width] = patches.dims();
        Ok(patches.reshape([batch, frames * count, width]))
    }

    fn upper_traced(&self, lower: Tensor<3>, _trace: &mut Trace<'_>) -> Encoded {
        let identity = Tensor::zeros([lower.dims()[0], 0, 0], (&lower.device(), lower.dtype()));
        Encoded { tokens: lower, identity }
    }

    fn states(&self) -> Vec<String> {
        layer_states(self.encoder.layers.len())
    }

    /// Without the frames that are padding as a whole.
    fn encode_watched(&self, pixels: Tensor<5>, mask: Option<Tensor<4>>, trace: &mut Trace<'_>) -> Result<Encoded> {
        let [batch, frames, channels, height, width] = pixels.dims();
        let all = batch * frames;
        let (pixels, kept) = drop_empty_frames(pixels.reshape([all, channels, height, width]));
        let mask = mask.map(|mask| {
            let kept: Vec<i32> = kept.iter().map(|&frame| frame as i32).collect();
            let kept = Tensor::<1, Int>::from_data(TensorData::new(kept.clone(), [kept.len()]), &mask.device());
            mask.reshape([all, height, width]).select(0, kept).not_equal_elem(0.0)
        });
        // Packed weights take no mask, and one that hides nothing is none.
        let mask = mask.filter(|mask| !mask.clone().all().into_scalar::<bool>());
        Ok(self.upper(self.forward_traced(pixels, mask, trace)?))
    }

    fn width(&self) -> usize {
        self.post_layernorm.gamma.lazy_shape()[0]
    }

    fn tokens(&self, frames: usize) -> usize {
        frames * self.embeddings.position_embedding.weight.lazy_shape()[0]
    }

    fn packs(&self, parameter: &str) -> bool {
        parameter.starts_with("encoder.layers.") && parameter.ends_with(".weight") && !parameter.contains("norm")
    }

    fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    fn pack(&mut self, precision: Precision, weights: &mut dyn FnMut(&str) -> Result<Weights>) -> Result<()> {
        self.pack(precision, weights)
    }
}
