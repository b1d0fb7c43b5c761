//! What a generator did wrong.

use std::fmt;

/// The version of the contract. It changes with every change that a program which knows the older one cannot follow.
pub const SCHEMA: u32 = 1;

/// What a generator did wrong, see [`Error::Generator`](crate::Error::Generator). Each says what to do about it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The program could not be started.
    NotStarted {
        /// The program.
        program: String,
        /// The operating system's answer.
        problem: String,
    },
    /// It did not end in time, and was ended with everything that it had started.
    TooSlow {
        /// The limit in seconds.
        limit: f64,
    },
    /// It took too much memory, and was ended with everything that it had started.
    TooMuchMemory {
        /// Mebibytes that it had.
        found: u64,
        /// The limit in mebibytes.
        limit: u64,
    },
    /// It wrote too much, and was ended.
    TooMuchOutput {
        /// Bytes that it had written.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// It wrote too many files, and was ended.
    TooManyFiles {
        /// Files and folders that it had written.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// It ended with a failure.
    Failed {
        /// How it ended: an exit code or a signal.
        status: String,
    },
    /// It wrote no reply.
    NoReply,
    /// Its reply is not one of the contract.
    BadReply {
        /// What is wrong with it, and where.
        problem: String,
    },
    /// Its reply has another version of the contract.
    OtherSchema {
        /// The version of the reply.
        found: u32,
    },
    /// Its reply is to another request.
    OtherRequest {
        /// The id in the reply.
        found: String,
        /// The id of the request.
        expected: String,
    },
    /// Its reply does not say what it must say.
    NotSaid {
        /// The key that is missing or empty.
        key: &'static str,
    },
    /// Its reply lists another number of files than were asked for.
    OtherCount {
        /// Files in the reply.
        found: usize,
        /// Files that were asked for.
        expected: usize,
    },
    /// A file of its reply was made of another prompt or seed than the one that was asked for at its place.
    OtherOrder {
        /// The place in the reply, from 0.
        place: usize,
        /// `prompt` or `seed`.
        key: &'static str,
    },
    /// A path of its reply leads out of the output folder, or by a link.
    Outside {
        /// The path as the reply has it.
        path: String,
    },
    /// Its reply lists the same file twice.
    Twice {
        /// The path.
        path: String,
    },
    /// A file that its reply lists does not exist.
    NotThere {
        /// The path.
        path: String,
    },
    /// A file that its reply lists cannot be decoded.
    Unreadable {
        /// The path.
        path: String,
        /// What the decoder says.
        problem: String,
    },
    /// A file that its reply lists is smaller, shorter or has fewer frames than was asked for.
    Unfit {
        /// The path.
        path: String,
        /// What does not fit: `width`, `height`, `seconds` or `fps`.
        what: &'static str,
        /// What it is.
        found: f64,
        /// The least and the greatest that are taken.
        expected: [f64; 2],
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ADAPTER: &str = "correct the adapter (docs/generators.md has the contract)";
        match self {
            Self::NotStarted { program, problem } => {
                write!(text, "cannot be started: {program}: {problem}; install it, or correct `command` in its description")
            }
            Self::TooSlow { limit } => {
                write!(text, "did not end within {limit} s and was ended; raise `seconds` in its description, or lower `batch`")
            }
            Self::TooMuchMemory { found, limit } => {
                write!(
                    text,
                    "took {found} MiB of memory, {limit} are allowed, and was ended; raise `memory_mb` in its description"
                )
            }
            Self::TooMuchOutput { found, limit } => {
                write!(text, "wrote {found} bytes, {limit} are allowed, and was ended; raise `output_mb` in its description")
            }
            Self::TooManyFiles { found, limit } => {
                write!(text, "wrote {found} files, {limit} are allowed, and was ended; raise `files` in its description")
            }
            Self::Failed { status } => write!(text, "ended with {status}; see what it said, and run its command by hand"),
            Self::NoReply => write!(text, "wrote no reply; {ADAPTER}"),
            Self::BadReply { problem } => write!(text, "wrote a reply that cannot be read: {problem}; {ADAPTER}"),
            Self::OtherSchema { found } => {
                write!(text, "replied in version {found} of the contract, this is version {}; {ADAPTER}", SCHEMA)
            }
            Self::OtherRequest { found, expected } => {
                write!(text, "replied to the request `{found}`, it was asked `{expected}`; {ADAPTER}")
            }
            Self::NotSaid { key } => write!(text, "does not say its `{key}`, which the manifest needs; {ADAPTER}"),
            Self::OtherCount { found, expected } => {
                write!(text, "lists {found} files, {expected} were asked for; {ADAPTER}")
            }
            Self::OtherOrder { place, key } => {
                write!(text, "lists as file {place} one of another {key} than was asked for there; {ADAPTER}")
            }
            Self::Outside { path } => {
                write!(text, "lists `{path}`, which is no file of its own in the output folder; {ADAPTER}")
            }
            Self::Twice { path } => write!(text, "lists `{path}` twice; {ADAPTER}"),
            Self::NotThere { path } => write!(text, "lists `{path}`, which it did not write; {ADAPTER}"),
            Self::Unreadable { path, problem } => {
                write!(text, "wrote `{path}`, which cannot be decoded: {problem}; {ADAPTER}")
            }
            Self::Unfit { path, what, found, expected: [least, most] } => {
                write!(text, "wrote `{path}` of {found} {what}, from {least} to {most} were asked for; {ADAPTER}")
            }
        }
    }
}
