"""Style of the charts: one colour a strategy, labels beside what they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, NullFormatter

from splat.evaluation.pictures import FAINT, INK, figure_pixels, png, styled, tick_text

COLORS = (
    "#2f6fb0", "#c8553d", "#2a9d8f", "#8d4f9f", "#d29a1f", "#5aa9dd", "#c76b98", "#6b7a2c",
    "#8c5a2b", "#5b6470",
)  # fmt: skip
MARKERS = "osD^vPX<>*"
LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))
"""Line styles, beside the colour, for those who see few colours."""
WIDTH, HEIGHT, DPI = 5.2, 3.5, 150
LONGEST = 22
"""Most letters of a label."""
WIDE = 5.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


@dataclass(frozen=True)
class Chart:
    """A picture of the report."""

    name: str
    """Name of the file, without suffix."""
    title: str
    """Description of the picture, for those who do not see it."""
    data: bytes
    """The picture as PNG."""


@dataclass(frozen=True)
class Style:
    """Colour, marker and line of a strategy in every chart."""

    color: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Label:
    """A text at the right edge of a panel for a point in it."""

    x: float
    y: float
    text: str
    color: str


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each strategy, by its place in the order."""
    return {
        name: Style(
            COLORS[i % len(COLORS)],
            MARKERS[i % len(MARKERS)],
            LINES[i // len(COLORS) % len(LINES)],
        )
        for i, name in enumerate(names)
    }


def panel(title: str, x: str, last: float = 1.0) -> tuple[Figure, Axes]:
    """An empty panel, its horizontal axis named `x`."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots()
    styled(axes, title, last)
    axes.set_xlabel(x, color=FAINT, fontsize=9)
    return figure, axes


def chart_of(figure: Figure, name: str, title: str) -> Chart:
    """The figure as a picture."""
    _settle(figure)
    return Chart(name, title, png(figure_pixels(figure)))


def span_axis(axes: Axes, values: Sequence[float]) -> None:
    """Let the horizontal axis span all values, logarithmic where they are far apart."""
    low, high = min(values), max(values)
    if low > 0 and high > WIDE * low:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(tick_text))
        axes.xaxis.set_minor_formatter(NullFormatter())
        ticks = [factor * 10**power for power in range(-3, 12) for factor in (1, 2, 5)]
        axes.set_xticks([tick for tick in ticks if low / 1.3 <= tick <= high * 1.3])
        axes.set_xlim(low / 1.3, high * 1.3)
        return
    room = 0.12 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_xlim(low - room, high + room)


def draw_labels(
    figure: Figure, axes: Axes, labels: Sequence[Label], longest: int = LONGEST
) -> None:
    """Draw texts right of the panel, at the heights of their points where there is room."""
    texts = [
        axes.annotate(
            short_name(label.text, longest),
            (label.x, label.y),
            (1.03, label.y),
            textcoords=axes.get_yaxis_transform(),
            color=label.color,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": label.color, "lw": 0.6, "alpha": 0.5},
        )
        for label in labels
    ]
    if not texts:
        return
    _settle(figure)  # heights in pixels are known once the panel has its place
    to_pixels, box = axes.transData, axes.get_window_extent()
    heights = [float(to_pixels.transform((label.x, label.y))[1]) for label in labels]
    moved = apart(heights, 12.5 * DPI / 72, box.y0, box.y1)
    for text, height in zip(texts, moved, strict=True):
        y = float(to_pixels.inverted().transform((0.0, height))[1])
        text.set_position((1.03, y))


def _settle(figure: Figure) -> None:
    """Lay the figure out, once and for all."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        # Ticks follow the size of the panel, and its size theirs: twice, and both are settled.
        for _ in range(2):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")


def apart(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Values nearest to those given that are at least `gap` apart and, if possible, between `low`
    and `high`."""
    order = np.argsort(values, kind="stable")
    # Blocks of neighbours, each at the mean of what its members want (isotonic regression).
    blocks: list[list[float]] = []
    for rank, index in enumerate(order):
        blocks.append([values[index] - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            other = blocks[-1]
            other[0] = (other[0] * other[1] + mean * count) / (other[1] + count)
            other[1] += count
    levels = [mean for mean, count in blocks for _ in range(int(count))]
    most = high - (len(values) - 1) * gap
    places = [0.0] * len(values)
    for rank, index in enumerate(order):
        places[index] = max(min(levels[rank], max(most, low)), low) + rank * gap
    return places


def short_name(text: str, longest: int = LONGEST) -> str:
    """A name short enough for a label; its end is kept, where recipes often differ."""
    if len(text) <= longest:
        return text
    return f"{text[: longest // 2].rstrip()}…{text[-(longest // 2 - 1) :].lstrip()}"


def hide_left_axis(axes: Axes) -> None:
    """Hide the left axis, whose rows are named."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(False, axis="y")
