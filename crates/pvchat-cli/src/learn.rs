//! `pvchat learn`: learning by gradient, in the laboratory of drawn characters.

use std::path::PathBuf;

use pvchat::{SubjectName, train::personal::Trains};

use crate::{
    arguments::Common,
    bases::Base,
    drawn,
    failure::{Exit, Failure, Outcome},
    words,
};

const EXAMPLES: &str = "\
Examples:
  pvchat learn fixtures/clips/clip-00.mp4 --name Aa --base miniature
  pvchat ask fixtures/clips/clip-03.mp4 \"What is <Aa> doing?\" --base miniature

Learning by gradient trains the personal tokens of a base. In this version it is that of the miniature, which knows drawn
characters; clips of them are in the repository. Real people are enrolled: `pvchat enrol`.";

/// Learns a drawn character by training on clips made from one clip; resumes after an interruption.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A video that shows one character.
    clip: PathBuf,
    /// The character's name: 1 to 40 letters, digits, spaces or hyphens. An existing character of that name is replaced.
    #[arg(long, value_name = "NAME")]
    name: SubjectName,
    /// The base that learns: miniature.
    #[arg(long, env = "PVCHAT_BASE", hide_env_values = true, value_name = "BASE")]
    base: Option<Base>,
    /// Seed of all random choices; the same seed gives the same result.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// What is trained: composable, personal, personal-and-bridge or personal-bridge-and-vision. Only characters of the first
    /// kind can be asked about together.
    #[arg(long, default_value = "composable", value_parser = trains, value_name = "WHAT")]
    trains: Trains,
    /// Also keeps the clips and questions that it was learned from.
    #[arg(long)]
    keep_data: bool,
}

/// A choice by its name, as it stands in configurations too.
fn trains(text: &str) -> Result<Trains, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

impl Arguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        if !self.base.as_ref().is_some_and(Base::is_miniature) {
            let (clip, name) = (words::quoted(&self.clip), self.name.bare());
            return Err(Failure::refused(
                "needs_base",
                format!(
                    "learning by gradient is for drawn characters in this version; real people are enrolled: pvchat enrol {clip} --name {name}. Drawn characters are learned with --base miniature"
                ),
            ));
        }
        drawn::learn(common, &self.clip, &self.name, (self.seed, self.trains, self.keep_data))
    }
}
