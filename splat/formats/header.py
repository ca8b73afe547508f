"""The header of a `.ply`: its tables, and comments that say how Gaussians were drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from splat.types import Drawing

BINARY = "format binary_little_endian 1.0"
_MODE = "comment SplatRenderMode: mip"
"""Comment of Brush and splat-transform for antialiased training."""
_NEAR = "comment SplatNearPlane: "
"""Start of our own comment, which holds the depth from which Gaussians were drawn."""
_LONGEST = 1 << 20
_BYTES = {"float": 4, "uint": 4, "uchar": 1}
_SAME = {"float32": "float", "uint32": "uint", "uint8": "uchar"}


@dataclass(frozen=True)
class Table:
    """An element of the header."""

    name: str
    count: int
    """Number of rows."""
    columns: tuple[str, ...]
    """Type and name of each column."""

    @property
    def bytes(self) -> int:
        """Bytes of all rows, of columns of type float, uint or uchar."""
        return self.count * sum(_BYTES[column.split()[0]] for column in self.columns)

    def __str__(self) -> str:
        columns = shorten(", ".join(self.columns), 80, placeholder=" ...")
        return f"'element {self.name} {self.count}' with {columns}"


@dataclass(frozen=True)
class Header:
    """The first lines of a file, up to `end_header`."""

    lines: tuple[str, ...]
    bytes: int
    """Length of the header, to where the data begin."""

    @classmethod
    def of(cls, path: Path) -> Header:
        """The header of a file, which claims no more rows than the file has bytes.

        Raises FileNotFoundError where there is no file, and ValueError where it is no .ply.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not a file; give the path of a .ply file")
        with path.open("rb") as file:
            start = file.read(_LONGEST)
        if start[:3] != b"ply":
            problem = "is empty" if not start else f"starts with {start[:16]!r}, not with 'ply'"
            raise ValueError(f"{path} {problem}: it is no .ply file; fetch or export it again")
        end = re.search(rb"^end_header\r?\n", start, re.MULTILINE)
        if end is None:
            raise ValueError(
                f"{path} is broken or cut off (no end_header in its first {len(start):,} bytes);"
                " fetch or export it again"
            )
        text = start[: end.end()].decode("ascii", "replace")
        header = cls(tuple(text.splitlines()), end.end())
        if any(table.count > path.stat().st_size for table in header.tables):
            raise ValueError(
                f"{path} is broken or cut off (its header claims more rows than it has bytes);"
                " fetch or export it again"
            )
        return header

    @property
    def tables(self) -> list[Table]:
        """Elements in their order; some writers leave one without columns."""
        tables: list[tuple[str, int, list[str]]] = []
        for line in self.lines:
            words = line.split()
            if words[:1] == ["element"] and len(words) == 3 and re.fullmatch("[0-9]+", words[2]):
                # No file has more rows than 18 digits can say.
                tables.append((words[1], int(words[2][:19]), []))
            elif words[:1] == ["property"] and tables:
                tables[-1][2].append(" ".join(_SAME.get(word, word) for word in words[1:]))
        return [Table(name, count, tuple(columns)) for name, count, columns in tables]

    @property
    def drawing(self) -> Drawing:
        """How the Gaussians are meant to be drawn."""
        nears = [line.removeprefix(_NEAR) for line in self.lines if line.startswith(_NEAR)]
        try:
            near = float(nears[0]) if nears else None
        except ValueError:
            near = None  # a comment of somebody else's that begins like ours
        return Drawing(_MODE in self.lines, near)


def header_bytes(tables: Sequence[Table], drawing: Drawing) -> bytes:
    """A header of binary tables, the comments after the first element's line.

    SIBR, INRIA's viewer, expects the count of rows on the third line.
    """
    comments = [_MODE] * drawing.antialiased
    if drawing.near is not None:
        comments.append(f"{_NEAR}{drawing.near!r}")
    lines = ["ply", BINARY]
    for table in tables:
        lines += [f"element {table.name} {table.count}", *comments]
        lines += [f"property {column}" for column in table.columns]
        comments = []
    return "\n".join([*lines, "end_header", ""]).encode("ascii")
