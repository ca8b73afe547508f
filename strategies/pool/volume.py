"""Volumes: Gaussians that each have a place of a grid, as arrays of the grid's shape, in a file."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.strategies.pool.lattice import LEAST, MOST, Lattice
from splat.system import foreign
from splat.system.files import replacing
from splat.system.foreign import Broken
from splat.types import Gaussians

VERSION = 1
_ARRAYS = ("version", "low", "cell", "filled", "offset", "quat", "scale", "opacity", "sh")


@dataclass(frozen=True)
class Volume:
    """Gaussians, each with a place of a lattice, in the frame of the input."""

    gaussians: Gaussians
    """With harmonics, activated, in ascending order of their places."""
    slots: Int[Tensor, "n"]
    """The place of each, ascending, none twice."""
    lattice: Lattice

    def offsets(self) -> Float[Tensor, "n 3"]:
        """From places to Gaussians, float64."""
        return self.gaussians.means.double() - self.lattice.places(self.slots)


def volume_of(gaussians: Gaussians, slots: Int[Tensor, "n"], lattice: Lattice) -> Volume:
    """Gaussians with their places, in any order."""
    order = slots.argsort()
    return Volume(gaussians.take(order), slots[order], lattice)


def write(volume: Volume, path: Path) -> None:
    """Write an `.npz` of arrays [x, y, z, ...]: `filled`, whether a place has a Gaussian; `offset`
    (float64, so that place + offset is the mean to the bit), `quat`, `scale`, `opacity` and `sh`
    as they are drawn, 0 where there is none; and `low` and `cell`, where the places are."""
    g, n = volume.gaussians, volume.lattice.count
    filled = torch.zeros(len(volume.lattice), dtype=torch.bool)
    filled[volume.slots] = True
    columns = {
        "offset": volume.offsets(), "quat": g.quats, "scale": g.scales, "opacity": g.opacities,
        "sh": g.colors,
    }  # fmt: skip
    arrays = {"filled": filled.reshape(n, n, n).numpy()}
    for name, values in columns.items():
        whole = values.new_zeros(len(volume.lattice), *values.shape[1:])
        whole[volume.slots] = values
        arrays[name] = whole.reshape(n, n, n, *values.shape[1:]).numpy()
    head = {
        "version": np.array(VERSION),
        "low": np.array(volume.lattice.low),
        "cell": np.array(volume.lattice.cell),
    }
    with replacing(path) as draft:
        np.savez(draft, **head, **arrays)  # type: ignore[arg-type]


def read(path: Path) -> Volume:
    """Read what `write` wrote; anything else is a ValueError with a sentence."""
    with foreign.reading(path, "a volume: `splat volume run/ -o x.npz` writes one"):
        size = foreign.file_size(path)
        arrays = {}
        with zipfile.ZipFile(path) as archive:
            for name in _ARRAYS:
                most = foreign.allowance(size)
                with foreign.member(archive, f"{name}.npy", most) as (file, length):
                    arrays[name] = foreign.array(file, length)
        return _read(arrays)


def _read(arrays: dict[str, np.ndarray]) -> Volume:
    if arrays["version"].shape != () or int(arrays["version"]) != VERSION:
        raise Broken(
            f"is of version {foreign.shown(arrays['version'].tolist())}; expected {VERSION}: write"
            " it again with this version of splat"
        )
    filled = arrays["filled"]
    if filled.dtype != bool or filled.ndim != 3 or len({*filled.shape}) != 1:
        raise Broken(f"has `filled` of shape {filled.shape}; expected a cube of true and false")
    n, bands = len(filled), math.isqrt(arrays["sh"].shape[3]) if arrays["sh"].ndim == 5 else 0
    if n not in range(LEAST, MOST + 1):
        raise Broken(f"has {n} places along an edge; expected {LEAST} to {MOST}")
    shapes = {
        "low": (3,), "cell": (), "offset": (n, n, n, 3), "quat": (n, n, n, 4),
        "scale": (n, n, n, 3), "opacity": (n, n, n),
        "sh": (n, n, n, min(max(bands, 1), 4) ** 2, 3),
    }  # fmt: skip
    for name, shape in shapes.items():
        values = arrays[name]
        if values.shape != shape:
            raise Broken(f"has `{name}` of shape {values.shape}; expected {shape}")
        kind = np.float64 if name in ("low", "cell", "offset") else np.float32
        if values.dtype != kind:
            raise Broken(f"has `{name}` of {values.dtype}; expected {np.dtype(kind)}")
        if not np.isfinite(values).all():
            raise Broken(f"has numbers in `{name}` that are not finite; expected finite ones")
    cell = float(arrays["cell"])
    if not cell > 0:
        raise Broken(f"has a cell of {cell}; expected a size above 0")
    x, y, z = arrays["low"].tolist()
    lattice = Lattice((x, y, z), cell, n)
    slots = torch.from_numpy(filled.reshape(-1).nonzero()[0])
    if not len(slots):
        raise Broken("has no Gaussian in any place; expected one at least")

    def column(name: str) -> Tensor:
        values = torch.from_numpy(arrays[name])
        return values.reshape(n**3, *values.shape[3:])[slots]

    gaussians = Gaussians(
        means=(lattice.places(slots) + column("offset")).float(),
        quats=column("quat"),
        scales=column("scale"),
        opacities=column("opacity"),
        colors=column("sh"),
        sh_degree=min(max(bands, 1), 4) - 1,
    )
    return Volume(gaussians, slots, lattice)
