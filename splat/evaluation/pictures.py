"""Pictures of a run: a contact sheet (truth, render, error) and its curves, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from splat.system.files import replacing

if TYPE_CHECKING:  # it takes as long to load as half of torch, and few commands draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Bytes = NDArray[np.uint8]
"""A picture [h, w, 3], RGB."""

WIDEST, TALLEST, NARROWEST = 480, 400, 200
"""Largest width, largest height and least width of a tile of the contact sheet, pixels."""
WORST = 0.1
"""Mean absolute error over R, G and B (of 1) that the brightest colour stands for."""
MOST_ROWS = 24
BINS = 80
_DPI = 100
_GAP, _MARGIN, _CAPTION, _HEAD = 8, 16, 30, 44
INK, FAINT = "#22262b", "#7d858f"
_LINE, _ACCENT = "#2f6fb0", "#c8553d"
_BORN = ("#2a9d8f", "#73c6a5", "#2f6fb0", "#8ab6d6")
_DEAD = ("#c8553d", "#e9a178", "#8d4f9f", "#c7a0cf")


@dataclass(frozen=True)
class Row:
    """One view of a contact sheet, already as small as it is shown there."""

    name: str
    psnr: float
    """Peak signal-to-noise ratio, dB."""
    truth: Bytes
    image: Bytes
    error: Bytes

    @classmethod
    def of(
        cls,
        name: str,
        psnr: float,
        truth: Float[Tensor, "h w 3"],
        image: Float[Tensor, "h w 3"],
        mask: UInt8[Tensor, "h w"] | None = None,
    ) -> Row:
        """A row out of pictures in [0, 1]; where `mask` is 0 the error is left black."""
        truth, image = truth.detach().clamp(0, 1).cpu(), image.detach().clamp(0, 1).cpu()
        error = (truth - image).abs().mean(2)
        if mask is not None:
            error = error.where(mask.cpu() != 0, error.new_zeros(()))
        shown = _ramp(_fitted((error / WORST).numpy()).clip(0, 1))
        first, second = (as_bytes(_fitted(picture.numpy())) for picture in (truth, image))
        return cls(name, psnr, first, second, as_bytes(shown))


def contact_sheet(rows: Sequence[Row], path: Path, title: str = "") -> None:
    """A PNG with one line a view: truth, render, error. At most 24 views, spread evenly."""
    if not rows:
        raise ValueError(f"no views for the contact sheet {path}; give it at least one")
    count = min(len(rows), MOST_ROWS)
    shown = [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int).tolist()]
    column = max(NARROWEST, *(row.truth.shape[1] for row in shown))
    width = 2 * _MARGIN + 3 * column + 2 * _GAP
    tops = np.cumsum([_HEAD] + [row.truth.shape[0] + _CAPTION for row in shown])
    height = int(tops[-1]) + _CAPTION
    from matplotlib.figure import Figure

    # A quarter of a pixel more: Matplotlib before 3.11 cuts off what a product falls short by.
    size = (width + 0.25) / _DPI, (height + 0.25) / _DPI
    figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
    lefts = [_MARGIN + i * (column + _GAP) for i in range(3)]
    tiles = [_heading(figure, lefts, column)]
    for row, top in zip(shown, tops[:-1].tolist(), strict=True):
        for left, tile in zip(lefts, (row.truth, row.image, row.error), strict=True):
            tiles.append((top, left, tile))
        middle = top + row.truth.shape[0] + _CAPTION // 2 - 3
        _text(figure, lefts[0], middle, _shortened(row.name), INK)
        _text(figure, lefts[1], middle, f"{row.psnr:.2f} dB", INK)
    note = " · ".join(filter(None, (title, f"{count} of {len(rows)} views")))
    _text(figure, _MARGIN, height - _CAPTION // 2 - 4, note, FAINT)
    page = figure_pixels(figure)
    for top, left, tile in tiles:
        page[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    _save(page, path)


def curves(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A PNG of a run's log: records that hold `step` and any of the following.

    `loss`; `psnr` (of the training view); `test_psnr` (of held-out views); `gaussians` (how many);
    `counts` (of an edit, as in `Change.counts`). A panel without records says so.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(11, 7.2), dpi=_DPI, layout="constrained", facecolor="white")
    loss, quality, size, edits = figure.subplots(2, 2).flat
    last = max((record["step"] for record in log), default=0)
    for axes, title in zip(
        (loss, quality, size, edits),
        ("Loss", "PSNR (dB)", "Gaussians", "Births and deaths"),
        strict=True,
    ):
        styled(axes, title, last)
    losses = _series(log, "loss")
    _noisy(loss, losses, "")
    if (losses[1] > 0).any():
        loss.set_yscale("log")
        loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        loss.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        loss.yaxis.set_minor_formatter(NullFormatter())
    _noisy(quality, _series(log, "psnr"), "training view")
    steps, values = _series(log, "test_psnr")
    if len(steps):
        quality.plot(
            steps, values, "o-", color=_ACCENT, markersize=5, clip_on=False, label="held-out views"
        )
    _legend(quality)
    steps, values = _series(log, "gaussians")
    if len(steps):
        size.plot(steps, values, color=_LINE, linewidth=1.8)
        size.set_ylim(bottom=0)
    _bars(edits, [(r["step"], r["counts"]) for r in log if r.get("counts")], last)
    for axes in (loss, quality, size, edits):
        if not (axes.lines or axes.patches):
            axes.text(
                0.5, 0.5, "nothing logged", transform=axes.transAxes, ha="center", color=FAINT
            )
    _save(figure_pixels(figure), path)


def _series(log: Sequence[Mapping[str, Any]], key: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Steps and values of the records that hold a finite number under `key`."""
    points = [(record["step"], record[key]) for record in log if record.get(key) is not None]
    table = np.array(points, np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(1)]
    return table[:, 0], table[:, 1]


def styled(axes: Axes, title: str, last: float) -> None:
    """A plain panel over steps (or seconds) up to the last."""
    from matplotlib.ticker import FuncFormatter

    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=9)
    axes.grid(True, color="#e6e9ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(0, max(1, last))
    axes.set_xlabel("step", color=FAINT, fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(tick_text))


def tick_text(value: float, place: int | None = None) -> str:
    """A number beside an axis: from a thousand on with k, M or G.

    Smaller ones are as they are: 400m for 0.4 would be read as metres or minutes.
    """
    from matplotlib.ticker import EngFormatter

    return f"{value:g}" if abs(value) < 1000 else EngFormatter(sep="")(value, place)


def _noisy(axes: Axes, series: tuple[NDArray[Any], NDArray[Any]], label: str) -> None:
    """The values of single views, faint, and their running mean over a fiftieth of the run."""
    steps, values = series
    if not len(steps):
        return
    axes.plot(steps, values, color=_LINE, alpha=0.25, linewidth=0.7)
    window = max(1, len(values) // 50)
    totals = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - window, 0)
    high = np.minimum(np.arange(len(values)) + window + 1, len(values))
    means = (totals[high] - totals[low]) / (high - low)
    axes.plot(steps, means, color=_LINE, linewidth=1.8, label=label)


def _bars(axes: Axes, edits: Sequence[tuple[int, Mapping[str, int]]], last: int) -> None:
    """Rows that edits added (up), moved (up) and removed (down), by reason; resets as lines."""
    edges, totals = binned(edits, last)
    starts, width = edges[:-1], float(edges[1])
    up, down = np.zeros(BINS), np.zeros(BINS)
    born, dead = iter(_BORN), iter(_DEAD)
    for key, amount in sorted(totals.items()):
        verb, _, reason = key.partition(":")
        if verb == "overwrite":
            span = axes.get_xaxis_transform()
            at = starts[amount > 0] + width / 2
            axes.vlines(at, 0, 1, FAINT, "dotted", transform=span, label=reason)
        elif verb == "drop":
            color, label = next(dead, FAINT), f"− {reason}"
            axes.bar(starts, -amount, width, down, align="edge", color=color, label=label)
            down -= amount
        else:
            color, label = next(born, FAINT), f"{'+' if verb == 'append' else '→'} {reason}"
            axes.bar(starts, amount, width, up, align="edge", color=color, label=label)
            up += amount
    _legend(axes)


def binned(
    edits: Sequence[tuple[int, Mapping[str, int]]], last: int
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Edges of equal spans of steps, and rows in each by verb and reason."""
    edges = np.linspace(0, max(1, last), BINS + 1)
    totals: dict[str, NDArray[Any]] = {}
    for step, counts in edits:
        slot = min(int(np.searchsorted(edges, step, "right")) - 1, BINS - 1)
        for key, rows in counts.items():
            totals.setdefault(key, np.zeros(BINS))[slot] += rows
    return edges, totals


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _heading(figure: Figure, lefts: Sequence[int], column: int) -> tuple[int, int, Bytes]:
    """Titles of the columns, and the scale of the error's colours as a tile with its place."""
    for left, title in zip(lefts, ("Truth", "Render", "Error"), strict=True):
        _text(figure, left, _HEAD // 2, title, INK, "bold")
    end = lefts[2] + column
    _text(figure, end - 112, _HEAD // 2, "0", FAINT)
    _text(figure, end - 28, _HEAD // 2, f"{WORST:g}", FAINT)
    ramp = as_bytes(_ramp(np.linspace(0, 1, 64))[None])
    return _HEAD // 2 - 5, end - 98, ramp.repeat(10, 0)


def _text(figure: Figure, x: int, y: int, text: str, color: str, weight: str = "normal") -> None:
    """Text whose left end is at a pixel, counted from the top left corner."""
    width, height = figure.get_size_inches() * _DPI
    figure.text(
        x / width,
        1 - y / height,
        text,
        color=color,
        weight=weight,
        fontsize=9,
        va="center_baseline",
    )


def _shortened(name: str, most: int = 28) -> str:
    return name if len(name) <= most else "…" + name[1 - most :]


def _ramp(values: NDArray[Any]) -> NDArray[Any]:
    """Colours of numbers in [0, 1], RGB in [0, 1]."""
    from matplotlib import colormaps

    colors: NDArray[Any] = colormaps["magma"](values)[..., :3]
    return colors


def _fitted(picture: NDArray[Any]) -> NDArray[Any]:
    """The picture at the size of a tile: shrunk by area, or enlarged by whole numbers."""
    height, width = picture.shape[:2]
    factor = min(WIDEST / width, TALLEST / height)
    if factor >= 1:
        times = max(1, min(int(factor), -(-NARROWEST // width)))
        return picture.repeat(times, 0).repeat(times, 1)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def figure_pixels(figure: Figure) -> Bytes:
    """The pixels of a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    page: Bytes = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return page


def png(picture: Bytes) -> bytes:
    """A picture as a file."""
    _, data = cv2.imencode(".png", picture[..., ::-1])
    return data.tobytes()


def as_bytes(picture: NDArray[Any]) -> Bytes:
    """A picture in [0, 1] with 8 bits."""
    return (picture * 255 + 0.5).clip(0, 255).astype(np.uint8)


def _save(picture: Bytes, path: Path) -> None:
    with replacing(path) as draft:
        draft.write_bytes(png(picture))
