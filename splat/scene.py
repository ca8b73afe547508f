"""Records of a scene as it lies on disk, whose tensors are made when they are asked for: who only
reads or tells waits for no torch. `splat.types` has the same names.

Conventions, once for the whole project: world units; cameras look along +z with +x right and
+y down (OpenCV, COLMAP); `world_to_camera` maps column vectors; pixel (i, j) has its centre at
(j + 0.5, i + 0.5); quaternions are (w, x, y, z); images are RGB in [0, 1], rows first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Float
    from numpy.typing import NDArray
    from torch import Tensor

NEAR = 0.01
"""Depth from which gsplat 1.5.3 draws."""


@dataclass(frozen=True)
class Drawing:
    """How a set of Gaussians was drawn while it was trained; files carry it along."""

    antialiased: bool = False
    """Whether opacity was compensated for the low-pass filter (Mip-Splatting)."""
    near: float | None = None
    """Depth from which Gaussians were drawn, units of the input; None: from where any program draws
    them (`NEAR`)."""

    @property
    def plain(self) -> Drawing:
        """As any program draws them: what hangs before cameras is seen. Figures are of this."""
        return replace(self, near=None)


@dataclass(frozen=True)
class Frame:
    """Similarity between the input frame and the one trained in: x' = scale * (x - centre)."""

    centre: tuple[float, float, float]
    """What becomes the origin, input units."""
    scale: float
    """Factor on lengths."""


_Own = TypeVar("_Own", bound="_OnDemand")


class _OnDemand:
    """A record whose tensors may be made of NumPy's arrays when somebody asks for them: who reads a
    scene to tell what is in it waits for no torch."""

    @classmethod
    def _of(
        cls: type[_Own],
        before: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        **values: Any,
    ) -> _Own:
        made = object.__new__(cls)
        vars(made).update({**before, **values, "_kept": arrays})
        return made

    def _made(self: _Own, arrays: Mapping[str, NDArray[Any]], **values: Any) -> _Own:
        """The same record of other arrays, with other values."""
        own = {name: value for name, value in vars(self).items() if name not in arrays}
        return self._of(own, arrays, **values)

    @property
    def _arrays(self) -> Mapping[str, NDArray[Any]] | None:
        """What tensors are made of; None: they were given as they are."""
        return vars(self).get("_kept")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A tensor that nobody has asked for yet."""
            arrays = self._arrays or {}
            if name not in arrays:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            import torch

            tensor = torch.from_numpy(arrays[name])
            vars(self)[name] = tensor
            return tensor

    def array(self, name: str) -> NDArray[Any]:
        """One of its tensors as an array, in the machine's memory."""
        arrays = self._arrays
        if arrays is not None and name in arrays:
            return arrays[name]
        tensor: Tensor = getattr(self, name)
        found: NDArray[Any] = tensor.detach().cpu().numpy()
        return found


@dataclass(frozen=True)
class Camera(_OnDemand):
    """A pinhole camera: where it stands and how it projects."""

    world_to_camera: Float[Tensor, "4 4"]
    """Rigid transform of column vectors, world to camera (+x right, +y down, +z forward)."""
    K: Float[Tensor, "3 3"]
    """Intrinsics in pixels; skew is ignored."""
    width: int
    """Width in pixels."""
    height: int
    """Height in pixels."""
    time: float = 0.0
    """Time in [0, 1] of the clip, for scenes that move."""
    index: int = 0
    """Number of the training view, for per-image embeddings."""
    taken_by: int | None = None
    """Number, among those of the training views, of the physical camera that took this and other
    views from where it stands; None: what is known of it is of this photo alone."""
    clear_depth: float = 0.0
    """Depth, in units of the camera's frame, up to which nothing real is in sight as far as is
    known; 0: nothing is known."""
    clear_radius: float = 0.0
    """Radius, in units of the camera's frame, of the ball about it in which nothing is as far as is
    known; 0: nothing is known."""
    clear_between: tuple[tuple[float, float, float, float], ...] = ()
    """Balls between it and cameras beside it in which nothing is as far as is known: where they are
    (x, y, z) and their radius, in the camera's frame."""
    moves: Bool[Tensor, "h w"] | None = None
    """Where its photo, made small, shows what moves, or what that usually hides; on the CPU. None:
    nothing is known."""

    @classmethod
    def of_arrays(
        cls,
        world_to_camera: NDArray[np.float64],
        K: NDArray[np.float32],
        width: int,
        height: int,
        time: float = 0.0,
    ) -> Camera:
        """A camera whose tensors are made of these once somebody asks for them."""
        arrays: dict[str, NDArray[Any]] = {"world_to_camera": world_to_camera, "K": K}
        return cls._of({}, arrays, width=width, height=height, time=time)

    def __repr__(self) -> str:
        x, y, z = self.centre.tolist()
        time = f", time {self.time:g}" if self.time else ""
        return (
            f"Camera({self.width}x{self.height}, focal {float(self.K[0, 0]):g} px,"
            f" at {x:.4g} {y:.4g} {z:.4g}, view {self.index}{time}, {self.K.device})"
        )

    def to(self, device: torch.device | str) -> Camera:
        """The same camera with its tensors on `device`."""
        return replace(self, world_to_camera=self.world_to_camera.to(device), K=self.K.to(device))

    def detached(self) -> Camera:
        """The same camera, to which no gradient is passed."""
        return replace(self, world_to_camera=self.world_to_camera.detach())

    def resized(self, width: int, height: int) -> Camera:
        """The same field of view at another size in pixels."""
        K: Any = self.K.clone() if self._arrays is None else self._arrays["K"].copy()
        K[0] *= width / self.width
        K[1] *= height / self.height
        if self._arrays is None:
            return replace(self, K=K, width=width, height=height)
        return self._made({**self._arrays, "K": K}, width=width, height=height)

    def changed(self, **values: float | None) -> Camera:
        """The same camera with other numbers, such as its time; its tensors are not made for it."""
        if self._arrays is None:
            return replace(self, **values)  # type: ignore[arg-type]
        return self._made(self._arrays, **values)

    def depths(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Depths of points in front and inside the picture, NaN for the others; float64."""
        pose, K = self.world_to_camera.double(), self.K.double()
        x, y, z = (points.double() @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
        u, v = K[0, 0] * x + K[0, 2] * z, K[1, 1] * y + K[1, 2] * z
        inside = (u >= 0) & (u <= self.width * z) & (v >= 0) & (v <= self.height * z)
        return z.where(inside & (z > 0), math.nan)

    @property
    def sensor(self) -> int:
        """Row of what is learned of how photos were taken: exposure and pose."""
        return self.index if self.taken_by is None else self.taken_by

    @property
    def centre(self) -> Float[Tensor, "3"]:
        """Position of the camera in the world."""
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return -(rotation * translation[:, None]).sum(0)


@dataclass(frozen=True)
class Lens:
    """How a lens bends what a pinhole would see; undone when the photograph is decoded."""

    model: str
    """A family of `splat.photos.lens`: `radial`, `fisheye`, `thin_prism_fisheye`, `fov`, ..."""
    coefficients: tuple[float, ...]
    """Coefficients for points on the plane z = 1; focal lengths are the camera's."""


@dataclass(frozen=True)
class Cut:
    """Where a pinhole view lies in a photo that sees too much for one: a panorama, a fisheye."""

    rotation: tuple[float, ...]
    """Nine numbers, row by row: from the axes of the view to those of the photograph."""
    focal: tuple[float, float]
    """Focal lengths of the photograph, pixels; of a panorama pixels per radian, across and down."""
    principal: tuple[float, float]
    """Pixel of the photograph that looks along its axis."""
    size: tuple[int, int]
    """Width and height of the photograph."""
    lens: Lens | None = None
    """A fisheye; None: the photograph is an equirectangular panorama."""
    limit: float = math.pi
    """Angle to the axis, radians, beyond which the photograph shows nothing."""


@dataclass(frozen=True)
class DepthFile:
    """Depth that is known beside a photograph, not yet decoded."""

    path: Path
    kind: Literal["metric", "affine", "inverse"] = "affine"
    """Kind of its values: camera z, camera z up to scale and shift, or 1 / z up to these."""
    scale: float = 1.0
    """World units of the input per number, where they are metric."""


@dataclass(frozen=True)
class NormalFile:
    """Normals that are known beside a photograph, not yet decoded."""

    path: Path
    frame: Literal["camera", "opengl", "world"] = "camera"
    """Their axes: those of the camera as ours are, of the camera with +y up and +z towards it, or
    the world's."""


@dataclass(frozen=True)
class View:
    """One posed photograph, not yet decoded."""

    name: str
    """Unique within the scene: the path of the photo below its image folder."""
    camera: Camera
    """The pinhole camera of the photograph once undistorted, at full size."""
    image: Path
    mask: Path | None = None
    """An image that is non-zero where the photo counts."""
    lens: Lens | None = None
    """Distortion of the photograph; None: it has none."""
    depth: DepthFile | None = None
    normal: NormalFile | None = None
    cut: Cut | None = None
    """Where this view was cut out of its photograph; None: it is all of it."""


@dataclass(frozen=True)
class Points(_OnDemand):
    """A coloured point cloud to start from, world units of the input."""

    positions: Float[Tensor, "n 3"]
    colors: Float[Tensor, "n 3"]
    """RGB in [0, 1]."""
    # Not None of the class, where tensors that are still to be made would not be looked for.
    times: Float[Tensor, "n"] | None = field(default_factory=lambda: None)
    """The instant that each was seen at, 0 to 1 of the clip, NaN: no single one; None: nobody
    knows."""
    velocities: Float[Tensor, "n 3"] | None = None
    """Of those that are known to move, world units per clip, NaN of others; None: nobody knows."""

    @classmethod
    def of_arrays(
        cls,
        positions: NDArray[np.floating[Any]],
        colors: NDArray[np.floating[Any]],
        times: NDArray[np.float32] | None = None,
    ) -> Points:
        """Points whose tensors are made of these once somebody asks for them."""
        arrays = {"positions": positions, "colors": colors}
        if times is None:
            return cls._of({}, arrays, times=None)
        return cls._of({}, {**arrays, "times": times})

    def array_or_none(self, name: str) -> NDArray[Any] | None:
        """As `array`; None where there is no such thing."""
        arrays = self._arrays or {}
        given = name in arrays or getattr(self, name) is not None
        return self.array(name) if given else None

    def kept(self, rows: NDArray[np.bool_]) -> Points:
        """Some of the points, by a mask, without velocities."""
        times = self.array_or_none("times")
        times = None if times is None else times[rows]
        return Points.of_arrays(self.array("positions")[rows], self.array("colors")[rows], times)

    def at_times(self, times: NDArray[np.float32] | None) -> Points:
        """The points with other times, without velocities."""
        return Points.of_arrays(self.array("positions"), self.array("colors"), times)

    def __len__(self) -> int:
        return len(self.positions if self._arrays is None else self._arrays["positions"])

    def take(self, rows: Tensor) -> Points:
        """Some of the points: by a mask, or by their numbers in the order wanted."""
        times = None if self.times is None else self.times[rows]
        velocities = None if self.velocities is None else self.velocities[rows]
        return Points(self.positions[rows], self.colors[rows], times, velocities)


@dataclass(frozen=True)
class Clip:
    """How long a scene that moves goes on, and at how many instants it was photographed."""

    seconds: float
    """From the first instant to the last."""
    instants: int


@dataclass(frozen=True)
class SceneData:
    """What a dataset on disk holds; nothing is decoded."""

    path: Path
    format: str
    """Name of the reader: `colmap`, `nerfstudio`, ... (`splat.datasets.READERS`)."""
    train: tuple[View, ...]
    test: tuple[View, ...]
    """Views that are never trained on."""
    points: Points | None
    notes: tuple[str, ...] = ()
    """What the reader skipped or decided, one sentence each, to be said aloud."""
    clip: Clip | None = None
    """What the times of its views are parts of; None: nothing moves, all times are 0."""

    def __repr__(self) -> str:
        count = 0 if self.points is None else len(self.points)
        return (
            f"SceneData({self.path}, {self.format}: {len(self.train):,} photos to train on,"
            f" {len(self.test):,} held out, {count:,} points)"
        )

    def changed(self, change: Callable[[View], View]) -> SceneData:
        """The scene with every view changed."""
        train, test = (tuple(map(change, views)) for views in (self.train, self.test))
        return replace(self, train=train, test=test)


def shrunk(camera: Camera, downscale: float = 1, max_side: int | None = None) -> Camera:
    """The camera at 1/downscale of its size, and its longer side at most `max_side` pixels.

    Sizes are rounded; the intrinsics follow the rounded size.
    """
    longest = max(camera.width, camera.height)
    factor = max(1.0, downscale, longest / max_side if max_side else 1.0)
    width, height = (max(1, round(side / factor)) for side in (camera.width, camera.height))
    return camera.resized(width, height)


def standing_alike(cameras: Sequence[Camera]) -> list[int]:
    """For each camera the number of the first that stands and projects as it does: views of one
    physical camera that does not move."""
    first: dict[bytes, int] = {}
    found = []
    for index, camera in enumerate(cameras):
        parts = [camera.array("world_to_camera").ravel(), camera.array("K").ravel()]
        values = np.concatenate([*parts, [camera.width, camera.height]]).astype(np.float32)
        found.append(first.setdefault(values.tobytes(), index))
    return found
