//! [`Scores`]: what a network computes for an image.

use crate::Size;

/// Scores of one image: channels x height x width.
#[derive(Clone, Copy)]
pub(crate) struct Scores<'a> {
    pub(crate) channels: usize,
    pub(crate) size: Size,
    pub(crate) data: &'a [f32],
}
