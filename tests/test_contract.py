"""What every strategy owes: it learns, rows stay whole, runs repeat and resume to the bit."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from methods import METHODS, job_of
from steps import assert_consistent
from torch import Tensor

from splat import checkpoint
from splat.edit import Change
from splat.evaluate import evaluate
from splat.job import Job
from splat.run import Run, train
from splat.types import Step

SAVED, COMPARED, STEPS = 30, 60, 200


def state_of(run: Run) -> bytes:
    """All that a run is made of, as bytes."""
    file = io.BytesIO()
    torch.save(dict(run.model.state_dict()), file)
    return file.getvalue()


@dataclass
class Witness:
    """Checks the rows after each step, saves at one step and notes the state at another."""

    path: Path
    edits: list[Change] = field(default_factory=list)
    state: bytes = b""

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        if change:
            self.edits.append(change)
            assert_consistent(run.model.cloud)
            assert change.after == len(run.model.cloud)
        if run.step == SAVED:
            checkpoint.save(run, self.path)
        if run.step == COMPARED:
            self.state = state_of(run)


def held_out_psnr(job: Job) -> float:
    return evaluate(
        job.run.model, job.run.render, job.test_batches(), job.run.background, lpips=None
    ).psnr


@pytest.mark.parametrize("name", METHODS)
def test_contract(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    strategy = METHODS[name]
    untouched = copy.deepcopy(strategy)
    witness = Witness(tmp_path / "saved.pt")
    with closing(job_of(tiny_folder, strategy, steps=STEPS)) as job:
        before = held_out_psnr(job)
        job.run.watchers = [witness]
        train(job.run)
        assert held_out_psnr(job) - before >= 3
        assert not job.run.strategy.cap or len(job.run.model.cloud) <= job.run.strategy.cap
    assert strategy == untouched and vars(strategy) == vars(untouched)
    assert len(witness.edits) >= (0 if name == "fixed" else 4)
    with closing(job_of(tiny_folder, strategy, steps=STEPS, threads=1)) as again:
        again.run.steps = COMPARED
        train(again.run)
        assert state_of(again.run) == witness.state, "a second run differs"
    state = checkpoint.load(witness.path)
    with closing(job_of(tiny_folder, strategy, steps=STEPS, threads=1, state=state)) as resumed:
        assert resumed.run.step == SAVED
        resumed.run.steps = COMPARED
        train(resumed.run)
        assert state_of(resumed.run) == witness.state, "a resumed run differs"


def test_another_seed_is_another_run(tiny_folder: Path) -> None:
    states = []
    for seed in (0, 1):
        with closing(job_of(tiny_folder, METHODS["mcmc"], seed=seed)) as job:
            job.run.steps = 3
            train(job.run)
            states.append(state_of(job.run))
    assert states[0] != states[1]
