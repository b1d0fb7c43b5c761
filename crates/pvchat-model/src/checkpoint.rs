//! A checkpoint in a folder: one safetensors file or several with an index, under the public names or ours.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{Read, Write},
    path::{Component, Path, PathBuf},
};

use burn::{
    module::Module,
    store::{BurnToPyTorchAdapter, KeyRemapper, ModuleSnapshot, bridge, burn_pack::Tensor as StoredTensor},
    tensor::{DType, FloatDType, TensorData},
};
use rayon::prelude::*;
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result, error::ShapeMismatch, families::NameTable};
use pvchat_nn::{
    file::{open_regular, read_regular, write_whole},
    weights::{
        TensorSource, apply_tensors,
        inventory::{ParameterSpec, parameters},
    },
};

/// The one file of a small checkpoint.
pub use pvchat_nn::weights::SINGLE;
/// The list of a large checkpoint's files.
pub const INDEX: &str = "model.safetensors.index.json";
/// The largest index that is read, in bytes.
const LARGEST_INDEX: u64 = 64 << 20;
/// The most rows of subjects that a word table is believed to have grown by.
const MOST_SUBJECT_ROWS: usize = 1024;

/// The list of files as the transformers library writes it.
#[derive(Serialize, Deserialize)]
struct Index {
    #[serde(default)]
    metadata: serde_json::Value,
    weight_map: BTreeMap<String, String>,
}

/// A checkpoint whose values stay on disk until [`load`](Self::load) puts them into a model, one tensor after another.
pub struct Checkpoint {
    origin: PathBuf,
    source: TensorSource,
    fingerprint: String,
    precision: FloatDType,
}

/// What [`Checkpoint::load`] found beside the parameters that it filled.
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
    /// Opens the checkpoint of a folder: `model.safetensors`, or the files that `model.safetensors.index.json` lists.
    /// Reads the files once, for the fingerprint.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read; [`Error::File`] when one is damaged, when the index is not one, names
    /// files outside the folder or tensors that are not where it says, and when two files hold the same tensor.
    pub fn open(folder: &Path) -> Result<Self> {
        let single = folder.join(SINGLE);
        let (origin, files, index) = if single.is_file() {
            (single.clone(), vec![single], None)
        } else {
            let path = folder.join(INDEX);
            let index = read_index(&path)?;
            let names: BTreeSet<&String> = index.weight_map.values().collect();
            let files = names.into_iter().map(|name| inside(&path, folder, name)).collect::<Result<Vec<_>>>()?;
            (path, files, Some(index))
        };
        let wrong = |problem: String| Error::File {
            file: origin.clone(),
            problem,
            remedy: "fetch all files of the checkpoint again".into(),
        };
        if files.is_empty() {
            return Err(wrong("lists no file".into()));
        }
        let mut homes: HashMap<String, &Path> = HashMap::new();
        let mut source: Option<TensorSource> = None;
        for file in &files {
            let shard = TensorSource::open(file)?;
            for name in shard.names() {
                if let Some(other) = homes.insert(name.to_string(), file) {
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
        Ok(Self { origin, source, fingerprint, precision: FloatDType::F32 })
    }

    /// A checkpoint in memory; `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::File`] when the bytes are cut short or are not safetensors.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let fingerprint = hexadecimal(&Sha256::digest(&bytes));
        let source = TensorSource::from_bytes(name, bytes)?;
        Ok(Self { origin: name.into(), source, fingerprint, precision: FloatDType::F32 })
    }

    /// Adds the tensors of another checkpoint, the language model of a plain Mistral file for example; where both have
    /// one, `other`'s is used. The fingerprint is that of both.
    pub fn join(self, other: Self) -> Self {
        let fingerprint = hexadecimal(&Sha256::digest(format!("{} {}", self.fingerprint, other.fingerprint)));
        Self { source: self.source.join(other.source), fingerprint, ..self }
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

    /// Fills the parameters of `module`, whose names are those of [`VilmParameters`](crate::vilm::VilmParameters); `names` says
    /// what they are called in the checkpoint.
    ///
    /// Everything is compared by names and shapes before the first value is read. Values are then read, converted and
    /// handed over tensor by tensor: beside the model never more than one of them is in memory.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with all keys that are missing, unexpected or of another shape; [`Error::File`] when two
    /// names mean the same parameter, values are no floats or cannot be read.
    pub fn load<M: Module>(&self, module: &mut M, names: &NameTable) -> Result<Loaded> {
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
                _ if found == *expected => chosen.push(tensor),
                Some(name) => {
                    chosen.push(rows(&tensor, 0, expected[0]));
                    grown.insert(name, rows(&tensor, expected[0], found[0] - expected[0]));
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
                let data = bridge::to_data(tensor).map_err(|error| wrong(format!("`{}`: {error:?}", tensor.name)))?;
                let values: Vec<f32> = data.iter::<f32>().collect();
                Ok::<Vec<Vec<f32>>, Error>(values.chunks(tensor.shape.to_vec()[1].max(1)).map(<[f32]>::to_vec).collect())
            };
            loaded.subject_rows = Some([values(words)?, values(head)?]);
        }
        let (large, small): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|tensor| is_large_part(&tensor.name));
        for (tensors, precision) in [(large, self.precision), (small, FloatDType::F32)] {
            let source = self.source.with_tensors(tensors).with_dtype(Some(precision.into()));
            let applied = apply_tensors(module, &source, &[])?;
            // Shapes and names were compared above; what is left would be a mistake of this program.
            if let Some(name) = applied.unused.first() {
                return Err(wrong(format!("`{name}` found no place")));
            }
        }
        Ok(loaded)
    }
}

/// Whether a parameter is one of the encoder's or the language model's own, which may be in half precision.
fn is_large_part(name: &str) -> bool {
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

/// `count` rows of a matrix from row `start` on, as lazy as the matrix.
fn rows(matrix: &StoredTensor, start: usize, count: usize) -> StoredTensor {
    let [all, width] = [matrix.shape.to_vec()[0], matrix.shape.to_vec()[1]];
    let (source, row) = (matrix.clone(), matrix.byte_len() / all.max(1));
    bridge::deferred(matrix.name.clone(), matrix.dtype, [count, width].into(), None, move || {
        let bytes = source.to_bytes()?;
        let part = bytes[start * row..(start + count) * row].to_vec();
        Ok(TensorData::from_bytes_vec(part, [count, width], source.dtype))
    })
}

fn read_index(path: &Path) -> Result<Index> {
    let text = read_regular(path, LARGEST_INDEX, "fetch it again")?;
    serde_json::from_slice(&text).map_err(|error| Error::File {
        file: path.to_path_buf(),
        problem: format!("is not the index of a checkpoint ({error})"),
        remedy: "fetch it again".into(),
    })
}

/// The path of a file that the index names; only plain names of safetensors files in the same folder.
fn inside(index: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(file)), None) if name.ends_with(".safetensors") => Ok(folder.join(file)),
        _ => Err(Error::File {
            file: index.to_path_buf(),
            problem: format!("names the file {name:?}"),
            remedy: "only safetensors files of the same folder are read".into(),
        }),
    }
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn fingerprint_of(files: &[PathBuf]) -> Result<String> {
    let digests = files.par_iter().map(|file| digest_of(file)).collect::<Result<Vec<Vec<u8>>>>()?;
    match digests.as_slice() {
        [one] => Ok(hexadecimal(one)),
        several => Ok(hexadecimal(&Sha256::digest(several.concat()))),
    }
}

fn digest_of(file: &Path) -> Result<Vec<u8>> {
    let io = |source| Error::Io { file: file.to_path_buf(), source };
    let mut reader = open_regular(file, "fetch it again")?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match reader.read(&mut buffer).map_err(io)? {
            0 => return Ok(hash.finalize().to_vec()),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Writes the parameters of `module` into a folder, under the published names, in files of at most `shard_bytes` (a larger
/// tensor gets one of its own): what [`Checkpoint::open`] reads.
///
/// One file's values are in memory at a time. Files are written under another name and renamed, the index last.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written, [`Error::File`] when a parameter has no float type of the format.
pub fn save<M: Module>(module: &M, folder: &Path, shard_bytes: usize, names: &NameTable) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| Error::Io { file: folder.to_path_buf(), source })?;
    let tensors = module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), false);
    let total: usize = tensors.iter().map(StoredTensor::byte_len).sum();
    let mut shards: Vec<(usize, Vec<StoredTensor>)> = Vec::new();
    for tensor in tensors {
        let size = tensor.byte_len();
        match shards.last_mut() {
            Some((bytes, shard)) if *bytes + size <= shard_bytes => {
                *bytes += size;
                shard.push(tensor);
            }
            _ => shards.push((size, vec![tensor])),
        }
    }
    if let [(_, only)] = shards.as_slice() {
        return write_shard(only, &folder.join(SINGLE), names).map(drop);
    }
    let mut weight_map = BTreeMap::new();
    for (number, (_, shard)) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        let written = write_shard(shard, &folder.join(&file), names)?;
        weight_map.extend(written.into_iter().map(|name| (name, file.clone())));
    }
    let index = Index { metadata: serde_json::json!({ "total_size": total }), weight_map };
    let path = folder.join(INDEX);
    let text = serde_json::to_vec_pretty(&index).map_err(|error| Error::Io { file: path.clone(), source: error.into() })?;
    Ok(write_whole(&path, |file, _| file.write_all(&text))?)
}

/// Writes one file; returns the names in it.
fn write_shard(tensors: &[StoredTensor], path: &Path, names: &NameTable) -> Result<Vec<String>> {
    let wrong = |problem: String| Error::File { file: path.into(), problem, remedy: "cast the model to floats".into() };
    let mut parts = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let dtype = match tensor.dtype {
            DType::F64 => Dtype::F64,
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            other => return Err(wrong(format!("`{}` is {other:?}", tensor.name))),
        };
        let bytes = tensor.to_bytes().map_err(|error| wrong(format!("`{}`: {error:?}", tensor.name)))?;
        parts.push(((names.public_name)(&tensor.name), dtype, tensor.shape.to_vec(), bytes));
    }
    let views = parts
        .iter()
        .map(|(name, dtype, shape, bytes)| TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view)))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    let format = Some([("format".to_string(), "pt".to_string())].into());
    write_whole(path, |_, file| safetensors::serialize_to_file(views, format, file).map_err(std::io::Error::other))?;
    Ok(parts.into_iter().map(|(name, ..)| name).collect())
}
