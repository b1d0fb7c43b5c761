//! From the tensors of a checkpoint to the parameters of a model.

use std::{collections::BTreeMap, path::Path};

use burn::{
    module::Module,
    store::{KeyRemapper, bridge, burn_pack::Tensor as StoredTensor},
    tensor::{DType, FloatDType},
};
use pvchat_nn::{
    packed::{Order, Precision, Weights},
    weights::{
        Applied, apply_tensors,
        inventory::{ParameterSpec, parameters},
    },
};

use super::{
    Checkpoint, Loaded, Packing,
    values::{Damaged, finite, rows},
};
use crate::{
    Error, Result,
    error::ShapeMismatch,
    families::{NameTable, VisionTower},
    parameters::VilmParameters,
    vision::VisionEncoder,
};

/// The most rows of subjects that a word table is believed to have grown by.
const MOST_SUBJECT_ROWS: usize = 1024;

/// Where the vision encoder is among the parameters of a model.
const TOWER: &str = "vision_encoder.";

/// Whether the encoder packs this parameter of the model.
pub(crate) fn in_tower(tower: &VisionTower, name: &str) -> bool {
    name.strip_prefix(TOWER).is_some_and(|own| tower.packs(own))
}

impl Checkpoint {
    /// Fills a model, as [`load`](Self::load), packing what is to be [packed](Self::packed).
    pub(crate) fn load_model(&self, parameters: &mut VilmParameters, names: &NameTable) -> Result<Loaded> {
        match self.packing {
            Some(packing) => self.load_packed(parameters, names, packing),
            None => self.load(parameters, names),
        }
    }

    /// Fills the parameters of `module`, whose names are those of [`VilmParameters`]; `names` says
    /// what they are called in the checkpoint.
    ///
    /// Everything is compared by names and shapes before the first value is read. Values are then read, converted and
    /// handed over tensor by tensor: apart from the model, at most one of them is in memory.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with all keys that are missing, unexpected or of another shape; [`Error::File`] when two
    /// names mean the same parameter, values are no floats, are not finite or cannot be read. The module is then to be thrown
    /// away: some of its parameters may have been filled.
    pub fn load<M: Module>(&self, module: &mut M, names: &NameTable) -> Result<Loaded> {
        let (loaded, chosen, damaged) = self.choose(module, names)?;
        self.fill(module, chosen, &damaged)?;
        Ok(loaded)
    }

    /// As [`load`](Self::load), but matrices are packed as they are read: apart from the model, at most one layer's values are in
    /// memory. The word table is kept as the file has it.
    fn load_packed(&self, module: &mut VilmParameters, names: &NameTable, packing: Packing) -> Result<Loaded> {
        let Packing { precision, encoder_only } = packing;
        let (loaded, chosen, damaged) = self.choose(module, names)?;
        let of_bridge = module.answer.bridge.packable().filter(|_| !encoder_only).map(|name| format!("answer.{name}"));
        let is_packed = |name: &str| {
            let in_tower = in_tower(&module.vision_encoder, name);
            let in_decoder = name.starts_with("answer.lm.") && name.ends_with(".base.weight");
            (in_decoder && !encoder_only) || in_tower || of_bridge.as_deref() == Some(name)
        };
        let (matrices, others): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|tensor| is_packed(&tensor.name));
        let (table, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|tensor| !encoder_only && tensor.name == GROWING[0]);
        self.fill(module, others, &damaged)?;
        if !encoder_only {
            self.pack_decoder(module, precision, (&matrices, table), &damaged)?;
        }
        let get = |name: String| self.weights(&matrices, &name, &damaged);
        if matrices.iter().any(|matrix| in_tower(&module.vision_encoder, &matrix.name)) {
            module.vision_encoder.pack(precision, &mut |name| get(format!("{TOWER}{name}")))?;
        }
        if let Some(name) = &of_bridge {
            module.answer.bridge.pack(precision, &get(name.clone())?)?;
        }
        Ok(loaded)
    }

    /// Packs the language model, whose other parameters are filled, all but the word table.
    fn pack_decoder(
        &self,
        module: &mut VilmParameters,
        precision: Precision,
        (matrices, table): (&[StoredTensor], Vec<StoredTensor>),
        damaged: &Damaged,
    ) -> Result<()> {
        // The language model's own error has a place for that of the file.
        let mut failure = None;
        let packed = module.answer.lm.pack(precision, &mut |name| {
            self.weights(matrices, &format!("answer.lm.{name}"), damaged).map_err(|error| {
                let text = error.to_string();
                failure = Some(error);
                pvchat_nn::Error::Config { key: "weights", value: name.into(), remedy: text }
            })
        });
        if let Some(error) = failure {
            return Err(error);
        }
        packed?;
        // Half of the memory, where the backend has such tensors; ndarray has none.
        let keeps_half = module.devices().iter().all(|device| device.supports_dtype(FloatDType::BF16));
        for tensor in table {
            let dtype = if precision == Precision::F32 || !keeps_half { DType::F32 } else { tensor.dtype };
            let source = self.source.with_tensors(vec![tensor]).with_dtype(Some(dtype));
            let applied = apply_tensors(module, &source, &[]);
            if let Some(name) = damaged.take() {
                return Err(self.not_finite(&name));
            }
            check_placed(&applied?, &self.origin)?;
        }
        Ok(())
    }

    /// One matrix in PyTorch's layout.
    fn weights(&self, matrices: &[StoredTensor], name: &str, damaged: &Damaged) -> Result<Weights> {
        let wrong = |problem: String| Error::File {
            file: self.origin.clone(),
            problem: format!("`{name}` {problem}"),
            remedy: "fetch it again".into(),
        };
        let found = matrices.iter().find(|tensor| tensor.name == name).ok_or_else(|| wrong("is missing".into()))?;
        let data = bridge::to_data(found).map_err(|error| match damaged.take() {
            Some(name) => self.not_finite(&name),
            None => wrong(format!("cannot be read: {error:?}")),
        })?;
        let [outputs, inputs] = found.shape.to_vec()[..] else { return Err(wrong("is no matrix".into())) };
        let numbers =
            data.convert::<f32>().try_into_vec::<f32>().map_err(|error| wrong(format!("holds no floats: {error:?}")))?;
        Ok(Weights { numbers, order: Order::OutputsInputs, sizes: [inputs, outputs] })
    }

    /// What the checkpoint has for each parameter, compared by names and shapes.
    fn choose<M: Module>(&self, module: &M, names: &NameTable) -> Result<(Loaded, Vec<StoredTensor>, Damaged)> {
        let specs: BTreeMap<String, Vec<usize>> =
            parameters(module).into_iter().map(|ParameterSpec { name, shape }| (name, shape)).collect();
        let table = KeyRemapper::from_patterns(names.renames.to_vec()).map_err(|error| Error::Config {
            key: "renames",
            value: format!("{:?}", names.renames),
            remedy: format!("these are patterns of this program ({error})"),
        })?;
        let (renamed, _) = table.remap(self.source.tensors().to_vec());
        let wrong = |problem: String| Error::File {
            file: self.origin.clone(),
            problem,
            remedy: "use a checkpoint of this model's shape".into(),
        };
        let (mut chosen, mut homes) = (Vec::with_capacity(renamed.len()), BTreeMap::new());
        let (mut unexpected, mut mismatched) = (Vec::new(), Vec::new());
        let mut loaded = Loaded::default();
        let mut grown: BTreeMap<&str, StoredTensor> = BTreeMap::new();
        let damaged = Damaged::default();
        for (public, tensor) in self.source.tensors().iter().map(|tensor| &tensor.name).zip(renamed) {
            if (names.ignored)(public) {
                loaded.ignored.push(public.clone());
                continue;
            }
            let Some(expected) = specs.get(&tensor.name) else {
                unexpected.push(public.clone());
                continue;
            };
            if let Some(other) = homes.insert(tensor.name.clone(), public) {
                return Err(wrong(format!("`{public}` and `{other}` are the same parameter")));
            }
            if !matches!(tensor.dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16) {
                return Err(wrong(format!("`{public}` holds {:?} where floats are needed", tensor.dtype)));
            }
            let found = tensor.shape.to_vec();
            match GROWING.iter().find(|name| **name == tensor.name && is_grown(&found, expected)) {
                _ if found == *expected => chosen.push(finite(tensor, public, &damaged)),
                Some(name) => {
                    chosen.push(finite(rows(&tensor, 0, expected[0]), public, &damaged));
                    let added = rows(&tensor, expected[0], found[0] - expected[0]);
                    grown.insert(name, finite(added, public, &damaged));
                }
                None => mismatched.push(ShapeMismatch { key: public.clone(), found, expected: expected.clone() }),
            }
        }
        let mut absent: Vec<&String> = specs.keys().filter(|name| !homes.contains_key(*name)).collect();
        for (copy, original) in names.tied {
            let found = chosen.iter().find(|tensor| tensor.name == *original).cloned();
            if let (Some(place), Some(mut tensor)) = (absent.iter().position(|name| *name == copy), found) {
                absent.remove(place);
                tensor.name = copy.to_string();
                chosen.push(tensor);
            }
        }
        for (group, belongs) in names.optional {
            let size = specs.keys().filter(|name| belongs(name)).count();
            if size > 0 && absent.iter().filter(|name| belongs(name)).count() == size {
                absent.retain(|name| !belongs(name));
                loaded.created.push(group);
            }
        }
        if !(absent.is_empty() && unexpected.is_empty() && mismatched.is_empty()) {
            let missing = absent.into_iter().map(|name| (names.public_name)(name)).collect();
            return Err(Error::Checkpoint { file: self.origin.clone(), missing, unexpected, mismatched });
        }
        if let (Some(words), Some(head)) = (grown.get(GROWING[0]), grown.get(GROWING[1])) {
            let values = |tensor: &StoredTensor| {
                let data = bridge::to_data(tensor).map_err(|error| match damaged.take() {
                    Some(name) => self.not_finite(&name),
                    None => wrong(format!("`{}`: {error:?}", tensor.name)),
                })?;
                let values: Vec<f32> = data.iter::<f32>().collect();
                Ok::<Vec<Vec<f32>>, Error>(values.chunks(tensor.shape.to_vec()[1].max(1)).map(<[f32]>::to_vec).collect())
            };
            loaded.subject_rows = Some([values(words)?, values(head)?]);
        }
        Ok((loaded, chosen, damaged))
    }

    fn not_finite(&self, name: &str) -> Error {
        Error::File {
            file: self.homes.get(name).unwrap_or(&self.origin).clone(),
            problem: format!("`{name}` holds a value that is not finite"),
            remedy: "fetch the file again; if it stays so, the weights are broken where they were published".into(),
        }
    }

    /// Puts values into their parameters.
    fn fill<M: Module>(&self, module: &mut M, chosen: Vec<StoredTensor>, damaged: &Damaged) -> Result<()> {
        let (large, small): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|tensor| is_large_part(&tensor.name));
        for (tensors, precision) in [(large, self.precision), (small, FloatDType::F32)] {
            let source = self.source.with_tensors(tensors).with_dtype(Some(precision.into()));
            let applied = apply_tensors(module, &source, &[]);
            if let Some(name) = damaged.take() {
                return Err(self.not_finite(&name));
            }
            check_placed(&applied?, &self.origin)?;
        }
        Ok(())
    }
}

/// Shapes and names were compared before; what found no place would be a mistake of this program.
fn check_placed(applied: &Applied, file: &Path) -> Result<()> {
    match applied.unused.first() {
        None => Ok(()),
        Some(name) => Err(Error::File {
            file: file.into(),
            problem: format!("`{name}` found no place"),
            remedy: "use a checkpoint of this model's shape".into(),
        }),
    }
}

/// Whether a parameter is one of the encoder's or the language model's own, which may be in half precision.
pub(crate) fn is_large_part(name: &str) -> bool {
    (name.starts_with("vision_encoder.") || name.starts_with("answer.lm.")) && !name.contains(".lora.")
}

/// The tables that fine-tuning adds a row per subject to.
const GROWING: [&str; 2] = ["answer.lm.embed_tokens.weight", "answer.lm.lm_head.base.weight"];

fn is_grown(found: &[usize], expected: &[usize]) -> bool {
    found.len() == 2
        && expected.len() == 2
        && found[1] == expected[1]
        && (expected[0]..=expected[0] + MOST_SUBJECT_ROWS).contains(&found[0])
}
