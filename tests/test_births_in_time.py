"""Births in time: splits, what passes, and births for a moment where something may move."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from methods import METHODS, ends_with_and_without_a_break
from moving_rows import camera, with_motion
from steps import step_of
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import SPLIT, Append, Drop, Edit
from splat.core.maps import Error
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.strategies.moving import Moving, passing
from splat.strategies.moving.births import (
    APART,
    DIMMED,
    FAINT,
    MOMENT,
    SHORTER,
    born_for_a_moment,
    split_in_time,
)
from splat.strategies.moving.model import Timed
from splat.types import ALWAYS, Needs


def test_a_split_in_time_by_hand() -> None:
    model = with_motion([0.5, 0.3], [0.2, 0.2], velocity=1.0)
    cloud = model.cloud
    parents = torch.tensor([0, 1, 0, 1])
    edit = Edit(
        append=(Append(cloud.rows(parents), parents, SPLIT),),
        drop=(Drop(torch.tensor([0, 1]), SPLIT),),
    )
    (born,) = split_in_time(edit, cloud, torch.tensor([True, False])).append
    assert born.rows["time"].tolist() == pytest.approx([0.5 - APART * 0.2, 0.3, 0.6, 0.3])
    assert born.rows["log_duration"][[0, 2]].exp().tolist() == pytest.approx([0.2 / 2**0.5] * 2)
    moved = born.rows["mean"][[0, 2]] - cloud["mean"].detach()[0]
    torch.testing.assert_close(moved[:, 0], torch.tensor([-0.1, 0.1]))  # on the same way
    assert born.rows["opacity_logit"].sigmoid().tolist() == pytest.approx(
        [0.5 * DIMMED, 0.5, 0.5 * DIMMED, 0.5]
    )
    assert pytest.approx(math.log(2) / 2) == SHORTER


def test_a_birth_for_a_moment_by_hand() -> None:
    model = with_motion([0.5, 0.3], [ALWAYS, 0.2])
    cloud = model.cloud
    parents = torch.tensor([0, 1, 0, 1])
    split = cloud.rows(parents)
    split["mean"] = split["mean"] + torch.tensor([0.1, 0.1, -0.1, -0.1])[:, None]
    edit = Edit(append=(Append(split, parents, SPLIT),), drop=(Drop(torch.tensor([0, 1]), SPLIT),))
    when = torch.tensor([0.75, 0.1])
    (born,) = born_for_a_moment(edit, cloud, torch.tensor([True, False]), when).append
    mean = cloud["mean"].detach()
    torch.testing.assert_close(born.rows["mean"][[0, 2]], mean[[0, 0]])  # the row, and one like it
    torch.testing.assert_close(born.rows["mean"][[1, 3]], split["mean"][[1, 3]])
    assert born.rows["time"].tolist() == pytest.approx([0.5, 0.3, 0.75, 0.3])
    lasts = born.rows["log_duration"].exp().tolist()
    assert lasts == pytest.approx([ALWAYS, 0.2, MOMENT, 0.2], rel=1e-4)
    assert born.rows["opacity_logit"].sigmoid().tolist() == pytest.approx(
        [0.5, 0.5, 0.5 * FAINT, 0.5]
    )


def test_what_passes_is_wrong_at_one_time_only() -> None:
    """Errors of a row as pictures of ten times show them; the others' are alike."""
    model = with_motion([0.5] * 4, [ALWAYS] * 4)
    passing.track(model.cloud)
    for i in range(10):
        found = torch.tensor([1.0, 1.0 + 9.0 * (i == 7), 0.1 * i, 0.0])
        if i < 4:
            found[2] = 0.0
        shown = torch.tensor([True, True, i < 3, False])
        passing.observe(_weighted(model, found, shown, time=i / 10), Error())
    passes, when = passing.passing(model.cloud)
    assert passes.tolist() == [False, True, False, False]  # the third was hardly shown
    assert when[:3].tolist() == pytest.approx([0.9, 0.7, 0.9], abs=1e-5)  # of equals the last
    assert 10 >= passing.RATIO * 1.9


@dataclass(frozen=True)
class Budding(Strategy):
    """Every row is split at once, by its error."""

    needs: ClassVar[Needs] = Needs(weights=(Error(),))

    def refine(self, step: Step) -> Edit:
        every = torch.arange(len(step.model.cloud))
        parents = every.repeat(2)
        split = Append(step.model.cloud.rows(parents), parents, SPLIT)
        return Edit(append=(split,), drop=(Drop(every, SPLIT),))


@pytest.mark.parametrize(
    ("cameras", "moments"), [(11, [True, False, False, False]), (12, [True, True, True, False])]
)
def test_births_for_a_moment_heed_the_motion_that_few_cameras_see(
    cameras: int, moments: list[bool]
) -> None:
    """All rows are wrong at the middle time only. Cameras see motion before the first then, before
    the third at the start; the last is there for a while only, where the first is."""
    model = with_motion([0.5] * 4, [ALWAYS] * 3 + [0.2])
    with torch.no_grad():
        model.cloud["mean"].copy_(torch.tensor([0.0, 0.8, -0.8, 0.0])[:, None] * torch.eye(3)[:1])
    strategy = Moving(Budding(), every=1000)
    strategy.begin(model)
    for i in range(10):
        found = torch.full((4,), 10.0 if i == 5 else 1.0)
        step = _weighted(model, found, torch.ones(4, dtype=torch.bool), time=i / 10)
        passing.observe(step, Error())
    moves = {time: torch.zeros(8, 8, dtype=torch.bool) for time in (0.0, 0.5, 1.0)}
    moves[0.5][3:5, 3:5] = True
    moves[0.0][3:5, 1:3] = True
    views = tuple(
        replace(camera(time), index=i, moves=mask)
        for time, mask in moves.items()
        for i in range(cameras)
    )
    edit = strategy.refine(replace(step_of(model, 1), views=views))
    assert edit is not None
    (born,) = edit.append
    brief = (born.rows["log_duration"].exp() - MOMENT).abs() < 1e-4
    assert [bool(brief[born.parents == row].any()) for row in range(4)] == moments


def test_births_for_a_moment_resume_to_the_bit(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cameras know of what moves is no part of a checkpoint, but of the photos."""
    passing_rows = 0

    def counted(edit: Edit, cloud: Cloud, chosen: Tensor, when: Tensor) -> Edit:
        nonlocal passing_rows
        passing_rows += int(chosen.sum())
        return born_for_a_moment(edit, cloud, chosen, when)

    monkeypatch.setattr("splat.strategies.moving.moving.born_for_a_moment", counted)
    strategy = Moving(METHODS["mrnf"])
    one, two = ends_with_and_without_a_break(clip_folder, tmp_path, strategy, 33, 80)
    assert one == two and passing_rows > 0


def _weighted(model: Timed, found: Tensor, shown: Tensor, *, time: float) -> Any:
    """A step whose picture was weighted with errors: what `passing` reads of one."""
    rendered = SimpleNamespace(weighted=lambda error: found, visible=shown)
    batch = SimpleNamespace(shrink=1.0, camera=camera(time))
    return SimpleNamespace(model=model, rendered=rendered, batch=batch)
