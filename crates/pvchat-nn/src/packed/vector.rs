//! Sixteen numbers in the registers of some processor.

/// Numbers of a vector: those of the widest register.
pub(super) const LANES: usize = 16;
pub(super) type Lanes = [f32; LANES];

/// Sixteen numbers. Each method needs the instructions of its kind of vector: it runs only inside a function that is compiled
/// for them and entered where the processor has them.
pub(super) trait Vector: Copy {
    /// Rows of a tile for which the registers have room, times two vectors of sums.
    const ROWS: usize;
    /// Rows of a tile of whole numbers, which has two kinds of sums.
    const WHOLE_ROWS: usize;
    /// Whether there is an instruction that multiplies and adds.
    const FUSED: bool;

    fn splat(value: f32) -> Self;
    /// # Safety
    /// Sixteen numbers must be readable there, in any alignment.
    unsafe fn load(from: *const f32) -> Self;
    /// Numbers of bf16 in pairs: those in the lower halves, then those in the upper ones.
    ///
    /// # Safety
    /// Sixteen pairs must be readable there, in any alignment.
    unsafe fn load_pairs(from: *const u8) -> [Self; 2];
    /// Sixteen numbers of bf16.
    ///
    /// # Safety
    /// Sixteen numbers must be readable there, in any alignment.
    unsafe fn load_halves(from: *const u8) -> Self;
    fn lanes(self) -> Lanes;
    /// The sum of the numbers: of both halves, of their halves, and so on.
    fn sum(self) -> f32;
    fn multiply(self, other: Self) -> Self;
    /// `self + x y`.
    fn multiply_add(self, x: Self, y: Self) -> Self;
}

/// Any processor: what the compiler makes of it.
impl Vector for Lanes {
    const ROWS: usize = 2;
    const WHOLE_ROWS: usize = 2;
    // A call of a function, where the instruction is missing, would be many times as slow as two instructions.
    const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

    #[inline(always)]
    fn splat(value: f32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the caller promises.
        unsafe { from.cast::<Self>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_pairs(from: *const u8) -> [Self; 2] {
        // SAFETY: as the caller promises.
        let pairs = unsafe { from.cast::<[u32; LANES]>().read_unaligned() }.map(u32::from_le);
        [pairs.map(|pair| f32::from_bits(pair << 16)), pairs.map(|pair| f32::from_bits(pair & 0xffff_0000))]
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const u8) -> Self {
        // SAFETY: as the caller promises.
        let halves = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        halves.map(|half| f32::from_bits(u32::from(u16::from_le(half)) << 16))
    }

    #[inline(always)]
    fn lanes(self) -> Lanes {
        self
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let (mut eight, mut four) = ([0.0; 8], [0.0; 4]);
        for lane in 0..8 {
            eight[lane] = self[lane] + self[lane + 8];
        }
        for lane in 0..4 {
            four[lane] = eight[lane] + eight[lane + 4];
        }
        (four[0] + four[2]) + (four[1] + four[3])
    }

    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * other[lane])
    }

    #[inline(always)]
    fn multiply_add(self, x: Self, y: Self) -> Self {
        std::array::from_fn(
            |lane| {
                if Self::FUSED { x[lane].mul_add(y[lane], self[lane]) } else { self[lane] + x[lane] * y[lane] }
            },
        )
    }
}

/// Sixteen sums of whole numbers. As for [`Vector`], each method needs its instructions.
pub(super) trait Whole: Copy {
    /// The vectors that the sums are scaled in.
    type Vector: Vector;
    /// The weights of four inputs for sixteen outputs, unsigned.
    type Weights: Copy;
    /// What [`add_products`](Self::add_products) finds in each byte beyond the weight, unless it is small.
    const OFFSET: i32;

    fn splat(value: i32) -> Self;
    /// Bytes, four inputs for each output.
    ///
    /// # Safety
    /// 64 bytes must be readable there, in any alignment.
    unsafe fn load(from: *const u8) -> Self::Weights;
    /// Numbers of four bits: those of the first sixteen outputs in the lower halves of 64 bytes, those of the next in the upper.
    ///
    /// # Safety
    /// 64 bytes must be readable there, in any alignment.
    unsafe fn load_nibbles(from: *const u8) -> [Self::Weights; 2];
    /// With four inputs, signed bytes at most 127 from zero, times their weights added.
    ///
    /// `SMALL` says that the weights are below 16.
    ///
    /// # Safety
    /// Four bytes must be readable there, in any alignment.
    unsafe fn add_products<const SMALL: bool>(self, inputs: *const u8, weights: Self::Weights) -> Self;
    fn to_floats(self) -> Self::Vector;
}

impl Whole for [i32; LANES] {
    type Vector = Lanes;
    type Weights = [u8; 64];
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn splat(value: i32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> [u8; 64] {
        // SAFETY: as the caller promises.
        unsafe { from.cast::<[u8; 64]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_nibbles(from: *const u8) -> [[u8; 64]; 2] {
        // SAFETY: as the caller promises.
        let bytes = unsafe { Self::load(from) };
        [bytes.map(|byte| byte & 15), bytes.map(|byte| byte >> 4)]
    }

    #[inline(always)]
    unsafe fn add_products<const SMALL: bool>(self, inputs: *const u8, weights: [u8; 64]) -> Self {
        // SAFETY: as the caller promises.
        let inputs = unsafe { inputs.cast::<[i8; 4]>().read_unaligned() };
        std::array::from_fn(|lane| {
            let product = |input: usize| i32::from(inputs[input]) * i32::from(weights[4 * lane + input]);
            self[lane] + (product(0) + product(1)) + (product(2) + product(3))
        })
    }

    #[inline(always)]
    fn to_floats(self) -> Lanes {
        self.map(|sum| sum as f32)
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one for all: these functions run only inside those that are compiled for the instructions and entered where the \
              processor has them; what they read is as the traits demand"
)]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{LANES, Lanes, Vector, Whole};

    /// Made only where the processor has AVX-512 (F and BW).
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    impl Vector for Avx512 {
        const ROWS: usize = 12;
        const WHOLE_ROWS: usize = 6;
        const FUSED: bool = true;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            unsafe { Self(_mm512_set1_ps(value)) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { Self(_mm512_loadu_ps(from)) }
        }

        #[inline(always)]
        unsafe fn load_pairs(from: *const u8) -> [Self; 2] {
            unsafe {
                let pairs = _mm512_loadu_si512(from.cast());
                let upper = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()));
                [_mm512_slli_epi32::<16>(pairs), upper].map(|numbers| Self(_mm512_castsi512_ps(numbers)))
            }
        }

        #[inline(always)]
        unsafe fn load_halves(from: *const u8) -> Self {
            unsafe {
                let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves)))
            }
        }

        #[inline(always)]
        fn lanes(self) -> Lanes {
            let mut lanes = [0.0; LANES];
            unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), self.0) }
            lanes
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            unsafe { _mm512_reduce_add_ps(self.0) }
        }

        #[inline(always)]
        fn multiply(self, other: Self) -> Self {
            unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
        }

        #[inline(always)]
        fn multiply_add(self, x: Self, y: Self) -> Self {
            unsafe { Self(_mm512_fmadd_ps(x.0, y.0, self.0)) }
        }
    }

    impl Avx512 {
        /// With two inputs of bf16, stored at `inputs`, times their weights at `weights` added. Needs AVX-512 BF16.
        ///
        /// # Safety
        /// Sixteen pairs of weights must be readable at `weights` and one pair of inputs at `inputs`, in any alignment.
        #[inline(always)]
        pub unsafe fn add_pairs(self, inputs: *const u8, weights: __m512i) -> Self {
            unsafe {
                let inputs = _mm512_set1_epi32(inputs.cast::<i32>().read_unaligned());
                let as_pairs = |bits| std::mem::transmute::<__m512i, __m512bh>(bits);
                Self(_mm512_dpbf16_ps(self.0, as_pairs(inputs), as_pairs(weights)))
            }
        }
    }

    /// Made only where the processor has AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub struct Avx2([__m256; 2]);

    impl Vector for Avx2 {
        const ROWS: usize = 3;
        const WHOLE_ROWS: usize = 1;
        const FUSED: bool = true;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            unsafe { Self([_mm256_set1_ps(value); 2]) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { Self([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]) }
        }

        #[inline(always)]
        unsafe fn load_pairs(from: *const u8) -> [Self; 2] {
            unsafe {
                let pairs = [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())];
                let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
                [
                    Self(pairs.map(|pairs| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)))),
                    Self(pairs.map(|pairs| _mm256_castsi256_ps(_mm256_and_si256(pairs, upper)))),
                ]
            }
        }

        #[inline(always)]
        unsafe fn load_halves(from: *const u8) -> Self {
            unsafe {
                let halves = [_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast())];
                let wide = |halves| _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves));
                Self(halves.map(|halves| _mm256_castsi256_ps(wide(halves))))
            }
        }

        #[inline(always)]
        fn lanes(self) -> Lanes {
            let mut lanes = [0.0; LANES];
            unsafe {
                _mm256_storeu_ps(lanes.as_mut_ptr(), self.0[0]);
                _mm256_storeu_ps(lanes.as_mut_ptr().add(8), self.0[1]);
            }
            lanes
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            unsafe {
                let eight = _mm256_add_ps(self.0[0], self.0[1]);
                let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            }
        }

        #[inline(always)]
        fn multiply(self, other: Self) -> Self {
            unsafe { Self([_mm256_mul_ps(self.0[0], other.0[0]), _mm256_mul_ps(self.0[1], other.0[1])]) }
        }

        #[inline(always)]
        fn multiply_add(self, x: Self, y: Self) -> Self {
            unsafe { Self([_mm256_fmadd_ps(x.0[0], y.0[0], self.0[0]), _mm256_fmadd_ps(x.0[1], y.0[1], self.0[1])]) }
        }
    }

    /// Made only where the processor has AVX-512 with VNNI.
    #[derive(Clone, Copy)]
    pub struct Vnni(__m512i);

    impl Whole for Vnni {
        type Vector = Avx512;
        type Weights = __m512i;
        const OFFSET: i32 = 128;

        #[inline(always)]
        fn splat(value: i32) -> Self {
            unsafe { Self(_mm512_set1_epi32(value)) }
        }

        #[inline(always)]
        unsafe fn load(from: *const u8) -> __m512i {
            unsafe { _mm512_loadu_si512(from.cast()) }
        }

        #[inline(always)]
        unsafe fn load_nibbles(from: *const u8) -> [__m512i; 2] {
            unsafe {
                let (bytes, lower) = (_mm512_loadu_si512(from.cast()), _mm512_set1_epi8(15));
                [_mm512_and_si512(bytes, lower), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), lower)]
            }
        }

        #[inline(always)]
        unsafe fn add_products<const SMALL: bool>(self, inputs: *const u8, weights: __m512i) -> Self {
            unsafe {
                let inputs = _mm512_set1_epi32(inputs.cast::<i32>().read_unaligned());
                Self(_mm512_dpbusd_epi32(self.0, weights, inputs))
            }
        }

        #[inline(always)]
        fn to_floats(self) -> Avx512 {
            unsafe { Avx512(_mm512_cvtepi32_ps(self.0)) }
        }
    }

    /// Made only where the processor has AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub struct WholeAvx2([__m256i; 2]);

    impl Whole for WholeAvx2 {
        type Vector = Avx2;
        type Weights = [__m256i; 2];
        const OFFSET: i32 = 0;

        #[inline(always)]
        fn splat(value: i32) -> Self {
            unsafe { Self([_mm256_set1_epi32(value); 2]) }
        }

        #[inline(always)]
        unsafe fn load(from: *const u8) -> [__m256i; 2] {
            unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
        }

        #[inline(always)]
        unsafe fn load_nibbles(from: *const u8) -> [[__m256i; 2]; 2] {
            unsafe {
                let (bytes, lower) = (Self::load(from), _mm256_set1_epi8(15));
                [
                    bytes.map(|bytes| _mm256_and_si256(bytes, lower)),
                    bytes.map(|bytes| _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), lower)),
                ]
            }
        }

        /// The instruction adds pairs of products in 16 bits, in which two of unsigned and signed bytes have no room. So it is
        /// given `weight - 128` without its sign, and the inputs with that sign: at most 32 258 for a pair.
        #[inline(always)]
        unsafe fn add_products<const SMALL: bool>(self, inputs: *const u8, weights: [__m256i; 2]) -> Self {
            unsafe {
                let inputs = _mm256_set1_epi32(inputs.cast::<i32>().read_unaligned());
                let mut sums = self.0;
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    let pairs = if SMALL {
                        _mm256_maddubs_epi16(weights, inputs)
                    } else {
                        let signed = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
                        _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(inputs, signed))
                    };
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                }
                Self(sums)
            }
        }

        #[inline(always)]
        fn to_floats(self) -> Avx2 {
            unsafe { Avx2(self.0.map(|sums| _mm256_cvtepi32_ps(sums))) }
        }
    }
}
