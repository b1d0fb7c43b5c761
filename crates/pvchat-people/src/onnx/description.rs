//! What a network is and how pictures are prepared for it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::refused;
use crate::{Calibration, Error, Result};

/// The largest description that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// What a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// An embedder of the family of ArcFace.
    ArcFace,
    /// OpenCV's embedder.
    SFace,
    /// OpenCV's detector.
    YuNet,
    /// The detector of insightface.
    Scrfd,
}

impl Kind {
    /// Its name in a description.
    pub fn name(self) -> &'static str {
        match self {
            Self::ArcFace => "arcface",
            Self::SFace => "sface",
            Self::YuNet => "yunet",
            Self::Scrfd => "scrfd",
        }
    }

    /// Whether it embeds faces; otherwise it finds them.
    pub fn embeds(self) -> bool {
        matches!(self, Self::ArcFace | Self::SFace)
    }
}

/// The order of a network's colour channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// The order of the axes of a network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `[1, 3, side, side]`.
    Nchw,
    /// `[1, side, side, 3]`.
    Nhwc,
}

/// A description of one network; what is `None` is as usual for the kind, see the [module](crate::onnx).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What the network is.
    pub kind: Kind,
    /// The ONNX file; not in the JSON, it has the description's name.
    #[serde(skip)]
    pub file: PathBuf,
    /// Width and height of the input in pixels: a multiple of 16 up to 512 for embedders, of 32 up to 2048 for detectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<usize>,
    /// The order of the channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// Levels, 0 to 255, that are subtracted, in the order of [`colour`](Self::colour).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<[f32; 3]>,
    /// Factors that the difference is multiplied with, in the order of [`colour`](Self::colour).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<[f32; 3]>,
    /// The order of the axes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// The least score of a face, 0 to 1; detectors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// The intersection over union from which the worse of two boxes goes, 0 to 1; detectors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<f32>,
    /// What similarities mean; embedders only. Its `embedder` is the model's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

/// How pictures are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Preparation {
    pub(super) side: usize,
    pub(super) colour: Colour,
    pub(super) mean: [f32; 3],
    pub(super) scale: [f32; 3],
    pub(super) layout: Layout,
}

impl Description {
    /// A network as usual for its kind.
    pub fn new(kind: Kind, file: impl Into<PathBuf>) -> Self {
        Self {
            kind,
            file: file.into(),
            side: None,
            colour: None,
            mean: None,
            scale: None,
            layout: None,
            score: None,
            overlap: None,
            calibration: None,
        }
    }

    /// Reads the JSON file `NAME.json` of at most 1 MiB, which describes `NAME.onnx` in the same folder.
    ///
    /// # Errors
    /// [`Error::Onnx`] for a file that is absent or not such a description, with the key; [`Error::Data`] for one that cannot
    /// be read.
    pub fn read(path: &Path) -> Result<Self> {
        let read: pvchat_data::Result<Self> = pvchat_data::file::read_json(path, LARGEST);
        match read {
            Ok(description) => Ok(Self { file: path.with_extension("onnx"), ..description }),
            Err(error) => Err(unreadable(path, error)),
        }
    }

    /// Refuses values out of their range.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |key: &str, value: String, remedy: &str| Err(refused(&self.file, key, format!("it is {value}"), remedy));
        let Preparation { side, mean, scale, .. } = self.preparation();
        let detects = !self.kind.embeds();
        let (step, largest) = if detects { (32, 2048) } else { (16, 512) };
        if side == 0 || side > largest || !side.is_multiple_of(step) {
            return refuse("side", side.to_string(), &format!("give a multiple of {step} up to {largest}"));
        }
        if !mean.iter().all(|value| value.is_finite()) {
            return refuse("mean", format!("{mean:?}"), "give three finite levels");
        }
        if !scale.iter().all(|value| value.is_finite() && *value != 0.0) {
            return refuse("scale", format!("{scale:?}"), "give three finite factors, none of them 0");
        }
        for (key, value) in [("score", self.score), ("overlap", self.overlap)] {
            match value {
                Some(value) if !detects => return refuse(key, value.to_string(), "leave it out: only detectors have it"),
                Some(value) if !(0.0..=1.0).contains(&value) => {
                    return refuse(key, value.to_string(), "give a number from 0 to 1");
                }
                _ => {}
            }
        }
        let Some(calibration) = &self.calibration else { return Ok(()) };
        if detects {
            return refuse("calibration", self.kind.name().into(), "leave it out: only embedders have it");
        }
        let Calibration { embedder: _, midpoint, slope, possible, certain } = calibration;
        let ascending = certain.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1);
        let in_order = certain.first().is_some_and(|(people, least)| *people > 0 && possible <= least);
        let cosines = certain.iter().map(|(_, cosine)| cosine).chain([midpoint, possible]).all(|cosine| cosine.abs() <= 1.0);
        if !(ascending && in_order && cosines && *slope > 0.0 && slope.is_finite()) {
            let remedy =
                "give cosines from -1 to 1, a positive slope, possible below certain, and certain growing with the people";
            return refuse("calibration", serde_json::to_string(calibration).unwrap_or_default(), remedy);
        }
        Ok(())
    }

    /// What is given, and what is usual for the kind.
    pub(super) fn preparation(&self) -> Preparation {
        let (side, colour, mean, scale) = match self.kind {
            Kind::ArcFace => (112, Colour::Rgb, 127.5, 1.0 / 127.5),
            Kind::SFace => (112, Colour::Rgb, 0.0, 1.0),
            Kind::YuNet => (640, Colour::Bgr, 0.0, 1.0),
            Kind::Scrfd => (640, Colour::Rgb, 127.5, 1.0 / 128.0),
        };
        Preparation {
            side: self.side.unwrap_or(side),
            colour: self.colour.unwrap_or(colour),
            mean: self.mean.unwrap_or([mean; 3]),
            scale: self.scale.unwrap_or([scale; 3]),
            layout: self.layout.unwrap_or(Layout::Nchw),
        }
    }

    /// Identifies an embedder: half of the digits of SHA-256 of its file, and some of SHA-256 of how faces are prepared.
    pub(super) fn id(&self, file: &[u8]) -> String {
        let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let prepared = Sha256::digest(serde_json::to_vec(&self.preparation()).unwrap_or_default());
        format!("{}@{}-{}", self.kind.name(), hex(&Sha256::digest(file)[..16]), hex(&prepared[..4]))
    }
}

impl Preparation {
    /// The shape of the network's input.
    pub(super) fn shape(&self) -> [usize; 4] {
        match self.layout {
            Layout::Nchw => [1, 3, self.side, self.side],
            Layout::Nhwc => [1, self.side, self.side, 3],
        }
    }

    /// A picture, `[side, side, 3]` in levels of red, green and blue from 0 to 255, as the network's input.
    pub(super) fn prepare(&self, levels: &[f32]) -> Vec<f32> {
        let pixels = self.side * self.side;
        let mut values = vec![0.0; 3 * pixels];
        for (pixel, levels) in levels.chunks_exact(3).take(pixels).enumerate() {
            for channel in 0..3 {
                let level = levels[if self.colour == Colour::Rgb { channel } else { 2 - channel }];
                let place = if self.layout == Layout::Nchw { channel * pixels + pixel } else { 3 * pixel + channel };
                values[place] = (level - self.mean[channel]) * self.scale[channel];
            }
        }
        values
    }
}

/// An error that names the key.
fn unreadable(path: &Path, error: pvchat_data::Error) -> Error {
    const REMEDY: &str = "write what docs/people.md shows for the kind of the network";
    match error {
        pvchat_data::Error::Json { place, source, .. } => {
            let problem = source.to_string();
            // The place of a key that is missing is what it is missing from.
            let missing = problem.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
            let key = match missing {
                Some(key) if place == "." => key.into(),
                Some(key) => format!("{place}.{key}"),
                None => place,
            };
            refused(path, key, problem, REMEDY)
        }
        pvchat_data::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            refused(path, "kind", "the network has no description", REMEDY)
        }
        pvchat_data::Error::TooLarge { .. } => refused(path, ".", format!("larger than {LARGEST} bytes"), REMEDY),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Description> {
        let parsed: pvchat_data::Result<Description> = pvchat_data::file::parse_json(json.as_bytes(), Path::new("own.json"));
        parsed.map_err(|error| unreadable(Path::new("own.json"), error))
    }

    fn assert_refuses(outcome: Result<()>, named: &str) {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, Error::Onnx { key, .. } if key == named), "{named}: {error}");
    }

    #[test]
    fn a_description_is_parsed_strictly() {
        let description = parse(r#"{"kind": "sface", "colour": "bgr", "side": 96}"#).unwrap();
        assert_eq!((description.kind, description.colour, description.side), (Kind::SFace, Some(Colour::Bgr), Some(96)));
        assert_eq!(description.preparation().scale, [1.0; 3]);
        for (broken, named) in [
            (r#"{"kind": "arcface", "color": "bgr"}"#, "color"),
            (r#"{"kind": "arcface", "file": "a.onnx"}"#, "file"),
            (r#"{"kind": "retinaface"}"#, "kind"),
            (r#"{"side": 112}"#, "kind"),
            (r#"{"kind": "arcface", "mean": [1, 2]}"#, "mean"),
            (r#"{"kind": "arcface", "calibration": {"embedder": "a"}}"#, "calibration.midpoint"),
            (r#"{"kind": "#, "kind"),
        ] {
            assert_refuses(parse(broken).map(|_| ()), named);
        }
    }

    #[test]
    fn the_examples_of_the_documentation_say_what_is_usual() {
        let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"));
        if !docs.exists() {
            return; // The package of this crate comes without them.
        }
        let text = std::fs::read_to_string(docs.join("people.md")).unwrap();
        let examples = text.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
        let examples: Vec<Description> = examples.map(|example| parse(example).unwrap()).collect();
        let kinds: Vec<Kind> = examples.iter().map(|example| example.kind).collect();
        assert_eq!(kinds, [Kind::YuNet, Kind::SFace, Kind::Scrfd, Kind::ArcFace]);
        for example in &examples {
            example.check().unwrap();
            assert_eq!(example.preparation(), Description::new(example.kind, "").preparation(), "{example:?}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (broken, named) in [
            (r#"{"kind": "arcface", "side": 150}"#, "side"),
            (r#"{"kind": "scrfd", "side": 4096}"#, "side"),
            (r#"{"kind": "scrfd", "side": 18446744073709551584}"#, "side"),
            (r#"{"kind": "scrfd", "side": 0}"#, "side"),
            (r#"{"kind": "scrfd", "score": 1.5}"#, "score"),
            (r#"{"kind": "sface", "score": 0.5}"#, "score"),
            (r#"{"kind": "sface", "scale": [1, 0, 1]}"#, "scale"),
            (r#"{"kind": "sface", "mean": [1, 1e39, 1]}"#, "mean"),
        ] {
            assert_refuses(parse(broken).and_then(|description| description.check()), named);
        }
        let calibrated = |kind: &str, calibration: &str| {
            parse(&format!(r#"{{"kind": "{kind}", "calibration": {calibration}}}"#)).unwrap().check()
        };
        let fine = r#"{"embedder": "x", "midpoint": 0.4, "slope": 30, "possible": 0.3, "certain": [[1, 0.5], [10, 0.6]]}"#;
        calibrated("arcface", fine).unwrap();
        assert_refuses(calibrated("yunet", fine), "calibration");
        for (from, to) in [("0.3", "0.55"), ("[1, 0.5], [10, 0.6]", ""), ("[10,", "[1,"), ("30", "-1"), ("0.6", "1.1")] {
            assert_refuses(calibrated("arcface", &fine.replace(from, to)), "calibration");
        }
    }

    #[test]
    fn the_id_changes_with_the_file_and_the_preparation() {
        let plain = Description::new(Kind::ArcFace, "a.onnx");
        let exchanged = Description { colour: Some(Colour::Bgr), ..plain.clone() };
        let explicit = Description { colour: Some(Colour::Rgb), file: "b.onnx".into(), ..plain.clone() };
        assert_ne!(plain.id(b"one"), plain.id(b"other"));
        assert_ne!(plain.id(b"one"), exchanged.id(b"one"));
        assert_eq!(plain.id(b"one"), explicit.id(b"one"));
    }
}
