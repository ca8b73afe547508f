"""`PlaneContext`: what is expected of the values of planes, from what is known before them.

Planes are coded from coarse to fine, each in two turns: first every other value, as the black
squares of a chessboard lie, then those between, which are expected by the black ones around them.
Planes of a finer scale are expected by the coarser one, too. That is the order of Light4GS (Liu et
al. 2025); its networks are larger, and read a hyperprior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from splat.core.column import Rate
from splat.core.model import TrainedModule
from splat.strategies.deform.field import KINDS, DeformationField, RoundingStep, rounded

REACH = 2
"""Values to each side that are looked at for one between."""
TAPS = (2 * REACH + 1) ** 2 // 2
"""Values of the other colour in a square around one."""
FILTERS = 2
"""Sums of what is around a value, by channel."""
HIDDEN = 16
SMALLEST = 1e-6
"""Least chance of a value that bits are counted of."""
RATES = (5e-3, 5e-4)


class Expectation(nn.Module):
    """What is expected of one kind of planes at one scale; `coarser` if there is a coarser one.

    Parameters: `fill` [C], a channel's value where nothing reads it and what all are expected by;
    `wide` [C], log2 of deviations in steps; `around` [C F, 1, 5, 5]; `first` and `second`, layers
    whose last row is the bias.
    """

    def __init__(self, channels: int, fill: Tensor, coarser: bool, draw: torch.Generator) -> None:
        super().__init__()
        self.channels, self.coarser = channels, coarser
        inputs = (FILTERS + coarser) * channels

        def even(*shape: int, most: float) -> Tensor:
            return most * (2 * torch.rand(*shape, generator=draw) - 1)

        self.fill = nn.Parameter(fill.clone())
        self.wide = nn.Parameter(torch.full((channels,), 2.0))
        self.around = nn.Parameter(even(channels * FILTERS, TAPS, most=0.1))
        first = even(inputs, HIDDEN, most=math.sqrt(6 / (inputs + HIDDEN)))
        self.first = nn.Parameter(torch.cat([first, torch.zeros(1, HIDDEN)]))
        self.second = nn.Parameter(torch.zeros(HIDDEN + 1, 2 * channels))

    def forward(
        self, values: Float[Tensor, "h w c"], before: Float[Tensor, "h w c"] | None
    ) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w c"]]:
        """Means, and log2 of deviations in steps, of values by those before them."""
        h, w, c = values.shape
        white = chessboard(h, w, values.device)
        away = (values - self.fill) * ~white[:, :, None]
        # By channel [c, h w, taps] times [c, taps, F].
        summed = torch.bmm(_around(away), self.around.view(c, FILTERS, TAPS).transpose(1, 2))
        read = [summed.transpose(0, 1).reshape(h, w, -1) * white[:, :, None]]
        expected = self.fill.expand(h, w, c)
        if before is not None:
            read.append(before - self.fill)
            expected = before
        seen = (torch.cat(read, 2).reshape(h * w, -1) @ self.first[:-1] + self.first[-1]).relu()
        said = (seen @ self.second[:-1] + self.second[-1]).view(h, w, 2 * c)
        return expected + said[:, :, :c], self.wide + said[:, :, c:]


class PlaneContext(nn.Module):
    """The expectations of all planes of a field, and the steps that these are rounded to."""

    def __init__(
        self, field: DeformationField, step: RoundingStep, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.step = step
        self.channels = channels = field.sizes.channels
        for kind in KINDS:
            planes = field.planes(kind)
            made = [
                Expectation(channels, values.detach().cpu().mean((0, 1, 2)), s > 0, generator)
                for s, values in enumerate(planes)
            ]
            self.add_module(kind, nn.ModuleList(made))

    def expectation(self, kind: str, scale: int) -> Expectation:
        """That of a kind of planes at a scale."""
        found = getattr(self, kind)[scale]
        assert isinstance(found, Expectation)
        return found

    def bits(
        self,
        field: DeformationField,
        axis: int,
        read: Sequence[tuple[Bool[Tensor, "r r"], Bool[Tensor, "r"]]],
    ) -> Float[Tensor, ""]:
        """Mean bits of a value that is read, of the planes of an axis; `read` as `touched` says by
        scale. Planes and expectations get gradients."""
        total, count = field.low.new_zeros(()), 0
        for kind in KINDS:
            before: Tensor | None = None
            for s, (plane, line) in enumerate(read):
                held = field.planes(kind)[s][axis]
                values = rounded(held, self.step.of(kind))
                if kind == "space":
                    wanted = plane
                else:
                    wanted = line[None].expand(values.shape[0], -1)
                if before is not None:
                    before = finer(before, values.shape[0], values.shape[1])
                mean, wide = self.expectation(kind, s)(values, before)
                found = _bits(values[wanted], mean[wanted], wide[wanted], self.step.of(kind))
                total, count = total + found.sum(), count + found.numel()
                before = values
        return total / max(count, 1)

    def trained(self, steps: int) -> TrainedModule:
        """With an optimizer for a run of so many steps."""
        rate = Rate(*RATES, steps)
        held = [{"params": list(self.parameters()), "lr": rate.start}]
        return TrainedModule(self, torch.optim.Adam(held, eps=1e-15, fused=True), [rate])


def chessboard(rows: int, columns: int, device: torch.device | None) -> Bool[Tensor, "h w"]:
    """Which values come in the second turn."""
    down = torch.arange(rows, device=device)[:, None]
    return (down + torch.arange(columns, device=device)) % 2 == 1


def finer(values: Float[Tensor, "h w c"], rows: int, columns: int) -> Float[Tensor, "h w c"]:
    """A coarser plane read where a finer one has its values, borders on borders."""
    if values.shape[:2] == (rows, columns):
        return values
    for axis, count in ((0, rows), (1, columns)):
        n = values.shape[axis]
        if n == count:
            continue
        place = torch.arange(count, device=values.device) * ((n - 1) / max(count - 1, 1))
        cell = place.floor().clamp(max=max(n - 2, 0)).long()
        part = (place - cell).view((-1, 1, 1) if axis == 0 else (1, -1, 1))
        low = values.index_select(axis, cell)
        values = low + (values.index_select(axis, (cell + 1).clamp(max=n - 1)) - low) * part
    return values


def _around(values: Float[Tensor, "h w c"]) -> Float[Tensor, "c h*w t"]:
    """What is of the other colour in the square around each value, 0 beyond the border."""
    h, w, c = values.shape
    wide = pad(values, (0, 0, REACH, REACH, REACH, REACH))
    shifted = [
        wide[down : down + h, across : across + w]
        for down, across in (divmod(place, 2 * REACH + 1) for place in others().tolist())
    ]
    return torch.stack(shifted, 3).view(h * w, c, TAPS).transpose(0, 1)


def others(device: torch.device | None = None) -> Int[Tensor, "t"]:
    """Of a square around a value the places of the other colour, row by row."""
    side = 2 * REACH + 1
    return chessboard(side, side, device).flatten().nonzero()[:, 0]


def _bits(values: Tensor, mean: Tensor, wide: Tensor, step: float) -> Tensor:
    """Bits of values that are rounded to steps and expected to be normal."""
    root = math.sqrt(0.5)
    away, scale = (values - mean) / step, wide.clamp(-4, 20).exp2()
    low, high = ((away + side) / scale * root for side in (-0.5, 0.5))
    # Of the tail that is farther from 0, where differences of the other are nothing.
    flip = torch.where(away > 0, -1.0, 1.0)
    one, other = torch.erf(low * flip), torch.erf(high * flip)
    return -(0.5 * (one - other).abs()).clamp_min(SMALLEST).log2()
