"""A chart of trial files: their sizes against their quality."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from splat.evaluation.pictures import FAINT, INK, figure_pixels, png
from splat.export.search import Search, Tried
from splat.system.files import replacing

_COLORS = ("#2f6fb0", "#c8553d", "#2a9d8f", "#8d4f9f", "#e9a178", "#7d858f", "#73c6a5")
_SHAPES = "os^D"
"""Markers of the points, by the degree of harmonics."""


def rate_chart(search: Search, best: Tried | None, path: Path) -> None:
    """A PNG of all that was tried: megabytes against dB, a colour a format, a shape a degree,
    hollow what was predicted."""
    figure = Figure(figsize=(7.2, 4.6), dpi=110, layout="constrained", facecolor="white")
    axes = figure.subplots()
    colors = dict(zip(sorted({t.variant.suffix for t in search.tried}), _COLORS, strict=False))
    for trial in search.tried:
        degree = trial.variant.degree
        axes.plot(
            trial.bytes / 1e6,
            trial.psnr,
            _SHAPES[degree],
            color=colors.get(trial.variant.suffix, INK),
            markersize=6,
            alpha=0.85,
            fillstyle="none" if trial.predicted else "full",
            label=f"{trial.variant.suffix}, SH {degree}",
        )
    if search.photos:
        axes.axhline(search.before, color=FAINT, linewidth=1, linestyle="--")
        axes.annotate("the whole set", (1, search.before), (-4, 3), color=FAINT, ha="right",
                      xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip
    if best is not None:
        axes.plot(best.bytes / 1e6, best.psnr, "o", markersize=13, fillstyle="none", color=INK)
    axes.set_xlabel("MB")
    axes.set_ylabel("PSNR (dB)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), frameon=False, fontsize=8)
    with replacing(path) as draft:
        draft.write_bytes(png(figure_pixels(figure)))
