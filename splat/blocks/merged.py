"""The merged Gaussians of all blocks, drawn in the frame that the blocks were trained in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat import formats
from splat.blocks.plan import BlockPlan
from splat.blocks.seams import on_seam
from splat.core.frame import gaussians_to_frame
from splat.render import drawing_as
from splat.system.colours import rgb
from splat.types import Camera, Frame, Gaussians, Needs, Renderer


@dataclass(frozen=True)
class Merged:
    """A merged set, ready to draw in the frame of training."""

    gaussians: Gaussians
    frame: Frame
    render: Renderer
    background: Float[Tensor, "3"] | None

    @classmethod
    def of(
        cls,
        path: Path,
        frame: Frame,
        device: torch.device,
        background: str,
        *,
        beside: bool = True,
        renderer: str = "auto",
    ) -> Merged:
        """The set in the file `path`, before a background as options name it; `beside` and
        `renderer` are those of `splat.render.drawing_as`."""
        drawing = formats.drawing(path).plain
        gaussians = gaussians_to_frame(formats.read(path), frame).to(device)
        behind = torch.tensor(rgb(background), device=device)
        render = drawing_as(drawing, frame, device, beside=beside, renderer=renderer)
        return cls(gaussians, frame, render, behind if bool(behind.any()) else None)

    @torch.no_grad()
    def seam(self, camera: Camera, cells: BlockPlan) -> Bool[Tensor, "h w"]:
        """Pixels of a camera of `frame` that show what lies near a border of blocks."""
        rendered = self.render(self.gaussians, camera, Needs(depth=True), self.background)
        return on_seam(rendered, camera, cells.cells, cells.strip, self.frame)
