"""What surrounds the numbers of a `.sog`: a ZIP archive of lossless images and a document, or a
folder of them.

Texel i of an image belongs to Gaussian i, rows first. Only the palette of harmonics has an image
of another kind: 64 entries a row, the coefficients of each side by side.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from splat.formats import AGAIN
from splat.formats.limits import check_rows
from splat.formats.sog_meta import COEFFICIENTS, LONGEST, NAME, Meta, document_bytes
from splat.formats.sog_texels import FIRST_KIND, MOST_ENTRIES, Levels, Palette, Texels
from splat.system import foreign
from splat.system.foreign import Broken
from splat.types import Drawing

_BESIDE = 64
"""Entries of the palette in a row of its image."""
_RATIO = 64
"""Gaussians that a file may claim for each of its bytes; usual ones take ten bytes and more."""
_SLACK = 4
"""Most texels of an image, in times the number of Gaussians."""
_HARMLESS = 1 << 20
"""Gaussians, texels and bytes of an image that a file may claim however small it is."""


def write(path: Path, levels: Levels, texels: Texels, drawing: Drawing) -> None:
    """Write a file of version 2; always the same bytes for the same numbers."""
    write_archive(path, texels, document_bytes(levels, texels, drawing), {})


def write_archive(
    path: Path, texels: Texels, document: bytes, more: Mapping[str, Int[Tensor, "n c"]]
) -> None:
    """Write a document and the images of texels, and `more` of a texel each Gaussian, by name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in _files(texels, document, more):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            # Else it would depend on the system.
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data)


def write_apart(folder: Path, levels: Levels, texels: Texels, drawing: Drawing) -> None:
    """Write the same files into a folder that is there, meta.json the last."""
    document = document_bytes(levels, texels, drawing)
    for name, data in reversed(list(_files(texels, document, {}))):
        (folder / name).write_bytes(data)


def _files(
    texels: Texels, document: bytes, more: Mapping[str, Int[Tensor, "n c"]]
) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of what a file holds."""
    shape = _shape(len(texels.means))
    images = {
        "means_l": (texels.means & 255, shape),
        "means_u": (texels.means >> 8, shape),
        "scales": (texels.scales, shape),
        "quats": (texels.quats, shape),
        "sh0": (texels.colors, shape),
    }
    if texels.palette:
        labels, entries = texels.palette.labels, texels.palette.entries
        images["shN_labels"] = torch.stack([labels & 255, labels >> 8, labels * 0], 1), shape
        images["shN_centroids"] = entries.flatten(0, 1), _palette_shape(*entries.shape[:2])
    images |= {name: (rows, shape) for name, rows in more.items()}
    yield NAME, document
    for name, (rows, of_image) in images.items():
        yield f"{name}.webp", _encoded(rows, of_image)


def most(n: int, entries: int, coefficients: int, more: Sequence[int] = ()) -> int:
    """Most bytes that a file takes: those of all channels that are not always the same; `more`: the
    channels of further images of a texel each Gaussian."""
    texels = math.prod(_shape(n))
    sizes = [3 * texels, 3 * texels, 3 * texels, 4 * texels, 4 * texels]
    sizes += [channels * texels for channels in more]
    if coefficients:
        sizes += [2 * texels, 3 * math.prod(_palette_shape(entries, coefficients))]
    return sum(size + size // 64 + 512 for size in sizes) + LONGEST


def read(path: Path) -> tuple[Levels, Texels]:
    """What a file of version 1 or 2 holds, or a folder, given its meta.json.

    Raises ValueError where the file is broken or is none, before memory is taken that its size
    does not account for.
    """
    with opened(path) as archive:
        return content(archive, Meta.of(document_in(archive)))


def content(archive: zipfile.ZipFile, meta: Meta) -> tuple[Levels, Texels]:
    """What the images that a document names hold; raises `Broken`."""
    n = meta.count(max(_RATIO * _size(archive), _HARMLESS))
    check_rows(n, 3 if meta.harmonics else 0, _size(archive))
    low, high = (rows_in(archive, name, n)[:, :3].int() for name in meta.files("means", 2))
    quats, scales, colors = (
        rows_in(archive, meta.files(name, 1)[0], n) for name in ("quats", "scales", "sh0")
    )
    if quats[:, 3].min() < FIRST_KIND:
        raise Broken("has rotations without the number of their largest component")
    palette = _palette(archive, meta, n) if meta.harmonics else None
    return meta.levels(), Texels(low | high << 8, quats, scales[:, :3], colors, palette)


def drawing(path: Path) -> Drawing:
    """How the file says that its Gaussians are meant to be drawn."""
    with opened(path) as archive:
        return Meta.of(document_in(archive)).drawing


def _shape(n: int) -> tuple[int, int]:
    """Height and width of an image of a texel each Gaussian, as splat-transform has it."""
    width = -(-(math.isqrt(n - 1) + 1) // 4) * 4
    return -(-n // (4 * width)) * 4, width


def _palette_shape(entries: int, coefficients: int) -> tuple[int, int]:
    return -(-entries // _BESIDE), _BESIDE * coefficients


def _encoded(rows: Int[Tensor, "n c"], shape: tuple[int, int]) -> bytes:
    """An image with rows as its texels, of opaque black beyond them."""
    texels = np.zeros((math.prod(shape), 4), np.uint8)
    texels[:, 3] = 255
    texels[: rows.shape[0], : rows.shape[1]] = rows.numpy()
    file = io.BytesIO()
    image = Image.fromarray(texels.reshape(*shape, 4))
    # Method 0 makes files a fifth larger; from 5 on it takes ten times as long for next to nothing.
    image.save(file, "WEBP", lossless=True, exact=True, method=4, quality=75)
    return file.getvalue()


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


def _palette(archive: zipfile.ZipFile, meta: Meta, n: int) -> Palette:
    centroids, labels = meta.files("shN", 2)
    image = _image(archive, centroids)
    k = image.width // _BESIDE
    if k not in COEFFICIENTS or image.width % _BESIDE or image.height * _BESIDE > MOST_ENTRIES:
        size = f"{image.width} x {image.height}"
        raise Broken(f"has a palette of {size} texels, expected 192, 512 or 960 x 1 to 1024")
    there = image.height * _BESIDE
    count = meta.entries(there)
    entries = _texels(image)[:, :3].reshape(there, k, 3)[:count]
    low, high = rows_in(archive, labels, n).int()[:, :2].unbind(1)
    numbers = low | high << 8
    if numbers.max() >= count:
        raise Broken(f"has labels up to {int(numbers.max()):,} for a palette of {count:,}")
    return Palette(numbers, entries)


def rows_in(archive: zipfile.ZipFile, name: str, n: int) -> UInt8[Tensor, "n 4"]:
    """The texels of an image that belong to Gaussians."""
    image = _image(archive, name)
    texels = image.width * image.height
    if not n <= texels <= max(_SLACK * n, _HARMLESS):
        raise Broken(f"has {texels:,} texels in {name!r} for {n:,} Gaussians")
    return _texels(image)[:n]


def _image(archive: zipfile.ZipFile, name: str) -> Image.Image:
    """An image, not decoded yet."""
    return Image.open(io.BytesIO(_bytes(archive, name)), formats=("WEBP", "PNG"))


def _texels(image: Image.Image) -> UInt8[Tensor, "n 4"]:
    return torch.from_numpy(np.array(image.convert("RGBA")).reshape(-1, 4))
