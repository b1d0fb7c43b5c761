//! `pvchat demo`.

use serde::Serialize;

use crate::{
    common::Common,
    failure::{Exit, Outcome},
};

const EXAMPLES: &str = "\
Examples:
  pvchat demo
  make demo            in the repository: runs it";

/// Prints how to run the demonstration.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

const TEXT: &str = "\
The demo is part of the repository: run `make demo` there.
With footage of your own: pvchat enrol CLIP --name Aa, then pvchat ask VIDEO \"Is Aa in it?\"";

#[derive(Serialize)]
struct DemoBody {
    text: &'static str,
}

impl Arguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        common.output().result("demo", &DemoBody { text: TEXT }, TEXT)?;
        Ok(Exit::Answered)
    }
}
