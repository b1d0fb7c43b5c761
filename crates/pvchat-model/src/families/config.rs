//! Everything that decides the shape of a model of any family.

use serde::{Deserialize, Serialize, ser::Error as _};
use serde_json::Value;

use super::{FAMILIES, Family, Files, OwnConfig, VisionConfig, family};
use crate::{Error, Result, answer::AnswerConfig, bridge::QFormerBridgeConfig, preprocess::Preprocessing, prompt::PromptFormat};

/// Everything that decides the shape of a [`Vilm`](crate::vilm::Vilm).
#[derive(Clone, Debug, PartialEq)]
pub struct VilmConfig {
    /// The name of the [family](crate::families) that it belongs to.
    pub family: &'static str,
    /// The model's name.
    pub name: String,
    /// From frames to what the vision encoder sees.
    pub preprocess: Preprocessing,
    /// The vision encoder.
    pub vision: VisionConfig,
    /// The text around visual tokens, question and answer.
    pub prompt: PromptFormat,
    /// Everything after the vision encoder.
    pub answer: AnswerConfig,
}

/// The largest size and the largest number of layers that are accepted; a larger number means a damaged file.
const LARGEST_SIZE: usize = 1 << 20;
const MOST_LAYERS: usize = 1 << 10;

/// In our own form; only what that form has a place for.
impl Serialize for VilmConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match OwnConfig::of(self) {
            Some(own) => own.serialize(serializer),
            None => Err(S::Error::custom(format!("a model of the family {} is no model of ours", self.family))),
        }
    }
}

impl<'de> Deserialize<'de> for VilmConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        OwnConfig::deserialize(deserializer).map(Self::from)
    }
}

fn not_a_config(name: &str, error: &serde_json::Error) -> Error {
    Error::File {
        file: name.into(),
        problem: format!("is not a model configuration ({error})"),
        remedy: "use the config.json that came with the weights".into(),
    }
}

impl VilmConfig {
    /// Reads a config.json of any family, and with `beside` what else its folder holds.
    ///
    /// # Errors
    /// [`Error::File`] with the place of the mistake or for a model of an unknown family, [`Error::Config`] for sizes that
    /// contradict each other.
    pub fn read(files: &Files<'_>) -> Result<Self> {
        let json: Value = serde_json::from_slice(files.config).map_err(|error| not_a_config(files.name, &error))?;
        let family = FAMILIES.iter().find(|family| (family.recognises)(&json));
        if let (None, Some(kind)) = (family, json.get("model_type")) {
            let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
            return Err(Error::File {
                file: files.name.into(),
                problem: format!("describes a model of the type {kind}"),
                remedy: format!("use a model of one of these families: {}", known.join(", ")),
            });
        }
        // Another file that no family knows is read as our own, which says where it is wrong.
        let config = family.map_or_else(|| Self::from_own(files.name, files.config), |family| (family.read)(files))?;
        config.validate()?;
        Ok(config)
    }

    /// Reads a config.json that needs no other file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self> {
        Self::read(&Files { name, config: json, beside: &|_| Ok(None) })
    }

    /// Our own form; unknown keys are refused.
    pub(crate) fn from_own(name: &str, json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| not_a_config(name, &error))
    }

    /// Our own form as a file.
    pub(crate) fn to_own(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let json = serde_json::to_vec_pretty(self).map_err(|error| Error::Config {
            key: "family",
            value: self.family.into(),
            remedy: format!("its config.json has another form ({error})"),
        })?;
        Ok(vec![("config.json", json)])
    }

    /// The family of the model.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that is in no list.
    pub fn family(&self) -> Result<&'static Family> {
        family(self.family).ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
            Error::Config { key: "family", value: self.family.into(), remedy: format!("one of {}", known.join(", ")) }
        })
    }

    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// [`Error::Config`] with the value at fault and what it contradicts.
    pub fn validate(&self) -> Result<()> {
        self.preprocess.validate()?;
        self.vision.check()?;
        let language = &self.answer.language;
        self.answer.validate()?;
        let (depth, feed_forward) = self.vision.depth_and_feed_forward();
        let mut most = vec![
            ("vision.depth", depth, MOST_LAYERS),
            ("language.layers", language.layers, MOST_LAYERS),
            ("vision.frames", self.vision.frames(), MOST_LAYERS),
            ("vision.image_size", self.vision.image_size(), MOST_LAYERS * 4),
            ("vision.width", self.vision.width(), LARGEST_SIZE),
            ("vision.mlp_hidden", feed_forward, LARGEST_SIZE),
            ("vision.tokens", self.vision.tokens(), LARGEST_SIZE),
            ("language.hidden", language.hidden, LARGEST_SIZE),
            ("language.heads", language.heads, LARGEST_SIZE),
            ("language.head_dim", language.head_dim, LARGEST_SIZE),
            ("language.intermediate", language.intermediate, LARGEST_SIZE),
            ("language.vocabulary", language.vocabulary, 16 * LARGEST_SIZE),
        ];
        if let Some(QFormerBridgeConfig { qformer, .. }) = self.answer.qformer() {
            most.extend([
                ("qformer.layers", qformer.layers, MOST_LAYERS),
                ("qformer.vocabulary", qformer.vocabulary.unwrap_or(0), 16 * LARGEST_SIZE),
                ("qformer.max_positions", qformer.max_positions, LARGEST_SIZE),
                ("qformer.hidden", qformer.hidden, LARGEST_SIZE),
                ("qformer.intermediate", qformer.intermediate, LARGEST_SIZE),
            ]);
        }
        if let Some((key, value, most)) = most.into_iter().find(|(_, value, most)| value > most) {
            return Err(Error::Config { key, value: value.to_string(), remedy: format!("at most {most} is believed") });
        }
        let mut equal = vec![(
            "preprocess.resolution",
            Some(self.preprocess.resolution()),
            "the vision encoder sees",
            self.vision.image_size(),
        )];
        if let Some(bridge) = self.answer.qformer() {
            let personal = bridge.personal.as_ref();
            let tokens = bridge.tiles * self.vision.tokens();
            let identity = self.vision.identity_width().unwrap_or(0);
            let gives = "the vision encoder gives";
            equal.extend([
                ("answer.tiles", Some(bridge.tiles), "the preprocessing makes", self.preprocess.tiles()),
                ("qformer.encoder_width", Some(bridge.qformer.encoder_width), gives, self.vision.width()),
                ("personal.memory_tokens", personal.map(|personal| personal.memory_tokens), gives, tokens),
                ("personal.identity_width", personal.map(|personal| personal.identity_width), gives, identity),
            ]);
        }
        match equal
            .into_iter()
            .find_map(|(key, mine, whose, its)| mine.filter(|mine| *mine != its).map(|mine| (key, mine, whose, its)))
        {
            None => Ok(()),
            Some((key, mine, whose, its)) => {
                Err(Error::Config { key, value: mine.to_string(), remedy: format!("{whose} {its}") })
            }
        }
    }
}
