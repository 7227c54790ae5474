//! Bilinear interpolation along one axis, with half-pixel centres: pixel i covers [i, i + 1), as in
//! PyTorch's `interpolate(align_corners=False)` and OpenCV's `INTER_LINEAR`.

/// For each target position, the two source positions it lies between, and the weight of the second
/// one.
#[derive(Debug, Default)]
pub(crate) struct Axis {
    from: usize,
    /// The factor of [`Axis::prepare_bordered`]; otherwise 0.
    factor: usize,
    taps: Vec<Tap>,
}

/// `source[first] * (1 - weight) + source[second] * weight`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tap {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) weight: f32,
}

impl Axis {
    /// Builds the table from `from` positions to `to`, unless it exists already.
    pub(crate) fn prepare(&mut self, from: usize, to: usize) {
        if (self.from, self.factor, self.taps.len()) == (from, 0, to) {
            return;
        }
        let scale = from as f64 / to as f64;
        let tap = |target: usize| {
            let source = ((target as f64 + 0.5) * scale - 0.5).max(0.0);
            let first = (source as usize).min(from - 1);
            Tap { first, second: (first + 1).min(from - 1), weight: (source - first as f64) as f32 }
        };
        self.taps.clear();
        self.taps.extend((0..to).map(tap));
        (self.from, self.factor) = (from, 0);
    }

    /// Builds the table from `from` positions with one more on either side to `from` times
    /// `factor`, an even number, unless it exists already.
    pub(crate) fn prepare_bordered(&mut self, from: usize, factor: usize) {
        if (self.from, self.factor) == (from, factor) {
            return;
        }
        let tap = |target: usize| {
            let (first, rest) = ((target + factor / 2) / factor, (target + factor / 2) % factor);
            Tap { first, second: first + 1, weight: (rest as f32 + 0.5) / factor as f32 }
        };
        self.taps.clear();
        self.taps.extend((0..from * factor).map(tap));
        (self.from, self.factor) = (from, factor);
    }

    pub(crate) fn taps(&self) -> &[Tap] {
        &self.taps
    }

    /// What the taps follow from.
    pub(crate) fn key(&self) -> (usize, usize, usize) {
        (self.from, self.factor, self.taps.len())
    }
}

impl Tap {
    #[inline]
    pub(crate) fn mix(self, first: f32, second: f32) -> f32 {
        first + (second - first) * self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_with_a_border_are_the_same_between_other_neighbours() {
        for (from, factor) in [(1, 2), (3, 2), (5, 8), (4, 32)] {
            let (mut plain, mut bordered) = (Axis::default(), Axis::default());
            plain.prepare(from, from * factor);
            bordered.prepare_bordered(from, factor);
            assert_ne!(plain.key(), bordered.key());
            // Positions as values; the border goes on beyond the first and the last one.
            let place = |tap: &Tap| tap.first as f32 + (tap.second - tap.first) as f32 * tap.weight;
            for (plain, bordered) in plain.taps().iter().zip(bordered.taps()) {
                let inside = (place(bordered) - 1.0).clamp(0.0, from as f32 - 1.0);
                assert!((place(plain) - inside).abs() < 1e-6, "{plain:?} {bordered:?}");
                assert!(bordered.second <= from + 1);
            }
            // Another factor, and back.
            bordered.prepare_bordered(from, 4);
            assert_eq!(bordered.taps().len(), 4 * from);
            bordered.prepare(from, from * factor);
            assert_eq!(bordered.key(), plain.key());
        }
    }

    #[test]
    fn four_to_eight_is_what_pytorch_computes() {
        // torch.nn.functional.interpolate(torch.tensor([[[0., 1., 4., 9.]]]), size=8,
        // mode="linear"), PyTorch 2.13.
        let expected = [0.0, 0.25, 0.75, 1.75, 3.25, 5.25, 7.75, 9.0];
        let source = [0.0, 1.0, 4.0, 9.0];
        let mut axis = Axis::default();
        axis.prepare(4, 8);
        for (tap, expected) in axis.taps().iter().zip(expected) {
            assert_eq!(tap.mix(source[tap.first], source[tap.second]), expected);
        }
    }
}
