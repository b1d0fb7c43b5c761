//! The files of a checkpoint: the index that lists them, and what identifies them.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Component, Path, PathBuf},
};

use pvchat_nn::file::{open_regular, read_regular};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The largest index that is read, in bytes.
const LARGEST_INDEX: u64 = 64 << 20;

/// The list of files as the transformers library writes it.
#[derive(Serialize, Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    pub(super) metadata: serde_json::Value,
    pub(super) weight_map: BTreeMap<String, String>,
}

pub(super) fn read_index(path: &Path) -> Result<Index> {
    let text = read_regular(path, LARGEST_INDEX, "fetch it again")?;
    serde_json::from_slice(&text).map_err(|error| Error::File {
        file: path.to_path_buf(),
        problem: format!("is not the index of a checkpoint ({error})"),
        remedy: "fetch it again".into(),
    })
}

/// Whether a file is PyTorch's own, by its name.
pub(super) fn is_pickled(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("pytorch_model") && name.ends_with(".bin")
}

/// The path of a file that the index names; only plain names of files of weights in the same folder.
pub(super) fn inside(index: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
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

pub(crate) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn fingerprint_of(files: &[PathBuf]) -> Result<String> {
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
