"""Drawing on CUDA through gsplat: the one place that imports it."""

from __future__ import annotations

from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from splat.kernels import NEAR
from splat.types import Camera, Gaussians, Needs, Rendered, ScreenGradient

_PICTURE = Needs()


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
    ) -> None:
        """Draw on `device`; `antialiased` dims what the low-pass widens (Mip-Splatting)."""
        self.device = _cuda(torch.device(device))
        self.antialiased = antialiased
        self.near = near
        self._gsplat = load()
        _compile(self._gsplat, self.device)

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = _PICTURE,
        background: Float[Tensor, "3"] | None = None,
    ) -> Rendered:
        """Draw; `background` None is black.

        For absolute gradients all channels (3, the features, the depth) are blended in one pass:
        513 at most, fewer where the card's shared memory is short.
        """
        if len(gaussians) == 0:
            return _empty(gaussians, camera, needs, background)
        camera = camera.to(self.device)
        colors, sh_degree = self._channels(gaussians, camera)
        count = 3 if gaussians.features is None else 3 + gaussians.features.shape[1]
        if background is not None:
            background = torch.cat([background, background.new_zeros(count - 3)])[None]
        drawn, alpha, found = self._gsplat.rasterization(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
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
        extents = found["radii"][0]
        return Rendered(
            image=drawn[0, ..., :3],
            alpha=alpha[0, ..., 0],
            visible=(extents > 0).all(-1),
            radii=extents.amax(-1).float(),
            gaussians=gaussians,
            depth=drawn[0, ..., -1] if needs.depth else None,
            features=None if gaussians.features is None else drawn[0, ..., 3:count],
            gradient=_watched(found["means2d"]),
        )

    def _channels(self, gaussians: Gaussians, camera: Camera) -> tuple[Tensor, int | None]:
        """`colors` and `sh_degree` as rasterization takes them."""
        colors, degree = gaussians.colors, gaussians.sh_degree
        if gaussians.features is None:
            return colors, degree
        # Harmonics and other channels do not mix there, so they are evaluated here; the price is
        # that Gaussians out of sight are evaluated too.
        if degree is not None:
            towards = gaussians.means - camera.centre
            colors = (0.5 + self._gsplat.spherical_harmonics(degree, towards, colors)).clamp(min=0)
        return torch.cat([colors, gaussians.features], -1), None


def load() -> ModuleType:
    """The module gsplat; importing it compiles nothing."""
    try:
        import gsplat
    except ImportError as error:
        raise ValueError(
            f"drawing on CUDA needs gsplat, which cannot be imported ({error}): "
            "run `pip install 'splat-toolkit[cuda]'`"
        ) from error
    return gsplat  # type: ignore[no-any-return]


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
        gsplat.quat_scale_to_covar_preci(
            torch.ones(1, 4, device=device), torch.ones(1, 3, device=device)
        )
    except (AttributeError, ImportError) as error:  # gsplat looks for the kernel in None
        raise ValueError(
            "gsplat has no compiled kernels and finds no CUDA toolkit to build them with: "
            "install the toolkit (nvcc) and ninja, or a prebuilt gsplat wheel for this torch"
        ) from error


def _watched(means2d: Float[Tensor, "1 n 2"]) -> ScreenGradient:
    """Filled when backward reaches the projected means."""
    gradient = ScreenGradient()
    # gsplat's backward leaves `absgrad` among the tensor's attributes. The hook holds these and
    # not the tensor, which would be a cycle that keeps a whole graph's memory alive.
    attributes = vars(means2d)

    def store(signed: Float[Tensor, "1 n 2"]) -> None:
        gradient.signed = signed[0]
        if "absgrad" in attributes:
            gradient.absolute = attributes["absgrad"][0]

    if means2d.requires_grad:
        means2d.register_hook(store)
    return gradient


def _empty(
    gaussians: Gaussians,
    camera: Camera,
    needs: Needs,
    background: Float[Tensor, "3"] | None,
) -> Rendered:
    """A picture of nothing (gsplat divides by the number of Gaussians), still differentiable."""
    features = gaussians.features
    nothing = gaussians.means.new_zeros(camera.height, camera.width) + gaussians.means.sum()
    image = nothing[..., None].expand(-1, -1, 3)
    none = gaussians.means.new_zeros(0)
    return Rendered(
        image=image if background is None else image + background,
        alpha=nothing,
        visible=none.bool(),
        radii=none,
        gaussians=gaussians,
        depth=nothing if needs.depth else None,
        features=None if features is None else nothing[..., None].expand(-1, -1, features.shape[1]),
        gradient=ScreenGradient(none.view(0, 2), none.view(0, 2)),
    )
