//! Mutated model files, through all steps before ONNX Runtime.
#![no_main]

use fcn::{Options, TensorLayout, fuzzing};
use libfuzzer_sys::fuzz_target;

/// A network that runs at the first size and has scores of 3 classes.
struct Usual;

impl fuzzing::Answers for Usual {
    fn trial(&mut self, _: usize) -> Option<(usize, Vec<i64>)> {
        Some((0, vec![1, 3, 64, 96]))
    }

    fn uncut(&mut self) -> bool {
        false
    }

    fn output(&mut self) -> Option<Option<usize>> {
        Some(Some(3))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut options = Options::default();
    // An error is what most inputs deserve.
    let _ = fuzzing::prepare(bytes, &options, &mut Usual);
    options.multilabel = Some(0.5);
    options.output_layout = Some(TensorLayout::Nhwc);
    options.class_names = Some(["a", "b", "c"].map(String::from).to_vec());
    let _ = fuzzing::prepare(bytes, &options, &mut Usual);
});
