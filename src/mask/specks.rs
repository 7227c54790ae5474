//! Removes specks, regions with too few pixels, by giving them the label around them.

use std::{cmp::Reverse, collections::BinaryHeap, ops::Range};

use super::{
    LabelBuffer,
    components::{Components, RunSpan, StridedLabels},
};
use crate::{Result, Size, memory::out_of_memory, palette::UNKNOWN};

/// Buffers that are kept between frames.
#[derive(Default)]
pub(crate) struct Specks {
    components: Components,
    /// Pixel count and first run of regions that are too small, the smallest first. An entry whose
    /// pixel count has changed is outdated.
    small: BinaryHeap<Reverse<(u32, u32)>>,
}

impl Specks {
    /// Allocates memory for labels of this size, so that [`Specks::remove`] cannot fail.
    pub(crate) fn prepare(&mut self, size: Size) -> Result<()> {
        self.components.prepare(size)?;
        let length = size.pixels();
        self.small.clear();
        let bytes = length.saturating_mul(size_of::<(u32, u32)>());
        self.small.try_reserve_exact(length).map_err(|_| out_of_memory(bytes, "the regions of labels"))
    }

    /// Gives each region of fewer than `least` pixels the label that borders it most, as
    /// [`Mask::set_min_region`](crate::Mask::set_min_region) describes, and updates the pixel
    /// counts of the labels.
    pub(crate) fn remove(&mut self, buffer: LabelBuffer<'_>, size: Size, least: u32, counts: &mut [u64]) {
        let Specks { components, small } = self;
        let LabelBuffer { labels, stride } = buffer;
        // Contours connect the label's pixels at corners, and holes at sides. Connecting at sides
        // here leaves no small contours of either kind.
        components.find(StridedLabels { labels, stride }, size, false);
        small.clear();
        for run in 0..components.count() {
            if let Some(pixels) = components.pixels(run).filter(|&pixels| pixels < least)
                && components.label(StridedLabels { labels, stride }, run) != UNKNOWN
            {
                small.push(Reverse((pixels, run)));
            }
        }
        while let Some(Reverse((pixels, region))) = small.pop() {
            if components.pixels(region) != Some(pixels) {
                continue;
            }
            let own = components.label(StridedLabels { labels, stride }, region);
            // A region without neighbours is the whole image.
            let rows = StridedLabels { labels, stride };
            let Some(label) = most_bordering(components, region, own, rows, size) else { continue };
            for RunSpan { y, columns } in components.each(region) {
                labels[y * stride..][columns].fill(label);
            }
            counts[usize::from(own)] -= u64::from(pixels);
            counts[usize::from(label)] += u64::from(pixels);
            let joined = components.rejoin(StridedLabels { labels, stride }, region);
            if let Some(pixels) = components.pixels(joined).filter(|&pixels| pixels < least && label != UNKNOWN) {
                small.push(Reverse((pixels, joined)));
            }
        }
    }
}

/// The label that shares the most pixel sides with a region of label `own`; the lowest label wins a
/// tie.
fn most_bordering(components: &Components, region: u32, own: u8, rows: StridedLabels<'_>, size: Size) -> Option<u8> {
    let StridedLabels { labels, stride } = rows;
    let Size { width, height } = size;
    let mut sides = [0u32; 256];
    for RunSpan { y, columns } in components.each(region) {
        let Range { start: x, end } = columns;
        let row = &labels[y * stride..][..width];
        let mut count = |labels: &[u8]| labels.iter().for_each(|&label| sides[usize::from(label)] += 1);
        count(&row[x.saturating_sub(1)..x]);
        count(&row[end..(end + 1).min(width)]);
        if y > 0 {
            count(&labels[(y - 1) * stride..][x..end]);
        }
        if y + 1 < height {
            count(&labels[(y + 1) * stride..][x..end]);
        }
    }
    sides[usize::from(own)] = 0;
    (0..=255).rev().max_by_key(|&label| sides[usize::from(label)]).filter(|&label| sides[usize::from(label)] > 0)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            LabelMap,
            components::regions::{Random, flooded, picture, without_specks},
        },
        *,
    };

    fn counts(labels: &[u8]) -> [u64; 256] {
        let mut counts = [0; 256];
        labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
        counts
    }

    /// Removes specks from labels in rows with `padding` bytes between them.
    fn removed(specks: &mut Specks, labels: &[u8], width: usize, least: u32, padding: usize) -> Vec<u8> {
        let (height, stride) = (labels.len() / width, width + padding);
        let mut memory = vec![99; stride * height - padding];
        for (row, labels) in memory.chunks_mut(stride).zip(labels.chunks(width)) {
            row[..width].copy_from_slice(labels);
        }
        let mut found = counts(labels);
        let size = Size::new(width, height);
        specks.prepare(size).unwrap();
        specks.remove(LabelBuffer { labels: &mut memory, stride }, size, least, &mut found);
        assert!(memory.chunks(stride).all(|row| row[width..].iter().all(|&byte| byte == 99)));
        let labels: Vec<u8> = memory.chunks(stride).flat_map(|row| &row[..width]).copied().collect();
        assert_eq!(found, counts(&labels));
        labels
    }

    #[test]
    fn what_is_left_is_what_a_flood_fill_leaves() {
        let (mut random, mut specks) = (Random(2), Specks::default());
        let (mut changed, mut filtered) = (0, 0);
        for number in 0..1500 {
            let (labels, width) = picture(&mut random);
            let least = [2, 3, 5, 9, 20, 100, u32::MAX][random.below(7)];
            let found = removed(&mut specks, &labels, width, least, random.below(3));
            assert_eq!(
                found,
                without_specks(&labels, width, least),
                "picture {number}: width {width}, {least}, {labels:?}"
            );
            let regions = flooded(&found, width, false);
            let too_small = |region: &Vec<usize>| region.len() < least as usize && found[region[0]] != UNKNOWN;
            assert!(regions.len() == 1 || !regions.iter().any(too_small), "picture {number}");
            if regions.len() > 1 && !found.contains(&UNKNOWN) {
                let map = LabelMap::new(&found, width as u32, (found.len() / width) as u32, 0).unwrap();
                assert_eq!(map.contours(1).unwrap(), map.contours_filtered(1, least).unwrap(), "picture {number}");
                filtered += 1;
            }
            changed += usize::from(found != labels);
        }
        assert!((500..1500).contains(&changed), "{changed} pictures have specks");
        assert!(filtered > 100, "{filtered} pictures without unknown pixels");
    }

    #[test]
    fn specks_take_the_label_that_borders_them_most() {
        struct Case {
            name: &'static str,
            least: u32,
            before: &'static [&'static str],
            after: &'static [&'static str],
        }
        for case in [
            Case { name: "one pixel", least: 9, before: &["a"], after: &["a"] },
            Case { name: "one class", least: 9, before: &["aaa", "aaa"], after: &["aaa", "aaa"] },
            Case { name: "one row", least: 3, before: &["aaabbbcc"], after: &["aaabbbbb"] },
            Case { name: "exactly as many", least: 2, before: &["aaabbbcc"], after: &["aaabbbcc"] },
            Case {
                name: "one column",
                least: 2,
                before: &["a", "a", "b", "c", "c"],
                after: &["a", "a", "a", "c", "c"],
            },
            // Three sides of c, one of a.
            Case { name: "most sides", least: 2, before: &["cccc", "ccbc", "aaaa"], after: &["cccc", "cccc", "aaaa"] },
            Case { name: "the lowest of equals", least: 2, before: &["ccbaa", "ccaaa"], after: &["ccaaa", "ccaaa"] },
            // Pixels that touch only at a corner are not connected.
            Case { name: "corners", least: 2, before: &["aaaa", "abaa", "aaba", "aaaa"], after: &["aaaa"; 4] },
            Case { name: "sides", least: 2, before: &["aaaa", "abba", "aaaa"], after: &["aaaa", "abba", "aaaa"] },
            Case {
                name: "a speck in a speck",
                least: 10,
                before: &["aaaaa", "abbba", "abcba", "abbba", "aaaaa"],
                after: &["aaaaa"; 5],
            },
            // The smaller region goes first: to a here, to b in the next case, which then has
            // enough pixels.
            Case {
                name: "specks that are too few together",
                least: 4,
                before: &["aaaaa", "abbba", "aacaa", "aaaaa"],
                after: &["aaaaa"; 4],
            },
            Case {
                name: "specks that are enough together",
                least: 5,
                before: &["aaaaaaa", "abbbaca", "abcbaca", "aaaaaca", "aaaaaca"],
                after: &["aaaaaaa", "abbbaaa", "abbbaaa", "aaaaaaa", "aaaaaaa"],
            },
            // ? is unknown: it stays, however small, and specks may join it if it borders them
            // most.
            Case {
                name: "unknown",
                least: 9,
                before: &["aaaaa", "aa?aa", "aaaaa"],
                after: &["aaaaa", "aa?aa", "aaaaa"],
            },
            Case { name: "in unknown", least: 2, before: &["????", "?b??", "????"], after: &["????"; 3] },
            Case { name: "beside unknown", least: 2, before: &["?b?", "aaa"], after: &["???", "aaa"] },
            Case { name: "at unknown", least: 2, before: &["a?a", "aba", "aaa"], after: &["a?a", "aaa", "aaa"] },
        ] {
            let label = |&byte: &u8| if byte == b'?' { UNKNOWN } else { byte };
            let flat = |rows: &[&str]| rows.iter().flat_map(|row| row.bytes()).map(|b| label(&b)).collect::<Vec<u8>>();
            let (before, width) = (flat(case.before), case.before[0].len());
            let found = removed(&mut Specks::default(), &before, width, case.least, 0);
            assert_eq!(found, flat(case.after), "{}", case.name);
            assert_eq!(found, without_specks(&before, width, case.least), "{}", case.name);
        }
    }
}
