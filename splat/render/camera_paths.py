"""Camera paths to render along, and the frames written as a video or a folder of PNGs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor

from splat.core.frame import focus_point
from splat.render.camera_order import Stands
from splat.system.foreign import Broken, Record, part, reading, record, shown
from splat.types import Camera

Array = NDArray[np.float64]

WIDE_GAP = math.pi / 2
"""Widest angle without a training camera that a full turn crosses; beyond it the path sways."""
_LONGEST = 1 << 20
"""Longest side of a picture, pixels."""
LEAST_SWAY = math.radians(10)


def turntable(cameras: Sequence[Camera], frames: int) -> list[Camera]:
    """A closed path around what the cameras look at, at their mean height, upright.

    It is an ellipse where the cameras stand all around, otherwise it sways along the arc they
    stand on. Lens and size are those of the first camera, with the principal point centred.
    """
    _counted(cameras, frames)
    poses, centres = _poses(cameras), _centres(cameras)
    up, focus = upward(cameras), _numpy(focus_point(cameras))
    height = float(((centres - focus) @ up).mean())
    axes, radii, turns = _ring(centres - focus, up, frames)
    ring = np.stack([np.cos(turns) * radii[0], np.sin(turns) * radii[1]], 1)
    eyes = focus + height * up + ring @ axes
    # Cameras that stand in a room and look at its walls look away from their common point.
    outward = float((poses[:, 2, :3] * (focus - centres)).sum()) < 0
    head = replace(cameras[0], K=_centred(cameras[0]))
    looks = (eyes - focus) if outward else (focus - eyes)
    return [looking_from(head, eye, look, up) for eye, look in zip(eyes, looks, strict=True)]


def along(cameras: Sequence[Camera], frames: int) -> list[Camera]:
    """A smooth path through the cameras in their order, at even speed.

    Positions follow a Catmull-Rom spline, rotations the shortest way (slerp), lenses a straight
    line; the size is that of the first camera.
    """
    _counted(cameras, frames)
    if len(cameras) == 1:
        return [cameras[0]] * frames
    return _on_the_path(cameras, lambda knots: np.linspace(0, 1, frames))


def midway(cameras: Sequence[Camera]) -> list[Camera]:
    """Where the smooth path through the cameras is halfway between each of them and the next.

    One fewer than there are cameras; see `along`.
    """
    if len(cameras) < 2:
        return []
    return _on_the_path(cameras, lambda knots: (knots[1:] + knots[:-1]) / 2)


def _on_the_path(cameras: Sequence[Camera], places: Callable[[Array], Array]) -> list[Camera]:
    """Cameras at places of the path, 0 to 1, made of those where it passes the cameras given."""
    from scipy.interpolate import CubicHermiteSpline, interp1d

    head = cameras[0]
    poses, centres = _poses(cameras), _centres(cameras)
    sized = [camera.resized(head.width, head.height) for camera in cameras]
    knots = _knots(cameras)
    at = places(knots)
    eyes = CubicHermiteSpline(knots, centres, np.gradient(centres, knots, axis=0))(at)
    turns = Slerp(knots, Rotation.from_matrix(poses[:, :3, :3]))(at).as_matrix()
    lenses = interp1d(knots, np.stack([_numpy(camera.K) for camera in sized]), axis=0)(at)
    times = np.interp(at, knots, [camera.time for camera in cameras])
    return [
        _standing(replace(head, K=_tensor(lens), time=float(time)), turn, eye)
        for turn, eye, lens, time in zip(turns, eyes, lenses, times, strict=True)
    ]


def from_file(path: str | Path) -> list[Camera]:
    """The cameras of a JSON file, in its own frame, which should be that of the input.

    Either nerfstudio's camera path (`camera_path` with `camera_to_world` in OpenGL's axes and a
    vertical `fov` in degrees, `render_width`, `render_height`), or ours: `width`, `height` and
    `cameras`, a list of `world_to_camera` (4 x 4, rows first) and `K` (3 x 3), both as in
    `splat.types.Camera`; `K` may stand beside `width` once for all.
    """
    path = Path(path)
    with reading(path, "a camera path: write it again"):
        data = record(path, "`camera_path` (nerfstudio) or `cameras`")
        key, parse = ("camera_path", _nerfstudio) if "camera_path" in data else ("cameras", _plain)
        if not data.get(key):
            raise Broken("holds no camera path; expected `camera_path` (nerfstudio) or `cameras`")
        cameras = []
        for i, entry in enumerate(data.records(key)):
            with part(f"camera {i}"):
                cameras.append(parse(data, entry))
    return cameras


def upward(cameras: Sequence[Camera]) -> Array:
    """Which way is up: what is level in all pictures is across it; else the pictures' mean up.

    Cameras that look down from one side have a mean up that leans away from them.
    """
    poses = _poses(cameras)
    mean = -poses[:, 1, :3].mean(0)
    if np.linalg.norm(mean) < 1e-3:
        mean = -poses[0, 1, :3]
    spread, axes = np.linalg.eigh(poses[:, 0, :3].T @ poses[:, 0, :3])
    across: Array = axes[:, 0] * math.copysign(1, float(axes[:, 0] @ mean))
    sure = spread[1] > 0.02 * spread[2] and spread[0] < 0.25 * spread[1]
    if sure and across @ mean > 0.5 * np.linalg.norm(mean):
        return across
    return _unit(mean)


def _ring(offsets: Array, up: Array, frames: int) -> tuple[Array, tuple[float, float], Array]:
    """Two level axes, a radius along each, and every frame's angle, for cameras at `offsets`."""
    first = _unit(np.cross(up, np.eye(3)[np.abs(up).argmin()]))
    axes = np.stack([first, np.cross(up, first)])
    flat = offsets @ axes.T
    angles = np.sort(np.arctan2(flat[:, 1], flat[:, 0]))
    gaps = np.diff(angles, append=angles[0] + 2 * math.pi)
    widest = int(gaps.argmax())
    part = np.arange(frames) / frames
    if gaps[widest] > WIDE_GAP:
        span = max(2 * math.pi - float(gaps[widest]), 2 * LEAST_SWAY)
        middle = angles[widest] + gaps[widest] / 2 + math.pi
        radius = float(np.linalg.norm(flat, axis=1).mean())
        return axes, (radius, radius), middle + span / 2 * np.sin(2 * math.pi * part)
    # Points spread evenly over an ellipse have a mean square of half its radius squared.
    squares, turn = np.linalg.eigh(flat.T @ flat / len(flat))
    radii = np.sqrt(2 * squares)
    return turn.T @ axes, (float(radii[0]), float(radii[1])), 2 * math.pi * part


def _knots(cameras: Sequence[Camera]) -> Array:
    """When each camera is passed, 0 to 1: by the way between them, moved and turned."""
    ways = Stands.of(cameras).ways()
    ways += max(1e-6 * float(ways.sum()), 1e-12)
    knots: Array = np.concatenate([[0.0], np.cumsum(ways) / ways.sum()])
    knots[-1] = 1
    return knots


def looking_from(camera: Camera, eye: Array, look: Array, up: Array) -> Camera:
    """The camera standing at `eye` upright, turned to the direction `look`."""
    own = _numpy(camera.world_to_camera)[:3, :3]
    ahead = _unit(look) if look.any() else own[2]
    right: Array = np.cross(ahead, up)
    if float(np.linalg.norm(right)) < 1e-6:  # straight up or down: keep the camera's own up
        right = np.cross(ahead, -own[1])
    right = _unit(right)
    down = np.cross(ahead, right)
    return _standing(camera, np.stack([right, down, ahead]), eye)


def _standing(camera: Camera, rotation: Array, eye: Array) -> Camera:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ eye
    return replace(camera, world_to_camera=_tensor(pose))


def _centred(camera: Camera) -> Float[Tensor, "3 3"]:
    K = camera.K.clone()
    K[0, 2], K[1, 2] = camera.width / 2, camera.height / 2
    return K


def _nerfstudio(data: Record, entry: Record) -> Camera:
    if (kind := data.get("camera_type", "perspective")) != "perspective":
        raise Broken(f"its type is {shown(kind)}; expected 'perspective'")
    width, height = _size(data, "render_width", "render_height")
    pose = _matrix(entry, "camera_to_world", 4)
    with np.errstate(all="ignore"):
        pose[:] = np.linalg.inv(pose @ np.diag([1.0, -1.0, -1.0, 1.0]))  # from OpenGL's axes
    focal = height / 2 / math.tan(math.radians(entry.number("fov", above=0, most=179.999)) / 2)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return _checked(pose, K, width, height, entry.number("render_time", 0.0))


def _plain(data: Record, entry: Record) -> Camera:
    shared = entry.over(data)
    pose, K = _matrix(shared, "world_to_camera", 4), _matrix(shared, "K", 3)
    return _checked(pose, K, *_size(shared, "width", "height"), shared.number("time", 0.0))


def _size(entry: Record, *sides: str) -> tuple[int, int]:
    width, height = (int(entry.number(side, least=1, most=_LONGEST)) for side in sides)
    return width, height


def _matrix(entry: Record, key: str, side: int) -> Array:
    """A square matrix, written as its rows, or as all its numbers."""
    rows = entry.entries(key)
    shape = (side, side) if rows and isinstance(rows[0], list) else (side * side,)
    return entry.numbers(key, *shape).reshape(side, side)


def _checked(pose: Array, K: Array, width: int, height: int, time: float) -> Camera:
    with np.errstate(all="ignore"):
        rotation, single = pose[:3, :3], np.concatenate([pose.ravel(), K.ravel(), [time]])
        finite = np.isfinite(single.astype(np.float32)).all()
        if not (finite and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)):
            raise Broken("its pose is no rotation and translation; expected a rigid one")
    if np.linalg.det(rotation) < 0:
        raise Broken("its pose mirrors; expected a rotation")
    if not (K[0, 0] > 0 and K[1, 1] > 0):
        raise Broken("its focal length is not positive; expected pixels above 0")
    return Camera(_tensor(pose), _tensor(K), width, height, time)


def _counted(cameras: Sequence[Camera], frames: int) -> None:
    if not cameras or frames < 1:
        raise ValueError(
            f"a path of {frames} frames from {len(cameras)} cameras; give at least one of each"
        )


def _poses(cameras: Sequence[Camera]) -> Array:
    return np.stack([_numpy(camera.world_to_camera) for camera in cameras])


def _centres(cameras: Sequence[Camera]) -> Array:
    return np.stack([_numpy(camera.centre) for camera in cameras])


def _unit(vector: Array) -> Array:
    unit: Array = vector / np.linalg.norm(vector)
    return unit


def _numpy(values: Tensor) -> Array:
    return values.detach().double().cpu().numpy()


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(values).float()
