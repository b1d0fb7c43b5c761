//! A base that describes filmed footage, in a folder of the published layout.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use burn::{prelude::Device, tensor::FloatDType};
use pvchat_augment::Nobody;
use pvchat_model::{
    checkpoint::{self, Checkpoint},
    families::{FAMILIES, Files},
    vilm::{Vilm, VilmConfig},
};
use pvchat_nn::{
    device,
    file::{LARGEST_TEXT_FILE, read_regular},
    packed::Precision,
};
use pvchat_train::personal::{LearnConfig, Trains};
use serde::Deserialize;
use serde_json::Value;

use crate::{BaseDescriber, Error, Pvchat, Result};

/// What a folder of a base holds.
const LAYOUT: &str = "give a folder in the published layout: config.json, tokenizer.json, model.safetensors or its parts";

/// A folder with a base that describes filmed footage. Reading it costs nothing: the weights are read by [`open`](Self::open).
#[derive(Clone, Debug)]
pub struct BaseFolder {
    path: PathBuf,
    config: VilmConfig,
}

/// The part of model.safetensors.index.json that names files.
#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

impl BaseFolder {
    /// Reads the configuration, and whether the files that it needs are there.
    ///
    /// # Errors
    /// [`Error::Base`] for what is no folder, for a file that is missing, and for a base that knows drawn clips only;
    /// [`Error::Model`] for a configuration that cannot be read or is of an unknown family.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let wrong = |problem: String, remedy: &str| Error::Base { folder: path.clone(), problem, remedy: remedy.into() };
        if !path.is_dir() {
            let problem = if path.exists() { "is no folder" } else { "does not exist" };
            return Err(wrong(problem.into(), LAYOUT));
        }
        for name in ["config.json", "tokenizer.json"] {
            if !path.join(name).is_file() {
                return Err(wrong(format!("holds no {name}"), LAYOUT));
            }
        }
        let read = |name: &str| read_regular(&path.join(name), LARGEST_TEXT_FILE, "use the file that came with the weights");
        let beside = |name: &str| match path.join(name).exists() {
            true => Ok(Some(read(name)?)),
            false => Ok(None),
        };
        let (name, bytes) = (path.join("config.json").display().to_string(), read("config.json")?);
        if let Some(kind) = unknown_kind(&bytes) {
            let known: Vec<&str> = FAMILIES.iter().filter(|family| family.filmed).map(|family| family.name).collect();
            let remedy = format!("use one of the families {}; docs/bases.md says how to add one", known.join(", "));
            return Err(wrong(format!("holds a model of the type {kind:?}"), &remedy));
        }
        let config = VilmConfig::read(&Files { name: &name, config: &bytes, beside: &beside })?;
        let family = config.family()?;
        if !family.filmed {
            let problem = format!("holds a base of the family {}, which knows drawn clips only", family.name);
            return Err(wrong(problem, "use one for filmed footage: pvchat base list"));
        }
        if let Some(missing) = missing_weights(&path)? {
            return Err(wrong(format!("holds no {missing}"), "fetch all files of the base"));
        }
        Ok(Self { path, config })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The family that the base is of.
    pub fn family(&self) -> &'static str {
        self.config.family
    }

    /// Identifies the weights by their content; this reads all of them.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn fingerprint(&self) -> Result<String> {
        Ok(Checkpoint::open(&self.path)?.fingerprint().to_string())
    }

    /// How many frames of a stretch it looks at, at most.
    pub fn frames(&self) -> usize {
        self.config.vision.frames()
    }

    /// How many frames it looks at of a stretch of that many seconds.
    pub fn frames_of(&self, seconds: f64) -> usize {
        self.config.vision.frames_of(seconds)
    }

    /// Whether it can look at a picture in addition to the frames.
    pub fn sees_pictures(&self) -> bool {
        self.config.vision.most_frames().is_some()
    }

    /// Reads the weights; `name` is what answers call the base. This takes seconds, and as much memory as the weights in bf16, as
    /// which they are published.
    ///
    /// # Errors
    /// As [`Vilm::open_packed`].
    pub fn open(&self, name: impl Into<String>, device: &Device) -> Result<BaseDescriber> {
        if device::is_processor(device) {
            return self.open_packed(name, Precision::Bf16, device);
        }
        let precision = if device.supports_dtype(FloatDType::BF16) { FloatDType::BF16 } else { FloatDType::F32 };
        BaseDescriber::new(Vilm::open_in(precision, &self.path, device)?, name)
    }

    /// Reads the weights to learn somebody ([`Pvchat::learn_from`]): in f32 and not packed, because gradients need them so. On the
    /// processor the encoder is packed in bf16, as [`open`](Self::open) does, unless it is trained.
    ///
    /// # Errors
    /// As [`Vilm::open`].
    pub fn open_to_learn(&self, trains: Trains, device: &Device) -> Result<Pvchat> {
        if trains.trains_vision() || !device::is_processor(device) {
            return Pvchat::open(&self.path, device);
        }
        Ok(Pvchat::new(Vilm::open_with_packed_encoder(Precision::Bf16, &self.path, device)?, Box::new(Nobody)))
    }

    /// The training that is usual for this base: [`LearnConfig::in_decoder`], or for one with a Q-Former the defaults.
    pub fn learn_config(&self) -> LearnConfig {
        if self.config.answer.qformer().is_some() { LearnConfig::default() } else { LearnConfig::in_decoder() }
    }

    /// Whether somebody who was learned with this choice can be asked about on the weights that [`open`](Self::open) gives: those of
    /// a packed connection between encoder and language model stay as they are.
    pub fn can_ask(&self, trains: Trains) -> bool {
        self.config.answer.qformer().is_some() || matches!(trains, Trains::Composable | Trains::Personal)
    }

    /// As [`open`](Self::open), on the processor and with weights of this precision: those of eight bits are faster and take half of
    /// the memory, those of four bits a third, and answer a little worse.
    ///
    /// # Errors
    /// As [`Vilm::open_packed`].
    pub fn open_packed(&self, name: impl Into<String>, precision: Precision, device: &Device) -> Result<BaseDescriber> {
        BaseDescriber::new(Vilm::open_packed(precision, &self.path, device)?, name)
    }
}

/// The published type of a model that no family recognises.
fn unknown_kind(config: &[u8]) -> Option<String> {
    let config: Value = serde_json::from_slice(config).ok()?;
    let kind = config.get("model_type")?.as_str()?;
    let is_known = FAMILIES.iter().any(|family| (family.recognises)(&config));
    (!is_known).then(|| kind.into())
}

/// The first file of weights that a folder lacks.
fn missing_weights(folder: &Path) -> Result<Option<String>> {
    let is_there = |name: &str| folder.join(name).is_file();
    let pickled = "pytorch_model.bin";
    let index = [checkpoint::INDEX.to_string(), format!("{pickled}.index.json")].into_iter().find(|index| is_there(index));
    if is_there(checkpoint::SINGLE) || (is_there(pickled) && index.is_none()) {
        return Ok(None);
    }
    let Some(index) = index else { return Ok(Some(checkpoint::SINGLE.into())) };
    let path = folder.join(index);
    let bytes = fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|error| Error::Base {
        folder: folder.to_path_buf(),
        problem: format!("holds a damaged {} ({error})", path.file_name().unwrap_or_default().display()),
        remedy: "fetch it again".into(),
    })?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    Ok(names.into_iter().find(|name| !is_there(name)))
}
