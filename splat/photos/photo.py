"""Photographs as pixels: decoded, laid over a background, undistorted, shrunk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from splat.photos import pictures
from splat.photos.bulk import reduction
from splat.photos.modes import MaskMode
from splat.photos.warp import as_pinhole, black_or_white
from splat.types import View

_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}


def photograph(
    view: View,
    width: int,
    height: int,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
    masks: MaskMode = "auto",
    *,
    reduced: bool = False,
) -> tuple[UInt8[ndarray, "h w 3"], UInt8[ndarray, "h w"] | None]:
    """The photo of `view` as its pinhole camera would take it, area-averaged to width x height.

    RGB, and 1 where a pixel counts (None: all do). A pixel counts only where all of the photo
    below it counts, so nothing that is masked out bleeds into what is learnt. `reduced`: a JPEG is
    decoded at a half, a quarter or an eighth of its size where that is enough (`reduction`).
    """
    stored, view = _stored(view, reduction(view, width, height) if reduced else 1)
    _check_size(stored, view)
    pixels, alpha = _bgr_alpha(stored, view.image)
    mask = None if view.mask is None else _mask(view)
    if masks == "ignore" and alpha is not None:
        mask, alpha = _least(mask, black_or_white(alpha >= 128)), None
    if masks == "transparent" and mask is not None:
        mask, alpha = None, _least(mask, alpha)
    if alpha is not None:
        pixels = _over(pixels, alpha, background[::-1])
    pixels, mask = as_pinhole(pixels, mask, view)
    if (width, height) != (view.camera.width, view.camera.height):
        size = (width, height)
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        mask = None if mask is None else cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    counts = None if mask is None or mask.min() == 255 else (mask == 255).astype(np.uint8)
    # Turned round once it is small: a copy of all of a large photo is spared.
    return np.ascontiguousarray(pixels[:, :, ::-1]), counts


def _stored(view: View, factor: int) -> tuple[Shaped[ndarray, "..."], View]:
    """The pixels of a photo, so many times smaller if it is a JPEG, and its view at that size."""
    image, camera = _decoded(view.image, factor), view.camera
    if factor == 1 or image.shape[:2] == (camera.height, camera.width):
        return image, view
    small = camera.resized(camera.width // factor, camera.height // factor)
    if image.shape[:2] == (small.height, small.width):
        return image, replace(view, camera=small)
    return _decoded(view.image), view  # of a size that is not the camera's, which is said of it


def outline(view: View, width: int, height: int) -> UInt8[ndarray, "h w"] | None:
    """How much of each pixel of `photograph` is of the object, 255 all of it.

    By the photo's alpha channel and mask; None where it has neither.
    """
    stored = _decoded(view.image)
    _check_size(stored, view)
    pixels, alpha = _bgr_alpha(stored, view.image)
    covered = _least(None if view.mask is None else _mask(view), alpha)
    if covered is None:
        return None
    covered = as_pinhole(pixels, covered, view)[1]
    assert covered is not None
    if (width, height) != (view.camera.width, view.camera.height):
        covered = np.asarray(
            cv2.resize(covered, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    return np.ascontiguousarray(covered)


def averaged(
    pixels: UInt8[ndarray, "h w 3"], counts: UInt8[ndarray, "h w"] | None, width: int, height: int
) -> tuple[UInt8[ndarray, "y x 3"], UInt8[ndarray, "y x"] | None]:
    """A smaller picture of what `photograph` made, with the same rule for pixels that count."""
    size = (width, height)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if counts is None:
        return np.asarray(small, np.uint8), None
    whole = cv2.resize(counts * np.uint8(255), size, interpolation=cv2.INTER_AREA) == 255
    return np.asarray(small, np.uint8), whole.astype(np.uint8)


def _decoded(path: Path, factor: int = 1) -> Shaped[ndarray, "..."]:
    """The file's own pixels in OpenCV's channel order; turned as stored, not as EXIF asks.

    A JPEG is `factor` times smaller, along a side, rounded up.

    COLMAP and those who write transforms.json pose the stored pixels, and OpenCV's "unchanged"
    leaves them as they are.
    """
    small = _REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION if factor > 1 else None
    image = pictures.read(path, of_jpeg=small)
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"{path}: pixels are {image.dtype}; expected 8 or 16 bits a channel: convert it"
        )
    return image


def _eight_bits(image: Shaped[ndarray, "..."]) -> UInt8[ndarray, "..."]:
    if image.dtype == np.uint8:
        return image
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _bgr_alpha(
    image: Shaped[ndarray, "..."], path: Path
) -> tuple[UInt8[ndarray, "h w 3"], UInt8[ndarray, "h w"] | None]:
    """Colours in OpenCV's order, and the alpha channel where there is one."""
    image = _eight_bits(image)
    if image.ndim == 2:
        image = image[:, :, None]
    channels = image.shape[2]
    if channels not in (1, 3, 4):
        raise ValueError(f"{path}: has {channels} channels; expected grey, RGB or RGBA: convert it")
    bgr = np.repeat(image, 3, 2) if channels == 1 else image[:, :, :3]
    alpha = image[:, :, 3] if channels == 4 else None
    return np.ascontiguousarray(bgr), alpha


def _check_size(image: Shaped[ndarray, "h w *c"], view: View) -> None:
    height, width = image.shape[:2]
    expected = _stored_size(view)
    if (width, height) != expected:
        raise ValueError(
            f"{view.image}: is {width}x{height} pixels, its camera {expected[0]}x{expected[1]}; "
            "expected the file that was there when the scene was read: load the scene again"
        )


def _stored_size(view: View) -> tuple[int, int]:
    """Width and height of the photo that the view is of, or was cut out of."""
    return (view.camera.width, view.camera.height) if view.cut is None else view.cut.size


def _mask(view: View) -> UInt8[ndarray, "h w"]:
    """255 where the mask is not zero in any channel (and in alpha, where it has one)."""
    assert view.mask is not None
    image = _decoded(view.mask)
    height, width = image.shape[:2]
    expected = _stored_size(view)
    if (width, height) != expected:
        raise ValueError(
            f"{view.mask}: is {width}x{height} pixels, its photo "
            f"{expected[0]}x{expected[1]}; expected the same size: export it again"
        )
    image = image[:, :, None] if image.ndim == 2 else image
    counts = (image[:, :, :3] != 0).any(2)
    if image.shape[2] == 4:
        counts &= image[:, :, 3] != 0
    return black_or_white(counts)


def _least(
    a: Shaped[ndarray, "h w"] | None, b: Shaped[ndarray, "h w"] | None
) -> UInt8[ndarray, "h w"] | None:
    if a is None or b is None:
        return b if a is None else a
    return np.asarray(np.minimum(a, b), np.uint8)


def _over(
    pixels: UInt8[ndarray, "h w 3"],
    alpha: UInt8[ndarray, "h w"],
    background: tuple[float, float, float],
) -> UInt8[ndarray, "h w 3"]:
    """Straight (not premultiplied) colours, laid over the background."""
    weight = alpha[:, :, None].astype(np.float32) / 255
    behind = 255 * np.asarray(background, np.float32)
    over: UInt8[ndarray, "h w 3"] = np.rint(pixels * weight + behind * (1 - weight)).astype(
        np.uint8
    )
    return over
