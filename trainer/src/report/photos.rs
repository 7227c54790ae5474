//! A photo, its truth, its prediction, and their differences.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fcn::palette::Class;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Rgb, RgbImage};

use crate::data::{Dataset, VOID};
use crate::error::{Error, Result};
use crate::evaluate::{Predictor, read};
use crate::metrics::Confusion;
use crate::picture::{Shown, jpeg};

/// The longest side in pixels: sharp on a phone with two images side by side.
const SIDE: u32 = 440;
/// The colour of wrong pixels.
const WRONG: [u8; 3] = [235, 40, 60];

/// An image of the page.
pub(super) struct PagePicture {
    /// A short caption.
    pub(super) caption: &'static str,
    /// The text for screen readers.
    pub(super) alt: String,
    /// Its file as a `data:` URI.
    pub(super) uri: String,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// A labelled photo.
pub(super) struct Photo {
    pub(super) id: String,
    pub(super) miou: f64,
    pub(super) accuracy: f64,
    pub(super) pictures: [PagePicture; 4],
}

impl Photo {
    /// Labels photo `index` of a dataset and draws it.
    pub(super) fn new(
        predictor: &mut Predictor,
        dataset: &Dataset,
        index: usize,
        void_is_background: bool,
    ) -> Result<Photo> {
        let sample = read(dataset, index, void_is_background)?;
        let labels = predictor.label(&sample.image, sample.width, sample.height)?;
        let classes = dataset.classes();
        let mut confusion = Confusion::new(classes.len());
        confusion.add(&sample.mask, &labels);

        let id = sample.id;
        let shown = Shown::new(sample.width, sample.height, SIDE);
        let photo = shown.photo(sample.image);
        let wrong = wrong(&photo, &shown, sample.mask.clone(), labels.clone());
        let accuracy = confusion.pixel_accuracy();
        let alts = [
            format!("Photo {id}"),
            format!("Truth of {id}: {}", shares(&sample.mask, classes)),
            format!("Prediction for {id}: {}", shares(&labels, classes)),
            format!("Where the prediction for {id} is wrong: {:.1} % of the labelled pixels", 100.0 * (1.0 - accuracy)),
        ];
        let [photo_alt, truth_alt, prediction_alt, wrong_alt] = alts;
        let truth = shown.labels(sample.mask, classes);
        let prediction = shown.labels(labels, classes);
        Ok(Photo {
            miou: confusion.mean_iou(),
            accuracy,
            pictures: [
                photograph("photo", photo_alt, &photo)?,
                flat("truth", truth_alt, &truth)?,
                flat("prediction", prediction_alt, &prediction)?,
                photograph("wrong in red", wrong_alt, &wrong)?,
            ],
            id,
        })
    }
}

/// The photo in pale grey, with wrong pixels in red and void ones in white.
fn wrong(photo: &RgbImage, shown: &Shown, truth: Vec<u8>, labels: Vec<u8>) -> RgbImage {
    let (truth, labels) = (shown.scaled(truth), shown.scaled(labels));
    RgbImage::from_fn(photo.width(), photo.height(), |x, y| {
        let (truth, label) = (truth.get_pixel(x, y).0[0], labels.get_pixel(x, y).0[0]);
        let [r, g, b] = photo.get_pixel(x, y).0.map(u32::from);
        let grey = (110 + (r + 2 * g + b) / 8) as u8;
        Rgb(match truth {
            VOID => [255; 3],
            _ if truth == label => [grey; 3],
            _ => WRONG.map(|channel| ((3 * u32::from(channel) + u32::from(grey)) / 4) as u8),
        })
    })
}

/// The largest shares of labelled pixels, in words.
fn shares(labels: &[u8], classes: &[Class]) -> String {
    let mut counts = [0usize; 256];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    let all = (labels.len() - counts[VOID as usize]).max(1);
    let mut found: Vec<_> = classes.iter().zip(counts).filter(|(_, count)| 100 * count >= all).collect();
    found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words = found.iter().map(|(class, count)| format!("{} {} %", class.name, 100 * count / all));
    words.collect::<Vec<_>>().join(", ")
}

fn photograph(caption: &'static str, alt: String, picture: &RgbImage) -> Result<PagePicture> {
    Ok(inline(caption, alt, picture, "jpeg", &jpeg(picture)?))
}

/// An image of few colours, as a lossless PNG.
fn flat(caption: &'static str, alt: String, picture: &RgbImage) -> Result<PagePicture> {
    let mut file = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut file, CompressionType::Best, FilterType::Adaptive);
    picture.write_with_encoder(encoder).map_err(|error| Error::new(format!("a picture as PNG: {error}")))?;
    Ok(inline(caption, alt, picture, "png", &file))
}

fn inline(caption: &'static str, alt: String, picture: &RgbImage, kind: &str, file: &[u8]) -> PagePicture {
    let uri = format!("data:image/{kind};base64,{}", BASE64_STANDARD.encode(file));
    PagePicture { caption, alt, uri, width: picture.width(), height: picture.height() }
}
