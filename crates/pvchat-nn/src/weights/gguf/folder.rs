//! A Llama-style model in a GGUF file as a folder of the transformers library: config.json, model.safetensors in f32,
//! tokenizer.json.

use std::{io::Write, path::Path};

use serde::Serialize;

use super::{Gguf, TensorInfo, tokenizer::tokenizer_json};
use crate::{Error, Result, file::write_whole, weights::SINGLE};

/// The name of the configuration in the folder.
pub const CONFIG: &str = "config.json";
/// The name of the tokenizer in the folder.
pub const TOKENIZER: &str = "tokenizer.json";
/// What to do about a model that is not of the kind that is read.
const LLAMA: &str = "use the GGUF file of a Llama-style model with the tokenizer of SmolLM2";

/// The configuration under the names of the transformers library.
#[derive(Serialize)]
struct Config {
    architectures: [&'static str; 1],
    model_type: &'static str,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    max_position_embeddings: usize,
    rope_theta: f64,
    rms_norm_eps: f64,
    hidden_act: &'static str,
    attention_bias: bool,
    mlp_bias: bool,
    tie_word_embeddings: bool,
    bos_token_id: usize,
    eos_token_id: usize,
    pad_token_id: usize,
    torch_dtype: &'static str,
}

/// A tensor of the folder: where it comes from, and over how many heads its rows are put into another order.
struct Part<'a> {
    name: String,
    origin: &'a str,
    info: &'a TensorInfo,
    heads: Option<usize>,
}

/// Writes the folder, which is created if it does not exist; files that are there are replaced, each in one step, the
/// configuration last. The same file gives the same bytes.
///
/// Weights are written in f32, because four bits with a scale and an offset in half precision do not fit into half precision:
/// hidden states then differ by a thousandth. The rows of the query and key projections, which GGUF keeps in the order of
/// rotation by neighbours, are put back into that of rotation by halves. One tensor is in memory at a time.
///
/// # Errors
/// [`Error::File`] when the file holds another kind of model or lacks a part of its configuration or tokenizer,
/// [`Error::Io`] when it cannot be read or the folder cannot be written.
pub fn write_folder(gguf: &Gguf, folder: &Path) -> Result<()> {
    let config = config(gguf)?;
    let parts = parts(gguf, &config)?;
    let tokenizer = tokenizer_json(gguf)?;
    std::fs::create_dir_all(folder).map_err(|source| Error::Io { file: folder.into(), source })?;
    write_weights(gguf, &parts, &folder.join(SINGLE))?;
    let text = serde_json::to_string_pretty(&config).map_err(|error| gguf.wrong(error.to_string(), LLAMA))?;
    for (name, text) in [(TOKENIZER, tokenizer), (CONFIG, text)] {
        write_whole(&folder.join(name), |file, _| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}

fn config(gguf: &Gguf) -> Result<Config> {
    let architecture = gguf.text("general.architecture")?;
    if architecture != "llama" {
        return Err(gguf.wrong(format!("holds a model of the architecture {architecture:?}"), LLAMA));
    }
    let [heads, hidden] = [gguf.unsigned("llama.attention.head_count")?, gguf.unsigned("llama.embedding_length")?];
    let head_dim = match gguf.metadata().contains_key("llama.attention.key_length") {
        true => gguf.unsigned("llama.attention.key_length")?,
        false => hidden.checked_div(heads).unwrap_or(0),
    };
    Ok(Config {
        architectures: ["LlamaForCausalLM"],
        model_type: "llama",
        vocab_size: gguf.texts("tokenizer.ggml.tokens")?.len(),
        hidden_size: hidden,
        intermediate_size: gguf.unsigned("llama.feed_forward_length")?,
        num_hidden_layers: gguf.unsigned("llama.block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: gguf.unsigned("llama.attention.head_count_kv")?,
        head_dim,
        max_position_embeddings: gguf.unsigned("llama.context_length")?,
        rope_theta: shortest(gguf.float("llama.rope.freq_base")?),
        rms_norm_eps: shortest(gguf.float("llama.attention.layer_norm_rms_epsilon")?),
        hidden_act: "silu",
        attention_bias: false,
        mlp_bias: false,
        tie_word_embeddings: !gguf.tensors().contains_key("output.weight"),
        bos_token_id: gguf.unsigned("tokenizer.ggml.bos_token_id")?,
        eos_token_id: gguf.unsigned("tokenizer.ggml.eos_token_id")?,
        pad_token_id: gguf.unsigned("tokenizer.ggml.padding_token_id")?,
        torch_dtype: "float32",
    })
}

/// The shortest decimal number that is this one in f32, which the file holds: 0.00001 and not 0.000009999999747.
fn shortest(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

/// The tensors in the order of their names in the folder.
fn parts<'a>(gguf: &'a Gguf, config: &Config) -> Result<Vec<Part<'a>>> {
    let mut parts = Vec::with_capacity(gguf.tensors().len());
    for (origin, info) in gguf.tensors() {
        let (name, heads) = public_name(origin, config)
            .ok_or_else(|| gguf.wrong(format!("has the tensor {origin:?}, which no model of this kind has"), LLAMA))?;
        let fits = heads.is_none_or(|heads| {
            info.shape.len() == 2 && heads > 0 && info.shape.first().is_some_and(|rows| rows.is_multiple_of(2 * heads))
        });
        if !fits {
            let problem = format!("has the tensor {origin:?} of shape {:?}, which {heads:?} heads cannot share", info.shape);
            return Err(gguf.wrong(problem, LLAMA));
        }
        parts.push(Part { name, origin, info, heads });
    }
    parts.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    if let Some(pair) = parts.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(gguf.wrong(format!("has {:?} and {:?}, which are the same", pair[0].origin, pair[1].origin), LLAMA));
    }
    Ok(parts)
}

/// The name of a tensor in the folder, and the number of heads if its rows are in the order of rotation by neighbours.
fn public_name(origin: &str, config: &Config) -> Option<(String, Option<usize>)> {
    let stem = origin.strip_suffix(".weight")?;
    let whole = match stem {
        "token_embd" => Some("model.embed_tokens.weight"),
        "output_norm" => Some("model.norm.weight"),
        "output" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(name) = whole {
        return Some((name.into(), None));
    }
    let (layer, part) = stem.strip_prefix("blk.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let (name, heads) = match part {
        "attn_norm" => ("input_layernorm", None),
        "ffn_norm" => ("post_attention_layernorm", None),
        "attn_q" => ("self_attn.q_proj", Some(config.num_attention_heads)),
        "attn_k" => ("self_attn.k_proj", Some(config.num_key_value_heads)),
        "attn_v" => ("self_attn.v_proj", None),
        "attn_output" => ("self_attn.o_proj", None),
        "ffn_gate" => ("mlp.gate_proj", None),
        "ffn_up" => ("mlp.up_proj", None),
        "ffn_down" => ("mlp.down_proj", None),
        _ => return None,
    };
    Some((format!("model.layers.{layer}.{name}.weight"), heads))
}

/// Rows `[heads, pair, half]` as `[heads, half, pair]`.
fn by_halves(values: &[f32], shape: &[usize], heads: usize) -> Vec<f32> {
    let [rows, width] = [shape.first().copied().unwrap_or(0), shape.get(1).copied().unwrap_or(0)];
    let pairs = rows / heads / 2;
    let mut turned = Vec::with_capacity(values.len());
    for head in 0..heads {
        for half in 0..2 {
            for pair in 0..pairs {
                let row = (head * pairs + pair) * 2 + half;
                turned.extend_from_slice(&values[row * width..(row + 1) * width]);
            }
        }
    }
    turned
}

/// Safetensors: the length of the header, the header, padded to whole words, and the values in the same order.
fn write_weights(gguf: &Gguf, parts: &[Part<'_>], path: &Path) -> Result<()> {
    #[derive(Serialize)]
    struct Entry<'a> {
        dtype: &'static str,
        shape: &'a [usize],
        data_offsets: [usize; 2],
    }
    let mut entries = serde_json::Map::new();
    entries.insert("__metadata__".into(), serde_json::json!({ "format": "pt" }));
    let mut end = 0;
    for part in parts {
        let (start, shape) = (end, part.info.shape.as_slice());
        end += 4 * shape.iter().product::<usize>();
        let entry = serde_json::to_value(Entry { dtype: "F32", shape, data_offsets: [start, end] });
        entries.insert(part.name.clone(), entry.map_err(|error| gguf.wrong(error.to_string(), LLAMA))?);
    }
    let mut header = serde_json::Value::Object(entries).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let io = |source: std::io::Error| Error::Io { file: path.to_path_buf(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    // Under another name first, so that nothing half-written remains.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(header.as_bytes()).map_err(io)?;
    for part in parts {
        let values = gguf.floats(part.origin)?;
        let values = match part.heads {
            Some(heads) => by_halves(&values, &part.info.shape, heads),
            None => values,
        };
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        file.write_all(&bytes).map_err(io)?;
    }
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}
