"""The header of a `.ply`: its tables, and comments that say how Gaussians were drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from splat.formats import AGAIN
from splat.system import foreign
from splat.system.foreign import Broken, shown

if TYPE_CHECKING:
    from splat.types import Drawing

"""What to do about a file that is broken."""
EXPECTED = f"a whole file; {AGAIN}"

BINARY = "format binary_little_endian 1.0"
_MODE = "comment SplatRenderMode: mip"
"""Comment of Brush and splat-transform for antialiased training."""
_NEAR = "comment SplatNearPlane: "
"""Start of our own comment, which holds the depth from which Gaussians were drawn."""
_FREE = ("comment ", "obj_info ")
"""Starts of lines that may say anything."""
_LONGEST = 1 << 20
_FORMS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
"""Order of bytes, as NumPy writes it, of each format."""
_KINDS = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
_KINDS |= {"float": "f4", "double": "f8"}
_SAME = {"int8": "char", "uint8": "uchar", "int16": "short", "uint16": "ushort", "int32": "int"}
_SAME |= {"uint32": "uint", "float32": "float", "float64": "double"}


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
        """Bytes of all rows, which hold no lists."""
        return self.count * self.row().itemsize

    @property
    def fixed(self) -> bool:
        """Whether all rows have the same number of bytes: no column holds lists."""
        return all(len(column.split()) == 2 for column in self.columns)

    def row(self, order: str = "<") -> np.dtype[Any]:
        """The type of a row, in an order of bytes; raises `Broken` where it holds lists."""
        if not self.fixed:
            raise Broken(
                f"has lists in its element {self.name!r}; expected a number in each column"
            )
        columns = [column.split() for column in self.columns]
        return np.dtype([(name, order + _KINDS[kind]) for kind, name in columns])

    def __str__(self) -> str:
        columns = shorten(", ".join(self.columns), 80, placeholder=" ...")
        return f"'element {self.name} {self.count}' with {columns}"


@dataclass(frozen=True)
class Header:
    """The first lines of a file, up to `end_header`."""

    lines: tuple[str, ...]
    tables: tuple[Table, ...]
    """Elements in their order; some writers leave one without columns."""
    bytes: int
    """Length of the header, to where the data begin."""

    @classmethod
    def of(cls, path: Path) -> Header:
        """The header of a file, which claims no more rows than the file has bytes.

        Raises FileNotFoundError where there is no file, and ValueError where it is no .ply.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not a file; give the path of a .ply file")
        with foreign.reading(path, EXPECTED, AGAIN):
            with path.open("rb") as file:
                start = file.read(_LONGEST)
            if start[:3] != b"ply":
                problem = "is empty" if not start else f"starts with {start[:16]!r}, not with 'ply'"
                raise Broken(f"{problem}: it is no .ply file")
            end = re.search(rb"^end_header\r?\n", start, re.MULTILINE)
            if end is None:
                raise Broken(
                    f"is broken or cut off (no end_header in its first {len(start):,} bytes)"
                )
            text = start[: end.end()].decode("ascii", "replace")
            lines = tuple(line.removesuffix("\r") for line in text.split("\n")[:-1])
            tables = tuple(_tables(lines))
            if any(table.count > path.stat().st_size for table in tables):
                raise Broken("is broken or cut off (its header claims more rows than it has bytes)")
        return cls(lines, tables, end.end())

    @property
    def order(self) -> str:
        """Order of bytes, as NumPy writes it, of binary rows; `=` where rows are text."""
        lines = [line.split() for line in self.lines]
        forms = [words[1:] for words in lines if words[:1] == ["format"]]
        if len(forms) != 1 or forms[0][1:] != ["1.0"] or forms[0][0] not in _FORMS:
            raise Broken(f"is of format {shown(forms)}; expected one of {', '.join(_FORMS)}, 1.0")
        return _FORMS[forms[0][0]]

    @property
    def drawing(self) -> Drawing:
        """How the Gaussians are meant to be drawn."""
        from splat.types import Drawing

        return Drawing(*self.drawn)

    @property
    def compressed(self) -> bool:
        """Whether it is a .compressed.ply: its rows lie in chunks."""
        return any(table.name == "chunk" for table in self.tables)

    @property
    def drawn(self) -> tuple[bool, float | None]:
        """The values of `drawing`: antialiased, and the near plane."""
        nears = [line.removeprefix(_NEAR) for line in self.lines if line.startswith(_NEAR)]
        try:
            near = foreign.number_in(nears[0]) if nears else None
        except ValueError:
            near = None  # a comment of somebody else's that begins like ours
        return _MODE in self.lines, near


def _tables(lines: Sequence[str]) -> list[Table]:
    """Elements with their columns; raises `Broken` where a line is none that there is."""
    tables: dict[str, tuple[int, dict[str, str]]] = {}
    columns: dict[str, str] | None = None
    for line in lines:
        # Bytes that are no text would not be written again as they are.
        match line.split() if line.isascii() or line.startswith(_FREE) else [line]:
            case [] | ["ply" | "format" | "comment" | "obj_info" | "end_header", *_]:
                pass
            case ["element", name, count] if re.fullmatch("[0-9]{1,40}", count):
                if name in tables:
                    raise Broken(f"has two elements {shown(name)}; expected one")
                columns = {}
                tables[name] = int(count), columns
            case ["property", *kinds, name] if columns is not None and _is_type(kinds):
                if name in columns:
                    raise Broken(f"has two columns {shown(name)} in an element; expected one")
                columns[name] = " ".join([*(_SAME.get(kind, kind) for kind in kinds), name])
            case _:
                raise Broken(
                    f"has {shown(line)} in its header; expected an element with a count, or a"
                    " property with a type"
                )
    return [Table(name, count, tuple(of.values())) for name, (count, of) in tables.items()]


def _is_type(kinds: list[str]) -> bool:
    """Whether words are the type of a column: that of a number, or of lists of them."""
    numbers = [_SAME.get(kind, kind) in _KINDS for kind in kinds]
    return numbers == [True] or (kinds[:1] == ["list"] and numbers[1:] == [True, True])


def header_bytes(tables: Sequence[Table], drawing: Drawing, said: Sequence[str] = ()) -> bytes:
    """A header of binary tables, the comments after the first element's line.

    SIBR, INRIA's viewer, expects the count of rows on the third line.
    """
    comments = [f"comment {each}" for each in said] + [_MODE] * drawing.antialiased
    if drawing.near is not None:
        comments.append(f"{_NEAR}{drawing.near!r}")
    lines = ["ply", BINARY]
    for table in tables:
        lines += [f"element {table.name} {table.count}", *comments]
        lines += [f"property {column}" for column in table.columns]
        comments = []
    return "\n".join([*lines, "end_header", ""]).encode("ascii")
