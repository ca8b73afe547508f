"""The `lod-meta.json` of a streamed `.sog`: levels, the names of chunks, and a tree of leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splat.formats import AGAIN
from splat.formats.header import EXPECTED
from splat.system import foreign
from splat.system.foreign import Broken, shown

if TYPE_CHECKING:
    # What is read here is read without torch.
    from jaxtyping import Float
    from torch import Tensor

_MOST_LEVELS = 64
_PLACE = ("file", "offset", "count")
_DEEPEST = 200
"""Deepest tree of nodes that is read."""


@dataclass(frozen=True)
class Place:
    """Where the rows of a leaf at a level are stored."""

    file: int
    """Number of the chunk."""
    offset: int
    """First row in that chunk."""
    count: int
    """Number of rows."""


@dataclass(frozen=True)
class Meta:
    """The contents of a `lod-meta.json`."""

    path: Path
    names: list[str]
    """Files of chunks, relative to the document."""
    levels: int
    leaves: list[Mapping[int, Place]]
    """Where the rows of each leaf are, by level."""

    def chunks(self, level: int) -> list[tuple[str, int]]:
        """The chunks of a level, with the rows that they have at least."""
        rows: dict[int, int] = {}
        for leaf in self.leaves:
            if (place := leaf.get(level)) is not None:
                rows[place.file] = max(rows.get(place.file, 0), place.offset + place.count)
        if not rows:
            raise ValueError(f"{self.path}: level {level} has no rows; fetch or export it again")
        return [(self.names[file], rows[file]) for file in sorted(rows)]

    def count(self, level: int) -> int:
        """Rows of a level."""
        return sum(leaf[level].count for leaf in self.leaves if level in leaf)


def tree(
    low: Float[Tensor, "m 3"], high: Float[Tensor, "m 3"], places: Sequence[Mapping[int, Place]]
) -> dict[str, Any]:
    """Nodes over leaves, as many as a power of two, each pair of neighbours in one."""
    nodes: list[dict[str, Any]] = []
    for corner, other, leaf in zip(low.tolist(), high.tolist(), places, strict=True):
        lods = {
            str(level): {"file": place.file, "offset": place.offset, "count": place.count}
            for level, place in sorted(leaf.items())
        }
        nodes.append({"bound": {"min": corner, "max": other}, "lods": lods})
    while len(nodes) > 1:
        nodes = [
            {"bound": _around(a, b), "children": [a, b]}
            for a, b in zip(nodes[::2], nodes[1::2], strict=True)
        ]
    return nodes[0]


def _around(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    ends = {"min": min, "max": max}
    return {
        end: [pick(x, y) for x, y in zip(a["bound"][end], b["bound"][end], strict=True)]
        for end, pick in ends.items()
    }


def document_bytes(names: Sequence[str], counts: Sequence[int], root: Mapping[str, Any]) -> bytes:
    """The `lod-meta.json` as bytes."""
    document = {
        "version": 1,
        "asset": {"generator": "splat"},
        "count": sum(counts),
        "counts": list(counts),
        "lodLevels": len(counts),
        "filenames": list(names),
        "tree": _short(root),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _short(node: Any) -> Any:
    """A node with numbers rounded to seven digits, as many as float32 has."""
    if isinstance(node, float):
        return float(f"{node:.7g}")
    if isinstance(node, Mapping):
        return {key: _short(value) for key, value in node.items()}
    return [_short(value) for value in node] if isinstance(node, list) else node


def read_meta(path: Path) -> Meta:
    """The contents of a `lod-meta.json`; raises ValueError where it is none, or broken."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of a lod-meta.json")
    with foreign.reading(path, EXPECTED, AGAIN):
        return _parsed(path, foreign.json_of(path))


def _parsed(path: Path, document: Any) -> Meta:
    if not isinstance(document, dict) or document.get("version", 1) != 1:
        version = document.get("version") if isinstance(document, dict) else document
        raise Broken(f"has version {shown(version)}, expected a document of version 1")
    levels, names = document.get("lodLevels"), document.get("filenames")
    if type(levels) is not int or not 1 <= levels <= _MOST_LEVELS:
        raise Broken(f"has {shown(levels)} levels, expected 1 to {_MOST_LEVELS}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Broken(f"has {shown(names)} as filenames, expected a list of names")
    leaves = [
        {level: place for level, place in _places(node, levels, len(names))}
        for node in _nodes(document.get("tree"))
    ]
    meta = Meta(path, names, levels, [leaf for leaf in leaves if leaf])
    counts = document.get("counts")
    if counts is not None and counts != [meta.count(level) for level in range(levels)]:
        raise Broken(f"has {shown(counts)} rows by its counts, and other numbers in its tree")
    return meta


def _nodes(root: Any) -> Iterator[dict[str, Any]]:
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        if not isinstance(node, dict) or depth > _DEEPEST:
            raise Broken(f"has {shown(node)} as a node of its tree, expected an object")
        yield node
        children = node.get("children", [])
        if not isinstance(children, list):
            raise Broken(f"has {shown(children)} as children of a node, expected a list")
        waiting += [(child, depth + 1) for child in reversed(children)]


def _places(node: Mapping[str, Any], levels: int, files: int) -> Iterator[tuple[int, Place]]:
    lods = node.get("lods", {})
    if not isinstance(lods, dict):
        raise Broken(f"has {shown(lods)} as the levels of a leaf, expected an object")
    for key, place in lods.items():
        numbers = [place.get(name) for name in ("file", "offset", "count")] * isinstance(
            place, dict
        )
        whole = len(numbers) == 3 and all(type(n) is int and n >= 0 for n in numbers)
        if not (key.isdecimal() and int(key) < levels and whole and numbers[0] < files):
            raise Broken(f"has {shown(place)} as level {shown(key)} of a leaf")
        yield int(key), Place(*numbers)
