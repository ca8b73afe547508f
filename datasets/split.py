"""Which views are held out, never to be trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from splat.datasets import clip
from splat.datasets.cuts import photo_of
from splat.datasets.photo import is_there
from splat.scene import SceneData, View
from splat.system.foreign import content, reading

_EVERY = 8
_STRETCH = 0.2


def split(scene: SceneData, eval: str = "auto") -> SceneData:
    """The scene with the views told apart anew, both lists sorted by name.

    `auto`: the dataset's own split, or every 8th; a number N: every Nth by name, from the first;
    `path`: a fifth of the photos in one piece, from the middle of the path along which they were
    taken, so that what is measured stands off the path of what trains; `all`: train on all and
    evaluate on all; `none`: train on all, evaluate on none; else names, in a text file (one a
    line) or separated by commas. Of a scene that moves `auto` and numbers hold out whole cameras,
    or runs of instants, and `instants:N` one instant in N (`splat.datasets.clip`).
    """
    if eval == "auto" and scene.test:
        said = f"the dataset's own split holds out {len(scene.test)} views"
        return told_apart(scene, scene.train, scene.test, said)
    views = tuple(sorted((*scene.train, *scene.test), key=lambda view: view.name))
    if eval == "all":
        return told_apart(scene, views, views, f"all {len(views)} views train and are evaluated")
    if eval == "none" or (eval == "auto" and len({photo_of(view) for view in views}) < 3):
        return told_apart(scene, views, (), f"no view of {len(views)} is held out")
    if scene.clip is not None and clip.is_for_clips(eval):
        test, said = clip.held_out(views, eval)
    elif eval == "auto" or eval.isdigit():
        every = _EVERY if eval == "auto" else int(eval)
        if every < 2:
            raise ValueError(f"--eval {eval}: leaves no view to train on; expected 2 or more")
        test, said = _every(views, every)
    elif eval == "path":
        test, said = _stretch(views)
    else:
        test = _named(views, eval)
        said = f"{len(test)} of {len(views)} views are held out, by name"
    out = {view.name for view in test}
    return told_apart(scene, tuple(v for v in views if v.name not in out), test, said)


def _every(views: tuple[View, ...], every: int) -> tuple[tuple[View, ...], str]:
    """Every so many photos, with all views that were cut out of them, and what to say."""
    photos = sorted({photo_of(view) for view in views})
    chosen = set(photos[::every])
    test = tuple(view for view in views if photo_of(view) in chosen)
    said = f"{len(test)} of {len(views)} views are held out (one in {every}, by name)"
    if len(photos) < len(views):
        said = f"{len(chosen)} of {len(photos)} photos are held out (one in {every}, by name)"
    return test, said


def holds_out_a_stretch(scene: SceneData) -> bool:
    """Whether the held-out views are those that `path` would hold out."""
    views = tuple(sorted((*scene.train, *scene.test), key=lambda view: view.name))
    names = {view.name for view in scene.test}
    if not names or names & {view.name for view in scene.train}:
        return False
    return names == {view.name for view in _stretch(views)[0]}


def _stretch(views: tuple[View, ...]) -> tuple[tuple[View, ...], str]:
    """A fifth of the path, around its middle, and what to say."""
    from splat.render.camera_order import path_order  # SciPy comes with it, which few splits need

    first = {photo_of(view): view for view in reversed(views)}
    photos = sorted(first)
    order = path_order([first[photo].camera for photo in photos], photos)
    count = max(1, round(len(photos) * _STRETCH))
    begin = (len(photos) - count) // 2
    chosen = [photos[i] for i in order[begin : begin + count]]
    test = tuple(view for view in views if photo_of(view) in chosen)
    said = (
        f"{count} of {len(photos)} photos are held out, a stretch of the path from {chosen[0]} to"
        f" {chosen[-1]}"
    )
    return test, said


def told_apart(
    scene: SceneData, train: tuple[View, ...], test: tuple[View, ...], said: str
) -> SceneData:
    """The scene with these views to train on, numbered anew, and those held out; `said` is noted
    with it."""
    if len(train) < 2:
        raise ValueError(
            f"{scene.path}: {len(train)} of {len(train) + len(test)} photos is left to train on; "
            "expected at least 2, taken from different places: add photos, or give --eval none"
        )
    numbered = tuple(
        replace(view, camera=view.camera.changed(index=i)) for i, view in enumerate(train)
    )
    if scene.clip is not None:
        numbered = clip.taken_together(numbered)
    return replace(scene, train=numbered, test=test, notes=(*scene.notes, said))


def _named(views: tuple[View, ...], eval: str) -> tuple[View, ...]:
    listed = eval.split(",")
    if len(listed) == 1 and is_there(Path(eval)):
        with reading(Path(eval), "names of views, a line each"):
            listed = content(Path(eval)).decode("utf-8").splitlines()
    names = [name.strip() for name in listed if name.strip()]
    by_name = {PurePosixPath(photo_of(v)).with_suffix("").as_posix(): photo_of(v) for v in views}
    by_name |= {photo_of(view): photo_of(view) for view in views}
    by_name |= {view.name: photo_of(view) for view in views}
    if unknown := [name for name in names if name not in by_name]:
        raise ValueError(
            f"--eval {eval}: there is no view called {unknown[0]}; expected auto, path, all, none,"
            f" a number, instants:N of a scene that moves, or names such as {views[0].name}, in a"
            " text file or separated by commas"
        )
    chosen = {by_name[name] for name in names}
    return tuple(view for view in views if photo_of(view) in chosen)
