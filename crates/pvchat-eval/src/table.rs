//! Tables of results, for the terminal and for Markdown.

use comfy_table::{CellAlignment, presets};

/// A table: a header and rows of the same length, the first column of names, the others of figures.
///
/// ```
/// use pvchat_eval::table::{Table, fraction};
/// let mut table = Table::new(["model", "Acc", "BLEU"]);
/// table.row(["PVChat".to_string(), fraction(Some(0.9014)), fraction(None)]);
/// assert!(table.to_markdown().contains("| PVChat | 0.901 |    - |"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells stay empty, cells beyond the header are dropped.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) -> &mut Self {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.header.len(), String::new());
        self.rows.push(cells);
        self
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For the terminal, with box lines.
    pub fn to_text(&self) -> String {
        self.build(presets::UTF8_FULL_CONDENSED, plain)
    }

    /// For a Markdown document.
    pub fn to_markdown(&self) -> String {
        self.build(presets::ASCII_MARKDOWN, |cell| plain(cell).replace('\\', "\\\\").replace('|', "\\|"))
    }

    fn build(&self, style: comfy_table::TableStyle, clean: impl Fn(&str) -> String) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(style).set_header(self.header.iter().map(|cell| clean(cell)));
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| clean(cell)));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }
}

/// Cells may hold what a model wrote: no line breaks and no terminal commands.
fn plain(cell: &str) -> String {
    cell.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A figure with three decimals, as in the paper's tables; `-` without value.
pub fn fraction(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

/// A figure with its interval, `0.901 [0.880, 0.920]`; `-` without value.
pub fn with_interval(estimate: Option<crate::bootstrap::Estimate>) -> String {
    estimate.map_or_else(
        || "-".into(),
        |estimate| format!("{:.3} [{:.3}, {:.3}]", estimate.value, estimate.interval.low, estimate.interval.high),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::{Estimate, Interval};

    fn table() -> Table {
        let mut table = Table::new(["model", "Acc"]);
        table.row(["a|b", "0.5"]).row(["line\nbreak \u{1b}[31m", "0.25", "beyond"]).row(["short"]);
        table
    }

    #[test]
    fn markdown_is_one_line_per_row_with_escaped_bars() {
        let text = table().to_markdown();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[1].starts_with("|--") && lines[2].contains("a\\|b") && lines[3].contains("| 0.25 |"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("beyond"), "{text}");
    }

    #[test]
    fn text_has_every_cell_and_aligned_lines() {
        let text = table().to_text();
        assert!(text.contains("a|b") && text.contains("short") && text.contains("Acc"), "{text}");
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn figures_have_three_decimals() {
        let estimate = Estimate { value: 0.7, interval: Interval { low: 0.61, high: 0.7999 }, above_zero: 1.0 };
        assert_eq!(with_interval(Some(estimate)), "0.700 [0.610, 0.800]");
        assert_eq!((fraction(Some(1.0)), with_interval(None)), ("1.000".into(), "-".into()));
    }
}
