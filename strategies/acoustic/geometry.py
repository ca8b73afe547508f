"""Where audio points lie as a listener and a source have them, in numbers that mirrors respect.

What a mirror through the listener's middle leaves as it is, is `even`; what it turns around, the
share of a direction to the left, is `side`. A field that gives the difference of the ears only
through `side` hears a mirrored room with mirrored ears, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

POINT = 14
"""Even numbers of a point."""
DIRECT = 7
"""Even numbers of the way from the source itself."""
TURNED = 3
"""Odd numbers of it."""
NEAR = 0.05
"""Metres: a point that is nearer counts as so far."""
NEAR_SOURCE = 0.3
"""Metres: a source that is nearer counts as so far. A loudspeaker is no point, and no microphone
stands within it: at centimetres the law of distance alone would drown all else that is heard."""


@dataclass(frozen=True)
class Listening:
    """Listeners and the source that each hears: metres, in axes of the world."""

    place: Float[Tensor, "b 3"]
    axes: Float[Tensor, "b 3 3"]
    """Rows: front, left and up of the head, unit."""
    source: Float[Tensor, "b 3"]
    sight: Float[Tensor, "b"]
    """How much of the source is to be seen, 0 to 1."""

    @property
    def distance(self) -> Float[Tensor, "b"]:
        """From the source, metres, `NEAR_SOURCE` or more."""
        found: Tensor = (self.place - self.source).norm(dim=1)
        return found.clamp_min(NEAR_SOURCE)

    @property
    def towards(self) -> Float[Tensor, "b 3"]:
        """Direction of the source in axes of the head: front, left, up."""
        way = torch.nn.functional.normalize(self.source - self.place, dim=1, eps=NEAR)
        return torch.einsum("bk,bak->ba", way, self.axes)

    def __getitem__(self, rows: Tensor | slice) -> Listening:
        return Listening(self.place[rows], self.axes[rows], self.source[rows], self.sight[rows])

    def __len__(self) -> int:
        return len(self.place)


@dataclass(frozen=True)
class Relative:
    """Points as each listener has them."""

    even: Float[Tensor, "b n 14"]
    side: Float[Tensor, "b n"]
    """Share of the direction of a point that is to the left, -1 to 1."""
    detour: Float[Tensor, "b n"]
    """Metres that the way by the point is longer than the straight one."""
    near: Float[Tensor, "b n"]
    """Metres from the listener."""
    far: Float[Tensor, "b n"]
    """Metres from the source."""


def relative(
    heard: Listening, mean: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"]
) -> Relative:
    """Distances, directions and how a surface is turned, of every point for every listener.

    The last but four of the even numbers says how nearly the point throws sound from the source to
    the listener as a mirror does: the share along the normal of the direction between the two.
    Normals may have either sign.
    """
    to_ear, to_source = mean - heard.place[:, None], mean - heard.source[:, None]
    near = to_ear.norm(dim=-1).clamp_min(NEAR)
    far = to_source.norm(dim=-1).clamp_min(NEAR)
    at_ear, at_source = to_ear / near[..., None], to_source / far[..., None]
    front, left, up = torch.einsum("bnk,bak->anb", at_ear, heard.axes).mT.unbind(0)
    ear_turn, source_turn = (at_ear * normal).sum(-1), (at_source * normal).sum(-1)
    between = at_ear + at_source
    mirror = (between * normal).sum(-1).abs() / between.norm(dim=-1).clamp_min(NEAR)
    detour = near + far - heard.distance[:, None]
    even = torch.stack(
        [
            near.log(),
            far.log(),
            1 / (0.3 + near),
            1 / (0.3 + far),
            detour / 4,
            torch.exp(-detour),
            ear_turn.abs(),
            source_turn.abs(),
            ear_turn * source_turn,
            mirror,
            front,
            left.square(),
            up,
            (at_source * heard.axes[:, None, 2]).sum(-1),
        ],
        -1,
    )
    return Relative(even, left, detour, near, far)


def direct(heard: Listening) -> tuple[Float[Tensor, "b 7"], Float[Tensor, "b 3"]]:
    """Even and odd numbers of the straight way from the source."""
    distance, (front, left, up) = heard.distance, heard.towards.unbind(1)
    even = torch.stack(
        [distance.log(), 1 / distance, front, left.square(), up, heard.sight,
         heard.sight / distance],
        1,
    )  # fmt: skip
    return even, torch.stack([left, left * front, left * heard.sight], 1)
