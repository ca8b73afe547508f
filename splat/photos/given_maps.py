"""Depth and normals that were given with photographs, as arrays: decoded, undistorted, resized."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, Shaped
from numpy import ndarray

from splat.photos import exr, pictures
from splat.photos.warp import undistortion
from splat.system import foreign
from splat.system.foreign import Broken
from splat.types import Camera, DepthFile, NormalFile, View

_DEPTH_NAMES = ("Z", "V", "Depth.Z", "depth.Z", "Depth.V", "Y", "R")
"""Channels of an OpenEXR file that are taken for depth, the first that is there."""
_KNOWN = 0.5
"""Share of a pixel's area that must be known for the pixel to be known."""
_AWAY = 0.8
"""Share of normals facing away from the camera above which their axes are taken to be wrong."""


def given_depth(
    view: View, width: int, height: int, scale: float = 1.0
) -> Float32[ndarray, "h w"] | None:
    """The given depth of a photo, as its pinhole camera sees it, at width x height.

    0 where it is not known. Metric depth is in world units of the input times `scale`; others are
    the numbers of the file. None where there is none.
    """
    if view.depth is None:
        return None
    depth = _depth(view.depth)
    _check_shape(view.depth.path, depth, view)
    if view.depth.kind == "metric":
        depth *= np.float32(view.depth.scale * scale)
        depth[depth < 0] = 0
    depth = _undistorted(depth, view)
    return resized_depth(depth, width, height)


def given_normal(view: View, width: int, height: int) -> Float32[ndarray, "h w 3"] | None:
    """The given normals of a photo, world axes and unit length, at width x height.

    0 where they are not known; None where there are none.
    """
    if view.normal is None:
        return None
    normals = _normal(view.normal)
    _check_shape(view.normal.path, normals, view)
    normals = _undistorted(normals, view)
    rotation = view.camera.world_to_camera[:3, :3].double().numpy().astype(np.float32)
    if view.normal.frame == "opengl":
        normals[..., 1:] *= -1
    if view.normal.frame != "world":
        _check_facing(normals, view)
        normals = normals @ rotation  # the transpose of it, of column vectors
    return resized_normal(normals, width, height)


def resized_depth(
    depth: Float32[ndarray, "h w"], width: int, height: int
) -> Float32[ndarray, "y x"]:
    """Depth at another size: the mean of known values, where half of a pixel is known."""
    if depth.shape == (height, width):
        return depth
    known = (depth != 0).astype(np.float32)
    share = _resampled(known, width, height)
    mean = _resampled(depth, width, height) / np.maximum(share, 1e-6)
    return np.where(share >= _KNOWN, mean, 0).astype(np.float32)


def resized_normal(
    normal: Float32[ndarray, "h w 3"], width: int, height: int
) -> Float32[ndarray, "y x 3"]:
    """Normals at another size, of unit length again, where half of a pixel is known."""
    if normal.shape[:2] == (height, width):
        return normal
    share = _resampled((normal != 0).any(2).astype(np.float32), width, height)
    return _unit(_resampled(normal, width, height) * (share >= _KNOWN)[..., None])


def _resampled(values: Any, width: int, height: int) -> Any:
    smaller = width <= values.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(values, (width, height), interpolation=method)


def _unit(normals: Float32[ndarray, "h w 3"]) -> Float32[ndarray, "h w 3"]:
    """Normals of unit length, 0 where they are (nearly) 0 or not finite."""
    normals = np.nan_to_num(normals, nan=0.0, posinf=0.0, neginf=0.0)
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    return np.where(length > 1e-3, normals / np.maximum(length, 1e-3), 0).astype(np.float32)


def _depth(file: DepthFile) -> Float32[ndarray, "h w"]:
    """The numbers of a file, 0 where unknown."""
    suffix, path = file.path.suffix, file.path
    if suffix == ".exr":
        channels = exr.read(path)
        name = next((n for n in _DEPTH_NAMES if n in channels), None)
        if name is None:
            raise ValueError(
                f"{path}: has channels {', '.join(channels)}; expected one of depth, called"
                f" {', '.join(_DEPTH_NAMES[:2])}: export depth alone"
            )
        depth = channels[name].copy()
    elif suffix == ".png":
        depth = _sixteen_bits(path).astype(np.float32)
    else:
        depth = _numbers(path).astype(np.float32)
    depth = depth.reshape([side for side in depth.shape if side != 1])
    if depth.ndim != 2:
        raise ValueError(
            f"{path}: is of shape {depth.shape}; expected rows and columns of one number a pixel"
        )
    # Renderers write 1e10 and such, or NaN, where there is nothing.
    depth[~((depth <= 1e9) & (depth >= -1e9))] = 0
    return np.ascontiguousarray(depth)


def _sixteen_bits(path: Path) -> Shaped[ndarray, "h w"]:
    image = pictures.read(path)
    if image.dtype != np.uint16 or image.ndim != 2:
        channels = 1 if image.ndim == 2 else image.shape[2]
        raise ValueError(
            f"{path}: has {8 * image.dtype.itemsize} bits and {channels} channels a pixel; expected"
            " depth of 16 bits and one channel: 8 bits are too coarse, export it anew or give .npy"
        )
    return image


def _normal(file: NormalFile) -> Float32[ndarray, "h w 3"]:
    path = file.path
    if path.suffix == ".png":
        image = pictures.read(path)
        if image.ndim != 3 or image.shape[2] not in (3, 4):
            raise ValueError(
                f"{path}: is grey; expected normals as RGB, 0 to the most for -1 to 1: export anew"
            )
        most = np.iinfo(image.dtype).max
        normals = image[..., 2::-1].astype(np.float32) * np.float32(2 / most) - 1
        normals[(image[..., :3] == 0).all(2)] = 0
        if image.shape[2] == 4:
            normals[image[..., 3] == 0] = 0
    else:
        normals = _numbers(path).astype(np.float32)
        if normals.ndim == 4 and normals.shape[0] == 1:
            normals = normals[0]
        if normals.ndim == 3 and normals.shape[2] != 3 and normals.shape[0] == 3:
            normals = normals.transpose(1, 2, 0)
    if normals.ndim != 3 or normals.shape[2] != 3:
        raise ValueError(
            f"{path}: is of shape {normals.shape}; expected rows, columns and three numbers a pixel"
        )
    return _unit(np.ascontiguousarray(normals))


def _numbers(path: Path) -> Shaped[ndarray, "..."]:
    """The array of a .npy file, or the only one (or `depth`, `normal`) of an .npz."""
    with foreign.reading(path, "a whole NumPy array: write it again"):
        if path.suffix == ".npz":
            numbers = _only_one(path)
        else:
            size = foreign.file_size(path)
            with open(path, "rb") as file:
                numbers = foreign.array(file, size)
        if numbers.dtype.kind != "f" and numbers.dtype != np.uint16:
            raise Broken(
                f"numbers are {numbers.dtype}; expected float16, float32, float64 or uint16:"
                " convert them"
            )
        return numbers


def _only_one(path: Path) -> Shaped[ndarray, "..."]:
    size = foreign.file_size(path)
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        usual = [name for name in ("depth", "normal", "normals") if name in names] or names
        if len(usual) != 1:
            raise Broken(
                f"holds {', '.join(names) or 'nothing'}; expected one array, or one called depth"
                " or normal"
            )
        name = next(each for each in archive.namelist() if each.removesuffix(".npy") == usual[0])
        with foreign.member(archive, name, foreign.allowance(size)) as (file, length):
            return foreign.array(file, length)


def _check_shape(path: Path, values: Shaped[ndarray, "h w *c"], view: View) -> None:
    """Raise ValueError where a map's aspect ratio is not that of its photo."""
    (height, width), camera = values.shape[:2], view.camera
    if abs(width * camera.height - height * camera.width) > max(camera.width, camera.height):
        raise ValueError(
            f"{path}: is {width}x{height} pixels, its photo {camera.width}x{camera.height};"
            " expected the same shape, at any size: make it from the whole photo, as it is stored"
        )


def _check_facing(normals: Float32[ndarray, "h w 3"], view: View) -> None:
    """Raise ValueError where most normals face away from the camera: their axes are others."""
    assert view.normal is not None
    camera = _of_size(view.camera, normals)
    away = (normals * _rays(camera)).sum(2)
    known = (normals != 0).any(2)
    if known.any() and (away[known] > 0).mean() > _AWAY:
        raise ValueError(
            f"{view.normal.path}: normals face away from the camera; expected +x right, +y down, +z"
            ' forward: put {"frame": "opengl"} (+y up, +z to the camera) or {"frame": "world"} in'
            " normals.json beside it, or turn them"
        )


def _rays(camera: Camera) -> Float32[ndarray, "h w 3"]:
    """Directions of pixel centres with z = 1."""
    K = camera.K.double().numpy()
    x = (np.arange(camera.width) + 0.5 - K[0, 2]) / K[0, 0]
    y = (np.arange(camera.height) + 0.5 - K[1, 2]) / K[1, 1]
    across, down = np.broadcast_arrays(x[None], y[:, None])
    return np.stack([across, down, np.ones_like(across)], 2).astype(np.float32)


def _of_size(camera: Camera, values: Shaped[ndarray, "h w *c"]) -> Camera:
    height, width = values.shape[:2]
    return camera.resized(width, height)


def _undistorted(values: Any, view: View) -> Any:
    """A map as the pinhole camera sees it, at its own size; 0 where the photo saw nothing."""
    if view.lens is None:
        return values
    map_x, map_y, inside = undistortion(view.lens, _of_size(view.camera, values))
    # The nearest value, for a mean of two depths is the depth of nothing.
    undistorted = cv2.remap(
        values, map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    undistorted[inside == 0] = 0
    return undistorted
