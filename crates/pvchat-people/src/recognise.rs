//! Who the people of a clip are: the best pairing of people with subjects, at most one person for a subject in each frame.

use serde::{Deserialize, Serialize};

use crate::{
    calibration::{Calibration, Verdict},
    gallery::Person,
    track::{Track, best_pairs, mean_embedding},
};

/// A person of a clip, and who that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recognised {
    /// The number of the person among the tracks.
    pub person: usize,
    /// The number of the subject, if one is similar enough and not somebody else in the same frame.
    pub subject: Option<usize>,
    /// The cosine with that subject, or with the most similar one; 0 where no face is good or nobody is enrolled.
    pub similarity: f32,
    /// The probability of being that subject, 0 to 1.
    pub probability: f32,
    /// Whether it is.
    pub verdict: Verdict,
    /// Numbers of other subjects who are as surely like this person, each with the cosine: two names of one person, or twins.
    pub also: Vec<(usize, f32)>,
}

/// All tracks of one person.
struct Whole<'a> {
    tracks: Vec<&'a Track>,
    embedding: Option<Vec<f32>>,
}

fn people(tracks: &[Track]) -> Vec<Whole<'_>> {
    let count = tracks.iter().map(|track| track.person + 1).max().unwrap_or(0);
    let whole = |person: usize| {
        let tracks: Vec<&Track> = tracks.iter().filter(|track| track.person == person).collect();
        let embedding = mean_embedding(tracks.iter().copied());
        Whole { tracks, embedding }
    };
    (0..count).map(whole).collect()
}

/// Decides who the people of a clip are. Gives one entry for each person, in the order of their numbers.
///
/// A subject is at most one of the people who share a frame: the pairing with the greatest sum of similarities wins, so that
/// two siblings in one picture never both become one subject.
pub fn recognise(tracks: &[Track], subjects: &[Person], calibration: &Calibration) -> Vec<Recognised> {
    let people = people(tracks);
    let cosine_with = |person: usize, subject: usize| -> f32 {
        people[person].embedding.as_deref().map_or(0.0, |embedding| subjects[subject].similarity(embedding))
    };
    let value = |person: usize, subject: usize| -> f32 {
        let refused = people[person].embedding.as_deref().is_none_or(|embedding| subjects[subject].refuses(embedding));
        match cosine_with(person, subject) - calibration.possible {
            above if above >= 0.0 && !refused => above + REACHED,
            _ => 0.0,
        }
    };
    let mut chosen = best_pairs(people.len(), subjects.len(), value);
    // Everybody who was taken for one of a kind so far may join a subject that nobody in the same frame is.
    for person in 0..people.len() {
        let present = chosen[person].map_or(0.0, |subject| value(person, subject));
        let better = (0..subjects.len())
            .filter(|&subject| value(person, subject) > present)
            .filter(|&subject| {
                let holds = |other: usize| other != person && chosen[other] == Some(subject);
                !(0..people.len()).any(|other| holds(other) && meet(&people[person], &people[other]))
            })
            .max_by(|&one, &other| value(person, one).total_cmp(&value(person, other)));
        if better.is_some() {
            chosen[person] = better;
        }
    }
    let entry = |(person, subject): (usize, Option<usize>)| {
        let nearest = || (0..subjects.len()).map(|subject| cosine_with(person, subject)).fold(0.0, f32::max);
        let similarity = subject.map_or_else(nearest, |subject| cosine_with(person, subject));
        let verdict = subject.map_or(Verdict::No, |_| calibration.verdict(similarity, subjects.len()));
        let probability = subject.map_or(0.0, |_| calibration.probability(similarity));
        let certain = calibration.certain_from(subjects.len());
        let is_like = |&(other, cosine): &(usize, f32)| {
            let embedding = people[person].embedding.as_deref();
            Some(other) != subject && cosine >= certain && embedding.is_some_and(|embedding| !subjects[other].refuses(embedding))
        };
        let others = (0..subjects.len()).map(|other| (other, cosine_with(person, other)));
        let also = if subject.is_some() { others.filter(is_like).collect() } else { Vec::new() };
        Recognised { person, subject, similarity, probability, verdict, also }
    };
    chosen.into_iter().enumerate().map(entry).collect()
}

/// Added to every similarity that is possible at all, so that a pairing of two is preferred to a better one of one.
const REACHED: f32 = 0.05;

fn meet(one: &Whole<'_>, other: &Whole<'_>) -> bool {
    one.tracks.iter().any(|track| other.tracks.iter().any(|other| track.shares_a_frame(other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Face, Quality, Sighting, gallery::Template};

    fn calibration() -> Calibration {
        let certain = vec![(1, 0.55)];
        Calibration { embedder: "test".into(), midpoint: 0.5, slope: 30.0, possible: 0.4, certain }
    }

    /// A unit vector with these first numbers.
    fn vector(first: &[f32]) -> Vec<f32> {
        let mut vector = first.to_vec();
        let rest = 1.0 - first.iter().map(|value| value * value).sum::<f32>();
        vector.resize(5, 0.0);
        vector.push(rest.max(0.0).sqrt());
        vector
    }

    fn track(person: usize, frames: std::ops::Range<usize>, embedding: Vec<f32>) -> Track {
        let quality =
            Quality { size: 100.0, sharpness: 0.5, brightness: 100.0, turn: 0.0, tilt: 0.0, visible: 1.0, strength: 1.0 };
        let face = Face { bounds: Default::default(), score: 1.0, landmarks: [[0.0; 2]; 5] };
        let good_faces = frames.len();
        let sightings = frames
            .map(|frame| Sighting { frame, seconds: frame as f64, face: face.clone(), quality, flaws: Vec::new() })
            .collect();
        Track { person, sightings, embedding: Some(embedding), good_faces, telling_faces: good_faces, portrait: None }
    }

    fn person(name: &str, embedding: Vec<f32>) -> Person {
        Person::new(name.parse().unwrap(), "test".into(), Template { embedding, ..Template::default() })
    }

    fn subjects(recognised: &[Recognised]) -> Vec<Option<usize>> {
        recognised.iter().map(|one| one.subject).collect()
    }

    #[test]
    fn siblings_in_one_frame_never_both_become_one_subject() {
        let subjects_known = [person("Aa", vector(&[1.0]))];
        let tracks = [track(0, 0..5, vector(&[0.8])), track(1, 0..5, vector(&[0.9]))];
        let found = recognise(&tracks, &subjects_known, &calibration());
        assert_eq!(subjects(&found), [None, Some(0)]);
        assert_eq!((found[0].verdict, found[1].verdict), (Verdict::No, Verdict::Yes));
    }

    #[test]
    fn the_best_pairing_wins_over_the_best_single_similarity() {
        let known = [person("Aa", vector(&[1.0])), person("Bb", vector(&[0.0, 1.0]))];
        let tracks = [track(0, 0..5, vector(&[0.70, 0.65])), track(1, 0..5, vector(&[0.68, 0.1]))];
        assert_eq!(subjects(&recognise(&tracks, &known, &calibration())), [Some(1), Some(0)]);
    }

    #[test]
    fn somebody_who_is_seen_twice_apart_is_the_subject_both_times() {
        let known = [person("Aa", vector(&[1.0])), person("Bb", vector(&[0.0, 1.0]))];
        let tracks = [track(0, 0..5, vector(&[0.8])), track(1, 8..12, vector(&[0.7, 0.45]))];
        assert_eq!(subjects(&recognise(&tracks, &known, &calibration())), [Some(0), Some(0)]);
    }

    #[test]
    fn two_names_of_one_person_are_both_told() {
        let known = [person("Aa", vector(&[1.0])), person("Bb", vector(&[0.9, 0.3])), person("Cc", vector(&[0.0, 1.0]))];
        let found = recognise(&[track(0, 0..5, vector(&[0.99]))], &known, &calibration());
        assert_eq!((found[0].subject, found[0].also.len(), found[0].also[0].0), (Some(0), 1, 1));
    }

    #[test]
    fn a_correction_is_obeyed() {
        let mut aa = person("Aa", vector(&[1.0]));
        let look_alike = vector(&[0.8, 0.5]);
        let tracks = [track(0, 0..5, look_alike.clone()), track(1, 8..12, vector(&[0.9]))];
        assert_eq!(subjects(&recognise(&tracks, std::slice::from_ref(&aa), &calibration())), [Some(0), Some(0)]);
        aa.not.push(Template { embedding: look_alike, ..Template::default() });
        assert_eq!(subjects(&recognise(&tracks, &[aa], &calibration())), [None, Some(0)]);
    }

    #[test]
    fn nobody_and_faces_that_say_nothing_are_not_recognised() {
        let mut faceless = track(0, 0..2, Vec::new());
        faceless.embedding = None;
        let found = recognise(&[faceless], &[person("Aa", vector(&[1.0]))], &calibration());
        assert_eq!((found[0].subject, found[0].verdict), (None, Verdict::No));
        assert!(recognise(&[], &[], &calibration()).is_empty());
        assert_eq!(subjects(&recognise(&[track(0, 0..1, vector(&[1.0]))], &[], &calibration())), [None]);
    }
}
