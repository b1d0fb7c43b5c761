//! Decoded frames stored on disk, and directories of clips read by all cores.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use image::RgbImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::source::open_file;
use crate::{Clip, Error, ReadOptions, Result, SamplingPlan, VideoReader};

/// Decoded frames of clips, kept in a folder up to a number of bytes.
///
/// An entry is found by the content of the file (SHA-256), the plan, the size of the frames, the damage policy, and the
/// versions of this crate and of FFmpeg: a file that is renamed is found again, one that changed is not. The file is read
/// once for that. Where there is no room, the entry written first goes first.
///
/// Any number of processes and threads may use one folder: entries appear under their names whole or not at all, there are
/// no locks, and a process that is killed leaves at most a temporary file behind, which is removed an hour later. An entry that
/// was cut or changed on disk is decoded again.
#[derive(Debug, Clone)]
pub struct FrameCache {
    folder: PathBuf,
    most_bytes: u64,
}

/// First bytes of an entry; the number changes with the format.
const MAGIC: &[u8; 8] = b"pvframe1";
const ENTRY: &str = "frames";
/// Bytes before the frames: magic, checksum, number of frames, width, height, frame rate.
const HEADER: usize = 8 + 4 + 8 + 4 + 4 + 8;
/// The age from which a temporary file belongs to no living process.
const STALE: Duration = Duration::from_secs(3600);

impl FrameCache {
    /// Uses a folder, made where it is missing, for `most_bytes` of frames at most.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn new(folder: impl AsRef<Path>, most_bytes: u64) -> Result<Self> {
        let folder = folder.as_ref().to_path_buf();
        fs::create_dir_all(&folder).map_err(|source| Error::Write { path: folder.clone(), source })?;
        Ok(Self { folder, most_bytes })
    }

    /// The frames that a plan picks from a file, from the cache or decoded and put there. Frames of which some were left out
    /// because of damage are not kept.
    ///
    /// # Errors
    /// Those of [`VideoReader::open_with`] and [`VideoReader::sample`], and where an entry cannot be written.
    pub fn sample(&self, path: impl AsRef<Path>, plan: &SamplingPlan, options: &ReadOptions) -> Result<Clip> {
        let path = path.as_ref();
        let (key, state) = key(path, plan, options)?;
        let entry = self.folder.join(format!("{key}.{ENTRY}"));
        if let Some(clip) = read_entry(&entry, path, options.limits.clip_bytes) {
            return Ok(clip);
        }
        let mut reader = VideoReader::open_with(path, options.clone())?;
        let clip = reader.sample(plan)?;
        // A file that was written to meanwhile is not what was read for its key.
        if reader.damage().is_empty() && file_state(path).is_ok_and(|now| now == state) {
            self.keep(&entry, &clip).map_err(|source| Error::Write { path: entry, source })?;
        }
        Ok(clip)
    }

    fn keep(&self, entry: &Path, clip: &Clip) -> io::Result<()> {
        let Some(head) = head_of(clip) else { return Ok(()) };
        let bytes = head.len() as u64 + clip.frames.iter().map(|frame| frame.as_raw().len() as u64).sum::<u64>();
        if bytes > self.most_bytes {
            return Ok(());
        }
        let mut temporary = tempfile::Builder::new().prefix(".pvchat-").suffix(".part").tempfile_in(&self.folder)?;
        temporary.write_all(&head)?;
        clip.frames.iter().try_for_each(|frame| temporary.write_all(frame.as_raw()))?;
        self.make_room(bytes)?;
        temporary.persist(entry).map_err(|error| error.error)?;
        // Others may have written at the same time.
        self.make_room(0)
    }

    /// Removes the oldest files until `bytes` more fit. What another process removes meanwhile counts as removed.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.folder)?.flatten() {
            let (path, Ok(metadata)) = (file.path(), file.metadata()) else { continue };
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(ENTRY) => entries.push((written, path, metadata.len())),
                Some("part") if written.elapsed().is_ok_and(|age| age > STALE) => drop(fs::remove_file(path)),
                _ => {}
            }
        }
        let mut total: u64 = entries.iter().map(|(_, _, length)| length).sum();
        entries.sort();
        for (_, path, length) in entries {
            if total.saturating_add(bytes) <= self.most_bytes {
                break;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => total -= length,
            }
        }
        Ok(())
    }
}

/// Samples several files with all threads of rayon's pool, one file per thread, and gives each clip to `take` as soon as it is
/// there; returns the results of `take`, in the order of the files. A file that fails does not keep the others from being read.
///
/// A clip that `take` lets go of leaves its memory to the next one; with `|clip| clip` all of them are kept.
pub fn sample_files<P: AsRef<Path> + Sync, T: Send>(
    paths: &[P],
    plan: &SamplingPlan,
    options: &ReadOptions,
    cache: Option<&FrameCache>,
    take: impl Fn(Result<Clip>) -> T + Sync,
) -> Vec<T> {
    let mut options = options.clone();
    if options.threads == 0 {
        options.threads = 1;
    }
    let sample = |path: &P| match cache {
        Some(cache) => cache.sample(path, plan, &options),
        None => VideoReader::open_with(path, options.clone())?.sample(plan),
    };
    paths.par_iter().map(|path| take(sample(path))).collect()
}

/// Length and time of change.
fn file_state(path: &Path) -> io::Result<(u64, Option<SystemTime>)> {
    fs::metadata(path).map(|metadata| (metadata.len(), metadata.modified().ok()))
}

/// What an entry is found by, and the state of the file before it was read.
fn key(path: &Path, plan: &SamplingPlan, options: &ReadOptions) -> Result<(String, (u64, Option<SystemTime>))> {
    let read = |source| Error::read(path, source);
    let mut file = open_file(path)?;
    let state = file_state(path).map_err(read)?;
    // SAFETY: asks for a number and touches nothing else.
    let decoder = unsafe { ffmpeg_next::ffi::avcodec_version() };
    let how = format!("{}|{decoder}|{plan:?}|{:?}|{:?}", env!("CARGO_PKG_VERSION"), options.size, options.damage);
    let mut hash = Sha256::new();
    hash.update((how.len() as u64).to_le_bytes());
    hash.update(how);
    let mut buffer = [0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hash.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read(error)),
        }
    }
    let key = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((key, state))
}

/// All of an entry but the pixels; `None` for frames of different sizes, which are not kept.
fn head_of(clip: &Clip) -> Option<Vec<u8>> {
    let (width, height) = clip.frames.first()?.dimensions();
    let same = clip.frames.iter().all(|frame| frame.dimensions() == (width, height));
    let count = clip.frames.len();
    if !same || clip.indices.len() != count || clip.times.len() != count {
        return None;
    }
    let mut rest = Vec::with_capacity(HEADER + 16 * count);
    rest.extend((count as u64).to_le_bytes());
    rest.extend(width.to_le_bytes());
    rest.extend(height.to_le_bytes());
    rest.extend(clip.frame_rate.to_le_bytes());
    clip.indices.iter().for_each(|index| rest.extend((*index as u64).to_le_bytes()));
    clip.times.iter().for_each(|time| rest.extend(time.to_le_bytes()));
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&rest);
    clip.frames.iter().for_each(|frame| checksum.update(frame.as_raw()));
    Some([MAGIC.as_slice(), &checksum.finalize().to_le_bytes(), &rest].concat())
}

/// An entry; `None` where it is missing, cut, changed or larger than `most` bytes.
fn read_entry(entry: &Path, source: &Path, most: u64) -> Option<Clip> {
    let mut file = File::open(entry).ok()?;
    let length = file.metadata().ok()?.len();
    let mut head = [0; HEADER];
    file.read_exact(&mut head).ok()?;
    let [magic, checksum] = [head.get(..8)?, head.get(8..12)?];
    let eight = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    let four = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
    let count = eight(head.get(12..20)?)?;
    let (width, height) = (four(head.get(20..24)?)?, four(head.get(24..28)?)?);
    let pixels = u64::from(width).checked_mul(u64::from(height))?.checked_mul(3)?;
    let expected = count.checked_mul(pixels.checked_add(16)?)?.checked_add(HEADER as u64)?;
    if magic != MAGIC || count == 0 || length != expected || pixels.checked_mul(count)? > most {
        return None;
    }
    let mut table = vec![0; usize::try_from(count * 16).ok()?];
    file.read_exact(&mut table).ok()?;
    let mut found = crc32fast::Hasher::new();
    found.update(head.get(12..)?);
    found.update(&table);
    let mut frames = Vec::new();
    for _ in 0..count {
        // Into memory that is not filled with zeros before.
        let mut image = Vec::with_capacity(usize::try_from(pixels).ok()?);
        (&file).take(pixels).read_to_end(&mut image).ok()?;
        found.update(&image);
        frames.push(RgbImage::from_raw(width, height, image)?);
    }
    if found.finalize() != four(checksum)? {
        return None;
    }
    let (indices, times) = table.split_at(table.len() / 2);
    let indices =
        indices.as_chunks().0.iter().map(|bytes| usize::try_from(u64::from_le_bytes(*bytes)).ok()).collect::<Option<_>>()?;
    let times = times.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    let frame_rate = f64::from_bits(eight(head.get(28..36)?)?);
    Some(Clip { frames, indices, times, frame_rate, source: source.to_path_buf() })
}
