//! The vision encoder with packed weights, for inference on the CPU: plain numbers from the patches to the tokens.

use burn::prelude::*;
use pvchat_nn::{
    packed::{
        BlockMemory, Finish, Heads, Layer, Norm, PackedMatrix, Precision, Weights, attention_into, forward_both_into, numbers,
        together,
    },
    trace::Trace,
};

use super::SiglipTower;
use crate::{Error, Result};

/// The blocks of a [`SiglipTower`], their weights packed.
#[derive(Debug)]
pub struct PackedTower {
    precision: Precision,
    heads: usize,
    blocks: Vec<Block>,
    last_norm: Norm,
}

#[derive(Debug)]
struct Block {
    attention_norm: Norm,
    /// Queries, keys and values side by side.
    projections: Linear,
    output: Linear,
    feed_forward_norm: Norm,
    inner: Linear,
    outer: Linear,
}

#[derive(Debug)]
struct Linear {
    weight: PackedMatrix,
    bias: Vec<f32>,
}

impl PackedTower {
    /// Packs the blocks of `tower`, whose norms and biases are used as they are; their matrices come from `weights`, which is asked
    /// for each by the name of its parameter (`encoder.layers.0.self_attn.q_proj.weight`, ..).
    ///
    /// # Errors
    /// Those of `weights`; [`Error::Shape`] for a matrix of another size, [`Error::Nn`] for weights that cannot be rounded.
    pub(super) fn new(
        tower: &SiglipTower,
        precision: Precision,
        weights: &mut dyn FnMut(&str) -> Result<Weights>,
    ) -> Result<Self> {
        let layers = &tower.encoder.layers;
        let blocks = layers.iter().enumerate().map(|(index, layer)| {
            let attention = &layer.self_attn;
            let mut linear = |parts: &[(&str, &burn::nn::Linear)]| {
                let mut all = Vec::with_capacity(parts.len());
                let mut bias = Vec::new();
                for (name, layer) in parts {
                    let found = weights(&format!("encoder.layers.{index}.{name}.weight"))?;
                    let sizes: [usize; 2] = layer.weight.lazy_shape().dims();
                    if found.sizes != sizes {
                        let expected = format!("{sizes:?}, as layer {index}'s {name},");
                        return Err(Error::Shape { what: "a weight to be packed", found: found.sizes.to_vec(), expected });
                    }
                    all.push(found);
                    let own = layer.bias.as_ref().map(numbers);
                    bias.extend(own.unwrap_or_else(|| vec![0.0; sizes[1]]));
                }
                Ok(Linear { weight: Weights::join(all)?.pack(precision)?, bias })
            };
            Ok(Block {
                attention_norm: Norm::layer(&layer.layer_norm1),
                projections: linear(&[
                    ("self_attn.q_proj", &attention.q_proj),
                    ("self_attn.k_proj", &attention.k_proj),
                    ("self_attn.v_proj", &attention.v_proj),
                ])?,
                output: linear(&[("self_attn.out_proj", &attention.out_proj)])?,
                feed_forward_norm: Norm::layer(&layer.layer_norm2),
                inner: linear(&[("mlp.fc1", &layer.mlp.fc1)])?,
                outer: linear(&[("mlp.fc2", &layer.mlp.fc2)])?,
            })
        });
        let heads = layers.first().map_or(1, |layer| layer.self_attn.heads());
        let blocks = blocks.collect::<Result<_>>()?;
        Ok(Self { precision, heads, blocks, last_norm: Norm::layer(&tower.post_layernorm) })
    }

    /// Memory that the weights take, in bytes.
    pub fn bytes(&self) -> usize {
        let block = |block: &Block| {
            [&block.projections, &block.output, &block.inner, &block.outer]
                .map(|linear| linear.weight.bytes())
                .iter()
                .sum::<usize>()
        };
        self.blocks.iter().map(block).sum()
    }

    /// The blocks and the last norm over embedded patches `[frames, tokens, width]`; what a frame is does not depend on the others.
    pub(super) fn forward(&self, embedded: Tensor<3>, trace: &mut Trace<'_>) -> Result<Tensor<3>> {
        let (sizes @ [_, tokens, width], device) = (embedded.dims(), embedded.device().inner());
        let mut states = embedded.inner().into_data().convert::<f32>().try_to_vec::<f32>().unwrap_or_default();
        let tensor = |states: &[f32]| Tensor::<3>::from_data(TensorData::new(states.to_vec(), sizes), &device);
        let mut memory = BlockMemory::default();
        together(|| {
            self.blocks.iter().enumerate().try_for_each(|(index, block)| {
                for frame in states.chunks_mut(tokens * width) {
                    self.block(block, frame, [tokens, width], &mut memory)?;
                }
                if trace.is_on() {
                    trace.show(format_args!("vision.layer{index}"), &tensor(&states));
                }
                Ok::<_, Error>(())
            })
        })?;
        let tokens = Tensor::from_data(TensorData::new(self.last_norm.forward(&states), sizes), &device);
        trace.show(format_args!("vision.last_hidden_state"), &tokens);
        Ok(tokens)
    }

    fn block(&self, block: &Block, state: &mut [f32], [tokens, width]: [usize; 2], memory: &mut BlockMemory) -> Result<()> {
        let BlockMemory { normalised, projected: all, mixed, attended, fed_forward: out } = memory;
        let apply = |linear: &Linear, rows: &[f32], finish: Finish<'_>, out: &mut Vec<f32>| {
            linear.weight.forward_into(rows, tokens, Some(&linear.bias), finish, out)
        };
        block.attention_norm.forward_into(state, normalised);
        apply(&block.projections, normalised, Finish::Nothing, all)?;
        let (row, each) = (3 * width, width / self.heads);
        let parts = [0, width, 2 * width].map(|first| Heads::side_by_side(all, first, [tokens, row, each]));
        attention_into(parts, [1, self.heads, tokens, each], tokens, self.precision, mixed)?;
        apply(&block.output, mixed, Finish::Add(state), attended)?;
        block.feed_forward_norm.forward_into(attended, normalised);
        let inner = Layer { weight: &block.inner.weight, bias: Some(&block.inner.bias), finish: Finish::GeluTanh };
        let outer = Layer { weight: &block.outer.weight, bias: Some(&block.outer.bias), finish: Finish::Add(attended) };
        forward_both_into([inner, outer], normalised, tokens, out)?;
        state.copy_from_slice(out);
        Ok(())
    }
}
