"""Files of anchors (`splat.recipes.model_files`): written with a receipt, and read to be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from splat.core.model import Model
from splat.export.receipt import ModelReceipt
from splat.strategies.scaffold.container import header_of
from splat.strategies.scaffold.store import read_anchors as read
from splat.strategies.scaffold.store import write_anchors as write
from splat.system.text import size

__all__ = ["Receipt", "read", "receipt_of", "write"]


@dataclass(frozen=True)
class Receipt(ModelReceipt):
    """What was written of anchors."""

    anchors: int
    bytes_per_anchor: float

    @property
    def contents(self) -> str:
        each = f"{self.bytes_per_anchor:.1f} bytes each"
        return f"{self.anchors:,} anchors, {self.kind}, {size(self.bytes)} ({each})"


def receipt_of(path: Path, model: Model, again: Model, **drawn: float | None) -> Receipt:
    """The receipt of anchors that were written and read `again`."""
    del model
    kind, weight, count = header_of(path)["kind"], path.stat().st_size, len(again.cloud)
    each = weight / count
    return Receipt(str(path), kind, weight, **drawn, anchors=count, bytes_per_anchor=each)
