"""Calls of every kernel, drawn at random: sizes at which loops end, and numbers that overflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import torch
from torch import Tensor

from splat import kernels
from splat.kernels import Harmonics, HarmonicsGradient, Heads
from splat.kernels.field import field, value
from splat.kernels.hexplane import hexplane

Outputs = list[Tensor | None]
Call = Callable[["Drawn"], Outputs]

ROWS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 257, 999, 1000, 1001)
SIDES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 65)
_ODD = (float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 1e-45, 0.0, -0.0, 1e15, -1e15)
_WRONG_TYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool,
                torch.uint8, torch.complex64, torch.float32)  # fmt: skip


class Drawn:
    """The arguments of a call. Equal draws give equal arguments."""

    def __init__(self, draw: Random, dtype: torch.dtype, wrong: bool) -> None:
        self.draw, self.dtype, self.wrong = draw, dtype, wrong
        self._generator = torch.Generator().manual_seed(draw.randrange(1 << 30))
        self._odd = draw.random() < 0.3
        self._wrong = draw.randrange(9) if wrong else -1
        """Number of the tensor that is not what it should be."""
        self._count = 0

    def rows(self) -> int:
        """How many rows there are."""
        return self.draw.choice(ROWS)

    def side(self) -> int:
        """Pixels along a side."""
        return self.draw.choice(SIDES)

    def flip(self, chance: float = 0.5) -> bool:
        return self.draw.random() < chance

    def floats(self, *shape: int, scale: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        """Normal numbers; at times some of them overflow, or are none."""
        return self.given(self.numbers(*shape, scale=scale).to(dtype or self.dtype))

    def numbers(self, *shape: int, scale: float = 1.0) -> Tensor:
        """The same in double precision, always as they should be."""
        found = scale * torch.randn(shape, generator=self._generator, dtype=torch.float64)
        flat = found.view(-1)
        if self._odd and flat.numel():
            for _ in range(self.draw.choice((1, 1, 3, 20))):
                flat[self.draw.randrange(flat.numel())] = self.draw.choice(_ODD)
        return found

    def given(self, tensor: Tensor) -> Tensor:
        """The tensor, or what it should not be."""
        self._count += 1
        return _wronged(tensor, self.draw) if self._count - 1 == self._wrong else tensor

    def leaf(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Numbers whose gradient is asked for, most often."""
        return self.asked(self.floats(*shape, scale=scale))

    def asked(self, found: Tensor) -> Tensor:
        """The tensor, whose gradient is asked for, most often."""
        able = found.is_floating_point() and found.layout == torch.strided
        return found.requires_grad_() if able and self.flip(0.8) else found

    def pose(self) -> Tensor:
        """A camera that looks along +z, moved a little."""
        found = torch.eye(4, dtype=self.dtype)
        found[:3, 3] = 0.3 * torch.randn(3, generator=self._generator, dtype=self.dtype)
        if self._odd and self.flip(0.2):
            found[self.draw.randrange(3), self.draw.randrange(4)] = self.draw.choice(_ODD)
        return self.given(found)

    def intrinsics(self, width: int, height: int) -> Tensor:
        """Of a picture of this size."""
        focal = self.draw.choice((0.3, 1.0, 4.0, 1e-3, 1e4)) * max(width, height)
        found = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        if self._odd and self.flip(0.2):
            found[self.draw.randrange(2), 2] = self.draw.choice(_ODD)
        return self.given(found.to(self.dtype))


def _wronged(tensor: Tensor, draw: Random) -> Tensor:
    n = tensor.shape[0] if tensor.ndim else 0
    match draw.randrange(14):
        case 0:
            return tensor[: max(0, n - 1)].clone() if tensor.ndim else tensor[None]
        case 1:
            return torch.cat([tensor, tensor[:1]]) if n else tensor[None]
        case 2:
            return tensor[..., None]
        case 3:
            return tensor.flatten()
        case 4:
            return tensor.new_zeros(())
        case 5:
            return tensor.new_zeros((0,) * tensor.ndim)
        case 6:
            return tensor.transpose(0, -1) if tensor.ndim > 1 else tensor.expand(2, *tensor.shape)
        case 7 | 8:
            return tensor.to(draw.choice(_WRONG_TYPES))
        case 9:
            return tensor.to("meta")
        case 10:
            return tensor.to_sparse() if tensor.ndim else tensor
        case 11:
            found = tensor.clone()
            found.untyped_storage().resize_(0)
            return found
        case 12:  # not contiguous: right, and must be taken or refused, never read as it lies
            wide = torch.cat([tensor[..., None]] * 2, -1) if tensor.ndim else tensor[None].expand(2)
            return wide[..., 0]
        case _:
            return tensor[..., :1].expand_as(tensor) if tensor.ndim and tensor.numel() else tensor


def _backward(drawn: Drawn, outputs: Outputs, leaves: list[Tensor | None]) -> Outputs:
    """Gradients of some of the outputs by all leaves."""
    some = [o for o in outputs if o is not None and o.requires_grad and drawn.flip(0.8)]
    wanted = [t for t in leaves if t is not None and t.requires_grad]
    if not some or not wanted:
        return []
    seeds = [drawn.numbers(*o.shape).to(o) for o in some]  # torch checks these itself
    return list(torch.autograd.grad(some, wanted, seeds, allow_unused=True))


def rasterized(drawn: Drawn) -> Outputs:
    n, width, height = drawn.rows(), drawn.side(), drawn.side()
    degree = drawn.draw.choice((None, 0, 1, 2, 3))
    coefficients = 0 if degree is None else (degree + 1) ** 2 + drawn.draw.choice((0, 0, 3))
    places = drawn.numbers(n, 3)
    if drawn.flip(0.9):  # before the camera
        places[:, 2] += 3
    means = drawn.asked(drawn.given(places.to(drawn.dtype)))
    spread = drawn.draw.choice((0.02, 0.3, 3.0, 1e-6, 1e3))
    quats, scales = drawn.leaf(n, 4), drawn.leaf(n, 3, scale=spread)
    opacities = drawn.leaf(n, scale=0.4)
    colors = drawn.leaf(n, coefficients, 3) if coefficients else drawn.leaf(n, 3)
    if degree is not None and drawn.flip(0.2):
        rounded = drawn.numbers(n, coefficients, 3).to(torch.bfloat16)
        colors = drawn.given(rounded).requires_grad_(drawn.flip())
    elif degree is not None and drawn.flip(0.3):
        colors = Harmonics(drawn.numbers(n, coefficients, 3).to(drawn.dtype))
    features = (
        drawn.leaf(n, drawn.draw.choice((0, 1, 2, 3, 4, 5, 8, 9))) if drawn.flip(0.4) else None
    )
    background = drawn.leaf(3) if drawn.flip() else None
    pose, K = drawn.pose(), drawn.intrinsics(width, height)
    if drawn.flip(0.3) and pose.is_floating_point():
        pose.requires_grad_()
    projection = kernels.Projection(
        antialiased=drawn.flip(0.3), radius_clip=drawn.draw.choice((0.0, 0.0, 3.0)),
        near=drawn.draw.choice((0.01, 0.0, -1.0, 2.5)), far=drawn.draw.choice((1e10, 3.0)),
    )  # fmt: skip
    image, alpha, extra, statistics = kernels.rasterize(
        means, quats, scales, opacities, colors, pose, K, width, height, sh_degree=degree,
        features=features, background=background, depth=drawn.flip(0.4), absolute=drawn.flip(0.4),
        projection=projection,
    )  # fmt: skip
    found: Outputs = [image, alpha, extra, statistics.radii]
    maps = drawn.floats(height, width, drawn.draw.choice((1, 2, 4, 5))) if drawn.flip(0.4) else None
    if drawn.flip(0.4):
        contributions, strongest = kernels.survey(statistics, maps)
        found += [contributions.mass, contributions.hits, contributions.area, strongest]
    statistics.gradient.pixels = maps if drawn.flip() else None
    leaves = [means, quats, scales, opacities, colors, features, background, pose]
    found += _backward(drawn, [image, alpha, extra], leaves)
    found += [statistics.gradient.signed, statistics.gradient.absolute, statistics.gradient.sums]
    if type(colors) is Harmonics:
        found += [part.factors for part in colors.pending]
    return found


def activated(drawn: Drawn) -> Outputs:
    n = drawn.rows()
    logs, logits = drawn.leaf(n, 3, scale=3), drawn.leaf(n, scale=4)
    scales, opacities = kernels.activate(logs, logits)
    means: Outputs = [kernels.mean_of(v, 0.5) for v in (scales, opacities) if drawn.flip()]
    found = [scales, opacities, *means]
    return found + _backward(drawn, found, [logs, logits])


def moved(drawn: Drawn) -> Outputs:
    n = drawn.rows()
    leaves = [
        drawn.leaf(n, 3), drawn.leaf(n), drawn.leaf(n), drawn.leaf(n, scale=3), drawn.leaf(n, 3)
    ]  # fmt: skip
    least = drawn.draw.choice((0.0, 0.02, 1.0))
    found: Outputs = [*kernels.moment(*leaves, at=drawn.draw.uniform(-1, 2), least=least)]
    return found + _backward(drawn, found, leaves)


def stepped(drawn: Drawn) -> Outputs:
    n = drawn.rows()
    shape = drawn.draw.choice(((n,), (n, 3), (n, 4), (n, 1, 3), (n, 4, 3), (n, 16, 3), (n, 20, 3),
                               (n, 7), (n, 3, 5)))  # fmt: skip
    half_values, half = drawn.flip(0.2), drawn.flip(0.3)
    kind = torch.bfloat16 if half_values else drawn.dtype
    values = drawn.floats(*shape, dtype=kind)
    first, second = (drawn.floats(*shape, dtype=torch.bfloat16 if half else drawn.dtype)
                     for _ in range(2))  # fmt: skip
    second = (
        second.abs() if second.dtype != torch.bool and second.layout == torch.strided else second
    )
    gradient: Any = drawn.floats(*shape)
    if len(shape) == 3 and shape[2] == 3 and drawn.flip():
        degrees = [d for d in (0, 1, 2, 3) if (d + 1) ** 2 <= shape[1]]
        gradient = HarmonicsGradient(drawn.floats(n, 6), drawn.draw.choice(degrees))
    visible = None
    if drawn.flip(0.4):
        visible = drawn.given(torch.rand(n, generator=drawn._generator) < 0.6)
    number = kernels.adam(
        values, gradient, first, second, rate=0.01, tail=0.05, visible=visible,
        count=drawn.draw.choice((1, 7, 1000)), aside=drawn.flip(0.3),
        part=drawn.draw.choice(("all", "all", "head", "tail")),
    )  # fmt: skip
    kernels.finish(number)
    return [values, first, second]


def decoded(drawn: Drawn) -> Outputs:
    n = drawn.rows()
    count, slots = (
        drawn.draw.choice((1, 2, 3, 8, 31, 32, 64)),
        drawn.draw.choice((1, 2, 3, 5, 10, 16)),
    )
    hidden = drawn.draw.choice((16, 32, 48, 64))
    positions, features = drawn.floats(n, 3), drawn.leaf(n, count)
    reach, offsets = drawn.leaf(n, 6), drawn.leaf(n, slots, 3)
    heads = Heads(*(
        (drawn.leaf(count + 5, hidden, scale=0.3), drawn.leaf(hidden + 1, outputs, scale=0.3))
        for outputs in (slots, 3 * slots, 7 * slots)
    ))  # fmt: skip
    rows = torch.randperm(n, generator=drawn._generator)[: drawn.draw.randrange(n + 1)]
    rows = rows.sort().values if drawn.flip() else rows
    if drawn.wrong and drawn.flip(0.2) and len(rows):
        rows[-1] = drawn.draw.choice((n, -1, 1 << 40, int(rows[0])))
    rows = drawn.given(rows)
    masks = drawn.leaf(n, slots) if drawn.flip(0.4) else None
    found = kernels.decode(
        positions, features, reach, offsets, heads, rows, drawn.floats(3),
        distance=drawn.flip(), masks=masks,
    )  # fmt: skip
    outputs: Outputs = [found.means, found.quats, found.scales, found.opacities, found.colors]
    leaves = [features, reach, offsets, masks, *heads.opacity, *heads.color, *heads.covariance]
    return [*outputs, found.source, *_backward(drawn, outputs, leaves)]


def fields(drawn: Drawn) -> Outputs:
    n, side = drawn.rows(), drawn.draw.choice((3, 4, 5, 8, 17))
    channels, hidden = drawn.draw.choice((16, 32, 48)), drawn.draw.choice((16, 48, 64, 128))
    points = drawn.floats(n, 3)
    planes, lines = drawn.leaf(3, side, side, channels), drawn.leaf(3, side, channels)
    first, second = drawn.leaf(3 * channels + 4, hidden, scale=0.2), drawn.leaf(hidden + 1)
    given = (points, planes, lines, first, second, drawn.draw.choice((1.0, 100.0, 1e-3, 1e30)))
    if drawn.flip(0.3):
        return [value(*given)]
    f, g = field(*given)
    return [f, g, *_backward(drawn, [f, g], [planes, lines, first, second])]


def hexplanes(drawn: Drawn) -> Outputs:
    n, scales = drawn.rows(), drawn.draw.choice((1, 2, 3, 4))
    channels, width = drawn.draw.choice((16, 32, 48)), drawn.draw.choice((16, 32, 48, 64))
    sides = [drawn.draw.choice((2, 3, 4, 9, 16)) for _ in range(scales)]
    instants, outputs = drawn.draw.choice((1, 2, 5)), drawn.draw.choice(((3,), (3, 3, 4), (1, 7)))
    space = [drawn.leaf(3, side, side, channels) for side in sides]
    times = [drawn.leaf(3, instants, side, channels) for side in sides]
    trunk = drawn.leaf(scales * channels + 1, width, scale=0.2)
    hidden = drawn.leaf(width + 1, len(outputs) * width, scale=0.2)
    last = drawn.leaf(width + 1, sum(outputs), scale=0.2)
    time = drawn.draw.choice((0.0, -1.0, 1.0, 0.3, 7.0))
    found = hexplane(drawn.floats(n, 3), time, space, times, trunk, hidden, last, outputs)
    return [found, *_backward(drawn, [found], [*space, *times, trunk, hidden, last])]


def compared(drawn: Drawn) -> Outputs:
    height, width = drawn.side(), drawn.side()
    image, target = drawn.leaf(height, width, 3), _photo(drawn, height, width)
    loss = kernels.photometric(image, target, drawn.draw.choice((0.2, 0.0, 1.0)))
    return [loss, *_backward(drawn, [loss], [image])]


def _photo(drawn: Drawn, height: int, width: int) -> Tensor:
    if drawn.flip():
        return drawn.floats(height, width, 3)
    bytes_ = torch.randint(0, 256, (height, width, 3), generator=drawn._generator)
    return drawn.given(bytes_.to(torch.uint8))


def errors(drawn: Drawn) -> Outputs:
    height, width = drawn.side(), drawn.side()
    return [kernels.errors(drawn.floats(height, width, 3), _photo(drawn, height, width))]


def toned(drawn: Drawn) -> Outputs:
    image, tone = drawn.leaf(drawn.side(), drawn.side(), 3), drawn.leaf(3, 4)
    found = kernels.toned(image, tone)
    return [found, *_backward(drawn, [found], [image, tone])]


def walked(drawn: Drawn) -> Outputs:
    n, every = drawn.rows(), drawn.draw.choice((1, 1, 2, 3, 7))
    quats, logs, logits = drawn.floats(n, 4), drawn.floats(n, 3), drawn.floats(n, scale=3)
    delta = kernels.walk(
        quats, logs, logits, reach=0.5, dead=0.005, steepness=100.0, every=every,
        quiet=drawn.draw.choice((3.0, -1.0)), phase=drawn.draw.randrange(every), seed=7,
    )  # fmt: skip
    values = drawn.numbers(*delta.shape).to(delta)
    kernels.add(values, delta)
    return [delta, values]


def added(drawn: Drawn) -> Outputs:
    n = drawn.rows()
    shape = drawn.draw.choice(((n,), (n, 3), (drawn.side(), drawn.side(), 3)))
    values = drawn.floats(*shape)
    kernels.add(values, drawn.floats(*shape))
    return [values]


def framed(drawn: Drawn) -> Outputs:
    n, width, height = drawn.rows(), drawn.side(), drawn.side()
    return [
        kernels.in_frustum(
            drawn.floats(n, 3, scale=3), drawn.floats(n, 6), drawn.pose(),
            drawn.intrinsics(width, height), width, height, drawn.draw.choice((0.0, 0.1, 1e30)),
        )
    ]  # fmt: skip


CALLS: Mapping[str, Call] = {
    "rasterize": rasterized,
    "activate": activated,
    "moment": moved,
    "adam": stepped,
    "decode": decoded,
    "field": fields,
    "hexplane": hexplanes,
    "photometric": compared,
    "errors": errors,
    "toned": toned,
    "walk": walked,
    "add": added,
    "frustum": framed,
}
"""Kernels by name; `rasterize` is surveyed too."""
