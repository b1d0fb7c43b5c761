//! How weights are kept, and which routines that is for.

use super::{Level, bf16, f32, int4, int8, integer, tile::Routine};

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are: four bytes a weight.
    F32,
    /// In bf16: two bytes a weight, three digits. Rows are rounded to it, too, where the processor has products of bf16 and there
    /// is more than one row.
    Bf16,
    /// In eight bits: 1.03 bytes a weight.
    Int8,
    /// In four bits: 0.56 bytes a weight.
    Int4,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Int8, Self::Int4];

    /// Bits of a weight, without the scales.
    pub fn bits(self) -> usize {
        match self {
            Self::F32 => 32,
            Self::Bf16 => 16,
            Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }

    pub(super) fn panel_bytes(self, inputs: usize) -> usize {
        match self {
            Self::F32 => f32::panel_bytes(inputs),
            Self::Bf16 => bf16::panel_bytes(inputs),
            Self::Int8 => integer::panel_bytes::<int8::Int8>(inputs),
            Self::Int4 => integer::panel_bytes::<int4::Int4>(inputs),
        }
    }

    pub(super) fn encode(self, weights: &[f32], to: &mut [u8]) {
        match self {
            Self::F32 => f32::encode(weights, to),
            Self::Bf16 => bf16::encode(weights, to),
            Self::Int8 => integer::encode::<int8::Int8>(weights, to),
            Self::Int4 => integer::encode::<int4::Int4>(weights, to),
        }
    }

    pub(super) fn decode(self, panel: &[u8], to: &mut [f32]) {
        match self {
            Self::F32 => f32::decode(panel, to),
            Self::Bf16 => bf16::decode(panel, to),
            Self::Int8 => integer::decode::<int8::Int8>(panel, to),
            Self::Int4 => integer::decode::<int4::Int4>(panel, to),
        }
    }

    pub(super) fn routine(self, level: Level, rows: usize) -> Routine {
        match self {
            Self::F32 => f32::routine_for(level),
            Self::Bf16 => bf16::routine_for(level, rows),
            Self::Int8 => int8::routine_for(level),
            Self::Int4 => int4::routine_for(level),
        }
    }
}
