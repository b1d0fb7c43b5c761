//! Which instructions a product uses.

use std::sync::LazyLock;

/// Instructions of the processor, from the fewest to the most. Each level has those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Those that every processor of the architecture has.
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512: F, BW and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 with products of bytes (VNNI).
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-512 with products of bytes and of bf16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

/// Found once.
static BEST: LazyLock<Level> = LazyLock::new(Level::find);

impl Level {
    /// The best that this processor has.
    pub fn best() -> Self {
        *BEST
    }

    /// All that this processor has, from the fewest instructions to the most.
    pub fn available() -> Vec<Self> {
        let all = [
            Self::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16,
        ];
        all.into_iter().filter(|level| *level <= Self::best()).collect()
    }

    #[cfg(target_arch = "x86_64")]
    fn find() -> Self {
        use std::arch::is_x86_feature_detected as has;
        if !(has!("avx2") && has!("fma")) {
            Self::Portable
        } else if !(has!("avx512f") && has!("avx512bw") && has!("avx512vl")) {
            Self::Avx2
        } else if !has!("avx512vnni") {
            Self::Avx512
        } else if !has!("avx512bf16") {
            Self::Avx512Vnni
        } else {
            Self::Avx512Bf16
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn find() -> Self {
        Self::Portable
    }
}
