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
enum Dimension {
    Known(i64),
    /// The height of the input.
    Rows,
    Columns,
    Unknown,
}

/// Whether `sizes`, of a tensor N x C x h x w, ends with the height and width of the input.
pub(super) fn is_size_of_input(index: &Index<'_>, sizes: &str, input: &ImageInput) -> bool {
    let fixed = |side: Dimension, length: Option<usize>| matches!(side, Dimension::Known(known) if usize::try_from(known).ok() == length);
    let mut evaluation = Evaluation { index, input, budget: BUDGET };
    match evaluation.value(sizes).as_deref() {
        Some(&[_, _, rows, columns]) => {
            (rows == Dimension::Rows || fixed(rows, input.height))
                && (columns == Dimension::Columns || fixed(columns, input.width))
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
    fn value(&mut self, name: &str) -> Option<Vec<Dimension>> {
        self.budget = self.budget.checked_sub(1)?;
        if let Some(values) = self.constant(name) {
            return Some(values.into_iter().map(Dimension::Known).collect());
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

    fn shape(&self, value: &str) -> [Dimension; 4] {
        use Dimension::{Columns, Rows, Unknown};
        match self.input.layout {
            _ if value != self.input.name => [Unknown; 4],
            TensorLayout::Nchw => [Unknown, Unknown, Rows, Columns],
            TensorLayout::Nhwc => [Unknown, Rows, Columns, Unknown],
        }
    }
}

/// The values from `start` to `end` (exclusive); negative positions count from the end.
fn part(values: &[Dimension], start: i64, end: i64) -> Vec<Dimension> {
    let length = values.len() as i64;
    let place = |index: i64| (if index < 0 { index.saturating_add(length) } else { index }).clamp(0, length) as usize;
    values.get(place(start)..place(end)).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            build,
            types::{AttributeProto, GraphProto, TensorProto, tensor_proto::DataType},
        },
        *,
    };

    struct Case {
        name: &'static str,
        nodes: Vec<NodeProto>,
        /// Whether `sizes` is the image's size.
        yes: bool,
    }

    const CHANNELS: &[i64] = &[1, 5];
    const LAST: i64 = i64::MAX;

    fn picture(height: Option<usize>, width: Option<usize>, layout: TensorLayout) -> ImageInput {
        ImageInput { name: "image".into(), height, width, layout, grey: false, element: DataType::Float }
    }

    fn check(cases: Vec<Case>, input: &ImageInput) {
        let constants: [(&str, &[i64]); 14] = [
            ("channels", CHANNELS),
            ("0", &[0]),
            ("1", &[1]),
            ("2", &[2]),
            ("3", &[3]),
            ("4", &[4]),
            ("-1", &[-1]),
            ("-2", &[-2]),
            ("-5", &[-5]),
            ("last", &[LAST]),
            ("first", &[i64::MIN]),
            ("0, 1", &[0, 1]),
            ("2, 3", &[2, 3]),
            ("many", &[7; MAX_LIST - 3]),
        ];
        let initializer: Vec<TensorProto> = constants
            .iter()
            .map(|(name, values)| build::int64s(name, &[values.len() as i64], values))
            .chain([build::int64s("32, 64", &[2], &[32, 64]), build::int64s("32", &[1], &[32])])
            .collect();
        for Case { name, nodes, yes } in cases {
            let graph = GraphProto { node: nodes, initializer: initializer.clone(), ..GraphProto::default() };
            assert_eq!(is_size_of_input(&Index::of(&graph), "sizes", input), yes, "{name}");
        }
    }

    fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
        build::node(operator, inputs, output, vec![])
    }

    fn with(mut node: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
        node.attribute = attributes;
        node
    }

    /// Sizes as most exporters write them: `sides` of the shape after the channels.
    fn sides(sides: NodeProto) -> Vec<NodeProto> {
        vec![node("Shape", &["image"], "shape"), sides, node("Concat", &["channels", "sides"], "sizes")]
    }

    /// Inserts this many nodes without effect before `sizes`.
    fn behind(count: usize, mut nodes: Vec<NodeProto>) -> Vec<NodeProto> {
        nodes.last_mut().unwrap().output = vec!["same0".into()];
        nodes.extend((1..=count).map(|i| node("Identity", &[&format!("same{}", i - 1)], &format!("same{i}"))));
        nodes.last_mut().unwrap().output = vec!["sizes".into()];
        nodes
    }

    fn case(name: &'static str, yes: bool, nodes: Vec<NodeProto>) -> Case {
        Case { name, nodes, yes }
    }

    #[test]
    fn ways_to_write_the_size_of_the_picture_and_their_near_misses() {
        let slice = |inputs: &[&str]| sides(node("Slice", inputs, "sides"));
        let gather = |indices| sides(node("Gather", &["shape", indices], "sides"));
        let old = |starts, ends, more: Vec<AttributeProto>| {
            let attributes = [build::ints("starts", starts), build::ints("ends", ends)].into_iter().chain(more);
            sides(with(node("Slice", &["shape"], "sides"), attributes.collect()))
        };
        let shape = |attributes| {
            vec![with(node("Shape", &["image"], "sides"), attributes), node("Concat", &["channels", "sides"], "sizes")]
        };
        let one_by_one = |rows: &str, columns: &str| {
            vec![
                node("Shape", &["image"], "shape"),
                node("Gather", &["shape", rows], "rows"),
                node("Gather", &["shape", columns], "columns"),
                node("Unsqueeze", &["rows", "0"], "rows.list"),
                node("Squeeze", &["columns"], "columns.one"),
                node("Reshape", &["columns.one", "-1"], "columns.list"),
                node("Concat", &["channels", "rows.list", "columns.list"], "sizes"),
            ]
        };
        let other = |place: usize, change: fn(&mut NodeProto)| {
            let mut nodes = slice(&["shape", "2", "4"]);
            change(&mut nodes[place]);
            nodes
        };
        let through = |operator: &str| {
            let mut nodes = slice(&["shape", "2", "4"]);
            nodes[2].input[1] = "same".into();
            nodes.insert(2, node(operator, &["sides"], "same"));
            nodes
        };
        let long = |more: &str| {
            vec![
                node("Shape", &["image"], "shape"),
                node("Slice", &["shape", "2", "4"], "sides"),
                node("Concat", &["many", more, "sides"], "list"),
                node("Slice", &["list", "-2", "last"], "end"),
                node("Concat", &["channels", "end"], "sizes"),
            ]
        };
        let from_the_first = vec![
            node("Shape", &["image"], "shape"),
            node("Slice", &["shape", "2", "4"], "both"),
            node("Gather", &["both", "0, 1"], "sides"),
            node("Concat", &["channels", "sides"], "sizes"),
        ];
        let cases = vec![
            case("indices from 0", true, from_the_first),
            case("a slice", true, slice(&["shape", "2", "4"])),
            case("one with axes and steps", true, slice(&["shape", "2", "4", "0", "1"])),
            case("one without names for them", true, slice(&["shape", "2", "4", "", ""])),
            case("one to the end", true, slice(&["shape", "2", "last"])),
            case("one counted from the end", true, slice(&["shape", "-2", "last"])),
            case("along another axis", false, slice(&["shape", "2", "4", "1"])),
            case("in steps of 2", false, slice(&["shape", "2", "4", "0", "2"])),
            case("backwards", false, slice(&["shape", "2", "4", "0", "-1"])),
            case("a slice too short", false, slice(&["shape", "2", "3"])),
            case("a slice too long", false, slice(&["shape", "1", "4"])),
            case("a slice before the sides", false, slice(&["shape", "0", "2"])),
            case("one that is empty", false, slice(&["shape", "4", "2"])),
            case("one of two axes", false, slice(&["shape", "0, 1", "2, 3"])),
            case("without an end", false, slice(&["shape", "2"])),
            case("in attributes", true, old(&[2], &[4], vec![])),
            case("in attributes, with axes", true, old(&[2], &[LAST], vec![build::ints("axes", &[0])])),
            case("in attributes, another axis", false, old(&[2], &[4], vec![build::ints("axes", &[1])])),
            case("in attributes, too short", false, old(&[2], &[3], vec![])),
            case("indices", true, gather("2, 3")),
            case("other indices", false, gather("0, 1")),
            case("one index", false, gather("3")),
            case("indices one by one", true, one_by_one("2", "3")),
            case("indices from the end", true, one_by_one("-2", "-1")),
            case("rows and columns exchanged", false, one_by_one("3", "2")),
            case("rows twice", false, one_by_one("2", "2")),
            case("columns twice", false, one_by_one("3", "3")),
            case("an index behind the end", false, one_by_one("4", "3")),
            case("an index before the start", false, one_by_one("-5", "3")),
            case("the lowest index", false, one_by_one("first", "3")),
            case("a part of the shape", true, shape(vec![build::int("start", 2)])),
            case("a part from the end", true, shape(vec![build::int("start", -2), build::int("end", 4)])),
            case("the lowest start", false, shape(vec![build::int("start", i64::MIN)])),
            case("another part", false, shape(vec![build::int("start", 1), build::int("end", 3)])),
            case("the whole shape", false, shape(vec![])),
            case("sides alone", false, {
                vec![node("Shape", &["image"], "shape"), node("Slice", &["shape", "2", "4"], "sizes")]
            }),
            case("the shape itself", true, vec![node("Shape", &["image"], "sizes")]),
            case("the shape of something else", false, other(0, |n| n.input = vec!["low".into()])),
            case("half of it", false, through("Div")),
            case("through Cast", true, through("Cast")),
            case("through Identity", true, through("Identity")),
            case("through Squeeze", true, through("Squeeze")),
            case("through Reshape", true, through("Reshape")),
            case("a value from nowhere", false, other(2, |n| n.input[0] = "nothing".into())),
            case("a node without inputs", false, other(1, |n| n.input.clear())),
            case("lists of 100 numbers", true, long("1")),
            case("lists of 101 numbers", false, long("channels")),
            case("one node's 100 steps", true, behind(BUDGET - 1, vec![node("Shape", &["image"], "")])),
            case("101 steps", false, behind(BUDGET, vec![node("Shape", &["image"], "")])),
        ];
        check(cases, &picture(None, None, TensorLayout::Nchw));
    }

    #[test]
    fn sides_stand_where_the_layout_has_them() {
        let slice = |start, end| sides(node("Slice", &["shape", start, end], "sides"));
        let cases = || vec![case("behind the pictures", true, slice("1", "3")), case("last", false, slice("2", "4"))];
        check(cases(), &picture(None, None, TensorLayout::Nhwc));
        let turned = cases().into_iter().map(|case| Case { yes: !case.yes, ..case }).collect();
        check(turned, &picture(None, None, TensorLayout::Nchw));
    }

    #[test]
    fn fixed_sides_are_numbers() {
        let fixed = || vec![node("Concat", &["channels", "32, 64"], "sizes")];
        let partly = || {
            vec![
                node("Shape", &["image"], "shape"),
                node("Gather", &["shape", "3"], "columns"),
                node("Concat", &["channels", "32", "columns"], "sizes"),
            ]
        };
        for (height, width, all, rows) in [
            (Some(32), Some(64), true, true),
            (Some(32), None, false, true),
            (None, Some(64), false, false),
            (Some(32), Some(63), false, true),
            (Some(33), Some(64), false, false),
            (None, None, false, false),
        ] {
            let input = picture(height, width, TensorLayout::Nchw);
            check(vec![case("both", all, fixed()), case("rows", rows, partly())], &input);
        }
    }
}
