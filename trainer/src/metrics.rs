//! Segmentation metrics from a confusion matrix (Long et al. 2015, section 5).

use std::collections::BTreeMap;

use fcn::palette::Class;
use tch::{Device, Tensor};

use crate::data::VOID;
use crate::distributed::Ranks;
use crate::error::Result;

/// Pixel counts by true and predicted class. All rates are fractions, 0 to 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// One row per true class; one column per predicted class, and a last one for predictions that
    /// are not a class, such as void: they are wrong, and count for no class.
    counts: Vec<u64>,
}

impl Confusion {
    /// An empty matrix for `classes` classes.
    pub fn new(classes: usize) -> Confusion {
        Confusion { classes, counts: vec![0; classes * (classes + 1)] }
    }

    /// Counts pixels. Those whose truth is void are skipped; a prediction that is not a class
    /// counts as wrong.
    ///
    /// # Panics
    /// If the two differ in length, or a true class is outside the matrix.
    pub fn add(&mut self, truth: &[u8], prediction: &[u8]) {
        assert_eq!(truth.len(), prediction.len(), "truth and prediction have the same number of pixels");
        for (&truth, &prediction) in truth.iter().zip(prediction) {
            if truth != VOID {
                let column = (prediction as usize).min(self.classes);
                self.counts[truth as usize * (self.classes + 1) + column] += 1;
            }
        }
    }

    /// Adds the counts of `other`, a matrix for the same classes.
    pub fn merge(&mut self, other: &Confusion) {
        assert_eq!(self.classes, other.classes, "matrices of the same classes");
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Adds the counts of all ranks.
    pub fn sum(&mut self, ranks: &Ranks, device: Device) -> Result<()> {
        if !ranks.are_several() {
            return Ok(());
        }
        let counts: Vec<i64> = self.counts.iter().map(|count| count.cast_signed()).collect();
        let mut tensor = Tensor::f_from_slice(&counts)?.f_to_device(device)?;
        ranks.sum(&mut tensor)?;
        let mut sums = vec![0i64; counts.len()];
        tensor.f_to_device(Device::Cpu)?.f_copy_data(&mut sums, counts.len())?;
        self.counts = sums.into_iter().map(i64::cast_unsigned).collect();
        Ok(())
    }

    /// The share of correct pixels. NaN if none were counted.
    pub fn pixel_accuracy(&self) -> f64 {
        let correct: u64 = (0..self.classes).map(|class| self.correct(class)).sum();
        correct as f64 / self.total() as f64
    }

    /// The share of correct pixels per class, averaged over the classes in the truth; it is
    /// undefined for others. NaN if none were counted.
    pub fn mean_accuracy(&self) -> f64 {
        mean((0..self.classes).filter_map(|class| self.accuracy(class)))
    }

    /// The share of a class's pixels that are correct; `None` if it does not occur in the truth.
    pub fn accuracy(&self, class: usize) -> Option<f64> {
        let truth = self.truth_pixels(class);
        (truth > 0).then(|| self.correct(class) as f64 / truth as f64)
    }

    /// Intersection over union, averaged over the classes that occur in the truth or the
    /// prediction. NaN if none were counted.
    pub fn mean_iou(&self) -> f64 {
        mean((0..self.classes).filter_map(|class| self.iou(class)))
    }

    /// The number of classes that [`Confusion::mean_iou`] averages.
    pub fn classes_counted(&self) -> usize {
        (0..self.classes).filter(|&class| self.iou(class).is_some()).count()
    }

    /// Intersection over union, averaged over the classes in the truth: a class that is only
    /// predicted lowers only the others' figures. NaN if none were counted.
    pub fn mean_iou_of_truth(&self) -> f64 {
        mean((0..self.classes).filter(|&class| self.truth_pixels(class) > 0).filter_map(|class| self.iou(class)))
    }

    /// The number of classes in the truth, which [`Confusion::mean_iou_of_truth`] and
    /// [`Confusion::mean_accuracy`] average.
    pub fn classes_in_truth(&self) -> usize {
        (0..self.classes).filter(|&class| self.truth_pixels(class) > 0).count()
    }

    /// Intersection over union, weighted by the classes' share of the true pixels. NaN if none were
    /// counted.
    pub fn frequency_weighted_iou(&self) -> f64 {
        let weighted = (0..self.classes).filter_map(|class| Some(self.truth_pixels(class) as f64 * self.iou(class)?));
        weighted.sum::<f64>() / self.total() as f64
    }

    /// Intersection over union of one class; `None` if it occurs neither in the truth nor in the
    /// prediction.
    pub fn iou(&self, class: usize) -> Option<f64> {
        let union = self.truth_pixels(class) + self.predicted_pixels(class) - self.correct(class);
        (union > 0).then(|| self.correct(class) as f64 / union as f64)
    }

    /// Precision: the share of correct pixels among those predicted as a class; `None` if there are
    /// none.
    pub fn precision(&self, class: usize) -> Option<f64> {
        let predicted = self.predicted_pixels(class);
        (predicted > 0).then(|| self.correct(class) as f64 / predicted as f64)
    }

    /// The number of counted pixels of this class in the truth.
    pub fn truth_pixels(&self, class: usize) -> u64 {
        (0..=self.classes).map(|prediction| self.count(class, prediction)).sum()
    }

    /// The number of counted pixels predicted as this class.
    fn predicted_pixels(&self, class: usize) -> u64 {
        (0..self.classes).map(|truth| self.count(truth, class)).sum()
    }

    /// One row per true class, with the number of pixels predicted as each class.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.classes + 1).map(|row| &row[..self.classes])
    }

    /// All rates by name, as model cards hold them: `iou/NAME` for the classes that occur.
    pub fn metrics(&self, classes: &[Class]) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::from([
            ("pixel_accuracy".to_owned(), self.pixel_accuracy()),
            ("mean_accuracy".to_owned(), self.mean_accuracy()),
            ("miou".to_owned(), self.mean_iou()),
            ("frequency_weighted_iou".to_owned(), self.frequency_weighted_iou()),
        ]);
        for (index, class) in classes.iter().enumerate() {
            metrics.extend(self.iou(index).map(|iou| (format!("iou/{}", class.name), iou)));
        }
        metrics
    }

    fn count(&self, truth: usize, prediction: usize) -> u64 {
        self.counts[truth * (self.classes + 1) + prediction]
    }

    fn correct(&self, class: usize) -> u64 {
        self.count(class, class)
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), value| (sum + value, n + 1));
    sum / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `counts[t][p]` pixels of true class `t` that are predicted as `p`, as pixel lists.
    fn pixels(counts: &[&[usize]]) -> (Vec<u8>, Vec<u8>) {
        let cells = counts.iter().enumerate().flat_map(|(t, row)| row.iter().enumerate().map(move |(p, &n)| (t, p, n)));
        cells.flat_map(|(t, p, n)| std::iter::repeat_n((t as u8, p as u8), n)).unzip()
    }

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-12, "{value} instead of {expected}");
    }

    // Calculated by hand from Long et al. 2015, section 5: n_ij pixels of class i predicted as j,
    // t_i = sum_j n_ij.
    #[test]
    fn three_classes_by_hand() {
        let (mut truth, mut prediction) = pixels(&[&[3, 1, 0], &[0, 4, 2], &[1, 1, 4]]);
        truth.extend([VOID; 5]);
        prediction.extend([0, 1, 2, 0, 1]);
        let mut confusion = Confusion::new(3);
        confusion.add(&truth, &prediction);
        close(confusion.pixel_accuracy(), 11.0 / 16.0);
        close(confusion.mean_accuracy(), (3.0 / 4.0 + 4.0 / 6.0 + 4.0 / 6.0) / 3.0);
        assert_eq!([0, 1, 2].map(|class| confusion.iou(class)), [Some(3.0 / 5.0), Some(4.0 / 8.0), Some(4.0 / 8.0)]);
        close(confusion.mean_iou(), 1.6 / 3.0);
        close(confusion.mean_iou_of_truth(), 1.6 / 3.0);
        assert_eq!((confusion.classes_counted(), confusion.classes_in_truth()), (3, 3));
        close(confusion.frequency_weighted_iou(), (4.0 * 0.6 + 6.0 * 0.5 + 6.0 * 0.5) / 16.0);
        assert_eq!([0, 1, 2].map(|class| confusion.truth_pixels(class)), [4, 6, 6]);
        assert_eq!(
            [0, 1, 2].map(|class| confusion.accuracy(class)),
            [Some(3.0 / 4.0), Some(4.0 / 6.0), Some(4.0 / 6.0)]
        );
        assert_eq!(
            [0, 1, 2].map(|class| confusion.precision(class)),
            [Some(3.0 / 4.0), Some(4.0 / 6.0), Some(4.0 / 6.0)]
        );
        assert_eq!(confusion.rows().collect::<Vec<_>>(), [[3, 1, 0], [0, 4, 2], [1, 1, 4]]);
    }

    #[test]
    fn absent_classes_do_not_count() {
        // Class 1 occurs nowhere; class 2 only in the prediction: its IoU is 0, its accuracy
        // undefined.
        let mut confusion = Confusion::new(3);
        confusion.add(&[0, 0, 0, 0], &[0, 0, 0, 2]);
        assert_eq!([0, 1, 2].map(|class| confusion.iou(class)), [Some(0.75), None, Some(0.0)]);
        assert_eq!([0, 1, 2].map(|class| confusion.accuracy(class)), [Some(0.75), None, None]);
        assert_eq!([0, 1, 2].map(|class| confusion.precision(class)), [Some(1.0), None, Some(0.0)]);
        close(confusion.mean_iou(), 0.375);
        close(confusion.mean_iou_of_truth(), 0.75);
        assert_eq!((confusion.classes_counted(), confusion.classes_in_truth()), (2, 1));
        close(confusion.mean_accuracy(), 0.75);
        close(confusion.frequency_weighted_iou(), 0.75);
    }

    #[test]
    fn a_prediction_of_no_class_is_wrong() {
        let mut confusion = Confusion::new(2);
        confusion.add(&[0, 0, 1, 1], &[0, VOID, 1, 2]);
        close(confusion.pixel_accuracy(), 0.5);
        assert_eq!([0, 1].map(|class| confusion.iou(class)), [Some(0.5), Some(0.5)]);
        assert_eq!([0, 1].map(|class| confusion.truth_pixels(class)), [2, 2]);
    }

    #[test]
    fn merging_is_adding() {
        let (truth, prediction) = pixels(&[&[3, 1], &[2, 5]]);
        let mut whole = Confusion::new(2);
        whole.add(&truth, &prediction);
        let mut first = Confusion::new(2);
        first.add(&truth[..4], &prediction[..4]);
        let mut second = Confusion::new(2);
        second.add(&truth[4..], &prediction[4..]);
        assert_ne!(first, whole);
        first.merge(&second);
        assert_eq!(first, whole);
    }

    #[test]
    fn nothing_counted_is_not_a_number() {
        let mut confusion = Confusion::new(2);
        confusion.add(&[VOID, VOID], &[0, 1]);
        assert!(confusion.pixel_accuracy().is_nan() && confusion.mean_accuracy().is_nan());
        assert!(confusion.mean_iou_of_truth().is_nan());
        assert_eq!((confusion.classes_counted(), confusion.classes_in_truth()), (0, 0));
        assert!(confusion.mean_iou().is_nan() && confusion.frequency_weighted_iou().is_nan());
    }
}
