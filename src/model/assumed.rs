//! Assumptions about a model that neither its card nor an option confirms.

use crate::{
    Options,
    onnx::{Form, ImageInput, ModelCard, TensorLayout},
};

/// The facts that the assumptions depend on.
pub(super) struct Known<'a> {
    pub(super) card: Option<&'a ModelCard>,
    pub(super) options: &'a Options,
    pub(super) input: &'a ImageInput,
    pub(super) form: Form,
    /// The name of the output with the segmentation, and the number of outputs.
    pub(super) output: (&'a str, usize),
}

/// One phrase for each assumption.
pub(super) fn assumptions(known: &Known<'_>) -> Vec<String> {
    let Known { card, options, input, form, output: (output, outputs) } = *known;
    let mut assumed = Vec::new();
    if outputs > 1 && options.output.is_none() {
        assumed.push(format!("output '{output}', the first suitable one of {outputs}, is the segmentation"));
    }
    // The card specifies the rest.
    if card.is_some() {
        return assumed;
    }
    if !input.takes_bytes() {
        if options.scale.is_none() {
            assumed.push("scale 1 / 255".to_owned());
        }
        if options.mean.is_none() {
            assumed.push("mean 0 0 0".to_owned());
        }
        if options.std.is_none() {
            assumed.push("std 1 1 1".to_owned());
        }
    }
    if options.channel_order.is_none() && !input.is_grey() {
        assumed.push("channel order RGB".to_owned());
    }
    let name = |layout| match layout {
        TensorLayout::Nchw => "NCHW",
        TensorLayout::Nhwc => "NHWC",
    };
    if options.input_layout.is_none() {
        assumed.push(format!("input {}", name(input.layout())));
    }
    if let Some(layout) = form.scores_layout().filter(|_| options.output_layout.is_none()) {
        assumed.push(format!("scores {}", name(layout)));
    }
    assumed
}
