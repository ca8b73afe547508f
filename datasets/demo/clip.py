"""The still life in motion on disk: a rig of cameras, or one that moves, and the truth of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.datasets.demo import motion
from splat.datasets.demo.points import points as scattered
from splat.datasets.demo.poses import cameras as ringed
from splat.datasets.demo.poses import orbit
from splat.datasets.demo.shapes import PLINTH, THINGS
from splat.datasets.demo.trace import render
from splat.datasets.tracer import folders
from splat.datasets.tracer.folders import drafted, read_image, save
from splat.types import Camera, Points

Layout = Literal["rig", "orbit"]
HELD_OUT, FIRST = 9, 4
"""Of a rig one camera in so many is held out, from this one on."""
KEYFRAMES = (0.0, 1 / 3, 2 / 3, 1.0)
"""Times of the points that a rig starts from."""
SECONDS = 4.0
"""Of the clip, as its frames say it."""
ORBITED = 5
"""Pictures of the camera that moves, for each of the instants at which it is measured."""
STILL = ("plinth", "vase")
"""What stands still, which is all that points of one moving camera could be of."""


@dataclass(frozen=True)
class Shot:
    """A picture to draw."""

    name: str
    camera: Camera
    """With its time."""
    held_out: bool


def shots(layout: Layout, cameras: int, instants: int, width: int, height: int) -> list[Shot]:
    """The pictures of a layout.

    `rig`: as many cameras that stand still, each of which takes all instants, one in nine held
    out. `orbit`: one camera that moves takes five pictures for each instant; held out are pictures
    of the instants from the other side.
    """
    times = [k / max(1, instants - 1) for k in range(instants)]
    if layout == "rig":
        return [
            Shot(
                f"cam{camera.index:02d}/{k:03d}.png",
                replace(camera, time=time),
                camera.index % HELD_OUT == FIRST,
            )
            for camera in ringed(cameras, width, height)
            for k, time in enumerate(times)
        ]
    count = ORBITED * instants
    taken = [
        Shot(f"train/{i:03d}.png", replace(camera, time=i / (count - 1)), False)
        for i, camera in enumerate(orbit(count, width, height))
    ]
    across = orbit(instants, width, height, ahead=0.5)
    return taken + [
        Shot(f"test/{k:03d}.png", replace(camera, time=time), True)
        for k, (camera, time) in enumerate(zip(across, times, strict=True))
    ]


def write(
    folder: Path | str,
    *,
    layout: Layout = "rig",
    cameras: int = 27,
    instants: int = 24,
    width: int = 200,
    height: int = 150,
    samples: int = 3,
    points: int = 2_000,
    seed: int = 0,
) -> None:
    """Draw the moving scene into a new folder, which appears when it is complete.

    `transforms.json` (nerfstudio) has the pictures with their times, in seconds. `points.ply` is
    `points` for each of four instants, with their times; of `orbit` points of what stands still,
    without. `truth/` holds, by the name of the held-out picture, `depth/*.npy` (camera z),
    `objects/*.png` (numbers) and `flow/*.npy` (velocity of what is seen, world units per clip,
    float16).
    """
    taken = shots(layout, cameras, instants, width, height)
    with drafted(Path(folder), "the moving scene") as draft:
        for parent in sorted({Path(shot.name).parent.as_posix() for shot in taken}):
            folders.make(draft / "images", parent)
            if any(s.held_out and s.name.startswith(f"{parent}/") for s in taken):
                folders.make(
                    draft / "truth", *(f"{k}/{parent}" for k in ("depth", "objects", "flow"))
                )
        numbered = [replace(shot.camera, index=i) for i, shot in enumerate(taken)]
        folders.each(numbered, lambda camera: _write_shot(draft, taken[camera.index], samples))
        folders.write_ply(draft / "points.ply", _points(layout, points, seed))
        _write_transforms(draft / "transforms.json", taken)


def cached(cache: Path | str | None = None, *, layout: Layout = "rig", **options: Any) -> Path:
    """The folder of the moving scene, drawn when it is first asked for (see `write`); as
    `splat.datasets.demo.cached`."""
    draw = partial(write, layout=layout, **options)
    return folders.cached(cache, "moving", draw, [Path(__file__).parent])


@dataclass(frozen=True)
class Truth:
    """What is known about a held-out picture."""

    depth: Float[Tensor, "h w"]
    objects: UInt8[Tensor, "h w"]
    flow: Float[Tensor, "h w 3"]
    """World units per clip."""


def truth(folder: Path | str, name: str) -> Truth:
    """What `write` wrote about the held-out picture `name`."""
    known, stem = Path(folder) / "truth", Path(name).with_suffix(".npy")
    return Truth(
        torch.from_numpy(np.load(known / "depth" / stem)),
        torch.from_numpy(read_image(known / "objects" / name)),
        torch.from_numpy(np.load(known / "flow" / stem).astype(np.float32)),
    )


def unprojected(camera: Camera, depth: Float[Tensor, "h w"]) -> npt.NDArray[np.float64]:
    """World points [h, w, 3] of the centres of pixels."""
    v, u = np.mgrid[: camera.height, : camera.width] + 0.5
    K, pose = camera.K.double().numpy(), camera.world_to_camera.double().numpy()
    local = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], -1)
    away = local * depth.double().numpy()[..., None] - pose[:3, 3]
    world: npt.NDArray[np.float64] = away @ pose[:3, :3]
    return world


def _write_shot(folder: Path, shot: Shot, samples: int) -> None:
    camera = shot.camera
    view = render(camera, samples, motion.at(camera.time))
    save(folder / "images" / shot.name, view.image.numpy())
    if not shot.held_out:
        return
    known, stem = folder / "truth", Path(shot.name).with_suffix(".npy")
    places = unprojected(camera, view.depth).reshape(-1, 3)
    flow = motion.velocities(view.objects.numpy().ravel(), places, camera.time)
    np.save(known / "depth" / stem, view.depth.numpy())
    save(known / "objects" / shot.name, view.objects.numpy())
    np.save(known / "flow" / stem, flow.reshape(*view.depth.shape, 3).astype(np.float16))


def _points(layout: Layout, count: int, seed: int) -> Points:
    if layout == "orbit":
        return scattered(count, seed, [PLINTH, *(_shown(thing.name) for thing in THINGS)])
    seen = [scattered(count, seed + i, motion.at(time)) for i, time in enumerate(KEYFRAMES)]
    return Points(
        torch.cat([each.positions for each in seen]),
        torch.cat([each.colors for each in seen]),
        torch.tensor(KEYFRAMES).repeat_interleave(count) * SECONDS,
    )


def _shown(name: str) -> motion.Solid:
    thing = next(each for each in THINGS if each.name == name)
    return thing if name in STILL else replace(thing, position=motion.AWAY)


def _write_transforms(path: Path, taken: Sequence[Shot]) -> None:
    camera = taken[0].camera
    K = camera.K.double()
    frames = []
    for shot in taken:
        pose = shot.camera.world_to_camera.double().inverse()
        pose[:3, 1:3] *= -1  # OpenGL's axes
        frames.append(
            {
                "file_path": f"images/{shot.name}",
                "time": SECONDS * shot.camera.time,
                "transform_matrix": pose.tolist(),
            }
        )
    folders.write_json(
        path,
        {
            "camera_model": "PINHOLE",
            "w": camera.width,
            "h": camera.height,
            "fl_x": float(K[0, 0]),
            "fl_y": float(K[1, 1]),
            "cx": float(K[0, 2]),
            "cy": float(K[1, 2]),
            "ply_file_path": "points.ply",
            "train_filenames": [f"images/{s.name}" for s in taken if not s.held_out],
            "test_filenames": [f"images/{s.name}" for s in taken if s.held_out],
            "frames": frames,
        },
    )
