//! The error of this crate: what was wrong, with which value or file, and what to do.

use std::path::PathBuf;

/// Everything that can go wrong in `pvchat-eval`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two models that are to be compared answered different questions.
    #[error(
        "answers {index} of the two models belong to different questions ({first} and {second}); sort both alike and drop what only one has"
    )]
    Unpaired {
        /// Position of the first difference.
        index: usize,
        /// What the first model answered.
        first: String,
        /// What the second model answered.
        second: String,
    },
    /// A chart without a point to draw.
    #[error("the chart {title:?} has no finite point; give at least one series with data")]
    NothingToPlot {
        /// The chart's title.
        title: String,
    },
    /// A chart that could not be drawn.
    #[error("the chart {title:?} could not be drawn at {width} x {height} pixels: {problem}; try a larger size")]
    Plot {
        /// The chart's title.
        title: String,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// What the drawing library said.
        problem: String,
    },
    /// A file of a text encoder that cannot be used.
    #[error("{}: {problem}; {remedy}", file.display())]
    Encoder {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// What a judge replied is no mark.
    #[error("the judge {judge} replied {reply:?}: {problem}")]
    Reply {
        /// The judge.
        judge: String,
        /// What it replied, shortened.
        reply: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A judge that could not be asked.
    #[error("the judge {judge} could not be asked: {source}")]
    Judge {
        /// The judge.
        judge: String,
        /// What its transport says.
        source: Failure,
    },
    /// Weights of a text encoder that do not fit.
    #[error(transparent)]
    Model(#[from] pvchat_model::Error),
    /// A file that could not be written.
    #[error(transparent)]
    File(#[from] pvchat_data::Error),
    /// A picture that could not be encoded.
    #[error("{}: {source}", file.display())]
    Image {
        /// The file.
        file: PathBuf,
        /// What the encoder said.
        source: image::ImageError,
    },
}

/// Why something that the caller supplied did not do its part.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl From<pvchat_nn::Error> for Error {
    fn from(error: pvchat_nn::Error) -> Self {
        Self::Model(error.into())
    }
}
