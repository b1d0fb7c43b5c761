//! The view that answers questions: the base with the parameters of some subjects.

use std::ops::ControlFlow;

use burn::prelude::*;
use pvchat_data::{
    SubjectName,
    text::{Growing, tidy},
};
use serde::{Deserialize, Serialize};

use super::Vilm;
use crate::{
    Error, Result,
    answer::{AnswerModel, GeneratedAnswer},
    bridge::Visual,
    personal::PersonalTensors,
    sight::Sight,
    subject::{Origin, Subject},
};
use pvchat_nn::language::{GenerationOptions, KeyValueCache};

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
    /// The text, with punctuation where people put it.
    pub text: String,
    /// The probability that each subject of the question is in the clip, in the order of their names there.
    pub presence: Vec<(SubjectName, f32)>,
    /// How it was obtained.
    pub obtained: Obtained,
}

/// The base with some subjects; see [`Vilm::with_subjects`].
#[derive(Clone, Copy, Debug)]
pub struct VilmView<'a> {
    pub(super) vilm: &'a Vilm,
    pub(super) subjects: &'a [Subject],
}

/// A clip read with the eyes of the subjects of a question: any number of questions about the same
/// subjects can be asked of it.
#[derive(Debug)]
pub struct Reading {
    names: Vec<SubjectName>,
    personal: Option<PersonalTensors>,
    slots: Tensor<2, Int>,
    cache: KeyValueCache,
    /// What joins the pictures and a question.
    joint: &'static str,
    /// The answer model, where the subject brings its own.
    answer: Option<Box<AnswerModel>>,
    /// Where there are several subjects, the clip read for each alone: what presence is asked of. The base learned to say
    /// yes or no of two subjects in one word for both.
    alone: Vec<Reading>,
    /// The visual tokens and the gates that made them; `None` where no clip was looked at.
    pub visual: Option<Visual>,
    obtained: Obtained,
}

impl Reading {
    /// How many tokens were read: the pictures and the text around them.
    pub fn tokens(&self) -> usize {
        self.cache.len()
    }
}

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
    /// [`Error::NotComposable`] for a subject with an [`Adaptation`](crate::adaptation::Adaptation) among others, or one that wants the clip to be looked at
    /// with its own encoder ([`Vilm::adapted`]); [`Error::Text`] for more subjects than the model has name slots,
    /// [`Error::Shape`] for a memory of another model.
    pub fn read(&self, memory: &Sight, subjects: &[&Subject]) -> Result<Reading> {
        self.reading(Some(memory), subjects)
    }

    /// As [`read`](Self::read), but of no clip: the language model gets the question and the subjects' rows and not one visual
    /// token. What it answers then is guessed from the words; an evaluation's control.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn question_only(&self, subjects: &[&Subject]) -> Result<Reading> {
        self.reading(None, subjects)
    }

    fn reading(&self, memory: Option<&Sight>, subjects: &[&Subject]) -> Result<Reading> {
        let vilm = self.vilm;
        let slots = vilm.config.answer.slots();
        if subjects.len() > slots {
            let value = subjects.iter().map(|subject| subject.info.name.to_string()).collect::<Vec<_>>().join(" ");
            return Err(Error::Text {
                what: "question",
                value,
                problem: format!("names {} people, at most {slots} are possible", subjects.len()),
            });
        }
        if let Some(twice) = subjects.iter().enumerate().find_map(|(index, subject)| {
            subjects[..index].iter().any(|other| other.info.name == subject.info.name).then_some(&subject.info.name)
        }) {
            let problem = "is that of two subjects; rename one of them".into();
            return Err(Error::Text { what: "subject name", value: twice.to_string(), problem });
        }
        let own = vilm.answer_for(subjects)?;
        let answer = own.as_deref().unwrap_or(&vilm.parameters.answer);
        let owned: Vec<Subject> = subjects.iter().map(|subject| (*subject).clone()).collect();
        let personal = if owned.is_empty() { None } else { Some(Subject::tensors(&owned, &vilm.device)?) };
        if let Some([_, rows, hidden]) = personal.as_ref().map(|personal| personal.word_row.dims()) {
            let wanted = [owned.len() * (1 + vilm.codec.format().detail_tokens), vilm.config.answer.language.hidden];
            if [rows, hidden] != wanted {
                let expected = format!("{wanted:?} rows of the word table, as this base has for its subjects");
                return Err(Error::Shape { what: "subject", found: vec![rows, hidden], expected });
            }
        }
        let slots = Tensor::<1, Int>::arange(0..owned.len().max(1) as i64, &vilm.device).unsqueeze_dim::<2>(0);
        let parameters = personal.as_ref().map(|personal| (personal, slots.clone()));
        let visual = memory.map(|memory| answer.visual(memory, parameters)).transpose()?;
        let nothing = vilm.nothing_shown();
        let shown = memory.map_or(nothing.as_slice(), |memory| &memory.shown);
        let begin = vilm.codec.prefix(shown)?;
        vilm.check_length(visual.as_ref(), &begin)?;
        let cache = answer.read(visual.as_ref(), &begin)?;
        let obtained = match owned.iter().map(|subject| subject.info.origin).max_by_key(|origin| *origin == Origin::Learned) {
            None => Obtained::General,
            Some(Origin::Enrolled | Origin::Remembered) => Obtained::Enrolled,
            Some(Origin::Learned) => Obtained::Learned,
        };
        let alone = match subjects {
            [] | [_] => Vec::new(),
            several => several.iter().map(|subject| self.reading(memory, &[*subject])).collect::<Result<_>>()?,
        };
        Ok(Reading {
            names: owned.iter().map(|subject| subject.info.name.clone()).collect(),
            personal,
            slots,
            cache,
            answer: own,
            joint: vilm.codec.joint(shown),
            alone,
            visual,
            obtained,
        })
    }

    fn answer_model<'a>(&'a self, reading: &'a Reading) -> &'a AnswerModel {
        reading.answer.as_deref().unwrap_or(&self.vilm.parameters.answer)
    }

    /// The probability that the `index`-th subject of a reading is in the clip: that of "yes"
    /// against "no" as the answer's first token, where it alone is asked about.
    ///
    /// # Errors
    /// [`Error::Config`] when the vocabulary lacks one of the two, [`Error::Text`] when there are fewer subjects.
    pub fn presence(&self, reading: &Reading, index: usize) -> Result<f32> {
        if let Some(alone) = reading.alone.get(index) {
            return self.presence(alone, 0);
        }
        let Some(name) = reading.names.get(index) else {
            let problem = format!("is not the number of one of the {} subjects of this reading", reading.names.len());
            return Err(Error::Text { what: "subject", value: index.to_string(), problem });
        };
        let question = self.vilm.codec.format().presence_question.replace("{}", &name.to_string());
        self.affirmation(reading, &question)
    }

    /// The probability of "yes" against "no" as the first token of the answer to a question.
    ///
    /// # Errors
    /// [`Error::Config`] when the vocabulary lacks one of the two, [`Error::Text`] for questions that cannot be asked.
    pub fn affirmation(&self, reading: &Reading, question: &str) -> Result<f32> {
        let codec = &self.vilm.codec;
        let choices = codec.yes_and_no()?;
        let subjects = reading.personal.as_ref().map(|personal| (personal, reading.slots.clone()));
        let choice = self.answer_model(reading).first_token_choice(
            &reading.cache,
            codec,
            [reading.joint, question],
            &reading.names,
            subjects,
            &choices,
        )?;
        Ok(choice[0])
    }

    /// Answers a question on a reading; `on_piece` gets the text as it grows and can stop it: the pieces put together are the
    /// text of the answer.
    ///
    /// # Errors
    /// [`Error::Text`] for questions that cannot be asked.
    pub fn answer(
        &self,
        reading: &Reading,
        question: &str,
        options: &GenerationOptions,
        mut on_piece: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let (mut ids, mut growing) = (Vec::new(), Growing::default());
        let generated = self.generate(reading, question, options, |id| {
            ids.push(id);
            // Decoded from the start: what the id of a part of a word looks like depends on those before it.
            let text = self.vilm.codec.decode(&ids, &reading.names).unwrap_or_default();
            match growing.grow(&tidy(&text)) {
                piece if piece.is_empty() => ControlFlow::Continue(()),
                piece => on_piece(&piece),
            }
        })?;
        let text = tidy(&generated.text);
        let rest = growing.finish(&text);
        if !rest.is_empty() {
            // There is nothing left to stop.
            let _ = on_piece(&rest);
        }
        let presence = (0..reading.names.len())
            .map(|index| Ok((reading.names[index].clone(), self.presence(reading, index)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Answer { text, presence, obtained: reading.obtained })
    }

    /// Answers a question on a reading in the words of the language model, as its tokenizer writes them: for making training
    /// data. `on_token` gets the ids as they are chosen and can stop it.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn generate(
        &self,
        reading: &Reading,
        question: &str,
        options: &GenerationOptions,
        on_token: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<GeneratedAnswer> {
        let subjects = reading.personal.as_ref().map(|personal| (personal, reading.slots.clone()));
        let (codec, names) = (&self.vilm.codec, &reading.names);
        self.answer_model(reading).answer(&reading.cache, codec, [reading.joint, question], names, subjects, options, on_token)
    }

    /// Reads the clip for the subjects that the question names and answers it.
    ///
    /// # Errors
    /// Those of [`read`](Self::read) and [`answer`](Self::answer).
    pub fn ask(
        &self,
        memory: &Sight,
        question: &str,
        options: &GenerationOptions,
        on_piece: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let reading = self.read(memory, &self.named(question))?;
        self.answer(&reading, question, options, on_piece)
    }

    /// Generation as a rule: greedy, until the end token.
    pub fn default_options(&self) -> GenerationOptions {
        let codec = &self.vilm.codec;
        GenerationOptions {
            max_new_tokens: codec.format().longest_answer,
            end_token: codec.end_token(),
            other_end_tokens: codec.format().other_ends.clone(),
            ..GenerationOptions::default()
        }
    }
}
