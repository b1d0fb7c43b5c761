//! A checkpoint in a folder: one safetensors file or several with an index, under the public names or ours.

mod files;
mod load;
mod save;
mod values;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use burn::tensor::FloatDType;
use pvchat_nn::{packed::Precision, weights::TensorSource};
use sha2::{Digest, Sha256};

pub(crate) use load::{in_tower, is_large_part};
pub use save::{Planned, save, write};

use crate::{Error, Result};
pub(crate) use files::hexadecimal;
use files::{fingerprint_of, inside, is_pickled, read_index};

/// The one file of a small checkpoint.
pub use pvchat_nn::weights::SINGLE;
/// The list of a large checkpoint's files.
pub const INDEX: &str = "model.safetensors.index.json";
/// The one file of a small checkpoint that PyTorch saved.
const PICKLED: &str = "pytorch_model.bin";
/// The list of a large one's files.
const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";
/// What to do about files that do not belong together.
const FETCH_ALL: &str = "fetch all files of the checkpoint again";

/// A checkpoint whose values stay on disk until [`load`](Self::load) puts them into a model, one tensor after another.
pub struct Checkpoint {
    origin: PathBuf,
    source: TensorSource,
    /// The file of each tensor, where there are several.
    homes: HashMap<String, PathBuf>,
    fingerprint: String,
    precision: FloatDType,
    packing: Option<Packing>,
}

/// What is packed while a model is read.
#[derive(Clone, Copy, Debug)]
struct Packing {
    precision: Precision,
    /// Nothing but the encoder, so that the rest can be trained.
    encoder_only: bool,
}

/// What [`Checkpoint::load`] found in addition to the parameters that it filled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// Groups of parameters that the checkpoint lacks and may lack; they have their initial values.
    pub created: Vec<&'static str>,
    /// Names that this program has no use for.
    pub ignored: Vec<String>,
    /// Rows that fine-tuning added to the word table and to the head, in that order, subject by subject.
    pub subject_rows: Option<[Vec<Vec<f32>>; 2]>,
}

impl Checkpoint {
    /// Opens the checkpoint of a folder: `model.safetensors`, or the files that `model.safetensors.index.json` lists; where
    /// there is neither, `pytorch_model.bin` or those of its index.
    /// Reads the files once, for the fingerprint.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read; [`Error::File`] when one is damaged, when the index is not one, names
    /// files outside the folder, files that are missing or tensors that are not where it says, and when two files hold the
    /// same tensor.
    pub fn open(folder: &Path) -> Result<Self> {
        let [single, pickled] = [SINGLE, PICKLED].map(|name| folder.join(name));
        let indices = [INDEX, PICKLED_INDEX].map(|name| folder.join(name));
        let (origin, files, index) = if single.is_file() {
            (single.clone(), vec![single], None)
        } else if !indices.iter().any(|index| index.is_file()) && pickled.is_file() {
            (pickled.clone(), vec![pickled], None)
        } else {
            let [path, pickled] = indices;
            let path = if !path.is_file() && pickled.is_file() { pickled } else { path };
            if !path.exists() {
                return Err(Error::File {
                    file: folder.to_path_buf(),
                    problem: format!("holds no weights, neither {SINGLE} nor {INDEX}, and none of PyTorch"),
                    remedy: "name the folder that the weights lie in, or fetch them".into(),
                });
            }
            let index = read_index(&path)?;
            let names: BTreeSet<&String> = index.weight_map.values().collect();
            let files = names.into_iter().map(|name| inside(&path, folder, name)).collect::<Result<Vec<_>>>()?;
            (path, files, Some(index))
        };
        let wrong = |problem: String| Error::File { file: origin.clone(), problem, remedy: FETCH_ALL.into() };
        if files.is_empty() {
            return Err(wrong("lists no file".into()));
        }
        let mut homes: HashMap<String, PathBuf> = HashMap::new();
        let mut source: Option<TensorSource> = None;
        for file in &files {
            if index.is_some() && !file.exists() {
                let index = origin.file_name().unwrap_or_default().display();
                let problem = format!("is missing, though {index} lists it");
                return Err(Error::File { file: file.clone(), problem, remedy: FETCH_ALL.into() });
            }
            let shard = if is_pickled(file) { TensorSource::open_pytorch(file)? } else { TensorSource::open(file)? };
            for name in shard.names() {
                if let Some(other) = homes.insert(name.to_string(), file.clone()) {
                    return Err(wrong(format!("`{name}` stands in {} and in {}", other.display(), file.display())));
                }
            }
            source = Some(match source {
                Some(source) => source.join(shard),
                None => shard,
            });
        }
        for (name, file) in index.iter().flat_map(|index| &index.weight_map) {
            if homes.get(name).and_then(|home| home.file_name()).is_none_or(|home| home != file.as_str()) {
                return Err(wrong(format!("says that `{name}` is in {file}, where it is not")));
            }
        }
        let Some(source) = source else { return Err(wrong("lists no file".into())) };
        let fingerprint = fingerprint_of(&files)?;
        Ok(Self { origin, source, homes, fingerprint, precision: FloatDType::F32, packing: None })
    }

    /// A checkpoint in memory; `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::File`] when the bytes are cut short or are not safetensors.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let fingerprint = hexadecimal(&Sha256::digest(&bytes));
        let source = TensorSource::from_bytes(name, bytes)?;
        Ok(Self { origin: name.into(), source, homes: HashMap::new(), fingerprint, precision: FloatDType::F32, packing: None })
    }

    /// Adds the tensors of another checkpoint, the language model of a plain Mistral file for example; where both have
    /// one, `other`'s is used. The fingerprint is that of both.
    pub fn join(self, other: Self) -> Self {
        let fingerprint = hexadecimal(&Sha256::digest(format!("{} {}", self.fingerprint, other.fingerprint)));
        let (mut homes, theirs) = (self.homes, other.source.names().map(String::from).collect::<Vec<_>>());
        // A checkpoint in memory has one home for all of its tensors.
        homes.extend(theirs.into_iter().map(|name| (name, other.origin.clone())));
        homes.extend(other.homes);
        Self { source: self.source.join(other.source), homes, fingerprint, ..self }
    }

    /// Identifies the weights: the first 8 bytes of the SHA-256 of the file, or of those of the files in the order of their
    /// names.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The float type that the weights of the encoder and of the language model are cast to, f32 unless set. Everything else
    /// is cast to f32: it is small, and what is trained of it moves in steps that half precision does not tell apart.
    pub fn in_precision(mut self, precision: FloatDType) -> Self {
        self.precision = precision;
        self
    }

    /// The matrices of the encoder and of the language model are packed when a [`Vilm`](crate::vilm::Vilm) is made from it.
    pub fn packed(mut self, precision: Precision) -> Self {
        self.packing = Some(Packing { precision, encoder_only: false });
        self
    }

    /// As [`packed`](Self::packed), but for the matrices of the encoder alone, where it has such a form: what comes after it can be
    /// trained.
    pub fn packed_encoder(mut self, precision: Precision) -> Self {
        self.packing = Some(Packing { precision, encoder_only: true });
        self
    }
}
