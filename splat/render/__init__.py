"""Renderers: one protocol (`splat.types.Renderer`), one file a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from splat.render import available
from splat.scene import NEAR, Drawing, Frame
from splat.system.devices import Kind

if TYPE_CHECKING:  # which device a run would have can be told without loading torch
    import torch

    from splat.types import Renderer

RENDERERS = ("auto", "native", "gsplat")
"""What may draw: our own kernels, which auto takes, or gsplat on CUDA."""
_ASKED = {"auto": (), "native": (), "gsplat": (available.of_gsplat,)}
"""What each lacks beside what every run on CUDA needs."""


def choose_device(wanted: str = "auto", renderer: str = "auto") -> tuple[torch.device, str]:
    """The device to use and, in a sentence, why. Raises ValueError where `cuda`, or a renderer,
    cannot be had."""
    import torch

    kind, why = choose_kind(wanted, renderer)
    return torch.device(kind.type), why


def choose_kind(wanted: str = "auto", renderer: str = "auto") -> tuple[Kind, str]:
    """As `choose_device`, for those who do not compute; torch is loaded only where a build of it
    for CUDA has to be asked."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {wanted!r}; it is auto, cpu or cuda")
    _check(renderer)
    if wanted == "cpu":
        if renderer == "gsplat":
            raise ValueError(
                "gsplat draws on CUDA only, and the device is cpu; leave one of them out"
            )
        return Kind("cpu"), "CPU, as asked"
    lack = available.first(available.of_cuda, available.of_kernels, *_ASKED[renderer])
    if lack is None:
        import torch

        drawer = "gsplat" if renderer == "gsplat" else "our own kernels"
        why = f"CUDA on {torch.cuda.get_device_name()}, drawn by {drawer}"
        return Kind("cuda"), why + (", as asked" if wanted == "cuda" else "")
    if wanted == "cuda":
        raise ValueError(f"--device cuda cannot be had: {lack}; use --device cpu or auto")
    if renderer == "gsplat":
        raise ValueError(f"--renderer gsplat cannot be had: {lack}; leave it out")
    return Kind("cpu"), f"CPU, because {lack}"


def renderer_for(
    device: torch.device | str,
    *,
    antialiased: bool = False,
    near: float = NEAR,
    beside: bool = True,
    renderer: str = "auto",
) -> Renderer:
    """The renderer of a device: our own kernels, or, on CUDA, gsplat where that is asked for.

    Gaussians whose centre lies less deep than `near` are not drawn, nor, without `beside`, those
    that lie far beside the picture (`splat.kernels.Projection`).
    """
    import torch

    device = torch.device(device)
    _check(renderer)
    if device.type == "cuda" and (lack := available.of_running()) is not None:
        raise ValueError(f"device {device} cannot be trained or drawn on: {lack}")
    if device.type == "cuda" and renderer == "gsplat":
        from splat.render.gsplat import GsplatRenderer

        return GsplatRenderer(device, antialiased=antialiased, near=near, beside=beside)
    from splat.render.native import NativeRenderer

    return NativeRenderer(device, antialiased=antialiased, near=near, beside=beside)


def drawn_by(device: torch.device | str, renderer: str) -> str:
    """What draws on a device where a renderer is asked for: native or gsplat."""
    on_cuda = str(device).partition(":")[0] == "cuda"
    return "gsplat" if on_cuda and renderer == "gsplat" else "native"


def drawing_as(
    drawing: Drawing,
    frame: Frame,
    device: torch.device | str,
    *,
    beside: bool = True,
    renderer: str = "auto",
) -> Renderer:
    """The renderer of a device for Gaussians in `frame`, with the settings of `drawing`.

    Pictures that are to be looked at, from wherever, are drawn without what lies far `beside` them,
    and figures with it: programs differ in this.
    """
    near = (NEAR if drawing.near is None else drawing.near) * frame.scale
    return renderer_for(
        device, antialiased=drawing.antialiased, near=near, beside=beside, renderer=renderer
    )


def _check(renderer: str) -> None:
    if renderer not in RENDERERS:
        raise ValueError(f"renderer is {renderer!r}; it is {', '.join(RENDERERS[:-1])} or gsplat")
