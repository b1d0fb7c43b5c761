//! Bar charts in panels side by side as PNG files.

use crate::{
    Error, Result,
    plot::{COLOURS, FONT, encode_png, register},
};
use image::RgbImage;
use plotters::prelude::*;
use std::path::Path;

/// Bars of one panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Its name, above it.
    pub name: String,
    /// For each series the heights of its bars; the `i`-th bars of all series form a group.
    pub heights: Vec<Vec<f64>>,
}

/// Panels of bars with a common vertical axis from 0 to 1.
///
/// ```no_run
/// use pvchat_eval::bars::BarChart;
/// let chart = BarChart::new("Shares", "head", ["with", "without"]).panel("layer 0", [vec![0.1, 0.9], vec![0.2, 0.7]]);
/// chart.write_png("shares.png".as_ref())?;
/// # Ok::<(), pvchat_eval::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct BarChart {
    /// Title above the chart.
    pub title: String,
    /// What the bars of a panel are counted in; the first is 1.
    pub x_label: String,
    /// Names of the series.
    pub series: Vec<String>,
    /// From left to right.
    pub panels: Vec<Panel>,
}

/// Width of a panel and height of the chart, in pixels.
const PANEL: (u32, u32) = (240, 420);

impl BarChart {
    /// A chart without panels.
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        x_label: impl Into<String>,
        series: impl IntoIterator<Item = S>,
    ) -> Self {
        let series = series.into_iter().map(Into::into).collect();
        Self { title: title.into(), x_label: x_label.into(), series, panels: Vec::new() }
    }

    /// Adds a panel; `heights` in the order of the series.
    pub fn panel(mut self, name: impl Into<String>, heights: impl IntoIterator<Item = Vec<f64>>) -> Self {
        self.panels.push(Panel { name: name.into(), heights: heights.into_iter().collect() });
        self
    }

    /// Draws the chart. A bar that is not finite is left out, one above 1 is cut.
    ///
    /// # Errors
    /// [`Error::NothingToPlot`] without a bar, [`Error::Plot`].
    pub fn draw(&self) -> Result<RgbImage> {
        if self.panels.iter().flat_map(|panel| &panel.heights).all(Vec::is_empty) {
            return Err(Error::NothingToPlot { title: self.title.clone() });
        }
        let (width, height) = (PANEL.0 * self.panels.len().clamp(2, 60) as u32, PANEL.1);
        let fail = |problem: String| Error::Plot { title: self.title.clone(), width, height, problem };
        register().map_err(fail)?;
        let mut image = RgbImage::new(width, height);
        {
            let area = BitMapBackend::with_buffer(&mut image, (width, height)).into_drawing_area();
            self.paint(&area).map_err(|error| fail(error.to_string()))?;
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

    fn paint(
        &self,
        area: &DrawingArea<BitMapBackend<'_>, plotters::coord::Shift>,
    ) -> std::result::Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let area = area.titled(&self.title, (FONT, 20))?;
        for (place, (panel, area)) in self.panels.iter().zip(area.split_evenly((1, self.panels.len()))).enumerate() {
            let count = panel.heights.iter().map(Vec::len).max().unwrap_or(0);
            let mut chart = ChartBuilder::on(&area)
                .caption(&panel.name, (FONT, 15))
                .margin(8)
                .x_label_area_size(40)
                .y_label_area_size(36)
                .build_cartesian_2d(0.5..count as f64 + 0.5, 0.0..1.0)?;
            // Only whole numbers are places of bars.
            let number = |value: &f64| if (value - value.round()).abs() < 1e-6 { format!("{value:.0}") } else { String::new() };
            chart
                .configure_mesh()
                .disable_x_mesh()
                .label_style((FONT, 13))
                .axis_desc_style((FONT, 14))
                .x_desc(&self.x_label)
                .x_labels(2 * count + 2)
                .x_label_formatter(&number)
                .y_label_formatter(&|value| format!("{value:.1}"))
                .light_line_style(WHITE)
                .bold_line_style(RGBColor(225, 225, 225))
                .draw()?;
            let width = 0.8 / panel.heights.len() as f64;
            for ((index, heights), colour) in panel.heights.iter().enumerate().zip(COLOURS.iter().cycle()) {
                let style = colour.filled();
                let bars = heights.iter().enumerate().filter(|(_, height)| height.is_finite()).map(|(bar, height)| {
                    let left = bar as f64 + 0.6 + width * index as f64;
                    Rectangle::new([(left, 0.0), (left + width, height.clamp(0.0, 1.0))], style)
                });
                let drawn = chart.draw_series(bars)?;
                if let Some(name) = self.series.get(index) {
                    drawn.label(name).legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], style));
                }
            }
            if place + 1 == self.panels.len() {
                chart
                    .configure_series_labels()
                    .position(SeriesLabelPosition::UpperRight)
                    .label_font((FONT, 13))
                    .background_style(WHITE.mix(0.85))
                    .border_style(RGBColor(160, 160, 160))
                    .draw()?;
            }
        }
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(image: &RgbImage, colour: RGBColor) -> usize {
        image.pixels().filter(|pixel| pixel.0 == [colour.0, colour.1, colour.2]).count()
    }

    #[test]
    fn bars_are_as_high_as_their_numbers() {
        let chart = |height: f64| BarChart::new("t", "head", ["one"]).panel("p", [vec![height, height]]).draw().unwrap();
        let ratio = count(&chart(0.8), COLOURS[0]) as f64 / count(&chart(0.4), COLOURS[0]) as f64;
        assert!((ratio - 2.0).abs() < 0.1, "{ratio}");
        assert_eq!(chart(7.0), chart(1.0), "what does not fit is cut");
    }

    #[test]
    fn every_series_and_panel_is_drawn_and_nothing_is_an_error() {
        let chart = BarChart::new("t", "head", ["one", "two"])
            .panel("a", [vec![0.5, f64::NAN], vec![0.5, 0.5]])
            .panel("b", [vec![0.5, 0.5], vec![0.5, 0.5]]);
        let image = chart.draw().unwrap();
        let [one, two] = [0, 1].map(|series| count(&image, COLOURS[series]));
        assert!(one > 0 && two > one, "{one} {two}: one bar has no height");
        assert!(matches!(BarChart::new("t", "x", [""]).draw(), Err(Error::NothingToPlot { .. })));
    }
}
