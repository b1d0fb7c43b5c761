//! Phase A: the vision encoder learns who, what and where from rendered clips, without any text.

use burn::{
    module::Module,
    nn::Linear,
    prelude::*,
    tensor::activation::{log_sigmoid, log_softmax},
};
use pvchat_data::random::SeededStream;
use pvchat_model::families::miniature::{MiniatureEncoder, MiniatureEncoderConfig, stack_clips};
use pvchat_nn::init;

use crate::world::{
    ATTRIBUTE_SIZES, Action, ClothColour, Garment, Identity, Pattern, Person, PersonTruth, Place, Scene, SceneOptions, Truth,
};

pub use crate::supervision::Supervision;

/// Sizes of the classes that tell what a person wears and does.
pub(super) const FACT_SIZES: [usize; 4] = [Garment::ALL.len(), ClothColour::ALL.len(), Pattern::ALL.len(), Action::ALL.len()];
const FACTS: usize = FACT_SIZES[0] + FACT_SIZES[1] + FACT_SIZES[2] + FACT_SIZES[3];

fn identity_classes() -> usize {
    ATTRIBUTE_SIZES.iter().sum()
}

/// The encoder with the heads that only its training needs.
#[derive(Module, Debug)]
pub struct EncoderPretraining {
    /// The encoder that is kept.
    pub encoder: MiniatureEncoder,
    identity_head: Linear,
    facts_head: Linear,
    scene_head: Linear,
    dense_identity_head: Linear,
    dense_facts_head: Linear,
}

impl EncoderPretraining {
    /// A new encoder and new heads.
    pub fn init(config: &MiniatureEncoderConfig, stream: &mut SeededStream, device: &Device) -> Self {
        let encoder = config.init(stream, device);
        let mut head = |outputs: usize| init::linear(stream, config.width, outputs, true, 0.02, device);
        Self {
            encoder,
            identity_head: head(identity_classes()),
            facts_head: head(FACTS),
            scene_head: head(Place::ALL.len() + 1),
            dense_identity_head: head(identity_classes()),
            dense_facts_head: head(FACTS),
        }
    }
}

/// A batch of rendered clips with everything that the losses need.
pub struct EncoderBatch {
    pixels: Tensor<5>,
    /// Row of `[batch * 2]` (clip, left or right) of every person.
    people_rows: Tensor<1, Int>,
    /// One-hot attribute targets `[people, classes]`, zero where the attribute cannot be seen.
    identity_targets: Tensor<2>,
    facts_targets: Tensor<2>,
    scene_targets: Tensor<2>,
    second_person: Tensor<1>,
    /// `[people, people]`: 1 where two rows show the same identity (not the same row).
    same_identity: Tensor<2>,
    same_pairs: f32,
    head_tokens: Tensor<1, Int>,
    head_targets: Tensor<2>,
    torso_tokens: Tensor<1, Int>,
    torso_targets: Tensor<2>,
    people: Vec<Person>,
    clips: usize,
}

/// Groups of four clips: a person twice, then a look-alike of 1 to 3 differences twice; without identities four people.
pub fn draw_scenes(groups: usize, supervision: Supervision, stream: &mut SeededStream) -> Vec<Scene> {
    let mut scenes = Vec::with_capacity(4 * groups);
    for _ in 0..groups {
        let person = Identity::unreserved(|| Identity::random(stream));
        let people = match supervision {
            Supervision::People => {
                let differences = 1 + stream.below(3);
                let other = Identity::unreserved(|| person.look_alike(differences, stream));
                [person, person, other, other]
            }
            Supervision::Descriptions => [0; 4].map(|_| Identity::unreserved(|| Identity::random(stream))),
        };
        for identity in people {
            let mut people = vec![identity];
            if stream.chance(0.25) {
                people.push(Identity::unreserved(|| Identity::random(stream)));
            }
            scenes.push(Scene::random(&people, SceneOptions::default(), stream));
        }
    }
    scenes
}

fn one_hot(target: &mut [f32], sizes: &[usize], values: &[usize], visible: impl Fn(usize) -> bool) {
    let mut offset = 0;
    for (index, (&size, &value)) in sizes.iter().zip(values).enumerate() {
        if visible(index) {
            target[offset + value] = 1.0;
        }
        offset += size;
    }
}

pub(super) fn facts(person: &Person) -> [usize; 4] {
    [person.clothing.garment.index(), person.clothing.colour.index(), person.clothing.pattern.index(), person.action.index()]
}

/// The patch tokens around a point given in units of 1/64 of the frame's side: the cells that hold
/// the four corners of a square of 6 units around it.
fn cells(point: (f32, f32), grid: usize) -> [usize; 4] {
    let cell = |value: f32| ((value / 64.0 * grid as f32).floor().max(0.0) as usize).min(grid - 1);
    [(-3.0, -3.0), (3.0, -3.0), (-3.0, 3.0), (3.0, 3.0)].map(|(dx, dy)| cell(point.1 + dy) * grid + cell(point.0 + dx))
}

impl EncoderBatch {
    /// Renders scenes and prepares their targets.
    pub fn render(scenes: &[Scene], config: &MiniatureEncoderConfig, device: &Device) -> Self {
        let supervision = Supervision::of(config);
        let rendered: Vec<_> = scenes.iter().map(|scene| scene.render(config.frame_side as u32)).collect();
        let clips: Vec<_> = rendered.iter().map(|one| one.frames.as_slice()).collect();
        let pixels = stack_clips(&clips, device);
        let truths: Vec<&Truth> = rendered.iter().map(|one| &one.truth).collect();
        let grid = config.frame_side / 8;
        let tubelets = config.frames / config.tubelet;
        let (mut rows, mut people) = (Vec::new(), Vec::new());
        let (mut head_tokens, mut torso_tokens) = (Vec::new(), Vec::new());
        for (clip, (scene, truth)) in scenes.iter().zip(truths).enumerate() {
            for (place, person) in scene.people.iter().enumerate() {
                rows.push((clip * 2 + place) as i32);
                people.push(*person);
                for tubelet in 0..tubelets {
                    let frames = tubelet * config.tubelet..(tubelet + 1) * config.tubelet;
                    let mean = |point: fn(&PersonTruth) -> [f32; 2]| {
                        let points = truth.people[place][frames.clone()].iter().map(point);
                        points.fold((0.0, 0.0), |sum, at| {
                            (sum.0 + at[0] / frames.len() as f32, sum.1 + at[1] / frames.len() as f32)
                        })
                    };
                    let base = clip * tubelets * grid * grid + tubelet * grid * grid;
                    head_tokens.extend(cells(mean(|at| at.head), grid).map(|cell| (base + cell) as i32));
                    torso_tokens.extend(cells(mean(|at| at.torso), grid).map(|cell| (base + cell) as i32));
                }
            }
        }
        let count = people.len();
        let per_person = 4 * tubelets;
        let classes = identity_classes();
        let mut identity = vec![0.0; count * classes];
        let mut clothing = vec![0.0; count * FACTS];
        let mut same = vec![0.0; count * count];
        for (row, person) in people.iter().enumerate() {
            let visible = person.identity.visible();
            one_hot(&mut identity[row * classes..][..classes], &ATTRIBUTE_SIZES, &person.identity.attributes(), |index| {
                visible[index] && supervision.tells(index)
            });
            one_hot(&mut clothing[row * FACTS..][..FACTS], &FACT_SIZES, &facts(person), |_| true);
            for (column, other) in people.iter().enumerate() {
                same[row * count + column] = f32::from(row != column && person.identity == other.identity);
            }
        }
        let mut places = vec![0.0; scenes.len() * Place::ALL.len()];
        for (clip, scene) in scenes.iter().enumerate() {
            places[clip * Place::ALL.len() + scene.place.index()] = 1.0;
        }
        let second: Vec<f32> = scenes.iter().map(|scene| f32::from(scene.people.len() > 1)).collect();
        let same_pairs = same.iter().sum();
        let float = |values: Vec<f32>, width: usize| {
            let height = values.len() / width;
            Tensor::<2>::from_data(TensorData::new(values, [height, width]), device)
        };
        let int = |values: Vec<i32>| {
            let length = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [length]), device)
        };
        let identity_targets = float(identity, classes);
        let facts_targets = float(clothing, FACTS);
        Self {
            pixels,
            people_rows: int(rows),
            head_targets: repeat_rows(&identity_targets, per_person),
            torso_targets: repeat_rows(&facts_targets, per_person),
            identity_targets,
            facts_targets,
            scene_targets: float(places, Place::ALL.len()),
            second_person: Tensor::from_floats(second.as_slice(), device),
            same_identity: float(same, count),
            same_pairs,
            head_tokens: int(head_tokens),
            torso_tokens: int(torso_tokens),
            clips: scenes.len(),
            people,
        }
    }
}

impl EncoderBatch {
    /// Of the read-outs `[clips, 5, width]` the left and the right one from `start`, for every person
    /// of the batch: `[people, width]`.
    fn of_people(&self, readouts: &Tensor<3>, start: i32) -> Tensor<2> {
        let [clips, _, width] = readouts.dims();
        let pair = readouts.clone().slice(s![.., start..start + 2]).reshape([clips * 2, width]);
        pair.select(0, self.people_rows.clone())
    }
}

fn repeat_rows(rows: &Tensor<2>, times: usize) -> Tensor<2> {
    let [count, width] = rows.dims();
    rows.clone().unsqueeze_dim::<3>(1).repeat_dim(1, times).reshape([count * times, width])
}

/// Mean over rows of the summed cross-entropies of neighbouring groups of classes; rows of targets
/// that are all zero in a group do not count there.
fn grouped_cross_entropy(logits: Tensor<2>, targets: Tensor<2>, sizes: &[usize]) -> Tensor<1> {
    let rows = logits.dims()[0] as f32;
    let mut offset = 0;
    let parts = sizes
        .iter()
        .map(|&size| {
            let part = log_softmax(logits.clone().narrow(1, offset, size), 1);
            offset += size;
            part
        })
        .collect();
    (Tensor::cat(parts, 1) * targets).sum() / -rows
}

/// Supervised contrastive loss: a person is nearer to its other clip than to anyone else.
fn contrastive(embeddings: Tensor<2>, batch: &EncoderBatch, temperature: f32) -> Tensor<1> {
    let count = embeddings.dims()[0];
    let device = embeddings.device();
    let itself = Tensor::<2>::eye(count, &device) * 1e4;
    let similarity = embeddings.clone().matmul(embeddings.transpose()) / temperature - itself;
    (log_softmax(similarity, 1) * batch.same_identity.clone()).sum() / -batch.same_pairs.max(1.0)
}

/// The parts of the loss, for the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct EncoderLosses {
    /// Cross-entropy of the eleven attributes, summed.
    pub identity: f32,
    /// Cross-entropy of clothing and action, summed.
    pub facts: f32,
    /// Cross-entropy of the place and of whether there is a second person.
    pub scene: f32,
    /// Supervised contrastive loss of the identity embedding.
    pub contrastive: f32,
    /// Dense supervision of the tokens around heads and torsos.
    pub dense: f32,
}

impl EncoderPretraining {
    /// The loss of a batch, divided by `shards`, and its parts.
    pub fn loss(&self, batch: EncoderBatch, shards: usize) -> (Tensor<1>, EncoderLosses) {
        let features = self.encoder.features(batch.pixels.clone());
        let width = features.tokens.dims()[2];
        let clips = batch.clips;
        let pair = |start: i32| batch.of_people(&features.readouts, start);
        let identity =
            grouped_cross_entropy(self.identity_head.forward(pair(0)), batch.identity_targets.clone(), &ATTRIBUTE_SIZES);
        let facts = grouped_cross_entropy(self.facts_head.forward(pair(2)), batch.facts_targets.clone(), &FACT_SIZES);
        let scene_logits = self.scene_head.forward(features.readouts.clone().slice(s![.., 4..5]).reshape([clips, width]));
        let places = Place::ALL.len();
        let place = grouped_cross_entropy(scene_logits.clone().narrow(1, 0, places), batch.scene_targets.clone(), &[places]);
        let sign = batch.second_person.clone() * 2.0 - 1.0;
        let second = -log_sigmoid(scene_logits.narrow(1, places, 1).reshape([clips]) * sign).mean();
        let scene = place + second;
        let embeddings = self.encoder.identity(features.readouts.clone());
        let contrast = match embeddings.dims()[2] {
            0 => embeddings.sum(),
            identity_width => {
                let embeddings = embeddings.reshape([clips * 2, identity_width]).select(0, batch.people_rows.clone());
                contrastive(embeddings, &batch, 0.1)
            }
        };
        let tokens = features.tokens.clone();
        let flat = tokens.clone().reshape([clips * tokens.dims()[1], width]);
        let dense = grouped_cross_entropy(
            self.dense_identity_head.forward(flat.clone().select(0, batch.head_tokens.clone())),
            batch.head_targets.clone(),
            &ATTRIBUTE_SIZES,
        ) * 0.5
            + grouped_cross_entropy(
                self.dense_facts_head.forward(flat.select(0, batch.torso_tokens.clone())),
                batch.torso_targets.clone(),
                &FACT_SIZES,
            );
        let value = |loss: &Tensor<1>| loss.clone().into_scalar::<f32>();
        let parts = EncoderLosses {
            identity: value(&identity),
            facts: value(&facts),
            scene: value(&scene),
            contrastive: value(&contrast),
            dense: value(&dense),
        };
        let total = identity * 0.5 + facts * 0.8 + scene + contrast + dense * 0.5;
        (total / shards as f32, parts)
    }
}

/// What the heads read off a batch: the most likely class of everything, and the embeddings.
pub struct Reading {
    /// The people of the batch, in clip order, left before right.
    pub people: Vec<Person>,
    /// Per person the eleven attributes.
    pub attributes: Vec<Vec<usize>>,
    /// Per person garment, colour, pattern and action.
    pub facts: Vec<Vec<usize>>,
    /// Per clip the place.
    pub places: Vec<usize>,
    /// Per clip the unit-length embeddings of the left and the right person; without an identity embedding their read-outs.
    pub embeddings: Vec<[Vec<f32>; 2]>,
}

fn best_classes(logits: Tensor<2>, sizes: &[usize]) -> Vec<Vec<usize>> {
    let width = logits.dims()[1];
    let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
    values
        .chunks(width)
        .map(|row| {
            let mut offset = 0;
            sizes
                .iter()
                .map(|&size| {
                    let part = &row[offset..offset + size];
                    offset += size;
                    part.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |best| best.0)
                })
                .collect()
        })
        .collect()
}

impl EncoderPretraining {
    /// Reads a batch with the heads.
    pub fn read(&self, batch: &EncoderBatch) -> Reading {
        let features = self.encoder.features(batch.pixels.clone());
        let width = features.tokens.dims()[2];
        let clips = batch.clips;
        let pair = |start: i32| batch.of_people(&features.readouts, start);
        let places = Place::ALL.len();
        let scene = self.scene_head.forward(features.readouts.clone().slice(s![.., 4..5]).reshape([clips, width]));
        let mut embeddings = self.encoder.identity(features.readouts.clone());
        if embeddings.dims()[2] == 0 {
            let looks = features.readouts.clone().slice(s![.., 0..2]);
            embeddings = looks.clone() / looks.square().sum_dim(2).add_scalar(1e-6).sqrt();
        }
        let size = embeddings.dims()[2];
        let flat: Vec<f32> = embeddings.into_data().iter::<f32>().collect();
        Reading {
            people: batch.people.clone(),
            attributes: best_classes(self.identity_head.forward(pair(0)), &ATTRIBUTE_SIZES),
            facts: best_classes(self.facts_head.forward(pair(2)), &FACT_SIZES),
            places: best_classes(scene.narrow(1, 0, places), &[places]).into_iter().map(|row| row[0]).collect(),
            embeddings: flat.chunks(2 * size).map(|row| [row[..size].to_vec(), row[size..].to_vec()]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use pvchat_nn::device::default_device;

    use super::*;
    use crate::words::DESCRIBED_ATTRIBUTES;

    /// Which attributes are labels at all, and whether any two clips are said to show one person.
    fn told(supervision: Supervision) -> (Vec<usize>, bool) {
        let scenes = draw_scenes(8, supervision, &mut SeededStream::new(3));
        let batch = EncoderBatch::render(&scenes, &supervision.encoder(), &default_device().unwrap());
        let sums: Vec<f32> = batch.identity_targets.sum_dim(0).into_data().iter::<f32>().collect();
        let mut offset = 0;
        let has_labels = |size: &usize| {
            offset += size;
            sums[offset - size..offset].iter().sum::<f32>() > 0.0
        };
        let labelled: Vec<bool> = ATTRIBUTE_SIZES.iter().map(has_labels).collect();
        let labels = (0..labelled.len()).filter(|&attribute| labelled[attribute]).collect();
        (labels, batch.same_pairs > 0.0)
    }

    #[test]
    fn a_base_that_describes_is_told_nothing_about_who_anybody_is() {
        assert_eq!(told(Supervision::Descriptions), (DESCRIBED_ATTRIBUTES.to_vec(), false));
        assert_eq!(told(Supervision::People), ((0..ATTRIBUTE_SIZES.len()).collect(), true));
        assert_eq!(Supervision::Descriptions.encoder().identity_width, None);
    }
}
