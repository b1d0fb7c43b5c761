//! The published config.json and the files next to it.
//!
//! Keys that have transformers' defaults are missing in the published files, and others have no meaning for the model: what is
//! missing gets its default, what is not known is ignored, and what would make another model is refused.

use pvchat_nn::language::DecoderConfig;
use serde::{Deserialize, de::DeserializeOwned};

use super::{SiglipConfig, frames::FrameSampling};
use crate::{
    Error, Result,
    preprocess::{SquaresConfig, squares::LARGEST_EDGE},
};

/// The largest size and the largest number of layers that are accepted; a larger number means a damaged file.
const LARGEST_SIZE: usize = 1 << 20;
const MOST_LAYERS: usize = 1 << 10;

const REMEDY: &str = "use the files that came with the weights";

/// Everything that decides the shape of a model, what it is shown and when it stops.
#[derive(Clone, Debug, PartialEq)]
pub struct SmolVlm2Config {
    /// The vision encoder.
    pub vision: SiglipConfig,
    /// The connector joins squares of this many by this many patches.
    pub scale_factor: usize,
    /// The language model.
    pub text: DecoderConfig,
    /// Whether the head is the word table; then the weights have no `lm_head.weight`.
    pub tie_word_embeddings: bool,
    /// The longest prompt and answer together, in tokens.
    pub max_positions: usize,
    /// The id of `<image>`, which a visual token replaces.
    pub image_token_id: u32,
    /// The ids that end an answer; none without a generation_config.json, where `<end_of_utterance>` ends it.
    pub end_tokens: Vec<u32>,
    /// How the frames of a clip are brought to size.
    pub video: SquaresConfig,
    /// How an image is brought to size.
    pub image: SquaresConfig,
    /// Whether an image is cut into tiles where nothing else is asked for.
    pub split_images: bool,
    /// How many frames of a clip are shown where nothing else is asked for.
    pub sampling: FrameSampling,
}

/// The texts of the published files; all but the first may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishedFiles<'a> {
    /// config.json.
    pub config: &'a [u8],
    /// generation_config.json: what ends an answer.
    pub generation: Option<&'a [u8]>,
    /// preprocessor_config.json: sizes of images, choice of frames.
    pub preprocessor: Option<&'a [u8]>,
    /// processor_config.json: visual tokens of a picture.
    pub processor: Option<&'a [u8]>,
}

#[derive(Deserialize)]
struct PublishedConfig {
    model_type: Option<String>,
    scale_factor: Option<usize>,
    tie_word_embeddings: Option<bool>,
    image_token_id: Option<u32>,
    use_resampler: Option<bool>,
    #[serde(default)]
    vision_config: PublishedVision,
    text_config: PublishedText,
}

#[derive(Default, Deserialize)]
struct PublishedVision {
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    num_channels: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
}

#[derive(Deserialize)]
struct PublishedText {
    model_type: Option<String>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    hidden_act: Option<String>,
    rms_norm_eps: Option<f64>,
    max_position_embeddings: Option<usize>,
    rope_theta: Option<f64>,
    rope_parameters: Option<PublishedRope>,
    rope_scaling: Option<PublishedRope>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    rope_interleaved: Option<bool>,
    qk_layer_norms: Option<bool>,
    use_resampler: Option<bool>,
}

#[derive(Default, Deserialize)]
struct PublishedRope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

#[derive(Default, Deserialize)]
struct PublishedGeneration {
    eos_token_id: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(u32),
    More(Vec<u32>),
}

#[derive(Default, Deserialize)]
struct PublishedPreprocessor {
    size: Option<LongestEdge>,
    max_image_size: Option<LongestEdge>,
    do_image_splitting: Option<bool>,
    image_mean: Option<Vec<f64>>,
    image_std: Option<Vec<f64>>,
    resample: Option<u64>,
    video_sampling: Option<PublishedSampling>,
}

#[derive(Default, Deserialize)]
struct LongestEdge {
    longest_edge: Option<usize>,
}

#[derive(Default, Deserialize)]
struct PublishedSampling {
    fps: Option<f64>,
    max_frames: Option<usize>,
    video_size: Option<LongestEdge>,
}

#[derive(Default, Deserialize)]
struct PublishedProcessor {
    image_seq_len: Option<usize>,
}

impl SmolVlm2Config {
    /// Reads the published files.
    ///
    /// # Errors
    /// [`Error::File`] for files that cannot be read; [`Error::Config`] for what is another model, for sizes that contradict
    /// each other and for those that no model has.
    pub fn from_files(files: &PublishedFiles) -> Result<Self> {
        let published: PublishedConfig = parsed("config.json", files.config)?;
        let model_type = published.model_type.as_deref();
        if !matches!(model_type, Some("smolvlm" | "idefics3")) {
            let remedy = "this family reads `smolvlm` and `idefics3`".into();
            return refuse("model_type", model_type.unwrap_or("missing"), remedy);
        }
        published.refuse_other_models()?;
        let vision = published.vision();
        let text = published.text()?;
        let scale_factor = published.scale_factor.unwrap_or(2);
        let generation: PublishedGeneration = parsed_or_default("generation_config.json", files.generation)?;
        let processor: PublishedProcessor = parsed_or_default("processor_config.json", files.processor)?;
        let preprocessor: PublishedPreprocessor = parsed_or_default("preprocessor_config.json", files.preprocessor)?;
        preprocessor.refuse_other_pixels()?;
        let sampling = preprocessor.video_sampling.unwrap_or_default();
        let edge = |found: Option<LongestEdge>, default| found.and_then(|found| found.longest_edge).unwrap_or(default);
        let side = edge(preprocessor.max_image_size, vision.image_size);
        let config = Self {
            scale_factor,
            text,
            tie_word_embeddings: published.tie_word_embeddings.unwrap_or(false),
            max_positions: published.text_config.max_position_embeddings.unwrap_or(2048),
            image_token_id: published.image_token_id.unwrap_or(128_257),
            end_tokens: match generation.eos_token_id {
                None => Vec::new(),
                Some(OneOrMore::One(id)) => vec![id],
                Some(OneOrMore::More(ids)) => ids,
            },
            video: SquaresConfig { longest_edge: edge(sampling.video_size, side), side },
            image: SquaresConfig { longest_edge: edge(preprocessor.size, side.saturating_mul(4)), side },
            split_images: preprocessor.do_image_splitting.unwrap_or(true),
            sampling: FrameSampling {
                per_second: sampling.fps.unwrap_or(FrameSampling::PUBLISHED.per_second),
                most: sampling.max_frames.unwrap_or(FrameSampling::PUBLISHED.most),
            },
            vision,
        };
        config.validate()?;
        match processor.image_seq_len {
            Some(tokens) if tokens != config.picture_tokens() => {
                refuse("image_seq_len", tokens, format!("the connector gives {}", config.picture_tokens()))
            }
            _ => Ok(config),
        }
    }

    /// The published sizes: `256m`, `500m` and `2.2b`; `None` for another name.
    pub fn published(size: &str) -> Option<Self> {
        let [hidden, layers, heads, kv_heads, intermediate] = match size {
            "256m" => [576, 30, 9, 3, 1536],
            "500m" => [960, 32, 15, 5, 2560],
            "2.2b" => [2048, 24, 32, 32, 8192],
            _ => return None,
        };
        let small = SiglipConfig {
            width: 768,
            layers: 12,
            heads: 12,
            mlp_hidden: 3072,
            image_size: 512,
            patch_size: 16,
            channels: 3,
            layer_norm_epsilon: 1e-6,
        };
        let (vision, scale_factor, rope_theta) = match size {
            "2.2b" => {
                let large = SiglipConfig { width: 1152, layers: 27, heads: 16, mlp_hidden: 4304, ..small };
                (SiglipConfig { image_size: 384, patch_size: 14, ..large }, 3, 130_000.0)
            }
            _ => (small, 4, 100_000.0),
        };
        let side = vision.image_size;
        Some(Self {
            vision,
            scale_factor,
            text: DecoderConfig {
                vocabulary: 49_280,
                hidden,
                layers,
                heads,
                kv_heads,
                head_dim: 64,
                intermediate,
                rope_theta,
                rms_norm_epsilon: 1e-5,
                initial_deviation: 0.02,
                lora: None,
            },
            tie_word_embeddings: false,
            max_positions: 8192,
            image_token_id: 49_190,
            end_tokens: vec![49_279],
            video: SquaresConfig { longest_edge: side, side },
            image: SquaresConfig { longest_edge: 4 * side, side },
            split_images: true,
            sampling: FrameSampling::PUBLISHED,
        })
    }

    /// Visual tokens of one picture.
    pub fn picture_tokens(&self) -> usize {
        let side = self.vision.side().checked_div(self.scale_factor).unwrap_or(0);
        side.saturating_mul(side)
    }

    /// Width of what the connector makes a visual token of: the features of the patches that it joins.
    pub fn connector_inputs(&self) -> usize {
        self.vision.width.saturating_mul(self.scale_factor).saturating_mul(self.scale_factor)
    }

    /// Checks that the parts fit each other and that the sizes can be believed.
    ///
    /// # Errors
    /// [`Error::Config`] with the value at fault and what would be accepted.
    pub fn validate(&self) -> Result<()> {
        let (vision, text) = (&self.vision, &self.text);
        let sizes = [
            ("vision_config.hidden_size", vision.width, LARGEST_SIZE),
            ("vision_config.num_hidden_layers", vision.layers, MOST_LAYERS),
            ("vision_config.num_attention_heads", vision.heads, LARGEST_SIZE),
            ("vision_config.intermediate_size", vision.mlp_hidden, LARGEST_SIZE),
            ("vision_config.image_size", vision.image_size, LARGEST_EDGE),
            ("vision_config.patch_size", vision.patch_size, vision.image_size),
            ("vision_config.num_channels", vision.channels, 3),
            ("scale_factor", self.scale_factor, LARGEST_EDGE),
            ("text_config.vocab_size", text.vocabulary, 16 * LARGEST_SIZE),
            ("text_config.hidden_size", text.hidden, LARGEST_SIZE),
            ("text_config.num_hidden_layers", text.layers, MOST_LAYERS),
            ("text_config.num_attention_heads", text.heads, LARGEST_SIZE),
            ("text_config.num_key_value_heads", text.kv_heads, LARGEST_SIZE),
            ("text_config.head_dim", text.head_dim, LARGEST_SIZE),
            ("text_config.intermediate_size", text.intermediate, LARGEST_SIZE),
            ("text_config.max_position_embeddings", self.max_positions, 16 * LARGEST_SIZE),
            ("size.longest_edge", self.image.longest_edge, LARGEST_EDGE),
            ("video_sampling.video_size.longest_edge", self.video.longest_edge, LARGEST_EDGE),
        ];
        if let Some((key, value, most)) = sizes.into_iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
            return refuse(key, value, format!("1 to {most} is believed"));
        }
        if vision.channels != 3 {
            return refuse("vision_config.num_channels", vision.channels, "pixels have 3 colours".into());
        }
        if !vision.width.is_multiple_of(vision.heads) {
            let remedy = format!("it must divide `hidden_size`, which is {}", vision.width);
            return refuse("vision_config.num_attention_heads", vision.heads, remedy);
        }
        if !(vision.layer_norm_epsilon > 0.0 && vision.layer_norm_epsilon.is_finite()) {
            return refuse("vision_config.layer_norm_eps", vision.layer_norm_epsilon, "it must be a positive number".into());
        }
        if !vision.side().is_multiple_of(self.scale_factor) {
            let remedy = format!("it must divide the {0} x {0} patches of an image", vision.side());
            return refuse("scale_factor", self.scale_factor, remedy);
        }
        for side in [self.image.side, self.video.side] {
            if side != vision.image_size {
                return refuse("max_image_size.longest_edge", side, format!("the encoder sees {}", vision.image_size));
            }
        }
        let ids = self.end_tokens.iter().map(|&id| ("eos_token_id", id)).chain([("image_token_id", self.image_token_id)]);
        for (key, id) in ids {
            if id as usize >= text.vocabulary {
                return refuse(key, id, format!("the vocabulary has {} tokens", text.vocabulary));
            }
        }
        text.validate()?;
        self.sampling.validate()
    }
}

impl PublishedConfig {
    /// Refuses what this family's modules do not compute.
    fn refuse_other_models(&self) -> Result<()> {
        let text = &self.text_config;
        let words = [
            ("text_config.model_type", &text.model_type, "llama"),
            ("text_config.hidden_act", &text.hidden_act, "silu"),
            ("vision_config.hidden_act", &self.vision_config.hidden_act, "gelu_pytorch_tanh"),
        ];
        for (key, found, expected) in words {
            if let Some(found) = found.as_ref().filter(|found| *found != expected) {
                return refuse(key, found, format!("this family has {expected:?}"));
            }
        }
        let switches = [
            ("use_resampler", self.use_resampler),
            ("text_config.use_resampler", text.use_resampler),
            ("text_config.attention_bias", text.attention_bias),
            ("text_config.mlp_bias", text.mlp_bias),
            ("text_config.rope_interleaved", text.rope_interleaved),
            ("text_config.qk_layer_norms", text.qk_layer_norms),
        ];
        for (key, found) in switches {
            if found == Some(true) {
                return refuse(key, true, "this family has it off".into());
            }
        }
        Ok(())
    }

    fn vision(&self) -> SiglipConfig {
        let vision = &self.vision_config;
        SiglipConfig {
            width: vision.hidden_size.unwrap_or(1152),
            layers: vision.num_hidden_layers.unwrap_or(12),
            heads: vision.num_attention_heads.unwrap_or(16),
            mlp_hidden: vision.intermediate_size.unwrap_or(3072),
            image_size: vision.image_size.unwrap_or(224),
            patch_size: vision.patch_size.unwrap_or(32),
            channels: vision.num_channels.unwrap_or(3),
            layer_norm_epsilon: vision.layer_norm_eps.unwrap_or(1e-6),
        }
    }

    fn text(&self) -> Result<DecoderConfig> {
        let text = &self.text_config;
        let ropes = [&text.rope_parameters, &text.rope_scaling].map(Option::as_ref);
        for kind in ropes.into_iter().flatten().filter_map(|rope| rope.rope_type.as_ref()) {
            if kind != "default" {
                return refuse("text_config.rope_parameters.rope_type", kind, "this family has \"default\"".into());
            }
        }
        let theta = ropes.into_iter().flatten().find_map(|rope| rope.rope_theta).or(text.rope_theta);
        let (hidden, heads) = (text.hidden_size.unwrap_or(4096), text.num_attention_heads.unwrap_or(32));
        Ok(DecoderConfig {
            vocabulary: text.vocab_size.unwrap_or(32_000),
            hidden,
            layers: text.num_hidden_layers.unwrap_or(32),
            heads,
            kv_heads: text.num_key_value_heads.unwrap_or(heads),
            head_dim: text.head_dim.unwrap_or(hidden.checked_div(heads).unwrap_or(0)),
            intermediate: text.intermediate_size.unwrap_or(11_008),
            rope_theta: theta.unwrap_or(1e4),
            rms_norm_epsilon: text.rms_norm_eps.unwrap_or(1e-6),
            initial_deviation: 0.02,
            lora: None,
        })
    }
}

impl PublishedPreprocessor {
    /// Refuses pixels that [`SquaresConfig`] does not make.
    fn refuse_other_pixels(&self) -> Result<()> {
        for (key, found) in [("image_mean", &self.image_mean), ("image_std", &self.image_std)] {
            if let Some(found) = found.as_ref().filter(|found| **found != [0.5; 3]) {
                return refuse(key, format!("{found:?}"), "pixels are normalised with [0.5, 0.5, 0.5]".into());
            }
        }
        match self.resample {
            None | Some(1) => Ok(()),
            Some(other) => refuse("resample", other, "images are resized with 1, which is LANCZOS".into()),
        }
    }
}

fn refuse<T>(key: &'static str, value: impl ToString, remedy: String) -> Result<T> {
    Err(Error::Config { key, value: value.to_string(), remedy })
}

fn parsed<T: DeserializeOwned>(name: &str, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| Error::File {
        file: name.into(),
        problem: format!("is not a published configuration ({error})"),
        remedy: REMEDY.into(),
    })
}

fn parsed_or_default<T: DeserializeOwned + Default>(name: &str, json: Option<&[u8]>) -> Result<T> {
    json.map_or_else(|| Ok(T::default()), |json| parsed(name, json))
}
