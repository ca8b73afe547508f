"""What the images of a `.sog` hold as NumPy has it; see `splat.formats.sog_texels`.

Texel i of an image belongs to Gaussian i, rows first. Only the palette of harmonics has an image
of another kind: 64 entries a row, the coefficients of each side by side.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from splat.formats import AGAIN
from splat.formats.columns import Columns, Floats, Moving
from splat.formats.limits import check_rows
from splat.formats.sog_meta import (
    COEFFICIENTS,
    FIRST_KIND,
    MOST_ENTRIES,
    NAME,
    STEPS,
    Meta,
    Values,
    lerped,
)
from splat.system import foreign
from splat.system.foreign import Broken, shown

BESIDE = 64
"""Entries of the palette in a row of its image."""
_RATIO = 64
"""Gaussians that a file may claim for each of its bytes; usual ones take ten bytes and more."""
_SLACK = 4
"""Most texels of an image, in times the number of Gaussians."""
_HARMLESS = 1 << 20
"""Gaussians, texels and bytes of an image that a file may claim however small it is."""
_PART = 1 << 16
"""Rows whose harmonics are looked up at a time."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class SharedCodes:
    """Coefficients beyond the constant one, in entries that Gaussians share."""

    labels: NDArray[np.int32]
    """[n]; number of the entry of each Gaussian."""
    entries: Bytes
    """[m, k, 3]; numbers of levels."""


@dataclass(frozen=True)
class Codes:
    """The bytes of the images, a row each Gaussian."""

    means: NDArray[np.int32]
    """[n, 3]; positions as codes of 16 bits."""
    quats: Bytes
    """[n, 4]."""
    scales: Bytes
    """[n, 3]."""
    colors: Bytes
    """[n, 4]; the constant coefficient, and opacity."""
    palette: SharedCodes | None


def columns(path: Path) -> Columns:
    """What the rows of a file or a folder hold, finite or not; see `splat.formats.sog.read`."""
    with opened(path) as archive:
        meta = Meta.of(document_in(archive))
        codes = codes_in(archive, meta)
        return decoded(meta.values(), codes, meta.drawn)


@np.errstate(all="ignore")
def decoded(
    values: Values, codes: Codes, drawn: tuple[bool, float | None], moving: Moving | None = None
) -> Columns:
    """The rows that bytes stand for; their rotations, which are always finite, are left out."""
    low, high = values.bounds
    means = lerped(low, high, codes.means / STEPS)
    means = np.sign(means) * np.expm1(np.abs(means))
    most = np.finfo(np.float32).max
    antialiased, near = drawn
    return Columns(
        means=means.clip(-most, most).astype(np.float32),
        scales=np.exp(values.log_scales)[codes.scales, np.arange(3)],
        opacities=values.opacities[codes.colors[:, 3]],
        sh=_harmonics(codes, values),
        moving=moving,
        antialiased=antialiased,
        near=near,
        finite_rest=True,
    )


def _harmonics(codes: Codes, values: Values) -> Floats:
    constant = values.constant[codes.colors[:, :3], np.arange(3)]
    if codes.palette is None or values.harmonics is None:
        return constant[:, None]
    labels, entries = codes.palette.labels, values.harmonics[codes.palette.entries]
    sh = np.empty((len(labels), 1 + entries.shape[1], 3), np.float32)
    sh[:, 0] = constant
    # In parts, as the whole of it would be there twice.
    for start in range(0, len(labels), _PART):
        part = slice(start, start + _PART)
        sh[part, 1:] = entries[labels[part]]
    return sh


def codes_in(archive: zipfile.ZipFile, meta: Meta) -> Codes:
    """What the images that a document names hold; raises `Broken`."""
    n = meta.count(max(_RATIO * _size(archive), _HARMLESS))
    check_rows(n, 3 if meta.harmonics else 0, _size(archive))
    low, high = (rows_in(archive, name, n)[:, :3] for name in meta.files("means", 2))
    quats, scales, colors = (
        rows_in(archive, meta.files(name, 1)[0], n) for name in ("quats", "scales", "sh0")
    )
    if quats[:, 3].min() < FIRST_KIND:
        raise Broken("has rotations without the number of their largest component")
    palette = _palette(archive, meta, n) if meta.harmonics else None
    return Codes(words(low, high), quats, scales[:, :3], colors, palette)


def words(low: Bytes, high: Bytes) -> NDArray[np.int32]:
    """Numbers of 16 bits."""
    numbers: NDArray[np.int32] = low.astype(np.int32) | high.astype(np.int32) << 8
    return numbers


@contextmanager
def opened(path: Path, suffix: str = ".sog") -> Iterator[zipfile.ZipFile]:
    """The archive; whatever fails in it raises ValueError with the file's name."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of a {suffix} file")
    with foreign.reading(path, f"a whole {suffix}; {AGAIN}", AGAIN):
        # Once it is in memory, errors are those of what it holds.
        data = foreign.content(path)
        if path.suffix == ".json":
            data = _gathered(path, data)
        try:
            archive = zipfile.ZipFile(io.BytesIO(data))
        except zipfile.BadZipFile as error:
            start = f"it starts with {data[:8]!r}" if data else "it is empty"
            raise Broken(f"is no {suffix} file, or is cut off ({error}; {start})") from error
        with archive:
            yield archive


def _gathered(path: Path, document: bytes) -> bytes:
    """A meta.json and the images beside it, as the archive that they could be."""
    names = set(Meta.of(document).names())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(NAME, document)
        for image in sorted(path.parent.iterdir()):
            if image.name in names and image.is_file():
                archive.write(image, image.name)
    return file.getvalue()


def _size(archive: zipfile.ZipFile) -> int:
    assert isinstance(archive.fp, io.BytesIO)
    return archive.fp.getbuffer().nbytes


def _bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of the archive."""
    with foreign.member(archive, name, max(_size(archive), _HARMLESS)) as (file, length):
        return file.read(length)


def document_in(archive: zipfile.ZipFile) -> bytes:
    """The bytes of the document of an archive."""
    return _bytes(archive, NAME)


def _palette(archive: zipfile.ZipFile, meta: Meta, n: int) -> SharedCodes:
    centroids, labels = meta.files("shN", 2)
    image = _image(archive, centroids)
    k = image.width // BESIDE
    if k not in COEFFICIENTS or image.width % BESIDE or image.height * BESIDE > MOST_ENTRIES:
        size = f"{image.width} x {image.height}"
        raise Broken(f"has a palette of {size} texels, expected 192, 512 or 960 x 1 to 1024")
    there = image.height * BESIDE
    count = meta.entries(there)
    entries = _texels(image)[:, :3].reshape(there, k, 3)[:count]
    numbers = words(*rows_in(archive, labels, n)[:, :2].T)
    if numbers.max() >= count:
        raise Broken(f"has labels up to {int(numbers.max()):,} for a palette of {count:,}")
    return SharedCodes(numbers, entries)


def rows_in(archive: zipfile.ZipFile, name: str, n: int) -> Bytes:
    """The texels of an image that belong to Gaussians [n, 4]."""
    image = _image(archive, name)
    texels = image.width * image.height
    if not n <= texels <= max(_SLACK * n, _HARMLESS):
        raise Broken(f"has {texels:,} texels in {name!r} for {n:,} Gaussians")
    return _texels(image)[:n]


def _image(archive: zipfile.ZipFile, name: str) -> Image.Image:
    """An image, not decoded yet."""
    data = _bytes(archive, name)
    try:
        return Image.open(io.BytesIO(data), formats=("WEBP", "PNG"))
    except UnidentifiedImageError:
        raise Broken(f"has {shown(name)}, which is no WebP or PNG; expected one") from None


def _texels(image: Image.Image) -> Bytes:
    return np.array(image.convert("RGBA")).reshape(-1, 4)
