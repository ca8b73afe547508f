"""`PlaneContext`: what is expected of the values of planes, from what is known before them.

Planes are coded from coarse to fine. `small` (ours): each in two turns, first every other value, as
the black squares of a chessboard lie, then those between, which are expected by the black ones
around them; planes of a finer scale by the coarser one, too. `full` is the order of Light4GS (Liu
et al. 2025): the coarsest planes of time first, by a hyperprior and in two turns; then the coarsest
of space, in two turns and by the means over time of the two planes of time that share an axis with
them; then the finer ones, by the coarser plane and a hyperprior, in one turn.

A hyperprior there is what a network makes of the plane, a latent plane a quarter as long and wide,
of an eighth of the channels, that is coded first. Here a plane is the only one that there will ever
be, so its latents are trained themselves, without a network that makes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from splat.core.column import Rate
from splat.core.model import TrainedModule
from splat.strategies.deform.field import KINDS, DeformationField, RoundingStep, rounded

Kind = Literal["small", "full"]
"""Of a context."""
REACH = 2
"""Values to each side that are looked at for one between."""
TAPS = (2 * REACH + 1) ** 2 // 2
"""Values of the other colour in a square around one."""
LINE = 2 * REACH + 1
"""Values of a line that are looked at for one in the middle."""
FILTERS = 2
"""Sums of what is around a value, by channel."""
HIDDEN: Mapping[Kind, int] = {"small": 16, "full": 24}
COARSER = 4
"""Values of a plane to one of its latents, along a side."""
FEWER = 8
"""Channels of a plane to one of its latents."""
LATENT = 0.125
"""What latents are rounded to multiples of."""
SMALLEST = 1e-6
"""Least chance of a value that bits are counted of."""
RATES = (5e-3, 5e-4)


@dataclass(frozen=True)
class Known:
    """What the values of a kind of planes at a scale are expected by."""

    turns: bool = True
    """Values of the plane itself that came in the first turn."""
    coarser: bool = False
    """The plane of the next coarser scale."""
    lines: bool = False
    """Means over time of the two planes of time that share an axis."""
    latents: bool = False

    @staticmethod
    def by(context: Kind, kind: str, scale: int) -> Known:
        if context == "small":
            return Known(coarser=scale > 0)
        if scale > 0:
            return Known(turns=False, coarser=True, latents=True)
        return Known(lines=kind == "space", latents=kind == "times")


class Expectation(nn.Module):
    """What is expected of one kind of planes at one scale.

    Parameters: `fill` [C], a channel's value where nothing reads it and what all are expected by;
    `wide` [C], log2 of deviations in steps; `around` [C F, 12], filters of a square, and `lines`
    [2, C F, 5], of a line; `first` and `second`, layers whose last row is the bias; `spread`, log2
    of deviations of latents in steps.
    """

    def __init__(
        self, channels: int, fill: Tensor, known: Known, hidden: int, draw: torch.Generator
    ) -> None:
        super().__init__()
        self.channels, self.known = channels, known
        latents = max(1, channels // FEWER)
        inputs = channels * (FILTERS * known.turns + known.coarser + 2 * FILTERS * known.lines)
        inputs += latents * known.latents

        def even(*shape: int, most: float) -> Tensor:
            return most * (2 * torch.rand(*shape, generator=draw) - 1)

        self.fill = nn.Parameter(fill.clone())
        self.wide = nn.Parameter(torch.full((channels,), 2.0))
        if known.turns:
            self.around = nn.Parameter(even(channels * FILTERS, TAPS, most=0.1))
        if known.lines:
            self.lines = nn.Parameter(even(2, channels * FILTERS, LINE, most=0.1))
        first = even(inputs, hidden, most=math.sqrt(6 / (inputs + hidden)))
        self.first = nn.Parameter(torch.cat([first, torch.zeros(1, hidden)]))
        self.second = nn.Parameter(torch.zeros(hidden + 1, 2 * channels))
        if known.latents:
            self.spread = nn.Parameter(torch.zeros(latents))

    def forward(
        self,
        values: Float[Tensor, "h w c"],
        before: Float[Tensor, "h w c"] | None,
        lines: tuple[Float[Tensor, "h c"], Float[Tensor, "w c"]] | None = None,
        latents: Float[Tensor, "y x l"] | None = None,
    ) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w c"]]:
        """Means, and log2 of deviations in steps, of values by what is `known` of them."""
        h, w, c = values.shape
        read = []
        if self.known.turns:
            white = chessboard(h, w, values.device)
            away = (values - self.fill) * ~white[:, :, None]
            # By channel [c, h w, taps] times [c, taps, F].
            summed = torch.bmm(_around(away), self.around.view(c, FILTERS, TAPS).transpose(1, 2))
            read.append(summed.transpose(0, 1).reshape(h, w, -1) * white[:, :, None])
        expected = self.fill.expand(h, w, c)
        if before is not None:
            read.append(before - self.fill)
            expected = before
        if lines is not None:
            down, across = (_along(*each) for each in zip(lines, self.lines, strict=True))
            read += [down[:, None].expand(-1, w, -1), across[None].expand(h, -1, -1)]
        if latents is not None:
            read.append(finer(latents, h, w))
        seen = (torch.cat(read, 2).reshape(h * w, -1) @ self.first[:-1] + self.first[-1]).relu()
        said = (seen @ self.second[:-1] + self.second[-1]).view(h, w, 2 * c)
        return expected + said[:, :, :c], self.wide + said[:, :, c:]


class PlaneContext(nn.Module):
    """The expectations of all planes of a field, and the steps that these are rounded to.

    Parameters beside those of the expectations: `latents`, by name, [3, h, w, L].
    """

    def __init__(
        self,
        field: DeformationField,
        step: RoundingStep,
        generator: torch.Generator,
        kind: Kind = "small",
    ) -> None:
        super().__init__()
        self.step, self.kind = step, kind
        self.channels = channels = field.sizes.channels
        self.latents = nn.ParameterDict()
        for name in KINDS:
            made = []
            for s, values in enumerate(field.planes(name)):
                known, fill = Known.by(kind, name, s), values.detach().cpu().mean((0, 1, 2))
                made.append(Expectation(channels, fill, known, HIDDEN[kind], generator))
                if known.latents:
                    h, w = (-(-side // COARSER) for side in values.shape[1:3])
                    shape = (3, h, w, max(1, channels // FEWER))
                    self.latents[f"{name}{s}"] = nn.Parameter(torch.zeros(shape))
            self.add_module(name, nn.ModuleList(made))

    def expectation(self, kind: str, scale: int) -> Expectation:
        """That of a kind of planes at a scale."""
        found = getattr(self, kind)[scale]
        assert isinstance(found, Expectation)
        return found

    def latents_of(self, kind: str, scale: int) -> Float[Tensor, "3 y x l"] | None:
        """Latents of a kind of planes at a scale, rounded; None: it has none."""
        name = f"{kind}{scale}"
        return rounded(self.latents[name], LATENT) if name in self.latents else None

    def weights(self) -> list[Tensor]:
        """All parameters but latents."""
        return [values for name, values in self.named_parameters() if "latents" not in name]

    def order(self, scales: int) -> Iterator[tuple[str, int, int]]:
        """Kind, scale and axis of each plane, in the order in which they are coded."""
        if self.kind == "small":
            yield from ((k, s, axis) for axis in range(3) for k in KINDS for s in range(scales))
        else:
            yield from (
                (k, s, axis) for s in range(scales) for k in KINDS[::-1] for axis in range(3)
            )

    def bits(
        self,
        field: DeformationField,
        axis: int,
        read: Sequence[tuple[Bool[Tensor, "r r"], Bool[Tensor, "r"]]],
    ) -> Float[Tensor, ""]:
        """Mean bits of a value that is read, of the planes of an axis, what their latents take
        among them; `read` as `touched` says by scale. Planes and expectations get gradients."""
        total, count = field.low.new_zeros(()), 0
        for kind in KINDS:
            for s, (plane, line) in enumerate(read):
                values, mean, wide = self.expected(field, kind, s, axis)
                wanted = plane if kind == "space" else line[None].expand(values.shape[0], -1)
                found = _bits(values[wanted], mean[wanted], wide[wanted], self.step.of(kind))
                total, count = total + found.sum(), count + found.numel()
                latents = self.latents_of(kind, s)
                if latents is not None:
                    spread = self.expectation(kind, s).spread.expand(latents[axis].shape)
                    nothing = spread.new_zeros(())
                    total = total + _bits(latents[axis], nothing, spread, LATENT).sum()
        return total / max(count, 1)

    def expected(
        self, field: DeformationField, kind: str, scale: int, axis: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The values of a plane, rounded, their means, and log2 of their deviations in steps; of
        each [H, W, C]."""
        planes, step, own = field.planes(kind), self.step.of(kind), self.expectation(kind, scale)
        values = rounded(planes[scale][axis], step)
        before = lines = None
        if own.known.coarser:
            before = finer(rounded(planes[scale - 1][axis], step), *values.shape[:2])
        if own.known.lines:
            lines = self._lines(field, axis)
        latents = self.latents_of(kind, scale)
        mean, wide = own(values, before, lines, None if latents is None else latents[axis])
        return values, mean, wide

    def _lines(self, field: DeformationField, axis: int) -> tuple[Tensor, Tensor]:
        """Means over time of the coarsest planes of time of the axes of a plane of space, less what
        fills these."""
        fill = self.expectation("times", 0).fill
        down, across = (
            rounded(field.times[0][other], self.step.times).mean(0) - fill
            for other in axes_of(axis)
        )
        return down, across

    def trained(self, steps: int) -> TrainedModule:
        """With an optimizer for a run of so many steps."""
        rate = Rate(*RATES, steps)
        held = [{"params": list(self.parameters()), "lr": rate.start}]
        return TrainedModule(self, torch.optim.Adam(held, eps=1e-15, fused=True), [rate])


def axes_of(axis: int) -> tuple[int, int]:
    """The axes along which the rows and the columns of a plane of space lie."""
    return (axis + 1) % 3, (axis + 2) % 3


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


def _along(values: Float[Tensor, "n c"], filters: Float[Tensor, "cf 5"]) -> Float[Tensor, "n cf"]:
    """Sums of the values of a line around each, by channel; 0 beyond its ends."""
    n, c = values.shape
    wide = pad(values, (0, 0, REACH, REACH))
    near = torch.stack([wide[tap : tap + n] for tap in range(LINE)], 2)
    return torch.einsum("nct,cft->ncf", near, filters.view(c, FILTERS, LINE)).reshape(n, -1)


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
