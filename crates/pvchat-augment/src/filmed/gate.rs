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

/// Judges a clip by the people in `frames` frames of it. It is kept when those whom the clip is `meant` to show are seen in every one
/// of them, nobody else is, and all of them are below the bound to the learned people who are `absent`.
pub(super) fn judge(people: &[PersonSeen], frames: usize, [meant, absent]: [&[&[f32]]; 2], thresholds: Thresholds) -> Judged {
    let alike = |person: &PersonSeen, to: &[f32]| person.embedding.as_deref().map_or(-1.0, |embedding| cosine(embedding, to));
    let mut mains: Vec<(&PersonSeen, f32)> = Vec::with_capacity(meant.len());
    for &to in meant {
        let left = people.iter().filter(|person| !mains.iter().any(|(main, _)| std::ptr::eq(*main, *person)));
        let main = left.max_by(|one, other| alike(one, to).total_cmp(&alike(other, to)));
        mains.extend(main.map(|main| (main, alike(main, to))));
    }
    let is_complete = mains.len() == meant.len();
    let least = mains.iter().map(|(_, similarity)| *similarity).reduce(f32::min).filter(|_| is_complete);
    let similarity = least.unwrap_or(-1.0);
    let nearest = mains.iter().flat_map(|(main, _)| absent.iter().map(|to| alike(main, to))).reduce(f32::max);
    let mut judged = Judged {
        similarity,
        to_subject: nearest.unwrap_or(similarity),
        frames,
        seen: mains.iter().map(|(main, _)| main.faces.len()).min().filter(|_| is_complete).unwrap_or(0),
        refused: None,
    };
    let seen_in = |person: &PersonSeen, frame: usize| person.faces.iter().any(|face| face.frame == frame);
    let seen_with_all =
        |other: &PersonSeen| other.faces.iter().any(|face| mains.iter().all(|(main, _)| seen_in(main, face.frame)));
    // Somebody without a good face who is never seen together with everybody is one of them, badly visible.
    let is_other = |person: &&PersonSeen| {
        let is_main = mains.iter().any(|(main, _)| std::ptr::eq(*main, *person));
        let is_like_one = meant.iter().any(|to| alike(person, to) >= thresholds.same);
        !is_main && (seen_with_all(person) || (person.embedding.is_some() && !is_like_one))
    };
    judged.refused = if judged.similarity < -0.99 {
        Some("no good face".to_string())
    } else if judged.seen < frames {
        Some(format!("seen in {} of {frames} frames", judged.seen))
    } else if judged.similarity < thresholds.same {
        Some(format!("similarity {:.2} is below {:.2}", judged.similarity, thresholds.same))
    } else if people.iter().any(|person| is_other(&person)) {
        Some("somebody else is seen".to_string())
    } else if !absent.is_empty() && judged.to_subject >= thresholds.other {
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
        let absent: &[&[f32]] = if is_positive { &[] } else { &[&[0.6, 0.8]] };
        judge(people, 4, [&[&[1.0, 0.0]], absent], THRESHOLDS).refused.unwrap_or_default()
    }

    #[test]
    fn only_the_right_person_alone_passes() {
        let right = person(Some([0.95, 0.312]), &[0, 1, 2, 3]);
        assert_eq!(reason(std::slice::from_ref(&right), true), "");
        assert_eq!(reason(&[], true), "no good face");
        assert_eq!(reason(&[person(None, &[0, 1, 2, 3])], true), "no good face");
        assert_eq!(reason(&[person(Some([0.95, 0.312]), &[0, 1, 3])], true), "seen in 3 of 4 frames");
        assert!(reason(&[person(Some([0.4, 0.917]), &[0, 1, 2, 3])], true).starts_with("similarity 0.40 is below"));
        assert_eq!(reason(&[right.clone(), person(Some([0.0, 1.0]), &[3])], true), "somebody else is seen");
        assert_eq!(reason(&[right.clone(), person(None, &[1])], true), "somebody else is seen");
        // Somebody without a good face, never beside the person: the same, badly visible. So the person is not seen everywhere.
        let gone = person(Some([0.95, 0.312]), &[0, 1]);
        assert_eq!(reason(&[gone, person(None, &[3])], true), "seen in 2 of 4 frames");
        // The same clip as one of somebody else: too similar to the learned person.
        assert!(reason(&[right], false).contains("is not below"));
    }

    #[test]
    fn of_two_both_have_to_be_seen_and_nobody_else() {
        let reason = |people: &[PersonSeen], absent: &[&[f32]]| {
            judge(people, 4, [&[&[1.0, 0.0], &[0.0, 1.0]], absent], THRESHOLDS).refused.unwrap_or_default()
        };
        let (one, other) = (person(Some([0.95, 0.312]), &[0, 1, 2, 3]), person(Some([0.1, 0.995]), &[0, 1, 2, 3]));
        let both = [one.clone(), other.clone()];
        assert_eq!(reason(&both, &[]), "");
        assert_eq!(reason(&both, &[&[-1.0, 0.0]]), "");
        assert!(reason(&both, &[&[0.6, 0.8]]).contains("to the person is not below"));
        assert_eq!(reason(&both[..1], &[]), "no good face");
        assert_eq!(reason(&[one.clone(), person(Some([0.1, 0.995]), &[0])], &[]), "seen in 1 of 4 frames");
        assert!(reason(&[one.clone(), person(Some([-1.0, 0.0]), &[0, 1, 2, 3])], &[]).starts_with("similarity"));
        let third = |frames: &[usize], embedding| [one.clone(), other.clone(), person(embedding, frames)];
        assert_eq!(reason(&third(&[2], Some([-1.0, 0.0])), &[]), "somebody else is seen");
        assert_eq!(reason(&third(&[3], None), &[]), "somebody else is seen");
        let hidden = [one.clone(), person(Some([0.1, 0.995]), &[0, 1, 3]), person(None, &[2])];
        assert_eq!(reason(&hidden, &[]), "seen in 3 of 4 frames", "the other, badly visible in one");
    }
}
