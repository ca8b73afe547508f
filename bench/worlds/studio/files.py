"""Draw an object into a folder: a Blender scene that any reader takes, and the truth beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from splat.datasets.tracer import folders
from splat.datasets.tracer.colours import srgb, stored
from splat.datasets.tracer.folders import drafted, save, write_json
from splat.datasets.tracer.vectors import Array
from splat.types import Camera
from worlds import HERE
from worlds.command import Folder, named
from worlds.studio.lights import LIGHTS, exposure, panorama
from worlds.studio.mesh import triangles
from worlds.studio.photograph import lit, pictures, renderer, shape, window
from worlds.studio.poses import FIELD_OF_VIEW, cameras
from worlds.studio.shapes import SHAPES
from worlds.studio.trace import Maps, maps

Object = Literal["mirror", "glossy", "diffuse"]
Light = Literal["studio", "sky", "sunset", "room"]

CARD = "studio.json"
FINER = 1.5
"""Test views have so many times the samples along each side of a pixel: they are measured with."""
WHAT = {
    "train, test": "pictures under `light`: sRGB, 8 bits, transparent beside the object, colour "
    "not multiplied by alpha; linear light is multiplied by the light's exposure, then clipped",
    "relit": "the test views under the lights `unseen`, in the same way",
    "lights": "surroundings, linear, before exposure: row 0 is +z, the middle column +x, columns "
    "go on towards -y",
    "truth/depth": "camera z, float32, 0 beside the object",
    "truth/normals": "world axes, 0 to 65535 for -1 to 1",
    "truth/albedo": "base colour, linear, 0 to 65535 for 0 to 1",
    "truth/roughness": "0 to 65535 for 0 to 1, the root of GGX's alpha; so is truth/metallic",
    "truth/masks": "255 where the ray through the pixel's centre meets the object",
}


def write(
    folder: Folder,
    object: Object = "mirror",
    *,
    light: Light = "studio",
    unseen: tuple[Light, ...] = ("sunset", "room"),
    views: int = 60,
    tests: int = 12,
    size: int = 256,
    samples: int = 25,
) -> Path:
    """Photograph an object of known shape and material into a new folder, by Mitsuba 3.

    It appears when it is complete; its `studio.json` says what is in it. The same arguments give
    the same bytes where Mitsuba is of the same version and finds LLVM, or finds none.

    Args:
        folder: Where to write; it must not exist.
        object: A rabbit of polished metal, a glazed teapot, or a matte dinosaur.
        light: Surroundings in the training and test views.
        unseen: Surroundings that the test views are drawn under as well, in `relit/`.
        views: Training views.
        tests: Test views, evenly between the others.
        size: Width and height of pictures, pixels.
        samples: Rays through a pixel of a training view, a square number; test views get more
            than twice as many.
    """
    named(SHAPES, object, "object")
    for name in (light, *unseen):
        named(LIGHTS, name, "light")
    if views < 1 or tests < 1 or size < 8:
        raise ValueError(
            f"views, tests and size are {views}, {tests} and {size}; expected at least 1, 1 and 8"
        )
    if samples < 4 or math.isqrt(samples) ** 2 != samples:
        raise ValueError(f"samples is {samples}; expected a square number, such as 16, 25 or 64")
    with drafted(folder, "the pictures of an object") as draft:
        _draw(draft, object, light, unseen, (views, tests, size, samples))
    return folder


def cached(object: Object = "mirror", cache: Path | str | None = None, **arguments: Any) -> Path:
    """A folder below `cache` with an object, drawn when first asked for (see `folders.cached`)."""
    draw = partial(write, object=object, **arguments)
    return folders.cached(cache, f"studio-{object}", draw, [HERE, HERE / "studio"])


def name_of(index: int) -> str:
    """Of the picture of a view, without its suffix."""
    return f"r_{index:03d}"


def _draw(
    folder: Path,
    name: str,
    light: str,
    unseen: tuple[str, ...],
    sizes: tuple[int, int, int, int],
) -> None:
    mitsuba, (views, tests, size, samples) = renderer(), sizes
    train, test = cameras(views, tests, size)
    mesh = triangles(SHAPES[name])
    thing = shape(name, mesh)
    part_seen = window(mesh.vertices, (*train, *test))
    more = round(FINER * math.sqrt(samples)) ** 2
    jobs = [(light, "train", train, samples), (light, "test", test, more)]
    jobs += [(other, f"relit/{other}", test, more) for other in unseen]
    exposures = {}
    (folder / "lights").mkdir()
    for lamp in dict.fromkeys((light, *unseen)):
        around = panorama(lamp)
        exposures[lamp] = exposure(around)
        save(folder / "lights" / f"{lamp}.hdr", around)
        scene = lit(thing, around)
        for where, part, stand, rays in jobs:
            if where != lamp:
                continue
            (folder / part).mkdir(parents=True, exist_ok=True)
            shots = pictures(scene, stand, rays, part_seen)
            for camera, (radiance, cover) in zip(stand, shots, strict=True):
                image = encoded(radiance * exposures[lamp], cover)
                save(folder / part / f"{name_of(camera.index)}.png", image)
    _write_frames(folder / "transforms_train.json", "train", train)
    _write_frames(folder / "transforms_test.json", "test", test)
    for camera in test:
        _write_truth(folder / "truth", name_of(camera.index), maps(name, camera))
    card = {
        "object": name,
        "light": light,
        "unseen": unseen,
        "exposures": exposures,
        "views": views,
        "tests": tests,
        "size": size,
        "samples": {"train": samples, "test": more},
        "renderer": f"Mitsuba {mitsuba.__version__}, {mitsuba.variant()}",
        "what": WHAT,
    }
    write_json(folder / CARD, card, indent=2)


def encoded(light: Array, cover: Array) -> npt.NDArray[np.uint8]:
    """Linear light [h, w, 3] and coverage [h, w] as an sRGB picture with alpha, uint8 [h, w, 4]."""
    colour = np.where(cover[..., None] > 0, srgb(np.clip(light, 0, 1)), 0)
    return stored(np.concatenate([colour, cover[..., None]], -1))


def _write_frames(file: Path, part: str, stand: Sequence[Camera]) -> None:
    """Blender's layout: names without a suffix, poses in OpenGL's axes, camera to world."""
    frames = []
    for camera in stand:
        pose = np.linalg.inv(camera.world_to_camera.double().numpy())
        pose[:, 1:3] *= -1
        name = f"./{part}/{name_of(camera.index)}"
        frames.append({"file_path": name, "transform_matrix": pose.tolist()})
    meta = {"camera_angle_x": math.radians(FIELD_OF_VIEW), "frames": frames}
    write_json(file, meta)


def _write_truth(folder: Path, name: str, known: Maps) -> None:
    def words(values: Array) -> npt.NDArray[np.uint16]:
        return np.asarray(np.round(65535 * np.clip(values, 0, 1)), np.uint16)

    images: dict[str, npt.NDArray[Any]] = {
        "normals": words((known.normals.numpy() + 1) / 2),
        "albedo": words(known.albedo.numpy()),
        "roughness": words(known.roughness.numpy()),
        "metallic": words(known.metallic.numpy()),
        "masks": known.mask.numpy().astype(np.uint8) * 255,
    }
    for part, image in images.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        save(folder / part / f"{name}.png", image)
    (folder / "depth").mkdir(exist_ok=True)
    np.save(folder / "depth" / f"{name}.npy", known.depth.numpy())
