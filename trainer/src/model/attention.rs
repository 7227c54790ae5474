//! Linear attention: every pixel is compared with all others in time proportional to their number.

use tch::{Kind, Tensor};

use crate::error::Result;

/// Attention whose similarity of query and key is `relu(q) . relu(k)` (Cai et al. 2023, section
/// 3.1). The input has for each head `width` channels of queries, then of keys, then of values; the
/// result has `width` channels for each head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearAttention {
    /// The number of heads.
    pub heads: i64,
    /// Channels of a query, a key and a value.
    pub width: i64,
}

impl LinearAttention {
    /// Added to the sum of a pixel's similarities, by which its result is divided.
    pub const EPSILON: f64 = 1e-5;

    /// Computes in float32, whose sums over all pixels float16 could not hold.
    pub(super) fn apply(self, x: &Tensor) -> Result<Tensor> {
        tch::autocast(false, || {
            let LinearAttention { heads, width } = self;
            let (images, _, height, columns) = x.size4()?;
            let parts = x.f_to_kind(Kind::Float)?.f_reshape([images, heads, 3 * width, height * columns])?;
            let part = |place: i64| parts.f_narrow(2, place * width, width);
            let (queries, keys, values) = (part(0)?.f_relu()?, part(1)?.f_relu()?.f_transpose(2, 3)?, part(2)?);
            // Sums over all pixels: values times keys, and keys alone.
            let products = values.f_matmul(&keys)?;
            let sums = keys.f_sum_dim_intlist([2i64].as_slice(), true, Kind::Float)?;
            let total = sums.f_matmul(&queries)?.f_add_scalar(LinearAttention::EPSILON)?;
            let result = products.f_matmul(&queries)?.f_div(&total)?;
            Ok(result.f_reshape([images, heads * width, height, columns])?.f_to_kind(x.kind())?)
        })
    }
}
