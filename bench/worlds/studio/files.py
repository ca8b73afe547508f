"""Draw an object into a folder: a Blender scene that any reader takes, and the truth beside it."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from splat.datasets import demo
from splat.datasets.demo.shapes import Array
from splat.datasets.drafts import drafted, vacant
from splat.types import Camera
from worlds.studio.lights import LIGHTS, exposure, panorama
from worlds.studio.mesh import triangles
from worlds.studio.photograph import lit, pictures, renderer, shape, window
from worlds.studio.poses import FIELD_OF_VIEW, cameras
from worlds.studio.shapes import SHAPES
from worlds.studio.trace import Maps, maps

Bytes = npt.NDArray[np.uint8]

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
    folder: Path | str,
    object: str = "mirror",
    *,
    light: str = "studio",
    unseen: Sequence[str] = ("sunset", "room"),
    views: int = 60,
    tests: int = 12,
    size: int = 256,
    samples: int = 25,
) -> None:
    """Photograph an object into a new folder, which appears when it is complete.

    `object` is `mirror`, `glossy` or `diffuse`; `light` and `unseen` are names of `LIGHTS`. The
    training views are lit by `light`, the test views by that and by each of `unseen`. Pictures are
    `size` pixels wide and high, with `samples` (a square number) rays a pixel; test views have more
    than twice as many. The folder's `studio.json` says what is in it. The same arguments give the
    same bytes where Mitsuba is of the same version and finds LLVM, or finds none.
    """
    folder = Path(folder)
    _known("object", object, SHAPES)
    for name in (light, *unseen):
        _known("light", name, LIGHTS)
    if views < 1 or tests < 1 or size < 8:
        raise ValueError(
            f"views, tests and size are {views}, {tests} and {size}; expected at least 1, 1 and 8"
        )
    if samples < 4 or math.isqrt(samples) ** 2 != samples:
        raise ValueError(f"samples is {samples}; expected a square number, such as 16, 25 or 64")
    vacant(folder, "the pictures of an object")
    renderer()
    with drafted(folder) as draft:
        _draw(draft, object, light, tuple(unseen), (views, tests, size, samples))


def cached(
    object: str = "mirror",
    cache: Path | str | None = None,
    *,
    light: str = "studio",
    unseen: Sequence[str] = ("sunset", "room"),
    views: int = 60,
    tests: int = 12,
    size: int = 256,
    samples: int = 25,
) -> Path:
    """The folder of an object, drawn when it is first asked for (see `write`).

    `cache` defaults to `splat` in the user's cache. Another version of the code, or other
    arguments, make another folder; processes that race for the same one agree on the first.
    """
    root = Path(cache) if cache is not None else _user_cache()
    asked = (object, light, tuple(unseen), views, tests, size, samples)
    folder = root / f"studio-{object}-{_fingerprint(asked)}"
    if not folder.is_dir():
        try:
            write(
                folder, object, light=light, unseen=unseen, views=views, tests=tests, size=size,
                samples=samples,
            )  # fmt: skip
        except OSError:
            # Another process may have finished it in the meantime.
            if not folder.is_dir():
                raise
    return folder


def name_of(index: int) -> str:
    """Of the picture of a view, without its suffix."""
    return f"r_{index:03d}"


def _known(what: str, name: str, names: dict[str, Any]) -> None:
    if name not in names:
        raise ValueError(f"{what} is {name!r}; expected one of {', '.join(names)}")


def _user_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "splat"


def _fingerprint(asked: tuple[Any, ...]) -> str:
    """Changes with the arguments and with the code that draws."""
    digest = hashlib.blake2b(repr(asked).encode(), digest_size=6)
    here, shared = Path(__file__).parent, Path(demo.__file__).parent
    for source in (*sorted(here.glob("*.py")), *sorted(shared.glob("*.py"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _draw(
    folder: Path,
    name: str,
    light: str,
    unseen: tuple[str, ...],
    sizes: tuple[int, int, int, int],
) -> None:
    views, tests, size, samples = sizes
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
        _save(folder / "lights" / f"{lamp}.hdr", around[..., ::-1])
        scene = lit(thing, around)
        for where, part, stand, rays in jobs:
            if where != lamp:
                continue
            (folder / part).mkdir(parents=True, exist_ok=True)
            shots = pictures(scene, stand, rays, part_seen)
            for camera, (radiance, cover) in zip(stand, shots, strict=True):
                image = encoded(radiance * exposures[lamp], cover)
                _save(folder / part / f"{name_of(camera.index)}.png", image[..., [2, 1, 0, 3]])
    _write_frames(folder / "transforms_train.json", "train", train)
    _write_frames(folder / "transforms_test.json", "test", test)
    for camera in test:
        _write_truth(folder / "truth", name_of(camera.index), maps(name, camera))
    mitsuba = renderer()
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
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def encoded(light: Array, cover: Array) -> Bytes:
    """Linear light [h, w, 3] and coverage [h, w] as an sRGB picture with alpha, uint8 [h, w, 4]."""
    light = np.clip(light, 0, 1)
    curve = 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    colour = np.where(light <= 0.0031308, 12.92 * light, curve)
    values = np.concatenate([np.where(cover[..., None] > 0, colour, 0), cover[..., None]], -1)
    image: Bytes = np.round(255 * values).astype(np.uint8)
    return image


def _save(path: Path, image: npt.NDArray[Any]) -> None:
    """By its suffix; OpenCV's order of channels."""
    done, data = cv2.imencode(path.suffix, image)
    assert done
    # cv2.imwrite fails without a reason, and on Windows for names beyond ASCII.
    path.write_bytes(data.tobytes())


def _write_frames(file: Path, part: str, stand: Sequence[Camera]) -> None:
    """Blender's layout: names without a suffix, poses in OpenGL's axes, camera to world."""
    frames = []
    for camera in stand:
        pose = np.linalg.inv(camera.world_to_camera.double().numpy())
        pose[:, 1:3] *= -1
        name = f"./{part}/{name_of(camera.index)}"
        frames.append({"file_path": name, "transform_matrix": pose.tolist()})
    meta = {"camera_angle_x": math.radians(FIELD_OF_VIEW), "frames": frames}
    file.write_text(json.dumps(meta, indent=1) + "\n", "utf-8")


def _write_truth(folder: Path, name: str, known: Maps) -> None:
    def words(values: Array) -> npt.NDArray[np.uint16]:
        return np.asarray(np.round(65535 * np.clip(values, 0, 1)), np.uint16)

    images: dict[str, npt.NDArray[Any]] = {
        "normals": words((known.normals.numpy() + 1) / 2)[..., ::-1],
        "albedo": words(known.albedo.numpy())[..., ::-1],
        "roughness": words(known.roughness.numpy()),
        "metallic": words(known.metallic.numpy()),
        "masks": known.mask.numpy().astype(np.uint8) * 255,
    }
    for part, image in images.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        _save(folder / part / f"{name}.png", image)
    (folder / "depth").mkdir(exist_ok=True)
    np.save(folder / "depth" / f"{name}.npy", known.depth.numpy())
