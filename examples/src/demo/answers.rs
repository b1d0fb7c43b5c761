//! Stands in for `People::ask` until the facade has it.

use pvchat::{
    Footage, SubjectName,
    faces::{Moment, Verdict},
};

use super::stretches;

/// An answer about people.
pub struct PeopleAnswer {
    /// In words.
    pub text: String,
    /// Whether it is so.
    pub verdict: Option<Verdict>,
    /// Who it is about.
    pub presence: Vec<Presence>,
    /// How many others there are.
    pub others: usize,
}

/// Whether somebody is there.
pub struct Presence {
    /// Who.
    pub name: SubjectName,
    /// Whether.
    pub verdict: Verdict,
    /// When.
    pub moments: Vec<Moment>,
}

/// Answers from what was seen; the question only chooses the words.
pub fn ask(footage: &Footage, question: &str) -> PeopleAnswer {
    let people = &footage.timeline.people;
    let presence: Vec<Presence> = people
        .iter()
        .filter_map(|person| {
            let name = person.subject.clone()?;
            Some(Presence { name, verdict: person.verdict, moments: person.moments.clone() })
        })
        .collect();
    let verdict = presence.iter().map(|presence| presence.verdict).max().unwrap_or(Verdict::No);
    let times: Vec<(f64, f64)> =
        presence.iter().flat_map(|presence| &presence.moments).map(|moment| (moment.start, moment.end)).collect();
    let others = people.len() - presence.len();
    let text = match question {
        "How many people are there?" => format!("{} people.", people.len()),
        "Who is in it?" => format!("{} known, {others} others.", presence.len()),
        _ => format!("{verdict:?}: {}.", stretches(&times)),
    };
    PeopleAnswer { text, verdict: Some(verdict), presence, others }
}
