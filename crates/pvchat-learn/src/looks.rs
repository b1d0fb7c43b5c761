//! What the frozen encoder made of clips, kept in the folder of learning until that has ended: a run that is resumed does not look
//! again. On a laptop's processor looking takes longer than training.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::prelude::*;
use image::RgbImage;
use pvchat_data::file::write_atomically;
use pvchat_model::{sight::Sight, vilm::Vilm};
use pvchat_train::checkpoint::CheckpointFolder;
use sha2::{Digest, Sha256};

use crate::{Result, Shot};

/// What the name of a look's file begins with.
const LOOK: &str = "look-";
/// Bytes of a digest.
const DIGEST: usize = 32;
/// Bytes of the six sizes that a file begins with.
const SIZES: usize = 6 * size_of::<u64>();

/// The looks in a folder of learning.
pub(crate) struct KeptLooks<'a>(Option<&'a CheckpointFolder>);

impl<'a> KeptLooks<'a> {
    /// Those in this folder; without one nothing is kept.
    pub(crate) fn new(folder: Option<&'a CheckpointFolder>) -> Self {
        Self(folder)
    }

    /// Whether there are any in a folder.
    pub(crate) fn are_in(folder: &Path) -> bool {
        let is_look = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with(LOOK);
        fs::read_dir(folder).into_iter().flatten().flatten().any(is_look)
    }

    /// What the encoder makes of a clip: from its file, if that is whole, else by `look`. What comes from a file says nothing about
    /// the pictures' place in the prompt ([`Sight::shown`]).
    pub(crate) fn of(&self, vilm: &Vilm, shot: &Shot, look: impl FnOnce() -> Result<Sight>) -> Result<Sight> {
        let Some(folder) = self.0 else { return look() };
        let file = folder.path().join(format!("{LOOK}{}", key(vilm, &shot.frames)));
        if let Some([tokens, identity]) = read(&file, vilm.device()) {
            return Ok(Sight { tokens, identity, shown: Vec::new() });
        }
        let sight = look()?;
        let mut bytes = Vec::new();
        for size in sight.tokens.dims().into_iter().chain(sight.identity.dims()) {
            bytes.extend_from_slice(&(size as u64).to_le_bytes());
        }
        for tensor in [&sight.tokens, &sight.identity] {
            tensor.clone().into_data().iter::<f32>().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        write_atomically(&file, &bytes)?;
        Ok(sight)
    }
}

/// Stands for a base on a device, and the pixels of a clip.
fn key(vilm: &Vilm, frames: &[RgbImage]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{} {:?} {}", vilm.fingerprint(), vilm.device(), env!("CARGO_PKG_VERSION")));
    for frame in frames {
        hash.update(frame.width().to_le_bytes());
        hash.update(frame.height().to_le_bytes());
        hash.update(frame.as_raw());
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tokens and identity in a file; `None` for one that is not there or not whole.
fn read(file: &PathBuf, device: &Device) -> Option<[Tensor<3>; 2]> {
    let bytes = fs::read(file).ok()?;
    let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
    let (sizes, values) = content.split_at_checked(SIZES)?;
    if Sha256::digest(content).as_slice() != digest {
        return None;
    }
    let sizes: Vec<usize> = sizes.as_chunks().0.iter().map(|size| u64::from_le_bytes(*size) as usize).collect();
    let values: Vec<f32> = values.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let shape = |first: usize| [sizes[first], sizes[first + 1], sizes[first + 2]];
    let count = |shape: [usize; 3]| shape.into_iter().try_fold(1, usize::checked_mul);
    let (tokens, identity) = values.split_at_checked(count(shape(0))?)?;
    let tensor = |values: &[f32], shape: [usize; 3]| {
        (count(shape) == Some(values.len())).then(|| Tensor::from_data(TensorData::new(values.to_vec(), shape), device))
    };
    Some([tensor(tokens, shape(0))?, tensor(identity, shape(3))?])
}
