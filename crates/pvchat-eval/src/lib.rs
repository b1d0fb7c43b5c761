//! Metrics, tables and plots for personalised video chat.
//!
//! [`presence`](presence::presence) reads out of a free answer whether it says that the subject is there;
//! [`accuracy`] counts such answers, [`bleu`] and [`bert_score`] compare texts, [`judge`] has answers marked for entity
//! specificity and descriptive completeness, [`bootstrap`] says how sure a figure is. Charts need the feature `plots`.
//!
//! ```
//! use pvchat_eval::presence::{Presence, presence};
//! let subject = "Aa".parse()?;
//! assert_eq!(presence("I can't see <Aa> anywhere.", &subject), Presence::Absent);
//! # Ok::<(), pvchat_data::Error>(())
//! ```

pub mod accuracy;
#[cfg(feature = "plots")]
pub mod bars;
pub mod bert_score;
pub mod bleu;
pub mod bootstrap;
pub mod controls;
pub mod curve;
pub mod error;
pub mod judge;
#[cfg(feature = "plots")]
pub mod plot;
pub mod presence;
pub mod table;

pub use error::{Error, Failure, Result};
