//! The published config.json of InternVideo2-Chat and of PVChat, which fine-tunes it.
//!
//! It names the parts (`internvideo2-1B`, `qformer`, `mistral_7b`) and says what was chosen about them; their sizes follow from the
//! names. What decides how a model is trained, or where files were stored on a machine (`model_path`, learning rates,
//! `sks_name`), is not read.

use serde::Deserialize;

use super::{InternVideo2Config, NAME, config};
use crate::{
    Error, Result,
    answer::AnswerConfig,
    bridge::{BridgeConfig, QFormerBridgeConfig},
    families::{VilmConfig, VisionConfig},
    preprocess::{PreprocessConfig, Preprocessing},
    qformer::{DropoutRates, QFormerConfig},
};
use pvchat_nn::language::{DecoderConfig, LoraConfig};

#[derive(Deserialize)]
struct PublishedFile {
    model_config: PublishedConfig,
}

#[derive(Deserialize)]
struct PublishedConfig {
    vision_encoder: PublishedVision,
    bridge: PublishedBridge,
    llm: PublishedLanguage,
}

#[derive(Deserialize)]
struct PublishedVision {
    name: String,
    d_model: Option<usize>,
    encoder_embed_dim: Option<usize>,
    img_size: Option<usize>,
    patch_size: Option<usize>,
    num_frames: Option<usize>,
    tubelet_size: Option<usize>,
    x_vis_return_idx: Option<isize>,
    x_vis_only: Option<bool>,
    sep_image_video_pos_embed: Option<bool>,
    vit_add_ln: Option<bool>,
}

#[derive(Deserialize)]
struct PublishedBridge {
    name: String,
    num_query_token: Option<usize>,
    extra_num_query_token: Option<usize>,
    num_personal_token: Option<usize>,
    num_prefix_token: Option<usize>,
    qformer_hidden_dropout_prob: Option<f64>,
    qformer_attention_probs_dropout_prob: Option<f64>,
    qformer_drop_path_rate: Option<f64>,
}

#[derive(Deserialize)]
struct PublishedLanguage {
    name: String,
    use_lora: Option<bool>,
    lora_r: Option<usize>,
    lora_alpha: Option<f64>,
    lora_dropout: Option<f64>,
}

/// Reads the published config.json; `name` is what errors call it.
///
/// # Errors
/// [`Error::File`] for a file of another form, [`Error::Config`] for a model whose parts are others.
pub(super) fn read(name: &str, json: &[u8]) -> Result<VilmConfig> {
    let PublishedFile { model_config: published } = serde_json::from_slice(json).map_err(|error| Error::File {
        file: name.into(),
        problem: format!("is not a configuration of InternVideo2-Chat ({error})"),
        remedy: "use the config.json that came with the weights".into(),
    })?;
    published.refuse_other_models()?;
    let PublishedConfig { vision_encoder: vision, bridge, llm } = published;
    let full = InternVideo2Config::full();
    let encoder = InternVideo2Config {
        width: vision.d_model.unwrap_or(full.width),
        return_index: vision.x_vis_return_idx.unwrap_or(full.return_index),
        image_size: vision.img_size.unwrap_or(full.image_size),
        patch_size: vision.patch_size.unwrap_or(full.patch_size),
        frames: vision.num_frames.unwrap_or(full.frames),
        ..full
    };
    let (full, former) = (QFormerBridgeConfig::full(), QFormerConfig::full());
    let dropout = DropoutRates {
        hidden: bridge.qformer_hidden_dropout_prob.unwrap_or(former.dropout.hidden),
        attention: bridge.qformer_attention_probs_dropout_prob.unwrap_or(former.dropout.attention),
        path: bridge.qformer_drop_path_rate.unwrap_or(former.dropout.path),
    };
    let bridge = QFormerBridgeConfig {
        query_tokens: bridge.num_query_token.unwrap_or(full.query_tokens),
        extra_query_tokens: bridge.extra_num_query_token.unwrap_or(0),
        // A base that nobody was learned on says nothing of them; new ones are made.
        personal_query_tokens: bridge.num_personal_token.unwrap_or(full.personal_query_tokens),
        qformer: QFormerConfig { encoder_width: encoder.width, dropout, ..former },
        ..full
    };
    let lora = LoraConfig::full();
    let lora = LoraConfig {
        rank: llm.lora_r.unwrap_or(lora.rank),
        alpha: llm.lora_alpha.unwrap_or(lora.alpha),
        dropout: llm.lora_dropout.unwrap_or(lora.dropout),
    };
    let language = DecoderConfig { lora: llm.use_lora.unwrap_or(false).then_some(lora), ..DecoderConfig::full() };
    Ok(VilmConfig {
        family: NAME,
        preprocess: Preprocessing::Tiles(PreprocessConfig { resolution: encoder.image_size, ..PreprocessConfig::full() }),
        vision: VisionConfig::InternVideo2(encoder),
        answer: AnswerConfig { bridge: BridgeConfig::QFormer(bridge), language },
        ..config()
    })
}

impl PublishedConfig {
    /// Refuses parts that are not computed here.
    fn refuse_other_models(&self) -> Result<()> {
        let (vision, bridge) = (&self.vision_encoder, &self.bridge);
        let names = [
            ("vision_encoder.name", &vision.name, "internvideo2-1B"),
            ("bridge.name", &bridge.name, "qformer"),
            ("llm.name", &self.llm.name, "mistral_7b"),
        ];
        for (key, found, expected) in names {
            if found != expected {
                return refuse(key, found, format!("this family has {expected:?}"));
            }
        }
        let switches = [
            ("vision_encoder.x_vis_only", vision.x_vis_only),
            ("vision_encoder.sep_image_video_pos_embed", vision.sep_image_video_pos_embed),
            ("vision_encoder.vit_add_ln", vision.vit_add_ln),
        ];
        for (key, found) in switches {
            if found == Some(false) {
                return refuse(key, "false", "this family has it on".into());
            }
        }
        let numbers = [
            ("vision_encoder.tubelet_size", vision.tubelet_size, 1, "a patch spans one frame"),
            ("bridge.num_prefix_token", bridge.num_prefix_token, 0, "prompts with prefix tokens are not written here"),
        ];
        for (key, found, expected, remedy) in numbers {
            if let Some(found) = found.filter(|found| *found != expected) {
                return refuse(key, &found.to_string(), format!("it must be {expected}: {remedy}"));
            }
        }
        match (vision.d_model, vision.encoder_embed_dim) {
            (Some(inside), Some(outside)) if inside != outside => {
                refuse("vision_encoder.encoder_embed_dim", &outside.to_string(), format!("`d_model` is {inside}"))
            }
            _ => Ok(()),
        }
    }
}

fn refuse(key: &'static str, value: &str, remedy: String) -> Result<()> {
    Err(Error::Config { key, value: value.into(), remedy })
}
