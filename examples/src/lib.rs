//! What the examples share: the truth about the fixture clips, progress bars, pictures and reports.

pub mod controls;
pub mod demo;
pub mod designs;
pub mod examination;
pub mod kept;
pub mod language_model;
pub mod pictures;
pub mod progress;
pub mod report;
pub mod texts;
pub mod truth;

use std::{
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use pvchat::{Unfinished, data::remedy};

/// The folder that holds the fixture clips and the truth about them.
pub fn clips_folder() -> PathBuf {
    project_folder().join("fixtures").join("clips")
}

/// The folder of the texts that language models are measured on.
pub fn texts_folder() -> PathBuf {
    project_folder().join("fixtures").join("texts")
}

/// The folder of the clips of real people: the given one, or where the example `fetch` puts them.
pub fn real_clips_folder(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| data_folder().join("clips"))
}

/// Where cargo puts what it makes: `CARGO_TARGET_DIR`, or `target` in the project.
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| project_folder().join("target"), PathBuf::from)
}

/// The folder of the models that find people: the given one, or where `pvchat models get people` puts them.
pub fn models_folder(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| data_folder().join("models"))
}

/// This program's folder in the user's data folder.
fn data_folder() -> PathBuf {
    directories::ProjectDirs::from("", "", "pvchat").map_or_else(PathBuf::new, |project| project.data_dir().to_path_buf())
}

/// The project, as cargo says at run time, or where it was built.
fn project_folder() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Says which file or folder an error of the operating system is about.
pub fn at(path: &Path) -> impl FnOnce(io::Error) -> String {
    move |error| format!("{}: {error}; {}", path.display(), remedy(&error))
}

/// A path as a user would type it: relative to the current folder if it is below it.
pub fn shown(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&current).unwrap_or(path).display().to_string()
}

/// An error with its causes in one line; a cause that is already included is not repeated.
pub fn error_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How a command line ends: its error in one line and 2, or 0; also when the reader of the output closes it early.
pub fn exit_code(outcome: Result<(), Box<dyn Error>>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Not `eprintln!`, which panics when nobody listens.
            let _ = writeln!(io::stderr(), "error: {}", error_line(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

/// Who is being learned or was interrupted, a line each.
///
/// # Errors
/// When nobody reads the output any more.
pub fn say_unfinished(out: &mut impl Write, unfinished: &[Unfinished]) -> io::Result<()> {
    for Unfinished { names, folder, steps, running } in unfinished {
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let steps = steps.map_or("before the first checkpoint".to_string(), |steps| format!("after {steps} steps"));
        let state = if *running { "being learned now, last seen" } else { "interrupted; learn again to go on, or forget;" };
        writeln!(out, "{names:<12} {state} {steps}  ({})", shown(folder))?;
    }
    Ok(())
}

/// The text in lines of at most `width` characters, broken between words; a longer word gets its own line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last].push_str(word);
        } else if lines[last].chars().count() + 1 + word.chars().count() <= width {
            lines[last].push(' ');
            lines[last].push_str(word);
        } else {
            lines.push(word.to_string());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl std::fmt::Display for Outer {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("cannot read\nthe clip")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn errors_are_one_line_with_their_causes() {
        let error = Outer(std::io::Error::other("the disk is gone"));
        assert_eq!(error_line(&error), "cannot read the clip: the disk is gone");
    }

    #[test]
    fn errors_of_files_name_the_file() {
        let path = Path::new("nowhere/options.json");
        let error = std::fs::read(path).map_err(at(path)).unwrap_err();
        assert!(error.starts_with("nowhere/options.json: ") && error.ends_with("check the path"), "{error}");
    }

    #[test]
    fn texts_are_wrapped_without_losing_a_word() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 7), [""]);
        assert_eq!(wrap("extraordinary word", 5), ["extraordinary", "word"]);
    }
}
