//! False accepts against false rejects over every threshold, a threshold calibrated for a wanted rate of false
//! accepts, and answers that abstain near it.

use serde::{Deserialize, Serialize};

use crate::bootstrap::Share;
#[cfg(feature = "plots")]
use crate::plot::LineChart;

/// The probability that a subject is there, and whether it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// What the model says, 0 to 1.
    pub presence: f32,
    /// The truth.
    pub present: bool,
}

/// A threshold with its two errors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// A presence of at least this is a yes.
    pub threshold: f32,
    /// Share of clips without the subject that get a yes.
    pub false_accept: f64,
    /// Share of clips with the subject that get a no.
    pub false_reject: f64,
}

impl OperatingPoint {
    /// The errors at a threshold; `None` without clips of both kinds.
    pub fn at(threshold: f32, judgements: &[Judgement]) -> Option<Self> {
        let (mut accepts, mut rejects) = (Share::default(), Share::default());
        for judgement in judgements {
            let yes = judgement.presence >= threshold;
            if judgement.present { rejects.add(!yes) } else { accepts.add(yes) }
        }
        Some(Self { threshold, false_accept: accepts.rate()?, false_reject: rejects.rate()? })
    }
}

/// Every operating point that the judgements distinguish, from the lowest threshold to one above all of them. Judgements
/// that are not numbers are left out. Empty without clips of both kinds.
pub fn curve(judgements: &[Judgement]) -> Vec<OperatingPoint> {
    let mut sorted: Vec<Judgement> = judgements.iter().copied().filter(|judgement| judgement.presence.is_finite()).collect();
    sorted.sort_by(|one, other| one.presence.total_cmp(&other.presence));
    let with = sorted.iter().filter(|judgement| judgement.present).count();
    let without = sorted.len() - with;
    if with == 0 || without == 0 {
        return Vec::new();
    }
    let (mut rejected, mut accepted) = (0, without);
    let mut points = Vec::new();
    for group in sorted.chunk_by(|one, other| one.presence == other.presence) {
        let threshold = group[0].presence;
        let shares = [accepted as f64 / without as f64, rejected as f64 / with as f64];
        points.push(OperatingPoint { threshold, false_accept: shares[0], false_reject: shares[1] });
        let here = group.iter().filter(|judgement| judgement.present).count();
        rejected += here;
        accepted -= group.len() - here;
    }
    points.push(OperatingPoint { threshold: f32::INFINITY, false_accept: 0.0, false_reject: 1.0 });
    points
}

/// Where false accepts and false rejects are nearest to each other, and their mean there (the equal error rate).
pub fn equal_error(points: &[OperatingPoint]) -> Option<(OperatingPoint, f64)> {
    let apart = |point: &OperatingPoint| (point.false_accept - point.false_reject).abs();
    let best = points.iter().min_by(|one, other| apart(one).total_cmp(&apart(other)))?;
    Some((*best, 0.5 * (best.false_accept + best.false_reject)))
}

/// The lowest threshold whose share of false accepts is at most `wanted`: calibrate on some characters, report
/// [`OperatingPoint::at`] on others.
pub fn calibrate(points: &[OperatingPoint], wanted: f64) -> Option<OperatingPoint> {
    points.iter().find(|point| point.false_accept <= wanted).copied()
}

/// What remains when the model may say that it is not sure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Abstention {
    /// Presences between these two get no answer.
    pub band: [f32; 2],
    /// Share of clips that get an answer.
    pub coverage: f64,
    /// Mean of the shares right among answered clips with and without the subject.
    pub balanced: f64,
}

/// Answers only outside of `low..high`: yes from `high` on, no below `low`. `None` without an answered clip of each kind.
pub fn abstain(judgements: &[Judgement], low: f32, high: f32) -> Option<Abstention> {
    let mut shares = [Share::default(); 2];
    for judgement in judgements.iter().filter(|judgement| judgement.presence < low || judgement.presence >= high) {
        shares[usize::from(judgement.present)].add((judgement.presence >= high) == judgement.present);
    }
    let coverage = (shares[0].total + shares[1].total) as f64 / judgements.len() as f64;
    Some(Abstention { band: [low, high], coverage, balanced: 0.5 * (shares[0].rate()? + shares[1].rate()?) })
}

#[cfg(feature = "plots")]
/// The curves of several ways as one chart: false rejects over false accepts.
pub fn chart(curves: &[(String, Vec<OperatingPoint>)]) -> LineChart {
    let chart = LineChart::new("Presence", "share of false accepts", "share of false rejects").y_range(0.0, 1.0);
    curves.iter().fold(chart, |chart, (name, points)| {
        chart.series(name.clone(), points.iter().map(|point| (point.false_accept, point.false_reject)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgements(with: &[f32], without: &[f32]) -> Vec<Judgement> {
        let one = |present: bool| move |&presence: &f32| Judgement { presence, present };
        with.iter().map(one(true)).chain(without.iter().map(one(false))).collect()
    }

    #[test]
    fn the_curve_holds_the_errors_of_every_threshold() {
        let all = judgements(&[0.9, 0.8, 0.8, 0.3], &[0.1, 0.2, 0.8, 0.4]);
        let points = curve(&all);
        for point in &points {
            assert_eq!(OperatingPoint::at(point.threshold, &all), Some(*point));
        }
        assert_eq!((points[0].false_accept, points[0].false_reject), (1.0, 0.0));
        assert_eq!(points.len(), 7, "six different presences, and a threshold above all");
        let (point, rate) = equal_error(&points).unwrap();
        assert_eq!((point.threshold, rate), (0.8, 0.25));
        assert_eq!(calibrate(&points, 0.25).unwrap().threshold, 0.8);
        assert_eq!(calibrate(&points, 0.0).unwrap().threshold, 0.9);
    }

    #[test]
    fn abstaining_trades_coverage_for_accuracy() {
        let all = judgements(&[0.9, 0.8, 0.45], &[0.1, 0.2, 0.55]);
        assert_eq!(abstain(&all, 0.5, 0.5).unwrap().coverage, 1.0);
        assert!((abstain(&all, 0.5, 0.5).unwrap().balanced - 2.0 / 3.0).abs() < 1e-9);
        let sure = abstain(&all, 0.4, 0.6).unwrap();
        assert_eq!((sure.coverage, sure.balanced), (4.0 / 6.0, 1.0));
        assert_eq!(abstain(&all, 0.0, 1.0), None);
    }

    #[test]
    fn one_kind_of_clips_gives_no_curve() {
        assert!(curve(&judgements(&[0.4], &[])).is_empty());
        assert!(curve(&judgements(&[f32::NAN], &[0.1])).is_empty());
        assert_eq!(equal_error(&[]), None);
        assert_eq!(OperatingPoint::at(0.5, &judgements(&[], &[0.2])), None);
    }
}
