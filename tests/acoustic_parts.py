"""Listeners, points and fields of the tiny room, for tests of what is heard."""

from __future__ import annotations

import hearing_room
import torch
from hearing_room import RATE, SECONDS
from torch import Tensor

from splat.strategies.acoustic import points, sight
from splat.strategies.acoustic.audible import Seen
from splat.strategies.acoustic.field import Field, Tokens
from splat.strategies.acoustic.geometry import Listening
from splat.strategies.acoustic.response import Grid

GRID = Grid(RATE, SECONDS)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def open_air(at: Tensor) -> Tensor:
    """Nothing hides anything."""
    return torch.full((6, sight.SIDE, sight.SIDE), torch.inf)


def listening(count: int = 6, seed: int = 0) -> Listening:
    """Listeners of the tiny room, who hear its two sources in turn."""
    ears = hearing_room.places(count, seed)
    sources = [hearing_room.SOURCES[i % 2] for i in range(count)]
    return Seen(open_air).listening(ears, sources, 1.0)


def rows_of(count: int = 150) -> dict[str, Tensor]:
    """Audio points of the walls of the tiny room."""
    walls = hearing_room.walls()
    return points.born(walls, torch.ones(len(walls)), count, 1.0)


def told(tokens: Tokens, seed: int = 0) -> Field:
    """A field that says something, as one that has learned does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        field = Field(tokens)
        torch.nn.init.normal_(field.mixture.weight, std=0.1)
        torch.nn.init.normal_(field.difference.weight, std=0.3)
    return field


def double(heard: Listening) -> Listening:
    return Listening(
        *(getattr(heard, name).double() for name in ("place", "axes", "source", "sight"))
    )
