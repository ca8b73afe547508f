"""Drawing one picture, differentiably."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.kernels import output
from splat.kernels.crossing import is_half, needed, numbers, optional, plain, rows_of, shaped
from splat.kernels.frame import Frame
from splat.kernels.harmonics import Harmonics, HarmonicsGradient
from splat.kernels.native import Scratch, cuda, single, table_of
from splat.scene import NEAR
from splat.types import ScreenGradient

MOST_PIXELS = 16 * (2**16 - 1)
"""Along a side of a picture: its tiles, 16 pixels at least, are counted in 16 bits."""


@dataclass(frozen=True)
class Projection:
    """How Gaussians are drawn; the defaults are those of gsplat 1.5.3."""

    antialiased: bool = False
    """Compensate opacity for the low-pass filter (Mip-Splatting, Yu et al. 2024)."""
    eps2d: float = 0.3
    """Added to the projected covariance, pixels squared."""
    near: float = NEAR
    """Gaussians whose centre lies less deep than this are not drawn."""
    far: float = 1e10
    beside: bool = True
    """Draw those, too, whose centre lies beyond the border (0.3 of half a side outside of the
    picture) up to which they are projected by where they lie: from close by, such a one is a veil
    over the whole of it. Programs on web pages leave them out."""
    radius_clip: float = 0.0
    """Skip Gaussians whose half extents are both at most this, pixels."""

    def __post_init__(self) -> None:
        if not 0 <= self.eps2d < math.inf:
            raise ValueError(
                f"eps2d is {self.eps2d:g}; expected 0 or more pixels squared, 0.3 is usual"
            )


@dataclass
class Statistics:
    """What a rendering tells about each Gaussian."""

    radii: Tensor
    """[n] larger half extent on screen in whole pixels; 0 where not visible."""
    gradient: ScreenGradient = field(default_factory=ScreenGradient)
    drawn: tuple[Any, Tensor] | None = None
    """The pass's scratch and its picture, for `survey`. Whoever keeps them keeps the scratch."""


def rasterize(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, "n"],
    colors: Tensor,
    world_to_camera: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    features: Float[Tensor, "n f"] | None = None,
    background: Float[Tensor, "3"] | None = None,
    depth: bool = False,
    absolute: bool = False,
    projection: Projection | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Statistics]:
    """Draw one picture: image [h, w, 3], alpha [h, w], extra channels [h, w, c], statistics.

    The extra channels are blended camera depth (if asked for) and then the features, over zero
    and not divided by alpha. `colors` is [n, 3] RGB, or [n, k, 3] SH with `sh_degree` bands used,
    which may be bfloat16.
    Gradients reach everything but K. That of `colors` reaches a leaf of type `Harmonics` as what
    it is made of (`Harmonics.pending`), a twelfth of its size.
    """
    n = rows_of("means", means, 3)
    shaped("world_to_camera", world_to_camera, (4, 4))
    shaped("K", K, (3, 3))
    if not (1 <= width <= MOST_PIXELS and 1 <= height <= MOST_PIXELS):
        raise ValueError(
            f"the picture is {width} x {height} pixels; expected 1 to {MOST_PIXELS} either way"
        )
    if sh_degree is None:
        shaped("colors", colors, (n, 3))
    elif colors.ndim != 3 or colors.shape[0] != n or colors.shape[2] != 3:
        raise ValueError(f"colors are {tuple(colors.shape)}; with sh_degree they are ({n}, k, 3)")
    elif not 0 <= sh_degree <= 3 or colors.shape[1] < (sh_degree + 1) ** 2:
        raise ValueError(
            f"sh_degree is {sh_degree} with {colors.shape[1]} coefficients;"
            " it is 0 to 3 and needs (sh_degree + 1)^2 of them"
        )
    if features is not None and features.ndim != 2:
        raise ValueError(f"features are {tuple(features.shape)}; expected ({n}, f)")
    statistics = Statistics(output.rows.beside(means, n))
    image, alpha, extra = _Rasterize.apply(  # type: ignore[no-untyped-call]
        means, quats, scales, opacities, colors, features, background, world_to_camera,
        (
            K, width, height, sh_degree, depth, absolute, projection or Projection(), statistics,
            torch.is_grad_enabled(),  # within a Function it never is
        ),
    )  # fmt: skip
    return image, alpha, extra, statistics


def maps_of(pixels: Tensor | None, image: Tensor) -> Tensor | None:
    """Maps of weights as the native code reads them beside a picture."""
    if pixels is None or not pixels.numel():
        return None
    shaped("the stack of maps", pixels, (*image.shape[:2], pixels.shape[-1]))
    return plain(pixels.to(image))  # type: ignore[no-any-return]


def scratch_bytes() -> int:
    """Scratch that idle frames hold."""
    return sum(
        frame.bytes
        for (kind, _), waiting in Scratch.idle.items()
        if kind == "Frame"
        for frame in waiting
    )


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor,
        features: Tensor | None,
        background: Tensor | None,
        world_to_camera: Tensor,
        settings: tuple[Any, ...],
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        K, width, height, sh_degree, depth, absolute, projection, statistics, recorded = settings
        rows = [plain(t) for t in (means, quats, scales, opacities, colors, features)]
        image = output.pictures.beside(means, height, width, 3)
        alpha = output.pictures.beside(means, height, width)
        channels = int(depth) + (0 if features is None else features.shape[1])
        extra = output.pictures.beside(means, height, width, channels) if channels else None
        over = None if background is None else plain(background.to(means.dtype))
        frame = frame_for(means, recorded and any(ctx.needs_input_grad))
        pose = [value for row in numbers(world_to_camera) for value in row]
        (fx, _, cx), (_, fy, cy), _ = numbers(K)
        view = {
            "world_to_camera": pose[:12], "fx": fx, "fy": fy, "cx": cx, "cy": cy, "width": width,
            "height": height,
        }  # fmt: skip
        wanted = {
            "sh_degree": -1 if sh_degree is None else sh_degree, "absolute": absolute,
            "depth": depth, "antialiased": projection.antialiased, "eps2d": projection.eps2d,
            "beside": projection.beside,
            "near": projection.near, "far": projection.far, "radius_clip": projection.radius_clip,
        }  # fmt: skip
        arrays = _arrays(rows, statistics.radii, over, image, alpha, extra, sh_degree)
        frame.native.forward({**arrays, **view, **wanted})
        statistics.drawn = frame, image.detach()
        ctx.frame, ctx.gradient, ctx.absolute = frame, statistics.gradient, absolute
        ctx.background, ctx.depth = background is not None, int(depth)
        ctx.features, ctx.pose_device = features is not None, world_to_camera.device
        ctx.set_materialize_grads(False)  # what is not used costs nothing in backward
        factored = type(colors) is Harmonics and sh_degree is not None and colors.requires_grad
        ctx.harmonics = (colors, sh_degree) if factored else None
        ctx.save_for_backward(*(t for t in (*rows, image, alpha, extra) if t is not None))
        return image, alpha, extra

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        v_image, v_alpha, v_extra = (None if g is None else plain(g) for g in gradients)
        saved = list(ctx.saved_tensors)
        means, quats, scales, opacities, colors = saved[:5]
        features = saved[5] if ctx.features else None
        image, alpha, *rest = saved[5 + ctx.features :]
        extra = rest[0] if rest else None
        n = means.shape[0]
        # Written in the type of the picture; of colours that are bfloat16 autograd rounds it.
        v_means, v_quats, v_scales, v_opacities = (
            output.rows.empty_like(t, image.dtype) for t in (means, quats, scales, opacities)
        )
        v_colors = v_features = None
        if ctx.harmonics is None:
            v_colors = output.rows.empty_like(colors, image.dtype)
        if features is not None:
            v_features = output.rows.empty_like(features, image.dtype)
        factors = None if ctx.harmonics is None else output.rows.beside(image, n, 6)
        means2d = output.rows.beside(image, n, 2)
        absolute = output.rows.empty_like(means2d) if ctx.absolute else None
        v_view = image.new_zeros(4, 4) if ctx.needs_input_grad[7] else None
        v_background = image.new_empty(3) if ctx.background else None
        maps, sums = maps_of(ctx.gradient.pixels, image), None
        if maps is not None:
            sums = output.rows.beside(image, n, maps.shape[2])
        height, width = alpha.shape
        channels = 0 if extra is None else extra.shape[2]
        count = 0 if maps is None else maps.shape[2]
        ctx.frame.native.backward(
            {
                **needed(
                    image, image=(image, (height, width, 3)), alpha=(alpha, (height, width)),
                    v_means=(v_means, (n, 3)), v_quats=(v_quats, (n, 4)),
                    v_scales=(v_scales, (n, 3)), v_opacities=(v_opacities, (n,)),
                    v_means2d=(means2d, (n, 2)),
                ),
                **optional(
                    image, extra=(extra, (height, width, channels)),
                    v_image=(v_image, (height, width, 3)), v_alpha=(v_alpha, (height, width)),
                    v_extra=(v_extra, (height, width, channels)),
                    v_colors=(v_colors, colors.shape), v_factors=(factors, (n, 6)),
                    v_features=(v_features, (n, channels - ctx.depth)),
                    v_means2d_absolute=(absolute, (n, 2)), v_view=(v_view, (4, 4)),
                    v_background=(v_background, (3,)), maps=(maps, (height, width, count)),
                    sums=(sums, (n, count)),
                ),
                "map_count": count,
            }
        )  # fmt: skip
        if factors is not None:
            leaf, degree = ctx.harmonics
            leaf.pending.append(HarmonicsGradient(factors, degree))
        ctx.gradient.signed, ctx.gradient.absolute, ctx.gradient.sums = means2d, absolute, sums
        if ctx.gradient.told is not None:
            ctx.gradient.told()
        if v_view is not None:
            v_view = v_view.to(ctx.pose_device)
        return (
            v_means, v_quats, v_scales, v_opacities, v_colors, v_features, v_background, v_view,
            None,
        )  # fmt: skip


def frame_for(means: Tensor, differentiable: bool) -> Scratch | Frame:
    """What draws a picture where the rows lie."""
    if means.is_cuda:
        single(means)
        return Frame(cuda(), means, differentiable)
    return Scratch("Frame", table_of(means))


def _arrays(
    rows: list[Tensor],
    radii: Tensor,
    background: Tensor | None,
    image: Tensor,
    alpha: Tensor,
    extra: Tensor | None,
    sh_degree: int | None,
) -> dict[str, int]:
    """Fields of the rows, in the order of `rasterize`, and of what is drawn of them."""
    means, quats, scales, opacities, colors, features = rows
    n, (height, width) = len(means), alpha.shape
    harmonics = sh_degree is not None
    half = harmonics and is_half(colors)
    count = 0 if features is None else features.shape[1]
    channels = 0 if extra is None else extra.shape[2]
    return {
        **needed(
            means, means=(means, (n, 3)), quats=(quats, (n, 4)), scales=(scales, (n, 3)),
            opacities=(opacities, (n,)), image=(image, (height, width, 3)),
            alpha=(alpha, (height, width)), radii=(radii, (n,)),
        ),
        **needed(means, torch.bfloat16 if half else None, colors=(colors, colors.shape)),
        **optional(
            means, features=(features, (n, count)), background=(background, (3,)),
            extra=(extra, (height, width, channels)),
        ),
        "n": n, "coefficients": colors.shape[1] if harmonics else 1, "feature_count": count,
        "half_colors": half,
    }  # fmt: skip
