//! The states of a base compared with those that another program wrote: where does a pass begin to deviate?
//!
//! The other program writes a safetensors file with inputs and states of one or more cases. A case needs
//!
//! - `inputs.CASE.input_ids` `[batch, tokens]`, -1 in place of a visual token, or the token that the base has for it;
//! - `inputs.CASE.attention_mask` `[batch, tokens]`, 0 where a token is padding (all are read without it);
//! - `inputs.CASE.pixel_values` `[images, frames, 3, size, size]`, normalised; an image is a clip, or a tile of it where the base
//!   cuts frames into tiles. For an encoder that processes every frame separately, frames that are zero everywhere are padding.
//!   Without it the case is text alone;
//! - `inputs.CASE.pixel_attention_mask` `[images, frames, size, size]`, 0 where a pixel is padding (all are read without it);
//!
//! and any of the states `outputs.CASE.STATE`. The parts of the base define them: `vision.embeddings`, `vision.layer0`, ..,
//! `vision.last_hidden_state` of the [encoder](VisionEncoder::states), `vision_layernorm` where there is one; `pixel_shuffle` and
//! `connector`, or `qformer.layer0`, .., `qformer.last_hidden_state` and `project_up` of the
//! [bridge](crate::bridge::Bridge::states); `merged`, `text.layer0`, .., `text.normalized` `[batch, tokens, hidden]` and `logits`
//! `[batch, tokens, vocabulary]` of the language model. In those with one row per token of the prompt, rows of padding are not
//! compared.

use std::path::{Path, PathBuf};

use burn::{prelude::*, store::bridge};
use pvchat_data::random::SeededStream;
use pvchat_nn::{packed::Precision, trace::Trace, weights::TensorSource};

use crate::{
    Error, Result,
    bridge::connector::place_visual_tokens,
    checkpoint::Checkpoint,
    families::VilmConfig,
    parameters::VilmParameters,
    vilm::room::{Kept, check_memory},
    vision::VisionEncoder,
};

/// Stands for a visual token in the ids of a prompt.
const VISUAL: u32 = u32::MAX;

/// The relative deviation above which a state is no longer the same computation in another order, or with weights packed like that.
pub fn tolerance(precision: Option<Precision>) -> f64 {
    match precision {
        None | Some(Precision::F32) => 1e-3,
        Some(Precision::Bf16) => 3e-2,
        Some(Precision::Int8) => 1e-1,
        Some(Precision::Int4) => 5e-1,
    }
}

/// How far a state is from the other program's.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// The case of the file.
    pub case: String,
    /// The state.
    pub state: String,
    /// The largest difference between two values; infinite where one is no number.
    pub largest: f64,
    /// The same, as a share of the largest value of the other program's state.
    pub relative: f64,
}

/// Compares the states of a base with those in `dump`: case by case, in each in the order of computation. Weights are read as
/// f32, or [packed](crate::vilm::Vilm::open_packed) in `precision`, as they are asked.
///
/// # Errors
/// As [`Vilm::open`](crate::vilm::Vilm::open) for the base, whose tokenizer is not needed. [`Error::File`] for a file without a
/// state of this base, or whose tensors do not fit it or each other.
pub fn compare(base: &Path, dump: &Path, precision: Option<Precision>, device: &Device) -> Result<Vec<Deviation>> {
    let dump = Dump { file: dump.to_path_buf(), source: TensorSource::open(dump)? };
    let config = VilmConfig::open(base)?;
    check_memory(&config, precision.map_or(Kept::Tensors(32), Kept::Packed), base, device)?;
    let mut parameters = config.init(&SeededStream::new(0), device)?;
    let checkpoint = Checkpoint::open(base)?;
    let checkpoint = precision.into_iter().fold(checkpoint, Checkpoint::packed);
    checkpoint.load_model(&mut parameters, config.family()?.names)?;
    let base = Watched { config: &config, parameters: &parameters };
    let mut deviations = Vec::new();
    for case in dump.cases(&parameters.states()) {
        deviations.extend(base.case(&dump, &case, device)?);
    }
    match deviations.is_empty() {
        true => Err(dump.wrong("holds no state that this base computes".into())),
        false => Ok(deviations),
    }
}

/// The first state that is further away than `tolerance`.
pub fn first_deviating(deviations: &[Deviation], tolerance: f64) -> Option<&Deviation> {
    deviations.iter().find(|deviation| deviation.relative > tolerance)
}

/// The model whose states are shown.
struct Watched<'a> {
    config: &'a VilmConfig,
    parameters: &'a VilmParameters,
}

impl Watched<'_> {
    fn case(&self, dump: &Dump, case: &str, device: &Device) -> Result<Vec<Deviation>> {
        let language = &self.parameters.answer.lm;
        let mut found = Vec::new();
        let mut watch = |name: &str, state: &Tensor<3>| found.push(dump.deviation(case, name, state, None));
        let visual = self.visual(dump, case, &mut Trace::new(&mut watch), device)?;
        let prompt = Prompt::read(dump, case, language.config.vocabulary, self.config.vision.visual_token())?;
        let embeddings = language.embed(prompt.index(device));
        let merged = place_visual_tokens(embeddings, &prompt.ids, VISUAL, visual)?;
        let attended = Some(prompt.attended.as_slice());
        let mut watch = |name: &str, state: &Tensor<3>| found.push(dump.deviation(case, name, state, attended));
        watch("merged", &merged);
        let hidden = {
            let mut trace = Trace::new(&mut watch);
            language.forward_traced(merged, prompt.positions(device), Some(prompt.hidden(device)), None, &mut trace)
        };
        watch("logits", &language.logits(hidden, None));
        found.into_iter().filter_map(Result::transpose).collect()
    }

    /// The visual tokens of a case, in the order of its images; none for a case without them.
    fn visual(&self, dump: &Dump, case: &str, trace: &mut Trace<'_>, device: &Device) -> Result<Tensor<3>> {
        let VilmParameters { vision_encoder, answer, .. } = self.parameters;
        let Some(pixels) = dump.tensor::<5>(&format!("inputs.{case}.pixel_values"), device)? else {
            return Ok(Tensor::zeros([0, 0, answer.lm.config.hidden], device));
        };
        let [images, frames, _, height, width] = pixels.dims();
        let tiles = self.config.preprocess.tiles();
        if !images.is_multiple_of(tiles) {
            return Err(dump.wrong(format!("`inputs.{case}.pixel_values` has {images} images where a clip has {tiles} tiles")));
        }
        let name = format!("inputs.{case}.pixel_attention_mask");
        let mask = dump.tensor::<4>(&name, device)?;
        let expected = [images, frames, height, width];
        if let Some(found) = mask.as_ref().map(Tensor::dims).filter(|found| *found != expected) {
            return Err(dump.wrong(format!("`{name}` has shape {found:?} where {expected:?} is needed")));
        }
        let encoded = vision_encoder.encode_watched(pixels, mask, trace)?;
        let sight = self.parameters.sight(self.config, encoded, trace);
        Ok(answer.bridge.visual_traced(&sight, None, trace)?.embeddings)
    }
}

/// The tokens of a case.
struct Prompt {
    /// Row by row; [`VISUAL`] for a visual token.
    ids: Vec<Vec<u32>>,
    /// Whether each is read, row by row.
    attended: Vec<bool>,
}

impl Prompt {
    fn read(dump: &Dump, case: &str, vocabulary: usize, visual: Option<u32>) -> Result<Self> {
        let name = format!("inputs.{case}.input_ids");
        let Some((shape, ids)) = dump.whole_numbers(&name)? else {
            return Err(dump.wrong(format!("has states of the case {case} and lacks `{name}`")));
        };
        let &[batch, tokens] = shape.as_slice() else {
            return Err(dump.wrong(format!("`{name}` has shape {shape:?} where [batch, tokens] is needed")));
        };
        if let Some(id) = ids.iter().find(|id| !(-1..vocabulary as i64).contains(id)) {
            return Err(dump.wrong(format!("`{name}` holds {id}, the vocabulary of the base has {vocabulary} tokens")));
        }
        if batch == 0 || tokens == 0 {
            return Err(dump.wrong(format!("`{name}` is empty")));
        }
        let name = format!("inputs.{case}.attention_mask");
        let attended = match dump.whole_numbers(&name)? {
            None => vec![true; ids.len()],
            Some((found, mask)) if found == shape => mask.into_iter().map(|mask| mask != 0).collect(),
            Some((found, _)) => return Err(dump.wrong(format!("`{name}` has shape {found:?} where {shape:?} is needed"))),
        };
        let id = |&id: &i64| if id < 0 || visual.map(i64::from) == Some(id) { VISUAL } else { id as u32 };
        let ids = ids.chunks(tokens).map(|row| row.iter().map(id).collect()).collect();
        Ok(Self { ids, attended })
    }

    fn size(&self) -> [usize; 2] {
        [self.ids.len(), self.attended.len() / self.ids.len()]
    }

    fn index(&self, device: &Device) -> Tensor<2, Int> {
        // The word of a visual token is not read.
        let ids: Vec<i32> = self.ids.iter().flatten().map(|&id| if id == VISUAL { 0 } else { id as i32 }).collect();
        Tensor::from_data(TensorData::new(ids, self.size()), device)
    }

    /// Rotary positions that count the tokens that are read.
    fn positions(&self, device: &Device) -> Tensor<2, Int> {
        let [_, tokens] = self.size();
        let count = |row: &[bool]| {
            let mut next = 0;
            let place = |&attended: &bool| {
                next += i32::from(attended);
                (next - 1).max(0)
            };
            row.iter().map(place).collect::<Vec<i32>>()
        };
        let positions: Vec<i32> = self.attended.chunks(tokens).flat_map(count).collect();
        Tensor::from_data(TensorData::new(positions, self.size()), device)
    }

    /// Where a token must not look `[batch, tokens, keys]`: at later ones and at padding.
    fn hidden(&self, device: &Device) -> Tensor<3, Bool> {
        let [batch, tokens] = self.size();
        let hides = |row: &[bool]| {
            let keys = |query: usize| row.iter().enumerate().map(move |(key, attended)| key > query || !attended);
            (0..tokens).flat_map(keys).collect::<Vec<bool>>()
        };
        let hidden: Vec<bool> = self.attended.chunks(tokens).flat_map(hides).collect();
        Tensor::from_data(TensorData::new(hidden, [batch, tokens, tokens]), device)
    }
}

/// What another program wrote.
struct Dump {
    file: PathBuf,
    source: TensorSource,
}

impl Dump {
    fn wrong(&self, problem: String) -> Error {
        let remedy = "write it again, in the layout that `pvchat doctor --help` names".into();
        Error::File { file: self.file.clone(), problem, remedy }
    }

    /// The cases that have one of these states.
    fn cases(&self, states: &[String]) -> Vec<String> {
        let case = |name: &str| {
            let (case, state) = name.strip_prefix("outputs.")?.split_once('.')?;
            states.iter().any(|known| known == state).then(|| case.to_string())
        };
        let mut cases: Vec<String> = self.source.names().filter_map(case).collect();
        cases.sort();
        cases.dedup();
        cases
    }

    /// The values of a tensor; `None` where there is none of that name.
    fn data(&self, name: &str) -> Result<Option<TensorData>> {
        let Some(tensor) = self.source.tensors().iter().find(|tensor| tensor.name == name) else { return Ok(None) };
        bridge::to_data(tensor).map(Some).map_err(|error| self.wrong(format!("`{name}` cannot be read ({error})")))
    }

    fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Result<Option<Tensor<D>>> {
        let Some(data) = self.data(name)? else { return Ok(None) };
        let shape = data.shape().to_vec();
        if shape.len() != D || shape.contains(&0) {
            return Err(self.wrong(format!("`{name}` has shape {shape:?} where {D} axes that are not empty are needed")));
        }
        let values: Vec<f32> = data.iter::<f32>().collect();
        Ok(Some(Tensor::from_data(TensorData::new(values, shape), device)))
    }

    /// Shape and values.
    fn whole_numbers(&self, name: &str) -> Result<Option<(Vec<usize>, Vec<i64>)>> {
        Ok(self.data(name)?.map(|data| (data.shape().to_vec(), data.iter::<i64>().collect())))
    }

    /// How far `state` is from the one in the file, in the rows that are `attended` (all without it); `None` where the file does
    /// not have it.
    fn deviation(&self, case: &str, name: &str, state: &Tensor<3>, attended: Option<&[bool]>) -> Result<Option<Deviation>> {
        let full = format!("outputs.{case}.{name}");
        let Some(expected) = self.data(&full)? else { return Ok(None) };
        let (found, width) = (state.dims(), state.dims()[2].max(1));
        if expected.shape().to_vec() != found {
            let problem = format!("`{full}` has shape {:?}, the base computes {found:?}", expected.shape().to_vec());
            return Err(self.wrong(problem));
        }
        let expected: Vec<f32> = expected.iter::<f32>().collect();
        let found: Vec<f32> = state.to_data().iter::<f32>().collect();
        let (mut largest, mut size) = (0.0_f64, 0.0_f64);
        for (row, (found, expected)) in found.chunks(width).zip(expected.chunks(width)).enumerate() {
            if attended.is_some_and(|attended| attended.get(row) == Some(&false)) {
                continue;
            }
            for (&found, &expected) in found.iter().zip(expected) {
                let apart = (f64::from(found) - f64::from(expected)).abs();
                largest = largest.max(if apart.is_nan() { f64::INFINITY } else { apart });
                size = size.max(f64::from(expected.abs()));
            }
        }
        let relative = if largest == 0.0 { 0.0 } else { largest / size.max(f64::from(f32::MIN_POSITIVE)) };
        Ok(Some(Deviation { case: case.into(), state: name.into(), largest, relative }))
    }
}
