//! Exponential moving averages of a stream's scores at the network's low resolution. The upsampling
//! is affine, so the result equals averaging at full size.

use crate::{Result, Size, frame::FrameView, memory::set_length, scores::Scores};

/// The averages so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The source of the scores; `None` if there are none.
    source: Option<ScoreOrigin>,
    /// Channels x height x width for each run of the network.
    scores: Vec<f32>,
}

/// Properties in which frames must agree to be averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScoreOrigin {
    /// The segmenter's number in this process.
    pub(crate) segmenter: u64,
    /// The frame's size, crop and orientation.
    pub(crate) view: FrameView,
    /// Runs of the network per frame.
    pub(crate) runs: usize,
    /// Channels and size of the output, set when they are known.
    pub(crate) channels: usize,
    pub(crate) size: Size,
}

impl History {
    pub(crate) fn clear(&mut self) {
        self.source = None;
    }

    /// Averages `scores`, the output of run number `run`, with weight `share`, and the average of
    /// the same run in `before`. Stores the result here, so that `before` does not change if a
    /// later run fails.
    pub(crate) fn average<'a>(
        &'a mut self,
        before: &History,
        source: ScoreOrigin,
        run: usize,
        share: f32,
        scores: Scores<'_>,
    ) -> Result<Scores<'a>> {
        let Scores { channels, size, data } = scores;
        let source = Some(ScoreOrigin { channels, size, ..source });
        let runs = source.map_or(0, |source| source.runs);
        set_length(&mut self.scores, runs * data.len(), "smoothed scores")?;
        let place = run * data.len()..(run + 1) * data.len();
        let own = &mut self.scores[place.clone()];
        // All tiles have the same size, so later runs have the source of the first one.
        if before.source == source {
            for ((own, &old), &new) in own.iter_mut().zip(&before.scores[place]).zip(data) {
                let mean = old + (new - old) * share;
                // A value that is not finite would stay in the average forever.
                *own = if mean.is_finite() { mean } else { new };
            }
        } else {
            own.copy_from_slice(data);
        }
        self.source = source;
        Ok(Scores { channels, size, data: own })
    }
}
