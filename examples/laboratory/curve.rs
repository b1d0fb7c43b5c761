//! How a run of learning went: its loss, and the gradients that each group of parameters saw.

use std::collections::{BTreeMap, BTreeSet};

use pvchat::{
    eval::table::{Table, fraction},
    train::personal::LearnProgress,
};
use serde::{Deserialize, Serialize};

/// Parts that a run is cut into.
const PARTS: usize = 10;

/// What every step of a run said.
#[derive(Default)]
pub struct Steps(Vec<Step>);

struct Step {
    loss: f32,
    gradients: BTreeMap<&'static str, f64>,
}

/// The means over one part of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Steps until its end.
    pub steps: usize,
    /// Cross entropy of the answers.
    pub loss: f32,
    /// Norms of the gradients, by the names of the groups.
    pub gradients: BTreeMap<String, f32>,
}

impl Steps {
    pub fn add(&mut self, progress: &LearnProgress) {
        self.0.push(Step { loss: progress.loss, gradients: progress.gradients.clone() });
    }

    /// The mean loss of the last steps.
    pub fn last_loss(&self, count: usize) -> f32 {
        mean(self.0[self.0.len().saturating_sub(count)..].iter().map(|step| step.loss))
    }

    /// The run in a few parts.
    pub fn curve(&self) -> Vec<Point> {
        let size = self.0.len().div_ceil(PARTS).max(1);
        let part = |(number, steps): (usize, &[Step])| {
            let names = steps.iter().flat_map(|step| step.gradients.keys()).collect::<BTreeSet<_>>();
            let norm =
                |name: &str| rounded(mean(steps.iter().filter_map(|step| step.gradients.get(name)).map(|norm| *norm as f32)));
            Point {
                steps: number * size + steps.len(),
                loss: rounded(mean(steps.iter().map(|step| step.loss))),
                gradients: names.into_iter().map(|name| ((*name).to_string(), norm(name))).collect(),
            }
        };
        self.0.chunks(size).enumerate().map(part).collect()
    }
}

/// The mean curve of several runs of one way, a line a part.
pub fn table(way: &str, curves: &[&[Point]], into: &mut Table) {
    for part in 0..curves.iter().map(|curve| curve.len()).min().unwrap_or(0) {
        let points: Vec<&Point> = curves.iter().map(|curve| &curve[part]).collect();
        let norm = |name: &&str| {
            let norms: Vec<f32> = points.iter().filter_map(|point| point.gradients.get(*name)).copied().collect();
            fraction((!norms.is_empty()).then(|| f64::from(mean(norms.into_iter()))))
        };
        let loss = fraction(Some(f64::from(mean(points.iter().map(|point| point.loss)))));
        into.row([way.to_string(), points[0].steps.to_string(), loss].into_iter().chain(GROUPS.iter().map(norm)));
    }
}

/// Groups of parameters, in the order of the table's columns.
const GROUPS: [&str; 6] = ["tokens", "rows", "routers", "adapters", "bridge", "vision"];

/// The empty table.
pub fn header() -> Table {
    Table::new(["way", "steps", "loss"].into_iter().chain(GROUPS))
}

fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f32
}

/// To four significant digits, which keep the file of answers small.
fn rounded(value: f32) -> f32 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f32.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}
