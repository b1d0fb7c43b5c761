//! How well the answer model answers about people and clips that it does not train on.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use burn::module::Module;
use pvchat_model::answer::AnswerModel;

use super::{
    answer::{AnswerTask, Episode},
    clips::EncodedClips,
};

/// Of each kind of question, how many answers were right and how many there were.
pub type Validation = BTreeMap<&'static str, [usize; 2]>;

/// Episodes on separate people, drawn once.
pub struct Validator {
    task: AnswerTask,
    batches: Vec<Vec<Episode>>,
}

/// Episodes of a batch.
const BATCH: usize = 16;

impl Validator {
    /// Draws `batches` batches, a third of them about two subjects, from `clips`; everything else is as in `task`.
    ///
    /// # Errors
    /// [`pvchat_model::Error::Text`] for a question that the tokenizer cannot encode.
    pub fn new(task: &AnswerTask, clips: Arc<EncodedClips>, batches: usize) -> pvchat_model::Result<Self> {
        let stream = task.stream.derive("validation");
        let task = task.with_clips(clips);
        let batches = (0..batches)
            .map(|batch| {
                let mut stream = stream.derive(format_args!("batch {batch}"));
                let subjects = if batch % 3 == 2 { 2 } else { 1 };
                (0..BATCH).map(|_| task.episode(subjects, &mut stream)).collect()
            })
            .collect::<pvchat_model::Result<_>>()?;
        Ok(Self { task, batches })
    }

    /// Judges a model. An answer counts as right when each of its words got more than half of the
    /// probability, which is a little stricter than choosing the likeliest word.
    ///
    /// # Errors
    /// What the model reports.
    pub fn judge(&self, model: &AnswerModel) -> pvchat_model::Result<Validation> {
        let model = model.valid();
        let mut counts = Validation::new();
        for episodes in &self.batches {
            let (_, answers) = self.task.forward(&model, episodes)?;
            let losses: Vec<f32> = answers.tokens.into_data().iter::<f32>().collect();
            let mut words = Range { start: 0, end: 0 };
            for (text, kind) in episodes.iter().flat_map(|episode| episode.texts.iter().zip(&episode.kinds)) {
                words = words.end..words.end + text.ids.len() - text.answer_start;
                let count = counts.entry(*kind).or_default();
                count[0] += usize::from(losses[words.clone()].iter().all(|loss| *loss < std::f32::consts::LN_2));
                count[1] += 1;
            }
        }
        Ok(counts)
    }
}
