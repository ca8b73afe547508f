"""Rows that are Gaussians in few bits: in the order of a curve through space, each number expected
by that of the row before where this helps, and as spread as its column is; harmonics beyond the
constant ones as their row is, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splat.core.edit import Rows
from splat.formats.range_coding import (
    BROADEST,
    MEANS,
    MOST,
    NARROWEST,
    PARTS,
    numbers_packed,
    numbers_unpacked,
    scales_of,
)
from splat.system.foreign import Broken, Record

BITS = 16
PLACES = (1 << BITS) - 1
"""Places along each axis of the box of all rows."""
STEPS = {"log_scale": 0.05, "opacity_logit": 0.1, "quat": 1 / 64, "base": 0.02, "tail": 0.02}
"""What columns are rounded to multiples of; harmonics in their constant ones and the others."""

LOUDNESS = "loudness of tail"
"""Section of how much of harmonics beyond the constant ones each row has."""
QUIETEST, LOUDEST = -5, 12
"""Octaves about what a column has."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class CodedRows:
    """n rows as a file holds them, in its order."""

    box: NDArray[np.float32]
    """[2, 3], its corners."""
    places: Ints
    """[n, 3]: of means in the box."""
    values: dict[str, Ints]
    """[n, d]: whole steps, by the names of `STEPS`."""

    @staticmethod
    def of(columns: Rows) -> CodedRows:
        """Rows of the columns of `Explicit`, rounded."""
        given = {name: values.detach().float().cpu() for name, values in columns.items()}
        mean = given["mean"].double().numpy()
        box = np.stack([mean.min(0), mean.max(0)]).astype("<f4")
        low, side = box[0].astype(np.float64), _side(box)
        places = np.rint((mean - low) / side * PLACES).clip(0, PLACES).astype(np.int64)
        order = _along_curve(places).argsort(kind="stable")
        places, chosen = places[order], torch.from_numpy(order)
        given = {name: values[chosen] for name, values in given.items()}
        quat = torch.nn.functional.normalize(given["quat"], dim=1)
        quat = torch.where(quat[:, :1] < 0, -quat, quat)
        parts = {
            "log_scale": given["log_scale"],
            "opacity_logit": given["opacity_logit"][:, None],
            "quat": quat,
            "base": given["sh"][:, 0],
            "tail": given["sh"][:, 1:].flatten(1),
        }
        values = {
            name: np.rint(part.double().numpy() / STEPS[name]).clip(-MOST, MOST).astype(np.int64)
            for name, part in parts.items()
        }
        return CodedRows(box, places, values)

    def columns(self) -> dict[str, Tensor]:
        """The columns of `Explicit`."""
        low, side = self.box[0].astype(np.float64), _side(self.box)

        def part(name: str) -> Tensor:
            return torch.from_numpy((self.values[name] * STEPS[name]).astype(np.float32))

        n = len(self.places)
        mean = (low + self.places * (side / PLACES)).astype(np.float32)
        tail = part("tail").view(n, -1, 3)
        return {
            "mean": torch.from_numpy(mean),
            "quat": part("quat"),
            "log_scale": part("log_scale"),
            "opacity_logit": part("opacity_logit")[:, 0],
            "sh": torch.cat([part("base")[:, None], tail], 1),
        }

    def packed(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What a header is to say of them, and the sections that hold them."""
        said: dict[str, Any] = {"rows": len(self.places), "box": self.box.tolist()}
        said["places"], sections = _places_packed(self.places)
        for name, values in self.values.items():
            if name == "tail" and values.size:
                said[name], more = _tails_packed(values)
                sections |= more
            else:
                said[name], sections[name] = _packed(values)
        return said, sections

    @staticmethod
    def unpacked(said: Record, sections: dict[str, bytes]) -> CodedRows:
        """What `packed` made; raises where it does not fit together."""
        n = said.whole("rows", least=1)
        box = np.array(said["box"], "<f4")
        if box.shape != (2, 3) or not np.isfinite(box).all():
            raise Broken("has a `box` that is no two corners")
        places = _places_unpacked(said.record("places"), sections, n)
        found = {
            name: _tails_unpacked(said.record(name), sections, n)
            if name == "tail" and LOUDNESS in sections
            else _unpacked(said.record(name), sections[name], n)
            for name in STEPS
        }
        wanted = {"log_scale": 3, "opacity_logit": 1, "quat": 4, "base": 3}
        for name, columns in wanted.items():
            if found[name].shape[1] != columns:
                raise Broken(f"has {found[name].shape[1]} columns of {name}; expected {columns}")
        if found["tail"].shape[1] not in (0, 9, 24, 45):
            raise Broken(
                f"has harmonics of {found['tail'].shape[1]} columns; expected 0, 9, 24, 45"
            )
        return CodedRows(box, places, found)


def _side(box: NDArray[np.float32]) -> NDArray[np.float64]:
    side: NDArray[np.float64] = box[1].astype(np.float64) - box[0].astype(np.float64)
    return np.maximum(side, 1e-12)


def _along_curve(places: Ints) -> Ints:
    """Where places lie along a curve through the box (Morton's): of each bit all three axes."""
    code = np.zeros(len(places), np.int64)
    for bit in range(BITS):
        for axis in range(3):
            code |= ((places[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


def _places_packed(places: Ints) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Places in the order of the curve: how far each is from the one before, its length coded and
    its bits as they are."""
    away = np.diff(_along_curve(places), prepend=0)
    length = np.zeros(len(away), np.int64)
    for bit in range(3 * BITS):
        length[away >> bit > 0] = bit + 1
    said, data = _packed(length[:, None])
    bits = [(away[length > bit + 1] >> bit) & 1 for bit in range(3 * BITS - 1)]
    packed = np.packbits(np.concatenate(bits).astype(np.uint8))
    return said, {"places": data, "bits of places": packed.tobytes()}


def _places_unpacked(said: Record, sections: dict[str, bytes], n: int) -> Ints:
    length = _unpacked(said, sections["places"], n)
    if length.shape != (n, 1) or length.min() < 0 or length.max() > 3 * BITS:
        raise Broken("has places that are farther apart than any can be")
    length = length[:, 0]
    count = int(np.maximum(length - 1, 0).sum())
    data = np.frombuffer(sections["bits of places"], np.uint8)
    if len(data) != -(-count // 8):
        raise Broken(f"has {len(data):,} bytes of places; expected {-(-count // 8):,}")
    bits, at = np.unpackbits(data).astype(np.int64), 0
    away = np.where(length > 0, np.int64(1) << np.maximum(length - 1, 0), 0)
    for bit in range(3 * BITS - 1):
        there = (length > bit + 1).nonzero()[0]
        away[there] |= bits[at : at + len(there)] << bit
        at += len(there)
    code = away.cumsum()
    if n and not 0 <= int(code.max()) < 1 << (3 * BITS):
        raise Broken("has places outside of its box")
    places = np.zeros((n, 3), np.int64)
    for bit in range(BITS):
        for axis in range(3):
            places[:, axis] |= ((code >> (3 * bit + axis)) & 1) << bit
    return places


def _tails_packed(values: Ints) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Numbers [n, d] about 0, of which few rows have much and most next to nothing: as spread as
    the column is, times a power of two of the row, which is coded before them."""
    squares = values.astype(np.float64) ** 2
    column, loud = np.ones(values.shape[1]), np.zeros(len(values), np.int64)
    for _ in range(3):  # each by the other
        column = np.sqrt((squares / np.exp2(2.0 * loud)[:, None]).mean(0)).clip(0.05)
        row = np.sqrt((squares / column**2).mean(1)).clip(2.0**QUIETEST)
        loud = np.rint(np.log2(row)).clip(QUIETEST, LOUDEST).astype(np.int64)
    wide = scales_of(np.log2(column))
    said, sections = {"wide": wide.tolist()}, {}
    said["loudness"], sections[LOUDNESS] = _packed(loud[:, None])
    low, high = int(values.min()), int(values.max())
    sections["tail"] = numbers_packed(values.ravel(), _spread(loud, wide), low, high)
    return {**said, "low": low, "high": high}, sections


def _tails_unpacked(said: Record, sections: dict[str, bytes], n: int) -> Ints:
    loud = _unpacked(said.record("loudness"), sections[LOUDNESS], n)
    wide = np.array(said["wide"], np.int64)
    if loud.shape != (n, 1) or loud.min() < QUIETEST or loud.max() > LOUDEST:
        raise Broken("has harmonics of rows that are louder than any can be")
    if wide.ndim != 1 or not len(wide) or wide.min() < NARROWEST or wide.max() > BROADEST:
        raise Broken("has columns spread as none can be")
    low, high = (said.whole(key, least=-MOST, most=MOST) for key in ("low", "high"))
    found = numbers_unpacked(sections["tail"], _spread(loud[:, 0], wide), low, high)
    return found.reshape(n, len(wide))


def _spread(loud: Ints, wide: Ints) -> Ints:
    """Scales of all numbers, row by row."""
    scales: Ints = (PARTS * loud[:, None] + wide).clip(NARROWEST, BROADEST).ravel()
    return scales


def _packed(values: Ints) -> tuple[dict[str, Any], bytes]:
    """Numbers [n, d]; of each column those of the row before are taken off where that helps."""
    taken = np.concatenate([values[:1], np.diff(values, axis=0)])
    along = [bool(np.abs(t - np.median(t)).mean() < np.abs(v - np.median(v)).mean())
             for t, v in zip(taken[1:].T, values[1:].T, strict=True)] if len(values) > 1 else (
        [False] * values.shape[1])  # fmt: skip
    given = np.where(along, taken, values) if values.size else values
    middle = np.rint(MEANS * given.mean(0)).astype(np.int64) if given.size else np.zeros(0, int)
    spread = given.std(0) if given.size else np.zeros(0)
    wide = scales_of(np.log2(np.maximum(spread, 0.05)))
    low, high = (int(given.min()), int(given.max())) if given.size else (0, 0)
    n = len(values)
    data = numbers_packed(
        given.ravel(), np.tile(wide, n), low, high, np.tile(middle, n)
    ) if given.size else b""  # fmt: skip
    said = {
        "along": along, "middle": middle.tolist(), "wide": wide.tolist(), "low": low, "high": high
    }  # fmt: skip
    return said, data


def _unpacked(said: Record, data: bytes, n: int) -> Ints:
    along = np.array(said["along"], bool)
    middle, wide = np.array(said["middle"], np.int64), np.array(said["wide"], np.int64)
    low, high = (said.whole(key, least=-8 * MOST, most=8 * MOST) for key in ("low", "high"))
    if (
        not along.ndim == middle.ndim == wide.ndim == 1
        or len({*map(len, (along, middle, wide))}) > 1
    ):
        raise Broken("has columns that do not agree on how many there are")
    if not len(along):
        return np.zeros((n, 0), np.int64)
    if np.abs(middle).max() > MEANS * 8 * MOST or wide.min() < NARROWEST or wide.max() > BROADEST:
        raise Broken("has columns spread as none can be")
    found = numbers_unpacked(data, np.tile(wide, n), low, high, np.tile(middle, n))
    given = found.reshape(n, len(along))
    return np.where(along, given.cumsum(0), given)
