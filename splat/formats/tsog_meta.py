"""The `meta.json` of a `.tsog`: what of a `.sog` it has, and what its profile asks for beyond."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from splat.formats.columns import Floats
from splat.formats.limits import LEVELS
from splat.formats.sog_meta import COEFFICIENTS, Doubles, Meta, numbers
from splat.system import foreign
from splat.system.foreign import Broken, shown

VERSION, PROFILE = 4, {"id": "org.opsiclear.tsog-playback", "version": 1}
MOST_ENTRIES = 1024
"""Most files of an archive."""
_HEAD = 1 << 12
"""Bytes of an image in which its kind is looked for."""


@dataclass(frozen=True)
class TimedMeta(Meta):
    """The contents of the meta.json of a `.tsog`."""

    @classmethod
    def of(cls, document: bytes) -> TimedMeta:
        """The parsed document; raises `Broken` where it is none of this profile."""
        with foreign.part("meta.json"):
            parsed = foreign.parsed(document)
        if not isinstance(parsed, dict):
            raise Broken(f"has {shown(parsed)} as meta.json, expected an object")
        version: Any = parsed.get("version")
        if type(version) is not int or version != VERSION:
            raise Broken(f"is a .tsog of version {shown(version)}, expected {VERSION}")
        profile = parsed.get("profile", PROFILE)
        named = isinstance(profile, dict) and profile.get("id") == PROFILE["id"]
        if not named or type(profile.get("version")) is not int or profile["version"] != 1:
            raise Broken(f"is of the profile {shown(profile)}, expected {PROFILE['id']} 1")
        return cls(parsed)

    @property
    def moves(self) -> bool:
        """Whether it has a continuous timeline; raises `Broken` where it has one of another kind,
        or motion without one."""
        if "timeline" not in self.document:
            if "temporal" in self.document:
                raise Broken("has motion without a timeline, expected both")
            return False
        kind: Any = self.part("timeline").get("type")
        if kind == 0 and type(kind) is int:
            raise Broken(
                "is a sequence of frames apart (a timeline of type 0), each with Gaussians of its"
                " own; expected a continuous one: write its frames as files of an instant each"
            )
        if kind != 1 or type(kind) is not int:
            raise Broken(f"has a timeline of type {shown(kind)}, expected 1")
        if "temporal" in self.document and (others := {*self.part("temporal")} - {"means"}):
            raise Broken(f"animates {', '.join(map(shown, sorted(others)))}, expected means only")
        return True

    def codebook(self, part: dict[str, Any]) -> Floats:
        """The levels of a property [256], the last repeated."""
        values = part.get("codebook")
        if not isinstance(values, list) or not 1 <= len(values) <= LEVELS:
            raise Broken(
                f"has {shown(values)} as 'codebook' in meta.json, expected 1 to 256 levels"
            )
        levels = numbers({"codebook": values}, "codebook", len(values)).astype(np.float32)
        return np.pad(levels, (0, LEVELS - len(levels)), "edge")

    def levels_in(self, name: str) -> int:
        """How many levels a codebook has."""
        return len(self.part(name)["codebook"])

    def range_of(self, part: dict[str, Any], count: int) -> tuple[Doubles, Doubles]:
        """Ends of a range of `count` numbers; raises `Broken` where they are reversed."""
        low, high = numbers(part, "mins", count), numbers(part, "maxs", count)
        if (low > high).any():
            raise Broken(
                f"has a range from {low.tolist()} to {high.tolist()}, expected it ascending"
            )
        return low, high

    def check_images(self, archive: zipfile.ZipFile) -> None:
        """Raise `Broken` where the archive, or an image of a property, is not as the profile has
        it."""
        names = archive.namelist()
        if len(names) > MOST_ENTRIES or len({*names}) != len(names):
            raise Broken(f"holds {len(names):,} files, expected up to 1,024 of different names")
        self.range_of(self.part("means"), 3)
        for name in ("means", "scales", "quats", "sh0", *["shN"] * self.harmonics):
            own = self.files(name, 2 if name in ("means", "shN") else 1)
            if len({*own}) < len(own):
                raise Broken(f"has one file twice in {name!r}, expected different ones")
            for image in own:
                check_lossless(archive, image)
        if self.harmonics:
            bands: Any = self.part("shN").get("bands")
            if type(bands) is not int or not 1 <= bands <= len(COEFFICIENTS):
                raise Broken(f"has {shown(bands)} as 'bands' in meta.json, expected 1 to 3")


def check_lossless(archive: zipfile.ZipFile, name: str) -> None:
    """Raise `Broken` where an image is no still, lossless WebP: others are no codes."""
    with foreign.member(archive, name, foreign.MOST_MEMORY) as (file, _):
        head = file.read(_HEAD)
    at, chunks = 12, []
    while at + 8 <= len(head):
        kind, length = struct.unpack_from("<4sI", head, at)
        chunks.append(kind)
        at += 8 + length + length % 2
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or b"VP8L" not in chunks or b"ANIM" in chunks:
        raise Broken(f"has {shown(name)}, which is no still and lossless WebP; expected one")
