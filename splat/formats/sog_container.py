"""What surrounds the numbers of a `.sog`: a ZIP archive of lossless images and a document, or a
folder of them.

Texel i of an image belongs to Gaussian i, rows first. Only the palette of harmonics has an image
of another kind: 64 entries a row, the coefficients of each side by side.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from splat.formats.sog_meta import COEFFICIENTS, LONGEST, NAME, Meta, Values
from splat.formats.sog_table import BESIDE, Codes, SharedCodes, codes_in, document_in, opened
from splat.formats.sog_texels import Levels, Palette, Texels
from splat.types import Drawing


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
        meta = Meta.of(document_in(archive))
        codes = codes_in(archive, meta)
        return tensors(meta.values(), codes)


def tensors(values: Values, codes: Codes) -> tuple[Levels, Texels]:
    """What NumPy has read, for torch."""
    palette = None if codes.palette is None else Palette(**_tensors(codes.palette))
    texels = Texels(**_tensors(replace(codes, palette=None)))
    return Levels(**_tensors(values)), replace(texels, palette=palette)


def _tensors(record: Values | Codes | SharedCodes) -> dict[str, Any]:
    """The arrays of a record by name, None where it has none."""
    found = ((field.name, getattr(record, field.name)) for field in fields(record))
    return {name: None if each is None else torch.from_numpy(each) for name, each in found}


def drawing(path: Path) -> Drawing:
    """How the file says that its Gaussians are meant to be drawn."""
    with opened(path) as archive:
        return Drawing(*Meta.of(document_in(archive)).drawn)


def _shape(n: int) -> tuple[int, int]:
    """Height and width of an image of a texel each Gaussian, as splat-transform has it."""
    width = -(-(math.isqrt(n - 1) + 1) // 4) * 4
    return -(-n // (4 * width)) * 4, width


def _palette_shape(entries: int, coefficients: int) -> tuple[int, int]:
    return -(-entries // BESIDE), BESIDE * coefficients


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


def document_bytes(levels: Levels, texels: Texels, drawing: Drawing) -> bytes:
    """The document of a file of version 2."""
    return json.dumps(document_of(levels, texels, drawing)).encode()


def document_of(levels: Levels, texels: Texels, drawing: Drawing) -> dict[str, Any]:
    """The document of a file of version 2, as a value."""
    lows, highs = levels.bounds.tolist()
    document: dict[str, Any] = {"version": 2, "asset": {"generator": "splat"}}
    # A flag in the specification at first, then the name of a model: readers know one or the other.
    document |= {"count": len(texels.means), "antialias": drawing.antialiased}
    document |= {"model": "antialiased"} if drawing.antialiased else {}
    document |= {"extras": {"near": drawing.near}} if drawing.near is not None else {}
    document["means"] = {"mins": lows, "maxs": highs, "files": ["means_l.webp", "means_u.webp"]}
    document["scales"] = {"codebook": _short(levels.log_scales[:, 0]), "files": ["scales.webp"]}
    document["quats"] = {"files": ["quats.webp"]}
    document["sh0"] = {"codebook": _short(levels.constant[:, 0]), "files": ["sh0.webp"]}
    if texels.palette and levels.harmonics is not None:
        count, k = texels.palette.entries.shape[:2]
        bands = 1 + COEFFICIENTS.index(k)
        document["shN"] = {"count": count, "bands": bands, "codebook": _short(levels.harmonics)}
        document["shN"]["files"] = ["shN_centroids.webp", "shN_labels.webp"]
    return document


def _short(levels: Tensor) -> list[float]:
    """Numbers with as few digits as float32 needs."""
    return [float(str(level)) for level in levels.numpy()]
