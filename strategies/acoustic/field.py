"""The acoustic field: what points near a listener and a source do to what is heard.

As in AV-GS a network turns each point's guidance and where it lies into a context, contexts are
averaged, and a second network makes of their mean what is heard: a mixture mask and a difference
mask (AV-NeRF, Liang et al. 2023) for every frame and band. Ours, `avgs-inspired`: contexts are also
laid down in time, each where the way by its point arrives, so that early frames know of the
surfaces whose sound they hold; and the masks are even and odd under a mirror by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from splat.strategies.acoustic.arrival import SPEED
from splat.strategies.acoustic.geometry import (
    DIRECT,
    POINT,
    TURNED,
    Listening,
    Relative,
    direct,
    relative,
)
from splat.strategies.acoustic.points import GUIDANCE

CONTEXT, SIDES, ECHO = 48, 16, 24
"""Numbers of a context: of the mean, of the mean that mirrors turn around, and of early frames."""
HIDDEN, WIDTH, DEPTH = 64, 128, 3
"""Of the network of points, of that of frames, and its residual layers: AV-NeRF's is 128 wide, too,
for recordings (256 for responses) and has two of four layers each."""
ODD = 24
SPREAD = 1.5
"""Early frames on each side over which a context is spread."""


@dataclass(frozen=True)
class Tokens:
    """The frames that are asked for."""

    features: Float[Tensor, "t f"]
    """What a frame is, and when."""
    bands: int
    """Numbers of a mask in each frame."""
    early: slice
    """Frames that contexts are laid down in."""
    hop: float
    """Seconds from one early frame to the next; the first is at the arrival of direct sound."""


@dataclass(frozen=True)
class Masks:
    """What is heard of what is expected: left = e^mixture (1 + difference), right with a minus."""

    mixture: Float[Tensor, "b t bands"]
    """Logarithm of the mixture mask."""
    difference: Float[Tensor, "b t bands"]
    """-1 to 1."""

    @property
    def ears(self) -> Float[Tensor, "b 2 t bands"]:
        """Logarithms of what each ear has, left first."""
        # Short of 1 by what a float can hold: an ear that hears nothing has no logarithm.
        odd = self.difference * 0.999
        return self.mixture[:, None] + torch.stack([torch.log1p(odd), torch.log1p(-odd)], 1)


class Pooled(nn.Module):
    """Contexts of points: their network, and where in time they are laid down."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Linear(POINT, HIDDEN)
        self.guidance = nn.Linear(GUIDANCE, HIDDEN, bias=False)
        self.rest = nn.Sequential(
            nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, CONTEXT + SIDES + ECHO),
        )  # fmt: skip

    def forward(
        self, guidance: Float[Tensor, "b n g"] | Float[Tensor, "n g"], seen: Relative
    ) -> Float[Tensor, "b n c"]:
        """A context for every point and listener."""
        found: Tensor = self.rest(self.place(seen.even) + self.guidance(guidance))
        return found


class Field(nn.Module):
    """Masks for listeners, from points."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.early, self.hop = tokens.early, tokens.hop
        self.register_buffer("frames", tokens.features, persistent=False)
        self.pooled = Pooled()
        self.start = nn.Sequential(
            nn.Linear(CONTEXT + DIRECT, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)
        )
        self.echo = nn.Linear(ECHO, WIDTH)
        self.time = nn.Linear(tokens.features.shape[1], WIDTH)
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)])
        self.mixture = nn.Linear(WIDTH, tokens.bands)
        self.odd = nn.Linear(SIDES + TURNED, ODD, bias=False)
        self.gate = nn.Linear(WIDTH, ODD)
        self.difference = nn.Linear(ODD, tokens.bands, bias=False)
        # What is expected is what is heard, until something is learned.
        nn.init.zeros_(self.mixture.weight)
        nn.init.zeros_(self.mixture.bias)
        nn.init.normal_(self.difference.weight, std=0.02)

    def forward(
        self,
        heard: Listening,
        mean: Float[Tensor, "n 3"],
        normal: Float[Tensor, "n 3"],
        guidance: Float[Tensor, "n g"] | Float[Tensor, "b n g"],
        near: Float[Tensor, "b n"] | None = None,
        mass: Float[Tensor, "n"] | None = None,
    ) -> tuple[Masks, Float[Tensor, "b n c"]]:
        """Masks, and the contexts that they came of.

        `mass` says how much each point counts for; None: all alike. `near` has the weight of each
        point for each listener, rows of sum 1; None: by mass.
        `guidance` may be given for each listener apart, so that gradients can be told apart.
        """
        seen = relative(heard, mean, normal)
        context = self.pooled(guidance, seen)
        part = torch.full_like(seen.near[0], 1 / len(mean)) if mass is None else mass / mass.sum()
        weight = part.expand_as(seen.near) if near is None else near
        mean_of, sides, echo = context.split((CONTEXT, SIDES, ECHO), -1)
        even, odd = direct(heard)
        pooled = torch.einsum("bn,bnc->bc", weight, mean_of)
        state = self.start(torch.cat([pooled, even], 1))[:, None] + self.time(self.frames)
        early = self.echo(self._laid(echo, seen.detour, part))
        first, last = self.early.start, self.early.stop
        state = torch.cat([state[:, :first], state[:, first:last] + early, state[:, last:]], 1)
        for layer in self.layers:
            state = state + layer(F.relu(state))
        state = F.relu(state)
        turned = torch.einsum("bn,bnc->bc", weight * seen.side, sides)
        found = self.gate(state) * self.odd(torch.cat([turned, odd], 1))[:, None]
        return Masks(self.mixture(state), torch.tanh(self.difference(found))), context

    def _laid(
        self,
        echo: Float[Tensor, "b n c"],
        detour: Float[Tensor, "b n"],
        part: Float[Tensor, "n"],
    ) -> Float[Tensor, "b t c"]:
        """Contexts in the early frames in which the ways by their points arrive."""
        many = self.early.stop - self.early.start
        at = detour / (SPEED * self.hop)
        apart = (at[:, None] - torch.arange(many, device=at.device)[:, None]).abs()
        share = (1 - apart / SPREAD).clamp_min(0)
        found: Tensor = many * torch.einsum("btn,bnc->btc", share * part, echo)
        return found


def nearest(seen: Relative, mass: Float[Tensor, "n"], share: float) -> Float[Tensor, "b n"]:
    """Weights, rows of sum 1: of the points nearest to the listener, or to the source, by mass.

    About each those count that hold `share` of the mass (AV-GS takes 15 %), the last of them in
    part. Points of both count twice.
    """
    whole = share * mass.sum()
    found = torch.zeros_like(seen.near)
    for distance in (seen.near, seen.far):
        order: Int[Tensor, "b n"] = distance.argsort(dim=1, stable=True)
        held = mass[order]
        counted = (whole - (held.cumsum(1) - held)).clamp_min(0).minimum(held)
        found = found + torch.zeros_like(found).scatter_(1, order, counted)
    return found / (2 * whole)
