//! Interprets the values of a mask with a palette.
//!
//! They are class indices, and the palette is decoration, unless the palette indicates otherwise:
//! tools that derive a palette from a coloured mask number the colours in order of appearance. The
//! part of the palette that the mask uses is therefore compared with the classes' colours:
//!
//! - No colour belongs to a class other than its index: the values are indices. Colours of no class
//!   are decoration.
//! - Each colour belongs to a class or void, some at another index: the colours determine the
//!   classes.
//! - Some colours belong to classes at another index, some to none: the mask is rejected.
//!
//! A value of 255 is void, whatever its colour. Pascal VOC's palette and a grey ramp are written by
//! tools without knowledge of the classes. They go by colour only if their first colours are those
//! of all classes; a single coincidence means nothing.

use fcn::palette::voc_color;

use crate::error::{Error, Result};
use crate::labelmap::{ColorIndex, VOID, color_text};

/// The meaning of a mask's values.
#[derive(Debug)]
pub(super) enum Meaning {
    /// They are class indices.
    Index,
    /// Each stands for the class with its colour.
    Color(Box<[u8; 256]>),
}

/// Compares a palette (red, green and blue of each entry) with the colours of the classes.
pub(super) fn meaning(palette: &[u8], values: &[u8], classes: &[[u8; 3]], colors: &ColorIndex) -> Result<Meaning> {
    let entries: Vec<[u8; 3]> = palette.as_chunks::<3>().0.to_vec();
    let class_of = |value: usize| entries.get(value).and_then(|&color| colors.class(color));
    let mut used = [false; 256];
    values.iter().for_each(|&value| used[usize::from(value)] = true);
    let is_plain = |decoration: fn(u8) -> [u8; 3]| (0..=255u8).zip(&entries).all(|(i, &entry)| entry == decoration(i));
    if is_plain(voc_color) || is_plain(|shade| [shade; 3]) {
        let first = &entries[..classes.len().min(entries.len())];
        if !first.iter().all(|color| classes.contains(color)) {
            return Ok(Meaning::Index);
        }
    }
    let used = || (0..256).filter(|&value| used[value]);
    // A value of 255 whose colour belongs to no class.
    let is_void = |value: usize| value == usize::from(VOID) && class_of(value).is_none();
    let contradicts = |value: usize| class_of(value).is_some_and(|class| usize::from(class) != value);
    let Some(other) = used().find(|&value| contradicts(value)) else { return Ok(Meaning::Index) };
    match used().find(|&value| class_of(value).is_none() && !is_void(value)) {
        None => {
            let by_color = |value: usize| class_of(value).unwrap_or(VOID);
            Ok(Meaning::Color(Box::new(std::array::from_fn(by_color))))
        }
        Some(unknown) => Err(Error::new(format!(
            "its palette shows index {other} in the colour ({}), which labelmap.txt has for index {}, and index {unknown} \
             in {}, so neither indices nor colours can be meant; give the palette the colours of labelmap.txt, or save the \
             class indices as greyscale",
            color_text(entries[other]),
            class_of(other).unwrap_or(VOID),
            entries
                .get(unknown)
                .map_or("none".to_owned(), |&color| format!("({}), which it does not have", color_text(color)))
        ))),
    }
}
