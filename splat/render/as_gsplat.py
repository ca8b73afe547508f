"""`splat.rasterize`: pictures of Gaussians with the arguments and the results of gsplat.

The arguments of gsplat 1.5.3 by name and order, so that a script of its runs by changing the
import. Our own kernels draw. What they do not have gsplat draws, on CUDA; on the CPU it is refused
in a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat import kernels
from splat.kernels import NEAR
from splat.math import rotation_matrices
from splat.render import available
from splat.render.gsplat import BORDER, ready

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
RasterizeMode = Literal["classic", "antialiased"]
ALPHA = 1 / 255
"""Alpha below which nothing is drawn."""
REACH = 3.33
"""Standard deviations that a Gaussian reaches at most."""
_ABSENT: dict[str, Any] = {
    "sparse_grad": False, "distributed": False, "camera_model": "pinhole", "covars": None,
    "with_ut": False, "with_eval3d": False, "radial_coeffs": None, "tangential_coeffs": None,
    "thin_prism_coeffs": None, "ftheta_coeffs": None, "viewmats_rs": None,
}  # fmt: skip
"""Arguments that only gsplat itself honours, with the values that ask for nothing."""


class Info(dict[str, Any]):
    """What is known of the Gaussians in the pictures, by gsplat's names."""

    def __missing__(self, name: str) -> Any:
        raise KeyError(
            f"{name!r} is not known of what our own kernels draw; there are {', '.join(self)}"
        )


def rasterize(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, "n"],
    colors: Tensor,
    viewmats: Float[Tensor, "c 4 4"],
    Ks: Float[Tensor, "c 3 3"],
    width: int,
    height: int,
    near_plane: float = NEAR,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = 16,
    backgrounds: Float[Tensor, "c d"] | None = None,
    render_mode: RenderMode = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: RasterizeMode = "classic",
    channel_chunk: int = 32,
    distributed: bool = False,
    camera_model: str = "pinhole",
    segmented: bool = False,
    covars: Float[Tensor, "n 3 3"] | None = None,
    with_ut: bool = False,
    with_eval3d: bool = False,
    radial_coeffs: Tensor | None = None,
    tangential_coeffs: Tensor | None = None,
    thin_prism_coeffs: Tensor | None = None,
    ftheta_coeffs: Any = None,
    rolling_shutter: Any = None,
    viewmats_rs: Tensor | None = None,
) -> tuple[Float[Tensor, "c h w d"], Float[Tensor, "c h w 1"], dict[str, Any]]:
    """Pictures, alphas, and what is known of the Gaussians in them; differentiable in all but Ks.

    `colors` are harmonics [n, k, 3] with `sh_degree`, else channels [n, d]; or one set for each
    camera, [c, n, k, 3] or [c, n, d]. Mode D is depth blended like a colour, ED is that over alpha;
    with RGB it is the last channel. `packed` lists what is seen (camera_ids, gaussian_ids), else
    everything in `info` is [c, n]. After backward `info["means2d"].grad` is the gradient of the
    positions on screen, pixels, and with `absgrad` its attribute `absgrad` the sum of absolute
    values. tile_size, channel_chunk and segmented change nothing. What our kernels do not have is
    drawn by gsplat on CUDA, with its own `info`; ValueError on the CPU, and where gsplat cannot be
    had.
    """
    given = dict(locals())
    lacking = _lacking(given)
    if lacking or (means.is_cuda and not available.found_module("splat._gpu")):
        if not means.is_cuda:
            raise ValueError(
                f"{lacking}, which our kernels do not have; leave it out, or give tensors on CUDA,"
                " where gsplat draws"
            )
        if rolling_shutter is None:
            del given["rolling_shutter"]
        pictures, alphas, info = ready(means.device).rasterization(**given)
        return pictures, alphas, info
    _check(render_mode, rasterize_mode, means, viewmats, Ks)
    cameras = len(viewmats)
    projection = kernels.Projection(
        antialiased=rasterize_mode == "antialiased", eps2d=eps2d, near=near_plane, far=far_plane,
        radius_clip=radius_clip,
    )  # fmt: skip
    pictures, alphas, seen, told = [], [], [], []
    for c in range(cameras):
        rows = _of_camera(colors, c, cameras, len(means), sh_degree is not None)
        picture, alpha, statistics = _drawn(
            (means, quats, scales, opacities, rows), viewmats[c], Ks[c], width, height, sh_degree,
            None if backgrounds is None else backgrounds[c], render_mode, absgrad, projection,
        )  # fmt: skip
        pictures.append(picture)
        alphas.append(alpha[..., None])
        with torch.no_grad():
            seen.append(
                _seen(
                    (means, quats, scales, opacities), viewmats[c], Ks[c], width, height,
                    statistics.radii > 0, projection,
                )
            )  # fmt: skip
        told.append(statistics.gradient)
    info = _info(seen, packed, width, height, tile_size)
    if torch.is_grad_enabled():
        _follow(info["means2d"], told, info["gaussian_ids"], info["camera_ids"])
    return torch.stack(pictures), torch.stack(alphas), info


def _lacking(given: dict[str, Any]) -> str:
    """The first argument that only gsplat honours, in a clause; empty where there is none."""
    for name, usual in _ABSENT.items():
        value = given[name]
        if value is not usual and (isinstance(value, Tensor) or value != usual):
            shown = "a tensor" if isinstance(value, Tensor) else repr(value)
            return f"{name} is {shown} (usually {usual!r})"
    shutter = given["rolling_shutter"]
    if shutter is not None and getattr(shutter, "name", "") != "GLOBAL":
        return f"rolling_shutter is {shutter!r}"
    return ""


def _check(
    render_mode: str, rasterize_mode: str, means: Tensor, viewmats: Tensor, Ks: Tensor
) -> None:
    """Raise ValueError for what is not as it has to be."""
    for what, value, kind in (
        ("render_mode", render_mode, RenderMode),
        ("rasterize_mode", rasterize_mode, RasterizeMode),
    ):
        if value not in get_args(kind):
            raise ValueError(f"{what} is {value!r}; expected one of {', '.join(get_args(kind))}")
    if means.ndim != 2:
        raise ValueError(f"means are {tuple(means.shape)}; expected (n, 3): one set of Gaussians")
    if viewmats.ndim != 3 or viewmats.shape[1:] != (4, 4) or Ks.shape != (len(viewmats), 3, 3):
        raise ValueError(
            f"viewmats are {tuple(viewmats.shape)} and Ks {tuple(Ks.shape)}; expected (c, 4, 4) and"
            " (c, 3, 3) for c cameras"
        )


def _of_camera(colors: Tensor, c: int, cameras: int, n: int, harmonics: bool) -> Tensor:
    """The colours, or harmonics, of all Gaussians for one camera."""
    own = (n, -1, 3) if harmonics else (n, -1)
    for shape, chosen in ((own, colors), ((cameras, *own), colors[c : c + 1])):
        if len(shape) == colors.ndim and all(
            wanted in (-1, side) for wanted, side in zip(shape, colors.shape, strict=True)
        ):
            return chosen.view(colors.shape[-len(own) :])
    end = "k, 3) harmonics" if harmonics else "d)"
    raise ValueError(
        f"colors are {tuple(colors.shape)}; expected ({n}, {end}, or ({cameras}, {n}, {end}"
        + ("" if harmonics else "; harmonics need sh_degree")
    )


def _drawn(
    rows: tuple[Tensor, ...],
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    sh_degree: int | None,
    background: Tensor | None,
    mode: RenderMode,
    absolute: bool,
    projection: kernels.Projection,
) -> tuple[Float[Tensor, "h w d"], Float[Tensor, "h w"], kernels.Statistics]:
    """The picture of one camera, its alpha, and its statistics."""
    means, quats, scales, opacities, colors = rows
    harmonics, three = sh_degree is not None, colors.shape[-1] == 3
    features = None if harmonics or three else colors
    if harmonics and background is not None and len(background) != 3:
        raise ValueError(f"backgrounds have {len(background)} channels; expected 3, as pictures")
    depth = "D" in mode
    image, alpha, extra, statistics = kernels.rasterize(
        means, quats, scales, opacities,
        colors if features is None else torch.zeros_like(means),
        viewmat, K, width, height, sh_degree=sh_degree, features=features,
        background=background if features is None else None, depth=depth, absolute=absolute,
        projection=projection,
    )  # fmt: skip
    if features is not None:
        assert extra is not None
        image = extra[..., int(depth) :]
        if background is not None:
            image = image + (1 - alpha)[..., None] * background
    if not depth:
        return image, alpha, statistics
    assert extra is not None
    deep = extra[..., :1]
    if "ED" in mode:
        deep = deep / alpha.clamp_min(1e-10)[..., None]
    return torch.cat([image, deep], -1) if "RGB" in mode else deep, alpha, statistics


def _seen(
    rows: tuple[Tensor, ...],
    viewmat: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    visible: Bool[Tensor, "n"],
    projection: kernels.Projection,
) -> dict[str, Tensor]:
    """Where Gaussians are on the screen of a camera, as the kernels project them; 0 where not
    visible."""
    means, quats, scales, opacities = (each.detach() for each in rows)
    pose, intrinsics = viewmat.detach().to(means), K.detach().to(means)
    n = len(means)
    some = visible.nonzero().squeeze(1)
    x, y, z = (means[some] @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    slopes, axes = [], []
    for along, line, side in ((x, 0, width), (y, 1, height)):
        focal, middle = intrinsics[line, line], intrinsics[line, 2]
        border = BORDER * side / 2
        slope = along / z
        low, high = (-middle - border) / focal, (side - middle + border) / focal
        slopes.append(focal * slope + middle)
        turned = pose[line, :3] - slope.clamp(low, high)[:, None] * pose[2, :3]
        axes.append((focal / z)[:, None] * turned)
    spread = rotation_matrices(quats[some]) * scales[some][:, None, :]
    u, v = ((each[:, None] @ spread)[:, 0] for each in axes)
    a, b, c = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    sharp = a * c - b * b
    a, c = a + projection.eps2d, c + projection.eps2d
    det = a * c - b * b
    drawn = opacities[some]
    if projection.antialiased:
        drawn = drawn * (sharp / det).clamp_min(0).sqrt()
    reach = (2 * (drawn / ALPHA).clamp_min(1).log()).sqrt().clamp_max(REACH)
    radii = (reach[:, None] * torch.stack([a, c], 1).sqrt()).ceil().int()
    found = {
        "radii": radii, "means2d": torch.stack(slopes, 1), "depths": z,
        "conics": torch.stack([c / det, -b / det, a / det], 1), "opacities": drawn,
    }  # fmt: skip
    return {
        name: each.new_zeros(n, *each.shape[1:]).index_copy(0, some, each)
        for name, each in found.items()
    }


def _info(
    seen: list[dict[str, Tensor]], packed: bool, width: int, height: int, tile_size: int
) -> Info:
    whole = {name: torch.stack([each[name] for each in seen]) for name in seen[0]}
    info = Info(
        batch_ids=None, camera_ids=None, gaussian_ids=None, **whole, width=width, height=height,
        tile_size=tile_size, tile_width=math.ceil(width / tile_size),
        tile_height=math.ceil(height / tile_size), n_batches=1, n_cameras=len(seen),
    )  # fmt: skip
    if packed:
        camera, gaussian = (whole["radii"] > 0).all(-1).nonzero().unbind(1)
        info.update({name: each[camera, gaussian] for name, each in whole.items()})
        info.update(batch_ids=torch.zeros_like(camera), camera_ids=camera, gaussian_ids=gaussian)
    return info


def _follow(
    means2d: Tensor,
    gradients: list[Any],
    gaussian_ids: Int[Tensor, "m"] | None,
    camera_ids: Int[Tensor, "m"] | None,
) -> None:
    """Have positions on screen get their gradient when that of the pictures is taken."""
    means2d.requires_grad_()

    def told(c: int) -> Callable[[], None]:
        def note() -> None:
            for name, each in (("grad", gradients[c].signed), ("absgrad", gradients[c].absolute)):
                if each is None:
                    continue
                held = getattr(means2d, name, None)
                held = torch.zeros_like(means2d) if held is None else held.clone()
                if gaussian_ids is None or camera_ids is None:
                    held[c] += each
                else:
                    own = camera_ids == c
                    held[own] += each[gaussian_ids[own]]
                setattr(means2d, name, held.detach())

        return note

    for c, gradient in enumerate(gradients):
        gradient.told = told(c)
