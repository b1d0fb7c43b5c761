//! The person in the reference: the frames that pass the filter, and the stretches that clips are made of.

use std::collections::BTreeMap;

use super::{
    DatasetOptions, Eyes, FrameVerdict, PersonClip, PersonSeen, cosine, footage, quality,
    recipe::SLOWEST,
    source::{Look, Span},
};
use crate::{Error, Result};

/// The longest stretch of the person that is used, in seconds.
const LONGEST: f64 = 16.0;
/// Stretches of the person, at most.
const MOST_SPANS: usize = 4;

/// The person in the reference.
pub(super) struct Subject {
    pub(super) verdicts: Vec<FrameVerdict>,
    /// Width and height of the frames that the verdicts are about.
    pub(super) looked: [u32; 2],
    pub(super) train: Vec<(usize, Span)>,
    pub(super) test: Vec<(usize, Span)>,
}

/// The shortest span that a clip can be made of.
pub(super) fn needed(options: &DatasetOptions) -> f64 {
    SLOWEST * (options.seconds() - 1.0 / f64::from(options.rate))
}

impl Subject {
    pub(super) fn choose(asked: &PersonClip<'_>, options: &DatasetOptions, look: &Look, eyes: &dyn Eyes) -> Result<Self> {
        let same = eyes.thresholds().same;
        let alike = |person: &PersonSeen| person.embedding.as_deref().map_or(-1.0, |known| cosine(known, asked.template));
        let people: Vec<usize> = (0..look.people.len()).filter(|&person| alike(&look.people[person]) >= same).collect();
        // Nobody has a good face: what the faces lack says why.
        let people = match people.is_empty() {
            true => (0..look.people.len()).filter(|&person| look.people[person].good_faces() == 0).collect(),
            false => people,
        };
        let verdict = |(frame, &seconds): (usize, &f64)| {
            let mut found = people.iter().flat_map(|&person| {
                look.people[person].faces.iter().zip(&look.measured[person]).filter(|(face, _)| face.frame == frame)
            });
            match found.next() {
                Some((face, measured)) => quality::judge(face, measured, seconds),
                None => FrameVerdict::unseen(seconds),
            }
        };
        let verdicts: Vec<FrameVerdict> = look.seconds.iter().enumerate().map(verdict).collect();
        let good = |[from, to]: Span| {
            let inside = verdicts.iter().filter(|verdict| (from..=to).contains(&verdict.seconds));
            let (all, good) =
                inside.fold((0, 0), |(all, good), verdict| (all + 1, good + usize::from(verdict.reasons.is_empty())));
            good * 2 >= all && good > 0
        };
        if !verdicts.iter().any(|verdict| verdict.reasons.is_empty()) {
            let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
            for reason in verdicts.iter().flat_map(|verdict| &verdict.reasons) {
                *reasons.entry(reason.split(" (").next().unwrap_or(reason)).or_default() += 1;
            }
            let reasons: Vec<String> = reasons.into_iter().map(|(reason, count)| format!("{reason} in {count}")).collect();
            return Err(Error::PoorSubject { clip: asked.clip.into(), frames: verdicts.len(), reasons: reasons.join(", ") });
        }
        let mut spans: Vec<(usize, Span)> =
            people.iter().flat_map(|&person| look.spans(person).into_iter().map(move |span| (person, span))).collect();
        spans.sort_by(|(_, one), (_, other)| {
            (other[1] - other[0]).total_cmp(&(one[1] - one[0])).then(one[0].total_cmp(&other[0]))
        });
        let longest = spans.first().map_or(0.0, |(_, span)| span[1] - span[0]);
        let needed = needed(options);
        spans.retain(|(_, span)| span[1] - span[0] >= needed && good(*span));
        spans.truncate(MOST_SPANS);
        let Some(&(person, [from, to])) = spans.first() else {
            return Err(Error::TooShort { clip: asked.clip.into(), longest, needed });
        };
        let rounded = |span: Span| span.map(|seconds| (1000.0 * seconds).round() / 1000.0);
        // What is tested is not what was trained on, where there is enough: another stretch, or the end of the only one.
        let (train, test) = match spans.len() {
            1 if to - from >= 2.5 * needed => {
                let held_back = ((to - from) / 4.0).clamp(needed, footage::longest(options).max(needed));
                (vec![(person, [from, to - held_back - 0.25])], vec![(person, [to - held_back, to])])
            }
            1 => (spans.clone(), spans.clone()),
            count => (spans[..count - 1].to_vec(), spans[count - 1..].to_vec()),
        };
        let cut = |spans: Vec<(usize, Span)>, most: f64| -> Vec<(usize, Span)> {
            spans.into_iter().map(|(person, [from, to])| (person, rounded([from, to.min(from + most)]))).collect()
        };
        Ok(Self { verdicts, looked: look.size, train: cut(train, LONGEST), test: cut(test, LONGEST) })
    }
}
