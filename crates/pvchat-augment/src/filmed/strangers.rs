//! The others: who in the corpus is surely not the person, and which footage shows nobody.

use super::{
    Eyes, LeftOut, PersonSeen, Request, cosine,
    footage::{LONGEST, Setting, Someone, shortened},
    looking::Seen,
    subject::needed,
};
use crate::{Error, Result};

/// Everybody in the corpus who is surely not the person, the most similar first, one entry for each appearance, and the places
/// without people.
pub(super) struct Strangers {
    /// Each person's appearances.
    pub(super) people: Vec<Vec<Someone>>,
    pub(super) empty: Vec<Setting>,
}

pub(super) fn strangers(request: &Request<'_>, eyes: &dyn Eyes, seen: &mut Seen) -> Result<Strangers> {
    let (thresholds, needed) = (eyes.thresholds(), needed(request.options));
    let mut all: Vec<Someone> = Vec::new();
    let mut empty = Vec::new();
    for source in 1..seen.sources.len() {
        let (look, name) = (&seen.looks[source], seen.sources[source].name.clone());
        let similarity = |person: &PersonSeen| person.embedding.as_deref().map_or(-1.0, |known| cosine(known, request.template));
        let nearest = look.people.iter().map(similarity).fold(-1.0f32, f32::max);
        if nearest >= thresholds.other {
            let reason = format!("it may show the person (similarity {nearest:.2}, others are below {:.2})", thresholds.other);
            seen.left_out.push(LeftOut { name, reason });
            continue;
        }
        let length = look.seconds.last().copied().unwrap_or(0.0);
        if look.people.is_empty() {
            if length >= needed {
                empty.push(Setting { source, person: None, span: shortened([0.0, length], LONGEST) });
            } else {
                seen.left_out.push(LeftOut { name, reason: format!("{length:.1} s are too short for a clip") });
            }
            continue;
        }
        let mut found = false;
        for (person, who) in look.people.iter().enumerate() {
            let span = look.spans(person).into_iter().find(|span| span[1] - span[0] >= needed);
            if let (Some(embedding), Some(span), true) = (&who.embedding, span, who.good_faces() >= 2) {
                found = true;
                let span = shortened(span, LONGEST);
                all.push(Someone { source, person, span, similarity: similarity(who), embedding: embedding.clone() });
            }
        }
        if !found {
            let reason = format!("nobody is seen alone and well for {needed:.1} s");
            seen.left_out.push(LeftOut { name, reason });
        }
    }
    if all.is_empty() {
        let reasons = seen.left_out.iter().take(3).map(|left_out| format!("{}: {}", left_out.name, left_out.reason));
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        return Err(Error::NobodyElse {
            folder: request.corpus.into(),
            files: seen.sources.len() - 1 + seen.left_out.len(),
            reasons,
        });
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
