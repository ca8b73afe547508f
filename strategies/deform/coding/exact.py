"""Planes to bytes and back, by expectations in numbers that are the same on every machine.

Sums and products of float64 one by one, in a fixed order: no library adds them up otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splat.formats.range_coding import MEANS, NumbersIn, NumbersOut, scales_of
from splat.formats.weights import Doubles, doubles, network
from splat.strategies.deform.coding.context import (
    FILTERS,
    REACH,
    TAPS,
    Expectation,
    PlaneContext,
    others,
)
from splat.strategies.deform.field import KINDS

FARTHEST = 1 << 20
"""Largest size of a mean, or of a value, in steps."""

Ints = NDArray[np.int64]
Masks = NDArray[np.bool_]
Planes = Mapping[str, Sequence[Ints]]
"""By kind and scale, [3, H, W, C] in steps."""
Read = Mapping[str, Sequence[Masks]]
"""Which of them are read, [3, H, W]."""
Turn = Callable[[str, int, int, Masks, Ints, Ints], Ints]
"""From kind, scale, axis, places, scales and means to values in steps, [m, C]."""


def filled(context: PlaneContext, planes: Planes, read: Read) -> dict[str, list[Ints]]:
    """Planes of which what nothing reads is what the context, as a file holds it, fills in."""
    return {
        kind: [
            np.where(read[kind][s][..., None], values, _fill(context, kind, s))
            for s, values in enumerate(planes[kind])
        ]
        for kind in KINDS
    }


def packed(context: PlaneContext, planes: Planes, read: Read, bounds: tuple[int, int]) -> bytes:
    """What is read of planes, all of which lies between two bounds."""
    out = NumbersOut(*bounds)

    def turn(kind: str, scale: int, axis: int, mask: Masks, scales: Ints, means: Ints) -> Ints:
        values: Ints = planes[kind][scale][axis][mask]
        out.add(values.ravel(), scales.ravel(), means.ravel())
        return values

    _walked(context, read, turn)
    return out.bytes()


def unpacked(
    context: PlaneContext, data: bytes, read: Read, bounds: tuple[int, int]
) -> dict[str, list[Ints]]:
    """The planes that `packed` was given, filled in; nonsense where the bytes are others."""
    numbers = NumbersIn(data, *bounds)

    def turn(kind: str, scale: int, axis: int, mask: Masks, scales: Ints, means: Ints) -> Ints:
        return numbers.take(scales.ravel(), means.ravel()).reshape(scales.shape)

    return _walked(context, read, turn)


@dataclass(frozen=True)
class _Weights:
    """An expectation's, in float64."""

    fill: Doubles
    wide: Doubles
    around: Doubles
    first: Doubles
    second: Doubles

    @staticmethod
    def of(expectation: Expectation) -> _Weights:
        names = _Weights.__dataclass_fields__
        return _Weights(*(doubles(getattr(expectation, name)) for name in names))


def _fill(context: PlaneContext, kind: str, scale: int) -> Ints:
    fill = doubles(context.expectation(kind, scale).fill)
    return np.rint(fill / context.step.of(kind)).clip(-FARTHEST, FARTHEST).astype(np.int64)


def _walked(context: PlaneContext, read: Read, turn: Turn) -> dict[str, list[Ints]]:
    """All planes, from coarse to fine, in the two turns of a chessboard each."""
    found: dict[str, list[Ints]] = {
        kind: [
            np.broadcast_to(_fill(context, kind, s), (*mask.shape, context.channels)).copy()
            for s, mask in enumerate(read[kind])
        ]
        for kind in KINDS
    }
    for axis in range(3):
        for kind in KINDS:
            step = context.step.of(kind)
            before: Doubles | None = None
            for s, masks in enumerate(read[kind]):
                weights, values, wanted = (
                    _Weights.of(context.expectation(kind, s)), found[kind][s][axis], masks[axis],
                )  # fmt: skip
                h, w = wanted.shape
                coarser = None if before is None else _finer(before, h, w)
                board = (np.arange(h)[:, None] + np.arange(w)) % 2 == 1
                for white in (False, True):
                    mask = wanted & (board == white)
                    mean, wide = _expected(weights, values * step, coarser, mask, white)
                    means = np.rint(mean / step * MEANS)
                    means = means.clip(-FARTHEST * MEANS, FARTHEST * MEANS).astype(np.int64)
                    values[mask] = turn(kind, s, axis, mask, scales_of(wide), means)
                before = values * step
    return found


def _expected(
    weights: _Weights, values: Doubles, coarser: Doubles | None, mask: Masks, white: bool
) -> tuple[Doubles, Doubles]:
    """Means and log2 of deviations of the values in a mask, [m, C]; as `Expectation` has them."""
    rows, columns = mask.nonzero()
    channels = len(weights.fill)
    read = [np.zeros((len(rows), channels * FILTERS))]
    if white:
        read[0] = _around(weights, values, rows, columns)
    expected = np.broadcast_to(weights.fill, (len(rows), channels))
    if coarser is not None:
        expected = coarser[mask]
        read.append(expected - weights.fill)
    said = network(np.concatenate(read, 1), weights.first, weights.second)
    return expected + said[:, :channels], weights.wide + said[:, channels:]


def _around(weights: _Weights, values: Doubles, rows: Ints, columns: Ints) -> Doubles:
    """Sums of what is known around some values, [m, C F]."""
    h, w, channels = values.shape
    away = np.zeros((h + 2 * REACH, w + 2 * REACH, channels))
    away[REACH : REACH + h, REACH : REACH + w] = values - weights.fill
    total = np.zeros((len(rows), channels, FILTERS))
    filters = weights.around.reshape(channels, FILTERS, TAPS)
    for tap, place in enumerate(others().tolist()):
        down, across = divmod(place, 2 * REACH + 1)
        near = away[rows + down, columns + across]
        total = total + near[:, :, None] * filters[:, :, tap]
    return total.reshape(len(rows), -1)


def _finer(values: Doubles, rows: int, columns: int) -> Doubles:
    """As `context.finer`."""
    for axis, count in ((0, rows), (1, columns)):
        n = values.shape[axis]
        if n == count:
            continue
        place = np.arange(count) * float(n - 1) / float(max(count - 1, 1))
        cell = np.minimum(np.floor(place), max(n - 2, 0)).astype(np.int64)
        part = (place - cell).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        low = values.take(cell, axis)
        values = low + (values.take(np.minimum(cell + 1, n - 1), axis) - low) * part
    return values
