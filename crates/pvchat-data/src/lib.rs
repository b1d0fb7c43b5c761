#![doc = include_str!("../README.md")]

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
