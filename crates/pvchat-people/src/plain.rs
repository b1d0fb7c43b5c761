//! The layers on the CPU, on plain numbers with the channels last: no copies between layouts, bias, activation and
//! shortcut in the same pass as the convolution, and 16 output channels side by side in vector registers.
//!
//! A tensor framework multiplies matrices that it first copies from the picture, which costs more than the products where
//! networks are as narrow as these are.

use std::{cell::RefCell, ops::Range};

/// Output channels that are computed side by side; weights are packed in panels of as many.
const LANES: usize = 16;
pub(crate) type Lanes = [f32; LANES];

/// As many numbers as a panel has channels, in the registers of some processor.
trait Vector: Copy {
    fn splat(value: f32) -> Self;
    fn load(values: &Lanes) -> Self;
    fn store(self, values: &mut Lanes);
    /// At most as many numbers as there are lanes, and zeros.
    fn load_part(values: &[f32]) -> Self;
    /// The first lanes only, as many as there is place for.
    fn store_part(self, values: &mut [f32]);
    fn add(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    /// `self + x * y`.
    fn multiply_add(self, x: Self, y: Self) -> Self;
    /// Negative numbers times `slope`.
    fn leak(self, slope: Self) -> Self;
}

/// Any processor: what the compiler makes of it.
impl Vector for Lanes {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    fn load(values: &Lanes) -> Self {
        *values
    }

    #[inline(always)]
    fn store(self, values: &mut Lanes) {
        *values = self;
    }

    #[inline(always)]
    fn load_part(values: &[f32]) -> Self {
        std::array::from_fn(|lane| values.get(lane).copied().unwrap_or(0.0))
    }

    #[inline(always)]
    fn store_part(self, values: &mut [f32]) {
        values.iter_mut().zip(self).for_each(|(to, value)| *to = value);
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] > other[lane] { self[lane] } else { other[lane] })
    }

    #[inline(always)]
    fn multiply_add(self, x: Self, y: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + x[lane] * y[lane])
    }

    #[inline(always)]
    fn leak(self, slope: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] < 0.0 { self[lane] * slope[lane] } else { self[lane] })
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one for all: these functions run only inside those that `for_the_widest_registers` compiles for the instructions \
              and enters where the processor has them; 16 numbers are read and written behind references to 16, and parts \
              behind masks of their lengths"
)]
pub(crate) mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, Vector};

    /// Made only where the processor has AVX-512.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    impl Vector for Avx512 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            unsafe { Self(_mm512_set1_ps(value)) }
        }

        #[inline(always)]
        fn load(values: &Lanes) -> Self {
            unsafe { Self(_mm512_loadu_ps(values.as_ptr())) }
        }

        #[inline(always)]
        fn store(self, values: &mut Lanes) {
            unsafe { _mm512_storeu_ps(values.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn load_part(values: &[f32]) -> Self {
            unsafe { Self(_mm512_maskz_loadu_ps(first(values.len()), values.as_ptr())) }
        }

        #[inline(always)]
        fn store_part(self, values: &mut [f32]) {
            unsafe { _mm512_mask_storeu_ps(values.as_mut_ptr(), first(values.len()), self.0) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            unsafe { Self(_mm512_add_ps(self.0, other.0)) }
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            unsafe { Self(_mm512_max_ps(self.0, other.0)) }
        }

        #[inline(always)]
        fn multiply_add(self, x: Self, y: Self) -> Self {
            unsafe { Self(_mm512_fmadd_ps(x.0, y.0, self.0)) }
        }

        #[inline(always)]
        fn leak(self, slope: Self) -> Self {
            unsafe {
                let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, _mm512_setzero_ps());
                Self(_mm512_mask_mul_ps(self.0, negative, self.0, slope.0))
            }
        }
    }

    /// A bit for each of the first lanes.
    #[inline(always)]
    fn first(lanes: usize) -> __mmask16 {
        ((1u32 << lanes.min(super::LANES)) - 1) as __mmask16
    }

    /// Made only where the processor has AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2([__m256; 2]);

    impl Vector for Avx2 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            unsafe { Self([_mm256_set1_ps(value); 2]) }
        }

        #[inline(always)]
        fn load(values: &Lanes) -> Self {
            unsafe { Self([_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values.as_ptr().add(8))]) }
        }

        #[inline(always)]
        fn store(self, values: &mut Lanes) {
            unsafe {
                _mm256_storeu_ps(values.as_mut_ptr(), self.0[0]);
                _mm256_storeu_ps(values.as_mut_ptr().add(8), self.0[1]);
            }
        }

        #[inline(always)]
        fn load_part(values: &[f32]) -> Self {
            Self::load(&<Lanes>::try_from(values).unwrap_or_else(|_| Lanes::load_part(values)))
        }

        #[inline(always)]
        fn store_part(self, values: &mut [f32]) {
            let mut lanes = [0.0; super::LANES];
            self.store(&mut lanes);
            match <&mut [f32; 8]>::try_from(&mut *values) {
                Ok(half) => half.copy_from_slice(&lanes[..8]),
                Err(_) => lanes.store_part(values),
            }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            unsafe { Self([_mm256_add_ps(self.0[0], other.0[0]), _mm256_add_ps(self.0[1], other.0[1])]) }
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            unsafe { Self([_mm256_max_ps(self.0[0], other.0[0]), _mm256_max_ps(self.0[1], other.0[1])]) }
        }

        #[inline(always)]
        fn multiply_add(self, x: Self, y: Self) -> Self {
            unsafe { Self([_mm256_fmadd_ps(x.0[0], y.0[0], self.0[0]), _mm256_fmadd_ps(x.0[1], y.0[1], self.0[1])]) }
        }

        #[inline(always)]
        fn leak(self, slope: Self) -> Self {
            unsafe {
                // The sign bit chooses, so that minus zero is multiplied, too, and stays zero.
                let ([low, high], [low_slope, high_slope]) = (self.0, slope.0);
                let (low_times, high_times) = (_mm256_mul_ps(low, low_slope), _mm256_mul_ps(high, high_slope));
                Self([_mm256_blendv_ps(low, low_times, low), _mm256_blendv_ps(high, high_times, high)])
            }
        }
    }
}

/// Defines a function that runs `$body::<V, P, B>` (an `#[inline(always)]` function) in a version for AVX-512, AVX2 or
/// whatever else the processor has: `V` are its vectors, and its registers hold `P` points times `B` panels of sums.
macro_rules! for_the_widest_registers {
    (fn $name:ident($($argument:ident: $kind:ty),* $(,)?) = $body:ident) => {
        fn $name($($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($argument: $kind),*) {
                    $body::<$crate::plain::x86::Avx512, 8, 2>($($argument),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $kind),*) {
                    $body::<$crate::plain::x86::Avx2, 6, 1>($($argument),*);
                }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has the feature that the function is compiled for.
                    return unsafe { avx512($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has the features that the function is compiled for.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body::<$crate::plain::Lanes, 4, 1>($($argument),*);
        }
    };
}

pub(crate) use for_the_widest_registers;

thread_local! {
    /// Memory of maps that are gone: fresh pages cost as much as a layer that is computed in them.
    static MEMORY: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// At least this many numbers, of any value.
fn memory(length: usize) -> Vec<f32> {
    let kept = MEMORY.with_borrow_mut(|kept| {
        let fits = kept.iter().enumerate().filter(|(_, memory)| memory.len() >= length);
        let place = fits.min_by_key(|(_, memory)| memory.len()).map(|(place, _)| place);
        place.map(|place| kept.swap_remove(place))
    });
    kept.unwrap_or_else(|| vec![0.0; length])
}

/// Keeps memory for the next map.
fn recycle(memory: Vec<f32>) {
    const MOST: usize = 8;
    // A thread that ends has no place for it any more.
    let _ = MEMORY.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        kept.push(memory);
        if kept.len() > MOST {
            kept.remove(0);
        }
    });
}

/// Maps `[n, height, width, channels]`.
#[derive(Debug)]
pub(crate) struct Plain {
    shape: [usize; 4],
    /// The maps, then zeros: a point that represents all points outside, and padding for reads past the end of a point.
    values: Vec<f32>,
}

impl Drop for Plain {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.values));
    }
}

impl Plain {
    /// Maps of any content.
    fn new(shape: [usize; 4]) -> Self {
        let length: usize = shape.iter().product();
        let end = length + shape[3].next_multiple_of(LANES);
        let mut values = memory(end);
        values[length..end].fill(0.0);
        Self { shape, values }
    }

    /// Maps of these values, channels last; zeros where some are missing.
    pub(crate) fn of(values: &[f32], shape: [usize; 4]) -> Self {
        let mut maps = Self::new(shape);
        let (given, missing) = maps.values_mut().split_at_mut(values.len().min(shape.iter().product()));
        given.copy_from_slice(&values[..given.len()]);
        missing.fill(0.0);
        maps
    }

    /// Maps of these values in the order `[n, channels, height, width]`, of which the shape is given.
    pub(crate) fn of_planes(values: &[f32], [n, channels, height, width]: [usize; 4]) -> Self {
        let mut maps = Self::of(&[], [n, height, width, channels]);
        for (number, plane) in values.chunks_exact((height * width).max(1)).enumerate().take(n * channels) {
            let first = number / channels * height * width * channels + number % channels;
            maps.values[first..].iter_mut().step_by(channels).zip(plane).for_each(|(to, value)| *to = *value);
        }
        maps
    }

    /// The values in the order `[n, channels, height, width]`.
    pub(crate) fn planes(&self) -> Vec<f32> {
        let [n, height, width, channels] = self.shape;
        let mut planes = Vec::with_capacity(n * height * width * channels);
        for sample in self.values().chunks_exact((height * width * channels).max(1)) {
            (0..channels).for_each(|channel| planes.extend(sample[channel..].iter().step_by(channels)));
        }
        planes
    }

    /// `[n, height, width, channels]`.
    pub(crate) fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The values, channels last.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values[..self.shape.iter().product()]
    }

    fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.shape.iter().product()]
    }

    /// With zeros around: rows and columns before and after.
    fn padded(&self, [(above, below), (left, right)]: [(usize, usize); 2]) -> Self {
        let [n, height, width, channels] = self.shape;
        let mut maps = Self::new([n, above + height + below, left + width + right, channels]);
        let row = maps.shape[2] * channels;
        maps.values_mut().fill(0.0);
        for (number, source) in self.values().chunks_exact(width * channels).enumerate() {
            let (sample, y) = (number / height, number % height);
            let at = (sample * (above + height + below) + above + y) * row + left * channels;
            maps.values[at..at + source.len()].copy_from_slice(source);
        }
        maps
    }

    /// The greatest value of each window of `kernel` points; `around` says how far windows may reach outside: rows (above, below),
    /// columns (left, right).
    pub(crate) fn max_pool(&self, kernel: usize, stride: usize, around: [(usize, usize); 2]) -> Self {
        let [height, width] = [0, 1].map(|axis| windows(self.shape[1 + axis], kernel, stride, around[axis]));
        let mut maps = Self::new([self.shape[0], height, width, self.shape[3]]);
        let window = Window { kernel, stride, before: around.map(|(before, _)| before) };
        pool(self, &window, true, [height, width], maps.values_mut());
        maps
    }

    /// The mean of each window of `kernel` points.
    pub(crate) fn average_pool(&self, kernel: usize, stride: usize) -> Self {
        let [height, width] = [1, 2].map(|axis| windows(self.shape[axis], kernel, stride, (0, 0)));
        let mut maps = Self::new([self.shape[0], height, width, self.shape[3]]);
        pool(self, &Window { kernel, stride, before: [0, 0] }, false, [height, width], maps.values_mut());
        let count = (kernel * kernel) as f32;
        maps.values_mut().iter_mut().for_each(|value| *value /= count);
        maps
    }

    /// The mean of each channel, `[n, 1, 1, channels]`.
    pub(crate) fn mean(&self) -> Self {
        let [n, height, width, channels] = self.shape;
        let mut maps = Self::new([n, 1, 1, channels]);
        let points = self.values().chunks_exact((height * width * channels).max(1));
        for (mean, points) in maps.values[..n * channels].chunks_exact_mut(channels).zip(points) {
            mean.fill(0.0);
            for point in points.chunks_exact(channels) {
                mean.iter_mut().zip(point).for_each(|(sum, value)| *sum += value);
            }
            mean.iter_mut().for_each(|sum| *sum /= (height * width) as f32);
        }
        maps
    }

    /// As many channels as `channels`, at least as many as there are; the new ones are zero.
    pub(crate) fn widened(&self, channels: usize) -> Self {
        let [n, height, width, narrow] = self.shape;
        let channels = channels.max(narrow);
        let mut maps = Self::new([n, height, width, channels]);
        for (wide, point) in maps.values_mut().chunks_exact_mut(channels).zip(self.values().chunks_exact(narrow)) {
            let (same, new) = wide.split_at_mut(narrow);
            same.copy_from_slice(point);
            new.fill(0.0);
        }
        maps
    }

    /// Logits to probabilities over the channels.
    pub(crate) fn softmax(&self) -> Self {
        let mut maps = Self::of(self.values(), self.shape);
        let channels = self.shape[3];
        for point in maps.values_mut().chunks_exact_mut(channels) {
            let most = point.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            point.iter_mut().for_each(|value| *value = (*value - most).exp());
            let sum: f32 = point.iter().sum();
            point.iter_mut().for_each(|value| *value /= sum);
        }
        maps
    }

    /// Every value changed by itself.
    pub(crate) fn each(&self, change: impl Fn(f32) -> f32) -> Self {
        let mut maps = Self::new(self.shape);
        maps.values_mut().iter_mut().zip(self.values()).for_each(|(to, value)| *to = change(*value));
        maps
    }

    /// The sum with maps of the same shape.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let mut maps = Self::of(self.values(), self.shape);
        maps.values_mut().iter_mut().zip(other.values()).for_each(|(sum, value)| *sum += value);
        maps
    }

    /// Every channel times its gate, `[n, 1, 1, channels]`.
    pub(crate) fn gated(&self, gates: &Self) -> Self {
        let mut maps = Self::of(self.values(), self.shape);
        let [_, height, width, channels] = self.shape;
        let samples = maps.values_mut().chunks_exact_mut((height * width * channels).max(1));
        for (sample, gates) in samples.zip(gates.values().chunks_exact(channels.max(1))) {
            for point in sample.chunks_exact_mut(channels.max(1)) {
                point.iter_mut().zip(gates).for_each(|(value, gate)| *value *= gate);
            }
        }
        maps
    }

    /// Twice the height and width, mixed from neighbours: points are in the middle of their squares, and the edge is repeated.
    pub(crate) fn doubled(&self) -> Self {
        let [n, height, width, channels] = self.shape;
        let mut maps = Self::new([n, 2 * height, 2 * width, channels]);
        // The nearer source point, which weighs three quarters, and the other one.
        let taps = |place: usize, size: usize| {
            let near = place / 2;
            let other = if place.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(size - 1) };
            [near, other]
        };
        let values = self.values();
        let at = |sample: usize, y: usize, x: usize| &values[((sample * height + y) * width + x) * channels..][..channels];
        for (number, point) in maps.values_mut().chunks_exact_mut(channels.max(1)).enumerate() {
            let (row, x) = (number / (2 * width), number % (2 * width));
            let (sample, y) = (row / (2 * height), row % (2 * height));
            let ([y, other_y], [x, other_x]) = (taps(y, height), taps(x, width));
            let near = at(sample, y, x).iter().zip(at(sample, y, other_x));
            let other = at(sample, other_y, x).iter().zip(at(sample, other_y, other_x));
            for (to, ((a, b), (c, d))) in point.iter_mut().zip(near.zip(other)) {
                *to = 0.75 * (0.75 * a + 0.25 * b) + 0.25 * (0.75 * c + 0.25 * d);
            }
        }
        maps
    }

    /// The sum of two maps of any sizes, zero where they end; negative sums become zero.
    pub(crate) fn sum_relu(&self, other: &Self) -> Self {
        let mut maps = Self::new([0, 1, 2, 3].map(|axis| self.shape[axis].max(other.shape[axis])));
        let [_, height, width, channels] = maps.shape;
        maps.values_mut().fill(0.0);
        for part in [self, other] {
            let [_, part_height, part_width, part_channels] = part.shape;
            for (number, point) in part.values().chunks_exact(part_channels).enumerate() {
                let (row, x) = (number / part_width, number % part_width);
                let (sample, y) = (row / part_height, row % part_height);
                let at = ((sample * height + y) * width + x) * channels;
                maps.values[at..at + part_channels].iter_mut().zip(point).for_each(|(sum, value)| *sum += value);
            }
        }
        maps.values_mut().iter_mut().for_each(|value| *value = value.max(0.0));
        maps
    }
}

/// How a window is moved over maps; it starts `before` (rows, columns) outside.
struct Window {
    kernel: usize,
    stride: usize,
    before: [usize; 2],
}

for_the_widest_registers! {
    fn pool(maps: &Plain, window: &Window, greatest: bool, size: [usize; 2], output: &mut [f32]) = pool_of
}

/// The greatest value or the sum of each window.
#[inline(always)]
fn pool_of<V: Vector, const P: usize, const B: usize>(
    maps: &Plain,
    window: &Window,
    greatest: bool,
    [out_height, out_width]: [usize; 2],
    output: &mut [f32],
) {
    let [_, height, width, channels] = maps.shape;
    for (point, output) in output.chunks_exact_mut(channels).enumerate() {
        let (row, x) = (point / out_width, point % out_width);
        let (sample, y) = (row / out_height, row % out_height);
        let rows = inside(y * window.stride, window.before[0], window.kernel, height);
        let columns = inside(x * window.stride, window.before[1], window.kernel, width);
        for (panel, output) in output.chunks_mut(LANES).enumerate() {
            let mut sum = V::splat(if greatest { f32::NEG_INFINITY } else { 0.0 });
            for row in rows.clone() {
                for column in columns.clone() {
                    let at = ((sample * height + row) * width + column) * channels + panel * LANES;
                    let x = V::load_part(&maps.values[at..at + output.len()]);
                    sum = if greatest { sum.max(x) } else { sum.add(x) };
                }
            }
            sum.store_part(output);
        }
    }
}

/// Windows of `kernel` points over `size` points with as many before and after.
fn windows(size: usize, kernel: usize, stride: usize, (before, after): (usize, usize)) -> usize {
    (size + before + after).checked_sub(kernel).map_or(0, |rest| rest / stride + 1)
}

/// The places of a window, which starts at `start - before`, that a map of `size` points has.
fn inside(start: usize, before: usize, kernel: usize, size: usize) -> Range<usize> {
    start.saturating_sub(before).min(size)..(start + kernel).saturating_sub(before).min(size)
}

/// What a convolution does, and its weights in the order in which they are read.
#[derive(Debug)]
pub(crate) struct Packed {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    depthwise: bool,
    /// Of a full convolution: for each panel, row, column and input channel the weights of its output channels. Of a
    /// depthwise one: for each panel, row and column.
    weights: Vec<Lanes>,
    /// Panel by panel, as the slopes.
    bias: Vec<Lanes>,
    /// What negative sums are multiplied by.
    slope: Vec<Lanes>,
}

impl Packed {
    /// Weights `[output, input, kernel, kernel]` and `[output]`. As many groups as channels where `input` is 1 and `output`
    /// is not.
    pub(crate) fn new(weights: &[f32], bias: &[f32], [output, input, kernel]: [usize; 3], stride: usize) -> Self {
        let panels = output.div_ceil(LANES);
        let taps = kernel * kernel;
        let at = |channel: usize, place: usize| if channel < output { weights[channel * input * taps + place] } else { 0.0 };
        let weights = (0..panels * taps * input).map(|number| {
            let (panel, rest) = (number / (taps * input), number % (taps * input));
            let (tap, channel) = (rest / input, rest % input);
            std::array::from_fn(|lane| at(panel * LANES + lane, channel * taps + tap))
        });
        let weights = weights.collect();
        let mut packed = Self {
            input,
            output,
            kernel,
            stride,
            depthwise: input == 1,
            weights,
            bias: lanes(bias),
            slope: vec![[1.0; LANES]; panels],
        };
        if packed.depthwise {
            packed.input = output;
        }
        packed
    }

    /// Multiplies negative sums by a slope for each output channel.
    pub(crate) fn set_slope(&mut self, slope: &[f32]) {
        self.slope = lanes(slope);
    }

    fn sizes(&self, [n, height, width, _]: [usize; 4], padding: [(usize, usize); 2]) -> [usize; 4] {
        let size = |size: usize, around: (usize, usize)| windows(size, self.kernel, self.stride, around);
        [n, size(height, padding[0]), size(width, padding[1]), self.output]
    }

    /// Padded by rows (above, below) and columns (left, right) of zeros; a shortcut of the size of the output is added before
    /// the activation.
    pub(crate) fn forward(&self, x: &Plain, padding: [(usize, usize); 2], shortcut: Option<&Plain>) -> Plain {
        /// With fewer channels than this, rows of a window are better read in one go, which wants the zeros in their places.
        const FEW: usize = 8;
        let padded = padding != [(0, 0); 2];
        if padded && self.input < FEW {
            return self.forward(&x.padded(padding), [(0, 0); 2], shortcut);
        }
        let mut output = Plain::new(self.sizes(x.shape, padding));
        let [n, height, width, _] = output.shape;
        let before = padding.map(|(before, _)| before);
        if self.depthwise {
            depthwise(self, x, before, [height, width], 0..n * height, output.values_mut());
        } else {
            let before = padded.then_some(before);
            let source = Source { values: &x.values, shape: x.shape, before, size: [height, width] };
            convolve(self, &source, shortcut.map(Plain::values), output.values_mut());
        }
        output
    }

    /// This depthwise convolution, padded as in [`forward`](Self::forward), and then a pointwise one. A few rows at a time go
    /// through both, so that the values between them stay in the cache.
    pub(crate) fn then(&self, pointwise: &Self, x: &Plain, padding: [(usize, usize); 2], shortcut: Option<&Plain>) -> Plain {
        const STRIP: usize = 1 << 14;
        let [n, height, width, channels] = self.sizes(x.shape, padding);
        let mut output = Plain::new([n, height, width, pointwise.output]);
        let strip = (STRIP / (width * channels).max(1)).clamp(1, (n * height).max(1));
        let mut between = Plain::new([1, strip, width, channels]);
        for first in (0..n * height).step_by(strip) {
            let rows = first..(first + strip).min(n * height);
            let shape = [1, rows.len(), width, channels];
            let place = first * width * pointwise.output..rows.end * width * pointwise.output;
            let before = padding.map(|(before, _)| before);
            depthwise(self, x, before, [height, width], rows, &mut between.values[..shape.iter().product()]);
            let source = Source { values: &between.values, shape, before: None, size: [shape[1], width] };
            let shortcut = shortcut.map(|shortcut| &shortcut.values()[place.clone()]);
            convolve(pointwise, &source, shortcut, &mut output.values[place]);
        }
        output
    }
}

/// Panel by panel, zeros after the end.
fn lanes(values: &[f32]) -> Vec<Lanes> {
    let panel = |values: &[f32]| std::array::from_fn(|lane| values.get(lane).copied().unwrap_or(0.0));
    values.chunks(LANES).map(panel).collect()
}

/// What a full convolution reads.
struct Source<'a> {
    /// Of the map; where it is padded, zeros for a point outside follow.
    values: &'a [f32],
    shape: [usize; 4],
    /// Rows and columns of zeros before the map; `None` without any padding.
    before: Option<[usize; 2]>,
    /// Height and width of the output.
    size: [usize; 2],
}

impl Source<'_> {
    /// Where the values for `P` points of the output from `first` on begin, for each contiguous stretch of the window: a point if
    /// there is padding, else a row.
    #[inline(always)]
    fn places<const P: usize>(&self, layer: &Packed, first: usize, places: &mut [[usize; P]]) {
        let [n, height, width, channels] = self.shape;
        let [out_height, out_width] = self.size;
        let outside = n * height * width * channels;
        let (row, mut out_x) = (first / out_width, first % out_width);
        let (mut sample, mut out_y) = (row / out_height * height, row % out_height);
        for point in 0..P {
            if out_x == out_width {
                (out_x, out_y) = (0, out_y + 1);
                if out_y == out_height {
                    (out_y, sample) = (0, sample + height);
                }
            }
            let (y, x) = (out_y * layer.stride, out_x * layer.stride);
            out_x += 1;
            let Some([above, left]) = self.before else {
                for (tap, places) in places.iter_mut().enumerate() {
                    places[point] = ((sample + y + tap) * width + x) * channels;
                }
                continue;
            };
            for (tap, places) in places.iter_mut().enumerate() {
                // Before the map the difference wraps and is large, too.
                let (y, x) = ((y + tap / layer.kernel).wrapping_sub(above), (x + tap % layer.kernel).wrapping_sub(left));
                let is_inside = y < height && x < width;
                places[point] = if is_inside { ((sample + y) * width + x) * channels } else { outside };
            }
        }
    }
}

for_the_widest_registers! {
    fn convolve(layer: &Packed, source: &Source<'_>, shortcut: Option<&[f32]>, output: &mut [f32]) = convolve_of
}

#[inline(always)]
fn convolve_of<V: Vector, const P: usize, const B: usize>(
    layer: &Packed,
    source: &Source<'_>,
    shortcut: Option<&[f32]>,
    output: &mut [f32],
) {
    let (points, panels) = (output.len() / layer.output, layer.bias.len());
    let mut panel = 0;
    while panel < panels {
        let together = if panel + B <= panels { B } else { 1 };
        match (points >= P, together == B) {
            (true, true) => panels_of::<V, P, B>(layer, source, shortcut, output, panel),
            (true, false) => panels_of::<V, P, 1>(layer, source, shortcut, output, panel),
            (false, true) => panels_of::<V, 1, B>(layer, source, shortcut, output, panel),
            (false, false) => panels_of::<V, 1, 1>(layer, source, shortcut, output, panel),
        }
        panel += together;
    }
}

/// `B` panels of all points, `P` at a time; the last ones may be computed twice.
#[inline(always)]
fn panels_of<V: Vector, const P: usize, const B: usize>(
    layer: &Packed,
    source: &Source<'_>,
    shortcut: Option<&[f32]>,
    output: &mut [f32],
    panel: usize,
) {
    let points = output.len() / layer.output;
    let (taps, run) = match source.before {
        Some(_) => (layer.kernel * layer.kernel, layer.input),
        None => (layer.kernel, layer.kernel * layer.input),
    };
    let weights: [&[Lanes]; B] = std::array::from_fn(|b| &layer.weights[(panel + b) * taps * run..][..taps * run]);
    let (bias, slope): ([V; B], [V; B]) =
        (std::array::from_fn(|b| V::load(&layer.bias[panel + b])), std::array::from_fn(|b| V::load(&layer.slope[panel + b])));
    let mut places = vec![[0; P]; taps];
    let mut next = 0;
    while next < points {
        let first = next.min(points - P);
        next = first + P;
        source.places(layer, first, &mut places);
        let mut sums = [bias; P];
        for (tap, places) in places.iter().enumerate() {
            let mut inputs: [&[f32]; P] = [&[]; P];
            for (input, place) in inputs.iter_mut().zip(places) {
                *input = &source.values[*place..*place + run];
            }
            let weights: [&[Lanes]; B] = weights.map(|weights| &weights[tap * run..][..run]);
            for k in 0..run {
                let mut row = [V::splat(0.0); B];
                for (row, weights) in row.iter_mut().zip(weights) {
                    // SAFETY: each slice has `run` rows.
                    *row = V::load(unsafe { weights.get_unchecked(k) });
                }
                for (sums, input) in sums.iter_mut().zip(inputs) {
                    // SAFETY: each slice has `run` values.
                    let x = V::splat(unsafe { *input.get_unchecked(k) });
                    for (sum, weights) in sums.iter_mut().zip(row) {
                        *sum = sum.multiply_add(x, weights);
                    }
                }
            }
        }
        // In the order of the sums, both loops: any other way to reach them keeps them out of registers above, at twice the time.
        for (point, sums) in sums.iter().enumerate() {
            for (b, sum) in sums.iter().enumerate() {
                let begin = (first + point) * layer.output + (panel + b) * LANES;
                let place = begin..begin + LANES.min(layer.output - (panel + b) * LANES);
                finish(*sum, slope[b], shortcut.map(|shortcut| &shortcut[place.clone()]), &mut output[place]);
            }
        }
    }
}

/// Shortcut and activation of one panel of one point, whose bias is in the sum.
#[inline(always)]
fn finish<V: Vector>(sum: V, slope: V, shortcut: Option<&[f32]>, output: &mut [f32]) {
    let sum = match shortcut.map(|shortcut| <&Lanes>::try_from(shortcut).map_err(|_| shortcut)) {
        Some(Ok(shortcut)) => sum.add(V::load(shortcut)),
        Some(Err(part)) => sum.add(V::load_part(part)),
        None => sum,
    };
    match <&mut Lanes>::try_from(&mut *output) {
        Ok(output) => sum.leak(slope).store(output),
        Err(_) => sum.leak(slope).store_part(output),
    }
}

for_the_widest_registers! {
    fn depthwise(
        layer: &Packed, x: &Plain, before: [usize; 2], size: [usize; 2], rows: Range<usize>, output: &mut [f32]
    ) = depthwise_of
}

/// These rows of the output, of all samples one after the other.
#[inline(always)]
fn depthwise_of<V: Vector, const P: usize, const B: usize>(
    layer: &Packed,
    maps: &Plain,
    before: [usize; 2],
    [out_height, out_width]: [usize; 2],
    rows: Range<usize>,
    output: &mut [f32],
) {
    /// Points that are computed together, if their windows are side by side.
    const SIDE_BY_SIDE: usize = 4;
    let ([_, height, width, channels], kernel, stride) = (maps.shape, layer.kernel, layer.stride);
    let values = maps.values.as_slice();
    // The windows of these points have all their columns.
    let whole = before[1].div_ceil(stride)..(width + before[1]).checked_sub(kernel).map_or(0, |rest| rest / stride + 1);
    for (row, output) in rows.zip(output.chunks_exact_mut(out_width * channels)) {
        let (sample, y) = (row / out_height, row % out_height);
        let window = inside(y * stride, before[0], kernel, height);
        let above = (window.start + before[0]) - y * stride;
        for (panel, weights) in layer.weights.chunks_exact(kernel * kernel).enumerate() {
            let first = panel * LANES;
            let lanes = LANES.min(channels - first);
            let (bias, slope) = (V::load(&layer.bias[panel]), V::load(&layer.slope[panel]));
            let weights = &weights[above * kernel..(above + window.len()) * kernel];
            let begin = |column: usize| ((sample * height + window.start) * width + column) * channels + first;
            let mut x = 0;
            while x < out_width {
                if kernel == 3 && whole.contains(&x) {
                    let values = &values[begin(x * stride - before[1])..];
                    if stride == 1 && x + SIDE_BY_SIDE <= whole.end {
                        let sums =
                            three_columns::<V, SIDE_BY_SIDE, { SIDE_BY_SIDE + 2 }>(values, [width, channels], weights, bias);
                        for (point, sum) in sums.into_iter().enumerate() {
                            finish(sum, slope, None, &mut output[(x + point) * channels + first..][..lanes]);
                        }
                        x += SIDE_BY_SIDE;
                    } else {
                        let [sum] = three_columns::<V, 1, 3>(values, [width, channels], weights, bias);
                        finish(sum, slope, None, &mut output[x * channels + first..][..lanes]);
                        x += 1;
                    }
                    continue;
                }
                let columns = inside(x * stride, before[1], kernel, width);
                let left = (columns.start + before[1]) - x * stride;
                let mut sum = bias;
                for (down, weights) in weights.chunks_exact(kernel).enumerate() {
                    for (column, weights) in columns.clone().zip(&weights[left..]) {
                        let at = begin(column) + down * width * channels;
                        sum = sum.multiply_add(V::load_part(&values[at..at + lanes]), V::load(weights));
                    }
                }
                finish(sum, slope, None, &mut output[x * channels + first..][..lanes]);
                x += 1;
            }
        }
    }
}

/// Windows of three columns and as many rows as there are weights for, for `N` points side by side, which
/// see `C` columns, two more.
#[inline(always)]
fn three_columns<V: Vector, const N: usize, const C: usize>(
    values: &[f32],
    [width, channels]: [usize; 2],
    weights: &[Lanes],
    bias: V,
) -> [V; N] {
    let mut sums = [bias; N];
    for (down, weights) in weights.as_chunks::<3>().0.iter().enumerate() {
        let begin = down * width * channels;
        let values = &values[begin..begin + (C - 1) * channels + LANES];
        let mut columns = [bias; C];
        for (number, column) in columns.iter_mut().enumerate() {
            // SAFETY: the last of these columns ends where `values` ends; f32 has no other alignment.
            *column = V::load(unsafe { &*values.as_ptr().add(number * channels).cast::<Lanes>() });
        }
        for (across, weights) in weights.iter().enumerate() {
            let weights = V::load(weights);
            for (point, sum) in sums.iter_mut().enumerate() {
                *sum = sum.multiply_add(columns[point + across], weights);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Full and depthwise, each with a part of a panel at the end.
    fn layers() -> [Packed; 2] {
        let noise = |count: usize| (0..count).map(|place| (place as f32 * 12.9898).sin()).collect::<Vec<_>>();
        [[40, 24, 3], [24, 1, 3]].map(|[output, input, kernel]| {
            let mut layer = Packed::new(&noise(output * input * 9), &noise(output), [output, input, kernel], 1);
            layer.set_slope(&noise(output));
            layer
        })
    }

    /// Both layers on maps of 9 x 11 points, by the vectors `V`.
    #[inline(always)]
    fn computed<V: Vector, const P: usize, const B: usize>() -> [Vec<f32>; 2] {
        let values: Vec<f32> = (0..9 * 11 * 24).map(|place| (place as f32 * 78.233).sin()).collect();
        let maps = Plain::of(&values, [1, 9, 11, 24]);
        let source = Source { values: &maps.values, shape: maps.shape, before: Some([1, 1]), size: [9, 11] };
        let mut outputs = [vec![0.0; 9 * 11 * 40], vec![0.0; 9 * 11 * 24]];
        let [full, depthwise] = layers();
        convolve_of::<V, P, B>(&full, &source, None, &mut outputs[0]);
        depthwise_of::<V, P, B>(&depthwise, &maps, [1, 1], [9, 11], 0..9, &mut outputs[1]);
        outputs
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn all_vectors_give_the_same() {
        #[target_feature(enable = "avx512f")]
        fn avx512() -> [Vec<f32>; 2] {
            computed::<x86::Avx512, 8, 2>()
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2() -> [Vec<f32>; 2] {
            computed::<x86::Avx2, 6, 1>()
        }
        let mut all = vec![computed::<Lanes, 4, 1>()];
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has the features.
            all.push(unsafe { avx2() });
        }
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the feature.
            all.push(unsafe { avx512() });
        }
        for other in &all[1..] {
            for (one, other) in all[0].iter().zip(other) {
                assert!(one.iter().zip(other).all(|(one, other)| (one - other).abs() < 3e-5));
            }
        }
    }
}
