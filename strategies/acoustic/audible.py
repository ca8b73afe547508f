"""`Audible`: audio points, the field over them, and what makes sound of its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.column import Rate
from splat.core.edit import Change, Edit, Rows
from splat.core.model import TrainedModule
from splat.strategies.acoustic import recording
from splat.strategies.acoustic.field import CONTEXT, Field, Masks, Tokens, nearest
from splat.strategies.acoustic.geometry import Listening, relative
from splat.strategies.acoustic.recording import Recorder
from splat.strategies.acoustic.response import Grid, Responder
from splat.strategies.acoustic.sight import Look, share_seen
from splat.strategies.acoustic.sounds import Ears, Source

Kind = Literal["responses", "recordings"]


@dataclass(frozen=True)
class Settings:
    """What an audible scene is made by."""

    kind: Kind
    rate: int
    """Hz."""
    seconds: float
    """Of a response."""
    metres: float
    """What one unit of the scene is."""
    share: float = 0.15
    """Of what all points count for: those nearest to a listener that it hears by, and as many
    nearest to the source."""
    guidance_rate: float = 0.03
    """Learning rate of guidance."""
    network_rate: float = 2e-3
    """Learning rate of the networks."""
    carrier_rate: float = 5e-2
    """Learning rate of the noise that all places share."""
    adapt: bool = True
    """Whether guidance is learned."""


@dataclass
class Heard:
    """What came of a step."""

    masks: Masks
    context: Float[Tensor, "b n c"]
    """Contexts whose mean is taken, of each point for each listener."""
    weight: Float[Tensor, "b n"]
    """Of each point in that mean; 0 where it is not among those of a listener."""
    guidance: Float[Tensor, "b n g"]
    """Of each point for each listener apart: its gradient after backward is that of a use."""


class Audible:
    """Columns: `mean` [N, 3] in metres along the axes of the input, `normal` [N, 3], `mass` [N]
    (how much a point counts for), `guidance` [N, 16]. Only guidance is learned. Nothing of the
    scene that it came from is kept or changed."""

    def __init__(self, rows: Rows, settings: Settings, seed: int, steps: int) -> None:
        self.settings = settings
        self.cloud = Cloud()
        self.cloud.add("mean", rows["mean"], Rate(0.0))
        self.cloud.add("normal", rows["normal"], Rate(0.0))
        self.cloud.add("mass", rows["mass"], Rate(0.0))
        self.cloud.add("guidance", rows["guidance"], _falling(settings.guidance_rate, steps))
        self.maker: Responder | Recorder
        tokens: Tokens
        if settings.kind == "responses":
            grid = Grid(settings.rate, settings.seconds)
            self.maker, tokens = Responder(grid), grid.tokens()
        else:
            self.maker, tokens = Recorder(), recording.tokens()
        # Networks begin as the seed has them, whatever was drawn in this process before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.field = Field(tokens)
        device = self.cloud.device
        self.field.to(device)
        self.maker.to(device)
        rates = [settings.network_rate]
        groups = [{"params": list(self.field.parameters())}]
        if carriers := list(self.maker.parameters()):
            groups.append({"params": carriers})
            rates.append(settings.carrier_rate)
        optimizer = torch.optim.Adam(groups, settings.network_rate)
        self.network = TrainedModule(self.field, optimizer, [_falling(r, steps) for r in rates])

    def __call__(self, heard: Listening, points: Int[Tensor, "k"] | None = None) -> Heard:
        """Masks for listeners, by all points or by some rows of them."""
        still = (self.cloud[name].detach() for name in ("mean", "normal", "mass"))
        mean, normal, mass = still
        guidance = self.cloud["guidance"]
        if not self.settings.adapt:
            guidance = guidance.detach()
        if points is not None:
            mean, normal, mass = mean[points], normal[points], mass[points]
            guidance = guidance.index_select(0, points)
        each = guidance.expand(len(heard), *guidance.shape)
        if torch.is_grad_enabled() and each.requires_grad:
            each.retain_grad()
        weight = nearest(relative(heard, mean, normal), mass, self.settings.share)
        masks, context = self.field(heard, mean, normal, each, weight, mass)
        return Heard(masks, context[..., :CONTEXT].detach(), weight, each)

    def apply(self, edit: Edit | None) -> Change:
        """Carry out what density control proposes."""
        return self.cloud.apply(edit)

    def state(self) -> dict[str, Any]:
        """Tensors and numbers only."""
        return {
            "cloud": self.cloud.state_dict(),
            "field": dict(self.field.state_dict()),
            "maker": dict(self.maker.state_dict()),
            "optimizer": self.network.optimizer.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a saved state of a scene made by the same settings."""
        self.cloud.load_state_dict(state["cloud"])
        self.field.load_state_dict(state["field"])
        self.maker.load_state_dict(state["maker"])
        self.network.optimizer.load_state_dict(state["optimizer"])


def _falling(rate: float, steps: int) -> Rate:
    return Rate(rate, rate / 30, steps) if rate else Rate(0.0)


class Seen:
    """What of the sources is to be seen, looked at once each."""

    def __init__(self, look: Look, known: Sequence[tuple[Source, Tensor]] = ()) -> None:
        self._look = look
        self._depths = {source.position: depths for source, depths in known}

    def depths(self, source: Source) -> Float[Tensor, "6 side side"]:
        """Depths around a source, units of the input."""
        if source.position not in self._depths:
            self._depths[source.position] = self._look(_place(source))
        return self._depths[source.position]

    def listening(
        self, ears: Sequence[Ears], sources: Sequence[Source], metres: float
    ) -> Listening:
        """Listeners, each with the source that it hears."""
        place = torch.stack([_place(each) for each in ears])
        source = torch.stack([_place(each) for each in sources])
        sight = torch.ones(len(ears))
        for one in dict.fromkeys(sources):
            rows = torch.tensor([i for i, each in enumerate(sources) if each == one])
            sight[rows] = share_seen(self.depths(one), _place(one), place[rows], metres)
        return Listening(place * metres, axes_of(ears), source * metres, sight)


def _place(each: Ears | Source) -> Float[Tensor, "3"]:
    return torch.tensor(each.position, dtype=torch.float32)


def axes_of(ears: Sequence[Ears]) -> Float[Tensor, "n 3 3"]:
    """Front, left and up of heads, rows; `up` is made perpendicular to `facing`."""
    front = torch.tensor([each.facing for each in ears], dtype=torch.float64)
    up = torch.tensor([each.up for each in ears], dtype=torch.float64)
    front = front / front.norm(dim=1, keepdim=True)
    left = torch.linalg.cross(up, front)
    length = left.norm(dim=1, keepdim=True)
    if bool((length < 1e-6).any()):
        which = ears[int(length.squeeze(1).argmin())]
        raise ValueError(
            f"a listener faces along {which.facing}, which is its up; expected another direction:"
            " give another `facing`, or `up`"
        )
    left = left / length
    return torch.stack([front, left, torch.linalg.cross(front, left)], 1).float()
