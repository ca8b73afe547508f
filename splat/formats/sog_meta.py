"""The `meta.json` of a `.sog`: how many Gaussians there are, what bytes stand for, where they are.

Files of version 1, which name no version, have bounds where those of version 2 have codebooks.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.formats.codebook import LEVELS
from splat.formats.sog_texels import Levels, Texels
from splat.system import foreign
from splat.system.foreign import Broken, shown
from splat.types import Drawing

NAME = "meta.json"
COEFFICIENTS = (3, 8, 15)
"""SH coefficients of a channel beyond the constant one, for degrees 1 to 3."""
LONGEST = 3 * LEVELS * 20 + 2048
"""Most bytes of a document that is written."""
_LARGEST = 1e38
"""Largest number that is read: it is finite as float32."""


def document_bytes(levels: Levels, texels: Texels, drawing: Drawing) -> bytes:
    """The document of a file of version 2."""
    return json.dumps(document_of(levels, texels, drawing)).encode()


def document_of(levels: Levels, texels: Texels, drawing: Drawing) -> dict[str, Any]:
    """The document of a file of version 2, as a value."""
    lows, highs = levels.bounds.tolist()
    document: dict[str, Any] = {"version": 2, "asset": {"generator": "splat"}}
    # A flag in the specification at first, then the name of a model: readers know one or the other.
    document |= {"count": len(texels.means), "antialias": drawing.antialiased}
    document |= {"model": "antialiased"} if drawing.antialiased else {}
    document |= {"extras": {"near": drawing.near}} if drawing.near is not None else {}
    document["means"] = {"mins": lows, "maxs": highs, "files": ["means_l.webp", "means_u.webp"]}
    document["scales"] = {"codebook": _short(levels.log_scales[:, 0]), "files": ["scales.webp"]}
    document["quats"] = {"files": ["quats.webp"]}
    document["sh0"] = {"codebook": _short(levels.constant[:, 0]), "files": ["sh0.webp"]}
    if texels.palette and levels.harmonics is not None:
        count, k = texels.palette.entries.shape[:2]
        bands = 1 + COEFFICIENTS.index(k)
        document["shN"] = {"count": count, "bands": bands, "codebook": _short(levels.harmonics)}
        document["shN"]["files"] = ["shN_centroids.webp", "shN_labels.webp"]
    return document


def _short(levels: Float[Tensor, "256"]) -> list[float]:
    """Numbers with as few digits as float32 needs."""
    return [float(str(level)) for level in levels.numpy()]


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
    def drawing(self) -> Drawing:
        """How the Gaussians are meant to be drawn."""
        extras = self.document.get("extras")
        near: Any = extras.get("near") if isinstance(extras, dict) else None
        if not (type(near) in (float, int) and 0 < near < math.inf):
            near = None
        flagged = self.document.get("antialias") is True
        return Drawing(flagged or self.document.get("model") == "antialiased", near)

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

    def levels(self) -> Levels:
        """The values that bytes stand for."""
        means = self.part("means")
        bounds = torch.stack([numbers(means, end, 3) for end in ("mins", "maxs")])
        steps = torch.arange(LEVELS) / (LEVELS - 1)
        scales, colors = self.part("scales"), self.part("sh0")
        rest = self.part("shN") if self.harmonics else None
        if not self.first:
            return Levels(
                bounds=bounds,
                log_scales=self.codebook(scales)[:, None].expand(-1, 3),
                constant=self.codebook(colors)[:, None].expand(-1, 3),
                opacities=steps,
                harmonics=None if rest is None else self.codebook(rest),
            )
        constant, logits = _between(colors, 4, steps).split([3, 1], dim=1)
        # Coefficients beyond the constant one share their bounds, which are no lists.
        rest = rest and {end: [rest.get(end)] for end in ("mins", "maxs")}
        return Levels(
            bounds=bounds,
            log_scales=_between(scales, 3, steps),
            constant=constant,
            opacities=logits[:, 0].sigmoid(),
            harmonics=None if rest is None else _between(rest, 1, steps)[:, 0],
        )

    def codebook(self, part: dict[str, Any]) -> Float[Tensor, "256"]:
        """The levels of a property."""
        values = list(_list(part, "codebook", LEVELS))
        if values[0] is None:
            # A bug of early tools; PlayCanvas goes on from the others by their mean distance.
            second, last = numbers({"codebook": [values[1], values[-1]]}, "codebook", 2).tolist()
            values[0] = second - (last - second) / (LEVELS - 1)
        return numbers({"codebook": values}, "codebook", LEVELS).float()

    def part(self, name: str) -> dict[str, Any]:
        """The object of a property."""
        part = self.document.get(name)
        if not isinstance(part, dict):
            raise Broken(f"has {shown(part)} as {name!r} in meta.json, expected an object")
        return part


def _between(
    part: dict[str, Any], channels: int, steps: Float[Tensor, "256"]
) -> Float[Tensor, "256 c"]:
    """Levels at equal distances between the bounds of a property."""
    low, high = (numbers(part, end, channels) for end in ("mins", "maxs"))
    return torch.lerp(low, high, steps[:, None].double()).float()


def _list(part: dict[str, Any], key: str, count: int) -> list[Any]:
    values = part.get(key)
    if not isinstance(values, list) or len(values) != count:
        raise Broken(f"has {shown(values)} as {key!r} in meta.json, expected a list of {count}")
    return values


def numbers(part: dict[str, Any], key: str, count: int) -> Float[Tensor, "count"]:
    """Finite numbers, float64."""
    values = _list(part, key, count)
    if not all(type(each) in (int, float) and abs(each) < _LARGEST for each in values):
        raise Broken(f"has {shown(values)} as {key!r} in meta.json, expected finite numbers")
    return torch.tensor(values, dtype=torch.float64)


def _whole(part: dict[str, Any], key: str, most: int) -> int:
    number: Any = part.get(key)
    if type(number) is not int or not 1 <= number <= most:
        raise Broken(f"has {shown(number)} as {key!r} in meta.json, expected 1 to {most:,}")
    return number
