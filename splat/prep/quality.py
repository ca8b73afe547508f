"""Sharpness of pictures and near-duplicates, judged on small grey copies."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]

SIDE = 1024
"""Longest side of the copy that sharpness is measured on, pixels."""
THUMBNAIL = (64, 48)
"""Width and height of the copy that pictures are compared by."""
ALIKE = 0.01
"""Mean difference of two thumbnails, in standard deviations of their contrast, below which they are
the same. Photos saved again as JPEG of quality 40 are at 0.005 to 0.008, and photos shifted by a
thousandth of their width above 0.014."""
STILL = 0.03
"""As `ALIKE`, of two frames of a video: compression changes them, and a camera that moved by a
five-hundredth of the width shows nothing new."""
BLURRY = 0.2
"""Share of the median sharpness below which a photo is blurry."""


def shrunk_copy(grey: Grey, side: int = SIDE) -> Grey:
    """The picture shrunk to at most `side` pixels."""
    factor = side / max(grey.shape)
    if factor >= 1:
        return grey
    width, height = (max(1, round(factor * n)) for n in grey.shape[::-1])
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def sharpness(grey: Grey) -> float:
    """Variance of the Laplacian of a copy at most `SIDE` large, grey levels squared."""
    return float(cv2.Laplacian(shrunk_copy(grey), cv2.CV_32F).var())


def thumbnail(grey: Grey) -> Grey:
    """The picture at the size of `THUMBNAIL`, whatever its shape."""
    return np.asarray(cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)


def same(one: Grey, others: Sequence[Grey], limit: float = ALIKE) -> int | None:
    """Index of the first of the thumbnails `others` that is the same as `one`, or None."""
    if not others:
        return None
    stack = np.stack(others).reshape(len(others), -1).astype(np.int16)
    row = one.reshape(-1).astype(np.int16)
    contrast = max(float(row.std()), 2.0)  # below 2 levels there is noise only
    near = np.abs(stack - row).mean(1) < limit * contrast
    return int(np.argmax(near)) if near.any() else None


def blurry(values: Sequence[float]) -> list[bool]:
    """Which values of sharpness are far below the median."""
    limit = BLURRY * float(np.median(values)) if len(values) else 0.0
    return [value < limit for value in values]
