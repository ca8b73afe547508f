"""The public interface: `splat.load`, `train`, `resume`, `rasterize`, `read` and `write`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from splat import datasets, kernels
from splat.core.edit import Change
from splat.core.frame import camera_from_frame, gaussians_from_frame
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.evaluation.lpips import Net
from splat.evaluation.off_path import OffPath, Truth
from splat.loop import Run, Watcher
from splat.options import Options, Reading, Viewing, Watching
from splat.options.verbs import RendererName
from splat.parallel import Ranks, current_ranks
from splat.recipes import saved
from splat.recipes.restored import measured_strategy, strategy_of
from splat.results import DrawnGaussians, Result
from splat.runs import checkpoint
from splat.runs.folder import (
    Config,
    Folder,
    check_steps,
    existing,
    moved_cameras,
    read_config,
    same_views,
    vacant,
    write_cameras,
)
from splat.runs.log import renumber
from splat.runs.replay import write_script
from splat.system.text import span
from splat.system.version import version
from splat.training import row_budget, sharing, time_budget
from splat.training.announce import announce
from splat.training.decide import Decided, Decision, decide
from splat.training.disk import DiskPlan
from splat.training.finish import baked_stand_in, finish, summary
from splat.training.off_path import measured_off_path
from splat.training.prepare import Job, prepare
from splat.training.session import run_to_end
from splat.types import Frame, SceneData, View

if TYPE_CHECKING:
    from splat.viewer.live import LiveViewer

_log = logging.getLogger(__name__)

load = datasets.load


def train(
    scene: SceneData | Path | str,
    strategy: Strategy | None = None,
    options: Options | None = None,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    watching: Watching | None = None,
    watchers: Sequence[Watcher] = (),
    reading: Reading | None = None,
    command: str = "splat.train(...)",
    lpips: Net | None = "alex",
    viewing: Viewing | None = None,
    done: Callable[[Result], None] | None = None,
    frame: Frame | None = None,
    cap_asked: bool = True,
) -> Result:
    """Train a scene, or that of a folder, as `splat train` does; without `out` nothing is written.

    `strategy` None is the default method, of a size that suits the device. `watchers` are called
    after every step. `viewing` serves the live viewer, beyond the end of training as it says;
    `done` is called with the result before that. `reading` says how `scene` was read, for
    `splat resume`; without it that is found out if it can be. `frame` is what to train in where
    that of the scene's own cameras is not meant (no steps are timed then). `cap_asked` False lets
    `Options.memory` lower the cap of `strategy`. With `out`, Ctrl-C ends
    a run between two steps, by `Stopped`. Processes that torchrun started train one run together;
    only the first of them has metrics to return, and calls `done`.
    """
    if isinstance(scene, (str, Path)):
        scene = load(scene)
    options, watching = options or Options(), watching or Watching()
    ranks = _met(viewing)
    folder = None if out is None else ranks.agreed(lambda: vacant(Path(out), overwrite))
    decided = decide(scene, strategy, options, cap_asked=cap_asked, ranks=ranks)
    if frame is None:
        job = time_budget.prepare_timed(scene, decided, ranks=ranks)
    else:
        job = prepare(
            scene, decided.strategy, decided.options, frame=frame, ranks=ranks, decided=decided
        )
    with closing(job), ExitStack() as stack, ExitStack() as hold:
        if folder is not None:
            ranks.agreed(lambda: hold.enter_context(folder.held()))
            ranks.agreed(lambda: DiskPlan.of(job.run, folder, watching).check(folder))
        if folder is not None and ranks.first:
            config = Config(
                scene=scene.path.resolve(),
                reading=reading or _reading_of(scene),
                train=tuple(view.name for view in scene.train),
                test=tuple(view.name for view in scene.test),
                method=saved.description_of(decided.strategy),
                options=_pinned(decided.asked, job),
                watching=watching,
                command=command,
                made_by=version(),
            )
            stack.enter_context(folder.replacing())
            watchers = [*watchers, _forgetting(folder)]
            config.write(folder.config)
            _write_cameras(job, folder)
            if job.run.script:
                write_script(job.run.script, folder.replayed)
        return _carried_out(job, folder, watching, watchers, lpips, viewing, done, hold)


def decided(
    scene: SceneData,
    strategy: Strategy | None = None,
    options: Options | None = None,
    *,
    cap_asked: bool = True,
) -> Decided:
    """All decisions that `train` would take with these arguments, each with its reason.

    Photos are decoded as far as something depends on them; nothing is trained, nor written. Steps
    that `Options.minutes` would find by timing are not found. Of several processes (torchrun) all
    must ask, and memory is that of one.
    """
    ranks, options = _met(None), options or Options()
    open_decisions = decide(scene, strategy, options, cap_asked=cap_asked, ranks=ranks)
    if open_decisions.options.steps is None:
        return open_decisions
    with closing(
        prepare(
            scene,
            open_decisions.strategy,
            open_decisions.options,
            ranks=ranks,
            decided=open_decisions,
        )
    ) as job:
        return job.decided.also(
            job.options,
            [
                Decision("memory", job.plan.text(), "predicted"),
                Decision("time", f"about {span(job.plan.seconds)}", "predicted, of training alone"),
                Decision("then", f"about {span(job.plan.ending_seconds)}", "figures and files"),
            ],
        )


def resume(
    folder: Path | str,
    scene: SceneData | None = None,
    strategy: Strategy | None = None,
    *,
    steps: int | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    renderer: RendererName | None = None,
    threads: int | None = None,
    watching: Watching | None = None,
    watchers: Sequence[Watcher] = (),
    lpips: Net | None = "alex",
    viewing: Viewing | None = None,
    done: Callable[[Result], None] | None = None,
) -> Result:
    """Go on from the last checkpoint of a run; on the CPU, to the same bytes as without a break.

    `steps` is a new end, whose schedules hold from here on; a budget of minutes is over then, and
    so are goals that had ended the run. `scene` and `strategy` are needed
    where the run was begun in Python with some that a file cannot describe.
    """
    ranks = _met(viewing)
    place = existing(Path(folder))
    with ExitStack() as hold:
        ranks.agreed(lambda: hold.enter_context(place.held()))
        config = read_config(place.config)
        state = checkpoint.load(ranks.agreed(place.latest))
        check_steps(place, state, config.options.steps or 0, steps)
        if ranks.first:
            place.clear_drafts()
        if steps is not None:
            config = replace(config, options=_further(config.options, state, steps))
        options = replace(
            config.options,
            device=device or config.options.device,
            renderer=renderer or ("auto" if device == "cpu" else config.options.renderer),
            threads=threads or config.options.threads,
            # Of a run that does not say it, as it was before there was a choice.
            decoding="reduced" if config.options.decoding == "reduced" else "full",
        )
        scene = scene or reread(config)
        same_views(config, scene)
        config = replace(config, scene=scene.path.resolve())
        if steps is not None:
            _log.info("schedules are those of a run of %s steps from here on", f"{steps:,}")
        strategy = row_budget.within_budget(strategy or strategy_of(config), options)
        job = prepare(scene, strategy, options, state, ranks=ranks)
        job.run.ended = "" if steps is not None else job.run.ended
        on_cpu = job.run.render.device.type == "cpu"
        if on_cpu and ranks.first and (before := checkpoint.other_kernels(state)):
            _log.warning(
                "warning: kernels for %s trained this run, and those for %s go on (the best of the"
                " machine, or SPLAT_ISA): bytes will differ from here on", before, kernels.isa(),
            )  # fmt: skip
        with closing(job):
            watching = watching or config.watching
            plan = DiskPlan.of(job.run, place, watching)
            ranks.agreed(lambda: plan.check(place))
            if ranks.first:
                place.forget_replaced()
                config.write(place.config)
                if checkpoint.at_once(state) != job.run.at_once:
                    renumber(place.log, checkpoint.at_once(state), job.run.at_once)
                checkpoint.prune(place.checkpoints, watching.keep)
            del state  # as large as what is trained
            return _carried_out(job, place, watching, watchers, lpips, viewing, done, hold)


def reopened(
    folder: Path | str,
    scene: SceneData | Path | None = None,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    renderer: RendererName = "auto",
) -> Job:
    """The job of a run as its last checkpoint left it, to be measured; `close` it when done.

    `scene` is where its scene lies now, or the scene itself where it was made in Python; None:
    where it lay.
    """
    place = existing(Path(folder))
    config = read_config(place.config)
    state = checkpoint.load(place.latest())
    if not isinstance(scene, SceneData):
        scene = reread(config, scene)
    same_views(config, scene)
    options = replace(config.options, device=device, renderer=renderer)
    return prepare(scene, measured_strategy(config, state), options, state)


def off_path(
    folder: Path | str,
    scene: SceneData | Path | None = None,
    truth: Truth | None = None,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> OffPath:
    """A run measured where no photo was taken, as by `splat eval --off-path`; nothing is written.

    `truth` gives what a camera in the frame of the input would see, RGB in [0, 1] [h, w, 3], or
    None where it stands outside of what is known. Without it, it is known of the built-in scene
    only. `scene` is as for `reopened`.
    """
    with closing(reopened(folder, scene, device=device)) as job:
        return measured_off_path(job, truth=truth)


read_scene = datasets.read


def reread(config: Config, moved: Path | None = None, *, placed: Path | None = None) -> SceneData:
    """The scene of a run, from disk; `moved` is where it lies now, if not where it lay.

    `placed` is the file of the run's cameras, for poses as the run found them where it moved them;
    None: as they were given.
    """
    if config.reading is None:
        raise ValueError(
            "the scene of this run was made in Python; go on there with splat.resume(folder, scene)"
        )
    scene = read_scene(moved or config.scene, config.reading)
    return scene if placed is None else _placed(scene, moved_cameras(placed))


def _placed(scene: SceneData, poses: Mapping[str, Tensor]) -> SceneData:
    """The scene with refined poses, by the names of views."""

    def place(view: View) -> View:
        pose = poses.get(view.name)
        if pose is None:
            return view
        return replace(view, camera=replace(view.camera, world_to_camera=pose))

    return replace(scene, train=tuple(map(place, scene.train)), test=tuple(map(place, scene.test)))


def _reading_of(scene: SceneData) -> Reading | None:
    """The way to read a scene again such that it is the same, or None where there is none."""
    train, test = ([view.name for view in views] for views in (scene.train, scene.test))
    listed = "none" if not test else "all" if train == test else ",".join(test)
    ways = [(outside, eval) for outside in (False, True) for eval in (Reading.eval, listed)]
    for outside, eval in ways:
        reading = Reading(eval=eval, allow_outside=outside)
        try:
            again = read_scene(scene.path, reading)
        except (OSError, ValueError):
            continue
        if _same(again.train, scene.train) and _same(again.test, scene.test):
            return reading
    return None


def _same(first: Sequence[View], second: Sequence[View]) -> bool:
    def alike(a: View, b: View) -> bool:
        files = _files(a) == _files(b)
        poses = torch.equal(a.camera.world_to_camera, b.camera.world_to_camera)
        return files and poses and torch.equal(a.camera.K, b.camera.K)

    return len(first) == len(second) and all(map(alike, first, second))


def _files(view: View) -> tuple[object, ...]:
    return view.name, view.image, view.mask, view.lens, view.depth, view.normal


def _carried_out(
    job: Job,
    folder: Folder | None,
    watching: Watching,
    watchers: Sequence[Watcher],
    lpips: Net | None,
    viewing: Viewing | None,
    done: Callable[[Result], None] | None,
    hold: ExitStack,
) -> Result:
    """Train a job to its end and finish it; then, where there is a viewer, go on serving it.

    `hold` is what keeps other processes from training in the folder until then.
    """
    if job.run.ranks.first:
        announce(job)
        if folder is not None:
            _log.info("disk      %s", DiskPlan.of(job.run, folder, watching).text())
    with ExitStack() as stack:
        viewer = _viewer(job, folder, viewing)
        if viewer is not None:
            stack.enter_context(closing(viewer))
        seconds = run_to_end(job, folder, watching, watchers, viewer)
        if sent := sharing.sent_text(job.run):
            _log.info("shard     %s", sent)
        job.run.make_whole()
        between = (lambda: None) if viewer is None else viewer.serve
        # From the CPU: what is pickled on a GPU comes to life on the first one of every machine.
        whole = job.run.ranks.agreed(lambda: baked_stand_in(job).to("cpu"))
        kept_away = job.run.model.cloud.kept_away
        drawn = whole if kept_away else whole.to(job.run.render.device)
        metrics = finish(
            job, folder, seconds, lpips, whole=drawn, pictures=watching.pictures, between=between
        )
        del drawn
        baked = gaussians_from_frame(whole, job.run.frame)
        behind = job.run.background
        back = None if behind is None else behind.to("cpu")
        result = Result(
            DrawnGaussians.of(baked.to("cpu"), job.run.drawing, back),
            metrics,
            None if folder is None else folder.path,
            cameras=tuple(
                camera_from_frame(camera, job.run.frame).to("cpu")
                for camera in (job.held_out or job.photos).cameras
            ),
        )
        if done is not None and job.run.ranks.first:
            done(result)
        hold.close()
        if viewer is not None and viewing is not None:
            viewer.linger(summary(metrics), metrics["psnr"], viewing.stay)
        return result


def _forgetting(folder: Folder) -> Watcher:
    """A watcher that lets go of the run before, once a checkpoint of this one is there."""

    kept = folder.replaced.is_there

    def look(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        nonlocal kept
        del run, step, losses, change
        kept = kept and not folder.forget_replaced()

    return look


def _met(viewing: Viewing | None) -> Ranks:
    """The processes of a run, where torchrun started several; only the first of them logs."""
    ranks = current_ranks()
    if not ranks.alone and viewing is not None and viewing.viewer:
        raise ValueError(
            f"the viewer is asked for in a run of {ranks.count} processes, which nobody can steer"
            " from a page; leave --viewer out, and look at the run with `splat view` when it is"
            " done"
        )
    if not ranks.first:
        logging.getLogger("splat").setLevel(logging.ERROR)
    return ranks


def _viewer(job: Job, folder: Folder | None, viewing: Viewing | None) -> LiveViewer | None:
    if viewing is None or not viewing.viewer:
        return None
    from splat.viewer.opening import open_viewer  # viser comes with it, which few processes need

    if folder is None:
        return open_viewer(job, viewing, None, None)
    return open_viewer(job, viewing, folder.timeline, folder.log)


def _further(options: Options, state: checkpoint.State, steps: int) -> Options:
    """The options of a run that goes on beyond its end."""
    options = replace(options, steps=steps, minutes=None)
    return replace(options, psnr=None, patience=0) if state.get("ended") else options


def _pinned(asked: Options, job: Job) -> Options:
    """The options asked for, with the decisions that a resume must not take anew."""
    fitted = job.options
    return replace(
        asked,
        steps=fitted.steps,
        max_side=fitted.max_side,
        downscale=fitted.downscale,
        background=fitted.background,
        resolution=fitted.resolution,
        exposure=fitted.exposure,
        decoding=fitted.decoding,
        points_weight=fitted.points_weight,
    )


def _write_cameras(job: Job, folder: Folder) -> None:
    sizes = {
        view.name: (camera.width, camera.height)
        for loader in (job.photos, job.held_out)
        if loader is not None
        for view, camera in zip(loader.views, loader.cameras, strict=True)
    }
    write_cameras(folder.cameras, job.scene, sizes)
