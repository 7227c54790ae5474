//! COCO's run-length encoding of masks, plain and compressed (cocoapi, `maskApi.c`): alternating
//! lengths of runs outside and inside, column by column.

use serde::Deserialize;

use crate::error::{Error, Result};

/// A mask as stored in a file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Runs {
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// The lengths.
    pub counts: Counts,
}

/// Lengths of runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Counts {
    /// As numbers.
    Plain(Vec<u64>),
    /// As text: differences to the length before the last one, in groups of five bits, lowest
    /// first.
    Compressed(String),
}

impl Runs {
    /// The lengths as numbers.
    pub fn lengths(&self) -> Result<Vec<u64>> {
        match &self.counts {
            Counts::Plain(lengths) => Ok(lengths.clone()),
            Counts::Compressed(text) => decompress(text.as_bytes()),
        }
    }

    /// Sets the mask's pixels to a label.
    pub(super) fn draw(&self, labels: &mut [u8], width: usize, height: usize, label: u8) -> Result<()> {
        let mut place = 0;
        for (number, length) in self.lengths_for(width, height)?.into_iter().enumerate() {
            let end = place + length as usize;
            if number % 2 == 1 {
                // Column by column => row by row.
                (place..end).for_each(|at| labels[at % height * width + at / height] = label);
            }
            place = end;
        }
        Ok(())
    }

    /// The number of pixels it covers.
    pub(super) fn area(&self, width: usize, height: usize) -> Result<usize> {
        Ok(self.lengths_for(width, height)?.into_iter().skip(1).step_by(2).sum::<u64>() as usize)
    }

    /// The lengths, if they fit a photo of this size.
    fn lengths_for(&self, width: usize, height: usize) -> Result<Vec<u64>> {
        let [own_height, own_width] = self.size;
        if (own_width, own_height) != (width, height) {
            return Err(Error::new(format!(
                "a run-length mask of {own_width} x {own_height} pixels lies on a photo of {width} x {height}"
            )));
        }
        let lengths = self.lengths()?;
        let sum = lengths.iter().try_fold(0u64, |sum, length| sum.checked_add(*length));
        let pixels = (width * height) as u64;
        if sum != Some(pixels) {
            let sum = sum.map_or("too many".to_owned(), |sum| sum.to_string());
            return Err(Error::new(format!("the runs of a mask cover {sum} of {pixels} pixels")));
        }
        Ok(lengths)
    }
}

fn decompress(text: &[u8]) -> Result<Vec<u64>> {
    let broken = || Error::new("a run-length mask has a character, or ends, where COCO's compression has none");
    let mut lengths: Vec<i64> = Vec::new();
    let mut bytes = text.iter();
    while let Some(&first) = bytes.next() {
        let (mut value, mut shift, mut byte) = (0i64, 0, first);
        loop {
            // Characters from '0' on hold six bits: five of the number, and a continuation bit.
            let bits = byte.checked_sub(b'0').filter(|bits| *bits < 64).ok_or_else(broken)?;
            if shift > 55 {
                return Err(broken());
            }
            value |= i64::from(bits & 31) << shift;
            shift += 5;
            if bits & 32 == 0 {
                if bits & 16 != 0 {
                    value |= -1 << shift;
                }
                break;
            }
            byte = *bytes.next().ok_or_else(broken)?;
        }
        if lengths.len() > 2 {
            value = value.checked_add(lengths[lengths.len() - 2]).ok_or_else(broken)?;
        }
        lengths.push(value);
    }
    lengths.into_iter().map(|length| u64::try_from(length).map_err(|_| broken())).collect()
}
