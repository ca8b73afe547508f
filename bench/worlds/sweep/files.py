"""The room on disk: a COLMAP folder with planted troubles, and the truth about them beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from splat.datasets.demo.files import name_of, save, user_cache, write_model
from splat.datasets.demo.shapes import Array
from splat.datasets.drafts import drafted, vacant
from splat.types import Camera
from worlds.sweep.layout import CLUTTER, TRANSIENT
from worlds.sweep.light import baked
from worlds.sweep.plant import (
    Exposure,
    Plant,
    drifted,
    exposures,
    guessed_depth,
    guessed_normals,
    misplaced,
    photographed,
    visited,
)
from worlds.sweep.poses import cameras
from worlds.sweep.surface import points as scattered
from worlds.sweep.trace import SweepView, render

CARDS = ("cameras", "exposures", "depth_affine", "plant")
PICTURES = ("clean", "empty", "masks", "clutter_masks", "objects")
MAPS = ("depth", "normals")


@dataclass(frozen=True)
class _Shoot:
    """What all views of one folder have in common."""

    folder: Path
    plant: Plant
    exposures: list[Exposure]
    visited: set[int]
    clutter: bool
    samples: int


def write(
    folder: Path | str,
    plant: Plant | None = None,
    *,
    count: int = 40,
    width: int = 640,
    height: int = 480,
    kind: str = "sweep",
    clutter: bool = True,
    points: int = 20_000,
    test_every: int = 8,
    samples: int = 3,
) -> Path:
    """Draw the room into a new folder, which appears when it is complete.

    `images/` and `sparse/0/` are what COLMAP writes, with the troubles of `plant`: poses drifted,
    points as triangulated from them. With `plant.depth`, `depths/` (up to scale and shift) and
    `normals/` (camera axes) hold guesses. The first view and every `test_every`-th after it are
    held out by the custom of readers: nobody stands in them. `truth` reads back the rest:

    - `truth/cameras.json`, `exposures.json`, `depth_affine.json`, `plant.json`;
    - `truth/depth/*.npy` (camera z, metres), `normals/*.npy` (world axes), `objects/*.png`,
      `clean/*.png`: the room without whoever stands in the photo, exposed evenly;
    - `truth/empty/*.png`: that without clutter;
    - `truth/masks/*.png`: 0 where somebody changes the photo, else 255; `clutter_masks/*.png`: 255
      where the photo shows clutter.
    """
    folder, plant = Path(folder), plant or Plant()
    stand = cameras(count, width, height, kind)
    if count < 2 or test_every < 2 or samples < 1 or points < 1:
        raise ValueError(
            f"count, test_every, samples and points are {count}, {test_every}, {samples} and "
            f"{points}; expected at least 2, 2, 1 and 1"
        )
    training = [index for index in range(count) if index % test_every]
    guests = visited(training, plant)
    vacant(folder, "the generated room")
    with drafted(folder) as draft:
        shoot = _Shoot(draft, plant, exposures(count, plant), guests, clutter, samples)
        affine, depths = _write_views(shoot, stand)
        reported = drifted(stand, plant)
        true, told = ([row[i] for i in training] for row in (stand, reported))
        cloud = scattered(points, plant.seed, clutter=clutter, views=true)
        if plant.drift:
            cloud = misplaced(cloud, true, told, [depths[i] for i in training])
        write_model(draft / "sparse" / "0", reported, cloud)
        _write_cards(shoot, stand, affine, kind=kind, test_every=test_every)
    return folder


def cached(folder: Path | str | None = None, plant: Plant | None = None, **arguments: Any) -> Path:
    """A folder below `folder` with the scene, drawn when it is first asked for (see `write`).

    `folder` defaults to `splat` in the user's cache. Another version of the code, or other
    arguments, make another scene; processes that race for the same one agree on the first.
    """
    root = Path(folder) if folder is not None else user_cache()
    scene = root / f"sweep-{_fingerprint(plant or Plant(), arguments)}"
    if not scene.is_dir():
        try:
            write(scene, plant, **arguments)
        except OSError:
            # Another process may have finished it in the meantime.
            if not scene.is_dir():
                raise
    return scene


def _fingerprint(plant: Plant, arguments: dict[str, Any]) -> str:
    """Changes with the arguments and with the code that draws the room."""
    what = (sorted(asdict(plant).items()), sorted(arguments.items()))
    digest = hashlib.blake2b(repr(what).encode(), digest_size=6)
    for room in (Path(__file__).parent, Path(__file__).parent.parent / "demo"):
        for source in sorted(room.glob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _write_views(
    shoot: _Shoot, stand: Sequence[Camera]
) -> tuple[dict[str, dict[str, float]], list[Array]]:
    """All that is known view by view; the depth maps' (scale, shift) by name, and true depths."""
    made = [f"truth/{part}" for part in (*PICTURES, *MAPS)]
    for part in ("images", *made, *(("depths", "normals") if shoot.plant.depth else ())):
        (shoot.folder / part).mkdir(parents=True)
    # Two threads that both find no light would both look for it.
    for clutter in {shoot.clutter, False}:
        baked(clutter)
    # A view is drawn by one thread from start to end: their number does not change a byte.
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(stand)))) as pool:
        done = list(pool.map(lambda camera: _write_view(shoot, camera), stand))
    affine = {
        name_of(camera.index): {"scale": scale, "shift": shift}
        for camera, (scale, shift, _) in zip(stand, done, strict=True)
        if shoot.plant.depth
    }
    return affine, [depth for _, _, depth in done]


def _write_view(shoot: _Shoot, camera: Camera) -> tuple[float, float, Array]:
    """One view; scale and shift of its guessed depth, and its true depth."""
    name, known, index = name_of(camera.index), shoot.folder / "truth", camera.index
    still = render(camera, shoot.samples, shoot.clutter)
    empty = render(camera, shoot.samples, False) if shoot.clutter else still
    photo = still
    if index in shoot.visited:
        photo = render(camera, shoot.samples, shoot.clutter, transient=index)
    objects = photo.objects.numpy()
    # Pixels at a rim are blended: what differs at all does not count.
    visit = (objects == TRANSIENT) | (photo.image != still.image).any(-1).numpy()
    exposed = photographed(photo.image.numpy(), shoot.exposures[index], shoot.plant, index)
    save(shoot.folder / "images" / name, exposed[..., ::-1])
    save(known / "clean" / name, still.image.numpy()[..., ::-1])
    save(known / "empty" / name, empty.image.numpy()[..., ::-1])
    save(known / "objects" / name, still.objects.numpy())
    save(known / "masks" / name, _marked(~visit))
    save(known / "clutter_masks" / name, _marked(np.isin(objects, CLUTTER)))
    stem = Path(name).stem
    np.save(known / "depth" / f"{stem}.npy", still.depth.numpy())
    # Half precision: off by 0.03 degrees at most, in half the space.
    np.save(known / "normals" / f"{stem}.npy", still.normals.numpy().astype(np.float16))
    scale, shift = _write_guesses(shoot, camera, photo, stem) if shoot.plant.depth else (1.0, 0.0)
    return scale, shift, still.depth.numpy()


def _write_guesses(
    shoot: _Shoot, camera: Camera, photo: SweepView, stem: str
) -> tuple[float, float]:
    guess, scale, shift = guessed_depth(photo.depth.numpy(), shoot.plant, camera.index)
    np.save(shoot.folder / "depths" / f"{stem}.npy", guess)
    normals = guessed_normals(photo, camera, shoot.plant)
    np.save(shoot.folder / "normals" / f"{stem}.npy", normals)
    return scale, shift


def _marked(where: np.ndarray) -> np.ndarray:
    return where.astype(np.uint8) * 255


def _write_cards(
    shoot: _Shoot, stand: Sequence[Camera], affine: dict[str, dict[str, float]], **more: Any
) -> None:
    known = shoot.folder / "truth"
    views = {
        name_of(camera.index): {
            "world_to_camera": camera.world_to_camera.tolist(),
            "K": camera.K.tolist(),
            "width": camera.width,
            "height": camera.height,
        }
        for camera in stand
    }
    exposed = {name_of(i): asdict(each) for i, each in enumerate(shoot.exposures)}
    told = {**asdict(shoot.plant), "clutter": shoot.clutter, **more}
    told["visited"] = [name_of(i) for i in sorted(shoot.visited)]
    for card, value in zip(CARDS, (views, exposed, affine, told), strict=True):
        _write_json(known / f"{card}.json", value)
    if shoot.plant.depth:
        _write_json(shoot.folder / "depths" / "depths.json", {"kind": "affine", "scale": 1.0})
        _write_json(shoot.folder / "normals" / "normals.json", {"frame": "camera"})


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
