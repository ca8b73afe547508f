"""Watchers: the log, the guard against NaN, the bar; what they say and what they cost."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import tqdm
from methods import METHODS, job_of
from torch import Tensor
from tqdm.std import TqdmWarning

from splat import api
from splat.core.edit import Change, Edit, Nudge
from splat.core.objective import Objective
from splat.core.shard import WHOLE
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.loop import Run, train
from splat.options import Options, Watching
from splat.parallel import ALONE
from splat.planning.time_left import TimeLeft
from splat.runs import checkpoint
from splat.runs.folder import Folder
from splat.runs.log import Log, read_log
from splat.system.files import DiskFull
from splat.training.boards import Rerun, TensorBoard, Wandb
from splat.training.prepare import Job
from splat.training.slow_steps import SlowSteps
from splat.training.watchers import Bar, Checkpoints, Diverged, Guard, HeldOut


@dataclass(frozen=True)
class Slow(Strategy):
    """Takes its time, and does nothing."""

    def refine(self, step: Step) -> Edit | None:
        del step
        time.sleep(0.01)
        return None


@pytest.fixture
def job(tiny_folder: Path) -> Iterator[Job]:
    with closing(job_of(tiny_folder, METHODS["adc"], steps=60)) as job:
        yield job


def test_the_log_has_a_line_every_ten_steps_and_one_for_every_edit(
    job: Job, tmp_path: Path
) -> None:
    with closing(Log(tmp_path / "log.jsonl")) as log:
        job.run.watchers = [log]
        train(job.run)
    records = read_log(tmp_path / "log.jsonl")
    looks = [record for record in records if "loss" in record]
    assert [record["step"] for record in looks] == [10, 20, 30, 40, 50, 60]
    before, after = looks[0], looks[3]  # the reset at 45 takes it back
    assert after["loss"] < before["loss"] and after["psnr"] > before["psnr"]
    edits = [record for record in records if "counts" in record]
    assert [record["step"] for record in edits] == [20, 40, 45, 60]
    first = edits[0]["counts"]
    born = first.get("append:clone", 0) + first["append:split"]
    assert edits[0]["gaussians"] - edits[0]["before"] == born - first["drop:split"] > 0
    assert edits[2]["counts"] == {"overwrite:reset": edits[2]["gaussians"]}


def test_a_resumed_log_goes_on_behind_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    records = [{"step": step, "seconds": step / 10} for step in (10, 20, 30)]
    path.write_text("".join(json.dumps(r) + "\n" for r in records) + '{"step": 40, "sec')
    with closing(Log(path, step=20)) as log:
        assert 2.0 <= log.seconds < 3.0
        log.write({"step": 25})
    assert [record["step"] for record in read_log(path)] == [10, 20, 25]


def test_a_log_that_finds_the_disk_full_says_so(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = Log(tmp_path / "log.jsonl")
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        for act in (lambda: log.write({"step": 1}), log.close):
            with pytest.raises(DiskFull, match=r"log\.jsonl was not written; free some space"):
                act()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@dataclass(frozen=True)
class Poison(Strategy):
    """Makes some rows NaN after a step."""

    after: int = 12

    def refine(self, step: Step) -> Edit | None:
        if step.number + 1 != self.after:
            return None
        delta = torch.zeros_like(step.model.cloud["log_scale"])
        delta[:3] = torch.nan
        return Edit(nudge=(Nudge("log_scale", delta),))


class Infinite(Objective):
    def __call__(self, step: Step) -> Tensor:
        return step.rendered.image.mean() / (0.0 if step.number == 6 else 1.0)


def test_nan_in_a_column_stops_with_a_diagnosis_and_keeps_the_good_checkpoint(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(Diverged) as caught:
        api.train(
            api.load(tiny_folder),
            Poison(),
            Options(steps=200, max_side=0),
            out=tmp_path / "run",
            watching=Watching(quiet=True, checkpoint_every=5),
        )
    message, last = str(caught.value), Folder(tmp_path / "run").latest()
    assert "'log_scale' (3 of 500 rows)" in message and "\n" not in message
    assert message.endswith(f"the last good checkpoint is {last}")
    assert checkpoint.load(last)["step"] == 10
    assert torch.isfinite(checkpoint.rows(checkpoint.load(last))["log_scale"]).all()


def test_an_infinite_term_of_the_loss_is_named_with_its_step_and_view(job: Job) -> None:
    job.run.objectives = {**job.run.objectives, "odd": Infinite()}
    job.run.watchers = [Guard()]
    view = job.photos.views[job.photos.index_at(6)].name
    with pytest.raises(Diverged) as caught:
        train(job.run)
    message = str(caught.value)
    assert message.startswith(f"step 7 (view {view}): the loss term odd is inf; columns")
    assert message.endswith("there is no checkpoint yet")


def test_held_out_views_are_measured_now_and_then(job: Job, tmp_path: Path) -> None:
    values = iter([20.0, 21.0])
    with closing(Log(tmp_path / "log.jsonl")) as log:
        job.run.watchers = [HeldOut(20, lambda: next(values), log)]
        train(job.run)
    found = [(r["step"], r["test_psnr"]) for r in read_log(tmp_path / "log.jsonl")]
    assert found == [(20, 20.0), (40, 21.0)]


def test_the_log_says_what_looks_and_the_strategy_take(tmp_path: Path, tiny_folder: Path) -> None:
    """A look of 0.2 s and a strategy of 10 ms a step, and no more: a resume adds up."""
    path = tmp_path / "log.jsonl"

    def look() -> float:
        time.sleep(0.2)
        return 20.0

    with closing(job_of(tiny_folder, Slow(), steps=12)) as job, closing(Log(path)) as log:
        job.run.watchers = [HeldOut(5, look, log), log]
        train(job.run)
    records = read_log(path)
    seconds = [record["seconds"] for record in records]
    looks = [record["look_seconds"] for record in records if "look_seconds" in record]
    assert len(looks) == 2 and all(0.2 <= took < 0.3 for took in looks)
    assert seconds == sorted(seconds) and seconds[-1] > 0.4
    spent = records[-1]["strategy_seconds"]
    assert 0.12 <= spent < 0.12 + 0.1
    with closing(job_of(tiny_folder, Slow(), steps=12)) as job, closing(Log(path, 12)) as log:
        job.run.watchers = [log]
        train(job.run)
    assert read_log(path)[-1]["strategy_seconds"] >= 2 * 0.12


def test_without_a_terminal_progress_is_ten_lines(
    job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "splat.training.watchers")
    with closing(Bar(0, 60, job.time_left())) as bar:
        job.run.watchers = [bar]
        train(job.run)
    lines = [record.message for record in caplog.records]
    assert len(lines) == 9 and lines[0].startswith("step 6 of 60: loss ")
    assert "ms a step" in lines[0] and "Gaussians" in lines[0]


@pytest.mark.parametrize(("each", "first"), [(0.0299, 2100), (0.5, 130), (5.0, 13)])
def test_checkpoints_of_each_minute_have_round_names(
    each: float, first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("splat.training.watchers.time.monotonic", lambda: now)
    keeper, saved = Checkpoints(tmp_path, 10**6, 3), list[int]()
    monkeypatch.setattr(keeper, "save", lambda run: saved.append(run.step))
    alone = {"ranks": ALONE, "model": SimpleNamespace(cloud=SimpleNamespace(shard=WHOLE))}
    for step in range(1, 2200):
        now += each
        keeper(SimpleNamespace(step=step, over=False, **alone), *[None] * 3)  # type: ignore[arg-type]
        if saved:
            break
    assert saved == [first]


def test_a_notebook_shows_a_bar(
    job: Job, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Warns(ModuleType):
        """As tqdm where ipywidgets are not installed."""

        @property
        def tqdm(self) -> Any:
            warnings.warn("IProgress not found", TqdmWarning, stacklevel=2)
            return tqdm.std.tqdm

    monkeypatch.setitem(sys.modules, "tqdm.auto", Warns("tqdm.auto"))
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    with closing(Bar(0, 60, job.time_left())) as bar:
        job.run.watchers = [bar]
        train(job.run)
    said = capfd.readouterr().err
    assert "60/60" in said and "Gaussians" in said and "IProgress" not in said


def test_time_left_knows_that_steps_grow() -> None:
    """A step takes 8 ms beside half of what is predicted, which the first half of a run shows on
    pictures of a sixty-fourth of the area."""

    def cost(step: int, rows: float) -> float:
        return (0.04 if step >= 500 else 0.04 / 64) + 1e-6 * rows

    def rows(step: int) -> int:
        return 1000 + 18 * min(step, 500)

    def takes(step: int) -> float:
        return 0.008 + 0.5 * cost(step, rows(step))

    left, spent, off = TimeLeft(cost, 1000, 10_000), 0.0, {}
    for step in range(1000):
        spent += takes(step)
        if (step + 1) % 10 == 0:
            truth = sum(map(takes, range(step + 1, 1000)))
            found = left.at(step + 1, rows(step + 1), spent)
            mean = spent / (step + 1) * (999 - step)
            off[step + 1] = (found / truth, mean / truth) if truth else (found, mean)
    assert all(0.95 < found < 1.75 for found, _ in list(off.values())[:-1])
    assert all(off[step][0] < 1.25 for step in range(200, 1000, 10))
    assert all(off[step][0] < 1.06 for step in range(400, 1000, 10))
    assert off[200][1] < 0.4 and off[400][1] < 0.4 and off[1000] == (0, 0)


def test_tensorboard_gets_its_scalars(job: Job, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with closing(TensorBoard(tmp_path)) as board:
        job.run.watchers = [board]
        job.run.steps = 20
        train(job.run)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"loss/photometric", "gaussians", "edits/append_split"} <= set(events.Tags()["scalars"])


def test_rerun_gets_a_recording(job: Job, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    with closing(Rerun(tmp_path / "a.rrd")) as board:
        job.run.watchers = [board]
        job.run.steps = 20
        train(job.run)
    command = [sys.executable, "-m", "rerun", "rrd", "print", str(tmp_path / "a.rrd")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    for path in ("/loss/photometric", "/gaussians", "/edits/append_split", "/scene"):
        assert path in said, said


def test_wandb_gets_its_scalars(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with closing(Wandb(tmp_path)) as board:
        job.run.watchers = [board]
        job.run.steps = 20
        train(job.run)
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    told = file.read_bytes()
    assert all(name in told for name in (b"loss/photometric", b"gaussians", b"edits/append_split"))


@pytest.mark.parametrize(("board", "named"), [(Rerun, "rerun"), (Wandb, "wandb")])
def test_a_board_that_is_missing_is_a_sentence(
    board: Any, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, named, None)
    with pytest.raises(
        ValueError, match=rf"--{named} needs .*pip install 'splat-toolkit\[{named}\]'"
    ):
        board(tmp_path / "a.rrd")


def test_watchers_cost_little(job: Job, tmp_path: Path) -> None:
    """Less than 0.5 ms a step in processor time; a tenth of that is usual."""
    seen: list[tuple[Step, Mapping[str, Tensor]]] = []

    def note(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        seen.append((step, losses))

    job.run.watchers = [note]
    job.run.steps = 5
    train(job.run)
    step, losses = seen[-1]
    with closing(Log(tmp_path / "log.jsonl")) as log:
        keeper = Checkpoints(tmp_path / "checkpoints", 10**6, 3)
        watchers = [SlowSteps(), Guard(1, keeper), log, keeper]
        job.run.steps = 10**6
        start = time.process_time()
        for number in range(100, 300):
            job.run.step = number
            for watch in watchers:
                watch(job.run, step, losses, Change(500, 500))
        spent = (time.process_time() - start) / 200
    assert spent < 0.5e-3
