//! The parameters that are trained when a person is learned.

use burn::{
    module::{Module, Param, ParamGroup},
    optim::{AdamWConfig, ModuleOptimizer},
    prelude::*,
};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    adaptation::{self, Adaptation, Trains},
    answer::AnswerModel,
    personal::PersonalTensors,
    vilm::Vilm,
    vision::VisionTower,
};
use pvchat_nn::language::RoutedHeadsConfig;

use super::LearnConfig;
use crate::Result;

/// Everything that is trained, with the frozen rest of the parts that it belongs to. The fields of the base have the
/// names that they have there.
#[derive(Module, Debug)]
pub(super) struct LearnParameters {
    pub(super) personal: PersonalParameters,
    /// The answer model, when some of it is trained.
    pub(super) answer: Option<AnswerModel>,
    /// The vision encoder, when some of it is trained.
    pub(super) vision_encoder: Option<VisionTower>,
}

/// Tokens and rows of the people who are learned, one after another in the second dimension.
#[derive(Module, Debug)]
pub(super) struct PersonalParameters {
    /// None on bases without queries.
    tokens: Option<Param<Tensor<4>>>,
    /// None on bases that know no identities.
    identity: Option<Param<Tensor<3>>>,
    /// One row or several of each person.
    pub(super) word_row: Param<Tensor<3>>,
    head_row: Param<Tensor<3>>,
}

impl LearnParameters {
    /// Tokens and rows from `start`, and what else `config` trains from the base; adapters are drawn from `stream`.
    pub(super) fn new(
        vilm: &Vilm,
        start: &PersonalTensors,
        config: &LearnConfig,
        stream: &SeededStream,
        device: &Device,
    ) -> Result<Self> {
        let personal = PersonalParameters::new(start, device);
        let Some(group) = config.trains.group(&vilm.config().vision)? else {
            return Ok(Self { personal, answer: None, vision_encoder: None });
        };
        let mut answer = vilm.parameters().answer.clone();
        answer.lm.attach(&stream.derive("lora"), config.adaptation.lora)?;
        let language = &vilm.config().answer.language;
        let has_queries = vilm.config().answer.qformer().is_some();
        if !has_queries {
            // As in the follow-up, which does not adapt the head.
            answer.lm.lm_head.detach();
        }
        let default = || RoutedHeadsConfig::for_decoder(language.layers, language.heads).filter(|_| !has_queries);
        if let Some(routed) = config.adaptation.routed.clone().or_else(default) {
            answer.lm.attach_routers(&routed)?;
        }
        let vision_encoder = config.trains.trains_vision().then(|| vilm.parameters().vision_encoder.clone().train());
        let base = Self { personal, answer: Some(answer.train()), vision_encoder }.no_grad();
        Ok(adaptation::in_f32(base, &group).set_require_grad_group(group.fuse(&personal_group()), true))
    }

    /// The names that checkpoints need: everything that is trained.
    pub(super) fn trained(vilm: &Vilm, config: &LearnConfig) -> Result<ParamGroup> {
        let own = personal_group();
        Ok(match config.trains.group(&vilm.config().vision)? {
            Some(group) => group.fuse(&own),
            None => own,
        })
    }

    /// Layers of the decoder whose heads are routed.
    pub(super) fn routed_layers(&self) -> usize {
        let routed = self.answer.as_ref().and_then(|answer| RoutedHeadsConfig::of(&answer.lm));
        routed.map_or(0, |routed| routed.layers.len())
    }

    /// What was trained of the base; `None` when nothing was.
    pub(super) fn adaptation(&self, vilm: &Vilm, config: &LearnConfig) -> Result<Option<Adaptation>> {
        let Some(answer) = &self.answer else { return Ok(None) };
        let vision = self.vision_encoder.as_ref();
        let lora = config.adaptation.lora;
        Ok(Some(Adaptation::collect(config.trains, lora, answer, vision, &vilm.config().vision)?))
    }
}

/// Learning rates of the parameter groups; the last group that matches a parameter wins.
pub(super) fn rates(vilm: &Vilm, config: &LearnConfig) -> Result<Vec<(ParamGroup, f64)>> {
    let mut rates = vec![(ParamGroup::from_path("personal.identity"), config.identity_rate)];
    let its = &config.adaptation;
    match config.trains {
        Trains::Composable => return Ok(rates),
        Trains::Personal => {}
        Trains::PersonalAndBridge => rates.push((adaptation::bridge()?, its.bridge_rate)),
        Trains::PersonalBridgeAndVision => rates
            .extend([(adaptation::bridge()?, its.bridge_rate), (adaptation::vision(&vilm.config().vision)?, its.vision_rate)]),
    }
    rates.extend([(adaptation::adapters()?, its.lora_rate), (adaptation::routers()?, its.router_rate)]);
    Ok(rates)
}

/// AdamW, with weight decay for the trained parts of the base that are no routers.
pub(super) fn optimizer(vilm: &Vilm, config: &LearnConfig) -> Result<ModuleOptimizer> {
    let adamw = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.0);
    let optimizer = adamw.clone().init();
    if config.trains.is_composable() {
        return Ok(optimizer);
    }
    let decayed = adaptation::adapters()?.fuse(&adaptation::bridge()?).fuse(&adaptation::vision(&vilm.config().vision)?);
    let decay = adamw.clone().with_weight_decay(config.adaptation.weight_decay as f32);
    Ok(optimizer.with_group(decayed, decay.build(), None).with_group(adaptation::routers()?, adamw.build(), None))
}

fn personal_group() -> ParamGroup {
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
    pub(super) fn tensors(&self, asked: &[usize], people: usize, batch: usize) -> PersonalTensors {
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
