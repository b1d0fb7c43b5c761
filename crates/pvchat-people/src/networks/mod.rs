//! The published networks: detectors, landmarks, embedders. Their weights are converted by [`models`](crate::models).

mod blazeface;
mod dlib;
mod eye_contour;
mod kinds;
mod mobilefacenet;
mod mtcnn;
mod selfie;

pub(crate) use blazeface::BlazeFace;
pub(crate) use dlib::DlibResNet;
pub(crate) use eye_contour::EyeContour;
pub use kinds::{EmbedderKind, Network};
pub(crate) use mobilefacenet::MobileFaceNet;
pub(crate) use mtcnn::{ONet, PNet, RNet};
pub(crate) use selfie::SelfieSegmentation;
