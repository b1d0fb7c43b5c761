//! What a reader of a weights format says about bytes that it cannot read, and bounds-checked reading.

/// Why bytes are not a file of their format. No reader panics or allocates more than a small multiple of its input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Something reaches beyond the end.
    #[error("{what} at byte {at} reaches beyond the end")]
    Truncated {
        /// What was to be read.
        what: &'static str,
        /// Where it begins.
        at: usize,
    },
    /// Something that the format allows and no reader here knows, or that contradicts itself.
    #[error("{what} is {found}")]
    Unexpected {
        /// What it is.
        what: &'static str,
        /// Its value.
        found: String,
    },
    /// A tensor that the network needs.
    #[error("there is no {what}")]
    Missing {
        /// Its name or place.
        what: String,
    },
    /// JSON that does not follow the schema.
    #[error("the manifest is not what it should be: {why}")]
    Manifest {
        /// What is wrong, with line and column.
        why: String,
    },
}

impl Malformed {
    pub(super) fn unexpected(what: &'static str, found: impl std::fmt::Debug) -> Self {
        Self::Unexpected { what, found: format!("{found:?}") }
    }

    pub(super) fn missing(what: impl Into<String>) -> Self {
        Self::Missing { what: what.into() }
    }
}

/// `length` bytes from `at` on.
pub(super) fn slice<'a>(bytes: &'a [u8], at: usize, length: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
    at.checked_add(length).and_then(|end| bytes.get(at..end)).ok_or(Malformed::Truncated { what, at })
}

/// The `N` bytes from `at` on, for `from_le_bytes`.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize, what: &'static str) -> Result<[u8; N], Malformed> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Malformed::Truncated { what, at })
}
