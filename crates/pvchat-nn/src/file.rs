//! Opening files that come from outside: regular ones only, because a pipe would block for ever and a device has no end.

use std::{fs::File, io::Read, path::Path};

use crate::{Error, Result};

/// The largest config.json or tokenizer.json that is read, in bytes.
pub const LARGEST_TEXT_FILE: u64 = 256 << 20;

/// Opens a regular file, or a link to one.
///
/// # Errors
/// [`Error::Io`] when it cannot be opened; [`Error::File`] with this remedy for a folder, pipe or device.
pub fn open_regular(path: &Path, remedy: &str) -> Result<File> {
    let io = |source| Error::Io { file: path.into(), source };
    // Asked before opening: to open a pipe is to wait for its writer.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(Error::File { file: path.into(), problem: "is not a regular file".into(), remedy: remedy.into() });
    }
    File::open(path).map_err(io)
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open_regular`], and [`Error::File`] with this remedy for a larger file.
pub fn read_regular(path: &Path, limit: u64, remedy: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_regular(path, remedy)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| Error::Io { file: path.into(), source })?;
    if bytes.len() as u64 > limit {
        let problem = format!("is larger than {limit} bytes");
        return Err(Error::File { file: path.into(), problem, remedy: remedy.into() });
    }
    Ok(bytes)
}
