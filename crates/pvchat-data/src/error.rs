//! The error of this crate: what was wrong, with which file, place or value, and what to do.

use crate::problem::Problem;
use std::{
    io::{self, ErrorKind},
    path::PathBuf,
};

/// Everything that can go wrong in `pvchat-data`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A subject name without a letter or digit.
    #[error("the subject name is empty; give 1 to {} letters or digits, for example `Anna`", crate::name::LONGEST)]
    SubjectEmpty,
    /// A subject name that is too long.
    #[error("the subject name {name:?} has {length} characters; give at most {}", crate::name::LONGEST)]
    SubjectTooLong {
        /// The beginning of the name.
        name: String,
        /// Its length in characters.
        length: usize,
    },
    /// A subject name with a character that it cannot have, or not there.
    #[error(
        "the subject name {name:?} has {character:?} where it cannot stand; use letters, digits and _, with hyphens, apostrophes and single spaces between them, in one pair of angle brackets or none"
    )]
    SubjectCharacter {
        /// The name.
        name: String,
        /// The first character that cannot be used.
        character: char,
    },
    /// Reading or writing failed.
    #[error("{}: {source}; {}", file.display(), remedy(source))]
    Io {
        /// The file.
        file: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file larger than any dataset of text.
    #[error("{} is larger than {limit} bytes; split the dataset, or check that this is its JSON file", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The largest size that is read.
        limit: u64,
    },
    /// JSON that is broken or does not follow the schema.
    #[error("{}: at {place}: {source}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// The place in the document, for example `videos[3].qa_pairs[0].answer`; `.` is the whole document.
        place: String,
        /// What is wrong there, with line and column.
        source: serde_json::Error,
    },
    /// A dataset that cannot be used.
    #[error("the dataset has {} problem(s), the first: {}", problems.len(), problems.first().map(Problem::to_string).unwrap_or_default())]
    Invalid {
        /// All problems, in the order of the videos.
        problems: Vec<Problem>,
    },
    /// A validation share outside its range.
    #[error("the validation share is {share}; give a number from 0 up to, but not including, 1")]
    Share {
        /// The value given.
        share: f64,
    },
}

/// What to do about an answer of the operating system: the end of the text of every error that wraps one.
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space or choose another folder",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "check the permissions or choose another folder",
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidFilename => "check the path",
        _ => "check the file and the disk that it is on, then try again",
    }
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_the_system_has_a_remedy() {
        for (kind, said) in [
            (ErrorKind::StorageFull, "free some space"),
            (ErrorKind::PermissionDenied, "permissions"),
            (ErrorKind::NotFound, "check the path"),
            (ErrorKind::Other, "try again"),
        ] {
            let error = Error::Io { file: "subjects/Aa.json".into(), source: kind.into() }.to_string();
            assert!(error.starts_with("subjects/Aa.json: ") && error.contains(said), "{error}");
        }
    }
}
