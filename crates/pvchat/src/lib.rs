#![doc = include_str!("../README.md")]

mod base_folder;
mod candidate;
mod dataset;
mod describe;
mod error;
mod folder;
mod glance;
mod impression;
mod looks;
mod people;
mod people_answer;
mod people_index;
mod people_questions;
mod people_scene;
mod people_times;
mod people_wording;
mod people_words;
pub mod phrasebook;
mod pvchat;
mod receipt;
mod refine;
mod session;
mod wording;

pub use base_folder::BaseFolder;
pub use candidate::Candidate;
pub use dataset::{DatasetPerson, DatasetRequest};
pub use describe::{BaseDescriber, BaseUsed, Describer, LearnedAnswer, Pictures};
pub use error::{Error, Result};
pub use folder::SubjectFolder;
pub use glance::Glance;
pub use impression::Impression;
pub use people::{Choice, Enrolled, Footage, People, PeopleOptions, SeenPeople, WatchProgress, forget_person};
pub use people_answer::{Described, Means, Part, PeopleAnswer};
pub use people_index::{FoundIn, INDEX, IndexProgress, Indexed};
pub use people_scene::Presence;
pub use pvchat::{Chat, Pvchat, SeenClip};
pub use receipt::{Deleted, Kept, Receipt};
pub use refine::Refiner;
pub use session::Session;

pub use burn;
pub use image;
pub use pvchat_augment as augment;
pub use pvchat_augment::ClipKind;
pub use pvchat_data as data;
pub use pvchat_data::SubjectName;
pub use pvchat_eval as eval;
pub use pvchat_learn as learn;
pub use pvchat_learn::{
    Enrol, LearnEvent, LearnOptions, Learned, LearnedFrom, LearnedTogether, Learner, Personalizer, Remember, Shot, Start,
    Unfinished,
};
#[cfg(feature = "miniature")]
pub use pvchat_miniature as miniature;
pub use pvchat_model as model;
pub use pvchat_model::{
    subject::Subject,
    vilm::{Answer, Obtained, Vilm},
};
pub use pvchat_nn as nn;
pub use pvchat_people as faces;
pub use pvchat_train as train;
pub use pvchat_video as video;

/// How the times of footage are written, so that all of them agree.
pub mod times {
    pub use crate::people_wording::{clock, end_clock, span};
}

/// Questions about people in people's own words: what they ask, and answers from watched footage alone.
pub mod questions {
    pub use crate::{
        people_answer::answer,
        people_questions::{Asked, AskedKind, Context, Edge, LONGEST_QUESTION, Refusal, Side, Within, understand},
    };
}
