//! The dataset of personalised video chat: schema, validation, splits, seeded random streams.
//!
//! [`Dataset`] is a list of [`Video`]s with their questions and answers, read from and written to JSON;
//! [`SubjectName`] is the name of a learned person. This crate knows nothing of tensors or models.
//! [`random::SeededStream`] is the one source of randomness of the whole project.
//!
//! ```
//! use pvchat_data::{Dataset, QaKind, QaPair, SubjectName, Video};
//! let subject: SubjectName = "Aa".parse()?;
//! let question = QaPair::new(QaKind::Existence, "Is <Aa> here?", "Yes, <Aa> is here.");
//! let video = Video::of(&subject, "clips/aa-0.mp4", true, vec![question]);
//! let dataset = Dataset { videos: vec![video] };
//! assert_eq!(dataset.subjects(), vec![subject]);
//! # Ok::<(), pvchat_data::Error>(())
//! ```

pub mod error;
pub mod file;
pub mod random;
pub mod results;
pub mod schema;
mod schema_raw;
pub mod split;
pub mod subject;
pub mod text;
pub mod validate;

pub use error::{Error, Result, remedy};
pub use schema::{Age, Dataset, Gender, QaKind, QaPair, Video};
pub use split::Split;
pub use subject::SubjectName;
pub use validate::Problem;
