//! Masks: PNG files whose pixels are class indices (palette or greyscale) or the classes' colours
//! (RGB, RGBA).

mod palette;

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::Path;

use fcn::ImageLayout;
use fcn::palette::Class;
use png::{BitDepth, ColorType, Decoder, Transformations};

use crate::error::{Error, Result};
use crate::labelmap::{ColorIndex, VOID, color_text};
use palette::Meaning;

/// Decisions made about a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaskFacts {
    /// The mask had the stored photo's orientation and was rotated with it.
    pub turned: bool,
    /// The photo is rotated, and the sizes do not tell whether the mask is: it is assumed to be
    /// upright.
    pub unsure: bool,
    /// The palette has the classes' colours in another order, so the colours determine the classes.
    pub by_color: bool,
    /// There is no mask: the whole photo is background.
    pub no_mask: bool,
}

/// The number of pixels of each label.
pub(crate) fn histogram(labels: &[u8]) -> [u64; 256] {
    let mut counts = [0; 256];
    labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
    counts
}

/// Class colours, and the lookup from a mask's colour to its class.
#[derive(Debug)]
pub struct ClassColors {
    /// In index order.
    colors: Vec<[u8; 3]>,
    /// An error if classes share a colour, which only matters for a coloured mask.
    index: Result<ColorIndex>,
}

impl ClassColors {
    pub(crate) fn new(classes: &[Class]) -> ClassColors {
        ClassColors { colors: classes.iter().map(|class| class.color).collect(), index: ColorIndex::new(classes) }
    }
}

/// The pixel values of a mask, whatever they mean.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The values that occur, and the palette that gives them colours.
    Values(Box<[bool; 256]>, Option<Vec<[u8; 3]>>),
    /// The colours that occur; at most [`MOST_COLORS`] and one more.
    Colors(BTreeSet<[u8; 3]>),
}

/// More colours than these cannot be classes.
pub(crate) const MOST_COLORS: usize = 256;

/// A mask as stored in its file.
pub(crate) struct RawMask<'a> {
    path: &'a Path,
    photo: &'a ImageLayout,
    /// Whether it has the size of the stored photo, not of the upright one. If both are equal, the
    /// mask is assumed to be upright, as labelling tools show the photo.
    is_stored: bool,
    width: usize,
    channels: usize,
    palette: Option<Vec<u8>>,
    /// Row by row, `width` x `channels` bytes each.
    bytes: Vec<u8>,
}

/// Reads a photo's mask to the end of its file, so that a truncated one is an error.
pub(crate) fn open<'a>(path: &'a Path, (photo, layout): (&Path, &'a ImageLayout)) -> Result<RawMask<'a>> {
    let file = fcn::file::open(path).map_err(|error| unreadable(path, error))?;
    let mut decoder = Decoder::new(BufReader::new(file));
    // The palette is read separately, because the pixels must stay indices.
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|error| unreadable(path, error))?;
    let info = reader.info();
    let (info_size, width) = ((info.width, info.height), info.width as usize);
    let (color_type, depth) = (info.color_type, info.bit_depth);
    let palette = info.palette.as_ref().map(|palette| palette.to_vec());
    if depth == BitDepth::Sixteen || color_type == ColorType::GrayscaleAlpha {
        return Err(Error::new(format!(
            "{} is a {color_type:?} PNG of {} bits a channel; a mask must be palette, greyscale, RGB or RGBA of at most \
             8 bits",
            path.display(),
            depth as u8
        )));
    }
    // Checked before allocating: a small file can claim to be a huge image.
    let (own, (upright_width, upright_height)) = (info_size, layout.upright());
    let is_upright = own == (upright_width, upright_height);
    if !is_upright && own != (layout.width, layout.height) {
        return Err(Error::new(format!(
            "{} is {} x {} pixels, but its photo {} is {upright_width} x {upright_height}; a mask must have its photo's size",
            path.display(),
            own.0,
            own.1,
            photo.display()
        )));
    }
    let size = reader.output_buffer_size().ok_or_else(|| unreadable(path, "it is too large"))?;
    let mut bytes = vec![0; size];
    reader.next_frame(&mut bytes).map_err(|error| unreadable(path, error))?;
    reader.finish().map_err(|error| unreadable(path, error))?;
    let channels = color_type.samples();
    if channels == 1 {
        bytes = unpack(bytes, depth as usize, width);
    }
    let palette = palette.filter(|_| color_type == ColorType::Indexed);
    Ok(RawMask { path, photo: layout, is_stored: !is_upright, width, channels, palette, bytes })
}

impl RawMask<'_> {
    /// The class indices of the upright photo, row by row, and the decisions made about them. Alpha
    /// is ignored.
    pub(crate) fn read(self, classes: &ClassColors) -> Result<(Vec<u8>, MaskFacts)> {
        let ClassColors { colors: classes, index: colors } = classes;
        let (photo, is_stored) = (self.photo, self.is_stored);
        let mut facts = MaskFacts {
            turned: is_stored,
            unsure: !photo.is_upright() && (photo.width, photo.height) == photo.upright(),
            ..MaskFacts::default()
        };
        let (path, width) = (self.path, self.width);
        let mask = match (self.channels, &self.palette) {
            (1, palette) => {
                let meaning = match (palette, colors) {
                    (Some(palette), Ok(colors)) => palette::meaning(palette, &self.bytes, classes, colors)
                        .map_err(|error| Error::new(format!("{}: {error}", path.display())))?,
                    _ => Meaning::Index,
                };
                let mut mask = self.bytes;
                if let Meaning::Color(values) = meaning {
                    facts.by_color = true;
                    mask.iter_mut().for_each(|value| *value = values[usize::from(*value)]);
                }
                check_indices(path, &mask, width, classes.len())?;
                mask
            }
            (channels, _) => {
                let colors = colors
                    .as_ref()
                    .map_err(|error| Error::new(format!("{} is a coloured mask, but {error}", path.display())))?;
                indices_of_colors(path, &self.bytes, channels, width, colors)?
            }
        };
        Ok((if is_stored { photo.turn(mask) } else { mask }, facts))
    }

    /// Its pixel values.
    pub(crate) fn content(self) -> Content {
        if self.channels == 1 {
            let mut used = Box::new([false; 256]);
            self.bytes.iter().for_each(|&value| used[usize::from(value)] = true);
            return Content::Values(used, self.palette.map(|palette| palette.as_chunks::<3>().0.to_vec()));
        }
        let (mut colors, mut last) = (BTreeSet::new(), None);
        for pixel in self.bytes.chunks_exact(self.channels) {
            let color = [pixel[0], pixel[1], pixel[2]];
            // Neighbours mostly share a colour.
            if last != Some(color) && colors.len() <= MOST_COLORS {
                colors.insert(color);
                last = Some(color);
            }
        }
        Content::Colors(colors)
    }

    /// The raw values of a palette or greyscale mask, for the upright photo.
    pub(crate) fn values(self) -> Result<Vec<u8>> {
        if self.channels != 1 {
            return Err(Error::new(format!("{} holds colours; take the file that holds IDs", self.path.display())));
        }
        Ok(if self.is_stored { self.photo.turn(self.bytes) } else { self.bytes })
    }
}

/// Unpacks rows with several pixels per byte, the first in the highest bits, to one byte per pixel.
fn unpack(bytes: Vec<u8>, depth: usize, width: usize) -> Vec<u8> {
    if depth == 8 || width == 0 {
        return bytes;
    }
    let per_byte = 8 / depth;
    let rows = bytes.chunks_exact(width.div_ceil(per_byte));
    rows.flat_map(|row| {
        (0..width).map(move |x| row[x / per_byte] >> (8 - depth * (x % per_byte + 1)) & ((1 << depth) - 1))
    })
    .collect()
}

fn check_indices(path: &Path, mask: &[u8], width: usize, classes: usize) -> Result<()> {
    match mask.iter().position(|&index| index as usize >= classes && index != VOID) {
        None => Ok(()),
        Some(place) => Err(Error::new(format!(
            "{}: the pixel at x {}, y {} has class index {}, but there are {classes} classes (0 to {}, and 255 for \
             void); correct the mask or add the class to labelmap.txt",
            path.display(),
            place % width,
            place / width,
            mask[place],
            classes - 1
        ))),
    }
}

fn indices_of_colors(path: &Path, bytes: &[u8], channels: usize, width: usize, colors: &ColorIndex) -> Result<Vec<u8>> {
    let mut mask = Vec::with_capacity(bytes.len() / channels);
    // Neighbours mostly share a colour: look up only where it changes.
    let mut last = None;
    for (place, pixel) in bytes.chunks_exact(channels).enumerate() {
        let color = [pixel[0], pixel[1], pixel[2]];
        let index = match last {
            Some((same, index)) if same == color => index,
            _ => colors.class(color).ok_or_else(|| {
                Error::new(format!(
                    "{}: the pixel at x {}, y {} has the colour ({}), which belongs to no class; correct the mask or \
                     add the colour to labelmap.txt",
                    path.display(),
                    place % width,
                    place / width,
                    color_text(color)
                ))
            })?,
        };
        last = Some((color, index));
        mask.push(index);
    }
    Ok(mask)
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(format!("{} cannot be read: {error}", path.display()))
}
