"""Photographs as cameras write them: orientation, EXIF, HEIC. One is in memory at a time."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from splat.photos.exif import EXIF, HEIF, facts, open_picture
from splat.prep.quality import SIDE, Grey
from splat.system.files import replacing

AS_IS = (".jpg", ".jpeg", ".png")
"""Suffixes that both COLMAP and the training read; files of others are converted."""
_ORIENTATION, _MAKER_NOTE = 0x0112, 0x927C
_SWAPS = (5, 6, 7, 8)


@dataclass(frozen=True)
class Photo:
    """A photo of the scene with its EXIF data; None where that says nothing."""

    name: str
    """Path below `images/`."""
    source: str
    """Path below the folder it came from; of a frame, the name of the video."""
    width: int
    height: int
    sharpness: float = 0.0
    """Variance of the Laplacian (`splat.prep.quality.sharpness`)."""
    turned: bool = False
    """Whether EXIF's orientation was applied to the pixels."""
    camera: str = ""
    """Make and model of the camera."""
    focal_35mm: float | None = None
    """Focal length as of 35 mm film, millimetres."""
    focal: float | None = None
    """Focal length, pixels."""
    latitude: float | None = None
    """Latitude, degrees north."""
    longitude: float | None = None
    """Longitude, degrees east."""
    altitude: float | None = None
    """Altitude, metres above the sea."""
    exposure_time: float | None = None
    """Exposure time, seconds."""
    f_number: float | None = None
    iso: float | None = None
    ev: float | None = None
    """Exposure value at ISO 100, log2(f-number^2 / time) - log2(ISO / 100): high by daylight."""
    taken: str | None = None
    """Date and time as EXIF has them."""
    time: float | None = None
    """Time of a frame, seconds from the start of the video."""


def import_photo(source: Path, target: Path) -> tuple[Photo, Grey]:
    """Put a photo at `target`, upright and readable; its record, and a grey copy.

    A file that is upright is linked, or copied where the disk cannot link; others are written
    anew without the orientation, a JPEG of quality 95 and full colour resolution unless the
    target is a PNG. `name` and `source` of the result are left to the caller. Raises Broken.
    """
    with open_picture(source) as image:
        exif = image.getexif()
        turn = exif.get(_ORIENTATION, 1)
        # A HEIC is turned as it is decoded.
        turned = turn in range(2, 9) and source.suffix.lower() not in HEIF
        width, height = image.size
        if turned and turn in _SWAPS:
            width, height = height, width
        camera_facts = facts(exif, width, height)
        if turned or must_convert(source, image):
            grey = _written(image, target)
        else:
            # A JPEG is decoded at half its size or less, where that is enough.
            image.draft("L", (SIDE, SIDE))
            image.load()
            grey = _grey(image)
            link_or_copy(source, target)
        return Photo("", "", width, height, turned=turned, **camera_facts), grey


def must_convert(source: Path, image: Image.Image) -> bool:
    """Whether the file of a photo must be converted."""
    plain = image.mode in ("L", "RGB", "RGBA", "LA", "I;16")
    return source.suffix.lower() not in AS_IS or image.format not in ("JPEG", "PNG") or not plain


def suffix_for(source: Path) -> str:
    """Suffix of the file in the scene: a lossless picture stays lossless."""
    ending = source.suffix.lower()
    if ending in AS_IS:
        return source.suffix
    return ".png" if ending in (".tif", ".tiff", ".bmp") else ".jpg"


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where there can be none."""
    source = source.resolve()
    if target.is_file() and target.samefile(source):
        return
    with replacing(target) as draft:
        try:
            os.link(source, draft)
        except OSError:
            shutil.copyfile(source, draft)


def _written(image: Image.Image, target: Path) -> Grey:
    """Write the picture upright and without EXIF orientation; a grey copy."""
    exif, profile = image.getexif(), image.info.get("icc_profile")
    upright = ImageOps.exif_transpose(image)
    exif.pop(_ORIENTATION, None)
    exif.get_ifd(EXIF).pop(_MAKER_NOTE, None)  # it may be larger than a JPEG's header can be
    lossless = target.suffix.lower() == ".png"
    if upright.mode.startswith("I"):
        upright = Image.fromarray(_levels(upright))
    if upright.mode not in (("L", "RGB", "RGBA") if lossless else ("L", "RGB")):
        alpha = lossless and (upright.mode in ("LA", "PA") or "transparency" in upright.info)
        upright = upright.convert("RGBA" if alpha else "RGB")
    keep: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": profile}
    keep |= {} if lossless else {"quality": 95, "subsampling": 0}
    kind = "PNG" if lossless else "JPEG"
    with replacing(target) as draft:
        try:
            upright.save(draft, kind, **keep)
        except ValueError:  # EXIF beyond the 64 KB of a JPEG's header
            upright.save(draft, kind, **{**keep, "exif": b""})
    return _grey(upright)


def _grey(image: Image.Image) -> Grey:
    if image.mode.startswith("I"):
        return _levels(image)
    return np.asarray(image.convert("L"), np.uint8)


def _levels(image: Image.Image) -> Grey:
    """A picture of 16 bits reduced to 8."""
    values = np.asarray(image).astype(np.int64)
    return np.asarray(np.clip(values >> 8, 0, 255), np.uint8)
