"""A room on disk: its sounds, its pictures, and the truth about both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import torch

from splat.datasets.demo.files import name_of, save, user_cache, write_model
from splat.datasets.drafts import drafted, vacant
from splat.types import Camera
from worlds.rooms import picture
from worlds.rooms.listeners import listeners as placed
from worlds.rooms.listeners import sources as standing
from worlds.rooms.materials import CENTRES
from worlds.rooms.shapes import ROOMS, Place, Room
from worlds.rooms.simulate import SPEED
from worlds.rooms.takes import Kind, Take, write_sounds

CARD = "truth.json"


def write(
    folder: Path | str,
    shape: str | Room = "shoebox",
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
    """Hear and draw a room (of `ROOMS` by name, or another) into a new folder.

    The folder appears when it is complete. All of it is in one frame: metres, z up.

    - `sounds/`: what `listeners` heads hear of each source, in this project's layout: its impulse
      responses, or a second each of its recordings; every fifth place is held out, and of the
      sources the last `held_sources`, which held-out listeners alone hear;
    - `scene/`: what COLMAP writes, `views` pictures (none with 0);
    - `truth.json`: surfaces with their corners and materials; T60, EDT and C50 of each place, by
      energy alone, without a head.

    The same seed makes the same bytes with any number of `workers`, on one kind of machine.
    """
    folder = Path(folder)
    room = _room(shape)
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
    vacant(folder, "the generated room")
    take = Take(room, rate, seconds, rays, seed, kind)
    played = standing(room, sources, seed)
    ears, test = placed(room, played, listeners, seed)
    with drafted(folder) as draft:
        rows = write_sounds(take, draft / "sounds", played, ears, test, workers, held_sources)
        if views:
            stand = picture.cameras(room, views, width, height, seed)
            _write_scene(room, draft / "scene", stand, points, samples, seed)
        card = {**_surfaces(take, played), "listeners": rows}
        (draft / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return folder


def cached(folder: Path | str | None = None, shape: str = "shoebox", **arguments: Any) -> Path:
    """A folder below `folder` with the room, made when it is first asked for (see `write`).

    `folder` defaults to `splat` in the user's cache. Another version of the code, or other
    arguments, make another room; processes that race for the same one agree on the first.
    """
    root = Path(folder) if folder is not None else user_cache()
    told_apart = {name: value for name, value in arguments.items() if name != "workers"}
    digest = hashlib.blake2b(repr((shape, sorted(told_apart.items()))).encode(), digest_size=6)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    made = root / f"room-{shape}-{digest.hexdigest()}"
    if not made.is_dir():
        try:
            write(made, shape, **arguments)
        except OSError:
            # Another process may have finished it in the meantime.
            if not made.is_dir():
                raise
    return made


def _room(shape: str | Room) -> Room:
    if isinstance(shape, Room):
        return shape
    if shape not in ROOMS:
        raise ValueError(f"there is no room {shape!r}; expected one of {', '.join(ROOMS)}")
    return ROOMS[shape]


def _write_scene(
    room: Room, folder: Path, stand: Sequence[Camera], points: int, samples: int, seed: int
) -> None:
    (folder / "images").mkdir(parents=True)

    def draw(camera: Camera) -> None:
        image = picture.render(room, camera, samples).image.numpy()
        save(folder / "images" / name_of(camera.index), image[..., ::-1])

    # A view is drawn by one thread from start to end: their number does not change a byte.
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(stand)))) as pool:
        list(pool.map(draw, stand))
    write_model(folder / "sparse" / "0", stand, picture.points(room, points, seed))


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
