//! Which files of a corpus are looked at, where an index knows who is in them.

use std::{collections::BTreeMap, path::PathBuf};

use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::{LeftOut, Request, Thresholds, cosine, subject::needed};

/// Somebody in a file, as an index knows it.
#[derive(Clone, Copy, Debug)]
pub struct KnownPerson<'a> {
    /// The unit-length mean embedding of the good faces.
    pub embedding: &'a [f32],
    /// When the person is seen, from and to, in seconds.
    pub moments: &'a [(f64, f64)],
    /// How many faces are good enough to be recognised.
    pub good_faces: usize,
}

/// What an index knows of a file.
#[derive(Clone, Debug, Default)]
pub struct KnownFile<'a> {
    /// Those who can be recognised.
    pub people: Vec<KnownPerson<'a>>,
    /// How many others are seen.
    pub unclear: usize,
}

/// The people in each file of a corpus that was looked at from beginning to end and has not changed since. The names of files
/// are their paths below the corpus, with `/` between the parts.
pub type KnownFiles<'a> = BTreeMap<String, KnownFile<'a>>;

/// What an index spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spared {
    /// Files of the corpus that an index knows.
    pub known: usize,
    /// Those of them that were looked at.
    pub looked_at: usize,
}

/// A file that is looked at.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// From where on, in seconds.
    pub(super) from: f64,
}

/// Somebody in a known file of whom clips can be made.
struct Candidate<'a> {
    similarity: f32,
    file: usize,
    from: f64,
    embedding: &'a [f32],
}

/// Chooses the files that are looked at: those that the index does not know, and of the others those of the most similar
/// strangers, of strangers drawn at random, and of nobody, with some to spare. Files with anybody who may be the person are left
/// out without a look.
pub(super) fn choose(
    files: Vec<(String, PathBuf)>,
    known: &KnownFiles<'_>,
    request: &Request<'_>,
    thresholds: Thresholds,
    stream: &SeededStream,
) -> (Vec<Wanted>, Vec<LeftOut>, Spared) {
    let (options, needed) = (request.options, needed(request.options));
    let mut left_out = Vec::new();
    let mut starts: Vec<Option<f64>> = vec![None; files.len()];
    let (mut candidates, mut empty): (Vec<Candidate<'_>>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut spared = Spared { known: 0, looked_at: 0 };
    for (file, (name, _)) in files.iter().enumerate() {
        let Some(KnownFile { people, unclear }) = known.get(name) else {
            starts[file] = Some(0.0);
            continue;
        };
        spared.known += 1;
        let nearest = nearest(request, people.iter().map(|person| person.embedding));
        if nearest.1 >= thresholds.other {
            left_out.push(LeftOut { name: name.clone(), reason: may_show(request, nearest, thresholds) });
            continue;
        }
        if people.is_empty() && *unclear == 0 {
            empty.push(file);
        }
        for person in people.iter().filter(|person| person.good_faces >= 2) {
            let longest = person.moments.iter().max_by(|one, other| (one.1 - one.0).total_cmp(&(other.1 - other.0)));
            if let Some(&(from, to)) = longest
                && to - from >= needed
            {
                let (_, similarity) = request.nearest(person.embedding);
                candidates.push(Candidate { similarity, file, from, embedding: person.embedding });
            }
        }
    }
    candidates.sort_by(|one, other| other.similarity.total_cmp(&one.similarity).then(one.file.cmp(&other.file)));
    // Every fifth of the most similar is held back for testing, and some cannot be cut out.
    let similar = 5 * options.similar_people.div_ceil(3) + options.similar_people;
    let random = options.random_people + options.random_people.div_ceil(2);
    let mut chosen: Vec<&Candidate<'_>> = Vec::new();
    let mut rest: Vec<&Candidate<'_>> = Vec::new();
    let is_new = |chosen: &[&Candidate<'_>], one: &Candidate<'_>| {
        chosen.iter().all(|known| cosine(known.embedding, one.embedding) < thresholds.same)
    };
    for candidate in &candidates {
        if chosen.len() < similar && is_new(&chosen, candidate) {
            chosen.push(candidate);
        } else {
            rest.push(candidate);
        }
    }
    stream.derive("strangers of the index").shuffle(&mut rest);
    for candidate in rest {
        if chosen.len() >= similar + random {
            break;
        }
        if is_new(&chosen, candidate) {
            chosen.push(candidate);
        }
    }
    stream.derive("places of the index").shuffle(&mut empty);
    empty.truncate(options.positives / 2 + options.test_positives / 2 + 2);
    for (file, from) in chosen.into_iter().map(|one| (one.file, one.from)).chain(empty.into_iter().map(|file| (file, 0.0))) {
        spared.looked_at += usize::from(starts[file].is_none());
        starts[file].get_or_insert(from);
    }
    let wanted = files.into_iter().zip(starts);
    let wanted = wanted.filter_map(|((name, path), from)| Some(Wanted { name, path, from: from? })).collect();
    (wanted, left_out, spared)
}

/// Which of the people of a dataset anybody in a file is most like, and how similar.
pub(super) fn nearest<'a>(request: &Request<'_>, embeddings: impl Iterator<Item = &'a [f32]>) -> (usize, f32) {
    let all = embeddings.map(|embedding| request.nearest(embedding));
    all.fold((0, -1.0), |best, one| if one.1 > best.1 { one } else { best })
}

/// Why a file with somebody like one of the people is left out.
pub(super) fn may_show(request: &Request<'_>, (person, similarity): (usize, f32), thresholds: Thresholds) -> String {
    let who = request.called(person);
    format!("it may show {who} (similarity {similarity:.2}, others are below {:.2})", thresholds.other)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::filmed::DatasetOptions;

    #[test]
    fn the_most_similar_strangers_below_the_bound_are_looked_at_and_few_others() {
        let angle = |degrees: f32| vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
        // One person every degree, the first ones too like the person; each long enough but every seventh.
        let embeddings: Vec<Vec<f32>> = (0..360).map(|number| angle(number as f32)).collect();
        let moments = [[(1.0, 2.0), (5.0, 25.0)], [(1.0, 2.0), (3.0, 3.5)]];
        let known: KnownFiles<'_> = embeddings
            .iter()
            .enumerate()
            .map(|(number, embedding)| {
                let moments = &moments[usize::from(number % 7 == 0)][..];
                let people = vec![KnownPerson { embedding, moments, good_faces: 9 }];
                (format!("{number:03}.mp4"), KnownFile { people, unclear: 0 })
            })
            .chain((0..50).map(|number| (format!("empty {number:02}.mp4"), KnownFile::default())))
            .chain((0..50).map(|number| (format!("unclear {number:02}.mp4"), KnownFile { people: Vec::new(), unclear: 1 })))
            .collect();
        let mut files: Vec<(String, PathBuf)> = known.keys().map(|name| (name.clone(), PathBuf::from(name))).collect();
        files.push(("unknown.mp4".into(), "unknown.mp4".into()));
        let (name, template) = ("Aa".parse().unwrap(), angle(0.0));
        let options = DatasetOptions { similar_people: 3, random_people: 4, ..DatasetOptions::default() };
        let (clip, corpus, out) = (Path::new("aa.mp4"), Path::new("c"), Path::new("o"));
        let people = [crate::filmed::PersonClip { name: &name, clip, from: 0.0, template: &template }];
        let request = Request {
            people: &people,
            corpus: Some(corpus),
            known: Some(&known),
            out,
            options: &options,
            refiner: None,
            generators: crate::filmed::Generators::default(),
            threads: 1,
        };
        let thresholds = Thresholds { same: 0.9999, other: 0.5 };
        let (wanted, left_out, spared) = choose(files.clone(), &known, &request, thresholds, &SeededStream::new(1));
        // Up to 60 degrees on both sides; cos(60 degrees) is the bound.
        assert!(left_out.len() >= 119 && left_out.iter().all(|one| one.reason.starts_with("it may show")), "{}", left_out.len());
        let is_wanted = |name: &str| wanted.iter().find(|one| one.name == name);
        assert!(is_wanted("unknown.mp4").is_some_and(|one| one.from == 0.0));
        // The most similar of whom enough is seen, from where that begins; 63 is a seventh.
        assert!(is_wanted("062.mp4").is_some_and(|one| one.from == 5.0) && is_wanted("063.mp4").is_none());
        let empty = wanted.iter().filter(|one| one.name.starts_with("empty")).count();
        assert_eq!((empty, spared.known), (12, 460));
        // Whoever is seen badly there may be anybody.
        assert!(!wanted.iter().any(|one| one.name.starts_with("unclear")));
        assert_eq!(spared.looked_at, 5 + 3 + 4 + 2 + 12);
        assert_eq!(wanted.len(), spared.looked_at + 1);
        let again = choose(files, &known, &request, thresholds, &SeededStream::new(1)).0;
        assert!(again.iter().map(|one| &one.name).eq(wanted.iter().map(|one| &one.name)));
    }
}
