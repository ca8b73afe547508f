"""Files of deformed Gaussians (`splat.recipes.model_files`): written with a receipt, and read to be
drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splat.core.model import Model
from splat.export.receipt import fidelity_text
from splat.strategies.deform.coding.store import read_clip as read
from splat.strategies.deform.coding.store import write_clip as write
from splat.strategies.deform.container import header_of
from splat.strategies.deform.model import Deformed
from splat.system.text import size

__all__ = ["ClipReceipt", "read", "receipt_of", "receipt_text", "write"]


@dataclass(frozen=True)
class ClipReceipt:
    """What was written of deformed Gaussians, and how it looks when read back."""

    file: str
    kind: str
    """coded, or plain: every number a float32."""
    bytes: int
    gaussians: int
    as_floats: int
    """Bytes of all that draws them as float32: rows, planes and layers."""
    same_db: float | None
    """PSNR of pictures of the file against those of what was written, at most 100 dB."""
    psnr_before: float | None
    """dB of what was written on the held-out photos; None without photos."""
    psnr_after: float | None
    """dB of the file, read back, on the same photos."""

    def text(self) -> str:
        """The receipt in a line."""
        return (
            f"{self.file}: {self.gaussians:,} Gaussians and their field, {self.kind},"
            f" {size(self.bytes)} (as floats {size(self.as_floats)},"
            f" {self.as_floats / self.bytes:.3g} times as much)"
            + fidelity_text(self.same_db, self.psnr_before, self.psnr_after)
        )


def receipt_of(path: Path, model: Model, again: Model, **drawn: float | None) -> ClipReceipt:
    """The receipt of a model that was written and read `again`."""
    assert isinstance(model, Deformed)
    weight, kind = path.stat().st_size, header_of(path)["kind"]
    rows = len(again.cloud)
    return ClipReceipt(str(path), kind, weight, rows, _as_floats(model), **drawn)


def receipt_text(receipt: Mapping[str, Any]) -> str:
    """A receipt, of which these are the fields, in a line."""
    return ClipReceipt(**receipt).text()


def _as_floats(model: Deformed) -> int:
    rows = sum(model.cloud[name].numel() for name in model.cloud.names)
    return 4 * (rows + sum(values.numel() for values in model.field.parameters()))
