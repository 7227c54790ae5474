//! Photos and labels for display: scaled down to a longest side, labels in class colours.

use fcn::palette::Class;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{GrayImage, Rgb, RgbImage};

use crate::error::{Error, Result};
use crate::labelmap::VOID_COLOR;

/// JPEG quality: hardly distinguishable from the original, and a tenth of the size of a PNG file.
const QUALITY: u8 = 88;

/// The size of a photo and its labels, and their display size: never enlarged.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    original: (u32, u32),
    fitted: (u32, u32),
}

impl Shown {
    /// For photos of `width` x `height` pixels, displayed with a longest side of at most `longest`.
    pub fn new(width: usize, height: usize, longest: u32) -> Shown {
        let scale = (f64::from(longest) / width.max(height) as f64).min(1.0);
        let fitted = [width, height].map(|side| ((side as f64 * scale).round() as u32).max(1)).into();
        Shown { original: (width as u32, height as u32), fitted }
    }

    /// A photo (RGB, row by row), scaled bilinearly.
    ///
    /// # Panics
    /// If it has another size.
    pub fn photo(&self, rgb: Vec<u8>) -> RgbImage {
        let photo = RgbImage::from_raw(self.original.0, self.original.1, rgb).expect("a photo of this size");
        resize(&photo, self.fitted.0, self.fitted.1, FilterType::Triangle)
    }

    /// Labels scaled by nearest neighbour, in class colours; those without a class in VOC's void
    /// colour.
    ///
    /// # Panics
    /// If they have another size.
    pub fn labels(&self, labels: Vec<u8>, classes: &[Class]) -> RgbImage {
        let labels = self.scaled(labels);
        RgbImage::from_fn(self.fitted.0, self.fitted.1, |x, y| {
            Rgb(classes.get(labels.get_pixel(x, y).0[0] as usize).map_or(VOID_COLOR, |class| class.color))
        })
    }

    /// Labels scaled by nearest neighbour.
    pub(crate) fn scaled(&self, labels: Vec<u8>) -> GrayImage {
        let labels = GrayImage::from_raw(self.original.0, self.original.1, labels).expect("labels of this size");
        resize(&labels, self.fitted.0, self.fitted.1, FilterType::Nearest)
    }
}

/// The bytes of a JPEG file.
pub(crate) fn jpeg(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, QUALITY);
    picture.write_with_encoder(encoder).map_err(|error| Error::new(format!("a picture as JPEG: {error}")))?;
    Ok(file)
}
