"""Values that are not finite: a run goes back once, at half its rates; else a dump of the step."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS, job_of
from ranks import started
from torch import Tensor

from splat import api
from splat.core.edit import Change, Edit, Nudge
from splat.core.objective import Objective
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.loop import Run, train
from splat.options import Options, Watching
from splat.runs import checkpoint
from splat.runs.folder import Folder
from splat.runs.log import read_log
from splat.training import dump, watchers
from splat.training.watchers import Checkpoints, Diverged
from splat.viewer.chronicle import Chronicle
from splat.viewer.curves import Curves
from splat.viewer.mask import Mask

STEPS = 40
Splat = Callable[..., Any]


@dataclass(frozen=True)
class Odd(Objective):
    """A term that breaks at one step, where learning rates are above a factor of them."""

    how: str
    at: int
    above: float

    def __call__(self, step: Step) -> Tensor:
        bad = step.number == self.at and step.model.cloud.rate_scale > self.above
        opacities = step.rendered.gaussians.opacities
        if bad and self.how == "gradient":  # 0, whose slope is 0 times infinity
            some = opacities[5:8]
            return (some - some.detach()).square().sum().sqrt()
        factor = torch.nan if bad and self.how == "term" else 1e-3
        return factor * opacities.mean()


@dataclass(frozen=True)
class Brittle(Strategy):
    """Breaks in a term, in its gradient, or in a proposal of its own."""

    how: str = "term"
    at: int = 12
    above: float = 0.5

    def objectives(self) -> Mapping[str, Objective]:
        return {"odd": Odd(self.how, self.at, self.above)}

    def refine(self, step: Step) -> Edit | None:
        if self.how == "refused" and step.model.cloud["quat"].isnan().any():
            raise ValueError("3 of 500 rows have no score")
        rate = step.model.cloud.rate_scale
        if self.how not in ("edit", "refused") or step.number != self.at or rate <= self.above:
            return None
        delta = torch.zeros_like(step.model.cloud["quat"])
        delta[:3] = torch.nan
        return Edit(nudge=(Nudge("quat", delta),))


class Cut(Exception):
    """What ends a run as a kill would, from within."""


def cutting(at: int, *, second: bool = True) -> Callable[..., None]:
    """A watcher that ends the run at a step of its first or its second try."""

    def watch(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        if run.rolled_back is second and run.step == at:
            raise Cut

    return watch


def trained(
    folder: Path, out: Path | None, strategy: Strategy, every: int = 5, *watch: Any, **options: Any
) -> api.Result:
    watching = Watching(quiet=True, checkpoint_every=every, pictures=False)
    wanted = Options(**{"steps": STEPS, "max_side": 0, "device": "cpu", **options})
    return api.train(
        api.load(folder), strategy, wanted, out=out, watching=watching, watchers=watch, lpips=None
    )


def together(folder: Path, out: Path) -> None:
    """What each of several processes does: a run that breaks once, and one that breaks again."""
    trained(folder, out / "once", Brittle(), 5, threads=1)
    try:
        trained(folder, out / "twice", Brittle(above=0.0), 5, threads=1)
    except Diverged as error:
        print(error)


def end_of(run: Path) -> tuple[bytes, bytes]:
    """The bytes of the last checkpoint and of the result."""
    return Folder(run).latest().read_bytes(), Folder(run).gaussians.read_bytes()


@pytest.mark.parametrize(("how", "back"), [("term", 10), ("gradient", 10), ("edit", 10)])
def test_a_run_goes_back_once_and_on_at_half_its_rates(
    tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str, back: int
) -> None:
    run = tmp_path / "run"
    result = trained(tiny_folder, run, Brittle(how))
    said = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 1 and "\n" not in said[0]
    assert "the run goes on from step 10" in said[0] and "at half its learning rates" in said[0]
    state = checkpoint.load(Folder(run).latest())
    assert state["step"] == STEPS and state["rolled_back"] is True
    assert state["commands"] == [[back, "rate", 0.5]]
    assert result.metrics["commands"][0]["name"] == "rate"
    assert not Folder(run).dumps.exists()
    log = read_log(Folder(run).log)
    steps = [record["step"] for record in log if "loss" in record]
    assert steps == [10, 20, 30, 40]
    (record,) = (record for record in log if "rolled_back" in record)
    assert record["step"] == back and record["rolled_back"]["from"] >= 13
    assert record["rolled_back"]["rate"] == 0.5
    seconds = [record["seconds"] for record in log]
    assert seconds[-1] == max(seconds) and record["seconds"] > seconds[0]


def test_equal_runs_end_with_equal_bytes_whenever_the_clock_saved(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tiny_folder, tmp_path / "a", Brittle("edit", 17), 8)
    monkeypatch.setattr(watchers, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(watchers, "CHECKPOINT_SHARE", 1e9)
    trained(tiny_folder, tmp_path / "b", Brittle("edit", 17), 8)
    assert end_of(tmp_path / "a") == end_of(tmp_path / "b")


def test_without_a_checkpoint_it_starts_again(tiny_folder: Path, tmp_path: Path) -> None:
    """As a run of half the rates from its start would go, with a folder and without."""
    trained(tiny_folder, tmp_path / "a", Brittle(), 1000)
    bare = trained(tiny_folder, None, Brittle())
    half = {"step": 0, "command": {"name": "rate", "value": 0.5, "before": 1.0}}
    (tmp_path / "script.jsonl").write_text(json.dumps(half) + "\n")
    planned = trained(tiny_folder, tmp_path / "b", Brittle(), replay=tmp_path / "script.jsonl")
    assert end_of(tmp_path / "a")[1] == end_of(tmp_path / "b")[1]
    assert torch.equal(bare.gaussians.means, planned.gaussians.means)
    plain = trained(tiny_folder, None, Brittle(at=10**6))
    assert not torch.equal(bare.gaussians.means, plain.gaussians.means)


@pytest.mark.parametrize("cut", [12, 23])
def test_what_was_cut_after_it_went_back_resumes_to_the_same_bytes(
    tiny_folder: Path, tmp_path: Path, cut: int
) -> None:
    """Before its second try has a checkpoint, and after."""
    trained(tiny_folder, tmp_path / "whole", Brittle())
    with pytest.raises(Cut):
        trained(tiny_folder, tmp_path / "cut", Brittle(), 5, cutting(cut))
    api.resume(tmp_path / "cut", lpips=None)
    assert end_of(tmp_path / "whole") == end_of(tmp_path / "cut")
    log = read_log(Folder(tmp_path / "cut").log)
    assert [r["step"] for r in log if "loss" in r] == [10, 20, 30, 40]


def test_what_was_cut_before_it_broke_goes_back_as_it_would_have(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To step 10, though the last checkpoint is of step 11."""
    trained(tiny_folder, tmp_path / "whole", Brittle())
    with monkeypatch.context() as clock, pytest.raises(Cut):
        clock.setattr(watchers, "CHECKPOINT_SECONDS", 0.0)
        clock.setattr(watchers, "CHECKPOINT_SHARE", 1e9)
        trained(tiny_folder, tmp_path / "cut", Brittle(), 5, cutting(12, second=False))
    assert checkpoint.load(Folder(tmp_path / "cut").latest())["step"] == 11
    api.resume(tmp_path / "cut", lpips=None)
    assert end_of(tmp_path / "whole") == end_of(tmp_path / "cut")


def test_what_people_changed_since_stays_changed(tiny_folder: Path, tmp_path: Path) -> None:
    """And the factor on the rates is half of theirs."""

    def people(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        if run.step in (8, 11) and not run.rolled_back:
            run.obey("rate", {8: 2.0, 11: 1.5}[run.step])

    trained(tiny_folder, tmp_path / "run", Brittle(above=1.0), 5, people)
    state = checkpoint.load(Folder(tmp_path / "run").latest())
    assert state["commands"] == [[8, "rate", 2.0], [10, "rate", 1.5], [10, "rate", 0.75]]


@pytest.mark.parametrize(
    ("how", "first", "more"),
    [
        ("term", "the loss term odd is nan", ("gradient of odd by opacity_logit 500 of 500 rows",)),
        ("gradient", "3 of 500 rows of the gradient of odd by opacity_logit", ("5, 6, 7",)),
        ("edit", "3 of 500 rows of what the strategy adds to quat", ("0, 1, 2",)),
        ("refused", "3 of 500 rows of what the strategy adds to quat", ("0, 1, 2",)),
    ],
)
def test_the_second_time_it_ends_with_a_dump_that_shows_the_step(
    tiny_folder: Path, tmp_path: Path, splat: Splat, how: str, first: str, more: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Diverged) as caught:
        trained(tiny_folder, run, Brittle(how, above=0.0), 5, points_weight=1.0)
    message, place = str(caught.value), dump.path_of(Folder(run).dumps, 12)
    assert "\n" not in message and f"`splat debug-step {place}` shows where" in message
    assert message.endswith(f"the last good checkpoint is {Folder(run).latest()}")
    assert checkpoint.load(Folder(run).latest())["step"] == 10
    held = torch.load(place, weights_only=True)
    assert held["step"] == held["state"]["step"] == 12 and held["batches"][0]["name"]
    outcome = splat("debug-step", place)
    assert outcome.code == 0, outcome.said
    assert outcome.out.strip().splitlines()[-1].startswith(f"first not finite: {first}")
    for text in more:
        assert " ".join(text.split()) in outcome.said
    report = json.loads(splat("debug-step", place, "--json").out)
    assert report["step"] == 12 and report["view"] == held["batches"][0]["name"]
    assert report["first"]["broken"] and report["entries"]


def test_a_step_that_is_sound_here_is_said_to_be(
    tiny_folder: Path, tmp_path: Path, splat: Splat
) -> None:
    with closing(job_of(tiny_folder, METHODS["scaffold"], steps=60)) as job:
        state = checkpoint.copied(checkpoint.state_of(job.run))
        dump.write(tmp_path / "d.pt", job, state, [job.run.batches(0)], "step 1: a test")
    outcome = splat("debug-step", tmp_path / "d.pt")
    assert outcome.code == 1 and "all values are finite" in outcome.said
    record = torch.load(tmp_path / "d.pt", weights_only=True)
    record["cameras"][0]["width"] = None
    torch.save(record, tmp_path / "d.pt")
    assert "has no `width`; expected a whole number" in splat("debug-step", tmp_path / "d.pt").said


def test_what_is_no_dump_is_refused_in_a_sentence(
    tiny_folder: Path, tmp_path: Path, splat: Splat
) -> None:
    (tmp_path / "text.pt").write_text("root:x:0:0:root:/root:/bin/bash\n")
    torch.save({"format": "splat dump", "version": 1}, tmp_path / "empty.pt")
    torch.save({"format": "splat dump", "version": 99}, tmp_path / "newer.pt")
    for name in ("gone.pt", "text.pt", "empty.pt", "newer.pt"):
        outcome = splat("debug-step", tmp_path / name)
        assert outcome.code == 2 and name in outcome.err, outcome.said
        assert outcome.err.count("\n") == 1 and "resume" not in outcome.err


def test_nothing_that_is_broken_becomes_a_checkpoint(tiny_folder: Path, tmp_path: Path) -> None:
    with closing(job_of(tiny_folder, METHODS["scaffold"], steps=60)) as job:
        keeper = Checkpoints(tmp_path, 10, 3)
        good = keeper.save(job.run)
        job.run.step = 10
        first, second = job.run.model.cloud.moments("reach")
        weights = next(iter(job.run.modules.values())).module
        for values in (first, second, next(iter(weights.parameters())).data):
            kept = values.clone()
            values.view(-1)[3] = torch.inf
            with pytest.raises(Diverged, match="with values that are not finite: "):
                keeper.save(job.run)
            values.copy_(kept)
        assert keeper.last == good and checkpoint.checkpoints_in(tmp_path) == [good]


def test_the_checkpoint_to_go_back_to_outlives_those_of_the_clock(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with closing(job_of(tiny_folder, METHODS["fixed"], steps=60)) as job:
        keeper = Checkpoints(tmp_path, 10, 2)
        for job.run.step in (7, 10, 13, 14, 15):
            keeper.save(job.run)
        names = [checkpoint.shown_of(path) for path in checkpoint.checkpoints_in(tmp_path)]
        assert names == [10, 14, 15]
        assert keeper.to_roll_back_to(1) == checkpoint.path_of(tmp_path, 10)
        again = Checkpoints(tmp_path, 20, 2)
        assert again.to_roll_back_to(1) is None


def test_what_a_viewer_knows_of_rows_begins_anew(tiny_folder: Path) -> None:
    with closing(job_of(tiny_folder, METHODS["adc"], steps=60)) as job:
        run = job.run
        state = checkpoint.copied(checkpoint.state_of(run))
        chronicle, mask, curves = Chronicle(run), Mask(run), Curves()
        chronicle.followers.append(mask.follow)
        run.watchers = [chronicle]
        run.steps = 45
        train(run)
        rows = len(run.model.cloud)
        mask.made(lambda: torch.ones(rows, dtype=torch.bool))
        for step in (10, 30):
            curves.add(step, loss=1.0)
        assert chronicle.births and rows != len(state["model"]["_extra_state"]["columns"]["mean"])
        checkpoint.restore(run, state)
        chronicle.rewound(run)
        curves.beyond(20)
        assert not chronicle.births and curves.data("loss")[0].max() < 20
        train(run)
        assert len(chronicle.rows["since"]) == len(run.model.cloud) == rows
        assert len(mask.made(lambda: torch.zeros(0))) == rows


@pytest.mark.parametrize("name", ["adc", "mcmc", "scaffold", "mrnf"])
def test_a_run_that_is_set_back_repeats_its_steps_to_the_byte(
    tiny_folder: Path, tmp_path: Path, name: str
) -> None:
    with closing(job_of(tiny_folder, METHODS[name], steps=60)) as job:
        run = job.run
        states = []
        for end in (23, 50):
            run.steps = end
            train(run)
            states.append(checkpoint.copied(checkpoint.state_of(run)))
        checkpoint.restore(run, states[0])
        train(run)
        checkpoint.write(states[1], tmp_path / "a.pt")
        checkpoint.save(run, tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_several_processes_go_back_together(tiny_folder: Path, tmp_path: Path) -> None:
    """And the dump has the photos of all of them."""
    tests = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {tests!r}); import pathlib, test_diverge as here"
    code += "; here.together(*map(pathlib.Path, sys.argv[1:]))"
    processes = started(2, ["-c", code, str(tiny_folder), str(tmp_path)])
    said = [process.communicate(timeout=500)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    state = checkpoint.load(Folder(tmp_path / "once").latest())
    assert state["step"] == STEPS // 2 and state["commands"] == [[10, "rate", 0.5]]
    assert all("shows where it begins" in each for each in said)
    place = dump.path_of(Folder(tmp_path / "twice").dumps, 12)
    names = [batch.name for batch in dump.read(place).batches]
    assert len(set(names)) == 2
