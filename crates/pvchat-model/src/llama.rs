//! A Llama-style language model from a folder of the transformers library.

use std::path::Path;

use burn::{module::Param, prelude::*};
use serde::Deserialize;

use crate::{Error, Result};
use pvchat_nn::{
    file::{LARGEST_TEXT_FILE, read_regular},
    language::{Decoder, DecoderConfig},
    weights::{
        SINGLE, TensorSource, apply_tensors,
        gguf::folder::{CONFIG, TOKENIZER},
    },
};

/// From the names of the public files to those of [`Decoder`].
const RENAMES: &[(&str, &str)] = &[(r"^model\.", ""), (r"(_proj|lm_head)\.weight$", "$1.base.weight")];
/// The name of the head's weight in [`Decoder`].
const HEAD: &str = "lm_head.base.weight";
/// What to do about a folder that holds another kind of model.
const LLAMA: &str = "use the folder of a Llama-style language model without biases";

/// The part of config.json that decides what is computed; keys that are absent have the values that the transformers library
/// gives them.
#[derive(Deserialize)]
struct Config {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rope_theta: Option<f64>,
    rope_parameters: Option<RopeParameters>,
    rope_scaling: Option<serde_json::Value>,
    #[serde(default = "Config::rms_norm_eps")]
    rms_norm_eps: f64,
    #[serde(default = "Config::hidden_act")]
    hidden_act: String,
    #[serde(default)]
    tie_word_embeddings: bool,
}

/// Where newer files keep the base of the rotary frequencies.
#[derive(Deserialize)]
struct RopeParameters {
    rope_theta: f64,
    rope_type: String,
}

impl Config {
    fn rms_norm_eps() -> f64 {
        1e-6
    }

    fn hidden_act() -> String {
        "silu".into()
    }
}

/// Opens the language model of a folder with config.json and model.safetensors (any float type), in f32. A head that is tied
/// to the word table becomes a copy of it: this model trains, and adapts, the two apart from each other.
///
/// # Errors
/// [`Error::Io`] when a file cannot be read; [`Error::File`] when one is damaged, the model is of another kind, or the weights
/// are not those of the configuration; [`Error::Config`] for sizes that cannot work.
pub fn open(folder: &Path, device: &Device) -> Result<Decoder> {
    let (config, tied) = config(&folder.join(CONFIG))?;
    let mut model = config.init_zeros(device)?;
    let source = TensorSource::open(&folder.join(SINGLE))?;
    let mut applied = apply_tensors(&mut model, &source, RENAMES)?;
    if tied && applied.missing == [HEAD] {
        applied.missing.clear();
        let words = model.embed_tokens.weight.val();
        // By way of data, because products with a mere view of the transposed table are slower.
        let head = Tensor::<2>::from_data(words.transpose().into_data(), device);
        model.lm_head.base.weight = Param::from_tensor(head);
    }
    applied.require_exact()?;
    Ok(model)
}

/// The tokenizer of such a folder.
///
/// # Errors
/// [`Error::Io`], [`Error::File`] when tokenizer.json cannot be read.
pub fn tokenizer(folder: &Path) -> Result<tokenizers::Tokenizer> {
    let file = folder.join(TOKENIZER);
    let remedy = "use the tokenizer.json that came with the weights";
    let json = read_regular(&file, LARGEST_TEXT_FILE, remedy)?;
    tokenizers::Tokenizer::from_bytes(json).map_err(|error| Error::File {
        file,
        problem: error.to_string(),
        remedy: remedy.into(),
    })
}

/// The configuration of a model without adapters, and whether its head is the word table.
fn config(file: &Path) -> Result<(DecoderConfig, bool)> {
    let wrong = |problem: String| Error::File { file: file.into(), problem, remedy: LLAMA.into() };
    let text = read_regular(file, LARGEST_TEXT_FILE, LLAMA)?;
    let config: Config = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if !["llama", "mistral"].contains(&config.model_type.as_str()) {
        return Err(wrong(format!("describes a model of the type {:?}", config.model_type)));
    }
    if config.hidden_act != "silu" {
        return Err(wrong(format!("has the activation {:?}, not \"silu\"", config.hidden_act)));
    }
    let scaled = config.rope_parameters.as_ref().is_some_and(|rope| rope.rope_type != "default");
    if scaled || config.rope_scaling.is_some_and(|scaling| !scaling.is_null()) {
        return Err(wrong("scales the rotary positions".into()));
    }
    let theta = config.rope_parameters.map(|rope| rope.rope_theta).or(config.rope_theta).unwrap_or(10_000.0);
    let sizes = DecoderConfig {
        vocabulary: config.vocab_size,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads.unwrap_or(config.num_attention_heads),
        head_dim: config.head_dim.unwrap_or(config.hidden_size.checked_div(config.num_attention_heads).unwrap_or(0)),
        intermediate: config.intermediate_size,
        rope_theta: theta,
        rms_norm_epsilon: config.rms_norm_eps,
        initial_deviation: 0.02,
        lora: None,
    };
    Ok((sizes, config.tie_word_embeddings))
}
