"""Several `.ply` of Gaussians as one: their rows one after the other, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from splat.formats.header import BINARY, Header, Table, header_bytes
from splat.system.files import replacing

_CHUNK = 1 << 20


def join_files(parts: Sequence[Path], path: Path, most: Sequence[int] = ()) -> int:
    """Write the rows of `parts`, in their order, to one file; how many there are.

    Of a part with more rows than its entry of `most` (0: no limit) the faintest are left out. No
    more than a megabyte, and all opacities of such a part, are in memory at once. Raises
    ValueError where a part is no binary `.ply` of one table, has other columns than the first, or
    was made to be drawn otherwise.
    """
    if not parts:
        raise ValueError(f"{path}: there is nothing to join; expected a file at least")
    headers = [Header.of(part) for part in parts]
    tables = [_table(part, header) for part, header in zip(parts, headers, strict=True)]
    for part, header, table in zip(parts, headers, tables, strict=True):
        if table.columns != tables[0].columns or header.drawing != headers[0].drawing:
            raise ValueError(
                f"{part}: has other columns, or is drawn otherwise, than {parts[0]}; expected"
                " files of one training: export them alike"
            )
    most_rows = most or [0] * len(parts)
    limits = [limit or table.count for limit, table in zip(most_rows, tables, strict=True)]
    total = sum(min(limit, table.count) for limit, table in zip(limits, tables, strict=True))
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(header_bytes([replace(tables[0], count=total)], headers[0].drawing))
        for part, header, table, limit in zip(parts, headers, tables, limits, strict=True):
            if limit < table.count:
                _copy_most_opaque(part, header.bytes, table, limit, file)
            else:
                _copy(part, header.bytes, table.bytes, file)
    return total


def _table(path: Path, header: Header) -> Table:
    """The one table of a file."""
    if BINARY not in header.lines or len(header.tables) != 1 or not header.tables[0].fixed:
        raise ValueError(f"{path}: is not a binary .ply of one table; expected one of ours")
    table = header.tables[0]
    if path.stat().st_size != header.bytes + table.bytes:
        raise ValueError(
            f"{path}: has {path.stat().st_size:,} bytes, its header speaks of"
            f" {header.bytes + table.bytes:,}; expected a whole file: export it again"
        )
    return table


def _copy(path: Path, start: int, count: int, into: BinaryIO) -> None:
    """Append so many bytes of a file, from `start` on."""
    with path.open("rb") as source:
        source.seek(start)
        while count > 0:
            chunk = source.read(min(_CHUNK, count))
            count -= len(chunk)
            into.write(chunk)


def _copy_most_opaque(path: Path, start: int, table: Table, most: int, into: BinaryIO) -> None:
    """Append so many rows of a file, in their order."""
    rows = np.memmap(path, table.row(), "r", start, (table.count,))
    if "opacity" not in (rows.dtype.names or ()):
        raise ValueError(f"{path}: has no column opacity; expected Gaussians: export it again")
    # Logits, which order as opacities do; of equals the first are kept.
    kept = np.sort(np.argsort(-rows["opacity"], kind="stable")[:most])
    step = max(1, _CHUNK // rows.itemsize)
    for first in range(0, most, step):
        into.write(rows[kept[first : first + step]].tobytes())
