"""`splat volume`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from splat import formats
from splat.cli.opened import open_scene, run_of
from splat.core.frame import gaussians_from_frame
from splat.kernels import one_torch_thread
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.recipes.restored import model_of
from splat.runs import checkpoint
from splat.runs.folder import Folder, read_config
from splat.strategies.pool import volume
from splat.strategies.pool.claims import slots
from splat.strategies.pool.lattice import about
from splat.strategies.pool.matching import matched
from splat.strategies.pool.model import Gridded
from splat.strategies.pool.verbs.asked.volume import Volume
from splat.system.text import size

USUAL = 32
REACH = 1.5
"""Cells within which a Gaussian is near its place, as `pool` has it."""


def main(arguments: Sequence[str]) -> int:
    """Write a volume, or the Gaussians of one; the exit code."""
    asked = parsed(Volume, "volume", arguments)
    back = asked.what.suffix == ".npz"
    if back:
        formats.suffix_of(asked.out, written=True)
    elif asked.out.suffix != ".npz":
        raise ValueError(f"{asked.out} is to be a volume; expected a name that ends in .npz")
    check_free(asked.out, asked.overwrite)
    if back:
        found, how = volume.read(asked.what), "read"
        formats.write(found.gaussians, asked.out)
    else:
        found, how = _of(asked)
        volume.write(found, asked.out)
    cells = found.offsets().abs() / found.lattice.cell
    figures: dict[str, Any] = {
        "file": str(asked.out),
        "bytes": asked.out.stat().st_size,
        "grid": found.lattice.count,
        "gaussians": len(found.slots),
        "places": how,
        "mean_offset_cells": round(float(cells.norm(dim=1).mean()), 3),
        "near_share": round(float((cells.amax(1) <= REACH).double().mean()), 4),
    }
    if asked.json:
        print(json.dumps(figures, indent=1))
    else:
        print(
            f"{asked.out}: {size(figures['bytes'])}, {len(found.slots):,} Gaussians in"
            f" {len(found.lattice):,} places ({how}), {figures['mean_offset_cells']} cells from"
            f" them in the mean, {100 * figures['near_share']:.1f} % within {REACH} along each axis"
        )
    return 0


def _of(asked: Volume) -> tuple[volume.Volume, str]:
    """The volume of a run or a file, and where its places come from."""
    own = _own(asked)
    if own is not None and asked.grid in (None, own.lattice.count):
        return own, "those of the run"
    opened = open_scene(asked.what, "cpu", "auto")
    if opened.moves:
        raise ValueError(
            f"{asked.what} moves, and a volume has no place for motion; expected a scene that"
            " stands still: write an instant of it with `splat export --time`"
        )
    gaussians = gaussians_from_frame(opened.gaussians, opened.frame)
    if gaussians.sh_degree is None:
        raise ValueError(
            f"{asked.what} has no colours of its own, and a volume holds harmonics; expected a file"
            " of Gaussians"
        )
    lattice = about(gaussians.means, asked.grid or USUAL)
    places = matched(gaussians.means, lattice, asked.neighbours)
    return volume.volume_of(gaussians, places, lattice), "matched"


def _own(asked: Volume) -> volume.Volume | None:
    """That of a run of `pool`; None where it is of something else."""
    if asked.what.is_file() and asked.what.suffix != ".pt":
        return None
    place = run_of(asked.what)
    if Folder(place.path).in_blocks():
        return None
    state = checkpoint.load(asked.what if asked.what.is_file() else place.latest())
    model = model_of(read_config(place.config), state).core
    if not isinstance(model, Gridded):
        return None
    with one_torch_thread():
        gaussians = gaussians_from_frame(model.bake(), model.frame)
    return volume.volume_of(gaussians, slots(model.cloud), model.lattice.from_frame(model.frame))
