//! The Q-Former: queries that read the vision tokens.
//!
//! ```text
//! queries [batch, queries, hidden] ─┬─ embeddings ─ layer 0 ─ ... ─ layer n ── query states
//! text ids (optional) ──────────────┘                                      └─ text states
//! layer: self-attention over queries and text; queries only: cross-attention to the vision tokens
//!        (in every `cross_attention_every`-th layer); feed-forward, with weights of its own for text rows
//! ```
//!
//! From `routed_from_layer` on, both attentions are Mixture-of-Heads attention ([`pvchat_nn::moh`]). Module paths are
//! those of the public checkpoint up to [`RENAMES`]. The query tokens themselves belong to the whole
//! model. Dropout and stochastic depth ([`DropoutRates`]) act in training passes only ([`pvchat_nn::dropout`]).

pub mod block;
pub mod config;

pub use block::{Attention, Layer};
pub use config::{Activation, DropoutRates, NormPlacement, QFormerConfig};

use crate::{Error, Result};
use burn::{nn::Embedding, prelude::*};
use pvchat_nn::{dropout::dropout, moh::Gates, operations::LayerNorm, trace::Trace};

/// From checkpoint names (without the leading `qformer.`) to module paths, for
/// [`apply_tensors`](pvchat_nn::weights::apply_tensors). `self` and `LayerNorm` cannot be field names in Rust.
pub const RENAMES: &[(&str, &str)] =
    &[(r"(^|\.)bert\.(embeddings|encoder)\.", "$1$2."), (r"(attention)\.self\.", "$1.heads."), (r"\bLayerNorm\.", "norm.")];

/// Word and position embeddings of the text branch, and the norm of the first states.
#[derive(Module, Debug)]
pub struct Embeddings {
    /// `[vocabulary, hidden]`; absent without a text branch.
    pub word_embeddings: Option<Embedding>,
    /// `[max_positions, hidden]`; absent without a text branch.
    pub position_embeddings: Option<Embedding>,
    /// Norm over queries and text; absent with [`NormPlacement::Pre`].
    pub norm: Option<LayerNorm>,
}

/// The stack of layers.
#[derive(Module, Debug)]
pub struct Encoder {
    /// The layers, first to last.
    pub layer: Vec<Layer>,
    /// Norm of the last states; present with [`NormPlacement::Pre`] only.
    pub final_norm: Option<LayerNorm>,
}

/// The Q-Former; built by [`QFormerConfig::init`].
#[derive(Module, Debug)]
pub struct QFormer {
    /// What comes before the layers.
    pub embeddings: Embeddings,
    /// The layers.
    pub encoder: Encoder,
    hidden: usize,
    encoder_width: usize,
    max_positions: usize,
    hidden_dropout: f64,
}

/// Text that is read together with the queries.
#[derive(Clone, Debug)]
pub struct TextInput {
    /// Token ids `[batch, tokens]`.
    pub ids: Tensor<2, Int>,
    /// `[batch, tokens]`, true at padding.
    pub padding: Tensor<2, Bool>,
}

/// What the Q-Former returns.
#[derive(Clone, Debug)]
pub struct QFormerOutput {
    /// `[batch, queries, hidden]`.
    pub query_states: Tensor<3>,
    /// `[batch, text tokens, hidden]`, padded rows included; `None` without text.
    pub text_states: Option<Tensor<3>>,
    /// The gates of every routed attention by module name, such as `encoder.layer.6.crossattention`,
    /// in the order in which they were computed. With text, padded rows have gates too (of self-attention).
    pub gates: Vec<(String, Gates)>,
}

impl QFormer {
    /// Reads `memory` `[batch, tokens, encoder_width]` with `queries` `[batch, queries, hidden]`.
    ///
    /// Text takes positions from 0; queries have none. Memory is never masked.
    ///
    /// # Errors
    /// [`Error::Shape`] when the inputs do not fit the configuration or each other, or when the text is longer than
    /// `max_positions`; [`Error::Config`] when there is text and no text branch.
    pub fn forward(&self, queries: Tensor<3>, memory: Tensor<3>, text: Option<TextInput>) -> Result<QFormerOutput> {
        self.forward_traced(queries, memory, text, &mut Trace::off())
    }

    /// [`forward`](Self::forward) that shows the queries after every layer (`qformer.layer0`, ..) and those that it returns
    /// (`qformer.last_hidden_state`).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_traced(
        &self,
        queries: Tensor<3>,
        memory: Tensor<3>,
        text: Option<TextInput>,
        trace: &mut Trace<'_>,
    ) -> Result<QFormerOutput> {
        let [batch, count, _] = queries.dims();
        check("queries", &queries, [batch, count, self.hidden])?;
        check("memory", &memory, [batch, memory.dims()[1], self.encoder_width])?;
        let text_mask = match &text {
            Some(text) => Some(self.hidden_keys(text, batch, count)?),
            None => None,
        };
        let mut states = match text {
            Some(text) => Tensor::cat(vec![queries, self.embed(text.ids)?], 1),
            None => queries,
        };
        if let Some(norm) = &self.embeddings.norm {
            states = norm.forward(states);
        }
        states = dropout(states, self.hidden_dropout);
        let mut gates = Vec::new();
        for (index, layer) in self.encoder.layer.iter().enumerate() {
            let mut record = |attention: &str, found: Option<Gates>| {
                gates.extend(found.map(|found| (format!("encoder.layer.{index}.{attention}"), found)));
            };
            states = layer.forward(states, count, &memory, text_mask.as_ref(), &mut record)?;
            if trace.is_on() {
                trace.show(format_args!("qformer.layer{index}"), &states.clone().narrow(1, 0, count));
            }
        }
        if let Some(norm) = &self.encoder.final_norm {
            states = norm.forward(states);
        }
        let total = states.dims()[1];
        let text_states = (total > count).then(|| states.clone().narrow(1, count, total - count));
        let query_states = states.narrow(1, 0, count);
        trace.show(format_args!("qformer.last_hidden_state"), &query_states);
        Ok(QFormerOutput { query_states, text_states, gates })
    }

    /// Word and position embeddings of `ids` `[batch, tokens]`.
    fn embed(&self, ids: Tensor<2, Int>) -> Result<Tensor<3>> {
        let (Some(words), Some(positions)) = (&self.embeddings.word_embeddings, &self.embeddings.position_embeddings) else {
            return Err(Error::Config {
                key: "vocabulary",
                value: "none".into(),
                remedy: "text needs a Q-Former with a text branch: set the vocabulary size".into(),
            });
        };
        let [batch, length] = ids.dims();
        let order = Tensor::arange(0..length as i64, &ids.device()).unsqueeze::<2>().expand([batch, length]);
        Ok(words.forward(ids) + positions.forward(order))
    }

    /// Keys that self-attention must not see `[batch, queries + tokens]`: the padding of the text.
    fn hidden_keys(&self, text: &TextInput, batch: usize, queries: usize) -> Result<Tensor<2, Bool>> {
        let [rows, length] = text.ids.dims();
        if rows != batch || length == 0 || length > self.max_positions || text.padding.dims() != [rows, length] {
            return Err(Error::Shape {
                what: "text of the Q-Former",
                found: vec![rows, length],
                expected: format!("[{batch}, 1..={}] and padding of the same shape", self.max_positions),
            });
        }
        let visible = Tensor::<2, Int>::zeros([batch, queries], &text.padding.device()).equal_elem(1);
        Ok(Tensor::cat(vec![visible, text.padding.clone()], 1))
    }
}

fn check(what: &'static str, found: &Tensor<3>, expected: [usize; 3]) -> Result<()> {
    if found.dims() == expected && !expected.contains(&0) {
        return Ok(());
    }
    Err(Error::Shape { what, found: found.dims().to_vec(), expected: format!("{expected:?} without empty axes") })
}

#[cfg(test)]
mod tests {
    use pvchat_data::random::SeededStream;
    use pvchat_nn::{dropout::with_dropout, init, moh::Routing};

    use super::*;

    #[test]
    fn every_rate_of_dropout_acts_in_training_passes_and_nowhere_else() {
        let device = Device::flex();
        let stream = SeededStream::new(4);
        let states = |rates: DropoutRates, training: Option<u64>| -> Vec<f32> {
            let config = QFormerConfig {
                hidden: 16,
                layers: 2,
                heads: 4,
                intermediate: 24,
                encoder_width: 12,
                routed_from_layer: 1,
                routing: Routing::Relu { shared: 2, rescale: false },
                vocabulary: None,
                initial_deviation: 0.3,
                dropout: rates,
                ..QFormerConfig::full()
            };
            let qformer = config.init(&stream, &device).unwrap();
            let input = |label, shape| init::normal(&mut stream.derive(label), shape, 1.0, &device);
            let pass = || qformer.forward(input("queries", [3, 5, 16]), input("memory", [3, 7, 12]), None).unwrap().query_states;
            let output = match training {
                Some(seed) => with_dropout(SeededStream::new(seed), pass),
                None => pass(),
            };
            output.into_data().iter::<f32>().collect()
        };
        let none = states(DropoutRates::default(), None);
        assert_eq!(none, states(DropoutRates::default(), Some(1)), "nothing is dropped by default");
        let all = [
            DropoutRates { hidden: 0.3, ..DropoutRates::default() },
            DropoutRates { attention: 0.3, ..DropoutRates::default() },
            DropoutRates { path: 0.6, ..DropoutRates::default() },
        ];
        for rates in all {
            assert_eq!(none, states(rates, None), "{rates:?} acts outside of a training pass");
            let dropped = states(rates, Some(1));
            assert_ne!(none, dropped, "{rates:?} does not act");
            assert_eq!(dropped, states(rates, Some(1)), "{rates:?}: the stream decides");
        }
    }
}
