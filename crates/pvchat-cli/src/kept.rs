//! The forms in which a person is stored: by the face, as a drawn character, on bases.

use pvchat::SubjectName;

use crate::{
    common::Common,
    failure::{Failure, Outcome},
    learned::{self, LearnedOn},
    words,
};

/// As what somebody is kept.
pub struct Kinds {
    /// By the face.
    pub is_real: bool,
    /// As a drawn character, be it unfinished.
    pub is_drawn: bool,
    /// On bases for footage, be it unfinished.
    pub learned: Vec<LearnedOn>,
}

/// As what somebody is kept; refuses nobody.
pub fn kinds(common: &Common, name: &SubjectName) -> Outcome<Kinds> {
    let (gallery, mut learned) = (common.gallery()?, Vec::new());
    for on in common.learned_folders()? {
        if on.holds(name)? {
            learned.push(on);
        }
    }
    let is_drawn = learned::holds(&common.drawn_subjects()?, name)?;
    let kinds = Kinds { is_real: gallery.file(name).exists(), is_drawn, learned };
    if !kinds.is_real && !kinds.is_drawn && kinds.learned.is_empty() {
        return Err(unknown(common, name)?);
    }
    Ok(kinds)
}

/// Everybody who is kept in any way.
fn everybody(common: &Common) -> Outcome<Vec<SubjectName>> {
    let mut known = common.drawn_subjects()?.names()?;
    known.extend(common.gallery()?.names()?);
    known.extend(common.learned()?.into_iter().map(|learned| learned.name));
    known.sort();
    known.dedup();
    Ok(known)
}

/// The name under which somebody is kept who may be named in other capitals.
pub fn resolved(common: &Common, name: &SubjectName) -> Outcome<SubjectName> {
    Ok(name.resolve(&everybody(common)?))
}

/// Nobody of that name is kept.
pub fn unknown(common: &Common, name: &SubjectName) -> Outcome<Failure> {
    let (gallery, known) = (common.gallery()?, everybody(common)?);
    let known: Vec<&str> = known.iter().map(SubjectName::bare).collect();
    let (name, folder) = (name.bare(), words::shown(gallery.path()));
    let message = format!("nobody called {name} in {folder}; enrolled: {}", words::list(&known));
    Ok(Failure::refused("unknown_person", message))
}
