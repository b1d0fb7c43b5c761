//! Video files to frames and back: open, probe, sample, decode, write.
//!
//! [`VideoReader`] opens a file, says what is in it ([`VideoInfo`]) and gives its frames, all of them one by one
//! ([`VideoReader::frames`]), the ones that a [`SamplingPlan`] picks, as a [`Clip`], or a few per second of long footage
//! ([`VideoReader::stream`]), with memory that does not grow with its length. [`VideoWriter`] writes frames as an
//! H.264 mp4. A frame is an [`image::RgbImage`], upright (rotated as its file asks) and 8 bits per channel, whatever the
//! file holds.
//!
//! ```no_run
//! use pvchat_video::{Clip, write_clip};
//!
//! let clip = Clip::open("holiday.mp4", 8)?; // eight frames, evenly spread
//! println!("{} frames at {:?} seconds", clip.frames.len(), clip.times);
//! write_clip("eight.mp4", &clip.frames, 2.0)?;
//! # Ok::<(), pvchat_video::Error>(())
//! ```
//!
//! Files are opened by this crate and handed to FFmpeg as a stream of bytes: FFmpeg itself cannot open anything, neither
//! another file that a playlist names nor a network address. [`Limits`] bound what a hostile file can cost. FFmpeg's log is
//! switched off for the whole process when the first file is opened.
//!
//! Deliberately absent: audio, streaming from the network, hardware decoding, tone mapping of HDR video.

mod cache;
mod clip;
mod complete;
mod convert;
mod damage;
mod demuxer;
mod error;
mod frames;
mod index;
mod info;
mod limits;
mod mp4;
mod options;
mod orientation;
mod pass;
mod random;
mod reader;
pub mod sampling;
mod source;
mod still;
mod stream;
mod units;
mod writer;

pub use cache::{FrameCache, sample_files};
pub use clip::Clip;
pub use damage::{Damage, DamageKind, DamagePolicy};
pub use error::{Error, Result};
pub use frames::{Frame, Frames};
pub use info::{StreamInfo, StreamKind, Timeline, VideoInfo};
pub use limits::Limits;
pub use options::ReadOptions;
pub use reader::VideoReader;
pub use sampling::SamplingPlan;
pub use stream::{FrameStream, StreamPlan};
pub use writer::{Quality, VideoWriter, write_clip};

/// The version of the FFmpeg libraries that this program runs with, as they state it, such as `5.1.6`.
pub fn ffmpeg_version() -> String {
    // SAFETY: the function takes nothing and gives a constant string of the library, which ends with a zero.
    let version = unsafe { std::ffi::CStr::from_ptr(ffmpeg_next::ffi::av_version_info()) };
    version.to_string_lossy().into_owned()
}

/// Prepares FFmpeg once per process: its error texts are loaded and its log goes nowhere, because libraries never print.
fn prepare_ffmpeg() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        ffmpeg_next::util::error::register_all();
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
    });
}
