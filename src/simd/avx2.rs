//! Vectors in AVX2 registers.

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
