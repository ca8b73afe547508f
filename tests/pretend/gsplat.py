"""gsplat 1.5.3 as its adapter sees it, drawn by our kernels for the CPU.

Of its functions those that `splat.render.gsplat` calls, with their arguments, types and shapes, and
with what is easily got wrong of them: float32 only, everything on CUDA, nothing of an empty set, no
values of Gaussians out of sight (NaN here), `absgrad` of the last pass only.
`tests/test_pretend.py` holds the signatures to those of gsplat itself.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from splat.kernels.harmonics import basis
from splat.math import rotation_matrices
from splat.render import as_gsplat

__version__ = "1.5.3"
ALPHA_MOST = 0.999
STOP = 1e-4
"""Transmittance that ends a pixel: the Gaussian that would bring it there is not drawn."""


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = 16,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: str = "classic",
    channel_chunk: int = 32,
    distributed: bool = False,
    camera_model: str = "pinhole",
    segmented: bool = False,
    covars: Tensor | None = None,
    with_ut: bool = False,
    with_eval3d: bool = False,
    radial_coeffs: Tensor | None = None,
    tangential_coeffs: Tensor | None = None,
    thin_prism_coeffs: Tensor | None = None,
    ftheta_coeffs: Any = None,
    rolling_shutter: Any = None,
    viewmats_rs: Tensor | None = None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    given = dict(locals())
    n, cameras = len(means), len(viewmats)
    channels = 3 if sh_degree is not None else colors.shape[-1]
    assert means.shape == (n, 3), means.shape
    assert quats.shape == (n, 4) and scales.shape == (n, 3), (quats.shape, scales.shape)
    assert opacities.shape == (n,), opacities.shape
    assert viewmats.shape == (cameras, 4, 4) and Ks.shape == (cameras, 3, 3), viewmats.shape
    if sh_degree is None:
        assert colors.shape in ((n, channels), (cameras, n, channels)), colors.shape
    else:
        assert colors.shape[:-2] in ((n,), (cameras, n)) and colors.shape[-1] == 3, colors.shape
        assert (sh_degree + 1) ** 2 <= colors.shape[-2], colors.shape
    assert backgrounds is None or backgrounds.shape == (cameras, channels), backgrounds
    names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds")
    tensors = [given[name] for name in names]
    _on_cuda(*tensors, Ks)
    if n == 0:
        raise ZeroDivisionError("integer division or modulo by zero")
    drawn = channels + ("D" in render_mode)
    if drawn > (channel_chunk if absgrad else 513):
        raise AssertionError(f"{drawn} channels, of which absgrad would be of the last pass only")
    leaves = [
        None if t is None else t.detach().cpu().requires_grad_(t.requires_grad) for t in tensors
    ]
    whole = {**given, **dict(zip(names, leaves, strict=True)), "Ks": Ks.detach().cpu()}
    pictures, alphas, info = as_gsplat.rasterize(**whole)
    here = {k: v.detach().to(means.device) if isinstance(v, Tensor) else v for k, v in info.items()}
    meta = {**here, **_tiles(info, width, height, tile_size, means.device)}
    if not packed:
        for name in ("means2d", "depths", "conics"):
            unseen = (meta["radii"] == 0).all(-1)
            meta[name] = meta[name].masked_fill(
                unseen.view(*unseen.shape, *[1] * (meta[name].ndim - 2)), math.nan
            )
    meta["means2d"] = _Places.apply(means, meta["means2d"])  # type: ignore[no-untyped-call]
    picture, alpha = _Drawn.apply(  # type: ignore[no-untyped-call]
        meta["means2d"], (pictures, alphas, info, leaves, absgrad), *tensors
    )
    return picture, alpha, meta


class _Places(torch.autograd.Function):
    """Positions on screen, part of the graph; what they pass on is in `_Drawn`'s gradients."""

    @staticmethod
    def forward(ctx: Any, means: Tensor, places: Tensor) -> Tensor:
        ctx.shape = means.shape
        return places.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return gradients[0].new_zeros(ctx.shape), None


class _Drawn(torch.autograd.Function):
    """Pictures that were drawn on the CPU; backward goes through there."""

    @staticmethod
    def forward(ctx: Any, means2d: Tensor, drawn: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        pictures, alphas, *ctx.rest = drawn
        ctx.drawn = pictures, alphas
        ctx.save_for_backward(means2d)
        return pictures.detach().to(means2d.device), alphas.detach().to(means2d.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        info, leaves, absgrad = ctx.rest
        (means2d,) = ctx.saved_tensors
        torch.autograd.backward(ctx.drawn, [each.cpu() for each in gradients])
        place = info["means2d"]
        if absgrad:
            means2d.absgrad = place.absgrad.to(means2d.device)
        given = [None if leaf is None or leaf.grad is None else leaf.grad for leaf in leaves]
        return (
            place.grad.to(means2d.device), None,
            *(None if each is None else each.to(means2d.device) for each in given),
        )  # fmt: skip


def _tiles(
    info: dict[str, Any], width: int, height: int, side: int, device: torch.device
) -> dict[str, Tensor]:
    """Which Gaussians touch which tile, front to back: `flatten_ids` from `isect_offsets` on."""
    across, down = math.ceil(width / side), math.ceil(height / side)
    if info["gaussian_ids"] is not None:
        return {}
    starts, ids = [], []
    n = info["radii"].shape[1]
    for c, (places, radii, depths) in enumerate(
        zip(info["means2d"].detach(), info["radii"], info["depths"], strict=True)
    ):
        seen = (radii > 0).all(-1)
        low = ((places - radii) / side).floor().long()
        high = ((places + radii) / side).ceil().long()
        order = depths.argsort(stable=True)
        for row in range(down):
            for column in range(across):
                here = seen & (low[:, 0] <= column) & (column < high[:, 0])
                here &= (low[:, 1] <= row) & (row < high[:, 1])
                starts.append(sum(map(len, ids)))
                ids.append(order[here[order]] + c * n)
    return {
        "isect_offsets": torch.tensor(starts, dtype=torch.int32, device=device).view(
            -1, down, across
        ),
        "flatten_ids": torch.cat(ids).int().to(device),
    }


def rasterize_to_indices_in_range(
    range_start: int,
    range_end: int,
    transmittances: Tensor,
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    image_width: int,
    image_height: int,
    tile_size: int,
    isect_offsets: Tensor,
    flatten_ids: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    n, (images, down, across) = means2d.shape[-2], isect_offsets.shape
    assert images == 1 and transmittances.shape == (1, image_height, image_width)
    assert means2d.shape == (1, n, 2) and conics.shape == (1, n, 3) and opacities.shape == (1, n)
    assert down * tile_size >= image_height and across * tile_size >= image_width
    _on_cuda(transmittances, means2d, conics, opacities)
    assert isect_offsets.dtype == flatten_ids.dtype == torch.int32
    assert isect_offsets.is_cuda and flatten_ids.is_cuda
    places, shapes, alphas = (t.detach().cpu()[0].double() for t in (means2d, conics, opacities))
    ids = flatten_ids.cpu().long()
    bounds = [*isect_offsets.flatten().tolist(), len(ids)]
    gaussians, pixels = [], []
    for tile in range(down * across):
        rows = ids[bounds[tile] : bounds[tile + 1]]
        top, left = tile_size * (tile // across), tile_size * (tile % across)
        y, x = torch.meshgrid(
            torch.arange(top, min(top + tile_size, image_height)),
            torch.arange(left, min(left + tile_size, image_width)),
            indexing="ij",
        )
        x, y = x.flatten()[:, None], y.flatten()[:, None]
        dx, dy = x + 0.5 - places[rows, 0], y + 0.5 - places[rows, 1]
        a, b, c = shapes[rows].unbind(1)
        alpha = alphas[rows] * (-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy).exp()
        alpha = alpha.clamp_max(ALPHA_MOST)
        alpha = alpha.where(alpha >= as_gsplat.ALPHA, 0)
        after = (1 - alpha).cumprod(1)
        hit = (alpha > 0) & (after > STOP)
        which, order = hit.nonzero().unbind(1)
        gaussians.append(rows[order])
        pixels.append((y * image_width + x)[which, 0])
    device = means2d.device
    found = torch.cat(gaussians).to(device), torch.cat(pixels).to(device)
    return *found, torch.zeros_like(found[0])


def spherical_harmonics(
    degrees_to_use: int, dirs: Tensor, coeffs: Tensor, masks: Tensor | None = None
) -> Tensor:
    assert (degrees_to_use + 1) ** 2 <= coeffs.shape[-2], coeffs.shape
    assert dirs.shape[-1] == 3 and coeffs.shape[:-2] == dirs.shape[:-1], (dirs.shape, coeffs.shape)
    _on_cuda(dirs, coeffs)
    count = (degrees_to_use + 1) ** 2
    weights = basis(torch.nn.functional.normalize(dirs, dim=-1), degrees_to_use)
    values: Tensor = (weights[..., None] * coeffs[..., :count, :]).sum(-2)
    return values if masks is None else values.masked_fill(~masks[..., None], 0)


def quat_scale_to_covar_preci(
    quats: Tensor,
    scales: Tensor,
    compute_covar: bool = True,
    compute_preci: bool = True,
    triu: bool = False,
) -> tuple[Tensor | None, Tensor | None]:
    assert quats.shape[-1] == 4 and scales.shape == (*quats.shape[:-1], 3), scales.shape
    _on_cuda(quats, scales)
    assert not triu, "not stood in for"
    turned = rotation_matrices(quats)
    both = [turned * size[..., None, :] for size in (scales, 1 / scales)]
    covariance, precision = (each @ each.mT for each in both)
    return (covariance if compute_covar else None, precision if compute_preci else None)


def _on_cuda(*tensors: Tensor | None) -> None:
    """What gsplat's C++ would answer to tensors of another device or type."""
    for tensor in tensors:
        if tensor is None:
            continue
        if not tensor.is_cuda:
            raise RuntimeError("tensor must be a CUDA tensor")
        if tensor.dtype != torch.float32:
            raise RuntimeError(f"expected scalar type Float but found {tensor.dtype}")
