#![doc = include_str!("../README.md")]

mod cache;
mod clip;
mod complete;
mod convert;
mod damage;
mod demuxer;
mod error;
mod frame;
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
pub use frame::Frame;
pub use info::{StreamInfo, StreamKind, Timeline, VideoInfo};
pub use limits::Limits;
pub use options::ReadOptions;
pub use reader::{Frames, VideoReader};
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
