//! Labels photos and shows what a network makes of them.

mod compare;
mod jobs;

use std::time::{Duration, Instant};

use fcn::palette::Class;
use fcn::{PixelFormat, overlay, read_image, write_labels, write_png};

pub use compare::{CELL, GAP, compare};
pub use jobs::{Job, jobs};

use crate::error::{Error, Result};
use crate::evaluate::Labeller;

/// What was found in a photo.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The names of the classes that occur with their share of the pixels in percent, the largest first.
    pub shares: Vec<(String, f64)>,
    /// How long the network took, from pixels to labels.
    pub time: Duration,
}

impl Job {
    /// Labels the photo, turned upright where its EXIF data says how, and writes the labels and the overlay: the photo
    /// with the classes' colours blended in, from `alpha` 0 (photo alone) to 1 (colours alone).
    pub fn run(&self, labeller: &mut Labeller, alpha: f32) -> Result<Found> {
        let mut image = read_image(&self.photo)?;
        let (width, height) = (image.width, image.height);
        let start = Instant::now();
        let labels = labeller
            .label(&image.pixels, width as usize, height as usize)
            .map_err(|error| Error::new(format!("{}: {error}", self.photo.display())))?;
        let time = start.elapsed();
        let (classes, background) = (labeller.classes(), labeller.background());
        write_labels(&self.labels, &labels, width, height, classes)?;
        overlay(&mut image.pixels, PixelFormat::Rgb8, width, height, 0, &labels, classes, background, alpha)?;
        write_png(&self.overlay, &image)?;
        Ok(Found { shares: shares(&labels, classes), time })
    }
}

/// The classes that occur, with their share of the pixels in percent, the largest first.
fn shares(labels: &[u8], classes: &[Class]) -> Vec<(String, f64)> {
    let mut counts = [0usize; 256];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    let mut found: Vec<_> = classes.iter().zip(counts).filter(|(_, count)| *count > 0).collect();
    found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    found.into_iter().map(|(class, count)| (class.name.clone(), 100.0 * count as f64 / labels.len() as f64)).collect()
}
