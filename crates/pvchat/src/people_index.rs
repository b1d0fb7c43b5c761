//! Everybody in a folder of footage, looked at once, to be searched for somebody who is enrolled.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::ControlFlow,
    path::Path,
    time::UNIX_EPOCH,
};

use image::RgbImage;
use pvchat_data::{SubjectName, file::files_in};
use pvchat_people::{FaceIndex, IndexedFile, IndexedPerson, Moment, Verdict, Watch};
use pvchat_video::StreamPlan;
use serde::Serialize;

use crate::{
    Error, People, Result,
    people::{BATCH, Lasting, open_video, rate},
};

/// The index of a folder, where no other file is named.
pub const INDEX: &str = "pvchat.index";
/// People of an index who may be somebody, at most.
const MOST_HITS: usize = 100_000;

/// How far indexing is.
#[derive(Clone, Copy, Debug)]
pub struct IndexProgress<'a> {
    /// Files that are done, those that had not changed among them.
    pub done: usize,
    /// All files.
    pub files: usize,
    /// The one that is looked at.
    pub file: &'a Path,
    /// Up to where it was looked at, in seconds.
    pub seconds: f64,
    /// Its length in seconds, where that is known.
    pub duration: Option<f64>,
}

/// What indexing did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Indexed {
    /// Files that were looked at.
    pub looked_at: usize,
    /// Files that had not changed since.
    pub unchanged: usize,
    /// Files that are there no more.
    pub removed: usize,
    /// Files that cannot be read, and why; they are tried again the next time.
    pub failed: Vec<(String, String)>,
    /// Files in the index.
    pub files: usize,
    /// People in the index: somebody who is in three files counts three times.
    pub people: usize,
}

/// A file in which somebody is, or may be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundIn {
    /// The path below the indexed folder.
    pub file: String,
    /// Yes or not sure.
    pub verdict: Verdict,
    /// The probability, 0 to 1, when each is as likely as not.
    pub probability: f32,
    /// The cosine with the most similar look.
    pub similarity: f32,
    /// When, from and to, in seconds.
    pub moments: Vec<(f64, f64)>,
    /// When the largest face is seen, in seconds.
    pub best: f64,
}

impl People {
    /// Opens an index of this embedder's; one that does not exist yet is empty.
    ///
    /// # Errors
    /// As [`FaceIndex::open`].
    pub fn open_index(&self, file: &Path) -> Result<FaceIndex> {
        Ok(FaceIndex::open(file, self.finder().model(), self.finder().width())?)
    }

    /// Looks for people in the footage and pictures of a folder and the folders in it, and keeps them in `index`. What did not
    /// change since the last time is not looked at again; a clip is in the index as a whole or not at all. Links are not followed.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that cannot be read, [`Error::People`] for the index, also for one of other footage, [`Error::Stopped`] when the observer stops
    /// it: the files that are done stay. Files that cannot be read are no error, see [`Indexed::failed`].
    pub fn index(
        &self,
        folder: &Path,
        index: &mut FaceIndex,
        mut observe: impl FnMut(IndexProgress<'_>) -> ControlFlow<()>,
    ) -> Result<Indexed> {
        let files = files_in(folder, &FaceIndex::KINDS).map_err(|error| match error {
            pvchat_data::Error::Io { file: path, source } => Error::Io { path, source },
            error => error.into(),
        })?;
        let mut report = Indexed::default();
        let gone: Vec<String> = index.files().map(|file| file.name.clone()).filter(|name| !files.contains_key(name)).collect();
        // Files that were renamed are the same size and age.
        let state = |path: &Path| {
            let about = fs::metadata(path)?;
            let modified = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            Ok::<_, std::io::Error>((about.len(), modified.map_or(0, |time| time.as_nanos() as u64)))
        };
        let was_renamed = || {
            let now: BTreeSet<(u64, u64)> = files.values().filter_map(|path| state(path).ok()).collect();
            index.files().any(|file| now.contains(&(file.bytes, file.modified)))
        };
        if !gone.is_empty() && gone.len() == index.files().len() && !was_renamed() {
            return Err(pvchat_people::Error::File {
                file: index.path().into(),
                problem: format!("is of other footage: none of its {} files is in {}", gone.len(), folder.display()),
                remedy: "name the folder that was indexed, or another file for the index of this one; where that footage is gone, delete \
                         the index"
                    .into(),
            }
            .into());
        }
        for name in &gone {
            report.removed += usize::from(index.remove(name)?);
        }
        // What an older version indexed without counting unclear faces is looked at again.
        let counted = index.files().enumerate().filter(|(place, _)| index.unclear(*place).is_some());
        let known: BTreeMap<String, (u64, u64)> =
            counted.map(|(_, file)| (file.name.clone(), (file.bytes, file.modified))).collect();
        for (done, (name, path)) in files.iter().enumerate() {
            let (bytes, modified) = match state(path) {
                Ok(state) => state,
                Err(error) => {
                    report.failed.push((name.clone(), error.to_string()));
                    continue;
                }
            };
            if known.get(name) == Some(&(bytes, modified)) {
                report.unchanged += 1;
                continue;
            }
            let progress = |seconds, duration| observe(IndexProgress { done, files: files.len(), file: path, seconds, duration });
            match self.everybody(path, progress) {
                Ok((people, embeddings, unclear)) => {
                    index.put_counted(IndexedFile { name: name.clone(), bytes, modified, people }, unclear, &embeddings)?;
                    report.looked_at += 1;
                }
                Err(error @ (Error::Stopped { .. } | Error::People(_))) => return Err(error),
                Err(error) => report.failed.push((name.clone(), error.to_string())),
            }
        }
        (report.files, report.people) = (index.files().len(), index.people());
        Ok(report)
    }

    /// In which files of an index somebody is, the most similar first. The more people an index holds, the more similar somebody
    /// has to be, because one of many looks like anybody.
    ///
    /// # Errors
    /// [`Error::People`] for somebody who is not enrolled, or with another embedder.
    pub fn find(&self, name: &SubjectName, index: &FaceIndex) -> Result<Vec<FoundIn>> {
        let person = self.gallery().load(name)?;
        person.check_model(self.finder().model())?;
        let (calibration, people) = (self.calibration(), index.people());
        let looks: Vec<&[f32]> = person.templates.iter().map(|template| template.embedding.as_slice()).collect();
        let (mut found, mut told) = (Vec::new(), BTreeSet::new());
        for hit in index.search(&looks, calibration.possible, MOST_HITS) {
            let refused = index.embedding(hit.file, hit.person).is_none_or(|embedding| person.refuses(embedding));
            let Some(file) = index.file(hit.file).filter(|_| !refused) else { continue };
            let Some(seen) = file.people.get(hit.person) else { continue };
            let one = FoundIn {
                file: file.name.clone(),
                verdict: calibration.verdict(hit.similarity, people),
                probability: calibration.probability(hit.similarity),
                similarity: hit.similarity,
                moments: seen.moments.clone(),
                best: seen.best,
            };
            // Two people of one file are two: the more similar one, who comes first, is meant.
            if told.insert(hit.file) {
                found.push(one);
            }
        }
        Ok(found)
    }

    /// Everybody in a file whose face is good enough to be compared, with their embeddings, and how many people there are whose
    /// faces do not identify them.
    fn everybody(
        &self,
        path: &Path,
        mut observe: impl FnMut(f64, Option<f64>) -> ControlFlow<()>,
    ) -> Result<(Vec<IndexedPerson>, Vec<Vec<f32>>, usize)> {
        let mut reader = open_video(path)?;
        let duration = reader.info().duration_seconds;
        let mut watch = Watch::new(self.finder(), &[], self.calibration(), self.options().watch)?;
        let mut lasting = Lasting { step: Lasting::step(rate(duration), reader.info().frame_rate), last: 0.0, duration };
        let (mut frames, mut seconds): (Vec<RgbImage>, Vec<f64>) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let mut look = |frames: &mut Vec<RgbImage>, seconds: &mut Vec<f64>| -> Result<()> {
            watch.push(frames, seconds)?;
            let at = seconds.last().copied().unwrap_or(0.0);
            frames.clear();
            seconds.clear();
            match observe(at, duration) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Error::Stopped { path: path.to_path_buf(), seconds: at }),
            }
        };
        for frame in reader.stream(StreamPlan::per_second(rate(duration)))? {
            let frame = frame?;
            lasting.last = frame.seconds;
            seconds.push(frame.seconds);
            frames.push(frame.image);
            if frames.len() == BATCH {
                look(&mut frames, &mut seconds)?;
            }
        }
        if !frames.is_empty() {
            look(&mut frames, &mut seconds)?;
        }
        let (timeline, strangers) = watch.finish_with_strangers()?;
        let frames_seen = timeline.frames;
        let (mut people, mut embeddings) = (Vec::new(), Vec::new());
        let unclear = timeline.people.iter().filter(|appearance| appearance.telling_faces == 0).count();
        for appearance in timeline.people {
            let stranger = strangers.iter().find(|stranger| stranger.number == appearance.stranger);
            let largest = appearance.moments.iter().max_by(|one, other| one.bounds.area().total_cmp(&other.bounds.area()));
            let (Some(stranger), Some(largest)) = (stranger, largest) else { continue };
            let end = |moment: &Moment| if frames_seen > 1 { lasting.end(moment.end) } else { moment.end };
            people.push(IndexedPerson {
                moments: appearance.moments.iter().map(|moment| (millis(moment.start), millis(end(moment)))).collect(),
                best: millis(largest.best),
                bounds: largest.bounds,
                good_faces: appearance.good_faces,
            });
            embeddings.push(stranger.embedding.clone());
        }
        Ok((people, embeddings, unclear))
    }
}

/// Whole milliseconds: numbers that JSON gives back.
fn millis(seconds: f64) -> f64 {
    (1e3 * seconds).round() / 1e3
}
