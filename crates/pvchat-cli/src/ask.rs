//! `pvchat ask` and `pvchat chat`: questions about a video.

use std::path::PathBuf;

use clap::Args;
use pvchat::{Describer, Glance, Session, SubjectName, questions::Context};

use crate::{
    answer::{self, AnswerBody, By},
    bases::Base,
    common::Common,
    conversation::converse,
    describer::{self, Bits, LazyBase},
    drawn,
    failure::{Exit, Failure, Outcome},
    who::watch,
};

const ASK_EXAMPLES: &str = "\
Examples:
  pvchat ask lunch.mp4 \"Is Aa in it?\"
  pvchat ask lunch.mp4 \"Since when is Aa there, and with whom?\"
  pvchat ask group.jpg \"Who is in the picture?\"
  pvchat ask lunch.mp4 \"What is Aa wearing?\"                  needs a base: pvchat base get smolvlm2-256m
  pvchat ask lunch.mp4 \"What is Aa doing?\" --base my/folder   a base of your own
  pvchat ask lunch.mp4 \"Is Aa in it?\" --by learned             the base alone, after pvchat learn --dataset
  pvchat ask fixtures/clips/clip-03.mp4 \"What is <Aa> wearing?\" --base miniature

The video is processed once; the result is kept, so further questions about it are answered at once.
Exit codes: 0 answered yes or no, 3 the question cannot be answered, 4 not sure.";

/// Answers a question about a video or picture.
#[derive(Args)]
#[command(after_help = ASK_EXAMPLES)]
pub struct AskArguments {
    /// A video or picture.
    video: PathBuf,
    /// The question, with the names of enrolled people.
    question: String,
    #[command(flatten)]
    described: Described,
}

/// What answers about clothes and actions, and how people are known.
#[derive(Args)]
struct Described {
    /// The base that says what people wear and do: a name of `pvchat base list`, or a folder; by default the smallest SmolVLM2
    /// that is installed. For drawn clips: miniature.
    #[arg(long, env = "PVCHAT_BASE", hide_env_values = true, value_name = "BASE")]
    base: Option<Base>,
    /// Bits of a weight of the base on a processor. Fewer are faster and take less memory: 8 half of it, and answers hardly
    /// change; 4 a third, and answers get worse.
    #[arg(long, env = "PVCHAT_BITS", hide_env_values = true, default_value = "16", value_name = "BITS")]
    bits: Bits,
    /// By what people are known; with `learned` no face is compared, the base alone is asked, and who is there is its guess.
    /// Without it faces; of drawn characters what was learned.
    #[arg(long, value_enum, value_name = "HOW")]
    by: Option<By>,
}

impl Described {
    /// The base, before its weights are read.
    fn choose(&self, common: &Common) -> Outcome<Option<LazyBase>> {
        Ok(describer::choose(common, self.base.as_ref())?.map(|base| base.in_bits(self.bits)))
    }

    /// By what people are known, where nothing is said.
    fn by(&self) -> By {
        let is_drawn = self.base.as_ref().is_some_and(Base::is_miniature);
        self.by.unwrap_or(if is_drawn { By::Learned } else { By::Faces })
    }
}

const CHAT_EXAMPLES: &str = "\
Examples:
  pvchat chat lunch.mp4
  printf 'Is Aa there?\\nAnd when?\\n' | pvchat chat lunch.mp4 --json

One question per line. A question may leave out the name once somebody was named. A line that cannot be answered does not end
the conversation.";

/// Answers questions about a video or picture, one per line, until the input ends.
#[derive(Args)]
#[command(after_help = CHAT_EXAMPLES)]
pub struct ChatArguments {
    /// A video or picture.
    video: PathBuf,
    #[command(flatten)]
    described: Described,
}

impl AskArguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        if self.described.base.as_ref().is_some_and(Base::is_miniature) {
            return drawn::ask(common, &self.video, &self.question, self.described.by());
        }
        // First, because a wrong folder is found out at once.
        let base = self.described.choose(common)?;
        let (output, context) = (common.output(), Context::default());
        let answer = match self.described.by() {
            By::Learned => {
                let (mut base, names) = learned(base)?;
                Glance::open(&self.video, base.frames())?.ask(&self.question, &names, &context, &mut base)?
            }
            By::Faces => {
                let people = common.people()?;
                let footage = watch(&people, &output, &self.video)?;
                let learned = base.as_ref().map(|base| (base.key().to_string(), base.learned().clone()));
                let answer = match base {
                    Some(base) => {
                        let mut base = base.keeping(people.looks());
                        people.describe(&footage, &self.question, &context, &mut base).map(|(answer, _)| answer)
                    }
                    None => people.ask(&footage, &self.question),
                };
                answer.map_err(|error| {
                    let mut failure = Failure::from(error);
                    if let Some((base, folder)) = learned.filter(|_| failure.reason == "unknown_person") {
                        let is_meant = |name: &SubjectName| self.question.contains(name.bare());
                        if let Some(name) = folder.names().unwrap_or_default().into_iter().find(is_meant) {
                            let name = name.bare();
                            failure.message.push_str(&format!("; {name} was learned on {base}: ask by it with --by learned"));
                        }
                    }
                    failure
                })?
            }
        };
        let exit = answer::exit(&answer)?;
        let body = AnswerBody::of(&self.video, &self.question, &answer, self.described.by());
        output.result("answer", &body, answer::told(&answer, self.described.by()))?;
        Ok(exit)
    }
}

impl ChatArguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        if self.described.base.as_ref().is_some_and(Base::is_miniature) {
            return drawn::chat(common, &self.video, self.described.by());
        }
        // First, because a wrong folder is found out at once.
        let base = self.described.choose(common)?;
        let output = common.output();
        let say = |question: &str, answer: &pvchat::PeopleAnswer| {
            let body = AnswerBody::of(&self.video, question, answer, self.described.by());
            output.result("answer", &body, answer::told(answer, self.described.by()))
        };
        if self.described.by() == By::Learned {
            let (mut base, names) = learned(base)?;
            let known: Vec<String> = names.iter().map(|name| name.bare().to_string()).collect();
            let (glance, mut context) = (Glance::open(&self.video, base.frames())?, Context::default());
            return converse(&output, &known, |question| {
                let answer = glance.ask(question, &names, &context, &mut base)?;
                answer.parts.iter().for_each(|part| context.note(std::slice::from_ref(&part.asked)));
                say(question, &answer)
            });
        }
        let people = common.people()?;
        let known: Vec<String> = people.gallery().names()?.iter().map(|name| name.bare().to_string()).collect();
        let footage = watch(&people, &output, &self.video)?;
        let looks = people.looks();
        let mut session = Session::new(people.into(), footage);
        if let Some(base) = base {
            session = session.with_describer(Box::new(base.keeping(looks)));
        }
        converse(&output, &known, |question| {
            let answer = session.ask(question)?;
            say(question, &answer)
        })
    }
}

/// The base that is asked alone, and whom it has learned.
fn learned(base: Option<LazyBase>) -> Outcome<(LazyBase, Vec<SubjectName>)> {
    let Some(base) = base else { return Err(describer::none()) };
    let names = base.learned().names()?;
    if names.is_empty() {
        let key = base.key();
        let message = format!("nobody was learned on {key} yet; pvchat learn --dataset DATASET learns somebody");
        return Err(Failure::refused("unknown_person", message));
    }
    Ok((base, names))
}
