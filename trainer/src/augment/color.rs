//! Random changes of a crop's colours: brightness, contrast, saturation and hue, like torchvision's
//! `ColorJitter` on floating-point images.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::planes::Planes;

/// The weights of red, green and blue in a pixel's grey (ITU-R BT.601, rounded as in torchvision).
const GREY: [f32; 3] = [0.2989, 0.587, 0.114];

/// The largest colour changes; 0 means none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Jitter {
    /// Colours are multiplied by a factor between 1 - this and 1 + this.
    pub brightness: f32,
    /// The distance to the crop's mean grey is multiplied by a factor between 1 - this and 1 +
    /// this.
    pub contrast: f32,
    /// The distance to the pixel's grey is multiplied by a factor between 1 - this and 1 + this.
    pub saturation: f32,
    /// Hues are shifted by at most this share of the colour circle, 0 to 0.5.
    pub hue: f32,
}

/// One change of all pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    Brightness(f32),
    Contrast(f32),
    Saturation(f32),
    Hue(f32),
}

impl Jitter {
    /// Whether nothing ever changes.
    pub fn is_none(&self) -> bool {
        *self == Jitter::default()
    }

    /// Random changes, in random order.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Vec<Change> {
        let factor = |spread: f32, rng: &mut _| RngExt::random_range(rng, (1.0 - spread).max(0.0)..=1.0 + spread);
        let mut changes = Vec::with_capacity(4);
        if self.brightness > 0.0 {
            changes.push(Change::Brightness(factor(self.brightness, rng)));
        }
        if self.contrast > 0.0 {
            changes.push(Change::Contrast(factor(self.contrast, rng)));
        }
        if self.saturation > 0.0 {
            changes.push(Change::Saturation(factor(self.saturation, rng)));
        }
        if self.hue > 0.0 {
            changes.push(Change::Hue(rng.random_range(-self.hue..=self.hue)));
        }
        changes.shuffle(rng);
        changes
    }
}

impl Change {
    /// Changes pixels whose values are 0 to 1.
    pub(super) fn apply(self, planes: &mut Planes) {
        match self {
            Change::Brightness(factor) => planes.for_values(|v| (v * factor).clamp(0.0, 1.0)),
            Change::Contrast(factor) => {
                let shift = (1.0 - factor) * mean_grey(planes);
                planes.for_values(|v| (v * factor + shift).clamp(0.0, 1.0));
            }
            Change::Saturation(factor) => planes.for_pixels(|pixel| {
                let shift = (1.0 - factor) * grey(pixel);
                pixel.map(|v| (v * factor + shift).clamp(0.0, 1.0))
            }),
            Change::Hue(turn) => planes.for_pixels(|pixel| turn_hue(pixel, turn)),
        }
    }
}

fn grey([red, green, blue]: [f32; 3]) -> f32 {
    GREY[0] * red + GREY[1] * green + GREY[2] * blue
}

fn mean_grey(planes: &Planes) -> f32 {
    let mut sum = 0.0;
    planes.for_rows(|[red, green, blue]| {
        let row = red.iter().zip(green).zip(blue).map(|((&r, &g), &b)| grey([r, g, b]));
        sum += f64::from(row.sum::<f32>());
    });
    (sum / planes.len().max(1) as f64) as f32
}

/// Shifts a pixel's hue in the HSV cone by `turn` of the circle: value and chroma stay.
/// Branch-free, so that the compiler vectorises it.
fn turn_hue([red, green, blue]: [f32; 3], turn: f32) -> [f32; 3] {
    let value = red.max(green).max(blue);
    let chroma = value - red.min(green).min(blue);
    let scale = if chroma > 0.0 { 1.0 / chroma } else { 0.0 };
    // In sixths of the circle; red is 0, green 2, blue 4.
    let of_green = 2.0 + (blue - red) * scale;
    let of_blue = 4.0 + (red - green) * scale;
    let of_red = (green - blue) * scale;
    let hue = if red == value { of_red } else { if green == value { of_green } else { of_blue } } + 6.0 * turn;
    // Wraps -4 to 8 to the circle, 0 to 6.
    let channel = |offset: f32| {
        let k = hue + offset;
        let k = if k < 0.0 { k + 6.0 } else { k };
        let k = if k >= 12.0 { k - 12.0 } else { k };
        let k = if k >= 6.0 { k - 6.0 } else { k };
        value - chroma * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}
