//! Low-rank adaptation (LoRA) of a linear layer as a side path: `y = x W + scale (x A) B`.
//!
//! The dense product `A B` is never formed in a forward pass: with rank 16 the side path costs a
//! few percent of the layer, the dense product would cost more than the layer itself.

use burn::{
    nn::{Linear, LinearConfig},
    prelude::*,
};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, dropout, init};

/// Rank and strength of the adapters of a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Width of the bottleneck; the paper uses 16.
    pub rank: usize,
    /// The side path is scaled by `alpha / rank`; the paper uses 32.
    pub alpha: f64,
    /// Share of the side path's input that training passes drop ([`dropout`]); the paper uses 0.1.
    #[serde(default)]
    pub dropout: f64,
}

impl LoraConfig {
    /// The paper's setting: rank 16, alpha 32 (scale 2), a tenth of the input dropped.
    pub fn full() -> Self {
        Self { rank: 16, alpha: 32.0, dropout: 0.1 }
    }

    /// The factor on the side path.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// Rank and strength of the adapters that a model has, the dropout too; `None` where it has none.
    pub fn of(model: &super::Decoder) -> Option<Self> {
        let adapter = |(_, layer): (String, &LoraLinear)| {
            let lora = layer.lora.as_ref()?;
            let [_, rank, _] = lora.sizes();
            Some(Self { rank, alpha: lora.scale * rank as f64, dropout: lora.dropout })
        };
        model.linears().into_iter().find_map(adapter)
    }

    /// Checks that the numbers can work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the rank is 0, alpha is not finite or the dropout is no share.
    pub fn validate(&self) -> Result<()> {
        if self.rank == 0 {
            return Err(Error::Config {
                key: "lora.rank",
                value: "0".into(),
                remedy: "use at least 1, or no LoRA at all".into(),
            });
        }
        if !self.alpha.is_finite() {
            return Err(Error::Config { key: "lora.alpha", value: self.alpha.to_string(), remedy: "use a finite number".into() });
        }
        dropout::validate("lora.dropout", self.dropout)
    }
}

/// The trainable side path of one linear layer.
#[derive(Module, Debug)]
pub struct LoraAdapter {
    /// `[inputs, rank]`, `lora_A` of the checkpoints.
    pub a: Linear,
    /// `[rank, outputs]`, `lora_B` of the checkpoints; zero at the start.
    pub b: Linear,
    /// `alpha / rank`.
    pub scale: f64,
    /// Share of the input that training passes drop.
    pub dropout: f64,
}

impl LoraAdapter {
    /// A fresh adapter: A is Kaiming-uniform with a = sqrt 5 (bounds `±1/sqrt(inputs)`), B is zero,
    /// so that the layer's output is unchanged at first.
    pub fn new(stream: &SeededStream, inputs: usize, outputs: usize, config: LoraConfig, device: &Device) -> Self {
        let bound = 1.0 / (inputs as f32).sqrt();
        let (mut stream, shape) = (stream.derive("a"), [inputs, config.rank]);
        let mut adapter = Self::zeros(inputs, outputs, config, device);
        adapter.a.weight = init::lazy_param(shape, device, move |device| {
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| stream.range(-bound, bound)).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        });
        adapter
    }

    /// An adapter of zeros, allocated when first used: the frame for weights from a file.
    pub fn zeros(inputs: usize, outputs: usize, config: LoraConfig, device: &Device) -> Self {
        let (a, b) = (zero_linear(inputs, config.rank, device), zero_linear(config.rank, outputs, device));
        Self { a, b, scale: config.scale(), dropout: config.dropout }
    }

    /// `scale (drop(x) A) B` for rows `[rows, inputs]`, in their float type; computed in that of the adapter, which stays f32
    /// where the layer is in half precision.
    pub fn forward(&self, rows: Tensor<2>) -> Tensor<2> {
        let (given, own) = (rows.dtype(), self.a.weight.val().dtype());
        self.b.forward(self.narrow(rows.cast(own))).cast(given)
    }

    /// `scale drop(x) A` for rows `[rows, inputs]`: scaling the narrow middle is cheaper than scaling the output.
    fn narrow(&self, rows: Tensor<2>) -> Tensor<2> {
        self.a.forward(dropout::dropout(rows, self.dropout)) * self.scale
    }

    /// The adapter's `[inputs, rank, outputs]`.
    pub fn sizes(&self) -> [usize; 3] {
        let [inputs, rank] = self.a.weight.lazy_shape().dims();
        let [_, outputs] = self.b.weight.lazy_shape().dims();
        [inputs, rank, outputs]
    }
}

/// A linear layer without bias and with an optional LoRA side path.
#[derive(Module, Debug)]
pub struct LoraLinear {
    /// The dense weight `[inputs, outputs]`.
    pub base: Linear,
    /// The side path, absent in the base model.
    pub lora: Option<LoraAdapter>,
}

impl LoraLinear {
    /// A layer with N(0, std) weights and no adapter.
    pub fn new(stream: &mut SeededStream, inputs: usize, outputs: usize, std: f32, device: &Device) -> Self {
        Self { base: init::linear(stream, inputs, outputs, false, std, device), lora: None }
    }

    /// A layer of zeros, allocated when first used: the frame for weights from a file.
    pub fn zeros(inputs: usize, outputs: usize, device: &Device) -> Self {
        Self { base: zero_linear(inputs, outputs, device), lora: None }
    }

    /// `[inputs, outputs]`.
    pub fn sizes(&self) -> [usize; 2] {
        self.base.weight.lazy_shape().dims()
    }

    /// Outputs that the adapter has beyond those of the layer; see [`widen`](Self::widen).
    fn beyond(&self) -> usize {
        self.lora.as_ref().map_or(0, |lora| lora.sizes()[2].saturating_sub(self.sizes()[1]))
    }

    /// `[.., inputs]` to `[.., outputs]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.forward_beyond(x).0
    }

    /// [`forward`](Self::forward), and what a [wider](Self::widen) adapter gives beyond the outputs, `[.., others]`.
    pub fn forward_beyond<const D: usize>(&self, x: Tensor<D>) -> (Tensor<D>, Option<Tensor<D>>) {
        let [inputs, outputs] = self.sizes();
        let mut shape = x.dims();
        let count = shape.iter().take(D - 1).product::<usize>();
        // One product of all rows; a batched one would repeat the weight under autodiff.
        let rows = x.reshape([count, inputs]);
        let side = self.lora.as_ref().map(|lora| lora.forward(rows.clone()));
        let words = self.base.forward(rows);
        shape[D - 1] = outputs;
        let beyond = self.beyond();
        match side {
            None => (words.reshape(shape), None),
            Some(side) if beyond == 0 => ((words + side).reshape(shape), None),
            Some(side) => {
                let words = (words + side.clone().narrow(1, 0, outputs)).reshape(shape);
                shape[D - 1] = beyond;
                (words, Some(side.narrow(1, outputs, beyond).reshape(shape)))
            }
        }
    }

    /// Gives the adapter `others` more outputs than the layer has, zero at the start: for rows that are not the layer's, such as
    /// a subject's row of the head. Without an adapter nothing happens.
    pub fn widen(&mut self, others: usize) {
        let outputs = self.sizes()[1] + others;
        if let Some(lora) = &mut self.lora {
            let [_, rank, found] = lora.sizes();
            if found < outputs {
                lora.b.weight = lora.b.weight.clone().map(|weight| {
                    let zeros = Tensor::zeros([rank, outputs - found], (&weight.device(), weight.dtype()));
                    Tensor::cat(vec![weight.detach(), zeros], 1).detach()
                });
            }
        }
    }

    /// Adds a fresh adapter, replacing one that is there.
    pub fn attach(&mut self, stream: &SeededStream, config: LoraConfig) {
        let [inputs, outputs] = self.sizes();
        self.lora = Some(LoraAdapter::new(stream, inputs, outputs, config, &self.base.weight.lazy_device()));
    }

    /// Takes the adapter off; the layer is the base layer again.
    pub fn detach(&mut self) -> Option<LoraAdapter> {
        self.lora.take()
    }

    /// Puts a given adapter on.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when the adapter was made for a layer of another size.
    pub fn insert(&mut self, adapter: LoraAdapter) -> Result<()> {
        let [inputs, outputs] = self.sizes();
        let [adapter_inputs, rank, adapter_outputs] = adapter.sizes();
        if [adapter_inputs, adapter_outputs] != [inputs, outputs] {
            return Err(Error::Shape {
                what: "LoRA adapter",
                found: vec![adapter_inputs, rank, adapter_outputs],
                expected: format!("[{inputs}, rank, {outputs}]"),
            });
        }
        self.lora = Some(adapter);
        Ok(())
    }

    /// The plain layer with the side path added into its weight: `W + scale A B`. A [wider](Self::widen) adapter stays: the
    /// weight has no place for all of it.
    pub fn merge(mut self) -> Self {
        if self.beyond() > 0 {
            return self;
        }
        if let Some(lora) = self.lora.take() {
            let delta = lora.a.weight.val().matmul(lora.b.weight.val()).detach() * lora.scale;
            let delta = delta.cast(self.base.weight.val().dtype());
            let trained = self.base.weight.is_require_grad();
            // The sum must be a leaf again, or the weight would silently stop being a parameter.
            self.base.weight = self.base.weight.map(|weight| {
                let merged = (weight + delta).detach();
                if trained { merged.require_grad() } else { merged }
            });
        }
        self
    }

    /// Base weights constant, adapter trained.
    pub fn train_adapter_only(self) -> Self {
        let Self { base, lora } = self;
        Self { base: base.set_require_grad(false), lora: lora.map(|lora| lora.set_require_grad(true)) }
    }
}

/// A linear layer without bias whose zeros are allocated on first use only.
pub(super) fn zero_linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    LinearConfig::new(inputs, outputs).with_bias(false).with_initializer(burn::nn::Initializer::Zeros).init(device)
}
