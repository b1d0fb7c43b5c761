//! Whether the answer can be guessed without seeing who is there: from the background alone, or from the seams alone.

use std::collections::BTreeMap;

use image::{GrayImage, RgbImage};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::{assets::grown, quality::luma};

/// The background is seen as this many cells across and down.
const CELLS: usize = 6;
/// Below this matte value a pixel is background, 0 to 255.
const BACKGROUND: u8 = 16;
/// How strongly the classifier is held back from learning each clip by heart.
const RIDGE: f64 = 0.3;
/// Shuffles of the labels that chance is measured by.
const SHUFFLES: usize = 400;
/// Strangers who are shown in fewer clips are not guessed.
const LEAST_SHOWN: usize = 4;

/// What a classifier guesses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guess {
    /// Balanced accuracy on clips that it did not learn from, one left out at a time; 0.5 is chance.
    pub accuracy: f64,
    /// 95 of 100 classifiers of shuffled labels are at most this good.
    pub chance: f64,
}

impl Guess {
    /// Whether it is no better than chance.
    pub fn is_chance(&self) -> bool {
        self.accuracy <= self.chance
    }
}

/// What classifiers guess that do not see the person.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blind {
    /// One that sees the background only, the person greyed out.
    pub background: Guess,
    /// One that sees only the person's edge: how sharp it is compared with its surroundings, and the halo around it.
    pub seams: Guess,
    /// The control: what the same edges say about whether a clip was only cropped. Above chance the classifier can see how a clip was
    /// made, so that chance in [`seams`](Self::seams) means something. `None` with fewer than two clips of either kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub making: Option<Guess>,
    /// Another control: how well the same edges say that one of the strangers is seen, the mean of all who are shown in at least four
    /// clips. Everybody's hair and shoulders have a form of their own, which edges show however a clip is made; a making that differs
    /// makes the person easier to guess than strangers are. `None` where fewer than two strangers are shown so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strangers: Option<f64>,
}

impl Blind {
    /// Whether the seams say who is seen more than chance does, and more than they say of strangers.
    pub fn seams_reveal(&self) -> bool {
        !self.seams.is_chance() && self.strangers.is_none_or(|strangers| self.seams.accuracy > strangers)
    }
}

/// What a classifier that is blind to the person sees of the middle frame of a clip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Features {
    pub(super) background: Vec<f32>,
    pub(super) seams: Vec<f32>,
}

impl Features {
    /// `matte` says how much of each pixel is the person's.
    pub(super) fn of(frame: &RgbImage, matte: &GrayImage) -> Self {
        let (background, seams) = (background(frame, matte), seams(frame, matte));
        // Numbers that JSON gives back exactly and that a person can read.
        let rounded = |values: Vec<f32>| values.into_iter().map(|value| rounded(f64::from(value)) as f32).collect();
        Self { background: rounded(background), seams: rounded(seams) }
    }
}

fn background(frame: &RgbImage, matte: &GrayImage) -> Vec<f32> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let mut sums = vec![[0.0f32; 4]; CELLS * CELLS];
    let mut all = [0.0f32; 4];
    for (place, (pixel, value)) in frame.pixels().zip(matte.iter()).enumerate() {
        if *value >= BACKGROUND {
            continue;
        }
        let cell = place / width * CELLS / height * CELLS + place % width * CELLS / width;
        for sum in [&mut sums[cell], &mut all] {
            sum.iter_mut().zip(pixel.0).for_each(|(sum, value)| *sum += f32::from(value) / 255.0);
            sum[3] += 1.0;
        }
    }
    let least = 0.1 * (width * height / (CELLS * CELLS)) as f32;
    let mean = |sum: &[f32; 4]| [0, 1, 2].map(|channel| sum[channel] / sum[3].max(1.0));
    sums.iter().flat_map(|sum| mean(if sum[3] < least { &all } else { sum })).collect()
}

/// What the edge of the person is like, independent of the person's colours: how sharp it is compared with its surroundings, and
/// whether something of another background shines around it.
fn seams(frame: &RgbImage, matte: &GrayImage) -> Vec<f32> {
    /// A change of this many levels is an edge, whose sharpness does not depend on its height.
    const STRONG: f32 = 24.0;
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let grey: Vec<f32> = frame.pixels().map(|pixel| luma(pixel.0)).collect();
    let person: Vec<bool> = matte.iter().map(|value| *value >= 128).collect();
    let others: Vec<bool> = person.iter().map(|person| !person).collect();
    let (outside, inside) = (grown(&person, width, 2), grown(&others, width, 2));
    let (near, far) = (grown(&person, width, 5), grown(&person, width, 9));
    // The edge, two to five pixels outside, five to nine, and beyond: pixels, Laplacian, brightness and its square, and of strong
    // changes gradient and Laplacian.
    let mut sums = [[0.0f32; 6]; 4];
    for y in 1..height.saturating_sub(1) {
        for x in 1..width - 1 {
            let at = y * width + x;
            let part = match (person[at], outside[at], inside[at], near[at], far[at]) {
                (_, true, true, ..) => 0,
                (true, ..) => continue,
                (.., true, _) => 1,
                (.., true) => 2,
                _ => 3,
            };
            let around = [at - 1, at + 1, at - width, at + width];
            let gradient = (grey[at + 1] - grey[at - 1]).hypot(grey[at + width] - grey[at - width]);
            let laplacian = (around.iter().map(|&other| grey[other]).sum::<f32>() - 4.0 * grey[at]).abs();
            let strong = f32::from(u8::from(gradient > STRONG));
            let values = [1.0, laplacian, grey[at], grey[at] * grey[at], strong * gradient, strong * laplacian];
            sums[part].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    let mean = |part: usize, value: usize| sums[part][value] / sums[part][0].max(1.0);
    // Parts without strong changes are as sharp as most are.
    let sharpness = |part: usize| ((sums[part][5] + 10.0) / (sums[part][4] + 20.0)).ln();
    let ratio = |one: usize, other: usize| ((mean(one, 1) + 0.5) / (mean(other, 1) + 0.5)).ln();
    let spread = (mean(2, 3) - mean(2, 2).powi(2)).max(4.0).sqrt();
    let halo = ((mean(1, 2) - mean(2, 2)) / spread).clamp(-3.0, 3.0);
    vec![sharpness(0), sharpness(0) - sharpness(3), ratio(1, 2), halo, halo.abs(), ratio(2, 3)]
}

/// Ridge regression on features, which predicts each clip from all others.
struct Classifier {
    inverse: Vec<Vec<f64>>,
}

impl Classifier {
    fn new(features: &[&[f32]]) -> Option<Self> {
        let count = features.len();
        let width = features.iter().map(|features| features.len()).min().unwrap_or(0);
        let mut columns = vec![vec![0.0f64; count]; width];
        for (number, column) in columns.iter_mut().enumerate() {
            column.iter_mut().zip(features).for_each(|(to, features)| *to = f64::from(features[number]));
            let mean = column.iter().sum::<f64>() / count as f64;
            column.iter_mut().for_each(|value| *value -= mean);
            let deviation = (column.iter().map(|value| value * value).sum::<f64>() / count as f64).sqrt();
            column.iter_mut().for_each(|value| *value /= deviation.max(1e-6));
        }
        let kernel = |one: usize, other: usize| {
            columns.iter().map(|column| column[one] * column[other]).sum::<f64>() / width.max(1) as f64
        };
        let mut system: Vec<Vec<f64>> = (0..count).map(|row| (0..count).map(|column| kernel(row, column)).collect()).collect();
        (0..count).for_each(|place| system[place][place] += RIDGE);
        Some(Self { inverse: inverted(system)? })
    }

    /// Balanced accuracy on clips that it did not learn from, one left out at a time.
    fn accuracy(&self, labels: &[bool]) -> f64 {
        let count = labels.len();
        let positives = labels.iter().filter(|label| **label).count();
        let weights = [count as f64 / (count - positives) as f64, count as f64 / positives as f64];
        let wanted: Vec<f64> = labels.iter().map(|&label| if label { weights[1] } else { -weights[0] }).collect();
        let mut right = [0usize; 2];
        for (place, &label) in labels.iter().enumerate() {
            // What is predicted of a clip by all others, in closed form.
            let alpha = self.inverse[place].iter().zip(&wanted).map(|(one, other)| one * other).sum::<f64>();
            let predicted = wanted[place] - alpha / self.inverse[place][place];
            right[usize::from(label)] += usize::from((predicted > 0.0) == label);
        }
        0.5 * (right[1] as f64 / positives as f64 + right[0] as f64 / (count - positives) as f64)
    }
}

/// To four decimals, which JSON gives back exactly.
fn rounded(value: f64) -> f64 {
    (1e4 * value).round() / 1e4
}

/// Judges what can be guessed of the labels from features.
pub(super) fn guess(features: &[&[f32]], labels: &[bool], seed: u64) -> Guess {
    let positives = labels.iter().filter(|label| **label).count();
    let classifier = if positives < 2 || labels.len() < positives + 2 { None } else { Classifier::new(features) };
    let Some(classifier) = classifier else { return Guess { accuracy: 0.5, chance: 1.0 } };
    let stream = SeededStream::new(seed).derive("blind");
    let mut chance: Vec<f64> = (0..SHUFFLES)
        .map(|number| {
            let mut shuffled = labels.to_vec();
            stream.derive(number).shuffle(&mut shuffled);
            classifier.accuracy(&shuffled)
        })
        .collect();
    chance.sort_by(f64::total_cmp);
    Guess { accuracy: rounded(classifier.accuracy(labels)), chance: rounded(chance[SHUFFLES * 95 / 100]) }
}

/// The inverse of a positive definite matrix (Gauss and Jordan).
fn inverted(mut matrix: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let count = matrix.len();
    let mut inverse: Vec<Vec<f64>> =
        (0..count).map(|row| (0..count).map(|column| f64::from(u8::from(row == column))).collect()).collect();
    for pivot in 0..count {
        let factor = matrix[pivot][pivot];
        if factor.is_nan() || factor.abs() < 1e-12 {
            return None;
        }
        for part in [&mut matrix, &mut inverse] {
            part[pivot].iter_mut().for_each(|value| *value /= factor);
        }
        for row in (0..count).filter(|&row| row != pivot) {
            let factor = matrix[row][pivot];
            for part in [&mut matrix, &mut inverse] {
                let from = part[pivot].clone();
                part[row].iter_mut().zip(from).for_each(|(value, from)| *value -= factor * from);
            }
        }
    }
    Some(inverse)
}

/// A clip to a classifier that is blind to the person.
pub(super) struct Seen<'a> {
    pub(super) features: &'a Features,
    /// Whether it shows the person.
    pub(super) shows: bool,
    /// Whether it was only cropped and compressed.
    pub(super) is_untouched: bool,
    /// Which of the strangers it shows alone, if it shows one.
    pub(super) stranger: Option<String>,
}

/// Judges what can be guessed about some clips.
pub(super) fn blind(clips: &[Seen<'_>], seed: u64) -> Blind {
    let labels = |label: fn(&Seen<'_>) -> bool| clips.iter().map(label).collect::<Vec<bool>>();
    let of = |part: fn(&Features) -> &[f32]| clips.iter().map(|clip| part(clip.features)).collect::<Vec<_>>();
    let (shows, untouched) = (labels(|clip| clip.shows), labels(|clip| clip.is_untouched));
    let count = untouched.iter().filter(|untouched| **untouched).count();
    Blind {
        background: guess(&of(|features| &features.background), &shows, seed),
        seams: guess(&of(|features| &features.seams), &shows, seed),
        making: (2..=clips.len().saturating_sub(2))
            .contains(&count)
            .then(|| guess(&of(|features| &features.seams), &untouched, seed)),
        strangers: strangers(clips),
    }
}

/// How well the seams say that one of the strangers is seen, on average.
fn strangers(clips: &[Seen<'_>]) -> Option<f64> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    clips.iter().filter_map(|clip| clip.stranger.as_deref()).for_each(|stranger| *counts.entry(stranger).or_default() += 1);
    counts.retain(|_, count| (LEAST_SHOWN..=clips.len() - 2).contains(count));
    let seams: Vec<&[f32]> = clips.iter().map(|clip| clip.features.seams.as_slice()).collect();
    // One stranger alone is whoever is not the person.
    let classifier = (counts.len() > 1).then(|| Classifier::new(&seams))??;
    let labels = |shown: &str| clips.iter().map(|clip| clip.stranger.as_deref() == Some(shown)).collect::<Vec<bool>>();
    let sum = counts.keys().map(|shown| classifier.accuracy(&labels(shown))).sum::<f64>();
    Some(rounded(sum / counts.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb};

    #[test]
    fn what_is_in_the_features_is_found_and_what_is_not_is_chance() {
        let mut stream = SeededStream::new(5);
        let labels: Vec<bool> = (0..81).map(|number| number < 16).collect();
        let mut features: Vec<Vec<f32>> = (0..81).map(|_| (0..20).map(|_| stream.normal()).collect()).collect();
        let shown = |features: &[Vec<f32>]| guess(&features.iter().map(Vec::as_slice).collect::<Vec<_>>(), &labels, 1);
        let nothing = shown(&features);
        assert!(nothing.is_chance() && nothing.chance < 0.75, "{nothing:?}");
        features.iter_mut().zip(&labels).for_each(|(features, label)| features[3] += if *label { 4.0 } else { 0.0 });
        let leak = shown(&features);
        assert!(!leak.is_chance() && leak.accuracy > 0.85, "{leak:?}");
    }

    #[test]
    fn the_control_asks_the_seams_how_a_clip_was_made() {
        let mut stream = SeededStream::new(7);
        let untouched = |number: usize| number.is_multiple_of(8);
        let features: Vec<Features> = (0..64)
            .map(|number| {
                let seams = (0..6).map(|_| stream.normal() + if untouched(number) { 3.0 } else { 0.0 }).collect();
                Features { background: (0..6).map(|_| stream.normal()).collect(), seams }
            })
            .collect();
        let judged = |most: usize| {
            let seen = |(number, features)| Seen {
                features,
                shows: number % 4 == 1,
                is_untouched: number < most && untouched(number),
                stranger: None,
            };
            blind(&features.iter().enumerate().map(seen).collect::<Vec<_>>(), 1)
        };
        let Blind { background, seams, making, .. } = judged(64);
        assert!(background.is_chance() && seams.is_chance(), "{background:?} {seams:?}");
        assert!(making.is_some_and(|making| !making.is_chance() && making.accuracy > 0.8), "{making:?}");
        assert_eq!(judged(8).making, None, "one clip that is only cropped");
    }

    /// Where everybody has edges of their own, the person is guessed as well as strangers are, and that is no leak.
    #[test]
    fn strangers_are_the_measure_of_what_an_outline_says() {
        let judged = |own_edges: bool, made_otherwise: bool, is_alone: bool| {
            let mut stream = SeededStream::new(9);
            // The person in 16 clips, six strangers in 8 each.
            let who = |number: usize| number.saturating_sub(8) / 8;
            let features: Vec<Features> = (0..64)
                .map(|number| {
                    let mut seams: Vec<f32> = (0..6).map(|_| stream.normal()).collect();
                    if own_edges {
                        let angle = who(number) as f32;
                        seams[0] += 4.0 * angle.cos();
                        seams[1] += 4.0 * angle.sin();
                    }
                    seams[2] += if made_otherwise && number < 16 { 4.0 } else { 0.0 };
                    Features { background: vec![0.0; 6], seams }
                })
                .collect();
            let names: Vec<String> = (0..64).map(|number| who(number).to_string()).collect();
            let seen = |number: usize| Seen {
                features: &features[number],
                shows: number < 16,
                is_untouched: false,
                stranger: (number >= 16).then(|| if is_alone { "0".into() } else { names[number].clone() }),
            };
            blind(&(0..64).map(seen).collect::<Vec<_>>(), 1)
        };
        let outline = judged(true, false, false);
        assert!(!outline.seams.is_chance() && !outline.seams_reveal(), "{outline:?}");
        let making = judged(false, true, false);
        assert!(making.seams_reveal() && making.strangers.is_some_and(|strangers| strangers < 0.65), "{making:?}");
        let both = judged(true, true, false);
        assert!(both.seams_reveal(), "{both:?}");
        assert!(!judged(false, false, false).seams_reveal());
        // Whoever is the only stranger is guessed as well as the person, always.
        let alone = judged(false, true, true);
        assert!(alone.strangers.is_none() && alone.seams_reveal(), "{alone:?}");
    }

    #[test]
    fn the_person_is_not_seen() {
        let matte = GrayImage::from_fn(60, 60, |x, _| Luma([if (20..40).contains(&x) { 255 } else { 0 }]));
        let picture = |colour: [u8; 3]| {
            RgbImage::from_fn(60, 60, |x, y| if (20..40).contains(&x) { Rgb(colour) } else { Rgb([90, (x + y) as u8, 7]) })
        };
        let (one, other) = (Features::of(&picture([255, 0, 0]), &matte), Features::of(&picture([0, 200, 0]), &matte));
        assert_eq!(one.background, other.background);
        let shining = RgbImage::from_fn(60, 60, |x, y| match x {
            15..=17 | 42..=44 => Rgb([250; 3]),
            20..40 => Rgb([255, 0, 0]),
            _ => Rgb([90, (x + y) as u8, 7]),
        });
        assert_ne!(one.seams, Features::of(&shining, &matte).seams);
        assert_eq!(one.background.len(), 3 * CELLS * CELLS);
    }
}
