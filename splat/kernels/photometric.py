"""The photometric loss."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.kernels import output
from splat.kernels.crossing import needed, optional, shaped, sides_of
from splat.kernels.native import cpu, cuda, single, stream, table_of


def photometric(
    image: Float[Tensor, "h w 3"],
    target: Float[Tensor, "h w 3"] | UInt8[Tensor, "h w 3"],
    ssim_weight: float = 0.2,
) -> Float[Tensor, ""]:
    """(1 - w) mean |x - y| + w (1 - mean SSIM), fused with its gradient with respect to `image`.

    SSIM (Wang et al. 2004) as in 3DGS: 11 x 11 Gaussian window of sigma 1.5, zeros beyond the
    border, every pixel counts. A uint8 target is taken as value / 255.
    """
    if not all(sides_of(image)):
        raise ValueError(f"the picture has shape {tuple(image.shape)}; expected pixels")
    shaped("target", target, image.shape)
    loss: Tensor = _Photometric.apply(image, target, ssim_weight)  # type: ignore[no-untyped-call]
    return loss


class _Photometric(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, ssim_weight: float) -> Tensor:
        image, target = image.detach().contiguous(), target.detach().contiguous()
        bytes_ = target if target.dtype == torch.uint8 else None
        floats = None if bytes_ is not None else target.to(image.dtype)
        gradient = output.pictures.empty_like(image) if ctx.needs_input_grad[0] else None
        height, width, _ = shape = image.shape
        pictures = {
            **needed(image, image=(image, shape)),
            **optional(image, target=(floats, shape), v_image=(gradient, shape)),
            **optional(image, torch.uint8, bytes=(bytes_, shape)),
        }
        if image.is_cuda:
            loss = _cuda_photometric(image, pictures, ssim_weight)
        else:
            size = {"width": width, "height": height}
            value = cpu.photometric(
                table_of(image), {**pictures, **size, "ssim_weight": ssim_weight}
            )
            loss = torch.scalar_tensor(value, dtype=image.dtype)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        (v_loss,) = gradients
        # The usual loss is summed with weight one; scaling would be one more pass for nothing.
        if not v_loss.is_cuda and float(v_loss) == 1.0:
            return gradient, None, None
        return gradient * v_loss, None, None


def _cuda_photometric(image: Tensor, pictures: dict[str, int], ssim_weight: float) -> Tensor:
    native = cuda()
    single(image)
    height, width = image.shape[:2]
    size = native.photometric_scratch_bytes(width, height)
    scratch = torch.empty(size, dtype=torch.uint8, device=image.device)
    loss = torch.empty((), dtype=torch.float32, device=image.device)
    with torch.cuda.device(image.device):
        native.photometric(
            {
                **pictures, **needed(image, loss=(loss, ())),
                **needed(image, torch.uint8, scratch=(scratch, (size,))),
                "width": width, "height": height, "ssim_weight": ssim_weight,
                "stream": stream(image),
            }
        )  # fmt: skip
    return loss
