//! Still images, which open as clips of one frame, and animated PNG and WebP.

use std::io::BufReader;

use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{AnimationDecoder, DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use crate::demuxer::check_pixels;
use crate::limits::Stopwatch;
use crate::options::Job;
use crate::{Error, Result};

/// The frames of an image.
pub(crate) struct Still {
    pub(crate) format: ImageFormat,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Upright, in the size that the caller asked for.
    pub(crate) frames: Vec<RgbImage>,
    /// When each frame begins, and when the last ends.
    pub(crate) seconds: Vec<f64>,
    pub(crate) end: f64,
}

/// How long a frame without a delay stays, as FFmpeg and browsers have it.
const DELAY: f64 = 0.1;

/// Reads a PNG, JPEG or WebP, recognised by its content and turned as its Exif data asks; transparency is dropped. All frames
/// of an animation are decoded at once. `None` for every other file. GIF is left to the video side.
pub(crate) fn open(job: &Job) -> Result<Option<Still>> {
    let path = job.name.as_path();
    let reader = ImageReader::new(BufReader::new(job.source.open(path)?))
        .with_guessed_format()
        .map_err(|source| Error::read(path, source))?;
    let Some(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) = reader.format() else { return Ok(None) };
    let failed = failed(job, 0);
    let still = match format {
        ImageFormat::Png => {
            let mut decoder = PngDecoder::new(reader.into_inner()).map_err(&failed)?;
            let orientation = check(job, &mut decoder)?;
            if decoder.is_apng().map_err(&failed)? {
                animation(job, format, orientation, decoder.apng().map_err(&failed)?)
            } else {
                picture(job, format, orientation, decoder)
            }
        }
        ImageFormat::WebP => {
            let mut decoder = WebPDecoder::new(reader.into_inner()).map_err(&failed)?;
            let orientation = check(job, &mut decoder)?;
            if decoder.has_animation() {
                animation(job, format, orientation, decoder)
            } else {
                picture(job, format, orientation, decoder)
            }
        }
        _ => {
            let mut decoder = reader.into_decoder().map_err(&failed)?;
            let orientation = check(job, &mut decoder)?;
            picture(job, format, orientation, decoder)
        }
    };
    still.map(Some)
}

fn failed(job: &Job, frame: usize) -> impl Fn(image::ImageError) -> Error {
    let path = job.name.clone();
    move |error| Error::Decode { path: path.clone(), frame, reason: error.to_string() }
}

fn check(job: &Job, decoder: &mut impl ImageDecoder) -> Result<Orientation> {
    let (width, height) = decoder.dimensions();
    check_pixels(&job.name, &job.options.limits, width, height)?;
    decoder.orientation().map_err(failed(job, 0))
}

fn picture(job: &Job, format: ImageFormat, orientation: Orientation, decoder: impl ImageDecoder) -> Result<Still> {
    let image = DynamicImage::from_decoder(decoder).map_err(failed(job, 0))?;
    let mut still = Still { format, width: 0, height: 0, frames: Vec::new(), seconds: Vec::new(), end: 0.0 };
    still.add(job, orientation, image, DELAY);
    Ok(still)
}

/// Frame by frame, each checked before the next is decoded.
fn animation<'a>(job: &Job, format: ImageFormat, orientation: Orientation, decoder: impl AnimationDecoder<'a>) -> Result<Still> {
    let (path, limits) = (&job.name, &job.options.limits);
    let is_up = Stopwatch::start_new(limits.time).is_up();
    let mut still = Still { format, width: 0, height: 0, frames: Vec::new(), seconds: Vec::new(), end: 0.0 };
    let mut bytes = 0;
    for frame in decoder.into_frames() {
        let frame = frame.map_err(failed(job, still.frames.len()))?;
        let (milliseconds, parts) = frame.delay().numer_denom_ms();
        let delay = f64::from(milliseconds) / f64::from(parts) / 1000.0;
        let delay = if delay > 0.0 { delay } else { DELAY };
        still.add(job, orientation, DynamicImage::ImageRgba8(frame.into_buffer()), delay);
        bytes += still.frames.last().map_or(0, |frame| frame.as_raw().len() as u64);
        if still.frames.len() > limits.frames {
            return Err(Error::limit(path, "frames", "the number of frames".into(), format!("{} frames", limits.frames)));
        }
        if bytes > limits.clip_bytes {
            let what = format!("an animation of more than {} frames", still.frames.len() - 1);
            return Err(Error::limit(path, "clip_bytes", what, format!("{} bytes", limits.clip_bytes)));
        }
        if is_up() {
            let allowed = format!("{:?}", limits.time.unwrap_or_default());
            return Err(Error::limit(path, "time", "the time for reading it".into(), allowed));
        }
    }
    if still.frames.is_empty() { Err(Error::NoFrames { path: path.clone() }) } else { Ok(still) }
}

impl Still {
    fn add(&mut self, job: &Job, orientation: Orientation, mut image: DynamicImage, delay: f64) {
        image.apply_orientation(orientation);
        let image = image.into_rgb8();
        (self.width, self.height) = image.dimensions();
        self.frames.push(match job.options.size {
            Some((width, height)) if (width, height) != image.dimensions() => {
                image::imageops::resize(&image, width, height, image::imageops::FilterType::CatmullRom)
            }
            _ => image,
        });
        self.seconds.push(self.end);
        self.end += delay;
    }
}
