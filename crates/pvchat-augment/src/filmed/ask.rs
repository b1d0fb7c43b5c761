//! Questions and answers, distributed so that no wording is correlated with an answer.

use std::collections::BTreeMap;

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
    /// How often each was dealt for each of its share.
    used: Vec<usize>,
    /// Of which each has a share; those without one are dealt only where there are too few others.
    shares: Vec<usize>,
}

impl Deck {
    fn new(total: usize) -> Self {
        Self::with_shares(vec![1; total])
    }

    /// Each comes in proportion to its share; all alike where none has one.
    fn with_shares(shares: Vec<usize>) -> Self {
        let shares = if shares.iter().all(|share| *share == 0) { vec![1; shares.len()] } else { shares };
        Self { used: vec![0; shares.len()], shares }
    }

    fn deal(&mut self, count: usize, stream: &mut SeededStream) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.used.len()).collect();
        stream.shuffle(&mut order);
        let dealt =
            |number: usize| (self.shares[number] == 0, (1 + 2 * self.used[number]) as f64 / self.shares[number].max(1) as f64);
        order.sort_by(|&one, &other| {
            let (one, other) = (dealt(one), dealt(other));
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
        });
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
        // How often each wording of a description was kept: refusals have the wordings in the same proportion, so that none of them
        // says that it is refused.
        let mut kept: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for is_positive in [true, false] {
            let concerned = || clips.iter().enumerate().filter(|(_, clip)| clip.half == half && clip.is_positive == is_positive);
            for kind in std::iter::once(QaKind::Existence).chain(described(options)) {
                let count = match (kind, is_positive) {
                    (QaKind::Existence, _) => options.existence,
                    (_, false) => options.refusals,
                    (_, true) if describe.is_some() => options.descriptions,
                    (_, true) => 0,
                };
                let kept = kept.entry(kind.to_string()).or_insert_with(|| vec![0; WORDINGS]);
                let is_refused = !is_positive && kind != QaKind::Existence;
                let mut questions = if is_refused { Deck::with_shares(kept.clone()) } else { Deck::new(WORDINGS) };
                let mut replies = Deck::new(answers(kind));
                for (place, clip) in concerned() {
                    let mut stream = stream.derive(format!("{} {kind}", clip.name));
                    let asked = questions.deal(count, &mut stream);
                    let replied = replies.deal(count, &mut stream);
                    for (wording, reply) in asked.into_iter().zip(replied) {
                        let question = named(wordings(kind)[wording], subject);
                        let answer = match &mut describe {
                            Some(describe) if is_positive && kind != QaKind::Existence => describe(place, kind, &question)?,
                            _ => Some(answer(kind, is_positive, reply, subject)),
                        };
                        if let Some(answer) = answer {
                            kept[wording] += 1;
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

    /// A base that never confirms an answer to some wordings must not make them questions that are always refused.
    #[test]
    fn a_wording_is_refused_in_proportion_to_its_descriptions() {
        let names: Vec<String> = (0..81).map(|number| format!("{number:02x}")).collect();
        let asked = |(number, name)| Asked { name, half: Half::Train, is_positive: number % 5 == 0 };
        let clips: Vec<Asked<'_>> = names.iter().map(String::as_str).enumerate().map(asked).collect();
        let mut number = 0;
        let mut says = |_: usize, _: QaKind, question: &str| {
            number += 1;
            // Never for every third wording, and half as often for another third.
            let is_said = match question.len() % 3 {
                0 => false,
                1 => number % 2 == 0,
                _ => true,
            };
            Ok(is_said.then(|| "<Aa> is described.".to_string()))
        };
        let pairs = ask(&clips, "<Aa>", &DatasetOptions::default(), &SeededStream::new(4), Some(&mut says)).unwrap();
        for kind in described(&DatasetOptions::default()) {
            let counts = counts(&pairs, kind);
            let all: [usize; 2] = [0, 1].map(|class| counts.values().map(|counts| counts[class]).sum());
            assert!(all[1] == 64 && (30..70).contains(&all[0]), "{all:?}");
            for (question, [described, refused]) in &counts {
                let expected = *described as f64 * all[1] as f64 / all[0] as f64;
                assert!((*refused as f64 - expected).abs() < 1.6, "{question}: {described} described, {refused} refused");
            }
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
                    assert_eq!((without.len(), with.len()), (1, 1));
                    assert!(with.iter().all(|pair| !pair.answer.starts_with("described")));
                }
            }
        }
    }
}
