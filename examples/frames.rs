//! A contact sheet of any video, each picture with its time drawn on it.
//!
//!     cargo run --release --example frames -- holiday.mp4 sheet.png 24

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use image::{Rgb, RgbImage, imageops};
use indicatif::{ProgressBar, ProgressStyle};
use pvchat::video::{DamagePolicy, ReadOptions, SamplingPlan, VideoReader};

const USAGE: &str = "usage: frames VIDEO SHEET.png [PICTURES]";
/// Width of a picture, and space between pictures, in pixels.
const WIDTH: u32 = 320;
const GAP: u32 = 6;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (video, sheet, pictures) = match arguments.as_slice() {
        [video, sheet] => (video, sheet, 24),
        [video, sheet, pictures] => (video, sheet, pictures.parse::<usize>().map_err(|_| USAGE)?.clamp(1, 1000)),
        _ => return Err(USAGE.into()),
    };
    contact_sheet(Path::new(video), pictures)?.save(sheet).map_err(|error| format!("{sheet}: {error}"))?;
    println!("{sheet}");
    Ok(())
}

fn contact_sheet(video: &Path, pictures: usize) -> Result<RgbImage, Box<dyn Error>> {
    let mut options = ReadOptions::default();
    options.damage = DamagePolicy::Skip;
    let (width, height) = {
        let reader = VideoReader::open_with(video, options.clone())?;
        (reader.info().width.max(1), reader.info().height.max(1))
    };
    let height = u32::try_from((u64::from(WIDTH) * u64::from(height) / u64::from(width)).clamp(1, 4 * u64::from(WIDTH)))?;
    options.size = Some((WIDTH, height));
    let mut reader = VideoReader::open_with(video, options)?;

    let reading = ProgressBar::new_spinner().with_message("looking for the frames");
    reading.enable_steady_tick(Duration::from_millis(100));
    let count = reader.frame_count()?;
    reading.finish_and_clear();
    let numbers = pvchat::video::sampling::uniform_indices(count, pictures.min(count));
    let bar = ProgressBar::new(numbers.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left")?);
    let columns = (numbers.len() as f64).sqrt().ceil() as u32;
    let rows = u32::try_from(numbers.len())?.div_ceil(columns.max(1));
    let mut sheet = RgbImage::from_pixel(columns * (WIDTH + GAP) + GAP, rows * (height + GAP) + GAP, Rgb([24; 3]));
    for (place, number) in (0u32..).zip(numbers) {
        // A damaged frame leaves its place empty.
        let clip = reader.sample(&SamplingPlan::Indices(vec![number]));
        bar.inc(1);
        let (left, top) = (GAP + place % columns * (WIDTH + GAP), GAP + place / columns * (height + GAP));
        match clip {
            Ok(clip) => {
                if let (Some(image), Some(&seconds)) = (clip.frames.first(), clip.times.first()) {
                    imageops::replace(&mut sheet, image, i64::from(left), i64::from(top));
                    draw(&mut sheet, left + 6, top + 4, &time(seconds))?;
                }
            }
            Err(error) => {
                bar.println(error.to_string());
                draw(&mut sheet, left + 6, top + 4, &format!("frame {number} is damaged"))?;
            }
        }
    }
    bar.finish_and_clear();
    Ok(sheet)
}

/// Hours, minutes, seconds and tenths.
fn time(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    format!("{}:{:02}:{:02}.{}", tenths / 36000, tenths / 600 % 60, tenths / 10 % 60, tenths % 10)
}

/// Draws a line of white text on a dark ground.
fn draw(sheet: &mut RgbImage, left: u32, top: u32, text: &str) -> Result<(), Box<dyn Error>> {
    let font = FontRef::try_from_slice(dejavu::sans::regular())?;
    let scale = PxScale::from(18.0);
    let scaled = font.as_scaled(scale);
    let width: f32 = text.chars().map(|letter| scaled.h_advance(font.glyph_id(letter))).sum();
    let height = scaled.height();
    for y in 0..height.ceil() as u32 {
        for x in 0..width.ceil() as u32 + 6 {
            if let Some(pixel) = sheet.get_pixel_mut_checked(left + x, top + y) {
                pixel.0 = pixel.0.map(|level| level / 4);
            }
        }
    }
    let mut x = left as f32 + 3.0;
    for letter in text.chars() {
        let id = font.glyph_id(letter);
        let glyph = id.with_scale_and_position(scale, ab_glyph::point(x, top as f32 + scaled.ascent()));
        x += scaled.h_advance(id);
        let Some(outline) = font.outline_glyph(glyph) else { continue };
        let corner = outline.px_bounds().min;
        outline.draw(|dx, dy, cover| {
            let (x, y) = (corner.x as u32 + dx, corner.y as u32 + dy);
            if let Some(pixel) = sheet.get_pixel_mut_checked(x, y) {
                pixel.0 = pixel.0.map(|level| (f32::from(level) + (255.0 - f32::from(level)) * cover) as u8);
            }
        });
    }
    Ok(())
}
