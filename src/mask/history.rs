//! Scores averaged over the frames of a stream (exponentially), at the network's own low resolution: the upsampling that follows is
//! affine, so it gives what averaging at full size would.

use crate::{Result, frame::View, memory::set_length, runtime::Scores};

/// What was averaged so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// What the scores are of; none where there are none.
    source: Option<Source>,
    /// Channels x height x width for each run of the network.
    scores: Vec<f32>,
}

/// Frames that can be averaged: they agree in all of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// The number of the segmenter in this process.
    pub(crate) segmenter: u64,
    /// The size of the frame, and which part of the picture it is.
    pub(crate) view: View,
    /// Runs of the network for a frame.
    pub(crate) runs: usize,
    /// Channels, height and width of what it answers; filled in when it has answered.
    pub(crate) answer: (usize, usize, usize),
}

impl History {
    pub(crate) fn clear(&mut self) {
        self.source = None;
    }

    /// The mean of `scores`, the answer of run number `run`, with weight `share`, and of what `before` holds of the
    /// same run. It is kept here, so that `before` stays as it is where a later run fails.
    pub(crate) fn average<'a>(
        &'a mut self,
        before: &History,
        source: Source,
        (run, share): (usize, f32),
        scores: Scores<'_>,
    ) -> Result<Scores<'a>> {
        let Scores { channels, height, width, data } = scores;
        let source = Some(Source { answer: (channels, height, width), ..source });
        let runs = source.map_or(0, |source| source.runs);
        set_length(&mut self.scores, runs * data.len(), "smoothed scores")?;
        let place = run * data.len()..(run + 1) * data.len();
        let own = &mut self.scores[place.clone()];
        // Tiles all have one size, so later runs have the first one's source.
        if before.source == source {
            for ((own, &old), &new) in own.iter_mut().zip(&before.scores[place]).zip(data) {
                let mean = old + (new - old) * share;
                // What is not finite would never leave again.
                *own = if mean.is_finite() { mean } else { new };
            }
        } else {
            own.copy_from_slice(data);
        }
        self.source = source;
        Ok(Scores { channels, height, width, data: own })
    }
}
