//! Class names and colours.

use serde::{Deserialize, Serialize};

/// One class of a model: its name and the colour it is drawn in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// The name, for example `cat`.
    pub name: String,
    /// Red, green and blue, 0 to 255.
    pub color: [u8; 3],
}

/// The names of Pascal VOC's 21 classes, in index order.
const VOC_NAMES: [&str; 21] = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// The colour of class `index` in Pascal VOC's colour map: the bits of the index, spread from the top bit of each
/// channel down (VOCdevkit, `VOClabelcolormap.m`). Distinct for all 256 indices.
pub fn voc_color(index: u8) -> [u8; 3] {
    let mut color = [0u8; 3];
    for bit in 0..8 {
        let step = bit / 3;
        color[bit % 3] |= ((index >> bit) & 1) << (7 - step);
    }
    color
}

/// Pascal VOC's 21 classes with their names and colours.
pub fn voc_classes() -> Vec<Class> {
    (0u8..).zip(VOC_NAMES).map(|(index, name)| Class { name: name.to_owned(), color: voc_color(index) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voc_colors_are_those_of_the_development_kit() {
        // VOC2012 development kit, label colour map: person, tvmonitor and void.
        for (index, color) in
            [(0, [0, 0, 0]), (8, [64, 0, 0]), (15, [192, 128, 128]), (20, [0, 64, 128]), (255, [224, 224, 192])]
        {
            assert_eq!(voc_color(index), color, "class {index}");
        }
    }
}
