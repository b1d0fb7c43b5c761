//! The whole video language model: one frozen base, used with the parameters of any subjects.

use std::sync::Arc;

use burn::{module::Module, prelude::*};
use image::RgbImage;
use pvchat_data::{SubjectName, random::SeededStream};
use sha2::{Digest, Sha256};

use crate::{
    Error, Result,
    adaptation::{Adaptation, Trains},
    answer::AnswerModel,
    bridge::Visual,
    checkpoint,
    families::VisionTower,
    personal::PersonalTensors,
    preprocess::{ImageTiles, squares::normalised},
    prompt::{LONGEST_TEXT, Segment, TextCodec},
    sight::{Readout, Shown, Sight},
    subject::{FORMAT_VERSION, Origin, Subject, SubjectInfo},
    vision::VisionEncoder,
};
use pvchat_nn::{init, language::PersonalRows, trace::Trace};

mod alike;
mod files;
pub(crate) mod room;
mod view;

pub use crate::{families::VilmConfig, parameters::VilmParameters};
pub use view::{Answer, Obtained, Reading, VilmView};

/// Standard deviation of the rows of a word that is new in the vocabulary (Mistral's own initial one).
const NEW_ROW_DEVIATION: f32 = 0.02;
/// Noise on the rows of a new subject, as a share of their size.
const NEW_ROWS_NOISE: f32 = 0.1;

/// The base model: frozen, shared by all subjects, never copied for one.
#[derive(Debug)]
pub struct Vilm {
    parameters: VilmParameters,
    config: VilmConfig,
    codec: TextCodec,
    fingerprint: String,
    device: Device,
    adapted: Option<Arc<Adaptation>>,
    /// Rows of the word table and of the head that fine-tuning added, one per subject.
    found: Option<Arc<[Vec<Vec<f32>>; 2]>>,
}

impl Vilm {
    /// Puts a model together from parameters in memory, for training code.
    ///
    /// # Errors
    /// [`Error::Config`] when tokenizer and language model disagree about the vocabulary.
    pub fn from_parts(
        parameters: VilmParameters,
        config: VilmConfig,
        codec: TextCodec,
        fingerprint: String,
        device: Device,
    ) -> Result<Self> {
        if codec.vocabulary() != config.answer.language.vocabulary {
            return Err(Error::Config {
                key: "vocabulary",
                value: config.answer.language.vocabulary.to_string(),
                remedy: format!("the tokenizer has {} tokens", codec.vocabulary()),
            });
        }
        Ok(Self { parameters: parameters.no_grad(), config, codec, fingerprint, device, adapted: None, found: None })
    }

    /// The configuration.
    pub fn config(&self) -> &VilmConfig {
        &self.config
    }

    /// Identifies the weights; subjects name the base they were made for.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Where the model lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters.
    pub fn parameters(&self) -> &VilmParameters {
        &self.parameters
    }

    /// The tokenizer with the prompt format.
    pub fn codec(&self) -> &TextCodec {
        &self.codec
    }

    /// Frames that a clip is sampled to.
    pub fn frames(&self) -> usize {
        self.config.vision.frames()
    }

    /// Height and width of the images that the vision encoder sees, in pixels.
    pub fn image_size(&self) -> usize {
        self.config.vision.image_size()
    }

    /// Frames as they are stored together with the encoder's output for them
    /// ([`Preprocessing::kept_frames`](crate::preprocess::Preprocessing::kept_frames)).
    pub fn prepare(&self, frames: &[RgbImage]) -> Vec<RgbImage> {
        self.config.preprocess.kept_frames(frames)
    }

    /// Encodes clips, once; everything else works on the result.
    ///
    /// # Errors
    /// [`Error::Shape`] when a clip has another number of frames, or frames of different sizes.
    pub fn look(&self, clips: &[&[RgbImage]]) -> Result<Sight> {
        Ok(self.look_upper(&self.parameters.vision_encoder, self.lower(clips)?))
    }

    /// The output of the always frozen part of the encoder for clips, `[clips, tiles * tokens, width]`; see
    /// [`VisionEncoder::lower`].
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn lower(&self, clips: &[&[RgbImage]]) -> Result<Tensor<3>> {
        // An encoder that sees every frame by itself takes any number, the same of every clip.
        let (wanted, most) = match self.config.vision.most_frames() {
            Some(most) => (clips.first().map_or(0, |clip| clip.len()), most),
            None => (self.frames(), self.frames()),
        };
        if let Some(clip) = clips.iter().find(|clip| clip.len() != wanted || !(1..=most).contains(&clip.len())) {
            let (width, height) = clip.first().map_or((0, 0), RgbImage::dimensions);
            let expected = match self.config.vision.most_frames() {
                Some(most) => format!("1 to {most} frames, the same number of each clip"),
                None => format!("{wanted} frames"),
            };
            return Err(Error::Shape { what: "clip", found: vec![clip.len(), height as usize, width as usize], expected });
        }
        let preprocess = &self.config.preprocess;
        let pixels = clips.iter().map(|clip| preprocess.pixels(clip, &self.device)).collect::<Result<Vec<_>>>()?;
        if pixels.is_empty() {
            return Err(Error::Shape { what: "clips", found: vec![0], expected: "at least one".into() });
        }
        let lower = self.parameters.vision_encoder.lower(Tensor::cat(pixels, 0))?;
        let [images, tokens, width] = lower.dims();
        Ok(lower.reshape([clips.len(), images / clips.len() * tokens, width]))
    }

    /// The memory of clips from what [`lower`](Self::lower) gave, with this model's encoder or one that is trained
    /// from it.
    pub fn look_upper(&self, encoder: &VisionTower, lower: Tensor<3>) -> Sight {
        let ([clips, rows, width], tiles) = (lower.dims(), self.config.preprocess.tiles());
        let encoded = encoder.upper(lower.reshape([clips * tiles, rows / tiles, width]));
        self.parameters.sight(&self.config, encoded, &mut Trace::off())
    }

    /// As [`look`](Self::look) at one clip whose frames were on the screen at `seconds`, of a clip of that length: models that
    /// use times get these. An encoder that processes every frame separately encodes a frame that looks like an earlier one only
    /// once.
    ///
    /// # Errors
    /// As [`look`](Self::look), and [`Error::Shape`] for another number of times than frames.
    pub fn look_at(&self, frames: &[RgbImage], seconds: &[f64], duration: f64) -> Result<Sight> {
        if seconds.len() != frames.len() {
            let expected = format!("one time for each of {} frames", frames.len());
            return Err(Error::Shape { what: "times of frames", found: vec![seconds.len()], expected });
        }
        if self.config.vision.most_frames().is_none_or(|most| !(1..=most).contains(&frames.len())) {
            return self.look(&[frames]);
        }
        let (kept, places) = alike::distinct(frames);
        let Sight { tokens, identity, .. } = self.look(&[&kept])?;
        let count = tokens.dims()[1];
        let tokens = match kept.len() == frames.len() {
            true => tokens,
            false => {
                let each = count / kept.len();
                let picture = |&place: &usize| tokens.clone().narrow(1, place * each, each);
                Tensor::cat(places.iter().map(picture).collect(), 1)
            }
        };
        Ok(Sight { tokens, identity, shown: vec![Shown::Video { seconds: seconds.to_vec(), duration }] })
    }

    /// As [`look`](Self::look) at one image by itself, in the tiles of the model's own preprocessing. A model that sees clips only
    /// sees a clip of it.
    ///
    /// # Errors
    /// [`Error::Shape`] for an image that is empty or too large.
    pub fn look_at_image(&self, image: &RgbImage) -> Result<Sight> {
        let Some(ImageTiles { rows, columns, pixels }) = self.config.vision.image_tiles(image)? else {
            return self.look(&[&self.prepare(&vec![image.clone(); self.frames()])]);
        };
        let (tiles, side) = (rows * columns + 1, self.image_size());
        let pixels = TensorData::new(normalised(&pixels), [1, tiles, 3, side, side]);
        let pixels = Tensor::<5>::from_data(pixels, &self.device).swap_dims(1, 2);
        let encoder = &self.parameters.vision_encoder;
        let sight = self.look_upper(encoder, encoder.lower(pixels)?);
        Ok(Sight { shown: vec![Shown::Image { rows, columns }], ..sight })
    }

    /// What a prompt without a clip has in front of its question.
    pub(crate) fn nothing_shown(&self) -> Vec<Shown> {
        match self.config.vision.most_frames() {
            Some(_) => Vec::new(),
            None => vec![Shown::Tiles(self.config.preprocess.tiles())],
        }
    }

    /// Refuses a prompt that leaves no room for question and answer.
    pub(crate) fn check_length(&self, visual: Option<&Visual>, begin: &[Segment]) -> Result<()> {
        let format = self.codec.format();
        let Some(most) = format.longest_prompt else { return Ok(()) };
        let text = |segment: &Segment| if let Segment::Text(ids) = segment { ids.len() } else { 0 };
        let tokens = begin.iter().map(text).sum::<usize>() + visual.map_or(0, |visual| visual.embeddings.dims()[1]);
        let room = most.saturating_sub(LONGEST_TEXT + format.longest_answer);
        if tokens > room {
            let pictures = visual.map_or(0, |visual| visual.pictures);
            return Err(Error::Text {
                what: "prompt",
                value: format!("with {pictures} pictures"),
                problem: format!("has {tokens} tokens before the question, at most {room} are possible; show fewer pictures"),
            });
        }
        Ok(())
    }

    /// Personal parameters from one look at the person at `position` (0 left, 1 right) of the one
    /// clip in `memory`.
    ///
    /// # Errors
    /// [`Error::Config`] when the model has no amortised part.
    pub fn enrol(&self, memory: &Sight, position: usize, name: &SubjectName) -> Result<Subject> {
        if self.config.answer.personal().is_none() {
            return Err(self.no_enrolment());
        }
        let count = memory.tokens.dims()[1];
        let readout = memory.tokens.clone().narrow(1, count - Readout::COUNT + position, 1);
        let identity = memory.identity.clone().narrow(1, position, 1);
        let personal = self.parameters.answer.bridge.enrol(readout, identity).ok_or_else(|| self.no_enrolment())?;
        Ok(Subject::from_tensors(self.subject_info(name, Origin::Enrolled), &personal))
    }

    fn no_enrolment(&self) -> Error {
        Error::Config { key: "personal", value: "null".into(), remedy: "this model can only learn people by training".into() }
    }

    /// A subject that is nobody yet, to learn a person from on a base that cannot [`enrol`](Self::enrol).
    ///
    /// With a Q-Former: the base's personal query tokens, and rows drawn N(0, 0.02) from `stream`, as a grown vocabulary
    /// starts. Without queries: rows for the name and for its [details](crate::prompt::PromptFormat::detail_tokens), the mean of those of the
    /// name's sub-words ([`PersonalRows::from_sub_words`]), with noise from `stream` so that the details differ.
    ///
    /// # Errors
    /// [`Error::Text`] and [`Error::Nn`] when the name cannot be tokenized.
    pub fn blank_subject(&self, name: &SubjectName, stream: &SeededStream) -> Result<Subject> {
        let info = self.subject_info(name, Origin::Learned);
        let (answer, device) = (&self.config.answer, &self.device);
        if answer.qformer().is_none() {
            let rows = 1 + self.codec.format().detail_tokens;
            let rows = PersonalRows::from_sub_words(&self.parameters.answer.lm, &self.codec.ids(name.bare())?, rows)?;
            let [word_row, head_row] = rows.with_noise(&mut stream.derive("rows"), NEW_ROWS_NOISE).extra_rows();
            let (tokens, identity) = (Tensor::zeros([1, 1, 0, 0], device), Tensor::zeros([1, 1, 0], device));
            let (word_row, head_row) = (word_row.inner(), head_row.inner());
            return Ok(Subject::from_tensors(info, &PersonalTensors { tokens, identity, word_row, head_row }));
        }
        let (hidden, identity) = (answer.language.hidden, self.config.vision.identity_width().unwrap_or(0));
        let row = |label: &str| init::normal(&mut stream.derive(label), [1, 1, hidden], NEW_ROW_DEVIATION, device);
        let personal = PersonalTensors {
            tokens: self.parameters.answer.bridge.personal_tokens().unsqueeze_dim::<4>(0),
            identity: Tensor::zeros([1, 1, identity], device),
            word_row: row("word_row"),
            head_row: row("head_row"),
        };
        Ok(Subject::from_tensors(info, &personal))
    }

    /// A subject that the checkpoint itself holds: fine-tuning as published adds a row per subject to the word table and to
    /// the head, and trains the personal query tokens of the base. `index` counts these rows; `None` beyond the last.
    ///
    /// The checkpoint knows no names: `name` is what the subject is to be called.
    pub fn found_subject(&self, index: usize, name: &SubjectName) -> Option<Subject> {
        let [words, head] = self.found.as_deref()?;
        let (word, head) = (words.get(index)?, head.get(index)?);
        let row = |row: &Vec<f32>| Tensor::from_data(TensorData::new(row.clone(), [1, 1, row.len()]), &self.device);
        let identity = self.config.vision.identity_width().unwrap_or(0);
        let personal = PersonalTensors {
            tokens: self.parameters.answer.bridge.personal_tokens().unsqueeze_dim::<4>(0),
            identity: Tensor::zeros([1, 1, identity], &self.device),
            word_row: row(word),
            head_row: row(head),
        };
        Some(Subject::from_tensors(self.subject_info(name, Origin::Learned), &personal))
    }

    /// What a new subject file of this model says about itself.
    pub fn subject_info(&self, name: &SubjectName, origin: Origin) -> SubjectInfo {
        SubjectInfo {
            format_version: FORMAT_VERSION,
            name: name.clone(),
            base: self.fingerprint.clone(),
            origin,
            training: Default::default(),
        }
    }

    /// The base as a subject with an [`Adaptation`] wants it; all other parameters are shared, not copied. Only needed
    /// for subjects that change the vision encoder: clips are then to be looked at with the result.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Shape`] when the adaptation does not fit this base.
    pub fn adapted(&self, subject: &Subject) -> Result<Self> {
        self.check_adaptable(subject)?;
        let parameters = match &subject.adaptation {
            Some(adaptation) => adaptation.adapt(&self.parameters)?,
            None => self.parameters.clone(),
        };
        Ok(Self {
            parameters: parameters.no_grad(),
            config: self.config.clone(),
            codec: self.codec.clone(),
            fingerprint: self.fingerprint.clone(),
            device: self.device.clone(),
            adapted: subject.adaptation.clone(),
            found: self.found.clone(),
        })
    }

    /// A new base, into which the parameters trained for `subject` are merged: others can be learned on it by tokens and rows
    /// alone. Its fingerprint is derived from this base's and what was merged.
    ///
    /// # Errors
    /// As [`adapted`](Self::adapted).
    pub fn merged(&self, subject: &Subject) -> Result<Self> {
        let merged = self.adapted(subject)?;
        let mut hash = Sha256::new_with_prefix(&self.fingerprint);
        for (name, parameter) in subject.adaptation.iter().flat_map(|adaptation| &adaptation.parameters) {
            hash.update(name);
            parameter.values.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        Ok(Self { fingerprint: checkpoint::hexadecimal(&hash.finalize()), adapted: None, ..merged })
    }

    /// Refuses a subject that changes weights which are packed.
    fn check_adaptable(&self, subject: &Subject) -> Result<()> {
        let fits = subject.adaptation.as_ref().is_none_or(|adaptation| adaptation.fits_packed());
        if fits || self.parameters.answer.lm.packed().is_none() {
            return Ok(());
        }
        let remedy = "open the base without packing it to ask about this subject".into();
        Err(Error::Config {
            key: "packed weights",
            value: format!("with what {} changes in the base", subject.info.name),
            remedy,
        })
    }

    /// The answer model for these subjects, where it is another than this base's.
    fn answer_for(&self, subjects: &[&Subject]) -> Result<Option<Box<AnswerModel>>> {
        if subjects.len() > 1
            && let Some(subject) = subjects.iter().find(|subject| !subject.is_composable())
        {
            return Err(not_composable(subject, "ask about it alone, or learn it again with the choice `composable`"));
        }
        let Some(subject) = subjects.first() else { return Ok(None) };
        self.check_adaptable(subject)?;
        match (&self.adapted, &subject.adaptation) {
            (None, None) => Ok(None),
            (Some(mine), Some(its)) if Arc::ptr_eq(mine, its) || mine == its => Ok(None),
            (Some(_), _) => Err(not_composable(subject, "this base is adapted to somebody else; ask the base itself")),
            (None, Some(its)) if its.changes_vision() => {
                Err(not_composable(subject, "look at the clip, and ask, with `Vilm::adapted`"))
            }
            (None, Some(its)) => Ok(Some(Box::new(its.answer(&self.parameters.answer)?.no_grad()))),
        }
    }

    /// A cheap view of the model with these subjects in place.
    pub fn with_subjects<'a>(&'a self, subjects: &'a [Subject]) -> VilmView<'a> {
        VilmView { vilm: self, subjects }
    }
}

fn not_composable(subject: &Subject, remedy: &'static str) -> Error {
    let trains = subject.adaptation.as_ref().map_or(Trains::Composable, |adaptation| adaptation.trains);
    Error::NotComposable { name: subject.info.name.to_string(), trains, remedy }
}
