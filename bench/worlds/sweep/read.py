"""The truth about a folder that `write` made, read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.datasets.tracer.folders import read_image
from splat.types import Camera
from worlds.sweep.plant import Exposure, Plant


@dataclass(frozen=True)
class SweepTruth:
    """What is known of each photo by its name, such as `view_003.png`; maps are read when asked."""

    folder: Path
    plant: Plant
    test_every: int
    """The first view and every so many after it are held out by the custom of readers."""
    visited: tuple[str, ...]
    """Photos in which somebody stands."""
    cameras: dict[str, Camera]
    """True poses, in the order the photos were taken."""
    exposures: dict[str, Exposure]
    depth_affine: dict[str, tuple[float, float]]
    """(scale, shift): scale * guess + shift is depth in metres; empty where none was planted."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all photos, in the order they were taken."""
        return tuple(self.cameras)

    def depth(self, name: str) -> Float[Tensor, "h w"]:
        """Camera z, metres, of the room without whoever stands in the photo."""
        return self._map("depth", name)

    def normals(self, name: str) -> Float[Tensor, "h w 3"]:
        """World axes, unit, facing the camera, of the room without whoever stands in the photo."""
        return torch.nn.functional.normalize(self._map("normals", name), dim=-1)

    def objects(self, name: str) -> UInt8[Tensor, "h w"]:
        """Numbers of `OBJECTS`, of the room without whoever stands in the photo."""
        return self._picture("objects", name)

    def clean(self, name: str) -> UInt8[Tensor, "h w 3"]:
        """The photo as it would be with nothing planted."""
        return self._picture("clean", name)

    def empty(self, name: str) -> UInt8[Tensor, "h w 3"]:
        """The clean photo of the room without its clutter and the shadows of that."""
        return self._picture("empty", name)

    def mask(self, name: str) -> UInt8[Tensor, "h w"]:
        """0 where somebody stands in the photo, else 255."""
        return self._picture("masks", name)

    def clutter_mask(self, name: str) -> UInt8[Tensor, "h w"]:
        """255 where the photo shows clutter, else 0."""
        return self._picture("clutter_masks", name)

    def _map(self, part: str, name: str) -> Tensor:
        path = self.folder / "truth" / part / f"{Path(name).stem}.npy"
        return torch.from_numpy(np.load(path).astype(np.float32))

    def _picture(self, part: str, name: str) -> Tensor:
        return torch.from_numpy(read_image(self.folder / "truth" / part / name))


def truth(folder: Path | str) -> SweepTruth:
    """What `write` wrote about its folder beside the scene."""
    folder = Path(folder)
    if not (folder / "truth" / "plant.json").is_file():
        raise FileNotFoundError(
            f"{folder}: has no truth/plant.json; expected a generated room: write one with "
            "python -m worlds.sweep"
        )
    told = _json(folder, "plant")
    plant = Plant(**{name: told[name] for name in Plant.__dataclass_fields__})
    return SweepTruth(
        folder=folder,
        plant=plant,
        test_every=told["test_every"],
        visited=tuple(told["visited"]),
        cameras={
            name: Camera(
                torch.tensor(known["world_to_camera"]),
                torch.tensor(known["K"]),
                known["width"],
                known["height"],
                index=index,
            )
            for index, (name, known) in enumerate(_json(folder, "cameras").items())
        },
        exposures={
            name: Exposure(tuple(known["gain"]), tuple(known["bias"]))
            for name, known in _json(folder, "exposures").items()
        },
        depth_affine={
            name: (known["scale"], known["shift"])
            for name, known in _json(folder, "depth_affine").items()
        },
    )


def _json(folder: Path, card: str) -> Any:
    return json.loads((folder / "truth" / f"{card}.json").read_text(encoding="utf-8"))
