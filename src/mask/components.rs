//! Connected components: regions of pixels with the same label that touch at sides, or also at
//! corners. Uses union-find on runs of equal labels in each row, so the work depends on the number
//! of runs, not pixels.

use std::ops::Range;

use crate::{Result, Size, memory::reserve};

/// A maximal run of pixels with the same label in a row.
#[derive(Clone, Copy)]
pub(super) struct LabelRun {
    /// The first column.
    pub(super) x: u16,
    pub(super) y: u16,
    /// For a region's first run, the region's pixel count as a negative number. Otherwise the index
    /// of an earlier run of the region.
    link: i32,
    /// The next run of the region; these links form a ring.
    next: u32,
}

/// The regions of a label map whose sides are at most [`MAX_SIDE`](crate::MAX_SIDE).
#[derive(Default)]
pub(super) struct Components {
    runs: Vec<LabelRun>,
    /// The index of the first run of each row, and the number of runs.
    rows: Vec<u32>,
    width: usize,
    corners: bool,
}

/// Rows of labels, `stride` bytes apart.
#[derive(Clone, Copy)]
pub(super) struct StridedLabels<'a> {
    pub(super) labels: &'a [u8],
    pub(super) stride: usize,
}

/// The pixels of a run.
pub(super) struct RunSpan {
    pub(super) y: usize,
    pub(super) columns: Range<usize>,
}

impl Components {
    /// Reserves memory for labels of this size, for the worst case of one run per
    /// pixel. Unused memory is never touched.
    pub(super) fn prepare(&mut self, size: Size) -> Result<()> {
        reserve(&mut self.rows, size.height + 1, "the regions of labels")?;
        reserve(&mut self.runs, size.pixels(), "the regions of labels")
    }

    /// Finds the regions of labels; their size must have been prepared. If `corners` is true,
    /// pixels that touch at a corner are connected.
    pub(super) fn find(&mut self, labels: StridedLabels<'_>, size: Size, corners: bool) {
        let Size { width, height } = size;
        self.runs.clear();
        self.rows.clear();
        self.rows.push(0);
        (self.width, self.corners) = (width, corners);
        for (y, row) in labels.labels.chunks(labels.stride).take(height).enumerate() {
            let mut x = 0;
            while x < width {
                let end = run_end(&row[..width], x);
                let next = self.runs.len() as u32;
                self.runs.push(LabelRun { x: x as u16, y: y as u16, link: -((end - x) as i32), next });
                x = end;
            }
            self.rows.push(self.runs.len() as u32);
            if y > 0 {
                self.join_rows(labels, y);
            }
        }
    }

    /// Joins the runs of row `y` with the runs above.
    fn join_rows(&mut self, labels: StridedLabels<'_>, y: usize) {
        let (mut above, mut below, end) = (self.rows[y - 1], self.rows[y], self.rows[y + 1]);
        let first = below;
        while above < first && below < end {
            self.join_equal(labels, above, below);
            let (left, right) = (self.columns(above).end, self.columns(below).end);
            if self.corners && left == right && left < self.width {
                // If both end in the same column, each touches the other's successor at a corner.
                self.join_equal(labels, above, below + 1);
                self.join_equal(labels, above + 1, below);
            }
            above += u32::from(left <= right);
            below += u32::from(right <= left);
        }
    }

    fn join_equal(&mut self, labels: StridedLabels<'_>, one: u32, other: u32) {
        if self.label(labels, one) == self.label(labels, other) {
            self.join(one, other);
        }
    }

    /// Joins the regions of two runs.
    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.first(one), self.first(other));
        let (first, other) = (one.min(other) as usize, one.max(other) as usize);
        if first != other {
            self.runs[first].link += self.runs[other].link;
            self.runs[other].link = first as i32;
            let next = self.runs[first].next;
            self.runs[first].next = std::mem::replace(&mut self.runs[other].next, next);
        }
    }

    /// The first run of a run's region, in row order.
    fn first(&mut self, mut run: u32) -> u32 {
        while let Ok(link) = u32::try_from(self.runs[run as usize].link) {
            // Path halving, for later calls.
            if let Ok(further) = u32::try_from(self.runs[link as usize].link) {
                self.runs[run as usize].link = further as i32;
            }
            run = link;
        }
        run
    }

    /// The pixel count of a region, if `run` is its first run.
    pub(super) fn pixels(&self, run: u32) -> Option<u32> {
        let link = self.runs[run as usize].link;
        (link < 0).then_some(link.unsigned_abs())
    }

    /// The number of runs.
    pub(super) fn count(&self) -> u32 {
        self.runs.len() as u32
    }

    /// The pixels of a run.
    pub(super) fn span(&self, run: u32) -> RunSpan {
        RunSpan { y: usize::from(self.runs[run as usize].y), columns: self.columns(run) }
    }

    fn columns(&self, run: u32) -> Range<usize> {
        let LabelRun { x, y, .. } = self.runs[run as usize];
        let next = self.runs.get(run as usize + 1).filter(|next| next.y == y);
        usize::from(x)..next.map_or(self.width, |next| usize::from(next.x))
    }

    pub(super) fn label(&self, rows: StridedLabels<'_>, run: u32) -> u8 {
        let LabelRun { x, y, .. } = self.runs[run as usize];
        rows.labels[usize::from(y) * rows.stride + usize::from(x)]
    }

    /// The pixel count of the region that `run` belongs to.
    pub(super) fn region_pixels(&mut self, run: u32) -> u32 {
        let first = self.first(run);
        self.runs[first as usize].link.unsigned_abs()
    }

    /// The runs of the region with this first run.
    pub(super) fn each(&self, first: u32) -> impl Iterator<Item = RunSpan> + '_ {
        let following = move |&run: &u32| Some(self.runs[run as usize].next).filter(|&next| next != first);
        std::iter::successors(Some(first), following).map(|run| self.span(run))
    }

    /// Joins a region that was relabelled with the regions of its new label that touch it. Takes
    /// and returns the region's first run.
    pub(super) fn rejoin(&mut self, labels: StridedLabels<'_>, region: u32) -> u32 {
        let mut run = region;
        loop {
            // Joined regions are inserted into the ring after a first run, which this loop has
            // passed.
            let following = self.runs[run as usize].next;
            let RunSpan { y, columns } = self.span(run);
            for row in y.saturating_sub(1)..=(y + 1).min(self.rows.len() - 2) {
                let reach = usize::from(self.corners || row == y);
                let (left, right) =
                    (columns.start.saturating_sub(reach), (columns.end - 1 + reach).min(self.width - 1));
                let runs = self.rows[row]..self.rows[row + 1];
                let of_row = &self.runs[runs.start as usize..runs.end as usize];
                let skipped = of_row.partition_point(|run| usize::from(run.x) <= left) - 1;
                for other in runs.start + skipped as u32..runs.end {
                    if self.columns(other).start > right {
                        break;
                    }
                    self.join_equal(labels, run, other);
                }
            }
            if following == region {
                return self.first(region);
            }
            run = following;
        }
    }
}

/// The end of the run of equal labels that begins at column `x`.
fn run_end(row: &[u8], x: usize) -> usize {
    let (label, rest) = (row[x], &row[x..]);
    // Most runs are long; this compares sixteen labels at once.
    let whole = rest.as_chunks::<16>().0.iter().take_while(|block| **block == [label; 16]).count() * 16;
    let end = rest[whole..].iter().position(|&other| other != label);
    end.map_or(row.len(), |end| x + whole + end)
}

#[cfg(test)]
#[path = "../../tests/common/regions.rs"]
pub(super) mod regions;

#[cfg(test)]
mod tests {
    use super::{
        regions::{Random, flooded, picture},
        *,
    };

    #[test]
    fn regions_are_those_of_a_flood_fill() {
        let mut random = Random(1);
        let mut components = Components::default();
        for number in 0..2000 {
            let corners = number % 2 == 0;
            let (labels, width) = picture(&mut random);
            let size = Size::new(width, labels.len() / width);
            components.prepare(size).unwrap();
            components.find(StridedLabels { labels: &labels, stride: width }, size, corners);
            let mut expected = flooded(&labels, width, corners);
            expected.iter_mut().for_each(|region| region.sort_unstable());
            let found: Vec<Vec<usize>> = (0..components.count())
                .filter_map(|run| components.pixels(run).map(|pixels| (run, pixels)))
                .map(|(run, pixels)| {
                    let places = components
                        .each(run)
                        .flat_map(|RunSpan { y, columns }| y * width + columns.start..y * width + columns.end);
                    let mut places: Vec<usize> = places.collect();
                    places.sort_unstable();
                    assert_eq!(places.len(), pixels as usize, "picture {number}");
                    places
                })
                .collect();
            assert_eq!(found, expected, "picture {number}: {size:?}, {labels:?}");
        }
    }
}
