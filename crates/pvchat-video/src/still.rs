//! Still images, which open as clips of one frame.

use std::io::BufReader;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use crate::demuxer::check_pixels;
use crate::options::Job;
use crate::{Error, Result};

/// Reads a PNG, JPEG or WebP, recognised by its content and turned as its Exif data asks; transparency is dropped. `None`
/// for every other file. GIF is left to the video side because it may move.
pub(crate) fn open(job: &Job) -> Result<Option<(ImageFormat, RgbImage)>> {
    let (path, limits) = (job.name.as_path(), &job.options.limits);
    let reader = ImageReader::new(BufReader::new(job.source.open(path)?))
        .with_guessed_format()
        .map_err(|source| Error::read(path, source))?;
    let Some(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) = reader.format() else { return Ok(None) };
    let failed = |error: image::ImageError| Error::Decode { path: path.to_path_buf(), frame: 0, reason: error.to_string() };
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_pixels(path, limits, width, height)?;
    let orientation = decoder.orientation().map_err(failed)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation);
    Ok(Some((format, image.into_rgb8())))
}
