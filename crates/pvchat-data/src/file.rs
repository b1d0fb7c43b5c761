//! Reading JSON with an error that names the place, and writing files so that no reader sees half of one.

use crate::{Dataset, Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
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

/// The files in a folder and the folders in it that end with one of `kinds` (lower case), by their paths below it with `/` between
/// the parts. Links are not followed, so that nothing outside the folder is read.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read.
pub fn files_in(folder: &Path, kinds: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let io = |path: &Path| {
        let file = path.to_path_buf();
        move |source| Error::Io { file, source }
    };
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(&inside).map_err(io(&inside))? {
            let entry = entry.map_err(io(&inside))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(io(&inside))?);
            let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && extension.is_some_and(|extension| kinds.contains(&extension.as_str())) {
                let parts = path.strip_prefix(folder).unwrap_or(&path).components();
                let name: Vec<String> = parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
                found.insert(name.join("/"), path);
            }
        }
    }
    Ok(found)
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
