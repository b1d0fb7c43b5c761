//! The attention module: projections, router, gated heads.

use super::{
    config::head_order,
    kernel::{self, Kernel, View},
    router::{Gates, RouterAlpha, Routing, head_scales},
};
use crate::{Error, Result};
use burn::{nn::Linear, prelude::*, tensor::module::linear};
use pvchat_data::random::SeededStream;
use std::ops::Range;

/// Self- or cross-attention whose heads are gated per token; see the [module documentation](super). Built by
/// [`MohAttentionConfig::init`](super::MohAttentionConfig::init), or from a trained plain attention by
/// [`routed`](Self::routed).
///
/// There is no output projection here: that, the residual and the norm belong to the block around it.
#[derive(Module, Debug)]
pub struct MohAttention {
    /// `[query_width] -> [hidden]`.
    pub query: Linear,
    /// `[key_width] -> [key heads * head width]`.
    pub key: Linear,
    /// `[key_width] -> [key heads * head width]`.
    pub value: Linear,
    /// Absent in dense attention.
    pub router_alpha: Option<RouterAlpha>,
    pub(super) heads: usize,
    pub(super) key_heads: usize,
    #[module(skip)]
    pub(super) routing: Routing,
    #[module(skip)]
    pub(super) head_order: Option<Vec<usize>>,
}

/// What attention returns.
#[derive(Clone, Debug)]
pub struct MohOutput {
    /// `[batch, tokens, hidden]`: heads gated and merged, before any output projection.
    pub context: Tensor<3>,
    /// What the router decided; `None` in dense attention.
    pub gates: Option<Gates>,
    /// What computed it.
    pub kernel: Kernel,
    /// Heads that were off everywhere and whose keys and values were therefore not even projected.
    pub left_out: Vec<usize>,
}

impl MohAttention {
    /// Attends from `x` `[batch, tokens, query_width]` to `keys` `[batch, keys, key_width]`.
    ///
    /// On the CPU, keys and values of heads that no token switched on are not projected if that saves time.
    ///
    /// # Errors
    /// [`Error::Shape`] when widths, batches or masks do not fit each other; [`Error::FloatType`] when the inputs are of
    /// another float type than the weights; [`Error::NotANumber`] when a gate is not a number
    /// (looked for on the CPU only; on a GPU its token's context is no number either).
    pub fn forward(&self, x: Tensor<3>, keys: Tensor<3>, view: View<'_>) -> Result<MohOutput> {
        self.check_inputs(&x, &keys)?;
        let gates = self.gates(x.clone());
        let scales = gates.as_ref().map(|gates| self.scales(gates));
        let idle = match &scales {
            Some(scales) => self.idle_key_heads(scales, &keys)?,
            None => Vec::new(),
        };
        if idle.contains(&true) {
            return self.forward_without(&idle, x, keys, view, gates, scales);
        }
        let queries = self.queries(x);
        let pair = self.keys_and_values(keys);
        self.attend_scaled(queries, pair, view, gates, scales)
    }

    /// Attends with projected queries `[batch, heads, tokens, width]`, keys and values `[batch, key heads, keys, width]`:
    /// for callers who do something between projection and attention, such as rotating by position. `gates` are those of
    /// [`gates`](Self::gates).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn attend(&self, queries: Tensor<4>, pair: [Tensor<4>; 2], view: View<'_>, gates: Option<Gates>) -> Result<MohOutput> {
        let scales = gates.as_ref().map(|gates| self.scales(gates));
        if let Some(scales) = &scales {
            kernel::check_numbers(scales)?;
        }
        self.attend_scaled(queries, pair, view, gates, scales)
    }

    /// What the router decides for `x`, without attending; `None` in dense attention.
    pub fn gates(&self, x: Tensor<3>) -> Option<Gates> {
        self.router_alpha.as_ref().map(|router| router.forward(x, self.routing))
    }

    /// The factor of every head for every token, `[batch, heads, tokens]`.
    pub fn scales(&self, gates: &Gates) -> Tensor<3> {
        let scales = head_scales(gates, self.routing, self.heads);
        match &self.head_order {
            Some(order) => {
                let order = index(order, &scales.device());
                scales.select(1, order)
            }
            None => scales,
        }
    }

    /// Attention weights before gating, `[batch, heads, tokens, keys]`.
    ///
    /// # Errors
    /// [`Error::Shape`] as [`forward`](Self::forward).
    pub fn probabilities(&self, x: Tensor<3>, keys: Tensor<3>, view: View<'_>) -> Result<Tensor<4>> {
        self.check_inputs(&x, &keys)?;
        check_view(view, [x.dims()[0], x.dims()[1], keys.dims()[1]])?;
        let keys = self.split(self.key.forward(keys));
        Ok(kernel::attention_probabilities(self.queries(x), keys, view))
    }

    /// Queries `[batch, heads, tokens, width]` of `x` `[batch, tokens, query_width]`.
    pub fn queries(&self, x: Tensor<3>) -> Tensor<4> {
        self.split(self.query.forward(x))
    }

    /// Keys and values `[batch, key heads, keys, width]` of `keys` `[batch, keys, key_width]`.
    pub fn keys_and_values(&self, keys: Tensor<3>) -> [Tensor<4>; 2] {
        [&self.key, &self.value].map(|projection| self.split(projection.forward(keys.clone())))
    }

    /// How this attention chooses heads.
    pub fn routing(&self) -> Routing {
        self.routing
    }

    /// This plain attention with a router, `shared_heads` always on (`None`: the first ones). An undecided router leaves
    /// every scale at one, so that what comes out is at first exactly what came out before: how a pretrained attention
    /// becomes one of mixed heads (MoH, arXiv 2410.11842, section 3.4, continues from pretrained weights).
    ///
    /// # Errors
    /// [`Error::Config`] when there is a router already, when the routing cannot start exact (it takes `Relu` with
    /// `rescale`, or `TopK` that keeps all routed heads, which is exact up to rounding), and as
    /// [`MohAttentionConfig::validate`](super::MohAttentionConfig::validate).
    pub fn routed(self, routing: Routing, shared_heads: Option<&[usize]>) -> Result<Self> {
        let wrong = |value: Routing, remedy: &str| {
            Err(Error::Config { key: "routing", value: format!("{value:?}"), remedy: remedy.into() })
        };
        if self.routing != Routing::Dense {
            return wrong(self.routing, "only a dense attention can be given a router");
        }
        routing.validate(self.heads)?;
        match routing {
            Routing::Relu { rescale: true, .. } => {}
            Routing::TopK { active, .. } if active == routing.routed(self.heads) => {}
            _ => return wrong(routing, "no router leaves the attention as it was; use `Relu` with `rescale: true`"),
        }
        let head_order = head_order(routing, self.heads, shared_heads)?;
        let device = self.query.weight.lazy_device();
        let [width, _] = self.query.weight.lazy_shape().dims();
        // With a deviation of zero the router knows nothing, and its bias alone decides.
        let router = RouterAlpha::new(&SeededStream::new(0), width, self.heads, routing, 0.0, &device);
        Ok(Self { router_alpha: Some(router), routing, head_order, ..self })
    }

    fn attend_scaled(
        &self,
        queries: Tensor<4>,
        [keys, values]: [Tensor<4>; 2],
        view: View<'_>,
        gates: Option<Gates>,
        scales: Option<Tensor<3>>,
    ) -> Result<MohOutput> {
        let ([batch, heads, tokens, width], [_, key_heads, count, _]) = (queries.dims(), keys.dims());
        let expected = [batch, key_heads, count, width];
        for (what, found) in [("keys", keys.dims()), ("values", values.dims())] {
            if found != expected || key_heads == 0 || !heads.is_multiple_of(key_heads) {
                return Err(Error::Shape {
                    what,
                    found: found.to_vec(),
                    expected: format!("{expected:?} with a number of heads that divides {heads}"),
                });
            }
        }
        if let Some(scales) = scales.as_ref().filter(|scales| scales.dims() != [batch, heads, tokens]) {
            return Err(Error::Shape {
                what: "scales of the heads",
                found: scales.dims().to_vec(),
                expected: format!("{:?}", [batch, heads, tokens]),
            });
        }
        check_view(view, [batch, tokens, count])?;
        let (context, kernel) = kernel::gated_attention(queries, keys, values, view, scales);
        let context = context.swap_dims(1, 2).reshape([batch, tokens, heads * width]);
        Ok(MohOutput { context, gates, kernel, left_out: Vec::new() })
    }

    /// For every key head whether no token of any sequence uses it, if leaving such out pays; else, and on a GPU, where
    /// looking would wait for it, nothing.
    fn idle_key_heads(&self, scales: &Tensor<3>, keys: &Tensor<3>) -> Result<Vec<bool>> {
        let Some(used) = kernel::check_numbers(scales)? else { return Ok(Vec::new()) };
        let idle: Vec<bool> = used.chunks(self.heads / self.key_heads).map(|used| !used.contains(&true)).collect();
        let count = idle.iter().filter(|&&idle| idle).count();
        let [batch, keys, _] = keys.dims();
        let pays = [keys, count].into_iter().fold(batch, usize::saturating_mul) >= ROWS_WORTH_LEAVING_OUT * self.key_heads;
        Ok(if pays && count < self.key_heads { idle } else { Vec::new() })
    }

    /// [`forward`](Self::forward) without the key heads marked as idle.
    fn forward_without(
        &self,
        idle: &[bool],
        x: Tensor<3>,
        keys: Tensor<3>,
        view: View<'_>,
        gates: Option<Gates>,
        scales: Option<Tensor<3>>,
    ) -> Result<MohOutput> {
        let (group, width) = (self.heads / self.key_heads, self.width());
        let [live, unused] = [false, true].map(|wanted| runs(idle, wanted));
        let times = |runs: &[Range<usize>], factor: usize| -> Vec<Range<usize>> {
            runs.iter().map(|run| run.start * factor..run.end * factor).collect()
        };
        let (heads, columns) = (times(&live, group), times(&live, width));
        let queries = parts(self.queries(x), 1, &heads);
        let pair = [&self.key, &self.value].map(|projection| self.split(project(projection, keys.clone(), &columns)));
        let scales = scales.map(|scales| parts(scales, 1, &heads));
        let output = self.attend_scaled(queries, pair, view, gates, scales)?;

        // Back to all heads: what was left out is zero.
        let [batch, tokens, _] = output.context.dims();
        let (mut contexts, mut done) = (Vec::new(), 0);
        for run in idle.chunk_by(|one, next| one == next) {
            let size = run.len() * group * width;
            if run[0] {
                contexts.push(Tensor::zeros([batch, tokens, size], (&output.context.device(), output.context.dtype())));
            } else {
                contexts.push(output.context.clone().narrow(2, done, size));
                done += size;
            }
        }
        let kernel = if output.kernel == Kernel::DenseFused { Kernel::WholeHead } else { output.kernel };
        let left_out = times(&unused, group).into_iter().flatten().collect();
        Ok(MohOutput { context: Tensor::cat(contexts, 2), kernel, left_out, ..output })
    }

    /// Width of one head.
    fn width(&self) -> usize {
        let [_, hidden] = self.query.weight.lazy_shape().dims();
        hidden / self.heads
    }

    fn split(&self, states: Tensor<3>) -> Tensor<4> {
        let [batch, tokens, hidden] = states.dims();
        let width = self.width();
        states.reshape([batch, tokens, hidden / width, width]).swap_dims(1, 2)
    }

    fn check_inputs(&self, x: &Tensor<3>, keys: &Tensor<3>) -> Result<()> {
        let [query_width, _] = self.query.weight.lazy_shape().dims();
        let [key_width, _] = self.key.weight.lazy_shape().dims();
        let ([batch, tokens, _], [_, count, _]) = (x.dims(), keys.dims());
        for (what, found, expected) in [
            ("input of an attention", x.dims(), [batch, tokens, query_width]),
            ("keys of an attention", keys.dims(), [batch, count, key_width]),
        ] {
            if found != expected || expected.contains(&0) {
                let expected = format!("{expected:?} without empty axes");
                return Err(Error::Shape { what, found: found.to_vec(), expected });
            }
        }
        let expected = self.query.weight.val().dtype();
        for (what, found) in [("input of an attention", x.dtype()), ("keys of an attention", keys.dtype())] {
            if found != expected {
                return Err(Error::FloatType { what, found, expected });
            }
        }
        Ok(())
    }
}

/// Leaving heads out splits matrices and puts results together again. It pays from this many rows on that a head, on
/// average over all heads, does not project. Measured on two cores with AVX-512 at the paper's cross-attention (6147 rows of
/// width 1408, twelve heads): leaving one head of twelve out saved nothing, two did; docs/moh-benchmarks.md has the figures.
const ROWS_WORTH_LEAVING_OUT: usize = 768;

/// `x` through the given columns of a projection.
fn project(layer: &Linear, x: Tensor<3>, columns: &[Range<usize>]) -> Tensor<3> {
    let bias = layer.bias.as_ref().map(|bias| parts(bias.val(), 0, columns));
    linear(x, parts(layer.weight.val(), 1, columns), bias)
}

/// The runs of neighbours that are `wanted`.
fn runs(marks: &[bool], wanted: bool) -> Vec<Range<usize>> {
    let mut first = 0;
    let mut run = |marks: &[bool]| {
        let run = first..first + marks.len();
        first = run.end;
        (marks[0] == wanted).then_some(run)
    };
    marks.chunk_by(|one, next| one == next).filter_map(&mut run).collect()
}

/// Those parts of an axis side by side; a view where it is one part.
fn parts<const D: usize>(tensor: Tensor<D>, axis: usize, parts: &[Range<usize>]) -> Tensor<D> {
    let part = |range: &Range<usize>| tensor.clone().narrow(axis, range.start, range.len());
    match parts {
        [only] => part(only),
        _ => Tensor::cat(parts.iter().map(part).collect(), axis),
    }
}

/// The numbers as an index.
fn index(numbers: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
    Tensor::from_data(TensorData::new(values, [numbers.len()]), device)
}

fn check_view(view: View<'_>, [batch, tokens, keys]: [usize; 3]) -> Result<()> {
    let shape = |found: Vec<usize>, expected: &[usize]| {
        if found == expected {
            return Ok(());
        }
        Err(Error::Shape { what: "mask of an attention", found, expected: format!("{expected:?}") })
    };
    if let Some(hidden) = view.hidden {
        shape(hidden.dims().to_vec(), &[batch, keys])?;
    }
    match view.hidden_pairs {
        Some(hidden) => shape(hidden.dims().to_vec(), &[batch, tokens, keys]),
        None => Ok(()),
    }
}
