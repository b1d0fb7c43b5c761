//! How the weights of a base are kept, as a choice on the command line.

use std::path::Path;

use burn::tensor::FloatDType;
use clap::ValueEnum;
use pvchat::{
    Vilm,
    nn::{device, packed::Precision},
};

/// How the weights of a base are kept.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kept {
    /// Tensors of burn in f32.
    Plain,
    /// Packed in f32.
    F32,
    /// Packed in bf16.
    Bf16,
    /// Packed in eight bits.
    Int8,
    /// Packed in four bits.
    Int4,
}

impl Kept {
    /// Opens the base of a folder with weights that are kept so.
    ///
    /// # Errors
    /// As [`Vilm::open_in`] and [`Vilm::open_packed`].
    pub fn open(self, folder: &Path) -> Result<Vilm, Box<dyn std::error::Error>> {
        let device = device::default_device()?;
        let precision = match self {
            Self::Plain => return Ok(Vilm::open_in(FloatDType::F32, folder, &device)?),
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            Self::Int8 => Precision::Int8,
            Self::Int4 => Precision::Int4,
        };
        Ok(Vilm::open_packed(precision, folder, &device)?)
    }
}
