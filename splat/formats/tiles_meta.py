"""The document of 3D Tiles: which files it names, and where their origin lies.

Here and in `splat.formats.tiles_table` nothing loads torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.formats import AGAIN
from splat.system import foreign
from splat.system.foreign import Broken, shown

Matrix = NDArray[np.float64]
_DEEPEST, _MOST_TILES = 100, 1 << 20


@dataclass(frozen=True)
class Found:
    """What a document names."""

    finest: list[Path]
    """Tiles that nothing replaces."""
    all: list[Path]
    origin: Matrix


def read_document(path: Path) -> Found:
    """What a document names; raises ValueError where it is none, or names what is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of a tileset.json")
    with foreign.reading(path, "a tileset of 3D Tiles", AGAIN):
        return _parsed(path, foreign.json_of(path))


def _parsed(path: Path, document: Any) -> Found:
    root = document.get("root") if isinstance(document, dict) else None
    if not isinstance(root, dict):
        raise Broken(f"has {shown(root)} as its root, expected a tile")
    finest: list[Path] = []
    every: list[Path] = []
    waiting, count = [(root, 0, "REPLACE")], 0
    while waiting:
        tile, depth, refine = waiting.pop()
        count += 1
        if not isinstance(tile, dict) or depth > _DEEPEST or count > _MOST_TILES:
            raise Broken(f"has {shown(tile)} as a tile, expected an object of a tree")
        if depth and "transform" in tile:
            raise Broken("has a transform at a tile below the root, which is not understood")
        refine = tile.get("refine", refine)
        children = tile.get("children", [])
        if not isinstance(children, list):
            raise Broken(f"has {shown(children)} as children of a tile, expected a list")
        contents = tile.get("contents", [tile["content"]] if "content" in tile else [])
        if not isinstance(contents, list):
            raise Broken(f"has {shown(contents)} as contents of a tile, expected a list")
        files = [_inside(path, each) for each in contents]
        every += files
        if refine == "ADD" or not children:
            finest += files
        waiting += [(child, depth + 1, refine) for child in reversed(children)]
    if not finest:
        raise Broken("has no tile with contents, expected some")
    if len({*every}) < len(every):
        raise Broken("has a file twice; expected each once")
    return Found(finest, every, _origin(root))


def _inside(path: Path, content: Any) -> Path:
    """The file of a content, which lies below the document."""
    uri = content.get("uri") if isinstance(content, dict) else content
    folder = path.parent.resolve()
    if not isinstance(uri, str) or not uri.lower().endswith(".glb"):
        raise Broken(f"has {shown(uri)} as a content, expected a .glb file")
    file = (folder / uri).resolve()
    if folder not in file.parents:
        raise Broken(f"has {shown(uri)} as a content, expected a file below its folder")
    if not file.is_file():
        raise Broken(f"names {shown(uri)}, which is not there")
    return file


def _origin(root: dict[str, Any]) -> Matrix:
    """The origin of tiles in the frame of the input; 0 where the document does not say."""
    extras = root.get("extras")
    said = extras.get("splat") if isinstance(extras, dict) else None
    origin = said.get("origin") if isinstance(said, dict) else None
    if origin is None:
        return np.zeros(3)
    numbers = origin if isinstance(origin, list) else []
    plain = all(type(value) in (int, float) and abs(value) < 1e15 for value in numbers)
    if len(numbers) != 3 or not plain:
        raise Broken(f"has {shown(origin)} as its origin, expected 3 numbers")
    return np.array(numbers, np.float64)
