//! Labels as pictures, run lengths and shares.

use std::path::Path;

use fcn::{Image, LabelMap, OverlayStyle, PixelFormat, overlay_styled, palette::Class, write_labels, write_png};
use serde_json::{Value, json};

use crate::{Result, plan::Job};

/// The classes of a model, and how overlays show them.
#[derive(Debug, Clone, Copy)]
pub struct Results<'a> {
    /// The classes, in the order of their indices.
    pub classes: &'a [Class],
    /// The class whose pixels overlays leave as they are.
    pub background: Option<u8>,
    /// Opacity of the class colours, 0 (invisible) to 1 (opaque).
    pub alpha: f32,
    /// Width of outlines in pixels, 0 to 64; `None` depends on the image's size.
    pub outline: Option<u32>,
}

impl Results<'_> {
    /// Writes what a photo's job asks for: labels, run lengths, and the overlay, which is drawn
    /// into `photo`. `labels` has one label for each of its pixels, row by row.
    pub fn write(&self, job: &Job, photo: &mut Image, labels: &[u8]) -> Result<()> {
        let (width, height) = (photo.width, photo.height);
        if let Some(path) = &job.labels {
            self.write_labels(path, labels, width, height)?;
        }
        if let Some(path) = &job.rle {
            let text = self.encode(labels, width, height).to_string();
            fcn::file::write(path, text.as_bytes()).map_err(|error| error.to_string())?;
        }
        if let Some(path) = &job.overlay {
            self.draw(photo, labels)?;
            write_png(path, photo).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Writes class indices as a PNG file with the class colours as palette.
    pub fn write_labels(&self, path: &Path, labels: &[u8], width: u32, height: u32) -> Result<()> {
        write_labels(path, labels, width, height, self.classes).map_err(|error| error.to_string())
    }

    /// Draws class colours and outlines into an RGB image of the labels' size.
    pub fn draw(&self, image: &mut Image, labels: &[u8]) -> Result<()> {
        let visible = OverlayStyle::visible(image.width, image.height);
        let outline = self.outline.unwrap_or(visible.outline);
        let style = OverlayStyle { alpha: self.alpha, outline, ..visible };
        LabelMap::new(labels, image.width, image.height, 0)
            .and_then(|map| {
                overlay_styled(&mut image.pixels, PixelFormat::Rgb8, 0, map, self.classes, self.background, style)
            })
            .map_err(|error| error.to_string())
    }

    /// Classes as COCO's run-length encoded masks: lengths of runs of pixels, column by column,
    /// that are not and are of the class, alternating.
    pub fn encode(&self, labels: &[u8], width: u32, height: u32) -> Value {
        let masks: Vec<Value> = self
            .counts(labels)
            .map(|(index, class, pixels)| {
                let counts = runs(labels, width as usize, height as usize, index);
                json!({
                    "category_id": index,
                    "category": class.name,
                    "area": pixels,
                    "segmentation": {"size": [height, width], "counts": counts},
                })
            })
            .collect();
        json!({"width": width, "height": height, "classes": masks})
    }

    /// The names of the classes that occur and their shares of the pixels, largest first.
    pub fn shares(&self, labels: &[u8]) -> Vec<(&str, f64)> {
        let mut found: Vec<_> = self.counts(labels).collect();
        found.sort_by_key(|&(_, _, pixels)| std::cmp::Reverse(pixels));
        found.iter().map(|&(_, class, pixels)| (&class.name[..], pixels as f64 / labels.len() as f64)).collect()
    }

    /// The classes that occur, with their indices and numbers of pixels.
    fn counts(&self, labels: &[u8]) -> impl Iterator<Item = (u8, &Class, usize)> {
        let mut counts = [0usize; 256];
        labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
        let all = (0..=u8::MAX).zip(self.classes).zip(counts);
        all.map(|((index, class), pixels)| (index, class, pixels)).filter(|&(_, _, pixels)| pixels > 0)
    }
}

/// Lengths of alternating runs in column order, the first one of pixels without `label`.
fn runs(labels: &[u8], width: usize, height: usize, label: u8) -> Vec<usize> {
    let (mut counts, mut inside, mut length) = (Vec::new(), false, 0);
    for x in 0..width {
        for y in 0..height {
            if (labels[y * width + x] == label) != inside {
                counts.push(length);
                (inside, length) = (!inside, 0);
            }
            length += 1;
        }
    }
    counts.push(length);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_go_down_the_columns_and_begin_outside() {
        // pycocotools decodes the first counts to [[1, 0, 0], [1, 1, 0]].
        assert_eq!(runs(&[1, 0, 0, 1, 1, 0], 3, 2, 1), [0, 2, 1, 1, 2]);
        assert_eq!(runs(&[1, 0, 0, 1, 1, 0], 3, 2, 0), [2, 1, 1, 2]);
        assert_eq!(runs(&[1, 1], 2, 1, 7), [2]);
    }

    #[test]
    fn shares_are_of_all_pixels_and_the_largest_is_first() {
        let classes = ["road", "sky", "tree"].map(|name| Class { name: name.to_owned(), color: [0; 3] });
        let results = Results { classes: &classes, background: None, alpha: 0.4, outline: None };
        assert_eq!(results.shares(&[2, 2, 0, 255]), [("tree", 0.5), ("road", 0.25)]);
    }
}
