"""Leaves as plain Gaussians: harmonics that are nearest to the colours of all views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch.nn.functional import normalize

from splat.kernels.harmonics import basis
from splat.math import spread
from splat.types import Camera, Gaussians

MOST_VIEWS = 200
"""Views that are looked from, evenly spread."""
RIDGE = 0.01
"""What holds the harmonics beyond the constant one back where views tell little of them, as a
share of all views."""
BLOCK = 1 << 14
"""Leaves that are fitted at a time, for memory."""


@torch.no_grad()
def baked(
    drawn: Callable[[Camera], Gaussians],
    views: Sequence[Camera],
    degree: int = 3,
    most: int = MOST_VIEWS,
) -> Gaussians:
    """One set of Gaussians for all views, with harmonics of `degree`, frame of training.

    Only colours depend on the view. With b the harmonics of the direction to a view and c the
    colour in it, those coefficients x are taken that make the sum over views of |b x - c|^2 least,
    and `RIDGE` |x|^2 beside it. ValueError without views.
    """
    if not views:
        raise ValueError("leaves have no views to be baked for; give the cameras of training")
    chosen = [views[i] for i in spread(len(views), most)]
    whole = drawn(chosen[0])
    k, n = (degree + 1) ** 2, len(whole)
    normal, right = whole.means.new_zeros(n, k, k), whole.means.new_zeros(n, k, 3)
    for view in chosen:
        colors = drawn(view).colors - 0.5
        bands = basis(normalize(whole.means - view.centre, dim=1), degree)
        for start in range(0, n, BLOCK):
            part = slice(start, start + BLOCK)
            normal[part] += bands[part, :, None] * bands[part, None, :]
            right[part] += bands[part, :, None] * colors[part, None, :]
    held = whole.means.new_full((k,), RIDGE * len(chosen))
    held[0] = 1e-6
    return replace(
        whole,
        means=whole.means.detach().clone(),
        quats=normalize(whole.quats, dim=1),
        colors=torch.linalg.solve(normal + held.diag(), right),
        sh_degree=degree,
    )
