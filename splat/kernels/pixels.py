"""What is done pixel by pixel: colours through an affine map, and where a picture is wrong."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.kernels import output
from splat.kernels.native import address, addresses, cpu, plain, same_device, shaped, table_of


def toned(image: Float[Tensor, "h w 3"], tone: Float[Tensor, "3 4"]) -> Float[Tensor, "h w 3"]:
    """RGB times the first three columns of a map, plus the last; differentiable by both.

    On the CPU in one pass of our own each way, elsewhere by torch.
    """
    shaped("the map of colours", tone, (3, 4))
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the picture has shape {tuple(image.shape)}, expected (h, w, 3)")
    if image.device.type != "cpu":
        return image @ tone[:, :3].T + tone[:, 3]
    found: Tensor = _Toned.apply(image, tone)  # type: ignore[no-untyped-call]
    return found


@torch.no_grad()
def errors(
    image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"] | UInt8[Tensor, "h w 3"]
) -> Float[Tensor, "h w"]:
    """|image - target|, mean over channels, detached; a uint8 target is taken as value / 255."""
    shaped("target", target, tuple(image.shape))
    same_device(image, target)
    bytes_ = target if target.dtype == torch.uint8 else None
    if image.device.type != "cpu":
        photo = target.to(image.dtype)
        return (image - (photo if bytes_ is None else photo.div_(255))).abs_().mean(-1)
    image, bytes_ = plain(image), plain(bytes_)
    floats = plain(target.to(image.dtype)) if bytes_ is None else None
    out = output.pictures.empty(*image.shape[:2], dtype=image.dtype)
    cpu.errors(
        table_of(image), address(image), address(floats), address(bytes_), out.numel(), address(out)
    )
    return out


class _Toned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, tone: Tensor) -> Tensor:
        image = plain(image)
        out = output.pictures.empty_like(image)
        ctx.map = tone.detach().double().flatten().tolist()
        pixels = image.shape[0] * image.shape[1]
        cpu.tone(table_of(image), address(image), pixels, ctx.map, address(out))
        ctx.save_for_backward(image)
        ctx.like = tone.dtype
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor]:
        (image,) = ctx.saved_tensors
        v_out = plain(gradients[0])
        v_image = output.pictures.empty_like(image) if ctx.needs_input_grad[0] else None
        pixels = image.shape[0] * image.shape[1]
        v_map = cpu.tone_backward(
            table_of(image), addresses(image, v_out, v_image), pixels, ctx.map
        )
        return v_image, torch.tensor(v_map, dtype=ctx.like).view(3, 4)
