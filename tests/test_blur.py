"""Blur split: who fills too much of a picture, and what becomes of other parts' edits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from parts import Cloner, Killer
from steps import CAMERA, model_of, refined, step_of, survey_of

from splat.core.strategy import Strategy
from splat.strategies.blur import BlurSplit
from splat.strategies.mcmc import Mcmc

PIXELS = CAMERA.width * CAMERA.height
BLUR = BlurSplit(share=0.1)


def after(strategy: Strategy, area: list[list[float]], done: int = 600) -> Any:
    """What happens where rows are the strongest in so many pixels of some views."""
    model = model_of(len(area[0]))
    strategy.begin(model)
    survey = survey_of(model, [{"area": torch.tensor(view)} for view in area])
    return refined(strategy, step_of(model, done, survey=survey, views=len(area)))


def test_rows_with_more_than_a_share_of_any_picture_are_split() -> None:
    limit = BLUR.share * PIXELS
    change = after(BLUR, [[limit, limit + 1, 0, 1], [0, 0, 1, limit + 5]])
    assert change.counts == {"append:split": 4, "drop:split": 2}
    assert change.parents.tolist() == [0, 2, 1, 3, 1, 3]


def test_it_acts_at_its_steps_only() -> None:
    assert not after(BLUR, [[PIXELS, 0.0]], done=650)
    assert not after(BLUR, [[PIXELS, 0.0]], done=500)
    assert not after(BLUR, [[PIXELS, 0.0]], done=15_000)
    assert BLUR.acts(30_000) == {"split what blurs": list(range(600, 15_000, 100))}
    short = BLUR.scheduled(3000)
    assert isinstance(short, BlurSplit) and short.views == 2
    assert short.acts(3000) == {"split what blurs": list(range(100, 1500, 50))}


def test_the_cap_of_the_base_holds_and_the_worst_come_first() -> None:
    blur = replace(BLUR, base=Mcmc(cap=4, noise=0.0, refine_from=20_000))
    change = after(blur, [[50.0, 90, 70]])
    assert change.after == 4 and change.parents.tolist() == [0, 2, 1, 1]


def test_a_row_is_split_once_whatever_the_base_does_with_it() -> None:
    change = after(replace(BLUR, base=Cloner(count=2)), [[0.0, 400, 0]])
    assert change.counts == {"append:split": 2, "drop:split": 1, "append:clone": 1}
    change = after(replace(BLUR, base=Killer(rows=(1,))), [[0.0, 400, 0]])
    assert change.counts == {"drop:kill": 1}, "what is doomed has no children"
