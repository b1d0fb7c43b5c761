//! The attention module: projections, router, gated heads.

use super::{
    config::head_order,
    kernel::{self, Kernel, View},
    router::{Gates, RouterAlpha, Routing, head_scales},
};
use crate::{
    Error, Result,
    language::{KeyValueCache, LoraAdapter, LoraConfig},
};
use burn::{
    nn::Linear,
    prelude::*,
    tensor::{IndexingUpdateOp, module::linear},
};
use pvchat_data::random::SeededStream;

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
    /// Low-rank side paths of the three projections; absent at first.
    pub adapters: Option<ProjectionAdapters>,
    pub(super) heads: usize,
    pub(super) key_heads: usize,
    #[module(skip)]
    pub(super) routing: Routing,
    #[module(skip)]
    pub(super) head_order: Option<Vec<usize>>,
}

/// LoRA on the projections of an attention.
#[derive(Module, Debug)]
pub struct ProjectionAdapters {
    /// Beside the query projection.
    pub query: LoraAdapter,
    /// Beside the key projection.
    pub key: LoraAdapter,
    /// Beside the value projection.
    pub value: LoraAdapter,
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
    /// On the CPU, heads that no token switched on have neither keys nor values projected, where that pays.
    ///
    /// # Errors
    /// [`Error::Shape`] when widths, batches or masks do not fit each other; [`Error::NotANumber`] when a gate is none
    /// (looked for on the CPU only; on a GPU its token's context is no number either).
    pub fn forward(&self, x: Tensor<3>, keys: Tensor<3>, view: View<'_>) -> Result<MohOutput> {
        self.check_inputs(&x, &keys)?;
        let gates = self.gates(x.clone());
        let queries = self.queries(x);
        let scales = gates.as_ref().map(|gates| self.scales(gates));
        let idle = match &scales {
            Some(scales) => self.idle_key_heads(scales, &keys)?,
            None => Vec::new(),
        };
        if idle.is_empty() {
            let pair = self.keys_and_values(keys);
            return self.attend_scaled(queries, pair, view, gates, scales);
        }
        let device = keys.device();
        let group = self.heads / self.key_heads;
        let width = queries.dims()[3];
        let live: Vec<usize> = (0..self.key_heads).filter(|head| !idle.contains(head)).collect();
        let of_heads = |heads: &[usize], width: usize| spread(heads, width, &device);
        let (columns, rows) = (of_heads(&live, width), of_heads(&live, group));
        let pair = self.project_keys_and_values(keys, Some(&columns));
        let sizes = queries.dims();
        let scales = scales.map(|scales| scales.select(1, rows.clone()));
        let output = self.attend_scaled(queries.select(1, rows.clone()), pair, view, gates, scales)?;
        let [batch, tokens, _] = output.context.dims();
        let context = output.context.reshape([batch, tokens, live.len() * group, width]);
        let whole = Tensor::zeros([batch, tokens, sizes[1], width], (&device, context.dtype()));
        let context = whole.select_assign(2, rows, context, IndexingUpdateOp::Add).reshape([batch, tokens, sizes[1] * width]);
        let left_out = idle.iter().flat_map(|head| head * group..(head + 1) * group).collect();
        let kernel = if output.kernel == Kernel::DenseFused { Kernel::WholeHead } else { output.kernel };
        Ok(MohOutput { context, kernel, left_out, ..output })
    }

    /// Attends from new tokens `x` `[batch, tokens, query_width]` to all tokens that `cache` holds in place `layer`, and
    /// to themselves. With a causal view a token sees what came before it. The tokens count as held after
    /// [`KeyValueCache::advance`], once every layer has seen them.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_cached(&self, x: Tensor<3>, cache: &mut KeyValueCache, layer: usize, view: View<'_>) -> Result<MohOutput> {
        self.check_inputs(&x, &x)?;
        let [batch, tokens, _] = x.dims();
        if ![0, batch].contains(&cache.batch()) {
            return Err(Error::Shape {
                what: "input of a cached attention",
                found: x.dims().to_vec(),
                expected: format!("the batch of the cache, {},", cache.batch()),
            });
        }
        check_view(view, [batch, tokens, cache.len() + tokens])?;
        let gates = self.gates(x.clone());
        let [keys, values] = self.keys_and_values(x.clone());
        let pair = cache.append(layer, keys, values);
        self.attend(self.queries(x), pair, view, gates)
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
                let order = spread(order, 1, &scales.device());
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
        let keys = self.split(project(&self.key, self.adapters.as_ref().map(|adapters| &adapters.key), keys, None));
        Ok(kernel::attention_probabilities(self.queries(x), keys, view))
    }

    /// Queries `[batch, heads, tokens, width]` of `x` `[batch, tokens, query_width]`.
    pub fn queries(&self, x: Tensor<3>) -> Tensor<4> {
        self.split(project(&self.query, self.adapters.as_ref().map(|adapters| &adapters.query), x, None))
    }

    /// Keys and values `[batch, key heads, keys, width]` of `keys` `[batch, keys, key_width]`.
    pub fn keys_and_values(&self, keys: Tensor<3>) -> [Tensor<4>; 2] {
        self.project_keys_and_values(keys, None)
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

    /// Adds fresh LoRA adapters to the three projections, replacing those that are there.
    ///
    /// # Errors
    /// As [`LoraConfig::validate`].
    pub fn attach(&mut self, stream: &SeededStream, config: LoraConfig) -> Result<()> {
        config.validate()?;
        let adapter = |label: &str, projection: &Linear| {
            let [inputs, outputs] = projection.weight.lazy_shape().dims();
            LoraAdapter::new(&stream.derive(label), inputs, outputs, config, &projection.weight.lazy_device())
        };
        self.adapters = Some(ProjectionAdapters {
            query: adapter("query", &self.query),
            key: adapter("key", &self.key),
            value: adapter("value", &self.value),
        });
        Ok(())
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

    /// The key heads that no token of any sequence uses, if leaving them out of the projections pays. Empty on a GPU,
    /// where looking would wait for it.
    fn idle_key_heads(&self, scales: &Tensor<3>, keys: &Tensor<3>) -> Result<Vec<usize>> {
        let Some(used) = kernel::check_numbers(scales)? else { return Ok(Vec::new()) };
        let group = self.heads / self.key_heads;
        let idle: Vec<usize> =
            used.chunks(group).enumerate().filter(|(_, used)| !used.contains(&true)).map(|(head, _)| head).collect();
        let [batch, count, _] = keys.dims();
        let pays = batch * count * idle.len() >= ROWS_PER_COPY * (self.key_heads - idle.len());
        Ok(if pays && idle.len() < self.key_heads { idle } else { Vec::new() })
    }

    fn project_keys_and_values(&self, keys: Tensor<3>, columns: Option<&Tensor<1, Int>>) -> [Tensor<4>; 2] {
        let adapters = self.adapters.as_ref();
        [
            self.split(project(&self.key, adapters.map(|adapters| &adapters.key), keys.clone(), columns)),
            self.split(project(&self.value, adapters.map(|adapters| &adapters.value), keys, columns)),
        ]
    }

    fn split(&self, states: Tensor<3>) -> Tensor<4> {
        let [_, hidden] = self.query.weight.lazy_shape().dims();
        let [batch, tokens, own] = states.dims();
        let width = hidden / self.heads;
        states.reshape([batch, tokens, own / width, width]).swap_dims(1, 2)
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
        Ok(())
    }
}

/// Leaving heads out copies the columns of the others. That pays when, for each head that stays, at least this many rows
/// go through a head that does not.
const ROWS_PER_COPY: usize = 256;

/// `x` through a projection and its side path, or through the given columns of them.
fn project(layer: &Linear, adapter: Option<&LoraAdapter>, x: Tensor<3>, columns: Option<&Tensor<1, Int>>) -> Tensor<3> {
    let [batch, tokens, width] = x.dims();
    let narrow = |weight: Tensor<2>| match columns {
        Some(columns) => weight.select(1, columns.clone()),
        None => weight,
    };
    let side = adapter.map(|adapter| {
        let middle = adapter.narrow(x.clone().reshape([batch * tokens, width]));
        let added = middle.matmul(narrow(adapter.b.weight.val()));
        let [_, outputs] = added.dims();
        added.reshape([batch, tokens, outputs])
    });
    let whole = match columns {
        Some(columns) => {
            let bias = layer.bias.as_ref().map(|bias| bias.val().select(0, columns.clone()));
            linear(x, narrow(layer.weight.val()), bias)
        }
        None => layer.forward(x),
    };
    match side {
        Some(side) => whole + side,
        None => whole,
    }
}

/// The numbers `width` times each of `groups`, and those that follow it: the columns of heads, the heads of groups.
fn spread(groups: &[usize], width: usize, device: &Device) -> Tensor<1, Int> {
    let numbers: Vec<i64> = groups.iter().flat_map(|group| group * width..(group + 1) * width).map(|n| n as i64).collect();
    Tensor::from_data(TensorData::new(numbers, [groups.len() * width]), device)
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
