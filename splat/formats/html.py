"""A page that shows the scene: one file that opens from a disk or a stick, without a network.

The page (`viewer/page`) is our own: styles, scripts and shaders are put into it when it is written.
It holds an `.spz` of version 3 in base64, along the axes of a `.ply`, and as JSON what that format
has no place for: a name, the near plane, and where to look from. Of what moves it holds the motion
beside it (`splat.formats.motion`), and plays it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.frame import finite, focus_point, reach
from splat.formats import motion, spz
from splat.formats.html_blocks import beside, moving_of, scene_of, unpacked
from splat.formats.rows import kept
from splat.formats.settings import Settings
from splat.system import foreign
from splat.system.colours import rgb
from splat.system.files import replacing
from splat.types import Camera, Drawing, Gaussians, Motion

TAKES_MOTION = True
"""Whether what moves can be written."""
TAKES_CAMERAS = True
"""Whether `write` takes cameras, at which the page begins."""
_LINKED = re.compile(
    r'<script([^>]*?) src="([\w.-]+)"></script>|<link rel="stylesheet" href="([\w.-]+)">'
)
_LONGEST_NAME = 255
"""Bytes of a file's name, on every system that we know of."""
_LONGEST_NEAR = -1.0000000000000002e-300


def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
    cameras: Sequence[Camera] = (),
) -> None:
    """Write a page named like its file; `cameras`, in the frame of the file, say where it starts.

    What is lost, and when ValueError is raised, is as `splat.formats.spz.write` says.
    """
    gaussians = kept(gaussians, finite(gaussians), path)
    moves, clip = b"", None
    with beside(path) as payload:
        spz.write(gaussians, payload, drawing, _inside(settings))
        if gaussians.motion is not None:
            written = gaussians.take(spz.row_order(gaussians, path, _inside(settings)))
            assert written.motion is not None
            moves, fastest = motion.coded(written.motion)
            clip = {"seconds": settings.page_seconds, "fastest": fastest}
        text = page(
            payload.read_bytes(), path.stem, cameras, drawing.near, settings.page_background,
            moves, clip,
        )  # fmt: skip
    with replacing(path) as draft:
        draft.write_bytes(text.encode())


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a page of `n` Gaussians takes at most."""
    # A character of the name takes up to 6, in the title, the heading and the JSON.
    code = len(page(b"", "", (), _LONGEST_NEAR, "#010203").encode()) + 3 * 6 * _LONGEST_NAME
    return code + 4 * -(-spz.size(n, sh_degree, _inside(settings)) // 3)


def read(path: Path) -> Gaussians:
    """The Gaussians in a page."""
    with unpacked(path) as payload:
        gaussians = spz.read(payload)
    moving = moving_of(path, len(gaussians))
    if moving is None:
        return gaussians
    values = map(torch.from_numpy, (moving.time, moving.duration, moving.velocity))
    gaussians = replace(gaussians, motion=Motion(*values))
    return kept(gaussians, finite(gaussians), path)


def drawing(path: Path) -> Drawing:
    """How the page draws its Gaussians."""
    with unpacked(path) as payload:
        antialiased = spz.drawing(payload).antialiased
    return Drawing(antialiased, foreign.finite(scene_of(path).get("near")))


def quantiser(
    gaussians: Gaussians,
    settings: Settings = Settings(),  # noqa: B008
) -> Callable[[Gaussians], Gaussians]:
    """The quantisation of the `.spz` inside."""
    return spz.quantiser(gaussians, _inside(settings))


def harmonics_grid(settings: Settings) -> Callable[[Tensor, int], Tensor]:
    """The rounding of harmonics of the `.spz` inside."""
    return spz.harmonics_grid(settings)


def page(
    payload: bytes,
    name: str,
    cameras: Sequence[Camera] = (),
    near: float | None = None,
    background: str = "auto",
    moves: bytes = b"",
    clip: Mapping[str, float] | None = None,
) -> str:
    """The page around an `.spz` of version 3, and around the motion of its rows where they move.

    With `cameras`, in the frame of the Gaussians, it starts at the first, with the mean of their up
    directions up, turning about the point that they look at; seen from farther away than any of
    them, what lies between there and their reach is left out unless one flies. Without, it starts
    where most of the scene is in sight, with -y up. Centres less deep than `near` are not drawn
    (None: 0.01). `background` is as `Settings.page_background`.
    """
    name = name.encode(errors="replace").decode()  # names of files need not be text
    behind = None if background == "auto" else rgb(background)
    start = _start(cameras) if cameras else {}
    played = {} if clip is None else {"clip": dict(clip)}
    scene = {"name": name, "near": near, "background": behind, **start, **played}
    values = {
        "title": escape(name),
        # No element can be closed from within JSON that is free of this sign.
        "scene": json.dumps(scene).replace("<", "\\u003c"),
        "payload": base64.b64encode(payload).decode("ascii"),
        "motion": base64.b64encode(moves).decode("ascii"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _template())


@cache
def _template() -> str:
    """The page with all its parts in it, still without a scene."""
    folder = files("splat.viewer").joinpath("page")

    def text(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    def inlined(match: re.Match[str]) -> str:
        attributes, script, style = match.groups()
        if style:
            return f"<style>\n{text(style)}</style>"
        return f"<script{attributes}>\n{text(script)}</script>"

    return _LINKED.sub(inlined, text("page.html"))


def _inside(settings: Settings) -> Settings:
    """Settings of the `.spz` inside: the page reads one version, along one set of axes."""
    return replace(settings, spz_version=3, spz_axes="ply")


def _start(cameras: Sequence[Camera]) -> dict[str, Any]:
    """Where the page starts, as its script reads it."""
    first = cameras[0]
    up = -torch.stack([camera.world_to_camera[1, :3].double() for camera in cameras]).mean(0)
    if up.norm() < 1e-3:
        up = -first.world_to_camera[1, :3].double()
    pose = first.world_to_camera.double()
    pivot: Float[Tensor, "3"] = focus_point(cameras)
    ahead = float(pose[2, :3] @ pivot + pose[2, 3]) > 0
    return {
        "up": (up / up.norm()).tolist(),
        # Cameras that look out of a room's middle have their common point behind them.
        "pivot": pivot.tolist() if ahead else None,
        "reach": reach(cameras, pivot) if ahead else None,
        "start": {
            "world_to_camera": pose.tolist(),
            "K": first.K.double().tolist(),
            "width": first.width,
            "height": first.height,
        },
    }
