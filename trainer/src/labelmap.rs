//! `labelmap.txt`, CVAT's list of classes, and the lookup from a mask's colour to its class.

use std::path::Path;

use fcn::palette::Class;

use crate::error::{Error, Result};
use crate::text;

/// The most classes a data set may have: a mask's pixel is one byte, and its value 255 is void.
pub const MAX_CLASSES: usize = 255;

/// The mask value of pixels that belong to no class; they are neither trained on nor counted.
pub const VOID: u8 = 255;

/// VOC's colour for void.
pub const VOID_COLOR: [u8; 3] = [224, 224, 192];

/// Reads the classes of a labelmap: `name:R,G,B:parts:actions`, one class per line in index order.
/// Parts and actions are specific to CVAT and may be omitted. Blank lines and lines that start with
/// `#` are skipped. A line named `background` or `void` is an ordinary class with the index of its
/// position.
///
/// A single class is rejected: there is nothing to distinguish it from.
pub fn read(path: &Path) -> Result<Vec<Class>> {
    let text = text::read(path)?;
    let mut classes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let class = parse_line(line).ok_or_else(|| {
            Error::new(format!(
                "{} line {number}: \"{line}\" is not of the form name:R,G,B:: with R, G and B from 0 to 255",
                path.display()
            ))
        })?;
        classes.push(class);
    }
    match classes.len() {
        0 => Err(Error::new(format!("{} names no class; write one as name:R,G,B:: a line", path.display()))),
        1 => Err(Error::new(format!(
            "{} names \"{}\" alone, so there is nothing to tell it from; add a class for everything else, for example the \
             line background:0,0,0::, with an index of its own in the masks",
            path.display(),
            classes[0].name
        ))),
        2..=MAX_CLASSES => Ok(classes),
        n => Err(Error::new(format!(
            "{} names {n} classes, more than the {MAX_CLASSES} that fit a mask's byte beside void; merge some",
            path.display()
        ))),
    }
}

/// The line of a class.
pub(crate) fn line(class: &Class) -> String {
    let [red, green, blue] = class.color;
    format!("{}:{red},{green},{blue}::\n", class.name)
}

fn parse_line(line: &str) -> Option<Class> {
    let mut fields = line.split(':');
    let name = fields.next()?.trim();
    let mut channels = fields.next()?.split(',').map(|channel| channel.trim().parse::<u8>());
    let color = [channels.next()?.ok()?, channels.next()?.ok()?, channels.next()?.ok()?];
    (!name.is_empty() && channels.next().is_none()).then(|| Class { name: name.to_owned(), color })
}

/// Finds the class of a colour.
#[derive(Debug)]
pub struct ColorIndex {
    /// Colours with their pixel value, sorted by colour.
    entries: Vec<([u8; 3], u8)>,
}

impl ColorIndex {
    /// The lookup for these classes; VOC's void colour is [`VOID`], unless a class uses it. Two
    /// classes with the same colour are an error, because a coloured mask could not distinguish
    /// them.
    pub fn new(classes: &[Class]) -> Result<ColorIndex> {
        let mut entries: Vec<_> = (0u8..).zip(classes).map(|(index, class)| (class.color, index)).collect();
        entries.sort();
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let [(color, first), (_, second)] = [pair[0], pair[1]];
            return Err(Error::new(format!(
                "classes \"{}\" and \"{}\" share the colour ({}), so a coloured mask cannot tell them apart; give each \
                 its own colour",
                classes[first as usize].name,
                classes[second as usize].name,
                color_text(color)
            )));
        }
        if let Err(place) = entries.binary_search_by_key(&VOID_COLOR, |entry| entry.0) {
            entries.insert(place, (VOID_COLOR, VOID));
        }
        Ok(ColorIndex { entries })
    }

    /// The class of a colour, [`VOID`] for the void colour, `None` for an unknown colour.
    pub fn class(&self, color: [u8; 3]) -> Option<u8> {
        let place = self.entries.binary_search_by_key(&color, |entry| entry.0).ok()?;
        Some(self.entries[place].1)
    }
}

/// `R, G, B` for messages.
pub(crate) fn color_text([red, green, blue]: [u8; 3]) -> String {
    format!("{red}, {green}, {blue}")
}
