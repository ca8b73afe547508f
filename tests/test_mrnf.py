"""Growth by error with a leak: who grows, how many, and what dies when, worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
import torch
from steps import assert_consistent, edits_of, fill_moments, model_of, refined, seen, step_of

from splat.core.maps import EdgedError, Error
from splat.core.rates import Rates
from splat.core.schedule import PUBLISHED_STEPS, dues
from splat.strategies.mrnf import GATE_POWER, LEAST_GATE, SEEN, WORST, Mrnf

STILL = Mrnf(noise=0.0, opacity_leak=0.0, scale_leak=0.0)
"""Births and deaths alone."""


def test_numbers_that_follow_from_others() -> None:
    """As PROVENANCE.md has them."""
    usual = Mrnf()
    assert 1 - LEAST_GATE ** (1 / GATE_POWER) == pytest.approx(0.045, abs=1e-4)
    assert usual.noise == pytest.approx(50 * 2e-5 / Rates().mean, rel=0.05)
    assert usual.prune_opacity == 1 / 255
    when = dues(usual.refine_from, usual.refine_until, usual.refine_every, PUBLISHED_STEPS)
    left = [1 - step / PUBLISHED_STEPS for step in when]
    assert len(when) == 140 and usual.opacity_leak * sum(left) == pytest.approx(0.29, abs=0.005)
    assert math.prod(1 - usual.scale_leak * each for each in left) == pytest.approx(0.865, abs=1e-3)
    lost = accumulate(usual.opacity_leak * each for each in left)
    assert next(i for i, each in enumerate(lost, 1) if 0.1 - each < usual.prune_opacity) == 27


def test_error_is_the_most_of_any_picture_at_full_size() -> None:
    model = model_of(3)
    Mrnf().begin(model)
    first, second = torch.tensor([1.0, 4, 0]), torch.tensor([2.0, 3, 0.5])
    seen(Mrnf(), model, first, shrink=2.0, visible=torch.tensor([True, True, False]))
    seen(Mrnf(), model, second, visible=torch.tensor([True, False, False]))
    assert model.cloud.statistic(WORST).tolist() == [4, 16, 0.5]
    assert model.cloud.statistic(SEEN).tolist() == [1, 1, 0]
    refined(Mrnf(), step_of(model, 600))
    assert not model.cloud.statistic(WORST).any() and not model.cloud.statistic(SEEN).any()


def test_gaussians_are_counted_for_the_row_they_come_from() -> None:
    model = model_of(3)
    model.slots = 2
    Mrnf().begin(model)
    seen(Mrnf(), model, torch.tensor([3.0, 1, 2, 7]), source=torch.tensor([5, 0, 1, 4]))
    assert model.cloud.statistic(WORST).tolist() == [2, 0, 7]


def test_the_map_rides_in_the_training_pass() -> None:
    assert Mrnf().needs.weights == (Error(),)
    assert Mrnf(edge=0.25).needs.weights == (EdgedError(0.25),)


def test_all_is_before_minus_pruned_plus_replaced_plus_grown() -> None:
    n, dead = 200, 30
    opacity = torch.full((n,), 0.5)
    opacity[:dead] = 0.003
    model = model_of(n, opacity, 0.02)
    STILL.begin(model)
    error = torch.where(torch.arange(n) < 150, 1.0, 0.001)
    seen(STILL, model, error)
    change = refined(STILL, step_of(model, 600))
    grown = math.ceil(0.07 * (150 - dead))
    assert change.after == n - dead + dead + grown
    assert change.counts["drop:opacity"] == dead
    assert change.counts["drop:split"] == dead + grown
    assert_consistent(model.cloud)
    assert change.parents is not None
    parents = change.parents[-2 * (dead + grown) :]
    assert int(parents.min()) >= dead, "no dead row is split"
    assert (parents.bincount() <= 2).all(), "none is split twice"


@pytest.mark.parametrize("more", [{"grow_share": 0.0}, {"grow_until": 600}])
def test_without_growth_the_number_of_rows_is_constant(more: dict[str, Any]) -> None:
    model = model_of(300, torch.rand(300, generator=torch.Generator().manual_seed(1)) * 0.02)
    mrnf = replace(STILL, **more)
    mrnf.begin(model)
    pruned = 0
    for done in range(600, 3000, 200):
        seen(mrnf, model, torch.ones(300))
        change = refined(mrnf, step_of(model, done))
        pruned += change.counts.get("drop:opacity", 0)
        assert change.after == 300
    assert pruned > 50


def test_only_rows_that_were_seen_replace_and_only_wrong_ones_grow() -> None:
    opacity = torch.tensor([0.001, 0.001, 0.5, 0.5, 0.5, 0.5])
    for seed in range(20):
        model, mrnf = model_of(6, opacity), replace(STILL, grow_share=1.0)
        mrnf.begin(model)
        visible = torch.tensor([True, True, True, False, False, False])
        seen(mrnf, model, torch.tensor([9.0, 9, 0, 0, 1, 0.002]), visible=visible)
        change = refined(mrnf, step_of(model, 600, seed=seed))
        assert change.parents is not None
        assert change.parents.tolist() == [3, 5, 2, 4, 2, 4], "2 replaces, 4 grows"


def test_error_decides_how_often_a_row_grows() -> None:
    error, times = torch.tensor([1.0, 3, 0.0]), torch.zeros(3)
    for seed in range(160):
        model, mrnf = model_of(3), replace(STILL, grow_share=0.3)
        mrnf.begin(model)
        seen(mrnf, model, error)
        change = refined(mrnf, step_of(model, 600, seed=seed))
        assert change.parents is not None
        times += change.parents.bincount(minlength=3) == 2
    # One of them each time; within four standard deviations of a fourth and three fourths.
    assert times[2] == 0 and abs(float(times[0]) - 40) < 4 * (160 * 0.25 * 0.75) ** 0.5


def test_rows_never_pass_the_cap_and_reach_it() -> None:
    model, mrnf = model_of(50, 0.5, 0.02), replace(STILL, cap=120, grow_share=0.3)
    mrnf.begin(model)
    sizes = []
    for done in range(600, 3000, 200):
        seen(mrnf, model, torch.ones(len(model.cloud)))
        sizes.append(refined(mrnf, step_of(model, done)).after)
        assert_consistent(model.cloud)
    assert sizes == sorted(sizes) and sizes[-1] == 120
    small = replace(STILL, cap=20)
    model = model_of(50)
    small.begin(model)
    seen(small, model, torch.ones(50))
    assert refined(small, step_of(model, 600)).after == 50, "rows one starts with stay"


def test_a_row_without_a_gradient_dies_after_the_predicted_refinements() -> None:
    """0.1 - sum of 0.004 (1 - t / T) is below 1/255 after so many refinements."""
    model = model_of(2, torch.tensor([0.1, 0.9]), 0.02)
    mrnf = replace(Mrnf(), noise=0.0, grow_share=0.0)
    mrnf.begin(model)
    opacity, scale, left = 0.1, 0.02, []
    for done in range(600, 28_500, 200):
        if opacity < 1 / 255:
            break
        opacity -= 0.004 * (1 - done / 30_000)
        scale *= 1 - 0.002 * (1 - done / 30_000)
        left.append(done)
        assert not refined(mrnf, step_of(model, done)), "a leak is no edit"
        found = model.cloud["opacity_logit"].detach().sigmoid()
        assert float(found[0]) == pytest.approx(opacity, abs=1e-5)
        assert float(model.cloud["log_scale"].detach().exp()[1, 0]) == pytest.approx(scale, 1e-4)
    assert len(left) == 27
    change = refined(mrnf, step_of(model, left[-1] + 200))
    assert change.counts == {"drop:opacity": 1} and change.after == 1


def test_the_leak_keeps_moments() -> None:
    model, mrnf = model_of(4), Mrnf()
    mrnf.begin(model)
    fill_moments(model.cloud)
    refined(mrnf, step_of(model, 600))
    assert model.cloud.moments("opacity_logit")[0].tolist() == [1, 2, 3, 4]


def test_broken_rows_go() -> None:
    model = model_of(6, 0.5, 0.02)
    with torch.no_grad():
        model.cloud["mean"][0, 1] = torch.nan
        model.cloud["quat"][1] = 0
        model.cloud["log_scale"][2, 0] = math.log(101.0)
        model.cloud["log_scale"][3, 2] = math.log(1e-11)
        model.cloud["sh"][4, 0, 0] = torch.inf
    mrnf = replace(STILL, grow_share=0.0)
    mrnf.begin(model)
    change = refined(mrnf, step_of(model, 600))
    assert change.counts == {"drop:broken": 5} and change.after == 1
    assert_consistent(model.cloud)


def test_only_nearly_dead_rows_in_sight_walk_and_none_beyond_its_size() -> None:
    opacity = torch.tensor([0.9, 0.05, 0.004, 0.004, 0.004])
    model = model_of(5, opacity, torch.tensor([0.1, 0.1, 0.1, 1e-5, 0.1]))
    before = model.cloud["mean"].detach().clone()
    visible = torch.tensor([True, True, True, True, False])
    change = refined(Mrnf(), step_of(model, 1, visible=visible))
    moved = (model.cloud["mean"].detach() - before).abs().amax(1)
    assert not change and moved[[0, 1, 4]].tolist() == [0, 0, 0]
    reach = 6 * 1.6e-4 * (1 - 0.004) ** 150
    assert 0 < moved[2] < 5 * math.sqrt(8) * reach and 0 < moved[3] <= 1.1e-5


def test_rows_walk_every_eighth_step_and_as_far() -> None:
    model = model_of(2000, 0.004, 10.0)
    lengths = []
    for every in (1, 8):
        moves = torch.zeros(2000, 3)
        for number in range(16):
            edit = Mrnf(noise_every=every).refine(step_of(model, number + 1))
            assert (edit is not None) == (number % every == 0)
            moves += edit.nudge[0].delta if edit is not None else 0
        lengths.append(float(moves.square().mean()))
    # Of 6,000 squares the mean is off by 1.8 % (one standard deviation).
    assert lengths[0] == pytest.approx(lengths[1], rel=0.1)


@pytest.mark.parametrize(
    ("steps", "grown", "replaced"),
    [
        (30_000, range(600, 15_000, 200), range(15_000, 28_500, 200)),
        (3000, range(100, 1500, 50), range(1500, 2850, 50)),
    ],
)
def test_edits_fall_on_the_published_steps(steps: int, grown: range, replaced: range) -> None:
    mrnf = replace(Mrnf().scheduled(steps), noise=0.0)
    acts = mrnf.acts(steps)
    assert {what: list(when) for what, when in acts.items()} == {
        "split, prune and leak": list(grown),
        "replace, prune and leak": list(replaced),
    }
    assert edits_of(mrnf, model_of(3), steps) == [*grown, *replaced]


def test_a_published_schedule_is_its_own_fit_and_a_short_one_stands_for_as_much() -> None:
    assert Mrnf().scheduled(30_000) == Mrnf()
    short = Mrnf().scheduled(3000)
    # A refinement every 50 steps instead of every 20: two and a half published ones at a time.
    assert short.grow_share == pytest.approx(1.07**2.5 - 1)
    assert (short.opacity_leak, short.scale_leak) == pytest.approx((0.01, 0.005))
