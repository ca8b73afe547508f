"""A run in blocks from its beginning to the merged scene, and its resumption."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from splat import api
from splat.blocks import many, settle
from splat.blocks.cells import AS_GIVEN
from splat.blocks.division import extents, ground_of
from splat.blocks.figures import batches_of, merged_metrics, record_of
from splat.blocks.merged import Merged
from splat.blocks.plan import BlockPlan, folder_of, plan_blocks, read_plan
from splat.blocks.whole import Whole
from splat.blocks.work import done
from splat.core.frame import frame_of
from splat.core.region import Region, box_of
from splat.core.strategy import Strategy
from splat.evaluation.lpips import Net
from splat.evaluation.pictures import Row, contact_sheet
from splat.formats.join import join_files
from splat.jobs import Ended, engine_of, share_of
from splat.options import Options, Reading, Watching
from splat.options.blocking import Blocking, shape_of
from splat.options.verbs import RendererName
from splat.planning import predict
from splat.recipes import recipe, saved
from splat.recipes.restored import strategy_of
from splat.render import choose_device
from splat.runs.folder import Config, existing, fingerprint, read_config, vacant, write_cameras
from splat.scene import shrunk
from splat.system.files import write_json
from splat.system.text import size
from splat.system.version import version
from splat.training.decide import decide
from splat.types import Points, SceneData

_log = logging.getLogger(__name__)


def train(
    scene: SceneData,
    strategy: Strategy | None = None,
    options: Options | None = None,
    blocking: Blocking = Blocking("auto"),  # noqa: B008
    *,
    out: Path | str,
    reading: Reading,
    overwrite: bool = False,
    watching: Watching | None = None,
    command: str = "splat.blocks.train.train(...)",
    lpips: Net | None = "alex",
) -> dict[str, Any]:
    """Train a scene in blocks and merge them; what `metrics.json` holds.

    `reading` says how the scene is read, since every job reads it for itself. Raises
    `splat.jobs.Interrupted` where a signal asked to stop; `resume` goes on from there. The result
    does not depend on how many blocks are trained at once, on which machine, or on how often they
    were stopped.
    """
    options, watching = options or Options(), watching or Watching(quiet=True)
    run = vacant(Path(out), overwrite)
    decided = decide(scene, strategy, options, in_blocks=True)
    strategy, device = decided.strategy, decided.device
    settle.check(strategy, options)
    points = settle.points_of(scene, options)
    frame = frame_of([view.camera for view in scene.train])
    settled = settle.shared_options(scene, points, options, device, frame)
    cells = _divided(scene, strategy, settled, blocking, device, points)
    config = Config(
        scene=scene.path.resolve(),
        reading=reading,
        train=tuple(view.name for view in scene.train),
        test=tuple(view.name for view in scene.test),
        method=saved.description_of(strategy),
        options=settled,
        watching=watching,
        command=command,
        made_by=version(),
    )
    views = (*scene.train, *scene.test)
    small = {view.name: shrunk(view.camera, *_sizes(settled)) for view in views}
    sizes = {name: (camera.width, camera.height) for name, camera in small.items()}
    with run.held(), run.replacing():
        cells.write(run.division)
        write_cameras(run.cameras, scene, sizes)
        # Last, since a folder with it is a run that can be gone on with.
        config.write(run.config)
        return _carried_out(Whole(run, cells, config, scene, device), blocking, lpips)


def resume(
    folder: Path | str,
    *,
    workers: int | None = None,
    on: str | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    renderer: RendererName | None = None,
    threads: int | None = None,
    quiet: bool = False,
    scene: SceneData | None = None,
    lpips: Net | None = "alex",
) -> dict[str, Any]:
    """Go on with a run in blocks: what is trained stays, the rest is, and all is merged."""
    run = existing(Path(folder))
    config, cells = read_config(run.config), read_plan(run.division)
    if all(done(run, part, config) for part in cells.parts) and run.metrics.is_file():
        raise ValueError(
            f"{run.path}: all {len(cells.parts)} blocks are trained and merged; expected some left"
            " to do: begin another run for more --steps"
        )
    options = config.options
    config = replace(
        config,
        scene=config.scene if scene is None else scene.path.resolve(),
        options=replace(
            options,
            device=device or options.device,
            renderer=renderer or ("auto" if device == "cpu" else options.renderer),
            threads=threads or options.threads,
        ),
        watching=replace(config.watching, quiet=quiet),
    )
    scene = scene or api.reread(config)
    if fingerprint(scene) != cells.mark:
        raise ValueError(
            f"{config.scene}: the views or points are not those that the blocks were cut for;"
            " restore them, or begin another run"
        )
    with run.held():
        run.forget_replaced()
        config.write(run.config)
        whole = Whole(
            run,
            cells,
            config,
            scene,
            choose_device(config.options.device, config.options.renderer)[0],
        )
        return _carried_out(whole, Blocking("auto", workers, on), lpips)


def _divided(
    scene: SceneData,
    strategy: Strategy,
    options: Options,
    blocking: Blocking,
    device: torch.device,
    points: Points,
) -> BlockPlan:
    assert blocking.blocks is not None
    ground = ground_of([view.camera for view in scene.train])
    wanted: Region | None = None if options.crop is None else box_of(options.crop)
    shape = shape_of(blocking.blocks)
    if shape is None:
        shape = _enough(scene, strategy, options, blocking, device, points)
    return plan_blocks(
        scene,
        points,
        ground,
        shape,
        strategy.cap,
        mark=fingerprint(scene),
        made_by=version(),
        margin=blocking.block_margin,
        backdrop=blocking.block_backdrop,
        wanted=wanted,
    )


def _enough(
    scene: SceneData,
    strategy: Strategy,
    options: Options,
    blocking: Blocking,
    device: torch.device,
    points: Points,
) -> tuple[int, int]:
    """The number of blocks along and across that fits into memory."""
    if not strategy.cap:
        raise ValueError(
            "blocks is auto and the method has no limit of Gaussians, so that nobody knows what it"
            " takes; expected one: give --cap or --budget, or a number of blocks such as 3x2"
        )
    at_once = share_of(device.type, blocking.workers, options.threads, many.MOST, blocking.on)
    most = many.memory_per_block(options, device, max(1, at_once.workers))
    if most is None:
        raise ValueError(
            "blocks is auto and this system does not say how much memory is free; give --memory, or"
            " a number of blocks such as 3x2"
        )
    ground = ground_of([view.camera for view in scene.train])
    sides = extents(ground.flat(points.positions, AS_GIVEN))
    start = len(points.positions)
    fitted = predict.with_device_defaults(options, device)
    shape = many.fewest_blocks(scene.train, fitted, device, start, strategy.cap, sides, most)
    _log.info("blocks    %dx%d, for %s each", *shape, size(most))
    return shape


def _carried_out(whole: Whole, blocking: Blocking, lpips: Net | None) -> dict[str, Any]:
    """Train the blocks that are left, merge all, and measure."""
    left, options = whole.left(), whole.config.options
    jobs = max(1, len(left))
    share = share_of(whole.device.type, blocking.workers, options.threads, jobs, blocking.on)
    whole.announce(share)
    failed: list[Ended] = []

    def ended(job: Ended) -> None:
        if job.message:
            failed.append(job)
            _log.warning("block %s failed: %s", job.key, job.message)

    if left:
        engine = engine_of(blocking.on, share)
        works = [whole.work(part, share) for part in left]
        engine.run(works, ended, quiet=whole.config.watching.quiet)
    if failed:
        first = failed[0]
        raise RuntimeError(
            f"{len(failed)} of {len(whole.cells.parts)} blocks failed, {first.key} because"
            f" {first.message}; once that is mended, `splat resume {whole.run.path}` goes on"
        )
    return _merged(whole, lpips)


def _merged(whole: Whole, lpips: Net | None) -> dict[str, Any]:
    """Merge the files of all blocks, measure the result, and write its files; the record."""
    run, cells, config = whole.run, whole.cells, whole.config
    files = [folder_of(run, part).gaussians for part in cells.parts]
    count = join_files(files, run.gaussians, [part.share for part in cells.parts])
    _log.info("merged    %s Gaussians of %d blocks", f"{count:,}", len(cells.parts))
    rows: list[Row] = []
    figures = None
    if whole.scene.test:
        merged = Merged.of(
            run.gaussians, cells.frame, whole.device, config.options.background,
            renderer=config.options.renderer,
        )  # fmt: skip
        batches = batches_of(whole.scene, config, cells.frame, whole.device)
        figures = merged_metrics(
            merged, cells, batches, lpips, rows if config.watching.pictures else None
        )
    strategy = strategy_of(config)
    record = record_of(run, cells, config, whole.scene, strategy, figures, count)
    if rows:
        title = f"{whole.scene.path.name}, {recipe.names(strategy)}, {len(cells.parts)} blocks"
        contact_sheet(rows, run.contact_sheet, title)
    write_json(run.metrics, record)
    return record


def _sizes(options: Options) -> tuple[float, int | None]:
    assert options.downscale != "auto"
    return float(options.downscale), options.max_side or None
