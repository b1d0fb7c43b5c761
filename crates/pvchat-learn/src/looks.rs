//! The frozen encoder's output for clips, stored in the folder of learning until learning has ended: a resumed run does not
//! encode again. On a laptop's CPU, encoding takes longer than training.

use std::{fs, path::Path};

use image::RgbImage;
use pvchat_data::file::write_atomically;
use pvchat_model::{sight::Sight, vilm::Vilm};
use pvchat_train::checkpoint::CheckpointFolder;
use sha2::{Digest, Sha256};

use crate::Result;

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
    for frame in frames {
        hash.update(frame.width().to_le_bytes());
        hash.update(frame.height().to_le_bytes());
        hash.update(frame.as_raw());
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
