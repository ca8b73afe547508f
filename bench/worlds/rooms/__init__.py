"""Rooms whose sound is known: simulated impulse responses, and pictures of the same rooms.

The construction: pyroomacoustics finds mirror images up to the third order and traces rays for all
else, to listeners without heads (`simulate`); the ears of a measured head hear the images one by
one, and a diffuse tail that has, octave by octave and from all sides, the energy that the rays
brought (`binaural`). Decay is told from energy alone (`decay`). Walls look like what they are made
of (`paint`), so that a field learned from pictures can know what it will hear. World frame of
sound and pictures: metres, z up, the floor at z = 0.

What it leaves out: diffraction (behind a partition the direct sound is missing), sources that
favour a direction, and the distance of a near source in the head's response. Late sound is noise:
two places that touch have tails of equal energy and unlike waveforms.
"""

from __future__ import annotations

from worlds.rooms.files import cached, write
from worlds.rooms.materials import MATERIALS, Material
from worlds.rooms.picture import cameras, points, render
from worlds.rooms.shapes import ROOMS, Room, Surface

__all__ = [
    "MATERIALS",
    "ROOMS",
    "Material",
    "Room",
    "Surface",
    "cached",
    "cameras",
    "points",
    "render",
    "write",
]
