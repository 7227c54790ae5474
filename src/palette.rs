//! Class names and colours.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A class of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// The name, for example `cat`.
    pub name: String,
    /// The palette colour: red, green and blue.
    pub color: [u8; 3],
}

impl Class {
    /// The colour in overlays and legends: the palette colour, brightened so that it is visible
    /// over an image, because dark ones such as Pascal VOC's (64, 0, 0) for cats only darken it.
    /// The largest component v becomes 160 + 95 v / 255, rounded, and the others are scaled with
    /// it. Hue is kept, and colours that differ only in brightness still differ; black becomes
    /// grey.
    pub fn display_color(&self) -> [u8; 3] {
        let values = self.color.map(u32::from);
        let largest = values.into_iter().fold(0, u32::max);
        if largest == 0 {
            return [160; 3];
        }
        let bright = 255 * 160 + 95 * largest;
        values.map(|value| ((2 * value * bright + 255 * largest) / (2 * 255 * largest)) as u8)
    }
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

/// The colours of Cityscapes' 19 classes by training index (cityscapesScripts, `labels.py`): road,
/// sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky,
/// person, rider, car, truck, bus, train, motorcycle, bicycle.
pub const CITYSCAPES_COLORS: [[u8; 3]; 19] = [
    [128, 64, 128],
    [244, 35, 232],
    [70, 70, 70],
    [102, 102, 156],
    [190, 153, 153],
    [153, 153, 153],
    [250, 170, 30],
    [220, 220, 0],
    [107, 142, 35],
    [152, 251, 152],
    [70, 130, 180],
    [220, 20, 60],
    [255, 0, 0],
    [0, 0, 142],
    [0, 0, 70],
    [0, 60, 100],
    [0, 80, 100],
    [0, 0, 230],
    [119, 11, 32],
];

/// The label of pixels without a class: below the confidence threshold, or void in ground truth.
pub const UNKNOWN: u8 = 255;

/// Names of the background class in annotation tools.
const BACKGROUND_NAMES: [&str; 4] = ["background", "_background_", "__background__", "bg"];

/// The index of the background class: the first named `background`, `_background_`,
/// `__background__` or `bg`, ignoring case.
#[must_use]
pub fn background(classes: &[Class]) -> Option<u8> {
    let is_background =
        |class: &Class| BACKGROUND_NAMES.iter().any(|name| class.name.trim().eq_ignore_ascii_case(name));
    classes.iter().position(is_background).and_then(|index| u8::try_from(index).ok())
}

/// Colours of classes by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// Pascal VOC's colour map, for any number of classes.
    Voc,
    /// The colours of the 19 Cityscapes classes.
    Cityscapes,
}

impl FromStr for Palette {
    type Err = Error;

    /// The palette called `voc` or `cityscapes`.
    fn from_str(name: &str) -> Result<Palette> {
        match name {
            "voc" => Ok(Palette::Voc),
            "cityscapes" => Ok(Palette::Cityscapes),
            _ => Err(Error::InvalidArgument(format!(
                "the palette '{}' does not exist; there are 'voc' and 'cityscapes'",
                name.escape_default()
            ))),
        }
    }
}

impl fmt::Display for Palette {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Palette::Voc => "voc",
            Palette::Cityscapes => "cityscapes",
        })
    }
}

impl Palette {
    /// Sets the classes' colours by index. In Pascal VOC's palette, the background is black (its
    /// first colour) whatever its index; Cityscapes has no background.
    pub(crate) fn color(self, classes: &mut [Class], background: Option<u8>) -> Result<()> {
        if self == Palette::Cityscapes && classes.len() > CITYSCAPES_COLORS.len() {
            return Err(Error::InvalidArgument(format!(
                "the palette 'cityscapes' has {} colours, but the model has {} classes; 'voc' has enough",
                CITYSCAPES_COLORS.len(),
                classes.len()
            )));
        }
        for (index, class) in (0u8..).zip(classes) {
            class.color = match (self, background) {
                (Palette::Cityscapes, _) => CITYSCAPES_COLORS[usize::from(index)],
                (Palette::Voc, Some(background)) if index == background => voc_color(0),
                (Palette::Voc, Some(background)) if index < background => voc_color(index + 1),
                (Palette::Voc, _) => voc_color(index),
            };
        }
        Ok(())
    }
}

/// The colour of class `index` in Pascal VOC's colour map: the bits of the index, distributed from
/// the top bit of each channel down (VOCdevkit, `VOClabelcolormap.m`). Distinct for all 256
/// indices.
#[must_use]
pub fn voc_color(index: u8) -> [u8; 3] {
    let mut color = [0u8; 3];
    for bit in 0..8 {
        let step = bit / 3;
        color[bit % 3] |= ((index >> bit) & 1) << (7 - step);
    }
    color
}

/// Pascal VOC's 21 classes.
#[must_use]
pub fn voc_classes() -> Vec<Class> {
    (0u8..).zip(VOC_NAMES).map(|(index, name)| Class { name: name.to_owned(), color: voc_color(index) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn palettes_color_classes_by_index() {
        let mut classes = voc_classes();
        let error = Palette::Cityscapes.color(&mut classes, None).unwrap_err().to_string();
        assert!(error.contains("19 colours") && error.contains("21 classes"), "{error}");
        assert_eq!(classes, voc_classes());
        classes.truncate(19);
        "cityscapes".parse::<Palette>().unwrap().color(&mut classes, None).unwrap();
        // Road, person and bicycle on the benchmark's page.
        assert_eq!([0, 11, 18].map(|i: usize| classes[i].color), [[128, 64, 128], [220, 20, 60], [119, 11, 32]]);
        "voc".parse::<Palette>().unwrap().color(&mut classes, Some(0)).unwrap();
        assert_eq!(classes[..], voc_classes()[..19]);
        assert!("VOC\n".parse::<Palette>().unwrap_err().to_string().contains("'VOC\\n'"));
    }

    #[test]
    fn the_background_is_black_in_the_palette_that_has_one() {
        let mut classes = voc_classes();
        classes.truncate(4);
        classes.swap(0, 2);
        let colors = |classes: &[Class]| classes.iter().map(|class| class.color).collect::<Vec<_>>();
        Palette::Voc.color(&mut classes, Some(2)).unwrap();
        assert_eq!(colors(&classes), [voc_color(1), voc_color(2), voc_color(0), voc_color(3)]);
        Palette::Cityscapes.color(&mut classes, Some(2)).unwrap();
        assert_eq!(colors(&classes), CITYSCAPES_COLORS[..4]);
    }

    #[test]
    fn the_background_is_found_by_its_name() {
        let background = |names: &[&str]| {
            let class = |name: &&str| Class { name: (*name).to_owned(), color: [0, 0, 0] };
            super::background(&names.iter().map(class).collect::<Vec<_>>())
        };
        for name in
            ["background", "Background", "BACKGROUND", "_background_", "__background__", "bg", "BG", " background "]
        {
            assert_eq!(background(&["car", name, "tree"]), Some(1), "{name:?}");
        }
        for name in ["backgrounds", "the background", "bgr", "", "__bg__", "road"] {
            assert_eq!(background(&["car", name, "tree"]), None, "{name:?}");
        }
        assert_eq!(background(&["bg", "background"]), Some(0));
    }

    #[test]
    fn display_colors_are_bright_and_differ_where_colours_do() {
        let display = |color| Class { name: String::new(), color }.display_color();
        // 160 + 95 * 64 / 255 = 183.8; 160 + 95 * 192 / 255 = 231.5, and 128 * 231.5 / 192 = 154.4;
        // 160 + 95 / 255 = 160.4.
        for (color, expected) in [
            ([64, 0, 0], [184, 0, 0]),
            ([192, 0, 128], [232, 0, 154]),
            ([1, 0, 1], [160, 0, 160]),
            ([0, 0, 0], [160, 160, 160]),
            ([255, 255, 255], [255, 255, 255]),
            ([255, 1, 128], [255, 1, 128]),
        ] {
            assert_eq!(display(color), expected, "{color:?}");
        }
        for colors in [(0..21).map(voc_color).collect::<Vec<_>>(), CITYSCAPES_COLORS.to_vec()] {
            let mut shown: Vec<_> = colors.iter().map(|&color| display(color)).collect();
            assert!(shown.iter().all(|color| color.iter().any(|&value| value >= 160)), "{shown:?}");
            shown.sort_unstable();
            shown.dedup();
            assert_eq!(shown.len(), colors.len());
        }
    }

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
