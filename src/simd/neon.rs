//! Vectors in pairs of NEON registers. Every 64-bit Arm processor has NEON, so the compiler may use
//! it everywhere.

use std::arch::{
    aarch64::{
        float32x4_t, int32x4_t, uint8x16x2_t, uint16x8_t, vaddq_f32, vandq_u32, vbslq_f32, vcgtq_f32, vcombine_u8,
        vcombine_u16, vcvtq_u32_f32, vdupq_n_f32, vdupq_n_s32, vfmaq_f32, vld1q_f32, vld1q_s32, vminvq_u32, vmlaq_s32,
        vmulq_f32, vqmovn_u16, vqmovn_u32, vqtbl2q_u8, vreinterpretq_f32_u8, vreinterpretq_u8_f32,
        vreinterpretq_u8_s32, vst1q_f32, vst1q_u8,
    },
    asm,
};

use super::F32x8;

/// Eight float32 values in two registers.
#[derive(Clone, Copy)]
pub(super) struct Neon(float32x4_t, float32x4_t);

impl F32x8 for Neon {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: the processor has NEON.
        let half = unsafe { vdupq_n_f32(value) };
        Neon(half, half)
    }

    #[inline(always)]
    fn load(values: &[f32; 8]) -> Self {
        // SAFETY: the processor has NEON, and there are four values from both places on.
        unsafe { Neon(vld1q_f32(values.as_ptr()), vld1q_f32(values[4..].as_ptr())) }
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; 8]) {
        // SAFETY: the processor has NEON, and there is room for four values from both places on.
        unsafe {
            vst1q_f32(values.as_mut_ptr(), self.0);
            vst1q_f32(values[4..].as_mut_ptr(), self.1);
        }
    }

    #[inline(always)]
    fn multiply_add(self, factor: Self, sum: Self) -> Self {
        // SAFETY: the processor has NEON.
        unsafe { Neon(vfmaq_f32(sum.0, self.0, factor.0), vfmaq_f32(sum.1, self.1, factor.1)) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the processor has NEON.
        unsafe { Neon(vaddq_f32(self.0, other.0), vaddq_f32(self.1, other.1)) }
    }

    #[inline(always)]
    fn prefetch(values: &[f32]) {
        for line in values.chunks(16) {
            // SAFETY: a prefetch may use any address.
            unsafe {
                asm!("prfm pldl2keep, [{}]", in(reg) line.as_ptr(), options(nostack, preserves_flags, readonly));
            }
        }
    }

    #[inline(always)]
    fn prefetch_bytes(bytes: &[u8], place: usize) {
        let address = bytes.as_ptr().wrapping_add(place);
        // SAFETY: a prefetch may use any address.
        unsafe { asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly)) };
    }

    #[inline(always)]
    fn multiply(self, factor: Self) -> Self {
        // SAFETY: the processor has NEON.
        unsafe { Neon(vmulq_f32(self.0, factor.0), vmulq_f32(self.1, factor.1)) }
    }

    #[inline(always)]
    fn select_gt(self, other: Self, then: Self, otherwise: Self) -> Self {
        // SAFETY: the processor has NEON.
        unsafe {
            Neon(
                vbslq_f32(vcgtq_f32(self.0, other.0), then.0, otherwise.0),
                vbslq_f32(vcgtq_f32(self.1, other.1), then.1, otherwise.1),
            )
        }
    }

    #[inline(always)]
    fn all_greater(self, other: Self) -> bool {
        // SAFETY: the processor has NEON.
        unsafe { vminvq_u32(vandq_u32(vcgtq_f32(self.0, other.0), vcgtq_f32(self.1, other.1))) != 0 }
    }

    #[inline(always)]
    fn permute(self, lanes: &[i32; 8]) -> Self {
        // SAFETY: the processor has NEON, and there are four indices from both places on.
        unsafe {
            let table = uint8x16x2_t(vreinterpretq_u8_f32(self.0), vreinterpretq_u8_f32(self.1));
            let (first, second) = (vld1q_s32(lanes.as_ptr()), vld1q_s32(lanes[4..].as_ptr()));
            Neon(look_up(table, first), look_up(table, second))
        }
    }

    #[inline(always)]
    fn bytes(numbers: [Self; 2]) -> [u8; 16] {
        let mut bytes = [0; 16];
        // SAFETY: the processor has NEON, and there is room for 16 bytes.
        unsafe {
            let packed = vcombine_u8(vqmovn_u16(words(numbers[0])), vqmovn_u16(words(numbers[1])));
            vst1q_u8(bytes.as_mut_ptr(), packed);
        }
        bytes
    }
}

/// Four of the eight float32 values in `table`, by index.
#[inline(always)]
fn look_up(table: uint8x16x2_t, lanes: int32x4_t) -> float32x4_t {
    // SAFETY: the processor has NEON.
    unsafe {
        // The four bytes of value n are bytes 4 n to 4 n + 3 of the table.
        let bytes = vmlaq_s32(vdupq_n_s32(0x0302_0100), lanes, vdupq_n_s32(0x0404_0404));
        vreinterpretq_f32_u8(vqtbl2q_u8(table, vreinterpretq_u8_s32(bytes)))
    }
}

/// Eight whole numbers as 16-bit integers.
#[inline(always)]
fn words(Neon(first, second): Neon) -> uint16x8_t {
    // SAFETY: the processor has NEON.
    unsafe { vcombine_u16(vqmovn_u32(vcvtq_u32_f32(first)), vqmovn_u32(vcvtq_u32_f32(second))) }
}
