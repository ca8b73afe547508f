"""A budget of minutes: a short run is timed, then the number of steps that fits is fixed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from splat.core.edit import Append, Change, Edit, Overwrite
from splat.core.schedule import PUBLISHED_STEPS
from splat.core.step import Step
from splat.kernels import one_torch_thread
from splat.loop import Run, advance
from splat.math import spread
from splat.options import Options
from splat.parallel import ALONE, Ranks
from splat.planning import predict
from splat.planning.ladder import step_parts
from splat.planning.predict import Pace
from splat.system.text import span
from splat.training.decide import Decided
from splat.training.prepare import Job, prepare
from splat.types import Batch, SceneData

LEAST_STEPS = 300
"""Least number of steps; fewer make no scene, whatever the budget."""
SHARE = 0.8
"""Share of the budget that is planned for: a limit is a limit, and machines have slow minutes.
Planned with 0.9, two runs of five took 1.1 of their minute where others used the machine."""
RIPE_STEPS, RIPE_SHARE = 200, 0.06
"""Steps of a short run whose end is timed, and the longest share of the budget spent on it. Rows as
a run begins with them are small and apart: planned by its first steps, a run of 60,000 took 3.6
times as long as planned. After 150 steps of a run they cost what they cost in the end."""
TIMED_SHARE, TIMED_SECONDS = 0.04, 6.0
"""Longest time spent on timing steps: share of the budget, and seconds."""
TIMED_VIEWS = 8
"""Views that are timed, evenly spread: views of a scene differ in what they cost."""
LIMIT_EVERY = 10
"""Steps between looks at the clock; several processes have to agree on what it says."""
UNTIMED_STEPS = 4
"""First steps, which take memory for the first time."""

Clock = Callable[[], float]

_log = logging.getLogger(__name__)


def prepare_timed(
    scene: SceneData,
    decided: Decided,
    clock: Clock = time.monotonic,
    ranks: Ranks = ALONE,
) -> Job:
    """`prepare`, with the number of steps fixed by timing where there is a budget of minutes.

    What is timed is thrown away: the run depends on the number alone, not on how it was found.
    """
    strategy, options = decided.strategy, decided.options
    ranks = ranks.showing(options.batch)
    if options.minutes is None:
        return prepare(scene, strategy, options, ranks=ranks, decided=decided)
    seconds, most = 60 * options.minutes, options.steps or PUBLISHED_STEPS
    _log.info("timing    some steps, to fit the run into %s ...", span(seconds))
    with unsaid():
        short = replace(options, steps=min(ranks.steps_of(RIPE_STEPS), most))
        job = prepare(scene, strategy, short, ranks=ranks, decided=replace(decided, options=short))
    with closing(job):
        start = job.run.model.draws * len(job.run.model.cloud)
        pace = measured_pace(job, seconds, clock)
        steps, needed = ranks.agreed(lambda: steps_within(job, start, most, pace, seconds))
    _say(options, steps, needed + pace.spent)
    options = replace(options, steps=steps)
    decided = replace(decided, options=options)
    return prepare(scene, strategy, options, pace=pace, ranks=ranks, decided=decided)


class TimeLimit:
    """A watcher that ends a run whose minutes are over, however wrong their prediction was."""

    def __init__(self, minutes: float, spent: Callable[[], float]) -> None:
        """`spent` gives the seconds of training so far, those before a resume included."""
        self._seconds, self._spent = 60 * minutes, spent

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        del step, losses, change
        if run.step % LIMIT_EVERY or run.step * run.at_once < LEAST_STEPS or run.over:
            return
        if run.ranks.same(self._spent() > self._seconds):
            run.ended = f"{span(self._seconds)}, which were asked for, are over"


def measured_pace(job: Job, seconds: float, clock: Clock = time.monotonic) -> Pace:
    """How long decoding and steps of a job take here; the job, a short one, is spent on it.

    Steps are timed with rows as they are at its end, and with as many as the run to be planned will
    have on average; where it begins with smaller pictures, half of them with such, which tells what
    steps cost whose pictures are of any size.
    """
    run, threads, began = job.run, job.options.threads or 1, clock()
    indices = spread(len(job.photos), TIMED_VIEWS)
    # Already decoded, so that a step is what is timed.
    whole = [job.photos.batch(index) for index in indices]
    decoded = now = clock()
    sizes = job.photos.sizes
    amid_small = round(sizes.phases[-1][0] * sizes.steps) // 2
    small = [job.photos.batch_at(index, amid_small) for index in indices]
    area, small_area = _mean_area(whole), _mean_area(small)
    with one_torch_thread():
        while not run.over and _alike(run, now - decoded < RIPE_SHARE * seconds):
            advance(run)
            now = _settled(run.render.device, clock)
        grow(run, round(predict.mean_rows(len(run.model.cloud), job.strategy.cap)))
        rows = run.model.draws * len(run.model.cloud)
        fixed, of_pixels = step_parts(run.render.device, area, rows, threads)
        of_pixels *= run.ranks.photos
        limit = min(TIMED_SHARE * seconds, TIMED_SECONDS)
        if small_area == area:
            taken = _per_step(run, whole, limit, clock)
            step = pixels = taken / (fixed + of_pixels)
        else:
            taken, less = (_per_step(run, each, limit / 2, clock) for each in (whole, small))
            added = min(max((taken - less) / (1 - small_area / area), 0.0), taken)
            step, pixels = (taken - added) / fixed, added / of_pixels
    on_disk = sum(
        view.camera.width * view.camera.height
        for view in (job.photos.views[index] for index in indices)
    )
    return Pace(
        step=step,
        pixels=pixels,
        decoding=(decoded - began) / (predict.DECODE_SECONDS * on_disk),
        spent=clock() - began,
    )


def _per_step(run: Run, batches: Sequence[Batch], least: float, clock: Clock) -> float:
    """Seconds a step, over as many as take `least` seconds and show each of the batches."""
    run.batches = lambda step: batches[step % len(batches)]
    for _ in range(UNTIMED_STEPS):
        advance(run)
    start = now = _settled(run.render.device, clock)
    count = 0
    while _alike(run, count < len(batches) or now - start < least):
        advance(run)
        now, count = _settled(run.render.device, clock), count + 1
    return (now - start) / count


def _mean_area(batches: Sequence[Batch]) -> float:
    """Mean number of pixels of the pictures."""
    return sum(batch.camera.width * batch.camera.height for batch in batches) / len(batches)


def _alike(run: Run, value: bool) -> bool:
    """The value that the first of the processes of a run has."""
    return run.ranks.same(value)


@torch.no_grad()
def grow(run: Run, rows: int) -> None:
    """Append copies of rows to a run until it has so many, each smaller, about as growth would.

    Copies lie within the Gaussian they come from. Sides shrink by the cube root, so that all cover
    a little more together than before: a grown cloud was as slow on photographs of two scenes.
    """
    cloud = run.model.cloud
    factor = rows / len(cloud)
    if factor <= 1:
        return
    draw = torch.Generator(cloud.device).manual_seed(0)
    count = rows - len(cloud)
    parents = torch.randint(len(cloud), (count,), generator=draw, device=cloud.device)
    born = cloud.rows(parents)
    shift = torch.randn(count, 3, generator=draw, device=cloud.device)
    place, reach = run.model.place, run.model.reach
    born[place] += shift * born[reach][:, -3:].exp()
    smaller = math.log(factor) / 3
    born[reach] -= smaller
    old = cloud[reach].detach() - smaller
    run.model.apply(
        Edit(
            append=(Append(born, parents, "timing"),),
            overwrite=(Overwrite(reach, old, "timing"),),
        )
    )


def steps_within(job: Job, start: int, most: int, pace: Pace, seconds: float) -> tuple[int, float]:
    """Most steps that fit into a budget, and the seconds that they take, timing left out.

    At least `LEAST_STEPS`, at most `most`. `job` began with `start` Gaussians.
    """

    def needed(steps: int) -> float:
        options = replace(job.options, steps=job.run.ranks.steps_of(steps))
        cap = job.run.model.draws * job.strategy.cap
        views, device = job.scene.train, job.run.render.device
        return predict.predict(views, options, device, start, cap, job.photos.sizes, pace).seconds

    low, high = min(LEAST_STEPS, most), most
    left = SHARE * seconds - pace.spent
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if needed(middle) <= left else (low, middle - 1)
    return low, needed(low)


def _say(options: Options, steps: int, needed: float) -> None:
    assert options.minutes is not None
    seconds = 60 * options.minutes
    if needed > seconds:
        _log.warning(
            "warning: %s are too short for %s steps, which is the least; they will take about %s",
            span(seconds),
            f"{steps:,}",
            span(needed),
        )
        return
    _log.info(
        "budget    %s steps fit into %s; --steps %d in place of --minutes makes the same run, if"
        " they do fit: it ends when the time is over",
        f"{steps:,}",
        span(seconds),
        steps,
    )


def _settled(device: torch.device, clock: Clock) -> float:
    """The time once the device has done all that was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock()


@contextmanager
def unsaid() -> Iterator[None]:
    """Within, nothing is logged: the real run says it all again."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
