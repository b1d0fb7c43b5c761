//! How much more often a colour is seen on the person than elsewhere, over all frames of a clip together.

use image::{GrayImage, RgbImage};

/// Levels per channel; a level is 16 byte values wide, more than pixel noise and less than the step to another paint.
const LEVELS: usize = 16;
/// Pixels added to both counts of every colour, so that a colour seen once or never says little.
const UNSEEN: f32 = 0.3;
/// The greatest logarithm of the odds, so that no colour decides alone against place and first guess.
const SUREST: f32 = 4.0;

/// The logarithm of the odds that a pixel of a colour shows the person.
pub(crate) struct ColourOdds(Vec<f32>);

impl ColourOdds {
    /// Counts the colours of all frames. `weight` says, from the distance to the mask's centre column in widths of the
    /// frame, how much a pixel on a mask counts for the person; the rest, and pixels off the masks, count against.
    pub(crate) fn count(frames: &[RgbImage], masks: &[GrayImage], centres: &[f32], weight: impl Fn(f32) -> f32) -> Self {
        let mut person = vec![0.0_f32; LEVELS.pow(3)];
        let mut elsewhere = person.clone();
        for ((frame, mask), centre) in frames.iter().zip(masks).zip(centres) {
            let width = frame.width() as f32;
            let weights: Vec<f32> = (0..frame.width()).map(|column| weight((column as f32 - centre) / width)).collect();
            for ((column, _, pixel), on) in frame.enumerate_pixels().zip(mask.iter()) {
                let share = if *on > 0 { weights[column as usize] } else { 0.0 };
                let bin = bin(pixel.0);
                person[bin] += share;
                elsewhere[bin] += 1.0 - share;
            }
        }
        smooth(&mut person);
        smooth(&mut elsewhere);
        let odds = person.iter().zip(&elsewhere).map(|(on, off)| ((on + UNSEEN) / (off + UNSEEN)).ln().clamp(-SUREST, SUREST));
        Self(odds.collect())
    }

    /// The logarithm of the odds for a pixel's colour.
    pub(crate) fn of(&self, colour: [u8; 3]) -> f32 {
        self.0[bin(colour)]
    }
}

fn bin(colour: [u8; 3]) -> usize {
    colour.iter().fold(0, |bin, &channel| bin * LEVELS + usize::from(channel) * LEVELS / 256)
}

/// Spreads counts to neighbouring levels (1 2 1), for noise crosses their borders.
fn smooth(counts: &mut [f32]) {
    for stride in [1, LEVELS, LEVELS * LEVELS] {
        let old = counts.to_vec();
        for (bin, count) in counts.iter_mut().enumerate() {
            let level = bin / stride % LEVELS;
            let below = if level > 0 { old[bin - stride] } else { old[bin] };
            let above = if level + 1 < LEVELS { old[bin + stride] } else { old[bin] };
            *count = (below + 2.0 * old[bin] + above) / 4.0;
        }
    }
}
