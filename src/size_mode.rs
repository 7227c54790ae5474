//! [`SizeMode`]: how a frame becomes an image of a size that the network takes.

use crate::{Error, MAX_SIDE, Result};

/// The size at which the network sees a frame. The mask has the frame's size in every mode (see
/// [`Mask::set_size`](crate::Mask::set_size)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeMode {
    /// Pads frames close to the model's native size
    /// ([`Options::native_side`](crate::Options::native_side)), and resamples others to that size,
    /// keeping their aspect ratio except for rounding both sides to multiples of the stride. A
    /// frame's size is the square root of width times height; frames from 4/5 to 5/4 of the native
    /// size are padded. If the native size is unknown, all frames are padded.
    Auto,
    /// Pads frames on the right and at the bottom to the next multiple of the stride, with the
    /// colour that normalises to 0 (black for models with uint8 input), and crops the labels back.
    Pad,
    /// Resamples frames to `width` x `height` pixels (bilinear), rounded up to multiples of the
    /// stride, and the scores back to the frame's size. 0 means the frame's own width or height.
    Resize {
        /// Columns, 1 to 32767; 0 means the frame's width.
        width: u32,
        /// Rows, 1 to 32767; 0 means the frame's height.
        height: u32,
    },
    /// [`SizeMode::Resize`] to the size whose shorter side has about this many pixels. Keeps the
    /// aspect ratio, except for rounding to multiples of the stride.
    ShortSide(u32),
    /// Splits frames into overlapping tiles and averages the scores where tiles overlap (d2l.ai
    /// chapter 13.11, exercise 3). Sides are multiples of the stride; 0 means the model's training
    /// crop, or 480 x 320 if the model does not state it.
    Tile {
        /// Columns of a tile, 1 to 32767; 0 for the default.
        width: u32,
        /// Rows of a tile, 1 to 32767; 0 for the default.
        height: u32,
        /// Least number of columns and rows that adjacent tiles share; less than both sides.
        overlap: u32,
    },
}

impl SizeMode {
    /// Checks the numbers, without knowing the model.
    pub(crate) fn check(self) -> Result<()> {
        let wrong = |message| Err(Error::InvalidArgument(message));
        match self {
            SizeMode::ShortSide(pixels) if !(1..=MAX_SIDE).contains(&pixels) => {
                wrong(format!("a short side of {pixels} pixels is asked for; 1 to {MAX_SIDE} are possible"))
            }
            SizeMode::Resize { width, height } | SizeMode::Tile { width, height, .. }
                if width > MAX_SIDE || height > MAX_SIDE =>
            {
                wrong(format!(
                    "a size of {width} x {height} pixels is asked for; at most {MAX_SIDE} a side are possible"
                ))
            }
            SizeMode::Tile { width, height, overlap }
                if [width, height].into_iter().any(|side| side != 0 && overlap >= side) =>
            {
                wrong(format!(
                    "tiles of {width} x {height} pixels cannot overlap by {overlap}; the overlap must be less than a side"
                ))
            }
            _ => Ok(()),
        }
    }
}
