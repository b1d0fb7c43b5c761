//! Faces of one person linked from frame to frame, and tracks of one person brought together.

use image::RgbImage;
use pathfinding::{kuhn_munkres::kuhn_munkres, matrix::Matrix};
use petal_clustering::{Dbscan, Fit};
use serde::{Deserialize, Serialize};

use crate::{
    EmbedderKind,
    calibration::Calibration,
    detect::Face,
    quality::{Flaw, Quality},
    unit::{cosine, normalise},
};

/// A face in one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// The number of the frame among those that were looked at.
    pub frame: usize,
    /// Its time in seconds.
    pub seconds: f64,
    /// Box, points and score.
    pub face: Face,
    /// How much the face can say.
    pub quality: Quality,
    /// Why it was not used to recognise the person; empty for a good face.
    pub flaws: Vec<Flaw>,
}

/// A face in one frame with the networks' outputs for it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenFace {
    /// Box, points and score.
    pub face: Face,
    /// How much the face can say.
    pub quality: Quality,
    /// Why it is not good enough to be recognised; empty for a good face.
    pub flaws: Vec<Flaw>,
    /// Its unit-length embedding; `None` where there are flaws.
    pub embedding: Option<Vec<f32>>,
    /// The aligned face, a square of the embedder's side.
    pub portrait: RgbImage,
}

/// One person's way through neighbouring frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// The number of the person; tracks of one person share it.
    pub person: usize,
    /// The faces in the order of time, one for a frame.
    pub sightings: Vec<Sighting>,
    /// The unit-length mean of the good faces' embeddings; `None` where no face is good.
    pub embedding: Option<Vec<f32>>,
    /// How many faces are good.
    pub good_faces: usize,
    /// How many of them also say who it is not, see [`Quality::strength`].
    pub telling_faces: usize,
    /// The best face, aligned; kept in memory only.
    pub portrait: Option<RgbImage>,
}

impl Track {
    /// When the first and the last face were seen, in seconds.
    pub fn span(&self) -> (f64, f64) {
        let seconds = |sighting: Option<&Sighting>| sighting.map_or(0.0, |sighting| sighting.seconds);
        (seconds(self.sightings.first()), seconds(self.sightings.last()))
    }

    /// Whether both have a face in the same frame: they are then two people.
    pub fn shares_a_frame(&self, other: &Self) -> bool {
        let (mut one, mut two) = (self.sightings.iter().peekable(), other.sightings.iter().peekable());
        while let (Some(first), Some(second)) = (one.peek(), two.peek()) {
            match first.frame.cmp(&second.frame) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => one.next(),
                std::cmp::Ordering::Greater => two.next(),
            };
        }
        false
    }
}

/// The unit-length mean embedding of several tracks of one person, each weighing as much as it has good faces; `None` where no
/// face is good.
pub fn mean_embedding<'a>(tracks: impl IntoIterator<Item = &'a Track>) -> Option<Vec<f32>> {
    let mut sum: Vec<f32> = Vec::new();
    for track in tracks {
        if let Some(embedding) = &track.embedding {
            sum.resize(embedding.len(), 0.0);
            sum.iter_mut().zip(embedding).for_each(|(sum, value)| *sum += track.good_faces as f32 * value);
        }
    }
    normalise(&mut sum);
    (!sum.is_empty()).then_some(sum)
}

/// Cosines that decide whether faces and tracks of one clip are of one person; those of one embedder mean nothing for another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Alike {
    /// Tracks belong to one person from here on.
    pub(crate) same: f32,
    /// Below, a face at the same place is somebody else: a cut to another person.
    somebody_else: f32,
    /// From here on a face near the last box is the same person, however fast it moved.
    surely_same: f32,
}

impl Alike {
    /// Chosen for MobileFaceNet; used, too, where nothing is known about an embedder.
    pub(crate) const MOBILEFACENET: Self = Self { same: 0.6, somebody_else: 0.25, surely_same: 0.65 };

    /// For another embedder: where the odds are those of MobileFaceNet, and a cut where an answer would be no.
    pub(crate) fn of(calibration: &Calibration) -> Self {
        if calibration.embedder == EmbedderKind::MobileFaceNet.name() {
            return Self::MOBILEFACENET;
        }
        let at = |log_odds: f32| calibration.midpoint + log_odds / calibration.slope;
        Self { same: at(2.26), somebody_else: calibration.possible, surely_same: at(3.88) }
    }
}

/// A face continues a track whose last box it overlaps by this much, unless the embeddings say that it is somebody else.
const OVERLAP: f32 = 0.3;
/// The same where one of them has no embedding.
const OVERLAP_ALONE: f32 = 0.5;
/// A track ends after this many frames without a face.
const LONGEST_GAP: usize = 2;

struct Open {
    track: Track,
    sum: Vec<f32>,
    best: f32,
}

impl Open {
    fn mean(&self) -> Option<Vec<f32>> {
        let mut mean = self.sum.clone();
        normalise(&mut mean);
        (!mean.is_empty()).then_some(mean)
    }

    fn add(&mut self, frame: usize, seconds: f64, seen: SeenFace) {
        let SeenFace { face, quality, flaws, embedding, portrait } = seen;
        if let Some(embedding) = embedding {
            self.track.good_faces += 1;
            self.track.telling_faces += usize::from(quality.is_telling());
            if self.sum.is_empty() {
                self.sum = embedding;
            } else {
                self.sum.iter_mut().zip(embedding).for_each(|(sum, value)| *sum += value);
            }
        }
        let rank = quality.rank() * if flaws.is_empty() { 1.0 } else { 0.1 };
        if self.track.portrait.is_none() || rank > self.best {
            (self.best, self.track.portrait) = (rank, Some(portrait));
        }
        self.track.sightings.push(Sighting { frame, seconds, face, quality, flaws });
    }

    /// How well a face continues the track, 0 for not at all.
    fn fits(&self, frame: usize, seen: &SeenFace, alike: Alike) -> f32 {
        let Some(last) = self.track.sightings.last() else { return 0.0 };
        if frame > last.frame + 1 + LONGEST_GAP {
            return 0.0;
        }
        let overlap = last.face.bounds.overlap(&seen.face.bounds);
        let similarity = self.mean().zip(seen.embedding.as_ref()).map(|(mean, embedding)| cosine(&mean, embedding));
        let ([x, y], [last_x, last_y]) = (seen.face.bounds.centre(), last.face.bounds.centre());
        let near = (x - last_x).hypot(y - last_y) < 3.0 * last.face.bounds.width();
        match similarity {
            Some(similarity) if similarity >= alike.surely_same && near => overlap + similarity,
            Some(similarity) if similarity >= alike.somebody_else && overlap >= OVERLAP => overlap + similarity,
            None if overlap >= OVERLAP_ALONE => overlap,
            _ => 0.0,
        }
    }
}

/// Links faces as frames come in.
pub(crate) struct Linker {
    alike: Alike,
    open: Vec<Open>,
    ended: Vec<Open>,
}

impl Linker {
    pub(crate) fn new(alike: Alike) -> Self {
        Self { alike, open: Vec::new(), ended: Vec::new() }
    }

    /// Adds the faces of one frame; frames come in the order of time, `frame` counts those that were looked at.
    pub(crate) fn push(&mut self, frame: usize, seconds: f64, seen: Vec<SeenFace>) {
        let is_over = |open: &Open| open.track.sightings.last().is_none_or(|last| frame > last.frame + 1 + LONGEST_GAP);
        let (over, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open).into_iter().partition(is_over);
        self.ended.extend(over);
        self.open = open;
        let pairs = best_pairs(seen.len(), self.open.len(), |face, track| self.open[track].fits(frame, &seen[face], self.alike));
        for (face, seen) in seen.into_iter().enumerate() {
            match pairs[face] {
                Some(track) => self.open[track].add(frame, seconds, seen),
                None => {
                    let track = Track {
                        person: 0,
                        sightings: Vec::new(),
                        embedding: None,
                        good_faces: 0,
                        telling_faces: 0,
                        portrait: None,
                    };
                    let mut open = Open { track, sum: Vec::new(), best: 0.0 };
                    open.add(frame, seconds, seen);
                    self.open.push(open);
                }
            }
        }
    }

    /// All tracks in the order in which they begin, with the number of each one's person.
    pub(crate) fn finish(self) -> Vec<Track> {
        let mut tracks: Vec<Track> =
            self.ended.into_iter().chain(self.open).map(|open| Track { embedding: open.mean(), ..open.track }).collect();
        let begin = |track: &Track| track.sightings.first().map_or((0, 0.0), |first| (first.frame, first.face.bounds.left));
        tracks.sort_by(|one, other| {
            let (one, other) = (begin(one), begin(other));
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
        });
        number_people(&mut tracks, self.alike.same);
        tracks
    }
}

/// The pairing of rows with columns that has the greatest sum; each row and each column is used once at most, and only where
/// its value is above 0. Gives the column of each row.
pub(crate) fn best_pairs(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) -> Vec<Option<usize>> {
    if rows == 0 || columns == 0 {
        return vec![None; rows];
    }
    // As many further columns as rows, worth nothing, so that every row may stay alone.
    let weights = Matrix::from_fn(rows, columns + rows, |(row, column)| {
        if column < columns { (value(row, column).clamp(0.0, 100.0) * 1e6) as i64 } else { 0 }
    });
    let (_, chosen) = kuhn_munkres(&weights);
    let worth = |(row, column): (usize, usize)| (column < columns && weights[(row, column)] > 0).then_some(column);
    chosen.into_iter().enumerate().map(worth).collect()
}

/// Gives tracks of one person the same number: DBSCAN over the tracks' embeddings, then tracks that share a frame apart.
fn number_people(tracks: &mut [Track], same: f32) {
    let embedded: Vec<usize> = (0..tracks.len()).filter(|&track| tracks[track].embedding.is_some()).collect();
    let width = embedded.first().and_then(|&track| tracks[track].embedding.as_ref()).map_or(0, Vec::len);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let rows: Vec<f32> = embedded.iter().flat_map(|&track| tracks[track].embedding.clone().unwrap_or_default()).collect();
    if let Ok(points) = ndarray::Array2::from_shape_vec((embedded.len(), width), rows) {
        // Between unit vectors the squared distance is twice the cosine distance.
        let mut scan = Dbscan { eps: (2.0 * (1.0 - same)).max(0.0).sqrt(), min_samples: 1, ..Dbscan::default() };
        let (clusters, noise) = scan.fit(&points, None);
        groups.extend(clusters.into_values().map(|cluster| cluster.into_iter().map(|place| embedded[place]).collect()));
        groups.extend(noise.into_iter().map(|place| vec![embedded[place]]));
    }
    let mut people: Vec<Vec<usize>> = Vec::new();
    for mut group in groups {
        group.sort_by_key(|&track| (std::cmp::Reverse(tracks[track].good_faces), track));
        let mut apart: Vec<Vec<usize>> = Vec::new();
        for track in group {
            let similarity = |person: &Vec<usize>| -> f32 {
                let pair = |&other: &usize| tracks[track].embedding.as_deref().zip(tracks[other].embedding.as_deref());
                person.iter().filter_map(pair).map(|(one, other)| cosine(one, other)).fold(-1.0, f32::max)
            };
            let may_join = |person: &&mut Vec<usize>| !person.iter().any(|&other| tracks[track].shares_a_frame(&tracks[other]));
            let nearest = apart.iter_mut().filter(may_join).max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
            match nearest {
                Some(person) => person.push(track),
                None => apart.push(vec![track]),
            }
        }
        people.extend(apart);
    }
    people.extend((0..tracks.len()).filter(|track| tracks[*track].embedding.is_none()).map(|track| vec![track]));
    people.sort_by_key(|person| person.iter().min().copied());
    for (number, person) in people.into_iter().enumerate() {
        person.into_iter().for_each(|track| tracks[track].person = number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bounds, Limits};

    /// A face of 100 pixels at `left`, embedded along one axis, with a little of another.
    fn seen(left: f32, axis: usize, other: f32) -> SeenFace {
        let bounds = Bounds::new(left, 50.0, left + 100.0, 150.0);
        let mut embedding = vec![0.0; 8];
        embedding[axis] = 1.0;
        embedding[7] = other;
        normalise(&mut embedding);
        let quality =
            Quality { size: 100.0, sharpness: 0.5, brightness: 100.0, turn: 0.0, tilt: 0.0, visible: 1.0, strength: 1.0 };
        assert!(quality.flaws(&Limits::default()).is_empty());
        let face = Face { bounds, score: 0.99, landmarks: [[0.0; 2]; 5] };
        SeenFace { face, quality, flaws: Vec::new(), embedding: Some(embedding), portrait: RgbImage::new(1, 1) }
    }

    fn alike() -> Alike {
        Alike::of(&Calibration::shipped(EmbedderKind::MobileFaceNet).unwrap())
    }

    #[test]
    fn what_is_alike_depends_on_the_embedder() {
        for embedder in [EmbedderKind::MobileFaceNet, EmbedderKind::Dlib] {
            let calibration = Calibration::shipped(embedder).unwrap();
            let alike = Alike::of(&calibration);
            assert!(alike.somebody_else <= calibration.possible && alike.same >= calibration.certain_from(1), "{alike:?}");
            assert!(alike.same < alike.surely_same && alike.surely_same < 1.0, "{alike:?}");
        }
    }

    fn link(frames: Vec<Vec<SeenFace>>) -> Vec<Track> {
        let mut linker = Linker::new(alike());
        frames.into_iter().enumerate().for_each(|(frame, seen)| linker.push(frame, frame as f64, seen));
        linker.finish()
    }

    #[test]
    fn two_people_who_cross_keep_their_tracks() {
        let frames = (0..5).map(|step| vec![seen(40.0 * step as f32, 0, 0.0), seen(160.0 - 40.0 * step as f32, 1, 0.0)]);
        let tracks = link(frames.collect());
        assert_eq!(tracks.iter().map(|track| track.sightings.len()).collect::<Vec<_>>(), [5, 5]);
        assert_ne!(tracks[0].person, tracks[1].person);
    }

    #[test]
    fn a_cut_to_somebody_else_at_the_same_place_is_a_new_track() {
        let tracks = link(vec![vec![seen(0.0, 0, 0.0)], vec![seen(0.0, 1, 0.0)], vec![seen(0.0, 1, 0.0)]]);
        assert_eq!(tracks.iter().map(|track| track.sightings.len()).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn somebody_who_leaves_and_returns_is_one_person() {
        let mut frames = vec![vec![seen(0.0, 0, 0.0)], vec![seen(300.0, 1, 0.0)]];
        frames.extend((0..5).map(|_| Vec::new()));
        frames.push(vec![seen(400.0, 0, 0.3)]);
        let tracks = link(frames);
        assert_eq!(tracks.iter().map(|track| track.person).collect::<Vec<_>>(), [0, 1, 0]);
    }

    #[test]
    fn twins_in_one_frame_are_two_people() {
        let tracks = link(vec![
            vec![seen(0.0, 0, 0.0), seen(300.0, 0, 0.01)],
            Vec::new(),
            Vec::new(),
            Vec::new(),
            vec![seen(0.0, 0, 0.0)],
        ]);
        assert_eq!(tracks.len(), 3);
        assert_ne!(tracks[0].person, tracks[1].person);
        assert!(tracks[2].person == tracks[0].person || tracks[2].person == tracks[1].person);
    }

    #[test]
    fn the_best_pairing_beats_the_best_single_pair() {
        // Row 0 likes both columns, row 1 only the first: taking the best single pair would leave row 1 alone.
        let values = [[0.70, 0.65], [0.68, 0.0]];
        assert_eq!(best_pairs(2, 2, |row, column| values[row][column]), [Some(1), Some(0)]);
        assert_eq!(best_pairs(2, 1, |row, _| [0.0, 0.3][row]), [None, Some(0)]);
        assert_eq!(best_pairs(0, 3, |_, _| 1.0), []);
        assert_eq!(best_pairs(2, 0, |_, _| 1.0), [None, None]);
    }
}
