#![doc = include_str!("../README.md")]

mod base_folder;
mod dataset;
mod describe;
mod error;
mod folder;
mod glance;
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
pub use dataset::DatasetRequest;
pub use describe::{BaseDescriber, Described, Describer, LearnedAnswer, Means, Pictures};
pub use error::{Error, Result};
pub use folder::SubjectFolder;
pub use glance::Glance;
pub use people::{Candidate, Choice, Enrolled, Footage, People, PeopleOptions, SeenPeople, WatchProgress, forget_person};
pub use people_answer::{Part, PeopleAnswer, Presence};
pub use people_index::{FoundIn, INDEX, IndexProgress, Indexed};
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

/// Questions about people in people's own words: what they ask, and answers from watched footage alone.
pub mod questions {
    pub use crate::{
        people_answer::answer,
        people_questions::{Asked, AskedKind, Context, LONGEST_QUESTION, Refusal, Side, Within, understand},
    };
}
