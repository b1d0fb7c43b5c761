//! A video as files spell it, and the way to and from [`Video`].

use super::{Age, Gender, QaPair, Video};
use crate::SubjectName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::IntoDeserializer};
use std::path::PathBuf;

/// All spellings of a video together.
#[derive(Serialize, Deserialize)]
pub(crate) struct RawVideo {
    #[serde(default)]
    video_name: String,
    video_path: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subjects: Option<Vec<SubjectName>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    present: Option<Vec<SubjectName>>,
    #[serde(default, with = "slot", skip_serializing_if = "Option::is_none")]
    sks_present: Option<SubjectName>,
    #[serde(default, with = "slot", skip_serializing_if = "Option::is_none")]
    sks_present1: Option<SubjectName>,
    #[serde(default, with = "slot", skip_serializing_if = "Option::is_none")]
    sks_present2: Option<SubjectName>,
    #[serde(default, with = "slot", skip_serializing_if = "Option::is_none")]
    sks_present3: Option<SubjectName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sample_type: Option<String>,
    #[serde(default, with = "blank")]
    gender: Option<Gender>,
    #[serde(default, with = "blank")]
    age: Option<Age>,
    #[serde(default)]
    is_positive: Option<bool>,
    qa_pairs: Vec<QaPair>,
}

impl TryFrom<RawVideo> for Video {
    type Error = String;

    fn try_from(raw: RawVideo) -> Result<Self, String> {
        let (subjects, present) = raw.people()?;
        if let Some(stranger) = present.iter().find(|name| !subjects.contains(name)) {
            return Err(format!("`present` names {stranger}, which is not in `subjects`"));
        }
        if let Some(stated) = raw.is_positive.filter(|&stated| stated == present.is_empty()) {
            return Err(format!("`is_positive` is {stated}, but the subjects said to be in the clip are {}", list(&present)));
        }
        Ok(Self {
            name: raw.video_name,
            path: raw.video_path,
            subjects,
            present,
            gender: raw.gender,
            age: raw.age,
            qa_pairs: raw.qa_pairs,
        })
    }
}

impl RawVideo {
    /// The subjects and those of them who are present.
    fn people(&self) -> Result<(Vec<SubjectName>, Vec<SubjectName>), String> {
        let slots = [
            self.sks_present1.clone().or_else(|| self.sks_present.clone()),
            self.sks_present2.clone(),
            self.sks_present3.clone(),
        ];
        let named: Vec<SubjectName> = self.subjects.clone().unwrap_or_else(|| slots.iter().flatten().cloned().collect());
        if let Some(present) = &self.present {
            return Ok((named, present.clone()));
        }
        let slot = |index: usize| match &slots[index] {
            Some(name) => Ok(vec![name.clone()]),
            None => Err(format!("`sample_type` says that person {0} is in the clip, but `sks_present{0}` is missing", index + 1)),
        };
        let present = match (self.sample_type.as_deref(), self.is_positive) {
            (Some("person1"), _) => slot(0)?,
            (Some("person2"), _) => slot(1)?,
            (Some("person3"), _) => slot(2)?,
            (Some("both" | "all"), _) | (None, Some(true)) => named.clone(),
            (Some("random"), _) | (None, Some(false)) => Vec::new(),
            (Some(other), _) => {
                return Err(format!("`sample_type` is {other:?}; known are person1, person2, person3, both, all, random"));
            }
            (None, None) => return Err("nothing says who is in the clip; add `is_positive` or `present`".into()),
        };
        Ok((named, present))
    }
}

impl From<Video> for RawVideo {
    fn from(video: Video) -> Self {
        let mut raw = Self {
            is_positive: Some(video.is_positive()),
            video_name: video.name,
            video_path: video.path,
            subjects: None,
            present: None,
            sks_present: None,
            sks_present1: None,
            sks_present2: None,
            sks_present3: None,
            sample_type: None,
            gender: video.gender,
            age: video.age,
            qa_pairs: video.qa_pairs,
        };
        match (video.subjects.as_slice(), sample_type(&video.subjects, &video.present)) {
            ([only], _) if video.present.len() <= 1 => raw.sks_present = Some(only.clone()),
            (subjects, Some(kind)) => {
                let slots = [&mut raw.sks_present1, &mut raw.sks_present2, &mut raw.sks_present3];
                slots.into_iter().zip(subjects).for_each(|(slot, name)| *slot = Some(name.clone()));
                raw.sample_type = Some(kind.into());
            }
            _ => (raw.subjects, raw.present) = (Some(video.subjects), Some(video.present)),
        }
        raw
    }
}

/// How published files of two and three people say who is there. `None` where they cannot: two of three, or more than three people.
fn sample_type(subjects: &[SubjectName], present: &[SubjectName]) -> Option<&'static str> {
    if !(2..=3).contains(&subjects.len()) {
        return None;
    }
    match present {
        [] => Some("random"),
        [one] => ["person1", "person2", "person3"].get(subjects.iter().position(|name| name == one)?).copied(),
        all if all == subjects => Some(if subjects.len() == 2 { "both" } else { "all" }),
        _ => None,
    }
}

fn list(names: &[SubjectName]) -> String {
    if names.is_empty() { "none".into() } else { names.iter().map(SubjectName::to_string).collect::<Vec<_>>().join(", ") }
}

/// A name that may be missing, empty or "None" (a person of several who is not meant).
mod slot {
    use super::*;

    pub fn serialize<S: Serializer>(name: &Option<SubjectName>, serializer: S) -> Result<S::Ok, S::Error> {
        name.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SubjectName>, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("" | "None") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
        }
    }
}

/// A value that is written as an empty string when unknown.
mod blank {
    use super::*;

    pub fn serialize<S: Serializer, T: Serialize>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => T::deserialize(text.into_deserializer()).map(Some),
        }
    }
}
