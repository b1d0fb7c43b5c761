//! A step of learning a person: which clips, and what their loss is.

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_model::{
    personal::PersonalTensors,
    prompt::{EncodedText, Segment},
    sight::Sight,
    vilm::Vilm,
};
use pvchat_nn::moh::Routing;
use serde::{Deserialize, Serialize};

use super::{LearnClip, LearnConfig, LearnData, LearnProgress, parameters::LearnParameters};
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
    pub(super) begin: Vec<Segment>,
    /// Every step so far, of the runs before too.
    pub(super) steps: Vec<LearnProgress>,
}

/// The clips that one thread works on.
pub(super) struct Shard {
    video: bool,
    clips: Vec<usize>,
    /// Its share of the step's clips.
    share: f32,
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
        let clips: Vec<&LearnClip> = shard.clips.iter().filter_map(|&index| source.get(index)).collect();
        let device = self.vilm.device();
        let memory = match &model.vision_encoder {
            Some(encoder) => self.vilm.look_upper(encoder, lower(&clips, self.data, device)?),
            None => memory(&clips, self.data, device)?,
        };
        // All clips of a step are asked about the same people.
        let asked = clips.first().map_or(&[][..], |clip| clip.asked.as_slice());
        let personal = model.personal.tensors(asked, clips.len());
        let slots = Tensor::<1, Int>::arange(0..asked.len() as i64, device);
        let slots = slots.unsqueeze_dim::<2>(0).expand([clips.len(), asked.len()]);
        let answer = model.answer.as_ref().unwrap_or(&self.vilm.parameters().answer);
        let visual = answer.visual(&memory, Some((&personal, slots.clone())))?;
        let texts: Vec<Vec<EncodedText>> = clips.iter().map(|clip| clip.texts.clone()).collect();
        let answers = answer.losses(&visual, &self.begin, &texts, Some((&personal, slots)))?;
        let loss = answers.tokens.mean();
        let value = loss.clone().into_scalar::<f32>();
        let routed: Vec<RoutedHeads> = visual.gates.iter().map(|(_, gates)| RoutedHeads::from(gates)).collect();
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

    /// What the observer is told of a step, counted from 1.
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
        Some(LearnProgress { step, steps: config.steps(), video, loss, objective })
    }
}

/// The frozen features of clips.
pub(super) fn memory(clips: &[&LearnClip], data: &LearnData, device: &Device) -> Result<Sight> {
    Ok(Sight {
        tokens: gather(clips, data, |clip| &clip.tokens, data.token_shape, device)?,
        identity: gather(clips, data, |clip| &clip.identity, data.identity_shape, device)?,
        shown: data.shown.clone(),
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
        all.chunks(size).map(|clips| Shard { video, clips: clips.to_vec(), share: share(clips) }).collect()
    }

    fn loss(&self, model: &LearnParameters, shard: Shard) -> (Tensor<1>, Self::Report) {
        match self.losses(model, &shard) {
            Ok((loss, report)) => (loss, Ok(report)),
            // The run ends at a loss that is not a number and asks `failure` why.
            Err(error) => (model.personal.identity.val().sum() * f32::NAN, Err(error)),
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
