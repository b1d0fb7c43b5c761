//! The whole video language model: one frozen base, looked through with the eyes of any subjects.

use std::{ops::ControlFlow, sync::Arc};

use burn::{module::Module, prelude::*};
use image::RgbImage;
use pvchat_data::{SubjectName, random::SeededStream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Error, Result,
    adaptation::{Adaptation, Trains},
    answer::{AnswerConfig, AnswerModel, Memory, Visual},
    language::{GenerationOptions, KeyValueCache},
    personal::PersonalTensors,
    prompt::{PromptFormat, TextCodec},
    subject::{FORMAT_VERSION, Origin, Subject, SubjectInfo},
    vision::miniature::{MiniatureEncoder, MiniatureEncoderConfig, Readout, stack_clips},
    weights::{TensorSource, apply_tensors},
};

/// Everything that decides the shape of a [`Vilm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VilmConfig {
    /// The model's name.
    pub name: String,
    /// The vision encoder.
    pub vision: MiniatureEncoderConfig,
    /// The text around visual tokens, question and answer.
    pub prompt: PromptFormat,
    /// Everything after the vision encoder.
    pub answer: AnswerConfig,
}

impl VilmConfig {
    /// Reads a configuration; unknown keys are refused.
    ///
    /// # Errors
    /// [`Error::File`] with the place of the mistake.
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| Error::File {
            file: name.into(),
            problem: format!("is not a model configuration ({error})"),
            remedy: "use the config.json that came with the weights".into(),
        })
    }
}

/// The parameters of a [`Vilm`].
#[derive(Module, Debug)]
pub struct VilmParameters {
    /// The vision encoder.
    pub vision_encoder: MiniatureEncoder,
    /// Everything after it.
    pub answer: AnswerModel,
}

/// The base model: frozen, shared by all subjects, never copied for one.
#[derive(Debug)]
pub struct Vilm {
    parameters: VilmParameters,
    config: VilmConfig,
    codec: TextCodec,
    fingerprint: String,
    device: Device,
    adapted: Option<Arc<Adaptation>>,
}

/// How an answer was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obtained {
    /// With subjects that were enrolled in one look.
    Enrolled,
    /// With subjects that were learned by training.
    Learned,
    /// By comparing identity embeddings, with what the base says of the person that was found.
    Remembered,
    /// Without any subject.
    General,
}

/// An answer about a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The probability that each subject of the question is in the clip, in the order of their names there.
    pub presence: Vec<(SubjectName, f32)>,
    /// How it was obtained.
    pub obtained: Obtained,
}

impl Vilm {
    /// Opens a model from its three parts in memory.
    ///
    /// # Errors
    /// [`Error::File`] when a part is damaged or they do not belong together, [`Error::Config`] for
    /// sizes that contradict each other.
    pub fn from_bytes(config: &[u8], tokenizer: &[u8], weights: Vec<u8>, device: &Device) -> Result<Self> {
        let config = VilmConfig::from_json("config.json", config)?;
        let codec = TextCodec::from_bytes("tokenizer.json", tokenizer, config.prompt.clone())?;
        let mut hash = Sha256::new();
        hash.update(&weights);
        let fingerprint = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let device = device.clone().inner();
        let mut stream = SeededStream::new(0);
        let mut parameters = VilmParameters {
            vision_encoder: config.vision.init(&mut stream, &device),
            answer: config.answer.init(&stream, &device)?,
        };
        let source = TensorSource::from_bytes("model.safetensors", weights)?;
        apply_tensors(&mut parameters, &source, &[])?.require_exact()?;
        Self::from_parts(parameters, config, codec, fingerprint, device)
    }

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
        Ok(Self { parameters: parameters.no_grad(), config, codec, fingerprint, device, adapted: None })
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
        self.config.vision.frames
    }

    /// Frames as the encoder wants them: squares of its side. Frames that are shrunk are averaged
    /// over areas.
    pub fn prepare(&self, frames: &[RgbImage]) -> Vec<RgbImage> {
        let side = self.config.vision.frame_side as u32;
        frames
            .iter()
            .map(
                |frame| {
                    if frame.dimensions() == (side, side) { frame.clone() } else { image::imageops::thumbnail(frame, side, side) }
                },
            )
            .collect()
    }

    /// Encodes clips of prepared frames, once; everything else works on the result.
    ///
    /// # Errors
    /// [`Error::Shape`] when a clip has another number or size of frames.
    pub fn remember(&self, clips: &[&[RgbImage]]) -> Result<Memory> {
        let side = self.config.vision.frame_side as u32;
        for clip in clips {
            if clip.len() != self.frames() || clip.iter().any(|frame| frame.dimensions() != (side, side)) {
                let (width, height) = clip.first().map_or((0, 0), RgbImage::dimensions);
                return Err(Error::Shape {
                    what: "clip",
                    found: vec![clip.len(), height as usize, width as usize],
                    expected: format!("{} frames of {side}x{side}", self.frames()),
                });
            }
        }
        Ok(self.parameters.vision_encoder.remember(stack_clips(clips, &self.device)))
    }

    /// Personal parameters from one look at the person at `position` (0 left, 1 right) of the one
    /// clip in `memory`.
    ///
    /// # Errors
    /// [`Error::Config`] when the model has no amortised part.
    pub fn enrol(&self, memory: &Memory, position: usize, name: &SubjectName) -> Result<Subject> {
        let count = memory.tokens.dims()[1];
        let readout = memory.tokens.clone().narrow(1, count - Readout::COUNT + position, 1);
        let identity = memory.identity.clone().narrow(1, position, 1);
        let personal = self.parameters.answer.enrol(readout, identity).ok_or_else(|| self.no_enrolment())?;
        Ok(Subject::from_tensors(self.subject_info(name, Origin::Enrolled), &personal))
    }

    fn no_enrolment(&self) -> Error {
        Error::Config { key: "personal", value: "null".into(), remedy: "this model can only learn people by training".into() }
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

/// The base with some subjects; see [`Vilm::with_subjects`].
#[derive(Clone, Copy, Debug)]
pub struct VilmView<'a> {
    vilm: &'a Vilm,
    subjects: &'a [Subject],
}

/// A clip read with the eyes of the subjects of a question: any number of questions about the same
/// subjects can be asked of it.
#[derive(Debug)]
pub struct Reading {
    names: Vec<SubjectName>,
    personal: Option<PersonalTensors>,
    slots: Tensor<2, Int>,
    cache: KeyValueCache,
    /// The answer model, where the subject brings its own.
    answer: Option<Box<AnswerModel>>,
    /// The visual tokens and the gates that made them.
    pub visual: Visual,
    obtained: Obtained,
}

/// The question that presence is read from.
const PRESENCE_QUESTION: &str = "is {} in this video ?";

impl VilmView<'_> {
    /// The subjects that a question names, in the order in which it names them.
    pub fn named(&self, question: &str) -> Vec<&Subject> {
        let mut found: Vec<(usize, &Subject)> = self
            .subjects
            .iter()
            .filter_map(|subject| question.find(&subject.info.name.to_string()).map(|at| (at, subject)))
            .collect();
        found.sort_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, subject)| subject).collect()
    }

    /// Reads a clip for questions about `subjects`; only their tokens and rows take part, and for a single subject what
    /// it changes in the base.
    ///
    /// # Errors
    /// [`Error::NotComposable`] for a subject with an [`Adaptation`] among others, or one that wants the clip to be looked at
    /// with its own encoder ([`Vilm::adapted`]); [`Error::Text`] for more subjects than the model has name slots,
    /// [`Error::Shape`] for a memory of another model.
    pub fn read(&self, memory: &Memory, subjects: &[&Subject]) -> Result<Reading> {
        let vilm = self.vilm;
        let slots = vilm.config.answer.personal.as_ref().map_or(1, |personal| personal.slots);
        if subjects.len() > slots {
            let value = subjects.iter().map(|subject| subject.info.name.to_string()).collect::<Vec<_>>().join(" ");
            return Err(Error::Text {
                what: "question",
                value,
                problem: format!("names {} people, at most {slots} are possible", subjects.len()),
            });
        }
        let own = vilm.answer_for(subjects)?;
        let answer = own.as_deref().unwrap_or(&vilm.parameters.answer);
        let owned: Vec<Subject> = subjects.iter().map(|subject| (*subject).clone()).collect();
        let personal = if owned.is_empty() { None } else { Some(Subject::tensors(&owned, &vilm.device)?) };
        let slots = Tensor::<1, Int>::arange(0..owned.len().max(1) as i64, &vilm.device).unsqueeze_dim::<2>(0);
        let visual = answer.visual(memory, personal.as_ref().map(|personal| (personal, slots.clone())))?;
        let begin = vilm.codec.before_tiles(1)?.concat();
        let cache = answer.read(&visual, &begin);
        let obtained = match owned.iter().map(|subject| subject.info.origin).max_by_key(|origin| *origin == Origin::Learned) {
            None => Obtained::General,
            Some(Origin::Enrolled | Origin::Remembered) => Obtained::Enrolled,
            Some(Origin::Learned) => Obtained::Learned,
        };
        Ok(Reading {
            names: owned.iter().map(|subject| subject.info.name.clone()).collect(),
            personal,
            slots,
            cache,
            answer: own,
            visual,
            obtained,
        })
    }

    fn answer_model<'a>(&'a self, reading: &'a Reading) -> &'a AnswerModel {
        reading.answer.as_deref().unwrap_or(&self.vilm.parameters.answer)
    }

    /// The probability that the `index`-th subject of a reading is in the clip: that of "yes"
    /// against "no" as the answer's first word.
    ///
    /// # Errors
    /// [`Error::Config`] when the vocabulary has no "yes" and "no".
    pub fn presence(&self, reading: &Reading, index: usize) -> Result<f32> {
        let codec = &self.vilm.codec;
        let (Some(yes), Some(no)) = (codec.token("yes"), codec.token("no")) else {
            return Err(Error::Config {
                key: "vocabulary",
                value: "no `yes` and `no`".into(),
                remedy: "presence needs both words".into(),
            });
        };
        let question = PRESENCE_QUESTION.replace("{}", &reading.names[index].to_string());
        let subjects = reading.personal.as_ref().map(|personal| (personal, reading.slots.clone()));
        let choice = self.answer_model(reading).first_token_choice(
            &reading.cache,
            codec,
            &question,
            &reading.names,
            subjects,
            &[yes, no],
        )?;
        Ok(choice[0])
    }

    /// Answers a question on a reading; `on_word` gets the text word by word and can stop it.
    ///
    /// # Errors
    /// [`Error::Text`] for questions that cannot be asked.
    pub fn answer(
        &self,
        reading: &Reading,
        question: &str,
        options: &GenerationOptions,
        mut on_word: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let codec = &self.vilm.codec;
        let subjects = reading.personal.as_ref().map(|personal| (personal, reading.slots.clone()));
        let generated =
            self.answer_model(reading).answer(&reading.cache, codec, question, &reading.names, subjects, options, |id| {
                match codec.decode(&[id], &reading.names) {
                    Ok(word) => on_word(&word),
                    Err(_) => ControlFlow::Continue(()),
                }
            })?;
        let presence = (0..reading.names.len())
            .map(|index| Ok((reading.names[index].clone(), self.presence(reading, index)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Answer { text: generated.text, presence, obtained: reading.obtained })
    }

    /// Reads the clip for the subjects that the question names and answers it.
    ///
    /// # Errors
    /// Those of [`read`](Self::read) and [`answer`](Self::answer).
    pub fn ask(
        &self,
        memory: &Memory,
        question: &str,
        options: &GenerationOptions,
        on_word: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let reading = self.read(memory, &self.named(question))?;
        self.answer(&reading, question, options, on_word)
    }

    /// Generation as a rule: greedy, until the end token.
    pub fn default_options(&self) -> GenerationOptions {
        GenerationOptions { max_new_tokens: 40, end_token: self.vilm.codec.end_token(), ..GenerationOptions::default() }
    }
}
