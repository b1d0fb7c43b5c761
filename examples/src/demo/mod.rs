//! The demo: real people in real clips, then the drawn laboratory, with a sheet of pictures and a page to look at.

pub mod clips;
pub mod drawing;
pub mod laboratory;
pub mod page;
pub mod people;
pub mod sheet;

/// What a part of the demo gives.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A time as `m:ss`.
pub fn clock(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    format!("{}:{:02}", whole / 60, whole % 60)
}

/// Stretches of time as `0:05 to 0:12, 0:18 to 0:25`.
pub fn stretches(times: &[(f64, f64)]) -> String {
    times.iter().map(|(start, end)| format!("{} to {}", clock(*start), clock(*end))).collect::<Vec<_>>().join(", ")
}
