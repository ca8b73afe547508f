"""Renderers: one protocol (`splat.types.Renderer`), one file a backend."""

from __future__ import annotations

import torch

from splat.kernels import NEAR
from splat.types import Drawing, Frame, Renderer


def choose_device(wanted: str = "auto") -> tuple[torch.device, str]:
    """The device to use and, in a sentence, why. Raises ValueError where `cuda` cannot be had."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {wanted!r}; it is auto, cpu or cuda")
    if wanted == "cpu":
        return torch.device("cpu"), "CPU, as asked"
    missing = _missing_for_cuda()
    if missing is None:
        name = torch.cuda.get_device_name()
        return torch.device("cuda"), f"CUDA on {name}" + (", as asked" if wanted == "cuda" else "")
    if wanted == "cuda":
        raise ValueError(f"--device cuda cannot be had: {missing}; use --device cpu or auto")
    return torch.device("cpu"), f"CPU, because {missing}"


def renderer_for(
    device: torch.device | str,
    *,
    antialiased: bool = False,
    near: float = NEAR,
    beside: bool = True,
) -> Renderer:
    """The renderer of a device: gsplat on CUDA, our own kernels on the CPU.

    Gaussians whose centre lies less deep than `near` are not drawn, nor, without `beside`, those
    that lie far beside the picture (`splat.kernels.Projection`).
    """
    device = torch.device(device)
    if device.type == "cuda":
        from splat.render.gsplat import GsplatRenderer

        return GsplatRenderer(device, antialiased=antialiased, near=near, beside=beside)
    from splat.render.native import NativeRenderer

    return NativeRenderer(antialiased=antialiased, near=near, beside=beside)


def drawing_as(
    drawing: Drawing, frame: Frame, device: torch.device | str, *, beside: bool = True
) -> Renderer:
    """The renderer of a device for Gaussians in `frame`, with the settings of `drawing`.

    Pictures that are to be looked at, from wherever, are drawn without what lies far `beside` them,
    and figures with it: programs differ in this.
    """
    near = (NEAR if drawing.near is None else drawing.near) * frame.scale
    return renderer_for(device, antialiased=drawing.antialiased, near=near, beside=beside)


def _missing_for_cuda() -> str | None:
    from importlib.util import find_spec

    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if find_spec("gsplat") is None:
        return "gsplat is not installed (pip install 'splat-toolkit[cuda]')"
    if find_spec("splat._gpu") is None:
        return "splat was built without its CUDA kernels (reinstall with nvcc on PATH)"
    return None
