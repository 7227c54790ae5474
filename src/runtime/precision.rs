//! The number format of a network's float32 layers.

use crate::options::{Options, Precision, Provider};

use super::openvino;

/// The format that layers in float32 are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Float32,
    /// NVIDIA's TensorFloat-32: the range of float32, and the 10 bits of float16's fraction.
    Tf32,
    BFloat16,
    Float16,
}

impl Format {
    /// The format of the provider with these options.
    pub(super) fn new(provider: Provider, options: &Options) -> Format {
        let fast = options.precision == Precision::Fast;
        match provider {
            Provider::Cpu if fast && arm_has_bfloat16() => Format::BFloat16,
            Provider::Cpu | Provider::Auto => Format::Float32,
            Provider::Cuda if fast => Format::Tf32,
            Provider::Cuda => Format::Float32,
            Provider::TensorRt if fast => Format::Float16,
            // TensorRT's own default, which ONNX Runtime does not change.
            Provider::TensorRt => Format::Tf32,
            Provider::OpenVino => openvino::format(options),
        }
    }

    /// The name: `float32`, `tf32`, `bfloat16` or `float16`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Float32 => "float32",
            Format::Tf32 => "tf32",
            Format::BFloat16 => "bfloat16",
            Format::Float16 => "float16",
        }
    }
}

/// Whether the processor has the instructions that ONNX Runtime's CPU provider uses for bfloat16.
fn arm_has_bfloat16() -> bool {
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(target_arch = "aarch64"))]
    false
}

/// Whether the processor has AVX512_BF16, the instructions with which OpenVINO computes bfloat16
/// faster than float32. Every processor with AMX has them, too.
pub(super) fn x86_has_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}
