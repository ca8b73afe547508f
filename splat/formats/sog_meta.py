"""The `meta.json` of a `.sog`: how many Gaussians there are, what bytes stand for, where they are.

Files of version 1, which name no version, have bounds where those of version 2 have codebooks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.formats.columns import Floats, logistic
from splat.formats.limits import LEVELS
from splat.system import foreign
from splat.system.foreign import Broken, shown

NAME = "meta.json"
COEFFICIENTS = (3, 8, 15)
"""SH coefficients of a channel beyond the constant one, for degrees 1 to 3."""
LONGEST = 3 * LEVELS * 20 + 2048
"""Most bytes of a document that is written."""
STEPS = (1 << 16) - 1
"""Largest code of a position."""
MOST_ENTRIES = 1 << 16
"""Most entries of a palette: a label has 16 bits."""
FIRST_KIND = 252
"""Fourth byte of a rotation whose largest component is w; those of x, y, z follow."""
_LARGEST = 1e38
"""Largest number that is read: it is finite as float32."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Values:
    """What bytes stand for, as `splat.formats.sog_texels.Levels` has it."""

    bounds: Doubles
    """[2, 3]."""
    log_scales: Floats
    """[256, 3]."""
    constant: Floats
    """[256, 3]."""
    opacities: Floats
    """[256]."""
    harmonics: Floats | None
    """[256]; None: there are none."""


@dataclass(frozen=True)
class Meta:
    """The contents of a meta.json; properties and methods raise `Broken` where it is wrong."""

    document: dict[str, Any]

    @classmethod
    def of(cls, document: bytes) -> Meta:
        """The parsed document of version 1 or 2; raises `Broken` where it is none."""
        with foreign.part(NAME):
            parsed = foreign.parsed(document)
        if not isinstance(parsed, dict):
            raise Broken(f"has {shown(parsed)} as meta.json, expected an object")
        if parsed.get("version", 1) not in (1, 2):
            raise Broken(f"is a .sog of version {shown(parsed['version'])}, expected 1 or 2")
        return cls(parsed)

    @property
    def first(self) -> bool:
        """Whether the version is 1."""
        return bool(self.document.get("version", 1) == 1)

    @property
    def harmonics(self) -> bool:
        """Whether there are any beyond the constant one."""
        return "shN" in self.document

    @property
    def drawn(self) -> tuple[bool, float | None]:
        """How the Gaussians are meant to be drawn: antialiased, and the near plane."""
        extras = self.document.get("extras")
        near: Any = extras.get("near") if isinstance(extras, dict) else None
        if not (type(near) in (float, int) and 0 < near < math.inf):
            near = None
        flagged = self.document.get("antialias") is True
        return flagged or self.document.get("model") == "antialiased", near

    def count(self, most: int) -> int:
        """How many Gaussians there are."""
        if self.first:
            return _whole({"count": _list(self.part("means"), "shape", 2)[0]}, "count", most)
        return _whole(self.document, "count", most)

    def entries(self, most: int) -> int:
        """Number of entries of the palette; version 1 fills its image."""
        return most if self.first else _whole(self.part("shN"), "count", most)

    def names(self) -> list[str]:
        """Names of all images."""
        parts = [part for part in self.document.values() if isinstance(part, dict)]
        listed = [part["files"] for part in parts if isinstance(part.get("files"), list)]
        return [name for names in listed for name in names if isinstance(name, str)]

    def files(self, name: str, count: int) -> list[str]:
        """Names of the images of a property."""
        names = _list(self.part(name), "files", count)
        if not all(isinstance(each, str) for each in names):
            raise Broken(f"has {shown(names)} as files of {name!r} in meta.json, expected names")
        return names

    def values(self) -> Values:
        """The values that bytes stand for."""
        means = self.part("means")
        bounds = np.stack([numbers(means, end, 3) for end in ("mins", "maxs")])
        steps = np.arange(LEVELS, dtype=np.float32) / np.float32(LEVELS - 1)
        scales, colors = self.part("scales"), self.part("sh0")
        rest = self.part("shN") if self.harmonics else None
        if not self.first:
            return Values(
                bounds=bounds,
                log_scales=np.repeat(self.codebook(scales)[:, None], 3, 1),
                constant=np.repeat(self.codebook(colors)[:, None], 3, 1),
                opacities=steps,
                harmonics=None if rest is None else self.codebook(rest),
            )
        constant, logits = np.split(_between(colors, 4, steps), [3], 1)
        # Coefficients beyond the constant one share their bounds, which are no lists.
        rest = rest and {end: [rest.get(end)] for end in ("mins", "maxs")}
        return Values(
            bounds=bounds,
            log_scales=_between(scales, 3, steps),
            constant=constant,
            opacities=logistic(logits[:, 0]),
            harmonics=None if rest is None else _between(rest, 1, steps)[:, 0],
        )

    def codebook(self, part: dict[str, Any]) -> Floats:
        """The levels of a property [256]."""
        values = list(_list(part, "codebook", LEVELS))
        if values[0] is None:
            # A bug of early tools; PlayCanvas goes on from the others by their mean distance.
            second, last = numbers({"codebook": [values[1], values[-1]]}, "codebook", 2).tolist()
            values[0] = second - (last - second) / (LEVELS - 1)
        return numbers({"codebook": values}, "codebook", LEVELS).astype(np.float32)

    def part(self, name: str) -> dict[str, Any]:
        """The object of a property."""
        part = self.document.get(name)
        if not isinstance(part, dict):
            raise Broken(f"has {shown(part)} as {name!r} in meta.json, expected an object")
        return part


def lerped(low: Doubles, high: Doubles, share: Doubles) -> Doubles:
    """Values between two ends, which come out as they are for shares of 0 and 1."""
    values: Doubles = np.where(
        share < 0.5, low + share * (high - low), high - (high - low) * (1 - share)
    )
    return values


def _between(part: dict[str, Any], channels: int, steps: Floats) -> Floats:
    """Levels at equal distances between the bounds of a property [256, channels]."""
    low, high = (numbers(part, end, channels) for end in ("mins", "maxs"))
    return lerped(low, high, steps[:, None].astype(np.float64)).astype(np.float32)


def _list(part: dict[str, Any], key: str, count: int) -> list[Any]:
    values = part.get(key)
    if not isinstance(values, list) or len(values) != count:
        raise Broken(f"has {shown(values)} as {key!r} in meta.json, expected a list of {count}")
    return values


def numbers(part: dict[str, Any], key: str, count: int) -> Doubles:
    """Finite numbers [count]."""
    values = _list(part, key, count)
    if not all(type(each) in (int, float) and abs(each) < _LARGEST for each in values):
        raise Broken(f"has {shown(values)} as {key!r} in meta.json, expected finite numbers")
    return np.array(values, np.float64)


def _whole(part: dict[str, Any], key: str, most: int) -> int:
    number: Any = part.get(key)
    if type(number) is not int or not 1 <= number <= most:
        raise Broken(f"has {shown(number)} as {key!r} in meta.json, expected 1 to {most:,}")
    return number
