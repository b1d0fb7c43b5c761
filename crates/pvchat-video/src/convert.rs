//! Pixel formats: from what a decoder gives to upright RGB, and from RGB to what an encoder takes.
//!
//! Both run through a filter graph of FFmpeg, the one that the ffmpeg program builds for the same file, so colour matrix,
//! range, bit depth and chroma are treated in the same way.

use std::path::Path;

use ffmpeg_next as ffmpeg;

use ffmpeg::format::Pixel;
use ffmpeg::{ffi, filter, frame};
use image::RgbImage;

use crate::Error;
use crate::frame::Frame;
use crate::orientation::Orientation;
use crate::pass::Decoded;

/// Rounding of the scaler when it turns the chroma of a video into RGB.
const TO_RGB: &str = "accurate_rnd+full_chroma_int+bicubic";
/// The same in the other direction.
const FROM_RGB: &str = "accurate_rnd+full_chroma_inp+bicubic";

/// A chain of filters with one frame in and one frame out.
struct Chain(filter::Graph);

impl Chain {
    fn new(format: Pixel, width: u32, height: u32, scaling: &str, filters: &str) -> Result<Self, ffmpeg::Error> {
        let name = format.descriptor().ok_or(ffmpeg::Error::InvalidData)?.name();
        let source = format!("video_size={width}x{height}:pix_fmt={name}:time_base=1/1000:pixel_aspect=1/1");
        let mut graph = filter::Graph::new();
        // SAFETY: the graph is new and has no filters yet. How many threads there are is the caller's choice.
        unsafe { (*graph.as_mut_ptr()).nb_threads = 1 };
        let find = |name| filter::find(name).ok_or(ffmpeg::Error::FilterNotFound);
        graph.add(&find("buffer")?, "in", &source)?;
        graph.add(&find("buffersink")?, "out", "")?;
        // The scaler that a change of format brings in takes its flags from here.
        graph.output("in", 0)?.input("out", 0)?.parse(&format!("sws_flags={scaling};{filters}"))?;
        graph.validate()?;
        Ok(Self(graph))
    }

    /// Sends a frame through; `frame` is empty afterwards.
    fn run(&mut self, frame: &frame::Video) -> Result<frame::Video, ffmpeg::Error> {
        self.0.get("in").ok_or(ffmpeg::Error::Bug)?.source().add(frame)?;
        let mut output = frame::Video::empty();
        self.0.get("out").ok_or(ffmpeg::Error::Bug)?.sink().frame(&mut output)?;
        Ok(output)
    }
}

/// What a chain was built for: format, width, height and orientation of the frames that go in.
type Geometry = (Pixel, u32, u32, Option<Orientation>);

/// Turns decoded frames into upright RGB images, all of one size.
pub(crate) struct ToRgb {
    chain: Option<(Geometry, Chain)>,
    /// Width and height of the first frame, which all others follow, or those that the caller asked for.
    size: Option<(u32, u32)>,
}

impl ToRgb {
    /// Images of a size, or of that of the first frame.
    pub(crate) fn new(size: Option<(u32, u32)>) -> Self {
        Self { chain: None, size }
    }

    fn convert(&mut self, decoded: Decoded) -> Result<RgbImage, ffmpeg::Error> {
        let frame = decoded.frame;
        let geometry = (frame.format(), frame.width(), frame.height(), decoded.orientation);
        let mut chain = match self.chain.take() {
            Some((built_for, chain)) if built_for == geometry => chain,
            _ => self.build(geometry)?,
        };
        let output = chain.run(&frame);
        self.chain = Some((geometry, chain));
        to_image(&output?)
    }

    /// Converts a frame whose time is known; `path` is for errors.
    pub(crate) fn frame(&mut self, decoded: Decoded, path: &Path) -> Result<Frame, Error> {
        let (index, seconds) = (decoded.index, decoded.seconds.unwrap_or(0.0));
        let failed = |error: ffmpeg::Error| Error::Decode { path: path.to_path_buf(), frame: index, reason: error.to_string() };
        self.convert(decoded).map(|image| Frame { index, seconds, image }).map_err(failed)
    }

    fn build(&mut self, (format, width, height, orientation): Geometry) -> Result<Chain, ffmpeg::Error> {
        let (mut filters, swaps) = orientation.map(|orientation| orientation.filters()).unwrap_or_default();
        let upright = if swaps { (height, width) } else { (width, height) };
        let size = *self.size.get_or_insert(upright);
        if upright != size {
            filters.push(format!("scale={}:{}", size.0, size.1));
        }
        filters.push(format!("format=pix_fmts={}", if has_planes(format) { "gbrp" } else { "rgb24" }));
        if format == Pixel::RGB24 {
            // Nothing is converted then, and a flipped or bottom-up frame would keep its lines in reverse order in memory.
            filters.push("copy".to_string());
        }
        Chain::new(format, width, height, TO_RGB, &filters.join(","))
    }
}

/// Whether pictures of a format are planes of luma and chroma. FFmpeg turns them into planes of red, green and blue with the
/// instructions of the processor for many numbers at once, into pixels side by side one by one; the levels are the same.
fn has_planes(format: Pixel) -> bool {
    let Some(descriptor) = format.descriptor() else { return false };
    // SAFETY: a descriptor is a constant of FFmpeg.
    let (flags, components) = unsafe { ((*descriptor.as_ptr()).flags, (*descriptor.as_ptr()).nb_components) };
    let is = |flag: i32| flags & flag as u64 != 0;
    components == 3 && is(ffi::AV_PIX_FMT_FLAG_PLANAR) && !is(ffi::AV_PIX_FMT_FLAG_RGB)
}

/// The lines of a plane, `row` bytes each.
fn lines(frame: &frame::Video, plane: usize, row: usize) -> Result<impl Iterator<Item = &[u8]>, ffmpeg::Error> {
    let stride = frame.stride(plane);
    // A negative line size arrives here as a huge one.
    if row == 0 || stride < row || stride > i32::MAX as usize {
        return Err(ffmpeg::Error::Bug);
    }
    Ok(frame.data(plane).chunks(stride).filter_map(move |line| line.get(..row)))
}

fn to_image(frame: &frame::Video) -> Result<RgbImage, ffmpeg::Error> {
    let (width, height) = (frame.width(), frame.height());
    let columns = width as usize;
    let mut bytes = Vec::with_capacity(3 * columns * height as usize);
    match (frame.format(), frame.planes()) {
        (Pixel::RGB24, 1) => lines(frame, 0, 3 * columns)?.for_each(|line| bytes.extend_from_slice(line)),
        (Pixel::GBRP, 3) => {
            let [green, blue, red] = [0, 1, 2].map(|plane| lines(frame, plane, columns));
            for ((red, green), blue) in red?.zip(green?).zip(blue?) {
                bytes.extend(red.iter().zip(green).zip(blue).flat_map(|((red, green), blue)| [*red, *green, *blue]));
            }
        }
        _ => return Err(ffmpeg::Error::Bug),
    }
    RgbImage::from_raw(width, height, bytes).ok_or(ffmpeg::Error::Bug)
}

/// Turns RGB images of one size into frames for an encoder.
pub(crate) struct FromRgb {
    chain: Chain,
}

impl FromRgb {
    /// To 4:2:0 of limited range with the BT.601 matrix, which is also what players assume where nothing is stated.
    pub(crate) fn yuv420(width: u32, height: u32) -> Result<Self, ffmpeg::Error> {
        let filters = "scale=out_color_matrix=smpte170m:out_range=tv,format=pix_fmts=yuv420p";
        Chain::new(Pixel::RGB24, width, height, FROM_RGB, filters).map(|chain| Self { chain })
    }

    pub(crate) fn convert(&mut self, image: &RgbImage) -> Result<frame::Video, ffmpeg::Error> {
        self.chain.run(&to_frame(image)?)
    }
}

/// Copies an image into a frame of FFmpeg.
pub(crate) fn to_frame(image: &RgbImage) -> Result<frame::Video, ffmpeg::Error> {
    let mut frame = frame::Video::new(Pixel::RGB24, image.width(), image.height());
    let row = image.width() as usize * 3;
    if frame.planes() == 0 || row == 0 || frame.stride(0) < row {
        return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
    }
    let stride = frame.stride(0);
    for (to, from) in frame.data_mut(0).chunks_mut(stride).zip(image.as_raw().chunks(row)) {
        if let Some(to) = to.get_mut(..row) {
            to.copy_from_slice(from);
        }
    }
    Ok(frame)
}
