"""Scenes that move: the times of views as parts of a clip, and what of one is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from splat.datasets.cuts import photo_of
from splat.scene import Clip, SceneData, View, standing_alike

RATE = 25
"""Instants a second where a dataset says times as parts of its clip, and not how long that is."""
LEAST_CAMERAS = 5
"""A rig of fewer has none to spare: what it is measured by are instants."""
EVERY, RUN = 8, 4
"""One camera, or one run of instants, in so many is held out; and the most instants of a run."""
INSTANTS = "instants"
"""What `--eval` calls instants that are held out of all cameras."""


def with_clip(scene: SceneData) -> SceneData:
    """The scene with times from 0 to 1, and its clip where there are several instants.

    Times that already are from 0 to 1 stay, and are parts of as many seconds as the reader's clip
    has, where it set one; others are seconds. Those of a scene that stands still are 0.
    """
    views = (*scene.train, *scene.test)
    times = sorted({view.camera.time for view in views})
    if len(times) < 2:
        scene = replace(scene, clip=None)
        return _timed(scene, times[0], 0.0) if times != [0.0] else scene
    begin, length, parts = times[0], times[-1] - times[0], times[0] >= 0 and times[-1] <= 1
    known = scene.clip is not None and parts
    seconds = (len(times) - 1) / RATE if parts else length
    seconds = scene.clip.seconds if known and scene.clip is not None else seconds
    clip = Clip(seconds=seconds, instants=len(times))
    kind = f"{clip.instants} instants" + ("" if parts and not known else f", {seconds:.3g} s")
    moved = scene if parts else _timed(scene, begin, 1 / length)
    moved = replace(moved, clip=clip, notes=(*moved.notes, f"the scene moves: {kind}"))
    return _of_the_clip(moved, clip)


def _of_the_clip(scene: SceneData, clip: Clip) -> SceneData:
    """The scene without points whose instant lies outside of the clip, by more than half the time
    from one instant to the next; raises ValueError where all of them do."""
    points = scene.points
    times = None if points is None else points.array_or_none("times")
    if points is None or times is None:
        return scene
    most = 0.5 / (clip.instants - 1)
    outside = np.abs(times - np.float32(0.5)) > np.float32(0.5 + most)
    count = int(outside.sum())
    if not count:
        return scene
    if count == len(outside):
        raise ValueError(
            f"{scene.path}: its {count:,} points are of times from {float(times.min()):.3g} to"
            f" {float(times.max()):.3g} of the clip; expected 0 to 1: give points and photos times"
            " of one unit"
        )
    said = f"{count:,} of {len(outside):,} points are of times outside of the clip and were dropped"
    return replace(scene, points=points.kept(~outside), notes=(*scene.notes, said))


def _timed(scene: SceneData, begin: float, scale: float) -> SceneData:
    """The scene with times less `begin`, times `scale`."""

    def timed(view: View) -> View:
        time = (view.camera.time - begin) * scale
        return replace(view, camera=view.camera.changed(time=time))

    points = scene.points
    times = None if points is None else points.array_or_none("times")
    if points is not None and times is not None:
        moved = ((times.astype(np.float64) - begin) * scale).astype(np.float32)
        points = points.at_times(moved if scale else None)
    return replace(
        scene,
        train=tuple(map(timed, scene.train)),
        test=tuple(map(timed, scene.test)),
        points=points,
    )


def taken_together(views: Sequence[View]) -> tuple[View, ...]:
    """The views of a clip, told which of them one physical camera took from where it stands.

    Its exposure, and what its pose is off by, are the same at all instants. Of a camera that moves
    each view stays of its own.
    """
    stands = standing_alike([view.camera for view in views])
    numbers = {stand: number for number, stand in enumerate(dict.fromkeys(stands))}
    if len(numbers) == len(views):
        return tuple(views)
    return tuple(
        replace(view, camera=view.camera.changed(taken_by=numbers[stand]))
        for view, stand in zip(views, stands, strict=True)
    )


def is_for_clips(eval: str) -> bool:
    """Whether `held_out` is who knows what this asks for."""
    return eval.isdigit() or eval.partition(":")[0] in ("auto", INSTANTS)


def held_out(views: Sequence[View], eval: str) -> tuple[tuple[View, ...], str]:
    """What is held out of a clip, and what to say.

    `auto`: whole cameras of a rig, the first and then every 8th, as instants between two that are
    trained on flatter; where one camera moves, or a rig has few, runs of up to 4 instants, one run
    in 8. A number N: one camera in N, or one instant. `instants:N`: one instant in N, of all
    cameras.
    """
    word, _, number = eval.partition(":")
    every = EVERY if word == "auto" else _every(eval, number if word == INSTANTS else word)
    stands = standing_alike([view.camera for view in views])
    cameras = sorted(set(stands))
    if word != INSTANTS and len(cameras) >= LEAST_CAMERAS and 2 * len(cameras) <= len(views):
        firsts = {stand: view for stand, view in reversed([*zip(stands, views, strict=True)])}
        ordered = sorted(cameras, key=lambda stand: firsts[stand].name)
        out = set(ordered[::every])
        photos = {photo_of(v) for v, stand in zip(views, stands, strict=True) if stand in out}
        said = f"{len(out)} of {len(cameras)} cameras are held out (one in {every}, by name)"
    else:
        times = sorted({view.camera.time for view in views})
        run = max(1, min(RUN, len(times) // (4 * every))) if word == "auto" else 1
        # The ends of a clip are trained on: nothing is measured beyond them.
        out_of = {time for i, time in enumerate(times) if i // run % every == every // 2}
        photos = {photo_of(view) for view in views if view.camera.time in out_of}
        runs = f" in runs of {run}" if run > 1 else ""
        said = f"{len(out_of)} of {len(times)} instants are held out (one in {every}{runs})"
    return tuple(view for view in views if photo_of(view) in photos), said


def _every(eval: str, number: str) -> int:
    every = int(number or EVERY) if (number or "8").isdigit() else 0
    if every < 2:
        raise ValueError(
            f"--eval {eval}: expected a number of 2 or more, one camera or instant in so many, or"
            f" {INSTANTS}:N"
        )
    return every
