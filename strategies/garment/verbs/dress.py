"""`splat dress`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from splat import formats
from splat.cli.opened import run_of
from splat.core.fields import parts_with_ways
from splat.core.frame import INPUT_FRAME, gaussians_from_frame
from splat.core.model import Making
from splat.core.strategy import Strategy
from splat.kernels import one_torch_thread
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.recipes.recipe import strategy_from_text
from splat.recipes.restored import strategy_of
from splat.runs import checkpoint
from splat.runs.checkpoint import State
from splat.runs.folder import Folder, read_config
from splat.runs.kept import checkpoints_in
from splat.strategies.garment import rig
from splat.strategies.garment.body import Body, read_pose
from splat.strategies.garment.distance import depths_of
from splat.strategies.garment.garment import OPAQUE, SUNK, Garment
from splat.strategies.garment.model import LAYER, Dressed, worn
from splat.strategies.garment.rows import rows_on, sampled
from splat.strategies.garment.skin import Worn, dressed
from splat.strategies.garment.verbs.asked.dress import Dress
from splat.system.foreign import reading, record
from splat.system.text import size
from splat.types import Gaussians, joined

Color = tuple[float, float, float]


def main(arguments: Sequence[str]) -> int:
    """Write a garment on a body; the exit code."""
    asked = parsed(Dress, "dress", arguments)
    formats.suffix_of(asked.out, written=True)
    check_free(asked.out, asked.overwrite)
    garment, given, color = _opened(asked.garment)
    file = asked.body or given
    if file is None:
        raise ValueError(
            f"{asked.garment} does not say which body it is of; expected its mesh, where it stands"
            " in the scene: --body person.glb"
        )
    body = rig.read(file)
    onto = body if asked.onto is None else rig.read(asked.onto)
    pose = {} if asked.pose is None else read_pose(asked.pose)
    posed = onto.posed(pose)
    depths = depths_of(posed.mesh)
    if asked.onto is None and not pose:
        share = float((depths.at(garment.means, INPUT_FRAME)[0] < 0).double().mean())
        result = Worn(garment, share)
    else:
        off = asked.off * posed.height
        result = dressed(garment, body, onto, pose, depths=depths, off=off)
    found = result.gaussians
    if asked.with_body:
        found = joined([_as_rows(posed, asked.body_rows, color, found), found])
    formats.write(found, asked.out)
    figures: dict[str, Any] = {
        "file": str(asked.out),
        "bytes": asked.out.stat().st_size,
        "garment": len(garment),
        "gaussians": len(found),
        "inside_share": round(result.inside, 5),
    }
    if asked.json:
        print(json.dumps(figures, indent=1))
    else:
        print(
            f"{asked.out}: {size(figures['bytes'])}, {len(garment):,} Gaussians of the garment"
            + (f" and {len(found) - len(garment):,} of the body" if asked.with_body else "")
            + f"; {100 * result.inside:.2f} % of the garment's were in the body before they were"
            " moved out"
        )
    return 0


def _opened(path: Path) -> tuple[Gaussians, Path | None, Color]:
    """A garment in the frame of the input, the body that its run names, and the skin's colour."""
    usual = Garment().skin
    if path.is_file() and path.suffix != ".pt":
        garment = formats.read(path)
        if garment.motion is not None:
            raise ValueError(f"{path} moves by itself; expected a garment that stands still")
        return garment, None, usual
    if Folder(path).in_blocks():
        raise ValueError(f"{path} is a scene in blocks; expected a run of garment")
    strategy, state = _dreamt(path) or _trained(path)
    rows = checkpoint.rows(state)
    if LAYER not in rows:
        raise ValueError(
            f"{path} is no run of garment; expected one, or a file of Gaussians that are nothing"
            " but garment"
        )
    with checkpoint.fitting(state):
        model = Dressed(rows, Making(steps=1))
    chosen = worn(model.cloud)
    with one_torch_thread():
        garment = gaussians_from_frame(model.bake().take(chosen), checkpoint.frame(state))
    parts = [part for _, part in parts_with_ways(strategy) if isinstance(part, Garment)]
    part = parts[0] if parts else Garment()
    return garment, Path(part.body) if part.body else None, part.skin


def _trained(path: Path) -> tuple[Strategy, State]:
    """The strategy of a run, and its last state."""
    place = run_of(path)
    state = checkpoint.load(path if path.is_file() else place.latest())
    return strategy_of(read_config(place.config)), state


def _dreamt(path: Path) -> tuple[Strategy, State] | None:
    """The same of the folder of a dream; None where it is none."""
    settings, saved = path / "config.json", checkpoints_in(path / "checkpoints")
    if not settings.is_file() or not saved:
        return None
    with reading(settings, "the settings of a dream"):
        said = record(settings)
        if said.get("format") != "splat dream":
            return None
        return strategy_from_text(said.text("strategy")), checkpoint.load(saved[-1])


def _as_rows(body: Body, count: int, color: Color, like: Gaussians) -> Gaussians:
    """A body as Gaussians of one colour, with harmonics as `like` has them."""
    samples = sampled(body.mesh, count)
    normals = samples.normals(body.mesh)
    places = samples.on(body.mesh) - SUNK * samples.spacing * normals
    columns = {"mean": like.means[:0].cpu(), "sh": like.colors[:0].cpu()}
    rows = rows_on(places, normals, samples.spacing, color, OPAQUE, INPUT_FRAME, columns)
    return Gaussians(
        rows["mean"], rows["quat"], rows["log_scale"].exp(), torch.sigmoid(rows["opacity_logit"]),
        rows["sh"], like.sh_degree,
    )  # fmt: skip
