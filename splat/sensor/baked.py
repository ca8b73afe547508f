"""Gaussians in the exposure of a photo: its map of colours applied to their harmonics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.math import sh_from_rgb
from splat.sensor.held_out import HeldOutFit
from splat.sensor.sensor import GRID, TONE
from splat.sensor.tones import Channels, Map, Matrices, Tones
from splat.types import Camera, Gaussians, Renderer


def toned_gaussians(gaussians: Gaussians, tone: Map) -> Gaussians:
    """The set as a photo with this map would show it.

    Exact where colours are not clamped at black: a blend of mapped colours is the mapped blend.
    """
    tone = tone.to(gaussians.colors)
    colors = gaussians.colors @ tone[:, :3].T
    if gaussians.sh_degree is None:
        return replace(gaussians, colors=colors + tone[:, 3])
    grey = torch.full((1, 3), 0.5, dtype=colors.dtype, device=colors.device)
    # Harmonics are added to a grey of 0.5, which is mapped too.
    colors[:, 0] += sh_from_rgb(grey @ tone[:, :3].T + tone[:, 3])
    return replace(gaussians, colors=colors)


def tone_of(
    modules: Mapping[str, Any], names: Sequence[str], photo: str, rows: Sequence[int] | None = None
) -> Map:
    """The map of a training photo, by its name, in the networks of a checkpoint; `rows`: the row of
    each, where photos of one camera share one."""
    if TONE not in modules:
        raise ValueError(
            "the run learned no exposures; expected one that was trained with --exposure channel or"
            " affine: leave --exposure-of out"
        )
    if photo not in names:
        raise ValueError(
            f"exposure-of is {photo!r}, which is none of the {len(names)} photos trained on"
            f" (such as {names[0]}); give the name of one of them"
        )
    if GRID in modules:
        raise ValueError(
            "the run learned exposures that change over each photo (--exposure grid), which"
            " Gaussians cannot hold; leave --exposure-of out: files have the mean exposure"
        )
    tones = tones_of(modules)
    assert tones is not None
    at = names.index(photo)
    return tones.map(at if rows is None else rows[at]).detach()


def tones_of(modules: Mapping[str, Any]) -> Tones | None:
    """The exposures of training photos in the networks of a checkpoint; None: there are none."""
    if TONE not in modules:
        return None
    tones = (Matrices if _mixed(modules) else Channels)(len(modules[TONE]["module"]["values"]))
    tones.load_state_dict(modules[TONE]["module"])
    return tones.requires_grad_(False)


def exposure_fit(
    modules: Mapping[str, Any],
    gaussians: Callable[[Camera], Gaussians],
    render: Renderer,
    background: Float[Tensor, "3"] | None,
) -> HeldOutFit | None:
    """The fit of the exposure of held-out photos, where there are exposures in the networks of a
    checkpoint; None: there are none."""
    if TONE not in modules:
        return None
    return HeldOutFit(gaussians, render, background, exposure=True, mixed=_mixed(modules))


def _mixed(modules: Mapping[str, Any]) -> bool:
    """Whether the exposures of a checkpoint are matrices, which mix channels."""
    return bool(modules[TONE]["module"]["values"].shape[1] != 6)
