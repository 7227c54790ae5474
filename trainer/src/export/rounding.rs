//! Rounds the weights of a convolution that computes in integers.
//!
//! Rounding each weight to the nearest step adds errors that need not cancel. Instead, the weights
//! are rounded one after the other, and the remaining ones compensate for each one's effect on the
//! convolution's results, as far as inputs are correlated: Hassibi and Stork 1993, section 2, in
//! the order and with the Cholesky factor of Frantar et al. 2023 (GPTQ), section 3. The correlation
//! is measured by the inputs' second moments over the calibration photos.

use tch::{Kind, Tensor};

use super::quantize::Scale;
use super::writer::values;
use crate::error::Result;
use crate::model::graph::{Conv, Padding};

/// The most weights that compensate for each other: their moments are a matrix with this many rows.
const MOST_COLUMNS: i64 = 1152;

/// The approximate number of a convolution's results sampled per photo.
const PLACES: f64 = 1000.0;

/// Columns rounded before the ones after them are updated together, for speed only.
const STRIP: i64 = 128;

/// Added to the moments' diagonal, as a share of its mean (Frantar et al. 2023, section 3.3): it
/// limits how far weights move for inputs that hardly occur in the photos.
const DAMPING: f64 = 0.01;

/// A convolution in integers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rounded {
    /// Out x in / groups x k x k.
    pub weight: Vec<i8>,
    /// The step of the weights, one per output channel.
    pub scales: Vec<f32>,
    /// One per output channel.
    pub bias: Vec<i32>,
    /// The step of a bias: the weight's step times the input's.
    pub bias_scales: Vec<f32>,
}

/// Second moments of a convolution's inputs: the sums of all pairwise products, in blocks along the
/// diagonal, because large convolutions have too many pairs.
#[derive(Debug)]
pub(super) struct Moments {
    /// Blocks x columns x columns. Each group of the convolution has the same number of blocks.
    sums: Tensor,
    /// Blocks per group.
    splits: i64,
}

impl Moments {
    pub(super) fn new(conv: &Conv) -> Result<Moments> {
        let [_, inputs, kernel, _] = shape(conv);
        // A block contains whole channels.
        let splits = (1..=inputs)
            .find(|splits| inputs % splits == 0 && inputs / splits * kernel * kernel <= MOST_COLUMNS)
            .unwrap_or(inputs);
        let columns = inputs / splits * kernel * kernel;
        let sums = Tensor::f_zeros([conv.groups * splits, columns, columns], (Kind::Double, conv.weight.device()))?;
        Ok(Moments { sums, splits })
    }

    /// Adds the inputs that a convolution receives for one image: 1 x C x H x W.
    pub(super) fn add(&mut self, conv: &Conv, input: &Tensor) -> Result<()> {
        let [_, inputs, kernel, _] = shape(conv);
        let Padding { before, after } = conv.padding;
        let padded = input.f_constant_pad_nd([before, after, before, after])?;
        let places = |side: i64| ((side - kernel) / conv.stride + 1) as f64;
        let (_, _, height, width) = padded.size4()?;
        let apart = (places(height) * places(width) / PLACES).sqrt().ceil().max(1.0) as i64 * conv.stride;
        let windows = padded.f_unfold(2, kernel, apart)?.f_unfold(3, kernel, apart)?;
        let blocks = conv.groups * self.splits;
        // 1 x C x rows x columns x k x k to blocks x windows x columns of the moments.
        let windows = windows.f_reshape([blocks, inputs / self.splits, -1, kernel * kernel])?;
        let windows = windows.f_permute([0, 2, 1, 3])?.f_flatten(2, 3)?;
        let products = windows.f_transpose(1, 2)?.f_bmm(&windows)?;
        let _ = self.sums.f_add_(&products)?;
        Ok(())
    }

    /// The integers for a convolution whose input is stored with a scale.
    pub(super) fn round(self, conv: &Conv, input: Scale) -> Result<Rounded> {
        let [outputs, ..] = shape(conv);
        let bias = conv.bias.as_ref().map_or(Ok(vec![0.0; outputs as usize]), values)?;
        let weight = values(&conv.weight)?;
        let rows = weight.chunks_exact(weight.len() / bias.len());
        let range = range(conv);
        let scales: Vec<f32> = rows.zip(&bias).map(|(row, bias)| scale(row, range, *bias, input.scale)).collect();
        let bias_scales: Vec<f32> = scales.iter().map(|weight| weight * input.scale).collect();
        let bias = bias.iter().zip(&bias_scales).map(|(bias, scale)| (bias / scale).round() as i32).collect();
        let weight = self.steps(conv, &scales, range)?;
        Ok(Rounded { weight, scales, bias, bias_scales })
    }

    fn steps(self, conv: &Conv, scales: &[f32], (least, most): (i8, i8)) -> Result<Vec<i8>> {
        let [outputs, ..] = shape(conv);
        let (groups, splits) = (conv.groups, self.splits);
        let (blocks, columns, _) = self.sums.size3()?;
        // In units of steps, so that rounding a column is plain rounding: blocks x outputs x
        // columns.
        let scales = Tensor::f_from_slice(scales)?.f_to_kind(Kind::Double)?.f_view([outputs, 1, 1, 1])?;
        let weight = conv.weight.f_to_kind(Kind::Double)?.f_div(&scales)?;
        let weight = weight.f_reshape([groups, outputs / groups, splits, columns])?.f_transpose(1, 2)?;
        let weight = weight.f_reshape([blocks, outputs / groups, columns])?;

        let factor = self.factor()?;
        for start in (0..columns).step_by(STRIP as usize) {
            let count = STRIP.min(columns - start);
            let strip = weight.f_narrow(2, start, count)?;
            let factors = factor.f_narrow(1, start, count)?;
            let errors = strip.f_empty_like()?;
            for column in 0..count {
                let mut value = strip.f_narrow(2, column, 1)?;
                let step = value.f_round()?.f_clamp(f64::from(least), f64::from(most))?;
                let row = factors.f_narrow(1, column, 1)?.f_narrow(2, start + column, count - column)?;
                let error = value.f_sub(&step)?.f_div(&row.f_narrow(2, 0, 1)?)?;
                let _ = strip.f_narrow(2, column, count - column)?.f_sub_(&error.f_matmul(&row)?)?;
                errors.f_narrow(2, column, 1)?.f_copy_(&error)?;
                value.f_copy_(&step)?;
            }
            let rest = columns - start - count;
            let change = errors.f_bmm(&factors.f_narrow(2, start + count, rest)?)?;
            let _ = weight.f_narrow(2, start + count, rest)?.f_sub_(&change)?;
        }
        let weight = weight.f_view([groups, splits, outputs / groups, columns])?.f_transpose(1, 2)?;
        Ok(values(&weight.f_reshape(conv.weight.size())?)?.into_iter().map(|step| step as i8).collect())
    }

    /// The upper triangular U of the moments' inverse, `U^T U`.
    fn factor(self) -> Result<Tensor> {
        let diagonal = self.sums.f_diagonal(0, 1, 2)?;
        // A block whose inputs are all 0 needs a positive diagonal.
        let damping =
            diagonal.f_mean_dim(1, true, None)?.f_mul_scalar(DAMPING)?.f_clamp_min(f64::MIN_POSITIVE.sqrt())?;
        let _ = diagonal.shallow_clone().f_add_(&damping)?;
        let inverse = self.sums.f_linalg_cholesky(false)?.f_cholesky_inverse(false)?;
        Ok(inverse.f_linalg_cholesky(true)?)
    }
}

/// Outputs, inputs per group, and the kernel's sides.
fn shape(conv: &Conv) -> [i64; 4] {
    conv.weight.size().try_into().expect("a convolution's weights have four sides")
}

/// The range of integer weights. Processors without VNNI add the products of two inputs and two
/// weights in 16 bits, where products with weights of int8's whole range would saturate. ONNX
/// Runtime multiplies depthwise convolutions in 32 bits, but on 64-bit Arm it adds two products in
/// 16 bits: inputs less 128 are at least -128, and `2 * -128 * -128` would wrap around.
fn range(conv: &Conv) -> (i8, i8) {
    let [outputs, inputs, ..] = shape(conv);
    if inputs == 1 && outputs == conv.groups { (-127, 127) } else { (-64, 63) }
}

/// The scale of an output channel's weights: the smallest that keeps them in range. The bias must
/// also fit into int32 with this scale times the input's.
fn scale(weights: &[f32], (least, most): (i8, i8), bias: f32, input: f32) -> f32 {
    let (least, most) = (f32::from(least), f32::from(most));
    let weights = weights.iter().fold(0f32, |scale, weight| scale.max(weight / most).max(weight / least));
    let bias = bias.abs() / input / (1 << 30) as f32;
    // A channel of zeros needs a positive scale, and so does its product with the input's.
    weights.max(bias).max(1e-20)
}

#[cfg(test)]
mod tests;
