//! The strangers: who in the corpus, or beside the people in their own clips, is surely none of them, and which footage shows
//! nobody.

use super::{
    Eyes, LeftOut, PersonSeen, Request,
    archive::{may_show, nearest},
    cosine,
    footage::{Setting, Someone, longest, shortened},
    looking::Seen,
    source::Look,
    subject::needed,
};
use crate::Result;

/// Everybody in the footage who is surely none of the people, the most similar first, one entry for each appearance, and the places
/// without people.
pub(super) struct Strangers {
    /// Each person's appearances.
    pub(super) people: Vec<Vec<Someone>>,
    pub(super) empty: Vec<Setting>,
}

pub(super) fn strangers(request: &Request<'_>, eyes: &dyn Eyes, seen: &mut Seen) -> Result<Strangers> {
    let (thresholds, needed, most) = (eyes.thresholds(), needed(request.options), longest(request.options));
    let mut all: Vec<Someone> = Vec::new();
    let (mut empty, mut kept) = (Vec::new(), Vec::<usize>::new());
    let references = request.people.len();
    let similarity = |embedding: &[f32]| request.nearest(embedding).1;
    for source in references..seen.sources.len() {
        let (look, name) = (&seen.looks[source], seen.sources[source].name.clone());
        let nearest = nearest(request, embeddings(look));
        if nearest.1 >= thresholds.other {
            seen.left_out.push(LeftOut { name, reason: may_show(request, nearest, thresholds) });
            continue;
        }
        // Faces say who somebody is, where they can be compared; pictures say it elsewhere.
        let is_same = |&other: &usize| is_copy(look, &seen.looks[other], thresholds.same);
        let reference = (0..references).find(|&person| look.prints.is_same(&seen.looks[person].prints));
        if let (None, Some(person)) = (embeddings(look).next(), reference) {
            let reason = format!("it shows what the clip of {} shows", request.called(person));
            seen.left_out.push(LeftOut { name, reason });
            continue;
        }
        if let Some(other) = kept.iter().copied().find(is_same) {
            let reason = format!("it shows what {} shows", seen.sources[other].name);
            seen.left_out.push(LeftOut { name, reason });
            continue;
        }
        kept.push(source);
        let without = look.without_people();
        // Whoever is seen badly may be anybody, also where no face is found.
        let is_clear = look.people.iter().all(|person| person.embedding.is_some());
        let can_be_place = is_clear && without[1] - without[0] >= needed;
        if can_be_place {
            empty.push(Setting { source, person: None, span: shortened(without, most) });
        }
        if look.people.is_empty() {
            if !can_be_place {
                let length = without[1] - without[0];
                seen.left_out.push(LeftOut { name, reason: format!("{length:.1} s are too short for a clip") });
            }
            continue;
        }
        let found = alone(look, source, [needed, most], similarity);
        if found.is_empty() && !can_be_place {
            let reason = format!("nobody is seen alone and well for {needed:.1} s");
            seen.left_out.push(LeftOut { name, reason });
        }
        all.extend(found);
    }
    if request.corpus.is_none() {
        let looks = seen.looks.iter().enumerate();
        let found = looks.flat_map(|(source, look)| alone(look, source, [needed, most], similarity));
        all.extend(found.filter(|someone| someone.similarity < thresholds.other));
    }
    if all.is_empty() {
        let files = seen.sources.len() - references + seen.left_out.len();
        return Err(request.nobody_else(files, &seen.left_out, &format!("nobody is seen alone and well for {needed:.1} s")));
    }
    all.sort_by(|one, other| other.similarity.total_cmp(&one.similarity).then(one.source.cmp(&other.source)));
    let mut people: Vec<Vec<Someone>> = Vec::new();
    for someone in all {
        let same =
            |known: &&mut Vec<Someone>| known.iter().any(|one| cosine(&one.embedding, &someone.embedding) >= thresholds.same);
        match people.iter_mut().find(same) {
            Some(known) => known.push(someone),
            None => people.push(vec![someone]),
        }
    }
    Ok(Strangers { people, empty })
}

/// Everybody in a file who is seen alone and well for long enough, with the similarity to the people of the dataset.
fn alone(look: &Look, source: usize, [needed, most]: [f64; 2], similarity: impl Fn(&[f32]) -> f32) -> Vec<Someone> {
    let of = |(person, who): (usize, &PersonSeen)| {
        let span = look.spans(person).into_iter().find(|span| span[1] - span[0] >= needed)?;
        let embedding = who.embedding.clone().filter(|_| who.good_faces() >= 2)?;
        Some(Someone { source, person, span: shortened(span, most), similarity: similarity(&embedding), embedding })
    };
    look.people.iter().enumerate().filter_map(of).collect()
}

/// The embeddings of the people who can be recognised.
fn embeddings(look: &Look) -> impl Iterator<Item = &[f32]> {
    look.people.iter().filter_map(|person| person.embedding.as_deref())
}

/// Whether a file shows the pictures of another, and not somebody else in the same room.
fn is_copy(one: &Look, other: &Look, same: f32) -> bool {
    let can_be_compared = embeddings(one).next().is_some() && embeddings(other).next().is_some();
    let is_somebody_else = || {
        let nearest = embeddings(one).flat_map(|one| embeddings(other).map(move |other| cosine(one, other))).fold(-1.0, f32::max);
        nearest < same
    };
    !(can_be_compared && is_somebody_else()) && one.prints.is_same(&other.prints)
}
