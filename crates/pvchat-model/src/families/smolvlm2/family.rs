//! SmolVLM2 among the other families: its files, its names, its prompts.

use burn::prelude::Device;
use image::RgbImage;
use pvchat_data::random::SeededStream;
use pvchat_nn::language::PersonalRows;
use serde_json::{Value, json};

use super::{
    Conversation, Message, Part, Role, SmolVlm2Config,
    config::PublishedFiles,
    prompt::{AROUND_IMAGE, END_OF_TURN, IMAGE},
};
use crate::{
    Error, Result,
    answer::AnswerConfig,
    bridge::{BridgeConfig, ConnectorConfig},
    families::{EncoderConfig, Family, Files, NameTable, VilmConfig, VisionConfig, VisionTower},
    preprocess::{ImageTiles, Preprocessing},
    prompt::{PictureText, PromptFormat, Segment, TextCodec},
    sight::Shown,
    vision::alternatives,
};

/// The family.
pub const FAMILY: Family = Family {
    name: NAME,
    filmed: true,
    free_wording: true,
    recognises: |config| matches!(config.get("model_type").and_then(Value::as_str), Some("smolvlm" | "idefics3")),
    read,
    write,
    names: &NAMES,
};

pub(crate) const NAME: &str = "smolvlm2";
/// The most frames that are taken of a clip where the caller names no number: what a laptop looks at in seconds.
pub(crate) const FRAMES: usize = 8;
/// The fewest frames of a stretch: one a second would show no movement in a short one.
pub(crate) const FEWEST_FRAMES: usize = 4;
/// The most frames of a clip, the published number.
pub(crate) const MOST_FRAMES: usize = 64;
/// The longest answer, in tokens, as the model card has it.
const LONGEST_ANSWER: usize = 64;

const NAMES: NameTable = NameTable {
    renames: &[
        (r"^model\.vision_model\.", "vision_encoder."),
        (r"^model\.connector\.", "answer."),
        (r"^model\.text_model\.", "answer.lm."),
        (r"^lm_head\.", "answer.lm.lm_head."),
        (r"^(answer\.lm\..*(_proj|lm_head))\.weight$", "$1.base.weight"),
        (r"\.base\.base\.", ".base."),
    ],
    ignored: |_| false,
    optional: &[],
    tied: &[("answer.lm.lm_head.base.weight", "answer.lm.embed_tokens.weight")],
    public_name,
};

fn public_name(ours: &str) -> String {
    let ours = ours.replace(".base.weight", ".weight");
    let places = [
        ("vision_encoder.", "model.vision_model."),
        ("answer.lm.lm_head.", "lm_head."),
        ("answer.lm.", "model.text_model."),
        ("answer.", "model.connector."),
    ];
    let found = places.iter().find_map(|(own, public)| ours.strip_prefix(own).map(|rest| format!("{public}{rest}")));
    found.unwrap_or(ours)
}

fn read(files: &Files<'_>) -> Result<VilmConfig> {
    let beside = |name: &str| (files.beside)(name);
    let (generation, preprocessor) = (beside("generation_config.json")?, beside("preprocessor_config.json")?);
    let processor = beside("processor_config.json")?;
    SmolVlm2Config::from_files(&PublishedFiles {
        config: files.config,
        generation: generation.as_deref(),
        preprocessor: preprocessor.as_deref(),
        processor: processor.as_deref(),
    })
    .map(config)
}

/// The whole model from its published configuration.
pub fn config(published: SmolVlm2Config) -> VilmConfig {
    VilmConfig {
        family: NAME,
        name: NAME.into(),
        preprocess: Preprocessing::Squares(published.video),
        prompt: PromptFormat {
            begin: String::new(),
            opening: String::new(),
            between: String::new(),
            before_question: String::new(),
            after_question: format!("{END_OF_TURN}\nAssistant:"),
            end: END_OF_TURN.into(),
            name_in_front: false,
            begin_question: false,
            presence_question: "Is {} in this video? Answer with yes or no.".into(),
            yes_and_no: ["\u{120}Yes".into(), "\u{120}No".into()],
            longest_answer: LONGEST_ANSWER,
            before_answer: " ".into(),
            longest_prompt: Some(published.max_positions),
            pictures: Some(PictureText { prefix, joint }),
            detail_tokens: PersonalRows::FOLLOW_UP - 1,
            other_ends: published.end_tokens.clone(),
        },
        answer: AnswerConfig {
            bridge: BridgeConfig::PixelShuffle(ConnectorConfig {
                width: published.vision.width,
                hidden: published.text.hidden,
                scale_factor: published.scale_factor,
            }),
            language: published.text.clone(),
        },
        vision: VisionConfig::SmolVlm2(published),
    }
}

/// Everything up to the mark behind the last picture. Text is cut at control tokens by the tokenizer, so that what follows
/// that mark can be encoded apart.
fn prefix(codec: &TextCodec, shown: &[Shown]) -> Result<Vec<Segment>> {
    let part = |shown: &Shown| match shown {
        Shown::Video { seconds, duration } => Part::Video { times: seconds.clone(), duration: Some(*duration) },
        Shown::Image { rows, columns } => Part::Image { rows: *rows, columns: *columns },
        Shown::Tiles(_) => Part::Image { rows: 0, columns: 0 },
    };
    let mut parts: Vec<Part> = shown.iter().map(part).collect();
    parts.push(Part::Text(String::new()));
    let conversation = Conversation { messages: vec![Message { role: Role::User, parts }], generation_prompt: false };
    // One mark for each picture: how many tokens it has, its embeddings say.
    let text = conversation.render(1)?;
    let end = match text.rfind(AROUND_IMAGE) {
        Some(last) => last + AROUND_IMAGE.len(),
        // Without a picture the space in front of the words belongs to them.
        None => text.find(": ").map_or(text.len(), |colon| colon + 1),
    };
    let image = codec.token(IMAGE).ok_or_else(|| Error::File {
        file: "tokenizer.json".into(),
        problem: format!("has no token {IMAGE:?}"),
        remedy: "use the tokenizer.json that came with the weights".into(),
    })?;
    let ids = codec.ids(text.get(..end).unwrap_or(&text))?;
    let mut segments = Vec::new();
    for run in ids.chunk_by(|one, other| (*one == image) == (*other == image)) {
        match run.first() == Some(&image) {
            true => segments.extend(run.iter().map(|_| Segment::Visual)),
            false => segments.push(Segment::Text(run.to_vec())),
        }
    }
    Ok(segments)
}

fn joint(shown: &[Shown]) -> &'static str {
    match shown.last() {
        Some(Shown::Video { .. }) => "\n\n",
        Some(Shown::Image { .. } | Shown::Tiles(_)) => "",
        None => " ",
    }
}

/// The published files again, without what means nothing to the model.
fn write(config: &VilmConfig) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let VisionConfig::SmolVlm2(published) = &config.vision else {
        let remedy = "only its own configuration can be written".into();
        return Err(Error::Config { key: "family", value: NAME.into(), remedy });
    };
    let (vision, text) = (&published.vision, &published.text);
    let mut files = vec![
        (
            "config.json",
            json!({
                "architectures": ["SmolVLMForConditionalGeneration"],
                "model_type": "smolvlm",
                "image_token_id": published.image_token_id,
                "scale_factor": published.scale_factor,
                "tie_word_embeddings": published.tie_word_embeddings,
                "vision_config": {
                    "model_type": "smolvlm_vision",
                    "hidden_size": vision.width,
                    "num_hidden_layers": vision.layers,
                    "num_attention_heads": vision.heads,
                    "intermediate_size": vision.mlp_hidden,
                    "image_size": vision.image_size,
                    "patch_size": vision.patch_size,
                    "num_channels": vision.channels,
                    "hidden_act": "gelu_pytorch_tanh",
                    "layer_norm_eps": vision.layer_norm_epsilon,
                },
                "text_config": {
                    "model_type": "llama",
                    "vocab_size": text.vocabulary,
                    "hidden_size": text.hidden,
                    "num_hidden_layers": text.layers,
                    "num_attention_heads": text.heads,
                    "num_key_value_heads": text.kv_heads,
                    "head_dim": text.head_dim,
                    "intermediate_size": text.intermediate,
                    "hidden_act": "silu",
                    "rope_theta": text.rope_theta,
                    "rms_norm_eps": text.rms_norm_epsilon,
                    "max_position_embeddings": published.max_positions,
                },
            }),
        ),
        (
            "preprocessor_config.json",
            json!({
                "size": { "longest_edge": published.image.longest_edge },
                "max_image_size": { "longest_edge": published.image.side },
                "do_image_splitting": published.split_images,
                "image_mean": [0.5, 0.5, 0.5],
                "image_std": [0.5, 0.5, 0.5],
                "resample": 1,
                "video_sampling": {
                    "fps": published.sampling.per_second,
                    "max_frames": published.sampling.most,
                    "video_size": { "longest_edge": published.video.longest_edge },
                },
            }),
        ),
        ("processor_config.json", json!({ "image_seq_len": published.picture_tokens() })),
    ];
    if !published.end_tokens.is_empty() {
        files.push(("generation_config.json", json!({ "eos_token_id": published.end_tokens })));
    }
    Ok(files.into_iter().map(|(name, json)| (name, format!("{json:#}\n").into_bytes())).collect())
}

impl EncoderConfig for SmolVlm2Config {
    fn family(&self) -> &'static str {
        NAME
    }

    fn most_frames(&self) -> Option<usize> {
        Some(MOST_FRAMES)
    }

    fn depth_and_feed_forward(&self) -> (usize, usize) {
        (self.vision.layers, self.vision.mlp_hidden)
    }

    fn image_size(&self) -> usize {
        self.vision.image_size
    }

    fn frames(&self) -> usize {
        self.sampling.most.min(FRAMES)
    }

    fn frames_of(&self, seconds: f64) -> usize {
        self.sampling.count(seconds).max(FEWEST_FRAMES).min(self.frames())
    }

    fn image_tiles(&self, image: &RgbImage) -> Result<Option<ImageTiles>> {
        let tiles = match self.split_images {
            true => self.image.image_tiles(image)?,
            false => ImageTiles { rows: 0, columns: 0, pixels: self.image.frame_pixels(image)? },
        };
        Ok(Some(tiles))
    }

    fn width(&self) -> usize {
        self.vision.width
    }

    fn tokens(&self) -> usize {
        self.vision.tokens()
    }

    fn visual_token(&self) -> Option<u32> {
        Some(self.image_token_id)
    }

    fn upper_part(&self) -> String {
        let layers = self.vision.layers;
        format!(r"encoder\.layers\.({})\.", alternatives(layers / 2..layers))
    }

    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn tower(&self, stream: &mut SeededStream, device: &Device) -> Result<VisionTower> {
        self.validate()?;
        Ok(VisionTower::SmolVlm2(self.vision.init(stream, device)?))
    }
}
