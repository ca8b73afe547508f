"""Files of forests (`splat.recipes.model_files`): written with a receipt, and read to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splat.core.model import Model
from splat.export.receipt import fidelity_text
from splat.strategies.forest.container import header_of
from splat.strategies.forest.store import read_forest as read
from splat.strategies.forest.store import write_forest as write
from splat.system.text import size

__all__ = ["ForestReceipt", "read", "receipt_of", "receipt_text", "write"]


@dataclass(frozen=True)
class ForestReceipt:
    """What was written of a forest, and how it looks when read back."""

    file: str
    kind: str
    """coded, or plain: every number a float32."""
    bytes: int
    leaves: int
    mids: int
    roots: int
    bytes_per_leaf: float
    same_db: float | None
    """PSNR of pictures of the file against those of what was written, at most 100 dB."""
    psnr_before: float | None
    """dB of what was written on the held-out photos; None without photos."""
    psnr_after: float | None
    """dB of the file, read back, on the same photos."""

    def text(self) -> str:
        """The receipt in a line."""
        return (
            f"{self.file}: {self.leaves:,} leaves under {self.mids:,} mids and {self.roots:,}"
            f" roots, {self.kind}, {size(self.bytes)} ({self.bytes_per_leaf:.1f} bytes a leaf)"
            + fidelity_text(self.same_db, self.psnr_before, self.psnr_after)
        )


def receipt_of(path: Path, model: Model, again: Model, **drawn: float | None) -> ForestReceipt:
    """The receipt of a forest that was written and read `again`."""
    del model, again
    said, weight = header_of(path), path.stat().st_size
    leaves, mids, roots = (said[name] for name in ("leaves", "mids", "roots"))
    return ForestReceipt(
        str(path), said["kind"], weight, leaves, mids, roots, weight / leaves, **drawn
    )


def receipt_text(receipt: Mapping[str, Any]) -> str:
    """A receipt, of which these are the fields, in a line."""
    return ForestReceipt(**receipt).text()
