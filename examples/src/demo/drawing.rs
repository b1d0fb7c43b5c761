//! Boxes and text on pictures, with their own font: no system font is needed.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use image::{Rgb, RgbImage, imageops};

use super::Outcome;

/// A colour.
pub type Colour = [u8; 3];

/// A picture that is drawn on. Everything outside of it is left out.
pub struct Canvas {
    /// The picture.
    pub picture: RgbImage,
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

/// Size, weight and colour of text.
#[derive(Clone, Copy)]
pub struct Style {
    /// The height of a line's letters in pixels.
    pub size: f32,
    /// Whether it is bold.
    pub bold: bool,
    /// The colour.
    pub colour: Colour,
}

/// A part of a picture in pixels: left, top, width, height.
pub type Area = [i64; 4];

impl Canvas {
    /// A picture of one colour.
    ///
    /// # Errors
    /// When the built-in font cannot be read.
    pub fn new(width: u32, height: u32, colour: Colour) -> Outcome<Self> {
        let (regular, bold) = (FontRef::try_from_slice(dejavu::sans::regular())?, FontRef::try_from_slice(dejavu::sans::bold())?);
        Ok(Self { picture: RgbImage::from_pixel(width, height, Rgb(colour)), regular, bold })
    }

    /// Fills a part; `cover` is 1 for opaque, 0 for nothing.
    pub fn fill(&mut self, [left, top, width, height]: Area, colour: Colour, cover: f32) {
        for y in top..top + height {
            for x in left..left + width {
                self.blend(x, y, colour, cover);
            }
        }
    }

    /// Draws the edge of a part inward.
    pub fn outline(&mut self, [left, top, width, height]: Area, thickness: i64, colour: Colour) {
        let inner = (height - 2 * thickness).max(0);
        self.fill([left, top, width, thickness], colour, 1.0);
        self.fill([left, top + height - thickness, width, thickness], colour, 1.0);
        self.fill([left, top + thickness, thickness, inner], colour, 1.0);
        self.fill([left + width - thickness, top + thickness, thickness, inner], colour, 1.0);
    }

    /// Puts a picture into a part, as large as it fits, in the middle. Gives the scale and the place of its corner.
    pub fn place(&mut self, picture: &RgbImage, [left, top, width, height]: Area) -> (f32, [i64; 2]) {
        let (wide, high) = (picture.width().max(1) as f32, picture.height().max(1) as f32);
        let scale = (width as f32 / wide).min(height as f32 / high);
        let (wide, high) = ((wide * scale).round().max(1.0), (high * scale).round().max(1.0));
        let corner = [left + (width - wide as i64) / 2, top + (height - high as i64) / 2];
        let scaled = imageops::resize(picture, wide as u32, high as u32, imageops::FilterType::CatmullRom);
        imageops::replace(&mut self.picture, &scaled, corner[0], corner[1]);
        (scale, corner)
    }

    /// Writes one line below `top`.
    pub fn text(&mut self, left: i64, top: i64, text: &str, style: Style) {
        let font = self.font(style.bold).clone();
        let scale = PxScale::from(style.size);
        let scaled = font.as_scaled(scale);
        let mut x = left as f32;
        for letter in text.chars() {
            let id = font.glyph_id(letter);
            let glyph = id.with_scale_and_position(scale, ab_glyph::point(x, top as f32 + scaled.ascent()));
            x += scaled.h_advance(id);
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, cover| {
                self.blend(corner.x as i64 + i64::from(dx), corner.y as i64 + i64::from(dy), style.colour, cover);
            });
        }
    }

    /// The width of a line in pixels.
    pub fn width(&self, text: &str, style: Style) -> f32 {
        let font = self.font(style.bold);
        let scaled = font.as_scaled(PxScale::from(style.size));
        text.chars().map(|letter| scaled.h_advance(font.glyph_id(letter))).sum()
    }

    /// The text in lines that are no wider than `width` pixels, broken between words.
    pub fn lines(&self, text: &str, width: f32, style: Style) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if self.width(&format!("{line} {word}"), style) <= width => *line = format!("{line} {word}"),
                _ => lines.push(word.into()),
            }
        }
        lines
    }

    fn font(&self, bold: bool) -> &FontRef<'static> {
        if bold { &self.bold } else { &self.regular }
    }

    fn blend(&mut self, x: i64, y: i64, colour: Colour, cover: f32) {
        let place = u32::try_from(x).ok().zip(u32::try_from(y).ok());
        let Some(pixel) = place.and_then(|(x, y)| self.picture.get_pixel_mut_checked(x, y)) else { return };
        for (level, new) in pixel.0.iter_mut().zip(colour) {
            *level = (f32::from(*level) + (f32::from(new) - f32::from(*level)) * cover.clamp(0.0, 1.0)).round() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style { size: 20.0, bold: false, colour: [0; 3] };

    #[test]
    fn pictures_keep_their_proportions() {
        let mut canvas = Canvas::new(100, 60, [255; 3]).unwrap();
        let (scale, corner) = canvas.place(&RgbImage::new(20, 20), [0, 0, 100, 60]);
        assert_eq!((scale, corner), (3.0, [20, 0]));
        assert_eq!((canvas.picture.get_pixel(19, 30).0, canvas.picture.get_pixel(20, 30).0), ([255; 3], [0; 3]));
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let mut canvas = Canvas::new(10, 10, [255; 3]).unwrap();
        canvas.outline([-5, -5, 30, 30], 2, [0; 3]);
        canvas.text(-3, 5, "wide text", STYLE);
        assert_eq!(canvas.picture.get_pixel(9, 0).0, [255; 3]);
    }

    #[test]
    fn lines_fit_their_width() {
        let canvas = Canvas::new(1, 1, [0; 3]).unwrap();
        let lines = canvas.lines("one two three four five six", 100.0, STYLE);
        assert!(lines.len() > 1 && lines.iter().all(|line| canvas.width(line, STYLE) <= 100.0), "{lines:?}");
        assert_eq!(lines.join(" "), "one two three four five six");
    }
}
