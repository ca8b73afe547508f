"""Pictures of the objects by Mitsuba 3: unbiased path tracing of the triangles under a light.

Mitsuba's own conventions are undone here: its cameras look along +z with +x to the left, its
surroundings have +y up, columns that run the other way, and rows that begin at the poles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from splat.datasets.tracer.vectors import Array, columns
from splat.types import Camera
from worlds.studio.materials import FINISHES
from worlds.studio.mesh import INSTALL, Mesh

VARIANTS = ("llvm_ad_rgb", "scalar_rgb")
"""The first is twice as fast and needs LLVM on the machine; their noise differs."""
TRIES = 5
FAR_SEED = 100_003
"""Seeds of pictures drawn again are so far apart, beyond the number of views."""
BOUNCES = 4
"""Segments of the longest path, the one to the eye included."""


def renderer() -> Any:
    """The module `mitsuba`, with a variant chosen for the process unless one is already."""
    try:
        import drjit
        import mitsuba
    except ImportError as error:
        raise ImportError(f"the studio needs Mitsuba 3, which is not here: {INSTALL}") from error
    if mitsuba.variant() in VARIANTS:
        return mitsuba
    with suppress(Exception):
        # Without LLVM this fails, by what error depends on how far it came.
        mitsuba.set_variant(VARIANTS[0])
        drjit.eval(mitsuba.Float(1) + drjit.arange(mitsuba.Float, 2))
        return mitsuba
    mitsuba.set_variant(VARIANTS[1])
    return mitsuba


def shape(name: str, mesh: Mesh) -> Any:
    """The mesh of the object `name` with its material, as a shape of Mitsuba's."""
    mi = renderer()
    finish = FINISHES[name](*columns(mesh.vertices))
    values = {
        "albedo": np.stack(finish.albedo, 1),
        "roughness": finish.roughness[:, None],
        "metallic": finish.metallic[:, None],
    }
    maps = {part: {"type": "mesh_attribute", "name": f"vertex_{part}"} for part in values}
    material: dict[str, Any] = {
        "type": "principled",
        "base_color": maps["albedo"],
        "roughness": maps["roughness"],
        "metallic": maps["metallic"],
        "specular": 0.5,
    }
    if name == "diffuse":
        # Lambert's law to the letter; the other model brightens rough surfaces at grazing angles.
        material = {"type": "diffuse", "reflectance": maps["albedo"]}
    properties = mi.Properties()
    properties["material"] = mi.load_dict(material)
    made = mi.Mesh(
        name, len(mesh.vertices), len(mesh.faces), has_vertex_normals=True, props=properties
    )
    for part, value in values.items():
        made.add_attribute(f"vertex_{part}", value.shape[1], value.ravel().astype(np.float32))
    parameters = mi.traverse(made)
    parameters["vertex_positions"] = mesh.vertices.ravel().astype(np.float32)
    parameters["vertex_normals"] = mesh.normals.ravel().astype(np.float32)
    parameters["faces"] = mesh.faces.ravel().astype(np.uint32)
    parameters.update()
    return made


def lit(thing: Any, light: Array) -> Any:
    """A scene of Mitsuba's: one shape under a light [h, 2 h, 3] (see `lights`)."""
    mi = renderer()
    h = len(light)
    # Twice the rows, and one more: old and new rows coincide, so that what is between them, by
    # linear interpolation, is the same.
    row = np.clip(np.arange(2 * h + 1) / 2 - 0.5, 0, h - 1)
    low = np.floor(row).astype(np.int64)
    share = (row - low)[:, None, None].astype(np.float32)
    rows = light[low] * (1 - share) + light[np.minimum(low + 1, h - 1)] * share
    to_world = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.float64)
    surroundings = {
        "type": "envmap",
        "bitmap": mi.Bitmap(np.ascontiguousarray(rows.astype(np.float32))),
        "to_world": mi.ScalarTransform4f(to_world),
    }
    paths = {"type": "path", "max_depth": BOUNCES, "hide_emitters": True}
    return mi.load_dict(
        {"type": "scene", "integrator": paths, "thing": thing, "light": surroundings}
    )


def window(vertices: Array, stand: Sequence[Camera]) -> tuple[int, int, int, int]:
    """Left, top, width and height in pixels of what points fill of the pictures of all cameras."""
    corners = []
    for camera in stand:
        pose, K = camera.world_to_camera.double().numpy(), camera.K.double().numpy()
        seen = (vertices @ pose[:3, :3].T + pose[:3, 3]) @ K.T
        seen = seen[:, :2] / seen[:, 2:]
        corners.append((seen.min(0), seen.max(0)))
    size = (stand[0].width, stand[0].height)
    first = np.clip(np.floor(np.min([low for low, _ in corners], 0)), 0, np.subtract(size, 1))
    last = np.clip(np.ceil(np.max([high for _, high in corners], 0)), first + 1, size)
    return int(first[0]), int(first[1]), int(last[0] - first[0]), int(last[1] - first[1])


def pictures(
    scene: Any, stand: Sequence[Camera], samples: int, part: tuple[int, int, int, int]
) -> Iterator[tuple[Array, Array]]:
    """For each camera the object's radiance [h, w, 3], and how much of a pixel it covers [h, w].

    The cameras differ in their poses only. `samples`, a square, are the rays through each pixel
    of `part` (see `window`), evenly in it; outside the pictures are empty. Radiance is that of the
    covered part of a pixel, not diluted by the rest.
    """
    mi = renderer()
    h, w = stand[0].height, stand[0].width
    left, top, across, down = part
    # One sensor, moved: each new one would be compiled again.
    sensor = mi.load_dict(
        {
            "type": "perspective",
            "fov": math.degrees(2 * math.atan(0.5 * w / float(stand[0].K[0, 0]))),
            "fov_axis": "x",
            "film": {
                "type": "hdrfilm",
                "width": w,
                "height": h,
                "crop_offset_x": left,
                "crop_offset_y": top,
                "crop_width": across,
                "crop_height": down,
                "pixel_format": "rgba",
                "component_format": "float32",
                "rfilter": {"type": "box"},
            },
            "sampler": {"type": "multijitter", "sample_count": samples},
        }
    )
    place = mi.traverse(sensor)
    for camera in stand:
        pose = np.linalg.inv(camera.world_to_camera.double().numpy())
        pose[:, :2] *= -1
        place["to_world"] = mi.Transform4f(pose)
        place.update()
        drawn = _finite(scene, sensor, camera.index)
        found = np.zeros((h, w, 4), np.float32)
        found[top : top + down, left : left + across] = drawn
        yield found[..., :3] / np.maximum(found[..., 3:], 0.5 / samples), found[..., 3].clip(0, 1)


def _finite(scene: Any, sensor: Any, seed: int) -> Array:
    """What the sensor sees, [h, w, 4].

    A path in many millions ends in a division by zero; its pixel is drawn again.
    """
    mi = renderer()
    drawn = np.array(mi.render(scene, sensor=sensor, seed=seed), np.float32)
    for attempt in range(1, TRIES):
        broken = ~np.isfinite(drawn).all(-1)
        if not broken.any():
            return drawn
        again = np.asarray(mi.render(scene, sensor=sensor, seed=seed + attempt * FAR_SEED))
        drawn[broken] = again[broken]
    if np.isfinite(drawn).all():
        return drawn
    raise RuntimeError(
        f"Mitsuba gave pixels without a finite value {TRIES} times; expected that of one path in "
        "millions: try another version of it"
    )
