//! Reading parameters under the names of the public checkpoints.
//!
//! A [`TensorSource`] lists the tensors of one or more safetensors files (or of bytes in memory)
//! without reading their values; [`apply_tensors`] renames them, turns PyTorch's layout into
//! burn's, and writes them into a module one at a time. Loading is a rename table and not a program.
//!
//! - [`inventory`]: which parameters a module has, and of what shape
//! - [`gguf`]: quantised files of the ggml library

use crate::{Error, Result, file::open_regular};
use burn::{
    module::Module,
    store::{
        BurnToPyTorchAdapter, FloatCastAdapter, KeyRemapper, ModuleAdapter, ModuleSnapshot, ModuleStore, PyTorchToBurnAdapter,
        PytorchStore, SafetensorsStore,
    },
    store::{
        SafetensorsStoreError, bridge,
        burn_pack::{Error as PackError, Tensor as StoredTensor},
    },
    tensor::{DType, TensorData},
};
use std::{
    collections::{BTreeMap, HashSet},
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

pub mod gguf;
pub mod inventory;

/// The one file of a small checkpoint.
pub const SINGLE: &str = "model.safetensors";
/// The largest safetensors header that is accepted, in bytes (the format's own limit).
const LARGEST_HEADER: u64 = 100_000_000;
/// What to do about a file that is no safetensors.
const FETCH_AGAIN: &str = "expected a complete safetensors file: fetch or write it again";
/// What to do about a file of PyTorch that is not read.
const CONVERT: &str = "fetch it again, or convert it where it is trusted: safetensors.torch.save_file(torch.load(FILE, \
                       weights_only=True), \"model.safetensors\")";
const MORE_MEMORY: &str = "close other programs, raise the limit (ulimit), or use a smaller model";
/// How many keys an error lists before it says how many more there are.
const LISTED_KEYS: usize = 8;

/// The part of a safetensors header that holds free text.
#[derive(Default, serde::Deserialize)]
struct TextEntries {
    #[serde(rename = "__metadata__", default)]
    entries: BTreeMap<String, String>,
}

/// The part of a safetensors header that says where values are stored.
#[derive(Default, serde::Deserialize)]
struct Places {
    #[serde(rename = "__metadata__", default)]
    _text: serde::de::IgnoredAny,
    #[serde(flatten)]
    tensors: BTreeMap<String, Place>,
}

/// Bytes behind the header.
#[derive(Clone, Copy, serde::Deserialize)]
struct Place {
    data_offsets: [u64; 2],
}

/// A list of named tensors whose values stay on disk until they are applied to a module.
#[derive(Clone)]
pub struct TensorSource {
    origin: PathBuf,
    tensors: Vec<StoredTensor>,
    metadata: BTreeMap<String, String>,
    dtype: Option<DType>,
}

impl TensorSource {
    /// Opens a safetensors file; its values are read when they are needed, and stay in memory only where they are used. (Mapped
    /// pages would count as memory of the program until the system takes them back.)
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::File`] when it is cut short or is not safetensors.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { file: path.to_path_buf(), source };
        let mut file = open_regular(path, FETCH_AGAIN)?;
        let total = file.metadata().map_err(io)?.len();
        let mut header = Vec::new();
        let mut prefix = [0; 8];
        // A file too short for its length prefix is left to the store, which reports it.
        if total >= 8 {
            file.read_exact(&mut prefix).map_err(io)?;
            let length = u64::from_le_bytes(prefix).min(total - 8).min(LARGEST_HEADER);
            header.extend(prefix);
            file.take(length).read_to_end(&mut header).map_err(io)?;
        }
        let mut source = Self::from_store(path.to_path_buf(), SafetensorsStore::from_file(path), &header)?;
        let places = header.get(8..).and_then(|json| serde_json::from_slice::<Places>(json).ok()).unwrap_or_default().tensors;
        let file = Arc::new(Mutex::new(open_regular(path, FETCH_AGAIN)?));
        for tensor in &mut source.tensors {
            let Some(Place { data_offsets: [begin, end] }) = places.get(&tensor.name).copied() else { continue };
            let (file, begin, size) = (file.clone(), header.len() as u64 + begin, end.saturating_sub(begin) as usize);
            let (dtype, shape) = (tensor.dtype, tensor.shape.clone());
            *tensor = bridge::deferred(tensor.name.clone(), dtype, shape.clone(), None, move || {
                let mut bytes = Vec::new();
                if bytes.try_reserve_exact(size).is_err() {
                    return Err(PackError::IoError(format!("no memory for {size} bytes; {MORE_MEMORY}")));
                }
                bytes.resize(size, 0);
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let read = file.seek(SeekFrom::Start(begin)).and_then(|_| file.read_exact(&mut bytes));
                read.map_err(|error| PackError::IoError(error.to_string()))?;
                Ok(TensorData::from_bytes_vec(bytes, shape.clone(), dtype))
            });
        }
        Ok(source)
    }

    /// Reads safetensors from memory; `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::File`] when the bytes are cut short or are not safetensors.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let header = header_of(&bytes).to_vec();
        Self::from_store(PathBuf::from(name), SafetensorsStore::from_bytes(Some(bytes)), &header)
    }

    /// Opens weights that PyTorch saved (`pytorch_model.bin`). The pickle in the file is taken apart and never executed; values
    /// are read when they are needed.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be opened; [`Error::File`] when it is damaged, makes anything but tensors that can
    /// be read, or makes none.
    pub fn open_pytorch(path: &Path) -> Result<Self> {
        open_regular(path, CONVERT)?;
        let wrong = |problem: String| Error::File { file: path.to_path_buf(), problem, remedy: CONVERT.into() };
        // Layers keep their numbers: names are compared as they are in the file.
        let mut store = PytorchStore::from_file(path).map_indices_contiguous(false);
        let tensors: Vec<StoredTensor> = match store.get_all_tensors() {
            Ok(tensors) => tensors.values().cloned().collect(),
            Err(error) => return Err(wrong(format!("not readable as weights of PyTorch ({error})"))),
        };
        if tensors.is_empty() {
            return Err(wrong("holds no tensors of PyTorch".into()));
        }
        Ok(Self { origin: path.to_path_buf(), tensors, metadata: BTreeMap::new(), dtype: Some(DType::F32) })
    }

    fn from_store(origin: PathBuf, mut store: SafetensorsStore, header: &[u8]) -> Result<Self> {
        let broken = |problem: String| Error::File { file: origin.clone(), problem, remedy: FETCH_AGAIN.into() };
        let tensors = match store.get_all_tensors() {
            Ok(tensors) => tensors.values().cloned().collect(),
            Err(SafetensorsStoreError::Io(source)) if source.kind() == ErrorKind::OutOfMemory => {
                let problem = "is larger than the address space that is left to this program".into();
                return Err(Error::File { file: origin, problem, remedy: MORE_MEMORY.into() });
            }
            Err(SafetensorsStoreError::Io(source)) => return Err(Error::Io { file: origin, source }),
            Err(error) => return Err(broken(format!("not readable as safetensors ({error})"))),
        };
        // The store checked the header's structure but keeps its text entries to itself.
        let metadata =
            header.get(8..).and_then(|json| serde_json::from_slice::<TextEntries>(json).ok()).unwrap_or_default().entries;
        Ok(Self { origin, tensors, metadata, dtype: Some(DType::F32) })
    }

    /// Adds the tensors of another file (the next shard of a checkpoint); its entries win.
    pub fn join(mut self, other: Self) -> Self {
        let added: HashSet<&str> = other.names().collect();
        self.tensors.retain(|tensor| !added.contains(tensor.name.as_str()));
        self.tensors.extend(other.tensors);
        self.metadata.extend(other.metadata);
        self
    }

    /// These tensors in place of those of this source.
    pub fn with_tensors(&self, tensors: Vec<StoredTensor>) -> Self {
        Self { tensors, ..self.clone() }
    }

    /// The tensors, as lazy as the file.
    pub fn tensors(&self) -> &[StoredTensor] {
        &self.tensors
    }

    /// Only the tensors whose name starts with `prefix`, named without it.
    pub fn under(&self, prefix: &str) -> Self {
        let mut subset = self.clone();
        subset.tensors.retain(|tensor| tensor.name.starts_with(prefix));
        subset.tensors.iter_mut().for_each(|tensor| tensor.name = tensor.name.split_off(prefix.len()));
        subset
    }

    /// Only the tensors for which `keep(name)` holds.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        let mut subset = self.clone();
        subset.tensors.retain(|tensor| keep(&tensor.name));
        subset
    }

    /// The float type that values are cast to; f32 unless set, `None` keeps what the file holds.
    ///
    /// Every operation of a module needs one float type throughout, so `None` is for callers that cast afterwards.
    pub fn with_dtype(mut self, dtype: Option<DType>) -> Self {
        self.dtype = dtype.filter(|dtype| dtype.is_float());
        self
    }

    /// The file the tensors come from (the first one, when several were joined).
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// The text entries of the file's header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// The shape of a tensor as stored (linear weights are `[out, in]`), `None` when there is no such name.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.shape.to_vec())
    }
}

/// The length prefix and the header of safetensors bytes, as far as they are there.
fn header_of(bytes: &[u8]) -> &[u8] {
    let length = bytes.first_chunk().map_or(0, |prefix| u64::from_le_bytes(*prefix).min(LARGEST_HEADER));
    &bytes[..bytes.len().min(length as usize + 8)]
}

/// What [`apply_tensors`] found; the caller decides which gaps are an error.
#[derive(Clone, Debug)]
#[must_use = "missing keys are only reported here"]
pub struct Applied {
    origin: PathBuf,
    /// Parameters (burn paths) that the source has no tensor for; they keep their initial values.
    pub missing: Vec<String>,
    /// Tensors of the source (names after renaming) that the module has no parameter for.
    pub unused: Vec<String>,
}

impl Applied {
    /// Fails when a parameter found no tensor.
    ///
    /// # Errors
    /// [`Error::File`] naming the missing keys.
    pub fn require_complete(self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        Err(Error::File {
            file: self.origin,
            problem: format!("lacks {}", listed(&self.missing)),
            remedy: "use weights that were saved for this configuration".into(),
        })
    }

    /// Fails when a parameter found no tensor or a tensor found no parameter.
    ///
    /// # Errors
    /// [`Error::File`] naming the missing and the unused keys.
    pub fn require_exact(self) -> Result<()> {
        if self.unused.is_empty() {
            return self.require_complete();
        }
        let missing = if self.missing.is_empty() { String::new() } else { format!(" and lacks {}", listed(&self.missing)) };
        Err(Error::File {
            file: self.origin,
            problem: format!("holds {} that this model has no place for{missing}", listed(&self.unused)),
            remedy: "use weights that were saved for this configuration".into(),
        })
    }
}

/// Names as an error lists them: the first few, and how many more there are.
pub fn listed(keys: &[String]) -> String {
    let shown = keys.iter().take(LISTED_KEYS).map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    match keys.len().saturating_sub(LISTED_KEYS) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Writes the tensors of `source` into the parameters of `module` that have their name.
///
/// `renames` are regular expressions and their replacements, applied one after another to every
/// name of the source. Linear weights are transposed from `[out, in]`, and the `weight`/`bias` of norms
/// find burn's `gamma`/`beta`. Parameter ids, devices and gradient flags stay as they are.
///
/// # Errors
/// [`Error::File`] when a tensor has the wrong shape or kind, or cannot be read; [`Error::Config`] when a
/// rename is not a regular expression.
///
/// ```no_run
/// # use pvchat_nn::weights::{TensorSource, apply_tensors};
/// # fn load(mut module: burn::nn::Linear) -> pvchat_nn::Result<()> {
/// let source = TensorSource::open("model.safetensors".as_ref())?;
/// apply_tensors(&mut module, &source.under("project_up."), &[])?.require_exact()?;
/// # Ok(()) }
/// ```
pub fn apply_tensors<M: Module>(module: &mut M, source: &TensorSource, renames: &[(&str, &str)]) -> Result<Applied> {
    let remapper = KeyRemapper::from_patterns(renames.to_vec()).map_err(|error| Error::Config {
        key: "renames",
        value: format!("{renames:?}"),
        remedy: format!("every first entry must be a regular expression ({error})"),
    })?;
    let (tensors, _) = remapper.remap(source.tensors.clone());
    let adapter: Box<dyn ModuleAdapter> = match source.dtype {
        Some(dtype) => Box::new(PyTorchToBurnAdapter.chain(FloatCastAdapter::to(dtype))),
        None => Box::new(PyTorchToBurnAdapter),
    };
    let result = module.apply(tensors, None, Some(adapter), false);
    if !result.errors.is_empty() {
        let problems: Vec<String> = result.errors.iter().map(|error| error.to_string()).collect();
        return Err(Error::File {
            file: source.origin.clone(),
            problem: listed(&problems).replace('`', ""),
            remedy: "use weights that were saved for this configuration".into(),
        });
    }
    let missing = result.missing.into_iter().map(|(path, _)| path).collect();
    Ok(Applied { origin: source.origin.clone(), missing, unused: result.unused })
}

/// All parameters of a module as safetensors in half precision, in PyTorch's layout; what
/// [`apply_tensors`] reads back.
///
/// # Errors
/// [`Error::File`] when they cannot be serialised.
pub fn to_bytes<M: Module>(module: &M) -> Result<Vec<u8>> {
    let failure = |problem: String| Error::File { file: "weights".into(), problem, remedy: "try again".into() };
    let adapter = BurnToPyTorchAdapter.chain(FloatCastAdapter::to(DType::F16));
    let mut store = SafetensorsStore::from_bytes(None).with_to_adapter(adapter);
    module.save_into(&mut store).map_err(|error| failure(error.to_string()))?;
    store.get_bytes().map_err(|error| failure(error.to_string()))
}

#[cfg(test)]
mod tests;
