//! What is true of the fixture clips. Nothing that learns reads this; the demo shows it next to the answers.

use std::path::PathBuf;

use pvchat::{
    augment::Aspect,
    eval::accuracy::ClipClass,
    miniature::{
        words::description,
        world::{Identity, Scene},
    },
};
use serde::{Deserialize, Serialize};

/// The name of the file next to the clips that holds the [`Truth`].
pub const TRUTH_FILE: &str = "truth.json";

/// Who a clip shows, seen from the character that is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shows {
    /// The character.
    #[serde(rename = "positive")]
    Character,
    /// Somebody who differs in one attribute.
    #[serde(rename = "look_alike_1")]
    OneDifference,
    /// Somebody who differs in two attributes.
    #[serde(rename = "look_alike_2")]
    TwoDifferences,
    /// Somebody else.
    #[serde(rename = "random")]
    Stranger,
}

impl Shows {
    /// The class that existence accuracy counts it in.
    pub fn class(self) -> ClipClass {
        match self {
            Self::Character => ClipClass::Positive,
            Self::OneDifference | Self::TwoDifferences => ClipClass::LookAlike,
            Self::Stranger => ClipClass::Random,
        }
    }

    /// The true answer to "is the character in this video?", with its reason.
    pub fn words(self) -> &'static str {
        match self {
            Self::Character => "yes",
            Self::OneDifference => "no: look-alike, 1 difference",
            Self::TwoDifferences => "no: look-alike, 2 differences",
            Self::Stranger => "no: somebody else",
        }
    }
}

/// What is true of one clip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipTruth {
    /// The file's name.
    pub file: String,
    /// Who it shows.
    pub class: Shows,
    /// Whether the character is in it.
    pub present: bool,
    /// The character's place among the people, counted from the left.
    pub position: Option<usize>,
    /// How many people are in it.
    pub people: usize,
    /// What the character wears.
    pub clothing: Option<String>,
    /// What the character looks like.
    pub face: Option<String>,
    /// What the character does.
    pub action: Option<String>,
    /// Where the character is.
    pub place: Option<String>,
}

impl ClipTruth {
    /// The truth of a scene for a character.
    pub fn of(file: String, class: Shows, scene: &Scene, character: &Identity) -> Self {
        let position = scene.position_of(character);
        let words = |aspect| position.and_then(|position| description(aspect, scene, position));
        Self {
            file,
            class,
            present: position.is_some(),
            position,
            people: scene.people.len(),
            clothing: words(Aspect::Clothing),
            face: words(Aspect::Face),
            action: words(Aspect::Action),
            place: words(Aspect::Location),
        }
    }

    /// The true description; `None` for existence and for clips without the character.
    pub fn description(&self, aspect: Aspect) -> Option<&str> {
        match aspect {
            Aspect::Existence => None,
            Aspect::Clothing => self.clothing.as_deref(),
            Aspect::Face => self.face.as_deref(),
            Aspect::Action => self.action.as_deref(),
            Aspect::Location => self.place.as_deref(),
        }
    }
}

/// What is true of all fixture clips.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// The seed that the clips were drawn from.
    pub seed: u64,
    /// The clip to learn the character from.
    pub reference: ClipTruth,
    /// The clips to ask about, in the order of their files.
    pub clips: Vec<ClipTruth>,
}

/// The `manifest.json` of a folder of pictures and clips of known people.
#[derive(Deserialize)]
pub struct KnownPeople {
    /// Every file.
    pub entries: Vec<KnownFile>,
}

/// A picture or clip of known people.
#[derive(Deserialize)]
pub struct KnownFile {
    /// The file, within the folder.
    pub file: PathBuf,
    /// Who is in it: the same word is the same person. `None` where several people are.
    pub identity: Option<String>,
    /// `image` or `clip`.
    pub kind: String,
    /// Whether it shows several people.
    #[serde(default)]
    pub several_people: bool,
    /// Whether it has no colours.
    #[serde(default)]
    pub grey: bool,
}
