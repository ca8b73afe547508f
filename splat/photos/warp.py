"""Photographs as the pinhole cameras of their views: lenses undone, views cut out of panoramas."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from numpy import ndarray

from splat.photos.lens import directed, distort, reach
from splat.types import Camera, Cut, Lens, View

_STRIP = 32
"""Rows of a map that are made at once."""


def as_pinhole(
    pixels: UInt8[ndarray, "h w 3"], mask: UInt8[ndarray, "h w"] | None, view: View
) -> tuple[UInt8[ndarray, "y x 3"], UInt8[ndarray, "y x"] | None]:
    """Photo and mask as the view's pinhole camera would have them, at its full size."""
    if view.cut is not None:
        map_x, map_y, inside = _cut_map(view.cut, *_intrinsics(view.camera))
        if view.cut.lens is None:
            pixels, mask = _closed(pixels), None if mask is None else _closed(mask)
    elif view.lens is not None:
        map_x, map_y, inside = undistortion(view.lens, view.camera)
    else:
        return pixels, mask
    pixels = _sampled(pixels, map_x, map_y)
    if mask is None:
        return pixels, inside
    return pixels, np.asarray(np.minimum(_sampled(mask, map_x, map_y), inside))


def undistortion(
    lens: Lens, camera: Camera
) -> tuple[Float32[ndarray, "h w"], Float32[ndarray, "h w"], UInt8[ndarray, "h w"]]:
    """Undistortion maps: for each pixel of a pinhole camera its column and row in the photo (0 is
    the centre of the first), and 255 if it is in the photo at all."""
    return _map(lens, *_intrinsics(camera))


def _intrinsics(camera: Camera) -> tuple[tuple[float, float, float, float], int, int]:
    K = camera.K.double()
    numbers = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    return numbers, camera.width, camera.height


def _sampled(image: Any, map_x: Any, map_y: Any) -> Any:
    return cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _closed(image: Any) -> Any:
    """A panorama with a column of its other side at each side, where it goes on."""
    return np.concatenate([image[:, -1:], image, image[:, :1]], 1)


@lru_cache(maxsize=4)
def _map(
    lens: Lens, intrinsics: tuple[float, float, float, float], width: int, height: int
) -> tuple[Float32[ndarray, "h w"], Float32[ndarray, "h w"], UInt8[ndarray, "h w"]]:
    """For each pixel of the pinhole picture: where in the photo it is, and 255 if in it at all.

    The pinhole keeps the photo's size, focal lengths and principal point: the middle of the
    picture keeps its resolution, and what the photo never saw is masked out.
    Kept for four: most scenes have one lens, and photos, depth and normals each a size. A map is
    made of 9 bytes a pixel.
    """
    fx, fy, cx, cy = intrinsics
    far = np.hypot(max(cx, width - cx) / fx, max(cy, height - cy) / fy)
    limit = reach(lens, float(far)) ** 2
    x = (np.arange(width) + 0.5 - cx) / fx
    map_x, map_y = np.empty((2, height, width), np.float32)
    inside = np.empty((height, width), np.uint8)
    for top in range(0, height, _STRIP):
        rows = slice(top, min(top + _STRIP, height))
        y = (np.arange(rows.start, rows.stop) + 0.5 - cy) / fy
        x_grid, y_grid = np.broadcast_arrays(x[None], y[:, None])
        with np.errstate(all="ignore"):
            u, v = distort(lens, x_grid, y_grid)
            u, v = fx * u + cx, fy * v + cy
            good = (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
        good &= x_grid**2 + y_grid**2 <= limit
        # OpenCV counts from the centre of the first pixel.
        map_x[rows], map_y[rows] = np.where(good, u - 0.5, -1), np.where(good, v - 0.5, -1)
        inside[rows] = black_or_white(good)
    return map_x, map_y, inside


@lru_cache(maxsize=8)
def _cut_map(
    cut: Cut, intrinsics: tuple[float, float, float, float], width: int, height: int
) -> tuple[Float32[ndarray, "h w"], Float32[ndarray, "h w"], UInt8[ndarray, "h w"]]:
    """As `_map`, of a view that was cut out of a photo; kept for the views of one photo.

    Columns of a panorama are those of what `_closed` makes of it.
    """
    fx, fy, cx, cy = intrinsics
    rotation = np.array(cut.rotation).reshape(3, 3)
    x = (np.arange(width) + 0.5 - cx) / fx
    map_x, map_y = np.empty((2, height, width), np.float32)
    inside = np.empty((height, width), np.uint8)
    for top in range(0, height, _STRIP):
        rows = slice(top, min(top + _STRIP, height))
        y = (np.arange(rows.start, rows.stop) + 0.5 - cy) / fy
        u, v, good = _in_photo(cut, rotation @ _rays(x, y))
        map_x[rows] = np.where(good, u - 0.5, -1).reshape(-1, width)
        if cut.lens is None:
            map_x[rows] += 1  # the column that `_closed` adds
        map_y[rows] = np.where(good, v - 0.5, -1).reshape(-1, width)
        inside[rows] = black_or_white(good).reshape(-1, width)
    return map_x, map_y, inside


def _rays(x: Float64[ndarray, "w"], y: Float64[ndarray, "h"]) -> Float64[ndarray, "3 n"]:
    x_grid, y_grid = np.broadcast_arrays(x[None], y[:, None])
    return np.stack([x_grid.ravel(), y_grid.ravel(), np.ones(x_grid.size)])


def _in_photo(
    cut: Cut, rays: Float64[ndarray, "3 n"]
) -> tuple[Float64[ndarray, "n"], Float64[ndarray, "n"], Bool[ndarray, "n"]]:
    """Column and row of the photo that directions are at, and which of them it shows."""
    x, y, z = rays
    (fx, fy), (cx, cy), (width, height) = cut.focal, cut.principal, cut.size
    across = np.hypot(x, z)
    if cut.lens is None:
        u, v = cx + fx * np.arctan2(x, z), cy + fy * np.arctan2(y, across)
        return u, v, (v >= 0) & (v <= height)
    with np.errstate(all="ignore"):
        a, b = directed(cut.lens, x, y, z)
        u, v = cx + fx * a, cy + fy * b
        good = (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
    return u, v, good & (np.arctan2(np.hypot(x, y), z) <= cut.limit)


def black_or_white(white: Bool[ndarray, "..."]) -> UInt8[ndarray, "..."]:
    """255 where `white` is True, else 0."""
    return np.asarray(np.where(white, 255, 0), np.uint8)
