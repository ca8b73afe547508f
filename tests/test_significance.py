"""Pruning by significance: which rows go, when, and what a base method makes of it."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import job_of
from steps import assert_consistent, fill_moments, model_of, refined, step_of, survey_of
from torch import Tensor

from splat.core import score
from splat.core.edit import Append, Edit
from splat.core.model import Explicit
from splat.core.step import Step
from splat.core.strategy import Fixed, Strategy
from splat.loop import Run, train
from splat.recipes.recipe import strategy_from_text
from splat.rules.views import even_views, random_views
from splat.strategies.adc import Adc
from splat.strategies.mcmc import Mcmc
from splat.strategies.significance import Significance, growing_steps
from splat.types import Camera

ONCE = Significance(score="mass", at=(100,), keep=0.5)


def preset(recipe: str) -> Significance:
    """A recipe that ends with a preset of significance."""
    found = strategy_from_text(recipe)
    assert isinstance(found, Significance)
    return found


def pruned(strategy: Strategy, model: Explicit, mass: Tensor, done: int = 100) -> Any:
    """What a strategy does after a step at which rows have so much blending weight."""
    return refined(strategy, step_of(model, done, survey=survey_of(model, [{"mass": mass}])))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 50, 101])
@pytest.mark.parametrize("keep", [0.01, 0.34, 0.5, 0.6, 1.0])
def test_a_share_is_kept_rounded_up(n: int, keep: float) -> None:
    scores = torch.rand(n, generator=torch.Generator().manual_seed(n)) + 0.1
    gone = replace(ONCE, keep=keep).condemned(scores)
    kept = max(1, math.ceil(round(keep * n, 9)))
    assert int((~gone).sum()) == kept
    assert float(scores[~gone].min()) >= float(scores[gone].max() if gone.any() else 0)


def test_the_least_significant_rows_of_all_views_go() -> None:
    model = model_of(5)
    fill_moments(model.cloud)
    before = model.cloud.rows(torch.arange(5))
    views = [
        {"mass": torch.tensor([9.0, 1, 0, 2, 4])},
        {"mass": torch.tensor([0.0, 1, 8, 2, 0])},
    ]
    strategy = replace(ONCE, keep=0.6)
    step = step_of(model, 100, survey=survey_of(model, views), views=2)
    change = refined(strategy, step)
    # Sums are 9, 2, 8, 4, 4; of equal rows the first goes.
    assert change.counts == {"drop:significance": 2} and change.parents is not None
    assert change.parents.tolist() == [0, 2, 4]
    for name in before:
        assert torch.equal(model.cloud[name].detach(), before[name][[0, 2, 4]])
    assert model.cloud.moments("opacity_logit")[0].tolist() == [1, 3, 5]


def test_a_share_of_the_sum_is_held_by_the_fewest_rows() -> None:
    scores = torch.tensor([50.0, 1, 30, 15, 4])
    for mass, kept in ((0.5, 1), (0.501, 2), (0.8, 2), (0.95, 3), (0.99, 4), (1.0, 5)):
        gone = Significance(mass=mass).condemned(scores)
        assert int((~gone).sum()) == kept, mass
        assert float(scores[~gone].sum()) >= mass * 100
    assert Significance(mass=1.0).condemned(torch.tensor([1.0, 0, 2])).tolist() == [
        False, True, False,
    ]  # fmt: skip


def test_a_threshold_keeps_what_anywhere_counts() -> None:
    scores = torch.tensor([0.009, 0.01, 0.5, 0.0])
    assert Significance(below=0.01).condemned(scores).tolist() == [True, False, False, True]


def test_what_goes_becomes_less_by_the_decay() -> None:
    strategy = preset("fixed + lightgaussian")
    scores = torch.arange(1.0, 101.0)
    assert [int(strategy.condemned(scores, time).sum()) for time in (0, 1, 2)] == [50, 40, 32]


def test_a_share_of_what_counts_is_drawn_by_its_score() -> None:
    strategy = Significance(score="mini", at=(100,), keep=0.5, pick="multinomial")
    scores = torch.cat([torch.zeros(20), torch.ones(10), torch.full((10,), 1000.0)])
    kept = torch.zeros(40)
    for seed in range(50):
        gone = strategy.condemned(scores, 0, torch.Generator().manual_seed(seed))
        assert int((~gone).sum()) == 10, "half of the 20 that count"
        kept += ~gone
    assert not kept[:20].any() and kept[20:30].mean() < 5 < 45 < kept[30:].mean()
    with pytest.raises(ValueError, match="mass asks for another rule"):
        Significance(mass=0.9, pick="multinomial")


def test_mini_splatting_draws_then_keeps_what_holds_the_mass() -> None:
    found = preset("fixed + mini-splatting").scheduled(3000)
    assert found.acts(3000) == {"prune by mini": [1500, 2000]}
    model = model_of(8)
    views = [{"mass": torch.arange(1.0, 9), "area": torch.tensor([0.0] * 4 + [1] * 4)}]
    change = refined(found, step_of(model, 1500, survey=survey_of(model, views)))
    assert change.after == 2 and min(change.parents.tolist()) >= 4
    model = model_of(8)
    change = refined(found, step_of(model, 2000, survey=survey_of(model, views)))
    # 5 + 6 + 7 + 8 = 26; without the 5 less than 99 % are left.
    assert change.parents is not None and change.parents.tolist() == [4, 5, 6, 7]


def test_scores_that_tell_no_row_from_none_prune_nothing() -> None:
    model = model_of(4)
    assert not pruned(ONCE, model, torch.zeros(4))
    assert not pruned(replace(ONCE, keep=None, below=9.0), model, torch.ones(4))
    assert pruned(ONCE, model_of(1), torch.ones(1)).after == 1
    with pytest.raises(ValueError, match="1 of 2 rows have no score mass"):
        pruned(ONCE, model_of(2), torch.tensor([1.0, math.nan]))


def test_row_order_does_not_matter() -> None:
    draw = torch.Generator().manual_seed(0)
    mass, order = torch.rand(40, generator=draw), torch.randperm(40, generator=draw)
    plain, permuted = model_of(40), model_of(40)
    permuted.cloud.reorder(order)
    pruned(ONCE, plain, mass)
    pruned(ONCE, permuted, mass[order])
    left = [set(map(tuple, m.cloud["mean"].detach().tolist())) for m in (plain, permuted)]
    assert left[0] == left[1] and len(left[0]) == 20


def test_only_at_its_steps_are_views_looked_at() -> None:
    model, asked = model_of(6), list[int]()
    survey = survey_of(model, [{"mass": torch.ones(6)}] * 10, asked)
    assert replace(ONCE, views=4).refine(step_of(model, 99, survey=survey, views=10)) is None
    replace(ONCE, views=4).refine(step_of(model, 100, survey=survey, views=10))
    assert asked == [0, 2, 5, 7]
    asked.clear()
    ONCE.refine(step_of(model, 100, survey=survey, views=10))
    assert asked == list(range(10))


def test_views_are_evenly_spread_or_drawn() -> None:
    ring = [Camera(torch.eye(4), torch.eye(3), 8, 8)] * 10
    assert even_views(ring, 3) == [0, 3, 6]
    assert even_views(ring[:3], 9) == even_views(ring[:3], 0) == [0, 1, 2]
    some = random_views(100, 10, torch.Generator().manual_seed(0))
    assert len(set(some)) == 10 and some == sorted(some) and 0 <= some[0] and some[-1] < 100
    assert random_views(4, 10, torch.Generator()) == [0, 1, 2, 3]


def test_scores_without_views_and_by_chance() -> None:
    opacity = torch.tensor([0.5, 0.1, 0.9, 0.3])
    model = model_of(4, opacity)
    change = refined(replace(ONCE, score="opacity"), step_of(model, 100))
    assert change.parents is not None and change.parents.tolist() == [0, 2]
    sizes, kept = set(), set()
    for seed in range(10):
        model = model_of(8)
        change = refined(replace(ONCE, score="random"), step_of(model, 100, seed=seed))
        assert change.parents is not None
        sizes.add(change.after)
        kept.add(tuple(change.parents.tolist()))
    assert sizes == {4} and len(kept) > 5


class Grower(Fixed):
    """Doubles every row at every step, cap or not."""

    def refine(self, step: Step) -> Edit | None:
        every = torch.arange(len(step.model.cloud))
        return Edit(append=(Append(step.model.cloud.rows(every), every, "clone"),))


def test_a_doomed_row_has_no_children() -> None:
    model = model_of(4)
    change = pruned(replace(ONCE, base=Grower()), model, torch.tensor([1.0, 4, 2, 3]))
    assert change.parents is not None and change.parents.tolist() == [1, 3, 1, 3]


def test_adc_goes_on_beside_it() -> None:
    model, strategy = model_of(6), Significance(Adc(), "mass", at=(600,), keep=0.5)
    strategy.begin(model)
    gradient = torch.tensor([[1e-3, 0.0]] * 6)
    with torch.no_grad():
        strategy.observe(step_of(model, 599, gradient=gradient))
    change = pruned(strategy, model, torch.arange(6.0) + 1, done=600)
    assert change.counts == {"drop:significance": 3, "append:clone": 3}
    assert change.parents is not None and change.parents.tolist() == [3, 4, 5, 3, 4, 5]
    assert_consistent(model.cloud)


def test_dropping_from_a_method_that_refills_is_refused_with_both_ways_out() -> None:
    for make in (
        lambda: Significance(Mcmc(), how="drop"),
        lambda: Significance(Mcmc()).begin(model_of(2)),
    ):
        with pytest.raises(ValueError, match=r"--how recycle.*--how shrink"):
            make()
    with pytest.raises(ValueError, match="does not move rows"):
        Significance(Adc(), how="recycle")
    Significance(Adc(), how="drop").begin(model_of(2))


def test_shrink_leaves_the_share_until_the_end() -> None:
    model = model_of(103, 0.5, 0.01)
    base = Mcmc(cap=103, noise=0.0)
    strategy = Significance(base, "mass", at=(20_000, 22_000), keep=0.7, how="shrink")
    strategy.begin(model)
    expected, draw = 103, torch.Generator().manual_seed(0)
    for done in range(19_000, 30_001, 100):
        n = len(model.cloud)
        if done in strategy.at:
            expected = math.ceil(0.7 * expected)
        # Some rows are dead each time, so that the base has rows to move.
        with torch.no_grad():
            model.cloud["opacity_logit"][torch.randint(n, (5,), generator=draw)] = -6.0
        mass = torch.rand(n, generator=draw)
        assert pruned(strategy, model, mass, done).after == expected
        assert_consistent(model.cloud)
    assert expected == math.ceil(0.7 * math.ceil(0.7 * 103))


def test_shrink_binds_whatever_grows() -> None:
    model, strategy = model_of(8), replace(ONCE, base=Grower(), how="shrink")
    assert pruned(strategy, model, torch.ones(8), 99).after == 16
    assert pruned(strategy, model, torch.arange(16.0) + 1, 100).after == 8
    assert pruned(strategy, model, torch.ones(8), 101).after == 8


def test_recycled_rows_become_copies_of_others_and_none_is_lost() -> None:
    model = model_of(50, 0.6, 0.01)
    strategy = Significance(Mcmc(noise=0.0, cap=50), "mass", at=(30_000,), keep=0.6, how="recycle")
    before = model.cloud.rows(torch.arange(50))
    change = pruned(strategy, model, torch.arange(50.0) + 1, done=30_000)
    assert change.after == 50 and change.counts["assign:relocate"] == 20
    after = model.cloud.rows(torch.arange(50))
    hosts = (after["mean"][:20, None] == before["mean"][None]).all(2).float().argmax(1)
    assert int(hosts.min()) >= 20, "no copy of a row that moves"
    assert torch.equal(after["mean"][20:], before["mean"][20:])


def significances(run: Run) -> Tensor:
    found = score.scores(run.survey(index) for index in range(len(run.views)))
    return found.mass


def test_recycling_raises_significance_at_the_same_number(tiny_folder: Path) -> None:
    """The geometric mean: weights in a picture sum to its alpha, which no row can add to."""
    base = Mcmc(cap=1500, refine_from=10, refine_until=150, refine_every=20, growth=1.6)
    recycled = Significance(base, "mass", at=(155,), keep=0.6, how="recycle")
    means = []
    for strategy in (base, recycled):
        with closing(job_of(tiny_folder, strategy, steps=200)) as job:
            job.run.steps = 154
            train(job.run)
            before = (significances(job.run) + 1e-4).log().mean()
            job.run.steps = 190
            train(job.run)
            assert len(job.run.model.cloud) == 1500
            means.append(float((significances(job.run) + 1e-4).log().mean() - before))
    assert means[1] > 0 and means[1] > means[0] + 0.05


def test_recipes_are_the_published_ones() -> None:
    model = model_of(3)
    for strategy, acts in (
        (Significance(Fixed()), {"prune by lightgaussian": [25_000]}),
        (preset("fixed + lightgaussian"), {"prune by lightgaussian": [16_000, 24_000]}),
        (preset("fixed + radsplat"), {"prune by most": [16_000, 24_000]}),
        (
            preset("fixed + speedy-splat"),
            {
                "prune by squared": [
                    *(6000, 9000, 12_000),
                    *(15_000, 18_000, 21_000, 24_000, 27_000),
                ]
            },
        ),
    ):
        fitted = strategy.scheduled(30_000)
        assert {what: list(when) for what, when in fitted.acts(30_000).items()} == acts
        fitted.begin(model)
    soft = preset("adc + speedy-splat").base
    assert isinstance(soft, Significance) and soft.at == (6000, 9000, 12_000) and soft.keep == 0.2
    assert Significance().condemned(torch.arange(1.0, 101.0)).sum() == 66
    assert preset("fixed + radsplat --below 0.25").below == 0.25


def test_a_schedule_scales_and_bounds_what_scoring_costs() -> None:
    fitted = preset("adc + speedy-splat").scheduled(3000)
    assert isinstance(fitted, Significance) and isinstance(fitted.base, Significance)
    assert fitted.at == (1500, 1800, 2100, 2400, 2700) and fitted.base.at == (600, 900, 1200)
    assert len(fitted.at) * fitted.views <= 3000 / 20
    assert len(fitted.base.at) * fitted.base.views <= 3000 / 20
    few = replace(ONCE, views=7).scheduled(30_000)
    assert isinstance(few, Significance) and few.views == 7
    tiny = preset("adc + speedy-splat").scheduled(5)
    assert isinstance(tiny, Significance) and tiny.views == 1 and min(tiny.at) >= 1


def test_what_makes_room_for_nothing_is_not_pruned() -> None:
    usual = strategy_from_text("mrnf --cap 9k + renew")
    assert usual.scheduled(3000).at == (600, 900, 1200)  # type: ignore[attr-defined]
    short = usual.scheduled(100)
    assert [*short.acts(100)] == ["replace, prune and leak"], "it never grows, so nothing goes"
    plain = strategy_from_text("mrnf + renew --no-while-growing").scheduled(100)
    assert plain.acts(100)["prune by mini"] == [20, 30, 40]


@pytest.mark.parametrize("name", ["mrnf", "adc", "mcmc", "igs", "taming", "error", "scaffold"])
def test_every_method_says_when_it_grows(name: str) -> None:
    assert growing_steps(strategy_from_text(name).scheduled(3000), 3000)
