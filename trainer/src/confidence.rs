//! How often a confidence is right: the expected calibration error, and the temperature that lowers
//! it (Guo et al. 2017, sections 2 and 4.2).

use fcn::onnx::{self, ModelCard, TEMPERATURES};
use ndarray::ArrayView3;

use crate::data::{Dataset, VOID};
use crate::error::{Error, Result};
use crate::evaluate::Predictor;

/// Bins of the reliability diagram.
pub const BINS: usize = 15;
/// Bins that are kept for each of them, to find thresholds between them.
const FINE: usize = 100;
/// Pixels of each photo that determine the temperature.
const SAMPLED: usize = 1000;
/// Steps of the search for a temperature.
const STEPS: usize = 40;

/// Pixels by confidence. All values are fractions, 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Reliability {
    bins: Vec<Bin>,
}

/// Pixels with about the same confidence.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bin {
    /// The number of pixels.
    pub pixels: u64,
    correct: u64,
    sum: f64,
}

impl Bin {
    /// The share of correct pixels; NaN if there are none.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.pixels as f64
    }

    /// The mean confidence; NaN if there are no pixels.
    pub fn confidence(&self) -> f64 {
        self.sum / self.pixels as f64
    }

    fn merge(self, other: &Bin) -> Bin {
        Bin { pixels: self.pixels + other.pixels, correct: self.correct + other.correct, sum: self.sum + other.sum }
    }
}

/// A confidence below which pixels are left unknown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// The confidence.
    pub confidence: f64,
    /// The share of all pixels that are not below it.
    pub kept: f64,
    /// The share of those that are right.
    pub accuracy: f64,
}

impl Default for Reliability {
    fn default() -> Reliability {
        Reliability { bins: vec![Bin::default(); BINS * FINE] }
    }
}

impl Reliability {
    /// Counts pixels; those whose truth is void are skipped.
    pub fn add(&mut self, truth: &[u8], labels: &[u8], confidence: &[f32]) {
        for ((&truth, label), &confidence) in truth.iter().zip(labels).zip(confidence) {
            if truth != VOID {
                let bin = ((f64::from(confidence) * (BINS * FINE) as f64) as usize).min(BINS * FINE - 1);
                let bin = &mut self.bins[bin];
                bin.pixels += 1;
                bin.correct += u64::from(truth == *label);
                bin.sum += f64::from(confidence);
            }
        }
    }

    /// The bins of the reliability diagram, by ascending confidence.
    pub fn bins(&self) -> impl Iterator<Item = Bin> {
        self.bins.chunks(FINE).map(|bins| bins.iter().fold(Bin::default(), Bin::merge))
    }

    fn all(&self) -> Bin {
        self.bins.iter().fold(Bin::default(), Bin::merge)
    }

    /// The expected calibration error: the mean difference of accuracy and confidence in a bin. NaN
    /// without pixels.
    pub fn error(&self) -> f64 {
        let differences: f64 = self.bins().map(|bin| (bin.correct as f64 - bin.sum).abs()).sum();
        differences / self.all().pixels as f64
    }

    /// The lowest threshold for which at least `share` of the remaining pixels are right; `None` if
    /// there is none.
    pub fn threshold(&self, share: f64) -> Option<Threshold> {
        let all = self.all().pixels as f64;
        let mut rest = Bin::default();
        let mut lowest = None;
        for (index, bin) in self.bins.iter().enumerate().rev() {
            rest = rest.merge(bin);
            if bin.pixels > 0 && rest.accuracy() >= share {
                let confidence = index as f64 / self.bins.len() as f64;
                lowest = Some(Threshold { confidence, kept: rest.pixels as f64 / all, accuracy: rest.accuracy() });
            }
        }
        lowest
    }
}

/// The scores of some pixels, and their true classes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoreSample {
    classes: usize,
    /// Pixels x classes, without the highest one, which is subtracted from all.
    scores: Vec<f32>,
    truth: Vec<u8>,
}

impl ScoreSample {
    /// Takes pixels of a photo with these scores, classes x height x width.
    pub fn add(&mut self, truth: &[u8], scores: ArrayView3<'_, f32>) {
        let (classes, _, width) = scores.dim();
        self.classes = classes;
        for number in 0..SAMPLED.min(truth.len()) {
            // Weyl's sequence spreads evenly over the photo whatever its width.
            let place = (number as f64 * 0.618_033_988_749_894_9).fract() * truth.len() as f64;
            let place = place as usize;
            let (truth, scores) = (truth[place], |class| scores[[class, place / width, place % width]]);
            let highest = (0..classes).map(scores).fold(f32::NEG_INFINITY, f32::max);
            if truth != VOID && highest.is_finite() {
                self.truth.push(truth);
                self.scores.extend((0..classes).map(|class| scores(class) - highest));
            }
        }
    }

    /// The mean negative logarithm of the true class's probability.
    fn loss(&self, temperature: f64) -> f64 {
        let pixels = self.scores.chunks_exact(self.classes).zip(&self.truth);
        let losses = pixels.map(|(scores, &truth)| {
            let sum: f64 = scores.iter().map(|score| (f64::from(*score) / temperature).exp()).sum();
            sum.ln() - f64::from(scores[usize::from(truth)]) / temperature
        });
        losses.sum::<f64>() / self.truth.len() as f64
    }

    /// The temperature with the least loss; `None` without pixels.
    pub fn temperature(&self) -> Option<f32> {
        if self.truth.is_empty() {
            return None;
        }
        // The loss is convex in the inverse of the temperature, so it has one minimum.
        // Golden-section search (Kiefer 1953) halves the range about every 1.4 steps.
        let ratio = (5f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (f64::from(*TEMPERATURES.start()).ln(), f64::from(*TEMPERATURES.end()).ln());
        let loss = |place: f64| self.loss(place.exp());
        let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
        let (mut loss_a, mut loss_b) = (loss(a), loss(b));
        for _ in 0..STEPS {
            if loss_a < loss_b {
                (high, b, loss_b) = (b, a, loss_a);
                a = high - ratio * (high - low);
                loss_a = loss(a);
            } else {
                (low, a, loss_a) = (a, b, loss_b);
                b = low + ratio * (high - low);
                loss_b = loss(b);
            }
        }
        Some((((low + high) / 2.0).exp() as f32).clamp(*TEMPERATURES.start(), *TEMPERATURES.end()))
    }
}

/// Fits the temperature of an ONNX file's card to a data set, through libfcn. `done` is called for
/// each photo.
pub fn fit(bytes: &[u8], dataset: &Dataset, void_is_background: bool, done: impl Fn()) -> Result<f32> {
    let plain = with_temperature(bytes, None)?;
    let mut sample = ScoreSample::default();
    Predictor::from_onnx(&plain)?.visit_scores(dataset, void_is_background, |photo, scores| {
        sample.add(&photo.mask, scores);
        done();
    })?;
    sample.temperature().ok_or_else(|| Error::new("every pixel of the photos is void, so there is nothing to fit to"))
}

/// An ONNX file whose card has this temperature.
pub fn with_temperature(bytes: &[u8], temperature: Option<f32>) -> Result<Vec<u8>> {
    with_card(bytes, |card| card.temperature = temperature)
}

/// An ONNX file with a changed card.
pub fn with_card(bytes: &[u8], change: impl FnOnce(&mut ModelCard)) -> Result<Vec<u8>> {
    let mut model = onnx::parse(bytes)?;
    let mut card = ModelCard::of(&model)?.ok_or_else(|| {
        Error::new("the model has no card, so it cannot hold a temperature; `trainer export` writes models with one")
    })?;
    change(&mut card);
    for entry in model.metadata_props.iter_mut().filter(|entry| entry.key() == ModelCard::KEY) {
        entry.value = Some(card.to_json());
    }
    Ok(onnx::encode(&model)?)
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    #[test]
    fn errors_and_thresholds_are_those_of_plain_counting() {
        let mut reliability = Reliability::default();
        assert!(reliability.error().is_nan() && reliability.threshold(0.5).is_none());
        // Four pixels of confidence 0.9, of which three are right; two of 0.5, one right; one void.
        reliability.add(&[1, 1, 1, 1, 2, 2, VOID], &[1, 1, 1, 0, 2, 0, 0], &[0.9, 0.9, 0.9, 0.9, 0.5, 0.5, 0.1]);
        // (4 / 6) |0.75 - 0.9| + (2 / 6) |0.5 - 0.5|
        assert!((reliability.error() - 0.1).abs() < 1e-6, "{}", reliability.error());
        let bins: Vec<Bin> = reliability.bins().collect();
        assert_eq!((bins.len(), bins[13].pixels, bins[7].pixels), (BINS, 4, 2));
        assert!((bins[13].accuracy() - 0.75).abs() < 1e-9 && (bins[13].confidence() - 0.9).abs() < 1e-6);
        let all = reliability.threshold(0.6).unwrap();
        assert!((all.kept, all.accuracy) == (1.0, 4.0 / 6.0) && all.confidence <= 0.5, "{all:?}");
        let some = reliability.threshold(0.7).unwrap();
        assert!((some.kept, some.accuracy) == (4.0 / 6.0, 0.75) && (0.89..=0.9).contains(&some.confidence), "{some:?}");
        assert_eq!(reliability.threshold(0.76), None);
        // A confidence of 1 has a bin.
        reliability.add(&[0], &[0], &[1.0]);
        assert_eq!(reliability.bins().last().unwrap().pixels, 1);
    }

    #[test]
    fn the_temperature_that_made_the_truth_is_found() {
        // The true class of each pixel is drawn from the softmax of scores / 1.7.
        let (classes, side) = (4, 100);
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        for temperature in [0.3, 1.0, 1.7, 6.0] {
            let mut sample = ScoreSample::default();
            for _ in 0..40 {
                let scores = Array3::from_shape_fn((classes, side, side), |_| (random() * 6.0 - 3.0) as f32);
                let truth: Vec<u8> = (0..side * side)
                    .map(|place| {
                        let chance =
                            |class: usize| (f64::from(scores[[class, place / side, place % side]]) / temperature).exp();
                        let mut left = random() * (0..classes).map(chance).sum::<f64>();
                        let drawn = (0..classes - 1).find(|&class| {
                            left -= chance(class);
                            left < 0.0
                        });
                        drawn.unwrap_or(classes - 1) as u8
                    })
                    .collect();
                sample.add(&truth, scores.view());
            }
            let found = f64::from(sample.temperature().unwrap());
            assert!((found / temperature - 1.0).abs() < 0.05, "{found}, not {temperature}");
        }
        assert_eq!(ScoreSample::default().temperature(), None);
    }
}
