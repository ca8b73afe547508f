"""Pictures of benchmarks, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import KERNEL_STAGES
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SMALL = 0.01
"""Parts below this share of a bar are drawn as one."""
GREYS = ("#22262b", "#4a5159", "#6d757e", "#8f969d", "#aeb4ba", "#c9cdd1", "#dfe2e5")
PALETTE = (0, 1, 2, 3, 4, 5, 6, 8, 9)
"""Colours of matplotlib's tab10 but its grey."""
_CLOUD_STAGES = [name for name in KERNEL_STAGES if name not in ("aside", "decode")]
STAGE_COLORS = {
    name: colormaps["tab10"](i) for name, i in zip(_CLOUD_STAGES, PALETTE, strict=True)
} | {
    "aside": "#dbdb8d",
    "decode": "#5b6d1f",
    "outside": "#8f969d",
    "whole": "#c8553d",
    "training": "#2f6fb0",
}


def profile_chart(found: Mapping[str, Any], path: Path) -> None:
    """Two stacked bars: the training, and the whole command."""
    figure = Figure(figsize=(11, 5.2), dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1)
    stacked(above, found["training"], found["training_seconds"])
    share = (
        f"{found['kernel_share']:.1%} in the kernels (coloured; {found['thread_share']:.1%} of the"
        f" threads' time); the bar is {found['bar']:.0%}"
    )
    above.axvline(found["bar"] * found["training_seconds"], color="black", linestyle=":")
    above.set_title(f"training, {found['training_seconds']:.1f} s: {share}", loc="left")
    whole = {"training": found["training_seconds"], **found["rest"]}
    stacked(below, whole, found["whole_seconds"])
    below.set_title(f"the whole command, {found['whole_seconds']:.1f} s", loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def stacked(axes: Axes, parts: Mapping[str, float], whole: float) -> None:
    """One horizontal bar of seconds; kernels first and coloured, all else grey."""
    large = {name: s for name, s in parts.items() if s >= SMALL * whole}
    rest = whole - sum(large.values())
    left, greys = 0.0, 0
    for name, seconds in [*large.items(), ("all below 1 %", max(0.0, rest))]:
        color = STAGE_COLORS.get(name.removeprefix("kernel: "))
        if color is None:
            color, greys = GREYS[greys % len(GREYS)], greys + 1
        label = f"{name}: {seconds:.2f} s"
        axes.barh(0, seconds, left=left, color=color, edgecolor="white", label=label)
        left += seconds
    axes.set_xlim(0, whole)
    axes.set_yticks([])
    axes.set_xlabel("seconds")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05), fontsize=7, frameon=False)


def report_chart(record: Mapping[str, Any], path: Path) -> None:
    """Times of a step by stage beside those of others; PSNR of the scenes against seconds."""
    steps: dict[str, Mapping[str, Any]] = record["steps"]
    sizes = [key for key in next(iter(steps.values()), {}) if is_size(key)] if steps else []
    scenes = record["scenes"]
    count = max(1, len(sizes) + bool(scenes))
    figure = Figure(figsize=(4.6 * count, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for place, size in zip(axes, sizes, strict=False):
        step_bars(place, steps, size)
    if scenes:
        quality(axes[-1], scenes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def is_size(key: str) -> bool:
    """Whether a key of a step's results is a picture size."""
    return key.replace("x", "").isdigit()


def step_bars(axes: Axes, steps: Mapping[str, Mapping[str, Any]], size: str) -> None:
    """A bar for each contestant, in stages where it tells them."""
    timed = {name: of[size] for name, of in steps.items() if "iteration_ms" in of.get(size, {})}
    labelled = set()
    for i, found in enumerate(timed.values()):
        bottom = 0.0
        for stage, ms in (found.get("stages") or {"whole": found["iteration_ms"]}).items():
            label = None if stage in labelled else stage
            labelled.add(stage)
            color = STAGE_COLORS.get(stage, GREYS[i % len(GREYS)])
            axes.bar(i, ms, bottom=bottom, color=color, label=label)
            bottom += ms
        axes.text(i, bottom, f"{found['iteration_ms']:.1f}", ha="center", va="bottom")
    axes.set_xticks(range(len(timed)), list(timed), fontsize=8)
    axes.margins(y=0.1)
    axes.set_ylabel("ms a step")
    axes.set_title(f"{size} pixels", loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False)


def quality(axes: Axes, scenes: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> None:
    """PSNR on held-out views against seconds of training."""
    for i, (scene, contestants) in enumerate(scenes.items()):
        for name, points in contestants.items():
            known = [p for p in points if p.get("psnr") is not None]
            if known:
                axes.plot(
                    [p["seconds"] for p in known],
                    [p["psnr"] for p in known],
                    marker="o" if name == "splat" else "x",
                    color=colormaps["tab10"](i),
                    linestyle="-" if name == "splat" else ":",
                    label=f"{scene}, {name}",
                )
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("PSNR on held-out views, dB")
    axes.set_title("time to quality", loc="left")
    axes.legend(fontsize=7, frameon=False)
