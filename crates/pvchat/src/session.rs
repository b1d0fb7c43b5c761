//! A conversation about one video.

use std::sync::Arc;

use crate::{Describer, Footage, People, PeopleAnswer, Result, people_questions::Context};

/// Turns that are remembered.
const MOST_TURNS: usize = 200;

/// An owned conversation about watched footage, in which "she" and "and when?" refer to the person asked about last. It can be
/// sent to another thread and kept as long as wanted.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use pvchat::{People, PeopleOptions, nn::device};
/// # let people = People::open("models/people".as_ref(), "subjects", PeopleOptions::default(), &device::default_device()?)?;
/// use pvchat::Session;
/// let footage = people.watch("lunch.mp4".as_ref(), |_| std::ops::ControlFlow::Continue(()))?;
/// let mut session = Session::new(people.into(), footage);
/// println!("{}", session.ask("Is Aa in it?")?.text);
/// println!("{}", session.ask("And where is she?")?.text);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Session {
    people: Arc<People>,
    footage: Footage,
    context: Context,
    history: Vec<(String, PeopleAnswer)>,
    describer: Option<Box<dyn Describer>>,
}

impl Session {
    /// Begins a conversation.
    pub fn new(people: Arc<People>, footage: Footage) -> Self {
        Self { people, footage, context: Context::default(), history: Vec::new(), describer: None }
    }

    /// With a base that says what people wear and do.
    pub fn with_describer(self, describer: Box<dyn Describer>) -> Self {
        Self { describer: Some(describer), ..self }
    }

    /// Answers a question; one that fails changes nothing.
    ///
    /// # Errors
    /// As [`People::ask`].
    pub fn ask(&mut self, question: &str) -> Result<PeopleAnswer> {
        let (answer, asked) = match &mut self.describer {
            Some(describer) => self.people.describe(&self.footage, question, &self.context, describer.as_mut())?,
            None => self.people.ask_after(&self.footage, question, &self.context)?,
        };
        self.context.note(&asked);
        self.context.met(&answer);
        if self.history.len() == MOST_TURNS {
            self.history.remove(0);
        }
        self.history.push((question.into(), answer.clone()));
        Ok(answer)
    }

    /// The last 200 questions and answers, oldest first.
    pub fn history(&self) -> &[(String, PeopleAnswer)] {
        &self.history
    }

    /// What the conversation is about.
    pub fn footage(&self) -> &Footage {
        &self.footage
    }

    /// Who is known.
    pub fn people(&self) -> &Arc<People> {
        &self.people
    }
}
