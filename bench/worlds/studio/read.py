"""What `write` left beside the pictures of an object: truth, relit views, and the card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from splat.datasets.tracer.folders import read_image
from worlds.studio.files import CARD
from worlds.studio.trace import Maps


@dataclass(frozen=True)
class Card:
    """How an object was photographed."""

    object: str
    light: str
    """That of the training views and of the test views in `test`."""
    unseen: tuple[str, ...]
    """Lights of the test views in `relit`."""
    exposures: Mapping[str, float]
    """What linear light was multiplied by before it was encoded, by the name of the light."""


def card(folder: Path | str) -> Card:
    """What `studio.json` says."""
    file = Path(folder) / CARD
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder}: holds no {CARD}; expected a folder written by `python -m "
            "worlds.studio`: write one"
        )
    said = json.loads(file.read_text("utf-8"))
    return Card(said["object"], said["light"], tuple(said["unseen"]), said["exposures"])


def truth(folder: Path | str, name: str) -> Maps:
    """What is known of a test view, which `name` gives as the loader does (`test/r_003.png`).

    As exact as 16 bits hold it; depth is float32.
    """
    known, stem = Path(folder) / "truth", PurePosixPath(name).stem
    file = f"{stem}.png"
    mask = torch.from_numpy(read_image(known / "masks" / file) > 127)
    normals = 2 * _words(known / "normals" / file) - 1
    normals = torch.nn.functional.normalize(normals, dim=-1) * mask[..., None]
    return Maps(
        mask,
        torch.from_numpy(np.load(known / "depth" / f"{stem}.npy")),
        normals,
        _words(known / "albedo" / file),
        _words(known / "roughness" / file),
        _words(known / "metallic" / file),
    )


def relit(folder: Path | str, light: str, name: str) -> UInt8[Tensor, "h w 4"]:
    """A test view under a light that no training view saw: sRGB and alpha."""
    lights = card(folder).unseen
    if light not in lights:
        raise ValueError(
            f"{folder}: is not lit by {light!r}; expected one of {', '.join(lights) or 'none'}"
        )
    file = Path(folder) / "relit" / light / f"{PurePosixPath(name).stem}.png"
    return torch.from_numpy(read_image(file))


def _words(file: Path) -> Tensor:
    """Values in [0, 1] of a picture of 16 bits, [h, w] or [h, w, 3]; float32."""
    return torch.from_numpy(read_image(file).astype(np.float32) / 65535)
