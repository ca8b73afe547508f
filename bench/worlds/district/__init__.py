"""A town of any size, known exactly, photographed from the air and from its streets.

It is for work on scenes larger than one machine: a million Gaussians find detail in it, from fields
down to the joints between bricks. World frame: metres, z up, streets along x and y, the middle of
the district at the origin.
"""

from __future__ import annotations

from worlds.district.files import cached, write
from worlds.district.layout import District
from worlds.district.picture import DistrictView, depth, render
from worlds.district.poses import cameras

__all__ = ["District", "DistrictView", "cached", "cameras", "depth", "render", "write"]
