//! The bases: models that describe what people wear and do. `pvchat base` lists them.

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::{
    arguments::Common,
    failure::{Exit, Failure, Outcome},
    words,
};

/// A base.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Base {
    /// Built in; drawn clips only.
    Miniature,
    /// SmolVLM2, 256 million parameters.
    #[value(name = "smolvlm2-256m")]
    Smol256,
    /// SmolVLM2, 500 million parameters.
    #[value(name = "smolvlm2-500m")]
    Smol500,
    /// SmolVLM2, 2.2 billion parameters.
    #[value(name = "smolvlm2-2.2b")]
    Smol2200,
    /// InternVideo2-Chat, 8 billion parameters, the paper's.
    #[value(name = "internvideo2_chat")]
    InternVideo2,
}

impl Base {
    fn name(self) -> &'static str {
        match self {
            Self::Miniature => "miniature",
            Self::Smol256 => "smolvlm2-256m",
            Self::Smol500 => "smolvlm2-500m",
            Self::Smol2200 => "smolvlm2-2.2b",
            Self::InternVideo2 => "internvideo2_chat",
        }
    }

    /// What it can do.
    fn about(self) -> &'static str {
        match self {
            Self::Miniature => "drawn clips only: learns drawn characters; says what they wear, look like and do, and where",
            Self::Smol256 | Self::Smol500 | Self::Smol2200 => "real footage: describes what is seen; on a processor",
            Self::InternVideo2 => "real footage: describes what is seen, the paper's base; on a GPU",
        }
    }

    fn is_usable(self) -> bool {
        self == Self::Miniature
    }

    /// Refuses a base that this version cannot use.
    pub fn check_usable(self) -> Outcome<()> {
        if self.is_usable() {
            return Ok(());
        }
        let name = self.name();
        Err(Failure::refused(
            "base_not_usable",
            format!(
                "this version cannot use {name} yet, so there is nothing to install; bases that describe real footage come with a \
                 later version. Without --base, real people are recognised by their faces: pvchat enrol CLIP --name Aa"
            ),
        ))
    }
}

const EXAMPLES: &str = "\
Examples:
  pvchat base list
  pvchat learn fixtures/clips/clip-00.mp4 --name Aa --base miniature

Recognising real people needs no base: see `pvchat models`.";

/// The commands about bases.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// Lists the bases and what each can do.
    List,
    /// Installs a base.
    Get(GetArguments),
}

#[derive(Args)]
pub struct GetArguments {
    /// The base.
    base: Base,
}

#[derive(Serialize)]
struct BaseBody {
    name: &'static str,
    about: &'static str,
    usable: bool,
    installed: bool,
}

#[derive(Serialize)]
struct BasesBody {
    bases: Vec<BaseBody>,
}

impl Command {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let output = common.output();
        match self {
            Self::List => {
                let all = Base::value_variants();
                let row = |base: &Base| {
                    let state = if base.is_usable() { "built in" } else { "comes with a later version" };
                    vec![base.name().to_string(), state.to_string(), base.about().to_string()]
                };
                let body = |base: &Base| BaseBody {
                    name: base.name(),
                    about: base.about(),
                    usable: base.is_usable(),
                    installed: base.is_usable(),
                };
                let bases = BasesBody { bases: all.iter().map(body).collect() };
                output.result("bases", &bases, words::table(&all.iter().map(row).collect::<Vec<_>>()))?;
            }
            Self::Get(GetArguments { base }) => {
                base.check_usable()?;
                let body = BaseBody { name: base.name(), about: base.about(), usable: true, installed: true };
                output.result("base", &body, format!("{} is built in; there is nothing to fetch", base.name()))?;
            }
        }
        Ok(Exit::Answered)
    }
}
