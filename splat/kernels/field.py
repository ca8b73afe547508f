"""A signed distance field of planes and lines, with its gradient, differentiably.

The features of a point are products of a plane and a line, one for each axis (the vector-matrix
factors of TensoRF, Chen et al. 2022), and a network of one hidden layer reads them. Planes and
lines are quadratic B-splines, so that value and gradient are continuous and the gradient may stand
in a loss.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import softplus

from splat.kernels.crossing import needed, optional, plain, same_kind, shaped
from splat.kernels.native import Scratch, table_of

CHANNELS, HIDDEN = 48, 128
"""The most of each; they come in multiples of 16."""
MOST_POINTS = 2**31 - 1
"""Their numbers are kept in 32 bits."""
AT_ONCE = 1 << 17
"""Points whose values torch finds together; each takes some kilobytes on the way."""
LINEAR = 40
"""From here on log(1 + e^x) is x to the last digit of a float64."""


def field(
    points: Float[Tensor, "n 3"],
    planes: Float[Tensor, "3 R R C"],
    lines: Float[Tensor, "3 R C"],
    first: Float[Tensor, "3*C+4 H"],
    second: Float[Tensor, "H+1"],
    beta: float,
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
    """Value of the field at points, and its gradient by the points' coordinates.

    Planes and lines span -1 to 1 along each axis; beyond, they go on as they are at the border.
    `planes[a]` is indexed along the axes a + 1 and a + 2 (modulo 3), `lines[a]` along the axis a.
    With the products of the two as features, side by side, the value is
    softplus([features, x, y, z, 1] first) . second[:-1] + second[-1], where softplus(h) is
    log(1 + e^(beta h)) / beta. R is 3 or more; C is 16, 32 or 48, H a multiple of 16 up to 128.
    Gradients reach the four parameters, from value and gradient alike, and not the points.
    ValueError where shapes, types or devices do not fit.
    """
    _check(points, planes, lines, first, second, beta)
    if points.device.type != "cpu":
        return by_torch(points, planes, lines, first, second, beta)
    learned = (planes, lines, first, second)
    f, g = _Field.apply(points, beta, *learned)  # type: ignore[no-untyped-call]
    return f, g


def value(
    points: Float[Tensor, "n 3"],
    planes: Float[Tensor, "3 R R C"],
    lines: Float[Tensor, "3 R C"],
    first: Float[Tensor, "3*C+4 H"],
    second: Float[Tensor, "H+1"],
    beta: float,
) -> Float[Tensor, "n"]:
    """The value that `field` gives, alone and without any gradients: for many points."""
    _check(points, planes, lines, first, second, beta)
    with torch.no_grad():
        if points.device.type != "cpu":
            parts = points.split(AT_ONCE)
            return torch.cat([_value(each, planes, lines, first, second, beta) for each in parts])
        held = [plain(t) for t in (points, planes, lines, first, second)]
        f = points.new_empty(len(points))
        _forward(Scratch("Field", table_of(points)), held, beta, f, None)
        return f


def by_torch(
    points: Float[Tensor, "n 3"],
    planes: Float[Tensor, "3 R R C"],
    lines: Float[Tensor, "3 R C"],
    first: Float[Tensor, "3*C+4 H"],
    second: Float[Tensor, "H+1"],
    beta: float,
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
    """`field` in torch's operations: what runs on other devices, and what tests compare with."""
    points = points.detach()
    features, slopes = _features(points, planes, lines)
    before = _seen(features, points) @ first
    f = softplus(before, beta, LINEAR) @ second[:-1] + second[-1]
    # The gradient is written down, so that autograd differentiates it once instead of twice.
    by_seen = ((beta * before).sigmoid() * second[:-1]) @ first.T
    by_features, by_points = by_seen[:, : features.shape[1]], by_seen[:, -4:-1]
    g = torch.stack([(by_features * slope).sum(1) for slope in slopes], 1) + by_points
    return f, g


def _value(
    points: Tensor, planes: Tensor, lines: Tensor, first: Tensor, second: Tensor, beta: float
) -> Tensor:
    features, _ = _features(points, planes, lines)
    return softplus(_seen(features, points) @ first, beta, LINEAR) @ second[:-1] + second[-1]


class _Field(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, beta: float, *learned: Tensor) -> tuple[Tensor, Tensor]:
        held = [plain(t) for t in (points, *learned)]
        f, g = points.new_empty(len(points)), points.new_empty(len(points), 3)
        pass_ = Scratch("Field", table_of(points))
        _forward(pass_, held, beta, f, g)
        ctx.set_materialize_grads(False)
        if any(ctx.needs_input_grad[2:]):
            ctx.pass_ = pass_
            ctx.save_for_backward(*held)
        return f, g

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        points, *learned = ctx.saved_tensors
        v_value, v_gradient = (plain(g) for g in gradients)
        planes, lines, first, second = found = [
            torch.empty_like(t) if wanted else None
            for t, wanted in zip(learned, ctx.needs_input_grad[2:], strict=True)
        ]
        n = len(points)
        ctx.pass_.native.backward(
            optional(
                points, v_value=(v_value, (n,)), v_gradient=(v_gradient, (n, 3)),
                v_planes=(planes, learned[0].shape), v_lines=(lines, learned[1].shape),
                v_first=(first, learned[2].shape), v_second=(second, learned[3].shape),
            )
        )  # fmt: skip
        return (None, None, *found)


def _forward(
    pass_: Scratch, held: list[Tensor], beta: float, value: Tensor, gradient: Tensor | None
) -> None:
    points, planes, lines, first, second = held
    n, side, channels, hidden = len(points), planes.shape[1], planes.shape[3], first.shape[1]
    arrays = needed(
        points, points=(points, (n, 3)), planes=(planes, (3, side, side, channels)),
        lines=(lines, (3, side, channels)), first=(first, (3 * channels + 4, hidden)),
        second=(second, (hidden + 1,)), value=(value, (n,)),
    )  # fmt: skip
    slopes = optional(points, gradient=(gradient, (n, 3)))
    sizes = {"n": n, "side": side, "channels": channels, "hidden": hidden}
    pass_.native.forward({**arrays, **slopes, **sizes, "beta": beta})


def _features(
    points: Tensor, planes: Tensor, lines: Tensor
) -> tuple[Float[Tensor, "n 3*C"], list[Float[Tensor, "n 3*C"]]]:
    """Products of planes and lines, and what they are differentiated by x, by y and by z."""
    side, channels = planes.shape[1], planes.shape[3]
    cells, weights, slopes = _taps(points, side)
    flat_planes, flat_lines = planes.reshape(-1, channels), lines.reshape(-1, channels)
    taps = torch.arange(3, device=points.device)
    products: list[Tensor] = []
    turned: list[list[Tensor]] = [[], [], []]
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        rows, columns = cells[:, b, None] + taps, cells[:, c, None] + taps
        places = (a * side + rows)[:, :, None] * side + columns[:, None]
        plane = flat_planes.index_select(0, places.flatten()).view(-1, 3, 3, channels)
        places = a * side + cells[:, a, None] + taps
        line = flat_lines.index_select(0, places.flatten()).view(-1, 3, channels)
        along = (plane * weights[:, c, None, :, None]).sum(2)
        along_slope = (plane * slopes[:, c, None, :, None]).sum(2)
        P = (along * weights[:, b, :, None]).sum(1)
        L = (line * weights[:, a, :, None]).sum(1)
        products.append(P * L)
        turned[a].append(P * (line * slopes[:, a, :, None]).sum(1))
        turned[b].append((along * slopes[:, b, :, None]).sum(1) * L)
        turned[c].append((along_slope * weights[:, b, :, None]).sum(1) * L)
    return torch.cat(products, 1), [torch.cat(each, 1) for each in turned]


def _taps(
    points: Tensor, side: int
) -> tuple[Int64[Tensor, "n 3"], Float[Tensor, "n 3 3"], Float[Tensor, "n 3 3"]]:
    """First of the three control points by axis, their weights, and the weights' derivatives."""
    inside = points.clamp(-1, 1)
    s = ((inside + 1) * (0.5 * (side - 2))).nan_to_num(0.0)
    cells = s.floor().clamp(max=side - 3)
    t = s - cells
    weights = torch.stack([0.5 * (1 - t) ** 2, t * (1 - t) + 0.5, 0.5 * t**2], 2)
    slopes = torch.stack([t - 1, 1 - 2 * t, t], 2) * (0.5 * (side - 2))
    return cells.long(), weights, slopes * (inside == points)[:, :, None]


def _seen(features: Tensor, points: Tensor) -> Tensor:
    return torch.cat([features, points, torch.ones_like(points[:, :1])], 1)


def _check(
    points: Tensor, planes: Tensor, lines: Tensor, first: Tensor, second: Tensor, beta: float
) -> None:
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points are {tuple(points.shape)}; expected (n, 3)")
    if len(points) > MOST_POINTS:
        raise ValueError(f"there are {len(points)} points; expected {MOST_POINTS} at most at once")
    if planes.ndim != 4 or planes.shape[1] < 3:
        raise ValueError(
            f"planes are {tuple(planes.shape)}; expected (3, R, R, C) with R of 3 or more"
        )
    side, channels = planes.shape[1], planes.shape[3]
    if channels not in range(16, CHANNELS + 1, 16):
        raise ValueError(f"planes have {channels} channels; expected 16, 32 or {CHANNELS}")
    hidden = first.shape[-1]
    if hidden not in range(16, HIDDEN + 1, 16):
        raise ValueError(
            f"the network has {hidden} hidden units; expected a multiple of 16 up to {HIDDEN}"
        )
    shaped("planes", planes, (3, side, side, channels))
    shaped("lines", lines, (3, side, channels))
    shaped("the first layer", first, (3 * channels + 4, hidden))
    shaped("the second layer", second, (hidden + 1,))
    layers = {"the first layer": first, "the second layer": second}
    same_kind(points=points, planes=planes, lines=lines, **layers)
    if not (math.isfinite(beta) and beta > 0):
        raise ValueError(f"beta is {beta}; expected a number above 0")
