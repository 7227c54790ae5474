//! Checks every photo and mask of a data set.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::Serialize;
use twox_hash::XxHash3_64;

use super::doubts::{Doubts, Tally};
use crate::data::{Dataset, MaskFacts, Place, VOID};
use crate::error::Result;
use crate::mask::histogram;
use crate::parallel::on_all_processors;

/// The contents of a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// One per checked split.
    pub splits: Vec<SplitReport>,
    /// Photos with the same pixels, each as `SPLIT/ID`.
    pub duplicates: Vec<Vec<String>>,
}

/// The contents of a split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitReport {
    /// The name of its list.
    pub name: String,
    /// Photos that were read.
    pub photos: usize,
    /// The problems of the others, a sentence each.
    pub broken: Vec<String>,
    /// IDs that are in the list more than once.
    pub repeated: Vec<String>,
    /// Widths and heights in pixels with the number of photos that have them, the most frequent
    /// first.
    pub sizes: Vec<Size>,
    /// The classes in index order.
    pub classes: Vec<ClassReport>,
    /// The share of void in all pixels, 0 to 1.
    pub void_share: f64,
    /// Photos of which every pixel is void.
    pub all_void: usize,
    /// Problems of its masks as a whole, a sentence each.
    pub problems: Vec<String>,
    /// Decisions made about its masks, a sentence each.
    pub notes: Vec<String>,
}

/// A size of photos.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Size {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// The number of photos.
    pub photos: usize,
}

/// A class's frequency.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassReport {
    /// Its name.
    pub name: String,
    /// Its pixels.
    pub pixels: u64,
    /// Their share of the pixels that are not void, 0 to 1.
    pub share: f64,
    /// Photos that contain it.
    pub photos: usize,
}

/// The counts of one photo.
struct Look {
    id: String,
    size: (usize, usize),
    counts: [u64; 256],
    facts: MaskFacts,
    /// A hash of its size and pixels.
    hash: u64,
}

/// Reads every photo and mask of these splits.
pub fn check(place: &Place, splits: &[String]) -> Result<CheckReport> {
    let mut found: HashMap<u64, Vec<String>> = HashMap::new();
    let mut reports = Vec::new();
    for name in splits {
        let (dataset, mut broken) = place.survey(name)?;
        let (mut looks, repeated) = (Vec::new(), repeated(&dataset));
        for look in on_all_processors(dataset.len(), |index| look_at(&dataset, index)) {
            match look {
                Ok(look) => looks.push(look),
                Err(error) => broken.push(error),
            }
        }
        for look in &looks {
            let place = format!("{name}/{}", look.id);
            let places = found.entry(look.hash).or_default();
            if !places.contains(&place) {
                places.push(place);
            }
        }
        reports.push(summary(name, &dataset, &looks, broken.iter().map(ToString::to_string).collect(), repeated));
    }
    let mut duplicates: Vec<Vec<String>> = found.into_values().filter(|places| places.len() > 1).collect();
    duplicates.sort();
    Ok(CheckReport { splits: reports, duplicates })
}

fn look_at(dataset: &Dataset, index: usize) -> Result<Look> {
    let (sample, facts) = dataset.read_with_facts(index)?;
    let counts = histogram(&sample.mask);
    // The same pixels in rows of another width are another photo.
    let hash = XxHash3_64::oneshot_with_seed(sample.width as u64, &sample.image);
    Ok(Look { id: sample.id, size: (sample.width, sample.height), counts, facts, hash })
}

fn repeated(dataset: &Dataset) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let ids = (0..dataset.len()).map(|index| dataset.id(index));
    let twice: BTreeSet<&str> = ids.filter(|id| !seen.insert(*id)).collect();
    twice.into_iter().map(str::to_owned).collect()
}

fn summary(name: &str, dataset: &Dataset, looks: &[Look], broken: Vec<String>, repeated: Vec<String>) -> SplitReport {
    let mut sizes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    looks.iter().for_each(|look| *sizes.entry(look.size).or_default() += 1);
    let mut sizes: Vec<Size> =
        sizes.into_iter().map(|((width, height), photos)| Size { width, height, photos }).collect();
    sizes.sort_by_key(|size| std::cmp::Reverse(size.photos));
    let pixels = |label: usize| looks.iter().map(|look| look.counts[label]).sum::<u64>();
    let void = pixels(usize::from(VOID));
    let all: u64 = looks.iter().flat_map(|look| look.counts).sum();
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let classes = dataset.classes().iter().enumerate().map(|(label, class)| ClassReport {
        name: class.name.clone(),
        pixels: pixels(label),
        share: share(pixels(label), all - void),
        photos: looks.iter().filter(|look| look.counts[label] > 0).count(),
    });
    let mut tally = Tally::default();
    looks.iter().for_each(|look| tally.add(&look.counts, look.facts));
    let Doubts { problems, notes } = tally.doubts(dataset.classes(), is_training(name));
    let is_all_void = |look: &&Look| look.counts[usize::from(VOID)] == look.counts.iter().sum::<u64>();
    SplitReport {
        name: name.to_owned(),
        photos: looks.len(),
        broken,
        repeated,
        sizes,
        classes: classes.collect(),
        void_share: share(void, all),
        all_void: looks.iter().filter(is_all_void).count(),
        problems,
        notes,
    }
}

/// Whether a split of this name is used for training, judging by the name.
fn is_training(name: &str) -> bool {
    let name = name.to_lowercase();
    !["val", "test", "dev", "eval"].iter().any(|other| name.starts_with(other))
}

impl CheckReport {
    /// The number of problems: broken and repeated entries, problems of masks, and groups of equal
    /// photos.
    pub fn problems(&self) -> usize {
        let of_splits =
            self.splits.iter().map(|split| split.broken.len() + split.repeated.len() + split.problems.len());
        of_splits.sum::<usize>() + self.duplicates.len()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for split in &self.splits {
            writeln!(f, "{split}")?;
        }
        for places in &self.duplicates {
            writeln!(f, "the same photo: {}", places.join(", "))?;
        }
        match self.problems() {
            0 => write!(f, "no problems"),
            1 => write!(f, "1 problem"),
            n => write!(f, "{n} problems"),
        }
    }
}

/// The number of sizes listed; the others are counted.
const SHOWN_SIZES: usize = 5;

impl fmt::Display for SplitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} photos, {:.1} % of the pixels void", self.name, self.photos, 100.0 * self.void_share)?;
        for Size { width, height, photos } in self.sizes.iter().take(SHOWN_SIZES) {
            writeln!(f, "  {photos:6} of {width} x {height}")?;
        }
        if let Some(rest) = self.sizes.get(SHOWN_SIZES..).filter(|rest| !rest.is_empty()) {
            let photos: usize = rest.iter().map(|size| size.photos).sum();
            writeln!(f, "  {photos:6} of {} other sizes", rest.len())?;
        }
        for (index, ClassReport { name, share, photos, .. }) in self.classes.iter().enumerate() {
            writeln!(f, "  {index:3} {name:<20} {:6.2} % in {photos} photos", 100.0 * share)?;
        }
        if self.all_void > 0 {
            writeln!(f, "  void everywhere, so that they teach nothing: {} photos", self.all_void)?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        for sentence in &self.problems {
            writeln!(f, "  problem: {sentence}")?;
        }
        for id in &self.repeated {
            writeln!(f, "  listed more than once: {id}")?;
        }
        for sentence in &self.broken {
            writeln!(f, "  broken: {sentence}")?;
        }
        Ok(())
    }
}
