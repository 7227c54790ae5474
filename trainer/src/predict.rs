//! Labels photos and displays the results.

mod compare;
mod formats;
mod outlines;

use std::time::{Duration, Instant};

use fcn::Image;
use fcn_cli::plan::Job;
use fcn_cli::results::Results;

pub use compare::{CELL, GAP, compare};
pub use formats::{Annotations, Format, Labelled};
pub use outlines::{Detail, Outline, outlines};

use crate::error::{Error, Result};
use crate::evaluate::Predictor;

/// The result for a photo.
#[derive(Debug, Clone, PartialEq)]
pub struct PhotoResult {
    /// The names of the classes that occur with their share of the pixels in percent, largest
    /// first.
    pub shares: Vec<(String, f64)>,
    /// The margin between the highest and the second highest probability, averaged over the pixels,
    /// 0 to 1; if requested.
    pub margin: Option<f64>,
    /// The network's time, from pixels to labels.
    pub time: Duration,
}

/// Settings for labelling photos.
pub struct PhotoPredictor<'a> {
    /// The network.
    pub predictor: &'a mut Predictor,
    /// The overlays' opacity, from 0 (photo only) to 1 (colours only).
    pub alpha: f32,
    /// The width of the overlays' outlines in pixels, 0 to 64; `None` depends on the photo's size.
    pub outline: Option<u32>,
    /// Whether margins are computed.
    pub margin: bool,
}

impl PhotoPredictor<'_> {
    /// Labels the photo of a job, which is `image`, and writes `format`'s files for it.
    pub fn run(
        &mut self,
        job: &Job,
        mut image: Image,
        annotations: &mut Annotations<'_>,
        format: Format,
    ) -> Result<PhotoResult> {
        let photo = job.input.path();
        let (width, height) = (image.width as usize, image.height as usize);
        let named = |error| Error::new(format!("{}: {error}", photo.display()));
        let start = Instant::now();
        let (labels, margin) = if self.margin {
            let labelled = self.predictor.label_with_margin(&image.pixels, width, height);
            labelled.map(|(labels, margin)| (labels, Some(margin))).map_err(named)?
        } else {
            (self.predictor.label(&image.pixels, width, height).map_err(named)?, None)
        };
        let time = start.elapsed();
        let results = Results {
            classes: self.predictor.classes(),
            background: self.predictor.background(),
            alpha: self.alpha,
            outline: self.outline,
        };
        let shares =
            results.shares(&labels).into_iter().map(|(name, share)| (name.to_owned(), 100.0 * share)).collect();
        if format == Format::Png {
            results.write(job, &mut image, &labels).map_err(Error::new)?;
        }
        annotations.add(&Labelled { photo, width, height, labels: &labels }, &job.input.id().to_string_lossy())?;
        Ok(PhotoResult { shares, margin, time })
    }
}
