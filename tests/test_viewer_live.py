"""The viewer of a run that trains, with visitors that have no browser."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from visitors import Window, guest

pytest.importorskip("viser")

import splat
from splat import api, formats
from splat.cli.viewing import viewing_for
from splat.core.edit import SPLIT, Change
from splat.core.frame import gaussians_from_frame
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.loop import Run
from splat.options import Options, Viewing, Watching
from splat.runs import checkpoint
from splat.runs.folder import Folder
from splat.strategies.adc import Adc
from splat.strategies.mcmc import Mcmc
from splat.strategies.scaffold import Scaffold
from splat.strategies.scaffold.coded import Coded
from splat.training.stop import Stopped
from splat.viewer import opening
from splat.viewer.live import LiveViewer
from splat.viewer.look import Look

STEPS = 120
VIEWING = Viewing(viewer=True, port=0, snapshots=4)
Act = Callable[[LiveViewer, Run], None]


class Director:
    """Acts on the viewer of a run right before some of its steps are looked at."""

    def __init__(self, acts: Mapping[int, Act], stay: bool = False) -> None:
        """`stay`: visitors are still there when training is over."""
        self.acts, self.stay = dict(acts), stay
        self.viewer: LiveViewer | None = None

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        act = self.acts.pop(run.step, None)
        if act is not None and self.viewer is not None:
            act(self.viewer, run)
        if run.over and not self.stay and self.viewer is not None:
            self.viewer.stage.guests.clear()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, as for people: a shell's background jobs are begun without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def directed(
    monkeypatch: pytest.MonkeyPatch, acts: Mapping[int, Act], stay: bool = False
) -> Iterator[Director]:
    director, real = Director(acts, stay), opening.open_viewer

    def opened(*arguments: Any) -> LiveViewer:
        director.viewer = real(*arguments)
        return director.viewer

    monkeypatch.setattr(opening, "open_viewer", opened)
    yield director


def options(**more: Any) -> Options:
    return Options(steps=STEPS, device="cpu", threads=2, **more)


METHODS: dict[str, Strategy] = {
    "mcmc": Mcmc(cap=600),
    "scaffold": Scaffold(),
    "coded": Coded(Scaffold()),
}
"""Rows that are Gaussians, and such as make them for each camera."""


def trained(
    folder: Path,
    out: Path,
    director: Director | None = None,
    strategy: Strategy = METHODS["mcmc"],
    **more: Any,
) -> api.Result:
    return api.train(
        splat.load(folder),
        strategy,
        options(),
        out=out,
        watching=Watching(quiet=True, checkpoint_every=40, keep=9, pictures=False),
        watchers=[] if director is None else [director],
        lpips=None,
        **more,
    )


def welcome(viewer: LiveViewer, number: int = 0, **look: Any) -> Window:
    """Somebody comes."""
    visitor, window = guest(number=number)
    visitor.change(**look)
    viewer.stage.guests[number] = visitor
    return window


def saved(out: Path, step: int = STEPS) -> bytes:
    return checkpoint.path_of(Folder(out).checkpoints, step).read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_watching_changes_nothing(
    method: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two visitors, one of whom never stands still, in modes that look hardest: the same bytes."""
    strategy = METHODS[method]
    trained(tiny_folder, tmp_path / "alone", strategy=strategy)
    windows: list[Window] = []

    def come(viewer: LiveViewer, run: Run) -> None:
        viewer.stage.pace.share = 0.9
        windows.append(welcome(viewer, 0, mode="heatmap", heat="significance"))
        windows.append(welcome(viewer, 1, mode="events", doomed=True, floaters=False))

    acts: dict[int, Act] = {5: come}
    for step in range(6, STEPS):
        acts[step] = lambda viewer, run: windows[1].move(0.01 * run.step)
    with directed(monkeypatch, acts) as director:
        trained(tiny_folder, tmp_path / "watched", director, strategy, viewing=VIEWING)
    assert all(window.pictures for window in windows)
    for step in (40, 80, STEPS):
        assert saved(tmp_path / "watched", step) == saved(tmp_path / "alone", step)
    assert not windows[0].told and not windows[1].told
    names = sorted(path.name for path in Folder(tmp_path / "watched").timeline.iterdir())
    assert names == [f"step_{n:08d}.compressed.ply" for n in (1, 30, 60, 90, 120)]


def test_what_is_changed_is_recorded_and_replays(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At step 40, where a checkpoint is written, and later; resumed from there, and replayed."""
    acts: dict[int, Act] = {
        39: lambda viewer, run: viewer.stage.wish(lambda: viewer.set("mcmc.cap", 550.0)),
        70: lambda viewer, run: viewer.stage.wish(lambda: viewer.set("rate", 0.5)),
    }
    with directed(monkeypatch, acts) as director:
        result = trained(tiny_folder, tmp_path / "steered", director, viewing=VIEWING)
    assert [(c["step"], c["name"], c["value"]) for c in result.metrics["commands"]] == [
        (40, "mcmc.cap", 550),
        (71, "rate", 0.5),
    ]
    lines = [json.loads(x) for x in Folder(tmp_path / "steered").log.read_text().splitlines()]
    assert [line["step"] for line in lines if "command" in line] == [40, 71]
    final = saved(tmp_path / "steered")
    api.train(
        splat.load(tiny_folder),
        Mcmc(cap=600),
        options(replay=tmp_path / "steered"),
        out=tmp_path / "again",
        watching=Watching(quiet=True, checkpoint_every=40, pictures=False),
        lpips=None,
    )
    assert saved(tmp_path / "again") == final
    place = Folder(tmp_path / "again")
    for path in checkpoint.checkpoints_in(place.checkpoints)[1:]:
        path.unlink()
    place.metrics.unlink()
    api.resume(place.path, watching=Watching(quiet=True, pictures=False), lpips=None)
    assert saved(tmp_path / "again") == final


def test_a_change_that_does_not_fit_is_told_and_nothing_changes(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[Window] = []

    def wish(viewer: LiveViewer, run: Run) -> None:
        windows.append(welcome(viewer))
        visitor = viewer.stage.guests[0]
        viewer.stage.wish(lambda: viewer.set("mcmc.cap", 10.5), visitor)
        viewer.stage.wish(lambda: viewer.set("mcmc.hat", 1), visitor)
        viewer.stage.wish(lambda: viewer.set("rate", float("nan")), visitor)

    with directed(monkeypatch, {10: wish}) as director:
        result = trained(tiny_folder, tmp_path / "run", director, viewing=VIEWING)
    assert len(windows[0].told) == 3 and "mcmc.cap" in windows[0].told[0][1]
    assert "commands" not in result.metrics


def test_pause_stands_still_and_one_step_is_one_step(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused for half a second, in which pictures go on; then a step, then on. Time stands too."""
    seen: list[tuple[str, int]] = []
    windows: list[Window] = []

    def pause(viewer: LiveViewer, run: Run) -> None:
        windows.append(welcome(viewer))
        viewer.stage.wish(lambda: viewer.pause(True))

        def script() -> None:
            time.sleep(0.3)
            seen.append(("paused", run.step))
            windows[0].move(0.3)
            count = len(windows[0].pictures)
            time.sleep(0.6)
            seen.append(("pictures", len(windows[0].pictures) - count))
            viewer.stage.wish(viewer.step_once)
            time.sleep(0.3)
            seen.append(("stepped", run.step))
            seen.append(("waited", round(run.waited, 1)))
            viewer.stage.wish(lambda: viewer.pause(False))

        threading.Thread(target=script, daemon=True).start()

    with directed(monkeypatch, {20: pause}) as director:
        result = trained(tiny_folder, tmp_path / "run", director, viewing=VIEWING)
    found = dict(seen)
    assert found["paused"] in (20, 21) and found["stepped"] == found["paused"] + 1
    assert found["pictures"] >= 2  # one while it moves, one when it stands
    assert result.metrics["steps"] == STEPS
    log = Folder(tmp_path / "run").log.read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in log]
    assert max(b - a for a, b in pairwise(seconds)) < 0.9


def test_a_picture_that_raises_is_told_and_training_goes_on(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[Window] = []

    def come(viewer: LiveViewer, run: Run) -> None:
        windows.append(welcome(viewer))
        windows.append(welcome(viewer, 1))

        def broken(look: Look, camera: Any) -> Any:
            raise RuntimeError("the paint is dry")

        monkeypatch.setattr(viewer.stage.easel, "picture", broken)

    def mend(viewer: LiveViewer, run: Run) -> None:
        monkeypatch.undo()
        windows[0].move(0.1)

    # So much of the time that both are served within these few steps, however quick they are.
    eager = replace(VIEWING, viewer_share=0.9)
    with directed(monkeypatch, {10: come, 60: mend}) as director:
        result = trained(tiny_folder, tmp_path / "run", director, viewing=eager)
    assert result.metrics["steps"] == STEPS
    for window in windows:
        assert ("This cannot be drawn", "RuntimeError: the paint is dry") in window.told
        assert len(window.told) == 1
    assert windows[0].pictures


def test_a_browser_that_is_gone_or_nowhere_harms_nobody(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[Window] = []

    def come(viewer: LiveViewer, run: Run) -> None:
        viewer.stage.pace.share = 0.9
        gone, lost, well = (welcome(viewer, number) for number in range(3))

        def refused(*_: Any, **__: Any) -> None:
            raise ConnectionError("gone in the middle of a drag")

        gone.scene.set_background_image = refused
        gone.add_notification = refused  # type: ignore[method-assign]
        lost.camera.position = np.array([np.nan, 0, 0])
        windows.extend((lost, well))

    with directed(monkeypatch, {10: come}) as director:
        assert trained(tiny_folder, tmp_path / "run", director, viewing=VIEWING)
    lost, well = windows
    assert not lost.pictures and "nowhere" in lost.told[0][1]
    assert well.pictures and not well.told


@pytest.mark.parametrize("method", METHODS)
def test_an_export_is_what_is_there_and_a_checkpoint_is_a_good_one(
    method: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Any] = {}

    def wish(viewer: LiveViewer, run: Run) -> None:
        from splat.viewer.export_folder import ExportFolder

        kept["window"] = welcome(viewer, faintest=0.2)
        visitor = viewer.stage.guests[0]
        folder = ExportFolder(viewer.server.viser.gui, visitor, viewer.stage)
        for suffix, shown in ((".spz", False), (".ply", True)):
            viewer.stage.wish(lambda s=suffix, o=shown: folder._taken(s, o), visitor)  # type: ignore[misc]
        viewer.stage.wish(lambda: kept.update(said=viewer.save()))
        viewer.stage.wish(lambda: kept.update(baked=run.baked(), frame=run.frame, step=run.step))

    with directed(monkeypatch, {50: wish}) as director:
        trained(tiny_folder, tmp_path / "run", director, METHODS[method], viewing=VIEWING)
    files, baked = kept["window"].files, gaussians_from_frame(kept["baked"], kept["frame"])
    assert len(files) == 2
    for name, data in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        found = formats.read(path)
        if path.suffix == ".spz":
            assert len(found) == len(baked)
        else:
            part = baked.take(baked.opacities >= 0.2)
            assert torch.allclose(found.means, part.means, atol=1e-5)
    state = checkpoint.load(checkpoint.path_of(Folder(tmp_path / "run").checkpoints, kept["step"]))
    assert state["step"] == kept["step"] and str(kept["step"]) in kept["said"]


def test_ctrl_c_ends_a_run_that_stands_still(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause(viewer: LiveViewer, run: Run) -> None:
        viewer.stage.wish(lambda: viewer.pause(True))
        threading.Timer(0.4, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    with directed(monkeypatch, {20: pause}) as director, pytest.raises(Stopped):
        trained(tiny_folder, tmp_path / "run", director, viewing=VIEWING)
    assert checkpoint.checkpoints_in(Folder(tmp_path / "run").checkpoints)
    assert director.viewer is not None
    with pytest.raises(OSError):  # nobody listens there any more
        socket.create_connection(("127.0.0.1", director.viewer.server.port), timeout=1)


@pytest.mark.usefixtures("interruptible")
def test_it_goes_on_serving_until_ctrl_c_or_until_nobody_is_there(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splat.viewer.live.GONE", 0.3)
    order: list[str] = []
    windows: list[Window] = []

    def done(result: api.Result) -> None:
        order.append("result")
        viewer = director.viewer
        assert viewer is not None

        def visit() -> None:
            time.sleep(0.5)
            windows[0].move(0.2)
            count = len(windows[0].pictures)
            windows[0].came.clear()
            windows[0].came.wait(3)
            order.append("picture" if len(windows[0].pictures) > count else "none")
            viewer.stage.guests.clear()

        threading.Thread(target=visit, daemon=True).start()

    come: dict[int, Act] = {100: lambda viewer, run: windows.append(welcome(viewer))}
    with directed(monkeypatch, come, stay=True) as director:
        trained(tiny_folder, tmp_path / "run", director, viewing=VIEWING, done=done)
    assert order == ["result", "picture"]

    def interrupt(result: api.Result) -> None:
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    stay = replace(VIEWING, stay=True)
    start = time.monotonic()
    result = trained(tiny_folder, tmp_path / "stay", viewing=stay, done=interrupt)
    assert result.metrics["steps"] == STEPS and time.monotonic() - start > 0.5


def test_resume_takes_back_the_snapshots_beyond_its_checkpoint(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trained(tiny_folder, tmp_path / "run", viewing=VIEWING)
    place = Folder(tmp_path / "run")
    for path in checkpoint.checkpoints_in(place.checkpoints)[1:]:
        path.unlink()
    place.metrics.unlink()
    before = len(list(place.timeline.iterdir()))
    api.resume(tmp_path / "run", viewing=replace(VIEWING, snapshots=0), lpips=None)
    assert before == 5 and len(list(place.timeline.iterdir())) == 2


def test_without_the_extra_the_sentence_says_what_to_do(
    splat: Callable[..., Any], tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splat.viewer.server.available", lambda: False)
    done = splat("train", tiny_folder, "--steps", 3, "--viewer", "--port", 0)
    assert done.code != 0 and "pip install 'splat-toolkit[viewer]'" in done.said


def test_scripts_have_no_viewer(
    splat: Callable[..., Any], tiny_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        done = splat("train", tiny_folder, "--steps", 3, "--out", "run")
    assert done.code == 0 and "http://" not in done.said
    assert not (Path("run") / "timeline").exists()


def test_it_is_on_for_people_and_off_for_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Viewing()
    monkeypatch.setattr("splat.cli.viewing._at_a_terminal", lambda: False)
    assert not viewing_for(asked, ["scene/"], silent=False).viewer
    assert viewing_for(replace(asked, viewer=True), ["scene/", "--viewer"], silent=True) == Viewing(
        viewer=True, stay=True
    )
    monkeypatch.setattr("splat.cli.viewing._at_a_terminal", lambda: True)
    assert viewing_for(asked, ["scene/"], silent=False) == Viewing(viewer=True)
    assert not viewing_for(asked, ["scene/", "--json"], silent=True).viewer
    assert not viewing_for(asked, ["scene/", "--no-viewer"], silent=False).viewer
    monkeypatch.setattr("splat.cli.viewing.available", lambda: False)
    assert not viewing_for(asked, ["scene/"], silent=False).viewer


def test_what_would_be_pruned_is_what_is_pruned(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked right before the step at which ADC prunes, less what that step itself changes."""
    said: dict[str, Any] = {}
    strategy = Adc(cap=600, prune_opacity=0.08)
    due = sorted({n for when in strategy.scheduled(600).acts(600).values() for n in when})[1]

    def ask(viewer: LiveViewer, run: Run) -> None:
        said["doomed"], said["again"] = viewer._doomed(), viewer._doomed()

    class Gone:
        def __call__(self, run: Run, step: Step, losses: Any, change: Change) -> None:
            if run.step == due and change.edit is not None:
                drops = [d.rows for d in change.edit.drop if d.reason != SPLIT]
                rows = [each[each < change.before] for each in drops]
                said["gone"] = torch.cat(rows) if rows else torch.zeros(0, dtype=torch.long)

    with directed(monkeypatch, {due - 1: ask}) as director:
        api.train(
            splat.load(tiny_folder),
            strategy,
            replace(options(resolution="full"), steps=600),
            watchers=[director, Gone()],
            watching=Watching(quiet=True, pictures=False),
            lpips=None,
            viewing=VIEWING,
        )
    doomed, gone = said["doomed"], said["gone"]
    assert doomed is said["again"]  # it is not asked twice for one state
    assert len(gone) > 5
    found = torch.zeros_like(doomed)
    found[gone] = True
    assert int((found & doomed).sum()) > 0.85 * max(int(found.sum()), int(doomed.sum()))
