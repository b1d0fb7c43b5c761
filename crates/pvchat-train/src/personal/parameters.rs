//! The parameters that are trained when a person is learned.

use burn::{
    module::{Module, Param, ParamGroup},
    prelude::*,
};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    adaptation::{self, Adaptation},
    answer::AnswerModel,
    bridge::Bridge,
    families::{VisionConfig, VisionTower},
    personal::PersonalTensors,
    vilm::VilmParameters,
};
use pvchat_nn::language::{LoraConfig, RoutedHeadsConfig};

use super::{HeadAdapter, LearnConfig};
use crate::Result;

/// The rows of the people who are learned.
pub(super) const ROWS: [&str; 2] = ["personal.word_row", "personal.head_row"];

/// Everything that is trained, with the frozen rest of the parts that it belongs to. The fields of the base have the
/// names that they have there.
#[derive(Module, Debug)]
pub struct LearnParameters {
    /// Tokens and rows.
    pub personal: PersonalParameters,
    /// The answer model, when some of it is trained.
    pub answer: Option<AnswerModel>,
    /// The vision encoder, when some of it is trained.
    pub vision_encoder: Option<VisionTower>,
}

/// Tokens and rows of the people who are learned, one after another in the second dimension.
#[derive(Module, Debug)]
pub struct PersonalParameters {
    /// None on bases without queries.
    tokens: Option<Param<Tensor<4>>>,
    /// None on bases that know no identities.
    identity: Option<Param<Tensor<3>>>,
    /// One row or several of each person.
    word_row: Param<Tensor<3>>,
    head_row: Param<Tensor<3>>,
}

impl LearnParameters {
    /// Tokens and rows from `start`, and what else `config` trains from the base. Layers whose adapter the base already has
    /// continue with it, as published; the adapters of the others are drawn from `stream`.
    ///
    /// # Errors
    /// Those of [`LoraConfig::validate`] and of [`Trains::group`](adaptation::Trains::group).
    pub fn new(
        base: &VilmParameters,
        vision: &VisionConfig,
        start: &PersonalTensors,
        config: &LearnConfig,
        stream: &SeededStream,
        device: &Device,
    ) -> Result<Self> {
        let mut personal = PersonalParameters::new(start, device);
        if config.row_rate == Some(0.0) {
            personal.word_row = personal.word_row.set_require_grad(false);
            personal.head_row = personal.head_row.set_require_grad(false);
        }
        let Some(group) = config.trains.group(vision)? else {
            return Ok(Self { personal, answer: None, vision_encoder: None });
        };
        let mut answer = base.answer.clone();
        let has_queries = matches!(answer.bridge, Bridge::QFormer(_));
        let own = config.adaptation.lora;
        let lora = LoraConfig::of(&answer.lm).map_or(own, |found| LoraConfig { dropout: own.dropout, ..found });
        answer.lm.attach_missing(&stream.derive("lora"), lora)?;
        // The follow-up, for bases without queries, does not adapt the head.
        match if has_queries { config.adaptation.head } else { HeadAdapter::Absent } {
            HeadAdapter::Absent => drop(answer.lm.lm_head.detach()),
            HeadAdapter::Words => {}
            HeadAdapter::WordsAndSubject => answer.lm.lm_head.widen(1),
        }
        let (layers, heads) = (answer.lm.config.layers, answer.lm.config.heads);
        let default = || RoutedHeadsConfig::for_decoder(layers, heads).filter(|_| !has_queries);
        if let Some(routed) = config.adaptation.routed.clone().or_else(default) {
            answer.lm.attach_routers(&routed)?;
        }
        let vision_encoder = config.trains.trains_vision().then(|| base.vision_encoder.clone().train());
        let frozen = Self { personal: personal.clone(), answer: Some(answer.train()), vision_encoder }.no_grad();
        let mut model = adaptation::in_f32(frozen, &group).set_require_grad_group(group, true);
        if config.adaptation.projection_rate == Some(0.0) {
            model = model.set_require_grad_group(adaptation::projection()?, false);
        }
        Ok(Self { personal, ..model })
    }

    /// Layers of the decoder whose heads are routed.
    pub(super) fn routed_layers(&self) -> usize {
        let routed = self.answer.as_ref().and_then(|answer| RoutedHeadsConfig::of(&answer.lm));
        routed.map_or(0, |routed| routed.layers.len())
    }

    /// What was trained of the base; `None` when nothing was.
    pub(super) fn adaptation(&self, vision: &VisionConfig, config: &LearnConfig) -> Result<Option<Adaptation>> {
        let Some(answer) = &self.answer else { return Ok(None) };
        let lora = LoraConfig::of(&answer.lm).unwrap_or(config.adaptation.lora);
        Ok(Some(Adaptation::collect(config.trains, lora, answer, self.vision_encoder.as_ref(), vision)?))
    }
}

/// Tokens, identity and rows.
pub(super) fn personal_group() -> ParamGroup {
    ParamGroup::from_paths(vec!["personal.tokens", "personal.identity", "personal.word_row", "personal.head_row"])
}

impl PersonalParameters {
    fn new(start: &PersonalTensors, device: &Device) -> Self {
        let parameter = |tensor: &Tensor<3>| Param::from_tensor(Tensor::from_data(tensor.to_data(), device));
        let [.., tokens, _] = start.tokens.dims();
        let [.., identity_width] = start.identity.dims();
        Self {
            tokens: (tokens > 0).then(|| Param::from_tensor(Tensor::from_data(start.tokens.to_data(), device))),
            identity: (identity_width > 0).then(|| parameter(&start.identity)),
            word_row: parameter(&start.word_row),
            head_row: parameter(&start.head_row),
        }
    }

    /// The parameters of the people with these numbers, of `people` in all, in this order, for a batch, their identities
    /// brought back to unit length.
    pub fn tensors(&self, asked: &[usize], people: usize, batch: usize) -> PersonalTensors {
        let (device, rows) = (self.word_row.device(), self.word_row.dims()[1] / people.max(1));
        // An empty axis cannot be expanded.
        let repeat = |tensor: Tensor<3>, each: usize| {
            let places: Vec<i32> =
                asked.iter().flat_map(|&number| number * each..(number + 1) * each).map(|place| place as i32).collect();
            let (count, width) = (places.len(), tensor.dims()[2]);
            let places = Tensor::<1, Int>::from_ints(places.as_slice(), &device);
            tensor.select(1, places).expand([batch, count, width])
        };
        let identity = match &self.identity {
            None => Tensor::zeros([batch, asked.len(), 0], &device),
            Some(identity) => {
                let identity = identity.val();
                repeat(identity.clone() / identity.square().sum_dim(2).add_scalar(1e-6).sqrt(), 1)
            }
        };
        let tokens = match &self.tokens {
            None => Tensor::zeros([batch, asked.len(), 0, 0], &device),
            Some(tokens) => {
                let [_, _, count, width] = tokens.dims();
                let numbers: Vec<i32> = asked.iter().map(|&number| number as i32).collect();
                let numbers = Tensor::<1, Int>::from_ints(numbers.as_slice(), &device);
                tokens.val().select(1, numbers).expand([batch, asked.len(), count, width])
            }
        };
        let [word_row, head_row] = [&self.word_row, &self.head_row].map(|parameter| repeat(parameter.val(), rows));
        PersonalTensors { tokens, identity, word_row, head_row }
    }

    /// No number, which comes from what is trained.
    pub(super) fn no_number(&self) -> Tensor<1> {
        let sum = match &self.tokens {
            Some(tokens) => tokens.val().sum(),
            None => self.word_row.val().sum(),
        };
        sum * f32::NAN
    }

    /// The squared distance to `start`.
    pub(super) fn distance(&self, start: &PersonalTensors) -> Tensor<1> {
        let apart = |parameter: &Param<Tensor<3>>, start: &Tensor<3>| (parameter.val() - start.clone()).square().sum();
        let tokens = self.tokens.as_ref().map(|tokens| (tokens.val() - start.tokens.clone()).square().sum());
        let identity = self.identity.as_ref().map(|identity| apart(identity, &start.identity));
        let rows = [(&self.word_row, &start.word_row), (&self.head_row, &start.head_row)];
        let parts = tokens.into_iter().chain(identity).chain(rows.map(|(own, start)| apart(own, start)));
        parts.reduce(|sum, part| sum + part).unwrap_or_else(|| Tensor::zeros([1], &self.word_row.device()))
    }
}
