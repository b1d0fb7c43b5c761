//! `pvchat completions`.

use std::io::{self, Write};

use clap_complete::Shell;

use crate::failure::{Exit, Outcome};

const EXAMPLES: &str = "\
Examples:
  pvchat completions bash > ~/.local/share/bash-completion/completions/pvchat
  pvchat completions zsh > ~/.zfunc/_pvchat
  pvchat completions fish > ~/.config/fish/completions/pvchat.fish";

/// Prints a completion script for a shell.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The shell.
    shell: Shell,
}

impl Arguments {
    pub fn run(&self, mut program: clap::Command) -> Outcome<Exit> {
        // Into memory first: the generator panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "pvchat", &mut script);
        let mut out = io::stdout().lock();
        out.write_all(&script)?;
        out.flush()?;
        Ok(Exit::Answered)
    }
}
