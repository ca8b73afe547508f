"""A room on disk: its sounds, its pictures, and the truth about both."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from splat.datasets.demo.files import name_of, save, user_cache, write_model
from splat.datasets.drafts import drafted, vacant
from splat.datasets.rooms import picture
from splat.datasets.rooms.binaural import heard
from splat.datasets.rooms.decay import told
from splat.datasets.rooms.head import kemar
from splat.datasets.rooms.listeners import listeners as placed
from splat.datasets.rooms.listeners import sources as standing
from splat.datasets.rooms.materials import CENTRES
from splat.datasets.rooms.shapes import ROOMS, Place, Room
from splat.datasets.rooms.simulate import SPEED, simulate
from splat.datasets.sounds import own
from splat.datasets.sounds.types import Ears, Heard, Source
from splat.datasets.sounds.wav import write_wav
from splat.types import Camera

TOGETHER = 150
"""Listeners that one process traces rays to at a time."""
CARD = "truth.json"


@dataclass(frozen=True)
class Take:
    """How a room is heard."""

    room: Room
    rate: int
    """Samples a second."""
    seconds: float
    """Of a response."""
    rays: int
    """From a source."""
    seed: int

    @property
    def samples(self) -> int:
        """Of a response."""
        return round(self.seconds * self.rate)


@dataclass(frozen=True)
class _Part:
    """What one process does: some listeners, one source."""

    take: Take
    folder: Path
    number: int
    source: Place
    first: int
    ears: tuple[Ears, ...]


def write(
    folder: Path | str,
    shape: str | Room = "shoebox",
    *,
    listeners: int = 300,
    sources: int = 1,
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

    - `sounds/`: impulse responses of `listeners` heads to each source, in this project's layout;
      every fifth place is held out;
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
    if not 0.2 <= seconds <= 5:
        raise ValueError(f"seconds is {seconds:g}; expected 0.2 to 5: give another length")
    vacant(folder, "the generated room")
    take = Take(room, rate, seconds, rays, seed)
    played = standing(room, sources, seed)
    ears, test = placed(room, played, listeners, seed)
    with drafted(folder) as draft:
        rows = _write_sounds(take, draft / "sounds", played, ears, test, workers)
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


def _write_sounds(
    take: Take,
    folder: Path,
    played: Sequence[Place],
    ears: Sequence[Ears],
    test: Sequence[bool],
    workers: int,
) -> list[dict[str, Any]]:
    """All responses and their card; what is known of each place and source."""
    (folder / "wav").mkdir(parents=True)
    parts = [
        _Part(take, folder, number, source, first, tuple(ears[first : first + TOGETHER]))
        for number, source in enumerate(played)
        for first in range(0, len(ears), TOGETHER)
    ]
    if workers == 1 or len(parts) == 1:
        done = [_hear(part) for part in parts]
    else:
        # Fresh processes: a fork of one whose libraries have threads may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context) as pool:
            done = list(pool.map(_hear, parts))
    rows = [row for part in done for row in part]
    split: dict[bool, list[Heard]] = {False: [], True: []}
    for row in rows:
        number, source = row["listener"], row["source"]
        row["split"] = "test" if test[number] else "train"
        file = folder / "wav" / f"{row['name']}.wav"
        split[test[number]].append(Heard(row["name"], ears[number], source, file))
    own.write(
        folder, "responses", take.rate, [Source(s) for s in played], split[False], split[True]
    )
    return rows


def _hear(part: _Part) -> list[dict[str, Any]]:
    """Responses of some listeners to one source, to disk."""
    take = part.take
    places = np.array([ears.position for ears in part.ears])
    echoes = simulate(
        take.room, part.source, places, rate=take.rate, seconds=take.seconds, rays=take.rays,
        seed=take.seed * 1000 + part.number,
    )  # fmt: skip
    head, rows = kemar(take.rate), []
    for i, ears in enumerate(part.ears):
        number = part.first + i
        # Of the place and the source alone: whoever is heard along with it.
        noise = np.random.default_rng([take.seed, 5, part.number, number])
        response = heard(echoes, i, ears, head, take.rate, take.samples, noise)
        name = f"{number:04d}_{part.number}"
        write_wav(part.folder / "wav" / f"{name}.wav", torch.from_numpy(response), take.rate)
        known = told(echoes, i, places[i], take.rate, take.samples)
        rows.append({"name": name, "listener": number, "source": part.number, **known})
    return rows


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
        **{name: getattr(take, name) for name in ("rate", "seconds", "rays", "seed")},
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
