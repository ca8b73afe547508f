"""Files of forests (`splat.recipes.model_files`): written with a receipt, and read to be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from splat.core.model import Model
from splat.export.receipt import ModelReceipt
from splat.formats import range_coding
from splat.strategies.forest.container import header_of
from splat.strategies.forest.store import read_forest as read
from splat.strategies.forest.store import write_forest as write
from splat.system.text import size

__all__ = ["Receipt", "read", "receipt_of", "write"]


@dataclass(frozen=True)
class Receipt(ModelReceipt):
    """What was written of a forest."""

    leaves: int
    mids: int
    roots: int
    bytes_per_leaf: float

    @property
    def contents(self) -> str:
        text = (
            f"{self.leaves:,} leaves under {self.mids:,} mids and {self.roots:,} roots,"
            f" {self.kind}, {size(self.bytes)} ({self.bytes_per_leaf:.1f} bytes a leaf"
        )
        if self.kind == "plain" and not range_coding.there():
            return f"{text}; for files several times smaller, {range_coding.INSTALL})"
        return f"{text})"


def receipt_of(path: Path, model: Model, again: Model, **drawn: float | None) -> Receipt:
    """The receipt of a forest that was written and read `again`."""
    del model, again
    said, weight = header_of(path), path.stat().st_size
    leaves, mids, roots = (said[name] for name in ("leaves", "mids", "roots"))
    return Receipt(
        str(path), said["kind"], weight, **drawn, leaves=leaves, mids=mids, roots=roots,
        bytes_per_leaf=weight / leaves,
    )  # fmt: skip
