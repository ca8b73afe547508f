"""What is said of a run before its first step, or before it goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from splat import guidance, kernels
from splat.kernels import NEAR
from splat.loop import Run
from splat.recipes import recipe
from splat.recipes.page import never_done
from splat.system.text import span
from splat.training.goals import goals_text
from splat.training.prepare import Job
from splat.types import Camera, SceneData

_log = logging.getLogger(__name__)


def announce(job: Job) -> None:
    """Log what is about to happen: scene, device, size, memory, time."""
    scene, run = job.scene, job.run
    say = _log.info
    say("scene     %s", _scene_line(scene))
    for note in scene.notes:
        say("          %s", note)
    say("device    %s", _device_line(job))
    say("photos    %s", _sizes_line(scene, job.photos.cameras))
    if smaller := job.photos.sizes.text():
        say("          %s", smaller)
    cap = f", at most {run.strategy.cap:,}" if run.strategy.cap else ""
    method = recipe.shown(job.strategy)
    say("method    %s, from %s %s%s", method, f"{run.rows:,}", run.model.unit, cap)
    if never := never_done(job.strategy, run.strategy, run.steps):
        say("          in %s steps it never comes to: %s", f"{run.steps:,}", ", ".join(never))
    left = job.plan.seconds * (1 - run.step / run.steps)
    done = f" from step {run.step:,}" if run.step else ""
    if run.model.region is not None:
        say("crop      births, and files, within %s only", run.model.region.text())
    if run.drawing.near is not None:
        say(
            "near      nothing closer to a camera than %.3g is drawn while training; figures are"
            " from %.3g on, as other programs draw", run.drawing.near, NEAR,
        )  # fmt: skip
    if not run.sensor.idle:
        say("sensor    %s", run.sensor.text())
    for line in guidance.guidance_text(scene.train, run.objectives):
        say("guided    %s", line)
    then = span(job.plan.ending_seconds)
    say(
        "steps     %s%s, about %s, then %s for figures and files",
        f"{run.steps:,}",
        done,
        span(left),
        then,
    )
    if run.at_once > 1:
        say("parallel  %s", _parallel(run))
    if counts := run.model.cloud.shard.counts:
        most = f"{max(counts):,} {run.model.unit}"
        say("shard     each process holds at most %s, which go to where they are drawn", most)
    if run.script:
        to_come = sum(run.step <= command.step < run.steps for command in run.script)
        say("replay    %s of %s changes are to come", f"{to_come:,}", f"{len(run.script):,}")
    if ends := goals_text(job.options, scene):
        say("ends      %s", ends)
    say("memory    %s", job.plan.text())
    if scene.clip is not None and run.model.motion() is None:
        _log.warning(
            "warning: the scene moves, and %s makes one picture of all of its %s instants; add"
            " `+ moving`", recipe.names(job.strategy), f"{scene.clip.instants:,}",
        )  # fmt: skip
    if job.plan.free is not None and job.plan.host > job.plan.free:
        _log.warning(
            "warning: that is more memory than is free; give --memory, or lower --cap or --max-side"
        )


def _parallel(run: Run) -> str:
    """The photos that a step shows, in how many processes, and what follows of it."""
    count, scaling = run.at_once, run.model.cloud.scaling
    processes = "" if run.ranks.alone else f"{run.ranks.count} processes: "
    return (
        f"{processes}{run.steps:,} steps of {count} photos each, the mean of their"
        f" gradients; learning rates x {scaling.rate:.3g} and Adam's betas to the power of {count}"
        " (square root rule, Malladi et al. 2022)"
    )


def _scene_line(scene: SceneData) -> str:
    """What is in a scene, in a line."""
    total = len({view.name for view in (*scene.train, *scene.test)})
    points = "no points" if scene.points is None else f"{len(scene.points.positions):,} points"
    return (
        f"{scene.path} ({scene.format}): {total} photos, {len(scene.train)} to train on,"
        f" {len(scene.test)} held out, {points}"
    )


def _device_line(job: Job) -> str:
    """Which device was taken and why."""
    if job.run.render.device.type == "cuda":
        return job.decided.why("device")
    return f"{job.decided.why('device')}; {job.options.threads} threads, {kernels.isa()}"


def _sizes_line(scene: SceneData, cameras: Sequence[Camera]) -> str:
    """Sizes of the pictures that are trained on."""
    pairs = {
        ((c.width, c.height), (v.camera.width, v.camera.height))
        for c, v in zip(cameras, scene.train, strict=True)
    }
    (small, large), *others = sorted(pairs, reverse=True)
    text = f"{small[0]}x{small[1]} pixels"
    if small != large:
        text += f", shrunk from {large[0]}x{large[1]}"
    return text + (f" (and {len(others)} other sizes)" if others else "")
