"""Troubles of real captures, planted so that what undoes them can be scored exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch

from splat.datasets.tracer.pictures import View
from splat.datasets.tracer.vectors import Array
from splat.types import Camera, Points

TURN = 20.0
"""Degrees that poses turn for every metre they drift."""
SMOOTH = 5
"""Views over which the speed of the drift is averaged."""
WARP, GRAIN = 0.02, 0.004
"""Standard deviation of smooth and of fine errors of monocular depth, relative."""
TILT = 0.035
"""Standard deviation of errors of monocular normals, each of smooth and fine ones, radians."""


@dataclass(frozen=True)
class Plant:
    """What is wrong with a capture; by default nothing is."""

    drift: float = 0.0
    """Poses walk away smoothly, from nothing at the first view: root of the mean, over seeds, of
    the squared distance at the last view, metres. They turn by 20 degrees a metre of that."""
    exposure: float = 0.0
    """Standard deviation of each photo's gain in stops of display values; of each channel's own
    gain on top a third of it; of each channel's bias 0.03 a stop. `photo = gain * clean + bias`
    on sRGB values in [0, 1], then clipped and rounded to 8 bits."""
    depth: bool = False
    """Write `depths/` and `normals/` as networks guess them from single photos."""
    transients: int = 0
    """Training photos in which somebody stands."""
    noise: float = 0.0
    """Standard deviation of sensor noise, 8-bit levels."""
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if (value := getattr(self, field.name)) < 0:
                raise ValueError(
                    f"{field.name} is {value}; expected 0 or more: 0 plants nothing of it"
                )

    def draws(self, purpose: int, view: int = 0) -> np.random.Generator:
        """A stream of its own for every purpose and view."""
        return np.random.default_rng([self.seed, purpose, view])


@dataclass(frozen=True)
class Exposure:
    """`photo = gain * clean + bias` on display values in [0, 1]."""

    gain: tuple[float, float, float]
    bias: tuple[float, float, float]


def drifted(cameras: Sequence[Camera], plant: Plant) -> list[Camera]:
    """The poses a device would have reported: the true ones at the first view, then ever less."""
    count = len(cameras)
    if not plant.drift or count < 2:
        return list(cameras)
    steps = plant.draws(1).standard_normal((count - 1, 6))
    near = np.abs(np.subtract.outer(np.arange(count - 1), np.arange(count - 1))) <= SMOOTH // 2
    speed = near / near.sum(1, keepdims=True)
    # What a unit step adds to the end, over all steps: the walk is scaled by what it comes to.
    far = np.sqrt((speed.sum(0) ** 2).sum()) * np.sqrt(3)
    walk = np.concatenate([np.zeros((1, 6)), np.cumsum(speed @ steps, 0)]) * (plant.drift / far)
    turns = [cv2.Rodrigues(each)[0] for each in walk[:, 3:] * np.radians(TURN)]
    found = []
    for camera, shift, turn in zip(cameras, walk[:, :3], turns, strict=True):
        true = camera.world_to_camera.double().numpy()
        pose = np.eye(4)
        pose[:3, :3] = true[:3, :3] @ turn.T
        eye = -true[:3, :3].T @ true[:3, 3] + shift
        pose[:3, 3] = -pose[:3, :3] @ eye
        found.append(replace(camera, world_to_camera=torch.from_numpy(pose).float()))
    return found


def exposures(count: int, plant: Plant) -> list[Exposure]:
    """One for each view; neutral where none is planted."""
    found = []
    for index in range(count):
        draw = plant.draws(2, index).standard_normal(7) * plant.exposure
        gain, bias = 2.0 ** (draw[0] + draw[1:4] / 3), 0.03 * draw[4:]
        r, g, b = (float(v) for v in gain)
        s, t, u = (float(v) for v in bias)
        found.append(Exposure((r, g, b), (s, t, u)))
    return found


def photographed(image: np.ndarray, exposure: Exposure, plant: Plant, view: int) -> np.ndarray:
    """8-bit photo of an 8-bit clean one: exposed, with noise, clipped and rounded."""
    value = image / 255 * np.array(exposure.gain) + np.array(exposure.bias)
    if plant.noise:
        value = value + plant.draws(3, view).standard_normal(image.shape) * (plant.noise / 255)
    return np.asarray(np.round(np.clip(value, 0, 1) * 255).astype(np.uint8))


def visited(training: Sequence[int], plant: Plant) -> set[int]:
    """Numbers of the training views in which somebody stands."""
    if plant.transients > len(training):
        raise ValueError(
            f"transients is {plant.transients}; expected at most the {len(training)} training views"
        )
    return set(plant.draws(4).choice(training, plant.transients, replace=False).tolist())


def guessed_depth(depth: Array, plant: Plant, view: int) -> tuple[Array, float, float]:
    """Depth as a network guesses it, and (scale, shift): scale * guess + shift is depth, metres.

    Up to what no scale and shift undo: a smooth error of 2 % and a fine one of 0.4 %.
    """
    draw = plant.draws(5, view)
    scale = float(np.exp(draw.uniform(np.log(0.5), np.log(2))))
    # The guess stays positive: 0 means unknown to most readers.
    shift = min(float(draw.uniform(-0.3, 0.3)), 0.5 * float(depth.min()))
    error = WARP * _smooth(draw, depth.shape) + GRAIN * draw.standard_normal(depth.shape)
    guess = (depth * (1 + error) - shift) / scale
    return np.maximum(guess, 1e-3).astype(np.float32), scale, shift


def guessed_normals(view: View, camera: Camera, plant: Plant) -> Array:
    """Normals as a network guesses them: camera axes (+x right, +y down, +z forward), [h, w, 3]."""
    draw = plant.draws(6, camera.index)
    true = view.normals.double().numpy() @ camera.world_to_camera[:3, :3].double().numpy().T
    low = np.stack([_smooth(draw, true.shape[:2]) for _ in range(3)], -1)
    guess = true + TILT * (low + draw.standard_normal(true.shape))
    guess /= np.linalg.norm(guess, axis=-1, keepdims=True)
    return np.asarray(guess, np.float32)


def _smooth(draw: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Smooth noise over a picture, about unit variance: cubic between 5 x 4 draws."""
    grid = draw.standard_normal((4, 5))
    return np.asarray(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC))


def misplaced(
    cloud: Points,
    cameras: Sequence[Camera],
    reported: Sequence[Camera],
    depths: Sequence[Array],
) -> Points:
    """Where points come to lie that are triangulated from views with the reported poses.

    Each moves along with the views that see it, by the mean of what they make of it; what no view
    sees stays where it is.
    """
    total = torch.zeros(len(cloud.positions), 3, dtype=torch.float64)
    seen = torch.zeros(len(cloud.positions), 1, dtype=torch.float64)
    for camera, other, depth in zip(cameras, reported, depths, strict=True):
        true, planted = camera.world_to_camera.double(), other.world_to_camera.double()
        local = cloud.positions.double() @ true[:3, :3].T + true[:3, 3]
        z = camera.depths(cloud.positions)
        known = torch.nan_to_num(z, nan=1.0)
        K = camera.K.double()
        u = (local[:, 0] / known * K[0, 0] + K[0, 2]).clamp(0, camera.width - 1).long()
        v = (local[:, 1] / known * K[1, 1] + K[1, 2]).clamp(0, camera.height - 1).long()
        surface = torch.from_numpy(depth)[v, u].double()
        visible = (~z.isnan() & ((known - surface).abs() < 0.02 * surface))[:, None].double()
        total += visible * ((local - planted[:3, 3]) @ planted[:3, :3])
        seen += visible
    moved = torch.where(seen > 0, total / seen.clamp(min=1), cloud.positions.double())
    return replace(cloud, positions=moved.float())
