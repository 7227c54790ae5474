//! Suspicious properties of a split's masks, although each of them can be read.

use fcn::palette::Class;

use crate::data::{Dataset, MaskFacts, VOID};
use crate::error::Result;
use crate::mask::histogram;
use crate::parallel::on_all_processors;

/// More void than this leaves little to train on.
const MOST_VOID: f64 = 0.5;

/// The most names in a sentence.
const SHOWN_NAMES: usize = 10;

/// The contents of a split's masks.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Pixels per label.
    counts: [u64; 256],
    photos: usize,
    by_color: usize,
    turned: usize,
    unsure: usize,
    no_mask: usize,
}

/// Sentences about a split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Doubts {
    /// Problems.
    pub problems: Vec<String>,
    /// Decisions.
    pub notes: Vec<String>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { counts: [0; 256], photos: 0, by_color: 0, turned: 0, unsure: 0, no_mask: 0 }
    }
}

impl Tally {
    /// Reads all masks of a split.
    pub fn of(dataset: &Dataset) -> Result<Tally> {
        let mut tally = Tally::default();
        let count = |index| -> Result<([u64; 256], MaskFacts)> {
            let (mask, facts) = dataset.read_mask_with_facts(index)?;
            Ok((histogram(&mask), facts))
        };
        for read in on_all_processors(dataset.len(), count) {
            let (counts, facts) = read?;
            tally.add(&counts, facts);
        }
        Ok(tally)
    }

    /// Adds a mask.
    pub fn add(&mut self, counts: &[u64; 256], facts: MaskFacts) {
        self.counts.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        self.photos += 1;
        self.by_color += usize::from(facts.by_color);
        self.turned += usize::from(facts.turned);
        self.unsure += usize::from(facts.unsure);
        self.no_mask += usize::from(facts.no_mask);
    }

    /// Counts void pixels as a class.
    pub fn void_to(&mut self, class: u8) {
        self.counts[usize::from(class)] += std::mem::take(&mut self.counts[usize::from(VOID)]);
    }

    /// The problems; classes must occur in splits used for training.
    pub fn doubts(&self, classes: &[Class], is_training: bool) -> Doubts {
        let mut doubts = Doubts::default();
        let Doubts { problems, notes } = &mut doubts;
        let void = self.counts[usize::from(VOID)];
        let all: u64 = self.counts.iter().sum();
        let missing: Vec<&str> = classes
            .iter()
            .zip(self.counts)
            .filter(|(_, count)| *count == 0)
            .map(|(class, _)| &class.name[..])
            .collect();
        if void > 0 && self.counts[0] > 0 && void + self.counts[0] == all {
            problems.push(format!(
                "the masks hold the values 0 and 255 alone, and 255 is void, so nothing but \"{}\" is there to learn; save \
                 the object with its class index, such as 1 for \"{}\", not 255",
                classes[0].name, classes[1].name
            ));
        } else if all > 0 {
            if is_training && !missing.is_empty() {
                problems.push(format!(
                    "no mask has a pixel of {}, which cannot be learned so; correct the masks or labelmap.txt",
                    listed(&missing)
                ));
            }
            if void as f64 > MOST_VOID * all as f64 {
                problems.push(format!(
                    "{:.0} % of the pixels are void (255), from which nothing is learned; correct the masks if they should \
                     belong to a class",
                    100.0 * void as f64 / all as f64
                ));
            }
        }
        if self.unsure > 0 && self.turned > 0 {
            problems.push(format!(
                "{} photos are turned by their EXIF data, and the size of their masks does not tell whether these are, too; \
                 other masks here lie as the photos are stored: store the photos upright",
                self.unsure
            ));
        }
        let mut note = |count: usize, what: &str| {
            if count > 0 {
                notes.push(format!("{count} of {} masks {what}", self.photos));
            }
        };
        note(
            self.by_color,
            "have a palette in another order than labelmap.txt: their classes are those of the colours",
        );
        note(self.turned, "lie as their photos are stored, and are turned with them");
        note(
            self.unsure,
            "belong to photos that their EXIF data turns or mirrors without another size: they are taken to be upright",
        );
        if self.no_mask > 0 {
            notes
                .push(format!("{} of {} photos have no mask and are background everywhere", self.no_mask, self.photos));
        }
        doubts
    }
}

fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN_NAMES).map(|name| format!("\"{name}\"")).collect();
    let rest = names.len() - shown.len();
    let more = if rest > 0 { format!(" and {rest} other classes") } else { String::new() };
    shown.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcn::palette::voc_classes;

    #[test]
    fn masks_that_teach_little_are_told() {
        struct Case {
            name: &'static str,
            /// Pixels of the classes background, aeroplane and bicycle, and of void.
            counts: [u64; 4],
            training: &'static [&'static str],
            other: &'static [&'static str],
        }
        const ALONE: &str = "0 and 255 alone";
        const BICYCLE: &str = "no mask has a pixel of \"bicycle\",";
        const VOIDS: &str = "% of the pixels are void";
        for Case { name, counts, training, other } in [
            Case { name: "all is there", counts: [1, 1, 1, 3], training: &[], other: &[] },
            Case { name: "one more void", counts: [1, 1, 1, 4], training: &[VOIDS], other: &[VOIDS] },
            Case { name: "a class is missing", counts: [9, 1, 0, 0], training: &[BICYCLE], other: &[] },
            Case { name: "background is missing", counts: [0, 9, 9, 0], training: &["\"background\""], other: &[] },
            Case { name: "0 and 255", counts: [9, 0, 0, 1], training: &[ALONE], other: &[ALONE] },
            Case { name: "0, 255 and one pixel", counts: [9, 1, 0, 1], training: &[BICYCLE], other: &[] },
            Case { name: "0 alone", counts: [9, 0, 0, 0], training: &["\"aeroplane\", \"bicycle\""], other: &[] },
            Case {
                name: "255 alone",
                counts: [0, 0, 0, 9],
                training: &["\"background\", \"aeroplane\", \"bicycle\"", VOIDS],
                other: &[VOIDS],
            },
            Case { name: "nothing was read", counts: [0; 4], training: &[], other: &[] },
        ] {
            let mut all = [0; 256];
            [all[0], all[1], all[2], all[255]] = counts;
            let mut tally = Tally::default();
            tally.add(&all, MaskFacts::default());
            for (is_training, expected) in [(true, training), (false, other)] {
                let Doubts { problems, notes } = tally.doubts(&voc_classes()[..3], is_training);
                assert!(
                    notes.is_empty()
                        && problems.len() == expected.len()
                        && problems.iter().zip(expected).all(|(problem, part)| problem.contains(part)),
                    "{name}: {problems:?}"
                );
            }
        }
    }

    #[test]
    fn decisions_are_told() {
        let turned = MaskFacts { turned: true, ..MaskFacts::default() };
        let unsure = MaskFacts { unsure: true, ..MaskFacts::default() };
        let by_color = MaskFacts { by_color: true, ..MaskFacts::default() };
        let no_mask = MaskFacts { no_mask: true, ..MaskFacts::default() };
        let mut counts = [0; 256];
        counts[..2].fill(1);
        for (facts, problems, notes) in [
            (vec![turned], 0, vec!["1 of 1 masks lie as"]),
            (vec![unsure, unsure], 0, vec!["2 of 2 masks belong"]),
            (vec![by_color, MaskFacts::default()], 0, vec!["1 of 2 masks have a palette"]),
            (vec![no_mask, MaskFacts::default()], 0, vec!["1 of 2 photos have no mask"]),
            // The undecidable ones may be like the others.
            (vec![turned, unsure], 1, vec!["1 of 2 masks lie as", "1 of 2 masks belong"]),
        ] {
            let mut tally = Tally::default();
            facts.iter().for_each(|facts| tally.add(&counts, *facts));
            let doubts = tally.doubts(&voc_classes()[..2], true);
            assert_eq!(doubts.problems.len(), problems, "{facts:?}");
            assert!(doubts.notes.len() == notes.len() && doubts.notes.iter().zip(notes).all(|(a, b)| a.starts_with(b)));
        }
    }
}
