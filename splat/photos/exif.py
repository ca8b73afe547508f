"""EXIF: what cameras write beside the pixels, of pictures of any kind, HEIC too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from splat.photos import pictures
from splat.system.foreign import Broken

HEIF = (".heic", ".heif")
DIAGONAL = math.hypot(36, 24)
"""Diagonal of a frame of 35 mm film, millimetres."""
_LONGEST = 100
"""Characters of a text that are kept."""
_LARGEST = 1e9
"""Numbers that cameras write are smaller, and larger than one over it."""
EXIF, _GPS = 0x8769, 0x8825


def exposure_value(path: Path) -> float | None:
    """Exposure value of a photo by its EXIF, stops at ISO 100; None where it does not say."""
    try:
        with open_picture(path) as image:
            stops: float | None = facts(image.getexif(), *image.size)["ev"]
    except (OSError, ValueError):
        return None
    return stops


@contextmanager
def open_picture(source: Path) -> Iterator[Image.Image]:
    """The opened picture; raises `Broken` where it cannot be decoded, or claims too much."""
    if source.suffix.lower() in HEIF:
        _register_heif()
    size = source.stat().st_size
    if not source.is_file():
        raise Broken("is no file; expected a photo")
    try:
        with open(source, "rb") as file:
            claim = pictures.claim_of(file)
        if claim is not None:
            pictures.check(claim, size)
        with pictures.opened(source) as image:
            width, height = image.size
            pictures.check(pictures.Claim(width, height), size)
            yield image
    except Broken:
        raise
    except UnidentifiedImageError:
        raise Broken("is no picture that can be read") from None
    except Exception as error:  # whatever a decoder makes of a broken file
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Broken(f"cannot be decoded ({' '.join(str(error).split())[:200]})") from error


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError:
        raise Broken(
            "is a HEIC photo, which needs pillow-heif: pip install 'splat-toolkit[prep]'"
        ) from None
    pillow_heif.register_heif_opener()


def facts(exif: Image.Exif, width: int, height: int) -> dict[str, Any]:
    """What EXIF says, as fields of `Photo`."""
    more, place = exif.get_ifd(EXIF), exif.get_ifd(_GPS)
    maker = " ".join(_text(exif.get(tag, "")) for tag in (0x010F, 0x0110)).strip()
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
        "taken": _text(more.get(0x9003, "")) or None,
    }


def _focal_on_chip(more: dict[int, Any], longest: int) -> float | None:
    """Focal length in pixels, from millimetres and the sensor's pixels per millimetre."""
    focal, density = _number(more.get(0x920A)), _number(more.get(0xA20E))
    unit = {2: 25.4, 3: 10.0, 4: 1.0}.get(more.get(0xA210, 2))
    stored = max(_number(more.get(tag)) or 0.0 for tag in (0xA002, 0xA003))
    if not focal or not density or unit is None or not stored:
        return None
    pixels = focal * density / unit * longest / stored
    return pixels if 0.3 * longest < pixels < 20 * longest else None


def _where(place: dict[int, Any]) -> dict[str, float | None]:
    latitude = _degrees(place.get(2), place.get(1), 90)
    longitude = _degrees(place.get(4), place.get(3), 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return {"latitude": None, "longitude": None, "altitude": None}
    altitude = None
    with suppress(TypeError, ValueError, ZeroDivisionError):
        below = place.get(5, 0) in (1, b"\x01")
        metres = float(place[6]) * (-1 if below else 1) if 6 in place else None
        altitude = metres if metres is None or math.isfinite(metres) else None
    return {"latitude": latitude, "longitude": longitude, "altitude": altitude}


def _degrees(values: Any, sign: Any, most: float) -> float | None:
    try:
        degrees, minutes, seconds = (float(value) for value in values)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    angle = degrees + minutes / 60 + seconds / 3600
    if not 0 <= angle <= most:
        return None
    return -angle if str(sign).strip("\0 ").upper() in ("S", "W") else angle


def _text(value: Any) -> str:
    return str(value).strip("\0 ")[:_LONGEST]


def _number(value: Any) -> float | None:
    """A positive number of a size that cameras write, or None."""
    if isinstance(value, tuple | list):
        value = value[0] if value else None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if 1 / _LARGEST < number < _LARGEST else None
