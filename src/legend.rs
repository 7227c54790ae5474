//! A legend of classes, drawn with the public-domain 8 x 8 font.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};

use crate::{Size, canvas::Canvas};

/// Rows and columns of a letter and of a colour box.
const CELL: usize = 8;
/// The space at the legend's edges, between lines, and between a box and its name.
const GAP: usize = 2;

/// Darkens the upper left corner and draws one line per class: a colour box and the name in white.
pub(crate) fn draw<'a>(canvas: &mut Canvas<'_>, classes: impl Iterator<Item = (&'a str, [u8; 3])> + Clone) {
    let scale = (canvas.width.min(canvas.height) / 240).max(1);
    let letters = classes.clone().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines = classes.clone().count();
    if lines == 0 {
        return;
    }
    let (line, text) = (CELL + GAP, CELL + 2 * GAP);
    let size = Size::new(scale * (text + letters * CELL + GAP), scale * (lines * line + GAP));
    canvas.fill((0, 0), size, [0, 0, 0], 0.6);
    for (index, (name, color)) in classes.enumerate() {
        let y = scale * (GAP + index * line);
        canvas.fill((scale * GAP, y), Size::new(scale * CELL, scale * CELL), color, 1.0);
        for (place, letter) in name.chars().enumerate() {
            let x = scale * (text + place * CELL);
            // Letters outside the image are skipped.
            if x >= canvas.width || y >= canvas.height {
                break;
            }
            write(canvas, (x, y), scale, letter);
        }
    }
}

/// Draws one letter; a question mark if the font does not contain it.
fn write(canvas: &mut Canvas<'_>, (x, y): (usize, usize), scale: usize, letter: char) {
    let glyph = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter)).or_else(|| BASIC_FONTS.get('?'));
    for (row, bits) in glyph.unwrap_or_default().into_iter().enumerate() {
        // Bit 0 is the leftmost column.
        for column in (0..CELL).filter(|column| bits >> column & 1 == 1) {
            canvas.fill((x + scale * column, y + scale * row), Size::new(scale, scale), [255, 255, 255], 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{LabelMap, OverlayStyle, PixelFormat, overlay_styled, palette::Class};

    fn drawn(width: u32, height: u32, names: [&str; 3], labels: &[u8]) -> Vec<u8> {
        let colors = [[0, 0, 0], [255, 100, 0], [0, 100, 255]];
        let classes: Vec<_> =
            names.into_iter().zip(colors).map(|(name, color)| Class { name: name.into(), color }).collect();
        let mut pixels = vec![100u8; (3 * width * height) as usize];
        let labels = LabelMap::new(labels, width, height, 0).unwrap();
        let style = OverlayStyle { alpha: 0.0, outline: 0, legend: true };
        overlay_styled(&mut pixels, PixelFormat::Rgb8, 0, labels, &classes, Some(0), style).unwrap();
        pixels
    }

    #[test]
    fn a_line_tells_color_and_name_of_each_class_that_is_there() {
        let (width, height) = (40, 30);
        let mut labels = [0; 40 * 30];
        labels[40 * 30 - 1] = 2;
        let pixels = drawn(width, height, ["background", "absent", "T"], &labels);
        let at = |x: usize, y: usize| -> [u8; 3] { pixels[3 * (y * 40 + x)..][..3].try_into().unwrap() };
        // The letter T of font8x8_basic.h: 3F 2D 0C 0C 0C 0C 1E 00.
        let letter = ["######..", "#.##.#..", "..##....", "..##....", "..##....", "..##....", ".####...", "........"];
        for y in 0..30 {
            for x in 0..40 {
                let inside = |start: usize, at: usize| (start..start + 8).contains(&at);
                let expected = match (x, y) {
                    _ if inside(2, x) && inside(2, y) => [0, 100, 255],
                    _ if inside(12, x) && inside(2, y) && letter[y - 2].as_bytes()[x - 12] == b'#' => [255; 3],
                    // Darkened by 0.6.
                    _ if x < 22 && y < 12 => [40; 3],
                    _ => [100; 3],
                };
                assert_eq!(at(x, y), expected, "({x}, {y})");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let names = ["background", "a name that is longer than the picture \u{fc}\u{4e16}", "another"];
        for (width, height) in [(1, 1), (5, 3), (30, 11), (300, 250)] {
            let labels: Vec<u8> = (0..width * height).map(|i| (i % 3) as u8).collect();
            let pixels = drawn(width, height, names, &labels);
            assert!(labels.len() == 1 || pixels.iter().any(|&value| value != 100), "{width} x {height}");
        }
        // Nothing to list.
        assert_eq!(drawn(9, 9, names, &[0; 81]), [100; 3 * 81]);
    }
}
