"""What formats share that write levels of detail as many files beside a document."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from splat.formats.lod_table import check_degrees
from splat.kernels import threads
from splat.lod.levels import LEAF, Levels, levels_of_rows, rows_by_leaf
from splat.types import Gaussians, joined


@dataclass(frozen=True)
class Levelled:
    """A set in levels of detail."""

    finest: Gaussians
    order: Int[Tensor, "n"]
    """Its rows, leaf by leaf."""
    levels: Levels

    @staticmethod
    def of(finest: Gaussians) -> Levelled:
        """A set whose coarser levels are merged of the finer ones."""
        order = rows_by_leaf(finest.means, LEAF)
        levels = levels_of_rows(
            len(finest), lambda low, high: finest.take(order[low:high]), LEAF, threads()
        )
        return Levelled(finest, order, levels)

    def rows(self, level: int, first: int, end: int) -> Gaussians:
        """Those of a level, of leaves from one to before another."""
        low, high = self.levels.rows(level, first).start, self.levels.rows(level, end - 1).stop
        if level == 0:
            return self.finest.take(self.order[low:high])
        return self.levels.coarser[level - 1].take(torch.arange(low, high))


def joined_parts(parts: list[Gaussians]) -> Gaussians:
    """What several files hold, one after the other; ValueError where their bands differ."""
    check_degrees(part.sh_degree for part in parts)
    return parts[0] if len(parts) == 1 else joined(parts)


def drafts_of(path: Path) -> str:
    """What the name of a folder begins with in which files of a document are made."""
    return f".{path.name}."


def sweep(path: Path, own: str, named: Collection[str], suffixes: Collection[str]) -> None:
    """Remove folders of a document's making that none names, those of an export that was killed
    among them, and nothing else.

    `own` is the pattern of their names, `suffixes` are those of what such a folder holds.
    """

    def made(folder: Path) -> bool:
        if folder.is_symlink() or not folder.is_dir():
            return False
        return all(file.is_file() and file.suffix in suffixes for file in folder.iterdir())

    for folder in [*path.parent.iterdir()]:
        if re.fullmatch(own, folder.name) and folder.name not in named and made(folder):
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.name.startswith(drafts_of(path)) and folder.is_dir():
            if all(map(made, folder.iterdir())):
                shutil.rmtree(folder, ignore_errors=True)
