//! How often and how strongly positives differ from the reference clip.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Probabilities and ranges of the steps that make a positive; the defaults are the miniature's.
///
/// A range is `[least, greatest]`, drawn uniformly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PositiveConfig {
    /// Probability of other colours on the clothes.
    pub recolour: f32,
    /// Added to the hue of the clothes, in degrees of 360.
    pub hue: [f32; 2],
    /// Factor on the saturation of the clothes.
    pub saturation: [f32; 2],
    /// Factor on the value (brightness) of the clothes.
    pub value: [f32; 2],
    /// Probability of playing the clip backwards.
    pub reverse: f32,
    /// Probability of repeating one random frame; never together with `resample`.
    pub freeze: f32,
    /// Probability of drawing as many frames with repetition and showing them in order.
    pub resample: f32,
    /// Probability of the mirror image. Left and right change sides: ask such a clip about the lone subject only.
    pub mirror: f32,
    /// Factor on the size of everything in the frame.
    pub scale: [f32; 2],
    /// Greatest shift to either side and up or down, as shares of the frame's width and height.
    pub shift: [f32; 2],
    /// Probability of another background, when there are scenes and the masks are plausible.
    pub composite: f32,
    /// The share of the frame that the person covers when a mask is plausible; other masks are not used.
    pub area: [f32; 2],
    /// Factor on all colours.
    pub gain: [f32; 2],
    /// Greatest relative change of each of red, green and blue.
    pub tint: f32,
    /// Greatest amount added to or taken from all colours, on the 0 to 255 scale.
    pub offset: f32,
    /// How often positives that the self-check rejects are drawn again (without another background) before the
    /// reference with other light takes their place.
    pub redraws: usize,
}

impl Default for PositiveConfig {
    fn default() -> Self {
        Self {
            recolour: 0.6,
            hue: [40.0, 320.0],
            saturation: [0.5, 1.4],
            value: [0.6, 1.3],
            reverse: 0.3,
            freeze: 0.2,
            resample: 0.2,
            mirror: 0.5,
            scale: [0.88, 1.12],
            shift: [6.0 / 64.0, 3.0 / 64.0],
            composite: 0.7,
            area: [0.04, 0.45],
            gain: [0.85, 1.12],
            tint: 0.04,
            offset: 10.0,
            redraws: 3,
        }
    }
}

impl PositiveConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one out of range.
    pub fn check(&self) -> Result<()> {
        let share = |value: f32| (0.0..=1.0).contains(&value);
        for (key, value) in [
            ("recolour", self.recolour),
            ("reverse", self.reverse),
            ("freeze", self.freeze),
            ("resample", self.resample),
            ("mirror", self.mirror),
            ("composite", self.composite),
            ("tint", self.tint),
        ] {
            require(key, share(value), value, "a number from 0 to 1")?;
        }
        let both = self.freeze + self.resample;
        require("freeze + resample", both <= 1.0, both, "two probabilities with a sum of at most 1")?;
        for (key, [least, greatest], floor) in [
            ("hue", self.hue, -360.0),
            ("saturation", self.saturation, 0.0),
            ("value", self.value, 0.0),
            ("scale", self.scale, 0.1),
            ("area", self.area, 0.0),
            ("gain", self.gain, 0.0),
        ] {
            let ordered = floor <= least && least <= greatest && greatest.is_finite();
            require(key, ordered, [least, greatest], "[least, greatest] in this order, finite and not too small")?;
        }
        require("shift", self.shift.iter().all(|&shift| share(shift)), self.shift, "two shares of the frame from 0 to 1")?;
        require("offset", (0.0..=255.0).contains(&self.offset), self.offset, "a number from 0 to 255")
    }
}

fn require(key: &'static str, holds: bool, value: impl std::fmt::Debug, expected: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Setting { key, value: format!("{value:?}"), expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_survive_json() {
        let config = PositiveConfig::default();
        config.check().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<PositiveConfig>(&text).unwrap(), config);
        assert!(serde_json::from_str::<PositiveConfig>(r#"{"miror": 0.5}"#).is_err());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = |change: fn(&mut PositiveConfig)| {
            let mut config = PositiveConfig::default();
            change(&mut config);
            match config.check() {
                Err(Error::Setting { key, .. }) => key,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(wrong(|config| config.mirror = 1.5), "mirror");
        assert_eq!(wrong(|config| config.composite = f32::NAN), "composite");
        assert_eq!(wrong(|config| config.freeze = 0.9), "freeze + resample");
        assert_eq!(wrong(|config| config.scale = [0.0, 1.0]), "scale");
        assert_eq!(wrong(|config| config.gain = [1.2, 1.0]), "gain");
        assert_eq!(wrong(|config| config.shift = [0.1, -0.1]), "shift");
        assert_eq!(wrong(|config| config.offset = f32::INFINITY), "offset");
    }
}
