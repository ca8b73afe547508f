"""`splat mesh`."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from splat import api, mesh
from splat.cli.asked.mesh import Mesh
from splat.cli.masked import Masked, of_object, trimmed_by_masks
from splat.cli.opened import Opened, open_scene, run_of, views_of
from splat.math import spread
from splat.mesh import cubes
from splat.mesh.masks import Trim
from splat.mesh.region import Corners
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.photos.loader import Loader
from splat.planning import predict
from splat.runs.folder import read_config, same_views
from splat.scene import shrunk
from splat.system.text import size, span
from splat.training.prepare import loaders
from splat.types import Camera, Needs

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Make a mesh; the exit code."""
    asked = parsed(Mesh, "mesh", arguments)
    start = time.perf_counter()
    cubes.check_scikit_image()
    mesh.suffix_of(asked.out)
    check_free(asked.out, asked.overwrite)
    opened = open_scene(asked.what, asked.device, "auto")
    masks: Sequence[Masked] = ()
    if asked.masks is not None:
        masks = of_object(asked.what, asked.cameras, asked.masks, asked.max_side)
    by = _way(asked, opened)
    cameras = _cameras(asked, opened)
    if asked.refine:
        _refine(asked, opened, by)
    low, high = _corners(asked, opened, by, cameras)
    made, how = (_by_distance if by == "sdf" else _by_depth)(asked, opened, cameras, low, high)
    if not len(made.faces):
        raise ValueError(
            f"no surface in the box {_said(low, high, opened)}; give a larger one with --box x y z"
            " X Y Z, in the frame of the photos' cameras"
        )
    if masks:
        before = len(made.faces)
        made = trimmed_by_masks(made, opened, masks, Trim(hull=asked.hull), asked.quiet)
        how += f", without {before - len(made.faces):,} faces that masks disprove"
    cut = _cut(made, low, high)
    if asked.faces is not None:
        made = mesh.decimated(made, asked.faces)
    made = made.out_of(opened.frame)
    mesh.write(made, asked.out)
    record = {
        "file": str(asked.out),
        "vertices": len(made.vertices),
        "faces": len(made.faces),
        "bytes": asked.out.stat().st_size,
        "watertight": made.watertight,
        "cut": cut,
        "area": made.area,
        "how": how,
        "seconds": time.perf_counter() - start,
    }
    print(json.dumps(record, indent=1) if asked.json else _told(record))
    return 0


def _way(asked: Mesh, opened: Opened) -> Literal["sdf", "depth"]:
    if asked.by == "sdf" and opened.surface is None:
        raise ValueError(
            f"{asked.what} has no signed distance, which some methods train beside the Gaussians;"
            " leave --by out, and depth is fused"
        )
    return "depth" if asked.by == "depth" or opened.surface is None else "sdf"


def _refine(asked: Mesh, opened: Opened, by: str) -> None:
    if by != "sdf" or opened.surface is None:
        raise ValueError(
            "refine goes on with a signed distance that was learned beside Gaussians, and this mesh"
            " is not made of one; leave it out, or train with a recipe such as 'adc + sdf'"
        )

    def shown(steps: Iterable[int]) -> Iterable[int]:
        return tqdm(steps, unit="step", disable=asked.quiet or None)  # type: ignore[no-any-return]

    with _batches(asked, opened) as batches:
        surface = opened.surface
        surface.refine(opened.seen_by, opened.render, batches, steps=asked.refine, shown=shown)


@contextmanager
def _batches(asked: Mesh, opened: Opened) -> Iterator[Loader]:
    """The photos that a run was trained on, with their outlines, one a step."""
    config, device = read_config(run_of(asked.what).config), opened.render.device
    try:
        scene = api.reread(config, placed=run_of(asked.what).cameras)
        same_views(config, scene)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"refine looks at the outlines of the photos, which cannot be read: {error}; bring them"
            " back, or leave --refine out"
        ) from None
    options = predict.with_device_defaults(config.options, device)
    photos, held_out = loaders(scene, options, opened.frame, device, Needs(outline=True))
    with closing(photos), closing(held_out or photos):
        yield photos


def _cameras(asked: Mesh, opened: Opened) -> list[Camera]:
    """Cameras to look from, evenly spread, in the frame of training."""
    source = asked.what
    if source.is_file() and asked.cameras is None:
        if source.suffix != ".pt":
            raise ValueError(
                f"{source} is a file without cameras; give those to look from with --cameras"
                " RUN/cameras.json"
            )
        source = run_of(source).path
    all_cameras = views_of(source, asked.cameras)
    some = [all_cameras[i] for i in spread(len(all_cameras), asked.views)]
    return [opened.placed(shrunk(camera, 1, asked.max_side or None)) for camera in some]


def _corners(asked: Mesh, opened: Opened, by: str, cameras: Sequence[Camera]) -> Corners:
    """The box in the frame of training."""
    if asked.box is not None:
        centre, scale = np.array(opened.frame.centre), opened.frame.scale
        ends = (scale * (np.array(asked.box).reshape(2, 3) - centre)).tolist()
        low, high = ends
        if by == "sdf" and opened.surface is not None:
            box = opened.surface.box
            low = [max(pair) for pair in zip(low, box[0], strict=True)]
            high = [min(pair) for pair in zip(high, box[1], strict=True)]
            if not all(a < b for a, b in zip(low, high, strict=True)):
                raise ValueError(
                    f"the signed distance is not known in that box; it is in {_said(*box, opened)}"
                )
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])
    if by == "sdf" and opened.surface is not None:
        corners, why = opened.surface.box, "where the signed distance is known"
    else:
        corners, why = mesh.region(opened.gaussians, cameras), "what the cameras look at"
    _log.info("--box %s (%s)", _said(*corners, opened), why)
    return corners


def _said(low: Sequence[float], high: Sequence[float], opened: Opened) -> str:
    """A box as --box takes it, in the frame of the input."""
    frame = opened.frame
    corners = np.array([low, high]) / frame.scale + np.array(frame.centre)
    return " ".join(f"{value:.4g}" for value in corners.ravel())


def _by_distance(
    asked: Mesh,
    opened: Opened,
    cameras: Sequence[Camera],
    low: Sequence[float],
    high: Sequence[float],
) -> tuple[mesh.Mesh, str]:
    assert opened.surface is not None
    surface, cell = opened.surface, _cell(asked, low, high)
    raw = mesh.from_distance(surface, low, high, asked.resolution, opened.render.device)
    made = mesh.tidied(raw, asked.keep_share)
    if len(made.faces):
        # Depth and distance are trained apart, and agree to a few cells.
        tolerance = asked.truncation * cell
        made = mesh.with_vertex_colors(
            made, _pictures(asked, opened, cameras, tolerance), tolerance
        )
    return made, f"from the signed distance, cells of {_length(cell, opened)}"


def _by_depth(
    asked: Mesh,
    opened: Opened,
    cameras: Sequence[Camera],
    low: Sequence[float],
    high: Sequence[float],
) -> tuple[mesh.Mesh, str]:
    cell = _cell(asked, low, high)
    truncation = asked.truncation * cell
    seen = _pictures(asked, opened, cameras, truncation)
    made = mesh.tidied(mesh.from_depth(seen, low, high, cell, truncation), asked.keep_share)
    return made, f"from depth of {len(cameras)} views, cells of {_length(cell, opened)}"


def _pictures(
    asked: Mesh, opened: Opened, cameras: Sequence[Camera], tolerance: float
) -> Iterator[mesh.Picture]:
    shown: Iterable[Camera] = tqdm(cameras, unit="view", disable=asked.quiet or None)
    for camera in shown:
        gaussians = opened.seen_by(camera)
        yield mesh.depth_picture(gaussians, camera, opened.render, opened.background, tolerance)


def _cell(asked: Mesh, low: Sequence[float], high: Sequence[float]) -> float:
    return max(b - a for a, b in zip(low, high, strict=True)) / asked.resolution


def _length(cell: float, opened: Opened) -> str:
    return f"{cell / opened.frame.scale:.3g}"


def _cut(made: mesh.Mesh, low: Sequence[float], high: Sequence[float]) -> bool:
    """Whether the box cuts the surface: its border lies on a face of the box somewhere."""
    ends = made.vertices[made.border.ravel()]
    margin = 0.01 * (np.array(high) - np.array(low))
    return bool(((ends < np.array(low) + margin) | (ends > np.array(high) - margin)).any())


def _told(record: dict[str, Any]) -> str:
    """The record as text."""
    closed = "watertight" if record["watertight"] else "open"
    if record["cut"]:
        closed = "open, also where the box cuts it"
    return (
        f"{record['file']}: {record['vertices']:,} vertices, {record['faces']:,} faces,"
        f" {size(record['bytes'])}, {closed}, area {record['area']:.4g};"
        f" {record['how']}, {span(record['seconds'])}"
    )
