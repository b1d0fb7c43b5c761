#![doc = include_str!("../README.md")]

pub mod error;
pub mod file;
mod name;
mod problem;
pub mod random;
pub mod results;
pub mod schema;
pub mod split;
pub mod subject;
pub mod text;
pub mod validate;

pub use error::{Error, Result, remedy};
pub use name::SubjectName;
pub use problem::Problem;
pub use schema::{Age, Dataset, Gender, QaKind, QaPair, Video};
pub use split::Split;
