//! What is asked for on the command line, and the settings of learning that follow from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pvchat::{
    LearnOptions,
    model::vilm::Vilm,
    train::{
        objective::ObjectiveConfig,
        personal::{AdaptationConfig, LearnConfig, Trains},
    },
};
use pvchat_examples::examination::Outcome;
use sha2::{Digest, Sha256};

use crate::variants::{Variant, Vary};

/// Learns people in a base that knows nobody in particular, and examines what came of it.
#[derive(Parser)]
pub struct Arguments {
    /// The folder of the base; `make plain` trains the one that is here.
    #[arg(long, default_value = "fixtures/plain", global = true)]
    pub base: PathBuf,
    /// Characters of the examination.
    #[arg(long, default_value_t = 8, global = true)]
    pub characters: usize,
    /// Seed of the characters: 2026 for trying things out, 2029 for the final figures.
    #[arg(long, default_value_t = 2026, global = true)]
    pub exam: u64,
    /// Made clips to learn a character from, half with the character and half without.
    #[arg(long, default_value_t = 1200, global = true)]
    pub clips: usize,
    /// The file of answers.
    #[arg(long, default_value = "fixtures/plain/answers.jsonl", global = true)]
    pub answers: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// A picture: the reference of each character and clips made of it, with the character first.
    Sheet {
        /// The picture, a PNG.
        output: PathBuf,
    },
    /// Learns and examines.
    Learn(Learning),
    /// Learns several characters in one run, with what is trained of the base in common, and examines whether their tokens
    /// decide.
    Together {
        /// Characters of a run.
        #[arg(long, default_value_t = 8)]
        group: usize,
        /// Also with this part of the method changed; several may be given.
        #[arg(long, value_enum, value_delimiter = ',')]
        vary: Vec<Vary>,
        #[command(flatten)]
        learning: Learning,
    },
    /// Learns a bridge over many characters once, merges it into the base, and learns the characters of the examination on that,
    /// each by its tokens and rows alone.
    Newcomers {
        /// Characters that the bridge is learned over; they are not in the examination.
        #[arg(long, default_value_t = 16)]
        founders: usize,
        /// Seed of these characters.
        #[arg(long, default_value_t = 2027)]
        founders_exam: u64,
        /// Optimiser steps on images for each newcomer.
        #[arg(long, default_value_t = 16)]
        own_image_steps: usize,
        /// Optimiser steps on clips for each newcomer.
        #[arg(long, default_value_t = 160)]
        own_clip_steps: usize,
        /// Learning rate of a newcomer's tokens and rows.
        #[arg(long, default_value_t = 1e-2)]
        own_rate: f64,
        #[command(flatten)]
        learning: Learning,
    },
    /// Prints the tables.
    Table {
        /// Also the paired differences from the way of this name.
        #[arg(long, value_name = "WAY")]
        against: Option<String>,
        /// Fails when a way of learning does not clearly beat every control: the description in the prompt, also with its best
        /// threshold, the cosine of pooled features, its tokens zeroed, another's tokens.
        #[arg(long)]
        controls: bool,
    },
}

/// How characters are learned.
#[derive(Args, Clone)]
pub struct Learning {
    /// What is trained; several may be given.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["bridge"])]
    pub trains: Vec<Mode>,
    /// Seeds of the training.
    #[arg(long, default_value_t = 1)]
    pub seeds: u64,
    /// What the rows are called in the table, where more than the mode distinguishes them.
    #[arg(long, default_value = "")]
    pub label: String,
    /// Optimiser steps on images.
    #[arg(long, default_value_t = 20)]
    pub image_steps: usize,
    /// Optimiser steps on clips.
    #[arg(long, default_value_t = 240)]
    pub clip_steps: usize,
    /// Clips per step.
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    /// Learning rate of tokens and rows.
    #[arg(long, default_value_t = 1e-2)]
    pub rate: f64,
    /// Learning rate of the Q-Former and its routers.
    #[arg(long, default_value_t = 1e-3)]
    pub bridge_rate: f64,
    /// Learning rate of the adapters.
    #[arg(long, default_value_t = 2e-3)]
    pub lora_rate: f64,
    /// Learning rate of the upper part of the encoder.
    #[arg(long, default_value_t = 2e-4)]
    pub vision_rate: f64,
    /// Weight decay of bridge and adapters.
    #[arg(long, default_value_t = 0.05)]
    pub decay: f64,
    /// Made clips whose person resembles the reference less than this (cosine of the encoder's read-outs) are dropped: their head
    /// was not cut out well.
    #[arg(long, default_value_t = 0.7)]
    pub least_similarity: f32,
    /// What the character is learned from.
    #[arg(long, value_enum, default_value = "composed")]
    pub data: Data,
    /// The share of the clips with the character that is asked about again with tokens and rows zeroed, where the answer is no.
    #[arg(long, default_value_t = 0.0)]
    pub zeroed: f32,
    /// The same with tokens and rows of nobody in particular.
    #[arg(long, default_value_t = 0.0)]
    pub other_tokens: f32,
}

/// What a character is learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Data {
    /// The own clip, varied, and clips of strangers, varied in the same way.
    Random,
    /// The same, half of the strangers chosen from those who look most alike to the encoder.
    Retrieved,
    /// Composed clips with and without the character, and look-alikes made of parts.
    Composed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Tokens and rows.
    Tokens,
    /// And routers and LoRA.
    Personal,
    /// And the Q-Former.
    Bridge,
    /// And the upper part of the encoder.
    Vision,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens and rows",
            Self::Personal => "routers and LoRA too",
            Self::Bridge => "Q-Former too",
            Self::Vision => "upper encoder too",
        }
    }

    fn trains(self) -> Trains {
        match self {
            Self::Tokens => Trains::Composable,
            Self::Personal => Trains::Personal,
            Self::Bridge => Trains::PersonalAndBridge,
            Self::Vision => Trains::PersonalBridgeAndVision,
        }
    }
}

/// What a way to learn is called.
pub fn learned(mode: Mode, learning: &Learning) -> String {
    let data = match learning.data {
        Data::Random => ", strangers at random",
        Data::Retrieved => ", half of the strangers retrieved",
        Data::Composed => "",
    };
    let zeroed = match (learning.zeroed > 0.0, learning.other_tokens > 0.0) {
        (_, true) => ", nobody is found with other tokens",
        (true, false) => ", nobody is found without tokens",
        (false, false) => "",
    };
    match learning.label.as_str() {
        "" => format!("learned: {}{data}{zeroed}", mode.name()),
        label => format!("learned: {}, {label}{data}{zeroed}", mode.name()),
    }
}

/// What distinguishes the answers of a way from those of another base, of other clips or of other settings.
pub fn digest(base: &Vilm, clips: usize, (mode, variant): (Mode, &Variant), learning: &Learning) -> Outcome<String> {
    let Learning { data, least_similarity, zeroed, other_tokens, .. } = learning;
    let training = serde_json::to_string(&options(mode, learning, 0, variant).training)?;
    let clips = format!("{clips} {data:?} {least_similarity} {zeroed} {other_tokens}");
    Ok(short(&format!("{} {clips} {} {training}", base.fingerprint(), variant.name)))
}

/// The first twelve hexadecimal digits of a text's SHA-256.
pub fn short(text: &str) -> String {
    Sha256::digest(text)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The settings of a run of learning.
pub fn options(mode: Mode, learning: &Learning, seed: u64, variant: &Variant) -> LearnOptions {
    let objective = ObjectiveConfig { initial_lambda: 1e-4, adaptation_rate: 0.01, ..ObjectiveConfig::straight_through() };
    let training = LearnConfig {
        trains: mode.trains(),
        image_steps: learning.image_steps,
        clip_steps: learning.clip_steps,
        batch: learning.batch,
        learning_rate: learning.rate,
        anchor: 0.0,
        warm_up: 10,
        adaptation: AdaptationConfig {
            lora_rate: learning.lora_rate,
            router_rate: learning.bridge_rate,
            bridge_rate: learning.bridge_rate,
            vision_rate: learning.vision_rate,
            weight_decay: learning.decay,
            ..AdaptationConfig::default()
        },
        objective: (variant.objective)(objective),
        ..LearnConfig::default()
    };
    LearnOptions { training, seed, zeroed: learning.zeroed, other_tokens: learning.other_tokens, ..LearnOptions::default() }
}
