//! A step of learning a person: which clips, and what their loss is.

use std::borrow::Cow;

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_model::{personal::PersonalTensors, prompt::EncodedText, sight::Sight, vilm::Vilm};
use pvchat_nn::{dropout::with_dropout, language::TokenKind, moh::Routing};
use serde::{Deserialize, Serialize};

use super::{AskedWith, LearnClip, LearnConfig, LearnData, LearnProgress, parameters::LearnParameters};
use crate::{
    Error, Result,
    features::ClipFeatures,
    objective::{Objective, ObjectiveReport, RoutedHeads, top_k_balance},
    run::Task,
};

pub(super) struct LearnTask<'a> {
    pub(super) vilm: &'a Vilm,
    pub(super) data: &'a LearnData,
    pub(super) config: &'a LearnConfig,
    pub(super) start: PersonalTensors,
    pub(super) objective: Objective,
    pub(super) stream: SeededStream,
    /// How many people are learned.
    pub(super) people: usize,
    /// Every step so far, of the runs before too.
    pub(super) steps: Vec<LearnProgress>,
}

/// The clips that one thread works on.
pub(super) struct Shard {
    video: bool,
    clips: Vec<usize>,
    /// Draws the questions about them.
    questions: SeededStream,
    /// Its share of the step's clips.
    share: f32,
    /// What its pass drops, where rates of dropout are not zero.
    dropout: SeededStream,
}

/// What a checkpoint keeps of the task.
#[derive(Serialize, Deserialize)]
struct LearnState {
    objective: Objective,
    steps: Vec<LearnProgress>,
}

/// Weight of the load-balance loss of top-k routing, as in MoH.
const BALANCE_WEIGHT: f64 = 0.01;

impl LearnTask<'_> {
    fn source(&self, video: bool) -> &[LearnClip] {
        if video { &self.data.clips } else { &self.data.images }
    }

    fn losses(&self, model: &LearnParameters, shard: &Shard) -> Result<(Tensor<1>, (f32, ObjectiveReport))> {
        let source = self.source(shard.video);
        let mut questions = shard.questions.clone();
        let drawn = |&index: &usize| source.get(index).map(|clip| self.drawn(clip, &mut questions));
        let clips: Vec<Cow<'_, LearnClip>> = shard.clips.iter().filter_map(drawn).collect();
        // Clips with the same pictures and times are worked on together.
        let mut alike: Vec<Vec<&LearnClip>> = Vec::new();
        for clip in clips.iter().map(Cow::as_ref) {
            match alike.iter_mut().find(|others| self.data.shown(others[0]) == self.data.shown(clip)) {
                Some(others) => others.push(clip),
                None => alike.push(vec![clip]),
            }
        }
        let mut stream = shard.questions.derive("tokens");
        let passes = alike.iter().map(|clips| self.pass(model, clips, &mut stream)).collect::<Result<Vec<_>>>()?;
        let (tokens, routed): (Vec<Tensor<1>>, Vec<Vec<RoutedHeads>>) = passes.into_iter().unzip();
        let (tokens, routed) = match tokens.len() {
            1 => (tokens, routed.into_iter().flatten().collect()),
            _ => (tokens, joined(&routed)),
        };
        let loss = Tensor::cat(tokens, 0).mean();
        let value = loss.clone().into_scalar::<f32>();
        let auxiliary = self.objective.clone().train(&routed)?;
        let mut total = match auxiliary.loss {
            Some(loss_of_heads) => loss + loss_of_heads,
            None => loss,
        };
        let bridge = self.vilm.config().answer.qformer();
        if bridge.is_some_and(|bridge| matches!(bridge.qformer.routing, Routing::TopK { .. }))
            && let Some(balance) = top_k_balance(&routed)
        {
            total = total + balance * BALANCE_WEIGHT;
        }
        let total = total + model.personal.distance(&self.start) * self.config.anchor;
        Ok((total * shard.share, (value, auxiliary.report)))
    }

    /// A clip with the questions that a step asks.
    fn drawn<'a>(&self, clip: &'a LearnClip, stream: &mut SeededStream) -> Cow<'a, LearnClip> {
        let all = clip.texts.len();
        match self.config.questions {
            Some(most) if most < all => {
                let texts = stream.sample(all, most).into_iter().map(|question| clip.texts[question].clone()).collect();
                Cow::Owned(LearnClip { texts, ..clip.clone() })
            }
            _ => Cow::Borrowed(clip),
        }
    }

    /// The cross entropy of every answer token of clips that show alike, and what the heads routed. Tokens that are nobody's are
    /// drawn from `stream`.
    fn pass(
        &self,
        model: &LearnParameters,
        clips: &[&LearnClip],
        stream: &mut SeededStream,
    ) -> Result<(Tensor<1>, Vec<RoutedHeads>)> {
        let device = self.vilm.device();
        let memory = match &model.vision_encoder {
            Some(encoder) => {
                let mut sight = self.vilm.look_upper(encoder, lower(clips, self.data, device)?);
                sight.shown = self.data.shown(clips[0]).to_vec();
                sight
            }
            None => memory(clips, self.data, device)?,
        };
        // All clips of a step are asked about the same people.
        let asked = clips.first().map_or(&[][..], |clip| clip.asked.as_slice());
        let own = model.personal.tensors(asked, self.people, clips.len());
        let personal = as_asked(own, &self.start, clips, stream);
        let slots = Tensor::<1, Int>::arange(0..asked.len() as i64, device);
        let slots = slots.unsqueeze_dim::<2>(0).expand([clips.len(), asked.len()]);
        let answer = model.answer.as_ref().unwrap_or(&self.vilm.parameters().answer);
        let visual = answer.visual(&memory, Some((&personal, slots.clone())))?;
        let texts: Vec<Vec<EncodedText>> = clips.iter().map(|clip| clip.texts.clone()).collect();
        let begin = self.vilm.codec().prefix(&memory.shown)?;
        let answers = answer.losses(&visual, &begin, &texts, Some((&personal, slots)))?;
        let mut routed: Vec<RoutedHeads> = visual.gates.iter().map(|(_, gates)| RoutedHeads::from(gates)).collect();
        if !answers.gates.is_empty() {
            let acts = TokenKind::text_mask(&answers.kinds, device)?;
            routed.extend(answers.gates.iter().map(|gates| RoutedHeads::from(gates).with_mask(acts.clone())));
        }
        Ok((answers.tokens, routed))
    }

    /// What the observer gets about a step, counted from 1.
    pub(super) fn progress(
        config: &LearnConfig,
        step: usize,
        reports: &[Result<(f32, ObjectiveReport)>],
    ) -> Option<LearnProgress> {
        let (losses, objectives): (Vec<f32>, Vec<&ObjectiveReport>) =
            reports.iter().flatten().map(|(loss, objective)| (*loss, objective)).unzip();
        let objective = ObjectiveReport::mean(&objectives)?;
        let loss = losses.iter().sum::<f32>() / losses.len() as f32;
        let video = step > config.image_steps;
        let gradients = std::collections::BTreeMap::new();
        Some(LearnProgress { step, steps: config.steps(), video, loss, objective, gradients })
    }
}

/// The modules of several passes, each of them as if it had routed all tokens in one pass.
fn joined(passes: &[Vec<RoutedHeads>]) -> Vec<RoutedHeads> {
    let modules = passes.iter().map(Vec::len).min().unwrap_or(0);
    let flat = |tensor: &Tensor<3>| {
        let [batch, tokens, heads] = tensor.dims();
        tensor.clone().reshape([1, batch * tokens, heads])
    };
    let one = |module: usize| {
        let parts: Vec<&RoutedHeads> = passes.iter().map(|pass| &pass[module]).collect();
        let masks = parts.iter().map(|part| {
            let [batch, tokens, _] = part.logits.dims();
            let all = || Tensor::ones([batch, tokens], &part.logits.device().inner());
            part.mask.clone().unwrap_or_else(all).reshape([1, batch * tokens])
        });
        let masks = Tensor::cat(masks.collect(), 1);
        let logits = Tensor::cat(parts.iter().map(|part| flat(&part.logits)).collect(), 1);
        let gates = Tensor::cat(parts.iter().map(|part| flat(&part.gates)).collect(), 1);
        RoutedHeads::new(logits, gates).with_mask(masks)
    };
    (0..modules).map(one).collect()
}

/// Personal parameters of a batch, with others in the place of the own ones for clips that are asked about so.
fn as_asked(own: PersonalTensors, start: &PersonalTensors, clips: &[&LearnClip], stream: &mut SeededStream) -> PersonalTensors {
    if clips.iter().all(|clip| clip.tokens == AskedWith::Own) {
        return own;
    }
    let mut other = |own: Tensor<4>, start: Tensor<4>, drawn: bool| {
        let [_, subjects, count, width] = own.dims();
        if count == 0 {
            return own; // a base without queries has no tokens
        }
        let asked = subjects * count * width;
        let values = own.to_data().iter::<f32>().collect::<Vec<_>>();
        let new: Vec<f32> = start.narrow(1, 0, 1).into_data().iter::<f32>().collect();
        let (mut kept, mut others) = (Vec::with_capacity(clips.len()), Vec::with_capacity(values.len()));
        for (clip, values) in clips.iter().zip(values.chunks(asked)) {
            kept.push(if clip.tokens == AskedWith::Own { 1.0 } else { 0.0 });
            let share = if clip.tokens == AskedWith::Others { stream.unit() } else { 0.0 };
            others.extend(values.iter().zip(new.iter().cycle()).map(|(value, new)| match clip.tokens {
                AskedWith::Others => {
                    let mut sign = || if stream.chance(0.5) { 1.0 } else { -1.0 };
                    share * value * sign() + (1.0 - share) * if drawn { new * sign() } else { *new }
                }
                AskedWith::Own | AskedWith::Zeros => 0.0,
            }));
        }
        let device = own.device().inner();
        let kept = Tensor::<1>::from_floats(kept.as_slice(), &device).reshape([clips.len(), 1, 1, 1]);
        let others = Tensor::<1>::from_floats(others.as_slice(), &device).reshape([clips.len(), subjects, count, width]);
        own * kept + others
    };
    let mut rows = |own: Tensor<3>, start: &Tensor<3>| {
        let [batch, rows, width] = own.dims();
        other(own.unsqueeze_dim(1), start.clone().unsqueeze_dim(1), true).reshape([batch, rows, width])
    };
    let (word_row, head_row) = (rows(own.word_row, &start.word_row), rows(own.head_row, &start.head_row));
    // Subjects start with the same tokens, those of the base, and with rows of noise.
    let tokens = other(own.tokens, start.tokens.clone(), false);
    PersonalTensors { tokens, identity: own.identity, word_row, head_row }
}

/// The frozen features of clips that show alike.
pub(super) fn memory(clips: &[&LearnClip], data: &LearnData, device: &Device) -> Result<Sight> {
    let [_, width] = data.token_shape;
    let values = clips.first().map_or(Ok(0), |clip| data.features.get(clip.features).map(|features| features.tokens.len()))?;
    Ok(Sight {
        tokens: gather(clips, data, |clip| &clip.tokens, [values / width.max(1), width], device)?,
        identity: gather(clips, data, |clip| &clip.identity, data.identity_shape, device)?,
        shown: clips.first().map_or(&data.shown[..], |clip| data.shown(clip)).to_vec(),
    })
}

/// What the frozen lower part of the encoder made of clips.
pub(super) fn lower(clips: &[&LearnClip], data: &LearnData, device: &Device) -> Result<Tensor<3>> {
    gather(clips, data, |clip| &clip.lower, data.lower_shape, device)
}

fn gather(
    clips: &[&LearnClip],
    data: &LearnData,
    part: fn(&ClipFeatures) -> &[f32],
    shape: [usize; 2],
    device: &Device,
) -> Result<Tensor<3>> {
    let mut values = Vec::with_capacity(clips.len() * shape[0] * shape[1]);
    for clip in clips {
        values.extend_from_slice(part(data.features.get(clip.features)?.as_ref()));
    }
    if values.len() != clips.len() * shape[0] * shape[1] {
        let expected = format!("{} clips of {shape:?} values each", clips.len());
        return Err(Error::Shape { what: "features of clips".into(), found: vec![values.len()], expected });
    }
    Ok(Tensor::from_data(TensorData::new(values, [clips.len(), shape[0], shape[1]]), device))
}

/// The different values, in the order in which they come first.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut found: Vec<T> = Vec::new();
    values.for_each(|value| {
        if !found.contains(&value) {
            found.push(value);
        }
    });
    found
}

impl Task<LearnParameters> for LearnTask<'_> {
    type Shard = Shard;
    type Report = Result<(f32, ObjectiveReport)>;

    fn shards(&self, step: usize) -> Vec<Shard> {
        let video = step >= self.config.image_steps;
        let source = self.source(video);
        let mut stream = self.stream.derive(format_args!("step {step}"));
        // One person after another, and then some of them together; all kinds of presence equally often.
        let casts = distinct(source.iter().map(|clip| &clip.asked));
        let asked = casts.get(step % casts.len().max(1)).copied();
        let about = || source.iter().enumerate().filter(|(_, clip)| Some(&clip.asked) == asked);
        let mut kinds = distinct(about().map(|(_, clip)| &clip.present));
        kinds.sort_by(|one, other| other.cmp(one));
        let of = |kind: &Vec<bool>| about().filter(|(_, clip)| clip.present == *kind).map(|(index, _)| index).collect::<Vec<_>>();
        let kinds: Vec<Vec<usize>> = kinds.into_iter().map(of).collect();
        let all: Vec<usize> =
            (0..self.config.batch).filter_map(|row| stream.choose(kinds.get(row % kinds.len().max(1))?).copied()).collect();
        let size = all.len().div_ceil(self.config.threads.max(1) * self.rounds()).max(1);
        let share = |clips: &[usize]| clips.len() as f32 / all.len() as f32;
        let shard = |(number, clips): (usize, &[usize])| Shard {
            video,
            clips: clips.to_vec(),
            questions: stream.derive(format_args!("questions of shard {number}")),
            share: share(clips),
            dropout: stream.derive(format_args!("dropout of shard {number}")),
        };
        all.chunks(size).enumerate().map(shard).collect()
    }

    fn loss(&self, model: &LearnParameters, shard: Shard) -> (Tensor<1>, Self::Report) {
        match with_dropout(shard.dropout.clone(), || self.losses(model, &shard)) {
            Ok((loss, report)) => (loss, Ok(report)),
            // The run ends at a loss that is not a number and asks `failure` why.
            Err(error) => (model.personal.no_number(), Err(error)),
        }
    }

    fn rounds(&self) -> usize {
        self.config.accumulation.max(1)
    }

    fn batch(&self, step: usize) -> String {
        let shards = self.shards(step);
        let clips: Vec<String> = shards.iter().flat_map(|shard| &shard.clips).map(usize::to_string).collect();
        let kind = if shards.first().is_some_and(|shard| shard.video) { "clips" } else { "images" };
        format!("{kind} {}", clips.join(", "))
    }

    fn failure(&self, reports: Vec<Self::Report>) -> Option<Error> {
        // That a router's output is no number is said better by the error that names step and batch.
        let unnamed = |error: &Error| {
            matches!(error, Error::NotFinite { .. } | Error::Model(pvchat_model::Error::Nn(pvchat_nn::Error::NotANumber { .. })))
        };
        reports.into_iter().filter_map(Result::err).find(|error| !unnamed(error))
    }

    fn after_step(&mut self, step: usize, reports: &[Self::Report]) {
        self.steps.extend(Self::progress(self.config, step + 1, reports));
        let reports: Vec<ObjectiveReport> = reports.iter().flatten().map(|report| report.1.clone()).collect();
        self.objective.advance(&reports);
    }

    fn state(&self) -> serde_json::Value {
        let state = LearnState { objective: self.objective.clone(), steps: self.steps.clone() };
        serde_json::to_value(state).unwrap_or_default()
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Ok(state) = serde_json::from_value::<LearnState>(state) {
            (self.objective, self.steps) = (state.objective, state.steps);
        }
    }
}

#[cfg(test)]
mod tests {
    use pvchat_nn::init::normal;

    use super::*;
    use crate::features::FeatureCache;

    #[test]
    fn clips_that_are_asked_about_with_other_tokens_and_rows_have_those_and_the_others_their_own() {
        let device = Device::flex();
        let random = |name: &str, shape: [usize; 3]| normal(&mut SeededStream::new(1).derive(name), shape, 1.0, &device);
        let own = PersonalTensors {
            tokens: random("tokens", [3, 4, 3]).reshape([3, 1, 4, 3]),
            identity: random("identity", [3, 1, 5]),
            word_row: random("word", [3, 1, 3]),
            head_row: random("head", [3, 1, 3]),
        };
        let start = PersonalTensors {
            tokens: Tensor::ones([1, 2, 4, 3], &device),
            identity: Tensor::zeros([1, 2, 5], &device),
            word_row: Tensor::ones([1, 2, 3], &device) * 0.5,
            head_row: Tensor::ones([1, 2, 3], &device) * 0.5,
        };
        let features = FeatureCache::in_memory().insert(ClipFeatures::default()).unwrap();
        let clip = |tokens| LearnClip { features, asked: vec![0], present: vec![false], tokens, texts: Vec::new() };
        let clips = [clip(AskedWith::Zeros), clip(AskedWith::Own), clip(AskedWith::Others)];
        let clips: Vec<&LearnClip> = clips.iter().collect();
        let changed = |seed: u64| as_asked(own.clone(), &start, &clips, &mut SeededStream::new(seed));
        let numbers = |tensors: &PersonalTensors| -> [[Vec<f32>; 3]; 3] {
            let flat = |tensor: Tensor<3>, row: usize| tensor.narrow(0, row, 1).into_data().iter::<f32>().collect::<Vec<_>>();
            let tokens = tensors.tokens.clone().reshape([3, 4, 3]);
            [tokens, tensors.word_row.clone(), tensors.head_row.clone()]
                .map(|tensor| [0, 1, 2].map(|row| flat(tensor.clone(), row)))
        };
        let again = numbers(&changed(2));
        for (number, ([zeros, kept, others], [_, own, third])) in numbers(&changed(1)).into_iter().zip(numbers(&own)).enumerate()
        {
            assert!(zeros.iter().all(|value| *value == 0.0));
            assert_eq!(kept, own);
            assert!(others.iter().zip(&third).all(|(value, own)| value != own), "{others:?}");
            // Between the own ones, in either sign, and the start.
            let largest = |own: &f32| own.abs().max(1.0) + 1e-6;
            assert!(others.iter().zip(&third).all(|(value, own)| value.abs() <= largest(own)), "{others:?}");
            assert_ne!(others, again[number][2], "drawn again");
        }
        assert_eq!(changed(1).identity.to_data(), own.identity.to_data());
    }
}
