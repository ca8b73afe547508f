"""Files of anchors (`splat.recipes.model_files`): written with a receipt, and read to be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.model import Model
from splat.evaluation.evaluate import HeldOutFitter
from splat.export.receipt import fidelity_text, picture_psnrs
from splat.recipes.model_files import decoding
from splat.strategies.scaffold.container import SUFFIX
from splat.strategies.scaffold.store import header_of, read_anchors, write_anchors
from splat.system.text import size
from splat.types import Batch, Drawing, Frame, Renderer

__all__ = [
    "SUFFIX",
    "AnchorsReceipt",
    "background_of",
    "described",
    "read",
    "receipt_text",
    "written",
]


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


def written(
    model: Model,
    path: Path,
    frame: Frame,
    render: Renderer,
    batches: Iterable[Batch],
    background: Float[Tensor, "3"] | None,
    *,
    drawing: Drawing,
    plain: bool = False,
    photos: bool = True,
    fit: HeldOutFitter | None = None,
) -> AnchorsReceipt:
    """Write the anchors of a model, read them back, and draw both in the cameras of `batches`.

    Coded where they were trained for it, unless `plain`. `photos` False: the batches' pixels are no
    truth to compare with; `fit` fits them before both are. ValueError where the model has no
    anchors.
    """
    behind = None if background is None else background.tolist()
    write_anchors(model, path, frame, drawing, behind, plain=plain)
    again = read_anchors(path)[0]
    same_db, before, after = picture_psnrs(
        model, decoding(again, render.device), render, batches, background, photos=photos,
        fit=fit,
    )  # fmt: skip
    count = len(again.cloud)
    return AnchorsReceipt(
        file=str(path),
        kind=header_of(path)["kind"],
        bytes=path.stat().st_size,
        anchors=count,
        bytes_per_anchor=path.stat().st_size / count,
        same_db=same_db,
        psnr_before=before,
        psnr_after=after,
    )


def read(path: Path) -> tuple[Model, Frame, Drawing]:
    """The anchors of a file, the frame that they lie in, and how they are to be drawn."""
    return read_anchors(path)


def receipt_text(receipt: Mapping[str, Any]) -> str:
    """A receipt, of which these are the fields, in a line."""
    return AnchorsReceipt(**receipt).text()


def described(path: Path) -> Mapping[str, Any]:
    """What a file says of itself, for people."""
    header = header_of(path)
    return {
        "format": f".anchors, {header['kind']}",
        "anchors": header["anchors"],
        "settings": header["settings"],
        "voxel": header["voxel"],
        "photos": header["photos"],
        "frame": header["frame"],
        "background": header["background"],
    }


def background_of(path: Path) -> Float[Tensor, "3"] | None:
    """What is behind everything in a file, RGB; None: black."""
    behind = header_of(path)["background"]
    return None if behind is None else torch.tensor(behind, dtype=torch.float32)
