"""The job of one block: an ordinary run of its views and points, begun or resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from splat import api
from splat.blocks.block import Block
from splat.blocks.plan import BlockPlan, Part, folder_of, read_plan
from splat.blocks.settle import points_of
from splat.blocks.start import start_points
from splat.core.strategy import Strategy
from splat.options import Options, Watching
from splat.recipes.parts import with_row_limit
from splat.recipes.restored import strategy_of as method_of
from splat.runs import checkpoint
from splat.runs.folder import Config, Folder, fingerprint, read_config
from splat.system import machine
from splat.system.files import read_json, write_json
from splat.system.foreign import reading, record
from splat.system.numbers import whole
from splat.types import SceneData

CALL = "splat.blocks.work:main"
"""The function that an engine of jobs calls."""


def main(arguments: Sequence[str]) -> int:
    """Train a block, or resume it; the exit code.

    The arguments are the folder of the run, the block's name, its threads, and bytes for photos.
    """
    run, name, threads, cache = Folder(Path(arguments[0])), *arguments[1:4]
    imported = machine.held_memory()
    plan, config = read_plan(run.division), read_config(run.config)
    part = plan.part(name)
    if done(run, part, config):
        return 0
    _note(run, part, imported)
    scene = scene_of(plan, part, config)
    strategy, place = strategy_of(plan, part, config), folder_of(run, part)
    watching = replace(config.watching, keep=1, pictures=False, quiet=True, eval_every=0)
    if place.is_run() and checkpoint.checkpoints_in(place.checkpoints):
        api.resume(
            place.path, scene, strategy, threads=int(threads) or None, watching=watching, lpips=None
        )
    else:
        _begin(scene, strategy, plan, config, place, watching, int(threads), int(cache))
    _note(run, part, imported)
    return 0


def _begin(
    scene: SceneData,
    strategy: Strategy,
    plan: BlockPlan,
    config: Config,
    place: Folder,
    watching: Watching,
    threads: int,
    cache: int,
) -> None:
    place.clear_drafts()
    options = replace(options_of(config), threads=threads or None)
    if options.cache is None and cache:
        options = replace(options, cache=cache)
    api.train(
        scene,
        strategy,
        options,
        out=place.path,
        overwrite=True,
        watching=watching,
        reading=config.reading,
        command=config.command,
        lpips=None,
        frame=plan.frame,
    )


def options_of(config: Config) -> Options:
    """The options of every block, from those of the run: caps and points are in the plan."""
    return replace(config.options, budget=None, memory=None, init=None)


def strategy_of(plan: BlockPlan, part: Part, config: Config) -> Strategy:
    """The strategy of a block: that of the run with its share of the cap, confined to its cell."""
    whole_method = method_of(config)
    own = with_row_limit(whole_method, part.cap) if part.cap else whole_method
    return Block(own, cell=part.cell, margin=plan.margin)


def scene_of(plan: BlockPlan, part: Part, config: Config) -> SceneData:
    """The views and points of a block, as a scene."""
    scene = api.read_scene(config.scene, _reading(config))
    if fingerprint(scene) != plan.mark:
        raise ValueError(
            f"{config.scene}: the views or points are not those that the blocks were cut for;"
            " restore them, or begin another run"
        )
    names, points = set(part.views), points_of(scene, config.options)
    views = tuple(view for view in scene.train if view.name in names)
    sky = config.options.sky
    shell = 0 if sky == "none" else min(whole(sky), part.cap // 5)
    seeded = hashlib.blake2b(f"{config.options.seed}/{part.name}".encode(), digest_size=7)
    start = start_points(
        points,
        part.cell,
        plan.margin,
        [view.camera for view in views],
        part.cap - shell,
        plan.backdrop,
        torch.Generator().manual_seed(int.from_bytes(seeded.digest(), "little")),
    )
    return replace(scene, train=views, test=(), points=start, notes=())


def _reading(config: Config) -> Any:
    if config.reading is None:
        raise ValueError(
            "the scene of this run was made in Python; expected one in a folder: blocks are"
            " trained by processes that read it for themselves"
        )
    return config.reading


def done(run: Folder, part: Part, config: Config) -> bool:
    """Whether a block is trained to its end and its file is there."""
    place = folder_of(run, part)
    if not (place.metrics.is_file() and place.gaussians.is_file()):
        return False
    return bool(read_json(place.metrics).get("steps") == config.options.steps)


def note_of(run: Folder, part: Part) -> dict[str, Any]:
    """Memory of the processes that trained a block, bytes, a record each."""
    path = _note_path(run, part)
    if not path.is_file():
        return {"processes": []}
    with reading(path, "a note of memory: delete it"):
        note = record(path)
        return {**note, "processes": [{"id": None, **each} for each in note.records("processes")]}


def _note(run: Folder, part: Part, imported: int | None) -> None:
    """Record the memory of this process once all was imported, and its peak so far."""
    record, own = note_of(run, part), {"id": os.getpid(), "imported": imported}
    others = [process for process in record["processes"] if process["id"] != own["id"]]
    record["processes"] = [*others, {**own, "peak": machine.peak_memory()}]
    write_json(_note_path(run, part), record)


def _note_path(run: Folder, part: Part) -> Path:
    return run.blocks / f"{part.name}.json"
