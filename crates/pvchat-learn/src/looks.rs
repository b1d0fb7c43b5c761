//! The frozen encoder's output for clips: in memory, because made clips are judged before they are learned from, and stored in the
//! folder of learning until learning has ended, so that a resumed run does not encode again. On a laptop's CPU, encoding takes
//! longer than training.

use std::{collections::HashMap, fs, path::Path};

use burn::prelude::*;
use image::RgbImage;
use pvchat_data::file::write_atomically;
use pvchat_model::{sight::Sight, vilm::Vilm};
use pvchat_train::checkpoint::CheckpointFolder;
use sha2::{Digest, Sha256};

use crate::Result;

/// Clips that are encoded at a time.
pub(crate) const ENCODED_AT_ONCE: usize = 8;

/// What the frozen encoder gives for one clip.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) sight: Sight,
    /// The output of the encoder's lower part, where the upper part is trained from it.
    pub(crate) lower: Option<Tensor<3>>,
}

/// Looks at clips during one run of learning, each once.
pub(crate) struct Looks<'a> {
    pub(crate) vilm: &'a Vilm,
    keeps_lower: bool,
    /// By the pixels of the clip.
    kept: HashMap<[u8; 32], Look>,
}

impl<'a> Looks<'a> {
    /// Nothing was looked at so far; `keeps_lower` where the upper part of the encoder is trained.
    pub(crate) fn new(vilm: &'a Vilm, keeps_lower: bool) -> Self {
        Self { vilm, keeps_lower, kept: HashMap::new() }
    }

    /// Looks at clips that are needed again.
    pub(crate) fn at(&mut self, clips: &[&[RgbImage]]) -> Result<Vec<Look>> {
        let keys: Vec<[u8; 32]> = clips.iter().map(|clip| of_pixels(clip)).collect();
        let looks = self.take_keyed(clips, &keys)?;
        self.kept.extend(keys.into_iter().zip(looks.iter().cloned()));
        Ok(looks)
    }

    /// [`at`](Self::at) one clip.
    pub(crate) fn at_one(&mut self, clip: &[RgbImage]) -> Result<Sight> {
        Ok(self.at(&[clip])?.swap_remove(0).sight)
    }

    /// Looks at clips for the last time: what was kept of them is given up.
    pub(crate) fn take(&mut self, clips: &[&[RgbImage]]) -> Result<Vec<Look>> {
        let keys: Vec<[u8; 32]> = clips.iter().map(|clip| of_pixels(clip)).collect();
        self.take_keyed(clips, &keys)
    }

    fn take_keyed(&mut self, clips: &[&[RgbImage]], keys: &[[u8; 32]]) -> Result<Vec<Look>> {
        let mut found: Vec<Option<Look>> = keys.iter().map(|key| self.kept.remove(key)).collect();
        let open: Vec<usize> = (0..clips.len()).filter(|&place| found[place].is_none()).collect();
        for places in open.chunks(ENCODED_AT_ONCE) {
            let chunk: Vec<&[RgbImage]> = places.iter().map(|&place| clips[place]).collect();
            let lower = self.vilm.lower(&chunk)?;
            let all = self.vilm.look_upper(&self.vilm.parameters().vision_encoder, lower.clone());
            for (row, &place) in places.iter().enumerate() {
                let of_clip = |tensor: &Tensor<3>| tensor.clone().narrow(0, row, 1);
                let (tokens, identity) = (of_clip(&all.tokens), of_clip(&all.identity));
                let sight = Sight { tokens, identity, shown: all.shown.clone() };
                found[place] = Some(Look { sight, lower: self.keeps_lower.then(|| of_clip(&lower)) });
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}

/// Stands for the pixels of a clip.
fn of_pixels(frames: &[RgbImage]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for frame in frames {
        hash.update(frame.width().to_le_bytes());
        hash.update(frame.height().to_le_bytes());
        hash.update(frame.as_raw());
    }
    hash.finalize().into()
}

/// What the name of a look's file begins with.
const LOOK: &str = "look-";

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

    /// The encoder's output for the frames of a clip: from its file, if that is complete, else by `look`. [`Sight::shown`] may
    /// be that of another clip with the same pictures.
    pub(crate) fn of(&self, vilm: &Vilm, frames: &[RgbImage], look: impl FnOnce() -> Result<Sight>) -> Result<Sight> {
        let Some(folder) = self.0 else { return look() };
        let file = folder.path().join(format!("{LOOK}{}", key(vilm, frames)));
        if let Some(sight) = fs::read(&file).ok().and_then(|bytes| Sight::from_bytes(&bytes, vilm.device())) {
            return Ok(sight);
        }
        let sight = look()?;
        if let Some(bytes) = sight.to_bytes() {
            write_atomically(&file, &bytes)?;
        }
        Ok(sight)
    }
}

/// Stands for a base on a device, and the pixels of a clip.
fn key(vilm: &Vilm, frames: &[RgbImage]) -> String {
    let mut hash = Sha256::new();
    let config = vilm.config();
    hash.update(format!("{} {:?} {}", vilm.fingerprint(), vilm.device(), env!("CARGO_PKG_VERSION")));
    hash.update(format!("{:?} {:?}", config.preprocess, config.vision));
    hash.update(of_pixels(frames));
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
