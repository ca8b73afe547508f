"""The order in which a photographer passed the places of photos, and the ways between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from splat.core.frame import focus_point
from splat.types import Camera

Array = NDArray[np.float64]

IN_SEQUENCE = 2.0
"""Times as long as the way by nearest neighbours that the way by names may be, for names to tell
the order."""
JUMP = 3.0
"""Times as long as the median way to the next camera that a way may be, to be one of the path."""
TURNED = 0.5
"""Way, in mean distances to what the cameras look at, that turning by a radian is as far as."""


def path_order(cameras: Sequence[Camera], names: Sequence[str]) -> list[int]:
    """The numbers of the cameras in the order of a path that passes them all.

    By their names, read with their numbers as numbers, where these are in sequence: where that way
    is not much longer (`IN_SEQUENCE`) than the other, which goes from the camera that is farthest
    from the middle to the nearest one that was not passed yet, and so on.
    """
    if len(cameras) < 3:
        return sorted(range(len(cameras)), key=lambda i: _natural(names[i]))
    stand = Stands.of(cameras)
    by_name = sorted(range(len(cameras)), key=lambda i: _natural(names[i]))
    # Of cameras that are as near as each other the one whose name comes first is next.
    by_place = [by_name[i] for i in stand.taken(by_name).chain()]
    long = stand.taken(by_name).ways().sum() > IN_SEQUENCE * stand.taken(by_place).ways().sum()
    return by_place if long else by_name


def neighbours(cameras: Sequence[Camera]) -> list[int]:
    """Numbers of cameras, in the order of a path, whose next one is beside them.

    Left out are the last one, those before a jump (`JUMP`), and those before a picture of another
    size.
    """
    if len(cameras) < 2:
        return []
    ways = Stands.of(cameras).ways()
    most = JUMP * float(np.median(ways))
    sizes = [(camera.width, camera.height) for camera in cameras]
    return [i for i, way in enumerate(ways) if way <= most and sizes[i] == sizes[i + 1]]


@dataclass(frozen=True)
class Stands:
    """Where cameras stand and look, in an order of theirs."""

    centres: Array
    turns: Rotation
    """From world to camera."""
    reach: float
    """Mean distance to the point that they look at."""

    @classmethod
    def of(cls, cameras: Sequence[Camera]) -> Stands:
        centres, poses, focus = (
            values.detach().double().cpu().numpy()
            for values in (
                torch.stack([camera.centre for camera in cameras]),
                torch.stack([camera.world_to_camera for camera in cameras]),
                focus_point(cameras),
            )
        )
        reach = float(np.linalg.norm(centres - focus, axis=1).mean())
        return cls(centres, Rotation.from_matrix(poses[:, :3, :3]), reach)

    def taken(self, order: Sequence[int]) -> Stands:
        """The same in another order."""
        numbers = np.asarray(order)
        return replace(self, centres=self.centres[numbers], turns=self.turns[numbers])

    def ways(self) -> Array:
        """From each to the next: how far it moves, and turns."""
        angles = (self.turns[1:] * self.turns[:-1].inv()).magnitude()
        return self._ways(np.diff(self.centres, axis=0), angles)

    def chain(self) -> Iterator[int]:
        """From the one farthest from the middle always to the nearest that is left."""
        middle = self.centres.mean(0)
        now = int(np.linalg.norm(self.centres - middle, axis=1).argmax())
        left = np.arange(len(self.centres))
        while True:
            yield now
            left = left[left != now]
            if not len(left):
                return
            angles = (self.turns[left] * self.turns[now].inv()).magnitude()
            ways = self._ways(self.centres[left] - self.centres[now], angles)
            now = int(left[ways.argmin()])

    def _ways(self, moved: Array, angles: Array) -> Array:
        ways: Array = np.linalg.norm(moved, axis=1) + TURNED * self.reach * angles
        return ways


def _natural(name: str) -> list[tuple[int, str]]:
    """A key to sort names by in which runs of digits are numbers: 9 comes before 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]
