//! What a command says: its result on standard output, as text or as JSON, everything else on standard error.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};

/// The version of every JSON object that the program writes.
const VERSION: u32 = 1;

/// Where results and notes go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
}

/// A JSON object of the program.
#[derive(Serialize)]
struct Document<'a, T> {
    version: u32,
    kind: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

impl Output {
    /// Writes a result: `body` as JSON where that was asked for, else the text.
    pub fn result(&self, kind: &str, body: &impl Serialize, text: impl Display) -> Outcome<()> {
        if self.json { self.json(kind, body) } else { Ok(self.text(text)?) }
    }

    /// Writes one line of JSON.
    pub fn json(&self, kind: &str, body: &impl Serialize) -> Outcome<()> {
        let mut line = serde_json::to_vec(&Document { version: VERSION, kind, body })?;
        line.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&line)?;
        Ok(out.flush()?)
    }

    /// Writes text with an end of line.
    pub fn text(&self, text: impl Display) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Says something in addition to the result, on standard error.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            // Not `eprintln!`, which panics when nobody listens.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Says what went wrong with something that does not end the program.
    pub fn error(&self, failure: &Failure) -> Outcome<()> {
        self.complain(failure);
        if self.json && !failure.is_in_json { self.json("error", failure) } else { Ok(()) }
    }

    /// Says in one line on standard error what went wrong.
    pub fn complain(&self, failure: &Failure) {
        let _ = writeln!(io::stderr(), "pvchat: {}", failure.message);
    }

    /// How the program ends.
    pub fn end(&self, outcome: Outcome<Exit>) -> ExitCode {
        let exit = match outcome {
            Ok(exit) => exit,
            Err(failure) => {
                if !failure.is_silent {
                    let _ = self.error(&failure);
                }
                failure.exit
            }
        };
        ExitCode::from(exit.code())
    }
}
