"""`splat render`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from splat.cli.asked.render import Render
from splat.cli.opened import Opened, open_scene, views_of
from splat.export.receipt import draw
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.render import camera_paths
from splat.render.video import size_of, usual_suffix, write_video
from splat.scene import shrunk
from splat.system.import_path import object_at
from splat.types import Camera

SOUNDING = "splat.strategies.acoustic.verbs.sounding"
"""Import path of the module that makes sound for videos."""


def main(arguments: Sequence[str]) -> int:
    """Render pictures or a video; the exit code."""
    asked = parsed(Render, "render", arguments)
    if asked.format is not None and asked.out is not None:
        raise ValueError(
            f"format is {asked.format} and the name is {asked.out}; expected one of the two, as"
            " a name says what it is by its end"
        )
    out = asked.out or _usual(asked)
    check_free(out, asked.overwrite)
    cameras = [shrunk(camera, 1, asked.max_side) for camera in timed(asked, asked_cameras(asked))]
    heard = _heard(asked, out, cameras)
    opened = open_scene(
        asked.what,
        asked.device,
        asked.background,
        exposure=asked.exposure_of,
        beside=False,
        renderer=asked.renderer,
    )
    pictures = _pictures(opened, cameras, asked.quiet)
    count = _filmed(pictures, out, asked.fps, heard)
    more = [] if heard is None else [f"with {count / asked.fps:.2f} s of sound"]
    told(asked, out, cameras, count, *more)
    return 0


def told(asked: Render, out: Path, cameras: Sequence[Camera], count: int, *more: str) -> None:
    """Print what was written."""
    width, height = size_of(out, cameras[0].width, cameras[0].height)
    if asked.json:
        print(json.dumps({"file": str(out), "pictures": count, "size": [width, height]}, indent=1))
    else:
        print(", ".join([f"{out}: {count} pictures of {width}x{height} pixels", *more]))


def _heard(
    asked: Render, out: Path, cameras: Sequence[Camera]
) -> Float[Tensor, "2 samples"] | None:
    """The sound of the video, computed before anything is drawn; None: it has none."""
    if asked.sound is None:
        if asked.source_at is not None:
            raise ValueError("--from is given without --sound; expected both or neither")
        return None
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"{out} is no video; expected a name ending in .mp4 with --sound")
    sound: Float[Tensor, "2 samples"] = _sounding().under(
        asked.what, cameras, asked.fps, asked.sound, asked.source_at
    )
    return sound


def _filmed(
    pictures: Iterator[Float[Tensor, "h w 3"]],
    out: Path,
    fps: float,
    heard: Float[Tensor, "2 samples"] | None,
) -> int:
    if heard is None:
        return write_video(pictures, out, fps)
    count: int = _sounding().filmed(pictures, out, fps, heard)
    return count


def _sounding() -> Any:
    """The module that makes sound, which belongs to a method."""
    module = object_at(SOUNDING)
    if module is None:
        raise ValueError(
            f"sound is asked for, and {SOUNDING} is not there; install splat-toolkit whole, or"
            " leave --sound out"
        )
    return module


def _usual(asked: Render) -> Path:
    name = Path(asked.path).stem
    parent = asked.what if asked.what.is_dir() else asked.what.parent
    if asked.path == "views" and asked.format is None:
        return parent / name
    suffix = usual_suffix() if asked.format is None else f".{asked.format}"
    return parent / f"{name}{suffix}"


def asked_cameras(asked: Render) -> list[Camera]:
    """The cameras of the path that was asked for, in the frame of the input."""
    if asked.path.endswith(".json"):
        if not Path(asked.path).is_file():
            raise FileNotFoundError(f"{asked.path} does not exist; expected a camera path")
        return camera_paths.from_file(asked.path)
    if asked.path not in ("turntable", "along", "views"):
        raise ValueError(
            f"path is {asked.path!r}; expected turntable, along, views or a file ending in .json"
        )
    cameras = views_of(asked.what, asked.cameras)
    if asked.path == "turntable":
        return camera_paths.turntable(cameras, asked.frames)
    return camera_paths.along(cameras, asked.frames) if asked.path == "along" else cameras


def timed(asked: Render, cameras: Sequence[Camera]) -> list[Camera]:
    """The cameras at the times that were asked for; raises ValueError where they are none."""
    text = asked.time
    if text is None:
        if asked.path not in ("turntable", "along"):
            return list(cameras)
        text = "0:1"
    try:
        first, *rest = (float(part) for part in text.split(":"))
        last = rest[0] if rest else first
    except ValueError:
        first, last, rest = -1.0, -1.0, []
    if not (0 <= first <= 1 and 0 <= last <= 1 and len(rest) < 2):
        raise ValueError(f"time is {text!r}; expected 0 to 1, or two such numbers as in 0:1")
    count = max(1, len(cameras) - 1)
    return [
        replace(camera, time=first + (last - first) * i / count) for i, camera in enumerate(cameras)
    ]


def _pictures(
    opened: Opened, cameras: Sequence[Camera], quiet: bool
) -> Iterator[Float[Tensor, "h w 3"]]:
    for camera in tqdm(cameras, unit="picture", disable=quiet or None):
        there = opened.placed(camera)
        yield draw(opened.seen_by(there), there, opened.render, opened.background)
