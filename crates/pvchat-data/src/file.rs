//! Reading JSON with an error that names the place, and writing files so that no reader sees half of one.

use crate::{Dataset, Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

/// The largest JSON file that is read, in bytes. 30 000 questions take about 10 MB.
pub const LARGEST: u64 = 256 << 20;

impl Dataset {
    /// Reads a dataset, `{"videos": [...]}` or `{"data": [...]}`. It is not validated, see [`validate`](Self::validate).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TooLarge`], [`Error::Json`].
    pub fn read(path: &Path) -> Result<Self> {
        read_json(path, LARGEST)
    }

    /// Writes the dataset as `{"videos": [...]}`, to a temporary name first.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Json`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }
}

/// Reads a JSON file of at most `limit` bytes.
///
/// # Errors
/// [`Error::Io`], [`Error::TooLarge`], [`Error::Json`] with the place in the document.
pub fn read_json<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<T> {
    let io = |source| Error::Io { file: path.into(), source };
    let mut bytes = Vec::new();
    // The length is taken from the reading and not from the file's entry: that of a pipe is zero.
    File::open(path).map_err(io)?.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge { file: path.into(), limit });
    }
    parse_json(&bytes, path)
}

/// Parses JSON; `origin` is the file that errors name.
///
/// # Errors
/// [`Error::Json`] with the place in the document.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8], origin: &Path) -> Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| Error::Json {
        file: origin.into(),
        place: error.path().to_string(),
        source: error.into_inner(),
    })?;
    deserializer.end().map_err(|source| Error::Json { file: origin.into(), place: ".".into(), source })?;
    Ok(value)
}

/// Writes a value as indented JSON, to a temporary name first.
///
/// # Errors
/// [`Error::Io`], [`Error::Json`] for a value that JSON cannot hold.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(|source| Error::Json { file: path.into(), place: ".".into(), source })?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

/// Writes a file to a temporary name in the same directory and renames it, so that a killed run leaves the old file.
///
/// # Errors
/// [`Error::Io`]; the old file, if any, is then still in place.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let io = |source| Error::Io { file: path.into(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}
