//! The run of phase A: its batches, its optimiser and how well the encoder sees.

use burn::{
    module::{Module, ParamGroup},
    optim::{AdamWConfig, ModuleOptimizer, MuonConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
    prelude::*,
};
use pvchat_data::random::SeededStream;
use pvchat_model::families::miniature::MiniatureEncoderConfig;
use pvchat_train::run::Task;

use super::encoder::{EncoderBatch, EncoderLosses, EncoderPretraining, Supervision, draw_scenes, facts};
use crate::world::{Identity, Scene, SceneOptions};

/// Renders fresh clips for every step, so that no clip is ever seen twice.
pub struct EncoderTask {
    /// Sizes of the encoder; see [`Supervision::of`].
    pub config: MiniatureEncoderConfig,
    /// Groups of four clips per step and thread.
    pub groups: usize,
    /// Threads.
    pub shards: usize,
    /// Where the scenes are drawn from.
    pub stream: SeededStream,
    /// Where the tensors live.
    pub device: Device,
}

impl Task<EncoderPretraining> for EncoderTask {
    type Shard = Vec<Scene>;
    type Report = EncoderLosses;

    fn shards(&self, step: usize) -> Vec<Vec<Scene>> {
        let mut stream = self.stream.derive(format_args!("step {step}"));
        (0..self.shards).map(|_| draw_scenes(self.groups, Supervision::of(&self.config), &mut stream)).collect()
    }

    fn loss(&self, model: &EncoderPretraining, scenes: Vec<Scene>) -> (Tensor<1>, EncoderLosses) {
        model.loss(EncoderBatch::render(&scenes, &self.config, &self.device), self.shards)
    }
}

/// The matrices inside the attention blocks, which Muon trains.
pub fn muon_group() -> Option<ParamGroup> {
    ParamGroup::from_any_regexes(vec![r"encoder\.(blocks\.\d+|readout)\.(query_key_value|key_value|output|up|down)\.weight$"])
        .ok()
}

/// Learning rate of the parameters that AdamW trains.
pub const ADAMW_RATE: f64 = 1.5e-3;
/// Learning rate of the matrices that Muon trains.
pub const MUON_RATE: f64 = 0.02;

/// Muon for the matrices of the blocks, AdamW for the rest.
pub fn optimizer() -> ModuleOptimizer {
    let adamw = AdamWConfig::new().with_beta_1(0.9).with_beta_2(0.98).with_epsilon(1e-8).with_weight_decay(0.03).init();
    let momentum = MomentumConfig { momentum: 0.95, dampening: 0.0, nesterov: true };
    let muon = MuonConfig::new().with_momentum(momentum).with_weight_decay(Some(WeightDecayConfig { penalty: 0.01 }));
    match muon_group() {
        Some(group) => adamw.with_group(group, muon.build(), None),
        None => adamw,
    }
}

/// What the heads read on clips that were never trained on, as shares of right answers.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct EncoderReport {
    /// Each of the eleven attributes, in the order of [`Identity::attributes`].
    pub attributes: Vec<f32>,
    /// Garment, colour, pattern, action.
    pub facts: Vec<f32>,
    /// The place.
    pub place: f32,
    /// Area under the curve: same identity against look-alikes with one and with two differences.
    pub look_alike: [f32; 2],
    /// The same against random people.
    pub random: f32,
}

/// Share of pairs (a from `high`, b from `low`) with a > b.
fn area_under_curve(high: &[f32], low: &[f32]) -> f32 {
    let wins: f32 = high
        .iter()
        .map(|a| {
            low.iter()
                .map(|b| {
                    if a > b {
                        1.0
                    } else if a == b {
                        0.5
                    } else {
                        0.0
                    }
                })
                .sum::<f32>()
        })
        .sum();
    wins / (high.len() * low.len()).max(1) as f32
}

/// Measures an encoder on `groups` groups of four clips (a person twice, a look-alike with one and
/// one with two differences); a quarter of the clips hold a second person.
pub fn evaluate(
    model: &EncoderPretraining,
    config: &MiniatureEncoderConfig,
    groups: usize,
    seed: u64,
    device: &Device,
) -> EncoderReport {
    let model = model.valid();
    let device = device.clone().inner();
    let mut stream = SeededStream::new(seed).derive("encoder validation");
    let mut scenes = Vec::new();
    for _ in 0..groups {
        let person = Identity::reserved(|| Identity::random(&mut stream));
        for identity in [person, person, person.look_alike(1, &mut stream), person.look_alike(2, &mut stream)] {
            let mut people = vec![identity];
            if stream.chance(0.25) {
                people.push(Identity::random(&mut stream));
            }
            scenes.push((identity, Scene::random(&people, SceneOptions::default(), &mut stream)));
        }
    }
    let mut right = (vec![0.0; 11], vec![0.0; 4], 0.0);
    let mut counts = (vec![0.0_f32; 11], 0.0_f32);
    let mut embeddings = Vec::new();
    for chunk in scenes.chunks(32) {
        let batch: Vec<Scene> = chunk.iter().map(|pair| pair.1.clone()).collect();
        let read = model.read(&EncoderBatch::render(&batch, config, &device));
        for (row, person) in read.people.iter().enumerate() {
            let (visible, truth) = (person.identity.visible(), person.identity.attributes());
            for index in 0..11 {
                counts.0[index] += f32::from(visible[index]);
                right.0[index] += f32::from(visible[index] && read.attributes[row][index] == truth[index]);
            }
            for (index, value) in facts(person).into_iter().enumerate() {
                right.1[index] += f32::from(read.facts[row][index] == value);
            }
            counts.1 += 1.0;
        }
        for (clip, (identity, scene)) in chunk.iter().enumerate() {
            right.2 += f32::from(read.places[clip] == scene.place.index());
            embeddings.push(read.embeddings[clip][scene.position_of(identity).unwrap_or(0)].clone());
        }
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let groups: Vec<&[Vec<f32>]> = embeddings.chunks(4).collect();
    let same: Vec<f32> = groups.iter().map(|group| dot(&group[0], &group[1])).collect();
    let look = |index: usize| groups.iter().map(|group| dot(&group[0], &group[index])).collect::<Vec<f32>>();
    let others: Vec<f32> = groups.iter().zip(groups.iter().cycle().skip(1)).map(|(a, b)| dot(&a[0], &b[0])).collect();
    EncoderReport {
        attributes: right.0.iter().zip(&counts.0).map(|(right, count)| right / count.max(1.0)).collect(),
        facts: right.1.iter().map(|right| right / counts.1.max(1.0)).collect(),
        place: right.2 / scenes.len().max(1) as f32,
        look_alike: [area_under_curve(&same, &look(2)), area_under_curve(&same, &look(3))],
        random: area_under_curve(&same, &others),
    }
}

impl std::fmt::Display for EncoderReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |values: &[f32]| values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(" ");
        write!(
            formatter,
            "attributes {} | facts {} | place {:.2} | look-alike AUC {} random {:.3}",
            list(&self.attributes),
            list(&self.facts),
            self.place,
            list(&self.look_alike),
            self.random
        )
    }
}
