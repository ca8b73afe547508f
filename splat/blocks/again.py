"""A merged scene measured anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from splat import api
from splat.blocks.figures import batches_of, brought_up_to_date, measured
from splat.blocks.merged import Merged
from splat.blocks.plan import read_plan
from splat.evaluation.lpips import Net
from splat.render import choose_device
from splat.runs.folder import Folder, read_config, same_views
from splat.system.files import read_json, write_json


def measured_again(
    run: Folder, moved: Path | None, device: Literal["auto", "cpu", "cuda"], net: Net | None
) -> dict[str, Any]:
    """The metrics of a run in blocks, brought up to date; `moved` is where its scene lies now."""
    if not run.metrics.is_file():
        raise FileNotFoundError(
            f"{run.path} is cut into blocks that are not all trained; expected them merged: go on"
            f" with `splat resume {run.path}`"
        )
    config, cells = read_config(run.config), read_plan(run.division)
    scene = api.reread(config, moved)
    same_views(config, scene)
    if not scene.test:
        raise ValueError(f"no view of {scene.path} is held out; nothing to measure on: see --eval")
    chosen = choose_device(device)[0]
    merged = Merged.of(run.gaussians, cells.frame, chosen, config.options.background)
    found = measured(merged, cells, batches_of(scene, config, cells.frame, chosen), net)
    record = brought_up_to_date(read_json(run.metrics), found)
    write_json(run.metrics, record)
    return record
