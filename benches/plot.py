"""Plots time against pixels: plot.py RESULTS.json OUT.png"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plot  # noqa: E402
from rows import MANY_CLASSES, MODELS  # noqa: E402

COLOURS = {
    "libfcn": "#d1242f", "libfcn-int8": "#8250df", "ort-backbone": "#8c959f", "ort-whole": "#57606a",
    "ort-numpy": "#0969da", "openvino": "#1a7f37", "ncnn": "#bf8700", "opencv": "#24292f", "pytorch": "#bc4c00"}


def panel(axes, settings, title):
    pixels = [setting["height"] * setting["width"] / 1e6 for setting in settings]
    for name, colour in COLOURS.items():
        points = [(x, s["rows"][name]["median"]) for x, s in zip(pixels, settings) if name in s["rows"]]
        if points:
            ours = name.startswith("libfcn")
            style = "--" if name == "ort-backbone" else "-"
            axes.plot(*zip(*points), style, marker="o", markersize=4, color=colour, label=name,
                      linewidth=2.5 if ours else 1.3, zorder=3 if ours else 2)
    axes.set(xscale="log", yscale="log", title=title, xlabel="millions of pixels")
    axes.set_xticks(pixels, [f"{s['height']} x {s['width']}\n{x:.2f}" for s, x in zip(settings, pixels)], minor=False)
    axes.minorticks_off()
    ticks = [value for value in (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
             if axes.get_ylim()[0] <= value <= axes.get_ylim()[1]]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main():
    results = json.loads(Path(sys.argv[1]).read_text())
    models = {model: title for model, title in MODELS.items() if model != MANY_CLASSES}
    figure, panels = plot.subplots(1, len(models), figsize=(11, 5), squeeze=False)
    for axes, (model, title) in zip(panels[0], models.items()):
        panel(axes, [s for s in results["settings"] if s["model"] == model and s["threads"] == 2], title)
    panels[0][0].set_ylabel("milliseconds a frame, 2 threads")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right", frameon=False)
    figure.tight_layout(rect=(0, 0, 0.87, 1))
    Path(sys.argv[2]).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(sys.argv[2], dpi=120)


if __name__ == "__main__":
    main()
