//! Questions line by line.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::{
    failure::{Exit, Failure, Outcome},
    output::Output,
    words,
};

/// Answers one line after another from standard input, until it ends or a line says so. What goes wrong with one does not end it.
pub fn converse(output: &Output, known: &[String], mut answer: impl FnMut(&str) -> Outcome<()>) -> Outcome<Exit> {
    let is_terminal = io::stdin().is_terminal() && !output.json;
    if is_terminal {
        output.note(format!("Known: {}. Ask away; quit or Ctrl-D ends.", words::list(known)));
    }
    let mut lines = io::stdin().lock().lines();
    loop {
        if is_terminal {
            let mut out = io::stdout().lock();
            write!(out, "> ")?;
            out.flush()?;
        }
        let question = match lines.next() {
            None => return Ok(Exit::Answered),
            Some(Ok(question)) => question,
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                output.error(&Failure::failed("this line is not UTF-8 text; write it again"))?;
                continue;
            }
            Some(Err(error)) => return Err(error.into()),
        };
        if question.trim().is_empty() {
            continue;
        }
        if ["quit", "exit"].iter().any(|end| question.trim().eq_ignore_ascii_case(end)) {
            return Ok(Exit::Answered);
        }
        match answer(question.trim()) {
            Err(failure) if failure.is_silent => return Err(failure),
            // A refusal is an answer of its own, wherever it is found out.
            Err(failure) if failure.exit == Exit::Refused && !output.json => output.text(&failure.message)?,
            Err(failure) => output.error(&failure)?,
            Ok(()) => {}
        }
    }
}
