//! Divides photos into a training and a validation split.

use std::collections::HashMap;
use std::hash::Hasher;

use super::Dataset;
use crate::error::{Error, Result};
use crate::parallel::on_all_processors;

/// A hash that is the same on every machine and in every version: 64-bit FNV-1a.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// FNV-1a of bytes, with its last bits mixed into all (Stafford 2011, variant 13), because names
/// differ in few bits.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut fnv = Fnv(0xcbf2_9ce4_8422_2325);
    parts.iter().for_each(|part| fnv.write(part));
    let mixed = fnv.finish();
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

impl Dataset {
    /// Holds out a share of the photos and returns the training and the validation photos. The
    /// choice depends only on the seed and the photos' names, not on the order of a list. Photos
    /// with identical pixels stay together.
    pub fn divide(&self, share: f64, seed: u64) -> Result<(Dataset, Dataset)> {
        let pixels = on_all_processors(self.len(), |index| self.pixels(index));
        let mut groups: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, pixels) in pixels.into_iter().enumerate() {
            groups.entry(pixels?).or_default().push(index);
        }
        let rank = |group: &[usize]| {
            let first = group.iter().map(|&index| self.id(index)).min().unwrap_or_default();
            (hash(&[&seed.to_le_bytes(), first.as_bytes()]), first)
        };
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.sort_by(|a, b| rank(a).cmp(&rank(b)));
        let wanted = ((share * self.len() as f64).round() as usize).max(1);
        let mut is_val = vec![false; self.len()];
        let mut held = 0;
        // The last group always stays, so that there is something to train on.
        for group in &groups[..groups.len() - 1] {
            if held >= wanted {
                break;
            }
            held += group.len();
            group.iter().for_each(|&index| is_val[index] = true);
        }
        if held == 0 {
            return Err(Error::new(format!(
                "{} photos of which none differs cannot be divided into some to learn from and some to measure on; label more",
                self.len()
            )));
        }
        let part = |wanted: bool| (0..self.len()).filter(|&index| is_val[index] == wanted).collect::<Vec<_>>();
        Ok((self.part(&part(false)), self.part(&part(true))))
    }

    /// A hash of a photo's size and pixels.
    fn pixels(&self, index: usize) -> Result<u64> {
        let photo = fcn::read_image(&self.entries[index].photo)?;
        Ok(hash(&[&photo.width.to_le_bytes(), &photo.height.to_le_bytes(), &photo.pixels]))
    }
}
