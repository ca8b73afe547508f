"""Files of deformed Gaussians (`splat.recipes.model_files`): written with a receipt, and read to be
drawn."""

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
from splat.strategies.deform.coding.store import header_of, read_clip, write_clip
from splat.strategies.deform.model import Deformed
from splat.system.text import size
from splat.types import Batch, Drawing, Frame, Renderer

__all__ = [
    "ClipReceipt",
    "background_of",
    "described",
    "read",
    "receipt_text",
    "written",
]


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
) -> ClipReceipt:
    """Write a model, read it back, and draw both in the cameras of `batches`.

    Coded where planes were trained for it, unless `plain`. `photos` False: the batches' pixels are
    no truth to compare with; `fit` fits them before both are. ValueError where the model is of
    another kind.
    """
    if not isinstance(model, Deformed):
        raise ValueError(
            f"{path.suffix or path.name} files hold Gaussians that a field deforms, and this model"
            f" has {model.unit}; train with + deform, or write another format"
        )
    behind = None if background is None else background.tolist()
    write_clip(model, path, frame, drawing, behind, plain=plain)
    again = read_clip(path)[0]
    same_db, before, after = picture_psnrs(
        model, decoding(again, render.device), render, batches, background, photos=photos,
        fit=fit,
    )  # fmt: skip
    return ClipReceipt(
        file=str(path),
        kind=header_of(path)["kind"],
        bytes=path.stat().st_size,
        gaussians=len(again.cloud),
        as_floats=_as_floats(model),
        same_db=same_db,
        psnr_before=before,
        psnr_after=after,
    )


def read(path: Path) -> tuple[Model, Frame, Drawing]:
    """The model of a file, the frame that it lies in, and how it is to be drawn."""
    return read_clip(path)


def receipt_text(receipt: Mapping[str, Any]) -> str:
    """A receipt, of which these are the fields, in a line."""
    return ClipReceipt(**receipt).text()


def described(path: Path) -> Mapping[str, Any]:
    """What a file says of itself, for people."""
    header = header_of(path)
    sizes = header["sizes"]
    return {
        "format": f".clip, {header['kind']}",
        "gaussians": header["rows"],
        "planes": {
            "sides": sizes["sides"], "instants": sizes["instants"], "channels": sizes["channels"],
        },
        "layers": sizes["width"],
        "steps": header.get("step"),
        "frame": header["frame"],
        "background": header["background"],
    }  # fmt: skip


def background_of(path: Path) -> Float[Tensor, "3"] | None:
    """What is behind everything in a file, RGB; None: black."""
    behind = header_of(path)["background"]
    return None if behind is None else torch.tensor(behind, dtype=torch.float32)


def _as_floats(model: Deformed) -> int:
    rows = sum(model.cloud[name].numel() for name in model.cloud.names)
    return 4 * (rows + sum(values.numel() for values in model.field.parameters()))
