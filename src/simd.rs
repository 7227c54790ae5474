//! Vectors of 8 float32 values, and the dispatch to the best ones that the processor has.
//!
//! Code is written once, generic over [`F32x8`]: `[f32; 8]` is the portable reference, `__m256` is
//! used with AVX2 and FMA. Generic functions are `#[inline(always)]` and do not wrap their bodies
//! in closures, so that all of their code is compiled with the target features of `avx2::run`.
//!
//! Unsafe code: AVX2 and FMA intrinsics.

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

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256, _CMP_GT_OQ, _MM_HINT_T0, _MM_HINT_T1, _mm_packus_epi16, _mm_prefetch, _mm_storeu_si128, _mm256_add_ps,
        _mm256_blendv_ps, _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cvttps_epi32, _mm256_extracti128_si256,
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_movemask_ps, _mm256_mul_ps, _mm256_packs_epi32,
        _mm256_permute4x64_epi64, _mm256_permutevar8x32_ps, _mm256_set1_ps, _mm256_storeu_ps,
    };

    use super::{F32x8, SimdOp};

    // Used only by `run`, which is called only if the processor has AVX2 and FMA.
    impl F32x8 for __m256 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        fn load(values: &[f32; 8]) -> Self {
            // SAFETY: the processor has AVX, and there are eight values.
            unsafe { _mm256_loadu_ps(values.as_ptr()) }
        }

        #[inline(always)]
        fn store(self, values: &mut [f32; 8]) {
            // SAFETY: the processor has AVX, and there is room for eight values.
            unsafe { _mm256_storeu_ps(values.as_mut_ptr(), self) }
        }

        #[inline(always)]
        fn multiply_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: the processor has FMA.
            unsafe { _mm256_fmadd_ps(self, factor, sum) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_add_ps(self, other) }
        }

        #[inline(always)]
        fn prefetch(values: &[f32]) {
            for line in values.chunks(16) {
                // SAFETY: a prefetch may use any address.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
            }
        }

        #[inline(always)]
        fn prefetch_bytes(bytes: &[u8], place: usize) {
            // SAFETY: a prefetch may use any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(place).cast()) };
        }

        #[inline(always)]
        fn multiply(self, factor: Self) -> Self {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_mul_ps(self, factor) }
        }

        #[inline(always)]
        fn select_gt(self, other: Self, then: Self, otherwise: Self) -> Self {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_GT_OQ>(self, other)) }
        }

        #[inline(always)]
        fn all_greater(self, other: Self) -> bool {
            // SAFETY: the processor has AVX.
            unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self, other)) == 0xff }
        }

        #[inline(always)]
        fn permute(self, lanes: &[i32; 8]) -> Self {
            // SAFETY: the processor has AVX2, there are eight indices, and only their lowest three
            // bits count.
            unsafe { _mm256_permutevar8x32_ps(self, _mm256_loadu_si256(lanes.as_ptr().cast())) }
        }

        #[inline(always)]
        fn bytes(numbers: [Self; 2]) -> [u8; 16] {
            let mut bytes = [0; 16];
            // SAFETY: the processor has AVX2, and there is room for 16 bytes.
            unsafe {
                let words = _mm256_packs_epi32(_mm256_cvttps_epi32(numbers[0]), _mm256_cvttps_epi32(numbers[1]));
                // Packing works on each half of a register; this restores the order of the
                // quarters.
                let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
                let packed = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                _mm_storeu_si128(bytes.as_mut_ptr().cast(), packed);
            }
            bytes
        }
    }

    /// [`super::SimdOp::eval`] with AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn run(op: impl SimdOp) {
        op.eval::<__m256>();
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
    #[cfg(target_arch = "x86_64")]
    if !ARRAYS.load(Ordering::Relaxed)
        && std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
    {
        // SAFETY: the processor has the features that `avx2::run` is compiled for.
        return unsafe { avx2::run(op) };
    }
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

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_variable_for_tests_turns_the_processors_vectors_off() {
        let mut arrays = None;
        run(AreArrays(&mut arrays));
        let has_vectors = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
        assert_eq!(arrays, Some(!has_vectors || crate::arrays::are_asked_for()));
    }
}
