"""Formats a benchmark run as Markdown and compares it with the project's targets."""

import statistics
from dataclasses import dataclass

from rows import MODELS, ROWS

RESNET, LITE0, _ = MODELS
SMALL, LARGE = (320, 480), (1088, 1920)


def find(results, model, size, threads=2):
    for setting in results["settings"]:
        if (setting["model"], setting["height"], setting["width"], setting["threads"]) == (model, *size, threads):
            return setting["rows"]
    return {}


@dataclass(frozen=True)
class Bar:
    what: str
    # None if the run lacks a row that it needs.
    value: float | None
    bound: float
    at_most: bool
    unit: str = "x"

    @property
    def met(self):
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def quotient(over, under, key="median"):
    return over[key] / under[key] if over and under else None


def step(row, name):
    return row["steps"][name] if row else None


def bars(results):
    resnet, lite0 = (find(results, model, SMALL) for model in (RESNET, LITE0))
    ours = resnet.get("libfcn")
    openvino = [resnet[name] for name in ("openvino", "openvino-whole") if name in resnet]
    fastest_openvino = min(openvino, key=lambda row: row["median"], default=None)
    inference = lite0 and "ort-backbone" in lite0 and step(lite0["libfcn"], "inference") / lite0["ort-backbone"]["median"]
    pixels = (LARGE[0] * LARGE[1]) / (SMALL[0] * SMALL[1])
    result = [
        Bar("libfcn at most 1.08 x ort-backbone", quotient(ours, resnet.get("ort-backbone")), 1.08, True),
        Bar("ort-numpy at least 1.25 x libfcn", quotient(resnet.get("ort-numpy"), ours), 1.25, False),
        Bar("the faster row of OpenVINO at least 1.15 x libfcn", quotient(fastest_openvino, ours), 1.15, False),
        Bar("EfficientNet-Lite0: ort-whole at least 1.5 x libfcn",
            quotient(lite0.get("ort-whole"), lite0.get("libfcn")), 1.5, False),
        Bar("EfficientNet-Lite0: ort-whole at least 2 x libfcn-int8",
            quotient(lite0.get("ort-whole"), lite0.get("libfcn-int8")), 2, False),
        Bar("EfficientNet-Lite0: inference at most 1.06 x ort-backbone", inference, 1.06, True),
        Bar("EfficientNet-Lite0: libfcn at most 1.25 x ort-backbone",
            quotient(lite0.get("libfcn"), lite0.get("ort-backbone")), 1.25, True),
        Bar("head, learned, stride 32", step(ours, "head"), 1.8, True, "ms"),
        Bar("head, learned, stride 8", step(lite0.get("libfcn"), "head"), 1.4, True, "ms"),
        Bar("head, frozen bilinear", step(resnet.get("libfcn-frozen"), "head"), 0.4, True, "ms"),
        Bar("preprocess", step(ours, "preprocess"), 0.5, True, "ms"),
        Bar("libfcn at least 1.7 x libfcn-int8", quotient(ours, resnet.get("libfcn-int8")), 1.7, False),
        Bar("openvino-int8 at least 1 x libfcn-int8",
            quotient(resnet.get("openvino-int8"), resnet.get("libfcn-int8")), 1, False),
    ]
    # OpenVINO's bfloat16 and int8 kernels are made for AMX.
    if "amx_tile" in results["machine"]["has"]:
        result += [
            Bar("libfcn-openvino-int8 at most 0.45 x openvino-int8",
                quotient(resnet.get("libfcn-openvino-int8"), resnet.get("openvino-int8")), 0.45, True),
            Bar("libfcn-openvino-fast at most 0.35 x openvino-default",
                quotient(resnet.get("libfcn-openvino-fast"), resnet.get("openvino-default")), 0.35, True),
            Bar("EfficientNet-Lite0: libfcn-openvino-int8 at most 0.6 x openvino-int8",
                quotient(lite0.get("libfcn-openvino-int8"), lite0.get("openvino-int8")), 0.6, True),
        ]
    for model, small in ((RESNET, resnet), (LITE0, lite0)):
        large = find(results, model, LARGE)
        growth = quotient(large.get("libfcn"), small.get("libfcn"))
        result += [
            Bar(f"{MODELS[model]}: time per pixel at 1088 x 1920 at most 1.1 of that at 320 x 480",
                growth and growth / pixels, 1.1, True),
            Bar(f"{MODELS[model]}: peak memory at 1088 x 1920 at most that of ort-numpy",
                quotient(large.get("libfcn"), large.get("ort-numpy"), "peak"), 1, True),
            Bar(f"{MODELS[model]}: create at most 1.25 x ort-whole's session",
                quotient(small.get("libfcn"), small.get("ort-whole"), "create"), 1.25, True),
            Bar(f"{MODELS[model]}: create from the cache at most 1 x ort-whole's session",
                quotient(small.get("libfcn-cached"), small.get("ort-whole"), "create"), 1, True),
        ]
    return result


def bar_cells(bar):
    if bar.value is None:
        return f"{bar.bound:g} {bar.unit}", "—", "not in this run"
    return f"{bar.bound:g} {bar.unit}", f"{bar.value:.2f} {bar.unit}", "met" if bar.met else "**not met**"


def bars_text(results):
    return "\n".join(f"{verdict.strip('*'):16}{value:>9}  {bar.what}"
                     for bar in bars(results) for _, value, verdict in [bar_cells(bar)])


def table(head, lines):
    align = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, align, *lines])


def comparison(one, two):
    """One size of a network: times at 1 and 2 threads, the rest at the most threads measured."""
    lines = []
    for row in ROWS:
        if row.name not in (two or one):
            continue
        cells = [row.name]
        for rows in (one, two):
            if rows:
                figures, ours = rows.get(row.name), rows["libfcn"]["median"]
                cells += [f"{figures['median']:.1f}", f"{figures['median'] / ours:.2f}"] if figures else ["—", "—"]
        figures = (two or one)[row.name]
        agreement = "—" if figures["agreement"] is None else f"{100 * figures['agreement']:.2f} %"
        lines.append([
            *cells, f"{figures['low']:.1f} to {figures['high']:.1f}", f"{figures['create']:.0f}",
            f"{figures['first']:.1f}", f"{figures['peak'] / 1024:.0f}", agreement])
    head = ["row"]
    for rows, words in ((one, "1 thread"), (two, "2 threads")):
        head += [f"{words}, ms", "of libfcn"] if rows else []
    return table([*head, "8 of 10 frames, ms", "create, ms", "first frame, ms", "peak, MiB", "same labels"], lines)


def steps(results):
    lines = []
    for setting in results["settings"]:
        for row in ROWS:
            if row.name in setting["rows"] and "steps" in setting["rows"][row.name]:
                figures = setting["rows"][row.name]
                times = [f"{figures['steps'][name]:.2f}" for name in ("preprocess", "inference", "head")]
                lines.append([
                    MODELS[setting["model"]], row.name, f"{setting['height']} x {setting['width']}",
                    str(setting["threads"]), *times, f"{figures['median']:.2f}"])
    return table(["network", "row", "size", "threads", "preprocess", "inference", "head", "whole call"], lines)


def versions(results):
    found = {}
    for setting in results["settings"]:
        for row in ROWS:
            if row.name in setting["rows"]:
                found.setdefault(row.peer, setting["rows"][row.name]["version"])
    return ", ".join(f"{peer} {version}" for peer, version in found.items())


def load(results):
    """The median time for loading ONNX Runtime."""
    loads = [row["load"] for setting in results["settings"] for row in setting["rows"].values() if "load" in row]
    return f"{statistics.median(loads):.0f}"


def markdown(results, plot):
    machine = results["machine"]
    present = {name for setting in results["settings"] for name in setting["rows"]}
    out = [f"""# Benchmarks

Generated by `{results['command']}`; do not edit.

- {results['date']}, commit {results['commit']}
- {machine['processor']} ({machine['family']}), {machine['cores']} cores, {machine['memory']} GiB of memory, with \
{', '.join(machine['has'])}; {machine['system']}
- Load average before the run {results['load']:.2f}, after it {results['load_after']:.2f}
- {versions(results)}

## How it is measured

Input is an 8-bit BGR frame, output one label byte per pixel, 21 classes unless a table says 150. The
photo is `chelsea.png` at its own scale, mirrored at its edges to fill the frame. All rows of a table use the same ONNX
file, or one made from it; the weights are untrained, because they do not affect the time. Sides that are no multiples of 32 are zero-padded in every row.

Each measurement runs in its own process: it loads the model (*create*), labels a *first frame*, labels frames for
{results['seconds'] / 10:g} s without measuring, and measures frames for {results['seconds']:g} s. The rows of a table
take turns ({results['rounds']} each) and never run concurrently. Times are medians over all frames, in
milliseconds; *create* excludes starting Python and its imports, and for libfcn loading ONNX Runtime's library, too,
which Python's import does: {load(results)} ms. *Peak* is the process's peak memory (VmHWM), including
Python and numpy (about 40 MiB) for rows in Python. *Same labels* is the share of pixels with libfcn's label: it shows
that the rows compute the same result; int8 rows may differ. The rows *-default*, *-fast* and *-autocast* may compute in
bfloat16 where the processor has it, the others compute in float32 or in integers; bars on OpenVINO's bfloat16 and int8
kernels need a processor with AMX{'' if 'amx_tile' in machine['has'] else ', which this one is not, and are not measured'}. A row slower than a second at 320 x 480 is skipped at other
sizes.
"""]
    out.append("\n".join(f"- **{row.name}**: {row.what}." for row in ROWS if row.name in present))
    out.append("""
## Targets

At 2 threads, 320 x 480 and ResNet-18 FCN-32s unless stated otherwise.
""")
    out.append(table(["target", "bound", "measured", ""], [[bar.what, *bar_cells(bar)] for bar in bars(results)]))
    out.append("")
    for model, title in MODELS.items():
        sizes = dict.fromkeys((s["height"], s["width"]) for s in results["settings"] if s["model"] == model)
        for height, width in sizes:
            one, two = (find(results, model, (height, width), threads) for threads in (1, 2))
            out += [f"## {title}, {height} x {width}\n", comparison(one, two), ""]
    if plot:
        out.append(f"## Time against pixels\n\n![Milliseconds per frame against millions of pixels, 2 threads]({plot})\n")
    out += ["## The steps of libfcn\n\nMedians in milliseconds, from `fcn_mask_timings`.\n", steps(results), ""]
    return "\n".join(out)
