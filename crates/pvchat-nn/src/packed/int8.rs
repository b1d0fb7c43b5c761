//! Weights in eight bits, with a scale for each 64 inputs of an output.

use super::{
    integer::{Format, Scaled},
    level::Level,
    tile::{Routine, routine},
    vector::LANES,
};

/// See the module.
pub(super) struct Int8;

impl Format for Int8 {
    const GROUP: usize = 64;
    const LARGEST: f32 = 127.0;
    const ONE_MORE: f32 = 0.0;
    const NIBBLES: bool = false;
}

pub(super) fn routine_for(level: Level) -> Routine {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni | Level::Avx512Bf16 => {
            routine!(Scaled<Int8, super::vector::x86::Vnni>, "avx512f,avx512bw,avx512vl,avx512vnni")
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 => routine!(Scaled<Int8, super::vector::x86::WholeAvx2>, "avx2,fma"),
        Level::Portable => routine!(Scaled<Int8, [i32; LANES]>),
    }
}
