"""A file changed as its kind is built: `mutated(data, kind, draw)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import PurePosixPath
from random import Random

import zstandard

from . import containers as c
from .documents import json_mutated, lines_mutated, ply_mutated, xml_mutated
from .pickles import pickle_mutated
from .pieces import binary_mutated, blind, field_mutated, text_mutated
from .stages import usda_mutated, usdc_mutated

_BY_SUFFIX = {
    ".json": "json", ".npy": "npy", ".pkl": "pickle", ".png": "png", ".webp": "riff",
    ".ply": "ply", ".spz": "spz", ".usda": "usda", ".usdc": "usdc",
}  # fmt: skip
"""Kinds of members of archives; others are plain bytes."""


def _member(name: str) -> c.Change:
    return KINDS[_BY_SUFFIX.get(PurePosixPath(name).suffix, "binary")]


def _spz(data: bytes, draw: Random) -> bytes:
    if data[:2] == b"\x1f\x8b":
        return c.gzip_mutated(data, draw, binary_mutated)
    if data[:4] != b"NGSP":
        return binary_mutated(data, draw)
    unpack = zstandard.ZstdDecompressor().decompress
    return c.frames_mutated(data, draw, (unpack, zstandard.ZstdCompressor(level=1).compress))


def _ksplat(data: bytes, draw: Random) -> bytes:
    """Headers take most of a small .ksplat, and zeros most of these."""
    if draw.random() < 0.4:
        return binary_mutated(data, draw)
    start = draw.choice((0, 4096))
    return data[:start] + field_mutated(data[start:], draw, 48)


KINDS: Mapping[str, Callable[[bytes, Random], bytes]] = {
    "binary": binary_mutated,
    "text": text_mutated,
    "json": json_mutated,
    "jsonl": lines_mutated,
    "xml": xml_mutated,
    "ply": ply_mutated,
    "png": c.png_mutated,
    "jpeg": c.jpeg_mutated,
    "ksplat": _ksplat,
    "glb": c.glb_mutated,
    "anchors": c.anchors_mutated,
    "riff": c.riff_mutated,
    "npy": c.npy_mutated,
    "exr": c.exr_mutated,
    "pickle": pickle_mutated,
    "spz": _spz,
    "zip": partial(c.zip_mutated, inner=_member),
    "usda": usda_mutated,
    "usdc": usdc_mutated,
    "text.gz": partial(c.gzip_mutated, inner=text_mutated),
    "page": partial(c.page_mutated, inner=_spz),
}
"""What a file may be, and how it is changed."""


def mutated(data: bytes, kind: str, draw: Random) -> bytes:
    """The file with something wrong with it, which depends on `draw` alone."""
    change = KINDS[kind]
    found = change(data, draw)
    if draw.random() < 0.08:
        try:
            found = change(found, draw)
        except Exception:
            found = blind(found, draw)  # it is no longer built as its kind is
    return found
