//! Everybody in a folder of footage, in one file: embeddings to search and where each person is seen.
//!
//! The file is a log. A clip is a record at its end; one that changed or vanished leaves a record that is not read any more, and
//! when those are more than half, the file is rewritten. An unfinished record of a killed process is cut off. The embeddings are
//! read directly from the mapped file, so opening is cheap and the system manages the memory.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use memmap2::Mmap;
use pvchat_data::file::files_in;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Bounds, Error, Result};

/// Begins the file, with the version of its format.
const MAGIC: &[u8; 8] = b"PVFACES2";
/// The previous version, without unclear faces and files that are left out. It is read, and rewritten when
/// something is put in.
const OLD_MAGIC: &[u8; 8] = b"PVFACES1";
/// Everything begins at a multiple of this many bytes.
const ALIGNED: usize = 64;
/// The longest description of a clip, in bytes.
const LONGEST_ENTRY: usize = 64 << 20;
/// Below this many bytes rewriting a file is not worthwhile.
const SMALL: u64 = 1 << 20;
/// Embeddings that one task compares.
const CHUNK: usize = 4096;

/// Somebody in an indexed clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexedPerson {
    /// When the person is seen, from and to, in seconds.
    pub moments: Vec<(f64, f64)>,
    /// When the largest face is seen, in seconds.
    pub best: f64,
    /// The box of that face, in pixels.
    pub bounds: Bounds,
    /// Faces that are good enough to be compared.
    pub good_faces: usize,
}

/// An indexed clip or picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexedFile {
    /// Its path below the indexed folder, with `/` between the parts.
    pub name: String,
    /// Its size in bytes when it was looked at.
    pub bytes: u64,
    /// When it was changed last, in nanoseconds since 1970.
    pub modified: u64,
    /// The people in it.
    pub people: Vec<IndexedPerson>,
}

/// Somebody in an index who is like somebody else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The place of the clip among [`FaceIndex::files`].
    pub file: usize,
    /// The place of the person in it.
    pub person: usize,
    /// The greatest cosine with what was searched for.
    pub similarity: f32,
}

/// A clip with the place of its embeddings in the file.
#[derive(Debug)]
struct Row {
    file: IndexedFile,
    /// People in it whose faces do not tell who they are, where they were counted.
    unclear: Option<usize>,
    /// The first byte of the embeddings.
    start: usize,
}

/// The description of a clip as it is written.
#[derive(Serialize)]
struct EntryOf<'a> {
    #[serde(flatten)]
    file: &'a IndexedFile,
    #[serde(skip_serializing_if = "Option::is_none")]
    unclear: Option<usize>,
}

/// The same as it is read.
#[derive(Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    modified: u64,
    people: Vec<IndexedPerson>,
    unclear: Option<usize>,
}

/// What a record does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Puts a clip in.
    Puts,
    /// Takes a clip out.
    Removes,
    /// Says which files are left out.
    LeavesOut,
}

/// A record before it is written.
struct Record {
    kind: Kind,
    entry: Vec<u8>,
    embeddings: Vec<u8>,
}

/// The header of a record.
struct Head {
    kind: Kind,
    entry: usize,
    rows: usize,
    entry_sum: u32,
    rows_sum: u32,
}

impl Head {
    const BYTES: usize = 20;

    fn read(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(bytes.get(4 * at..4 * at + 4)?.try_into().ok()?));
        let kind = match number(0)? {
            1 => Kind::Puts,
            2 => Kind::Removes,
            3 => Kind::LeavesOut,
            _ => return None,
        };
        let (entry, rows) = (number(1)? as usize, number(2)? as usize);
        Some(Self { kind, entry, rows, entry_sum: number(3)?, rows_sum: number(4)? }).filter(|head| head.entry <= LONGEST_ENTRY)
    }

    fn write(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Puts => 1,
            Kind::Removes => 2,
            Kind::LeavesOut => 3,
        };
        let numbers = [kind, self.entry as u32, self.rows as u32, self.entry_sum, self.rows_sum];
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }
}

/// A folder's people, to search.
#[derive(Debug)]
pub struct FaceIndex {
    path: PathBuf,
    model: String,
    width: usize,
    rows: Vec<Row>,
    left_out: Vec<IndexedFile>,
    /// The whole records in the file, in bytes.
    end: usize,
    /// Whether the file is of the version before.
    is_old: bool,
    map: Option<Mmap>,
}

impl FaceIndex {
    /// What footage and pictures end with; other files of a folder are passed over.
    pub const KINDS: [&str; 15] =
        ["avi", "gif", "jpeg", "jpg", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "png", "ts", "webm", "webp", "wmv"];

    /// Opens an index; one that does not exist yet is empty, and made when a clip is put into it. `model` is what its embeddings
    /// come from ([`Finder::model`](crate::Finder::model)), `width` how many numbers one has.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::File`] for a file that is no index, or is one of another embedder.
    pub fn open(path: impl Into<PathBuf>, model: &str, width: usize) -> Result<Self> {
        let path = path.into();
        let (rows, left_out) = (Vec::new(), Vec::new());
        let mut index = Self { path, model: model.into(), width, rows, left_out, end: 0, is_old: false, map: None };
        index.read()?;
        Ok(index)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The clips, in the order in which they were put in.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &IndexedFile> {
        self.rows.iter().map(|row| &row.file)
    }

    /// The clip at a place, as [`Hit::file`] says it.
    pub fn file(&self, place: usize) -> Option<&IndexedFile> {
        self.rows.get(place).map(|row| &row.file)
    }

    /// The number of people in all clips.
    pub fn people(&self) -> usize {
        self.rows.iter().map(|row| row.file.people.len()).sum()
    }

    /// The embedding of somebody, of unit length.
    pub fn embedding(&self, file: usize, person: usize) -> Option<&[f32]> {
        let row = self.rows.get(file).filter(|row| person < row.file.people.len())?;
        self.embeddings(row).get(person * self.width..(person + 1) * self.width)
    }

    /// How many people of the clip at a place have no face that identifies them, so that nobody can be ruled out: not all of
    /// them are among [`IndexedFile::people`]. `None` where that was not counted.
    pub fn unclear(&self, place: usize) -> Option<usize> {
        self.rows.get(place)?.unclear
    }

    /// The files that could not be read, without people.
    pub fn left_out(&self) -> &[IndexedFile] {
        &self.left_out
    }

    /// The files of a folder and the folders in it that are new, changed or gone since they were indexed or left out, in the order
    /// of their names. Sizes and times are compared, no file is opened.
    ///
    /// # Errors
    /// [`Error::Data`] for a folder that cannot be read.
    pub fn changes(&self, folder: &Path) -> Result<Vec<String>> {
        let found = files_in(folder, &Self::KINDS)?;
        let mut known: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        for file in self.files().chain(&self.left_out) {
            known.entry(&file.name).or_default().push((file.bytes, file.modified));
        }
        let is_known = |name: &str, path: &Path| {
            let Ok(about) = fs::metadata(path) else { return true };
            let modified = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let now = (about.len(), modified.map_or(0, |time| time.as_nanos() as u64));
            known.get(name).is_some_and(|seen| seen.contains(&now))
        };
        let mut changes: Vec<String> =
            found.iter().filter(|(name, path)| !is_known(name, path)).map(|(name, _)| name.clone()).collect();
        changes.extend(self.files().filter(|file| !found.contains_key(&file.name)).map(|file| file.name.clone()));
        changes.sort();
        Ok(changes)
    }

    /// Puts a clip in, in place of one of that name: the embeddings of its people, in their order. How many people are unclear
    /// is not said.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] for embeddings that do not fit, and while another process writes.
    pub fn put(&mut self, file: IndexedFile, embeddings: &[Vec<f32>]) -> Result<()> {
        self.put_row(file, None, embeddings)
    }

    /// Puts a clip in as [`put`](Self::put) does, with the number of people in it whose faces do not tell who they
    /// are ([`Appearance::telling_faces`](crate::Appearance::telling_faces) is 0).
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_counted(&mut self, file: IndexedFile, unclear: usize, embeddings: &[Vec<f32>]) -> Result<()> {
        self.put_row(file, Some(unclear), embeddings)
    }

    /// Notes which files cannot be read, in place of those that were noted before; their people are not used.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] while another process writes.
    pub fn leave_out(&mut self, files: Vec<IndexedFile>) -> Result<()> {
        if files == self.left_out {
            return Ok(());
        }
        self.append(&self.left_out_record(&files)?, |index, _| index.left_out = files)
    }

    fn left_out_record(&self, files: &[IndexedFile]) -> Result<Record> {
        Ok(Record { kind: Kind::LeavesOut, entry: self.entry(&files)?, embeddings: Vec::new() })
    }

    fn put_row(&mut self, file: IndexedFile, unclear: Option<usize>, embeddings: &[Vec<f32>]) -> Result<()> {
        if embeddings.len() != file.people.len() || embeddings.iter().any(|embedding| embedding.len() != self.width) {
            return Err(self.refused(format!("takes {} numbers for each person of {}", self.width, file.name), "report this"));
        }
        let values = embeddings.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let entry = self.entry(&EntryOf { file: &file, unclear })?;
        self.append(&Record { kind: Kind::Puts, entry, embeddings: values }, |index, start| {
            index.rows.retain(|row| row.file.name != file.name);
            index.rows.push(Row { file, unclear, start });
        })
    }

    /// Takes a clip out; `false` where there is none of that name.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] while another process writes.
    pub fn remove(&mut self, name: &str) -> Result<bool> {
        if !self.rows.iter().any(|row| row.file.name == name) {
            return Ok(false);
        }
        let record = Record { kind: Kind::Removes, entry: self.entry(&name)?, embeddings: Vec::new() };
        self.append(&record, |index, _| index.rows.retain(|row| row.file.name != name))?;
        Ok(true)
    }

    /// The people who are most like any of `embeddings` (unit vectors), at least `least` by the cosine and at most `most` of
    /// them; the most similar first. Every person is compared.
    pub fn search(&self, embeddings: &[&[f32]], least: f32, most: usize) -> Vec<Hit> {
        let fitting: Vec<&[f32]> = embeddings.iter().copied().filter(|embedding| embedding.len() == self.width).collect();
        let parts = self
            .rows
            .iter()
            .enumerate()
            .flat_map(|(file, row)| (0..row.file.people.len()).step_by(CHUNK).map(move |from| (file, row, from)));
        let compare = |(file, row, from): (usize, &Row, usize)| -> Vec<Hit> {
            let count = CHUNK.min(row.file.people.len() - from);
            let all = &self.embeddings(row)[from * self.width..(from + count) * self.width];
            let hits = similarities(&fitting, all, self.width).into_iter().enumerate();
            let hits = hits.filter(|(_, similarity)| *similarity >= least);
            best(hits.map(|(place, similarity)| Hit { file, person: from + place, similarity }).collect(), most)
        };
        if self.width == 0 || fitting.is_empty() {
            return Vec::new();
        }
        let parts: Vec<_> = parts.collect();
        // Small clips go to one task together.
        let hits: Vec<Hit> = parts.into_par_iter().with_min_len(16).flat_map_iter(compare).collect();
        best(hits, most)
    }

    /// Deletes the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn delete(self) -> Result<()> {
        let Self { path, map, .. } = self;
        drop(map);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(&path, error)),
            _ => Ok(()),
        }
    }

    fn embeddings(&self, row: &Row) -> &[f32] {
        let bytes = self.map.as_deref().and_then(|map| map.get(row.start..row.start + 4 * self.width * row.file.people.len()));
        // SAFETY: any four bytes are an f32, and `align_to` splits where they are aligned: all are, as records begin at
        // multiples of 64 bytes of a mapping, which begins at a page.
        let (_, values, _) = unsafe { bytes.unwrap_or_default().align_to::<f32>() };
        values
    }

    fn refused(&self, problem: String, remedy: &str) -> Error {
        Error::File { file: self.path.clone(), problem, remedy: remedy.into() }
    }

    fn entry(&self, value: &impl Serialize) -> Result<Vec<u8>> {
        serde_json::to_vec(value).map_err(|error| self.refused(format!("cannot be written ({error})"), "report this"))
    }

    /// What the file begins with.
    fn header(&self, magic: &[u8; 8]) -> Vec<u8> {
        let mut header = magic.to_vec();
        header.extend((self.width as u32).to_le_bytes());
        header.extend((self.model.len() as u32).to_le_bytes());
        header.extend(self.model.as_bytes());
        pad(&mut header);
        header
    }

    /// Reads which clips there are; behind the last whole record the file is ignored.
    fn read(&mut self) -> Result<()> {
        (self.rows, self.left_out, self.end, self.is_old, self.map) = (Vec::new(), Vec::new(), 0, false, None);
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io(&self.path, error)),
        };
        let io = |error| Error::io(&self.path, error);
        if !file.metadata().map_err(io)?.is_file() {
            return Err(self.refused("is not a regular file".into(), "give the file of an index, or the name of a new one"));
        }
        // SAFETY: the file changes by appending and by being replaced under another inode, both of which leave what is mapped
        // as it is; who cuts it off while it is read ends this process, as with any mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        self.is_old = map.starts_with(OLD_MAGIC);
        let header = self.header(if self.is_old { OLD_MAGIC } else { MAGIC });
        if map.get(..header.len()) != Some(&header[..]) {
            // A process that was killed while it began the file left less than a header.
            if map.len() < header.len() && header.starts_with(&map) {
                self.is_old = false;
                return Ok(());
            }
            let is_other = self.is_old || map.starts_with(MAGIC);
            let problem = if is_other { "is an index of another embedder" } else { "is no index of people" };
            return Err(self.refused(problem.into(), "delete it and index the folder again: pvchat index DIR --delete"));
        }
        let mut live: BTreeMap<String, (usize, Row)> = BTreeMap::new();
        let (mut at, mut number) = (header.len(), 0);
        while let Some((head, entry, start, next)) = self.record(&map, at) {
            number += 1;
            let known = match head.kind {
                Kind::Removes => serde_json::from_slice(entry).ok().map(|name: String| drop(live.remove(&name))),
                Kind::LeavesOut => serde_json::from_slice(entry).ok().map(|files| self.left_out = files),
                Kind::Puts => {
                    let entry = serde_json::from_slice::<Entry>(entry).ok().filter(|entry| entry.people.len() == head.rows);
                    entry.map(|Entry { name, bytes, modified, people, unclear }| {
                        let row = Row { file: IndexedFile { name: name.clone(), bytes, modified, people }, unclear, start };
                        live.insert(name, (number, row));
                    })
                }
            };
            if known.is_none() {
                let problem = format!("is damaged: what begins at byte {at} is no clip");
                return Err(self.refused(problem, "delete it and index the folder again: pvchat index DIR --delete"));
            }
            at = next;
        }
        let mut rows: Vec<(usize, Row)> = live.into_values().collect();
        rows.sort_by_key(|(number, _)| *number);
        self.rows = rows.into_iter().map(|(_, row)| row).collect();
        (self.end, self.map) = (at, Some(map));
        Ok(())
    }

    /// The record at a byte: its head, its entry, where its embeddings and the next record begin. `None` where none is whole.
    fn record<'m>(&self, map: &'m [u8], at: usize) -> Option<(Head, &'m [u8], usize, usize)> {
        let head = Head::read(map.get(at..at + Head::BYTES)?)?;
        let entry = map.get(at + Head::BYTES..(at + Head::BYTES).checked_add(head.entry)?)?;
        let start = (at + Head::BYTES + head.entry).next_multiple_of(ALIGNED);
        let end = start.checked_add(head.rows.checked_mul(4 * self.width)?)?;
        let rows = map.get(start..end)?;
        let next = end.next_multiple_of(ALIGNED);
        // Embeddings are checked at the end only, where a killed process may have left them half-written.
        let is_last = map.len() <= next;
        let is_whole = crc32fast::hash(entry) == head.entry_sum && (!is_last || crc32fast::hash(rows) == head.rows_sum);
        is_whole.then_some((head, entry, start, next))
    }

    /// Writes a record behind the last whole one; `note` changes what was read by it, given where its embeddings begin.
    fn append(&mut self, record: &Record, note: impl FnOnce(&mut Self, usize)) -> Result<()> {
        let path = self.path.clone();
        let io = |error| Error::io(&path, error);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(io)?;
        if file.try_lock().is_err() {
            return Err(self.refused("is being written by another process".into(), "wait for it"));
        }
        // Another process may have written since this one read.
        if file.metadata().map_err(io)?.len() != self.end as u64 {
            self.read()?;
        }
        let mut bytes = if self.end == 0 { self.header(MAGIC) } else { Vec::new() };
        self.add(&mut bytes, record);
        let (end, rows) = (self.end + bytes.len(), record.embeddings.len().next_multiple_of(ALIGNED));
        self.map = None;
        let written = file.set_len(self.end as u64).and_then(|()| {
            file.seek(SeekFrom::End(0))?;
            file.write_all(&bytes)?;
            file.sync_data()
        });
        // Closing alone would keep the lock while a process that was forked meanwhile has the file open.
        file.unlock().map_err(io)?;
        written.map_err(io)?;
        note(self, end - rows);
        // SAFETY: as in `read`.
        self.map = Some(unsafe { Mmap::map(&File::open(&path).map_err(io)?) }.map_err(io)?);
        self.end = end;
        let used: usize = self.rows.iter().map(|row| 2 * ALIGNED + 4 * self.width * row.file.people.len()).sum();
        if !self.is_old && ((self.end as u64) < SMALL || 2 * used > self.end) {
            return Ok(());
        }
        let mut whole = self.header(MAGIC);
        for row in &self.rows {
            let embeddings = self.embeddings(row).iter().flat_map(|value| value.to_le_bytes()).collect();
            let entry = self.entry(&EntryOf { file: &row.file, unclear: row.unclear })?;
            self.add(&mut whole, &Record { kind: Kind::Puts, entry, embeddings });
        }
        if !self.left_out.is_empty() {
            self.add(&mut whole, &self.left_out_record(&self.left_out)?);
        }
        pvchat_data::file::write_atomically(&path, &whole)?;
        self.read()
    }

    /// Adds a record to the bytes of a file.
    fn add(&self, bytes: &mut Vec<u8>, Record { kind, entry, embeddings }: &Record) {
        let head = Head {
            kind: *kind,
            entry: entry.len(),
            rows: embeddings.len() / (4 * self.width.max(1)),
            entry_sum: crc32fast::hash(entry),
            rows_sum: crc32fast::hash(embeddings),
        };
        for part in [&head.write(), entry] {
            bytes.extend(part);
        }
        pad(bytes);
        bytes.extend(embeddings);
        pad(bytes);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNED), 0);
}

/// The `most` most similar ones, in order; of equals the first.
fn best(mut hits: Vec<Hit>, most: usize) -> Vec<Hit> {
    let order = |one: &Hit, other: &Hit| {
        other.similarity.total_cmp(&one.similarity).then((one.file, one.person).cmp(&(other.file, other.person)))
    };
    if hits.len() > most && most > 0 {
        hits.select_nth_unstable_by(most - 1, order);
    }
    hits.truncate(most);
    hits.sort_unstable_by(order);
    hits
}

/// For each of the embeddings in `all` the greatest cosine with one of `looks`.
fn similarities(looks: &[&[f32]], all: &[f32], width: usize) -> Vec<f32> {
    let nearest = |person: &[f32]| looks.iter().map(|one| product(one, person)).fold(f32::MIN, f32::max);
    all.chunks_exact(width).map(nearest).collect()
}

/// The scalar product, in sixteen sums that the compiler keeps in vector registers. Wider ones than every processor has bring
/// a tenth: a search waits for memory.
fn product(one: &[f32], other: &[f32]) -> f32 {
    const LANES: usize = 16;
    let ((one, one_rest), (other, other_rest)) = (one.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    let mut sums = [0.0f32; LANES];
    for (one, other) in one.iter().zip(other) {
        for lane in 0..LANES {
            sums[lane] += one[lane] * other[lane];
        }
    }
    let rest: f32 = one_rest.iter().zip(other_rest).map(|(one, other)| one * other).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 24;

    fn index(folder: &Path) -> FaceIndex {
        FaceIndex::open(folder.join("faces.index"), "model@1", WIDTH).unwrap()
    }

    fn file(name: &str, people: usize) -> IndexedFile {
        let person =
            IndexedPerson { moments: vec![(0.5, 2.0)], best: 1.0, bounds: Bounds::new(1.0, 2.0, 3.0, 4.0), good_faces: 7 };
        IndexedFile { name: name.into(), bytes: 10, modified: 20, people: vec![person; people] }
    }

    /// A unit vector, another for each seed.
    fn vector(seed: u64) -> Vec<f32> {
        let mut stream = pvchat_data::random::SeededStream::new(seed);
        let mut vector: Vec<f32> = (0..WIDTH).map(|_| 2.0 * stream.unit() - 1.0).collect();
        crate::unit::normalise(&mut vector);
        vector
    }

    #[test]
    fn what_is_put_in_is_found_also_by_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = index(folder.path());
        assert!(one.search(&[&vector(1)], -1.0, 5).is_empty() && !one.path().exists());
        one.put(file("a.mp4", 2), &[vector(1), vector(2)]).unwrap();
        let mut other = index(folder.path());
        one.put(file("b/c.mp4", 1), &[vector(3)]).unwrap();
        // The other has not seen the second clip, and does not overwrite it.
        other.put(file("d.mp4", 0), &[]).unwrap();
        let index = index(folder.path());
        assert_eq!(index.files().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a.mp4", "b/c.mp4", "d.mp4"]);
        let hits = index.search(&[&vector(3), &vector(2)], -1.0, 2);
        assert_eq!(hits.iter().map(|hit| (hit.file, hit.person)).collect::<Vec<_>>(), [(0, 1), (1, 0)]);
        assert!(hits.iter().all(|hit| (hit.similarity - 1.0).abs() < 1e-5), "{hits:?}");
        assert_eq!((index.search(&[&vector(3)], 0.99, 9).len(), index.people()), (1, 3));
        assert_eq!(index.embedding(0, 1).unwrap(), vector(2));
        assert!(index.embedding(0, 2).is_none() && index.search(&[&[1.0]], -1.0, 5).is_empty());
    }

    #[test]
    fn clips_are_replaced_and_removed_and_the_file_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let mut index = index(folder.path());
        for round in 0..40 {
            let embeddings: Vec<Vec<f32>> = (0..400).map(|person| vector(1000 * round + person)).collect();
            index.put(file("a.mp4", 400), &embeddings).unwrap();
        }
        index.put(file("b.mp4", 1), &[vector(5)]).unwrap();
        assert!(fs::metadata(index.path()).unwrap().len() < 2 * SMALL, "{}", fs::metadata(index.path()).unwrap().len());
        assert_eq!(index.search(&[&vector(39_007)], 0.999, 9)[0].person, 7);
        assert!(index.search(&[&vector(38_007)], 0.999, 9).is_empty(), "what was replaced is gone");
        assert!(index.remove("a.mp4").unwrap() && !index.remove("a.mp4").unwrap());
        let index = self::index(folder.path());
        assert_eq!((index.files().len(), index.people()), (1, 1));
        let path = index.path().to_path_buf();
        index.delete().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_record_that_was_cut_off_anywhere_is_no_record_and_the_next_one_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut whole = index(folder.path());
        whole.put(file("a.mp4", 1), &[vector(1)]).unwrap();
        let kept = fs::metadata(whole.path()).unwrap().len() as usize;
        whole.put(file("b.mp4", 2), &[vector(2), vector(3)]).unwrap();
        let bytes = fs::read(whole.path()).unwrap();
        for length in (0..bytes.len()).step_by(7) {
            fs::write(whole.path(), &bytes[..length]).unwrap();
            let mut cut = index(folder.path());
            // Between the two only zeros are missing, which no record needs.
            let (least, found) = (usize::from(length >= kept), cut.files().len());
            assert!(found == least || (found == 1 && length > kept - ALIGNED), "{length}: {found}");
            cut.put(file("b.mp4", 2), &[vector(2), vector(3)]).unwrap();
            if found == 1 {
                assert_eq!(fs::read(whole.path()).unwrap(), bytes, "{length}");
            }
        }
        // The last record of a file that was not cut, but never written to the end.
        let mut torn = bytes.clone();
        let last = torn.len() - 100;
        torn[last] ^= 1;
        fs::write(whole.path(), &torn).unwrap();
        assert_eq!(index(folder.path()).files().len(), 1);
    }

    #[test]
    fn unclear_faces_and_files_left_out_are_kept_and_an_older_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut old = index(folder.path());
        old.put(file("a.mp4", 1), &[vector(1)]).unwrap();
        let path = old.path().to_path_buf();
        let mut bytes = fs::read(&path).unwrap();
        bytes[..MAGIC.len()].copy_from_slice(OLD_MAGIC);
        fs::write(&path, &bytes).unwrap();
        let mut new = index(folder.path());
        assert_eq!((new.people(), new.unclear(0), new.left_out()), (1, None, [].as_slice()));
        let broken = file("broken.mp4", 0);
        new.leave_out(vec![broken.clone()]).unwrap();
        new.put_counted(file("b.mp4", 0), 2, &[]).unwrap();
        assert!(fs::read(&path).unwrap().starts_with(MAGIC), "what is put in is of the present version");
        let again = index(folder.path());
        let unclear: Vec<_> = (0..again.files().len()).map(|place| again.unclear(place)).collect();
        assert_eq!((unclear, again.left_out()), (vec![None, Some(2)], [broken].as_slice()));
        assert_eq!(again.embedding(0, 0).unwrap(), vector(1));
        let length = fs::metadata(&path).unwrap().len();
        new.leave_out(again.left_out().to_vec()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), length, "the same again writes nothing");
    }

    #[test]
    fn files_that_are_new_changed_or_gone_are_seen() {
        let [folder, footage] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let known = |name: &str, content: &str| {
            let path = footage.path().join(name);
            fs::write(&path, content).unwrap();
            let about = fs::metadata(&path).unwrap();
            let modified = about.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
            IndexedFile { name: name.into(), bytes: about.len(), modified, people: Vec::new() }
        };
        let mut index = index(folder.path());
        for name in ["same.mp4", "gone.mp4", "changed.mp4"] {
            index.put(known(name, "before"), &[]).unwrap();
        }
        index.leave_out(vec![known("broken.mp4", "no video")]).unwrap();
        fs::write(footage.path().join("text.txt"), "no footage").unwrap();
        assert!(index.changes(footage.path()).unwrap().is_empty());
        fs::remove_file(footage.path().join("gone.mp4")).unwrap();
        fs::write(footage.path().join("changed.mp4"), "longer than before").unwrap();
        fs::write(footage.path().join("new.png"), "").unwrap();
        assert_eq!(index.changes(footage.path()).unwrap(), ["changed.mp4", "gone.mp4", "new.png"]);
        assert!(index.changes(&footage.path().join("none")).is_err());
    }

    #[test]
    fn other_files_and_other_embedders_are_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        index(folder.path()).put(file("a.mp4", 1), &[vector(1)]).unwrap();
        let path = folder.path().join("faces.index");
        let refused = |model: &str| FaceIndex::open(&path, model, WIDTH).unwrap_err().to_string();
        assert!(refused("model@2").contains("another embedder") && refused("model@2").contains("--delete"));
        fs::write(&path, "no index, but longer than a header ".repeat(9)).unwrap();
        assert!(refused("model@1").contains("is no index"));
        assert!(index(folder.path().join("none").as_path()).put(file("a.mp4", 1), &[vector(1)]).is_err(), "no such folder");
        let error = FaceIndex::open(folder.path(), "model@1", WIDTH).unwrap_err().to_string();
        assert!(error.contains("regular file") || error.contains("directory"), "{error}");
    }
}
