"""What surrounds the numbers of a `.sog`: a ZIP archive of `meta.json` and lossless WebP images.

Texel i of an image belongs to Gaussian i, rows first. Only the palette of harmonics has an image
of another kind: 64 entries a row, the coefficients of each side by side. Files of version 1, which
name no version, have bounds where those of version 2 have codebooks.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from splat.export.codebook import LEVELS
from splat.export.sog_texels import FIRST_KIND, MOST_ENTRIES, Levels, Palette, Texels
from splat.types import Drawing

_META = "meta.json"
_ENORMOUS = 1e38
"""Numbers within are finite in float32, and so are sums of a few."""
_BESIDE = 64
"""Entries of the palette in a row of its image."""
_COEFFICIENTS = (3, 8, 15)
"""Of a channel, beyond the constant one, for degrees 1 to 3."""
_RATIO = 256
"""Gaussians that a file may claim for each of its bytes: a thousand times what is usual."""
_SLACK = 4
"""How many times more texels than Gaussians there may be."""
_HARMLESS = 1 << 20
"""Bytes that an entry of the archive may take, and texels an image, however few are claimed."""


def write(path: Path, levels: Levels, texels: Texels, drawing: Drawing) -> None:
    """Write a file of version 2; always the same bytes for the same numbers."""
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
    with zipfile.ZipFile(path, "w") as archive:
        _add(archive, _META, json.dumps(_document(levels, texels, drawing)).encode())
        for name, (rows, of_image) in images.items():
            _add(archive, f"{name}.webp", _encoded(rows, of_image))


def most(n: int, entries: int, coefficients: int) -> int:
    """Bytes that a file takes at most: those of all channels that are not always the same."""
    texels = math.prod(_shape(n))
    sizes = [3 * texels, 3 * texels, 3 * texels, 4 * texels, 4 * texels]
    if coefficients:
        sizes += [2 * texels, 3 * math.prod(_palette_shape(entries, coefficients))]
    return sum(size + size // 64 + 512 for size in sizes) + 3 * LEVELS * 20 + 2048


def read(path: Path) -> tuple[Levels, Texels]:
    """What a file of version 1 or 2 holds.

    Raises ValueError where the file is broken or is none, before memory is taken that its size
    does not account for.
    """
    with _opened(path) as archive:
        meta = _meta(archive)
        n = _count(meta, archive)
        low, high = (_rows(archive, name, n)[:, :3].int() for name in _files(meta, "means", 2))
        quats, scales, colors = (
            _rows(archive, _files(meta, name, 1)[0], n) for name in ("quats", "scales", "sh0")
        )
        if quats[:, 3].min() < FIRST_KIND:
            raise _Broken("has rotations without the number of their largest component")
        palette = _palette(archive, meta, n) if "shN" in meta else None
        levels = _levels(meta)
    return levels, Texels(low | high << 8, quats, scales[:, :3], colors, palette)


def drawing(path: Path) -> Drawing:
    """How the file says that its Gaussians are meant to be drawn."""
    with _opened(path) as archive:
        meta = _meta(archive)
    extras = meta.get("extras")
    near: Any = extras.get("near") if isinstance(extras, dict) else None
    if not (type(near) in (float, int) and 0 < near < math.inf):
        near = None
    return Drawing(meta.get("model") == "antialiased" or meta.get("antialias") is True, near)


def _shape(n: int) -> tuple[int, int]:
    """Height and width of an image of a texel each Gaussian, as splat-transform has it."""
    width = -(-(math.isqrt(n - 1) + 1) // 4) * 4
    return -(-n // (4 * width)) * 4, width


def _palette_shape(entries: int, coefficients: int) -> tuple[int, int]:
    return -(-entries // _BESIDE), _BESIDE * coefficients


def _document(levels: Levels, texels: Texels, drawing: Drawing) -> dict[str, Any]:
    lows, highs = levels.bounds.tolist()
    said: dict[str, Any] = {"version": 2, "asset": {"generator": "splat"}}
    said |= {"count": len(texels.means), "antialias": drawing.antialiased}
    # The specification had a flag first, tools then agreed on the name of a model.
    said |= {"model": "antialiased"} if drawing.antialiased else {}
    said |= {"extras": {"near": drawing.near}} if drawing.near is not None else {}
    said["means"] = {"mins": lows, "maxs": highs, "files": ["means_l.webp", "means_u.webp"]}
    said["scales"] = {"codebook": _short(levels.log_scales[:, 0]), "files": ["scales.webp"]}
    said["quats"] = {"files": ["quats.webp"]}
    said["sh0"] = {"codebook": _short(levels.constant[:, 0]), "files": ["sh0.webp"]}
    if texels.palette and levels.harmonics is not None:
        m, k = texels.palette.entries.shape[:2]
        said["shN"] = {
            "count": m,
            "bands": 1 + _COEFFICIENTS.index(k),
            "codebook": _short(levels.harmonics),
            "files": ["shN_centroids.webp", "shN_labels.webp"],
        }
    return said


def _short(levels: Float[Tensor, "256"]) -> list[float]:
    """Numbers with as few digits as float32 needs."""
    return [float(str(level)) for level in levels.numpy()]


def _encoded(rows: Int[Tensor, "n c"], shape: tuple[int, int]) -> bytes:
    """An image with rows as its texels, of opaque black beyond them."""
    texels = np.zeros((math.prod(shape), 4), np.uint8)
    texels[:, 3] = 255
    texels[: rows.shape[0], : rows.shape[1]] = rows.numpy()
    file = io.BytesIO()
    image = Image.fromarray(texels.reshape(*shape, 4))
    # Method 3 makes larger files; from 5 on it takes ten times as long for nearly nothing.
    image.save(file, "WEBP", lossless=True, exact=True, method=4, quality=75)
    return file.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    # Else it would depend on the system.
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    archive.writestr(entry, data)


_FAILURES = (
    ArithmeticError,
    EOFError,
    Image.DecompressionBombError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What modules of Python and Pillow raise on broken archives, JSON and images."""


class _Broken(Exception):
    """What is wrong with a file, as the rest of a sentence that begins with its name."""


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever fails in it raises ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of a .sog file")
    # Once it is in memory, errors are those of what it holds.
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
            return
    except _Broken as error:
        what = str(error)
    except zipfile.BadZipFile as error:
        start = f"it starts with {data[:8]!r}" if data else "it is empty"
        what = f"is no .sog file, or is cut off ({error}; {start})"
    except _FAILURES as error:
        what = f"is broken ({error})"
    raise ValueError(f"{path} {' '.join(what.split())}; fetch or export it again")


def _size(archive: zipfile.ZipFile) -> int:
    assert isinstance(archive.fp, io.BytesIO)
    return archive.fp.getbuffer().nbytes


def _bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of the archive."""
    if name not in archive.namelist():
        raise _Broken(f"lacks {shown(name)}")
    entry = archive.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Broken(f"has {name!r} in compression {entry.compress_type}, expected 0 or 8")
    if entry.file_size > max(_size(archive), _HARMLESS):
        raise _Broken(f"claims {entry.file_size:,} bytes of {name!r}")
    with archive.open(entry) as file:
        # With the size given no more is inflated, whatever there is.
        return file.read(entry.file_size)


def _meta(archive: zipfile.ZipFile) -> dict[str, Any]:
    meta = json.loads(_bytes(archive, _META))
    if not isinstance(meta, dict):
        raise _Broken(f"has {shown(meta)} as {_META}, expected an object")
    if meta.get("version", 1) not in (1, 2):
        raise _Broken(f"is a .sog of version {shown(meta['version'])}, expected 1 or 2")
    return meta


def _is_first(meta: dict[str, Any]) -> bool:
    return bool(meta.get("version", 1) == 1)


def _count(meta: dict[str, Any], archive: zipfile.ZipFile) -> int:
    """How many Gaussians the file holds."""
    if _is_first(meta):
        meta = {"count": _list(_part(meta, "means"), "shape", 2)[0]}
    return _whole(meta, "count", _RATIO * _size(archive))


def _levels(meta: dict[str, Any]) -> Levels:
    positions, scales, colors = (_part(meta, name) for name in ("means", "scales", "sh0"))
    rest = _part(meta, "shN") if "shN" in meta else None
    bounds = torch.stack([_numbers(positions, end, 3) for end in ("mins", "maxs")])
    steps = torch.arange(LEVELS) / (LEVELS - 1)
    if _is_first(meta):
        # Bounds of the harmonics are those of all channels, and no lists.
        rest = rest and {end: [rest.get(end)] for end in ("mins", "maxs")}
        constant, logit = _between(colors, 4).split([3, 1], dim=1)
        return Levels(
            bounds=bounds,
            log_scales=_between(scales, 3),
            constant=constant,
            opacities=logit[:, 0].sigmoid(),
            harmonics=None if rest is None else _between(rest, 1)[:, 0],
        )
    return Levels(
        bounds=bounds,
        log_scales=_codebook(scales)[:, None].expand(-1, 3),
        constant=_codebook(colors)[:, None].expand(-1, 3),
        opacities=steps,
        harmonics=None if rest is None else _codebook(rest),
    )


def _codebook(part: dict[str, Any]) -> Float[Tensor, "256"]:
    values = list(_list(part, "codebook", LEVELS))
    if values[0] is None:
        # A bug of early tools; PlayCanvas goes on from the others by their mean distance.
        second, last = _numbers({"codebook": [values[1], values[-1]]}, "codebook", 2).tolist()
        values[0] = second - (last - second) / (LEVELS - 1)
    return _numbers({"codebook": values}, "codebook", LEVELS).float()


def _between(part: dict[str, Any], channels: int) -> Float[Tensor, "256 c"]:
    """Levels at equal distances, as version 1 has them."""
    low, high = (_numbers(part, end, channels) for end in ("mins", "maxs"))
    return torch.stack([torch.linspace(*ends, LEVELS) for ends in zip(low, high, strict=True)], 1)


def _palette(archive: zipfile.ZipFile, meta: dict[str, Any], n: int) -> Palette:
    part = _part(meta, "shN")
    centroids, labels = _files(meta, "shN", 2)
    image = _image(archive, centroids)
    k = image.width // _BESIDE
    if k not in _COEFFICIENTS or image.width % _BESIDE or image.height * _BESIDE > MOST_ENTRIES:
        size = f"{image.width} x {image.height}"
        raise _Broken(f"has a palette of {size} texels, expected 192, 512 or 960 x 1 to 1024")
    there = image.height * _BESIDE
    count = there if _is_first(meta) else _whole(part, "count", there)
    entries = _texels(image)[:, :3].reshape(there, k, 3)[:count]
    low, high = _rows(archive, labels, n).int()[:, :2].unbind(1)
    numbers = low | high << 8
    if numbers.max() >= count:
        raise _Broken(f"has labels up to {int(numbers.max()):,} for a palette of {count:,}")
    return Palette(numbers, entries)


def _rows(archive: zipfile.ZipFile, name: str, n: int) -> UInt8[Tensor, "n 4"]:
    """The texels of an image that belong to Gaussians."""
    image = _image(archive, name)
    texels = image.width * image.height
    if not n <= texels <= max(_SLACK * n, _HARMLESS):
        raise _Broken(f"has {texels:,} texels in {name!r} for {n:,} Gaussians")
    return _texels(image)[:n]


def _image(archive: zipfile.ZipFile, name: str) -> Image.Image:
    """An image, not decoded yet."""
    return Image.open(io.BytesIO(_bytes(archive, name)), formats=("WEBP", "PNG"))


def _texels(image: Image.Image) -> UInt8[Tensor, "n 4"]:
    return torch.from_numpy(np.array(image.convert("RGBA")).reshape(-1, 4))


def _part(meta: dict[str, Any], name: str) -> dict[str, Any]:
    part = meta.get(name)
    if not isinstance(part, dict):
        raise _Broken(f"has {shown(part)} as {name!r} in {_META}, expected an object")
    return part


def _files(meta: dict[str, Any], name: str, count: int) -> list[str]:
    """Names of images."""
    found = _list(_part(meta, name), "files", count)
    if not all(isinstance(each, str) for each in found):
        raise _Broken(f"has {shown(found)} as files of {name!r} in {_META}, expected names")
    return found


def _list(part: dict[str, Any], key: str, count: int) -> list[Any]:
    found = part.get(key)
    if not isinstance(found, list) or len(found) != count:
        raise _Broken(f"has {shown(found)} as {key!r} in {_META}, expected a list of {count}")
    return found


def _numbers(part: dict[str, Any], key: str, count: int) -> Float[Tensor, "count"]:
    """Finite numbers, float64."""
    found = _list(part, key, count)
    if not all(type(each) in (int, float) and abs(each) < _ENORMOUS for each in found):
        raise _Broken(f"has {shown(found)} as {key!r} in {_META}, expected finite numbers")
    return torch.tensor(found, dtype=torch.float64)


def _whole(part: dict[str, Any], key: str, most: int) -> int:
    found: Any = part.get(key)
    if type(found) is not int or not 1 <= found <= most:
        raise _Broken(f"has {shown(found)} as {key!r} in {_META}, expected 1 to {most:,}")
    return found
