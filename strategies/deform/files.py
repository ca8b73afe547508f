"""Files of deformed Gaussians (`splat.recipes.model_files`): written with a receipt, and read to be
drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from splat.core.model import Model
from splat.export.receipt import ModelReceipt
from splat.strategies.deform.coding.store import read_clip as read
from splat.strategies.deform.coding.store import write_clip as write
from splat.strategies.deform.container import header_of
from splat.strategies.deform.model import Deformed
from splat.system.text import size

__all__ = ["Receipt", "read", "receipt_of", "write"]


@dataclass(frozen=True)
class Receipt(ModelReceipt):
    """What was written of deformed Gaussians."""

    gaussians: int
    as_floats: int
    """Bytes of all that draws them as float32: rows, planes and layers."""

    @property
    def contents(self) -> str:
        return (
            f"{self.gaussians:,} Gaussians and their field, {self.kind}, {size(self.bytes)}"
            f" (as floats {size(self.as_floats)}, {self.as_floats / self.bytes:.3g} times as much)"
        )


def receipt_of(path: Path, model: Model, again: Model, **drawn: float | None) -> Receipt:
    """The receipt of a model that was written and read `again`."""
    assert isinstance(model, Deformed)
    kind, weight, rows = header_of(path)["kind"], path.stat().st_size, len(again.cloud)
    return Receipt(str(path), kind, weight, **drawn, gaussians=rows, as_floats=_as_floats(model))


def _as_floats(model: Deformed) -> int:
    rows = sum(model.cloud[name].numel() for name in model.cloud.names)
    return 4 * (rows + sum(values.numel() for values in model.field.parameters()))
