"""Pictures of strangers: what their headers claim is looked at before anything is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import IO

import cv2
import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from PIL import Image

from splat.system import foreign
from splat.system.foreign import Broken

MOST_PIXELS = 10 << 24
"""Pixels of a picture, 168 million: the largest sensors have 151 million."""
MOST_SCANNED = 1 << 34
"""Pixels that the scans of a JPEG go over, each over all of them: a quarter of a minute."""
DEFLATED = 1032
"""Bytes that deflate, in which a PNG has its pixels, makes of one at most."""
_EXPECTED = "a whole PNG, JPEG or other picture that OpenCV reads: copy or export it again"
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PIXELS = 0xDA
_ALONE = frozenset(range(0xD0, 0xD8)) | {0x01}
"""Marks of a JPEG that nothing belongs to."""
_CHANNELS = {0: (1, 1), 2: (3, 3), 3: (1, 4), 4: (2, 4), 6: (4, 4)}
"""Channels of a PNG as stored, and once decoded, by its type of colour."""
_BYTES = ("WEBP", "BMP", "GIF")
"""Formats, as Pillow names them, of 8 bits a channel; others have up to 16."""
_KINDS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "AVIF", "HEIF", "PPM", "SUN")
"""Formats that Pillow opens for us: among its others are some that run programs."""
_opening = Lock()


@dataclass(frozen=True)
class Claim:
    """What the header of a picture says of it."""

    width: int
    height: int
    pixel_bytes: int = 4
    """Bytes of a pixel once decoded."""
    stored: int = 0
    """Bytes that have to come out of deflate, where it is that."""


def check(claim: Claim, size: int) -> Claim:
    """The claim; raises `Broken` where a file of `size` bytes may not make it."""
    sides = f"{claim.width:,} x {claim.height:,} pixels"
    if claim.width * claim.height > MOST_PIXELS:
        raise Broken(f"claims {sides}; expected {MOST_PIXELS / 1e6:.0f} million at most: shrink it")
    if claim.stored > DEFLATED * size:
        raise Broken(f"claims {sides}, which {size:,} bytes cannot hold; expected {_EXPECTED}")
    foreign.check_claim(claim.width * claim.height * claim.pixel_bytes, size, sides)
    return claim


def claim_of(file: IO[bytes]) -> Claim | None:
    """What the header of an open file claims; None where it is none of a picture."""
    file.seek(0)
    head = file.read(32)
    if head.startswith(_PNG) and len(head) >= 26:
        return _claim_of_png(head)
    if head.startswith(_JPEG) and (claim := _claim_of_jpeg(file)) is not None:
        return claim
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _claim_of_tiff(file)
    if head.startswith((b"#?RADIANCE", b"#?RGBE")):
        return _claim_of_hdr(file)
    file.seek(0)
    try:
        with opened(file) as image:
            width, height = image.size
            return Claim(width, height, 4 if image.format in _BYTES else 8)
    except Exception:  # whatever Pillow's readers raise
        return None


def opened(source: Path | IO[bytes]) -> Image.Image:
    """A picture opened by Pillow and not decoded; instead of its bound, `check` counts."""
    Image.init()
    kinds = [kind for kind in _KINDS if kind in Image.OPEN]
    with _opening:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source, formats=kinds)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def read(
    path: Path, flags: int = cv2.IMREAD_UNCHANGED, of_jpeg: int | None = None
) -> Shaped[ndarray, "..."]:
    """The pixels of a picture in OpenCV's channel order, of any type that OpenCV has.

    `flags` are those of `cv2.imdecode`, `of_jpeg` others for JPEGs. Raises ValueError with the
    file's name where it is cut off, is none, or claims more than a file of its size may.
    """
    with foreign.reading(path, _EXPECTED):
        raw = _without_profile(foreign.content(path))
        claim = claim_of(BytesIO(raw))
        if claim is None or min(claim.width, claim.height) < 1 or not _complete(raw):
            raise Broken(f"cannot be decoded to its end; expected {_EXPECTED}")
        check(claim, len(raw))
        if raw.startswith(_JPEG):
            flags = flags if of_jpeg is None else of_jpeg
            scans = raw.count(b"\xff\xda")
            if scans * claim.width * claim.height > MOST_SCANNED:
                raise Broken(f"has {scans:,} scans; expected a JPEG of a few: export it again")
        try:
            image = cv2.imdecode(np.frombuffer(raw, np.uint8), flags)
        except cv2.error as error:
            if error.code == cv2.Error.STS_NO_MEM:
                raise MemoryError from error
            image = None
        if image is None:
            raise Broken(f"cannot be decoded to its end; expected {_EXPECTED}")
        return np.asarray(image)


def stored_size(path: Path) -> tuple[int, int]:
    """Width and height of the stored pixels; EXIF's orientation is not applied.

    Of a PNG or JPEG only the header is read. Raises ValueError as `read` does.
    """
    with foreign.reading(path, _EXPECTED), open(path, "rb") as file:
        start = file.read(len(_PNG))
        if start == _PNG or start.startswith(_JPEG):
            claim = claim_of(file)
            if claim is not None and min(claim.width, claim.height) > 0:
                check(claim, path.stat().st_size)
                return claim.width, claim.height
    height, width = read(path).shape[:2]
    return width, height


def _claim_of_png(head: bytes) -> Claim:
    width, height, bits, kind = struct.unpack_from(">IIBB", head, 16)
    stored, decoded = _CHANNELS.get(kind, (4, 4))
    row = 1 + -(-width * stored * bits // 8)
    return Claim(width, height, decoded * (2 if bits == 16 else 1), height * row)


def _claim_of_jpeg(file: IO[bytes]) -> Claim | None:
    """From the frame header behind the metadata; None where there is none."""
    for mark in _marks(file):
        if mark in _START_OF_FRAME:
            frame = file.read(8)
            if len(frame) < 8:
                return None
            _, _, height, width, channels = struct.unpack(">HBHHB", frame)
            return Claim(width, height, max(3, channels))
    return None


def _marks(file: IO[bytes]) -> Iterator[int]:
    """The marks of a JPEG up to its pixels, as libjpeg sees them, the file at what follows each."""
    file.seek(2)
    while (mark := file.read(2))[:1] == b"\xff" and len(mark) == 2:
        at = file.tell()
        if mark[1] == 0xFF:  # fill
            file.seek(at - 1)
        elif mark[1] not in _ALONE:
            yield mark[1]
            if mark[1] == _PIXELS:
                return
            file.seek(at)
            file.seek(at + max(2, int.from_bytes(file.read(2), "big")))


def _claim_of_tiff(file: IO[bytes]) -> Claim | None:
    """From the first folder of tags, as classic and as big TIFF have them."""
    file.seek(0)
    head = file.read(16)
    order, big = ("<" if head[:1] == b"I" else ">"), b"+" in head[:4]
    kinds = {1: "B", 3: "H", 4: "I", 16: "Q"}
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
        file.seek(at)
        (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
        tags = {}
        entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
        for _ in range(min(count, 1 << 16)):
            tag, kind, many, value = entry.unpack(file.read(entry.size))
            if tag in (256, 257, 258, 277) and kind in kinds:
                whole = struct.Struct(order + kinds[kind])
                if many * whole.size > len(value):  # bits of each channel, all alike
                    after = file.tell()
                    file.seek(struct.unpack(order + ("Q" if big else "I"), value)[0])
                    value = file.read(whole.size)
                    file.seek(after)
                tags[tag] = whole.unpack_from(value)[0]
        width, height, channels = tags[256], tags[257], tags.get(277, 1)
    except (struct.error, KeyError, OSError, OverflowError):
        return None
    return Claim(width, height, max(3, channels) * -(-tags.get(258, 1) // 8))


def _claim_of_hdr(file: IO[bytes]) -> Claim | None:
    """As OpenCV reads it: lines of up to 127 bytes, an empty one, and the sides."""
    file.seek(0)
    while file.readline(127) not in (b"\n", b""):
        pass
    found = re.match(rb"-Y\s*(\d{1,9})\s*\+X\s*(\d{1,9})\s", file.readline(127))
    return None if found is None else Claim(int(found[2]), int(found[1]), 12)


def _complete(raw: bytes) -> bool:
    """Whether a PNG or JPEG has its end: the decoder fills what is missing with grey."""
    if raw.startswith(_PNG):
        return any(name == b"IEND" for name, _, _ in _parts(raw))
    if raw.startswith(_JPEG):
        file = BytesIO(raw)
        for _ in _marks(file):
            pass
        return raw.find(b"\xff\xd9", file.tell()) >= 0
    return len(raw) > 0


def _without_profile(raw: bytes) -> bytes:
    """A PNG without its colour profile, unused here, about which libpng may print warnings."""
    for name, start, end in _parts(raw) if raw.startswith(_PNG) else ():
        if name == b"iCCP":
            return raw[:start] + raw[end:]
        if name == b"IDAT":
            break
    return raw


def _parts(raw: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Chunks of a PNG, their names, starts and ends, up to one that the file does not hold.

    OpenCV takes memory for whatever length a chunk claims.
    """
    start = len(_PNG)
    while (end := start + 12 + int.from_bytes(raw[start : start + 4], "big")) <= len(raw):
        yield raw[start + 4 : start + 8], start, end
        start = end
