//! Vectors of 8 float32 values, and the dispatch to the best ones that the processor has.
//!
//! Code is written once, generic over [`F32x8`]: `[f32; 8]` is the portable reference, `__m256` is
//! used with AVX2 and FMA, a pair of NEON registers on 64-bit Arm. Generic functions are
//! `#[inline(always)]` and do not wrap their bodies in closures, so that all of their code is
//! compiled with the target features of `avx2::run`.
//!
//! Unsafe code: intrinsics, and NEON's prefetch in assembly.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;

use std::sync::atomic::{AtomicBool, Ordering};

/// A vector of eight float32 values.
pub(crate) trait F32x8: Copy {
    fn splat(value: f32) -> Self;
    fn load(values: &[f32; 8]) -> Self;
    fn store(self, values: &mut [f32; 8]);
    /// `self * factor + sum`
    fn multiply_add(self, factor: Self, sum: Self) -> Self;
    fn add(self, other: Self) -> Self;
    /// Prefetches values that will be read soon.
    fn prefetch(values: &[f32]);
    /// Prefetches the cache line of `bytes[place]`; `place` may be out of bounds.
    fn prefetch_bytes(bytes: &[u8], place: usize);
    /// `self * factor`
    fn multiply(self, factor: Self) -> Self;
    /// For each lane, `then` if `self` is greater than `other`, else `otherwise`.
    fn select_gt(self, other: Self, then: Self, otherwise: Self) -> Self;
    /// Whether `self` is greater than `other` in every lane.
    fn all_greater(self, other: Self) -> bool;
    /// For each lane, the lane of `self` with the index in `lanes`, 0 to 7.
    fn permute(self, lanes: &[i32; 8]) -> Self;
    /// Converts whole numbers from 0 to 255 to bytes.
    fn bytes(numbers: [Self; 2]) -> [u8; 16];
}

impl F32x8 for [f32; 8] {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        [value; 8]
    }

    #[inline(always)]
    fn load(values: &[f32; 8]) -> Self {
        *values
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; 8]) {
        *values = self;
    }

    #[inline(always)]
    fn multiply_add(self, factor: Self, sum: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * factor[lane] + sum[lane])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }

    #[inline(always)]
    fn prefetch(_: &[f32]) {}

    #[inline(always)]
    fn prefetch_bytes(_: &[u8], _: usize) {}

    #[inline(always)]
    fn multiply(self, factor: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * factor[lane])
    }

    #[inline(always)]
    fn select_gt(self, other: Self, then: Self, otherwise: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] > other[lane] { then[lane] } else { otherwise[lane] })
    }

    #[inline(always)]
    fn all_greater(self, other: Self) -> bool {
        self.iter().zip(&other).all(|(one, other)| one > other)
    }

    #[inline(always)]
    fn permute(self, lanes: &[i32; 8]) -> Self {
        lanes.map(|lane| self[lane as usize & 7])
    }

    #[inline(always)]
    fn bytes(numbers: [Self; 2]) -> [u8; 16] {
        std::array::from_fn(|lane| numbers[lane / 8][lane % 8] as u8)
    }
}

/// A computation that is generic over vectors.
pub(crate) trait SimdOp {
    fn eval<V: F32x8>(self);
}

/// Set by [`use_arrays`].
static ARRAYS: AtomicBool = AtomicBool::new(false);

/// Makes kernels ignore the processor's vectors from now on, in the whole process: tests run on the
/// arrays that other processors use, too.
pub fn use_arrays() {
    ARRAYS.store(true, Ordering::Relaxed);
}

/// Runs `op` with the fastest vectors that the processor has.
pub(crate) fn run(op: impl SimdOp) {
    if ARRAYS.load(Ordering::Relaxed) {
        return op.eval::<[f32; 8]>();
    }
    #[cfg(target_arch = "aarch64")]
    op.eval::<neon::Neon>();
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the features that `avx2::run` is compiled for.
        return unsafe { avx2::run(op) };
    }
    #[cfg(not(target_arch = "aarch64"))]
    op.eval::<[f32; 8]>();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds out whether vectors are arrays: registers are aligned.
    struct AreArrays<'a>(&'a mut Option<bool>);

    impl SimdOp for AreArrays<'_> {
        fn eval<V: F32x8>(self) {
            *self.0 = Some(align_of::<V>() == align_of::<f32>());
        }
    }

    /// Whether the processor has vectors that are used here.
    fn has_vectors() -> bool {
        #[cfg(target_arch = "x86_64")]
        return std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
        #[cfg(not(target_arch = "x86_64"))]
        return cfg!(target_arch = "aarch64");
    }

    #[test]
    fn the_variable_for_tests_turns_the_processors_vectors_off() {
        let mut arrays = None;
        run(AreArrays(&mut arrays));
        assert_eq!(arrays, Some(!has_vectors() || crate::arrays::are_asked_for()));
    }

    /// What every operation makes of the same values.
    #[derive(Default, Debug, PartialEq)]
    struct Results {
        splat: [u32; 8],
        add: [u32; 8],
        multiply: [u32; 8],
        select_gt: [u32; 8],
        all_greater: bool,
        permute: [u32; 8],
        bytes: [u8; 16],
        /// Apart from the others: arrays round the product, registers do not.
        multiply_add: [f32; 8],
    }

    /// Computes [`Results`].
    struct Operations<'a> {
        values: [[f32; 8]; 4],
        lanes: [i32; 8],
        numbers: [[f32; 8]; 2],
        results: &'a mut Results,
    }

    impl SimdOp for Operations<'_> {
        #[inline(always)]
        fn eval<V: F32x8>(self) {
            let [a, b, c, d] = self.values;
            let [a, b, c, d] = [V::load(&a), V::load(&b), V::load(&c), V::load(&d)];
            let stored = |vector: V| {
                let mut values = [0.0; 8];
                vector.store(&mut values);
                values
            };
            // The sign and payload of a NaN that an operation makes are not defined.
            let bits = |vector: V| stored(vector).map(|value| if value.is_nan() { u32::MAX } else { value.to_bits() });
            V::prefetch(&self.values[0]);
            V::prefetch_bytes(&[], usize::MAX);
            *self.results = Results {
                splat: bits(V::splat(self.values[0][0])),
                add: bits(a.add(b)),
                multiply: bits(a.multiply(b)),
                select_gt: bits(a.select_gt(b, c, d)),
                all_greater: a.all_greater(b),
                permute: bits(a.permute(&self.lanes)),
                bytes: V::bytes([V::load(&self.numbers[0]), V::load(&self.numbers[1])]),
                multiply_add: stored(a.multiply_add(b, c)),
            };
        }
    }

    /// A generator of reproducible numbers (Knuth's MMIX).
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) % below
        }

        fn float(&mut self) -> f32 {
            (self.next(1 << 24) as f32 / (1 << 23) as f32 - 1.0) * 3.0
        }
    }

    #[test]
    fn every_vector_computes_what_arrays_do() {
        let mut numbers = Numbers(1);
        let (mut fused, mut all_greater) = (0, 0);
        for round in 0..2000 {
            let mut values: [[f32; 8]; 4] = std::array::from_fn(|_| std::array::from_fn(|_| numbers.float()));
            // Equal values, signed zeros, infinities and NaN in the comparison, one lane at a time.
            let lane = numbers.next(8) as usize;
            let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, values[1][lane]];
            match round % 4 {
                0 => values[0] = values[1].map(|value| value + 1.0),
                1 => {}
                2 => values[0][lane] = special[numbers.next(6) as usize],
                _ => values[1][lane] = special[numbers.next(5) as usize],
            }
            if round % 8 == 0 {
                // Greater in all lanes but one, where it is equal or not comparable.
                values[0][lane] = if round % 16 == 0 { values[1][lane] } else { f32::NAN };
            }
            let lanes = std::array::from_fn(|_| numbers.next(8) as i32);
            let whole = std::array::from_fn(|_| std::array::from_fn(|_| numbers.next(256) as f32));
            let compute = |work: fn(Operations<'_>)| {
                let mut results = Results::default();
                work(Operations { values, lanes, numbers: whole, results: &mut results });
                results
            };
            let (mut vectors, mut arrays) = (compute(|op| run(op)), compute(|op| op.eval::<[f32; 8]>()));
            all_greater += usize::from(arrays.all_greater);
            let [a, b, c, _] = values;
            for lane in 0..8 {
                let exact = a[lane].mul_add(b[lane], c[lane]);
                let rounded = a[lane] * b[lane] + c[lane];
                let expected = if has_vectors() && !crate::arrays::are_asked_for() { exact } else { rounded };
                let found = vectors.multiply_add[lane];
                assert!(
                    found == expected || found.is_nan() && expected.is_nan(),
                    "round {round}, lane {lane}: {found}"
                );
                fused += usize::from(exact != rounded);
            }
            vectors.multiply_add = [0.0; 8];
            arrays.multiply_add = [0.0; 8];
            assert_eq!(vectors, arrays, "round {round}: {values:?} {lanes:?}");
        }
        assert!(fused > 1000, "only {fused} sums tell fused from rounded products");
        assert!((200..1800).contains(&all_greater), "{all_greater} of 2000 comparisons hold in all lanes");
    }
}
