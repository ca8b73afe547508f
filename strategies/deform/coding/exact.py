"""Planes to bytes and back, by expectations in numbers that are the same on every machine.

Sums and products of float64 one by one, in a fixed order: no library adds them up otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from splat.formats.range_coding import (
    MEANS,
    NumbersIn,
    NumbersOut,
    numbers_packed,
    numbers_unpacked,
    scales_of,
)
from splat.formats.weights import Doubles, doubles, network
from splat.strategies.deform.coding.context import (
    FILTERS,
    LATENT,
    LINE,
    REACH,
    TAPS,
    Expectation,
    PlaneContext,
    axes_of,
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


def latents_packed(context: PlaneContext) -> tuple[dict[str, int], bytes]:
    """Latents of all planes: what a header is to say of them, and the bytes that hold them."""
    given = _latents(context)
    values = np.concatenate([each.ravel() for each, _ in given])
    bounds = int(values.min()), int(values.max())
    scales = np.concatenate([spread.ravel() for _, spread in given])
    said = {"low": bounds[0], "high": bounds[1]}
    return said, numbers_packed(values, scales, *bounds)


def fill_latents(context: PlaneContext, data: bytes, bounds: tuple[int, int]) -> None:
    """Give a context the latents that `latents_packed` was given."""
    spreads = [spread for _, spread in _latents(context)]
    scales = np.concatenate([spread.ravel() for spread in spreads])
    found, begin = numbers_unpacked(data, scales, *bounds), 0
    with torch.no_grad():
        for values, spread in zip(context.latents.values(), spreads, strict=True):
            part = found[begin : begin + spread.size].reshape(spread.shape)
            values.copy_(torch.from_numpy(part * LATENT))
            begin += spread.size


def _latents(context: PlaneContext) -> list[tuple[Ints, Ints]]:
    """Latents in steps, and their scales."""
    found = []
    for kind in KINDS:
        for s in range(len(getattr(context, kind))):
            latents = context.latents_of(kind, s)
            if latents is not None:
                values = np.rint(doubles(latents) / LATENT).clip(-FARTHEST, FARTHEST)
                spread = scales_of(doubles(context.expectation(kind, s).spread))
                found.append((values.astype(np.int64), np.broadcast_to(spread, values.shape)))
    return found


@dataclass(frozen=True)
class _Weights:
    """An expectation's, in float64."""

    fill: Doubles
    wide: Doubles
    around: Doubles
    lines: Doubles
    first: Doubles
    second: Doubles

    @staticmethod
    def of(expectation: Expectation) -> _Weights:
        none, names = torch.zeros(0), _Weights.__dataclass_fields__
        return _Weights(*(doubles(getattr(expectation, name, none)) for name in names))


def _fill(context: PlaneContext, kind: str, scale: int) -> Ints:
    fill = doubles(context.expectation(kind, scale).fill)
    return np.rint(fill / context.step.of(kind)).clip(-FARTHEST, FARTHEST).astype(np.int64)


def _walked(context: PlaneContext, read: Read, turn: Turn) -> dict[str, list[Ints]]:
    """All planes, in the order and the turns of their context."""
    found: dict[str, list[Ints]] = {
        kind: [
            np.broadcast_to(_fill(context, kind, s), (*mask.shape, context.channels)).copy()
            for s, mask in enumerate(read[kind])
        ]
        for kind in KINDS
    }
    for kind, s, axis in context.order(len(read[KINDS[0]])):
        step, wanted, values = context.step.of(kind), read[kind][s][axis], found[kind][s][axis]
        expectation = context.expectation(kind, s)
        weights = _Weights.of(expectation)
        beside = _beside(context, weights, found, kind, s, axis)
        board = (np.arange(wanted.shape[0])[:, None] + np.arange(wanted.shape[1])) % 2 == 1
        for white in (False, True) if expectation.known.turns else (None,):
            mask = wanted if white is None else wanted & (board == white)
            around = _around(weights, values * step, mask, white) if white is not None else None
            mean, wide = _expected(weights, mask, around, beside)
            means = np.rint(mean / step * MEANS)
            means = means.clip(-FARTHEST * MEANS, FARTHEST * MEANS).astype(np.int64)
            values[mask] = turn(kind, s, axis, mask, scales_of(wide), means)
    return found


@dataclass(frozen=True)
class _Beside:
    """What is known of a whole plane before it is coded, [H, W, ...] each."""

    coarser: Doubles | None
    down: Doubles | None
    across: Doubles | None
    latents: Doubles | None


def _beside(
    context: PlaneContext,
    weights: _Weights,
    found: Mapping[str, Sequence[Ints]],
    kind: str,
    scale: int,
    axis: int,
) -> _Beside:
    h, w = found[kind][scale].shape[1:3]
    known = context.expectation(kind, scale).known
    coarser = down = across = latents = None
    if known.coarser:
        coarser = _finer(found[kind][scale - 1][axis] * context.step.of(kind), h, w)
    if known.lines:
        fill = doubles(context.expectation("times", 0).fill)
        both = [
            _along(_mean(found["times"][0][other]) * context.step.times - fill, filters)
            for other, filters in zip(axes_of(axis), weights.lines, strict=True)
        ]
        down, across = both[0][:, None].repeat(w, 1), both[1][None].repeat(h, 0)
    if known.latents:
        given = context.latents_of(kind, scale)
        assert given is not None
        latents = _finer(doubles(given[axis]), h, w)
    return _Beside(coarser, down, across, latents)


def _mean(values: Ints) -> Doubles:
    """Over time."""
    mean: Doubles = values.sum(0) / float(len(values))
    return mean


def _expected(
    weights: _Weights, mask: Masks, around: Doubles | None, beside: _Beside
) -> tuple[Doubles, Doubles]:
    """Means and log2 of deviations of the values in a mask, [m, C]; as `Expectation` has them."""
    channels = len(weights.fill)
    read = [] if around is None else [around]
    expected = np.broadcast_to(weights.fill, (int(mask.sum()), channels))
    if beside.coarser is not None:
        expected = beside.coarser[mask]
        read.append(expected - weights.fill)
    read += [
        each[mask] for each in (beside.down, beside.across, beside.latents) if each is not None
    ]
    said = network(np.concatenate(read, 1), weights.first, weights.second)
    return expected + said[:, :channels], weights.wide + said[:, channels:]


def _around(weights: _Weights, values: Doubles, mask: Masks, white: bool) -> Doubles:
    """Sums of what is known around the values in a mask, [m, C F]: nothing in the first turn."""
    h, w, channels = values.shape
    rows, columns = mask.nonzero()
    total = np.zeros((len(rows), channels, FILTERS))
    if white:
        away = np.zeros((h + 2 * REACH, w + 2 * REACH, channels))
        away[REACH : REACH + h, REACH : REACH + w] = values - weights.fill
        filters = weights.around.reshape(channels, FILTERS, TAPS)
        for tap, place in enumerate(others().tolist()):
            down, across = divmod(place, LINE)
            near = away[rows + down, columns + across]
            total = total + near[:, :, None] * filters[:, :, tap]
    return total.reshape(len(rows), -1)


def _along(values: Doubles, filters: Doubles) -> Doubles:
    """As `context._along`."""
    n, channels = values.shape
    wide = np.zeros((n + 2 * REACH, channels))
    wide[REACH : REACH + n] = values
    total, taps = np.zeros((n, channels, FILTERS)), filters.reshape(channels, FILTERS, LINE)
    for tap in range(LINE):
        total = total + wide[tap : tap + n, :, None] * taps[:, :, tap]
    return total.reshape(n, -1)


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
