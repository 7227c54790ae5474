//! Labels photos and displays the results.

mod compare;
mod formats;
mod jobs;
mod outlines;

use std::time::{Duration, Instant};

use fcn::palette::Class;
use fcn::{LabelMap, OverlayStyle, PixelFormat, overlay_styled, read_image, write_labels, write_png};

pub use compare::{CELL, GAP, compare};
pub use formats::{Annotations, Format, Labelled};
pub use jobs::{PhotoJob, jobs};
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
    /// Labels a photo, rotated according to its EXIF data, and writes `format`'s files for it.
    pub fn run(&mut self, job: &PhotoJob, annotations: &mut Annotations<'_>, format: Format) -> Result<PhotoResult> {
        let mut image = read_image(&job.photo)?;
        let (width, height) = (image.width, image.height);
        let named = |error| Error::new(format!("{}: {error}", job.photo.display()));
        let start = Instant::now();
        let (labels, margin) = if self.margin {
            let labelled = self.predictor.label_with_margin(&image.pixels, width as usize, height as usize);
            labelled.map(|(labels, margin)| (labels, Some(margin))).map_err(named)?
        } else {
            (self.predictor.label(&image.pixels, width as usize, height as usize).map_err(named)?, None)
        };
        let time = start.elapsed();
        let (classes, background) = (self.predictor.classes(), self.predictor.background());
        if format == Format::Png {
            write_labels(&job.labels, &labels, width, height, classes)?;
            let visible = OverlayStyle::visible(width, height);
            let outline = self.outline.unwrap_or(visible.outline);
            let style = OverlayStyle { alpha: self.alpha, outline, ..visible };
            let map = LabelMap::new(&labels, width, height, 0)?;
            overlay_styled(&mut image.pixels, PixelFormat::Rgb8, 0, map, classes, background, style)?;
            write_png(&job.overlay, &image)?;
        }
        let labelled = Labelled { photo: &job.photo, width: width as usize, height: height as usize, labels: &labels };
        annotations.add(&labelled, &job.id)?;
        Ok(PhotoResult { shares: shares(&labels, classes), margin, time })
    }
}

/// The classes that occur, with their share of the pixels in percent, largest first.
fn shares(labels: &[u8], classes: &[Class]) -> Vec<(String, f64)> {
    let mut counts = [0usize; 256];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    let mut found: Vec<_> = classes.iter().zip(counts).filter(|(_, count)| *count > 0).collect();
    found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    found.into_iter().map(|(class, count)| (class.name.clone(), 100.0 * count as f64 / labels.len() as f64)).collect()
}
