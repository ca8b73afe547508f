"""A field over space and time that moves points: six planes at each of some scales, read by small
networks (HexPlane, Cao and Johnson, CVPR 2023, as 4DGaussians, Wu et al., CVPR 2024, uses it).

Three planes span two axes of space each, three others time and one axis. At one instant those of
time are lines, which are found first: a point then reads three planes and three lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.kernels.crossing import needed, optional, plain, same_kind, shaped
from splat.kernels.native import Scratch, table_of

SCALES, CHANNELS, WIDTH, HEADS, OUTPUTS = 4, 48, 64, 4, 16
"""The most of each; channels and width come in multiples of 16."""
MOST_POINTS = 2**31 - 1


def hexplane(
    points: Float[Tensor, "n 3"],
    time: float,
    space: Sequence[Float[Tensor, "3 R R C"]],
    times: Sequence[Float[Tensor, "3 T R C"]],
    trunk: Float[Tensor, "S*C+1 D"],
    hidden: Float[Tensor, "D+1 H*D"],
    last: Float[Tensor, "D+1 O"],
    outputs: Sequence[int],
) -> Float[Tensor, "n O"]:
    """What the field says of each point at an instant.

    Planes span -1 to 1 along each axis, borders included, and are read bilinearly; what lies
    beyond counts as the border. `space[s][a]` is indexed along the axes a + 1 and a + 2 (modulo
    3), `times[s][a]` along `time` (-1 to 1) and the axis a. The features of a point are, scale by
    scale, the products of its six values; with h = relu([features, 1] trunk) and
    k = relu([h, 1] hidden), of which each head has D, head i gives the next `outputs[i]` columns
    of [its k, 1] last. O is the sum of `outputs`. Gradients reach planes and layers, and not the
    points.
    ValueError where shapes, types or devices do not fit.
    """
    _check(points, space, times, trunk, hidden, last, outputs)
    planes = [*space, *(_lines(each, time) for each in times)]
    if points.device.type != "cpu":
        return _by_torch(points, planes, trunk, hidden, last, outputs)
    found: Tensor = _HexPlane.apply(  # type: ignore[no-untyped-call]
        points, tuple(outputs), trunk, hidden, last, *planes
    )
    return found


def by_torch(
    points: Float[Tensor, "n 3"],
    time: float,
    space: Sequence[Float[Tensor, "3 R R C"]],
    times: Sequence[Float[Tensor, "3 T R C"]],
    trunk: Float[Tensor, "S*C+1 D"],
    hidden: Float[Tensor, "D+1 H*D"],
    last: Float[Tensor, "D+1 O"],
    outputs: Sequence[int],
) -> Float[Tensor, "n O"]:
    """`hexplane` in torch's operations: what runs on other devices, and what tests compare with."""
    planes = [*space, *(_lines(each, time) for each in times)]
    return _by_torch(points, planes, trunk, hidden, last, outputs)


def instants_read(time: float, count: int) -> tuple[int, int, float]:
    """The two rows of planes of `count` instants that are read at `time`, and the weight of the
    second; the same row twice where there is one."""
    place = (min(1.0, max(-1.0, time)) + 1) / 2 * (count - 1)
    first = min(int(place), max(0, count - 2))
    return first, min(first + 1, count - 1), place - first


def _lines(planes: Float[Tensor, "3 T R C"], time: float) -> Float[Tensor, "3 R C"]:
    first, second, weight = instants_read(time, planes.shape[1])
    found: Tensor = _Row.apply(planes, first, second, weight)  # type: ignore[no-untyped-call]
    return found


class _Row(torch.autograd.Function):
    """(1 - w) planes[:, first] + w planes[:, second], with one dense gradient."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, first: int, second: int, weight: float) -> Tensor:
        ctx.rows, ctx.shape = (first, second, weight), planes.shape
        return planes[:, first] * (1 - weight) + planes[:, second] * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        (gradient,), (first, second, weight) = gradients, ctx.rows
        found = gradient.new_zeros(ctx.shape)
        found[:, first] += gradient * (1 - weight)
        found[:, second] += gradient * weight
        return found, None, None, None


class _HexPlane(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, outputs: tuple[int, ...], *learned: Tensor) -> Tensor:
        points, *held = (plain(t) for t in (points, *learned))
        found = points.new_empty(len(points), sum(outputs))
        pass_ = Scratch("HexPlane", table_of(points))
        keep = any(ctx.needs_input_grad[2:])
        pass_.native.forward({**_fields(points, outputs, held, found), "keep": keep})
        ctx.set_materialize_grads(False)
        if keep:
            ctx.pass_ = pass_
            ctx.save_for_backward(points, *held)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        points, *learned = ctx.saved_tensors
        (v_found,) = map(plain, gradients)
        if v_found is None:
            return (None,) * (2 + len(learned))
        found = [
            torch.empty_like(t) if wanted else None
            for t, wanted in zip(learned, ctx.needs_input_grad[2:], strict=True)
        ]
        trunk, hidden, last, *planes = found
        shapes = [t.shape for t in learned]
        half = len(planes) // 2
        named: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
            "v_trunk": (trunk, shapes[0]), "v_hidden": (hidden, shapes[1]),
            "v_last": (last, shapes[2]),
        }  # fmt: skip
        for s in range(SCALES):
            there = s < half
            named[f"v_space{s}"] = (planes[s], shapes[3 + s]) if there else (None, ())
            named[f"v_lines{s}"] = (planes[half + s], shapes[3 + half + s]) if there else (None, ())
        ctx.pass_.native.backward(
            {**needed(points, v_out=(v_found, v_found.shape)), **optional(points, **named)}
        )
        return (None, None, *found)


def _fields(
    points: Tensor, outputs: tuple[int, ...], held: Sequence[Tensor], found: Tensor
) -> dict[str, Any]:
    trunk, hidden, last, *planes = held
    half, n = len(planes) // 2, len(points)
    channels, width = planes[0].shape[-1], trunk.shape[1]
    arrays = needed(
        points, points=(points, (n, 3)), out=(found, (n, sum(outputs))),
        trunk=(trunk, (half * channels + 1, width)),
        hidden=(hidden, (width + 1, len(outputs) * width)),
        last=(last, (width + 1, sum(outputs))),
    )  # fmt: skip
    named: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {}
    sides, counts = [0] * SCALES, [0] * HEADS
    counts[: len(outputs)] = outputs
    for s in range(SCALES):
        side = sides[s] = planes[s].shape[1] if s < half else 0
        there = s < half
        named[f"space{s}"] = (planes[s], (3, side, side, channels)) if there else (None, ())
        named[f"lines{s}"] = (planes[half + s], (3, side, channels)) if there else (None, ())
    return {
        **arrays, **optional(points, **named), "n": n, "scales": half,
        "channels": channels, "width": width, "heads": len(outputs),
        **{f"side{s}": side for s, side in enumerate(sides)},
        **{f"outputs{head}": count for head, count in enumerate(counts)},
    }  # fmt: skip


def _by_torch(
    points: Tensor,
    planes: Sequence[Tensor],
    trunk: Tensor,
    hidden: Tensor,
    last: Tensor,
    outputs: Sequence[int],
) -> Float[Tensor, "n O"]:
    half = len(planes) // 2
    inside = points.detach().nan_to_num(-1.0).clamp(-1, 1)
    features = torch.cat([_features(inside, planes[s], planes[half + s]) for s in range(half)], 1)
    width = trunk.shape[1]
    seen = (features @ trunk[:-1] + trunk[-1]).relu()
    units = (seen @ hidden[:-1] + hidden[-1]).relu()
    found, begin = [], 0
    for head, count in enumerate(outputs):
        own = units[:, head * width : (head + 1) * width]
        found.append(own @ last[:-1, begin : begin + count] + last[-1, begin : begin + count])
        begin += count
    return torch.cat(found, 1)


def _features(points: Tensor, space: Tensor, lines: Tensor) -> Float[Tensor, "n C"]:
    side, channels = space.shape[1], space.shape[3]
    place = (points + 1) * (0.5 * (side - 1))
    cells = place.detach().floor().clamp(0, side - 2)
    part = (place - cells)[:, :, None]
    cells = cells.long()
    flat, flat_lines = space.reshape(-1, channels), lines.reshape(-1, channels)
    product: Tensor | None = None
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        first = (a * side + cells[:, b]) * side + cells[:, c]
        across = [
            flat.index_select(0, row) * (1 - part[:, c])
            + flat.index_select(0, row + 1) * part[:, c]
            for row in (first, first + side)
        ]
        plane = across[0] * (1 - part[:, b]) + across[1] * part[:, b]
        row = a * side + cells[:, a]
        line = (
            flat_lines.index_select(0, row) * (1 - part[:, a])
            + flat_lines.index_select(0, row + 1) * part[:, a]
        )
        both = plane * line
        product = both if product is None else product * both
    assert product is not None
    return product


def _check(
    points: Tensor,
    space: Sequence[Tensor],
    times: Sequence[Tensor],
    trunk: Tensor,
    hidden: Tensor,
    last: Tensor,
    outputs: Sequence[int],
) -> None:
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points are {tuple(points.shape)}; expected (n, 3)")
    if len(points) > MOST_POINTS:
        raise ValueError(f"there are {len(points)} points; expected {MOST_POINTS} at most at once")
    if not 1 <= len(space) <= SCALES or len(space) != len(times):
        raise ValueError(
            f"there are planes of space at {len(space)} scales and of time at {len(times)};"
            f" expected as many of both, 1 to {SCALES}"
        )
    channels, width = space[0].shape[-1], trunk.shape[-1]
    if channels not in range(16, CHANNELS + 1, 16) or width not in range(16, WIDTH + 1, 16):
        raise ValueError(
            f"there are {channels} channels and {width} hidden units; expected multiples of 16, up"
            f" to {CHANNELS} and {WIDTH}"
        )
    if not 1 <= len(outputs) <= HEADS or min(outputs) < 1 or sum(outputs) > OUTPUTS:
        raise ValueError(
            f"the heads give {list(outputs)} numbers; expected 1 to {HEADS} heads of one number or"
            f" more, {OUTPUTS} in all at most"
        )
    for s, (plane, line) in enumerate(zip(space, times, strict=True)):
        side = plane.shape[1] if plane.ndim == 4 else 0
        if side < 2 or line.ndim != 4 or line.shape[1] < 1:
            raise ValueError(
                f"planes of scale {s} are {tuple(plane.shape)} and {tuple(line.shape)}; expected"
                " (3, R, R, C) and (3, T, R, C) with R of 2 or more"
            )
        shaped(f"space {s}", plane, (3, side, side, channels))
        shaped(f"times {s}", line, (3, line.shape[1], side, channels))
    shaped("the trunk", trunk, (len(space) * channels + 1, width))
    shaped("the hidden layer", hidden, (width + 1, len(outputs) * width))
    shaped("the last layer", last, (width + 1, sum(outputs)))
    layers = {"the trunk": trunk, "the hidden layer": hidden, "the last layer": last}
    planes = {f"space {s}": t for s, t in enumerate(space)}
    planes |= {f"times {s}": t for s, t in enumerate(times)}
    same_kind(points=points, **layers, **planes)
