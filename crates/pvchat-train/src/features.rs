//! The frozen encoder's output for clips: computed once, kept in memory up to a bound, the rest in a file.

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// What the frozen encoder made of one clip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClipFeatures {
    /// `[memory tokens, width]`, row by row.
    pub tokens: Vec<f32>,
    /// `[people, identity width]`, row by row.
    pub identity: Vec<f32>,
    /// The output of the encoder's lower part for it, row by row, where the upper part is trained; empty otherwise.
    pub lower: Vec<f32>,
}

/// The number of a clip in a [`FeatureCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeatureId(usize);

/// The features of clips, with a limit on how many bytes of them stay in memory.
///
/// What does not fit is stored in a file without a name in the given folder, written once and read again when needed. The file
/// ends with the process, however that ends. Values are read back bit for bit.
#[derive(Clone, Debug)]
pub struct FeatureCache(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// Bytes that may be in memory, and the folder for the rest; `None` keeps everything in memory.
    bound: Option<(usize, PathBuf)>,
    file: Option<File>,
    /// The end of the file.
    written: u64,
    entries: Vec<Entry>,
    /// Those in memory, the least recently used first.
    used: VecDeque<usize>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// Values of tokens, identity and the lower part.
    lengths: [usize; 3],
    digest: [u8; 32],
    memory: Option<Arc<ClipFeatures>>,
    /// Its position in the file, once it was written.
    place: Option<u64>,
}

impl Default for FeatureCache {
    fn default() -> Self {
        Self::new(None)
    }
}

impl FeatureCache {
    /// A cache that keeps everything in memory.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// A cache that keeps at most `bytes` in memory, but always the clip that was used last, and the rest in `folder`.
    ///
    /// # Errors
    /// [`Error::Features`] when the folder cannot be created.
    pub fn spilling(folder: &Path, bytes: usize) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|source| Error::Features { folder: folder.into(), source })?;
        Ok(Self::new(Some((bytes, folder.to_path_buf()))))
    }

    fn new(bound: Option<(usize, PathBuf)>) -> Self {
        let inner = Inner { bound, file: None, written: 0, entries: Vec::new(), used: VecDeque::new(), bytes: 0 };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Takes in the features of a clip.
    ///
    /// # Errors
    /// [`Error::Features`] when others had to make room and could not be written, for example to a full disk.
    pub fn insert(&self, features: ClipFeatures) -> Result<FeatureId> {
        let mut inner = self.lock();
        let parts = [&features.tokens, &features.identity, &features.lower];
        let mut hash = Sha256::new();
        for values in parts {
            hash.update((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        let entry =
            Entry { lengths: parts.map(Vec::len), digest: hash.finalize().into(), memory: Some(Arc::new(features)), place: None };
        let number = inner.entries.len();
        inner.bytes += entry.bytes();
        inner.entries.push(entry);
        inner.used.push_back(number);
        inner.make_room()?;
        Ok(FeatureId(number))
    }

    /// The features of a clip, from memory or from the file.
    ///
    /// # Errors
    /// [`Error::Features`] when the file cannot be read, or others had to make room and could not be written;
    /// [`Error::Config`] for a number that another cache gave.
    pub fn get(&self, FeatureId(number): FeatureId) -> Result<Arc<ClipFeatures>> {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get(number) else {
            return Err(Error::Config {
                key: "features",
                value: number.to_string(),
                remedy: "use the cache that gave this number".into(),
            });
        };
        let found = match &entry.memory {
            Some(features) => features.clone(),
            None => {
                let (place, lengths) = (entry.place.unwrap_or_default(), entry.lengths);
                let features = Arc::new(inner.read(place, lengths)?);
                inner.entries[number].memory = Some(features.clone());
                inner.bytes += inner.entries[number].bytes();
                features
            }
        };
        inner.used.retain(|&other| other != number);
        inner.used.push_back(number);
        inner.make_room()?;
        Ok(found)
    }

    /// Identifies the features of a clip, wherever they are stored.
    pub(crate) fn digest(&self, FeatureId(number): FeatureId) -> [u8; 32] {
        self.lock().entries.get(number).map_or([0; 32], |entry| entry.digest)
    }

    /// Bytes in memory.
    pub fn bytes_in_memory(&self) -> usize {
        self.lock().bytes
    }

    /// Bytes in the file.
    pub fn bytes_spilled(&self) -> u64 {
        self.lock().written
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked did so between two changes: every one is complete before anything that can fail.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.lengths.iter().sum::<usize>() * size_of::<f32>()
    }
}

impl Inner {
    /// Sends the least recently used clips away until the rest fits, but never the last one.
    fn make_room(&mut self) -> Result<()> {
        let Some(bound) = self.bound.as_ref().map(|(bytes, _)| *bytes) else { return Ok(()) };
        while self.bytes > bound && self.used.len() > 1 {
            let number = self.used[0];
            if self.entries[number].place.is_none()
                && let Some(features) = self.entries[number].memory.clone()
            {
                self.entries[number].place = Some(self.write(&features)?);
            }
            self.used.pop_front();
            self.entries[number].memory = None;
            self.bytes -= self.entries[number].bytes();
        }
        Ok(())
    }

    fn write(&mut self, features: &ClipFeatures) -> Result<u64> {
        let parts = [&features.tokens, &features.identity, &features.lower];
        let bytes: Vec<u8> = parts.into_iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let place = self.written;
        self.with_file(|file| {
            file.seek(SeekFrom::Start(place))?;
            file.write_all(&bytes)
        })?;
        self.written += bytes.len() as u64;
        Ok(place)
    }

    fn read(&mut self, place: u64, lengths: [usize; 3]) -> Result<ClipFeatures> {
        let mut bytes = vec![0; lengths.iter().sum::<usize>() * size_of::<f32>()];
        self.with_file(|file| {
            file.seek(SeekFrom::Start(place))?;
            file.read_exact(&mut bytes)
        })?;
        let mut values = bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        let [tokens, identity, lower] = lengths.map(|length| values.by_ref().take(length).collect());
        Ok(ClipFeatures { tokens, identity, lower })
    }

    fn with_file(&mut self, work: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
        let folder = self.bound.as_ref().map(|(_, folder)| folder.clone()).unwrap_or_default();
        let failed = |source| Error::Features { folder: folder.clone(), source };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&folder).map_err(failed)?),
        };
        work(file).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(number: usize) -> ClipFeatures {
        let values = |count: usize| (0..count).map(|place| (number * 100 + place) as f32 * 0.1).collect();
        ClipFeatures { tokens: values(6), identity: values(2), lower: values(number % 3) }
    }

    #[test]
    fn what_does_not_fit_lies_in_a_file_and_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::spilling(folder.path(), 70).unwrap();
        let ids: Vec<FeatureId> = (0..5).map(|number| cache.insert(clip(number)).unwrap()).collect();
        assert!(cache.bytes_in_memory() <= 70 && cache.bytes_spilled() > 0, "{cache:?}");
        for number in [3, 0, 4, 4, 1, 2, 0] {
            assert_eq!(*cache.get(ids[number]).unwrap(), clip(number));
            assert!(cache.bytes_in_memory() <= 70);
        }
        let spilled = cache.bytes_spilled();
        assert_eq!(*cache.get(ids[3]).unwrap(), clip(3));
        assert_eq!(cache.bytes_spilled(), spilled, "nothing is written twice");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name that could outlive the process");
        let other = FeatureCache::in_memory();
        assert_eq!(other.digest(other.insert(clip(2)).unwrap()), cache.digest(ids[2]));
    }

    #[test]
    fn one_clip_is_always_there_and_numbers_of_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::spilling(folder.path(), 0).unwrap();
        let ids = [0, 1].map(|number| cache.insert(clip(number)).unwrap());
        assert_eq!(cache.bytes_in_memory(), clip(1).tokens.len() * 4 + 8 + 4);
        assert_eq!(*cache.get(ids[0]).unwrap(), clip(0));
        assert!(matches!(FeatureCache::in_memory().get(ids[0]), Err(Error::Config { key: "features", .. })));
    }
}
