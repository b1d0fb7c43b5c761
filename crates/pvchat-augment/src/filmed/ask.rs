//! Questions and answers, distributed so that no wording is correlated with an answer.

use pvchat_data::{QaKind, QaPair, random::SeededStream};

use super::{
    DatasetOptions, Half,
    wordings::{WORDINGS, answer, answers, named, wordings},
};
use crate::Result;

/// The kinds that are described or refused.
pub(super) fn described(options: &DatasetOptions) -> Vec<QaKind> {
    let emotion = options.emotion.then_some(QaKind::Emotion);
    [QaKind::Appearance, QaKind::Action, QaKind::Location].into_iter().chain(emotion).collect()
}

/// A clip that questions are asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) half: Half,
    pub(super) is_positive: bool,
}

/// A question with what it asks for, which the published schema does not say.
pub(super) type Pair = (QaKind, QaPair);

/// The questions about one of the people, of each clip.
pub(super) type Questions = Vec<Vec<Pair>>;

/// Answers a question of a kind about the clip in a place, in a whole sentence.
pub(super) type Describing<'a> = &'a mut dyn FnMut(usize, QaKind, &str) -> Result<Option<String>>;

/// Deals numbers below `total` so that each comes equally often, and none twice for one clip.
struct Deck {
    used: Vec<usize>,
}

impl Deck {
    fn new(total: usize) -> Self {
        Self { used: vec![0; total] }
    }

    fn deal(&mut self, count: usize, stream: &mut SeededStream) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.used.len()).collect();
        stream.shuffle(&mut order);
        order.sort_by_key(|&number| self.used[number]);
        let mut dealt: Vec<usize> = order.into_iter().take(count).collect();
        dealt.iter().for_each(|&number| self.used[number] += 1);
        stream.shuffle(&mut dealt);
        dealt
    }
}

/// Asks about clips. `describe` answers a question about a positive in a whole sentence; without it only existence is asked of
/// positives. What it does not answer is not asked.
pub(super) fn ask(
    clips: &[Asked<'_>],
    subject: &str,
    options: &DatasetOptions,
    stream: &SeededStream,
    mut describe: Option<Describing<'_>>,
) -> Result<Questions> {
    let mut all: Questions = vec![Vec::new(); clips.len()];
    for half in [Half::Train, Half::Test] {
        for is_positive in [true, false] {
            let concerned = || clips.iter().enumerate().filter(|(_, clip)| clip.half == half && clip.is_positive == is_positive);
            for kind in std::iter::once(QaKind::Existence).chain(described(options)) {
                let count = match (kind, is_positive) {
                    (QaKind::Existence, _) => options.existence,
                    (_, false) => options.refusals,
                    (_, true) if describe.is_some() => options.descriptions,
                    (_, true) => 0,
                };
                let (mut questions, mut replies) = (Deck::new(WORDINGS), Deck::new(answers(kind)));
                for (place, clip) in concerned() {
                    let mut stream = stream.derive(format!("{} {kind}", clip.name));
                    let asked = questions.deal(count, &mut stream);
                    let replied = replies.deal(count, &mut stream);
                    for (question, reply) in asked.into_iter().zip(replied) {
                        let question = named(wordings(kind)[question], subject);
                        let answer = match &mut describe {
                            Some(describe) if is_positive && kind != QaKind::Existence => describe(place, kind, &question)?,
                            _ => Some(answer(kind, is_positive, reply, subject)),
                        };
                        if let Some(answer) = answer {
                            let is_special = kind == QaKind::Existence;
                            // The published files do not name the kind.
                            all[place].push((kind, QaPair { question, answer, is_special, kind: None }));
                        }
                    }
                }
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn dealt(describe: bool) -> (Vec<String>, Vec<Vec<Pair>>) {
        let names: Vec<String> = (0..81).map(|number| format!("{number:02x}")).collect();
        let clips: Vec<Asked<'_>> = names
            .iter()
            .enumerate()
            .map(|(number, name)| Asked { name, half: Half::Train, is_positive: number % 5 == 0 })
            .collect();
        let mut says = |_: usize, _: QaKind, question: &str| Ok(Some(format!("described: {question}")));
        let describe = describe.then_some(&mut says as Describing<'_>);
        let pairs = ask(&clips, "<Aa>", &DatasetOptions::default(), &SeededStream::new(4), describe).unwrap();
        (names, pairs)
    }

    /// How often each question of a kind is asked of positives and of negatives.
    fn counts(pairs: &[Vec<Pair>], kind: QaKind) -> BTreeMap<String, [usize; 2]> {
        let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
        for (number, pairs) in pairs.iter().enumerate() {
            for (_, pair) in pairs.iter().filter(|(of, _)| *of == kind) {
                counts.entry(pair.question.clone()).or_default()[usize::from(number % 5 != 0)] += 1;
            }
        }
        counts
    }

    #[test]
    fn each_wording_is_asked_equally_often_of_both() {
        let (_, pairs) = dealt(false);
        let counts = counts(&pairs, QaKind::Existence);
        assert_eq!(counts.len(), WORDINGS);
        let spread = |class: usize| {
            let of: Vec<usize> = counts.values().map(|counts| counts[class]).collect();
            (of.iter().min().copied().unwrap(), of.iter().max().copied().unwrap())
        };
        for class in [0, 1] {
            let (least, most) = spread(class);
            assert!(most - least <= 1, "{least} to {most}");
        }
    }

    #[test]
    fn a_clip_is_asked_nothing_twice_and_answers_differ() {
        let (_, pairs) = dealt(false);
        for pairs in &pairs {
            let existence: Vec<&QaPair> =
                pairs.iter().filter(|(kind, _)| *kind == QaKind::Existence).map(|(_, pair)| pair).collect();
            assert_eq!(existence.len(), 15);
            for part in [|pair: &QaPair| pair.question.clone(), |pair: &QaPair| pair.answer.clone()] {
                let different: std::collections::BTreeSet<String> = existence.iter().map(|pair| part(pair)).collect();
                assert_eq!(different.len(), 15);
            }
            assert!(existence.iter().all(|pair| pair.is_special && pair.kind.is_none()));
        }
    }

    #[test]
    fn negatives_refuse_every_kind_and_positives_are_described_where_something_describes() {
        let (_, without) = dealt(false);
        let (_, with) = dealt(true);
        for (number, (without, with)) in without.iter().zip(&with).enumerate() {
            for kind in described(&DatasetOptions::default()) {
                let of =
                    |pairs: &[Pair]| pairs.iter().filter(|(of, _)| *of == kind).map(|(_, pair)| pair.clone()).collect::<Vec<_>>();
                let (without, with) = (of(without), of(with));
                if number % 5 == 0 {
                    assert!(without.is_empty());
                    assert_eq!(with.len(), 5);
                    assert!(with.iter().all(|pair| pair.answer == format!("described: {}", pair.question) && !pair.is_special));
                } else {
                    assert_eq!(without, with);
                    assert_eq!(with.len(), 1);
                }
            }
        }
    }
}
