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

/// Writes a file under another name first, so that nothing half-written remains: `write` gets the file and that name.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut std::fs::File, &Path) -> std::io::Result<()>) -> Result<()> {
    let io = |source: std::io::Error| Error::Io { file: path.to_path_buf(), source };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    let name = file.path().to_path_buf();
    write(file.as_file_mut(), &name).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}
