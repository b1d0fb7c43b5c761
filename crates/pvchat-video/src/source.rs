//! Where the bytes of a video come from: a file, memory, or anything that can be read and sought.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Result};

/// What a container is read from.
pub(crate) trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

/// Bytes that can be opened several times, each time from the beginning.
#[derive(Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Memory(Arc<[u8]>),
    /// One stream for all handles; each has its own position.
    Stream(Arc<Mutex<dyn ReadSeek>>),
}

impl Source {
    /// A handle at the first byte; `name` is what errors call it.
    pub(crate) fn open(&self, name: &Path) -> Result<Box<dyn ReadSeek>> {
        match self {
            Self::File(path) => open_file(path).map(|file| Box::new(file) as Box<dyn ReadSeek>),
            Self::Memory(bytes) if bytes.is_empty() => Err(Error::EmptyFile { path: name.to_path_buf() }),
            Self::Memory(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            Self::Stream(stream) => {
                let mut handle = Shared { stream: Arc::clone(stream), position: 0 };
                // What cannot seek, such as a pipe, says so here.
                let length = handle.seek(SeekFrom::End(0)).map_err(|source| Error::read(name, source))?;
                if length == 0 {
                    return Err(Error::EmptyFile { path: name.to_path_buf() });
                }
                handle.position = 0;
                Ok(Box::new(handle))
            }
        }
    }
}

/// Opens a regular file with something in it. Pipes and devices are refused before they are opened, which could wait forever.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::read(path, source))?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a directory" } else { "a device or a pipe" };
        return Err(Error::NotAFile { path: path.to_path_buf(), kind });
    }
    if metadata.len() == 0 {
        return Err(Error::EmptyFile { path: path.to_path_buf() });
    }
    File::open(path).map_err(|source| Error::read(path, source))
}

/// A handle on a stream that others read too.
struct Shared {
    stream: Arc<Mutex<dyn ReadSeek>>,
    position: u64,
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.seek(SeekFrom::Start(self.position))?;
        let read = stream.read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Shared {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the first byte");
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset).ok_or_else(outside)?,
            SeekFrom::End(_) => self.stream.lock().unwrap_or_else(PoisonError::into_inner).seek(to)?,
        };
        Ok(self.position)
    }
}

/// A handle that gives up when time is up, also in the middle of what FFmpeg reads in one go.
pub(crate) struct Watched<F> {
    pub(crate) bytes: Box<dyn ReadSeek>,
    pub(crate) is_up: F,
}

impl<F: Fn() -> bool> Read for Watched<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_up)() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.bytes.read(buffer)
    }
}

impl<F: Fn() -> bool> Seek for Watched<F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}
