//! Shortens ONNX Runtime's messages to one sentence, without status codes, source locations and C++
//! signatures.

use crate::error::plain;

/// ONNX Runtime's message in a readable form.
pub(super) fn one_line(text: &str) -> String {
    let said = text.split_once("[ONNXRuntimeError] : ").and_then(|(_, coded)| coded.splitn(3, " : ").nth(2));
    // Messages are shorter, unless the model contains a very long name.
    let said: String = said.unwrap_or(text).chars().take(4096).collect();
    let mut text = said.split_whitespace().collect::<Vec<_>>().join(" ");
    // "Non-zero status code returned while running Conv node. Name:'/conv/Conv' Status Message:
    // ..."
    if let Some((before, node)) = text.split_once("Non-zero status code returned while running ")
        && let Some((operator, rest)) = node.split_once(" node. Name:'")
        && let Some((name, rest)) = rest.split_once("' Status Message: ")
    {
        let name = if name.is_empty() { String::new() } else { format!(" '{name}'") };
        text = format!("{before}node{name} ({operator}): {rest}");
    }
    while let Some((start, end)) = place(&text) {
        let rest = skip_function(text[end..].trim_start());
        // "a == b was false. What that means."
        let rest = rest.split_once(" was false. ").map_or(rest, |(_, meaning)| meaning);
        text = format!("{}{rest}", &text[..start]);
    }
    // "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=... ; file=... ;
    // line=... ; expr=...;"
    let end = text.find(" ; GPU=").unwrap_or(text.len());
    plain(text[..end].trim())
}

/// The range of a source location, for example `/onnxruntime_src/core/graph/graph.cc:123`.
fn place(text: &str) -> Option<(usize, usize)> {
    let mut start = 0;
    for word in text.split(' ') {
        let end = start + word.len();
        if let Some((file, line)) = word.rsplit_once(':')
            && !line.is_empty()
            && line.bytes().all(|byte| byte.is_ascii_digit())
            && [".h", ".hpp", ".cc", ".cpp", ".cu", ".cuh", ".inl"].iter().any(|kind| file.ends_with(kind))
        {
            return Some((start, end));
        }
        start = end + 1;
    }
    None
}

/// The text after the function that it begins with: a name or a whole signature.
fn skip_function(text: &str) -> &str {
    let name = |text: &str| text.find(' ').map_or(text.len(), |end| end + 1);
    let signature = |open: usize| {
        let before = &text[..open];
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_:<>,&*~{} ".contains(&byte);
        before.contains("::") && !before.ends_with(' ') && before.bytes().all(inside)
    };
    let Some(open) = text.find('(').filter(|&open| signature(open)) else { return &text[name(text)..] };
    // The first parentheses of `operator()(int)` belong to the name.
    let open = if text[open..].starts_with("()(") { open + 2 } else { open };
    let mut end = open + bracketed(&text[open..]);
    loop {
        let rest = &text[end..];
        end += match () {
            // A lambda in the function: `::<lambda(int)>`.
            () if rest.starts_with("::<") => 2 + bracketed(&rest[2..]),
            () if rest.starts_with(" [with ") => 1 + bracketed(&rest[1..]),
            () if rest.starts_with(" const ") => " const".len(),
            () => return rest.trim_start(),
        }
    }
}

/// The length of the bracketed text at the beginning.
fn bracketed(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'<' | b'{' => depth += 1,
            b')' | b']' | b'>' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_what_only_developers_of_onnx_runtime_need() {
        // Messages of versions 1.24 and 1.32.
        let cases = [
            (
                "Non-zero status code returned while running Add node. Name:'/add/Add' Status Message: \
                 /onnxruntime_src/onnxruntime/core/providers/cpu/math/element_wise_ops.h:563 void \
                 onnxruntime::BroadcastIterator::Init(ptrdiff_t, ptrdiff_t) axis == 1 || axis == largest was false. Attempting to \
                 broadcast an axis by a dimension other than 1. 9 by 96",
                "node '/add/Add' (Add): Attempting to broadcast an axis by a dimension other than 1. 9 by 96",
            ),
            (
                "Non-zero status code returned while running Concat node. Name:'' Status Message: concatbase.h:135 \
                 PrepareForComputeImpl Non concat axis dimensions must match: Axis 2 has mismatched dimensions of 32 and 64",
                "node (Concat): Non concat axis dimensions must match: Axis 2 has mismatched dimensions of 32 and 64",
            ),
            (
                "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/graph/model_load_utils.h:46 void \
                 onnxruntime::model_load_utils::ValidateOpsetForDomain(const std::unordered_map<std::__cxx11::basic_string<char>, \
                 int>&, const onnxruntime::logging::Logger&, bool, const std::string&, int) ONNX Runtime only *guarantees* support",
                "ONNX Runtime only *guarantees* support",
            ),
            (
                "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: \
                 /onnxruntime_src/onnxruntime/core/optimizer/x.cc:71 virtual onnxruntime::common::Status \
                 onnxruntime::X<T>::Compute(onnxruntime::OpKernelContext*) const [with T = float; U = std::vector<int>] the (first) input \
                 is missing",
                "Exception during initialization: the (first) input is missing",
            ),
            ("a.cc:1 onnxruntime::f(int)::<lambda(size_t, bool)> it failed", "it failed"),
            ("a.cc:1 void onnxruntime::F::operator()(int) const it failed", "it failed"),
            ("a.cc:1 onnxruntime::{anonymous}::f() x.h:22 g it failed", "it failed"),
            ("b.h:7 Check the size(3) of it", "the size(3) of it"),
            (
                "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=me ; file=/a/b.cc ; line=66 ; expr=f();",
                "CUDA failure 100: no CUDA-capable device is detected",
            ),
            // Other messages do not change.
            (
                "Could not find an implementation for Conv(11) node with name ''",
                "Could not find an implementation for Conv(11) node with name ''",
            ),
            ("Load model from a.h:x failed:17 at 3:4", "Load model from a.h:x failed:17 at 3:4"),
            ("  two\n lines\t", "two lines"),
            ("a.cc:1", ""),
            ("a.cc:1 onnxruntime::f(((", ""),
            ("a.cc:1 onnxruntime::f(\u{e4}) \u{e4}", "\u{e4}"),
        ];
        for (text, expected) in cases {
            assert_eq!(one_line(text), expected, "{text}");
        }
    }
}
