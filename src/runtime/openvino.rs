//! OpenVINO as a provider of ONNX Runtime: its settings, and the nodes that it does not take.
//!
//! Unsafe code: ONNX Runtime's list of the nodes of each provider, which `ort` does not offer.

use std::{
    collections::BTreeMap,
    ffi::{CStr, c_char},
    ptr, slice,
};

use once_cell::sync::OnceCell;
use ort::{
    AsPointer,
    ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider, ExecutionProviderDispatch},
    session::{Session, builder::SessionBuilder},
    sys::{OrtEpAssignedNode, OrtEpAssignedSubgraph, OrtStatusPtr},
};
use serde_json::json;

use super::{
    one_line,
    precision::{Format, x86_has_bfloat16},
};
use crate::{
    Error, Result,
    cache::Folder,
    onnx::types::ModelProto,
    options::{Options, Precision},
    process::Process,
};

/// Makes [`left`] possible.
const RECORD_ASSIGNMENT: &str = "session.record_ep_graph_assignment_info";

/// If OpenVINO cannot compile a network for an NPU, ONNX Runtime compiles it for the CPU unless
/// this is set. It also makes creation fail if a node stays on the CPU provider.
const NO_CPU_FALLBACK: &str = "session.disable_cpu_ep_fallback";

/// The device: its kind (`CPU`, `GPU` or `NPU`), and its name, which may end with an index.
fn device(options: &Options) -> (&str, &str) {
    let name = options.openvino_device.as_deref().unwrap_or("CPU");
    (name.split('.').next().unwrap_or(name), name)
}

/// The format in which OpenVINO computes float32 layers.
pub(super) fn format(options: &Options) -> Format {
    match (device(options).0, options.precision) {
        ("NPU", _) | ("GPU", Precision::Fast) => Format::Float16,
        ("CPU", Precision::Fast) if x86_has_bfloat16() => Format::BFloat16,
        _ => Format::Float32,
    }
}

/// The process that used OpenVINO first. OpenVINO's threads belong to it; a forked child has none
/// of them, and locks that they held at the fork are never released.
static USER: OnceCell<Process> = OnceCell::new();

/// Fails if OpenVINO cannot be used in this process, or if the device has no exact arithmetic, but
/// the options ask for it.
pub(super) fn check(options: &Options) -> Result<()> {
    check_process(*USER.get_or_init(Process::current))?;
    check_precision(options)
}

fn check_process(user: Process) -> Result<()> {
    if user.is_over() {
        return Err(Error::Provider(
            "the openvino provider is unavailable: this process is a child of one that has used OpenVINO, and OpenVINO does \
             not support fork"
                .into(),
        ));
    }
    Ok(())
}

fn check_precision(options: &Options) -> Result<()> {
    if device(options).0 == "NPU" && options.precision == Precision::Exact {
        return Err(Error::Provider(
            "the openvino provider is unavailable: NPUs compute in float16, not in float32; choose the precision fast"
                .into(),
        ));
    }
    Ok(())
}

/// The error for a device that does not work. `error` may be no more than "Failed to load provider
/// OpenVINOExecutionProvider"; `said` is what ONNX Runtime has logged, or empty.
pub(super) fn unavailable(options: &Options, error: &ort::Error, said: &str) -> Error {
    let reason = if said.is_empty() { one_line(&error.to_string()) } else { said.to_owned() };
    Error::Provider(format!("the openvino provider is unavailable on the device {}: {reason}", device(options).1))
}

/// OpenVINO's settings, as the JSON text that ONNX Runtime passes on.
fn settings(options: &Options, threads: usize) -> String {
    let (kind, _) = device(options);
    let precision = match format(options) {
        Format::BFloat16 => "bf16",
        Format::Float16 => "f16",
        Format::Float32 | Format::Tf32 => "f32",
    };
    let mut settings = json!({ "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision });
    if kind == "CPU" {
        // As a setting, because ONNX Runtime's own option for the number of threads also creates
        // that many inference requests, each with its own memory.
        settings["INFERENCE_NUM_THREADS"] = json!(threads.to_string());
        // Threads bound to processors would all share the same ones in several sessions.
        settings["ENABLE_CPU_PINNING"] = json!("NO");
    }
    json!({ kind: settings }).to_string()
}

/// OpenVINO for a session.
pub(super) fn provider(options: &Options, threads: usize) -> ExecutionProviderDispatch {
    let (kind, name) = device(options);
    let provider = ep::OpenVINO::default()
        .with_device_type(name)
        .with_num_threads(1)
        .with_arbitrary_config("load_config", settings(options, threads));
    // Compiling for a GPU or an NPU takes long, and OpenVINO can store the result. What it stores
    // for a CPU is compiled again when it is loaded, which is no faster.
    let folder = options.cache.as_deref().filter(|_| kind != "CPU").and_then(|folder| Folder::open(folder).ok());
    match folder {
        Some(folder) => provider.with_cache_dir(folder.path().display()),
        None => provider,
    }
    .build()
    .error_on_failure()
}

/// Settings of a session that OpenVINO runs.
pub(super) fn with_entries(builder: SessionBuilder, options: &Options) -> ort::Result<SessionBuilder> {
    let builder = builder.with_config_entry(RECORD_ASSIGNMENT, "1")?;
    Ok(match device(options).0 {
        "NPU" => builder.with_config_entry(NO_CPU_FALLBACK, "1")?,
        _ => builder,
    })
}

/// The network as OpenVINO computes it correctly: a Clip without bounds, which changes nothing,
/// becomes an Identity. OpenVINO 2025.4.1 returns 0 for integers there, and numbers for NaN.
pub(super) fn adapted(network: &ModelProto) -> ModelProto {
    let mut network = network.clone();
    let nodes = network.graph.iter_mut().flat_map(|graph| &mut graph.node);
    for node in nodes.filter(|node| node.op_type() == "Clip") {
        if node.attribute.is_empty() && node.input.iter().skip(1).all(String::is_empty) {
            node.input.truncate(1);
            node.op_type = Some("Identity".into());
        }
    }
    network
}

/// Whether this ONNX Runtime contains OpenVINO.
pub(super) fn is_built_in() -> bool {
    ep::OpenVINO::is_available().unwrap_or(false)
}

/// Why [`Provider::Auto`](crate::Provider) does not choose OpenVINO: SECURITY.md.
pub(super) const OBJECTION: &str = "OpenVINO is used only if it is requested, because it does not check networks";

/// The nodes that OpenVINO left to the CPU provider.
pub(super) struct Left {
    /// Whether it took none.
    pub(super) all: bool,
    /// For messages, for example `2 of 80 nodes (Resize, TopK)`.
    pub(super) nodes: String,
}

/// The nodes of a session that OpenVINO left to the CPU provider; `None` if it took all.
pub(super) fn left(session: &Session) -> ort::Result<Option<Left>> {
    let mut total = 0;
    let mut left = BTreeMap::<String, usize>::new();
    for &subgraph in subgraphs(session)? {
        let provider = text(|out| {
            // SAFETY: the subgraph belongs to the session.
            unsafe { (ort::api().EpAssignedSubgraph_GetEpName)(subgraph, out) }
        })?;
        let nodes = nodes(session, subgraph)?;
        total += nodes.len();
        if provider == <ep::OpenVINO as ExecutionProvider>::NAME {
            continue;
        }
        for &node in nodes {
            let operator = text(|out| {
                // SAFETY: the node belongs to the session.
                unsafe { (ort::api().EpAssignedNode_GetOperatorType)(node, out) }
            })?;
            *left.entry(operator).or_default() += 1;
        }
    }
    if left.is_empty() {
        return Ok(None);
    }
    let count: usize = left.values().sum();
    let operators = left.into_keys().collect::<Vec<_>>().join(", ");
    Ok(Some(Left { all: count == total, nodes: format!("{count} of {total} nodes ({operators})") }))
}

/// The parts of a session's network, one per provider and connected group of nodes.
fn subgraphs(session: &Session) -> ort::Result<&[*const OrtEpAssignedSubgraph]> {
    let (mut start, mut count) = (ptr::null(), 0);
    // SAFETY: the session is live. The array belongs to it and does not change.
    unsafe {
        check_status((ort::api().Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut start, &raw mut count))?;
        Ok(array(start, count))
    }
}

/// The nodes of a part of a session's network.
fn nodes(_session: &Session, subgraph: *const OrtEpAssignedSubgraph) -> ort::Result<&[*const OrtEpAssignedNode]> {
    let (mut start, mut count) = (ptr::null(), 0);
    // SAFETY: the subgraph belongs to the session, which is live, and so does the array.
    unsafe {
        check_status((ort::api().EpAssignedSubgraph_GetNodes)(subgraph, &raw mut start, &raw mut count))?;
        Ok(array(start, count))
    }
}

/// # Safety
/// `start` is valid for `count` pointers as long as the result lives; it may be NULL for 0.
unsafe fn array<'a, T>(start: *const *const T, count: usize) -> &'a [*const T] {
    match count {
        0 => &[],
        // SAFETY: the caller promises it.
        _ => unsafe { slice::from_raw_parts(start, count) },
    }
}

/// The string that one of ONNX Runtime's getters returns.
fn text(get: impl FnOnce(*mut *const c_char) -> OrtStatusPtr) -> ort::Result<String> {
    let mut start = ptr::null();
    check_status(get(&raw mut start))?;
    // SAFETY: on success, the getter has stored a NUL-terminated string.
    Ok(unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned())
}

fn check_status(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: ONNX Runtime has returned the status, which nothing else frees.
    unsafe { ort::Error::result_from_status(status) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::onnx::{build, types::GraphProto};

    #[test]
    fn only_a_clip_without_bounds_becomes_an_identity() {
        let clip = |inputs: &[&str], attributes| build::node("Clip", inputs, "out", attributes);
        let node = vec![
            clip(&["in"], vec![]),
            clip(&["in", "", ""], vec![]),
            clip(&["in", "low"], vec![]),
            clip(&["in", "", "high"], vec![]),
            clip(&["in"], vec![build::float("max", 6.0)]),
        ];
        let network = ModelProto { graph: Some(GraphProto { node, ..GraphProto::default() }), ..ModelProto::default() };
        let adapted = adapted(&network).graph.unwrap().node;
        let operators: Vec<_> = adapted.iter().map(|node| node.op_type()).collect();
        assert_eq!(operators, ["Identity", "Identity", "Clip", "Clip", "Clip"]);
        assert!(adapted[..2].iter().all(|node| node.input == ["in"]));
    }

    fn options(device: Option<&str>, precision: Precision) -> Options {
        Options { openvino_device: device.map(str::to_owned), precision, ..Options::default() }
    }

    #[test]
    fn settings_follow_the_device_and_the_precision() {
        let short = if x86_has_bfloat16() { "bf16" } else { "f32" };
        for (device, precision, kind, hint, threads) in [
            (None, Precision::Exact, "CPU", "f32", Some("3")),
            (Some("CPU"), Precision::Fast, "CPU", short, Some("3")),
            (Some("GPU"), Precision::Exact, "GPU", "f32", None),
            (Some("GPU.1"), Precision::Fast, "GPU", "f16", None),
            (Some("NPU"), Precision::Fast, "NPU", "f16", None),
        ] {
            let settings: Value = serde_json::from_str(&settings(&options(device, precision), 3)).unwrap();
            let of_kind = &settings[kind];
            assert_eq!(of_kind["INFERENCE_PRECISION_HINT"], hint, "{device:?} {precision}");
            assert_eq!(of_kind["INFERENCE_NUM_THREADS"].as_str(), threads, "{device:?} {precision}");
            assert_eq!(settings.as_object().unwrap().len(), 1, "{device:?} {precision}");
        }
    }

    #[test]
    fn a_child_of_a_process_that_used_openvino_cannot_use_it() {
        assert!(check_process(Process::current()).is_ok());
        let parent = Process { forks: Process::current().forks + 1, ..Process::current() };
        let error = check_process(parent).unwrap_err();
        assert!(matches!(&error, Error::Provider(message) if message.contains("child")), "{error}");
    }

    #[test]
    fn an_npu_computes_in_float16_only() {
        assert!(check_precision(&options(Some("NPU"), Precision::Fast)).is_ok());
        assert!(check_precision(&options(Some("GPU"), Precision::Exact)).is_ok());
        let error = check_precision(&options(Some("NPU.0"), Precision::Exact)).unwrap_err();
        assert!(matches!(&error, Error::Provider(message) if message.contains("float16")), "{error}");
    }
}
