"""The room on disk: a COLMAP folder with planted troubles, and the truth about them beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from splat.datasets.tracer import folders
from splat.datasets.tracer.folders import drafted, name_of, save, write_json
from splat.datasets.tracer.pictures import View
from splat.datasets.tracer.vectors import Array
from splat.types import Camera
from worlds import HERE
from worlds.command import Folder
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
from worlds.sweep.trace import render

NOTHING = Plant()
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
    folder: Folder,
    plant: Plant = NOTHING,
    *,
    count: int = 40,
    width: int = 640,
    height: int = 480,
    kind: Literal["sweep", "walk"] = "sweep",
    clutter: bool = True,
    points: int = 20_000,
    test_every: int = 8,
    samples: int = 3,
) -> Path:
    """Draw the generated room into a new folder, which appears when it is complete.

    `images/` and `sparse/0/` are what COLMAP writes, with the troubles of `plant`: poses drifted,
    points as triangulated from them. With `plant.depth`, `depths/` (up to scale and shift) and
    `normals/` (camera axes) hold guesses. `truth` reads back the rest:

    - `truth/cameras.json`, `exposures.json`, `depth_affine.json`, `plant.json`;
    - `truth/depth/*.npy` (camera z, metres), `normals/*.npy` (world axes), `objects/*.png`,
      `clean/*.png`: the room without whoever stands in the photo, exposed evenly;
    - `truth/empty/*.png`: that without clutter;
    - `truth/masks/*.png`: 0 where somebody changes the photo, else 255; `clutter_masks/*.png`: 255
      where the photo shows clutter.

    Args:
        folder: Where to write; it must not exist.
        plant: What is wrong with the capture.
        count: Photos.
        width: Of a photo, pixels.
        height: Of a photo, pixels.
        kind: Turning round on the spot, or a walk through the room.
        clutter: With carton, ball, bag and bottle.
        points: Of the point cloud.
        test_every: The first photo and every so many after it are held out by the custom of
            readers: nobody stands in them.
        samples: Rays through a pixel, where the picture has contrast.
    """
    stand = cameras(count, width, height, kind)
    if count < 2 or test_every < 2 or samples < 1 or points < 1:
        raise ValueError(
            f"count, test_every, samples and points are {count}, {test_every}, {samples} and "
            f"{points}; expected at least 2, 2, 1 and 1"
        )
    training = [index for index in range(count) if index % test_every]
    guests = visited(training, plant)
    with drafted(folder, "the generated room") as draft:
        shoot = _Shoot(draft, plant, exposures(count, plant), guests, clutter, samples)
        affine, depths = _write_views(shoot, stand)
        reported = drifted(stand, plant)
        true, told = ([row[i] for i in training] for row in (stand, reported))
        cloud = scattered(points, plant.seed, clutter=clutter, views=true)
        if plant.drift:
            cloud = misplaced(cloud, true, told, [depths[i] for i in training])
        folders.write_model(draft / "sparse" / "0", reported, cloud)
        _write_cards(shoot, stand, affine, kind=kind, test_every=test_every)
    return folder


def cached(folder: Path | str | None = None, plant: Plant = NOTHING, **arguments: Any) -> Path:
    """A folder below `folder` with the scene, drawn when first asked for (see `folders.cached`)."""
    draw = partial(write, plant=plant, **arguments)
    return folders.cached(folder, "sweep", draw, [HERE, HERE / "sweep"])


def _write_views(
    shoot: _Shoot, stand: Sequence[Camera]
) -> tuple[dict[str, dict[str, float]], list[Array]]:
    """All that is known view by view; the depth maps' (scale, shift) by name, and true depths."""
    truth = (f"truth/{kind}" for kind in (*PICTURES, *MAPS))
    folders.make(shoot.folder, "images", *truth, *(("depths", "normals") * shoot.plant.depth))
    # Two threads that both find no light would both look for it.
    for clutter in {shoot.clutter, False}:
        baked(clutter)
    done = folders.each(stand, lambda camera: _write_view(shoot, camera))
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
    save(shoot.folder / "images" / name, exposed)
    save(known / "clean" / name, still.image.numpy())
    save(known / "empty" / name, empty.image.numpy())
    save(known / "objects" / name, still.objects.numpy())
    save(known / "masks" / name, _marked(~visit))
    save(known / "clutter_masks" / name, _marked(np.isin(objects, CLUTTER)))
    stem = Path(name).stem
    np.save(known / "depth" / f"{stem}.npy", still.depth.numpy())
    # Half precision: off by 0.03 degrees at most, in half the space.
    np.save(known / "normals" / f"{stem}.npy", still.normals.numpy().astype(np.float16))
    scale, shift = _write_guesses(shoot, camera, photo, stem) if shoot.plant.depth else (1.0, 0.0)
    return scale, shift, still.depth.numpy()


def _write_guesses(shoot: _Shoot, camera: Camera, photo: View, stem: str) -> tuple[float, float]:
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
    cards = {"cameras": views, "exposures": exposed, "depth_affine": affine, "plant": told}
    for card, value in cards.items():
        write_json(known / f"{card}.json", value)
    if shoot.plant.depth:
        write_json(shoot.folder / "depths" / "depths.json", {"kind": "affine", "scale": 1.0})
        write_json(shoot.folder / "normals" / "normals.json", {"frame": "camera"})
