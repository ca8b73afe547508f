"""What may be asked of a run in blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import tyro

from splat.system.numbers import hint
from splat.system.ranges import at_least, check_fields, within

MARGIN = 0.1
"""How far beyond its cell a block trains, in sides of a square cell of the mean size."""
BACKDROP = 0.1
"""Share of a block's Gaussians at the start, at most, that are there to explain the background."""


@dataclass(frozen=True)
class Blocking:
    """A scene larger than the machine, in blocks that are trained one by one and merged."""

    blocks: Annotated[str | None, tyro.conf.arg(metavar="auto|NxM"), hint("in one piece")] = None
    """Cut the scene into blocks, each trained by itself, and merge them: 3x2 is three along the
    longer side of the ground and two along the shorter; auto: as many as --memory, or the memory
    that is free, asks for. --steps are those of each block, --cap and --budget of all together."""
    workers: Annotated[int | None, at_least(0, default="cores / threads, or one for each GPU")] = (
        None
    )
    """How many of --blocks are trained at once, each in a process of its own. 0: one after the
    other in this one."""
    on: Annotated[str | None, tyro.conf.arg(metavar="ray|ADDRESS"), hint("this machine")] = None
    """Where blocks are trained: ray is Ray on this machine, an address (ray://host:10001,
    host:6379, auto) a cluster of it, all of whose machines see the scene and --out under the same
    paths and have the same splat (extra [ray])."""
    block_margin: Annotated[float, at_least(0)] = MARGIN
    """How far beyond its border a block trains too, in sides of a square block of the mean size."""
    block_backdrop: Annotated[float, within(0, 1, high_open=True)] = BACKDROP
    """Share of a block's cap that may be points from outside, to explain what is behind it."""

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
        if self.blocks is not None:
            shape_of(self.blocks)
        elif self.workers is not None or self.on is not None:
            given = "workers" if self.workers is not None else "on"
            raise ValueError(f"{given} is given without --blocks; add --blocks, or leave it out")


def shape_of(text: str) -> tuple[int, int] | None:
    """Blocks along the longer and the shorter side of `3x2`; None for `auto`."""
    if text == "auto":
        return None
    match = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", text)
    if match is None or 0 in (shape := (int(match[1]), int(match[2]))):
        raise ValueError(
            f"blocks is {text!r}; expected auto, or how many along the longer and the shorter side"
            " of the ground, such as 3x2"
        )
    return shape
