"""A crop box: births inside only, files of what is inside, figures of all; resumed exactly."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from edits import random_edit
from methods import METHODS, ends_with_and_without_a_break, job_of
from steps import model_of, step_of

from splat import api, formats
from splat.cli.composed import read
from splat.cli.opened import open_scene
from splat.core.chain import Chain
from splat.core.edit import Change
from splat.core.region import Box, box_of
from splat.core.step import Step
from splat.core.strategy import Fixed
from splat.loop import Run, train
from splat.options import Options, Reading
from splat.recipes.saved import description_of, strategy_from_description
from splat.strategies.budget import Budget
from splat.strategies.crop import Crop
from splat.strategies.protect import Protect
from splat.types import Frame

BOX = (-1.0, -1.0, -0.2, 1.0, 1.0, 1.2)
LOW, HIGH = BOX[:3], BOX[3:]


def born_outside(model: Any, change: Change) -> int:
    """Rows that an edit put outside of `BOX`."""
    edit = change.edit
    if edit is None:
        return 0
    box = box_of(BOX)
    places = [rows.rows["mean"] for rows in (*edit.append, *edit.assign) if "mean" in rows.rows]
    return sum(int((~box.holds(place, model.frame)).sum()) for place in places)


@pytest.mark.parametrize("name", ["adc", "mcmc", "mrnf"])
def test_nothing_is_born_outside_and_resume_is_exact(
    tiny_folder: Path, tmp_path: Path, name: str
) -> None:
    outside, born = [], [0]

    def watch(run: Run, step: Step, losses: object, change: Change) -> None:
        outside.append(born_outside(run.model, change))
        born[0] += sum(n for what, n in change.counts.items() if not what.startswith("drop"))
        if run.over:
            inside = box_of(BOX).holds(run.model.cloud["mean"], run.frame)
            assert 0 < int((~inside).sum()) < len(inside)  # what is outside goes on

    one, two = ends_with_and_without_a_break(
        tiny_folder, tmp_path, METHODS[name], 35, 60, watch=watch, crop=BOX
    )
    assert born[0] > 0 and sum(outside) == 0 and one == two


def test_without_a_crop_rows_are_born_outside(tiny_folder: Path) -> None:
    """Or the test above would show nothing."""
    outside = []

    def watch(run: Run, step: Step, losses: object, change: Change) -> None:
        outside.append(born_outside(run.model, change))

    with closing(job_of(tiny_folder, METHODS["mcmc"], steps=60)) as job:
        job.run.watchers = [watch]
        train(job.run)
    assert sum(outside) > 0


def test_files_and_figures(tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = Options(steps=40, max_side=0, crop=BOX)
    found = api.train(api.load(tiny_folder), METHODS["mcmc"], options, out=out, reading=Reading())
    crop, metrics = found.metrics["crop"], found.metrics
    assert crop["inside"] + crop["outside"] == metrics["gaussians"]
    assert crop["outside"] > 0 and crop["low"] == LOW
    file = formats.read(out / "point_cloud.ply")
    here = Frame((0.0, 0.0, 0.0), 1.0)
    assert len(file) == crop["inside"] == metrics["export"]["gaussians"]
    assert bool(
        Box((-1.001,) * 2 + (-0.201,), (1.001,) * 2 + (1.201,)).holds(file.means, here).all()
    )
    assert any("outside of the crop" in what for what in metrics["export"]["dropped"])
    # Figures are of the whole; what a file holds is seen alone.
    assert metrics["psnr"] > metrics["export"]["psnr_before"]
    assert len(open_scene(out, "cpu", "auto").gaussians) == crop["inside"]
    assert len(found.gaussians) == crop["inside"]


def test_random_edits_lose_what_strays_and_nothing_else() -> None:
    box = Crop(low=(-9, -9, -9), high=(0.5, 9, 9))
    draw = torch.Generator().manual_seed(0)
    for seed in range(5):
        model = model_of(80, seed=seed)
        step = step_of(model)
        edit = random_edit(model.cloud, draw)
        kept = box.altered(step, edit)
        assert kept is not None
        for change in (*kept.append, *kept.assign):
            if "mean" in change.rows:
                assert bool((change.rows["mean"][:, 0] <= 0.5).all())
        # Deaths of old rows stay.
        dead = {r for d in edit.drop if d.reason != "split" for r in d.rows.tolist() if r < 80}
        left = {r for d in kept.drop if d.reason != "split" for r in d.rows.tolist() if r < 80}
        assert left == dead
        everything = Crop().altered(step, edit)
        assert everything is edit


def test_the_box_is_in_the_frame_of_the_input() -> None:
    frame = Frame((10.0, 0.0, 0.0), 0.1)
    box = box_of((11, -1, -1, 13, 1, 1))
    places = torch.tensor([[0.2, 0.0, 0.0], [0.0, 0.0, 0.0], [0.29, 0.09, 0.0], [0.2, 0.0, 0.2]])
    assert box.holds(places, frame).tolist() == [True, False, True, False]


def test_the_region_of_a_method_and_of_what_a_run_folder_says_of_it() -> None:
    inner = Crop(low=(-1, -2, -3), high=(5, 5, 5))
    whole = Crop(Protect(inner), low=(0, -9, -9), high=(9, 9, 4))
    assert (
        whole.region()
        == strategy_from_description(description_of(whole)).region()
        == Box((0, -2, -3), (5, 5, 4))
    )
    both = Chain((inner, Budget(Crop(low=(0, -9, -9), high=(9, 9, 4)))))
    assert both.region() == whole.region()
    assert METHODS["adc"].region() is None
    told = description_of(inner) | {}
    told["fields"]["base"] = {"class": "__main__:Mine", "fields": {"cap": 5}}
    with pytest.raises(ValueError, match="defined in a script"):
        strategy_from_description(told)
    assert strategy_from_description(told, missing=Fixed()).region() == Box((-1, -2, -3), (5, 5, 5))


def test_command_line() -> None:
    asked = read(["scene", "--crop", "-1", "-2", "-3", "1", "2", "3", "mcmc"])
    assert asked.training.crop == (-1, -2, -3, 1, 2, 3)
    line = "scene mcmc + protect --crop -1 -2 -3 1 2 3 --rule age<5"
    asked = read(line.split())
    assert asked.training.crop == (-1, -2, -3, 1, 2, 3)
    assert isinstance(asked.method, Protect) and asked.method.rule == "age<5"
    asked = read("scene mcmc + crop --low 0 0 0 --high 1 1 1".split())
    assert isinstance(asked.method, Crop) and asked.method.high == (1, 1, 1)


def test_a_box_that_everything_has_left() -> None:
    away = model_of(5).bake()
    with pytest.raises(ValueError, match=r"none of the 5 Gaussians.*larger box"):
        Box((90, 90, 90), (91, 91, 91)).kept(away, Frame((0.0, 0.0, 0.0), 1.0))


def test_boxes_that_hold_nothing(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        Options(crop=(0, 0, 0, 1, 0, 1))
    with pytest.raises(ValueError, match="holds nothing"):
        Crop(low=(0, 0, 0), high=(1, math.nan, 1))
    with pytest.raises(ValueError, match=r"holds none of the [\d,]+ Gaussians"):
        job_of(tiny_folder, METHODS["adc"], steps=10, crop=(90, 90, 90, 91, 91, 91))
