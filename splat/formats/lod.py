"""The streamed `.sog` of PlayCanvas: `lod-meta.json` and folders of chunks, in levels of detail.

As splat-transform writes it and the PlayCanvas engine reads it (version 1): a document with a
binary tree whose leaves say, for each level, which rows of which chunk are theirs. A chunk is a
`.sog` that lies open in a folder, of one level and of leaves that are neighbours. Viewers fetch the
chunks of what is looked at, coarse ones first.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from splat.core.frame import finite
from splat.formats import sog
from splat.formats.lod_files import Levelled, drafts_of, joined_parts, sweep
from splat.formats.lod_meta import Place, document_bytes, read_meta, tree
from splat.formats.lod_table import stored
from splat.formats.rows import kept, rows_of
from splat.formats.settings import Settings
from splat.lod.levels import (
    LEAF,
    Levels,
    Refine,
    coarser_counts,
)
from splat.lod.tree import depth_for
from splat.system.files import replacing, synced
from splat.types import Drawing, Gaussians

SUFFIX = "lod-meta.json"
TAKES_REFINE = True
CHUNK = 1 << 18
"""Rows of a chunk, at most."""
_NODE, _PLACE, _NAME = 512, 64, 64
"""Most bytes of the document for a leaf with the nodes above it, a level of a leaf, and a chunk."""


@dataclass(frozen=True)
class _Chunk:
    """Leaves from one to before another, at one level."""

    level: int
    number: int
    first: int
    end: int


@torch.no_grad()
def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
    refine: Refine | None = None,
) -> None:
    """Write the document, and chunks into folders LEVEL_NUMBER beside it.

    `refine` gives the coarser levels their last form, in the frame of the input; None: they are
    merged only. Rows that hold NaN or infinite values are left out, with a warning. Beside the set
    there is a third of it in memory, and a chunk. What such a document at `path` had stays whole
    until the new one is: chunks get names that are free, the document is replaced at once, then
    chunks that no document here names any more are removed, those of an export that was killed
    among them.
    """
    gaussians = kept(gaussians, finite(gaussians), path).to("cpu")
    whole = Levelled.of(gaussians)
    if refine is not None:
        with torch.enable_grad():
            whole = replace(whole, levels=whole.levels.refined(gaussians, refine))
    chunks = list(_chunks(whole.levels))
    path.parent.mkdir(parents=True, exist_ok=True)
    names = _free_names(path, chunks)
    with TemporaryDirectory(dir=path.parent, prefix=drafts_of(path)) as drafts:
        for name, chunk in zip(names, chunks, strict=True):
            folder = Path(drafts) / name
            folder.mkdir()
            rows = rows_of(whole.rows(chunk.level, chunk.first, chunk.end), path)
            sog.write_apart(rows, folder, drawing, settings)
            for file in (*folder.iterdir(), folder):
                synced(file)
        for name in names:
            Path(drafts, name).rename(path.parent / name)
        with replacing(path) as draft:
            draft.write_bytes(_document(names, whole.levels, chunks))
    _sweep(path)


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that the document and its chunks take at most, of all levels."""
    leaves = 1 << depth_for(n, LEAF)
    counts = [-(-n // leaves), *coarser_counts(n, LEAF)]
    total = 4096 + leaves * (_NODE + _PLACE * len(counts))
    for count in counts:
        per_chunk = max(1, CHUNK // count)
        full, rest = divmod(leaves, per_chunk)
        total += full * (_NAME + sog.size(per_chunk * count, sh_degree, settings))
        total += _NAME + sog.size(rest * count, sh_degree, settings) if rest else 0
    return total


def quantiser(
    gaussians: Gaussians,
    settings: Settings = Settings(),  # noqa: B008
) -> Callable[[Gaussians], Gaussians]:
    """The quantisation of the finest level as one chunk; chunks of their own lose less."""
    return sog.quantiser(gaussians, settings)


def read(path: Path) -> Gaussians:
    """The Gaussians of the finest level."""
    return read_level(path, 0)


def read_level(path: Path, level: int) -> Gaussians:
    """The Gaussians of a level, chunk by chunk in the order of the document."""
    parts = []
    for chunk in stored(path, level):
        part = sog.read(chunk.file)
        chunk.check(len(part))
        parts.append(part)
    return joined_parts(parts)


def drawing(path: Path) -> Drawing:
    """How the chunks say that their Gaussians are meant to be drawn."""
    return sog.drawing(stored(path, 0)[0].file)


def _chunks(levels: Levels) -> Iterator[_Chunk]:
    """Chunks of all levels: as many leaves to a chunk as fit, and one at least."""
    for level, counts in enumerate(levels.counts):
        most = max(1, CHUNK // int(counts.max()))
        for number, first in enumerate(range(0, len(levels), most)):
            yield _Chunk(level, number, first, min(first + most, len(levels)))


def _document(names: list[str], levels: Levels, chunks: list[_Chunk]) -> bytes:
    places: list[dict[int, Place]] = [{} for _ in range(len(levels))]
    for file, chunk in enumerate(chunks):
        start = levels.rows(chunk.level, chunk.first).start
        for leaf in range(chunk.first, chunk.end):
            rows = levels.rows(chunk.level, leaf)
            places[leaf][chunk.level] = Place(file, rows.start - start, rows.stop - rows.start)
    # Boxes are around what is drawn, as other writers have them: one standard deviation.
    low, high = levels.low - levels.reach[:, None], levels.high + levels.reach[:, None]
    files = [f"{name}/meta.json" for name in names]
    return document_bytes(files, levels.counts.sum(1).tolist(), tree(low, high, places))


def _stem(path: Path) -> str:
    """What the names of a document's chunks begin with; documents side by side each have their
    own."""
    return path.name.removesuffix(SUFFIX)


def _free_names(path: Path, chunks: list[_Chunk]) -> list[str]:
    """Names for the folders of chunks, LEVEL_NUMBER, with a number behind where one is taken."""
    names = [f"{_stem(path)}{chunk.level}_{chunk.number}" for chunk in chunks]
    for turn in itertools.count(2):
        if not any((path.parent / name).exists() for name in names):
            break
        names = [f"{_stem(path)}{chunk.level}_{chunk.number}-{turn}" for chunk in chunks]
    return names


def _sweep(path: Path) -> None:
    """Remove chunks of this document's making that no document here names, and nothing else."""
    names = {name for each in path.parent.glob(f"*{SUFFIX}") for name in _known(each)}
    named = {Path(name).parts[0] for name in names if Path(name).parts}
    sweep(path, rf"{re.escape(_stem(path))}\d+_\d+(-\d+)?", named, (".json", ".webp"))


def _known(path: Path) -> list[str]:
    """Names of the chunks of a document; none where it is no such one."""
    try:
        return read_meta(path).names
    except ValueError:
        return []
