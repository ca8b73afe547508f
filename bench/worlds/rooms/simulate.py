"""Sound in a room without a head in it: mirror images and traced rays, by pyroomacoustics.

The only place that knows pyroomacoustics. Its hybrid splits energy between the two: specular
paths up to some order are images, each with what its walls leave of it; everything else (paths of
higher order, and what walls scatter) is traced and gathered in bins of time and of the direction
that it comes from. What walls scatter straight to a listener is counted on top of the ray that goes
on: in a box with a scattering of 0.2, steady energy came out 0.4 dB above the diffuse field's.
There is no diffraction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splat.strategies.acoustic.arrival import SPEED
from worlds.rooms.materials import AIR, CENTRES, Bands
from worlds.rooms.shapes import Place, Room

BIN = 0.004
"""Seconds of a bin of traced energy."""
EAR = 0.5
"""Radius of the ball about a listener that rays must meet, metres."""
FAINT = 1e-12
"""A ray ends where so little of its energy is left. What it scatters is dropped where it is less
than this, of the whole sound: more than 1e-10 and late sound is lost."""


@dataclass(frozen=True)
class Echoes:
    """What reaches some listeners from one source, in octaves."""

    images: np.ndarray
    """Positions, [images, 3]; the first is the source itself."""
    gains: np.ndarray
    """Amplitude that walls leave, [images, 7], before distance and air."""
    seen: np.ndarray
    """Whether a listener hears an image, [listeners, images]."""
    tail: np.ndarray
    """Traced energy, air counted, [listeners, directions, 7, bins]; as 1/r^2 for r metres."""
    air: Bands


def directions() -> np.ndarray:
    """Middles of the bins of direction: towards a cube's faces and corners, [14, 3], unit."""
    signs = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], np.float64)
    return np.concatenate([np.eye(3), -np.eye(3), signs / np.sqrt(3)])


def simulate(
    room: Room,
    source: Place,
    listeners: np.ndarray,
    *,
    rate: int,
    seconds: float,
    rays: int,
    order: int = 3,
    seed: int = 0,
    air: Bands = AIR,
) -> Echoes:
    """What reaches `listeners` [n, 3] from `source`, for `seconds`.

    The same seed sends the same rays, whoever listens: a listener hears the same alone as among
    others.
    """
    library = _library()
    library.random.seed(numpy=seed, libroom=seed)
    stage = _stage(library, room, rate, order)
    stage.set_ray_tracing(
        n_rays=rays, receiver_radius=EAR, energy_thres=FAINT, time_thres=seconds, hist_bin_size=BIN
    )
    stage.add_source(list(source))
    stage.add_microphone_array(np.ascontiguousarray(listeners.T))
    stage.image_source_model()
    origin = stage.sources[0]
    bins = _traced(stage.room_engine, np.array(origin.position), rays, round(seconds / BIN))
    times = (np.arange(bins.shape[-1]) + 0.5) * BIN
    bins *= np.exp(-np.array(air)[:, None] * SPEED * times).astype(np.float32)
    order_of = np.argsort(np.array(origin.orders), kind="stable")
    # In single precision, of metres: what is left when its noise is rounded away.
    images = np.array(origin.images, np.float64).T.round(4)
    return Echoes(
        images[order_of],
        np.array(origin.damping, np.float64).T[order_of],
        np.array(stage.visibility[0], bool)[:, order_of],
        bins,
        air,
    )


def _library() -> Any:
    try:
        import pyroomacoustics
    except ImportError:
        raise ModuleNotFoundError(
            "pyroomacoustics is not installed; expected it to generate rooms: "
            "pip install 'splat-toolkit[rooms]'"
        ) from None
    return pyroomacoustics


def _stage(library: Any, room: Room, rate: int, order: int) -> Any:
    # Its walls look outwards.
    walls = [
        library.wall_factory(
            np.ascontiguousarray(surface.corners[::-1].T),
            np.array(surface.material.absorption),
            np.array(surface.material.scattering),
            surface.name,
        )
        for surface in room.surfaces
    ]
    stage = library.Room(walls, fs=rate, max_order=order)
    if len(stage.octave_bands.centers) != len(CENTRES):
        raise ValueError(
            f"rate {rate}: has {len(stage.octave_bands.centers)} octaves from 125 Hz on; expected "
            f"{len(CENTRES)}, of which materials are known: give 16000"
        )
    return stage


def _traced(engine: Any, source: np.ndarray, rays: int, bins: int) -> np.ndarray:
    """Energy by listener, direction, octave and bin: float32."""
    towards = directions().astype(np.float32)
    for microphone in engine.microphones:
        microphone.set_directions(towards)
    spread = _spread(rays).astype(np.float32)
    engine.ray_tracing(spread, np.ones((rays, len(CENTRES)), np.float32), source)
    shape = (len(engine.microphones), len(towards), len(CENTRES), bins)
    found = np.zeros(shape, np.float32)
    for i, microphone in enumerate(engine.microphones):
        for j, histogram in enumerate(microphone.histograms):
            energy: Sequence[Any] = histogram.get_hist()
            part = np.asarray(energy, np.float32)[:, :bins]
            found[i, j, :, : part.shape[1]] = part
    return found


def _spread(count: int) -> np.ndarray:
    """Directions spread evenly over the sphere along a spiral, [count, 3]."""
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    height = 1 - (2 * np.arange(count) + 1) / count
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), height], 1)
