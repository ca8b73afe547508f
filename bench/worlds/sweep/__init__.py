"""A room known exactly, as somebody sweeps a phone round it, with troubles planted on request.

Depth, normals, objects, the room without its clutter, true poses and exposures are known, so that
what corrects a capture can be scored. World frame: metres, z up, the floor at z = 0.
"""

from __future__ import annotations

from splat.datasets.tracer.pictures import View
from worlds.sweep.files import cached, write
from worlds.sweep.layout import CLUTTER, OBJECTS, TRANSIENT
from worlds.sweep.plant import Exposure, Plant
from worlds.sweep.poses import cameras
from worlds.sweep.read import SweepTruth, truth
from worlds.sweep.surface import points, surface
from worlds.sweep.trace import render

__all__ = [
    "CLUTTER",
    "OBJECTS",
    "TRANSIENT",
    "Exposure",
    "Plant",
    "SweepTruth",
    "View",
    "cached",
    "cameras",
    "points",
    "render",
    "surface",
    "truth",
    "write",
]
