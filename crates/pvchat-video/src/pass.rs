//! One pass over a file, from its first frame to its last: demuxer and decoder.

use std::fs::File;
use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;

use ffmpeg::codec::threading;
use ffmpeg::format::context::{Input, StreamIo};
use ffmpeg::packet::side_data::Type as PacketSideData;
use ffmpeg::util::frame::side_data::Type as FrameSideData;
use ffmpeg::{Dictionary, Packet, Rational, codec, decoder, frame, media};

use crate::limits::Stopwatch;
use crate::orientation::Orientation;
use crate::{Error, Limits, Result, complete};

/// A frame as the decoder gives it, in its own pixel format and not yet turned.
pub(crate) struct Decoded {
    pub(crate) frame: frame::Video,
    /// Counted from 0.
    pub(crate) index: usize,
    /// Time of display, 0 for the first frame; `None` where the file gives no times.
    pub(crate) seconds: Option<f64>,
    pub(crate) orientation: Option<Orientation>,
}

/// What the container says of the stream.
pub(crate) struct Statement {
    pub(crate) container: String,
    pub(crate) codec: String,
    pub(crate) frame_rate: Option<f64>,
    pub(crate) frames: Option<usize>,
    pub(crate) duration_seconds: Option<f64>,
}

/// Demuxer and decoder of the best video stream of one file, moving forward only.
pub(crate) struct Pass {
    path: PathBuf,
    limits: Limits,
    watch: Stopwatch,
    is_up: Box<dyn Fn() -> bool + Send>,
    input: Input,
    stream: usize,
    time_base: Rational,
    orientation: Option<Orientation>,
    decoder: decoder::Video,
    draining: bool,
    /// Frames given so far.
    index: usize,
    first_timestamp: Option<i64>,
    /// The last packet that the decoder rejected before it gave any frame.
    rejected: Option<ffmpeg::Error>,
    peeked: Option<Decoded>,
}

impl Pass {
    pub(crate) fn open(path: &Path, limits: &Limits) -> Result<Self> {
        crate::prepare_ffmpeg();
        let mut watch = Stopwatch::start_new(limits.time);
        let is_up = Box::new(watch.is_up());
        let input = open_input(path, limits, watch.is_up())?;
        let container = || input.format().name().to_string();
        let stream = input
            .streams()
            .best(media::Type::Video)
            // The cover of a sound file is no video.
            .filter(|stream| !stream.disposition().contains(ffmpeg::format::stream::Disposition::ATTACHED_PIC))
            .ok_or_else(|| Error::NoVideoStream { path: path.to_path_buf(), container: container() })?;
        let parameters = stream.parameters();
        // SAFETY: `parameters` points at the codec parameters of a stream of `input`, which is alive and not written to.
        let (width, height) = unsafe { ((*parameters.as_ptr()).width, (*parameters.as_ptr()).height) };
        check_pixels(path, limits, u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0))?;
        let decoder = open_decoder(path, limits, parameters, stream.time_base())?;
        let orientation = stream
            .side_data()
            .find(|data| data.kind() == PacketSideData::DisplayMatrix)
            .and_then(|data| Orientation::from_bytes(data.data()));
        let (stream, time_base) = (stream.index(), stream.time_base());
        watch.stop();
        Ok(Self {
            path: path.to_path_buf(),
            limits: limits.clone(),
            watch,
            is_up,
            input,
            stream,
            time_base,
            orientation,
            decoder,
            draining: false,
            index: 0,
            first_timestamp: None,
            rejected: None,
            peeked: None,
        })
    }

    /// What the container says of the stream.
    pub(crate) fn statement(&self) -> Statement {
        let mut statement = Statement {
            container: self.input.format().name().to_string(),
            codec: self.decoder.id().name().to_string(),
            frame_rate: None,
            frames: None,
            duration_seconds: None,
        };
        if let Some(stream) = self.input.stream(self.stream) {
            statement.frame_rate =
                [stream.avg_frame_rate(), stream.rate()].into_iter().map(f64::from).find(|r| r.is_normal() && *r > 0.0);
            statement.frames = usize::try_from(stream.frames()).ok().filter(|frames| *frames > 0);
            let of_stream = stream.duration() as f64 * f64::from(stream.time_base());
            let of_file = self.input.duration() as f64 / f64::from(ffmpeg::ffi::AV_TIME_BASE);
            statement.duration_seconds = [of_stream, of_file].into_iter().find(|seconds| seconds.is_finite() && *seconds > 0.0);
        }
        statement
    }

    /// The next frame without moving past it; `None` at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<&Decoded>> {
        if self.peeked.is_none() {
            self.peeked = self.next()?;
        }
        Ok(self.peeked.as_ref())
    }

    /// The next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Decoded>> {
        if let Some(decoded) = self.peeked.take() {
            return Ok(Some(decoded));
        }
        self.watch.start();
        let decoded = self.decode();
        self.watch.stop();
        decoded
    }

    /// How many frames were given so far, a peeked one included.
    pub(crate) fn frames_given(&self) -> usize {
        self.index
    }

    /// Packets of the stream from here to the end, without decoding them.
    pub(crate) fn count_packets(mut self) -> Result<usize> {
        self.watch.start();
        let mut count = 0;
        while let Some(packet) = self.read_packet()? {
            count += usize::from(packet.stream() == self.stream);
        }
        Ok(count)
    }

    fn decode(&mut self) -> Result<Option<Decoded>> {
        let mut frame = frame::Video::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => return self.accept(frame).map(Some),
                Err(ffmpeg::Error::Eof) => return self.end(),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) if self.draining => return self.end(),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => self.feed()?,
                Err(error) => self.reject(error)?,
            }
        }
    }

    /// Gives the decoder one packet, or at the end of the file asks it for the frames it still holds.
    fn feed(&mut self) -> Result<()> {
        match self.read_packet()? {
            Some(packet) if packet.stream() != self.stream => Ok(()),
            Some(packet) => self.decoder.send_packet(&packet).or_else(|error| self.reject(error)),
            None => {
                self.draining = true;
                self.decoder.send_eof().or_else(|error| self.reject(error))
            }
        }
    }

    fn read_packet(&mut self) -> Result<Option<Packet>> {
        let mut packet = Packet::empty();
        let read = packet.read(&mut self.input);
        if (self.is_up)() {
            return Err(time_is_up(&self.path, &self.limits));
        }
        match read {
            Ok(()) => Ok(Some(packet)),
            Err(ffmpeg::Error::Eof) => Ok(None),
            Err(error) => Err(Error::Truncated {
                path: self.path.clone(),
                reason: format!("reading stops after frame {}: {error}", self.index),
            }),
        }
    }

    fn accept(&mut self, frame: frame::Video) -> Result<Decoded> {
        check_pixels(&self.path, &self.limits, frame.width(), frame.height())?;
        if self.index >= self.limits.frames {
            let allowed = format!("{} frames", self.limits.frames);
            return Err(Error::limit(&self.path, "frames", "the number of frames".to_string(), allowed));
        }
        let index = self.index;
        self.index += 1;
        let timestamp = frame.timestamp();
        let first = *self.first_timestamp.get_or_insert(timestamp.unwrap_or(0));
        let seconds = timestamp.map(|timestamp| timestamp.saturating_sub(first) as f64 * f64::from(self.time_base));
        let of_frame = frame.side_data(FrameSideData::DisplayMatrix).and_then(|data| Orientation::from_bytes(data.data()));
        Ok(Decoded { index, seconds, orientation: of_frame.or(self.orientation), frame })
    }

    /// A recording may begin in the middle of a stream, with packets that refer to pictures before it: those are passed
    /// over. After the first frame a rejected packet is damage.
    fn reject(&mut self, error: ffmpeg::Error) -> Result<()> {
        if (self.is_up)() {
            return Err(time_is_up(&self.path, &self.limits));
        }
        if self.index > 0 {
            return Err(Error::Decode { path: self.path.clone(), frame: self.index, reason: error.to_string() });
        }
        self.rejected = Some(error);
        Ok(())
    }

    fn end(&mut self) -> Result<Option<Decoded>> {
        match (self.index, self.rejected) {
            (0, Some(error)) => Err(Error::Decode { path: self.path.clone(), frame: 0, reason: error.to_string() }),
            (0, None) => Err(Error::NoFrames { path: self.path.clone() }),
            _ => Ok(None),
        }
    }
}

fn open_input(path: &Path, limits: &Limits, is_up: impl Fn() -> bool + Send + 'static) -> Result<Input> {
    let mut file = open_file(path)?;
    if let Some(reason) = complete::missing_part(&mut file).map_err(|source| Error::read(path, source))? {
        return Err(Error::Truncated { path: path.to_path_buf(), reason });
    }
    std::io::Seek::rewind(&mut file).map_err(|source| Error::read(path, source))?;
    // FFmpeg gets the bytes of this file and may open nothing else: no protocol is called "none".
    let options: Dictionary = [("protocol_whitelist", "none")].into_iter().collect();
    let io = StreamIo::from_read_seek(file).map_err(|error| not_a_video(path, error))?;
    ffmpeg::format::input_from_stream_with_interrupt(io, None, Some(options), is_up).map_err(|error| match error {
        ffmpeg::Error::Exit => time_is_up(path, limits),
        error => not_a_video(path, error),
    })
}

/// Opens a regular file with something in it.
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

fn open_decoder(path: &Path, limits: &Limits, parameters: codec::Parameters, time_base: Rational) -> Result<decoder::Video> {
    let id = parameters.id();
    let unsupported = |reason: String| Error::UnsupportedCodec { path: path.to_path_buf(), codec: reason };
    let context = codec::Context::from_parameters(parameters).map_err(|error| unsupported(format!("{}: {error}", id.name())))?;
    let codec = decoder::find(id).ok_or_else(|| unsupported(id.name().to_string()))?;
    let mut decoder = context.decoder();
    decoder.set_packet_time_base(time_base);
    decoder.set_threading(threading::Config::kind(threading::Type::Frame)); // count 0: one thread per core
    // A picture may announce another size than the container: the decoder checks before it allocates, roughly because it
    // counts the padding of its buffers too.
    let pixels = limits.frame_pixels.saturating_mul(2).saturating_add(1 << 20).min(i64::MAX as u64).to_string();
    let options: Dictionary = [("max_pixels", pixels.as_str())].into_iter().collect();
    decoder
        .open_as_with(codec, options)
        .and_then(|opened| opened.video())
        .map_err(|error| unsupported(format!("{}: {error}", id.name())))
}

/// Refuses frames of more pixels than the limits allow.
pub(crate) fn check_pixels(path: &Path, limits: &Limits, width: u32, height: u32) -> Result<()> {
    if u64::from(width) * u64::from(height) <= limits.frame_pixels {
        return Ok(());
    }
    let what = format!("a frame of {width}x{height} pixels");
    Err(Error::limit(path, "frame_pixels", what, format!("{} pixels", limits.frame_pixels)))
}

fn not_a_video(path: &Path, error: ffmpeg::Error) -> Error {
    Error::NotAVideo { path: path.to_path_buf(), reason: error.to_string() }
}

fn time_is_up(path: &Path, limits: &Limits) -> Error {
    let allowed = format!("{:?}", limits.time.unwrap_or_default());
    Error::limit(path, "time", "the time for reading it".to_string(), allowed)
}
