//! Writing frames as an H.264 mp4.

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;

use ffmpeg::format::Pixel;
use ffmpeg::format::context::{Output, StreamIo};
use ffmpeg::{Dictionary, Packet, Rational, codec, color, encoder};
use image::RgbImage;
use tempfile::{NamedTempFile, TempPath};

use crate::convert::{FromRgb, to_frame};
use crate::{Error, Result};

/// How much of the picture survives.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Quality {
    /// libx264 at this constant rate factor, 0 (largest) to 51 (worst), preset `veryfast`, 4:2:0 with the BT.601 matrix in
    /// limited range: plays everywhere. Width and height must be even. At 23, the worst frame of a smooth scene in motion
    /// came back with 44.9 dB of peak signal to noise (`tests/write.rs` prints it, and asks for 35).
    RateFactor(u8),
    /// Bit-exact RGB (libx264rgb). Any size; Chromium plays it, many players do not.
    Lossless,
}

impl Default for Quality {
    /// Rate factor 23, the default of libx264.
    fn default() -> Self {
        Self::RateFactor(23)
    }
}

/// Writes frames of one size as an mp4.
///
/// The file grows under a temporary name next to its target and takes the target's name in [`VideoWriter::finish`]. A writer
/// dropped before leaves nothing behind. One encoding thread is used: the same frames give the same file on every machine
/// with the same libx264.
pub struct VideoWriter {
    path: PathBuf,
    width: u32,
    height: u32,
    output: Output,
    encoder: encoder::Video,
    /// One over the frame rate.
    time_base: Rational,
    /// `None` where the encoder takes RGB.
    from_rgb: Option<FromRgb>,
    frames: usize,
    // Last, so that the file is closed before it is removed.
    temporary: TempPath,
}

impl VideoWriter {
    /// Starts a file of `width` x `height` pixels. The content is mp4 whatever the extension.
    ///
    /// # Errors
    /// For sizes, rates and qualities that cannot be written, for folders that are missing or not writable, and where FFmpeg
    /// lacks libx264.
    pub fn create(path: impl AsRef<Path>, width: u32, height: u32, frames_per_second: f64, quality: Quality) -> Result<Self> {
        let path = path.as_ref();
        let settings = Settings::check(path, width, height, frames_per_second, quality)?;
        let failed = |source| Error::Write { path: path.to_path_buf(), source };
        let temporary = temporary_beside(path).map_err(failed)?;
        let file = temporary.as_file().try_clone().map_err(failed)?;
        Self::start(path, temporary.into_temp_path(), file, &settings)
    }

    fn start(path: &Path, temporary: TempPath, sink: impl Write + Seek + Send + 'static, settings: &Settings) -> Result<Self> {
        crate::prepare_ffmpeg();
        let failed = |error| Error::write(path, error);
        let io = StreamIo::from_write_seek(sink).map_err(failed)?;
        let mut output = ffmpeg::format::output_to_stream(io, None, Some("mp4")).map_err(failed)?;
        let opened = settings.open_encoder(path)?;
        let time_base = settings.rate.invert();
        let mut stream = output.add_stream_with(&opened.0).map_err(failed)?;
        stream.set_time_base(time_base);
        stream.set_avg_frame_rate(settings.rate);
        output.write_header().map_err(failed)?;
        let from_rgb = match settings.quality {
            Quality::Lossless => None,
            Quality::RateFactor(_) => Some(FromRgb::yuv420(settings.width, settings.height).map_err(failed)?),
        };
        Ok(Self {
            path: path.to_path_buf(),
            width: settings.width,
            height: settings.height,
            output,
            encoder: opened,
            time_base,
            from_rgb,
            frames: 0,
            temporary,
        })
    }
}

impl VideoWriter {
    /// Appends a frame.
    ///
    /// # Errors
    /// For frames of another size, for full disks, and where the encoder refuses.
    pub fn write(&mut self, image: &RgbImage) -> Result<()> {
        if image.dimensions() != (self.width, self.height) {
            return Err(Error::FrameSize {
                path: self.path.clone(),
                frame: self.frames,
                width: self.width,
                height: self.height,
                got_width: image.width(),
                got_height: image.height(),
            });
        }
        let converted = match &mut self.from_rgb {
            Some(from_rgb) => from_rgb.convert(image),
            None => to_frame(image),
        };
        let mut frame = converted.map_err(|error| Error::write(&self.path, error))?;
        frame.set_pts(i64::try_from(self.frames).ok());
        self.encoder.send_frame(&frame).map_err(|error| Error::write(&self.path, error))?;
        self.frames += 1;
        self.write_packets()
    }

    /// Writes what the encoder still holds, completes the file and gives it its name, replacing a file of that name.
    ///
    /// # Errors
    /// For full disks, and for a video without frames. The target is untouched then.
    pub fn finish(mut self) -> Result<()> {
        if self.frames == 0 {
            let remedy = "write one frame or more before finishing";
            return Err(Error::InvalidSetting { path: self.path, name: "number of frames", value: "0".to_string(), remedy });
        }
        self.encoder.send_eof().map_err(|error| Error::write(&self.path, error))?;
        self.write_packets()?;
        self.output.write_trailer().map_err(|error| Error::write(&self.path, error))?;
        let Self { path, output, temporary, .. } = self;
        drop(output);
        // Some file systems find out that they are full only now.
        let synced = std::fs::File::options().write(true).open(&temporary).and_then(|file| file.sync_all());
        synced.map_err(|source| Error::Write { path: path.clone(), source })?;
        temporary.persist(&path).map_err(|error| Error::Write { path, source: error.error })
    }

    fn write_packets(&mut self) -> Result<()> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(ffmpeg::Error::Eof | ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => return Ok(()),
                Err(error) => return Err(Error::write(&self.path, error)),
            }
            // The writer of mp4 chose its own unit of time when it wrote the header.
            let unit = self.output.stream(0).map_or(self.time_base, |stream| stream.time_base());
            packet.set_stream(0);
            packet.set_duration(1);
            packet.rescale_ts(self.time_base, unit);
            packet.write_interleaved(&mut self.output).map_err(|error| Error::write(&self.path, error))?;
        }
    }
}

impl std::fmt::Debug for VideoWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = (self.width, self.height);
        formatter.debug_struct("VideoWriter").field("path", &self.path).field("size", &size).finish_non_exhaustive()
    }
}

/// What was asked for, checked.
struct Settings {
    width: u32,
    height: u32,
    rate: Rational,
    quality: Quality,
}

impl Settings {
    fn check(path: &Path, width: u32, height: u32, frames_per_second: f64, quality: Quality) -> Result<Self> {
        let invalid = |name, value, remedy| Err(Error::InvalidSetting { path: path.to_path_buf(), name, value, remedy });
        let size = || format!("{width}x{height}");
        if width == 0 || height == 0 || width > 16384 || height > 16384 {
            return invalid("frame size", size(), "H.264 takes 1 to 16384 pixels each way, resize the frames");
        }
        if quality != Quality::Lossless && !(width.is_multiple_of(2) && height.is_multiple_of(2)) {
            return invalid("frame size", size(), "crop or pad to even numbers, or write with Quality::Lossless");
        }
        if !(0.001..=1000.0).contains(&frames_per_second) {
            return invalid("frame rate", frames_per_second.to_string(), "give 0.001 to 1000 frames per second");
        }
        if let Quality::RateFactor(factor @ 52..) = quality {
            return invalid("rate factor", factor.to_string(), "give 0 (best) to 51 (worst)");
        }
        // The mp4 unit of time is a 32-bit number: 30000/1001 and its like fit, needless precision does not.
        let (Ok(rate) | Err(rate)) = Rational::from(frames_per_second).reduce_with_limit(1_001_000);
        Ok(Self { width, height, rate, quality })
    }

    fn open_encoder(&self, path: &Path) -> Result<encoder::Video> {
        let (name, format, space, range) = match self.quality {
            Quality::RateFactor(_) => ("libx264", Pixel::YUV420P, color::Space::SMPTE170M, color::Range::MPEG),
            Quality::Lossless => ("libx264rgb", Pixel::RGB24, color::Space::RGB, color::Range::JPEG),
        };
        let factor = match self.quality {
            Quality::RateFactor(factor) => ("crf", factor.to_string()),
            Quality::Lossless => ("qp", "0".to_string()),
        };
        let codec =
            encoder::find_by_name(name).ok_or_else(|| Error::EncoderMissing { path: path.to_path_buf(), encoder: name })?;
        let failed = |error| Error::write(path, error);
        let mut context = codec::Context::new_with_codec(codec);
        // Groups are closed: players jump to key frames, and some give up on pictures that refer to what was before.
        context.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::CLOSED_GOP);
        let mut encoder = context.encoder().video().map_err(failed)?;
        encoder.set_width(self.width);
        encoder.set_height(self.height);
        encoder.set_format(format);
        encoder.set_colorspace(space);
        encoder.set_color_range(range);
        encoder.set_time_base(self.rate.invert());
        encoder.set_frame_rate(Some(self.rate));
        // Macroblock trees are off: with AVX-512 their lookahead gives other files for the same frames now and then (x264 core 164).
        let options: Dictionary = [
            ("preset", "veryfast"),
            ("threads", "1"),
            ("x264-params", "mbtree=0"),
            (factor.0, factor.1.as_str()),
            // Browsers heed the matrix only where primaries and transfer are stated too; the frames are sRGB.
            ("color_primaries", "bt709"),
            ("color_trc", "iec61966-2-1"),
        ]
        .into_iter()
        .collect();
        encoder.open_as_with(codec, options).map_err(failed)
    }
}

/// Writes all frames of a clip at the default quality.
///
/// # Errors
/// Those of [`VideoWriter`]; a clip without frames is one.
pub fn write_clip(path: impl AsRef<Path>, frames: &[RgbImage], frames_per_second: f64) -> Result<()> {
    let path = path.as_ref();
    let Some(first) = frames.first() else {
        let remedy = "give one frame or more";
        return Err(Error::InvalidSetting { path: path.to_path_buf(), name: "number of frames", value: "0".to_string(), remedy });
    };
    let mut writer = VideoWriter::create(path, first.width(), first.height(), frames_per_second, Quality::default())?;
    frames.iter().try_for_each(|frame| writer.write(frame))?;
    writer.finish()
}

/// A new file in the folder of `path`, removed when it is dropped.
fn temporary_beside(path: &Path) -> std::io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".pvchat-").suffix(".mp4.part");
    // Readable as any new file is, not only by its owner as temporary files are.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{self, SeekFrom};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A file on a disk with room for this many bytes.
    struct SmallDisk {
        file: File,
        room: Arc<AtomicUsize>,
    }

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            const NO_SPACE: i32 = 28;
            let room = self.room.load(Ordering::Relaxed);
            let left = room.checked_sub(bytes.len()).ok_or(io::Error::from_raw_os_error(NO_SPACE))?;
            self.room.store(left, Ordering::Relaxed);
            self.file.write_all(bytes).map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    impl Seek for SmallDisk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    /// Writes 20 frames of noise to a disk of that size and says what became of it and how much room is left.
    fn write_to_disk(path: &Path, room: usize) -> (Result<()>, usize) {
        let settings = Settings::check(path, 64, 64, 25.0, Quality::RateFactor(0)).unwrap();
        let temporary = temporary_beside(path).unwrap();
        let room = Arc::new(AtomicUsize::new(room));
        let disk = SmallDisk { file: temporary.as_file().try_clone().unwrap(), room: Arc::clone(&room) };
        let run = || {
            let mut writer = VideoWriter::start(path, temporary.into_temp_path(), disk, &settings)?;
            let mut state = 1u32;
            for _ in 0..20 {
                writer.write(&RgbImage::from_fn(64, 64, |_, _| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    image::Rgb([state.to_be_bytes()[0], state.to_be_bytes()[1], 128])
                }))?;
            }
            writer.finish()
        };
        (run(), room.load(Ordering::Relaxed))
    }

    #[test]
    fn a_full_disk_is_reported_and_leaves_the_old_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.mp4");
        let (written, left) = write_to_disk(&path, 1 << 30);
        written.unwrap();
        let needed = (1 << 30) - left;
        std::fs::write(&path, "old").unwrap();
        // No room for the first byte, for all frames, and for the last byte alone.
        for room in [0, needed / 2, needed - 1] {
            match write_to_disk(&path, room).0 {
                Err(Error::Write { path: named, source }) => {
                    assert_eq!(named, path);
                    assert_eq!(source.kind(), io::ErrorKind::StorageFull, "room {room}");
                }
                other => panic!("room {room} of {needed}: {other:?}"),
            }
            assert_eq!(std::fs::read(&path).unwrap(), b"old", "room {room}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "room {room}: something was left behind");
        }
    }
}
