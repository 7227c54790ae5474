//! Reads the pixels of a [`Frame`], one block of a row at a time: gathers words from memory, then
//! converts them to RGB in vectors.

use crate::{Frame, color::Conversion, format::Samples, simd::F32x8};

/// Pixels that are read together.
pub(crate) const BLOCK: usize = 32;

/// Bytes read at once: contains all samples of a pixel that are close together.
const WORD: usize = 4;

/// The size of a cache line in bytes.
const CACHE_LINE: usize = 64;

/// The longest block of a row, in bytes, that is prefetched. Strongly downscaled or rotated frames
/// have longer ones.
const PREFETCHED: usize = 512;

/// Red, green and blue of a block, 0 to 255.
pub(crate) type Rgb = [[f32; BLOCK]; 3];

/// Reads the pixels of a frame.
pub(crate) struct PixelReader<'a> {
    frame: &'a Frame<'a>,
    /// The words read for each pixel, `count` of them.
    words: [Samples; 3],
    count: usize,
    /// For each channel, the index of its word and its lowest bit in it.
    channels: [(usize, u32); 3],
    conversion: Option<Conversion>,
}

/// The positions of the words of a block of columns, the same in each row.
pub(crate) struct Places {
    at: [[usize; BLOCK]; 3],
    /// The bytes that a row must have for all words to lie inside.
    reach: [usize; 3],
}

/// The positions of two neighbouring pixels for each column of a block.
pub(crate) struct Pairs {
    first: Places,
    second: Places,
    /// If the first pixel's word also contains the second pixel's samples, the number of bits
    /// between them.
    inside: [Option<[u32; BLOCK]>; 3],
}

/// The words of a block, `N` pixels per column. Kept between blocks, because clearing takes time.
pub(crate) struct Words<const N: usize>([[[u32; BLOCK]; 3]; N]);

impl<const N: usize> Default for Words<N> {
    fn default() -> Self {
        Words([[[0; BLOCK]; 3]; N])
    }
}

impl<'a> PixelReader<'a> {
    pub(crate) fn new(frame: &'a Frame<'a>) -> PixelReader<'a> {
        let samples = frame.format().samples();
        let (mut words, mut count, mut channels) = (samples, 0, [(0, 0); 3]);
        for (channel, sample) in samples.iter().enumerate() {
            let together = |word: &Samples| {
                (word.plane, word.distance, word.shift) == (sample.plane, sample.distance, sample.shift)
            };
            let word = words[..count].iter().position(together).unwrap_or(count);
            if word == count {
                let offsets = samples.iter().filter(|sample| together(sample)).map(|sample| sample.offset);
                words[word] = Samples { offset: offsets.min().unwrap_or(sample.offset), ..*sample };
                count += 1;
            }
            channels[channel] = (word, 8 * (sample.offset - words[word].offset) as u32);
        }
        PixelReader { frame, words, count, channels, conversion: frame.conversion() }
    }

    /// The positions of 1 to [`BLOCK`] columns; the last one is repeated to fill the block.
    #[inline(always)]
    pub(crate) fn places(&self, mut columns: impl Iterator<Item = usize>) -> Places {
        let mut places = Places { at: [[0; BLOCK]; 3], reach: [WORD; 3] };
        let mut column = 0;
        for index in 0..BLOCK {
            column = columns.next().unwrap_or(column);
            for word in 0..self.count {
                let place = self.frame.place(self.words[word], column);
                places.at[word][index] = place;
                places.reach[word] = places.reach[word].max(place + WORD);
            }
        }
        places
    }

    /// The positions of 1 to [`BLOCK`] pairs of columns; the last one is repeated to fill the
    /// block.
    #[inline(always)]
    pub(crate) fn pairs(&self, columns: impl Iterator<Item = (usize, usize)> + Clone) -> Pairs {
        let first = self.places(columns.clone().map(|(first, _)| first));
        let second = self.places(columns.map(|(_, second)| second));
        let mut inside = [None; 3];
        for (word, inside) in inside.iter_mut().enumerate().take(self.count) {
            let samples = self.channels.iter().filter(|(index, _)| *index == word);
            let room = WORD - 1 - samples.map(|(_, shift)| shift / 8).max().unwrap_or(0) as usize;
            let mut bits = [0; BLOCK];
            let mut fits = true;
            for (bits, (first, second)) in bits.iter_mut().zip(first.at[word].iter().zip(&second.at[word])) {
                let bytes = second.wrapping_sub(*first);
                fits &= bytes <= room;
                *bits = 8 * bytes.min(WORD) as u32;
            }
            *inside = fits.then_some(bits);
        }
        Pairs { first, second, inside }
    }

    /// Reads the pixels at these positions of row `y`.
    #[inline(always)]
    pub(crate) fn read(&self, places: &Places, y: usize, words: &mut Words<1>) {
        for word in 0..self.count {
            gather(self.frame.line(self.words[word], y as u32), places, word, &mut words.0[0][word]);
        }
    }

    /// Reads the pixel pairs at these positions of two rows: upper left and right, lower left and
    /// right.
    #[inline(always)]
    pub(crate) fn read_pairs(&self, pairs: &Pairs, rows: [usize; 2], words: &mut Words<4>) {
        let [a, b, c, d] = &mut words.0;
        for (y, first, second) in [(rows[0], a, b), (rows[1], c, d)] {
            for word in 0..self.count {
                let line = self.frame.line(self.words[word], y as u32);
                gather(line, &pairs.first, word, &mut first[word]);
                match &pairs.inside[word] {
                    Some(bits) => {
                        let words = second[word].iter_mut().zip(&first[word]).zip(bits);
                        words.for_each(|((second, first), bits)| *second = first >> bits);
                    }
                    None => gather(line, &pairs.second, word, &mut second[word]),
                }
            }
        }
    }

    /// Prefetches the words of two rows for the block after the next one. A block spans many rows,
    /// so the hardware prefetcher does not detect the pattern.
    #[inline(always)]
    pub(crate) fn prefetch_ahead<V: F32x8>(&self, pairs: &Pairs, rows: [usize; 2]) {
        for word in 0..self.count {
            let [first, .., last] = pairs.first.at[word];
            let length = last.abs_diff(first);
            if length > PREFETCHED {
                continue;
            }
            for y in rows {
                let line = self.frame.line(self.words[word], y as u32);
                for ahead in (0..=length).step_by(CACHE_LINE) {
                    let far = length + ahead + WORD;
                    let place = if last >= first { last.wrapping_add(far) } else { last.wrapping_sub(far) };
                    V::prefetch_bytes(line, place);
                }
            }
        }
    }

    /// Converts the words to RGB.
    #[inline(always)]
    pub(crate) fn colors(&self, words: &Words<1>) -> Rgb {
        let mut samples = [[0.0; BLOCK]; 3];
        for (samples, &(word, shift)) in samples.iter_mut().zip(&self.channels) {
            for (sample, word) in samples.iter_mut().zip(&words.0[0][word]) {
                *sample = byte(*word, shift);
            }
        }
        self.converted(samples)
    }

    /// Interpolates between four pixels: `across` is the horizontal weight of each column, `down`
    /// the vertical weight. Y'CbCr is interpolated before its conversion to RGB.
    #[inline(always)]
    pub(crate) fn colors_between(&self, words: &Words<4>, across: &[f32; BLOCK], down: f32) -> Rgb {
        let mut samples = [[0.0; BLOCK]; 3];
        for (samples, &(word, shift)) in samples.iter_mut().zip(&self.channels) {
            let [a, b, c, d] = &words.0;
            let (a, b, c, d) = (&a[word], &b[word], &c[word], &d[word]);
            for index in 0..BLOCK {
                let (left, right) = (byte(a[index], shift), byte(b[index], shift));
                let upper = left + (right - left) * across[index];
                let (left, right) = (byte(c[index], shift), byte(d[index], shift));
                let lower = left + (right - left) * across[index];
                samples[index] = upper + (lower - upper) * down;
            }
        }
        self.converted(samples)
    }

    #[inline(always)]
    fn converted(&self, mut samples: Rgb) -> Rgb {
        if let Some(conversion) = self.conversion {
            let [a, b, c] = &mut samples;
            for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                [*a, *b, *c] = conversion.rgb([*a, *b, *c]);
            }
        }
        samples
    }
}

/// The byte of a word at bit `shift`.
#[inline(always)]
fn byte(word: u32, shift: u32) -> f32 {
    ((word >> shift) & 0xff) as i32 as f32
}

/// The words at these positions of a row.
#[inline(always)]
fn gather(line: &[u8], places: &Places, word: usize, words: &mut [u32; BLOCK]) {
    let pairs = words.iter_mut().zip(&places.at[word]);
    if places.reach[word] <= line.len() {
        pairs.for_each(|(word, &place)| *word = whole(line, place));
    } else {
        pairs.for_each(|(word, &place)| *word = partial(line, place));
    }
}

/// The word at `place`.
#[inline(always)]
fn whole(line: &[u8], place: usize) -> u32 {
    line[place..].first_chunk::<WORD>().map_or(0, |word| u32::from_le_bytes(*word))
}

/// The word at `place`, which may extend past the end of the plane.
#[inline(never)]
fn partial(line: &[u8], place: usize) -> u32 {
    let mut word = [0; WORD];
    word.iter_mut().zip(&line[place..]).for_each(|(byte, source)| *byte = *source);
    u32::from_le_bytes(word)
}
