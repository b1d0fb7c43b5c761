//! Who is in a long video, and when: frames come in batches, are looked at in windows, and only rows of the timeline stay.

use image::RgbImage;
use pvchat_data::SubjectName;
use serde::{Deserialize, Serialize};

use crate::{
    Bounds, Calibration, Finder, Person, Result, Verdict,
    quality::Flaw,
    recognise::recognise,
    track::{Linker, Track},
    unit::cosine,
};

/// A stretch of a video in which somebody is seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// The time of the first face, in seconds.
    pub start: f64,
    /// The time of the last face, in seconds.
    pub end: f64,
    /// When the best face is seen, in seconds.
    pub best: f64,
    /// The box of that face, in pixels of the video.
    pub bounds: Bounds,
    /// The cosine of the person in this stretch with the subject, or with the most similar one.
    pub similarity: f32,
}

/// Everything that was seen of one person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Appearance {
    /// Who it is, or may be; `None` for somebody who is like nobody that is enrolled.
    pub subject: Option<SubjectName>,
    /// The number of a stranger, counted from 1 in the order of appearance; 0 for a subject.
    pub stranger: usize,
    /// Whether it is the subject: yes or not sure; no for strangers.
    pub verdict: Verdict,
    /// The probability of being the subject, 0 to 1.
    pub probability: f32,
    /// The greatest cosine of all moments.
    pub similarity: f32,
    /// Other subjects whom this person is so similar to that, without the subject, each would be a yes, and the cosine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<(SubjectName, f32)>,
    /// The number of frames with a face.
    pub faces: usize,
    /// The number of them that are good.
    pub good_faces: usize,
    /// The number of good ones that also say who it is not.
    pub telling_faces: usize,
    /// What most of the other faces lack, if there is one.
    pub flaw: Option<Flaw>,
    /// When, in the order of time.
    pub moments: Vec<Moment>,
}

/// How a video is watched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchOptions {
    /// The length of a window in seconds: people are distinguished within it, and at its end only rows remain.
    pub window: f64,
    /// Moments of one person that are closer than this, in seconds, become one.
    pub gap: f64,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { window: 60.0, gap: 3.0 }
    }
}

/// What a watched video holds so far; can be stored and resumed, see [`Watch::resume`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Everybody, subjects first in their order, then strangers.
    pub people: Vec<Appearance>,
    /// Frames that were looked at.
    pub frames: usize,
    /// Confirmed faces in them.
    pub faces: usize,
    /// The greatest number of people in one frame.
    pub together: usize,
    /// Up to where everything is in the rows, in seconds.
    pub until: f64,
}

/// A stranger's face, in memory only, so that somebody who returns keeps the number.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// [`Appearance::stranger`].
    pub number: usize,
    /// The mean of the faces.
    pub embedding: Vec<f32>,
}

/// At most this many strangers are recognised when they return.
const MOST_STRANGERS: usize = 2_000;

/// Looks for people in a video as its frames come in.
pub struct Watch<'a> {
    finder: &'a Finder,
    subjects: &'a [Person],
    calibration: &'a Calibration,
    options: WatchOptions,
    linker: Linker,
    /// Where the window began, in seconds; `None` before its first frame.
    begin: Option<f64>,
    /// Frames of the window, faces in them, and the most in one frame.
    window: [usize; 3],
    strangers: Vec<Stranger>,
    timeline: Timeline,
}

impl<'a> Watch<'a> {
    /// Begins to watch.
    ///
    /// # Errors
    /// [`Error::OtherModel`](crate::Error::OtherModel) for a subject whose templates come from another model, and `Error::Onnx`
    /// for a calibration of another model than the user's own.
    pub fn new(finder: &'a Finder, subjects: &'a [Person], calibration: &'a Calibration, options: WatchOptions) -> Result<Self> {
        Self::resume(finder, subjects, calibration, options, Timeline::default())
    }

    /// Goes on from a timeline that was watched up to [`Timeline::until`]; the frames after that time are to come.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn resume(
        finder: &'a Finder,
        subjects: &'a [Person],
        calibration: &'a Calibration,
        options: WatchOptions,
        timeline: Timeline,
    ) -> Result<Self> {
        subjects.iter().try_for_each(|subject| subject.check_model(finder.model()))?;
        #[cfg(feature = "onnx")]
        finder.check_calibration(calibration)?;
        let (linker, strangers) = (finder.linker(), Vec::new());
        Ok(Self { finder, subjects, calibration, options, linker, begin: None, window: [0; 3], strangers, timeline })
    }

    /// Recognises a stranger of the resumed timeline: embeddings of strangers are in no file. `face` is the
    /// embedding of a face of the one with that number.
    pub fn know_again(&mut self, number: usize, face: Vec<f32>) {
        self.strangers.push(Stranger { number, embedding: face });
    }

    /// Looks at frames that follow those before, with their times in seconds. Gives `true` when a window ended: the
    /// [`timeline`](Self::timeline) then holds everything up to its end.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn push(&mut self, frames: &[RgbImage], seconds: &[f64]) -> Result<bool> {
        let pictures: Vec<&RgbImage> = frames.iter().collect();
        let mut ended = false;
        for (seen, &seconds) in self.finder.faces_of(&pictures)?.into_iter().zip(seconds) {
            let begin = *self.begin.get_or_insert(seconds);
            if seconds - begin >= self.options.window {
                self.end_window(seconds)?;
                self.begin = Some(seconds);
                ended = true;
            }
            let [frames, faces, together] = self.window;
            self.window = [frames + 1, faces + seen.len(), together.max(seen.len())];
            self.linker.push(frames, seconds, seen);
        }
        Ok(ended)
    }

    /// What is known up to the end of the last window.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Frames that were looked at, including those of the current window.
    pub fn frames(&self) -> usize {
        self.timeline.frames + self.window[0]
    }

    /// As [`finish`](Self::finish), with the strangers who have an embedding.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn finish_with_strangers(mut self) -> Result<(Timeline, Vec<Stranger>)> {
        self.end_window(f64::INFINITY)?;
        let strangers = std::mem::take(&mut self.strangers);
        Ok((self.finish()?, strangers))
    }

    /// Ends: everything that was seen.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn finish(mut self) -> Result<Timeline> {
        self.end_window(f64::INFINITY)?;
        for appearance in &mut self.timeline.people {
            appearance.moments.sort_by(|one, other| one.start.total_cmp(&other.start));
        }
        self.timeline.people.sort_by_key(|person| {
            let known = person.subject.as_ref();
            let place = known.and_then(|name| self.subjects.iter().position(|subject| subject.name == *name));
            (place.unwrap_or(usize::MAX), person.stranger)
        });
        Ok(self.timeline)
    }

    /// Turns the tracks of the window into rows; `until` is where the next one begins, in seconds.
    fn end_window(&mut self, until: f64) -> Result<()> {
        let [frames, faces, together] = std::mem::take(&mut self.window);
        self.timeline.frames += frames;
        self.timeline.faces += faces;
        self.timeline.together = self.timeline.together.max(together);
        let mut tracks = std::mem::replace(&mut self.linker, self.finder.linker()).finish();
        let mut recognised = recognise(&tracks, self.subjects, self.calibration);
        // A person who is recognised is upright.
        let others: Vec<usize> =
            recognised.iter().filter(|found| found.verdict != Verdict::Yes).map(|found| found.person).collect();
        if self.finder.mark_upside_down(&mut tracks, |person| others.contains(&person))? {
            recognised = recognise(&tracks, self.subjects, self.calibration);
        }
        // Two people of one window are two, however similar.
        let mut taken = Vec::new();
        for found in recognised {
            let own: Vec<&Track> = tracks.iter().filter(|track| track.person == found.person).collect();
            let moments: Vec<Moment> = own.iter().flat_map(|track| moments(track, found.similarity, self.options.gap)).collect();
            let subject = found.subject.map(|subject| self.subjects[subject].name.clone());
            let stranger = if subject.is_some() { 0 } else { self.number(&own, &taken) };
            taken.push(stranger);
            let place = self.timeline.people.iter().position(|person| person.subject == subject && person.stranger == stranger);
            let person = match place {
                Some(place) => &mut self.timeline.people[place],
                None => {
                    self.timeline.people.push(Appearance {
                        subject,
                        stranger,
                        verdict: Verdict::No,
                        probability: 0.0,
                        similarity: f32::MIN,
                        also: Vec::new(),
                        faces: 0,
                        good_faces: 0,
                        telling_faces: 0,
                        flaw: None,
                        moments: Vec::new(),
                    });
                    let last = self.timeline.people.len() - 1;
                    &mut self.timeline.people[last]
                }
            };
            person.verdict = person.verdict.max(found.verdict);
            person.probability = person.probability.max(found.probability);
            person.similarity = person.similarity.max(found.similarity);
            for (other, similarity) in found.also {
                let name = &self.subjects[other].name;
                match person.also.iter_mut().find(|(known, _)| known == name) {
                    Some((_, best)) => *best = best.max(similarity),
                    None => person.also.push((name.clone(), similarity)),
                }
            }
            person.faces += own.iter().map(|track| track.sightings.len()).sum::<usize>();
            person.good_faces += own.iter().map(|track| track.good_faces).sum::<usize>();
            person.telling_faces += own.iter().map(|track| track.telling_faces).sum::<usize>();
            person.flaw = person.flaw.or_else(|| commonest_flaw(&own));
            moments.into_iter().for_each(|moment| add_moment(&mut person.moments, moment, self.options.gap));
        }
        if until.is_finite() {
            // A number that JSON gives back exactly, and not after the frame, which would be left out.
            self.timeline.until = (1e6 * until).floor() / 1e6;
        }
        Ok(())
    }

    /// The number of a stranger: that of the most similar one before who is not among `taken`, or a new one.
    fn number(&mut self, tracks: &[&Track], taken: &[usize]) -> usize {
        let best = tracks.iter().filter(|track| track.embedding.is_some()).max_by_key(|track| track.good_faces);
        let embedding = best.and_then(|track| track.embedding.clone());
        if let Some(embedding) = &embedding {
            let similarity = |stranger: &Stranger| cosine(&stranger.embedding, embedding);
            let same = self.finder.alike().same;
            let free = self.strangers.iter().filter(|stranger| !taken.contains(&stranger.number));
            let nearest = free.max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
            if let Some(stranger) = nearest.filter(|stranger| similarity(stranger) >= same) {
                return stranger.number;
            }
        }
        let number = self.timeline.people.iter().map(|person| person.stranger).max().unwrap_or(0) + 1;
        if let Some(embedding) = embedding
            && self.strangers.len() < MOST_STRANGERS
        {
            self.strangers.push(Stranger { number, embedding });
        }
        number
    }
}

/// The stretches of a track.
fn moments(track: &Track, similarity: f32, gap: f64) -> Vec<Moment> {
    let mut moments: Vec<(Moment, f32)> = Vec::new();
    for sighting in &track.sightings {
        let rank = sighting.quality.rank();
        match moments.last_mut().filter(|(moment, _)| sighting.seconds - moment.end <= gap) {
            Some((moment, best)) => {
                moment.end = sighting.seconds;
                if rank > *best {
                    (moment.best, moment.bounds, *best) = (sighting.seconds, sighting.face.bounds, rank);
                }
            }
            None => {
                let (seconds, bounds) = (sighting.seconds, sighting.face.bounds);
                moments.push((Moment { start: seconds, end: seconds, best: seconds, bounds, similarity }, rank));
            }
        }
    }
    moments.into_iter().map(|(moment, _)| moment).collect()
}

/// Adds a moment to those of one person, joined with one that it touches.
fn add_moment(moments: &mut Vec<Moment>, mut moment: Moment, gap: f64) {
    while let Some(place) = moments.iter().position(|other| moment.start - other.end <= gap && other.start - moment.end <= gap) {
        let other = moments.swap_remove(place);
        if other.similarity > moment.similarity {
            (moment.best, moment.bounds, moment.similarity) = (other.best, other.bounds, other.similarity);
        }
        (moment.start, moment.end) = (moment.start.min(other.start), moment.end.max(other.end));
    }
    moments.push(moment);
}

/// The most common flaw of faces that are not good; how blurred they are if none distinguishes people.
fn commonest_flaw(tracks: &[&Track]) -> Option<Flaw> {
    let sightings = || tracks.iter().flat_map(|track| &track.sightings);
    let flaws: Vec<Flaw> = sightings().filter_map(|sighting| sighting.flaws.first().copied()).collect();
    let count = |flaw: &Flaw| flaws.iter().filter(|other| std::mem::discriminant(*other) == std::mem::discriminant(flaw)).count();
    let faint = || {
        let is_faint = tracks.iter().all(|track| track.telling_faces == 0);
        let strongest = sightings().map(|sighting| sighting.quality.strength).filter(|strength| *strength < 1.0);
        strongest.reduce(f32::max).filter(|_| is_faint).map(Flaw::Faint)
    };
    flaws.iter().max_by_key(|flaw| count(flaw)).copied().or_else(faint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(start: f64, end: f64, similarity: f32) -> Moment {
        Moment { start, end, best: start, bounds: Bounds::default(), similarity }
    }

    #[test]
    fn moments_that_touch_become_one() {
        let mut moments = Vec::new();
        for (start, end, similarity) in [(0.0, 2.0, 0.5), (10.0, 12.0, 0.6), (4.5, 6.0, 0.9), (6.5, 9.0, 0.7)] {
            add_moment(&mut moments, moment(start, end, similarity), 3.0);
        }
        assert_eq!(moments.len(), 1);
        assert_eq!((moments[0].start, moments[0].end, moments[0].similarity, moments[0].best), (0.0, 12.0, 0.9, 4.5));
        add_moment(&mut moments, moment(15.1, 16.0, 0.1), 3.0);
        assert_eq!(moments.len(), 2);
    }
}
