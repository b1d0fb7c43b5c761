//! What can go wrong with a video file, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this crate that touches a file.
pub type Result<T> = std::result::Result<T, Error>;

/// A video file that could not be read or written. Every message names the file and a remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is stored under this name.
    #[error("{path}: no such file; check the name and the folder", path = .path.display())]
    MissingFile {
        /// The name that was asked for.
        path: PathBuf,
    },
    /// The name belongs to a directory, a device or a pipe.
    #[error("{path} is {kind}, not a file; name one video file (its frames are read more than once)", path = .path.display())]
    NotAFile {
        /// The name that was asked for.
        path: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// The operating system refused to open or read the file.
    #[error("{path} cannot be read: {source}; check its permissions and the disk", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file has no bytes.
    #[error("{path} is empty (0 bytes); copy or record it again", path = .path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The content is no video format that FFmpeg knows, whatever the file is called.
    #[error("{path} is not a video: {reason}; give an mp4, mkv, webm, mov or avi file", path = .path.display())]
    NotAVideo {
        /// The file.
        path: PathBuf,
        /// What FFmpeg said.
        reason: String,
    },
    /// A media file without pictures, such as a sound recording.
    #[error("{path} ({container}) holds no video stream; give a file with pictures, not only sound", path = .path.display())]
    NoVideoStream {
        /// The file.
        path: PathBuf,
        /// FFmpeg's name of the container.
        container: String,
    },
    /// The installed FFmpeg has no decoder for the pictures.
    #[error("{path}: no decoder for the codec {codec:?}; convert it with `ffmpeg -i {path} -c:v libx264 out.mp4`", path = .path.display())]
    UnsupportedCodec {
        /// The file.
        path: PathBuf,
        /// FFmpeg's name of the codec.
        codec: String,
    },
    /// The pictures are encrypted.
    #[error("{path}: stream {stream} is encrypted; decrypt the file first, or take the one that it was made from", path = .path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
        /// Number of the stream, counted from 0.
        stream: usize,
    },
    /// There is a video stream, and not one picture in it.
    #[error("{path} has a video stream without any frame; record or export it again", path = .path.display())]
    NoFrames {
        /// The file.
        path: PathBuf,
    },
    /// The decoder rejected the data.
    #[error(
        "{path}: frame {frame} cannot be decoded: {reason}; the file is damaged there, copy it again or keep what is readable with \
         `ffmpeg -i {path} out.mp4`",
        path = .path.display()
    )]
    Decode {
        /// The file.
        path: PathBuf,
        /// Number of the frame, counted from 0; where the file does not tell which it is, of the first that is missing.
        frame: usize,
        /// What FFmpeg said.
        reason: String,
    },
    /// The file stops before its own end.
    #[error("{path} is cut off: {reason}; copy or download it again", path = .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The file asks for more than [`Limits`](crate::Limits) allow.
    #[error("{path}: {what} exceeds the limit of {allowed}; raise `Limits::{field}` if the file is trusted", path = .path.display())]
    LimitExceeded {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        what: String,
        /// What is allowed.
        allowed: String,
        /// The field of [`Limits`](crate::Limits) that says so.
        field: &'static str,
    },
    /// A frame number past the end was asked for.
    #[error("{path} has {count} frames, number {index} does not exist; ask for 0 to {last}", path = .path.display(), last = .count.saturating_sub(1))]
    FrameOutOfRange {
        /// The file.
        path: PathBuf,
        /// The number that was asked for, counted from 0.
        index: usize,
        /// How many frames there are.
        count: usize,
    },
    /// A plan or a setting that cannot be carried out.
    #[error("{path}: {name} is {value}; {remedy}", path = .path.display())]
    InvalidSetting {
        /// The file it was meant for.
        path: PathBuf,
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A frame that does not have the size of the video being written.
    #[error("{path}: frame {frame} is {got_width}x{got_height}, the video is {width}x{height}; resize the frame first", path = .path.display())]
    FrameSize {
        /// The file being written.
        path: PathBuf,
        /// Number of the frame, counted from 0.
        frame: usize,
        /// Width of the video in pixels.
        width: u32,
        /// Height of the video in pixels.
        height: u32,
        /// Width of the frame in pixels.
        got_width: u32,
        /// Height of the frame in pixels.
        got_height: u32,
    },
    /// The installed FFmpeg cannot write H.264.
    #[error("{path} cannot be written: this FFmpeg has no encoder {encoder:?}; install an FFmpeg built with libx264", path = .path.display())]
    EncoderMissing {
        /// The file being written.
        path: PathBuf,
        /// FFmpeg's name of the encoder.
        encoder: &'static str,
    },
    /// The encoder or the mp4 writer refused.
    #[error("{path} cannot be encoded: {reason}; check the frame size and the quality", path = .path.display())]
    Encode {
        /// The file being written.
        path: PathBuf,
        /// What FFmpeg said.
        reason: String,
    },
    /// The disk is full, the folder is missing or not writable. Nothing is left behind.
    #[error("{path} cannot be written: {source}; check that its folder exists, is writable and has room", path = .path.display())]
    Write {
        /// The file being written.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Error {
    /// Sorts an error of the operating system into missing and unreadable.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::MissingFile { path },
            _ => Self::Read { path, source },
        }
    }

    /// Sorts an error of FFmpeg's writing side into the operating system's (disk full, ...) and the encoder's.
    pub(crate) fn write(path: &Path, error: ffmpeg_next::Error) -> Self {
        let path = path.to_path_buf();
        match error {
            // EINVAL comes from encoders that reject a setting, every other number from writing the file.
            ffmpeg_next::Error::Other { errno } if errno != ffmpeg_next::error::EINVAL => {
                Self::Write { path, source: io::Error::from_raw_os_error(errno) }
            }
            other => Self::Encode { path, reason: other.to_string() },
        }
    }

    pub(crate) fn limit(path: &Path, field: &'static str, what: String, allowed: String) -> Self {
        Self::LimitExceeded { path: path.to_path_buf(), what, allowed, field }
    }
}
