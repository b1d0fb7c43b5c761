//! The options that all commands share.

use std::path::PathBuf;

use clap::{ArgAction, ValueEnum, builder::FalseyValueParser};
use pvchat::{PeopleOptions, faces::EmbedderKind};

use crate::output;

/// Options of every command.
#[derive(clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Common {
    /// The folder of people; by default pvchat/subjects in the user's data folder (~/.local/share).
    #[arg(long, global = true, env = "PVCHAT_SUBJECTS", hide_env_values = true, value_name = "DIR")]
    pub subjects: Option<PathBuf>,
    /// The folder of models; by default pvchat/models in the user's data folder.
    #[arg(long, global = true, env = "PVCHAT_MODELS", hide_env_values = true, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// The network that compares faces; people must be enrolled again for another one.
    #[arg(
        long,
        global = true,
        env = "PVCHAT_EMBEDDER",
        hide_env_values = true,
        default_value = "mobilefacenet",
        value_name = "NET"
    )]
    pub embedder: Embedder,
    /// Frames processed in parallel; 0: one per core.
    #[arg(long, global = true, env = "PVCHAT_THREADS", hide_env_values = true, default_value_t = 0, value_name = "N", value_parser = threads)]
    pub threads: usize,
    /// Writes JSON, and nothing else, to standard output.
    #[arg(long, global = true, env = "PVCHAT_JSON", hide_env_values = true, action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// Shows no progress and no notes.
    #[arg(long, short, global = true, env = "PVCHAT_QUIET", hide_env_values = true, action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub quiet: bool,
}

impl Common {
    pub fn output(&self) -> output::Output {
        output::Output { json: self.json, quiet: self.quiet }
    }

    pub fn people_options(&self) -> PeopleOptions {
        let mut options = PeopleOptions { embedder: self.embedder.kind(), ..PeopleOptions::default() };
        options.find.threads = self.threads;
        options
    }
}

fn threads(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| "give a whole number, 0 for one per core".to_string())
}

/// A network that compares faces.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Embedder {
    /// MobileFaceNet, the more accurate one (models: people).
    Mobilefacenet,
    /// dlib's network, whose weights are in the public domain (models: people-clear).
    Dlib,
}

impl Embedder {
    pub fn kind(self) -> EmbedderKind {
        match self {
            Self::Mobilefacenet => EmbedderKind::MobileFaceNet,
            Self::Dlib => EmbedderKind::Dlib,
        }
    }
}
