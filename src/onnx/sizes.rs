//! Detects a Resize to the size of the network's input. Exporters express that by nodes that take
//! the input's shape apart and reassemble it.

use super::{
    graph::{self, Index, MAX_LIST},
    input::ImageInput,
    shape::TensorLayout,
    types::NodeProto,
};

/// The maximum number of nodes visited.
const BUDGET: usize = 100;

/// An element of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Known(i64),
    /// The height of the input.
    Rows,
    Columns,
    Unknown,
}

/// Whether `sizes`, of a tensor N x C x h x w, ends with the height and width of the input.
pub(super) fn is_size_of_input(index: &Index<'_>, sizes: &str, input: &ImageInput) -> bool {
    let fixed =
        |side: Side, length: Option<usize>| matches!(side, Side::Known(known) if usize::try_from(known).ok() == length);
    let mut evaluation = Evaluation { index, input, budget: BUDGET };
    match evaluation.value(sizes).as_deref() {
        Some(&[_, _, rows, columns]) => {
            (rows == Side::Rows || fixed(rows, input.height))
                && (columns == Side::Columns || fixed(columns, input.width))
        }
        _ => false,
    }
}

struct Evaluation<'a> {
    index: &'a Index<'a>,
    input: &'a ImageInput,
    budget: usize,
}

impl Evaluation<'_> {
    /// The elements of a list, as far as they are known.
    fn value(&mut self, name: &str) -> Option<Vec<Side>> {
        self.budget = self.budget.checked_sub(1)?;
        if let Some(values) = self.constant(name) {
            return Some(values.into_iter().map(Side::Known).collect());
        }
        let node = self.index.producer(name)?;
        let first = node.input.first()?;
        match node.op_type() {
            "Shape" => {
                let shape = self.shape(first);
                let length = shape.len() as i64;
                let (start, end) = (graph::int(node, "start", 0), graph::int(node, "end", length));
                Some(part(&shape, start, end))
            }
            "Concat" => {
                let mut all = Vec::new();
                for input in &node.input {
                    let part = self.value(input)?;
                    if all.len() + part.len() > MAX_LIST {
                        return None;
                    }
                    all.extend(part);
                }
                Some(all)
            }
            "Gather" => {
                let (values, indices) = (self.value(first)?, self.constant(node.input.get(1)?)?);
                let at = |index: i64| {
                    let index = if index < 0 { index.checked_add(values.len() as i64)? } else { index };
                    values.get(usize::try_from(index).ok()?).copied()
                };
                indices.into_iter().map(at).collect()
            }
            "Slice" => {
                let values = self.value(first)?;
                let (start, end) = self.bounds(node)?;
                Some(part(&values, start, end))
            }
            "Cast" | "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" => self.value(first),
            _ => None,
        }
    }

    /// Start and end of a Slice along axis 0 with step 1.
    fn bounds(&self, node: &NodeProto) -> Option<(i64, i64)> {
        let list = |index: usize, name: &str| {
            let attribute = graph::ints(node, name).map(<[i64]>::to_vec);
            attribute.or_else(|| self.constant(node.input.get(index).filter(|name| !name.is_empty())?))
        };
        let plain = list(3, "axes").is_none_or(|axes| axes == [0]) && list(4, "steps").is_none_or(|steps| steps == [1]);
        match (&list(1, "starts")?[..], &list(2, "ends")?[..]) {
            (&[start], &[end]) if plain => Some((start, end)),
            _ => None,
        }
    }

    fn constant(&self, name: &str) -> Option<Vec<i64>> {
        graph::whole_numbers(self.index.named(name)?)
    }

    fn shape(&self, value: &str) -> [Side; 4] {
        use Side::{Columns, Rows, Unknown};
        match self.input.layout {
            _ if value != self.input.name => [Unknown; 4],
            TensorLayout::Nchw => [Unknown, Unknown, Rows, Columns],
            TensorLayout::Nhwc => [Unknown, Rows, Columns, Unknown],
        }
    }
}

/// The values from `start` to `end` (exclusive); negative positions count from the end.
fn part(values: &[Side], start: i64, end: i64) -> Vec<Side> {
    let length = values.len() as i64;
    let place = |index: i64| (if index < 0 { index.saturating_add(length) } else { index }).clamp(0, length) as usize;
    values.get(place(start)..place(end)).unwrap_or_default().to_vec()
}
