"""`splat view`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat import api, formats, kernels
from splat.cli.asked.view import View
from splat.cli.opened import open_scene, run_of, views_of
from splat.core.frame import INPUT_FRAME, camera_to_frame, frame_of, gaussians_to_frame
from splat.core.model import Model
from splat.formats import ply
from splat.formats.header import Header
from splat.kernels import one_torch_thread
from splat.lod.store import MANY, store_of
from splat.options.parse import parsed
from splat.planning.predict import with_device_defaults
from splat.render import choose_device, drawing_as
from splat.runs.folder import Folder, read_config, same_views
from splat.runs.log import read_log
from splat.system import machine
from splat.system.colours import rgb
from splat.system.files import read_json
from splat.training.prepare import loaders
from splat.types import Camera, Frame, Points, SceneData
from splat.viewer.layers import Layered
from splat.viewer.source import Photos, Still, Unbaked

_log = logging.getLogger(__name__)
_SAMPLED = 2_000_000
"""Most Gaussians from which the middle of a file is computed."""


def main(arguments: Sequence[str]) -> int:
    """Serve until Ctrl-C; the exit code."""
    asked = parsed(View, "view", arguments)
    if len(asked.what) not in (1, 2):
        raise ValueError(f"{len(asked.what)} things to look at were given; expected one or two")
    for path in asked.what:
        if not path.exists():
            raise FileNotFoundError(
                f"{path} does not exist; expected the folder of a run, a checkpoint of one, or a"
                " file of Gaussians"
            )
    sources = [_source(path, asked) for path in asked.what]
    from splat.viewer.opening import announce
    from splat.viewer.server import Server
    from splat.viewer.showing import Showing

    with one_torch_thread(), ExitStack() as stack:
        server = Server(asked.host, asked.port, asked.token)
        stack.callback(server.close)
        place = _run(asked.what[0])
        records = [] if place is None else read_log(place.log)
        timeline = None if place is None else place.timeline
        points = _points(place)
        showing = Showing(server, sources, records, timeline, points)
        stack.callback(showing.close)
        announce(server)
        _log.info("          Ctrl-C ends it")
        showing.serve()
    return 0


def _source(path: Path, asked: View) -> Still:
    """The source at a path, in the frame it was trained in, or one that fits it."""
    place = _run(path)
    cameras = _cameras(path, place, asked)
    if place is None and _large(path):
        return _from_disk(path, cameras, asked)
    opened = open_scene(path, asked.device, asked.background, beside=False)
    makes = isinstance(opened.seen_by, Model)
    if place is None and not makes:
        frame = frame_of(cameras) if len(cameras) > 1 else _around(opened.gaussians.means)
        gaussians, render = (
            gaussians_to_frame(opened.gaussians, frame),
            opened.gaussians.means.device,
        )
        drawn = drawing_as(opened.drawing.plain, frame, render, beside=False)
    else:
        frame, drawn = opened.frame, opened.render
    metrics = {} if place is None or not place.metrics.is_file() else read_json(place.metrics)
    about: dict[str, Any] = dict(
        name=path.name if place is None or path.is_dir() else f"{place.path.name}/{path.stem}",
        frame=frame,
        render=drawn,
        drawing=opened.drawing.plain,
        background=opened.background,
        photos=None if place is None else _photos(place, frame, drawn.device),
        cameras=[camera_to_frame(camera, frame).to(drawn.device) for camera in cameras],
        step=opened.step,
        psnr=metrics.get("psnr") if metrics.get("steps") == opened.step else None,
    )
    if isinstance(opened.seen_by, Model):
        return Unbaked(opened.seen_by, **about)
    whole = gaussians if place is None else opened.gaussians
    if len(whole) <= MANY:
        return Still(whole, **about)
    whole = whole.to("cpu")
    store = store_of(
        len(whole), lambda low, high: whole.take(torch.arange(low, high)), None, about["name"]
    )
    return Layered(store, **about)


def _cameras(path: Path, place: Folder | None, asked: View) -> list[Camera]:
    """Cameras to look from, frame of the input; empty where none are known."""
    # A file may lie in the folder of its run.
    listed = path.with_name("cameras.json") if place is None else place.cameras
    available = asked.cameras is not None or listed.is_file()
    return views_of(path, asked.cameras or listed) if available else []


def _large(path: Path) -> bool:
    """Whether a file is read in parts, as it would take too much memory at once."""
    if path.suffix.lower() != ".ply" or Header.of(path).compressed:
        return False
    return ply.holds_gaussians(path) and len(ply.Opened(path)) > MANY


def _from_disk(path: Path, cameras: Sequence[Camera], asked: View) -> Layered:
    """A large file as a source, in a frame that fits it."""
    device, _ = choose_device(asked.device)
    kernels.set_threads(machine.cores())
    rows = ply.Opened(path)
    _log.info(
        "reading   %s: %s Gaussians, which are put into levels of detail", path, f"{len(rows):,}"
    )
    store = store_of(
        len(rows),
        rows.part,
        lambda means: frame_of(cameras) if len(cameras) > 1 else _around(means),
        str(path),
    )
    assert store.frame is not None
    drawing, frame = formats.drawing(path), store.frame
    behind = rgb("black" if asked.background == "auto" else asked.background)
    return Layered(
        store,
        name=path.name,
        frame=frame,
        render=drawing_as(drawing.plain, frame, device, beside=False),
        drawing=drawing.plain,
        background=torch.tensor(behind, device=device) if any(behind) else None,
        cameras=[camera_to_frame(camera, frame).to(device) for camera in cameras],
    )


def _run(path: Path) -> Folder | None:
    return None if path.is_file() and path.suffix != ".pt" else run_of(path)


def _scene(place: Folder) -> SceneData | None:
    """The photographs of a run; None: they cannot be read."""
    config = read_config(place.config)
    try:
        scene = api.reread(config, placed=place.cameras)
        same_views(config, scene)
    except (OSError, ValueError) as error:
        _log.warning("without photos: %s", error)
        return None
    return scene


def _photos(place: Folder, frame: Frame, device: torch.device) -> Photos | None:
    scene = _scene(place)
    if scene is None:
        return None
    options = with_device_defaults(read_config(place.config).options, device)
    return Photos(*loaders(scene, options, frame, device))


def _points(place: Folder | None) -> Points | None:
    scene = None if place is None else _scene(place)
    return None if scene is None else scene.points


def _around(means: Float[Tensor, "n 3"]) -> Frame:
    """A frame in which nearly all Gaussians lie within one unit of the middle."""
    # Of many some are enough, and their copies would be large.
    means = means[:: 1 + len(means) // _SAMPLED].double()
    means = means[means.isfinite().all(1)]
    if not len(means):
        return INPUT_FRAME
    middle = means.median(0).values
    reach = float((means - middle).norm(dim=1).quantile(0.9)) if len(means) < 1e6 else 0.0
    reach = reach or float((means - middle).abs().mean()) * 3 or 1.0
    x, y, z = middle.tolist()
    return Frame((x, y, z), 1 / reach)
