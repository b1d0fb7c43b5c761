//! The clips that phase B learns from: groups of recurring people, encoded once.

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_model::{
    families::miniature::{MiniatureEncoder, stack_clips},
    sight::{Shown, Sight},
    vision::Encoded,
};
use rayon::prelude::*;

use crate::world::{Identity, Scene, SceneOptions};

/// Clips of a group. Its people are A, a look-alike of A with 1 to 3 differences, and a stranger B.
pub const GROUP: usize = 6;

/// One person of a clip: the group's number and its number in the group (0 A, 1 look-alike, 2 B), or
/// nobody who is seen again.
pub type Known = Option<(usize, usize)>;

/// A drawn clip and who is in it.
#[derive(Clone, Debug)]
pub struct KnownScene {
    /// The scene.
    pub scene: Scene,
    /// Who its people are, from left to right.
    pub people: Vec<Known>,
}

/// Draws a group: A alone, A (a quarter of them with a passer-by), the same of the look-alike, A or
/// the look-alike together with B, B alone.
pub fn draw_group(number: usize, stream: &SeededStream) -> Vec<KnownScene> {
    let mut stream = stream.derive(format_args!("group {number}"));
    let person = Identity::unreserved(|| Identity::random(&mut stream));
    let differences = 1 + stream.below(3);
    let members = [
        person,
        Identity::unreserved(|| person.look_alike(differences, &mut stream)),
        Identity::unreserved(|| Identity::random(&mut stream)),
    ];
    let casts: [&[usize]; GROUP] = [&[0], &[0], &[1], &[1], &[usize::from(stream.chance(0.5)), 2], &[2]];
    casts
        .iter()
        .enumerate()
        .map(|(place, cast)| {
            let mut people: Vec<Identity> = cast.iter().map(|&member| members[member]).collect();
            if matches!(place, 1 | 3) && stream.chance(0.25) {
                people.push(Identity::unreserved(|| Identity::random(&mut stream)));
            }
            let scene = Scene::random(&people, SceneOptions::default(), &mut stream);
            let known =
                |identity: &Identity| cast.iter().find(|&&member| members[member] == *identity).map(|&member| (number, member));
            let people = scene.people.iter().map(|person| known(&person.identity)).collect();
            KnownScene { scene, people }
        })
        .collect()
}

/// Clips with the frozen encoder's output for them.
pub struct EncodedClips {
    /// The clips.
    pub clips: Vec<KnownScene>,
    /// `[clip][memory tokens * width]`.
    tokens: Vec<Vec<f32>>,
    /// `[clip][people * identity width]`.
    identity: Vec<Vec<f32>>,
    memory_tokens: usize,
    width: usize,
    identity_width: usize,
}

impl EncodedClips {
    /// Renders and encodes `groups` groups, `workers` at a time, telling `progress` how many clips are done.
    pub fn make(
        encoder: &MiniatureEncoder,
        side: u32,
        groups: std::ops::Range<usize>,
        stream: &SeededStream,
        device: &Device,
        progress: impl Fn(usize) + Sync,
    ) -> Self {
        const GROUPS_AT_ONCE: usize = 4;
        let starts: Vec<usize> = groups.clone().step_by(GROUPS_AT_ONCE).collect();
        let parts: Vec<_> = starts
            .into_par_iter()
            .map(|start| {
                let scenes: Vec<KnownScene> =
                    (start..(start + GROUPS_AT_ONCE).min(groups.end)).flat_map(|number| draw_group(number, stream)).collect();
                let rendered: Vec<_> = scenes.iter().map(|known| known.scene.render(side).frames).collect();
                let frames: Vec<_> = rendered.iter().map(Vec::as_slice).collect();
                let memory = encoder.look(stack_clips(&frames, device));
                progress(scenes.len());
                (scenes, memory)
            })
            .collect();
        let mut made =
            Self { clips: Vec::new(), tokens: Vec::new(), identity: Vec::new(), memory_tokens: 0, width: 0, identity_width: 0 };
        for (scenes, memory) in parts {
            made.push(scenes, memory);
        }
        made
    }

    fn push(&mut self, scenes: Vec<KnownScene>, memory: Encoded) {
        let [_, count, width] = memory.tokens.dims();
        let [_, people, identity_width] = memory.identity.dims();
        (self.memory_tokens, self.width, self.identity_width) = (count, width, identity_width);
        let rows = |tensor: Tensor<3>, size: usize| {
            let values: Vec<f32> = tensor.into_data().iter::<f32>().collect();
            (0..scenes.len()).map(|clip| values[clip * size..(clip + 1) * size].to_vec()).collect::<Vec<_>>()
        };
        self.tokens.extend(rows(memory.tokens, count * width));
        self.identity.extend(rows(memory.identity, people * identity_width));
        self.clips.extend(scenes);
    }

    /// A number that another encoder, or other clips, would hardly give.
    pub fn fingerprint(&self) -> u64 {
        let values = self.tokens.iter().chain(&self.identity).flatten();
        values.fold(0, |sum: u64, value| sum.rotate_left(5).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(value.to_bits()))
    }

    /// The memory of some clips as a batch.
    pub fn memory(&self, clips: &[usize], device: &Device) -> Sight {
        let gather = |rows: &[Vec<f32>], shape: [usize; 3]| {
            let values: Vec<f32> = clips.iter().flat_map(|&clip| rows[clip].iter().copied()).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        // None for an encoder that distinguishes nobody.
        let people = self.identity.first().map_or(0, Vec::len) / self.identity_width.max(1);
        Sight {
            tokens: gather(&self.tokens, [clips.len(), self.memory_tokens, self.width]),
            identity: gather(&self.identity, [clips.len(), people, self.identity_width]),
            shown: vec![Shown::Tiles(1)],
        }
    }

    /// What enrolment sees of the person at `position` of each clip: read-outs `[1, clips, width]`
    /// and identity embeddings `[1, clips, identity_width]`, to be reshaped to batch and subjects.
    pub fn looks(&self, people: &[(usize, usize)], shape: [usize; 2], device: &Device) -> [Tensor<3>; 2] {
        let first = self.memory_tokens - pvchat_model::sight::Readout::COUNT;
        let readouts: Vec<f32> = people
            .iter()
            .flat_map(|&(clip, position)| self.tokens[clip][(first + position) * self.width..][..self.width].iter().copied())
            .collect();
        let identity: Vec<f32> = people
            .iter()
            .flat_map(|&(clip, position)| {
                self.identity[clip][position * self.identity_width..][..self.identity_width].iter().copied()
            })
            .collect();
        [
            Tensor::from_data(TensorData::new(readouts, [shape[0], shape[1], self.width]), device),
            Tensor::from_data(TensorData::new(identity, [shape[0], shape[1], self.identity_width]), device),
        ]
    }
}
