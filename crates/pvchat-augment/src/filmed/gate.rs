//! The identity gate: a made clip is checked in the same way as any footage.

use serde::{Deserialize, Serialize};

use super::{PersonSeen, Thresholds, cosine};

/// What the gate saw in a clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The similarity (cosine) of the person in the clip to whom it is meant to show; -1 where no face is good.
    pub similarity: f32,
    /// The similarity to the learned person.
    pub to_subject: f32,
    /// Frames that were looked at.
    pub frames: usize,
    /// Frames in which the person's face is seen.
    pub seen: usize,
    /// Why the clip is dropped.
    pub refused: Option<String>,
}

/// Judges a clip by the people in `frames` frames of it. It is kept when one person is seen in at least half of them who is
/// whom the clip is meant to show, and nobody else; a clip of somebody else must also be below the bound to the learned person.
pub(super) fn judge(
    people: &[PersonSeen],
    frames: usize,
    [meant, subject]: [&[f32]; 2],
    is_positive: bool,
    thresholds: Thresholds,
) -> Judged {
    let alike = |person: &PersonSeen| person.embedding.as_deref().map_or(-1.0, |embedding| cosine(embedding, meant));
    let main = people.iter().max_by(|one, other| alike(one).total_cmp(&alike(other)));
    let mut judged = Judged {
        similarity: main.map_or(-1.0, alike),
        to_subject: main.and_then(|main| main.embedding.as_deref()).map_or(-1.0, |embedding| cosine(embedding, subject)),
        frames,
        seen: main.map_or(0, |main| main.faces.len()),
        refused: None,
    };
    let seen_with = |other: &PersonSeen| {
        let frames = main.map(|main| main.faces.iter().map(|face| face.frame).collect::<Vec<_>>()).unwrap_or_default();
        other.faces.iter().any(|face| frames.contains(&face.frame))
    };
    // Somebody without a good face who is never seen together with the person is the person, badly visible.
    let is_other = |person: &&PersonSeen| {
        main.is_some_and(|main| !std::ptr::eq(*person, main))
            && (seen_with(person) || (person.embedding.is_some() && alike(person) < thresholds.same))
    };
    judged.refused = if judged.seen * 2 < frames || judged.similarity < -0.99 {
        Some("no good face".to_string())
    } else if judged.similarity < thresholds.same {
        Some(format!("similarity {:.2} is below {:.2}", judged.similarity, thresholds.same))
    } else if people.iter().any(|person| is_other(&person)) {
        Some("somebody else is seen".to_string())
    } else if !is_positive && judged.to_subject >= thresholds.other {
        Some(format!("similarity {:.2} to the person is not below {:.2}", judged.to_subject, thresholds.other))
    } else {
        None
    };
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filmed::FaceSeen;

    const THRESHOLDS: Thresholds = Thresholds { same: 0.55, other: 0.46 };

    fn person(embedding: Option<[f32; 2]>, frames: &[usize]) -> PersonSeen {
        let face = |&frame: &usize| FaceSeen {
            frame,
            bounds: [0.0, 0.0, 40.0, 40.0],
            points: [[0.0; 2]; 5],
            visible: 1.0,
            flaws: Vec::new(),
        };
        PersonSeen { faces: frames.iter().map(face).collect(), embedding: embedding.map(Vec::from) }
    }

    fn reason(people: &[PersonSeen], is_positive: bool) -> String {
        judge(people, 4, [&[1.0, 0.0], &[0.6, 0.8]], is_positive, THRESHOLDS).refused.unwrap_or_default()
    }

    #[test]
    fn only_the_right_person_alone_passes() {
        let right = person(Some([0.95, 0.312]), &[0, 1, 2, 3]);
        assert_eq!(reason(std::slice::from_ref(&right), true), "");
        assert_eq!(reason(&[], true), "no good face");
        assert_eq!(reason(&[person(Some([0.95, 0.312]), &[0])], true), "no good face");
        assert!(reason(&[person(Some([0.4, 0.917]), &[0, 1, 2])], true).starts_with("similarity 0.40 is below"));
        assert_eq!(reason(&[right.clone(), person(Some([0.0, 1.0]), &[3])], true), "somebody else is seen");
        assert_eq!(reason(&[right.clone(), person(None, &[1])], true), "somebody else is seen");
        let gone = person(Some([0.95, 0.312]), &[0, 1]);
        assert_eq!(reason(&[gone, person(None, &[3])], true), "");
        // The same clip as one of somebody else: too similar to the learned person.
        assert!(reason(&[right], false).contains("is not below"));
    }
}
