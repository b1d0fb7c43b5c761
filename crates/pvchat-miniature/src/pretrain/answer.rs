//! Phase B: the Q-Former, the personal part and the language model learn to answer, on the frozen
//! encoder's features. Every clip is shown together with one or two enrolled people. The base that knows nobody in particular
//! gets no people; its questions are about descriptions instead of names.

use std::{ops::Range, sync::Arc};

use burn::{
    module::{Module, ParamGroup},
    nn::Linear,
    optim::{AdamWConfig, ModuleOptimizer, MuonConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
    prelude::*,
    tensor::activation::log_sigmoid,
};
use pvchat_augment::questions::{self, Aspect};
use pvchat_data::{SubjectName, random::SeededStream};
use pvchat_model::{
    answer::{AnswerConfig, AnswerLosses, AnswerModel},
    bridge::Visual,
    prompt::{EncodedText, TextCodec},
};
use pvchat_nn::init;
use pvchat_train::{
    objective::{Objective, ObjectiveReport, RoutedHeads},
    run::Task,
};

use super::clips::{EncodedClips, GROUP};
use crate::{
    words,
    world::{Identity, Scene},
};

/// The answer model with the head that only its training needs.
#[derive(Module, Debug)]
pub struct AnswerPretraining {
    /// The model that is kept.
    pub model: AnswerModel,
    match_head: Linear,
}

impl AnswerPretraining {
    /// A new model.
    ///
    /// # Errors
    /// Those of [`AnswerConfig::init`].
    pub fn init(config: &AnswerConfig, stream: &SeededStream, device: &Device) -> pvchat_model::Result<Self> {
        let model = config.init(&stream.derive("model"), device)?;
        let width = model.bridge.personal_tokens().dims()[2];
        Ok(Self { model, match_head: init::linear(&mut stream.derive("match_head"), width, 1, true, 0.1, device) })
    }
}

/// One clip, the people it is asked about, and the questions.
#[derive(Clone, Debug)]
pub struct Episode {
    /// The clip.
    pub clip: usize,
    /// The clips that the subjects were enrolled from; they are alone there. None without subjects.
    pub references: Vec<usize>,
    /// The subjects' name slots.
    pub slots: Vec<usize>,
    /// Whether each subject is in the clip.
    pub present: Vec<bool>,
    /// Questions with answers.
    pub texts: Vec<EncodedText>,
    /// What each question is about, for [`validation`](super::validation).
    pub kinds: Vec<&'static str>,
}

/// What a shard reports.
#[derive(Clone, Debug)]
pub struct AnswerReport {
    /// Mean cross entropy of the answers' tokens.
    pub loss: f32,
    /// Cross entropy of yes and no.
    pub existence: f32,
    /// The objective of the routed heads.
    pub objective: ObjectiveReport,
}

/// The run of phase B.
pub struct AnswerTask {
    /// Whether questions are about enrolled people; otherwise about descriptions.
    pub people: bool,
    /// The encoded clips.
    pub clips: Arc<EncodedClips>,
    /// Words to ids.
    pub codec: TextCodec,
    /// Name slots.
    pub slots: usize,
    /// Clips per step and thread.
    pub batch: usize,
    /// Threads.
    pub shards: usize,
    /// Questions per clip.
    pub questions: usize,
    /// SPR and HAE.
    pub objective: Objective,
    /// Where episodes are drawn from.
    pub stream: SeededStream,
    /// Where the tensors live.
    pub device: Device,
}

/// The members of a group who can be enrolled, and the clips where each is alone.
const REFERENCES: [&[usize]; 3] = [&[0, 1], &[2, 3], &[5]];
/// How often a clip with a single person is drawn again: clips with two are rare, and saying who of
/// them wears what has to be learned from those.
const REDRAW_LONE: f32 = 0.5;
/// The most features of a description that is asked for.
const MOST_FEATURES: usize = 3;
/// Weight of yes and no against other words.
const EXISTENCE_WEIGHT: f32 = 4.0;

fn names(slots: &[usize]) -> Vec<SubjectName> {
    let all = ["Aa", "Bb", "Cc", "Dd"];
    slots.iter().filter_map(|&slot| all.get(slot).and_then(|name| name.parse().ok())).collect()
}

impl AnswerTask {
    /// The same on other clips.
    pub fn with_clips(&self, clips: Arc<EncodedClips>) -> Self {
        Self {
            clips,
            codec: self.codec.clone(),
            objective: self.objective.clone(),
            stream: self.stream.clone(),
            device: self.device.clone(),
            ..*self
        }
    }

    fn groups(&self) -> usize {
        self.clips.clips.len() / GROUP
    }

    /// A clip where a member of a group is alone, other than `not`.
    fn reference(&self, group: usize, member: usize, not: usize, stream: &mut SeededStream) -> Option<usize> {
        let alone: Vec<usize> = REFERENCES[member]
            .iter()
            .map(|place| group * GROUP + place)
            .filter(|&clip| clip != not && self.clips.clips[clip].people.len() == 1)
            .collect();
        stream.choose(&alone).copied()
    }

    /// Someone to be asked about: present (every second time), a relative of someone present, or anyone (as often as each
    /// other, as in the balanced accuracy of the examination).
    fn subject(&self, clip: usize, stream: &mut SeededStream) -> (usize, usize) {
        let known: Vec<(usize, usize)> = self.clips.clips[clip].people.iter().filter_map(|person| *person).collect();
        let group = clip / GROUP;
        let draw = stream.unit();
        if draw < 0.5 {
            return stream.choose(&known).copied().unwrap_or((group, 0));
        }
        if draw < 0.75 {
            let absent: Vec<(usize, usize)> =
                (0..2).map(|member| (group, member)).filter(|member| !known.contains(member)).collect();
            if let Some(member) = stream.choose(&absent) {
                return *member;
            }
        }
        (stream.below(self.groups()), stream.below(3))
    }

    /// Draws an episode about `subjects` people.
    pub fn episode(&self, subjects: usize, stream: &mut SeededStream) -> pvchat_model::Result<Episode> {
        loop {
            let clip = stream.below(self.clips.clips.len());
            if self.clips.clips[clip].people.len() == 1 && stream.chance(REDRAW_LONE) {
                continue;
            }
            if !self.people {
                let (texts, kinds) = self.plain_texts(clip, stream)?;
                return Ok(Episode { clip, references: Vec::new(), slots: Vec::new(), present: Vec::new(), texts, kinds });
            }
            let mut members: Vec<(usize, usize)> = Vec::new();
            let mut references = Vec::new();
            for _ in 0..subjects {
                let member = self.subject(clip, stream);
                if members.contains(&member) {
                    break;
                }
                let Some(reference) = self.reference(member.0, member.1, clip, stream) else { break };
                members.push(member);
                references.push(reference);
            }
            if members.len() < subjects {
                continue;
            }
            let slots = stream.sample(self.slots, subjects);
            let known = &self.clips.clips[clip].people;
            let positions: Vec<Option<usize>> =
                members.iter().map(|member| known.iter().position(|person| *person == Some(*member))).collect();
            let (texts, kinds) = self.texts(clip, &slots, &positions, stream)?;
            let present = positions.iter().map(Option::is_some).collect();
            return Ok(Episode { clip, references, slots, present, texts, kinds });
        }
    }

    fn texts(
        &self,
        clip: usize,
        slots: &[usize],
        positions: &[Option<usize>],
        stream: &mut SeededStream,
    ) -> pvchat_model::Result<(Vec<EncodedText>, Vec<&'static str>)> {
        let scene = &self.clips.clips[clip].scene;
        let company = scene.people.len() > 1;
        let names = names(slots);
        let title: Vec<String> = names.iter().map(SubjectName::to_string).collect();
        let ask = |aspect: Aspect, subject: &str, stream: &mut SeededStream| {
            questions::question(aspect, stream.below(questions::variants(aspect)), subject)
        };
        let mut texts = Vec::with_capacity(self.questions);
        for (name, position) in title.iter().zip(positions) {
            let kind = if position.is_some() { "yes" } else { "no" };
            texts.push((ask(Aspect::Existence, name, stream), questions::existence_answer(name, position.is_some()), kind));
        }
        if let ([first, second], [a, b]) = (title.as_slice(), positions) {
            let question = questions::pair_question(stream.below(questions::pair_variants()), [first, second]);
            texts.push((question, questions::pair_answer([first, second], [a.is_some(), b.is_some()]), "both"));
        }
        // Descriptions of the subjects: two of someone present, one refusal of someone absent.
        for (name, position) in title.iter().zip(positions) {
            let mut aspects = draw_aspects(company, stream);
            aspects.truncate(if position.is_some() && title.len() == 1 { 2 } else { 1 });
            for aspect in aspects {
                let answer = position.and_then(|position| words::answer(aspect, scene, position, name));
                let kind = if answer.is_some() { described(aspect, company) } else { "refusal" };
                let answer = answer.unwrap_or_else(|| questions::absent_answer(aspect, name));
                texts.push((ask(aspect, name, stream), answer, kind));
            }
        }
        while texts.len() < self.questions {
            let position = stream.below(scene.people.len());
            let subject = words::generic_subject(position, scene.people.len());
            let aspect = draw_aspects(company, stream)[0];
            if let Some(answer) = words::answer(aspect, scene, position, subject) {
                texts.push((ask(aspect, subject, stream), answer, "unnamed"));
            }
        }
        texts.truncate(self.questions);
        let encoded: pvchat_model::Result<Vec<EncodedText>> =
            texts.iter().map(|(question, answer, _)| self.codec.encode_question(question, Some(answer), &names)).collect();
        Ok((encoded?, texts.iter().map(|text| text.2).collect()))
    }

    /// Whether somebody of a description is there, twice, and descriptions of the people of the clip.
    fn plain_texts(&self, clip: usize, stream: &mut SeededStream) -> pvchat_model::Result<(Vec<EncodedText>, Vec<&'static str>)> {
        let scene = &self.clips.clips[clip].scene;
        let company = scene.people.len() > 1;
        let mut texts = Vec::with_capacity(self.questions);
        for present in [stream.chance(0.5), stream.chance(0.5)] {
            let description = self.some_features(scene, present, stream);
            let there = scene.people.iter().any(|person| words::fits(&person.identity, &description));
            let subject = words::someone(&description);
            let question = questions::question(Aspect::Existence, stream.below(questions::variants(Aspect::Existence)), &subject);
            let answer = questions::existence_answer(questions::GENERIC_SUBJECTS[0], there);
            texts.push((question, answer, if there { "yes" } else { "no" }));
        }
        while texts.len() < self.questions {
            let position = stream.below(scene.people.len());
            let subject = words::generic_subject(position, scene.people.len());
            let aspect = draw_aspects(company, stream)[0];
            if let Some(answer) = words::answer(aspect, scene, position, subject) {
                let question = questions::question(aspect, stream.below(questions::variants(aspect)), subject);
                texts.push((question, answer, described(aspect, company)));
            }
        }
        let encoded: pvchat_model::Result<Vec<EncodedText>> =
            texts.iter().map(|(question, answer, _)| self.codec.encode_question(question, Some(answer), &[])).collect();
        Ok((encoded?, texts.iter().map(|text| text.2).collect()))
    }

    /// Up to three features: of somebody in the scene, or, for an absent one, every second time those with one of them of
    /// somebody else, otherwise all of somebody else.
    fn some_features(&self, scene: &Scene, present: bool, stream: &mut SeededStream) -> Vec<String> {
        let own = words::features(&scene.people[stream.below(scene.people.len())].identity);
        let count = 1 + stream.below(MOST_FEATURES);
        let mut chosen = stream.sample(own.len(), count.min(own.len()));
        chosen.sort_unstable();
        if present {
            return chosen.into_iter().map(|index| own[index].clone()).collect();
        }
        let other = words::features(&Identity::unreserved(|| Identity::random(stream)));
        if stream.chance(0.5) {
            return chosen.into_iter().filter_map(|index| other.get(index).cloned()).collect();
        }
        let exchanged = stream.choose(&chosen).copied();
        let feature = |index: usize| if Some(index) == exchanged { other.get(index) } else { own.get(index) };
        chosen.into_iter().filter_map(|index| feature(index).cloned()).collect()
    }

    /// The model's output for the episodes' clips, and the cross entropy of their answers.
    pub(super) fn forward(&self, model: &AnswerModel, episodes: &[Episode]) -> pvchat_model::Result<(Visual, AnswerLosses)> {
        let (batch, subjects) = (episodes.len(), episodes[0].slots.len());
        let clips: Vec<usize> = episodes.iter().map(|episode| episode.clip).collect();
        let memory = self.clips.memory(&clips, &self.device);
        let texts: Vec<Vec<EncodedText>> = episodes.iter().map(|episode| episode.texts.clone()).collect();
        let begin = self.codec.prefix(&memory.shown)?;
        if subjects == 0 {
            let visual = model.visual(&memory, None)?;
            let answers = model.losses(&visual, &begin, &texts, None)?;
            return Ok((visual, answers));
        }
        let looks: Vec<(usize, usize)> =
            episodes.iter().flat_map(|episode| episode.references.iter().map(|&clip| (clip, 0))).collect();
        let [readout, identity] = self.clips.looks(&looks, [batch, subjects], &self.device);
        let Some(personal) = model.bridge.enrol(readout, identity) else {
            return Err(pvchat_model::Error::Config {
                key: "personal",
                value: "null".into(),
                remedy: "the miniature enrols people".into(),
            });
        };
        let slots: Vec<i32> = episodes.iter().flat_map(|episode| episode.slots.iter().map(|&slot| slot as i32)).collect();
        let slots = Tensor::<2, Int>::from_data(TensorData::new(slots, [batch, subjects]), &self.device);
        let visual = model.visual(&memory, Some((&personal, slots.clone())))?;
        let answers = model.losses(&visual, &begin, &texts, Some((&personal, slots)))?;
        Ok((visual, answers))
    }

    fn losses(&self, training: &AnswerPretraining, episodes: &[Episode]) -> pvchat_model::Result<(Tensor<1>, AnswerReport)> {
        let (visual, answers) = self.forward(&training.model, episodes)?;
        let (yes, no) = (self.codec.token("yes"), self.codec.token("no"));
        let is_existence = |label: &i32| Some(*label as u32) == yes || Some(*label as u32) == no;
        let weights: Vec<f32> =
            answers.labels.iter().map(|label| if is_existence(label) { EXISTENCE_WEIGHT } else { 1.0 }).collect();
        let total: f32 = weights.iter().sum();
        let weights = Tensor::<1>::from_floats(weights.as_slice(), &self.device);
        let loss = (answers.tokens.clone() * weights).sum() / total;
        let values: Vec<f32> = answers.tokens.into_data().iter::<f32>().collect();
        let chosen: Vec<f32> =
            values.iter().zip(&answers.labels).filter(|(_, label)| is_existence(label)).map(|(value, _)| *value).collect();
        let mut total_loss = loss;
        if let Some(states) = visual.personal_states {
            let [batch, subjects, _, width] = states.dims();
            let mean = states.mean_dim(2).reshape([batch * subjects, width]);
            let sign: Vec<f32> =
                episodes.iter().flat_map(|episode| episode.present.iter().map(|&here| if here { 1.0 } else { -1.0 })).collect();
            let logits = training.match_head.forward(mean).reshape([batch * subjects]);
            let matched = -log_sigmoid(logits * Tensor::<1>::from_floats(sign.as_slice(), &self.device)).mean();
            total_loss = total_loss + matched * 0.3;
        }
        let routed: Vec<RoutedHeads> = visual.gates.iter().map(|(_, gates)| RoutedHeads::from(gates)).collect();
        let mut objective = self.objective.clone();
        let report = match objective.train(&routed) {
            Ok(auxiliary) => {
                if let Some(loss) = auxiliary.loss {
                    total_loss = total_loss + loss;
                }
                auxiliary.report
            }
            // A router that is not finite makes the loss not finite too, which ends the run.
            Err(_) => {
                return Ok((
                    total_loss * f32::NAN,
                    AnswerReport { loss: f32::NAN, existence: f32::NAN, objective: empty_report(&self.objective) },
                ));
            }
        };
        let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len().max(1) as f32;
        let parts = AnswerReport { loss: mean(&values), existence: mean(&chosen), objective: report };
        Ok((total_loss / self.shards as f32, parts))
    }
}

fn empty_report(objective: &Objective) -> ObjectiveReport {
    ObjectiveReport { mode: objective.config().mode, sparsity: objective.config().sparsity, modules: Vec::new() }
}

/// The name under which answers about an aspect are counted.
fn described(aspect: Aspect, company: bool) -> &'static str {
    match (aspect, company) {
        (Aspect::Clothing, false) => "clothing",
        (Aspect::Clothing, true) => "clothing, company",
        (Aspect::Action, false) => "action",
        (Aspect::Action, true) => "action, company",
        (Aspect::Location, _) => "place",
        _ => "face",
    }
}

/// The describable aspects in random order, each in front as often as it needs. Asked for as rarely as the others, the place is
/// not learned at all in the first two thousand steps, and a face takes the most words. In company it is clothes and actions
/// that have to be distinguished.
fn draw_aspects(company: bool, stream: &mut SeededStream) -> Vec<Aspect> {
    let mut aspects = Aspect::DESCRIPTIONS.to_vec();
    stream.shuffle(&mut aspects);
    let shares = match company {
        false => [(0.4, Aspect::Location), (0.6, Aspect::Face), (0.75, Aspect::Clothing), (0.9, Aspect::Action)],
        true => [(0.1, Aspect::Location), (0.2, Aspect::Face), (0.55, Aspect::Clothing), (0.9, Aspect::Action)],
    };
    let draw = stream.unit();
    let Some((_, first)) = shares.into_iter().find(|(below, _)| draw < *below) else { return aspects };
    aspects.retain(|aspect| *aspect != first);
    aspects.insert(0, first);
    aspects
}

impl Task<AnswerPretraining> for AnswerTask {
    type Shard = (usize, Range<usize>, usize);
    type Report = AnswerReport;

    fn shards(&self, step: usize) -> Vec<Self::Shard> {
        let mut stream = self.stream.derive(format_args!("step {step}"));
        let subjects = if stream.chance(0.3) { 2 } else { 1 };
        (0..self.shards).map(|shard| (step, shard * self.batch..(shard + 1) * self.batch, subjects)).collect()
    }

    fn loss(&self, model: &AnswerPretraining, (step, rows, subjects): Self::Shard) -> (Tensor<1>, AnswerReport) {
        let stream = self.stream.derive(format_args!("step {step}"));
        let episodes: pvchat_model::Result<Vec<Episode>> =
            rows.map(|row| self.episode(subjects, &mut stream.derive(format_args!("row {row}")))).collect();
        match episodes.and_then(|episodes| self.losses(model, &episodes)) {
            Ok(result) => result,
            Err(error) => {
                tracing::error!("step {step}: {error}");
                let nothing = Tensor::from_floats([f32::NAN], &self.device).autodiff();
                (nothing, AnswerReport { loss: f32::NAN, existence: f32::NAN, objective: empty_report(&self.objective) })
            }
        }
    }

    fn after_step(&mut self, _step: usize, reports: &[AnswerReport]) {
        let reports: Vec<ObjectiveReport> = reports.iter().map(|report| report.objective.clone()).collect();
        self.objective.advance(&reports);
    }

    fn state(&self) -> serde_json::Value {
        serde_json::to_value(&self.objective).unwrap_or_default()
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Ok(objective) = serde_json::from_value(state) {
            self.objective = objective;
        }
    }
}

/// The matrices of the Q-Former and the language model, which Muon trains.
pub fn muon_group() -> Option<ParamGroup> {
    ParamGroup::from_any_regexes(vec![
        r"model\.qformer\..*(query|key|value|dense)\.weight$",
        r"model\.lm\.layers\..*_proj\..*weight$",
        r"model\.personal\.(amortiser_in|match_in)\.weight$",
    ])
    .ok()
}

/// Learning rate of the parameters that AdamW trains.
pub const ADAMW_RATE: f64 = 2e-3;
/// Learning rate of the matrices that Muon trains.
pub const MUON_RATE: f64 = 0.015;

/// Muon for the matrices, AdamW for the rest.
pub fn optimizer() -> ModuleOptimizer {
    let adamw = AdamWConfig::new().with_beta_1(0.9).with_beta_2(0.98).with_epsilon(1e-8).with_weight_decay(0.02).init();
    let momentum = MomentumConfig { momentum: 0.95, dampening: 0.0, nesterov: true };
    let muon = MuonConfig::new().with_momentum(momentum).with_weight_decay(Some(WeightDecayConfig { penalty: 0.01 }));
    match muon_group() {
        Some(group) => adamw.with_group(group, muon.build(), None),
        None => adamw,
    }
}
