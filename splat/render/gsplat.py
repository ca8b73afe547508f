"""Drawing on CUDA through gsplat: the one place that imports it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.kernels import NEAR
from splat.render import available
from splat.render.hooks import screen_gradient_of, weigh_in, zeros_for
from splat.render.normals import with_normals
from splat.render.pairs import Pairs, bands, contributions, no_contributions, summed_parts
from splat.system import machine
from splat.system.lock import locked
from splat.types import Camera, Contributions, Gaussians, Needs, Rendered, ScreenGradient

BORDER = 0.3
"""Half sides beyond the edges of a picture up to which rows are projected by where they lie."""
_PICTURE = Needs()
_MOST_PAIRS = 1 << 26
"""Pairs of pixel and Gaussian tested at once in a survey; about one in five is drawn, and takes
150 bytes."""
_SHARE_OF_PAIRS = 12
"""A survey's pairs take at most one part in so many of a card's memory."""
_PATIENCE = 3600.0
"""Seconds to wait while another process compiles gsplat's kernels."""


class GsplatRenderer:
    """gsplat's `rasterization` as a `splat.types.Renderer`.

    Gradients flow to every field of the Gaussians, to the camera's pose and to the background,
    not to K. Culling and blending are gsplat's defaults: a low-pass of 0.3 pixels squared, and
    z from 0.01 where no other `near` is given. Kernels are compiled when the first renderer is
    made, which can take minutes once.
    """

    def __init__(
        self,
        device: torch.device | str = "cuda",
        antialiased: bool = False,
        near: float = NEAR,
        beside: bool = True,
    ) -> None:
        """Draw on `device`; `antialiased` dims what the low-pass widens (Mip-Splatting), `near` and
        `beside` are those of `splat.kernels.Projection`."""
        self.device = _cuda(torch.device(device))
        self.antialiased = antialiased
        self.near = near
        self.beside = beside
        self._gsplat = ready(self.device)

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = _PICTURE,
        background: Float[Tensor, "3"] | None = None,
    ) -> Rendered:
        """Draw; `background` None is black.

        For absolute gradients all channels (3, the features, one for each of the needs' weights,
        the depth) are blended in one pass: 513 at most, fewer where the card's shared memory is
        short.
        """

        def draw(gaussians: Gaussians, needs: Needs) -> Rendered:
            return self._drawn(gaussians, camera, needs, background)[0]

        return with_normals(draw, gaussians.at(camera.time), camera, needs)

    @torch.no_grad()
    def survey(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Float[Tensor, "3"] | None = None,
        weigh: Callable[[Rendered], Float[Tensor, "h w m"]] | None = None,
    ) -> tuple[Rendered, Contributions]:
        """Draw without gradients, and measure the contribution of each Gaussian.

        Opacity in G = alpha / opacity is the one drawn with: antialiasing has dimmed it.
        """
        gaussians = gaussians.at(camera.time)
        camera = _beside(camera, gaussians)
        plain = replace(gaussians, colors=self._rgb(gaussians, camera), sh_degree=None)
        rendered, projected = self._drawn(plain, camera, _PICTURE, background)
        rendered = replace(rendered, gaussians=gaussians)
        maps = rendered.image[..., :0] if weigh is None else weigh(rendered)
        opacities = projected["opacities"][0] if projected else gaussians.opacities
        parts = [
            contributions(pairs, opacities, plain.colors, background, maps[rows].flatten(0, 1))
            for rows, pairs in (self._pairs(projected, camera) if projected else ())
        ]
        return rendered, summed_parts(parts) if parts else no_contributions(
            opacities, maps.shape[-1]
        )

    def _pairs(self, projected: Mapping[str, Any], camera: Camera) -> Iterator[tuple[slice, Pairs]]:
        """Rows of pixels of horizontal bands of a picture, and the pairs drawn in each."""
        means, conics = projected["means2d"][0], projected["conics"][0]
        offsets, ids, side = (
            projected["isect_offsets"][0],
            projected["flatten_ids"],
            projected["tile_size"],
        )
        starts = [*offsets[:, 0].tolist(), len(ids)]
        # Of a card's whole memory: of what is free the bands, and roundings, would differ.
        memory = torch.cuda.mem_get_info(self.device)[1]
        most = min(_MOST_PAIRS, memory // _SHARE_OF_PAIRS // (150 // 5))
        for first, end in bands(starts, most // side**2):
            rows = slice(first * side, min(end * side, camera.height))
            height = rows.stop - rows.start
            within = means - means.new_tensor([0, rows.start])
            gaussian, pixel, _ = self._gsplat.rasterize_to_indices_in_range(
                0,
                2**31 - 1,
                means.new_ones(1, height, camera.width),
                within[None],
                conics[None],
                projected["opacities"],
                camera.width,
                height,
                side,
                offsets[None, first:end],
                ids[: starts[end]],
            )
            x, y = pixel % camera.width, pixel // camera.width
            dx, dy = (torch.stack([x, y], -1) + 0.5 - within[gaussian]).unbind(-1)
            xx, xy, yy = conics[gaussian].unbind(-1)
            values = (-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy).exp()
            yield rows, Pairs(pixel, gaussian, values)

    def _drawn(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs,
        background: Float[Tensor, "3"] | None,
    ) -> tuple[Rendered, dict[str, Any]]:
        """A picture, and gsplat's intermediate results, empty where there are no Gaussians."""
        if len(gaussians) == 0:
            return _empty(gaussians, camera, needs, background), {}
        camera = _beside(camera, gaussians)
        zeros = zeros_for(gaussians, needs)
        features = [each for each in (gaussians.features, zeros) if each is not None]
        colors, sh_degree = gaussians.colors, gaussians.sh_degree
        if features:
            # Harmonics and other channels do not mix there, so they are evaluated here; the price
            # is that Gaussians out of sight are evaluated too.
            colors, sh_degree = torch.cat([self._rgb(gaussians, camera), *features], -1), None
        count = 3 + sum(each.shape[1] for each in features)
        if background is not None:
            background = torch.cat([background, background.new_zeros(count - 3)])[None]
        opacities = gaussians.opacities
        if not self.beside:  # gsplat leaves out what is transparent
            opacities = opacities * straight(gaussians.means, camera)
        drawn, alpha, projected = self._gsplat.rasterization(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            opacities,
            colors,
            camera.world_to_camera[None],
            camera.K[None],
            camera.width,
            camera.height,
            sh_degree=sh_degree,
            near_plane=self.near,
            packed=False,
            backgrounds=background,
            render_mode="RGB+ED" if needs.depth else "RGB",
            absgrad=needs.absolute_gradient,
            rasterize_mode="antialiased" if self.antialiased else "classic",
            # Each further pass would overwrite the absolute gradient of the one before it.
            channel_chunk=max(32, count + 1) if needs.absolute_gradient else 32,
        )
        extents = projected["radii"][0]
        gradient = screen_gradient_of(projected["means2d"])
        first = 3 if gaussians.features is None else 3 + gaussians.features.shape[1]
        if zeros is not None:
            weigh_in(drawn, zeros, first, gradient)
        rendered = Rendered(
            image=drawn[0, ..., :3],
            alpha=alpha[0, ..., 0],
            radii=extents.amax(-1).float(),
            gaussians=gaussians,
            depth=drawn[0, ..., -1] if needs.depth else None,
            features=None if gaussians.features is None else drawn[0, ..., 3:first],
            gradient=gradient,
        )
        return rendered, projected

    def _rgb(self, gaussians: Gaussians, camera: Camera) -> Float[Tensor, "n 3"]:
        """RGB of each Gaussian as the camera sees it: harmonics evaluated."""
        colors, degree = gaussians.colors, gaussians.sh_degree
        if degree is None or not len(gaussians):
            return colors if degree is None else colors[:, 0]
        towards = gaussians.means - camera.centre
        rgb: Tensor = 0.5 + self._gsplat.spherical_harmonics(degree, towards, colors)
        return rgb.clamp(min=0)


@torch.no_grad()
def straight(means: Float[Tensor, "n 3"], camera: Camera) -> Bool[Tensor, "n"]:
    """Which means lie within the border to which gsplat clamps what they are projected by: 0.3 of
    half a side beyond the edges of the picture (`rasterization` of gsplat 1.5.3)."""
    pose, K = camera.world_to_camera, camera.K
    x, y, z = (means @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    inside = torch.ones_like(x, dtype=torch.bool)
    for along, focal, middle, side in (
        (x, K[0, 0], K[0, 2], camera.width),
        (y, K[1, 1], K[1, 2], camera.height),
    ):
        border = BORDER * side / 2
        inside &= focal * along >= -(middle + border) * z
        inside &= focal * along <= (side - middle + border) * z
    return inside


def load() -> ModuleType:
    """The module gsplat, of a version that is known; importing it compiles nothing."""
    try:
        import gsplat
    except ImportError as error:
        raise ValueError(
            f"drawing on CUDA needs gsplat, which cannot be imported ({error}): "
            "run `pip install 'splat-toolkit[cuda]'`"
        ) from error
    if not available.known_version(str(gsplat.__version__)):
        raise ValueError(f"drawing on CUDA needs another gsplat: {available.of_gsplat()}")
    return gsplat  # type: ignore[no-any-return]


@cache
def ready(device: torch.device) -> ModuleType:
    """The module gsplat with its kernels, which are compiled once on a machine if they must be."""
    gsplat = load()
    if not torch.cuda.is_available() or available.found_module("gsplat.csrc"):
        _compile(gsplat, device)
        return gsplat
    # It clears its folder first, also one that another process is compiling in.
    folder = os.environ.get("TORCH_EXTENSIONS_DIR")
    place = (Path(folder) if folder else machine.user_cache()) / "gsplat.lock"
    with locked(place, "gsplat's kernels, which it compiles", _PATIENCE):
        _compile(gsplat, device)
    return gsplat


def _beside(camera: Camera, gaussians: Gaussians) -> Camera:
    """The camera on the device, and of the type, of what it looks at."""
    like = gaussians.means
    return replace(camera, world_to_camera=camera.world_to_camera.to(like), K=camera.K.to(like))


def _cuda(device: torch.device) -> torch.device:
    if device.type != "cuda":
        raise ValueError(
            f"gsplat draws on CUDA devices only and was given '{device}': use NativeRenderer there"
        )
    if not torch.cuda.is_available():
        raise ValueError(
            f"device '{device}' was asked for, but torch {torch.__version__} finds no CUDA device: "
            "install a CUDA build of torch and a driver, or choose the device cpu"
        )
    return device


def _compile(gsplat: ModuleType, device: torch.device) -> None:
    """Have gsplat find or build its kernels now, by the use of a small one."""
    try:
        with redirect_stdout(sys.stderr):  # it says there how it gets on; stdout may be JSON
            gsplat.quat_scale_to_covar_preci(
                torch.ones(1, 4, device=device), torch.ones(1, 3, device=device)
            )
    except (AttributeError, ImportError) as error:  # gsplat looks for the kernel in None
        raise ValueError(
            "gsplat has no compiled kernels and finds no CUDA toolkit to build them with: "
            "install the toolkit (nvcc) and ninja, or a prebuilt gsplat wheel for this torch"
        ) from error
    except (RuntimeError, OSError) as error:
        why = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
        raise ValueError(
            f"gsplat's kernels could not be compiled, or do not run on this card ({why}): install a"
            f" prebuilt gsplat wheel for torch {torch.__version__}, or nvcc of CUDA"
            f" {torch.version.cuda}, or use --device cpu"
        ) from error


def _empty(
    gaussians: Gaussians,
    camera: Camera,
    needs: Needs,
    background: Float[Tensor, "3"] | None,
) -> Rendered:
    """A picture of nothing (gsplat divides by the number of Gaussians), still differentiable."""
    features = gaussians.features
    means = gaussians.means
    black = means.new_zeros(camera.height, camera.width) + means.sum()
    image = black[..., None].expand(-1, -1, 3)
    none = means.new_zeros(0)
    return Rendered(
        image=image if background is None else image + background,
        alpha=black,
        radii=none,
        gaussians=gaussians,
        depth=black if needs.depth else None,
        features=None if features is None else black[..., None].expand(-1, -1, features.shape[1]),
        gradient=ScreenGradient(
            none.view(0, 2), none.view(0, 2), sums=means.new_zeros(0, len(needs.weights))
        ),
    )
