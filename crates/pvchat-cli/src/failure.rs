//! How a command ends: its exit code, and what went wrong in one line.

use std::{error::Error as _, io, path::Path};

use pvchat::{Error, augment, faces, train, video};
use serde::Serialize;

use crate::words;

/// The exit codes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command did what it was asked for.
    Answered,
    /// Something went wrong.
    Failed,
    /// The command line is wrong.
    Usage,
    /// The data do not allow an answer.
    Refused,
    /// The answer is "not sure".
    NotSure,
    /// The user interrupted it.
    Interrupted,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Answered => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::NotSure => 4,
            Self::Interrupted => 130,
        }
    }
}

/// What went wrong.
#[derive(Debug, Serialize)]
pub struct Failure {
    #[serde(rename = "exit_code", serialize_with = "as_code")]
    pub exit: Exit,
    /// One word for scripts.
    pub reason: &'static str,
    /// One line, with what to do.
    pub message: String,
    /// Nobody reads the output any more: there is nothing to say.
    #[serde(skip)]
    pub is_silent: bool,
    /// Standard output holds the JSON about it already.
    #[serde(skip)]
    pub is_in_json: bool,
}

/// The result of a command.
pub type Outcome<T> = Result<T, Failure>;

fn as_code<S: serde::Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(exit.code())
}

impl Failure {
    /// The data do not allow an answer.
    pub fn refused(reason: &'static str, message: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, reason, message: message.into(), is_silent: false, is_in_json: false }
    }

    /// Something went wrong.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, reason: "failed", message: message.into(), is_silent: false, is_in_json: false }
    }

    /// A file or folder that cannot be read or written.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        let reason = if error.kind() == io::ErrorKind::NotFound { "missing_file" } else { "failed" };
        Self { reason, ..Self::failed(unusable(path, error)) }
    }

    /// A folder that is none.
    pub fn unless_folder(path: &Path) -> Outcome<()> {
        match path.metadata() {
            Ok(about) if about.is_dir() => Ok(()),
            Ok(_) => Err(Self::refused("folder_refused", format!("{} is not a folder; {FOLDER_OF_IT}", words::shown(path)))),
            Err(error) => Err(Self::file(path, &error)),
        }
    }
}

/// What to give in place of a file.
const FOLDER_OF_IT: &str = "give the folder that holds it";

/// Why a file or folder cannot be used, in the same words for every command.
fn unusable(path: &Path, error: &io::Error) -> String {
    let shown = words::shown(path);
    match error.kind() {
        io::ErrorKind::NotFound => format!("{shown}: no such file or folder; check the name and the folder"),
        io::ErrorKind::NotADirectory => format!("{shown}: a file stands where a folder is needed; {FOLDER_OF_IT}"),
        io::ErrorKind::IsADirectory => format!("{shown} is a folder; give a file"),
        _ => {
            // Without the number of the error, which says nothing to a user.
            let said = error.to_string();
            let said = said.split(" (os error").next().unwrap_or_default().to_string();
            format!("{shown}: {said}; {}", pvchat::data::remedy(error))
        }
    }
}

/// The file or folder that an error is about, and the operating system's answer.
fn about_file(error: &Error) -> Option<(&Path, &io::Error)> {
    match error {
        Error::Io { path, source }
        | Error::People(faces::Error::Io { path, source })
        | Error::Augment(augment::Error::Io { path, source }) => Some((path, source)),
        Error::Data(pvchat::data::Error::Io { file, source })
        | Error::People(faces::Error::Data(pvchat::data::Error::Io { file, source }))
        | Error::Augment(augment::Error::Data(pvchat::data::Error::Io { file, source })) => Some((file, source)),
        _ => None,
    }
}

/// What an error says to scripts, and with which exit code the program ends.
fn sort(error: &Error) -> (Exit, &'static str) {
    if about_file(error).is_some_and(|(_, source)| source.kind() == io::ErrorKind::NotFound) {
        return (Exit::Failed, "missing_file");
    }
    match error {
        Error::NobodyFound { .. } => (Exit::Refused, "nobody_found"),
        Error::ForeignClip { .. } => (Exit::Refused, "filmed"),
        Error::SeveralPeople { .. } => (Exit::Refused, "several_people"),
        Error::NotChosen { .. } => (Exit::Refused, "not_chosen"),
        Error::EnrolledSo { .. } => (Exit::Refused, "enrolled_so"),
        Error::PoorFaces { .. } => (Exit::Refused, "poor_faces"),
        Error::Question { .. } => (Exit::Refused, "question"),
        Error::Base { .. } => (Exit::Refused, "base_refused"),
        Error::NotLearned { .. } | Error::NotTogether { .. } | Error::NotLearnedOn { .. } => (Exit::Refused, "not_learned"),
        Error::UnfitDataset { .. } => (Exit::Refused, "dataset_refused"),
        Error::OtherLearning { .. } => (Exit::Refused, "being_learned"),
        Error::Outdated { .. } => (Exit::Failed, "outdated"),
        Error::UnknownSubject { .. } | Error::UnknownPerson { .. } => (Exit::Refused, "unknown_person"),
        Error::NameTaken { .. } => (Exit::Refused, "name_taken"),
        Error::Unfinished { .. } | Error::Train(train::Error::Busy { .. }) => (Exit::Refused, "being_learned"),
        Error::Model(pvchat::model::Error::Text { .. }) => (Exit::Refused, "question"),
        Error::Stopped { .. } | Error::Train(train::Error::Stopped { .. }) => (Exit::Interrupted, "interrupted"),
        Error::Video(error) => sort_video(error),
        Error::People(error) => sort_people(error),
        Error::Augment(error) => sort_augment(error),
        _ => (Exit::Failed, "failed"),
    }
}

fn sort_video(error: &video::Error) -> (Exit, &'static str) {
    use video::Error;
    match error {
        Error::MissingFile { .. } => (Exit::Failed, "missing_file"),
        Error::NotAFile { .. }
        | Error::Read { .. }
        | Error::EmptyFile { .. }
        | Error::NotAVideo { .. }
        | Error::NoVideoStream { .. }
        | Error::UnsupportedCodec { .. }
        | Error::Encrypted { .. }
        | Error::NoFrames { .. }
        | Error::Decode { .. }
        | Error::Truncated { .. } => (Exit::Failed, "unreadable_file"),
        _ => (Exit::Failed, "failed"),
    }
}

fn sort_people(error: &faces::Error) -> (Exit, &'static str) {
    match error {
        faces::Error::Models(error) => sort_models(error),
        faces::Error::Weights { .. } => (Exit::Refused, "models_damaged"),
        faces::Error::OtherModel { .. } => (Exit::Refused, "other_model"),
        faces::Error::Unknown { .. } => (Exit::Refused, "unknown_person"),
        faces::Error::Person { .. } => (Exit::Refused, "refused"),
        faces::Error::File { .. } => (Exit::Refused, "file_refused"),
        _ => (Exit::Failed, "failed"),
    }
}

fn sort_augment(error: &augment::Error) -> (Exit, &'static str) {
    use augment::Error;
    match error {
        Error::PoorSubject { .. } => (Exit::Refused, "poor_faces"),
        Error::TooShort { .. } => (Exit::Refused, "too_short"),
        Error::NotCutOut { .. } => (Exit::Refused, "not_cut_out"),
        Error::NoFootage { .. } | Error::NobodyElse { .. } | Error::NoCorpus { .. } => (Exit::Refused, "no_strangers"),
        Error::Generator { .. } => (Exit::Failed, "generator_failed"),
        Error::Generators { .. } | Error::Description { .. } | Error::Setting { .. } => (Exit::Usage, "usage"),
        Error::PeopleCount { .. } | Error::NameTwice { .. } => (Exit::Usage, "usage"),
        Error::SamePerson { .. } => (Exit::Refused, "same_person"),
        Error::InBothClips { .. } => (Exit::Refused, "in_both_clips"),
        Error::Video(error) => sort_video(error),
        Error::OneClass { .. } => (Exit::Refused, "one_class"),
        Error::NotADataset { .. } | Error::Inside { .. } => (Exit::Refused, "folder_refused"),
        Error::Unfit { .. } => (Exit::Refused, "dataset_refused"),
        Error::Stopped => (Exit::Interrupted, "interrupted"),
        _ => (Exit::Failed, "failed"),
    }
}

fn sort_models(error: &faces::models::Error) -> (Exit, &'static str) {
    match error {
        faces::models::Error::Absent { .. } => (Exit::Refused, "models_absent"),
        faces::models::Error::Damaged { .. } => (Exit::Refused, "models_damaged"),
        faces::models::Error::UnknownModel { .. } => (Exit::Refused, "unknown_model"),
        _ => (Exit::Failed, "failed"),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (exit, reason) = sort(&error);
        Self { exit, reason, message: line(&error), is_silent: false, is_in_json: false }
    }
}

impl From<augment::Error> for Failure {
    fn from(error: augment::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<faces::Error> for Failure {
    fn from(error: faces::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<faces::models::Error> for Failure {
    fn from(error: faces::models::Error) -> Self {
        faces::Error::from(error).into()
    }
}

impl From<pvchat::data::Error> for Failure {
    fn from(error: pvchat::data::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<pvchat::model::Error> for Failure {
    fn from(error: pvchat::model::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(kind) => io::Error::from(kind).into(),
            None => Self::failed(format!("JSON cannot be written: {error}; report this, with the command")),
        }
    }
}

/// Writing to standard output, or reading standard input, failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let is_silent = error.kind() == io::ErrorKind::BrokenPipe;
        let exit = if is_silent { Exit::Answered } else { Exit::Failed };
        let message = format!("input or output: {error}; {}", pvchat::data::remedy(&error));
        Self { exit, reason: "input_or_output", message, is_silent, is_in_json: false }
    }
}

/// An error with its causes in one line; a cause that is already included is not repeated.
fn line(error: &Error) -> String {
    if let Some((path, source)) = about_file(error) {
        return unusable(path, source);
    }
    if let Error::Video(video::Error::MissingFile { path })
    | Error::Augment(augment::Error::Video(video::Error::MissingFile { path })) = error
    {
        return unusable(path, &io::ErrorKind::NotFound.into());
    }
    if let Error::Augment(augment::Error::Inside { dataset, corpus }) = error
        && std::path::absolute(dataset).ok() == std::path::absolute(corpus).ok()
    {
        return format!("{} is the corpus itself, whose footage it would become; give a folder elsewhere", words::shown(dataset));
    }
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    if let Error::EnrolledSo { name, .. }
    | Error::NotLearnedOn { name, .. }
    | Error::People(faces::Error::OtherModel { name, .. }) = error
    {
        // A name with a space in a suggested command.
        for before in ["--name ", "forget "] {
            line = line.replace(&format!("{before}{name}"), &format!("{before}{}", words::argument(name)));
        }
    }
    words::clean(&line.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_suggested_commands_can_be_typed() {
        let (name, base) = ("Uncle Bob".to_string(), "a-base".to_string());
        let message = Failure::from(Error::NotLearnedOn { name, base }).message;
        assert!(message.starts_with("Uncle Bob was not") && message.ends_with("--name 'Uncle Bob'"), "{message}");
    }
}
