"""What is done pixel by pixel: colours through an affine map, and where a picture is wrong."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.kernels import output
from splat.kernels.crossing import needed, optional, plain, same_device, shaped, sides_of
from splat.kernels.native import cpu, table_of


def toned(image: Float[Tensor, "h w 3"], tone: Float[Tensor, "3 4"]) -> Float[Tensor, "h w 3"]:
    """RGB times the first three columns of a map, plus the last; differentiable by both.

    On the CPU in one pass of our own each way, elsewhere by torch.
    """
    shaped("the map of colours", tone, (3, 4))
    sides_of(image)
    if image.device.type != "cpu":
        return image @ tone[:, :3].T + tone[:, 3]
    found: Tensor = _Toned.apply(image, tone)  # type: ignore[no-untyped-call]
    return found


@torch.no_grad()
def errors(
    image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"] | UInt8[Tensor, "h w 3"]
) -> Float[Tensor, "h w"]:
    """|image - target|, mean over channels, detached; a uint8 target is taken as value / 255."""
    height, width = sides_of(image)
    shaped("target", target, image.shape)
    same_device(image, target)
    bytes_ = target if target.dtype == torch.uint8 else None
    if image.device.type != "cpu":
        photo = target.to(image.dtype)
        return (image - (photo if bytes_ is None else photo.div_(255))).abs_().mean(-1)
    image, bytes_ = plain(image), plain(bytes_)
    floats = plain(target.to(image.dtype)) if bytes_ is None else None
    out = output.pictures.empty(height, width, dtype=image.dtype)
    shape = (height, width, 3)
    arrays = {
        **needed(image, image=(image, shape), out=(out, (height, width))),
        **optional(image, target=(floats, shape)),
        **optional(image, torch.uint8, bytes=(bytes_, shape)),
    }
    cpu.errors(table_of(image), {**arrays, "pixels": height * width})
    return out


class _Toned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, tone: Tensor) -> Tensor:
        image = plain(image)
        out = output.pictures.empty_like(image)
        ctx.map = tone.detach().double().flatten().tolist()
        height, width, _ = shape = image.shape
        arrays = needed(image, image=(image, shape), out=(out, shape))
        cpu.tone(table_of(image), {**arrays, "pixels": height * width, "map": ctx.map})
        ctx.save_for_backward(image)
        ctx.like = tone.dtype
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor]:
        (image,) = ctx.saved_tensors
        v_out = plain(gradients[0])
        v_image = output.pictures.empty_like(image) if ctx.needs_input_grad[0] else None
        height, width, _ = shape = image.shape
        arrays = {
            **needed(image, image=(image, shape), v_out=(v_out, shape)),
            **optional(image, v_image=(v_image, shape)),
        }
        v_map = cpu.tone_backward(
            table_of(image), {**arrays, "pixels": height * width, "map": ctx.map}
        )
        return v_image, torch.tensor(v_map, dtype=ctx.like).view(3, 4)
