"""Gaussians as whole numbers of a few bits, most of them within the bounds of their chunk.

The coding of PlayCanvas' `.compressed.ply`: 14 numbers in four words of 32 bits, and a byte for
each SH coefficient beyond the constant one. NumPy works through it in parts, on one thread: more
threads would wait for each other longer than such a part takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from splat.formats.limits import CHUNK, FAINTEST
from splat.math import SH_C0

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    from splat.formats.rows import Rows

FARTHEST = 1e38
"""Coordinates are clamped to [-FARTHEST, FARTHEST], so that no difference of two overflows."""
LARGEST = 20.0
"""Logarithms of scales are coded within [-LARGEST, LARGEST]."""
MOST = (2047, 1023, 2047, 2047, 1023, 2047, 255, 255, 255)
"""Largest codes of position, scale and colour, which stand for the greatest of a chunk."""
THINNEST_STEP = 1e-37
"""Quantisation step below which all rows of a chunk get the least value."""
HARMONICS = ((np.arange(256, dtype=np.float32) + 0.5) / 256 - 0.5) * 8
"""What the byte of a coefficient stands for: the middle of its step, or an end of the range."""
HARMONICS[[0, 255]] = -4, 4
_WORDS = ((11, 10, 11), (2, 10, 10, 10), (11, 10, 11), (8, 8, 8, 8))
"""Bits of each word, the highest first: position, rotation, scale, colour and opacity."""
_PART = 32 * CHUNK
"""Rows at a time, few enough to stay in the processor's cache."""

_Array = NDArray[Any]


@dataclass(frozen=True)
class Coded:
    """Gaussians quantised as a file holds them."""

    bounds: NDArray[np.float32]
    """[chunks, 3, 2, 3]: least and greatest of position, logarithm of scale, and colour."""
    words: NDArray[np.uint32]
    """[n, 4]: packed position, rotation, scale, and colour with opacity."""
    rest: NDArray[np.uint8]
    """[n, 3, k - 1]: coefficients beyond the constant one, by channel."""


@np.errstate(over="ignore")  # of harmonics far beyond their range, which end up at its end
def encode(rows: Rows, order: Int[Tensor, "n"]) -> Coded:
    """The rows quantised in this order, every `CHUNK` of them within common bounds."""
    n, k = rows.sh.shape[:2]
    # The last chunk is filled up with its last row, which changes no bounds.
    filled = np.pad(order.numpy(), (0, -n % CHUNK), mode="edge")
    bounds = np.empty((len(filled) // CHUNK, 3, 2, 3), "<f4")
    words = np.empty((len(filled), 4), "<u4")
    rest = np.empty((len(filled), 3, k - 1), np.uint8)
    table = [getattr(rows, field.name).numpy() for field in fields(rows)]
    for part, chunks in _parts(len(filled)):
        taken = (np.take(values, filled[part], axis=0) for values in table)
        means, log_scales, quats, opacities, sh = taken
        values = np.concatenate(
            [
                np.clip(means.T, -FARTHEST, FARTHEST),
                np.clip(log_scales.T, -LARGEST, LARGEST),
                0.5 + SH_C0 * sh[:, 0].T,
            ]
        ).reshape(9, -1, CHUNK)
        ends = np.stack([values.min(axis=2), values.max(axis=2)])
        bounds[chunks] = ends.reshape(2, 3, 3, -1).transpose(3, 1, 0, 2)
        words[part] = _words(_numbers(values, ends), quats, opacities)
        rest[part] = _harmonic_bytes(sh[:, 1:]).transpose(0, 2, 1)
    return Coded(bounds, words[:n], rest[:n])


@np.errstate(all="ignore")  # of bounds that are not finite
def decode(code: Coded) -> tuple[_Array, ...]:
    """The fields of the `Rows` that a code stands for; not finite where the bounds are not."""
    n, k = len(code.words), code.rest.shape[2] + 1
    shapes = ((n, 3), (n, 3), (n, 4), (n,), (n, k, 3))
    means, log_scales, quats, opacities, sh = (np.empty(shape, np.float32) for shape in shapes)
    for part, chunks in _parts(n):
        position, rotation, scale, color = (
            _unpacked(word, bits) for word, bits in zip(code.words[part].T, _WORDS, strict=True)
        )
        ends = code.bounds[chunks].transpose(2, 1, 3, 0).reshape(2, 9, -1)
        ends = np.repeat(ends, CHUNK, axis=2)[:, :, : position.shape[1]]
        values = ends[0] + np.concatenate([position, scale, color[:3]]) * _steps(ends)
        means[part], log_scales[part] = values[:3].T, values[3:6].T
        quats[part] = _rotations(rotation).T
        opacities[part] = np.clip(color[3] / 255, FAINTEST, 1 - FAINTEST)
        sh[part, 0] = (values[6:].T - 0.5) / SH_C0
        sh[part, 1:] = np.take(HARMONICS, code.rest[part]).transpose(0, 2, 1)
    return means, log_scales, quats, opacities, sh


def _parts(n: int) -> Iterator[tuple[slice, slice]]:
    """Slices of rows, and of their chunks, few enough to stay in the cache."""
    for start in range(0, n, _PART):
        stop = min(n, start + _PART)
        yield slice(start, stop), slice(start // CHUNK, -(-stop // CHUNK))


def _steps(ends: _Array) -> _Array:
    steps: _Array = (ends[1] - ends[0]) / np.array(MOST, np.float32)[:, None]
    return steps


def _numbers(values: _Array, ends: _Array) -> _Array:
    """Numbers [9, m] of values [9, chunks, CHUNK] between their ends [2, 9, chunks]."""
    step = _steps(ends)
    step[step < THINNEST_STEP] = np.inf
    return _rounded((values - ends[0, ..., None]) / step[..., None]).reshape(9, -1)


def _rounded(values: _Array) -> _Array:
    values += 0.5
    return np.floor(values, out=values)


def _words(numbers: _Array, quats: _Array, opacities: _Array) -> _Array:
    # Byte 0 and byte 255 would be opacities without a finite logit.
    opacity = np.clip(_rounded(opacities * 255), 1, 254)
    position, scale, color = numbers[:3], numbers[3:6], (*numbers[6:], opacity)
    code: list[Sequence[_Array] | _Array] = [position, _rotation_numbers(quats.T), scale, color]
    return np.stack([_packed(part, bits) for part, bits in zip(code, _WORDS, strict=True)], axis=1)


def _rotation_numbers(quats: _Array) -> list[_Array]:
    """Codes of quats [4, m]: number of the largest component, and the others with it positive."""
    largest = np.abs(quats).argmax(axis=0)
    others = np.where(np.arange(3)[:, None] < largest, quats[:3], quats[1:])
    others *= np.sign(np.take_along_axis(quats, largest[None], axis=0))
    return [largest, *_rounded((others * np.float32(math.sqrt(0.5)) + np.float32(0.5)) * 1023)]


def _rotations(numbers: _Array) -> _Array:
    largest = numbers[0].astype(np.intp)
    others = (numbers[1:] / 1023 - np.float32(0.5)) * np.float32(math.sqrt(2))
    square = (others * others).sum(axis=0)
    component = np.arange(4)[:, None]
    none = np.zeros_like(others[:1])
    quats = np.where(
        component < largest, np.concatenate([others, none]), np.concatenate([none, others])
    )
    np.put_along_axis(quats, largest[None], np.sqrt(np.maximum(1 - square, 0)), axis=0)
    # Numbers that nobody writes would make it longer than 1.
    quats /= np.sqrt(np.maximum(square, 1))
    return quats


def _harmonic_bytes(sh: _Array) -> _Array:
    steps = sh * 32
    steps += 128
    return np.clip(steps, 0, 255, out=steps).astype(np.uint8)


def _packed(numbers: Sequence[_Array] | _Array, widths: tuple[int, ...]) -> _Array:
    word: _Array = np.zeros(len(numbers[0]), np.uint32)
    for values, bits in zip(numbers, widths, strict=True):
        word = word << bits | values.astype(np.uint32)
    return word


def _unpacked(word: _Array, widths: tuple[int, ...]) -> _Array:
    numbers = np.empty((len(widths), len(word)), np.float32)
    for column, bits in reversed(list(enumerate(widths))):
        numbers[column] = word & ((1 << bits) - 1)
        word = word >> bits
    return numbers
