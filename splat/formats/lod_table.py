"""Files that a streamed `.sog` is stored in, and the rows of its finest level as NumPy has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from splat.formats import AGAIN, sog_table
from splat.formats.columns import Columns
from splat.formats.lod_meta import read_meta
from splat.system.foreign import Unreadable


@dataclass(frozen=True)
class Stored:
    """A chunk that a document names."""

    document: Path
    name: str
    file: Path
    """Its meta.json."""
    count: int
    """Rows that it has at least."""

    def check(self, n: int) -> None:
        """Raise ValueError where the `n` rows that are read are too few."""
        if n < self.count:
            raise ValueError(
                f"{self.document}: {self.name} has {n:,} Gaussians, expected {self.count:,};"
                f" {AGAIN}"
            )


def columns(path: Path) -> Columns:
    """What the rows of the finest level hold; see `splat.formats.lod.read`."""
    parts = []
    for chunk in stored(path, 0):
        part = sog_table.columns(chunk.file).whole(chunk.file)
        chunk.check(len(part))
        parts.append(part)
    check_degrees(part.sh_degree for part in parts)
    return replace(
        parts[0],
        means=np.concatenate([part.means for part in parts]),
        scales=np.concatenate([part.scales for part in parts]),
        opacities=np.concatenate([part.opacities for part in parts]),
        sh=np.concatenate([part.sh for part in parts]),
    )


def stored(path: Path, level: int) -> list[Stored]:
    """The chunks of a level in the order of the document; raises ValueError."""
    meta = read_meta(path)
    if not 0 <= level < meta.levels:
        raise ValueError(f"{path}: there is no level {level}; expected 0 to {meta.levels - 1}")
    chunks = [Stored(path, name, _inside(path, name), count) for name, count in meta.chunks(level)]
    if len({chunk.file for chunk in chunks}) < len(chunks):
        raise Unreadable(f"{path}: has a chunk twice; expected each once: {AGAIN}")
    return chunks


def check_degrees(given: Iterable[int | None]) -> None:
    """Raise ValueError where chunks have harmonics of different degrees."""
    degrees = {*given}
    if len(degrees) > 1:
        raise ValueError(f"chunks have harmonics of degrees {sorted(map(str, degrees))}, not one")


def weight(path: Path) -> int:
    """Bytes of the document and all its chunks."""
    meta = read_meta(path)
    folders = {_inside(path, name).parent for name in meta.names}
    files = [file for folder in folders for file in folder.iterdir() if file.is_file()]
    return path.stat().st_size + sum(file.stat().st_size for file in files)


def _inside(path: Path, name: str) -> Path:
    """A chunk's meta.json, which lies below the document."""
    folder = path.parent.resolve()
    file = (folder / name).resolve()
    if folder not in file.parents or file.name != "meta.json":
        raise ValueError(
            f"{path}: has {name!r} as a chunk; expected FOLDER/meta.json: fetch or export it again"
        )
    return file
