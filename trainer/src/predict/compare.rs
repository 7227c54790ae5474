//! Predictions next to the ground truth in one image.

use std::ops::Range;

use fcn::Image;
use image::imageops::replace;
use image::{Rgb, RgbImage};

use crate::data::{Dataset, Sample};
use crate::error::{Error, Result};
use crate::evaluate::Predictor;
use crate::picture::Shown;

/// The longest displayed side in pixels; larger photos are scaled down.
pub const CELL: u32 = 320;
/// The white gap between cells, in pixels.
pub const GAP: u32 = 4;

const WHITE: Rgb<u8> = Rgb([255; 3]);

/// Draws the photos `range` of a data set, at least one and none beyond the last, like *Dive into
/// Deep Learning*, section 13.11: the photos in the first row, their predictions in the second, the
/// ground truth in the third, one column per photo.
///
/// Classes have the data set's colours, and void VOC's (224, 224, 192). All cells have the same
/// size, just large enough for the largest image after scaling: photos bilinearly, labels by
/// nearest neighbour, with their aspect ratio. Smaller ones are centred in their cells, on white.
pub fn compare(predictor: &mut Predictor, dataset: &Dataset, range: Range<usize>) -> Result<Image> {
    let (of_data, of_network) = (dataset.classes().len(), predictor.classes().len());
    if of_data != of_network {
        return Err(Error::new(format!(
            "the dataset has {of_data} classes, but the network has {of_network}; compare on data with the classes it \
             was trained on"
        )));
    }
    let columns = range.map(|index| column(predictor, dataset, index)).collect::<Result<Vec<_>>>()?;
    let picture = draw(&columns);
    Ok(Image { width: picture.width(), height: picture.height(), pixels: picture.into_raw() })
}

/// Photo, prediction and ground truth, all of the same size.
fn column(predictor: &mut Predictor, dataset: &Dataset, index: usize) -> Result<[RgbImage; 3]> {
    let Sample { id, width, height, image, mask } = dataset.read(index)?;
    let labels = predictor.label(&image, width, height).map_err(|error| Error::new(format!("{id}: {error}")))?;
    let shown = Shown::new(width, height, CELL);
    Ok([shown.photo(image), shown.labels(labels, dataset.classes()), shown.labels(mask, dataset.classes())])
}

/// Places the columns side by side.
fn draw(columns: &[[RgbImage; 3]]) -> RgbImage {
    let largest = |side: fn(&RgbImage) -> u32| columns.iter().map(|[photo, ..]| side(photo)).max().unwrap_or(0);
    let (cell_width, cell_height) = (largest(RgbImage::width), largest(RgbImage::height));
    let extent = |cell: u32, cells: u32| cells * (cell + GAP) - GAP;
    let size = (extent(cell_width, columns.len() as u32), extent(cell_height, 3));
    let mut picture = RgbImage::from_pixel(size.0, size.1, WHITE);
    for (x, column) in (0..).zip(columns) {
        for (y, cell) in (0..).zip(column) {
            let left = x * (cell_width + GAP) + (cell_width - cell.width()) / 2;
            let top = y * (cell_height + GAP) + (cell_height - cell.height()) / 2;
            replace(&mut picture, cell, left.into(), top.into());
        }
    }
    picture
}
