//! [`Scores`]: what a network computes for an image.

/// Scores of one image: channels x height x width.
#[derive(Clone, Copy)]
pub(crate) struct Scores<'a> {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) data: &'a [f32],
}
