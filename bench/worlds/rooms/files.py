"""A room on disk: its sounds, its pictures, and the truth about both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro

from splat.datasets.tracer import folders
from splat.datasets.tracer.folders import drafted, name_of, save, write_json
from splat.strategies.acoustic.arrival import SPEED
from splat.types import Camera
from worlds import HERE
from worlds.command import Folder, named
from worlds.rooms import picture
from worlds.rooms.listeners import listeners as placed
from worlds.rooms.listeners import sources as standing
from worlds.rooms.materials import CENTRES
from worlds.rooms.shapes import ROOMS, Place, Room
from worlds.rooms.takes import Kind, Take, write_sounds

CARD = "truth.json"


def write(
    folder: Folder,
    shape: Annotated[str | Room, tyro.conf.arg(constructor=str)] = "shoebox",
    *,
    kind: Kind = "responses",
    listeners: int = 300,
    sources: int = 1,
    held_sources: int = 0,
    seed: int = 0,
    views: int = 60,
    width: int = 320,
    height: int = 240,
    points: int = 9_000,
    samples: int = 2,
    rate: int = 16_000,
    seconds: float = 0.8,
    rays: int = 10_000,
    workers: int = 2,
) -> Path:
    """Hear and draw a room into a new folder, which appears when it is complete.

    All of it is in one frame: metres, z up.

    - `sounds/`: what heads hear of each source, in this project's layout;
    - `scene/`: what COLMAP writes;
    - `truth.json`: surfaces with their corners and materials; T60, EDT and C50 of each place, by
      energy alone, without a head.

    The same seed makes the same bytes with any number of workers, on one kind of machine.

    Args:
        folder: Where to write; it must not exist.
        shape: Which room: shoebox, ell or hall; in Python also one's own.
        kind: Impulse responses, or recordings of what the sources play, a second for each listener.
        listeners: Heads, each with its own place and direction; one in five is held out.
        sources: Each is heard by every listener.
        held_sources: Of the sources, the last so many are held out: held-out listeners alone hear
            them.
        seed: Of places, rays, noise and views.
        views: Pictures of the room; 0 for none.
        width: Of a picture, pixels.
        height: Of a picture, pixels.
        points: Of the point cloud.
        samples: Rays through a pixel along each side.
        rate: Samples a second.
        seconds: Of a response.
        rays: That a source sends out.
        workers: Processes that simulate side by side.
    """
    room = shape if isinstance(shape, Room) else named(ROOMS, shape, "room")
    least = {"listeners": (listeners, 2), "sources": (sources, 1), "rays": (rays, 1)}
    least |= {"workers": (workers, 1), "samples": (samples, 1), "points": (points, 1)}
    for what, (value, low) in least.items():
        if value < low:
            raise ValueError(f"{what} is {value}; expected at least {low}: give more")
    if not 0 <= held_sources < sources:
        raise ValueError(
            f"held_sources is {held_sources} of {sources}; expected fewer than all: give less"
        )
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(get_args(Kind))}: name one")
    if not 0.2 <= seconds <= 5:
        raise ValueError(f"seconds is {seconds:g}; expected 0.2 to 5: give another length")
    take = Take(room, rate, seconds, rays, seed, kind)
    played = standing(room, sources, seed)
    ears, test = placed(room, played, listeners, seed)
    with drafted(folder, "the generated room") as draft:
        rows = write_sounds(take, draft / "sounds", played, ears, test, workers, held_sources)
        if views:
            stand = picture.cameras(room, views, width, height, seed)
            _write_scene(room, draft / "scene", stand, points, samples, seed)
        write_json(draft / CARD, {**_surfaces(take, played), "listeners": rows})
    return folder


def cached(folder: Path | str | None = None, shape: str = "shoebox", **arguments: Any) -> Path:
    """A folder below `folder` with the room, made when first asked for (see `folders.cached`)."""
    make, code = partial(write, shape=shape, **arguments), [HERE, HERE / "rooms"]
    return folders.cached(folder, f"room-{shape}", make, code, regardless=["workers"])


def _write_scene(
    room: Room, folder: Path, stand: Sequence[Camera], points: int, samples: int, seed: int
) -> None:
    folders.make(folder, "images")

    def draw(camera: Camera) -> None:
        image = picture.render(room, camera, samples).image
        save(folder / "images" / name_of(camera.index), image.numpy())

    folders.each(stand, draw)
    folders.write_model(folder / "sparse" / "0", stand, picture.points(room, points, seed))


def _surfaces(take: Take, played: Sequence[Place]) -> dict[str, Any]:
    room = take.room
    return {
        "room": room.name,
        "height": room.height,
        "plan": [list(corner) for corner in room.corners],
        "volume": room.volume,
        "speed": SPEED,
        "octaves": list(CENTRES),
        **{name: getattr(take, name) for name in ("kind", "rate", "seconds", "rays", "seed")},
        "sources": [list(place) for place in played],
        "surfaces": [
            {
                "name": surface.name,
                "material": surface.material.name,
                "corners": surface.corners.tolist(),
                "area": surface.area,
                "absorption": list(surface.material.absorption),
                "scattering": list(surface.material.scattering),
            }
            for surface in room.surfaces
        ],
    }
