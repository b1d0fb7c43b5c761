//! A model in files: config.json, tokenizer.json, weights.

use std::{path::Path, sync::Arc};

use burn::{prelude::*, tensor::FloatDType};
use pvchat_data::random::SeededStream;

use super::{
    Vilm, VilmConfig,
    room::{Kept, check_memory},
};
use crate::{
    Error, Result,
    checkpoint::{self, Checkpoint, Loaded},
    families::Files,
    prompt::TextCodec,
    sight::Shown,
    vision::VisionEncoder,
};
use pvchat_nn::{
    file::{LARGEST_TEXT_FILE, read_regular, write_whole},
    packed::Precision,
};

/// Files of weights are at most that large, in bytes; a larger model is written into several.
const SHARD_BYTES: usize = 4_000_000_000;
/// What decides the shape of a model.
const CONFIG: &str = "config.json";

impl Vilm {
    /// Opens a model from its three parts in memory.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Checkpoint`] when a part is damaged or they do not belong together,
    /// [`Error::Config`] for sizes that contradict each other.
    pub fn from_bytes(config: &[u8], tokenizer: &[u8], weights: Vec<u8>, device: &Device) -> Result<Self> {
        let config = VilmConfig::from_json("config.json", config)?;
        let codec = TextCodec::from_bytes("tokenizer.json", tokenizer, config.prompt.clone())?;
        let checkpoint = Checkpoint::from_bytes("model.safetensors", weights)?;
        Ok(Self::from_checkpoint(config, codec, &checkpoint, device)?.0)
    }

    /// Opens a model in a folder: `config.json` ([`VilmConfig`]), `tokenizer.json` (of the tokenizers library) and the
    /// weights, `model.safetensors` or the files that `model.safetensors.index.json` lists. They may have the names of the
    /// public checkpoints.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes), [`Error::Io`] for files that cannot be read, and [`Error::File`] for a model that this
    /// machine's memory cannot hold, before anything of it is read.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        Self::open_in(FloatDType::F32, folder, device)
    }

    /// As [`open`](Self::open), with the weights of the published encoder and of the language model in `precision`: `BF16` halves
    /// the memory that the full model takes, and on a GPU the time. Everything else stays f32, above all what is trained.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::Config`] when the device does not compute in `precision` or the encoder is the
    /// miniature's.
    pub fn open_in(precision: FloatDType, folder: &Path, device: &Device) -> Result<Self> {
        let (config, codec) = read_texts(folder)?;
        let wrong =
            |remedy: &str| Err(Error::Config { key: "precision", value: format!("{precision:?}"), remedy: remedy.into() });
        if precision != FloatDType::F32 && config.vision.needs_f32() {
            return wrong("this encoder computes in F32 only");
        }
        if !device.supports_dtype(precision) {
            return wrong("this device does not compute in it; use F32");
        }
        check_memory(&config, Kept::Tensors(8 * burn::tensor::DType::from(precision).size()), folder, device)?;
        Ok(Self::from_checkpoint(config, codec, &Checkpoint::open(folder)?.in_precision(precision), device)?.0)
    }

    /// As [`open`](Self::open), for asking on a CPU: the matrices of the language model, and of the encoder where it has such a form,
    /// are packed in `precision` while they are read, so that the whole of them is never in memory. Such a model cannot be
    /// trained or saved. Adapters and routers of a subject work on top of the packed products
    /// ([`Decoder::pack_adapters`](pvchat_nn::language::Decoder::pack_adapters)); a subject that changes more of the base is refused.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::Nn`] for weights that cannot be rounded.
    pub fn open_packed(precision: Precision, folder: &Path, device: &Device) -> Result<Self> {
        let (config, codec) = read_texts(folder)?;
        check_memory(&config, Kept::Packed(precision), folder, device)?;
        Ok(Self::from_checkpoint(config, codec, &Checkpoint::open(folder)?.packed(precision), device)?.0)
    }

    /// As [`open`](Self::open), for training on a CPU: only the matrices of the encoder are packed in `precision`, where it has such a
    /// form. Training looks at every clip once and leaves the encoder as it is, so that this is faster and takes less memory; the
    /// person is learned from what the encoder shows when packed weights are asked. Such a model cannot be saved.
    ///
    /// # Errors
    /// As [`open_packed`](Self::open_packed).
    pub fn open_with_packed_encoder(precision: Precision, folder: &Path, device: &Device) -> Result<Self> {
        let (config, codec) = read_texts(folder)?;
        check_memory(&config, Kept::Tensors(32), folder, device)?;
        Ok(Self::from_checkpoint(config, codec, &Checkpoint::open(folder)?.packed_encoder(precision), device)?.0)
    }

    /// Fills a new model from a checkpoint. Parameters that a public checkpoint lacks (routers, personal query tokens,
    /// adapters) are drawn from a fixed seed; everything else that was found is returned with the model.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_checkpoint(
        config: VilmConfig,
        codec: TextCodec,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<(Self, Loaded)> {
        let device = device.clone().inner();
        let mut parameters = config.init(&SeededStream::new(0), &device)?;
        let loaded = checkpoint.load_model(&mut parameters, config.family()?.names)?;
        let mut vilm = Self::from_parts(parameters, config, codec, checkpoint.fingerprint().to_string(), device)?;
        vilm.found = loaded.subject_rows.clone().map(Arc::new);
        Ok((vilm, loaded))
    }

    /// Writes the model into a folder that [`open`](Self::open) reads, its weights under the public names.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written; [`Error::Config`] for a model that has no such files or packed weights.
    pub fn save(&self, folder: &Path) -> Result<()> {
        if self.parameters.answer.lm.packed().is_some() || self.parameters.vision_encoder.is_packed() {
            let remedy = "open the model without packing it to write it".into();
            return Err(Error::Config { key: "packed weights", value: "to be saved".into(), remedy });
        }
        let family = self.config.family()?;
        let mut files = (family.write)(&self.config)?;
        files.push(("tokenizer.json", self.codec.tokenizer_json()?.into_bytes()));
        checkpoint::save(&self.parameters, folder, SHARD_BYTES, family.names)?;
        for (name, bytes) in files {
            write_whole(&folder.join(name), |file, _| std::io::Write::write_all(file, &bytes))?;
        }
        Ok(())
    }
}

/// What a folder says about its model, and how it reads and writes.
fn read_texts(folder: &Path) -> Result<(VilmConfig, TextCodec)> {
    let config = VilmConfig::open(folder)?;
    let tokenizer = folder.join("tokenizer.json");
    let codec = TextCodec::open(&tokenizer, config.prompt.clone())?;
    if let Some(pictures) = &config.prompt.pictures {
        // A tokenizer without the tokens of a picture is refused here and not at the first question.
        (pictures.prefix)(&codec, &[Shown::WHOLE]).map_err(|error| match error {
            Error::File { problem, remedy, .. } => Error::File { file: tokenizer, problem, remedy },
            other => other,
        })?;
    }
    Ok((config, codec))
}

impl VilmConfig {
    /// Reads the config.json of a folder, of any family, with the small files next to it.
    ///
    /// # Errors
    /// As [`read`](Self::read), with [`Error::File`] that names the file in place of [`Error::Config`]; [`Error::Io`] for files that
    /// cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let read = |name: &str| read_regular(&folder.join(name), LARGEST_TEXT_FILE, "use the file that came with the weights");
        let beside = |name: &str| match folder.join(name).exists() {
            true => Ok(Some(read(name)?)),
            false => Ok(None),
        };
        let file = folder.join(CONFIG);
        let name = file.display().to_string();
        Self::read(&Files { name: &name, config: &read(CONFIG)?, beside: &beside }).map_err(|error| match error {
            Error::Config { key, value, remedy } => {
                let problem = format!("cannot be used: {key} = {value}, here or in a file next to it");
                Error::File { file, problem, remedy }
            }
            other => other,
        })
    }
}
