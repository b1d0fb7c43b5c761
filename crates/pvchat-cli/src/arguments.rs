//! The command line: every command, and the options that all of them share.

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

use crate::{
    ask, bases,
    common::Common,
    completions, dataset, demo, doctor, enrol,
    failure::{Exit, Failure, Outcome},
    index, learn, models, output, subjects, timeline, who, words,
};

const EXAMPLES: &str = "\
Examples:
  pvchat models get people                           fetches the networks that find faces, once
  pvchat enrol reference.mp4 --name Aa               one clip or picture of a person is enough
  pvchat ask lunch.mp4 \"Is Aa in it, and when?\"
  pvchat base get smolvlm2-256m                      fetches a base that says what people wear and do, once
  pvchat who lunch.mp4                               everybody who is seen, with times
  pvchat timeline *.mp4 --format csv > who.csv       long footage; resumes after an interruption
  pvchat subjects forget Aa                          deletes what is kept under a person's name

People are recognised by their faces. Nothing leaves this machine; a person is kept as one small file.

Exit codes: 0 answered, 1 failed, 2 wrong usage, 3 the data do not allow an answer (nobody found, several people, models
absent, ...), 4 not sure, 130 interrupted.";

/// Recognises enrolled people in footage and answers questions about them: is Aa there, when, and with whom.
#[derive(Parser)]
#[command(name = "pvchat", version, after_help = EXAMPLES, arg_required_else_help = true, subcommand_required = true)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Enrol(enrol::EnrolArguments),
    Correct(enrol::CorrectArguments),
    Learn(learn::Arguments),
    /// Makes and checks datasets to train on, from one filmed clip of a person.
    #[command(subcommand)]
    Dataset(dataset::Command),
    Ask(ask::AskArguments),
    Chat(ask::ChatArguments),
    Who(who::Arguments),
    Timeline(timeline::Arguments),
    Index(index::IndexArguments),
    Find(index::FindArguments),
    /// Manages enrolled people: list, show, rename, merge, split, undo, export, import, forget.
    #[command(subcommand)]
    Subjects(subjects::Command),
    /// Installs the networks that find and compare faces.
    #[command(subcommand)]
    Models(models::Command),
    /// Manages bases: models that describe what people wear and do.
    #[command(subcommand)]
    Base(bases::Command),
    Doctor(doctor::Arguments),
    Demo(demo::Arguments),
    Completions(completions::Arguments),
}

impl Arguments {
    pub fn run(&self) -> Outcome<Exit> {
        let common = &self.common;
        match &self.command {
            Command::Enrol(arguments) => arguments.run(common),
            Command::Correct(arguments) => arguments.run(common),
            Command::Learn(arguments) => arguments.run(common),
            Command::Dataset(command) => command.run(common),
            Command::Ask(arguments) => arguments.run(common),
            Command::Chat(arguments) => arguments.run(common),
            Command::Who(arguments) => arguments.run(common),
            Command::Timeline(arguments) => arguments.run(common),
            Command::Index(arguments) => arguments.run(common),
            Command::Find(arguments) => arguments.run(common),
            Command::Subjects(command) => command.run(common),
            Command::Models(command) => command.run(common),
            Command::Base(command) => command.run(common),
            Command::Doctor(arguments) => arguments.run(common),
            Command::Demo(arguments) => arguments.run(common),
            Command::Completions(arguments) => arguments.run(Arguments::command()),
        }
    }
}

/// The page of help of a command: the examples come first, the options of every command last.
const PAGE: &str = "{before-help}{about-with-newline}\n{usage-heading} {usage}{after-help}\n\n{all-args}";

/// The command line, with the pages of help as they are shown.
fn command_line() -> clap::Command {
    fn paged(command: clap::Command) -> clap::Command {
        command.help_template(PAGE).mut_subcommands(paged)
    }
    Arguments::command().mut_subcommands(paged)
}

/// Reads the command line. Help and version go to standard output; a usage error becomes one line.
pub fn read() -> Result<Arguments, ExitCode> {
    let mut command = command_line();
    let matched = command.try_get_matches_from_mut(std::env::args_os());
    let read = matched.and_then(|matches| Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command)));
    read.map_err(|error| {
        let is_line = !matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
        if error.kind() == ErrorKind::MissingSubcommand && is_bare() {
            let _ = write!(std::io::stderr(), "{}", Arguments::command().render_help());
        } else if is_line {
            let failure = Failure { exit: Exit::Usage, reason: "usage", ..Failure::failed(usage(&error.render().to_string())) };
            // The options could not be read; this one is looked for as it stands.
            let json = std::env::args_os().any(|argument| argument == "--json");
            return output::Output { json, quiet: false }.end(Err(failure));
        } else {
            let _ = error.print();
        }
        ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { 0 })
    })
}

/// Whether there is nothing on the command line; clap then sees the environment's settings as arguments.
fn is_bare() -> bool {
    std::env::args_os().len() <= 1
}

/// The command that the command line begins with: clap does not say it where a value is wrong.
fn named_command() -> String {
    let (mut command, mut named) = (Arguments::command(), vec!["pvchat".to_string()]);
    for argument in std::env::args().skip(1) {
        let Some(inner) = command.find_subcommand(&argument).cloned() else { break };
        command = inner;
        named.push(argument);
    }
    named.join(" ")
}

/// A usage error of clap in one line.
fn usage(rendered: &str) -> String {
    let (told, usage) = rendered.split_once("Usage:").unwrap_or((rendered, ""));
    let told = told.split("For more information").next().unwrap_or(told);
    let told = told.trim().strip_prefix("error: ").unwrap_or(told);
    // What is wrong, and tips, each a paragraph.
    let parts = told.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    let mut line = words::clean(&parts.join("; "));
    let command: Vec<&str> =
        usage.split_whitespace().take_while(|word| word.chars().all(|letter| letter.is_alphanumeric())).collect();
    let command = if command.is_empty() { named_command() } else { command.join(" ") };
    line.push_str(&format!("; see `{command} --help`"));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn usage_errors_are_one_line_that_names_the_command() {
        let error = Arguments::try_parse_from(["pvchat", "enrol", "x.mp4"]).err().unwrap();
        let line = usage(&error.render().to_string());
        assert!(line.starts_with("the following required arguments were not provided: --name"), "{line}");
        assert!(line.ends_with("; see `pvchat enrol --help`") && !line.contains('\n'), "{line}");
        let error = Arguments::try_parse_from(["pvchat", "aks"]).err().unwrap();
        let line = usage(&error.render().to_string());
        assert!(line.contains("'aks'; tip: ") && line.ends_with("; see `pvchat --help`"), "{line}");
    }
}
