//! A RoBERTa-style encoder, loaded from a directory as it is published: config.json, tokenizer.json, model.safetensors.

use std::path::{Path, PathBuf};

use burn::{
    module::Module,
    nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig},
    prelude::*,
    tensor::activation::{gelu, softmax},
};
use pvchat_nn::{
    file::{LARGEST_TEXT_FILE, read_regular},
    weights::{TensorSource, apply_tensors},
};
use serde::Deserialize;
use tokenizers::Tokenizer;

use super::{Embedder, TokenEmbeddings};
use crate::{Error, Result};

/// What a config.json says that matters here.
#[derive(Clone, Debug, Deserialize)]
struct Config {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    pad_token_id: usize,
    bos_token_id: u32,
    eos_token_id: u32,
    hidden_act: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
}

fn absolute() -> String {
    ABSOLUTE.into()
}

const ABSOLUTE: &str = "absolute";
/// The largest size of any kind that is accepted; a file that claims more is not one of these models.
const LARGEST: usize = 1 << 20;

#[derive(Module, Debug)]
struct Roberta {
    word: Embedding,
    position: Embedding,
    kind: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

#[derive(Module, Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: LayerNorm,
    inner: Linear,
    outer: Linear,
    outer_norm: LayerNorm,
}

/// From the names of the published files to those above.
const RENAMES: [(&str, &str); 10] = [
    (r"^roberta\.", ""),
    (r"^embeddings\.word_embeddings\.", "word."),
    (r"^embeddings\.position_embeddings\.", "position."),
    (r"^embeddings\.token_type_embeddings\.", "kind."),
    (r"^embeddings\.LayerNorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.attention\.self\.", "layers.$1."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", "layers.$1.attended."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.", "layers.$1.attended_norm."),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", "layers.$1.inner."),
    (r"^encoder\.layer\.(\d+)\.output\.", "layers.$1.output."),
];
const OUTPUT_RENAMES: [(&str, &str); 2] =
    [(r"^(layers\.\d+)\.output\.dense\.", "$1.outer."), (r"^(layers\.\d+)\.output\.LayerNorm\.", "$1.outer_norm.")];

/// Embeds tokens with the first layers of a RoBERTa.
///
/// The usual package takes layer 17 of roberta-large (its default for English) and layer 10 of roberta-base.
#[derive(Debug)]
pub struct RobertaEmbedder {
    model: Roberta,
    config: Config,
    tokenizer: Tokenizer,
    folder: PathBuf,
    device: Device,
}

impl RobertaEmbedder {
    /// Opens a folder with config.json, tokenizer.json and model.safetensors and takes the first `layers` layers.
    ///
    /// # Errors
    /// [`Error::Encoder`] for a file that is missing, damaged or of another kind of model, and for more layers than there are;
    /// [`Error::Model`] for weights that do not fit the configuration.
    pub fn open(folder: &Path, layers: usize, device: &Device) -> Result<Self> {
        let fail =
            |name: &str, problem: String, remedy: &'static str| Error::Encoder { file: folder.join(name), problem, remedy };
        let complete = "use the files of one model, as they are published";
        let read = |name: &str| {
            read_regular(&folder.join(name), LARGEST_TEXT_FILE, complete).map_err(|error| fail(name, error.to_string(), complete))
        };
        let json = read("config.json")?;
        let config: Config = serde_json::from_slice(&json)
            .map_err(|error| fail("config.json", format!("is not understood ({error})"), complete))?;
        if let Some(problem) = config.problem() {
            return Err(fail("config.json", problem, "use a model of the RoBERTa family"));
        }
        if layers == 0 || layers > config.num_hidden_layers {
            let problem = format!("has {} layers, layer {layers} was asked for", config.num_hidden_layers);
            return Err(fail("config.json", problem, "roberta-large is used with layer 17, roberta-base with layer 10"));
        }
        let tokenizer = Tokenizer::from_bytes(read("tokenizer.json")?)
            .map_err(|error| fail("tokenizer.json", error.to_string(), complete))?;
        let device = device.clone().inner();
        let mut model = config.init(layers, &device);
        let wanted = |name: &str| {
            let name = name.strip_prefix("roberta.").unwrap_or(name);
            let layer = name.strip_prefix("encoder.layer.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
            match layer {
                Some(layer) => layer < layers,
                None => name.starts_with("embeddings.") && !name.ends_with("position_ids"),
            }
        };
        let source = TensorSource::open(&folder.join("model.safetensors"))?.filtered(wanted);
        let renames: Vec<(&str, &str)> = RENAMES.into_iter().chain(OUTPUT_RENAMES).collect();
        apply_tensors(&mut model, &source, &renames)?.require_exact()?;
        Ok(Self { model: model.no_grad(), config, tokenizer, folder: folder.to_path_buf(), device })
    }

    /// The ids of a text, between those that begin and end it; what is too long for the model is cut.
    ///
    /// # Errors
    /// [`Error::Encoder`] when the tokenizer fails or has tokens that the model does not.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let fail = |problem: String| Error::Encoder {
            file: self.folder.join("tokenizer.json"),
            problem,
            remedy: "use the files of one model, as they are published",
        };
        let text = text.trim();
        let mut ids = vec![self.config.bos_token_id];
        if !text.is_empty() {
            // The byte-level tokenizer recognises words by the space in front of them; the first one gets one too.
            let found = self.tokenizer.encode_fast(format!(" {text}"), false).map_err(|error| fail(error.to_string()))?;
            ids.extend(found.get_ids());
        }
        ids.truncate(self.config.longest() - 1);
        ids.push(self.config.eos_token_id);
        match ids.iter().find(|&&id| id as usize >= self.config.vocab_size) {
            Some(id) => Err(fail(format!("gives token {id}, the model has {}", self.config.vocab_size))),
            None => Ok(ids),
        }
    }
}

impl Embedder for RobertaEmbedder {
    fn name(&self) -> String {
        let name =
            self.folder.file_name().map_or_else(|| self.folder.display().to_string(), |name| name.to_string_lossy().into());
        format!("{name}, layer {} of {}, no idf, not rescaled", self.model.layers.len(), self.config.num_hidden_layers)
    }

    fn embed(&self, text: &str) -> Result<TokenEmbeddings> {
        let ids = self.ids(text)?;
        let states = self.model.forward(&ids, &self.config, &self.device);
        let width = self.config.hidden_size;
        let values: Vec<f32> = states.into_data().iter::<f32>().collect();
        let special = |id: u32| id == self.config.bos_token_id || id == self.config.eos_token_id;
        let weights = ids.iter().map(|&id| if special(id) { 0.0 } else { 1.0 }).collect();
        Ok(TokenEmbeddings { vectors: values.chunks(width).map(<[f32]>::to_vec).collect(), weights })
    }
}

impl Config {
    /// Why this is no model that can be opened here.
    fn problem(&self) -> Option<String> {
        let other = |key: &str, value: &str| Some(format!("has the {key} {value:?}"));
        if !matches!(self.model_type.as_str(), "roberta" | "xlm-roberta" | "camembert") {
            return other("model_type", &self.model_type);
        }
        if self.hidden_act != "gelu" {
            return other("hidden_act", &self.hidden_act);
        }
        if self.position_embedding_type != ABSOLUTE {
            return other("position_embedding_type", &self.position_embedding_type);
        }
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("type_vocab_size", self.type_vocab_size),
        ];
        if let Some((key, size)) = sizes.into_iter().find(|(_, size)| !(1..=LARGEST).contains(size)) {
            return Some(format!("has a {key} of {size}"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Some(format!("has {} heads for a width of {}", self.num_attention_heads, self.hidden_size));
        }
        let positions = self.pad_token_id.saturating_add(3)..=LARGEST;
        if !positions.contains(&self.max_position_embeddings) {
            return Some(format!("has {} positions", self.max_position_embeddings));
        }
        None
    }

    /// Tokens of the longest text; positions are counted from behind the padding's.
    fn longest(&self) -> usize {
        self.max_position_embeddings - self.pad_token_id - 1
    }

    fn init(&self, layers: usize, device: &Device) -> Roberta {
        let width = self.hidden_size;
        let linear = |inputs: usize, outputs: usize| LinearConfig::new(inputs, outputs).init(device);
        let norm = || LayerNormConfig::new(width).with_epsilon(self.layer_norm_eps).init(device);
        let table = |rows: usize| EmbeddingConfig::new(rows, width).init(device);
        let layer = |_| Layer {
            query: linear(width, width),
            key: linear(width, width),
            value: linear(width, width),
            attended: linear(width, width),
            attended_norm: norm(),
            inner: linear(width, self.intermediate_size),
            outer: linear(self.intermediate_size, width),
            outer_norm: norm(),
        };
        Roberta {
            word: table(self.vocab_size),
            position: table(self.max_position_embeddings),
            kind: table(self.type_vocab_size),
            norm: norm(),
            layers: (0..layers).map(layer).collect(),
        }
    }
}

impl Roberta {
    /// The states of one text behind the last layer, `[1, tokens, width]`.
    fn forward(&self, ids: &[u32], config: &Config, device: &Device) -> Tensor<3> {
        let count = ids.len();
        let row = |values: Vec<i32>| Tensor::<2, Int>::from_data(TensorData::new(values, [1, count]), device);
        let first = config.pad_token_id + 1;
        let words = self.word.forward(row(ids.iter().map(|&id| id as i32).collect()));
        let positions = self.position.forward(row((first..first + count).map(|place| place as i32).collect()));
        let kinds = self.kind.forward(row(vec![0; count]));
        let states = self.norm.forward(words + positions + kinds);
        self.layers.iter().fold(states, |states, layer| layer.forward(states, config.num_attention_heads))
    }
}

impl Layer {
    fn forward(&self, states: Tensor<3>, heads: usize) -> Tensor<3> {
        let [batch, count, width] = states.dims();
        let split =
            |linear: &Linear| linear.forward(states.clone()).reshape([batch, count, heads, width / heads]).swap_dims(1, 2);
        let scale = ((width / heads) as f64).sqrt();
        let scores = split(&self.query).matmul(split(&self.key).swap_dims(2, 3)) / scale;
        let mixed = softmax(scores, 3).matmul(split(&self.value)).swap_dims(1, 2).reshape([batch, count, width]);
        let attended = self.attended_norm.forward(self.attended.forward(mixed) + states);
        let output = self.outer.forward(gelu(self.inner.forward(attended.clone())));
        self.outer_norm.forward(output + attended)
    }
}
