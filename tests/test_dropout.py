"""Gaussians left out at random while training (DropGaussian)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from formats import some
from methods import METHODS, ends_with_and_without_a_break

from splat import api, loop
from splat.core.dropout import Dropout
from splat.core.objective import OpacityL1
from splat.options import Options
from splat.strategies.mcmc import Mcmc
from splat.training.prepare import prepare


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_share_grows_in_proportion_to_the_steps() -> None:
    dropout = Dropout(0.2, 3000)
    assert [dropout.share(step) for step in (0, 750, 1500, 3000)] == [0, 0.05, 0.1, 0.2]
    given = some(10)
    assert dropout(given, 0, generator()) is given


def test_who_stays_stands_in_for_who_is_left_out() -> None:
    given = some(20_000)
    given = replace(given, opacities=given.opacities.clamp(0, 0.7).requires_grad_())
    found = Dropout(0.25, 100)(given, 100, generator())
    gone = found.opacities == 0
    assert abs(gone.double().mean().item() - 0.25) < 0.01
    torch.testing.assert_close(found.opacities[~gone], given.opacities[~gone] / 0.75)
    # Opaque rows cannot be more than that.
    opaque = replace(given, opacities=torch.full((20_000,), 0.9))
    assert {*Dropout(0.25, 100)(opaque, 100, generator()).opacities.tolist()} == {0.0, 1.0}
    (found.opacities.sum()).backward()
    assert given.opacities.grad is not None
    torch.testing.assert_close(given.opacities.grad, torch.where(gone, 0, 1 / 0.75))


def test_rows_are_picked_anew_at_every_step_and_alike_from_one_seed() -> None:
    given, dropout = some(1000), Dropout(0.5, 10)
    first = dropout(given, 10, generator(1)).opacities
    assert torch.equal(first, dropout(given, 10, generator(1)).opacities)
    both = (first == 0) & (dropout(given, 10, generator(2)).opacities == 0)
    assert 150 < both.sum() < 350, "half of one half is in the other"


def test_a_step_draws_without_some_and_files_surveys_and_regularisers_know_all(
    tiny_folder: Path,
) -> None:
    options = Options(steps=10, max_side=0, device="cpu", dropout=0.5)
    run = prepare(api.load(tiny_folder), Mcmc(cap=400), options).run
    run.step = 10
    step, _ = loop.drawn(run)
    drawn = step.rendered.gaussians
    share = (drawn.opacities == 0).double().mean().item()
    assert 0.3 < share < 0.7
    whole = run.model(step.batch.camera, 10).opacities
    torch.testing.assert_close(run.baked().opacities, whole.detach())
    assert run.survey(0).rendered.gaussians.opacities.min() > 0
    torch.testing.assert_close(OpacityL1(1.0)(step), whole.mean())


def test_a_share_of_all_is_none() -> None:
    with pytest.raises(ValueError, match="dropout is 1; expected from 0"):
        Options(dropout=1.0)


def test_a_run_resumes_exactly(tiny_folder: Path, tmp_path: Path) -> None:
    one, two = ends_with_and_without_a_break(
        tiny_folder, tmp_path, METHODS["mcmc"], 70, dropout=0.5
    )
    assert one == two
