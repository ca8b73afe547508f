"""Bytes that a training step moves, by stage: an estimate from the columns each stage touches.

All columns are float32. Every array that is larger than the near caches counts once for each pass
that reads it and once for each pass that writes it; that a write may fetch its line first is not
counted, and neither does the triad that bandwidth is measured with. What stays in near caches (a
tile's pixels while it is blended, the rings of the loss, histograms) counts nothing. SH and records
count for visible rows only; of groups of rows that are partly visible whole groups are read, so
that the truth is somewhat more.

| stage | read | written |
|---|---|---|
| project | n (mean 12, quat 16, scale 12, opacity 4), v SH | n (tiles 8, radii 8), v record 48 |
| sort | n tiles 2 x 8, v (line of a record 64, keys 6 x 8) | v (keys 4 x 8, first 4) |
| bin | v (keys 2 x 8, tiles 2 x 8, first 4) | p (row 4, slot 4) |
| blend | p (row 4, record 48) | p hits 8, x (picture 12, alpha 4) |
| loss | x (picture 12, target 3) | x gradient 12 |
| blend_backward | p (row 4, record 48, hits 2 x 8, slot 2 x 4, place 3 x 4), x (12 + 4 + 12) | p place 3 x 4, d sums 36 |
| rows_backward | n (44, tiles 8), v (SH, record 48), d sums 36 | n (mean 12, quat 16, scale 12, opacity 4, SH, screen 8) |
| adam | n (value, gradient, 2 moments) | n (value, 2 moments) |
| outside | n 60: exp, sigmoid, their gradients, radii to one number | n 44 |

n rows, v visible ones, p pairs of a visible row and a tile that its extents touch, d pairs that
drew at least one pixel (taken as a third of p), x pixels; SH is 12 bytes a coefficient, 192 at degree 3.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GEOMETRY = 44
"""Bytes a row of mean, quat, scale and opacity."""
RECORD = 48
"""Bytes that blending reads of a Gaussian."""
SUMS = 36
"""Bytes that blending backward leaves for a pair."""
DRAWN = 1 / 3
"""Share of the pairs that drew a pixel."""


BOUND = 0.7
"""Share of the triad's bandwidth from which a stage counts as limited by memory."""


@dataclass(frozen=True)
class Load:
    """What a step has to do."""

    rows: int
    visible: int
    pairs: int
    """Of a visible row and a tile."""
    pixels: int
    coefficients: int = 16
    """Of SH, stored and used."""


def bytes_moved(load: Load) -> dict[str, float]:
    """Bytes a step moves in each stage."""
    n, v, p, x = load.rows, load.visible, load.pairs, load.pixels
    sh, d = 12 * load.coefficients, DRAWN * load.pairs
    return {
        "project": n * (GEOMETRY + 16) + v * (sh + RECORD),
        "sort": n * 16 + v * (64 + 48 + 32 + 4),
        "bin": v * 36 + p * 8,
        "blend": p * (4 + RECORD + 8) + x * 16,
        "loss": x * 27,
        "blend_backward": p * (4 + RECORD + 16 + 8 + 24) + x * 28 + d * SUMS,
        "rows_backward": n * (2 * GEOMETRY + 8 + sh + 8) + v * (sh + RECORD) + d * SUMS,
        "adam": n * 7 * (GEOMETRY + sh),
        "aside": 0.0,  # counted with Adam
        "decode": 0.0,  # a cloud of Gaussians has no anchors
        "other": 0.0,
        "outside": n * 104,
    }


@dataclass(frozen=True)
class Fit:
    """t(threads) = serial + parallel / threads, milliseconds."""

    serial: float
    parallel: float

    def at(self, threads: int) -> float:
        """Milliseconds on so many threads."""
        return self.serial + self.parallel / threads

    @property
    def serial_share(self) -> float:
        """Of the time on one thread."""
        whole = self.serial + self.parallel
        return self.serial / whole if whole else 0.0


def fitted(times: Mapping[int, float]) -> Fit:
    """The least squares fit to times on several numbers of threads, neither part below 0."""
    points = [(1 / threads, ms) for threads, ms in times.items()]
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((a - x) ** 2 for a, _ in points)
    slope = sum((a - x) * (b - y) for a, b in points) / spread if spread else 0.0
    serial = y - slope * x
    if slope < 0:  # more threads took longer: nothing of it is parallel
        return Fit(y, 0.0)
    if serial < 0:  # better than the threads explain, by caches or by chance
        return Fit(0.0, sum(a * b for a, b in points) / sum(a * a for a, _ in points))
    return Fit(serial, slope)


def memory_bound(moved: float, milliseconds: float, triad: float) -> bool:
    """Whether a stage that moves so many bytes is as good as at the memory's limit (GB/s)."""
    return bool(milliseconds) and moved / milliseconds / 1e6 >= BOUND * triad


def predicted(
    fit: Fit, threads: int, moved: float, limit: float, *, best: float, triad: float
) -> float:
    """Milliseconds on `threads`: Amdahl's law, but not faster than memory is.

    `limit` is the bandwidth there, `triad` the one here, GB/s; `best` is the fastest time measured.
    A stage that is at the memory's limit here looks serial, and is not: its time goes with the
    bandwidth. One that beat `limit` lies in caches, and more threads do not make it slower.
    """
    if memory_bound(moved, best, triad):
        return max((fit.serial + fit.parallel) / threads, best * min(1.0, triad / limit))
    return max(fit.at(threads), min(moved / limit / 1e6, best))
