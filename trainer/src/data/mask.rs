//! Masks: PNG files whose pixels are class indices (palette or greyscale) or the classes' colours (RGB, RGBA).

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use png::{BitDepth, ColorType, Decoder, Reader, Transformations};

use super::{VOID, unreadable};
use crate::error::{Error, Result};
use crate::labelmap::{ColorIndex, color_text};

/// A mask of which only the header has been read.
pub(super) struct RawMask<'a> {
    path: &'a Path,
    reader: Reader<BufReader<File>>,
}

/// Opens a mask and reads its header.
pub(super) fn open(path: &Path) -> Result<RawMask<'_>> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let mut decoder = Decoder::new(BufReader::new(file));
    // A palette's colours are decoration: the index is the class, so the palette must not be expanded.
    decoder.set_transformations(Transformations::IDENTITY);
    let reader = decoder.read_info().map_err(|error| unreadable(path, error))?;
    Ok(RawMask { path, reader })
}

impl RawMask<'_> {
    /// Width and height in pixels.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.reader.info().width as usize, self.reader.info().height as usize)
    }

    /// The class indices, row by row. Alpha is not looked at.
    pub(super) fn read(mut self, classes: usize, colors: &Result<ColorIndex>) -> Result<Vec<u8>> {
        let (width, _) = self.size();
        let (color_type, depth) = (self.reader.info().color_type, self.reader.info().bit_depth);
        if depth == BitDepth::Sixteen || color_type == ColorType::GrayscaleAlpha {
            return Err(Error::new(format!(
                "{} is a {color_type:?} PNG of {} bits a channel; a mask must be palette, greyscale, RGB or RGBA of at \
                 most 8 bits",
                self.path.display(),
                depth as u8
            )));
        }
        let size = self.reader.output_buffer_size().ok_or_else(|| unreadable(self.path, "it is too large"))?;
        let mut bytes = vec![0; size];
        self.reader.next_frame(&mut bytes).map_err(|error| unreadable(self.path, error))?;
        match color_type {
            ColorType::Rgb | ColorType::Rgba => {
                let colors = colors
                    .as_ref()
                    .map_err(|error| Error::new(format!("{} is a coloured mask, but {error}", self.path.display())))?;
                indices_of_colors(self.path, &bytes, color_type.samples(), width, colors)
            }
            _ => {
                let mask = unpack(bytes, depth as usize, width);
                check_indices(self.path, &mask, width, classes)?;
                Ok(mask)
            }
        }
    }
}

/// One byte a pixel from rows that hold several pixels in a byte, the first in the highest bits.
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
