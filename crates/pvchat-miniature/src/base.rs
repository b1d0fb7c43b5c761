//! The base model of the miniature: its configuration.

use pvchat_model::{
    answer::AnswerConfig,
    language::MistralConfig,
    moh::Routing,
    personal::PersonalConfig,
    prompt::PromptFormat,
    qformer::{Activation, NormPlacement, QFormerConfig},
    vilm::VilmConfig,
    vision::miniature::{MiniatureEncoderConfig, Readout},
};

/// Width of everything after the encoder.
const WIDTH: usize = 128;

/// The miniature's configuration for a vocabulary of that size and a routing of the Q-Former's heads.
pub fn config(vocabulary: usize, routing: Routing) -> VilmConfig {
    let vision = MiniatureEncoderConfig::default();
    let grid = vision.frame_side / 16;
    let memory_tokens = vision.frames / vision.tubelet * grid * grid + Readout::COUNT;
    VilmConfig {
        name: "miniature".into(),
        prompt: PromptFormat::miniature(),
        answer: AnswerConfig {
            query_tokens: 16,
            extra_query_tokens: 0,
            personal_query_tokens: 16,
            personal: Some(PersonalConfig {
                memory_tokens,
                people: 2,
                slots: 4,
                readout_width: vision.width,
                identity_width: vision.identity_width,
                hidden: WIDTH,
            }),
            qformer: QFormerConfig {
                hidden: WIDTH,
                layers: 2,
                heads: 8,
                intermediate: 384,
                encoder_width: vision.width,
                cross_attention_every: 1,
                routed_from_layer: 0,
                routing,
                norm: NormPlacement::Pre,
                activation: Activation::Relu,
                layer_norm_epsilon: 1e-6,
                vocabulary: None,
                max_positions: 1,
                tie_key_to_query_at_start: true,
                initial_deviation: (WIDTH as f32).powf(-0.5),
            },
            language: MistralConfig {
                vocabulary,
                hidden: WIDTH,
                layers: 3,
                heads: 4,
                kv_heads: 2,
                head_dim: 32,
                intermediate: 320,
                rope_theta: 1e4,
                rms_norm_epsilon: 1e-5,
                initial_deviation: 0.06,
                lora: None,
            },
        },
        vision,
    }
}

/// The routing of the shipped model: 4 shared heads and 4 routed by ReLU, starting as plain attention.
pub const ROUTING: Routing = Routing::Relu { shared: 4, rescale: true };
