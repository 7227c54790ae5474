//! Class weights in the loss.

use serde::{Deserialize, Serialize};

use crate::data::{Dataset, VOID};
use crate::error::Result;
use crate::mask::histogram;

/// How class weights are determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightSource {
    /// All classes weigh the same.
    #[default]
    Equal,
    /// An explicit list.
    Given,
    /// The median of the class frequencies divided by the class's own (Eigen and Fergus 2015,
    /// section 6.3.2).
    MedianFrequency,
    /// The square root of that, which boosts rare classes less.
    RootMedianFrequency,
}

/// Class weights in the loss.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClassWeights {
    /// How they are determined.
    pub source: WeightSource,
    /// One per class; empty if all weigh the same, or if the masks have not been counted yet.
    pub values: Vec<f64>,
}

impl ClassWeights {
    /// Counts the masks of `dataset` if the weights depend on them.
    pub fn resolve(&mut self, dataset: &Dataset) -> Result<()> {
        let power = match self.source {
            WeightSource::Equal | WeightSource::Given => return Ok(()),
            WeightSource::MedianFrequency => 1.0,
            WeightSource::RootMedianFrequency => 0.5,
        };
        let weights = median_frequency(&frequencies(dataset)?);
        self.values = weights.into_iter().map(|weight| weight.powf(power)).collect();
        Ok(())
    }
}

/// Each class's share of the pixels, void excluded, of the photos it occurs in; `None` if it does
/// not occur.
pub fn frequencies(dataset: &Dataset) -> Result<Vec<Option<f64>>> {
    let classes = dataset.classes().len();
    let (mut own, mut all) = (vec![0u64; classes], vec![0u64; classes]);
    for index in 0..dataset.len() {
        let mut counts = histogram(&dataset.read_mask(index)?);
        counts[usize::from(VOID)] = 0;
        let total: u64 = counts.iter().sum();
        for class in (0..classes).filter(|class| counts[*class] > 0) {
            own[class] += counts[class];
            all[class] += total;
        }
    }
    Ok(own.into_iter().zip(all).map(|(own, all)| (all > 0).then(|| own as f64 / all as f64)).collect())
}

/// The median of the frequencies divided by each of them; 1 for classes that do not occur.
pub fn median_frequency(frequencies: &[Option<f64>]) -> Vec<f64> {
    let mut known: Vec<f64> = frequencies.iter().flatten().copied().collect();
    known.sort_by(f64::total_cmp);
    let middle = known.len() / 2;
    let median = match known.len() {
        0 => return vec![1.0; frequencies.len()],
        n if n % 2 == 1 => known[middle],
        _ => f64::midpoint(known[middle - 1], known[middle]),
    };
    frequencies.iter().map(|frequency| frequency.map_or(1.0, |frequency| median / frequency)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::Folder;

    #[test]
    fn median_frequency_by_hand() {
        let folder = Folder::new();
        folder.write("labelmap.txt", "a:1,1,1::\nb:2,2,2::\nc:3,3,3::\nd:4,4,4::\n");
        // 10 pixels: 2 void, 6 of class 0, 2 of class 1.
        folder.photo("x", 5, 2, |_, _| [0; 3]);
        folder.mask("x", 5, 2, |x, y| match x + 5 * y {
            0 | 1 => VOID,
            2..8 => 0,
            _ => 1,
        });
        // 4 pixels: 1 of class 0, 3 of class 2.
        folder.photo("y", 4, 1, |_, _| [0; 3]);
        folder.mask("y", 4, 1, |x, _| if x == 0 { 0 } else { 2 });
        folder.split(&["x", "y"]);
        let dataset = Dataset::open(folder.root(), "train").unwrap();
        let frequencies = frequencies(&dataset).unwrap();
        assert_eq!(frequencies, [Some(7.0 / 12.0), Some(2.0 / 8.0), Some(3.0 / 4.0), None]);
        // The median is class 0's.
        let expected = [1.0, (7.0 / 12.0) * 4.0, (7.0 / 12.0) / 0.75, 1.0];
        assert_eq!(median_frequency(&frequencies), expected);
        assert_eq!(median_frequency(&[Some(0.1), Some(0.3)]), [0.2 / 0.1, 0.2 / 0.3]);

        let mut weights = ClassWeights { source: WeightSource::RootMedianFrequency, values: vec![] };
        weights.resolve(&dataset).unwrap();
        assert_eq!(weights.values, expected.map(f64::sqrt));
        let mut given = ClassWeights { source: WeightSource::Given, values: vec![3.0; 4] };
        given.resolve(&dataset).unwrap();
        assert_eq!(given.values, [3.0; 4]);
    }
}
