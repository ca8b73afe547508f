"""`DeformationField`: what moves, turns and stretches Gaussians, by where they are and when."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from splat.core.column import Rate
from splat.core.model import TrainedModule
from splat.kernels.hexplane import hexplane
from splat.strategies.deform.lazy import LazyAdam
from splat.types import Gaussians

HEADS: Mapping[str, int] = {"mean": 3, "scale": 3, "quat": 4, "opacity": 1}
"""Numbers that each head gives, in the order in which they stand in its outputs."""
LEAST, MOST = 0.1, 0.5
"""Planes of space begin anywhere between, the same all over a plane's channel; those of time at 1,
which says that nothing depends on it."""


KINDS = ("space", "times")
"""Planes of two axes of space, and of time and one."""


@dataclass(frozen=True)
class RoundingStep:
    """Steps that planes are rounded to, by kind."""

    space: float
    times: float

    def of(self, kind: str) -> float:
        """Of one of `KINDS`."""
        return self.space if kind == "space" else self.times


@dataclass(frozen=True)
class Sizes:
    """How large a field is."""

    sides: tuple[int, ...]
    """Values along a side of the planes of space, by scale."""
    instants: int
    """Values of the planes of time along it."""
    channels: int
    width: int
    """Units of a hidden layer of a head."""
    opacity: bool = False
    """Whether opacities depend on the time, too."""

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(name for name in HEADS if name != "opacity" or self.opacity)


class DeformationField(nn.Module):
    """A HexPlane (Cao and Johnson, CVPR 2023) and the heads that read it, as 4DGaussians (Wu et
    al., CVPR 2024) has them. Its last layer begins at 0, so that it begins by changing nothing.

    Parameters: `space` and `times`, planes by scale, [3, R, R, C] and [3, T, R, C]; `trunk`,
    `hidden` and `last` as `splat.kernels.hexplane` reads them.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        box: Float[Tensor, "2 3"],
        sizes: Sizes,
        generator: torch.Generator,
    ) -> None:
        """`box` is the part of space that it tells apart, its low and its high corner in the frame
        of training."""
        super().__init__()
        self.sizes = sizes
        self.step: RoundingStep | None = None
        self.register_buffer("low", box[0].clone())
        self.register_buffer("high", box[1].clone())
        c, d, heads = sizes.channels, sizes.width, len(sizes.heads)

        def even(*shape: int, low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(*shape, generator=generator)

        def layer(inputs: int, outputs: int) -> Tensor:
            most = math.sqrt(6 / (inputs + outputs))  # Xavier's, of Glorot and Bengio 2010
            return torch.cat([even(inputs, outputs, low=-most, high=most), torch.zeros(1, outputs)])

        self.space = nn.ParameterList(
            even(3, 1, 1, c, low=LEAST, high=MOST).expand(3, side, side, c).clone()
            for side in sizes.sides
        )
        self.times = nn.ParameterList(
            torch.ones(3, sizes.instants, side, c) for side in sizes.sides
        )
        self.trunk = nn.Parameter(layer(len(sizes.sides) * c, d))
        self.hidden = nn.Parameter(torch.cat([layer(d, d) for _ in range(heads)], 1))
        self.last = nn.Parameter(torch.zeros(d + 1, sum(self.outputs)))

    @property
    def outputs(self) -> tuple[int, ...]:
        """Numbers by head."""
        return tuple(HEADS[name] for name in self.sizes.heads)

    def planes(self, kind: str) -> Sequence[Tensor]:
        """Planes of one of `KINDS`, by scale."""
        return list(self.space if kind == "space" else self.times)

    def inside(self, means: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Points in the box that spans -1 to 1, without gradients."""
        return 2 * (means.detach() - self.low) / (self.high - self.low) - 1

    def forward(
        self, means: Float[Tensor, "n 3"], time: float, plain: bool = False
    ) -> Float[Tensor, "n o"]:
        """What the heads say of points, frame of training, at a time, 0 to 1 of the clip. Planes
        and layers get gradients, points none. Planes are rounded where there is a `step`, unless
        `plain`."""
        space, times = (self.planes(kind) for kind in KINDS)
        if self.step is not None and not plain:
            space = [rounded(values, self.step.space) for values in space]
            times = [rounded(values, self.step.times) for values in times]
        # The planes of time span -1 to 1 as those of space do, so that all of them are used.
        return hexplane(
            self.inside(means), 2 * time - 1, space, times,
            self.trunk, self.hidden, self.last, self.outputs,
        )  # fmt: skip

    def deformed(self, gaussians: Gaussians, time: float, plain: bool = False) -> Gaussians:
        """A set as it is at a time: means and quaternions with what is added to them, scales times
        e to the power of it, opacities by their logits; `plain` as `forward` has it."""
        said = self(gaussians.means, time, plain).split(self.outputs, 1)
        mean, scale, quat, *opacity = said
        changed = replace(
            gaussians,
            means=gaussians.means + mean,
            scales=gaussians.scales * scale.contiguous().exp(),  # six times as fast so
            quats=gaussians.quats + quat,
        )
        if not opacity:
            return changed
        faster, own = opacity[0][:, 0].exp(), gaussians.opacities
        # sigmoid(logit(o) + d)
        return replace(changed, opacities=own * faster / (1 - own + own * faster))

    def roughness(self, space: float, times: float, ones: float) -> Float[Tensor, ""]:
        """What 4DGaussians adds to its loss: the mean squared second differences of planes of space
        times `space`, of planes of time along it times `times`, and how far these are from 1."""
        total = self.low.new_zeros(())
        for plane, time in zip(self.space, self.times, strict=True):
            if plane.shape[1] > 2:
                both = _bend(plane, 1).mean() + _bend(plane, 2).mean()
                total = total + space * 0.5 * both
            if time.shape[1] > 2:
                total = total + times * _bend(time, 1).mean()
            total = total + ones * (1 - time).abs().mean()
        return total

    def trained(
        self, planes: tuple[float, float], layers: tuple[float, float], steps: int
    ) -> TrainedModule:
        """With an optimizer for a run of so many steps; learning rates at its start and end."""
        groups = [
            ([*self.space, *self.times], planes),
            ([self.trunk, self.hidden, self.last], layers),
        ]
        rates = [Rate(*both, steps) for _, both in groups]
        optimizer = LazyAdam(
            [
                {"params": held, "lr": rate.start, "lazy": first}
                for (held, _), rate, first in zip(groups, rates, (True, False), strict=True)
            ]
        )
        return TrainedModule(self, optimizer, rates)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # A model that is opened to be drawn does not know how many instants it was trained on.
        for s, planes in enumerate(self.times):
            held = state_dict.get(f"{prefix}times.{s}")
            if held is not None and held.ndim == 4 and held.shape[2:] == planes.shape[2:]:
                planes.data = planes.new_ones(held.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def rounded(values: Tensor, step: float) -> Tensor:
    """Values rounded to steps, exactly; gradients pass."""
    found: Tensor = (values.detach() / step).round() * step + (values - values.detach())
    return found


def _bend(planes: Tensor, axis: int) -> Tensor:
    """Squared second differences along an axis."""
    n = planes.shape[axis]
    middle = planes.narrow(axis, 1, n - 2)
    return (planes.narrow(axis, 2, n - 2) - 2 * middle + planes.narrow(axis, 0, n - 2)).square()


def box_of(positions: Float[Tensor, "n 3"], share: float, margin: float) -> Float[Tensor, "2 3"]:
    """The box that holds the middle `share` of points along each axis, larger by `margin` of its
    side at each end."""
    positions = positions.detach().float().cpu()
    n = len(positions)
    if not n:
        return torch.tensor([[-1.0] * 3, [1.0] * 3])
    ordered = positions.sort(0).values
    away = int((1 - share) / 2 * n)
    low, high = ordered[away], ordered[n - 1 - away]
    side = (high - low).clamp_min(1e-6)
    return torch.stack([low - margin * side, high + margin * side])


def times_over(count: int) -> Sequence[float]:
    """Times from the first to the last of a clip."""
    return [i / (count - 1) for i in range(count)]
