"""Photographs as cameras write them: orientation, EXIF, HEIC. One is in memory at a time."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from splat.prep.quality import SIDE, Grey
from splat.prep.suffixes import HEIF
from splat.system.files import replacing

AS_IS = (".jpg", ".jpeg", ".png")
"""What both COLMAP and the training read as it is; the rest is written anew."""
DIAGONAL = math.hypot(36, 24)
"""Of a frame of 35 mm film, millimetres."""
_ORIENTATION, _EXIF, _GPS, _MAKER_NOTE = 0x0112, 0x8769, 0x8825, 0x927C
_SWAPS = (5, 6, 7, 8)


@dataclass(frozen=True)
class Photo:
    """A photo of the scene, and what its camera says of it; None where it says nothing."""

    name: str
    """Below `images/`."""
    source: str
    """Below the folder it came from; of a frame, the name of the video."""
    width: int
    height: int
    sharpness: float = 0.0
    """See `splat.prep.quality`."""
    turned: bool = False
    """Whether EXIF's orientation was applied to the pixels."""
    camera: str = ""
    """Make and model."""
    focal_35mm: float | None = None
    """Focal length as of 35 mm film, millimetres."""
    focal: float | None = None
    """Focal length, pixels."""
    latitude: float | None = None
    """Degrees, north."""
    longitude: float | None = None
    """Degrees, east."""
    altitude: float | None = None
    """Metres above the sea."""
    exposure_time: float | None = None
    """Seconds."""
    f_number: float | None = None
    iso: float | None = None
    ev: float | None = None
    """Exposure value at ISO 100, log2(f-number^2 / time) - log2(ISO / 100): high by daylight."""
    taken: str | None = None
    """Date and time as EXIF has them."""
    time: float | None = None
    """Of a frame, seconds from the start of the video."""


class Unreadable(ValueError):
    """A picture that cannot be decoded whole."""


def taken_in(source: Path, target: Path) -> tuple[Photo, Grey]:
    """Put a photo at `target`, upright and readable, and say what it is; with a grey copy.

    A file that is upright is linked, or copied where the disk cannot link; others are written
    anew without the orientation, a JPEG of quality 95 and full colour resolution unless the
    target is a PNG. `name` and `source` of the result are left to the caller. Raises Unreadable.
    """
    with _opened(source) as image:
        exif = image.getexif()
        turn = exif.get(_ORIENTATION, 1)
        # A HEIC is turned as it is decoded.
        turned = turn in range(2, 9) and source.suffix.lower() not in HEIF
        width, height = image.size
        if turned and turn in _SWAPS:
            width, height = height, width
        facts = _facts(exif, width, height)
        if turned or must_convert(source, image):
            grey = _written(image, target)
        else:
            # A JPEG is decoded at half its size or less, where that is enough.
            image.draft("L", (SIDE, SIDE))
            image.load()
            grey = _grey(image)
            linked(source, target)
        return Photo("", "", width, height, turned=turned, **facts), grey


def exposure_value(path: Path) -> float | None:
    """What EXIF says a photo was exposed for, stops at ISO 100; None where it does not say."""
    try:
        with _opened(path) as image:
            found: float | None = _facts(image.getexif(), *image.size)["ev"]
    except (OSError, ValueError):
        return None
    return found


def must_convert(source: Path, image: Image.Image) -> bool:
    """Whether a photo cannot stay the file it is."""
    plain = image.mode in ("L", "RGB", "RGBA", "LA", "I;16")
    return source.suffix.lower() not in AS_IS or image.format not in ("JPEG", "PNG") or not plain


def suffix_for(source: Path) -> str:
    """Of the file in the scene: a lossless picture stays one."""
    ending = source.suffix.lower()
    if ending in AS_IS:
        return source.suffix
    return ".png" if ending in (".tif", ".tiff", ".bmp") else ".jpg"


def linked(source: Path, target: Path) -> None:
    """A hard link, or a copy where there can be none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        with replacing(target) as draft:
            shutil.copyfile(source, draft)


@contextmanager
def _opened(source: Path) -> Iterator[Image.Image]:
    """The file, its errors in a sentence; pictures of any size are let through."""
    if source.suffix.lower() in HEIF:
        _register_heif(source)
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(source) as image:
            yield image
    except UnidentifiedImageError:
        raise Unreadable("is no picture that can be read") from None
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Unreadable(f"cannot be decoded ({' '.join(str(error).split())})") from None
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _register_heif(source: Path) -> None:
    try:
        import pillow_heif
    except ImportError:
        raise Unreadable(
            "is a HEIC photo, which needs pillow-heif: pip install 'splat-toolkit[prep]'"
        ) from None
    pillow_heif.register_heif_opener()


def _written(image: Image.Image, target: Path) -> Grey:
    """Write the picture upright and without its orientation; a grey copy."""
    exif, profile = image.getexif(), image.info.get("icc_profile")
    upright = ImageOps.exif_transpose(image)
    exif.pop(_ORIENTATION, None)
    exif.get_ifd(_EXIF).pop(_MAKER_NOTE, None)  # it may be larger than a JPEG's header can be
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
    """16 bits as 8."""
    values = np.asarray(image).astype(np.int64)
    return np.asarray(np.clip(values >> 8, 0, 255), np.uint8)


def _facts(exif: Image.Exif, width: int, height: int) -> dict[str, Any]:
    """What EXIF says, as fields of `Photo`."""
    more, place = exif.get_ifd(_EXIF), exif.get_ifd(_GPS)
    maker = " ".join(str(exif.get(tag, "")).strip("\0 ") for tag in (0x010F, 0x0110)).strip()
    wide = _number(more.get(0xA405))
    diagonal = math.hypot(width, height)
    focal = None if wide is None else wide / DIAGONAL * diagonal
    if focal is None and (focal := _focal_on_chip(more, max(width, height))):
        wide = focal / diagonal * DIAGONAL
    time, f_number, iso = (_number(more.get(tag)) for tag in (0x829A, 0x829D, 0x8827))
    ev = None
    if time and f_number and iso:
        ev = math.log2(f_number**2 / time) - math.log2(iso / 100)
    return {
        "camera": maker,
        "focal_35mm": wide,
        "focal": focal,
        **_where(place),
        "exposure_time": time,
        "f_number": f_number,
        "iso": iso,
        "ev": ev,
        "taken": str(more.get(0x9003, "")).strip("\0 ") or None,
    }


def _focal_on_chip(more: dict[int, Any], longest: int) -> float | None:
    """Pixels, from millimetres and the pixels per millimetre of the sensor."""
    focal, density = _number(more.get(0x920A)), _number(more.get(0xA20E))
    unit = {2: 25.4, 3: 10.0, 4: 1.0}.get(more.get(0xA210, 2))
    stored = max(_number(more.get(tag)) or 0.0 for tag in (0xA002, 0xA003))
    if not focal or not density or unit is None or not stored:
        return None
    found = focal * density / unit * longest / stored
    return found if 0.3 * longest < found < 20 * longest else None


def _where(place: dict[int, Any]) -> dict[str, float | None]:
    latitude = _degrees(place.get(2), place.get(1), 90)
    longitude = _degrees(place.get(4), place.get(3), 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return {"latitude": None, "longitude": None, "altitude": None}
    altitude = None
    with suppress(TypeError, ValueError, ZeroDivisionError):
        below = place.get(5, 0) in (1, b"\x01")
        altitude = float(place[6]) * (-1 if below else 1) if 6 in place else None
    return {"latitude": latitude, "longitude": longitude, "altitude": altitude}


def _degrees(values: Any, sign: Any, most: float) -> float | None:
    try:
        degrees, minutes, seconds = (float(value) for value in values)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    found = degrees + minutes / 60 + seconds / 3600
    if not 0 <= found <= most:
        return None
    return -found if str(sign).strip("\0 ").upper() in ("S", "W") else found


def _number(value: Any) -> float | None:
    """A positive finite number, or None."""
    if isinstance(value, tuple | list):
        value = value[0] if value else None
    try:
        found = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return found if 0 < found < math.inf else None
