//! A base's encodings of pictures, stored on disk, so that the next question about the same stretch skips the encoder even when
//! it comes from another process.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use burn::prelude::Device;
use pvchat_data::file::write_atomically;
use pvchat_model::sight::Sight;
use pvchat_nn::file::read_regular;
use sha2::{Digest, Sha256};

/// Bytes of all files together; those that were not used for the longest time go first. Eight frames and a picture of the person
/// take 28 MB with SmolVLM2-256M.
const MOST_BYTES: u64 = 256 << 20;
/// What the names of the files end with.
const EXTENSION: &str = "look";

/// A folder of looks. It is only a cache: what cannot be read or written is looked at again.
#[derive(Debug)]
pub(crate) struct Looks(PathBuf);

impl Looks {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The hash in place of the key: names of files are to say nothing about people.
    fn file(&self, key: &str) -> PathBuf {
        let digest = Sha256::digest(key.as_bytes());
        let name: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.join(name).with_extension(EXTENSION)
    }

    pub(crate) fn read(&self, key: &str, device: &Device) -> Option<Sight> {
        let file = self.file(key);
        let sight = Sight::from_bytes(&read_regular(&file, MOST_BYTES, "delete it").ok()?, device)?;
        // The newest stay.
        let _ = fs::File::options().append(true).open(&file).and_then(|file| file.set_modified(SystemTime::now()));
        Some(sight)
    }

    pub(crate) fn keep(&self, key: &str, sight: &Sight) {
        let Some(bytes) = sight.to_bytes() else { return };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        if builder.create(&self.0).is_ok() && write_atomically(&self.file(key), &bytes).is_ok() {
            self.drop_oldest(MOST_BYTES);
        }
    }

    fn drop_oldest(&self, most: u64) {
        let about = |file: PathBuf| {
            let about = fs::metadata(&file).ok()?;
            Some((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), about.len(), file))
        };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = files(&self.0).into_iter().filter_map(about).collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, file) in files {
            if total <= most {
                break;
            }
            // What cannot be deleted is in use by another process, and goes later.
            let _ = fs::remove_file(file);
            total -= bytes;
        }
    }
}

/// The files of a folder of looks.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION)).collect()
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use pvchat_model::sight::Shown;

    use super::*;

    fn sight(value: f32, device: &Device) -> Sight {
        let shown =
            vec![Shown::Video { seconds: vec![0.5, 1.25], duration: 3.0 }, Shown::Image { rows: 2, columns: 3 }, Shown::Tiles(2)];
        Sight { tokens: Tensor::full([1, 4, 3], value, device), identity: Tensor::zeros([1, 0, 0], device), shown }
    }

    #[test]
    fn looks_come_back_as_they_were_and_nothing_else_does() {
        let (folder, device) = (tempfile::tempdir().unwrap(), pvchat_nn::device::default_device().unwrap());
        let looks = Looks::new(folder.path().join("looks"));
        assert!(looks.read("one", &device).is_none());
        looks.keep("one", &sight(1.5, &device));
        looks.keep("other", &sight(f32::NAN, &device));
        let read = looks.read("one", &device).unwrap();
        assert_eq!((read.tokens.dims(), read.identity.dims()), ([1, 4, 3], [1, 0, 0]));
        assert_eq!(
            (read.tokens.into_data().iter::<f32>().collect::<Vec<_>>(), read.shown),
            (vec![1.5; 12], sight(0.0, &device).shown)
        );
        assert!(looks.read("other", &device).is_none(), "values that are not finite");
        let file = looks.file("one");
        fs::write(&file, &fs::read(&file).unwrap()[..60]).unwrap();
        assert!(looks.read("one", &device).is_none(), "a file that was cut");
    }

    #[test]
    fn the_folder_stays_small_and_keeps_what_was_used_last() {
        let (folder, device) = (tempfile::tempdir().unwrap(), pvchat_nn::device::default_device().unwrap());
        let looks = Looks::new(folder.path().into());
        for key in 0..4 {
            looks.keep(&key.to_string(), &sight(0.0, &device));
            let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(key);
            fs::File::options().append(true).open(looks.file(&key.to_string())).unwrap().set_modified(old).unwrap();
        }
        assert!(looks.read("0", &device).is_some());
        let one = fs::metadata(looks.file("0")).unwrap().len();
        looks.drop_oldest(2 * one);
        assert_eq!(files(folder.path()).len(), 2);
        assert!(looks.read("0", &device).is_some() && looks.read("3", &device).is_some(), "those used last stay");
    }
}
