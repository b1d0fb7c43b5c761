//! Pixel formats: from what a decoder gives to upright RGB, and from RGB to what an encoder takes.
//!
//! Both run through a filter graph of FFmpeg, the one that the ffmpeg program builds for the same file, so colour matrix,
//! range, bit depth and chroma are treated in the same way.

use ffmpeg_next as ffmpeg;

use ffmpeg::format::Pixel;
use ffmpeg::{filter, frame};
use image::RgbImage;

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

    pub(crate) fn convert(&mut self, decoded: Decoded) -> Result<RgbImage, ffmpeg::Error> {
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

    fn build(&mut self, (format, width, height, orientation): Geometry) -> Result<Chain, ffmpeg::Error> {
        let (mut filters, swaps) = orientation.map(|orientation| orientation.filters()).unwrap_or_default();
        let upright = if swaps { (height, width) } else { (width, height) };
        let size = *self.size.get_or_insert(upright);
        if upright != size {
            filters.push(format!("scale={}:{}", size.0, size.1));
        }
        filters.push("format=pix_fmts=rgb24".to_string());
        if format == Pixel::RGB24 {
            // Nothing is converted then, and a flipped or bottom-up frame would keep its lines in reverse order in memory.
            filters.push("copy".to_string());
        }
        Chain::new(format, width, height, TO_RGB, &filters.join(","))
    }
}

fn to_image(frame: &frame::Video) -> Result<RgbImage, ffmpeg::Error> {
    let (width, height) = (frame.width(), frame.height());
    let row = width as usize * 3;
    if frame.planes() == 0 || frame.format() != Pixel::RGB24 {
        return Err(ffmpeg::Error::Bug);
    }
    let stride = frame.stride(0);
    // A negative line size arrives here as a huge one.
    if row == 0 || stride < row || stride > i32::MAX as usize {
        return Err(ffmpeg::Error::Bug);
    }
    let mut bytes = Vec::with_capacity(row * height as usize);
    frame.data(0).chunks(stride).filter_map(|line| line.get(..row)).for_each(|line| bytes.extend_from_slice(line));
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
