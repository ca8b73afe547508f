"""New metrics of a merged scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from splat import api
from splat.blocks.figures import batches_of, merged_metrics, with_new_figures
from splat.blocks.merged import Merged
from splat.blocks.plan import read_plan
from splat.evaluation.lpips import Net
from splat.render import choose_device
from splat.runs.folder import Folder, read_config, same_views
from splat.system.files import read_json, write_json


def measure_again(
    run: Folder,
    moved: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    net: Net | None,
    renderer: str = "auto",
) -> dict[str, Any]:
    """Measure a run in blocks again and write its metrics; `moved` is where its scene lies now."""
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
    chosen, behind = choose_device(device, renderer)[0], config.options.background
    merged = Merged.of(run.gaussians, cells.frame, chosen, behind, renderer=renderer)
    figures = merged_metrics(merged, cells, batches_of(scene, config, cells.frame, chosen), net)
    record = with_new_figures(read_json(run.metrics), figures)
    write_json(run.metrics, record)
    return record
