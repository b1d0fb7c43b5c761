//! A checkpoint in a folder: one safetensors file or several with an index, under the public names or ours.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{Read, Write},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use burn::{
    module::Module,
    store::{
        BurnToPyTorchAdapter, KeyRemapper, ModuleSnapshot, bridge,
        burn_pack::{Error as PackError, Tensor as StoredTensor},
    },
    tensor::{DType, FloatDType, TensorData},
};
use rayon::prelude::*;
use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result, error::ShapeMismatch, families::NameTable, vilm::VilmParameters, vision::VisionEncoder};
use pvchat_nn::{
    file::{open_regular, read_regular, write_whole},
    packed::{Order, Precision, Weights},
    weights::{
        Applied, TensorSource, apply_tensors,
        inventory::{ParameterSpec, parameters},
    },
};

/// The one file of a small checkpoint.
pub use pvchat_nn::weights::SINGLE;
/// The list of a large checkpoint's files.
pub const INDEX: &str = "model.safetensors.index.json";
/// The one file of a small checkpoint that PyTorch saved.
const PICKLED: &str = "pytorch_model.bin";
/// The list of a large one's files.
const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";
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
    /// The file of each tensor, where there are several.
    homes: HashMap<String, PathBuf>,
    fingerprint: String,
    precision: FloatDType,
    packing: Option<Precision>,
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
    /// Opens the checkpoint of a folder: `model.safetensors`, or the files that `model.safetensors.index.json` lists; where
    /// there is neither, `pytorch_model.bin` or those of its index.
    /// Reads the files once, for the fingerprint.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read; [`Error::File`] when one is damaged, when the index is not one, names
    /// files outside the folder or tensors that are not where it says, and when two files hold the same tensor.
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
        let wrong = |problem: String| Error::File {
            file: origin.clone(),
            problem,
            remedy: "fetch all files of the checkpoint again".into(),
        };
        if files.is_empty() {
            return Err(wrong("lists no file".into()));
        }
        let mut homes: HashMap<String, PathBuf> = HashMap::new();
        let mut source: Option<TensorSource> = None;
        for file in &files {
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

    /// The matrices of the encoder and of the language model are packed when a [`Vilm`](crate::vilm::Vilm) is made of it.
    pub fn packed(mut self, precision: Precision) -> Self {
        self.packing = Some(precision);
        self
    }

    /// Fills a model, as [`load`](Self::load), packing what is to be [packed](Self::packed).
    pub(crate) fn load_model(&self, parameters: &mut VilmParameters, names: &NameTable) -> Result<Loaded> {
        match self.packing {
            Some(precision) => self.load_packed(parameters, names, precision),
            None => self.load(parameters, names),
        }
    }

    /// Fills the parameters of `module`, whose names are those of [`VilmParameters`]; `names` says
    /// what they are called in the checkpoint.
    ///
    /// Everything is compared by names and shapes before the first value is read. Values are then read, converted and
    /// handed over tensor by tensor: beside the model never more than one of them is in memory.
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

    /// As [`load`](Self::load), but matrices are packed as they are read: beside the model never more than one layer's values are in
    /// memory. The word table is kept as the file has it.
    fn load_packed(&self, module: &mut VilmParameters, names: &NameTable, precision: Precision) -> Result<Loaded> {
        let (loaded, chosen, damaged) = self.choose(module, names)?;
        let has_tower = module.vision_encoder.can_pack();
        let of_bridge = module.answer.bridge.packable().map(|name| format!("answer.{name}"));
        let is_packed = |name: &str| {
            let in_tower = has_tower && name.starts_with("vision_encoder.encoder.layers.") && !name.contains("norm");
            let in_decoder = name.starts_with("answer.lm.") && name.ends_with(".base.weight");
            in_decoder || (in_tower && name.ends_with(".weight")) || of_bridge.as_deref() == Some(name)
        };
        let (matrices, others): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|tensor| is_packed(&tensor.name));
        let (table, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|tensor| tensor.name == GROWING[0]);
        self.fill(module, others, &damaged)?;
        let get = |name: String| self.weights(&matrices, &name, &damaged);
        // The language model's own error has a place for that of the file.
        let mut failure = None;
        let packed = module.answer.lm.pack(precision, &mut |name| {
            get(format!("answer.lm.{name}")).map_err(|error| {
                let text = error.to_string();
                failure = Some(error);
                pvchat_nn::Error::Config { key: "weights", value: name.into(), remedy: text }
            })
        });
        if let Some(error) = failure {
            return Err(error);
        }
        packed?;
        for tensor in table {
            let dtype = if precision == Precision::F32 { DType::F32 } else { tensor.dtype };
            let source = self.source.with_tensors(vec![tensor]).with_dtype(Some(dtype));
            let applied = apply_tensors(module, &source, &[]);
            if let Some(name) = damaged.take() {
                return Err(self.not_finite(&name));
            }
            check_placed(&applied?, &self.origin)?;
        }
        if has_tower {
            module.vision_encoder.pack(precision, &mut |name| get(format!("vision_encoder.{name}")))?;
        }
        if let Some(name) = &of_bridge {
            module.answer.bridge.pack(precision, &get(name.clone())?)?;
        }
        Ok(loaded)
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

/// The name of a tensor whose values were read and are not finite.
#[derive(Clone, Default)]
struct Damaged(Arc<Mutex<Option<String>>>);

impl Damaged {
    fn note(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| name.into());
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The tensor, as lazy as before; whoever reads its values gets an error, and `damaged` the name, where one is not finite.
fn finite(tensor: StoredTensor, public: &str, damaged: &Damaged) -> StoredTensor {
    let (public, damaged) = (public.to_string(), damaged.clone());
    bridge::deferred(tensor.name.clone(), tensor.dtype, tensor.shape.clone(), None, move || {
        let data = bridge::to_data(&tensor)?;
        if is_finite(&data) {
            return Ok(data);
        }
        damaged.note(&public);
        Err(PackError::ValidationError("not finite".into()))
    })
}

/// Whether no value is an infinity or none at all: of both, and of no other, every bit of the exponent is set.
fn is_finite(data: &TensorData) -> bool {
    fn any<const N: usize>(bytes: &[u8], is_wrong: impl Fn([u8; N]) -> bool) -> bool {
        // Some thousands at a time without a branch, so that they are compared in wide registers.
        let wrong = |part: &[u8]| part.as_chunks::<N>().0.iter().fold(false, |found, value| found | is_wrong(*value));
        bytes.chunks(N << 12).any(wrong)
    }
    let bytes = data.as_bytes();
    !match data.dtype() {
        DType::F64 => any(bytes, |value| !(f64::from_ne_bytes(value) as f32).is_finite()),
        DType::F32 => any(bytes, |value| u32::from_ne_bytes(value) & 0x7f80_0000 == 0x7f80_0000),
        DType::F16 => any(bytes, |value| u16::from_ne_bytes(value) & 0x7c00 == 0x7c00),
        DType::BF16 => any(bytes, |value| u16::from_ne_bytes(value) & 0x7f80 == 0x7f80),
        _ => false,
    }
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

/// Whether a file is PyTorch's own, by its name.
fn is_pickled(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("pytorch_model") && name.ends_with(".bin")
}

/// The path of a file that the index names; only plain names of files of weights in the same folder.
fn inside(index: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(file)), None) if name.ends_with(".safetensors") || is_pickled(Path::new(name)) => {
            Ok(folder.join(file))
        }
        _ => Err(Error::File {
            file: index.to_path_buf(),
            problem: format!("names the file {name:?}"),
            remedy: "only files of the same folder are read, safetensors or PyTorch's pytorch_model*.bin".into(),
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

/// A tensor that is to be written, under its published name.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The name in the file.
    pub name: String,
    /// The float type.
    pub dtype: DType,
    /// The shape in PyTorch's layout.
    pub shape: Vec<usize>,
}

impl Planned {
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// Writes the parameters of `module` into a folder, under the published names, in files of at most `shard_bytes` (a larger
/// tensor gets one of its own): what [`Checkpoint::open`] reads.
///
/// One tensor's values are in memory at a time, beside the module. Files are written under another name and renamed, the
/// index last.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written, [`Error::File`] when a parameter has no float type of the format.
pub fn save<M: Module>(module: &M, folder: &Path, shard_bytes: usize, names: &NameTable) -> Result<()> {
    let tensors = module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), false);
    let plan: Vec<Planned> = tensors
        .iter()
        .map(|tensor| Planned { name: (names.public_name)(&tensor.name), dtype: tensor.dtype, shape: tensor.shape.to_vec() })
        .collect();
    write(folder, shard_bytes, &plan, |index| {
        let bytes = tensors[index].to_bytes().map_err(|error| Error::File {
            file: folder.into(),
            problem: format!("`{}` cannot be written: {error:?}", plan[index].name),
            remedy: "cast the model to floats".into(),
        })?;
        Ok(bytes.to_vec())
    })
}

/// Writes tensors whose values are made one after another, when their turn comes: `values` gets the number of a tensor in
/// `plan` and gives its little-endian bytes. The order is that of the files, not that of the plan.
///
/// # Errors
/// As [`save`], those of `values`, and [`Error::File`] when there are more or fewer bytes than the tensor has.
pub fn write(
    folder: &Path,
    shard_bytes: usize,
    plan: &[Planned],
    mut values: impl FnMut(usize) -> Result<Vec<u8>>,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| Error::Io { file: folder.to_path_buf(), source })?;
    let mut shards: Vec<(usize, Vec<usize>)> = Vec::new();
    for (index, tensor) in plan.iter().enumerate() {
        let size = tensor.bytes();
        match shards.last_mut() {
            Some((bytes, shard)) if *bytes + size <= shard_bytes => {
                *bytes += size;
                shard.push(index);
            }
            _ => shards.push((size, vec![index])),
        }
    }
    if shards.len() < 2 {
        let only = shards.pop().unwrap_or_default().1;
        return write_shard(plan, only, &folder.join(SINGLE), &mut values);
    }
    let (mut weight_map, count) = (BTreeMap::new(), shards.len());
    for (number, (_, shard)) in shards.into_iter().enumerate() {
        let file = format!("model-{:05}-of-{count:05}.safetensors", number + 1);
        weight_map.extend(shard.iter().map(|&index| (plan[index].name.clone(), file.clone())));
        write_shard(plan, shard, &folder.join(&file), &mut values)?;
    }
    let total: usize = plan.iter().map(Planned::bytes).sum();
    let index = Index { metadata: serde_json::json!({ "total_size": total }), weight_map };
    let path = folder.join(INDEX);
    let text = serde_json::to_vec_pretty(&index).map_err(|error| Error::Io { file: path.clone(), source: error.into() })?;
    Ok(write_whole(&path, |file, _| file.write_all(&text))?)
}

/// Writes one file: its header, and then tensor after tensor.
fn write_shard(
    plan: &[Planned],
    mut shard: Vec<usize>,
    path: &Path,
    values: &mut impl FnMut(usize) -> Result<Vec<u8>>,
) -> Result<()> {
    let wrong = |problem: String| Error::File { file: path.into(), problem, remedy: "cast the model to floats".into() };
    // The wide types first, so that every tensor lies at a multiple of its element's size.
    shard.sort_by_key(|&index| (std::cmp::Reverse(plan[index].dtype.size()), &plan[index].name));
    let (mut entries, mut end) = (Vec::with_capacity(shard.len()), 0);
    for &index in &shard {
        let tensor = &plan[index];
        let dtype = match tensor.dtype {
            DType::F64 => Dtype::F64,
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            other => return Err(wrong(format!("`{}` is {other:?}", tensor.name))),
        };
        let data_offsets = (end, end + tensor.bytes());
        end = data_offsets.1;
        entries.push((tensor.name.clone(), TensorInfo { dtype, shape: tensor.shape.clone(), data_offsets }));
    }
    let format = Some([("format".to_string(), "pt".to_string())].into());
    let header = Metadata::new(format, entries).map_err(|error| wrong(error.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|error| wrong(error.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut failure = None;
    let written = write_whole(path, |file, _| {
        let mut file = std::io::BufWriter::new(file);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for &index in &shard {
            let stop = |error: Error| {
                failure = Some(error);
                std::io::Error::other("a tensor has no values")
            };
            let bytes = values(index).map_err(stop)?;
            if bytes.len() != plan[index].bytes() {
                return Err(std::io::Error::other(format!("`{}` has another number of values", plan[index].name)));
            }
            file.write_all(&bytes)?;
        }
        file.flush()
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(written?),
    }
}
