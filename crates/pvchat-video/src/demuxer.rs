//! Packets of the best video stream of one file.

use std::path::Path;
use std::ptr;
use std::sync::Arc;

use ffmpeg_next as ffmpeg;

use ffmpeg::ffi;
use ffmpeg::format::context::{Input, StreamIo};
use ffmpeg::format::stream::Disposition;
use ffmpeg::packet::side_data::Type as SideData;
use ffmpeg::{Dictionary, Packet, Rational, codec, media};

use crate::info::{StreamInfo, StreamKind};
use crate::limits::Stopwatch;
use crate::options::Job;
use crate::orientation::Orientation;
use crate::source::Watched;
use crate::units::Units;
use crate::{Error, Limits, Result, complete, mp4};

/// Containers that are opened: those that hold their own content. Playlists, session descriptions, devices and formats made
/// of several files are absent.
const CONTAINERS: &str = "mov,matroska,avi,mpegts,mpeg,flv,live_flv,ogg,gif,asf,ivf,mxf,nut,h264,hevc,m4v,mpegvideo,av1,obu,vc1,\
     mjpeg,dv,rm,swf,wtv,nsv,y4m,yuv4mpegpipe,apng,mp3,wav,flac,aac,ac3,aiff,amr,caf,w64,tta,wv,ape";

/// What the container says of the stream.
pub(crate) struct Statement {
    pub(crate) container: String,
    pub(crate) codec: codec::Id,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) frame_rate: Option<f64>,
    pub(crate) frames: Option<usize>,
    pub(crate) duration_seconds: Option<f64>,
    /// Whether the pictures are known, or assumed, not to be stored as two fields.
    pub(crate) progressive: bool,
    pub(crate) streams: Vec<StreamInfo>,
}

/// Demuxer of one file, which gives the packets of its best video stream.
pub(crate) struct Demuxer {
    job: Arc<Job>,
    pub(crate) watch: Stopwatch,
    is_up: Box<dyn Fn() -> bool + Send>,
    input: Input,
    stream: usize,
    pub(crate) time_base: Rational,
    pub(crate) orientation: Option<Orientation>,
    pub(crate) statement: Statement,
    /// Offsets from decoding to display of all samples, if the container is an mp4 that has them.
    pub(crate) display_offsets: Option<Vec<i32>>,
    packets: u64,
    /// What is missing at the end, where damage is skipped.
    pub(crate) cut: Option<String>,
}

impl Demuxer {
    /// Opens the file and looks for its best video stream. The stopwatch does not run afterwards.
    pub(crate) fn open(job: &Arc<Job>) -> Result<Self> {
        crate::prepare_ffmpeg();
        let (path, limits) = (job.name.as_path(), &job.options.limits);
        let mut watch = Stopwatch::start_new(limits.time);
        let is_up = Box::new(watch.is_up());
        let mut bytes = job.source.open(path)?;
        let read = |source| Error::read(path, source);
        let truncated = |reason| Error::Truncated { path: path.to_path_buf(), reason };
        let cut = complete::missing_part(&mut bytes).map_err(read)?;
        if let Some(reason) = cut.clone().filter(|_| !job.options.skips_damage()) {
            return Err(truncated(reason));
        }
        let tables = mp4::read(&mut bytes, limits.packets).unwrap_or_default();
        if tables.samples > limits.packets {
            let what = format!("its header's claim of {} packets", tables.samples);
            return Err(Error::limit(path, "packets", what, format!("{} packets", limits.packets)));
        }
        std::io::Seek::rewind(&mut bytes).map_err(read)?;
        let opened = open_input(path, limits, Watched { bytes, is_up: watch.is_up() }, watch.is_up());
        let input = opened.map_err(|error| match cut.clone() {
            _ if is_up() => time_is_up(path, limits),
            // Too much is missing to find anything.
            Some(reason) if matches!(error, Error::NotAVideo { .. }) => truncated(reason),
            _ => error,
        })?;
        let container = input.format().name().to_string();
        let stream = input
            .streams()
            .best(media::Type::Video)
            // The cover of a sound file is no video.
            .filter(|stream| !stream.disposition().contains(Disposition::ATTACHED_PIC))
            .ok_or_else(|| Error::NoVideoStream { path: path.to_path_buf(), container: container.clone() })?;
        let index = stream.index();
        let track = u32::try_from(stream.id()).ok().and_then(|id| tables.tracks.iter().find(|track| track.id == id));
        if track.is_some_and(|track| track.encrypted) {
            return Err(Error::Encrypted { path: path.to_path_buf(), stream: index });
        }
        let statement = state(&input, &stream, container);
        check_pixels(path, limits, statement.width, statement.height)?;
        if let (Some(stated), Some(allowed)) = (statement.duration_seconds, limits.duration)
            && stated > allowed.as_secs_f64()
        {
            return Err(Error::limit(path, "duration", format!("a duration of {stated:.0} s"), format!("{allowed:?}")));
        }
        let orientation = stream
            .side_data()
            .find(|data| data.kind() == SideData::DisplayMatrix)
            .and_then(|data| Orientation::from_bytes(data.data()));
        let time_base = stream.time_base();
        let display_offsets = track.and_then(mp4::Track::display_offsets);
        watch.stop();
        let mut demuxer = Self {
            job: Arc::clone(job),
            watch,
            is_up,
            input,
            stream: index,
            time_base,
            orientation,
            statement,
            display_offsets,
            packets: 0,
            cut,
        };
        demuxer.discard_others();
        demuxer.correct_avi();
        Ok(demuxer)
    }

    /// An AVI states its length in units of its time, which in H.264 may be fields, and empty ones count. Its index has one
    /// entry per frame.
    fn correct_avi(&mut self) {
        if self.statement.container != "avi" {
            return;
        }
        let index = self.container_index();
        let (first, last) = (index.first().map_or(0, |entry| entry.0), index.last().map_or(0, |entry| entry.0));
        let (span, steps) = (last.saturating_sub(first), index.len().saturating_sub(1));
        let unit = (f64::from(self.time_base.numerator()), f64::from(self.time_base.denominator()));
        let rate = steps as f64 * unit.1 / (span as f64 * unit.0);
        if !(rate.is_normal() && rate > 0.0) {
            return;
        }
        self.statement.frame_rate = Some(rate);
        self.statement.frames = Some(index.len());
        self.statement.duration_seconds = Some(index.len() as f64 / rate);
    }

    /// The decoder's description of the stream.
    pub(crate) fn parameters(&self) -> Option<codec::Parameters> {
        self.input.stream(self.stream).map(|stream| stream.parameters())
    }

    /// How the units of a packet are separated.
    pub(crate) fn units(&self) -> Option<Units> {
        let parameters = self.parameters()?;
        // SAFETY: the parameters belong to a stream of the open context, which nobody writes to meanwhile; their description
        // is null or has `extradata_size` bytes.
        unsafe {
            let parameters = &*parameters.as_ptr();
            let description = match usize::try_from(parameters.extradata_size) {
                Ok(size) if !parameters.extradata.is_null() => std::slice::from_raw_parts(parameters.extradata, size),
                _ => &[],
            };
            Units::of(self.statement.codec, description)
        }
    }

    /// Whether time is up.
    pub(crate) fn is_up(&self) -> bool {
        (self.is_up)()
    }

    /// What to say when it is.
    pub(crate) fn time_is_up(&self) -> Error {
        time_is_up(&self.job.name, &self.job.options.limits)
    }

    /// The next packet of the stream; `None` at the end.
    pub(crate) fn next_packet(&mut self) -> Result<Option<Packet>> {
        let path = &self.job.name;
        loop {
            let mut packet = Packet::empty();
            let read = packet.read(&mut self.input);
            if (self.is_up)() {
                return Err(self.time_is_up());
            }
            self.packets += 1;
            if self.packets > self.job.options.limits.packets {
                let allowed = format!("{} packets", self.job.options.limits.packets);
                return Err(Error::limit(path, "packets", "the number of packets".to_string(), allowed));
            }
            match read {
                Ok(()) if packet.stream() == self.stream => return Ok(Some(packet)),
                Ok(()) => {}
                Err(ffmpeg::Error::Eof) => return Ok(None),
                Err(error) => {
                    let reason = format!("reading stops after packet {}: {error}", self.packets - 1);
                    if self.job.options.skips_damage() {
                        self.cut = Some(reason);
                        return Ok(None);
                    }
                    return Err(Error::Truncated { path: path.clone(), reason });
                }
            }
        }
    }

    /// Moves to a key frame at or before a time of the stream; `false` where the container cannot.
    pub(crate) fn seek(&mut self, timestamp: i64) -> bool {
        // SAFETY: the context is open and nothing else uses it; the index names one of its streams.
        let moved = unsafe {
            let (context, stream) = (self.input.as_mut_ptr(), i32::try_from(self.stream).unwrap_or(-1));
            ffi::av_seek_frame(context, stream, timestamp, ffi::AVSEEK_FLAG_BACKWARD)
        };
        moved >= 0
    }

    /// Starts the count of packets and the stopwatch of one call of the user.
    pub(crate) fn begin(&mut self) {
        self.packets = 0;
        self.watch.reset();
    }

    /// Entries of the index that the demuxer already has: time of decoding, whether a key frame, whether not to be shown.
    pub(crate) fn container_index(&mut self) -> Vec<(i64, bool, bool)> {
        let mut entries = Vec::new();
        // SAFETY: `stream` is one of the streams of the open context; entries are read at once and not kept.
        unsafe {
            let stream = *(*self.input.as_mut_ptr()).streams.add(self.stream);
            for place in 0..ffi::avformat_index_get_entries_count(stream) {
                let Some(entry) = ffi::avformat_index_get_entry(stream, place).as_ref() else { break };
                let flags = entry.flags();
                let is = |flag: i32| flags & flag != 0;
                let [key, hidden] = [ffi::AVINDEX_KEYFRAME, ffi::AVINDEX_DISCARD_FRAME].map(is);
                entries.push((entry.timestamp, key, hidden));
            }
        }
        entries
    }

    /// Packets of other streams are dropped where they are found, in most containers without reading them.
    fn discard_others(&mut self) {
        // SAFETY: the context is open, its streams are `nb_streams` valid pointers, and nothing else uses them now.
        unsafe {
            let context = self.input.as_mut_ptr();
            for index in (0..(*context).nb_streams as usize).filter(|index| *index != self.stream) {
                (**(*context).streams.add(index)).discard = ffi::AVDiscard::AVDISCARD_ALL;
            }
        }
    }
}

/// Containers whose header states when the last frame ends, not for how long there are frames.
const STATE_THE_END: [&str; 4] = ["matroska,webm", "asf", "nut", "wtv"];

fn state(input: &Input, stream: &ffmpeg::Stream<'_>, container: String) -> Statement {
    let parameters = stream.parameters();
    // SAFETY: `parameters` points at the codec parameters of a stream of `input`, which is alive and not written to.
    let (width, height, order) = unsafe {
        let parameters = &*parameters.as_ptr();
        (parameters.width, parameters.height, parameters.field_order)
    };
    let of_stream = stream.duration() as f64 * f64::from(stream.time_base());
    let of_file = input.duration() as f64 / f64::from(ffi::AV_TIME_BASE);
    let start = stream.start_time() as f64 * f64::from(stream.time_base());
    let states_the_end = STATE_THE_END.contains(&container.as_str());
    let length = |stated: f64| if states_the_end && start > 0.0 && stated > start { stated - start } else { stated };
    Statement {
        container,
        codec: parameters.id(),
        width: u32::try_from(width).unwrap_or(0),
        height: u32::try_from(height).unwrap_or(0),
        frame_rate: [stream.avg_frame_rate(), stream.rate()].into_iter().map(f64::from).find(|r| r.is_normal() && *r > 0.0),
        frames: usize::try_from(stream.frames()).ok().filter(|frames| *frames > 0),
        duration_seconds: [of_stream, of_file].into_iter().find(|seconds| seconds.is_finite() && *seconds > 0.0).map(length),
        progressive: matches!(order, ffi::AVFieldOrder::AV_FIELD_UNKNOWN | ffi::AVFieldOrder::AV_FIELD_PROGRESSIVE),
        streams: input.streams().map(|stream| describe(&stream)).collect(),
    }
}

fn describe(stream: &ffmpeg::Stream<'_>) -> StreamInfo {
    let parameters = stream.parameters();
    let kind = match parameters.medium() {
        media::Type::Video if stream.disposition().contains(Disposition::ATTACHED_PIC) => StreamKind::Cover,
        media::Type::Video => StreamKind::Video,
        media::Type::Audio => StreamKind::Audio,
        media::Type::Subtitle => StreamKind::Subtitle,
        _ => StreamKind::Other,
    };
    StreamInfo { index: stream.index(), kind, codec: parameters.id().name().to_string() }
}

/// Opens a container of bytes. FFmpeg may open nothing else: no protocol is called "none".
fn open_input<F, G>(path: &Path, limits: &Limits, bytes: Watched<F>, is_up: G) -> Result<Input>
where
    F: Fn() -> bool + Send + 'static,
    G: Fn() -> bool + Send + 'static,
{
    let failed = |error: ffmpeg::Error| Error::NotAVideo { path: path.to_path_buf(), reason: error.to_string() };
    let options: Dictionary = [("protocol_whitelist", "none"), ("format_whitelist", CONTAINERS)].into_iter().collect();
    let mut io = StreamIo::from_read_seek_with_capacity(bytes, 1 << 16).map_err(failed)?;
    let interrupt = ffmpeg::util::interrupt::new(Box::new(is_up));
    // SAFETY: the context is new and gets an interrupt callback and an I/O context that live as long as it does: `Input` takes
    // both, and where opening fails FFmpeg frees the context before they are dropped here. The options are FFmpeg's own
    // dictionary, which it may replace, and are freed once.
    let mut input = unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(failed(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM }));
        }
        (*context).interrupt_callback = interrupt.interrupt;
        (*context).pb = io.as_mut_ptr();
        (*context).flags |= ffi::AVFMT_FLAG_CUSTOM_IO;
        let mut options = options.disown();
        let opened = ffi::avformat_open_input(&mut context, ptr::null(), ptr::null(), &mut options);
        drop(Dictionary::own(options));
        if opened < 0 {
            return Err(failed(ffmpeg::Error::from(opened)));
        }
        Input::wrap_with_custom_io_and_interrupt(context, io, interrupt.guard)
    };
    for stream in input.streams().filter(|stream| stream.parameters().medium() == media::Type::Video) {
        // SAFETY: as in `state`.
        let (width, height) = unsafe { ((*stream.parameters().as_ptr()).width, (*stream.parameters().as_ptr()).height) };
        check_pixels(path, limits, u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0))?;
    }
    find_stream_info(&mut input, limits).map_err(failed)?;
    Ok(input)
}

/// Lets FFmpeg read until it knows every stream. It decodes a few pictures where headers leave something open, and allocates
/// for them no more than the limits allow.
///
/// Of H.264 in an mp4 they leave open only the pixel format, for which FFmpeg would decode a key frame on one thread. Nobody
/// asks for it: the decoder that is opened later finds out by itself. So one is claimed meanwhile, and nothing is decoded.
fn find_stream_info(input: &mut Input, limits: &Limits) -> std::result::Result<(), ffmpeg::Error> {
    let pixels = max_pixels(limits);
    let is_mp4 = input.format().name().contains("mp4");
    let undecoded = |stream: &ffmpeg::Stream<'_>| is_mp4 && stream.parameters().id() == codec::Id::H264;
    let dictionary = |stream: ffmpeg::Stream<'_>| {
        let skip = if undecoded(&stream) { "all" } else { "default" };
        [("max_pixels", pixels.as_str()), ("skip_frame", skip)].into_iter().collect::<Dictionary>()
    };
    // SAFETY: the context is open; one dictionary is given per stream that it has now, as FFmpeg asks, and all of them are
    // freed after the call. The parameters belong to the context's streams, and nothing else uses them.
    unsafe {
        let mut options: Vec<_> = input.streams().map(|stream| dictionary(stream).disown()).collect();
        let claim = |input: &Input, format: ffi::AVPixelFormat| {
            for stream in input.streams().filter(undecoded) {
                (*stream.parameters().as_mut_ptr()).format = format as i32;
            }
        };
        claim(input, ffi::AVPixelFormat::AV_PIX_FMT_YUV420P);
        let options_or_null = if options.is_empty() { ptr::null_mut() } else { options.as_mut_ptr() };
        let found = ffi::avformat_find_stream_info(input.as_mut_ptr(), options_or_null);
        claim(input, ffi::AVPixelFormat::AV_PIX_FMT_NONE);
        options.into_iter().for_each(|options| drop(Dictionary::own(options)));
        if found < 0 { Err(ffmpeg::Error::from(found)) } else { Ok(()) }
    }
}

/// A picture may announce another size than the container: the decoder checks before it allocates, roughly because it
/// counts the padding of its buffers too.
pub(crate) fn max_pixels(limits: &Limits) -> String {
    limits.frame_pixels.saturating_mul(2).saturating_add(1 << 20).min(i64::MAX as u64).to_string()
}

/// Refuses frames of more pixels than the limits allow.
pub(crate) fn check_pixels(path: &Path, limits: &Limits, width: u32, height: u32) -> Result<()> {
    if u64::from(width) * u64::from(height) <= limits.frame_pixels {
        return Ok(());
    }
    let what = format!("a frame of {width}x{height} pixels");
    Err(Error::limit(path, "frame_pixels", what, format!("{} pixels", limits.frame_pixels)))
}

fn time_is_up(path: &Path, limits: &Limits) -> Error {
    let allowed = format!("{:?}", limits.time.unwrap_or_default());
    Error::limit(path, "time", "the time for reading it".to_string(), allowed)
}
