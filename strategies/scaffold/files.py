"""Files of anchors (`splat.recipes.model_files`): written with a receipt, and read to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splat.core.model import Model
from splat.export.receipt import fidelity_text
from splat.strategies.scaffold.container import header_of
from splat.strategies.scaffold.store import read_anchors as read
from splat.strategies.scaffold.store import write_anchors as write
from splat.system.text import size

__all__ = ["AnchorsReceipt", "read", "receipt_of", "receipt_text", "write"]


@dataclass(frozen=True)
class AnchorsReceipt:
    """What was written of anchors, and how it looks when read back."""

    file: str
    kind: str
    """coded, or plain: every number a float32."""
    bytes: int
    anchors: int
    bytes_per_anchor: float
    same_db: float | None
    """PSNR of pictures of the file against those of what was written, at most 100 dB."""
    psnr_before: float | None
    """dB of what was written on the held-out photos; None without photos."""
    psnr_after: float | None
    """dB of the file, read back, on the same photos."""

    def text(self) -> str:
        """The receipt in a line."""
        return (
            f"{self.file}: {self.anchors:,} anchors, {self.kind}, {size(self.bytes)}"
            f" ({self.bytes_per_anchor:.1f} bytes each)"
            + fidelity_text(self.same_db, self.psnr_before, self.psnr_after)
        )


def receipt_of(path: Path, model: Model, again: Model, **drawn: float | None) -> AnchorsReceipt:
    """The receipt of anchors that were written and read `again`."""
    del model
    weight, count = path.stat().st_size, len(again.cloud)
    kind = header_of(path)["kind"]
    return AnchorsReceipt(str(path), kind, weight, count, weight / count, **drawn)


def receipt_text(receipt: Mapping[str, Any]) -> str:
    """A receipt, of which these are the fields, in a line."""
    return AnchorsReceipt(**receipt).text()
