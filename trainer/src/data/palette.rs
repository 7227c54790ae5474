//! What the values of a mask with a palette mean.
//!
//! They are class indices, and the palette is decoration, unless the palette says otherwise: programs that make a palette
//! of a coloured mask number the colours as they find them. So a palette is compared with the classes' colours, as far as
//! the mask uses it:
//!
//! - No colour is that of another class than its index says: the values are indices. Colours of no class are decoration.
//! - Each colour is that of a class, or of void, and some stand at another index: the values go by colour.
//! - Some colours are those of classes at another index, some those of no class: the mask is refused.
//!
//! A value of 255 may have any colour: it is void. Pascal VOC's palette and a ramp of greys are what programs write who know
//! no classes. They go by colour only if their first colours are those of all classes; a colour that happens to be the same
//! means nothing.

use fcn::palette::voc_color;

use super::VOID;
use crate::error::{Error, Result};
use crate::labelmap::{ColorIndex, color_text};

/// What the values of a mask mean.
#[derive(Debug)]
pub(super) enum Meaning {
    /// They are class indices.
    Index,
    /// Each stands for the class of its colour.
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
    // A value of 255 without a colour of a class.
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
