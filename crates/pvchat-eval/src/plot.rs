//! Line charts as PNG files, with their own font: no system font is needed.

use crate::{Error, Result};
use image::{ImageFormat, RgbImage};
use plotters::{prelude::*, style::register_font};
use std::{io::Cursor, path::Path};

/// Colours that stay apart for colour-blind readers (Okabe and Ito).
pub(crate) const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

pub(crate) const FONT: &str = "DejaVu Sans";

/// A named line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Points (x, y) in drawing order; a point that is not finite interrupts the line.
    pub points: Vec<(f64, f64)>,
}

/// A chart of several lines over one horizontal axis.
///
/// ```no_run
/// use pvchat_eval::plot::LineChart;
/// let chart = LineChart::new("Loss", "step", "loss").series("train", [(0.0, 2.0), (1.0, 1.0)]);
/// chart.write_png("loss.png".as_ref())?;
/// # Ok::<(), pvchat_eval::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LineChart {
    /// Title above the chart.
    pub title: String,
    /// Name of the horizontal axis.
    pub x_label: String,
    /// Name of the vertical axis.
    pub y_label: String,
    /// The lines.
    pub series: Vec<Series>,
    /// The vertical range; taken from the points if not given.
    pub y_range: Option<(f64, f64)>,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

impl LineChart {
    /// A chart without lines, 900 by 520 pixels.
    pub fn new(title: impl Into<String>, x_label: impl Into<String>, y_label: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            x_label: x_label.into(),
            y_label: y_label.into(),
            series: Vec::new(),
            y_range: None,
            size: (900, 520),
        }
    }

    /// Adds a line.
    pub fn series(mut self, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.series.push(Series { name: name.into(), points: points.into_iter().collect() });
        self
    }

    /// Fixes the vertical range, for example `0.0..1.0` for shares.
    pub fn y_range(self, low: f64, high: f64) -> Self {
        Self { y_range: Some((low, high)), ..self }
    }

    /// Draws the chart.
    ///
    /// # Errors
    /// [`Error::NothingToPlot`], [`Error::Plot`].
    pub fn draw(&self) -> Result<RgbImage> {
        let (width, height) = self.size;
        let fail = |problem: String| Error::Plot { title: self.title.clone(), width, height, problem };
        let [x_range, y_range] = self.ranges()?;
        if width < 64 || height < 64 || width > 16_384 || height > 16_384 {
            return Err(fail("the size must be from 64 to 16384 pixels".into()));
        }
        register().map_err(fail)?;
        let mut image = RgbImage::new(width, height);
        {
            let area = BitMapBackend::with_buffer(&mut image, (width, height)).into_drawing_area();
            self.paint(&area, x_range, y_range).map_err(|error| fail(error.to_string()))?;
        }
        Ok(image)
    }

    /// Draws the chart into a PNG file, to a temporary name first.
    ///
    /// # Errors
    /// Those of [`draw`](Self::draw), [`Error::File`], [`Error::Image`].
    pub fn write_png(&self, path: &Path) -> Result<()> {
        encode_png(&self.draw()?, path)
    }

    fn ranges(&self) -> Result<[(f64, f64); 2]> {
        let points = || self.series.iter().flat_map(|series| &series.points).filter(|point| finite(point));
        if points().next().is_none() {
            return Err(Error::NothingToPlot { title: self.title.clone() });
        }
        let over = |axis: fn(&(f64, f64)) -> f64| {
            points().map(axis).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        };
        let given = self.y_range.filter(|(low, high)| low.is_finite() && high.is_finite() && low < high);
        Ok([widen(over(|point| point.0), 0.0), given.unwrap_or_else(|| widen(over(|point| point.1), 0.05))])
    }

    fn paint(
        &self,
        area: &DrawingArea<BitMapBackend<'_>, plotters::coord::Shift>,
        x_range: (f64, f64),
        y_range: (f64, f64),
    ) -> std::result::Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 22))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x_range.0..x_range.1, y_range.0..y_range.1)?;
        chart
            .configure_mesh()
            .label_style((FONT, 14))
            .axis_desc_style((FONT, 15))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .x_label_formatter(&|value| tick(*value))
            .y_label_formatter(&|value| tick(*value))
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()?;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            let mut name = Some(&series.name);
            for line in series.points.split(|point| !finite(point)).filter(|line| !line.is_empty()) {
                let drawn = match line {
                    [point] => chart.draw_series([Circle::new(*point, 3, colour.filled())])?,
                    line => chart.draw_series(LineSeries::new(line.iter().copied(), style))?,
                };
                if let Some(name) = name.take() {
                    drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
                }
            }
        }
        if self.series.len() > 1 {
            chart
                .configure_series_labels()
                .label_font((FONT, 14))
                .background_style(WHITE.mix(0.85))
                .border_style(RGBColor(160, 160, 160))
                .draw()?;
        }
        area.present()?;
        Ok(())
    }
}

/// Makes [`FONT`] known to plotters.
pub(crate) fn register() -> std::result::Result<(), String> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the built-in font cannot be read".into())
}

/// Writes a picture as PNG, to a temporary name first.
pub(crate) fn encode_png(image: &RgbImage, path: &Path) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(|source| Error::Image { file: path.into(), source })?;
    Ok(pvchat_data::file::write_atomically(path, bytes.get_ref())?)
}

fn finite(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

/// A tick without the noise of binary fractions.
fn tick(value: f64) -> String {
    let size = value.abs();
    if value != 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// A range with room on both sides; a single value gets a unit of room.
fn widen((low, high): (f64, f64), room: f64) -> (f64, f64) {
    let span = high - low;
    // A span that is negligible compared with its values cannot be divided into ticks.
    if span <= 1e-9 * low.abs().max(high.abs()) || span == 0.0 {
        let room = (low.abs() * 0.1).max(0.5);
        (low - room, high + room)
    } else if span.is_finite() {
        (low - room * span, high + room * span)
    } else {
        (low / 4.0, high / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(image: &RgbImage, colour: RGBColor) -> Vec<(u32, u32)> {
        let wanted = [colour.0, colour.1, colour.2];
        image.enumerate_pixels().filter(|(_, _, pixel)| pixel.0 == wanted).map(|(x, y, _)| (x, y)).collect()
    }

    fn dark(image: &RgbImage, region: (std::ops::Range<u32>, std::ops::Range<u32>)) -> usize {
        let (columns, rows) = region;
        image
            .enumerate_pixels()
            .filter(|(x, y, p)| columns.contains(x) && rows.contains(y) && p.0.iter().all(|&v| v < 90))
            .count()
    }

    #[test]
    fn lines_run_where_their_points_are_and_labels_are_drawn() {
        let chart = LineChart::new("Title", "step", "value")
            .series("rising", (0..20).map(|x| (f64::from(x), f64::from(x))))
            .series("flat", [(0.0, 10.0), (19.0, 10.0)]);
        let image = chart.draw().unwrap();
        let rising = pixels(&image, COLOURS[0]);
        let (left, right) = (rising.iter().filter(|p| p.0 < 300), rising.iter().filter(|p| p.0 > 600 && p.0 < 760));
        let mean = |points: Vec<&(u32, u32)>| points.iter().map(|p| f64::from(p.1)).sum::<f64>() / points.len() as f64;
        assert!(mean(left.collect()) > mean(right.collect()) + 100.0, "a rising line goes up the picture");
        assert!(pixels(&image, COLOURS[1]).len() > 800, "the flat line is as long as the axis");
        assert!(dark(&image, (300..600, 0..40)) > 50, "title");
        assert!(dark(&image, (0..70, 40..480)) > 50, "vertical labels");
        assert!(dark(&image, (70..900, 480..520)) > 50, "horizontal labels");
    }

    #[test]
    fn ticks_are_short() {
        let ticks = [0.0, 0.1 + 0.2, 100.0, -2.5, 1e-8, 3e12].map(tick);
        assert_eq!(ticks, ["0", "0.3", "100", "-2.5", "1.00e-8", "3.00e12"]);
    }

    #[test]
    fn a_gap_interrupts_the_line_and_nothing_finite_is_an_error() {
        let gap = LineChart::new("", "x", "y")
            .series("a", [(0.0, 1.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 1.0)])
            .draw()
            .unwrap();
        let whole = LineChart::new("", "x", "y").series("a", [(0.0, 1.0), (4.0, 1.0)]).draw().unwrap();
        let (gap, whole) = (pixels(&gap, COLOURS[0]).len() as f64, pixels(&whole, COLOURS[0]).len() as f64);
        assert!((gap / whole - 0.5).abs() < 0.05, "{gap} of {whole}");
        let error = LineChart::new("empty", "x", "y").series("a", [(f64::NAN, 1.0)]).draw().unwrap_err();
        assert!(matches!(error, Error::NothingToPlot { .. }), "{error}");
    }

    #[test]
    fn extreme_values_and_sizes_are_drawn_or_refused() {
        for points in [
            vec![(0.0, 0.0)],
            vec![(5.0, 1e300), (6.0, -1e300)],
            vec![(1e9, 1e-12), (1e9, 1e-12)],
            vec![(0.0, f64::MAX), (1.0, f64::MIN)],
        ] {
            LineChart::new("x", "x", "y")
                .series("a", points.clone())
                .draw()
                .unwrap_or_else(|error| panic!("{points:?}: {error}"));
        }
        let tiny = LineChart { size: (1, 1), ..LineChart::new("t", "x", "y").series("a", [(0.0, 0.0)]) };
        assert!(matches!(tiny.draw(), Err(Error::Plot { .. })));
    }

    #[test]
    fn the_file_is_a_png_of_the_drawing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chart.png");
        let chart = LineChart::new("t", "x", "y").series("a", [(0.0, 0.0), (1.0, 2.0)]).y_range(0.0, 2.0);
        chart.write_png(&path).unwrap();
        assert_eq!(image::open(&path).unwrap().to_rgb8(), chart.draw().unwrap());
    }
}
